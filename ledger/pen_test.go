package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"tocsin/ledger"
	"tocsin/ledger/memstore"
)

func TestGapWaits(t *testing.T) {
	l := openMem(t)
	d := newDevice("a")
	chain := d.chain(t, 10)
	for _, i := range []int{9, 3, 1, 2, 5, 4, 8} {
		add(t, l, chain[i], ledger.Penned)
	}
	add(t, l, chain[3], ledger.Penned)
	if s := l.Stats(); s.Penned != 7 || s.PennedBytes == 0 || s.UnknownAuthors != 0 {
		t.Fatalf("%+v", s)
	}
	add(t, l, chain[0], ledger.Appended)
	if n := next(l, d.id); n != 6 {
		t.Fatalf("%d entries after the gap closed, want 6", n)
	}
	add(t, l, chain[3], ledger.Known)
	addAll(t, l, chain[6:8], ledger.Appended)
	if n := next(l, d.id); n != 10 {
		t.Fatalf("%d entries, want 10", n)
	}
	if s := l.Stats(); s.Penned != 0 || s.PennedBytes != 0 {
		t.Fatalf("the pen is not empty: %+v", s)
	}
}

// TestAnyOrder: whatever order entries come in, all of them arrive.
func TestAnyOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		l := openMem(t)
		var all []ledger.Verified
		devices := []*device{newDevice("a"), newDevice("b"), newDevice("c")}
		for _, d := range devices {
			all = append(all, d.chain(t, 15)...)
		}
		rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for len(all) > 0 {
			n := 1 + rng.IntN(min(8, len(all)))
			if _, err := l.AppendBatch(context.Background(), all[:n], noon); err != nil {
				t.Fatal(err)
			}
			all = all[n:]
		}
		for _, d := range devices {
			if next(l, d.id) != 15 {
				t.Fatalf("%d entries of %s, want 15", next(l, d.id), d.id)
			}
		}
	}
}

func TestTooFarAheadOfGap(t *testing.T) {
	l := open(t, memstore.New(), everyone(), ledger.Limits{AheadOfGap: 5})
	chain := newDevice("a").chain(t, 12)
	add(t, l, chain[0], ledger.Appended)
	add(t, l, chain[7], ledger.OverBudget)
	add(t, l, chain[6], ledger.Penned)
}

// TestBigGap fills a gap in front of more than one commit can hold.
func TestBigGap(t *testing.T) {
	l := openMem(t)
	d := newDevice("a")
	chain := d.chain(t, 900)
	addAll(t, l, chain[1:], ledger.Penned)
	add(t, l, chain[0], ledger.Appended)
	if n := next(l, d.id); n != 900 {
		t.Fatalf("%d entries, want 900", n)
	}
	if rep, err := l.VerifyAll(context.Background(), nil); err != nil || !rep.OK() || rep.Entries != 900 {
		t.Fatalf("%+v: %v", rep, err)
	}
}

func TestGapMemory(t *testing.T) {
	const size = 4000
	l := open(t, memstore.New(), everyone(), ledger.Limits{GapAuthorBytes: 3 * size, GapBytes: 5 * size})
	body := string(make([]byte, size-300))
	at := func(d *device, seq uint64) ledger.Verified { return d.entry(t, seq, ledger.ID{1}, body) }
	a, b := newDevice("a"), newDevice("b")
	for seq := uint64(1); seq <= 3; seq++ {
		add(t, l, at(a, seq), ledger.Penned)
	}
	add(t, l, at(a, 4), ledger.OverBudget)
	add(t, l, at(b, 1), ledger.Penned)
	add(t, l, at(b, 2), ledger.Penned)
	add(t, l, at(b, 3), ledger.OverBudget)
	if s := l.Stats(); s.PennedBytes > 5*size {
		t.Fatalf("%d bytes wait", s.PennedBytes)
	}
}

func TestUnknownAuthorIsAdmitted(t *testing.T) {
	who := &authors{admit: func(*ledger.Entry) error { return nil }}
	l := open(t, memstore.New(), who, ledger.Limits{})
	d := newDevice("a")
	chain := d.chain(t, 5)
	addAll(t, l, chain[1:4], ledger.Penned)
	if s := l.Stats(); s.UnknownAuthors != 1 || s.Penned != 3 {
		t.Fatalf("%+v", s)
	}
	if who.asked != 0 {
		t.Fatal("Admit was asked with another entry than the first")
	}
	add(t, l, chain[0], ledger.Appended)
	if next(l, d.id) != 4 || who.asked != 1 {
		t.Fatalf("%d entries, asked %d times", next(l, d.id), who.asked)
	}
	if s := l.Stats(); s.UnknownAuthors != 0 || s.Penned != 0 || s.PennedBytes != 0 {
		t.Fatalf("%+v", s)
	}
}

func TestRelease(t *testing.T) {
	ctx := context.Background()
	who := &authors{}
	l := open(t, memstore.New(), who, ledger.Limits{})
	a, b := newDevice("a"), newDevice("b")
	chain := a.chain(t, 5)
	addAll(t, l, chain, ledger.Penned)
	addAll(t, l, b.chain(t, 2), ledger.Penned)
	if n, err := l.Release(ctx, a.id.Author, noon); n != 0 || err != nil {
		t.Fatalf("released %d of an author who is not known: %v", n, err)
	}
	who.learn(a.id.Author)
	if n, err := l.Release(ctx, a.id.Author, noon); n != 5 || err != nil {
		t.Fatalf("released %d, want 5: %v", n, err)
	}
	if next(l, a.id) != 5 || next(l, b.id) != 0 {
		t.Fatalf("%d and %d entries, want 5 and 0", next(l, a.id), next(l, b.id))
	}
	if s := l.Stats(); s.Penned != 2 || s.UnknownAuthors != 1 {
		t.Fatalf("%+v", s)
	}
}

func TestReleaseMoreThanOneCommit(t *testing.T) {
	who := &authors{}
	l := open(t, memstore.New(), who, ledger.Limits{UnknownEntries: 700, UnknownBytes: 64 << 20})
	d := newDevice("a")
	addAll(t, l, d.chain(t, 700), ledger.Penned)
	who.learn(d.id.Author)
	if n, err := l.Release(context.Background(), d.id.Author, noon); n != 700 || err != nil {
		t.Fatalf("released %d, want 700: %v", n, err)
	}
}

func TestUnknownEntriesLimit(t *testing.T) {
	l := open(t, memstore.New(), &authors{}, ledger.Limits{UnknownEntries: 4})
	chain := newDevice("a").chain(t, 8)
	addAll(t, l, chain[2:6], ledger.Penned)
	add(t, l, chain[6], ledger.OverBudget)
	// The first entry is the one that can make the author known.
	add(t, l, chain[0], ledger.Penned)
	if s := l.Stats(); s.Penned != 4 || s.Forgotten != 1 {
		t.Fatalf("%+v", s)
	}
	add(t, l, chain[5], ledger.OverBudget)
}

func TestOldestUnknownAuthorIsForgotten(t *testing.T) {
	who := &authors{}
	l := open(t, memstore.New(), who, ledger.Limits{UnknownAuthors: 3})
	var devices []*device
	for i := range 4 {
		d := newDevice(fmt.Sprint(i))
		devices = append(devices, d)
		addAll(t, l, d.chain(t, 2), ledger.Penned)
	}
	if s := l.Stats(); s.UnknownAuthors != 3 || s.Penned != 6 || s.Forgotten != 2 {
		t.Fatalf("%+v", s)
	}
	for i, d := range devices {
		who.learn(d.id.Author)
		n, err := l.Release(context.Background(), d.id.Author, noon)
		if want := map[bool]int{true: 0, false: 2}[i == 0]; n != want || err != nil {
			t.Fatalf("author %d: released %d, want %d: %v", i, n, want, err)
		}
	}
}

// TestUnknownBytesLimit: strangers cannot make us hold more than the limit,
// whatever they send.
func TestUnknownBytesLimit(t *testing.T) {
	const limit = 20_000
	l := open(t, memstore.New(), &authors{}, ledger.Limits{UnknownBytes: limit})
	body := string(make([]byte, 3000))
	for i := range 30 {
		d := newDevice(fmt.Sprint(i))
		for seq := uint64(1); seq < 4; seq++ {
			add(t, l, d.entry(t, seq, ledger.ID{1}, body), ledger.Penned)
			if s := l.Stats(); s.PennedBytes > limit {
				t.Fatalf("%d bytes wait", s.PennedBytes)
			}
		}
	}
	add(t, l, newDevice("big").entry(t, 1, ledger.ID{1}, string(make([]byte, limit))), ledger.OverBudget)
}

func TestBudgets(t *testing.T) {
	ctx := context.Background()
	store := memstore.New()
	limits := ledger.Limits{DayHeaders: 5}
	l := open(t, store, everyone(), limits)
	d := newDevice("a")
	chain := d.chain(t, 12)
	addAll(t, l, chain[:5], ledger.Appended)
	add(t, l, chain[5], ledger.OverBudget)
	add(t, l, newDevice("b").chain(t, 1)[0], ledger.Appended)

	// Another log of the same author shares its budget.
	d2 := newDevice("a")
	d2.id.Incarnation = 1
	add(t, l, d2.chain(t, 1)[0], ledger.OverBudget)

	// Starting again is no way around it.
	l = open(t, store.Reopen(), everyone(), limits)
	add(t, l, chain[5], ledger.OverBudget)

	tomorrow := noon.Add(13 * time.Hour)
	if o, err := l.Append(ctx, chain[5], tomorrow); o != ledger.Appended || err != nil {
		t.Fatalf("the next day: %s %v", o, err)
	}
	if s := l.Stats(); s.OverBudget != 1 {
		t.Fatalf("%+v", s)
	}
}

// TestBudgetHoldsInThePen: what waited for a gap counts when it is appended, and
// what is beyond the budget then waits on.
func TestBudgetHoldsInThePen(t *testing.T) {
	l := open(t, memstore.New(), everyone(), ledger.Limits{DayHeaders: 4})
	d := newDevice("a")
	chain := d.chain(t, 8)
	addAll(t, l, chain[1:7], ledger.Penned)
	add(t, l, chain[0], ledger.Appended)
	if n := next(l, d.id); n != 4 {
		t.Fatalf("%d entries, want the 4 of the budget", n)
	}
	if s := l.Stats(); s.Penned != 3 {
		t.Fatalf("%d wait, want 3", s.Penned)
	}
	if _, err := l.Append(context.Background(), chain[7], noon.Add(24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if n := next(l, d.id); n != 4+4 {
		t.Fatalf("%d entries the next day, want 8", n)
	}
}

func TestByteBudget(t *testing.T) {
	d := newDevice("a")
	chain := d.chain(t, 3)
	size := uint64(len(chain[0].Entry().Frame()))
	l := open(t, memstore.New(), everyone(), ledger.Limits{DayBytes: 2*size + size/2})
	addAll(t, l, chain[:2], ledger.Appended)
	add(t, l, chain[2], ledger.OverBudget)
}

func TestAuthorsErrors(t *testing.T) {
	refuse := errors.New("foreign credential")
	who := &authors{admit: func(*ledger.Entry) error { return refuse }}
	l := open(t, memstore.New(), who, ledger.Limits{})
	d := newDevice("a")
	add(t, l, d.chain(t, 1)[0], ledger.Penned)
	add(t, l, d.chain(t, 1)[0], ledger.Penned)
	if _, ok := l.Head(d.id); ok || len(l.Frontier()) != 0 {
		t.Fatal("an entry of an author who was refused is held")
	}
	if _, err := ledger.Open(context.Background(), ledger.Config{Store: memstore.New()}); err == nil {
		t.Fatal("opened without Authors")
	}
}

// TestMissing asks only for what could be kept.
func TestMissing(t *testing.T) {
	who := &authors{}
	a, b, c, own := newDevice("a"), newDevice("b"), newDevice("c"), newDevice("own")
	for _, d := range []*device{a, b, own} {
		who.learn(d.id.Author)
	}
	l := open(t, memstore.New(), who, ledger.Limits{DayHeaders: 3, UnknownEntries: 10})
	g, err := l.Own(context.Background(), own.id)
	if err != nil {
		t.Fatal(err)
	}
	write(t, g, own, "mine")
	addAll(t, l, a.chain(t, 3), ledger.Appended) // budget used up
	addAll(t, l, b.chain(t, 1), ledger.Appended)
	theirs := ledger.Frontier{{Log: a.id, Next: 9}, {Log: b.id, Next: 5}, {Log: c.id, Next: 50}, {Log: own.id, Next: 8}}
	slices.SortFunc(theirs, func(x, y ledger.Head) int { return x.Log.Compare(y.Log) })
	got := missing(l, theirs, noon)
	want := map[ledger.LogID]ledger.Want{
		b.id:   {Log: b.id, From: 1, To: 5},
		c.id:   {Log: c.id, From: 0, To: 10},
		own.id: {Log: own.id, From: 1, To: 2},
	}
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for _, w := range got {
		if w != want[w.Log] {
			t.Errorf("%+v, want %+v", w, want[w.Log])
		}
	}
	if got := missing(l, theirs, noon.Add(24*time.Hour)); len(got) != 4 {
		t.Errorf("the next day: %+v", got)
	}
}

// TestSyncEmptiesThePen: what waited and then comes in a row with what was
// missing does not wait on.
func TestSyncEmptiesThePen(t *testing.T) {
	l := openMem(t)
	d := newDevice("a")
	chain := d.chain(t, 11)
	addAll(t, l, chain[:4], ledger.Appended)
	addAll(t, l, chain[5:], ledger.Penned)
	out, err := l.AppendBatch(context.Background(), chain[4:], noon)
	if err != nil || slices.ContainsFunc(out, func(o ledger.Outcome) bool { return o != ledger.Appended }) {
		t.Fatalf("%v: %v", out, err)
	}
	if s := l.Stats(); s.Penned != 0 || s.PennedBytes != 0 || next(l, d.id) != 11 {
		t.Fatalf("%d entries, and %d still wait: %+v", next(l, d.id), s.Penned, s)
	}
}

// further returns a device's incarnation.
func further(name string, incarnation uint32) *device {
	d := newDevice(name)
	d.id.Incarnation = incarnation
	return d
}

// TestIncarnations: one author cannot make everybody hold logs without end, in
// one commit, over several, or as proofs of forks, also after a restart.
func TestIncarnations(t *testing.T) {
	ctx := context.Background()
	store := memstore.New()
	l := open(t, store, everyone(), ledger.Limits{})
	var firsts []ledger.Verified
	for i := range uint32(ledger.MaxIncarnations + 7) {
		firsts = append(firsts, further("a", i+1).chain(t, 1)[0])
	}
	out, err := l.AppendBatch(ctx, firsts, noon)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range out {
		if want := map[bool]ledger.Outcome{true: ledger.Appended, false: ledger.OverBudget}[i < ledger.MaxIncarnations]; o != want {
			t.Errorf("further log %d: %s, want %s", i+1, o, want)
		}
	}
	l = open(t, store.Reopen(), everyone(), ledger.Limits{})
	add(t, l, firsts[ledger.MaxIncarnations+6], ledger.OverBudget)
	late := further("a", ledger.MaxIncarnations+7)
	add(t, l, late.entry(t, 5, ledger.ID{1}, "x"), ledger.OverBudget)
	add(t, l, late.entry(t, 5, ledger.ID{1}, "y"), ledger.OverBudget)
	if s := l.Stats(); s.Forks != 0 || s.Penned != 0 {
		t.Errorf("a log too many left something: %+v", s)
	}
	if got := missing(l, ledger.Frontier{{Log: late.id, Next: 9}}, noon); len(got) != 0 {
		t.Errorf("a log too many is asked for: %+v", got)
	}
	// Others, the first log and those that are held carry on.
	add(t, l, newDevice("a").chain(t, 1)[0], ledger.Appended)
	add(t, l, further("a", 2).chain(t, 2)[1], ledger.Appended)
	add(t, l, further("b", 10).chain(t, 1)[0], ledger.Appended)
}

// TestForkProofsCountAsIncarnations: logs of which only a proof is held count.
func TestForkProofsCountAsIncarnations(t *testing.T) {
	l := openMem(t)
	for i := range uint32(ledger.MaxIncarnations) {
		d := further("a", i+1)
		add(t, l, d.entry(t, 5, ledger.ID{1}, "x"), ledger.Penned)
		add(t, l, d.entry(t, 5, ledger.ID{1}, "y"), ledger.Forked)
	}
	add(t, l, further("a", ledger.MaxIncarnations+9).chain(t, 1)[0], ledger.OverBudget)
}

// TestEachLogIsAdmitted: an author who is known from one log still has to begin
// the next with a credential, within the budget.
func TestEachLogIsAdmitted(t *testing.T) {
	var refuse error
	who := &authors{admit: func(*ledger.Entry) error { return refuse }}
	l := open(t, memstore.New(), who, ledger.Limits{DayHeaders: 3})
	add(t, l, newDevice("a").chain(t, 1)[0], ledger.Appended)
	second := further("a", 1)
	refuse = errors.New("no credential")
	add(t, l, second.chain(t, 1)[0], ledger.OverBudget)
	if s := l.Stats(); s.Logs != 1 || s.Penned != 0 {
		t.Fatalf("%+v", s)
	}
	refuse = nil
	addAll(t, l, second.chain(t, 2), ledger.Appended)
	asked := who.asked
	add(t, l, further("a", 2).chain(t, 1)[0], ledger.OverBudget)
	if asked != 3 || who.asked != asked {
		t.Fatalf("Admit was asked %d times, want 3, and %d times for what no budget was left for", asked, who.asked-asked)
	}
}

// A body that waits with its entry ahead of a gap stays with it when headers alone
// close the gap: it may have come on a stick that comes only once.
func TestPenKeepsTheBody(t *testing.T) {
	l := openMem(t)
	d := newDevice("a")
	chain := d.chain(t, 4)
	add(t, l, chain[0], ledger.Appended)
	add(t, l, chain[2], ledger.Penned)
	headers := []ledger.Verified{header(t, chain[1]), header(t, chain[2]), header(t, chain[3])}
	if _, err := l.AppendBatch(context.Background(), headers, noon); err != nil { // in one round
		t.Fatal(err)
	}
	for seq, want := range []bool{true, false, true, false} {
		e, err := l.Entry(context.Background(), d.id, uint64(seq))
		if err != nil {
			t.Fatal(err)
		}
		if e.HasBody() != want {
			t.Errorf("entry %d has its body: %v, want %v", seq, e.HasBody(), want)
		}
	}
	if s := l.Stats(); s.Penned != 0 {
		t.Errorf("%d entries are left in the pen", s.Penned)
	}
}
