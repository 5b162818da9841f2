package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tocsin/crypto/identity"
	"tocsin/node/api"
)

// What an authority or a registrar says after it has certified: who is revoked,
// which device is to wipe itself, that an incident is declared. Each command
// writes one file with one or more statements, for 'tocsin statement' on any
// device of the mesh.

// whoHelp is how a device is named in these commands.
const whoHelp = `WHO is a name, a person (organisation/regulator/number), a device or the
fingerprint of its request, as in 'tocsin authority list'; or the log that 'tocsin
people --json' shows, for a device that another register holds.`

type revokeFlags struct {
	device, since, out string
	yes                bool
	codes              showFlags
}

func (f *revokeFlags) add(cmd *cobra.Command, out string) {
	fl := cmd.Flags()
	fl.StringVar(&f.device, "device", "", "only this device of the person")
	fl.StringVar(&f.out, "out", out, "write the statement to this `file`")
	fl.BoolVar(&f.yes, "yes", false, "do not ask for confirmation")
	f.codes.add(fl)
}

func (a *app) authorityRevoke(dir *string) *cobra.Command {
	var f revokeFlags
	cmd := &cobra.Command{
		Use:   "revoke WHO",
		Short: "Revoke a person's devices, or a registrar: write the new list",
		Long: `Revoke every device of a person, one of them (--device), or a registrar. It writes the
complete list of what this authority has revoked; hand it to any device of the mesh
with 'tocsin statement FILE'. What was said before stays as it was.

` + whoHelp,
		Example: "  tocsin authority revoke \"Amina Khan\"\n  tocsin authority revoke stmarys.nhs.example/gmc/7654321 --since 2026-03-01T08:00:00Z",
		Args:    args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			since, err := a.sinceTime(f.since)
			if err != nil {
				return err
			}
			found, err := a.targets(*dir, args[0], f)
			if err == nil {
				err = a.confirmTargets("About to revoke:", found, f.yes)
			}
			if err != nil {
				return err
			}
			return a.withAuthority(cmd.Context(), *dir, func(o *openAuthority) error {
				raw, err := o.newCRL(a.now(), since, found...)
				if err != nil {
					return err
				}
				return a.handOut(cmd.Context(), o, f.out, f.codes, "revoked", found, raw)
			})
		},
	}
	f.add(cmd, "revoked.pem")
	cmd.Flags().StringVar(&f.since, "since", "", "from when it is not to be believed: a `time` such as 2026-03-01T08:00:00Z (default: now)")
	return cmd
}

func (a *app) sinceTime(s string) (time.Time, error) {
	if s == "" {
		return a.now(), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.After(a.now()) {
		return t, usage("Write a time that has passed, such as 2026-03-01T08:00:00Z.", "--since does not know %q", s)
	}
	return t, nil
}

// pick narrows what was found to one device where --device says so.
func pick(found []target, device string) ([]target, error) {
	if device == "" {
		return found, nil
	}
	one := slices.DeleteFunc(slices.Clone(found), func(t target) bool {
		return len(device) < minPrefix || !strings.HasPrefix(t.line.Device, strings.ToLower(device))
	})
	if len(one) != 1 {
		return nil, fail(exitNotFound, "'tocsin authority list' shows the devices.", "the person has %s that --device %q can mean", plural(len(one), "device"), device)
	}
	return one, nil
}

// targets finds whom a command is about, before any passphrase is asked for.
func (a *app) targets(flag, who string, f revokeFlags) ([]target, error) {
	if err := notThere(f.out); err != nil {
		return nil, err
	}
	dir, err := a.authorityPath(flag)
	if err != nil {
		return nil, err
	}
	d, err := openAuthorityDir(dir)
	if err != nil {
		return nil, err
	}
	found, err := d.find(who)
	if err != nil {
		return nil, err
	}
	return pick(found, f.device)
}

// notThere refuses to write over a file.
func notThere(out string) error {
	if _, err := os.Lstat(out); err == nil {
		return fail(exitInput, "Move it away, or choose another name with --out.", "%s exists already", out)
	}
	return nil
}

func (a *app) confirmTargets(heading string, found []target, yes bool) error {
	if yes {
		return nil
	}
	a.note("%s\n", heading)
	for _, t := range found {
		a.note("  %s  %s  device %s, until %s", printable(t.line.Name), t.line.Person, short(t.line.Device), when(t.line.NotAfter))
	}
	a.note("")
	return a.confirm("Are these the right ones?")
}

// newCRL makes the next list: all that was revoked, and found.
func (o *openAuthority) newCRL(now, since time.Time, found ...target) ([]byte, error) {
	list := o.trust.NextCRL(o.Issuer)
	list.Time = o.crlTime(now)
	for _, t := range found {
		if t.line.Registrar {
			if !slices.Contains(list.Registrars, t.key) {
				list.Registrars = append(list.Registrars, t.key)
			}
			continue
		}
		if slices.ContainsFunc(list.Revoked, func(r identity.Revoked) bool { return r.Key == t.key }) {
			continue
		}
		list.Revoked = append(list.Revoked, identity.Revoked{Key: t.key, Since: earlier(since, list.Time), Credential: t.line.Credential})
	}
	raw, err := o.CRL(o.trust.MeshID(), list)
	if err != nil {
		return nil, fail(exitInput, "", "the list cannot be signed: %w", err)
	}
	return raw, nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// crlTime is now, or the second after the list before it: a list must be later
// than the last one, to the second.
func (o *openAuthority) crlTime(now time.Time) time.Time {
	for _, age := range o.trust.RevocationAge(now) {
		next := age.ThisUpdate.Add(time.Second)
		if age.Org == o.Org() && age.Name == o.Name() && now.Before(next) && next.Sub(now) < time.Minute {
			return next
		}
	}
	return now
}

func (a *app) authorityWipe(dir *string) *cobra.Command {
	var f revokeFlags
	var days int
	var all bool
	cmd := &cobra.Command{
		Use:   "wipe WHO",
		Short: "Order a lost device to destroy its keys, and revoke it",
		Long: `Order a lost or stolen device to destroy its keys, and revoke it for everybody else. It
writes both statements into one file; hand it to any device of the mesh with
'tocsin statement FILE'. Everybody who has heard of it treats the device as removed;
the device itself wipes when it hears, and its receipt appears in 'tocsin people'.

There is no way back: the device must be enrolled anew.

` + whoHelp,
		Example: "  tocsin authority wipe \"Amina Khan\"\n  tocsin authority wipe \"Amina Khan\" --device 3f9c --days 30",
		Args:    args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if most := int(identity.MaxWipeLife / day); days < 1 || days > most {
				return usage("", "a device obeys for 1 to %d days", most)
			}
			found, err := a.targets(*dir, args[0], f)
			if err == nil {
				err = a.confirmWipe(args[0], found, all, f)
			}
			if err != nil {
				return err
			}
			return a.withAuthority(cmd.Context(), *dir, func(o *openAuthority) error {
				return a.wipe(cmd.Context(), o, found, days, f)
			})
		},
	}
	f.add(cmd, "wipe.pem")
	cmd.Flags().IntVar(&days, "days", 90, "for how many days the device obeys; it stays revoked for ever")
	cmd.Flags().BoolVar(&all, "all-devices", false, "every device of the person")
	return cmd
}

func (a *app) confirmWipe(who string, found []target, all bool, f revokeFlags) error {
	if len(found) > 1 && !all {
		var list []string
		for _, t := range found {
			list = append(list, short(t.line.Device))
		}
		return fail(exitInput, "Say which with --device ("+strings.Join(list, ", ")+"), or --all-devices.", "%q has %s", who, plural(len(found), "device"))
	}
	if slices.ContainsFunc(found, func(t target) bool { return t.line.Registrar }) {
		return fail(exitInput, "Revoke it with 'tocsin authority revoke'.", "a registrar is no device that could wipe itself")
	}
	return a.confirmTargets("About to order these to destroy their keys, for good:", found, f.yes)
}

func (a *app) wipe(ctx context.Context, o *openAuthority, found []target, days int, f revokeFlags) error {
	var raws [][]byte
	for _, t := range found {
		now := a.now()
		raw, err := o.Wipe(o.trust.MeshID(), identity.Wipe{Time: now, Key: t.key, Credential: t.line.Credential, NotAfter: now.Add(time.Duration(days) * day)})
		if err != nil {
			return fail(exitInput, "", "the order cannot be signed: %w", err)
		}
		raws = append(raws, raw)
	}
	list, err := o.newCRL(a.now(), a.now(), found...)
	if err != nil {
		return err
	}
	return a.handOut(ctx, o, f.out, f.codes, "wipe", found, append(raws, list)...)
}

func (a *app) authorityCRL(dir *string) *cobra.Command {
	var f revokeFlags
	cmd := &cobra.Command{
		Use:   "crl",
		Short: "Write the list of what is revoked again, with today's date",
		Long: `Write the list of what this authority has revoked again, with a new number and date.
Devices show how old the newest list is that they have heard of; one a day keeps it
fresh, also when nobody was revoked.`,
		Example: "  tocsin authority crl --out today.pem",
		Args:    args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAuthority(cmd.Context(), *dir, func(o *openAuthority) error {
				raw, err := o.newCRL(a.now(), a.now())
				if err != nil {
					return err
				}
				return a.handOut(cmd.Context(), o, f.out, f.codes, "crl", nil, raw)
			})
		},
	}
	cmd.Flags().StringVar(&f.out, "out", "crl.pem", "write the statement to this `file`")
	f.codes.add(cmd.Flags())
	return cmd
}

// handedOut is what a command that signs statements prints.
type handedOut struct {
	File       string   `json:"file"`
	Statements []string `json:"statements"` // kinds
	About      []issued `json:"about,omitempty"`
}

// handOut takes statements in as every device will, keeps what follows from them
// and a copy, and only then writes the file that goes out.
func (a *app) handOut(ctx context.Context, o *openAuthority, out string, codes showFlags, name string, about []target, raws ...[]byte) error {
	if err := notThere(out); err != nil {
		return err
	}
	h := handedOut{File: out}
	for _, raw := range raws {
		e, err := o.trust.Take(raw, a.now())
		if err != nil {
			return statementError(err)
		}
		h.Statements = append(h.Statements, e.Kind.String())
		if e.Wipe != nil && e.Wipe.RevokesOnly {
			a.note("tocsin: this registrar has ordered enough wipes today: the order revokes the device, and the authority must order it to erase itself.")
		}
	}
	text := encodeStatements(raws)
	if err := o.saveTrust(); err != nil {
		return err
	}
	if err := o.keepCopy(name, a.now(), text); err != nil {
		return err
	}
	if err := writeFile(out, text, 0o644); err != nil {
		return err
	}
	for _, t := range about {
		t.line.Credential = nil
		h.About = append(h.About, t.line)
	}
	if err := a.emit(h, func() {
		for _, l := range h.About {
			a.say("  %s  %s  device %s", printable(l.Name), l.Person, short(l.Device))
		}
		a.say("Signed: %s. On any device of the mesh: tocsin statement %s", strings.Join(h.Statements, ", "), out)
	}); err != nil {
		return err
	}
	for _, raw := range raws {
		if err := a.showCodes(ctx, codes.part(len(raws) > 1, raw), api.QRStatement, pemStatement, encodePEM(pemStatement, raw)); err != nil {
			return err
		}
	}
	return nil
}

// part gives each of several statements a directory of its own.
func (f showFlags) part(several bool, raw []byte) showFlags {
	if several && f.dir != "" {
		kind, err := identity.StatementKind(raw)
		if err == nil {
			f.dir += "-" + kind.String()
		}
	}
	return f
}

// keepCopy puts what was signed into the authority's own directory.
func (o *openAuthority) keepCopy(name string, now time.Time, text []byte) error {
	dir := o.file(statementsDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fail(exitFailed, "Check the space on the disk.", "a copy cannot be kept: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fail(exitFailed, "", "the copies cannot be listed: %w", err)
	}
	return writeFile(filepath.Join(dir, fmt.Sprintf("%04d-%s-%s.pem", len(entries)+1, now.UTC().Format("20060102T150405Z"), name)), text, 0o600)
}

// statementError says what to do about a statement that is refused.
func statementError(err error) error {
	next := "Ask whoever made it for it again."
	switch {
	case errors.Is(err, identity.ErrPostDated):
		next = "Look at the clock of this machine, and at that of the machine that signed it."
	case errors.Is(err, identity.ErrRolledBack):
		next = "A newer one is known here already."
	case errors.Is(err, identity.ErrBeyond):
		next = "The authority itself must sign this."
	case errors.Is(err, identity.ErrEarly):
		next = "Import what it builds on first, such as the trust bundle before it."
	}
	return fail(exitVerify, next, "the statement is refused: %w", err)
}
