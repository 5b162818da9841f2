package ledger_test

import (
	"bytes"
	"context"
	"testing"

	"tocsin/ledger"
	"tocsin/ledger/memstore"
)

func TestAppendInOrder(t *testing.T) {
	ctx := context.Background()
	store := memstore.New()
	l := open(t, store, everyone(), ledger.Limits{})
	d := newDevice("a")
	chain := d.chain(t, 5)
	addAll(t, l, chain, ledger.Appended)
	addAll(t, l, chain, ledger.Known)

	h, ok := l.Head(d.id)
	if !ok || h.Next != 5 || h.ID != chain[4].Entry().ID() {
		t.Fatalf("head %+v", h)
	}
	l = open(t, store.Reopen(), everyone(), ledger.Limits{})
	if got, _ := l.Head(d.id); got != h {
		t.Fatalf("head after reopening %+v, want %+v", got, h)
	}
	i := 0
	err := l.Entries(ctx, d.id, 0, 99, func(e *ledger.Entry) error {
		if !bytes.Equal(e.Frame(), chain[i].Entry().Frame()) {
			t.Errorf("entry %d differs", i)
		}
		i++
		return nil
	})
	if err != nil || i != 5 {
		t.Fatalf("read %d entries: %v", i, err)
	}
	rep, err := l.VerifyAll(ctx, nil)
	if err != nil || !rep.OK() || rep.Entries != 5 {
		t.Fatalf("report %+v: %v", rep, err)
	}
}

func TestOwnLog(t *testing.T) {
	l := openMem(t)
	d := newDevice("own")
	g, err := l.Own(context.Background(), d.id)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		write(t, g, d, "hello")
	}
	if next(l, d.id) != 3 {
		t.Fatalf("have %d entries", next(l, d.id))
	}
}
