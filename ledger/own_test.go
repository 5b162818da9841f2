package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"tocsin/ledger"
	"tocsin/ledger/memstore"
)

func own(t testing.TB, l *ledger.Logs, d *device) *ledger.Log {
	t.Helper()
	g, err := l.Own(context.Background(), d.id)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func reserve(t testing.TB, g *ledger.Log, at time.Time) ledger.Place {
	t.Helper()
	p, err := g.Reserve(at)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// signAt signs a control entry at a place.
func signAt(t testing.TB, d *device, p ledger.Place, body string) ledger.Verified {
	t.Helper()
	h := p.Header()
	h.Kind = ledger.KindControl
	return d.sign(t, h, body)
}

func TestOwnChain(t *testing.T) {
	store := memstore.New()
	l := open(t, store, &authors{}, ledger.Limits{})
	d := newDevice("own")
	g := own(t, l, d)
	var ids []ledger.ID
	for i := range 4 {
		p := reserve(t, g, noon)
		if again := reserve(t, g, noon); again.Seq != p.Seq || p.Seq != uint64(i) {
			t.Fatalf("reserved %d and then %d, want %d", p.Seq, again.Seq, i)
		}
		ids = append(ids, write(t, g, d, "x").Entry().ID())
	}
	l = open(t, store.Reopen(), &authors{}, ledger.Limits{})
	g = own(t, l, d)
	p := reserve(t, g, noon)
	if p.Seq != 4 || p.Prev != ids[3] {
		t.Fatalf("after reopening: %+v", p)
	}
	if again, err := l.Own(context.Background(), d.id); err != nil || again != g {
		t.Fatalf("Own again: %v", err)
	}
	if _, err := l.Own(context.Background(), newDevice("x").id); err == nil {
		t.Fatal("a second author's log was opened for writing")
	}
}

func TestOwnAppendRefuses(t *testing.T) {
	ctx := context.Background()
	l := openMem(t)
	d := newDevice("own")
	g := own(t, l, d)
	first := d.chain(t, 1)[0]
	if err := g.Append(ctx, first); !errors.Is(err, ledger.ErrPlace) {
		t.Fatalf("without a reserved place: %v", err)
	}
	p := reserve(t, g, noon)
	for name, change := range map[string]func(*ledger.Place){
		"seq":  func(p *ledger.Place) { p.Seq, p.Prev = 1, ledger.ID{1} },
		"time": func(p *ledger.Place) { p.HLC++ },
		"refs": func(p *ledger.Place) { p.Refs = []ledger.Ref{{Log: [8]byte{1}}} },
		"log":  func(p *ledger.Place) { p.Log.Incarnation++ },
	} {
		q := p
		change(&q)
		other := *d
		other.id = q.Log
		if err := g.Append(ctx, signAt(t, &other, q, "x")); !errors.Is(err, ledger.ErrPlace) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	if err := g.Append(ctx, ledger.Verified{}); err == nil {
		t.Error("a zero Verified was appended")
	}
	v := signAt(t, d, p, "x")
	if err := g.Append(ctx, v); err != nil {
		t.Fatal(err)
	}
	if err := g.Append(ctx, v); err != nil {
		t.Fatalf("the same entry again: %v", err)
	}
	if err := g.Append(ctx, signAt(t, d, p, "y")); !errors.Is(err, ledger.ErrPlace) {
		t.Fatalf("another entry at a used place: %v", err)
	}
	if next(l, d.id) != 1 {
		t.Fatalf("%d entries", next(l, d.id))
	}
}

func TestOwnBatch(t *testing.T) {
	ctx := context.Background()
	store := memstore.New()
	l := open(t, store, everyone(), ledger.Limits{})
	d := newDevice("own")
	g := own(t, l, d)
	write(t, g, d, "before")
	p := reserve(t, g, noon)
	var row []ledger.Verified
	for i := range 5 {
		v := signAt(t, d, p, fmt.Sprint("page ", i))
		row = append(row, v)
		p = p.After(v)
	}
	wrong := slices.Clone(row)
	wrong[2], wrong[3] = wrong[3], wrong[2]
	if err := g.AppendBatch(ctx, wrong); !errors.Is(err, ledger.ErrPlace) {
		t.Fatalf("a row out of order: %v", err)
	}
	if next(l, d.id) != 1 {
		t.Fatal("part of a refused row was appended")
	}
	if err := g.AppendBatch(ctx, row); err != nil {
		t.Fatal(err)
	}
	l = open(t, store.Reopen(), everyone(), ledger.Limits{})
	if rep, err := l.VerifyAll(ctx, nil); err != nil || !rep.OK() || rep.Entries != 6 {
		t.Fatalf("%+v: %v", rep, err)
	}
	long := make([]ledger.Verified, 300)
	for i := range long {
		long[i] = row[0]
	}
	if err := own(t, l, d).AppendBatch(ctx, long); err == nil {
		t.Error("300 entries in one commit were taken")
	}
}

func TestHybridTime(t *testing.T) {
	l := openMem(t)
	d := newDevice("own")
	g := own(t, l, d)
	ms := func(at time.Time) uint64 { return uint64(at.UnixMilli()) << 16 }
	if p := reserve(t, g, noon); p.HLC != ms(noon) {
		t.Fatalf("hlc %x, want the clock's %x", p.HLC, ms(noon))
	}
	write(t, g, d, "x")
	if p := reserve(t, g, noon); p.HLC != ms(noon)+1 {
		t.Fatalf("in the same millisecond: %x, want %x", p.HLC, ms(noon)+1)
	}
	if p := reserve(t, g, noon.Add(-time.Hour)); p.HLC != ms(noon)+1 {
		t.Fatalf("with the clock set back: %x, want %x", p.HLC, ms(noon)+1)
	}
	// A received time moves ours, but not one that is more than a day ahead.
	ahead, far := newDevice("ahead"), newDevice("far")
	hour := ms(noon.Add(time.Hour)) + 5
	add(t, l, ahead.sign(t, ledger.Header{Kind: ledger.KindControl, HLC: hour}, "x"), ledger.Appended)
	add(t, l, far.sign(t, ledger.Header{Kind: ledger.KindControl, HLC: ms(noon.Add(25 * time.Hour))}, "x"), ledger.Appended)
	if p := reserve(t, g, noon); p.HLC != hour+1 {
		t.Fatalf("after an entry an hour ahead: %x, want %x", p.HLC, hour+1)
	}
	if p := reserve(t, g, noon.Add(2*time.Hour)); p.HLC != ms(noon.Add(2*time.Hour)) {
		t.Fatalf("two hours later: %x", p.HLC)
	}
	if _, err := g.Reserve(time.Unix(-5, 0)); err == nil {
		t.Fatal("a clock before 1970 was taken")
	}
}

// TestHybridTimeAfterRestart: what was received before a restart still counts.
func TestHybridTimeAfterRestart(t *testing.T) {
	store := memstore.New()
	l := open(t, store, everyone(), ledger.Limits{})
	hour := uint64(noon.Add(time.Hour).UnixMilli()) << 16
	add(t, l, newDevice("ahead").sign(t, ledger.Header{Kind: ledger.KindControl, HLC: hour}, "x"), ledger.Appended)
	far := uint64(noon.Add(25*time.Hour).UnixMilli()) << 16
	add(t, l, newDevice("far").sign(t, ledger.Header{Kind: ledger.KindControl, HLC: far}, "x"), ledger.Appended)
	l = open(t, store.Reopen(), everyone(), ledger.Limits{})
	if p := reserve(t, own(t, l, newDevice("own")), noon); p.HLC != hour+1 {
		t.Fatalf("hlc %x, want %x", p.HLC, hour+1)
	}
}

func TestRefs(t *testing.T) {
	store := memstore.New()
	l := open(t, store, everyone(), ledger.Limits{})
	d := newDevice("own")
	g := own(t, l, d)
	write(t, g, d, "first")
	var others []*device
	chains := map[[8]byte][]ledger.Verified{}
	for i := range 11 {
		o := newDevice(fmt.Sprint("other ", i))
		others = append(others, o)
		chains[o.id.Short()] = o.chain(t, 3)
		addAll(t, l, chains[o.id.Short()][:2], ledger.Appended)
	}
	v := write(t, g, d, "second")
	refs := v.Entry().Header.Refs
	if len(refs) != ledger.MaxRefs {
		t.Fatalf("%d refs, want %d", len(refs), ledger.MaxRefs)
	}
	for _, r := range refs {
		if head := chains[r.Log][1].Entry(); r.Seq != 1 || r.ID != head.ID() {
			t.Errorf("ref to %d %s, want the head", r.Seq, r.ID)
		}
	}
	if v := write(t, g, d, "third"); len(v.Entry().Header.Refs) != 3 {
		t.Fatalf("%d refs, want the 3 that are left", len(v.Entry().Header.Refs))
	}
	if v := write(t, g, d, "fourth"); len(v.Entry().Header.Refs) != 0 {
		t.Fatal("a head was referred to twice")
	}
	add(t, l, chains[others[4].id.Short()][2], ledger.Appended)
	p := reserve(t, g, noon)
	if len(p.Refs) != 1 || p.Refs[0].Log != others[4].id.Short() || p.Refs[0].Seq != 2 {
		t.Fatalf("refs %+v, want the one head that moved", p.Refs)
	}
	// A head that moves between Reserve and Append is still to be referred to.
	add(t, l, others[4].extend(t, chains[others[4].id.Short()], 1, "")[3], ledger.Appended)
	if err := g.Append(context.Background(), signAt(t, d, p, "fifth")); err != nil {
		t.Fatal(err)
	}
	if p := reserve(t, g, noon); len(p.Refs) != 1 || p.Refs[0].Seq != 3 {
		t.Fatalf("refs %+v, want the newer head", p.Refs)
	}
	// After a restart: what was signed after our last entry.
	late := newDevice("late").sign(t, ledger.Header{Kind: ledger.KindControl, HLC: uint64(noon.Add(time.Minute).UnixMilli()) << 16}, "x")
	add(t, l, late, ledger.Appended)
	l = open(t, store.Reopen(), everyone(), ledger.Limits{})
	p = reserve(t, own(t, l, d), noon)
	if len(p.Refs) != 1 || p.Refs[0].ID != late.Entry().ID() {
		t.Fatalf("refs after a restart %+v, want the late one", p.Refs)
	}
}

// TestRolledBack: others hold entries of our own log that we do not.
func TestRolledBack(t *testing.T) {
	ctx := context.Background()
	d := newDevice("own")
	chain := d.chain(t, 5)
	store := memstore.New()
	l := open(t, store, everyone(), ledger.Limits{})
	addAll(t, l, chain[:2], ledger.Appended) // as another device would
	l = open(t, store.Reopen(), everyone(), ledger.Limits{})
	g := own(t, l, d)
	p := reserve(t, g, noon)
	add(t, l, chain[1], ledger.Known)
	add(t, l, chain[3], ledger.OwnAhead)
	for i := range 2 {
		if _, err := g.Reserve(noon); !errors.Is(err, ledger.ErrRollback) {
			t.Fatalf("opening %d: Reserve: %v, want ErrRollback", i, err)
		}
		if err := g.Append(ctx, signAt(t, d, p, "x")); !errors.Is(err, ledger.ErrRollback) {
			t.Fatalf("opening %d: Append: %v, want ErrRollback", i, err)
		}
		if next(l, d.id) != 2 {
			t.Fatalf("%d entries, want 2", next(l, d.id))
		}
		store = store.Reopen()
		l = open(t, store, everyone(), ledger.Limits{})
		g = own(t, l, d)
	}
	if s := missing(l, ledger.Frontier{{Log: d.id, Next: 9}}, noon); len(s) != 0 {
		t.Fatalf("still asks for %+v", s)
	}
}

// TestRolledBackToNothing: also when nothing of the own log is left, and when
// what others hold is a later incarnation.
func TestRolledBackToNothing(t *testing.T) {
	for inc := range uint32(2) {
		l := openMem(t)
		d := newDevice("own")
		g := own(t, l, d)
		later := *d
		later.id.Incarnation = inc
		add(t, l, later.chain(t, 1)[0], ledger.OwnAhead)
		if _, err := g.Reserve(noon); !errors.Is(err, ledger.ErrRollback) {
			t.Fatalf("incarnation %d: %v, want ErrRollback", inc, err)
		}
	}
}

// TestEarlierIncarnation: what we wrote before may be fetched again.
func TestEarlierIncarnation(t *testing.T) {
	l := openMem(t)
	d := newDevice("own")
	earlier := d.chain(t, 3)
	second := *d
	second.id.Incarnation = 1
	g := own(t, l, &second)
	addAll(t, l, earlier, ledger.Appended)
	write(t, g, &second, "x")
}

// refusing is a Store whose own commits fail while err is set.
type refusing struct {
	ledger.Store
	err error
}

func (r *refusing) CommitOwn(ctx context.Context, batch []ledger.Record) error {
	if r.err != nil {
		return r.err
	}
	return r.Store.CommitOwn(ctx, batch)
}

// TestRollbackIsStoredInTheEnd: if the disk refuses the mark, the log is closed
// all the same and the mark is stored when next it can be.
func TestRollbackIsStoredInTheEnd(t *testing.T) {
	ctx := context.Background()
	disk := memstore.New()
	store := &refusing{Store: disk, err: errors.New("disk broke")}
	l := open(t, store, everyone(), ledger.Limits{})
	d := newDevice("own")
	g := own(t, l, d)
	chain := d.chain(t, 2)
	for range 2 {
		if _, err := l.Append(ctx, chain[1], noon); !errors.Is(err, store.err) {
			t.Fatalf("%v, want the disk's error", err)
		}
		if _, err := g.Reserve(noon); !errors.Is(err, ledger.ErrRollback) {
			t.Fatalf("%v, want ErrRollback", err)
		}
	}
	store.err = nil
	add(t, l, chain[1], ledger.OwnAhead)
	g = own(t, open(t, disk.Reopen(), everyone(), ledger.Limits{}), d)
	if _, err := g.Reserve(noon); !errors.Is(err, ledger.ErrRollback) {
		t.Fatalf("after a restart: %v, want ErrRollback", err)
	}
}
