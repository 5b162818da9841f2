package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"tocsin/ledger"
	"tocsin/ledger/memstore"
)

// checkFork compares the evidence with the entries it should show.
func checkFork(t *testing.T, l *ledger.Logs, x, y ledger.Verified) {
	t.Helper()
	forks := l.Forks()
	if len(forks) != 1 {
		t.Fatalf("%d forks, want 1", len(forks))
	}
	f := forks[0]
	a, b := x.Entry(), y.Entry()
	ida, idb := a.ID(), b.ID()
	if bytes.Compare(ida[:], idb[:]) > 0 {
		a, b = b, a
	}
	if f.Seq != a.Header.Seq || f.First.ID() != a.ID() || f.Second.ID() != b.ID() || f.Log != a.Header.Log() {
		t.Fatalf("evidence at %d: %s and %s, want at %d: %s and %s",
			f.Seq, f.First.ID(), f.Second.ID(), a.Header.Seq, a.ID(), b.ID())
	}
	// Anyone can check it.
	for _, e := range []*ledger.Entry{f.First, f.Second} {
		if got, err := ledger.VerifyHeader(e.SignedHeader()); err != nil || got.ID() != e.ID() {
			t.Fatalf("the evidence does not verify: %v", err)
		}
	}
}

func TestForkBehindTheHead(t *testing.T) {
	store := memstore.New()
	l := open(t, store, everyone(), ledger.Limits{})
	d := newDevice("a")
	x := d.chain(t, 6)
	y := d.extend(t, x[:3], 3, "other")
	addAll(t, l, x[:5], ledger.Appended)
	add(t, l, y[3], ledger.Forked)
	checkFork(t, l, x[3], y[3])
	for range 2 {
		add(t, l, x[5], ledger.Forked) // closed for both branches
		add(t, l, y[4], ledger.Forked)
		add(t, l, x[4], ledger.Known) // what was held stays
		if next(l, d.id) != 5 || !l.Closed(d.id) {
			t.Fatalf("%d entries, closed %v", next(l, d.id), l.Closed(d.id))
		}
		checkFork(t, l, x[3], y[3])
		l = open(t, store.Reopen(), everyone(), ledger.Limits{})
	}
	if rep, err := l.VerifyAll(context.Background(), nil); err != nil || !rep.OK() || rep.Forks != 1 || !rep.Logs[0].Forked {
		t.Fatalf("%+v: %v", rep, err)
	}
	if got := missing(l, ledger.Frontier{{Log: d.id, Next: 99}}, noon); len(got) != 0 {
		t.Fatalf("a closed log is still asked for: %+v", got)
	}
}

// TestForkAtTheHead: the newest entry has its own short cut in the code.
func TestForkAtTheHead(t *testing.T) {
	l := openMem(t)
	d := newDevice("a")
	x := d.chain(t, 3)
	y := d.extend(t, x[:2], 1, "other")
	addAll(t, l, x, ledger.Appended)
	add(t, l, y[2], ledger.Forked)
	checkFork(t, l, x[2], y[2])
}

func TestForkInThePen(t *testing.T) {
	l := openMem(t)
	d := newDevice("a")
	x := d.chain(t, 6)
	y := d.extend(t, x[:4], 1, "other")
	add(t, l, x[4], ledger.Penned)
	add(t, l, y[4], ledger.Forked)
	checkFork(t, l, x[4], y[4])
	// What lies before the fork is still taken, and nothing from it on.
	addAll(t, l, x[:4], ledger.Appended)
	if next(l, d.id) != 4 {
		t.Fatalf("%d entries, want 4", next(l, d.id))
	}
	add(t, l, x[5], ledger.Forked)
	if s := l.Stats(); s.Forks != 1 || s.Penned != 0 {
		t.Fatalf("%+v", s)
	}
}

// TestForkInOneBatch: both branches arrive in the same commit.
func TestForkInOneBatch(t *testing.T) {
	l := openMem(t)
	d := newDevice("a")
	x := d.chain(t, 3)
	y := d.extend(t, x[:1], 2, "other")
	out, err := l.AppendBatch(context.Background(), []ledger.Verified{x[0], x[1], y[1], x[2], y[2]}, noon)
	if err != nil {
		t.Fatal(err)
	}
	want := []ledger.Outcome{ledger.Appended, ledger.Appended, ledger.Forked, ledger.Forked, ledger.Forked}
	for i := range want {
		if out[i] != want[i] {
			t.Fatalf("outcomes %v, want %v", out, want)
		}
	}
	checkFork(t, l, x[1], y[1])
}

// TestOtherBranch: an entry whose prev is not ours proves nothing by itself, but
// cannot be taken.
func TestOtherBranch(t *testing.T) {
	l := openMem(t)
	d := newDevice("a")
	x := d.chain(t, 3)
	y := d.extend(t, x[:2], 2, "other")
	addAll(t, l, x, ledger.Appended)
	add(t, l, y[3], ledger.Forked)
	if len(l.Forks()) != 0 || l.Closed(d.id) {
		t.Fatal("a log was closed without proof")
	}
	add(t, l, d.extend(t, x, 1, "")[3], ledger.Appended)
}

// TestForkProofConverges: whoever knows the same entries keeps the same proof,
// in whatever order they came: the two lowest ids at the lowest forked place.
func TestForkProofConverges(t *testing.T) {
	d := newDevice("a")
	x := d.chain(t, 5)
	all := append([]ledger.Verified(nil), x...)
	for i, name := range []string{"b", "c", "d"} {
		all = append(all, d.extend(t, x[:2+i%2], 5-(2+i%2), name)...)
	}
	rng := rand.New(rand.NewPCG(3, 4))
	var first *ledger.Fork
	for range 50 {
		rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		l := openMem(t)
		// The common beginning comes first: an entry that was never held, and is
		// not kept, cannot be evidence.
		addAll(t, l, x[:2], ledger.Appended)
		for range 2 {
			for _, v := range all {
				if _, err := l.Append(context.Background(), v, noon); err != nil {
					t.Fatal(err)
				}
			}
		}
		forks := l.Forks()
		if len(forks) != 1 {
			t.Fatalf("%d forks", len(forks))
		}
		f := forks[0]
		if first == nil {
			first = &f
		}
		if f.Seq != first.Seq || f.First.ID() != first.First.ID() || f.Second.ID() != first.Second.ID() {
			t.Fatalf("evidence at %d: %s %s, elsewhere at %d: %s %s", f.Seq, f.First.ID(), f.Second.ID(),
				first.Seq, first.First.ID(), first.Second.ID())
		}
	}
	if first.Seq != 2 {
		t.Fatalf("the evidence is at %d, and the logs part at 2", first.Seq)
	}
}

func TestOwnLogForked(t *testing.T) {
	ctx := context.Background()
	l := openMem(t)
	d := newDevice("own")
	g, err := l.Own(ctx, d.id)
	if err != nil {
		t.Fatal(err)
	}
	x := write(t, g, d, "mine")
	y := d.entry(t, 0, ledger.ID{}, "by a clone of this device")
	add(t, l, y, ledger.Forked)
	checkFork(t, l, x, y)
	if _, err := g.Reserve(noon); !errors.Is(err, ledger.ErrForked) {
		t.Fatalf("Reserve on a forked log: %v", err)
	}
	if next(l, d.id) != 1 {
		t.Fatal("the own head moved")
	}
}

// TestForkMeetsThePen: one branch waits when the other comes in a row.
func TestForkMeetsThePen(t *testing.T) {
	store := memstore.New()
	l := open(t, store, everyone(), ledger.Limits{})
	d := newDevice("a")
	x := d.chain(t, 6)
	y := d.extend(t, x[:5], 4, "other")
	addAll(t, l, x[:4], ledger.Appended)
	addAll(t, l, y[5:], ledger.Penned)
	out, err := l.AppendBatch(context.Background(), x[4:], noon)
	if err != nil || out[0] != ledger.Appended || out[1] != ledger.Appended {
		t.Fatalf("%v: %v", out, err)
	}
	checkFork(t, l, x[5], y[5])
	if s := l.Stats(); s.Penned != 0 || s.PennedBytes != 0 || s.Forks != 1 {
		t.Fatalf("entries wait for a log that is closed: %+v", s)
	}
	if !l.Closed(d.id) {
		t.Fatal("the log is not closed")
	}
	checkFork(t, open(t, store.Reopen(), everyone(), ledger.Limits{}), x[5], y[5])
}

// TestForkClearsThePen: what waits beyond a fork goes, what waits before stays.
func TestForkClearsThePen(t *testing.T) {
	l := openMem(t)
	d := newDevice("a")
	x := d.chain(t, 8)
	y := d.extend(t, x[:5], 1, "other")
	addAll(t, l, x[4:], ledger.Penned)
	add(t, l, y[5], ledger.Forked)
	if s := l.Stats(); s.Penned != 1 {
		t.Fatalf("%d wait, want the 1 before the fork", s.Penned)
	}
	addAll(t, l, x[:4], ledger.Appended)
	if next(l, d.id) != 5 {
		t.Fatalf("%d entries, want 5", next(l, d.id))
	}
}
