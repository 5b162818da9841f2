package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	libcrypto "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/spf13/cobra"

	"tocsin/crypto/identity"
	"tocsin/node/api"
)

type issueFlags struct {
	roles              []string
	days               int
	daysGiven          bool
	relay, provisional bool
	out                string
	yes                bool
	codes              showFlags
}

func (a *app) authorityIssue(dir *string) *cobra.Command {
	var f issueFlags
	cmd := &cobra.Command{
		Use:   "issue REQUEST...",
		Short: "Certify a device: print what is certified, ask, and write the answer",
		Long: `Certify a device. The request is checked, what would be certified is printed, and
you are asked. Look at the person, not only at the screen: their registration,
and the fingerprint that their device shows.

The answer holds nothing secret that others could open. Send it any way you like.

The request is a file, or pictures (PNG or JPEG) of the QR codes that the device
shows with 'tocsin enrol --request --qr', in any order.

A registrar issues in the same way, with --registrar DIR: for a week at most, and
only the roles that it was given.`,
		Example: "  tocsin authority issue request.pem\n  tocsin authority issue request.pem --role consultant --days 90 --out khan.pem\n  tocsin authority issue --registrar desk photo-*.jpg --days 6",
		Args:    args(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.daysGiven = cmd.Flags().Changed("days")
			if most := int((identity.MaxLeafValidity - identity.Backdate) / day); f.days < 1 || f.days > most {
				return usage("", "a credential is issued for 1 to %d days", most)
			}
			return a.issue(cmd.Context(), *dir, args, f)
		},
	}
	fl := cmd.Flags()
	fl.StringSliceVar(&f.roles, "role", nil, "grant this role instead of those asked for (may be repeated)")
	fl.IntVar(&f.days, "days", 365, "how long the credential is valid")
	fl.BoolVar(&f.relay, "relay", false, "certify a relay, which carries and cannot read")
	fl.BoolVar(&f.provisional, "provisional", false, "mark the credential as provisional wherever it is shown")
	fl.StringVar(&f.out, "out", "response.pem", "write the answer to this `file`")
	f.codes.add(fl)
	fl.BoolVar(&f.yes, "yes", false, "do not ask for confirmation")
	return cmd
}

func (a *app) issue(ctx context.Context, flag string, paths []string, f issueFlags) (err error) {
	dir, err := a.authorityPath(flag)
	if err != nil {
		return err
	}
	req, err := a.readRequest(paths)
	if err != nil {
		return err
	}
	o, err := a.openAuthority(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	key, err := o.meshKey()
	if err != nil {
		return err
	}
	defer clear(key[:])
	if f.days, err = o.validDays(f); err != nil {
		return err
	}
	if _, err := os.Lstat(f.out); err == nil {
		return fail(exitInput, "Move it away, or choose another name with --out.", "%s exists already", f.out)
	}
	line := a.certified(req, f)
	if !f.yes {
		a.printCertified(line)
		if err := a.confirm("Certify this?"); err != nil {
			return err
		}
	}
	answer, err := o.Issue(req, identity.Grant{
		Now: line.Time, Validity: line.NotAfter.Sub(line.Time), Roles: line.Roles, Bundle: o.trust.Genesis(), Statements: o.trust.Statements(),
		MeshKey: key, Relay: f.relay, Provisional: f.provisional,
	})
	if err != nil {
		return fail(exitInput, "", "the request cannot be granted: %w", err)
	}
	line.Credential = answer.Credential
	if err := o.register(line); err != nil {
		return err
	}
	response, err := answer.MarshalPEM()
	if err != nil {
		return err
	}
	if err := writeFile(f.out, response, 0o644); err != nil {
		return err
	}
	if err := a.showCodes(ctx, f.codes, api.QRAnswer, "TOCSIN ENROLMENT", response); err != nil {
		return err
	}
	return a.emit(struct {
		issued
		Response string `json:"response"`
	}{line, f.out}, func() {
		a.say("Certified %s (%s) until %s.", printable(line.Name), line.Person, when(line.NotAfter))
		a.say("The answer is in %s. On the device: tocsin enrol %s", f.out, f.out)
	})
}

// readRequest reads a request from a file, or from pictures of its QR codes.
func (a *app) readRequest(paths []string) (*identity.Request, error) {
	text, err := a.readDocument(paths, "request", api.QRRequest, "TOCSIN ENROLMENT REQUEST", identity.MaxPEM)
	if err != nil {
		return nil, err
	}
	req, err := identity.ParseRequestPEM(text)
	if err != nil {
		return nil, fail(exitInput, "Ask for the file that 'tocsin enrol --request' prints.", "this is no request of a device: %w", err)
	}
	return req, nil
}

// registrarDays is the longest life of what a registrar issues, in whole days.
const registrarDays = int((identity.MaxRegistrarLeafValidity - identity.Backdate) / day)

// validDays gives a registrar its own default, and says what it may.
func (o *openAuthority) validDays(f issueFlags) (int, error) {
	if !o.IsRegistrar() || f.days <= registrarDays {
		return f.days, nil
	}
	if !f.daysGiven {
		return registrarDays, nil
	}
	return 0, fail(exitInput, "Choose fewer with --days, or ask the authority.", "what a registrar issues is valid for %d days at most", registrarDays)
}

// certified says what would be certified.
func (a *app) certified(req *identity.Request, f issueFlags) issued {
	wish := req.Wish()
	roles := wish.Claims.Roles
	if f.roles != nil {
		roles = slices.Compact(slices.Sorted(slices.Values(f.roles)))
	}
	now := a.now()
	return issued{
		Time: now, Fingerprint: req.Fingerprint(), Name: wish.Claims.Name, Person: wish.Person.String(),
		Roles: roles, Device: identity.DeviceID(req.Signing()), PeerID: peerID(req.Transport()),
		Key:   hexOf(identity.TicketKey(req.Signing())),
		Relay: f.relay, Provisional: f.provisional, NotAfter: now.Add(time.Duration(f.days) * day),
	}
}

// peerID writes a transport key as libp2p does. Every key of a request has
// been checked, so that it has one.
func peerID(k identity.Key) string {
	public, err := libcrypto.UnmarshalEd25519PublicKey(k[:])
	if err != nil {
		return ""
	}
	id, err := peer.IDFromPublicKey(public)
	if err != nil {
		return ""
	}
	return id.String()
}

func (a *app) printCertified(l issued) {
	a.note("About to certify:\n")
	a.note("  name         %s", printable(l.Name))
	a.note("  person       %s", l.Person)
	a.note("  roles        %s", orNone(l.Roles))
	a.note("  device       %s", l.Device)
	a.note("  peer id      %s", l.PeerID)
	a.note("  valid until  %s", when(l.NotAfter))
	if l.Relay {
		a.note("  relay        yes: it carries and cannot read")
	}
	if l.Provisional {
		a.note("  provisional  yes")
	}
	a.note("  fingerprint  %s\n", a.style().bold(l.Fingerprint))
}
