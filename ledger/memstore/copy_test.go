package memstore

import (
	"bytes"
	"errors"
	"testing"

	"tocsin/ledger"
)

// TestCopy: a copy holds what there was, and nothing that came later; what is spoilt in
// one is whole in the other.
func TestCopy(t *testing.T) {
	ctx, id := t.Context(), ledger.LogID{Incarnation: 1}
	s := New()
	put := func(s *Store, table ledger.Table, seq uint64, value string) {
		t.Helper()
		if err := s.Commit(ctx, []ledger.Record{{Table: table, Log: id, Seq: seq, Value: []byte(value)}}); err != nil {
			t.Fatal(err)
		}
	}
	put(s, ledger.TableEntries, 0, "first")
	put(s, ledger.TableStates, 0, "state")
	c := s.Copy()
	put(s, ledger.TableEntries, 1, "later")
	put(c, ledger.TableStates, 0, "other")
	if err := s.Spoil(id, 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Spoil(id, 9); !errors.Is(err, ledger.ErrNotFound) {
		t.Error(err)
	}
	for _, w := range []struct {
		s     *Store
		table ledger.Table
		seq   uint64
		want  string
	}{{s, ledger.TableEntries, 0, "firsu"}, {c, ledger.TableEntries, 0, "first"}, {s, ledger.TableStates, 0, "state"}, {c, ledger.TableStates, 0, "other"}} {
		if got, err := w.s.Get(ctx, w.table, id, w.seq); err != nil || !bytes.Equal(got, []byte(w.want)) {
			t.Errorf("%d/%d holds %q, %v, not %q", w.table, w.seq, got, err, w.want)
		}
	}
	if _, err := c.Get(ctx, ledger.TableEntries, id, 1); !errors.Is(err, ledger.ErrNotFound) {
		t.Error("what came later came to the copy too")
	}
}
