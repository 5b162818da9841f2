package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"tocsin/ledger"
	"tocsin/ledger/memstore"
)

// bothBranches reads both branches and checks that each is a chain from the proof on.
func bothBranches(t testing.TB, l *ledger.Logs, id ledger.LogID) [2]ledger.Branch {
	t.Helper()
	both, err := l.Branches(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	f, ok := l.Fork(id)
	if !ok {
		t.Fatal("branches without a fork")
	}
	for b, root := range []*ledger.Entry{f.First, f.Second} {
		prev := root.Header.Prev
		for i, e := range both[b].Entries {
			if i == 0 && e.ID() != root.ID() || e.Header.Prev != prev || e.Header.Seq != f.Seq+uint64(i) {
				t.Fatalf("entry %d of branch %d is out of place", i, b)
			}
			prev = e.ID()
		}
	}
	return both
}

// told says of each branch how many entries are known, how many of them stand in
// the log, and how many have their body.
func told(t testing.TB, l *ledger.Logs, id ledger.LogID) string {
	t.Helper()
	var words []string
	for _, b := range bothBranches(t, l, id) {
		whole := 0
		for _, e := range b.Entries {
			if e.HasBody() {
				whole++
			}
		}
		words = append(words, fmt.Sprintf("%d/%d/%d", len(b.Entries), b.InLog, whole))
	}
	slices.Sort(words) // which of the two is first is for their hashes to say
	return strings.Join(words, " ")
}

// TestEvidenceIsKept: what follows on the branch that has no place in the log is
// kept, with its bodies, also over a restart.
func TestEvidenceIsKept(t *testing.T) {
	store := memstore.New()
	l := open(t, store, everyone(), ledger.Limits{})
	d := newDevice("a")
	x := d.chain(t, 6)
	y := d.extend(t, x[:3], 5, "other")
	addAll(t, l, x, ledger.Appended)
	if _, err := l.Branches(context.Background(), d.id); !errors.Is(err, ledger.ErrNotFound) {
		t.Fatalf("branches of no fork: %v", err)
	}
	add(t, l, y[4], ledger.Forked)
	if got := told(t, l, d.id); got != "1/0/1 2/2/2" { // it looks as if they parted there
		t.Fatalf("told %s", got)
	}
	add(t, l, y[3], ledger.Forked)
	add(t, l, y[6], ledger.Forked) // after a gap: nothing shows that it belongs here
	if got := told(t, l, d.id); got != "2/0/2 3/3/3" {
		t.Fatalf("told %s", got)
	}
	for _, v := range y[4:] {
		add(t, l, v, ledger.Forked)
	}
	for range 2 {
		if got := told(t, l, d.id); got != "3/3/3 5/0/5" {
			t.Fatalf("told %s", got)
		}
		if next(l, d.id) != 6 {
			t.Fatal("evidence went into the log")
		}
		l = open(t, store.Reopen(), everyone(), ledger.Limits{})
	}
}

// TestEvidenceOfProofAlone: who hears of a fork before it has either branch keeps
// both out of the log; bodies that come later are kept.
func TestEvidenceOfProofAlone(t *testing.T) {
	l := openMem(t)
	d := newDevice("a")
	x := d.chain(t, 5)
	y := d.extend(t, x[:2], 3, "other")
	from := openMem(t)
	addAll(t, from, x, ledger.Appended)
	add(t, from, y[2], ledger.Forked)
	f, _ := from.Fork(d.id)
	addAll(t, l, x[:2], ledger.Appended)
	if _, err := l.TakeFork(context.Background(), f.Marshal()); err != nil {
		t.Fatal(err)
	}
	if got := told(t, l, d.id); got != "1/0/0 1/0/0" {
		t.Fatalf("told %s", got)
	}
	bare, _, err := ledger.VerifyHeaderFrame(x[3].Entry().HeaderFrame())
	if err != nil {
		t.Fatal(err)
	}
	add(t, l, bare, ledger.Forked)
	addAll(t, l, y[2:], ledger.Forked)
	if got := told(t, l, d.id); got != "2/0/0 3/0/3" {
		t.Fatalf("told %s", got)
	}
	before := l.Tree().Root()
	add(t, l, x[3], ledger.Forked)
	if w, bare := l.Bare(d.id); !bare || w.From != 2 {
		t.Fatalf("it lacks bodies from %d on: %v", w.From, bare)
	}
	add(t, l, x[2], ledger.Forked)
	if got := told(t, l, d.id); got != "2/0/2 3/0/3" {
		t.Fatalf("told %s", got)
	}
	if w, bare := l.Bare(d.id); bare {
		t.Fatalf("it lacks bodies from %d on", w.From)
	}
	if l.Tree().Root() != before {
		t.Error("two devices that know of the same entries differ by the bodies that they hold")
	}
	if next(l, d.id) != 2 {
		t.Fatal("a closed log has grown")
	}
}

// TestEvidenceIsBounded: a device that writes on and on after its fork fills
// nobody's disk.
func TestEvidenceIsBounded(t *testing.T) {
	l := openMem(t)
	d := newDevice("a")
	x := d.chain(t, 3)
	long := strings.Repeat("long ", 8<<10)
	y := d.extend(t, x[:2], ledger.MaxBranch+20, long)
	addAll(t, l, x, ledger.Appended)
	addAll(t, l, y[2:], ledger.Forked)
	whole := ledger.MaxBranchBytes / len(y[2].Entry().Body)
	if got, want := told(t, l, d.id), fmt.Sprintf("1/1/1 %d/0/%d", ledger.MaxBranch, whole); got != want {
		t.Fatalf("told %s, want %s", got, want)
	}
}

// TestEvidenceInAnyOrder: the branches are a function of the entries known, in
// whatever order and with whatever repetition they came, also of a tree of forks.
func TestEvidenceInAnyOrder(t *testing.T) {
	d := newDevice("a")
	trunk := d.chain(t, 3)
	var all []ledger.Verified
	for i := range 3 {
		branch := d.extend(t, trunk, 4, fmt.Sprint("branch ", i))
		all = append(all, branch[3:]...)
		all = append(all, d.extend(t, branch[:5], 3, fmt.Sprint("twig ", i))[5:]...)
	}
	rapid.Check(t, func(rt *rapid.T) {
		l := openMem(t)
		addAll(t, l, trunk, ledger.Appended)
		// Thrice through all of them: an entry is of no use before the one it follows.
		for range 5 {
			for _, v := range rapid.Permutation(all).Draw(rt, "order") {
				if _, err := l.Append(context.Background(), v, noon); err != nil {
					rt.Fatal(err)
				}
			}
		}
		f, ok := l.Fork(d.id)
		if !ok || f.Seq != 3 {
			rt.Fatalf("fork %v at %d", ok, f.Seq)
		}
		both := bothBranches(t, l, d.id)
		for b := range both {
			want := lowest(all, both[b].Entries[0])
			if len(want) != len(both[b].Entries) {
				rt.Fatalf("branch %d has %d entries, want %d", b, len(both[b].Entries), len(want))
			}
			for i, e := range both[b].Entries {
				if e.ID() != want[i] || !e.HasBody() {
					rt.Fatalf("entry %d of branch %d is not the lowest that follows", i, b)
				}
			}
		}
	})
}

// lowest is the model: from root on, always the lowest id that follows.
func lowest(all []ledger.Verified, root *ledger.Entry) []ledger.ID {
	chain := []ledger.ID{root.ID()}
	for {
		var best *ledger.Entry
		for _, v := range all {
			e := v.Entry()
			if e.Header.Prev != chain[len(chain)-1] {
				continue
			}
			id := e.ID()
			if best == nil {
				best = e
			} else if b := best.ID(); bytes.Compare(id[:], b[:]) < 0 {
				best = e
			}
		}
		if best == nil {
			return chain
		}
		chain = append(chain, best.ID())
	}
}

// TestEvidenceOnTheWire: every malformed piece is an error, and none is taken for
// another.
func TestEvidenceOnTheWire(t *testing.T) {
	e := newDevice("a").chain(t, 2)[1].Entry()
	for _, raw := range [][]byte{nil, {0}, {1}, {2}, append([]byte{2}, e.Frame()...), append([]byte{0}, e.Frame()...), append([]byte{1}, e.HeaderFrame()...), append(ledger.MarshalEvidence(e), 0)} {
		if _, err := ledger.VerifyEvidence(raw); !errors.Is(err, ledger.ErrInvalid) {
			t.Errorf("%d bytes: %v", len(raw), err)
		}
	}
	w := ledger.Want{Log: e.Header.Log(), From: 4, To: 6}
	take := func(seqs ...uint64) error {
		x := ledger.Expect(ledger.Request{Want: w, Piece: ledger.PieceEvidence})
		for _, seq := range seqs {
			if err := x.Take(ledger.PieceEvidence, w.Log, seq); err != nil {
				return err
			}
		}
		return nil
	}
	if err := take(4, 4, 5, 5); err != nil {
		t.Error(err)
	}
	for _, seqs := range [][]uint64{{3}, {6}, {5, 4}, {4, 4, 4, 5, 5}} {
		if err := take(seqs...); ledger.Broken(err) != ledger.BrokenRange {
			t.Errorf("%v: %v", seqs, err)
		}
	}
}

func FuzzEvidence(f *testing.F) {
	e := newDevice("a").chain(f, 2)[1].Entry()
	f.Add(ledger.MarshalEvidence(e))
	bare, _, err := ledger.VerifyHeaderFrame(e.HeaderFrame())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(ledger.MarshalEvidence(bare.Entry()))
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, err := ledger.VerifyEvidence(raw)
		if err != nil {
			return
		}
		h, err := ledger.ParseEvidence(raw)
		if err != nil || h.Seq != v.Entry().Header.Seq || h.Log() != v.Entry().Header.Log() {
			t.Fatalf("the header that was looked at is not the one that was verified: %v", err)
		}
		if v.Entry().HasBody() && !bytes.Equal(ledger.MarshalEvidence(v.Entry()), raw) {
			t.Fatal("two encodings of one entry")
		}
	})
}
