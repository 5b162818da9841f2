package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tocsin/crypto/identity"
	"tocsin/node"
	"tocsin/node/api"
)

// Sponsoring admits a device that no authority can certify now: a person's own
// second device, which their first vouches for, or a colleague in an emergency
// (break-glass), for whom three do.
const (
	pemSponsorRequest = "TOCSIN SPONSOR REQUEST"
	pemSponsorship    = "TOCSIN SPONSORSHIP"

	sponsorRequestFile = "sponsor-request.pem"
)

func (a *app) sponsorCommand() *cobra.Command {
	cmd := family("sponsor", "Vouch for a device that no authority can certify now",
		"  tocsin sponsor request --kind break-glass --hours 24\n  tocsin sponsor vouch sponsor-request.pem",
		a.sponsorRequest(), a.sponsorVouch(), a.sponsorJoin(), a.sponsorRevoke())
	cmd.Long = `Vouch for a device that no authority can certify now.

Your own second device needs your first one, and is admitted for a week at most. A
colleague whose organisation cannot be reached needs three of you, one with the role
"senior", each of whom has met them in person, and is admitted for 72 hours at most, to named
groups, with a badge that stays.

On the new device:      tocsin init …, then tocsin sponsor request
At each sponsor:        tocsin sponsor vouch sponsor-request.pem
On the new device:      tocsin sponsor join sponsorship*.pem`
	return cmd
}

type sponsorFlags struct {
	kind   string
	hours  int
	groups []string
	out    string
	codes  showFlags
}

func (a *app) sponsorRequest() *cobra.Command {
	var f sponsorFlags
	cmd := &cobra.Command{
		Use:   "request",
		Short: "On the new device: ask to be vouched for",
		Long: `Ask to be vouched for. The request is signed by this device's keys and says for how long,
and for which groups. Show it to each sponsor, and compare the fingerprint.`,
		Example: "  tocsin sponsor request --kind own-device\n  tocsin sponsor request --kind break-glass --hours 24 --group 5f0c…",
		Args:    args(0, 0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.askSponsors(cmd.Context(), f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.kind, "kind", "own-device", "own-device or break-glass")
	fl.IntVar(&f.hours, "hours", 0, "for how many hours (default: 168 for an own device, 72 for break-glass, which are the most)")
	fl.StringSliceVar(&f.groups, "group", nil, "`id` of a group to be admitted to (may be repeated); a break-glass request needs one")
	fl.StringVar(&f.out, "out", sponsorRequestFile, "write the request to this `file`")
	f.codes.add(fl)
	return cmd
}

func (f sponsorFlags) terms(now time.Time) (identity.SponsorTerms, error) {
	t := identity.SponsorTerms{Now: now}
	most := identity.MaxOwnDevice
	switch f.kind {
	case "own-device":
	case "break-glass":
		t.BreakGlass, most = true, identity.MaxBreakGlass
	default:
		return t, usage("Choose own-device or break-glass.", "--kind does not know %q", f.kind)
	}
	t.Validity = time.Duration(f.hours) * time.Hour
	if f.hours == 0 {
		t.Validity = most - identity.Backdate
	}
	for _, g := range f.groups {
		id, err := hex.DecodeString(g)
		if err != nil || len(id) != 32 {
			return t, usage("It is 64 hexadecimal digits, as 'tocsin groups list --json' shows at the sponsor.", "%q is no id of a group", g)
		}
		t.Groups = append(t.Groups, [32]byte(id))
	}
	return t, nil
}

func (a *app) askSponsors(ctx context.Context, f sponsorFlags) (err error) {
	terms, err := f.terms(a.now())
	if err != nil {
		return err
	}
	if _, err := os.Lstat(f.out); err == nil {
		return fail(exitInput, "Move it away, or choose another name with --out.", "%s exists already", f.out)
	}
	n, err := a.openNewcomer(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.close()) }()
	text, err := os.ReadFile(n.d.file(requestFile))
	if err != nil {
		return fail(exitInput, "Set this device up again with 'tocsin init'.", "the request of this device cannot be read: %w", err)
	}
	first, err := identity.ParseRequestPEM(text)
	if err != nil {
		return fail(exitVerify, "Set this device up again in an empty directory with 'tocsin init'.", "the request is damaged: %w", err)
	}
	req, err := identity.NewSponsorRequest(first.Wish(), terms, n.relay, n.keys)
	if err != nil {
		return fail(exitInput, "", "the request cannot be made: %w", err)
	}
	out := encodePEM(pemSponsorRequest, req.Marshal())
	if err := errors.Join(writeFile(n.d.file(sponsorRequestFile), out, 0o644), writeFile(f.out, out, 0o644)); err != nil {
		return err
	}
	if err := a.showCodes(ctx, f.codes, api.QRSponsor, pemSponsorRequest, out); err != nil {
		return err
	}
	print := req.Fingerprint()
	return a.emit(map[string]any{"request": f.out, "fingerprint": print, "not_after": req.NotAfter()}, func() {
		a.say("The request is in %s, for admission until %s.", f.out, when(req.NotAfter()))
		a.say("Compare its fingerprint with each sponsor:\n\n    %s\n", a.style().bold(print))
		a.say("At each sponsor: tocsin sponsor vouch %s", f.out)
	})
}

// newcomer is a device that is set up, at work without a node.
type newcomer struct {
	d     dataDir
	relay *identity.RelayKeys
	keys  *identity.VaultKeys
	close func() error
}

func (a *app) openNewcomer(ctx context.Context) (_ *newcomer, err error) {
	c, err := a.load()
	if err != nil {
		return nil, err
	}
	n := &newcomer{}
	if n.d, err = openDataDir(c.text(keyData)); err != nil {
		return nil, err
	}
	lock, err := n.d.lock()
	if err != nil {
		return nil, err
	}
	if n.relay, err = n.d.relayKeys(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	v, err := a.unlockVault(ctx, c, n.d.file(vaultDir), "this device")
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	n.close = func() error { return errors.Join(v.Close(), lock.Close()) }
	if n.keys, err = vaultKeys(v); err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

func (a *app) sponsorVouch() *cobra.Command {
	var out string
	var yes bool
	cmd := a.guardedCommand("vouch REQUEST...", "At a sponsor: vouch for the device of a request",
		"  tocsin sponsor vouch sponsor-request.pem --out sponsorship-1.pem", args(1, -1),
		func(ctx context.Context, client *api.Client, again func() (string, error), paths []string) error {
			if _, err := os.Lstat(out); err == nil {
				return fail(exitInput, "Move it away, or choose another name with --out.", "%s exists already", out)
			}
			raw, view, err := a.viewSponsored(ctx, client, paths)
			if err != nil {
				return err
			}
			if err := a.meetNewcomer(ctx, client, view, yes); err != nil {
				return err
			}
			token, err := again()
			if err != nil {
				return err
			}
			answer, err := client.Sponsor(ctx, token, raw, node.SponsorSpec{Kind: view.Kind, Groups: view.Groups, Scanned: true})
			if err != nil {
				return err
			}
			return a.writeSponsorship(ctx, client, answer, out)
		})
	cmd.Long = `Vouch for the device of a request. It is shown who asks, for how long and for which
groups. The newcomer must stand in front of you: both devices show the same sixty digits
('tocsin sponsor request' showed the newcomer the fingerprint), which you compare first.

REQUEST is a file, or pictures of its QR codes.`
	cmd.Flags().StringVar(&out, "out", "sponsorship.pem", "write the answer to this `file`")
	cmd.Flags().BoolVar(&yes, "yes", false, "the newcomer was met in person, and the fingerprint compared")
	return cmd
}

func (a *app) viewSponsored(ctx context.Context, client *api.Client, paths []string) ([]byte, node.SponsorView, error) {
	text, err := a.readDocument(paths, "request to sponsor", api.QRSponsor, pemSponsorRequest, identity.MaxPEM)
	if err != nil {
		return nil, node.SponsorView{}, err
	}
	raw, ok := onePEM(pemSponsorRequest, text)
	if !ok {
		return nil, node.SponsorView{}, fail(exitInput, "Ask for the file that 'tocsin sponsor request' wrote.", "this is no request to be vouched for")
	}
	view, err := client.SponsorView(ctx, raw)
	return raw, view, err
}

// meetNewcomer makes sure that the newcomer was met on this device: where no
// codes were scanned, by the fingerprint of the request.
func (a *app) meetNewcomer(ctx context.Context, client *api.Client, view node.SponsorView, yes bool) error {
	if !yes {
		a.note("About to vouch for:\n")
		a.note("  name         %s", printable(view.Name))
		a.note("  person       %s", view.Person)
		a.note("  roles        %s", orNone(view.Roles))
		a.note("  kind         %s, until %s", view.Kind, when(view.Until))
		a.note("  groups       %s", orNone(view.Groups))
		a.note("  fingerprint  %s\n", a.style().bold(view.Fingerprint))
		if err := a.confirm("Do they stand in front of you, and does their device show this fingerprint?"); err != nil {
			return err
		}
	}
	if view.Met {
		return nil
	}
	d, err := client.Digits(ctx, view.Log)
	if err != nil {
		return err
	}
	_, err = client.VerifyDigits(ctx, view.Log, d.Digits)
	return err
}

// writeSponsorship writes all that the newcomer needs: the sponsorship, the trust
// bundle of the mesh, and the statements in force.
func (a *app) writeSponsorship(ctx context.Context, client *api.Client, answer node.SponsorAnswer, out string) error {
	c, err := a.load()
	if err != nil {
		return err
	}
	d, err := openDataDir(c.text(keyData))
	if err != nil {
		return err
	}
	bundle, err := d.bundle()
	if err != nil {
		return err
	}
	statements, err := client.RawStatements(ctx)
	if err != nil {
		return err
	}
	text := append(encodePEM(pemSponsorship, answer.Answer), bundle.MarshalPEM()...)
	text = append(text, encodeStatements(statements)...)
	if err := writeFile(out, text, 0o644); err != nil {
		return err
	}
	return a.emit(map[string]string{"sponsorship": out, "words": answer.Words}, func() {
		a.say("%s", printable(answer.Words))
		a.say("It is in %s. On the new device: tocsin sponsor join %s", out, out)
	})
}

func (a *app) sponsorJoin() *cobra.Command {
	return &cobra.Command{
		Use:     "join SPONSORSHIP...",
		Short:   "On the new device: import what the sponsors answered",
		Example: "  tocsin sponsor join sponsorship-1.pem sponsorship-2.pem sponsorship-3.pem",
		Args:    args(1, 3),
		RunE:    func(cmd *cobra.Command, files []string) error { return a.joinSponsored(cmd.Context(), files) },
	}
}

// sponsorships is what the files of all sponsors say together.
type sponsorships struct {
	votes      [][]byte
	bundle     *identity.Bundle
	statements [][]byte
}

func (s *sponsorships) add(text []byte) error {
	no := fail(exitInput, "Give the files that 'tocsin sponsor vouch' wrote.", "this is no sponsorship")
	votes := len(s.votes)
	for len(bytes.TrimSpace(text)) > 0 {
		block, rest := pem.Decode(text)
		if block == nil {
			return no
		}
		switch block.Type {
		case pemSponsorship:
			s.votes = append(s.votes, block.Bytes)
		case pemStatement:
			s.statements = append(s.statements, block.Bytes)
		case "TOCSIN TRUST BUNDLE":
			b, err := identity.ParseBundle(block.Bytes)
			if err != nil {
				return err
			}
			if s.bundle != nil && s.bundle.MeshID() != b.MeshID() {
				return fail(exitInput, "Ask sponsors of one mesh.", "the sponsorships are of two meshes")
			}
			s.bundle = b
		default:
			return no
		}
		text = rest
	}
	if len(s.votes) != votes+1 || s.bundle == nil {
		return no
	}
	return nil
}

func (a *app) joinSponsored(ctx context.Context, files []string) (err error) {
	var all sponsorships
	for _, file := range files {
		text, err := a.readInput(file, "sponsorship", 4*identity.MaxPEM)
		if err != nil {
			return err
		}
		if err := all.add(text); err != nil {
			return err
		}
	}
	c, err := a.load()
	if err != nil {
		return err
	}
	d, err := openDataDir(c.text(keyData))
	if err != nil {
		return err
	}
	text, err := os.ReadFile(d.file(sponsorRequestFile))
	if err != nil {
		return fail(exitInput, "Make one with 'tocsin sponsor request'.", "this device has no request to be vouched for: %w", err)
	}
	raw, ok := onePEM(pemSponsorRequest, text)
	if !ok {
		return fail(exitInput, "Make a new one with 'tocsin sponsor request'.", "%s is damaged", d.file(sponsorRequestFile))
	}
	req, err := identity.ParseSponsorRequest(raw)
	if err != nil {
		return fail(exitInput, "Make a new one with 'tocsin sponsor request'.", "the request is refused: %w", err)
	}
	answer, err := identity.AssembleSponsored(req, all.bundle, all.votes, all.statements)
	if err != nil {
		return fail(exitVerify, "Ask each sponsor again; a break-glass admission needs three, of three people, one of them with the role \"senior\".",
			"the sponsorships do not admit this device: %w", err)
	}
	return a.importAnswer(ctx, c, d, answer)
}

func (a *app) sponsorRevoke() *cobra.Command {
	cmd := a.guardedCommand("revoke PERSON", "Take back what you vouched for: the device is out at once, wherever the word reaches",
		"  tocsin sponsor revoke \"Ines Duarte\"", args(1, 1),
		func(ctx context.Context, client *api.Client, again func() (string, error), args []string) error {
			log, err := a.sponsoredLog(ctx, client, args[0])
			if err != nil {
				return err
			}
			token, err := again()
			if err != nil {
				return err
			}
			info, err := client.RevokeSponsored(ctx, token, log)
			if err != nil {
				return err
			}
			return a.emit(info, func() { a.say("%s", printable(info.Words)) })
		})
	cmd.Long = "Take back what you vouched for. Any one of the sponsors is enough. PERSON is a name, a\nperson (organisation/regulator/number) or a log, as 'tocsin people' shows them."
	return cmd
}

// sponsoredLog finds the sponsored device that a name means.
func (a *app) sponsoredLog(ctx context.Context, client *api.Client, who string) (string, error) {
	people, err := client.People(ctx)
	if err != nil {
		return "", err
	}
	var logs []string
	for _, p := range people {
		if p.Sponsored == nil {
			continue
		}
		if p.Log == who || strings.EqualFold(p.Name, who) || p.Org+"/"+p.Regulator+"/"+p.Number == who {
			logs = append(logs, p.Log)
		}
	}
	switch len(logs) {
	case 1:
		return logs[0], nil
	case 0:
		return "", fail(exitNotFound, "'tocsin people' shows who was sponsored.", "no sponsored device of %q is known", who)
	}
	return "", fail(exitInput, "Name it by its log, as 'tocsin people --json' shows.", "%q has %s", who, plural(len(logs), "sponsored device"))
}
