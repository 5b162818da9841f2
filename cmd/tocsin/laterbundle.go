package main

import (
	"crypto/x509"
	"errors"
	"os"
	"time"

	"github.com/spf13/cobra"

	"tocsin/crypto/identity"
)

// A later trust bundle adds authorities to a mesh, or takes them out, in the
// middle of an incident and without splitting it. One authority drafts it, each
// signs, and with the signatures of more than half of those in force it becomes
// a statement that any device carries.

func (a *app) bundleAddRoot(dir *string) *cobra.Command {
	var out string
	var remove []string
	cmd := &cobra.Command{
		Use:   "add-root [AUTHORITY.pem...]",
		Short: "Draft and sign the next trust bundle, with more authorities, or fewer",
		Long: `Draft the next trust bundle of a mesh that stands: the authorities in force, those
named, and without those of --remove. It is signed by this authority, and goes to the
others for 'tocsin authority bundle sign'. When more than half of those in force have
signed, it is a statement: hand it to any device with 'tocsin statement FILE'.

Without a certificate it renews the bundle with the same authorities, which is what a new
mesh key belongs to.`,
		Example: "  tocsin authority bundle add-root eastside.pem --out next.pem",
		Args:    args(0, -1),
		RunE: func(cmd *cobra.Command, files []string) error {
			return a.withAuthority(cmd.Context(), *dir, func(o *openAuthority) error { return a.draftBundle(o, files, remove, out) })
		},
	}
	cmd.Flags().StringVar(&out, "out", "next.pem", "write the draft, or the finished statement, to this `file`")
	cmd.Flags().StringSliceVar(&remove, "remove", nil, "leave out the authorities of this `organisation` (may be repeated)")
	return cmd
}

func (a *app) draftBundle(o *openAuthority, files, remove []string, out string) error {
	current := o.trust.Bundle()
	roots, err := a.nextRoots(current, files, remove)
	if err != nil {
		return err
	}
	now := a.now()
	if floor := current.Created().Add(time.Second); now.Before(floor) && floor.Sub(now) < time.Minute {
		now = floor // the one before was made within this second
	}
	next, err := identity.NextBundle(current, now, roots...)
	if err != nil {
		return fail(exitInput, "", "these certificates make no trust bundle: %w", err)
	}
	return a.signBundle(o, next, out)
}

func (a *app) nextRoots(current *identity.Bundle, files, remove []string) ([]*x509.Certificate, error) {
	gone := map[string]bool{}
	for _, org := range remove {
		gone[org] = true
	}
	var roots []*x509.Certificate
	for _, r := range current.Roots() {
		if gone[r.Org] {
			delete(gone, r.Org)
			continue
		}
		roots = append(roots, r.Certificate)
	}
	for org := range gone {
		return nil, fail(exitNotFound, "'tocsin authority trust' and the last bundle name those in force.", "no authority of %q is in the trust bundle", org)
	}
	for _, file := range files {
		text, err := a.readInput(file, "certificate", identity.MaxPEM)
		if err != nil {
			return nil, err
		}
		cert, err := identity.ParseCertificatePEM(text)
		if err != nil {
			return nil, fail(exitInput, "Give the authority.pem that 'tocsin authority init' wrote.", "%s is no certificate: %w", file, err)
		}
		roots = append(roots, cert)
	}
	return roots, nil
}

func (a *app) bundleSign(dir *string) *cobra.Command {
	var out string
	var yes bool
	cmd := &cobra.Command{
		Use:     "sign DRAFT.pem",
		Short:   "Add this authority's signature to the next trust bundle",
		Example: "  tocsin authority bundle sign next.pem --out next-signed.pem",
		Args:    args(1, 1),
		RunE: func(cmd *cobra.Command, files []string) error {
			text, err := a.readInput(files[0], "draft", identity.MaxPEM)
			if err != nil {
				return err
			}
			draft, err := identity.ParseBundlePEM(text)
			if err != nil || draft.Number() == 0 {
				return fail(exitInput, "Give the file that 'tocsin authority bundle add-root' wrote.", "this is no draft of a trust bundle")
			}
			return a.withAuthority(cmd.Context(), *dir, func(o *openAuthority) error {
				if !yes {
					a.note("Trust bundle %d of the mesh %q would trust:", draft.Number(), printable(draft.Name()))
					for _, r := range rootsOf(draft) {
						a.note("  %s  %s  %s", r.Org, printable(r.Name), r.Fingerprint)
					}
					if err := a.confirm("Have you compared the fingerprints of those that are new?"); err != nil {
						return err
					}
				}
				return a.signBundle(o, draft, out)
			})
		},
	}
	cmd.Flags().StringVar(&out, "out", "next-signed.pem", "write it to this `file`")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask for confirmation")
	return cmd
}

// signBundle adds a signature. What has enough of them is written as a
// statement, and taken in here; what has not is written as a draft.
func (a *app) signBundle(o *openAuthority, next *identity.Bundle, out string) error {
	if o.root == nil {
		return fail(exitInput, "Ask the authority.", "a registrar signs no trust bundles")
	}
	if _, err := os.Lstat(out); err == nil {
		return fail(exitInput, "Move it away, or choose another name with --out.", "%s exists already", out)
	}
	current := o.trust.Bundle()
	if next.MeshID() != o.trust.MeshID() {
		return fail(exitInput, "Ask for the draft of your own mesh.", "the draft is for another mesh")
	}
	if next.Number() != current.Number()+1 {
		return fail(exitInput, "Take in the bundles before it with 'tocsin authority take', or ask for a new draft.",
			"the draft is bundle %d, and this authority knows bundle %d", next.Number(), current.Number())
	}
	signed, err := o.root.SignBundle(next)
	if err != nil {
		return err
	}
	enough := signed.Signatures() >= signed.Needed(current)
	text := signed.MarshalPEM()
	if enough {
		raw, err := identity.BundleStatement(signed)
		if err != nil {
			return err
		}
		if _, err := o.trust.Take(raw, a.now()); err != nil {
			return statementError(err)
		}
		text = encodeStatements([][]byte{raw})
		if err := errors.Join(o.saveTrust(), o.keepCopy("bundle", a.now(), text)); err != nil {
			return err
		}
	}
	if err := writeFile(out, text, 0o644); err != nil {
		return err
	}
	roots := rootsOf(signed)
	return a.emit(map[string]any{"file": out, "number": signed.Number(), "signatures": signed.Signatures(), "needed": signed.Needed(current),
		"in_force": enough, "roots": roots}, func() {
		a.printRoots(roots)
		if !enough {
			a.say("\nTrust bundle %d has %s. The others sign it: tocsin authority bundle sign %s", signed.Number(), signedBy(signed, current), out)
			return
		}
		a.say("\nTrust bundle %d has %s and is in force. On any device: tocsin statement %s", signed.Number(), signedBy(signed, current), out)
		a.say("At the other authorities: tocsin authority take %s", out)
	})
}
