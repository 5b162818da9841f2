package memstore

import (
	"bytes"
	"errors"
	"testing"

	"tocsin/ledger"
)

// What two stores hold is held once, whatever one does with its own is not seen by the other, and
// when the last has erased it nothing of it is left.
func TestShares(t *testing.T) {
	var shares Shares
	a, b := shares.New(), shares.New()
	id := ledger.LogID{Incarnation: 7}
	body := bytes.Repeat([]byte("said "), sharedFrom)
	put := func(s *Store, seq uint64, body []byte) {
		t.Helper()
		if err := s.Commit(t.Context(), []ledger.Record{{Table: ledger.TableEntries, Log: id, Seq: seq, Value: []byte{1}, Body: body}}); err != nil {
			t.Fatal(err)
		}
	}
	get := func(s *Store) []byte {
		t.Helper()
		got, err := s.Get(t.Context(), ledger.TableEntries, id, 0)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	whole := append([]byte{1}, body...)
	put(a, 0, body)
	put(b, 0, body)
	put(b, 1, []byte("too short to share"))
	c := b.Copy()
	cells := func(s *Store) cell { return s.disk.rows[ledger.TableEntries][id][0] }
	if len(shares.held) != 1 || cells(a).with != cells(b).with || cells(c).with != cells(b).with || cells(a).with.holders != 3 {
		t.Fatalf("%d are held, %+v", len(shares.held), cells(a).with.holders)
	}
	get(a)[0]++ // what was read is the reader's own
	if err := c.Spoil(id, 0); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(get(c), whole) || !bytes.Equal(get(a), whole) || !bytes.Equal(get(b), whole) {
		t.Error("a spoilt disk spoils others, or is not spoilt")
	}
	held := cells(a).bytes
	put(a, 0, nil)
	if !bytes.Equal(get(b), whole) || !bytes.Equal(held, whole) {
		t.Error("what one has erased is gone elsewhere")
	}
	put(b, 0, nil)
	if len(shares.held) != 0 || !bytes.Equal(held, make([]byte, len(held))) {
		t.Errorf("%d are held when nobody has any, or bytes linger", len(shares.held))
	}
	if _, err := c.Get(t.Context(), ledger.TableEntries, id, 5); !errors.Is(err, ledger.ErrNotFound) {
		t.Error(err)
	}
}
