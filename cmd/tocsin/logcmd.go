package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"tocsin/node"
	"tocsin/node/api"
)

// logReader reads the logs, through the running node or from the disk.
type logReader interface {
	logs(ctx context.Context) ([]node.LogInfo, error)
	entries(ctx context.Context, log string, from uint64, limit int) ([]node.EntryInfo, error)
	verify(ctx context.Context, progress func(done, total uint64)) (api.Verified, error)
	offline() bool
	close() error
}

func (a *app) logCommand() *cobra.Command {
	return family("log", "Look at the logs that this device holds, and verify them",
		"  tocsin log show\n  tocsin log show own\n  tocsin log verify", a.logShow(), a.logForks(), a.logVerify(), a.logProve())
}

// withLogs runs do on the running node, or on the disk when none runs. The disk
// needs no passphrase: headers are clear, and bodies stay sealed.
func (a *app) withLogs(ctx context.Context, do func(context.Context, logReader) error) (err error) {
	client, c, err := a.connect()
	var r logReader = runningLogs{client}
	if err != nil && asFailure(err).code == exitNoNode {
		r, err = a.openOfflineLogs(ctx, dataDir(c.text(keyData))) // connect has checked the directory
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	return apiError(do(ctx, r))
}

// runningLogs asks the node.
type runningLogs struct{ client *api.Client }

func (r runningLogs) logs(ctx context.Context) ([]node.LogInfo, error) { return r.client.Logs(ctx) }

func (r runningLogs) entries(ctx context.Context, log string, from uint64, limit int) ([]node.EntryInfo, error) {
	return r.client.LogEntries(ctx, log, from, limit)
}

func (r runningLogs) verify(ctx context.Context, _ func(done, total uint64)) (api.Verified, error) {
	return r.client.VerifyLogs(ctx)
}

func (r runningLogs) offline() bool { return false }
func (r runningLogs) close() error  { return r.client.Close() }

func (a *app) logShow() *cobra.Command {
	var from uint64
	var limit int
	cmd := &cobra.Command{
		Use:   "show [LOG | own]",
		Short: "List the logs, or the entries of one",
		Long: `List the logs that this device holds, or the headers of the entries of one. LOG is
a log as it is listed, the beginning of it, or own. Nothing that is sealed is
opened. When no node runs, the data directory is read.`,
		Example: "  tocsin log show\n  tocsin log show own --from 100",
		Args:    args(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 1 || limit > 1000 {
				return usage("Choose 1 to 1000.", "--limit %d is out of range", limit)
			}
			return a.withLogs(cmd.Context(), func(ctx context.Context, r logReader) error {
				logs, err := r.logs(ctx)
				if err != nil {
					return err
				}
				if len(args) == 0 {
					return a.showLogs(logs)
				}
				log, err := findLog(logs, args[0])
				if err != nil {
					return err
				}
				entries, err := r.entries(ctx, log, from, limit)
				if err != nil {
					return err
				}
				return a.showEntries(entries)
			})
		},
	}
	cmd.Flags().Uint64Var(&from, "from", 0, "begin with this sequence number")
	cmd.Flags().IntVar(&limit, "limit", 100, "list at most this many entries")
	return cmd
}

func (a *app) showLogs(logs []node.LogInfo) error {
	return a.emit(api.Logs{Logs: logs}, func() {
		var rows [][]string
		for _, l := range logs {
			whose := printable(l.Author)
			if l.Own {
				whose += " (this device)"
			}
			rows = append(rows, []string{short(l.Log), whose, plural(l.Entries, "entry"), short(l.Head)})
		}
		a.table([]string{"LOG", "WHOSE", "HOLDS", "HEAD"}, rows)
	})
}

func (a *app) showEntries(entries []node.EntryInfo) error {
	return a.emit(api.LogEntries{Entries: entries}, func() {
		var rows [][]string
		for _, e := range entries {
			rows = append(rows, []string{fmt.Sprint(e.Seq), when(e.Time), e.Kind, e.Priority, fmt.Sprint(e.Bytes), short(e.ID)})
		}
		a.table([]string{"SEQ", "TIME", "KIND", "PRIORITY", "BYTES", "ID"}, rows)
	})
}

// findLog finds a log by "own", its name or the beginning of it.
func findLog(logs []node.LogInfo, name string) (string, error) {
	const next = "'tocsin log show' lists the logs."
	var found []string
	for _, l := range logs {
		switch {
		case l.Log == name:
			return l.Log, nil
		case name == "own" && l.Own, name != "own" && len(name) >= minPrefix && strings.HasPrefix(l.Log, strings.ToLower(name)):
			found = append(found, l.Log)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) == 0:
		return "", fail(exitNotFound, next, "this device holds no log %q", name)
	}
	return "", fail(exitInput, next+" Name more of it.", "%s begin with %q", plural(len(found), "log"), name)
}

func (a *app) logVerify() *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Check every encoding, hash, link and signature that this device holds",
		Long: `Check every encoding, hash, link and signature that this device holds. It needs no
passphrase. When no node runs, the data directory is checked.`,
		Example: "  tocsin log verify\n  tocsin log verify --json",
		Args:    args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withLogs(cmd.Context(), a.verifyLogs)
		},
	}
}

// verified is the JSON of log verify.
type verified struct {
	api.Verified
	Offline bool `json:"offline"` // read from the disk, without a node
}

func (a *app) verifyLogs(ctx context.Context, r logReader) error {
	v, err := r.verify(ctx, a.progress("Verifying"))
	if err != nil {
		return err
	}
	if err := a.emit(verified{v, r.offline()}, func() {
		for _, p := range v.Problems {
			a.say("%s log %s, entry %d: %s", a.style().red("wrong:"), short(p.Log), p.Seq, printable(p.Reason))
		}
		if v.Valid {
			a.say("%s in %s verify: every encoding, hash, link and signature.", plural(v.Entries, "entry"), plural(v.Logs, "log"))
		}
		if v.Forks > 0 {
			a.say("%s forked: that device lied or was copied. 'tocsin log forks' shows both branches.", plural(v.Forks, "log"))
		}
	}); err != nil {
		return err
	}
	if v.Valid {
		return nil
	}
	return fail(exitVerify, "Keep this device as it is and tell your security staff.", "%s wrong in the logs", things(v.Bad))
}

// things counts what is wrong, with its verb.
func things[N int | uint64](n N) string {
	if n == 1 {
		return "one thing is"
	}
	return fmt.Sprintf("%d things are", n)
}

// progress returns a callback that draws on the terminal, and nothing elsewhere.
func (a *app) progress(what string) func(done, total uint64) {
	if !isTerminal(a.err) || a.json {
		return func(uint64, uint64) {}
	}
	return func(done, total uint64) {
		fmt.Fprintf(a.err, "\r%s %d of %d", what, done, total)
		if done == total {
			a.note("")
		}
	}
}
