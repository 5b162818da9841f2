package ledger_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"

	"tocsin/crypto/identity"
	"tocsin/ledger"
)

var (
	testOpening = bytes.Repeat([]byte{0x5a}, ledger.OpeningSize)
	testPayload = []byte("Bed 4: give 2 units O neg now")
)

// scene is an author with a log of ten entries, the sixth a message, and
// witnesses who hold it.
type scene struct {
	*mesh
	author    *node
	witnesses []*node
	chain     []ledger.Verified
}

const said = 5 // where the message is

func newScene(t testing.TB) *scene {
	t.Helper()
	s := &scene{mesh: newMesh(t)}
	s.author = s.enrol("Amina Khan", hospital)
	s.witnesses = []*node{s.enrol("Ben Okafor", hospital), s.enrol("Chloe Martin", ambulance), s.enrol("Dai Evans", hospital)}
	s.chain = s.author.sealed(t, s.author.chain(t, said), testOpening, testPayload)
	s.chain = s.author.extend(t, s.chain, 4, "")
	for _, n := range append([]*node{s.author}, s.witnesses...) {
		n.take(s.chain)
	}
	return s
}

// witnessed has the first n witnesses cosign the whole log.
func (s *scene) witnessed(n int) *scene {
	for i, w := range s.witnesses[:n] {
		w.cosign(s.author.checkpoint(uint64(len(s.chain))), noon.Add(time.Duration(i+1)*time.Minute), s.author)
	}
	return s
}

func (s *scene) request() ledger.ProveRequest {
	return ledger.ProveRequest{
		Logs: s.author.logs, Trees: s.author.trees, Table: s.author.table, Trust: s.trust,
		Log: s.author.id, Seq: said, Opening: testOpening, Payload: testPayload,
		Credential: s.author.credential, Of: s.credentialOf,
	}
}

func (s *scene) prove(t testing.TB) *ledger.Proof {
	t.Helper()
	p, err := ledger.Prove(context.Background(), s.request())
	must(t, err)
	return p
}

func marshal(t testing.TB, p *ledger.Proof) []byte {
	t.Helper()
	file, err := p.Marshal()
	must(t, err)
	return file
}

// torchwoodSays verifies a proof as C2SP's own library does.
func torchwoodSays(t testing.TB, policyText string, header, proof []byte) error {
	t.Helper()
	policy, err := torchwood.ParsePolicy([]byte(policyText))
	must(t, err)
	return torchwood.VerifyProof(policy, tlog.RecordHash(header), proof)
}

// TestProof: an exported proof says who, what, when and witnessed by whom.
func TestProof(t *testing.T) {
	s := newScene(t).witnessed(3)
	p := s.prove(t)
	file := marshal(t, p)
	again, err := ledger.ParseProof(file)
	if err != nil || !bytes.Equal(marshal(t, again), file) {
		t.Fatalf("read and written again: %v", err)
	}
	r, err := ledger.VerifyProof(file, s.trust)
	must(t, err)
	if r.Author.Claims.Name != "Amina Khan" || string(r.Payload) != string(testPayload) || r.Header.Seq != said || r.Size != 10 {
		t.Errorf("%+v", r)
	}
	// Two of three: the earliest of another site, and the earliest.
	var names []string
	for _, w := range r.Witnesses {
		names = append(names, w.Credential.Claims.Name)
	}
	if !slices.Equal(names, []string{"Ben Okafor", "Chloe Martin"}) || !r.Witnesses[1].OtherSite || r.Witnesses[0].OtherSite {
		t.Errorf("witnesses %q", names)
	}
	if !r.Latest.Equal(noon.Add(2*time.Minute)) || !r.Claimed.Equal(noon) {
		t.Errorf("times %s and %s", r.Claimed, r.Latest)
	}
	for _, want := range []string{"Amina Khan, stmarys.nhs.example/gmc/7000001", "Chloe Martin", "another site", "2026-03-01 12:02:00 UTC", r.ID.String()} {
		if !strings.Contains(r.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, r)
		}
	}
}

// TestTorchwood: another implementation verifies what we export, and refuses
// each of a changed payload, a changed header, one missing witness, and a
// checkpoint from a fork. So do we.
func TestTorchwood(t *testing.T) {
	s := newScene(t).witnessed(2)
	p := s.prove(t)
	proof, err := p.TlogProof()
	must(t, err)
	if err := torchwoodSays(t, p.Policy(), p.Header, proof); err != nil {
		t.Fatalf("torchwood refuses an honest proof: %v", err)
	}
	refused := func(name string, bad ledger.Proof, header []byte, proof []byte) {
		t.Helper()
		if torchwoodSays(t, p.Policy(), header, proof) == nil {
			t.Errorf("%s: torchwood accepts it", name)
		}
		if _, err := bad.Verify(s.trust); !errors.Is(err, ledger.ErrProof) {
			t.Errorf("%s: Verify says %v", name, err)
		}
	}

	// The payload: one SHA-256 leads from it to the header that torchwood has
	// verified. A payload to another commitment is a header that is not in the log.
	changed := *p
	changed.Payload = []byte("Bed 4: give 3 units O neg now")
	if _, err := changed.Verify(s.trust); !errors.Is(err, ledger.ErrProof) {
		t.Errorf("a changed payload: %v", err)
	}
	commit := ledger.Commitment(testOpening, changed.Payload)
	if bytes.Contains(p.Header, commit[:]) {
		t.Fatal("two payloads have one commitment")
	}
	header := bytes.Clone(p.Header)
	copy(header[143:], commit[:])
	changed.Header = header
	refused("a changed payload with a header to fit", changed, header, proof)

	for at := range p.Header {
		bad := *p
		bad.Header = bytes.Clone(p.Header)
		bad.Header[at] ^= 1
		refused("a changed header", bad, bad.Header, proof)
	}

	for i := range p.Cosigned {
		bad := *p
		bad.Cosigned = slices.Delete(slices.Clone(p.Cosigned), i, i+1)
		without, err := bad.TlogProof()
		must(t, err)
		refused("one missing witness", bad, p.Header, without)
		// Nor does it help to leave the witness out of the policy too.
		bad.Witnesses = slices.Delete(slices.Clone(p.Witnesses), i, i+1)
		if _, err := ledger.VerifyProof(marshal(t, &bad), s.trust); !errors.Is(err, ledger.ErrProof) {
			t.Errorf("one witness is enough: %v", err)
		}
	}

	// The author's twin signed another branch, and two witnesses who saw nothing
	// else cosigned it in good faith.
	twin := newTwin(s)
	bad := *p
	bad.Checkpoint, bad.Cosigned = twin[0].Checkpoint, twin
	forked, err := bad.TlogProof()
	must(t, err)
	refused("a checkpoint from a fork", bad, p.Header, forked)
}

// newTwin returns what the scene's first two witnesses would have cosigned of
// another branch of the author's log.
func newTwin(s *scene) []ledger.Cosigned {
	t := s.t
	l := openMem(t)
	chain := s.author.extend(t, s.chain[:said], 5, "twin")
	addAll(t, l, chain, ledger.Appended)
	trees := ledger.NewTrees(l)
	root, err := trees.Root(context.Background(), s.author.id, 10)
	must(t, err)
	cp, err := ledger.SignCheckpoint(s.author.key, s.trust.MeshID(), s.author.id, 10, root)
	must(t, err)
	var all []ledger.Cosigned
	for _, n := range s.witnesses[:2] {
		w, err := ledger.NewWitness(n.witness, s.trust.MeshID())
		must(t, err)
		c, err := w.Cosign(nil, cp, root, nil, noon)
		must(t, err)
		all = append(all, *c)
	}
	slices.SortFunc(all, func(a, b ledger.Cosigned) int { return bytes.Compare(a.Witness[:], b.Witness[:]) })
	return all
}

// TestProofRefuses is the table of what VerifyProof does not believe.
func TestProofRefuses(t *testing.T) {
	s := newScene(t).witnessed(3)
	p := s.prove(t)
	twoOfBen := s.enrolAs("Ben Okafor", identity.Person{Org: hospital, Regulator: "gmc", Number: "7000002"})
	ownSecond := s.enrolAs("Amina Khan", identity.Person{Org: hospital, Regulator: "gmc", Number: "7000001"})
	elsewhere := newMesh(t)
	cosign := func(n *node) ledger.Cosigned {
		w, err := ledger.NewWitness(n.witness, s.trust.MeshID())
		must(t, err)
		c, err := w.Cosign(nil, p.Checkpoint, p.Checkpoint.Root, nil, noon)
		must(t, err)
		return *c
	}
	by := func(nodes ...*node) func(*ledger.Proof) {
		return func(p *ledger.Proof) {
			slices.SortFunc(nodes, func(a, b *node) int {
				x, y := a.witnessKey(), b.witnessKey()
				return bytes.Compare(x[:], y[:])
			})
			p.Cosigned, p.Witnesses = nil, nil
			for _, n := range nodes {
				p.Cosigned, p.Witnesses = append(p.Cosigned, cosign(n)), append(p.Witnesses, n.credential)
			}
		}
	}
	for name, spoil := range map[string]func(*ledger.Proof){
		"another opening":             func(p *ledger.Proof) { p.Opening = make([]byte, 32) },
		"a body of a sealed entry":    func(p *ledger.Proof) { p.Opening, p.Payload, p.Body = nil, nil, []byte("what only the group can read") },
		"another signature":           func(p *ledger.Proof) { p.Signature[9] ^= 1 },
		"somebody else's credential":  func(p *ledger.Proof) { p.Credential = s.witnesses[0].credential },
		"another mesh's credential":   func(p *ledger.Proof) { p.Credential = elsewhere.enrol("Amina Khan", hospital).credential },
		"a path too short":            func(p *ledger.Proof) { p.Path = p.Path[1:] },
		"another path":                func(p *ledger.Proof) { p.Path = append([]ledger.Hash{{1}}, p.Path[1:]...) },
		"another root":                func(p *ledger.Proof) { p.Checkpoint.Root[0] ^= 1 },
		"another size":                func(p *ledger.Proof) { p.Checkpoint.Size++ },
		"a witness twice":             by(s.witnesses[0], s.witnesses[0]),
		"two devices of one person":   by(s.witnesses[0], twoOfBen),
		"the author's other device":   by(s.witnesses[0], ownSecond),
		"the author":                  by(s.witnesses[0], s.author),
		"the wrong witness's name":    func(p *ledger.Proof) { p.Witnesses = [][]byte{p.Witnesses[1], p.Witnesses[0]} },
		"a witness without a name":    func(p *ledger.Proof) { p.Witnesses = p.Witnesses[:1] },
		"a cosignature that is wrong": func(p *ledger.Proof) { p.Cosigned = slices.Clone(p.Cosigned); p.Cosigned[1].Cosignature[5] ^= 1 },
		"another time":                func(p *ledger.Proof) { p.Cosigned = slices.Clone(p.Cosigned); p.Cosigned[0].Time-- },
		"no witness":                  func(p *ledger.Proof) { p.Cosigned, p.Witnesses = nil, nil },
	} {
		bad := *p
		spoil(&bad)
		if _, err := bad.Verify(s.trust); !errors.Is(err, ledger.ErrProof) {
			t.Errorf("%s: Verify says %v", name, err)
		}
		if file, err := bad.Marshal(); err == nil {
			if _, err := ledger.VerifyProof(file, s.trust); !errors.Is(err, ledger.ErrProof) {
				t.Errorf("%s: VerifyProof says %v", name, err)
			}
		}
	}
	if _, err := ledger.VerifyProof(marshal(t, p), elsewhere.trust); !errors.Is(err, ledger.ErrProof) {
		t.Errorf("checked against another mesh: %v", err)
	}
	good := *p
	by(s.witnesses[1], s.witnesses[2])(&good)
	if _, err := ledger.VerifyProof(marshal(t, &good), s.trust); err != nil {
		t.Errorf("the control, two other witnesses: %v", err)
	}
}

// TestProofFile: every byte of the file counts, and there is one file.
func TestProofFile(t *testing.T) {
	s := newScene(t).witnessed(2)
	file := marshal(t, s.prove(t))
	bits := []byte{1, 0x20, 4, 2}
	for at := 0; at < len(file); at += 1 + at%29 { // all of them take half a minute
		bad := bytes.Clone(file)
		bad[at] ^= bits[at%len(bits)]
		if _, err := ledger.VerifyProof(bad, s.trust); !errors.Is(err, ledger.ErrProof) {
			t.Fatalf("byte %d changed to %q: %v", at, bad[at], err)
		}
	}
	lines := bytes.SplitAfter(file, []byte("\n"))
	join := func(l ...[]byte) []byte { return bytes.Join(l, nil) }
	for name, bad := range map[string][]byte{
		"cut":              file[:len(file)-1],
		"a line more":      append(bytes.Clone(file), "note aGVsbG8=\n"...),
		"a line twice":     join(slices.Insert(slices.Clone(lines), 2, lines[1])...),
		"another order":    join(slices.Concat([][]byte{lines[0], lines[2], lines[1]}, lines[3:])...),
		"carriage returns": bytes.ReplaceAll(file, []byte("\n"), []byte("\r\n")),
		"no payload":       join(slices.DeleteFunc(slices.Clone(lines), func(l []byte) bool { return bytes.HasPrefix(l, []byte("payload ")) })...),
		"a newer version":  bytes.Replace(file, []byte("/v1\n"), []byte("/v2\n"), 1),
		"too long":         make([]byte, ledger.MaxProofFile+1),
		"nothing":          nil,
	} {
		if _, err := ledger.ParseProof(bad); !errors.Is(err, ledger.ErrProof) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestProveWithout: what a proof cannot be made of, and what it says instead.
func TestProveWithout(t *testing.T) {
	ctx := context.Background()
	s := newScene(t).witnessed(1)
	if _, err := ledger.Prove(ctx, s.request()); !errors.Is(err, ledger.ErrUnwitnessed) {
		t.Errorf("one witness: %v", err)
	}
	s.witnesses[1].cosign(s.author.checkpoint(9), noon, s.author)
	if _, err := ledger.Prove(ctx, s.request()); !errors.Is(err, ledger.ErrUnwitnessed) || !strings.Contains(err.Error(), "1 of 2") {
		t.Errorf("two witnesses of two checkpoints: %v", err)
	}
	s.witnesses[2].cosign(s.author.checkpoint(9), noon, s.author)
	p, err := ledger.Prove(ctx, s.request())
	if err != nil || p.Checkpoint.Size != 9 {
		t.Fatalf("two of the smaller one: %v", err)
	}

	r := s.request()
	r.Payload = []byte("never said")
	if _, err := ledger.Prove(ctx, r); !errors.Is(err, ledger.ErrProof) {
		t.Errorf("another payload: %v", err)
	}
	r = s.request()
	r.Seq = 10
	if _, err := ledger.Prove(ctx, r); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("an entry that is not held: %v", err)
	}
	r = s.request()
	r.Opening, r.Payload = nil, nil
	p, err = ledger.Prove(ctx, r)
	must(t, err)
	report, err := ledger.VerifyProof(marshal(t, p), s.trust)
	if err != nil || report.Payload != nil || !strings.Contains(report.String(), "not what it says") {
		t.Errorf("existence only: %v\n%s", err, report)
	}
	r.Seq = 2
	p, err = ledger.Prove(ctx, r)
	must(t, err)
	report, err = ledger.VerifyProof(marshal(t, p), s.trust)
	if err != nil || string(report.Body) != "body 2 " {
		t.Errorf("an entry that was not sealed: %v, %q", err, report.Body)
	}
	r.Opening = testOpening
	if _, err := ledger.Prove(ctx, r); err == nil {
		t.Error("an opening of an entry that was not sealed")
	}
}

// TestCosignSpreads: cutting and cosigning by the table alone brings two
// witnesses' names to everyone, and stops.
func TestCosignSpreads(t *testing.T) {
	ctx := context.Background()
	s := newScene(t)
	all := append([]*node{s.author}, s.witnesses...)
	_, made, err := s.author.table.Cut(ctx, s.author.key, s.author.id, noon)
	if err != nil || !made {
		t.Fatalf("made %v, %v", made, err)
	}
	if _, made, err = s.author.table.Cut(ctx, s.author.key, s.author.id, noon); err != nil || made {
		t.Fatalf("a checkpoint where nothing was added: %v, %v", made, err)
	}
	rounds := 0
	for changed := true; changed; rounds++ {
		changed = false
		for _, from := range all {
			held, err := from.table.Of(ctx, s.author.id)
			must(t, err)
			var raws [][]byte
			for _, x := range held.All() {
				raws = append(raws, ledger.MarshalTestimony(x))
			}
			for _, to := range all {
				results, err := to.table.Take(ctx, raws)
				must(t, err)
				made, err := to.table.CosignHeld(ctx, noon, s.author.id)
				must(t, err)
				changed = changed || len(made) > 0 || slices.ContainsFunc(results, func(r ledger.TakeResult) bool { return r.Changed })
			}
		}
		if rounds > 4 {
			t.Fatal("it does not come to rest")
		}
	}
	first, err := s.author.table.Of(ctx, s.author.id)
	must(t, err)
	for _, n := range all {
		l, err := n.table.Of(ctx, s.author.id)
		if err != nil || len(l.Cosigned()) != 4 || l.Hash() != first.Hash() {
			t.Errorf("%d cosignatures, %v", len(l.Cosigned()), err)
		}
	}
	if _, err := ledger.Prove(ctx, s.request()); err != nil {
		t.Error(err)
	}
}

// The golden proof: a file and the trust bundle that it holds against, as other
// implementations would be given them.
const (
	goldenProof  = "testdata/proof.tocsin-proof"
	goldenBundle = "testdata/proof-bundle.pem"
	goldenReport = "testdata/proof-report.txt"
)

func TestGoldenProof(t *testing.T) {
	if *update {
		s := newScene(t).witnessed(2)
		must(t, os.WriteFile(goldenProof, marshal(t, s.prove(t)), 0o644))
		must(t, os.WriteFile(goldenBundle, s.bundle.MarshalPEM(), 0o644))
	}
	file, trust := readGolden(t)
	r, err := ledger.VerifyProof(file, trust)
	must(t, err)
	if *update {
		must(t, os.WriteFile(goldenReport, []byte(r.String()), 0o644))
	}
	want, err := os.ReadFile(goldenReport)
	must(t, err)
	if r.String() != string(want) {
		t.Errorf("the report is\n%s\nand was\n%s", r, want)
	}
	p, err := ledger.ParseProof(file)
	must(t, err)
	proof, err := p.TlogProof()
	must(t, err)
	if err := torchwoodSays(t, p.Policy(), p.Header, proof); err != nil {
		t.Errorf("torchwood: %v", err)
	}
}

func readGolden(t testing.TB) ([]byte, *identity.TrustStore) {
	t.Helper()
	file, err := os.ReadFile(goldenProof)
	must(t, err)
	pem, err := os.ReadFile(goldenBundle)
	must(t, err)
	bundle, err := identity.ParseBundlePEM(pem)
	must(t, err)
	trust, err := identity.NewTrustStore(bundle)
	must(t, err)
	return file, trust
}

// field returns one line of a proof, decoded.
func field(t testing.TB, file []byte, name string) []byte {
	t.Helper()
	for line := range strings.Lines(string(file)) {
		if text, ok := strings.CutPrefix(line, name+" "); ok {
			raw, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(text, "\n"))
			must(t, err)
			return raw
		}
	}
	t.Fatalf("the proof has no line %s", name)
	return nil
}

func FuzzProof(f *testing.F) {
	file, _ := readGolden(f)
	f.Add(file)
	f.Add([]byte("tocsin-proof/v1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ledger.ParseProof(b)
		if err != nil {
			if !errors.Is(err, ledger.ErrProof) {
				t.Fatalf("error %v does not match ErrProof", err)
			}
			return
		}
		if again, err := p.Marshal(); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("read %q, wrote %q: %v", b, again, err)
		}
	})
}

// FuzzProofChecker: a checker that has seen the honest proof takes what
// VerifyProof takes, and nothing else.
func FuzzProofChecker(f *testing.F) {
	file, trust := readGolden(f)
	f.Add(file)
	f.Add(bytes.Replace(file, []byte("policy "), []byte("witness "), 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := ledger.NewProofChecker(trust)
		if _, _, err := c.Check(file); err != nil {
			t.Fatal(err)
		}
		_, alone := ledger.VerifyProof(b, trust)
		if _, _, err := c.Check(b); (err == nil) != (alone == nil) {
			t.Fatalf("the checker says %v, VerifyProof %v", err, alone)
		}
	})
}

func FuzzCheckpointNote(f *testing.F) {
	file, trust := readGolden(f)
	_, msg, _ := strings.Cut(string(field(f, file, "proof")), "\n\n")
	f.Add([]byte(msg))
	f.Fuzz(func(t *testing.T, b []byte) {
		cp, cosigned, err := ledger.ParseCheckpoint(trust.MeshID(), b)
		if err == nil && !bytes.Equal(cp.Note(trust.MeshID(), cosigned...), b) {
			t.Fatalf("read %q, wrote another", b)
		}
	})
}

func FuzzCheckpoint(f *testing.F) {
	f.Add(ledger.Checkpoint{Size: 1}.Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		cp, err := ledger.ReadCheckpoint(b)
		if err == nil && !bytes.Equal(cp.Marshal(), b) {
			t.Fatalf("read %x, wrote another", b)
		}
	})
}

func FuzzTestimony(f *testing.F) {
	a, b := ledger.Checkpoint{Size: 1}, ledger.Checkpoint{Size: 1, Root: ledger.Hash{1}}
	for _, x := range []ledger.Testimony{
		ledger.Cosigned{Checkpoint: a}, ledger.Custody{To: 1, Until: 1}, &ledger.Contradiction{A: a, B: b},
	} {
		f.Add(ledger.MarshalTestimony(x))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := ledger.ParseTestimony(b)
		if err != nil {
			if !errors.Is(err, ledger.ErrTestimony) {
				t.Fatalf("error %v does not match ErrTestimony", err)
			}
			return
		}
		if !bytes.Equal(ledger.MarshalTestimony(x), b) || len(b) > ledger.MaxTestimony {
			t.Fatalf("read %x, wrote another", b)
		}
	})
}

func FuzzClosing(f *testing.F) {
	d := newDevice("closing")
	c, err := ledger.SignClosing(d.key, testMesh, d.id, 1, ledger.Hash{}, ledger.ClosedForked, ledger.LogID{Author: d.id.Author, Incarnation: 1})
	must(f, err)
	f.Add(c.Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ledger.ParseClosing(b)
		if err == nil && !bytes.Equal(c.Marshal(), b) {
			t.Fatalf("read %x, wrote another", b)
		}
	})
}

func FuzzForkProof(f *testing.F) {
	d := newDevice("fuzz fork")
	two := branches(f, d, 0, ledger.ID{}, 2)
	f.Add(forkOf(two[0], two[1]))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ledger.ParseForkProof(b)
		if err != nil {
			mustBeInvalid(t, err)
			return
		}
		if !bytes.Equal(p.Marshal(), b) {
			t.Fatalf("read %x, wrote another", b)
		}
	})
}

// TestProofNotes: what does not void a proof is said all the same.
func TestProofNotes(t *testing.T) {
	s := newScene(t)
	late := noon.Add(60 * 24 * time.Hour) // credentials ended after 30 days
	s.witnesses[0].cosign(s.author.checkpoint(10), late, s.author)
	s.witnesses[2].cosign(s.author.checkpoint(10), late, s.author)
	r, err := ledger.VerifyProof(marshal(t, s.prove(t)), s.trust)
	must(t, err)
	for _, want := range []string{
		"The author's credential was not valid when the entry was witnessed.",
		"The credential of witness Ben Okafor was not valid when they signed.",
		"All witnesses are of the author's own site.",
	} {
		if !slices.Contains(r.Notes, want) {
			t.Errorf("it does not note %q: %q", want, r.Notes)
		}
	}
	early := newScene(t)
	early.witnesses[0].cosign(early.author.checkpoint(10), noon.Add(-time.Hour), early.author)
	early.witnesses[1].cosign(early.author.checkpoint(10), noon.Add(-time.Hour), early.author)
	r, err = ledger.VerifyProof(marshal(t, early.prove(t)), early.trust)
	must(t, err)
	if !slices.Contains(r.Notes, "The author's clock was ahead of the witnesses'.") {
		t.Errorf("a clock that was ahead is not noted: %q", r.Notes)
	}
}
