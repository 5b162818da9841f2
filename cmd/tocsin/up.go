package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"tocsin/crypto/vault"
	"tocsin/ledger"
	"tocsin/ledger/badgerstore"
	"tocsin/node"
	"tocsin/node/api"
)

type upFlags struct {
	locked bool   // do not unlock at start
	tether bool   // end when standard input ends
	unsafe string // a protection to switch off
}

func (a *app) upCommand() *cobra.Command {
	var f upFlags
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run this device's node until Ctrl-C",
		Long: `Run this device's node until Ctrl-C.

It starts locked and relays for others at once. Then it is unlocked with the
passphrase from --passphrase-file, or from a prompt when there is a terminal;
without either it stays locked until 'tocsin unlock' or the web app. It locks itself
when nobody has touched it for a while (--idle-lock).

With --json the first line on standard output says that the node is up and where.`,
		Example: "  tocsin up\n  tocsin up --peer /ip4/192.0.2.7/udp/4001/quic-v1/p2p/12D3KooW... --mdns=false",
		Args:    args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkUnsafe("--unsafe", f.unsafe); err != nil {
				return err
			}
			return a.up(cmd.Context(), f)
		},
	}
	cmd.Flags().BoolVar(&f.locked, "locked", false, "stay locked: relay, and read nothing")
	cmd.Flags().BoolVar(&f.tether, "tether", false, "end when standard input ends")
	cmd.Flags().StringVar(&f.unsafe, "unsafe", "", "switch a protection off, for rehearsals")
	for _, name := range []string{"tether", "unsafe"} {
		cmd.Flag(name).Hidden = true
	}
	a.addSettingFlags(cmd.Flags(), upOnly)
	return cmd
}

// up runs a node in the foreground.
//
// What is opened is closed in the opposite order, and the order matters: the
// API first, so that no request meets a node that is going; then the node,
// which leaves the mesh, finishes both flows and closes store and vault; then
// the log; last the lock, so that the next process finds all of it free.
func (a *app) up(ctx context.Context, f upFlags) (err error) {
	c, err := a.load()
	if err != nil {
		return err
	}
	d, err := openDataDir(c.text(keyData))
	if err != nil {
		return err
	}
	lock, err := d.lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	logger, closeLog, err := a.logger(c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeLog()) }()
	if f.unsafe != "" {
		logger.Warn("UNSAFE: a protection is switched off; never run a device like this", "protection", f.unsafe)
		a.note("tocsin: WARNING: the protection %q is switched off. Never run a device like this.", f.unsafe)
	}
	for _, missing := range vault.Harden() {
		logger.Warn("this machine protects the keys less than it could", "what", missing)
	}
	a.sparing()
	n, err := a.openNode(ctx, c, d, logger, f.unsafe)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.endNode(d, n)) }()
	server, err := a.openAPI(c, d, n, logger)
	if err != nil {
		return err
	}
	if !f.locked && !n.Status().Wiped {
		if err := a.unlockAtStart(ctx, c, n); err != nil {
			return errors.Join(err, server.Close())
		}
	}
	if f.tether {
		ctx = a.tethered(ctx)
	}
	if err := a.announceUp(c, d, n, server); err != nil {
		return errors.Join(err, server.Close())
	}
	return serveUntilWiped(ctx, n, server)
}

// garbagePercent is how much garbage may stand beside what a node holds. Half of
// the usual costs little for a program that mostly waits, and keeps the import of
// a million entries under 200 MB (docs/performance.md).
const garbagePercent = 50

// sparing has the process collect its garbage early, unless GOGC says otherwise.
func (a *app) sparing() {
	if a.env.get("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
}

// serveUntilWiped serves until ctx ends, or until the device has wiped itself:
// then there is nothing left to serve.
func serveUntilWiped(ctx context.Context, n *node.Node, server *api.Server) error {
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-n.Wiped():
			stop()
		case <-ctx.Done():
		}
	})
	err := server.Serve(ctx)
	stop()
	wg.Wait()
	return err
}

// endNode closes a node, and removes what is left of one that has wiped itself.
func (a *app) endNode(d dataDir, n *node.Node) error {
	err := n.Close()
	select {
	case <-n.Wiped():
	default:
		return err
	}
	if err := d.removeWiped(); err != nil {
		return err
	}
	a.note("tocsin: this device was wiped: its keys are destroyed, and nothing on it can be read any more.")
	return err
}

// openNode opens everything that a node is made of. The node owns store and
// vault from then on, also when it cannot start.
func (a *app) openNode(ctx context.Context, c *config, d dataDir, logger *slog.Logger, unsafe string) (*node.Node, error) {
	cfg := node.Config{
		Version: readBuild().Version, Dir: string(d), Clock: node.SystemClock(), Logger: logger,
		Listen: c.list(keyListen), Static: c.list(keyPeers), MDNS: c.yes(keyMDNS), Unsafe: unsafeNode(unsafe),
		Via: c.list(keyVia), Announce: c.list(keyAnnounce), Relaying: c.yes(keyRelay), DHT: c.text(keyDHT),
		Thrift:           c.text(keyThrift),
		DestroyRelayKeys: d.destroyRelayKeys, Attachments: c.attachmentLimits(),
	}
	cfg.Carry = carryQuota(c)
	if err := a.setRecord(c, &cfg); err != nil {
		return nil, err
	}
	cfg.IdleLock, _ = parseIdle(c.text(keyIdleLock)) // checked when it was loaded
	wiped, err := node.WipeMark(string(d))
	if err != nil {
		return nil, err
	}
	if wiped && d.relayKeysGone() {
		// The process that destroyed them may have died before this.
		if err := d.removeWiped(); err != nil {
			return nil, fail(exitFailed, "Start again, or remove the data directory.", "this device was wiped, and not all that is left of it can be removed: %w", err)
		}
		return nil, fail(exitInput, "Set a device up again in an empty directory with 'tocsin init'.", "this device was wiped: its keys are destroyed")
	}
	if cfg.Relay, err = d.relayKeys(); err != nil {
		return nil, err
	}
	if cfg.Bundle, err = d.bundle(); err == nil {
		cfg.Credential, err = d.wire(credentialFile, pemCredential)
	}
	if err == nil {
		cfg.Admission, err = d.wire(admissionFile, pemAdmission)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, d.notEnrolled()
	}
	if err != nil {
		return nil, err
	}
	cfg.Vault, err = vault.Open(d.file(vaultDir))
	if errors.Is(err, vault.ErrWiped) {
		if !isOnly(err, vault.ErrWiped) {
			return nil, fail(exitFailed, "Start again: the rest is destroyed then.", "this device is being wiped: %w", err)
		}
		cfg.VaultWiped, err = true, nil // the node starts without a vault and finishes the wipe
	}
	if err != nil {
		return nil, fail(exitInput, "Put the vault back from a copy of the whole data directory.", "the vault cannot be opened: %w", err)
	}
	if cfg.Store, err = d.store(cfg.Relay.Store, logger, unsafe); err != nil {
		if cfg.Vault != nil {
			err = errors.Join(err, cfg.Vault.Close())
		}
		return nil, err
	}
	n, err := node.Open(ctx, cfg)
	if err != nil {
		return nil, startError(err, "Choose other addresses with --listen, or end the program that uses them.")
	}
	return n, nil
}

// isOnly reports whether err, which wraps target, holds no other error beside it.
func isOnly(err, target error) bool {
	if err == target {
		return true
	}
	joined, ok := err.(interface{ Unwrap() []error })
	return ok && len(joined.Unwrap()) == 1 && joined.Unwrap()[0] == target
}

func (d dataDir) store(key [32]byte, logger *slog.Logger, unsafe string) (ledger.Store, error) {
	store, err := badgerstore.Open(d.file(storeDir), badgerstore.Options{Key: key, Logger: logger, Unsafe: unsafeStore(unsafe)})
	if err != nil {
		return nil, fail(exitFailed, "'tocsin doctor' says what is wrong with the disk; nothing saved is lost by trying again.",
			"the logs cannot be opened: %w", err)
	}
	return store, nil
}

func (a *app) openAPI(c *config, d dataDir, n *node.Node, logger *slog.Logger) (*api.Server, error) {
	socket := a.env.socketPlace(string(d))
	if err := socket.prepare(); err != nil {
		return nil, err
	}
	if socket.moved {
		a.note("tocsin: the path of %s is too long for a socket; it is at %s", d, socket.path)
	}
	server, err := api.New(api.Config{
		Node: n, Clock: node.SystemClock(), Logger: logger,
		Listen: c.text(keyAPI), Socket: socket.path, TokenFile: d.file(tokenFile), Record: c.text(keyRecordURL),
	})
	if err != nil {
		return nil, startError(err, "Choose another address with --api, such as 127.0.0.1:0 for any free port.")
	}
	return server, nil
}

// startError gives a busy port its exit code. libp2p reports the errors of its
// listeners as text only.
func startError(err error, next string) error {
	if errors.Is(err, syscall.EADDRINUSE) || strings.Contains(err.Error(), syscall.EADDRINUSE.Error()) {
		return fail(exitInUse, next, "%w", err)
	}
	return fail(exitFailed, "", "the node cannot start: %w", err)
}

// promptTries is how often the passphrase is asked for before the node goes on
// locked.
const promptTries = 3

// unlockAtStart unlocks where the passphrase can be had. A wrong one in a file
// is an error: nobody is there to notice a node that stays locked.
func (a *app) unlockAtStart(ctx context.Context, c *config, n *node.Node) error {
	if c.text(keyPassphrase) != "" {
		return a.unlockOnce(ctx, c, n)
	}
	if !a.canAsk() || a.json {
		return nil
	}
	for range promptTries {
		err := a.unlockOnce(ctx, c, n)
		if asFailure(err).code != exitLocked {
			return err
		}
		a.note("%s", plainWords(err))
	}
	a.note("The node stays locked. Unlock it with 'tocsin unlock' or in the web app.")
	return nil
}

func (a *app) unlockOnce(ctx context.Context, c *config, n *node.Node) error {
	secret, err := a.passphrase(ctx, c, "this device")
	if err != nil {
		return err
	}
	defer clear(secret)
	return passphraseError(n.Unlock(ctx, secret))
}

// upReport is the first line that up prints with --json.
type upReport struct {
	Event  string      `json:"event"` // "up"
	URL    string      `json:"url"`
	Socket string      `json:"socket"`
	Status node.Status `json:"status"`
}

func (a *app) announceUp(c *config, d dataDir, n *node.Node, server *api.Server) error {
	st := n.Status()
	return a.emit(upReport{"up", server.URL(), a.env.socketPlace(string(d)).path, st}, func() {
		a.say("%s is up: %s (%s), mesh %s", a.style().bold("Tocsin"), printable(st.Name), st.Person, printable(st.Mesh))
		for _, addr := range st.Addrs {
			a.say("  devices connect to  %s", addr)
		}
		a.say("  web app             %s  (enter with: tocsin open)", server.URL())
		if st.Locked {
			a.say("  locked: it relays, and reads nothing until 'tocsin unlock'")
		}
		if st.Problem != "" {
			a.say("  %s", a.style().red(st.Problem))
		}
		a.say("Ctrl-C ends it.")
	})
}

// logger returns the log as the configuration wants it, and what closes it.
func (a *app) logger(c *config) (*slog.Logger, func() error, error) {
	level, _ := parseLevel(c.text(keyLogLevel)) // checked when it was loaded
	w, done := a.err, func() error { return nil }
	if path := c.text(keyLogFile); path != "" {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err != nil {
			return nil, nil, fail(exitInput, "Check log.file, --log-file or TOCSIN_LOG_FILE.", "the log cannot be written: %w", err)
		}
		w, done = f, f.Close
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})), done, nil
}

// tethered returns a context that ends with standard input: the demo holds the
// other end, and its nodes must not outlive it, however it ends.
func (a *app) tethered(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() { // ends with standard input, or with the process
		_, err := io.Copy(io.Discard, a.in)
		cancel(fmt.Errorf("standard input ended: %w", errors.Join(io.EOF, err)))
	}()
	return ctx
}
