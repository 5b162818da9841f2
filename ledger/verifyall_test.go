package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"tocsin/ledger"
	"tocsin/ledger/memstore"
)

// lossy is a Store from which entries can be taken away.
type lossy struct {
	ledger.Store
	gone map[uint64]bool
}

func (s *lossy) Get(ctx context.Context, t ledger.Table, id ledger.LogID, seq uint64) ([]byte, error) {
	if t == ledger.TableEntries && s.gone[seq] {
		return nil, ledger.ErrNotFound
	}
	return s.Store.Get(ctx, t, id, seq)
}

func (s *lossy) Range(ctx context.Context, id ledger.LogID, from, to uint64, fn func(uint64, []byte) error) error {
	return s.Store.Range(ctx, id, from, to, func(seq uint64, v []byte) error {
		if s.gone[seq] {
			return nil
		}
		return fn(seq, v)
	})
}

// TestLostEntries: an entry that is gone is an error wherever it is met, never
// a shorter answer.
func TestLostEntries(t *testing.T) {
	ctx := context.Background()
	for _, gone := range [][]uint64{{0}, {2}, {4}, {1, 2}, {0, 1, 2, 3, 4}} {
		store := &lossy{Store: memstore.New(), gone: map[uint64]bool{}}
		l := open(t, store, everyone(), ledger.Limits{})
		d := newDevice("a")
		chain := d.chain(t, 5)
		addAll(t, l, chain, ledger.Appended)
		for _, seq := range gone {
			store.gone[seq] = true
		}
		if _, err := l.Entry(ctx, d.id, gone[0]); !errors.Is(err, ledger.ErrDamaged) {
			t.Errorf("%d gone: Entry: %v", gone, err)
		}
		given := uint64(0)
		err := l.Entries(ctx, d.id, 0, 5, func(e *ledger.Entry) error {
			if e.Header.Seq != given {
				t.Errorf("%d gone: Entries gave %d after %d entries", gone, e.Header.Seq, given)
			}
			given++
			return nil
		})
		if !errors.Is(err, ledger.ErrDamaged) {
			t.Errorf("%d gone: Entries: %v", gone, err)
		}
		rep, err := l.VerifyAll(ctx, nil)
		if err != nil || rep.OK() || rep.Entries != uint64(5-len(gone)) {
			t.Errorf("%d gone: VerifyAll: %+v %v", gone, rep, err)
		}
		if lost := l.Stats().Lost; lost != uint64(len(gone)) {
			t.Errorf("%d gone: %d places are known to be lost", gone, lost)
		}
	}
}

// TestEveryFlippedByte changes each byte of what is stored for an entry: reads
// and VerifyAll both notice.
func TestEveryFlippedByte(t *testing.T) {
	ctx := context.Background()
	store := memstore.New()
	l := open(t, store, everyone(), ledger.Limits{})
	d := newDevice("a")
	addAll(t, l, d.chain(t, 3), ledger.Appended)
	good, err := store.Get(ctx, ledger.TableEntries, d.id, 1)
	if err != nil {
		t.Fatal(err)
	}
	put := func(value []byte) {
		t.Helper()
		if err := store.Commit(ctx, []ledger.Record{{Table: ledger.TableEntries, Log: d.id, Seq: 1, Value: value}}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range good {
		bad := slices.Clone(good)
		bad[i] ^= 0x40
		put(bad)
		if _, err := l.Entry(ctx, d.id, 1); !errors.Is(err, ledger.ErrDamaged) {
			t.Fatalf("byte %d changed: Entry: %v", i, err)
		}
		rep, err := l.VerifyAll(ctx, nil)
		if err != nil || rep.OK() || rep.First[0].Seq != 1 || !errors.Is(rep.First[0].Err, ledger.ErrDamaged) {
			t.Fatalf("byte %d changed: VerifyAll: %+v %v", i, rep, err)
		}
	}
	for _, n := range []int{0, 5, 8, len(good) - 1} {
		put(good[:n])
		if _, err := l.Entry(ctx, d.id, 1); !errors.Is(err, ledger.ErrDamaged) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
	put(good)
	if rep, err := l.VerifyAll(ctx, nil); err != nil || !rep.OK() {
		t.Fatalf("put right again: %+v %v", rep, err)
	}
}

// TestVerifyAllIsNotFooled: someone who can write to the store, but not sign,
// is found out even where the checks against accidents are satisfied.
func TestVerifyAllIsNotFooled(t *testing.T) {
	ctx := context.Background()
	d, liar := newDevice("a"), newDevice("liar")
	chain := d.chain(t, 4)
	stored := func(v ledger.Verified) []byte { return ledger.StoredEntry(v.Entry()) }

	forged := bytes.Clone(chain[2].Entry().Frame())
	forged[2+ledger.MinHeader] ^= 1 // the signature
	forgedEntry, err := ledger.ParseFrame(forged)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		seq       uint64
		value     []byte
		misplaced bool // which a read of this entry alone can tell
	}{
		"bad signature":     {2, ledger.StoredEntry(forgedEntry), false},
		"another log":       {2, stored(liar.chain(t, 3)[2]), true},
		"another place":     {2, stored(chain[1]), true},
		"other branch":      {2, stored(d.extend(t, chain[:2], 1, "x")[2]), false},
		"other first entry": {0, stored(d.entry(t, 0, ledger.ID{}, "x")), false},
		"other head":        {3, stored(d.extend(t, chain[:3], 1, "x")[3]), false},
	} {
		store := memstore.New()
		l := open(t, store, everyone(), ledger.Limits{})
		addAll(t, l, chain, ledger.Appended)
		if err := store.Commit(ctx, []ledger.Record{{Table: ledger.TableEntries, Log: d.id, Seq: c.seq, Value: c.value}}); err != nil {
			t.Fatal(err)
		}
		rep, err := l.VerifyAll(ctx, nil)
		if err != nil || rep.OK() || rep.Logs[0].Failures == 0 {
			t.Errorf("%s: %+v %v", name, rep, err)
		}
		if _, err := l.Entry(ctx, d.id, c.seq); c.misplaced && !errors.Is(err, ledger.ErrDamaged) {
			t.Errorf("%s: Entry: %v", name, err)
		}
	}
}

func TestVerifyAllReports(t *testing.T) {
	ctx := context.Background()
	store := memstore.New()
	l := open(t, store, everyone(), ledger.Limits{})
	var total uint64
	for i := range 3 {
		chain := newDevice(fmt.Sprint(i)).chain(t, 300)
		total += uint64(len(chain))
		if _, err := l.AppendBatch(ctx, chain, noon); err != nil {
			t.Fatal(err)
		}
	}
	var calls int
	var done uint64
	rep, err := l.VerifyAll(ctx, func(d, n uint64) {
		if n != total || d < done {
			t.Errorf("progress %d of %d after %d", d, n, done)
		}
		done = d
		calls++
	})
	if err != nil || !rep.OK() || rep.Entries != total || len(rep.Logs) != 3 || rep.Bytes == 0 {
		t.Fatalf("%+v %v", rep, err)
	}
	if done != total || calls < 3 {
		t.Errorf("progress ended at %d of %d after %d calls", done, total, calls)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := l.VerifyAll(gone, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	// Many failures are counted, and only the first described.
	for seq := range uint64(50) {
		if err := store.Commit(ctx, []ledger.Record{{Table: ledger.TableEntries, Log: newDevice("1").id, Seq: seq, Value: []byte("x")}}); err != nil {
			t.Fatal(err)
		}
	}
	rep, err = l.VerifyAll(ctx, nil)
	if err != nil || rep.Failures != 50 || len(rep.First) != 20 {
		t.Errorf("%d failures, %d described: %v", rep.Failures, len(rep.First), err)
	}
}

// TestDamagedState: what Open reads is checked too.
func TestDamagedState(t *testing.T) {
	ctx := context.Background()
	d := newDevice("a")
	for _, r := range []ledger.Record{
		{Table: ledger.TableStates, Log: d.id, Value: []byte("x")},
		{Table: ledger.TableStates, Log: d.id, Value: make([]byte, 66)},
		{Table: ledger.TableForks, Log: d.id, Value: []byte("x")},
		{Table: ledger.TableForks, Log: d.id, Value: nil},
	} {
		store := memstore.New()
		if err := store.Commit(ctx, []ledger.Record{r}); err != nil {
			t.Fatal(err)
		}
		if _, err := ledger.Open(ctx, ledger.Config{Store: store, Authors: everyone()}); !errors.Is(err, ledger.ErrDamaged) {
			t.Errorf("table %d %q: %v, want ErrDamaged", r.Table, r.Value, err)
		}
	}
}

func TestReads(t *testing.T) {
	ctx := context.Background()
	l := openMem(t)
	d := newDevice("a")
	addAll(t, l, d.chain(t, 3), ledger.Appended)
	if _, err := l.Entry(ctx, d.id, 3); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("beyond the head: %v", err)
	}
	if _, err := l.Entry(ctx, newDevice("b").id, 0); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("no such log: %v", err)
	}
	none := func(*ledger.Entry) error { t.Error("called"); return nil }
	if err := l.Entries(ctx, newDevice("b").id, 0, 9, none); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("no such log: %v", err)
	}
	for _, r := range [][2]uint64{{3, 9}, {2, 2}, {2, 1}} {
		if err := l.Entries(ctx, d.id, r[0], r[1], none); err != nil {
			t.Errorf("range %d: %v", r, err)
		}
	}
	stop := errors.New("stop")
	if err := l.Entries(ctx, d.id, 0, 9, func(*ledger.Entry) error { return stop }); err != stop {
		t.Errorf("the callback's error: %v", err)
	}
}
