package memstore

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"tocsin/ledger"
)

// What is lent is what Range gives, in one piece of memory for all, and whoever writes into
// it does not reach the store.
func TestLend(t *testing.T) {
	ctx, id := t.Context(), ledger.LogID{Incarnation: 1}
	var shares Shares
	s, other := shares.New(), shares.New()
	long := bytes.Repeat([]byte("long"), sharedFrom)
	for _, store := range []*Store{s, other} {
		for seq, value := range map[uint64][]byte{0: []byte("first"), 1: long, 3: []byte("after a gap")} {
			if err := store.Commit(ctx, []ledger.Record{{Table: ledger.TableEntries, Log: id, Seq: seq, Value: value}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	read := func(look func(context.Context, ledger.LogID, uint64, uint64, func(uint64, []byte) error) error, spoil bool) (seqs []uint64, values [][]byte) {
		err := look(ctx, id, 0, 9, func(seq uint64, value []byte) error {
			seqs, values = append(seqs, seq), append(values, bytes.Clone(value))
			if spoil {
				clear(value)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return seqs, values
	}
	seqs, values := read(s.Range, false)
	if len(seqs) != 3 || !bytes.Equal(values[1], long) {
		t.Fatalf("%d entries", len(seqs))
	}
	for range 2 {
		lent, of := read(s.Lend, true)
		for i := range seqs {
			if len(lent) != len(seqs) || lent[i] != seqs[i] || !bytes.Equal(of[i], values[i]) {
				t.Fatalf("entries %d, %q lent; Range gives %d", lent, of, seqs)
			}
		}
	}
	if _, of := read(other.Range, false); !bytes.Equal(of[1], long) {
		t.Error("who had something lent has changed what another store holds")
	}
	// One piece of memory does for all stores and logs that are looked through in turn.
	at := func(s *Store) (at *byte) {
		_ = s.Lend(ctx, id, 1, 2, func(_ uint64, value []byte) error { at = &value[0]; return nil })
		return at
	}
	if at(s) != at(other) {
		t.Error("two stores are looked through in memory of their own")
	}
	if got := shares.idle[:cap(shares.idle)]; len(got) < len(long) || !bytes.Equal(got, make([]byte, len(got))) {
		t.Error("what was lent lingers in memory")
	}
	// Unless they are so at the same time.
	err := s.Lend(ctx, id, 1, 2, func(_ uint64, value []byte) error {
		if at(other) == &value[0] {
			t.Error("what one has lent another overwrites")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	if err := s.Lend(ctx, id, 0, 9, func(uint64, []byte) error { return stop }); err != stop {
		t.Errorf("the callback's error came back as %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Lend(ctx, id, 0, 9, func(uint64, []byte) error { return nil }); !errors.Is(err, ledger.ErrClosed) {
		t.Errorf("of a closed store: %v", err)
	}
}
