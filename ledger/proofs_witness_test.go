package ledger_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"pgregory.net/rapid"

	"tocsin/crypto/identity"
	"tocsin/ledger"
)

var testMesh = identity.MeshID{0xab, 1}

// TestCheckpointNote: C2SP's own tools read our notes, and we read no spelling
// but our own.
func TestCheckpointNote(t *testing.T) {
	m := newMesh(t)
	author, witness := m.enrol("Amina", hospital), m.enrol("Ben", ambulance)
	chain := author.chain(t, 3)
	author.take(chain)
	witness.take(chain)
	cp := author.checkpoint(3)
	cosigned := witness.cosign(cp, noon)
	mesh := m.trust.MeshID()
	msg := cp.Note(mesh, cosigned)

	logKey, err := note.NewEd25519VerifierKey(ledger.Origin(mesh, author.id), ed25519.PublicKey(author.id.Author[:]))
	must(t, err)
	text := "log " + logKey + "\nquorum none\n"
	policy, err := torchwood.ParsePolicy([]byte(text))
	must(t, err)
	read, _, err := torchwood.VerifyCheckpoint(msg, policy)
	if err != nil || read.N != 3 || ledger.Hash(read.Hash) != cp.Root || read.Origin != ledger.Origin(mesh, author.id) {
		t.Fatalf("torchwood reads %+v, %v", read, err)
	}

	got, all, err := ledger.ParseCheckpoint(mesh, msg)
	if err != nil || got != cp || len(all) != 1 || all[0] != cosigned {
		t.Fatalf("read back %+v %+v, %v", got, all, err)
	}
	name := ledger.WitnessName(witness.witnessKey())
	for what, bad := range map[string]string{
		"another size":        strings.Replace(string(msg), "\n3\n", "\n2\n", 1),
		"a size with a zero":  strings.Replace(string(msg), "\n3\n", "\n03\n", 1),
		"a size with a sign":  strings.Replace(string(msg), "\n3\n", "\n+3\n", 1),
		"an extension":        strings.Replace(string(msg), "\n\n", "\nmore\n\n", 1),
		"another root":        strings.Replace(string(msg), cp.Root.String(), ledger.Hash{1}.String(), 1),
		"another origin":      strings.Replace(string(msg), "/0\n", "/1\n", 1),
		"another mesh":        strings.ReplaceAll(string(msg), "tocsin/ab", "tocsin/ac"),
		"no author":           string(msg[:bytes.Index(msg, []byte("— tocsin"))]) + string(msg[bytes.Index(msg, []byte("— "+name)):]),
		"a signer more":       string(msg) + "— somebody AAAAAAAAAAA=\n",
		"a signature twice":   string(msg) + string(msg[bytes.Index(msg, []byte("— "+name)):]),
		"no line feed at end": string(msg[:len(msg)-1]),
		"nothing":             "",
	} {
		if bad == string(msg) && what != "another mesh" {
			t.Fatalf("%s: the note was not changed", what)
		}
		if bad == string(msg) {
			continue
		}
		if _, _, err := ledger.ParseCheckpoint(mesh, []byte(bad)); err == nil {
			t.Errorf("%s was accepted", what)
		}
	}
	if _, _, err := ledger.ParseCheckpoint(testMesh, msg); err == nil {
		t.Error("a checkpoint of another mesh was accepted")
	}
	if _, err := ledger.SignCheckpoint(witness.key, mesh, author.id, 3, cp.Root); err == nil {
		t.Error("somebody else signed a checkpoint of the log")
	}
}

// TestWitnessRefuses is the core's table of rules.
func TestWitnessRefuses(t *testing.T) {
	ctx := context.Background()
	d := newDevice("author")
	a := openMem(t)
	chain := d.chain(t, 20)
	addAll(t, a, chain, ledger.Appended)
	b := openMem(t) // the other branch
	addAll(t, b, d.extend(t, chain[:5], 15, "other"), ledger.Appended)
	honest, forked := ledger.NewTrees(a), ledger.NewTrees(b)
	cp := func(trees *ledger.Trees, size uint64) (ledger.Checkpoint, ledger.Hash) {
		root, err := trees.Root(ctx, d.id, size)
		must(t, err)
		c, err := ledger.SignCheckpoint(d.key, testMesh, d.id, size, root)
		must(t, err)
		return c, root
	}
	proof := func(trees *ledger.Trees, from, to uint64) []ledger.Hash {
		p, err := trees.Consistency(ctx, d.id, from, to)
		must(t, err)
		return p
	}
	w, err := ledger.NewWitness(seeded("witness"), testMesh)
	must(t, err)
	cp10, root10 := cp(honest, 10)
	state, err := w.Cosign(nil, cp10, root10, nil, noon)
	must(t, err)
	must(t, state.Verify(testMesh))

	if again, err := w.Cosign(state, cp10, root10, nil, noon.Add(time.Hour)); err != nil || again != state {
		t.Errorf("the same checkpoint again made another cosignature: %v", err)
	}
	cp20, root20 := cp(honest, 20)
	next, err := w.Cosign(state, cp20, root20, proof(honest, 10, 20), noon.Add(-time.Hour))
	if err != nil || next.Size != 20 || next.Time != state.Time {
		t.Errorf("the longer log: %+v, %v; the time must not go back", next, err)
	}

	bad20, badRoot20 := cp(forked, 20)
	bad10, _ := cp(forked, 10)
	cp5, root5 := cp(honest, 5)
	unsigned := cp20
	unsigned.Signature[3] ^= 1
	var two *ledger.Contradiction
	for _, c := range []struct {
		name  string
		state *ledger.Cosigned
		cp    ledger.Checkpoint
		held  ledger.Hash
		proof []ledger.Hash
		is    func(error) bool
	}{
		{"a signature that is wrong", state, unsigned, root20, proof(honest, 10, 20), func(err error) bool { return errors.Is(err, identity.ErrSignature) }},
		{"a rollback", state, cp5, root5, nil, func(err error) bool { return errors.Is(err, ledger.ErrBehind) }},
		{"a fork of the same size", state, bad10, bad10.Root, nil, func(err error) bool { return errors.As(err, &two) }},
		{"a longer fork, with its own proof", state, bad20, badRoot20, proof(forked, 10, 20), anyError},
		{"a longer fork, with the honest proof", state, bad20, badRoot20, proof(honest, 10, 20), anyError},
		{"no consistency proof", state, cp20, root20, nil, anyError},
		{"a tree that is not held", state, cp20, badRoot20, proof(honest, 10, 20), anyError},
		{"a tree that is not held, at first", nil, cp20, badRoot20, nil, anyError},
	} {
		if got, err := w.Cosign(c.state, c.cp, c.held, c.proof, noon); err == nil || !c.is(err) || got != nil {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
	}
	if two == nil || two.Verify(testMesh) != nil {
		t.Errorf("the evidence of a fork does not verify: %+v", two)
	}
	other := *state
	other.Witness = identity.Key{1}
	if _, err := w.Cosign(&other, cp20, root20, proof(honest, 10, 20), noon); err == nil {
		t.Error("the memory of another witness was used")
	}
}

func anyError(err error) bool { return err != nil }

// failing fails to commit when told to.
type failing struct {
	ledger.Store
	fail bool
}

func (f *failing) Commit(ctx context.Context, batch []ledger.Record) error {
	if f.fail {
		return errors.New("power cut")
	}
	return f.Store.Commit(ctx, batch)
}

// TestCosignPersists: a cosignature leaves the device only when its memory is
// durable, and the memory outlives a restart.
func TestCosignPersists(t *testing.T) {
	ctx := context.Background()
	m := newMesh(t)
	author, witness := m.enrol("Amina", hospital), m.enrol("Ben", hospital)
	chain := author.chain(t, 8)
	author.take(chain)
	witness.take(chain)
	store := &failing{Store: witness.store}
	logs := open(t, store, everyone(), ledger.Limits{})
	table, err := ledger.NewWitnessTable(ledger.WitnessConfig{
		Logs: logs, Trees: ledger.NewTrees(logs), Mesh: m.trust.MeshID(), Key: witness.witness, Witnesses: m,
	})
	must(t, err)
	store.fail = true
	if got, err := table.Cosign(ctx, noon, author.checkpoint(8)); err == nil || got != nil {
		t.Fatalf("a cosignature that is not on disk was given: %+v, %v", got, err)
	}
	store.fail = false
	// What was not persisted was not promised: the smaller tree is free to sign.
	first := witness.cosign(author.checkpoint(5), noon)
	witness.store = witness.store.Reopen()
	witness.open()
	results, err := witness.table.Cosign(ctx, noon.Add(time.Hour), author.checkpoint(4), author.checkpoint(5), author.checkpoint(8))
	must(t, err)
	if !errors.Is(results[0].Err, ledger.ErrBehind) {
		t.Errorf("after a restart the witness forgot: %v", results[0].Err)
	}
	if results[1].Cosigned != first {
		t.Errorf("the same checkpoint after a restart: %+v, %v", results[1].Cosigned, results[1].Err)
	}
	if results[2].Err != nil || results[2].Cosigned.Size != 8 {
		t.Errorf("the longer log: %v", results[2].Err)
	}
	// A tree that is not held is not cosigned, whoever signed it.
	longer := author.extend(t, chain, 1, "")
	author.take(longer)
	results, err = witness.table.Cosign(ctx, noon, author.checkpoint(9))
	if err != nil || !errors.Is(results[0].Err, ledger.ErrNotFound) {
		t.Errorf("entries that are not held were cosigned: %+v, %v", results, err)
	}
}

// TestCosignForked: no tree that reaches beyond a known fork is cosigned, and a
// second root of one size becomes evidence that spreads.
func TestCosignForked(t *testing.T) {
	ctx := context.Background()
	m := newMesh(t)
	author, twin := m.enrol("Amina", hospital), m.enrol("Ben", hospital)
	twin.device = author.device // a clone of the author's keys on another disk
	witness, third := m.enrol("Chloe", ambulance), m.enrol("Dai", ambulance)
	chain := author.chain(t, 10)
	author.take(chain)
	witness.take(chain)
	third.take(chain)
	twin.take(author.extend(t, chain[:6], 4, "twin"))
	witness.cosign(author.checkpoint(10), noon, third)
	results, err := witness.table.Cosign(ctx, noon, twin.checkpoint(10))
	must(t, err)
	var two *ledger.Contradiction
	if !errors.As(results[0].Err, &two) {
		t.Fatalf("the other branch: %+v", results[0])
	}
	held, err := witness.table.Of(ctx, author.id)
	must(t, err)
	if held.Contradiction() == nil || *held.Contradiction() != *two {
		t.Fatal("the evidence was not kept")
	}
	taken, err := third.table.Take(ctx, [][]byte{ledger.MarshalTestimony(two)})
	if err != nil || taken[0].Err != nil || !taken[0].Changed {
		t.Fatalf("the evidence does not spread: %+v, %v", taken, err)
	}
	// Now the two entries meet: the log is closed at 6.
	add(t, third.logs, author.extend(t, chain[:6], 1, "twin")[6], ledger.Forked)
	results, err = third.table.Cosign(ctx, noon, author.checkpoint(10), author.checkpoint(6))
	if err != nil || !errors.Is(results[0].Err, ledger.ErrForked) {
		t.Errorf("beyond the fork: %+v, %v", results, err)
	}
	if results[1].Err != nil {
		t.Errorf("what lies before the fork is witnessed still: %v", results[1].Err)
	}
}

// TestTakeRefuses: what is not kept, and why.
func TestTakeRefuses(t *testing.T) {
	ctx := context.Background()
	m := newMesh(t)
	author, witness, me := m.enrol("Amina", hospital), m.enrol("Ben", hospital), m.enrol("Chloe", hospital)
	chain := author.chain(t, 4)
	author.take(chain)
	witness.take(chain)
	me.take(chain)
	good := witness.cosign(author.checkpoint(4), noon)
	custody, err := ledger.SignCustody(witness.witness, author.id, 0, 4, noon.Add(time.Hour))
	must(t, err)
	stranger, err := ledger.SignCustody(seeded("nobody"), author.id, 0, 4, noon.Add(time.Hour))
	must(t, err)
	spoil := func(t ledger.Testimony, at int) []byte {
		raw := ledger.MarshalTestimony(t)
		raw[at] ^= 1
		return raw
	}
	earlier := good
	earlier.Time--
	raws := [][]byte{
		ledger.MarshalTestimony(good),
		ledger.MarshalTestimony(good),
		spoil(custody, 1+32+36+7),         // from
		spoil(custody, 156),               // signature
		ledger.MarshalTestimony(earlier),  // its cosignature is of another time
		ledger.MarshalTestimony(stranger), // a witness that nobody vouches for
		{9}, {},
		ledger.MarshalTestimony(custody),
		append(ledger.MarshalTestimony(custody), 0),
	}
	// Newer in rank, but the author never signed it.
	forged := good
	forged.Size, forged.Time = 5, good.Time+1
	raws = append(raws, ledger.MarshalTestimony(forged))
	results, err := me.table.Take(ctx, raws)
	must(t, err)
	want := []error{nil, nil, ledger.ErrTestimony, ledger.ErrTestimony, ledger.ErrTestimony, ledger.ErrUnknownWitness,
		ledger.ErrTestimony, ledger.ErrTestimony, nil, ledger.ErrTestimony, ledger.ErrTestimony}
	changed := []int{0, 8}
	for i, r := range results {
		if want[i] == nil && r.Err != nil || want[i] != nil && !errors.Is(r.Err, want[i]) || r.Changed != slices.Contains(changed, i) {
			t.Errorf("testimony %d: %+v, want %v", i, r, want[i])
		}
	}
	unheld, err := ledger.SignCustody(witness.witness, newDevice("unheld").id, 0, 4, noon.Add(time.Hour))
	must(t, err)
	results, err = me.table.Take(ctx, [][]byte{ledger.MarshalTestimony(unheld)})
	if err != nil || !errors.Is(results[0].Err, ledger.ErrNotFound) {
		t.Errorf("a log of which nothing is held: %+v, %v", results, err)
	}
	n := 0
	must(t, me.table.Each(ctx, func(l *ledger.LogTestimony) error { n += len(l.All()); return nil }))
	if n != 2 {
		t.Errorf("%d testimonies are kept, want the two good ones", n)
	}
}

// TestCustody: what "carried by n devices" counts.
func TestCustody(t *testing.T) {
	ctx := context.Background()
	m := newMesh(t)
	author, me := m.enrol("Amina", hospital), m.enrol("Ben", hospital)
	holders := []*node{m.enrol("Chloe", hospital), m.enrol("Dai", ambulance), m.enrol("Efua", ambulance)}
	chain := author.chain(t, 10)
	me.take(chain)
	until := []time.Time{noon.Add(time.Hour), noon.Add(24 * time.Hour), noon.Add(ledger.MaxCustodyAhead + time.Hour)}
	for i, h := range holders {
		h.take(chain)
		c, err := h.table.Promise(ctx, author.id, 2, 8, until[i])
		must(t, err)
		results, err := me.table.Take(ctx, [][]byte{ledger.MarshalTestimony(c)})
		if err != nil || !results[0].Changed {
			t.Fatalf("%+v, %v", results, err)
		}
	}
	_, err := me.table.Promise(ctx, author.id, 0, 10, noon.Add(time.Hour))
	must(t, err)
	for _, c := range []struct {
		seq  uint64
		at   time.Time
		want int
	}{
		{2, noon, 2}, {7, noon, 2}, {1, noon, 0}, {8, noon, 0},
		{5, noon.Add(2 * time.Hour), 1 + 1}, // the third is believable by now
		{5, noon.Add(48 * time.Hour), 1},
	} {
		got, err := me.table.CarriedBy(ctx, author.id, c.seq, c.at)
		if err != nil || len(got) != c.want {
			t.Errorf("entry %d at %s: carried by %d, %v; want %d", c.seq, c.at, len(got), err, c.want)
		}
	}
	if _, err := holders[1].table.Promise(ctx, author.id, 2, 8, noon.Add(time.Minute)); err == nil {
		t.Error("a promise was shortened")
	}
	if _, err := holders[1].table.Promise(ctx, author.id, 2, 11, noon.Add(48*time.Hour)); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("a promise of entries that are not held: %v", err)
	}
	for _, c := range []struct{ from, to uint64 }{{3, 3}, {4, 3}, {0, ledger.MaxSeq + 2}} {
		if _, err := ledger.SignCustody(me.witness, author.id, c.from, c.to, noon); err == nil {
			t.Errorf("custody of %d to %d was signed", c.from, c.to)
		}
	}
}

// TestTableTogether: everything at once, for the race detector, and the memory
// of the witness never goes back.
func TestTableTogether(t *testing.T) {
	ctx := context.Background()
	m := newMesh(t)
	author, me, other := m.enrol("Amina", hospital), m.enrol("Ben", hospital), m.enrol("Chloe", hospital)
	chain := author.chain(t, 40)
	author.take(chain)
	other.take(chain)
	var raws [][]byte
	var cps []ledger.Checkpoint
	for size := uint64(1); size <= 40; size++ {
		cps = append(cps, author.checkpoint(size))
		raws = append(raws, ledger.MarshalTestimony(other.cosign(cps[size-1], noon)))
	}
	me.take(chain[:1])
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range chain {
			if _, err := me.logs.Append(ctx, chain[i], noon); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Go(func() {
		for _, raw := range raws {
			if _, err := me.table.Take(ctx, [][]byte{raw}); err != nil {
				t.Error(err)
			}
		}
	})
	for range 2 {
		wg.Go(func() {
			last := uint64(0)
			for _, cp := range cps {
				results, err := me.table.Cosign(ctx, noon, cp)
				if err != nil {
					t.Error(err)
				} else if c := results[0].Cosigned; results[0].Err == nil && c.Size < last {
					t.Errorf("size %d was cosigned after %d", c.Size, last)
				} else if results[0].Err == nil {
					last = c.Size
				}
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			if _, err := me.table.CosignHeld(ctx, noon, author.id); err != nil {
				t.Error(err)
			}
			if _, err := me.table.CarriedBy(ctx, author.id, 0, noon); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	if made, err := me.table.CosignHeld(ctx, noon, author.id); err != nil || len(made) > 1 {
		t.Fatalf("%d made, %v", len(made), err)
	}
	l, err := me.table.Of(ctx, author.id)
	must(t, err)
	for _, c := range l.Cosigned() {
		if c.Size != 40 {
			t.Errorf("%s has cosigned %d of 40", c.Witness, c.Size)
		}
	}
}

// testimonies draws what some witnesses of some organisations may say of a log.
func testimonies(t *rapid.T) []ledger.Testimony {
	var all []ledger.Testimony
	for range rapid.IntRange(0, 60).Draw(t, "n") {
		key := identity.Key{byte(rapid.IntRange(1, 40).Draw(t, "witness"))}
		if rapid.Bool().Draw(t, "custody") {
			all = append(all, ledger.Custody{
				Holder: key, To: 1 + rapid.Uint64Range(1, 3).Draw(t, "to"), From: rapid.Uint64Range(0, 1).Draw(t, "from"),
				Until: rapid.Uint64Range(1, 3).Draw(t, "until"), Signature: [64]byte{byte(rapid.IntRange(0, 1).Draw(t, "sig"))},
			})
			continue
		}
		size := rapid.Uint64Range(1, 4).Draw(t, "size")
		all = append(all, ledger.Cosigned{
			Checkpoint: ledger.Checkpoint{Size: size, Root: ledger.Hash{byte(size)}},
			Witness:    key, Time: rapid.Uint64Range(1, 3).Draw(t, "time"),
		})
	}
	return all
}

func orgOf(t ledger.Testimony) string {
	switch x := t.(type) {
	case ledger.Cosigned:
		return string('a' + rune(x.Witness[0]%11))
	case ledger.Custody:
		return string('a' + rune(x.Holder[0]%11))
	}
	return ""
}

// TestTestimonyConverges: the same testimony in any order and grouping gives the
// same set, within its bounds, with and without a witness that keeps its own.
func TestTestimonyConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := testimonies(t)
		self := identity.Key{byte(rapid.IntRange(0, 40).Draw(t, "self"))}
		one := &ledger.LogTestimony{}
		for _, x := range all {
			ledger.AddTestimony(one, x, orgOf(x), self)
		}
		// Elsewhere: shuffled, in two halves that are told to a third.
		shuffled := rapid.Permutation(all).Draw(t, "order")
		cut := rapid.IntRange(0, len(all)).Draw(t, "cut")
		left, right, third := &ledger.LogTestimony{}, &ledger.LogTestimony{}, &ledger.LogTestimony{}
		for i, x := range shuffled {
			to := left
			if i >= cut {
				to = right
			}
			ledger.AddTestimony(to, x, orgOf(x), identity.Key{})
		}
		for _, half := range []*ledger.LogTestimony{right, left} {
			for _, x := range half.All() {
				ledger.AddTestimony(third, x, orgOf(x), identity.Key{})
			}
		}
		if one.Hash() != third.Hash() {
			t.Fatalf("%d testimonies in another order give another set", len(all))
		}
		if n := len(third.Cosigned()); n > 24 {
			t.Fatalf("%d cosignatures are kept", n)
		}
		for _, x := range third.All() {
			if ledger.AddTestimony(third, x, orgOf(x), identity.Key{}) {
				t.Fatal("what is held changes the set")
			}
		}
		for _, x := range all {
			if c, ok := x.(ledger.Cosigned); ok && c.Witness == self && !slices.ContainsFunc(one.Cosigned(), func(o ledger.Cosigned) bool {
				return o.Witness == self && o.Size >= c.Size
			}) {
				t.Fatal("a witness forgot what it had cosigned itself")
			}
		}
		value, err := ledger.MarshalLogTestimony(one)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ledger.ParseLogTestimony(one.Log, value)
		if err != nil || again.Hash() != one.Hash() || !slices.Equal(again.All(), one.All()) {
			t.Fatalf("the stored form: %v", err)
		}
		value[rapid.IntRange(0, len(value)-1).Draw(t, "flip")] ^= 0x10
		if _, err := ledger.ParseLogTestimony(one.Log, value); !errors.Is(err, ledger.ErrDamaged) {
			t.Fatalf("a changed byte was not found: %v", err)
		}
	})
}

// TestCrowdOfWitnesses: where there is more testimony than is kept, every device
// keeps its own, and shares what all keep: it looks the same everywhere.
func TestCrowdOfWitnesses(t *testing.T) {
	ctx := context.Background()
	m := newMesh(t)
	author := m.enrol("Amina", hospital)
	chain := author.chain(t, 1)
	var crowd []*node
	var raws [][]byte
	for i := range 20 { // more than testimonyByRank
		n := m.enrol(fmt.Sprintf("Clinician %d", i), hospital)
		n.take(chain)
		c, err := n.table.Promise(ctx, author.id, 0, 1, noon.Add(time.Duration(i+1)*time.Minute))
		must(t, err)
		crowd, raws = append(crowd, n), append(raws, ledger.MarshalTestimony(c))
	}
	var shared [][]ledger.Testimony
	held := make(map[int]bool)
	for _, n := range crowd {
		_, err := n.table.Take(ctx, raws)
		must(t, err)
		l, err := n.table.Of(ctx, author.id)
		must(t, err)
		held[len(l.All())] = true
		shared = append(shared, l.Shared().All())
	}
	if len(held) != 2 {
		t.Fatalf("pieces held are %v: some must keep more than others, or this test says nothing", held)
	}
	for i := range shared {
		if !reflect.DeepEqual(shared[i], shared[0]) {
			t.Errorf("%s shares %d pieces, the first %d", crowd[i].witnessKey(), len(shared[i]), len(shared[0]))
		}
	}
}
