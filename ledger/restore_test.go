package ledger_test

import (
	"bytes"
	"context"
	"testing"

	"tocsin/ledger"
	"tocsin/ledger/memstore"
)

// TestLostBesideDamage: a link that does not fit makes both neighbours count as
// lost, of which one is well. What others bring for it changes nothing there: a
// body that was erased does not come back, and one that is held does not go.
func TestLostBesideDamage(t *testing.T) {
	store := memstore.New()
	l := open(t, store, everyone(), ledger.Limits{})
	d := newDevice("a")
	chain := d.chain(t, 8)
	addAll(t, l, chain, ledger.Appended)
	if _, err := l.Erase(ctx, d.id, 3); err != nil {
		t.Fatal(err)
	}
	other := d.extend(t, chain[:2], 1, "other branch")[2].Entry()
	another := d.extend(t, chain[:5], 1, "other branch")[5].Entry()
	for seq, e := range map[uint64]*ledger.Entry{2: other, 5: another} {
		r := ledger.Record{Table: ledger.TableEntries, Log: d.id, Seq: seq, Value: ledger.StoredEntry(e)}
		if err := store.Commit(ctx, []ledger.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
	if rep, err := l.Scrub(ctx, 100); err != nil || rep.Lost != 4 {
		t.Fatalf("%+v %v", rep, err)
	}
	add(t, l, header(t, chain[6]), ledger.Restored)
	add(t, l, chain[5], ledger.Restored)
	add(t, l, chain[3], ledger.Restored)
	add(t, l, chain[2], ledger.Restored)
	for range 2 {
		if lost := l.Lost(); len(lost) != 0 {
			t.Fatalf("still lost: %v", lost)
		}
		if e, err := l.Entry(ctx, d.id, 3); err != nil || !e.Erased || e.Body != nil {
			t.Errorf("an erased body was restored: %q %v", e.Body, err)
		}
		if e, err := l.Entry(ctx, d.id, 6); err != nil || !bytes.Equal(e.Body, chain[6].Entry().Body) {
			t.Errorf("a body that was held went: %v %v", e, err)
		}
		if rep, err := l.VerifyAll(ctx, nil); err != nil || !rep.OK() || rep.Erased != 1 || rep.Absent != 0 {
			t.Fatalf("%+v %v", rep, err)
		}
		store = store.Reopen()
		l = open(t, store, everyone(), ledger.Limits{})
	}
}

// between is a store whose next reading of an entry gives damage, and before it
// comes back something else happens.
type between struct {
	ledger.Store
	meanwhile func()
}

func (b *between) Get(ctx context.Context, t ledger.Table, id ledger.LogID, seq uint64) ([]byte, error) {
	if do := b.meanwhile; t == ledger.TableEntries && seq == 2 && do != nil {
		b.meanwhile = nil
		do()
		return []byte("as it was before"), nil
	}
	return b.Store.Get(ctx, t, id, seq)
}

func (b *between) Range(ctx context.Context, id ledger.LogID, from, to uint64, fn func(uint64, []byte) error) error {
	return b.Store.Range(ctx, id, from, to, func(seq uint64, v []byte) error {
		if do := b.meanwhile; seq == 2 && do != nil {
			b.meanwhile = nil
			do()
			v = []byte("as it was before")
		}
		return fn(seq, v)
	})
}

// TestMendedMeanwhile: a place that could not be read, and was written again
// before the reader said so, is not lost.
func TestMendedMeanwhile(t *testing.T) {
	store := &between{Store: memstore.New()}
	l := open(t, store, everyone(), ledger.Limits{})
	d := newDevice("a")
	addAll(t, l, d.chain(t, 5), ledger.Appended)
	seq := uint64(2)
	erase := func() {
		if _, err := l.Erase(ctx, d.id, seq, seq+1); err != nil {
			t.Error(err)
		}
	}
	store.meanwhile = erase
	if e, err := l.Entry(ctx, d.id, 2); err != nil || !e.Erased {
		t.Errorf("%v %v", e, err)
	}
	store.meanwhile, seq = func() {}, 3
	n := 0
	if err := l.Entries(ctx, d.id, 0, 5, func(*ledger.Entry) error { n++; return nil }); err != nil || n != 5 {
		t.Errorf("%d entries: %v", n, err)
	}
	store.meanwhile = func() {}
	if rep, err := l.Scrub(ctx, 100); err != nil || rep.Lost != 0 {
		t.Errorf("%+v %v", rep, err)
	}
	if lost := l.Lost(); len(lost) != 0 {
		t.Errorf("lost: %v", lost)
	}
}
