package ledger_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"tocsin/crypto/identity"
	"tocsin/ledger"
)

// proofVectors is the form of testdata/proofs.json, for other implementations.
// All bytes are in hexadecimal; notes are text.
type proofVectors struct {
	Comment                                     string
	AuthorSeed, WitnessSeed, Mesh               string
	Leaves                                      []string
	Root, Checkpoint, Note, Signed              string
	Inclusion, Consistency                      []string // of entry 2 in all; of the first 3 with all
	Cosigned, Custody, Contradiction, Testimony string
	Fork, Closing, Commitment                   string
}

func hexes(hashes []ledger.Hash) []string {
	var all []string
	for _, h := range hashes {
		all = append(all, hex.EncodeToString(h[:]))
	}
	return all
}

func makeProofVectors(t *testing.T) proofVectors {
	d, ctx := newDevice("vectors"), t.Context()
	witnessKey := seeded("vectors witness")
	chain := d.chain(t, 6)
	l := openMem(t)
	addAll(t, l, chain, ledger.Appended)
	trees := ledger.NewTrees(l)
	root, err := trees.Root(ctx, d.id, 6)
	must(t, err)
	inclusion, err := trees.Inclusion(ctx, d.id, 2, 6)
	must(t, err)
	consistency, err := trees.Consistency(ctx, d.id, 3, 6)
	must(t, err)
	cp, err := ledger.SignCheckpoint(d.key, testMesh, d.id, 6, root)
	must(t, err)
	other, err := ledger.SignCheckpoint(d.key, testMesh, d.id, 6, ledger.Hash{})
	must(t, err)
	w, err := ledger.NewWitness(witnessKey, testMesh)
	must(t, err)
	cosigned, err := w.Cosign(nil, cp, root, nil, noon)
	must(t, err)
	custody, err := ledger.SignCustody(witnessKey, d.id, 1, 6, noon)
	must(t, err)
	closing, err := ledger.SignClosing(d.key, testMesh, d.id, 6, root, ledger.ClosedRestored, ledger.LogID{Author: d.id.Author, Incarnation: 1})
	must(t, err)
	two := branches(t, d, 6, chain[5].Entry().ID(), 2)
	contradiction := &ledger.Contradiction{A: other, B: cp}
	must(t, contradiction.Verify(testMesh))
	set := &ledger.LogTestimony{Log: d.id}
	for _, x := range []ledger.Testimony{*cosigned, custody} {
		ledger.AddTestimony(set, x, hospital, identity.Key{})
	}
	stored, err := ledger.MarshalLogTestimony(set)
	must(t, err)
	commit := ledger.Commitment(testOpening, testPayload)
	return proofVectors{
		Comment:    "FORMAT.md of package ledger; rewrite with: go test ./ledger -run TestProofVectors -update",
		AuthorSeed: hex.EncodeToString(d.key.Seed()), WitnessSeed: hex.EncodeToString(witnessKey.Seed()), Mesh: hex.EncodeToString(testMesh[:]),
		Leaves: hexes(leavesOf(chain)), Root: hex.EncodeToString(root[:]), Checkpoint: hex.EncodeToString(cp.Marshal()),
		Note: string(cp.Note(testMesh, *cosigned)), Signed: cp.Text(testMesh),
		Inclusion: hexes(inclusion), Consistency: hexes(consistency),
		Cosigned: hex.EncodeToString(ledger.MarshalTestimony(*cosigned)), Custody: hex.EncodeToString(ledger.MarshalTestimony(custody)),
		Contradiction: hex.EncodeToString(ledger.MarshalTestimony(contradiction)), Testimony: hex.EncodeToString(stored),
		Fork: hex.EncodeToString(forkOf(two[0], two[1])), Closing: hex.EncodeToString(closing.Marshal()), Commitment: hex.EncodeToString(commit[:]),
	}
}

// TestProofVectors compares what this code makes with the file.
func TestProofVectors(t *testing.T) {
	const file = "testdata/proofs.json"
	got, err := json.MarshalIndent(makeProofVectors(t), "", "  ")
	must(t, err)
	got = append(got, '\n')
	if *update {
		must(t, os.WriteFile(file, got, 0o644))
	}
	want, err := os.ReadFile(file)
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Fatal("the format of proofs changed: what was exported could not be read any more. If that is meant, run with -update and raise the version")
	}
	var v proofVectors
	must(t, json.Unmarshal(want, &v))
	cp, cosigned, err := ledger.ParseCheckpoint(testMesh, []byte(v.Note))
	if err != nil || len(cosigned) != 1 || hex.EncodeToString(cp.Marshal()) != v.Checkpoint {
		t.Errorf("the note: %v", err)
	}
	for name, text := range map[string]string{"cosigned": v.Cosigned, "custody": v.Custody, "contradiction": v.Contradiction} {
		x, err := ledger.ParseTestimony(unhex(t, text))
		if err != nil || x.Verify(testMesh) != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ledger.ParseForkProof(unhex(t, v.Fork)); err != nil {
		t.Error(err)
	}
}
