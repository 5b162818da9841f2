package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"tocsin/sim"
)

// Exit codes. They are part of the interface: scripts branch on them.
const (
	exitFailed = 1 // also: an objective was missed
	exitUsage  = 3 // also: a scenario that cannot be accepted
)

const exitHelp = `Exit codes:
  0  passed, or done
  1  an objective was missed, or the run could not be carried out
  2  an invariant was broken
  3  the command line, a scenario or a folder cannot be accepted
  4  inconclusive: a fault had no effect, or the run was stopped`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// app is one call of the program.
type app struct {
	out, err io.Writer
	json     bool
	stopped  atomic.Bool     // the user has interrupted
	code     int             // of a run that came to its verdict
	ctx      context.Context // ends when the user interrupts
}

// execute runs one command line and returns the exit code.
func execute(ctx context.Context, args []string, out, errs io.Writer) int {
	a := &app{out: out, err: errs, ctx: ctx}
	unhook := context.AfterFunc(ctx, func() { a.stopped.Store(true) })
	defer unhook()
	root := a.root()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.Execute()
	if err == nil {
		return a.code
	}
	code := exitFailed
	var input *sim.InputError
	var usage *usageError
	if errors.As(err, &input) || errors.As(err, &usage) {
		code = exitUsage
	}
	a.report(err, code)
	return code
}

// usageError is what is wrong with the command line.
type usageError struct{ error }

// report prints an error for a person, or as one JSON object for a program.
func (a *app) report(err error, code int) {
	text := strings.TrimPrefix(err.Error(), "sim: ")
	if !a.json {
		fmt.Fprintf(a.err, "tocsin-sim: %s\n", text)
		return
	}
	// Marshalling a string and a number cannot fail, and an error of writing to
	// stderr has nowhere to go.
	b, _ := json.Marshal(struct {
		Error string `json:"error"`
		Code  int    `json:"code"`
	}{text, code})
	fmt.Fprintf(a.err, "%s\n", b)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use: "tocsin-sim", Short: "Rehearse an attack on your mesh before it comes",
		Long: "Runs the real devices of a mesh over a simulated network, in virtual time, with the faults and\n" +
			"adversaries of a scenario, and writes a report with a verdict.\n\n" + exitHelp,
		Example:       "  tocsin-sim list\n  tocsin-sim explain wannacry-2017\n  tocsin-sim run wannacry-2017 -o report",
		SilenceErrors: true, SilenceUsage: true, CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print JSON")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(a.listCommand(), a.explainCommand(), a.validateCommand(), a.runCommand(), a.sweepCommand(), a.compareCommand(), a.replayCommand(), a.shrinkCommand(), a.soakCommand())
	for _, c := range root.Commands() {
		check := c.Args
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return &usageError{fmt.Errorf("%w; see `%s --help`", err, c.CommandPath())}
			}
			return nil
		}
	}
	return root
}

// scenario reads one of the library, or a file where the name has a dot or a slash.
func scenario(name string) (*sim.Scenario, error) {
	if !strings.ContainsAny(name, "./\\") {
		return sim.LibraryScenario(name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, &usageError{fmt.Errorf("the scenario cannot be read: %w", err)}
	}
	defer f.Close() // it was only read
	return sim.ReadScenario(name, f)
}

// say writes to standard output.
func (a *app) say(format string, args ...any) error {
	if _, err := fmt.Fprintf(a.out, format+"\n", args...); err != nil {
		return fmt.Errorf("the output could not be written: %w", err)
	}
	return nil
}

func (a *app) emit(v any) error {
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("the output could not be written: %w", err)
	}
	return nil
}

func (a *app) listCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the scenarios that come with the program", Args: cobra.NoArgs,
		Example: "  tocsin-sim list",
		RunE: func(*cobra.Command, []string) error {
			all, err := sim.Library()
			if err != nil {
				return err
			}
			type line struct {
				Name    string `json:"name"`
				Title   string `json:"title"`
				Devices int    `json:"devices"`
			}
			lines := make([]line, 0, len(all))
			for _, s := range all {
				lines = append(lines, line{s.Name, s.Title, s.Devices()})
			}
			if a.json {
				return a.emit(lines)
			}
			w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
			for _, l := range lines {
				fmt.Fprintf(w, "%s\t%d devices\t%s\n", l.Name, l.Devices, l.Title)
			}
			if err := w.Flush(); err != nil {
				return fmt.Errorf("the output could not be written: %w", err)
			}
			return nil
		},
	}
}

func (a *app) explainCommand() *cobra.Command {
	return &cobra.Command{
		Use: "explain SCENARIO", Short: "Tell a scenario in plain English", Args: cobra.ExactArgs(1),
		Example: "  tocsin-sim explain wannacry-2017\n  tocsin-sim explain ./mine.yaml",
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := scenario(args[0])
			if err != nil {
				return err
			}
			if a.json {
				return a.emit(map[string]string{"name": s.Name, "text": s.Explain()})
			}
			return a.say("%s", strings.TrimRight(s.Explain(), "\n"))
		},
	}
}

func (a *app) validateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "validate SCENARIO", Short: "Check a scenario without running it", Args: cobra.ExactArgs(1),
		Example: "  tocsin-sim validate ./mine.yaml",
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := scenario(args[0])
			if err != nil {
				return err
			}
			if a.json {
				return a.emit(map[string]any{"name": s.Name, "valid": true, "devices": s.Devices()})
			}
			return a.say("%s can be run: %d devices, %s of story.", s.Name, s.Devices(), s.Duration)
		},
	}
}
