package ledger_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"tocsin/crypto/identity"
	"tocsin/ledger"
)

// counted is a trust that counts what it is asked.
type counted struct {
	ledger.Trust
	read int
}

func (c *counted) ReadCredential(raw []byte) (*identity.Credential, error) {
	c.read++
	return c.Trust.ReadCredential(raw)
}

// proofs are those of every entry of a scene.
func (s *scene) proofs() (all []*ledger.Proof) {
	s.t.Helper()
	for seq := range s.chain {
		r := s.request()
		r.Log, r.Seq = s.author.id, uint64(seq)
		if seq != said {
			r.Opening, r.Payload = nil, nil
		}
		p, err := ledger.Prove(context.Background(), r)
		must(s.t, err)
		all = append(all, p)
	}
	return all
}

// TestProofChecker: a checker says of many proofs what VerifyProof says of each,
// and reads nothing twice.
func TestProofChecker(t *testing.T) {
	s := newScene(t).witnessed(3)
	trust := &counted{Trust: s.trust}
	c := ledger.NewProofChecker(trust)
	for range 2 {
		for i, p := range s.proofs() {
			file := marshal(t, p)
			alone, err := ledger.VerifyProof(file, s.trust)
			must(t, err)
			read, r, err := c.Check(file)
			must(t, err)
			if !reflect.DeepEqual(alone, r) || !bytes.Equal(marshal(t, read), file) {
				t.Errorf("entry %d: %+v, alone %+v", i, r, alone)
			}
		}
	}
	if want := 3; trust.read != want {
		t.Errorf("credentials were read %d times, want %d: the author and two witnesses", trust.read, want)
	}
}

// TestProofCheckerForged: what was found good lets nothing else pass: each
// forgery comes right after the honest proof that it was made from, and between
// two of them the honest one still holds.
func TestProofCheckerForged(t *testing.T) {
	s := newScene(t).witnessed(3)
	all := s.proofs()
	p, other := all[said], all[said+1]
	stranger := newMesh(t).enrol("Mallory", hospital)
	resigned := func(n *node, cp ledger.Checkpoint) ledger.Cosigned {
		w, err := ledger.NewWitness(n.witness, s.trust.MeshID())
		must(t, err)
		signed, err := w.Cosign(nil, cp, cp.Root, nil, noon)
		must(t, err)
		return *signed
	}
	forgeries := map[string]func(*ledger.Proof){
		"a cosignature of the same checkpoint": func(p *ledger.Proof) { p.Cosigned[1].Cosignature[5] ^= 1 },
		"the other one":                        func(p *ledger.Proof) { p.Cosigned[0].Cosignature[63] ^= 0x10 },
		"the time of a cosignature":            func(p *ledger.Proof) { p.Cosigned[0].Time++ },
		"one witness's cosignature as the other's": func(p *ledger.Proof) {
			p.Cosigned[0].Cosignature, p.Cosigned[1].Cosignature = p.Cosigned[1].Cosignature, p.Cosigned[0].Cosignature
		},
		"a signature of the same checkpoint": func(p *ledger.Proof) { p.Checkpoint.Signature[0] ^= 1 },
		"another root of the same size":      func(p *ledger.Proof) { p.Checkpoint.Root[0] ^= 1 },
		"another size of the same root":      func(p *ledger.Proof) { p.Checkpoint.Size++ },
		"another log's name":                 func(p *ledger.Proof) { p.Checkpoint.Log.Incarnation++ },
		"a stranger who signs as a witness": func(p *ledger.Proof) {
			forged := resigned(stranger, p.Checkpoint)
			forged.Witness = p.Cosigned[0].Witness
			p.Cosigned[0] = forged
		},
		"a stranger's signature and a witness's credential": func(p *ledger.Proof) {
			p.Cosigned[0] = resigned(stranger, p.Checkpoint)
			slices.SortFunc(p.Cosigned, func(a, b ledger.Cosigned) int { return bytes.Compare(a.Witness[:], b.Witness[:]) })
		},
		"a stranger's credential": func(p *ledger.Proof) { p.Credential = stranger.credential },
		"a changed credential":    func(p *ledger.Proof) { p.Credential[len(p.Credential)/2] ^= 1 },
		"the entry's signature":   func(p *ledger.Proof) { p.Signature[9] ^= 1 },
		"the payload":             func(p *ledger.Proof) { p.Payload = []byte("Bed 4: give 3 units O neg now") },
		"another entry's path":    func(p *ledger.Proof) { p.Path = other.Path },
		"one witness":             func(p *ledger.Proof) { p.Cosigned, p.Witnesses = p.Cosigned[:1], p.Witnesses[:1] },
		"one witness twice":       func(p *ledger.Proof) { p.Witnesses[1] = p.Witnesses[0] },
	}
	c := ledger.NewProofChecker(s.trust)
	honest := marshal(t, p)
	for name, spoil := range forgeries {
		if _, _, err := c.Check(honest); err != nil {
			t.Fatalf("before %s: %v", name, err)
		}
		bad := *p
		bad.Cosigned, bad.Witnesses = slices.Clone(p.Cosigned), slices.Clone(p.Witnesses)
		bad.Credential = bytes.Clone(p.Credential)
		spoil(&bad)
		file := marshal(t, &bad)
		if bytes.Equal(file, honest) {
			t.Fatalf("%s: nothing was changed", name)
		}
		for range 2 { // what was refused is not remembered as good
			if _, _, err := c.Check(file); !errors.Is(err, ledger.ErrProof) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if _, _, err := ledger.NewProofChecker(newMesh(t).trust).Check(honest); !errors.Is(err, ledger.ErrProof) {
		t.Errorf("against another mesh: %v", err)
	}
}

// TestProofCheckerBounded: whoever makes a package can put any number of notes
// into it; they are forgotten, and nothing else changes.
func TestProofCheckerBounded(t *testing.T) {
	s := newScene(t).witnessed(2)
	c := ledger.NewProofChecker(s.trust)
	p := s.prove(t)
	for i := range ledger.MaxKnownNotes + 2 {
		again := *p
		again.Cosigned = nil
		for _, n := range s.witnesses[:2] {
			w, err := ledger.NewWitness(n.witness, s.trust.MeshID())
			must(t, err)
			signed, err := w.Cosign(nil, p.Checkpoint, p.Checkpoint.Root, nil, noon.Add(time.Duration(i)*time.Second))
			must(t, err)
			again.Cosigned = append(again.Cosigned, *signed)
		}
		slices.SortFunc(again.Cosigned, func(a, b ledger.Cosigned) int { return bytes.Compare(a.Witness[:], b.Witness[:]) })
		if _, _, err := c.Check(marshal(t, &again)); err != nil {
			t.Fatal(err)
		}
		if n := ledger.KnownNotes(c); n == 0 || n > ledger.MaxKnownNotes {
			t.Fatalf("%d notes are remembered, at most %d may be", n, ledger.MaxKnownNotes)
		}
	}
}

// TestProofPolicyIsTheNote: the policy line asks for exactly the witnesses whose
// signatures are in the file, in the one spelling.
func TestProofPolicyIsTheNote(t *testing.T) {
	s := newScene(t).witnessed(3)
	file := marshal(t, s.prove(t))
	lines := strings.SplitAfter(string(file), "\n")
	at := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "policy ") })
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(strings.TrimPrefix(lines[at], "policy ")))
	must(t, err)
	text := string(raw)
	witness := strings.SplitAfter(text, "\n")[1]
	for name, bad := range map[string]string{
		"a comment":           "# fine\n" + text,
		"one of two":          strings.Replace(text, "group witnesses 2 w1 w2", "group witnesses 1 w1 w2", 1),
		"one witness only":    strings.Replace(strings.Replace(text, "group witnesses 2 w1 w2", "group witnesses 1 w2", 1), witness, "", 1),
		"a witness too many":  strings.Replace(text, witness, witness+strings.Replace(witness, "w1", "w3", 1), 1),
		"no quorum":           strings.Replace(text, "quorum witnesses\n", "quorum none\n", 1),
		"nothing":             "",
		"no line feed at end": strings.TrimSuffix(text, "\n"),
	} {
		spoilt := slices.Clone(lines)
		spoilt[at] = "policy " + base64.StdEncoding.EncodeToString([]byte(bad)) + "\n"
		if _, err := ledger.ParseProof([]byte(strings.Join(spoilt, ""))); !errors.Is(err, ledger.ErrProof) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
