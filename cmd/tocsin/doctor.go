package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
	"tocsin/node/api"
)

// The states of one check.
const (
	checkOK   = "ok"
	checkWarn = "warning"
	checkBad  = "wrong"
)

// diagnosis is the outcome of one check.
type diagnosis struct {
	Check string `json:"check"`
	State string `json:"state"`
	Found string `json:"found"`
	Next  string `json:"next,omitempty"`
}

func ok(format string, args ...any) diagnosis {
	return diagnosis{State: checkOK, Found: fmt.Sprintf(format, args...)}
}

func warn(next, format string, args ...any) diagnosis {
	return diagnosis{State: checkWarn, Found: fmt.Sprintf(format, args...), Next: next}
}

func bad(next, format string, args ...any) diagnosis {
	return diagnosis{State: checkBad, Found: fmt.Sprintf(format, args...), Next: next}
}

// badError turns an error with its next step into a diagnosis.
func badError(err error) diagnosis {
	f := asFailure(err)
	return bad(f.next, "%s", plainWords(f.err))
}

// patient is what the checks look at.
type patient struct {
	a       *app
	c       *config
	d       dataDir
	running *api.Client // nil when no node runs
}

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Say what is wrong with this device, and what to do",
		Long: `Say what is wrong with this device, and what to do. It changes nothing and needs no
passphrase. The exit code is 1 when something is wrong.`,
		Example: "  tocsin doctor\n  tocsin doctor --json",
		Args:    args(0, 0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.doctor(cmd.Context()) },
	}
}

func (a *app) doctor(ctx context.Context) error {
	var all []diagnosis
	add := func(name string, d diagnosis) bool {
		d.Check = name
		all = append(all, d)
		return d.State != checkBad
	}
	p := &patient{a: a}
	if add("configuration", p.configuration()) && add("data directory", p.directory()) {
		p.connect()
		add("node", p.node(ctx))
		add("permissions", p.permissions())
		add("disk space", p.space())
		add("vault", p.vault())
		add("enrolment", p.enrolment())
		add("clock", p.clock())
		add("lease", p.lease())
		add("revocations", p.revocations(ctx))
		add("logs", p.logs(ctx))
		add("neighbours", p.neighbours(ctx))
		add("web address", p.port())
		add("socket", p.socket())
	}
	return a.showDiagnoses(all)
}

func (a *app) showDiagnoses(all []diagnosis) error {
	wrong := 0
	for _, d := range all {
		if d.State == checkBad {
			wrong++
		}
	}
	if err := a.emit(all, func() {
		s := a.style()
		mark := map[string]string{checkOK: s.green("ok     "), checkWarn: s.bold("warning"), checkBad: s.red("WRONG  ")}
		for _, d := range all {
			a.say("%s  %-15s %s", mark[d.State], d.Check, d.Found)
			if d.Next != "" {
				a.say("%26s%s", "", d.Next)
			}
		}
	}); err != nil {
		return err
	}
	if wrong > 0 {
		return fail(exitFailed, "", "%s wrong", things(wrong))
	}
	return nil
}

func (p *patient) configuration() diagnosis {
	c, err := p.a.load()
	if err != nil {
		return badError(err)
	}
	p.c = c
	if _, err := os.Stat(c.file); err != nil {
		return ok("defaults, variables and flags; there is no %s", c.file)
	}
	return ok("%s", c.file)
}

func (p *patient) directory() diagnosis {
	d, err := openDataDir(p.c.text(keyData))
	if err != nil {
		return badError(err)
	}
	p.d = d
	probe, err := os.CreateTemp(string(d), ".doctor-")
	if err != nil {
		return bad("Check who owns it, that the disk is not full, and that it is not mounted read-only.", "%s cannot be written: %v", d, err)
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return bad("Check the disk.", "%s: %v", d, err)
	}
	return ok("%s, format %d", d, dataVersion)
}

// connect finds the running node, if there is one.
func (p *patient) connect() {
	if client, err := api.Dial(p.a.env.socketPlace(string(p.d)).path); err == nil {
		p.running = client
	}
}

func (p *patient) node(ctx context.Context) diagnosis {
	if p.running != nil {
		st, err := p.running.Status(ctx)
		if err != nil {
			return badError(err)
		}
		if st.Problem != "" {
			return bad("", "%s", st.Problem)
		}
		return ok("up since %s, %s, %s in reach", when(st.Started), stateWords(st), plural(st.Peers, "device"))
	}
	lock, err := p.d.lock()
	if err != nil {
		if asFailure(err).code == exitInUse {
			return bad("Wait a moment, or end the other process.", "another process holds the directory and does not answer")
		}
		return badError(err)
	}
	if err := lock.Close(); err != nil {
		return badError(err)
	}
	return warn("Start it with 'tocsin up'.", "not running")
}

func (p *patient) permissions() diagnosis {
	for _, name := range []string{".", relayFile, vaultDir, storeDir, tokenFile} {
		path := p.d.file(name)
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return badError(err)
		}
		if !ownedByUs(info) {
			return bad("Run 'tocsin' as the user that it was set up for.", "%s belongs to another user", path)
		}
		if !privateMode(info) {
			return bad("Run: chmod go= "+path, "other users of this machine can reach %s", path)
		}
	}
	return ok("only you can reach the keys")
}

// The disk space below which doctor complains: the store stops writing at its
// own floor, below the first of them.
const (
	spaceBad  = 128 << 20
	spaceWarn = 1 << 30
)

func (p *patient) space() diagnosis {
	free, err := freeSpace(string(p.d))
	const next = "Delete what is not needed. A node that cannot save tells its senders so."
	switch {
	case err != nil:
		return warn("", "the free space cannot be told: %v", err)
	case free < spaceBad:
		return bad(next, "only %d MB are free", free>>20)
	case free < spaceWarn:
		return warn(next, "only %d MB are free", free>>20)
	}
	return ok("%d MB are free", free>>20)
}

func (p *patient) vault() diagnosis {
	if p.running != nil {
		return ok("in use by the node")
	}
	v, err := vault.Open(p.d.file(vaultDir))
	if err != nil {
		return bad("Put the whole data directory back from a copy.", "%s", plainWords(err))
	}
	if err := v.Close(); err != nil {
		return badError(err)
	}
	return ok("there; whether the passphrase fits is not tried")
}

// credential reads this device's credential and the trust store behind it.
func (p *patient) credential() (*identity.Credential, *identity.TrustStore, error) {
	bundle, err := p.d.bundle()
	if err != nil {
		return nil, nil, err
	}
	trust, err := identity.NewTrustStore(bundle)
	if err != nil {
		return nil, nil, err
	}
	raw, err := p.d.wire(credentialFile, pemCredential)
	if err != nil {
		return nil, nil, err
	}
	cred, err := trust.ReadCredential(raw)
	return cred, trust, err
}

// expiryNotice is how long before its end a credential is complained about.
const expiryNotice = 21 * day

func (p *patient) enrolment() diagnosis {
	if enrolled, err := p.d.enrolled(); err != nil || !enrolled {
		return badError(errors.Join(err, p.d.notEnrolled()))
	}
	cred, trust, err := p.credential()
	if err != nil {
		return bad("Import your organisation's answer again with 'tocsin enrol'.", "%s", plainWords(err))
	}
	relay, err := p.d.relayKeys()
	if err != nil {
		return badError(err)
	}
	now := p.a.now()
	who := fmt.Sprintf("%s (%s)", printable(cred.Claims.Name), cred.Person)
	const next = "Send 'tocsin enrol --request' to your organisation and import the answer."
	if now.After(cred.NotAfter) {
		return bad(next, "the credential of %s ended on %s", who, when(cred.NotAfter))
	}
	chain, err := p.d.wire(admissionFile, pemAdmission)
	if err != nil {
		return badError(err)
	}
	if _, err := trust.VerifyAdmission(chain, relay.PeerID(), now); err != nil && !errors.Is(err, identity.ErrExpired) {
		return bad("Import your organisation's answer again with 'tocsin enrol'.", "%s", plainWords(err))
	}
	if now.Add(expiryNotice).After(cred.NotAfter) {
		return warn(next, "the credential of %s ends on %s", who, when(cred.NotAfter))
	}
	return ok("%s, until %s, mesh %s", who, when(cred.NotAfter), printable(trust.Bundle().Name()))
}

// clock finds a clock that is off from what is known to have happened: the
// credential was issued, and files were written.
func (p *patient) clock() diagnosis {
	now := p.a.now()
	latest := time.Time{}
	if cred, _, err := p.credential(); err == nil {
		latest = cred.NotBefore
	}
	for _, name := range []string{storeDir, vaultDir, admissionFile, "ticket.bin"} {
		if info, err := os.Stat(p.d.file(name)); err == nil && info.ModTime().After(latest) {
			latest = info.ModTime()
		}
	}
	const slack = 5 * time.Minute
	if now.Add(slack).Before(latest) {
		return bad("Set the clock: with a wrong one others refuse this device, and messages are not sent.",
			"the clock says %s, and this directory was written at %s", when(now), when(latest))
	}
	return ok("%s", when(now))
}

// lease looks at the ticket's age: neighbours refuse a device that nobody has
// unlocked for a week.
func (p *patient) lease() diagnosis {
	info, err := os.Stat(p.d.file("ticket.bin"))
	if errors.Is(err, fs.ErrNotExist) {
		return warn("Unlock the device once.", "this device has not been unlocked yet, and other devices refuse it until it is")
	}
	if err != nil {
		return badError(err)
	}
	left := identity.MaxTicketLife - p.a.now().Sub(info.ModTime())
	switch {
	case left <= 0:
		return bad("Unlock the device.", "it was last unlocked on %s, and other devices refuse it", when(info.ModTime()))
	case left < 2*day:
		return warn("Unlock the device.", "other devices refuse it from %s", when(info.ModTime().Add(identity.MaxTicketLife)))
	}
	return ok("other devices admit it until %s, and each unlocking renews that", when(info.ModTime().Add(identity.MaxTicketLife)))
}

// revocations says how old what is known of lost devices is, and whether this
// one is among them.
func (p *patient) revocations(ctx context.Context) diagnosis {
	if p.running == nil {
		return ok("not looked at: the node is not running")
	}
	st, err := p.running.Status(ctx)
	if err != nil {
		return badError(apiError(err))
	}
	switch st.Standing.State {
	case "revoked", "wiped", "expired":
		return bad("Ask your organisation.", "this device is %s: %s", st.Standing.State, printable(st.Standing.Words))
	}
	var old []string
	for _, r := range st.Revocation {
		if r.State == "stale" || r.State == "none" {
			old = append(old, printable(r.Words))
		}
	}
	if len(old) > 0 {
		return warn("Have the authority run 'tocsin authority crl', and hand the file to any device in reach with 'tocsin statement'.",
			"%s", strings.Join(old, " "))
	}
	return ok("the lists of %s are at most a week old", plural(len(st.Revocation), "issuer"))
}

func (p *patient) logs(ctx context.Context) diagnosis {
	if p.running != nil {
		return ok("in use by the node; 'tocsin log verify' checks every entry")
	}
	if _, err := os.Stat(p.d.file(storeDir)); errors.Is(err, fs.ErrNotExist) {
		return ok("none yet")
	}
	r, err := p.a.openOfflineLogs(ctx, p.d)
	if err != nil {
		return badError(err)
	}
	logs, err := r.logs(ctx)
	if err = errors.Join(err, r.close()); err != nil {
		return badError(err)
	}
	return ok("%s; 'tocsin log verify' checks every entry", plural(len(logs), "log"))
}

func (p *patient) port() diagnosis {
	addr := p.c.text(keyAPI)
	if p.running != nil {
		return ok("in use by the node; 'tocsin open' prints it")
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return bad("End that program, or choose another address with --api or api.listen.", "%s cannot be used: %v", addr, err)
	}
	if err := l.Close(); err != nil {
		return badError(err)
	}
	return ok("%s is free", addr)
}

func (p *patient) socket() diagnosis {
	s := p.a.env.socketPlace(string(p.d))
	if s.moved {
		return ok("%s, because the path of the data directory is too long for one", filepath.Clean(s.path))
	}
	return ok("%s", s.path)
}
