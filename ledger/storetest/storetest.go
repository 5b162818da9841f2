// Package storetest holds the one conformance suite that every ledger.Store
// passes, so that memory and disk cannot diverge. Only tests import it.
package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"tocsin/crypto/identity"
	"tocsin/ledger"
)

// Open opens a store. Each call after the first finds what the stores before it
// held, all of which are closed by then.
type Open func(t *testing.T) ledger.Store

// Run checks a kind of store; factory is called once for each check and returns
// the way to open an empty store and to open it again.
func Run(t *testing.T, factory func(t *testing.T) Open) {
	checks := []struct {
		name string
		run  func(*suite)
	}{
		{"Missing", (*suite).missing},
		{"ReadBack", (*suite).readBack},
		{"Tables", (*suite).tables},
		{"Replace", (*suite).replace},
		{"Reopen", (*suite).reopen},
		{"ReopenMany", (*suite).reopenMany},
		{"Ranges", (*suite).ranges},
		{"RangeStops", (*suite).rangeStops},
		{"Order", (*suite).order},
		{"Sizes", (*suite).sizes},
		{"Refused", (*suite).refused},
		{"SlicesAreTheCallers", (*suite).slices},
		{"Concurrent", (*suite).concurrent},
		{"Cancelled", (*suite).cancelled},
		{"Closed", (*suite).closed},
		{"Bodies", (*suite).bodies},
		{"Erased", (*suite).erased},
		{"Witness", (*suite).witness},
		{"Tree", (*suite).tree},
	}
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			s := &suite{t: t, factory: factory(t)}
			s.open()
			c.run(s)
			if s.store != nil {
				s.must(s.store.Close())
			}
		})
	}
}

type suite struct {
	t       *testing.T
	factory Open
	store   ledger.Store
}

func (s *suite) open() { s.t.Helper(); s.store = s.factory(s.t) }

func (s *suite) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// restart closes the store and opens it again.
func (s *suite) restart() {
	s.t.Helper()
	s.must(s.store.Close())
	s.open()
}

var ctx = context.Background()

// logID makes a log whose place in the order follows n.
func logID(n int) ledger.LogID {
	var k identity.Key
	binary.BigEndian.PutUint32(k[:], uint32(n))
	k[31] = 7
	return ledger.LogID{Author: k, Incarnation: uint32(n % 3)}
}

// value makes size bytes that depend on n.
func value(n, size int) []byte {
	b := make([]byte, 0, size+32)
	for i := 0; len(b) < size; i++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "%d %d", n, i))
		b = append(b, sum[:]...)
	}
	return b[:size]
}

func entry(id ledger.LogID, seq uint64, v []byte) ledger.Record {
	return ledger.Record{Table: ledger.TableEntries, Log: id, Seq: seq, Value: v}
}

// commit stores records of others' logs, or of the own one.
func (s *suite) commit(own bool, batch ...ledger.Record) {
	s.t.Helper()
	if own {
		s.must(s.store.CommitOwn(ctx, batch))
	} else {
		s.must(s.store.Commit(ctx, batch))
	}
}

// expect reads one place.
func (s *suite) expect(t ledger.Table, id ledger.LogID, seq uint64, want []byte) {
	s.t.Helper()
	got, err := s.store.Get(ctx, t, id, seq)
	s.must(err)
	if !bytes.Equal(got, want) {
		s.t.Fatalf("table %d seq %d: read %d bytes %.16x, want %d bytes %.16x", t, seq, len(got), got, len(want), want)
	}
}

// read returns the sequence numbers of a range, after checking its values.
func (s *suite) read(id ledger.LogID, from, to uint64, size int) []uint64 {
	s.t.Helper()
	var seqs []uint64
	s.must(s.store.Range(ctx, id, from, to, func(seq uint64, v []byte) error {
		if !bytes.Equal(v, value(int(seq), size)) {
			s.t.Errorf("seq %d: read another value", seq)
		}
		seqs = append(seqs, seq)
		return nil
	}))
	return seqs
}

func (s *suite) missing() {
	_, err := s.store.Get(ctx, ledger.TableEntries, logID(1), 0)
	s.notFound(err)
	s.commit(false, entry(logID(1), 4, value(4, 10)))
	_, err = s.store.Get(ctx, ledger.TableEntries, logID(1), 3)
	s.notFound(err)
	_, err = s.store.Get(ctx, ledger.TableEntries, logID(2), 4)
	s.notFound(err)
	_, err = s.store.Get(ctx, ledger.TableStates, logID(1), 0)
	s.notFound(err)
	if got := s.read(logID(2), 0, 10, 10); len(got) != 0 {
		s.t.Fatalf("an empty log has entries %d", got)
	}
}

func (s *suite) notFound(err error) {
	s.t.Helper()
	if !errors.Is(err, ledger.ErrNotFound) {
		s.t.Fatalf("error %v, want ErrNotFound", err)
	}
}

func (s *suite) readBack() {
	for i, own := range []bool{false, true} {
		id := logID(i)
		s.commit(own, entry(id, 0, value(0, 100)), entry(id, 1, value(1, 1)))
		s.commit(own, entry(id, 2, value(2, 300)))
		s.expect(ledger.TableEntries, id, 0, value(0, 100))
		s.expect(ledger.TableEntries, id, 1, value(1, 1))
		s.expect(ledger.TableEntries, id, 2, value(2, 300))
	}
}

func (s *suite) tables() {
	for i, own := range []bool{false, true} {
		id := logID(i)
		s.commit(own,
			entry(id, 0, value(1, 20)),
			ledger.Record{Table: ledger.TableStates, Log: id, Value: value(2, 20)},
			ledger.Record{Table: ledger.TableForks, Log: id, Value: value(3, 20)})
	}
	for range 2 {
		for i := range 2 {
			s.expect(ledger.TableEntries, logID(i), 0, value(1, 20))
			s.expect(ledger.TableStates, logID(i), 0, value(2, 20))
			s.expect(ledger.TableForks, logID(i), 0, value(3, 20))
		}
		s.restart()
	}
}

func (s *suite) replace() {
	for i, own := range []bool{false, true} {
		id := logID(i)
		for n := range 5 {
			s.commit(own, ledger.Record{Table: ledger.TableStates, Log: id, Value: value(n, 30+n)}, entry(id, 0, value(n, 9)))
		}
		s.commit(own,
			ledger.Record{Table: ledger.TableStates, Log: id, Value: value(90, 5)},
			ledger.Record{Table: ledger.TableStates, Log: id, Value: value(91, 6)})
	}
	for range 2 {
		for i := range 2 {
			s.expect(ledger.TableStates, logID(i), 0, value(91, 6))
			s.expect(ledger.TableEntries, logID(i), 0, value(4, 9))
		}
		s.restart()
	}
}

func (s *suite) reopen() {
	for i, own := range []bool{false, true} {
		s.commit(own, entry(logID(i), 0, value(0, 50)))
	}
	for n := 1; n < 4; n++ {
		s.restart()
		for i, own := range []bool{false, true} {
			if got := s.read(logID(i), 0, 99, 50); len(got) != n {
				s.t.Fatalf("own %v: after %d openings entries %d", own, n, got)
			}
			s.commit(own, entry(logID(i), uint64(n), value(n, 50)))
		}
	}
}

// reopenMany goes past every buffer on the way to the disk.
func (s *suite) reopenMany() {
	const n, size = 700, 900
	for seq := range uint64(n) {
		s.commit(true, entry(logID(1), seq, value(int(seq), size)))
		if seq%100 == 50 {
			s.commit(false, entry(logID(2), seq/100, value(int(seq/100), size)))
		}
	}
	for range 2 {
		if got := s.read(logID(1), 0, n, size); len(got) != n || !slices.IsSorted(got) {
			s.t.Fatalf("read %d own entries, want %d", len(got), n)
		}
		if got := s.read(logID(2), 0, n, size); len(got) != n/100 {
			s.t.Fatalf("read %d entries, want %d", len(got), n/100)
		}
		s.restart()
	}
}

func (s *suite) ranges() {
	// Two logs that are neighbours in any order by bytes.
	for i, own := range []bool{false, true, false} {
		id := logID(i)
		for seq := uint64(250); seq < 262; seq++ {
			s.commit(own, entry(id, seq, value(int(seq), 40)))
		}
	}
	for i := range 3 {
		for _, c := range []struct{ from, to, first, n uint64 }{
			{0, 1000, 250, 12}, {250, 262, 250, 12}, {255, 257, 255, 2}, {261, 262, 261, 1},
			{262, 900, 0, 0}, {0, 250, 0, 0}, {256, 256, 0, 0}, {257, 251, 0, 0}, {0, 1<<64 - 1, 250, 12},
		} {
			got := s.read(logID(i), c.from, c.to, 40)
			if uint64(len(got)) != c.n || (c.n > 0 && (got[0] != c.first || got[c.n-1] != c.first+c.n-1)) {
				s.t.Errorf("log %d, range %d to %d: %d", i, c.from, c.to, got)
			}
		}
	}
}

func (s *suite) rangeStops() {
	for i, own := range []bool{false, true} {
		id := logID(i)
		s.commit(own, entry(id, 0, value(0, 10)), entry(id, 1, value(1, 10)))
		s.commit(own, ledger.Record{Table: ledger.TableStates, Log: id, Value: value(2, 10)})
		stop := errors.New("stop")
		calls := 0
		err := s.store.Range(ctx, id, 0, 9, func(uint64, []byte) error { calls++; return stop })
		if err != stop || calls != 1 {
			s.t.Errorf("Range gave %v after %d calls, want the callback's own error after one", err, calls)
		}
		calls = 0
		err = s.store.Each(ctx, ledger.TableStates, func(ledger.LogID, []byte) error { calls++; return stop })
		if err != stop || calls != 1 {
			s.t.Errorf("Each gave %v after %d calls, want the callback's own error after one", err, calls)
		}
	}
}

func (s *suite) order() {
	const n = 400
	perm := make([]int, n)
	for i := range perm {
		perm[i] = (i * 149) % n
	}
	for _, i := range perm {
		s.commit(i%2 == 1, ledger.Record{Table: ledger.TableStates, Log: logID(i), Value: value(i, 60)})
	}
	for range 2 {
		next := 0
		s.must(s.store.Each(ctx, ledger.TableStates, func(id ledger.LogID, v []byte) error {
			if id != logID(next) || !bytes.Equal(v, value(next, 60)) {
				return fmt.Errorf("at %d: log %s", next, id)
			}
			next++
			return nil
		}))
		if next != n {
			s.t.Fatalf("Each gave %d logs, want %d", next, n)
		}
		s.restart()
	}
	s.must(s.store.Each(ctx, ledger.TableForks, func(id ledger.LogID, _ []byte) error {
		return fmt.Errorf("there is no fork of %s", id)
	}))
}

// sizes stores what the limits allow at most: one longest entry, and full
// batches by bytes and by number.
func (s *suite) sizes() {
	const longest = ledger.MaxFrame + 8
	for i, own := range []bool{false, true} {
		id := logID(i)
		s.commit(own, entry(id, 0, value(0, longest)), entry(id, 1, nil))
		var full []ledger.Record
		for seq := uint64(2); len(full) < ledger.MaxBatchBytes/longest; seq++ {
			full = append(full, entry(id, seq, value(int(seq), longest)))
		}
		s.commit(own, full...)
		var many []ledger.Record
		for seq := uint64(100); len(many) < ledger.MaxBatchRecords; seq++ {
			many = append(many, entry(id, seq, value(int(seq), ledger.MaxBatchBytes/ledger.MaxBatchRecords)))
		}
		s.commit(own, many...)
	}
	for range 2 {
		for i := range 2 {
			s.expect(ledger.TableEntries, logID(i), 0, value(0, longest))
			s.expect(ledger.TableEntries, logID(i), 1, nil)
			s.expect(ledger.TableEntries, logID(i), 2, value(2, longest))
			if got := s.read(logID(i), 100, 1<<20, ledger.MaxBatchBytes/ledger.MaxBatchRecords); len(got) != ledger.MaxBatchRecords {
				s.t.Fatalf("read %d of %d records", len(got), ledger.MaxBatchRecords)
			}
		}
		s.restart()
	}
}

func (s *suite) refused() {
	for _, own := range []bool{false, true} {
		commit := s.store.Commit
		if own {
			commit = s.store.CommitOwn
		}
		err := commit(ctx, []ledger.Record{entry(logID(1), 0, value(1, 5)), {Table: 99, Log: logID(1), Value: value(1, 5)}})
		if err == nil {
			s.t.Error("a batch with an unknown table was taken")
		}
		if commit(ctx, nil) == nil {
			s.t.Error("an empty batch was taken")
		}
		if commit(ctx, []ledger.Record{{Table: ledger.TableStates, Log: logID(1), Seq: 3, Value: value(1, 5)}}) == nil {
			s.t.Error("a state at another sequence number than 0 was taken")
		}
	}
	if got := s.read(logID(1), 0, 9, 5); len(got) != 0 {
		s.t.Errorf("part of a refused batch was stored: %d", got)
	}
	if s.store.Each(ctx, ledger.TableEntries, func(ledger.LogID, []byte) error { return nil }) == nil {
		s.t.Error("Each took the table of entries")
	}
}

func (s *suite) slices() {
	for i, own := range []bool{false, true} {
		id := logID(i)
		v := value(0, 100)
		s.commit(own, entry(id, 0, v))
		clear(v)
		got, err := s.store.Get(ctx, ledger.TableEntries, id, 0)
		s.must(err)
		clear(got)
		s.must(s.store.Range(ctx, id, 0, 1, func(_ uint64, v []byte) error { clear(v); return nil }))
		s.expect(ledger.TableEntries, id, 0, value(0, 100))
	}
}

// concurrent writes and reads from many goroutines at once.
func (s *suite) concurrent() {
	const writers, each = 6, 40
	var wg sync.WaitGroup
	fail := make(chan error, 2*writers)
	for w := range writers {
		id, commit := logID(w), s.store.Commit
		if w%3 == 0 {
			commit = s.store.CommitOwn
		}
		wg.Go(func() {
			for seq := range uint64(each) {
				err := commit(ctx, []ledger.Record{
					entry(id, seq, value(int(seq), 200)),
					{Table: ledger.TableStates, Log: id, Value: value(int(seq), 60)},
				})
				if err != nil {
					fail <- err
					return
				}
				if v, err := s.store.Get(ctx, ledger.TableEntries, id, seq); err != nil || !bytes.Equal(v, value(int(seq), 200)) {
					fail <- fmt.Errorf("entry %d is not there after its commit: %w", seq, err)
					return
				}
			}
		})
		wg.Go(func() {
			for range each / 4 {
				next := uint64(0)
				err := s.store.Range(ctx, id, 0, each, func(seq uint64, v []byte) error {
					if seq != next || !bytes.Equal(v, value(int(seq), 200)) {
						return fmt.Errorf("Range gave %d where %d comes next", seq, next)
					}
					next++
					return nil
				})
				if err != nil {
					fail <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(fail)
	for err := range fail {
		s.t.Error(err)
	}
	s.restart()
	for w := range writers {
		if got := s.read(logID(w), 0, each, 200); len(got) != each {
			s.t.Errorf("writer %d: %d of %d entries after reopening", w, len(got), each)
		}
		s.expect(ledger.TableStates, logID(w), 0, value(each-1, 60))
	}
}

func (s *suite) cancelled() {
	gone, cancel := context.WithCancel(ctx)
	cancel()
	for name, err := range map[string]error{
		"Commit":    s.store.Commit(gone, []ledger.Record{entry(logID(1), 0, nil)}),
		"CommitOwn": s.store.CommitOwn(gone, []ledger.Record{entry(logID(2), 0, nil)}),
		"Range":     s.store.Range(gone, logID(1), 0, 1, func(uint64, []byte) error { return nil }),
		"Each":      s.store.Each(gone, ledger.TableStates, func(ledger.LogID, []byte) error { return nil }),
	} {
		if !errors.Is(err, context.Canceled) {
			s.t.Errorf("%s: %v, want context.Canceled", name, err)
		}
	}
	if _, err := s.store.Get(gone, ledger.TableStates, logID(1), 0); !errors.Is(err, context.Canceled) {
		s.t.Errorf("Get: %v, want context.Canceled", err)
	}
}

func (s *suite) closed() {
	s.commit(false, entry(logID(1), 0, value(0, 10)))
	s.must(s.store.Close())
	_, getErr := s.store.Get(ctx, ledger.TableEntries, logID(1), 0)
	for name, err := range map[string]error{
		"Commit":    s.store.Commit(ctx, []ledger.Record{entry(logID(1), 1, nil)}),
		"CommitOwn": s.store.CommitOwn(ctx, []ledger.Record{entry(logID(2), 1, nil)}),
		"Get":       getErr,
		"Range":     s.store.Range(ctx, logID(1), 0, 1, func(uint64, []byte) error { return nil }),
		"Each":      s.store.Each(ctx, ledger.TableStates, func(ledger.LogID, []byte) error { return nil }),
		"Close":     s.store.Close(),
	} {
		if !errors.Is(err, ledger.ErrClosed) {
			s.t.Errorf("%s after Close: %v, want ErrClosed", name, err)
		}
	}
	s.store = nil
}
