package storetest

import (
	"bytes"
	"fmt"
	"slices"

	"tocsin/ledger"
)

// body makes an entry with a body.
func body(id ledger.LogID, seq uint64, v, b []byte) ledger.Record {
	return ledger.Record{Table: ledger.TableEntries, Log: id, Seq: seq, Value: v, Body: b}
}

// bodies: what is read is Value ‖ Body, for bodies of every length, also next to
// records without one, by Get and Range, before and after opening again.
func (s *suite) bodies() {
	sizes := []int{0, 1, 15, 16, 400, ledger.MaxBody}
	for i, own := range []bool{false, true} {
		for n, size := range sizes {
			s.commit(own, body(logID(i), uint64(n), value(n, 30), value(n+100, size)), entry(logID(i), uint64(n+100), value(n, 30)))
		}
	}
	for range 2 {
		for i := range 2 {
			var want [][]byte
			for n, size := range sizes {
				want = append(want, slices.Concat(value(n, 30), value(n+100, size)))
				s.expect(ledger.TableEntries, logID(i), uint64(n), want[n])
				s.expect(ledger.TableEntries, logID(i), uint64(n+100), value(n, 30))
			}
			s.must(s.store.Range(ctx, logID(i), 0, 100, func(seq uint64, v []byte) error {
				if !bytes.Equal(v, want[seq]) {
					return fmt.Errorf("entry %d: read %d bytes, want %d", seq, len(v), len(want[seq]))
				}
				return nil
			}))
		}
		s.restart()
	}
	for _, own := range []bool{false, true} {
		commit := s.store.Commit
		if own {
			commit = s.store.CommitOwn
		}
		if commit(ctx, []ledger.Record{{Table: ledger.TableStates, Log: logID(1), Body: []byte("b")}}) == nil {
			s.t.Error("a state with a body was taken")
		}
		erased := body(logID(1), 0, []byte("v"), []byte("b"))
		erased.Erased = true
		if commit(ctx, []ledger.Record{erased}) == nil {
			s.t.Error("an erased entry with a body was taken")
		}
		if commit(ctx, []ledger.Record{body(logID(1), 0, nil, make([]byte, ledger.MaxBatchBytes+1))}) == nil {
			s.t.Error("a body beyond the limit of a batch was taken")
		}
	}
}

// erased: a record replaces one with a body, in the same batch or a later one,
// by either method and more than once; others keep theirs.
func (s *suite) erased() {
	gone := value(1, 5)
	for i, own := range []bool{false, true} {
		id := logID(i)
		first := body(id, 0, value(0, 9), value(2, 50))
		first.Fresh = true // a promise about what was there before, not about later
		s.commit(own, first, body(id, 1, value(0, 9), value(3, 50)), body(id, 2, value(0, 9), value(4, 50)))
		final := entry(id, 0, gone)
		final.Erased = true
		s.commit(own, final)
		s.commit(!own, entry(id, 1, gone)) // where it stands decides, not who asks
		s.commit(own, body(id, 3, value(0, 9), value(5, 50)), entry(id, 3, gone))
		s.commit(own, body(id, 4, value(0, 9), value(6, 50)))
		s.commit(own, body(id, 4, value(7, 9), value(7, 60)))
		s.commit(own, body(id, 4, value(8, 9), value(8, 70)))
	}
	for range 3 {
		for i := range 2 {
			id := logID(i)
			for _, seq := range []uint64{0, 1, 3} {
				s.expect(ledger.TableEntries, id, seq, gone)
			}
			s.expect(ledger.TableEntries, id, 2, slices.Concat(value(0, 9), value(4, 50)))
			s.expect(ledger.TableEntries, id, 4, slices.Concat(value(8, 9), value(8, 70)))
		}
		s.restart()
	}
}

// witness: the table has one record for each log, as states have.
func (s *suite) witness() {
	for i, own := range []bool{false, true} {
		s.commit(own, ledger.Record{Table: ledger.TableWitness, Log: logID(i), Value: value(i, 900)})
	}
	for range 2 {
		n := 0
		s.must(s.store.Each(ctx, ledger.TableWitness, func(id ledger.LogID, v []byte) error {
			if id != logID(n) || !bytes.Equal(v, value(n, 900)) {
				return fmt.Errorf("record %d is of log %s", n, id)
			}
			n++
			return nil
		}))
		if n != 2 {
			s.t.Fatalf("Each gave %d records, want 2", n)
		}
		s.restart()
	}
}

// tree: the table has records at any number, apart from entries.
func (s *suite) tree() {
	places := []uint64{0, 5, 1 << 48, 1<<63 + 7}
	for i, own := range []bool{false, true} {
		for n, seq := range places {
			s.commit(own, ledger.Record{Table: ledger.TableTree, Log: logID(i), Seq: seq, Value: value(n, 8192)})
			s.commit(own, ledger.Record{Table: ledger.TableTree, Log: logID(i), Seq: seq, Value: value(n+50, 8000)})
		}
	}
	for range 2 {
		for i := range 2 {
			for n, seq := range places {
				s.expect(ledger.TableTree, logID(i), seq, value(n+50, 8000))
			}
			_, err := s.store.Get(ctx, ledger.TableTree, logID(i), 6)
			s.notFound(err)
			if got := s.read(logID(i), 0, 1<<63, 1); len(got) != 0 {
				s.t.Fatalf("pieces of a tree are read as entries %d", got)
			}
		}
		s.restart()
	}
	if s.store.Each(ctx, ledger.TableTree, func(ledger.LogID, []byte) error { return nil }) == nil {
		s.t.Error("Each took the table of trees")
	}
}
