package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"github.com/spf13/cobra"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/node/api"
)

// printFlags are what decision print is asked for.
type printFlags struct {
	out, proofs string
}

func (a *app) decisionPrint() *cobra.Command {
	var f printFlags
	cmd := a.clientCommand("print GROUP", "Write the decision log as a document to be printed, with proofs",
		"  tocsin decision print \"Bus crash A6\" -o decisions.html\n  tocsin verify decisions-proofs/001-5f3a91c2.tocsin-proof", args(1, 1),
		func(ctx context.Context, client *api.Client, given []string) error {
			if f.out == "" {
				return usage("Name the file with -o decisions.html.", "no file is named")
			}
			return a.printDecisions(ctx, client, given[0], f)
		})
	cmd.Long = `Write the decision log of a group as one HTML file that needs nothing else: every browser
opens it, and numbers its pages when it prints. Each entry says who decided and who wrote
it down, when it was decided and when it was entered, what it corrects, and where a gap
is.

Beside it goes a directory of proofs, one for each entry: 'tocsin verify FILE' checks it
without a node, and the document names the file of each and its SHA-256. An entry that
cannot be proved says so.`
	cmd.Flags().StringVarP(&f.out, "out", "o", "", "write the document to this `file`")
	cmd.Flags().StringVar(&f.proofs, "proofs", "", "write the proofs into this `directory` (default: the name of the file with -proofs)")
	return cmd
}

func (a *app) printDecisions(ctx context.Context, client *api.Client, group string, f printFlags) error {
	g, err := a.findGroup(ctx, client, group)
	if err != nil {
		return err
	}
	board, err := client.Board(ctx, g.ID)
	if err != nil {
		return err
	}
	status, err := client.Status(ctx)
	if err != nil {
		return err
	}
	trust, err := a.verifyingTrust("")
	if err != nil {
		return err
	}
	if f.proofs == "" {
		f.proofs = trimSuffix(f.out) + "-proofs"
	}
	l := api.NewDecisionLog(g.Title, status.Mesh, status.Name, board, a.now())
	if len(l.Entries) > 0 {
		if err := os.MkdirAll(f.proofs, 0o700); err != nil {
			return fail(exitInput, "Name a directory that can be made with --proofs.", "the directory of the proofs cannot be made: %w", err)
		}
	}
	proved := 0
	for i := range l.Entries {
		ok, err := proveDecision(ctx, client, trust, &l.Entries[i], f)
		if err != nil {
			return err
		}
		if ok {
			proved++
		}
	}
	var page bytes.Buffer
	if err := l.WriteHTML(&page); err != nil {
		return err
	}
	if err := writeFile(f.out, page.Bytes(), 0o600); err != nil {
		return err
	}
	return a.emit(map[string]any{"path": f.out, "proofs": f.proofs, "entries": len(l.Entries), "proved": proved, "exercise": l.Exercise}, func() {
		if l.Exercise {
			a.say("EXERCISE")
		}
		a.say("%s: %s, %d of them with proofs in %s.", f.out, plural(len(l.Entries), "entry"), proved, f.proofs)
		a.note("Whoever has these files reads the decisions. 'tocsin verify FILE' checks a proof.")
	})
}

// trimSuffix is a path without the suffix of its file.
func trimSuffix(p string) string { return p[:len(p)-len(filepath.Ext(p))] }

// proveDecision writes the proof of an entry and notes in it what the proof shows; false where there is none yet.
func proveDecision(ctx context.Context, client *api.Client, trust *identity.TrustStore, d *api.PrintedDecision, f printFlags) (bool, error) {
	proof, err := client.Prove(ctx, d.Message.ID)
	var answer *api.Error
	if errors.As(err, &answer) {
		d.Problems = append(d.Problems, "it cannot be proved yet: "+answer.Message)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	report, err := ledger.VerifyProof(proof, trust)
	if err != nil {
		return false, fail(exitVerify, "Check this device with 'tocsin doctor' and 'tocsin log verify'.", "the proof of entry %d does not verify: %v", d.Number, err)
	}
	name := fmt.Sprintf("%03d-%s%s", d.Number, short(d.Message.ID), proofSuffix)
	if err := writeFile(filepath.Join(f.proofs, name), proof, 0o600); err != nil {
		return false, err
	}
	sum := sha256.Sum256(proof)
	d.Proof = &api.PrintedProof{File: path.Join(filepath.Base(f.proofs), name), SHA256: hex.EncodeToString(sum[:]), Latest: report.Latest}
	for _, w := range report.Witnesses {
		where := ""
		if w.OtherSite {
			where = ", at another site"
		}
		d.Proof.Witnesses = append(d.Proof.Witnesses, fmt.Sprintf("%s (%s%s) held it by %s", w.Credential.Claims.Name, w.Credential.Person.Org, where, when(w.Time)))
	}
	return true, nil
}
