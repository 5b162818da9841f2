package main

import (
	"context"

	"github.com/spf13/cobra"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/node"
	"tocsin/node/api"
)

// proofSuffix ends the names of proofs.
const proofSuffix = ".tocsin-proof"

// maxProof bounds the file that verify reads.
const maxProof = 1 << 20

func (a *app) logProve() *cobra.Command {
	var out string
	cmd := a.clientCommand("prove MESSAGE", "Write a file that proves a message to anybody",
		"  tocsin log prove 4f0c…e1 --out handover.tocsin-proof", args(1, 1),
		func(ctx context.Context, client *api.Client, args []string) error {
			proof, err := client.Prove(ctx, args[0])
			if err != nil {
				return err
			}
			if out == "" {
				out = short(args[0]) + proofSuffix
			}
			if err := writeFile(out, proof, 0o600); err != nil {
				return err
			}
			return a.emit(map[string]any{"path": out, "bytes": len(proof)}, func() {
				a.say("%s: %s. It holds the message itself: whoever has it reads it.", out, size(int64(len(proof))))
				a.say("'tocsin verify %s' checks it; 'tocsin guide verify-without-tocsin' says how to do so with other tools.", out)
			})
		})
	cmd.Long = `Write a file that proves a message: who signed it, in which place of their log, and
which other devices had signed for it by when. MESSAGE is its id, as 'tocsin watch
--json' shows it. The file verifies with 'tocsin verify', and without Tocsin.`
	cmd.Flags().StringVar(&out, "out", "", "the `file` to write (default: the beginning of the id"+proofSuffix+")")
	return cmd
}

// proved is the JSON of verify.
type proved struct {
	Name      string          `json:"name"`
	Person    string          `json:"person"`
	Device    string          `json:"device"`
	ID        string          `json:"id"`
	Claimed   string          `json:"claimed"`
	Latest    string          `json:"latest"`
	Says      string          `json:"says,omitempty"`
	Witnesses []provedWitness `json:"witnesses"`
	Notes     []string        `json:"notes,omitempty"`
}

type provedWitness struct {
	Name      string `json:"name"`
	Org       string `json:"org"`
	Time      string `json:"time"`
	OtherSite bool   `json:"other_site"`
}

func (a *app) verifyCommand() *cobra.Command {
	var trust string
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Check a proof that 'tocsin log prove' wrote, or a whole incident that was exported",
		Long: `Check a proof: the signatures, the place in the log, the witnesses and what the
message says. It needs no node and no passphrase, only the mesh's authorities: those of
this device, or the file that --trust names. Without Tocsin: 'tocsin guide
verify-without-tocsin'.

FILE may also be a whole incident in FHIR's JSON: as 'tocsin record export' wrote it, or as
an endpoint returned it ('tocsin record fetch'). Every proof in it is checked, and every
resource is held against what its author signed.`,
		Example: "  tocsin verify handover.tocsin-proof --trust trust.pem\n  tocsin verify incident.json --trust trust.pem",
		Args:    args(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			store, err := a.verifyingTrust(trust)
			if err != nil {
				return err
			}
			if whole, err := isPackage(args[0]); err != nil {
				return err
			} else if whole {
				return a.verifyPackage(args[0], store)
			}
			file, err := a.readInput(args[0], "proof", maxProof)
			if err != nil {
				return err
			}
			report, err := ledger.VerifyProof(file, store)
			if err != nil {
				return fail(exitVerify, "Ask whoever gave it to you for the file again; if it fails again, do not rely on it.", "%s proves nothing: %v", args[0], err)
			}
			return a.showProof(report)
		},
	}
	cmd.Flags().StringVar(&trust, "trust", "", "the mesh's trust bundle, `trust.pem` (default: this device's)")
	return cmd
}

// verifyingTrust reads the authorities to believe.
func (a *app) verifyingTrust(path string) (*identity.TrustStore, error) {
	var bundle *identity.Bundle
	if path == "" {
		c, err := a.load()
		if err != nil {
			return nil, err
		}
		if bundle, err = dataDir(c.text(keyData)).bundle(); err != nil {
			return nil, fail(exitUsage, "Name the mesh's trust bundle with --trust.", "this device belongs to no mesh whose authorities it could believe")
		}
	} else {
		text, err := a.readInput(path, "trust bundle", identity.MaxPEM)
		if err != nil {
			return nil, err
		}
		if bundle, err = identity.ParseBundlePEM(text); err != nil {
			return nil, fail(exitInput, "Give the trust.pem of the mesh.", "%s is no trust bundle: %v", path, err)
		}
	}
	return identity.NewTrustStore(bundle)
}

func (a *app) showProof(r *ledger.ProofReport) error {
	p := proved{
		Name: r.Author.Claims.Name, Person: r.Author.Person.String(), Device: r.Author.Device, ID: r.ID.String(),
		Claimed: when(r.Claimed), Latest: when(r.Latest), Notes: r.Notes,
	}
	if r.Payload != nil {
		p.Says = node.PayloadWords(r.Payload)
	}
	for _, w := range r.Witnesses {
		p.Witnesses = append(p.Witnesses, provedWitness{w.Credential.Claims.Name, w.Credential.Person.Org, when(w.Time), w.OtherSite})
	}
	return a.emit(p, func() {
		a.say("%s: it holds.", a.style().bold("Proof"))
		a.say("%s (%s) signed this, by their own clock on %s.", printable(p.Name), p.Person, p.Claimed)
		if p.Says != "" {
			a.say("It says: %s", printable(p.Says))
		}
		for _, w := range p.Witnesses {
			where := ""
			if w.OtherSite {
				where = ", at another site"
			}
			a.say("%s (%s%s) held it by %s.", printable(w.Name), w.Org, where, w.Time)
		}
		for _, note := range p.Notes {
			a.say("Note: %s", note)
		}
	})
}
