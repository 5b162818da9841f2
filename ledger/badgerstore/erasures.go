package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/dgraph-io/badger/v4"

	"tocsin/crypto/identity"
	"tocsin/ledger"
)

// This file knows which entries were erased for good, also where the index lost
// their records: heads.wal has a copy of them all, and erased.wal a third one,
// for when heads.wal is lost and the index cannot be read either. Before a
// transaction of Badger's, what it erases for good is appended to erased.wal and
// synced, as records of the same form; the transaction keeps the mark.

// erasures is the places of erased entries, rising within a log. Tens of
// millions of them fit in memory.
type erasures struct {
	mu   sync.Mutex
	seqs map[ledger.LogID][]uint64
}

// addAll takes the entries among places in any order.
func (e *erasures) addAll(places iter.Seq[place]) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for at := range places {
		if at.table == ledger.TableEntries {
			e.seqs[at.log] = append(e.seqs[at.log], at.seq)
		}
	}
	for id, seqs := range e.seqs {
		slices.Sort(seqs)
		e.seqs[id] = slices.Compact(seqs)
	}
}

func (e *erasures) add(at place) {
	e.mu.Lock()
	defer e.mu.Unlock()
	seqs := e.seqs[at.log]
	if i, ok := slices.BinarySearch(seqs, at.seq); !ok {
		e.seqs[at.log] = slices.Insert(seqs, i, at.seq)
	}
}

// WasErased implements ledger.ErasureKeeper.
func (s *Store) WasErased(id ledger.LogID, seq uint64) bool {
	s.erased.mu.Lock()
	defer s.erased.mu.Unlock()
	_, ok := slices.BinarySearch(s.erased.seqs[id], seq)
	return ok
}

// findErased takes all records of erased entries in the index, and what the wals
// brought, into the copy.
func (s *Store) findErased() error {
	pend, err := s.pendingIn(func(at place) bool { return at.table == ledger.TableEntries })
	if err != nil {
		return err
	}
	prefix := []byte{prefixEntries}
	err = s.merge(context.Background(), prefix, prefix, nil, pend, func(p pair) error {
		st, err := parseStored(p.value)
		if err != nil || !st.final {
			return nil // whoever reads it says what is wrong with it
		}
		id, err := identity.LogIDFromBytes(p.key[1 : len(p.key)-8])
		if err != nil {
			return fmt.Errorf("%w: a key of the entries: %w", ledger.ErrDamaged, err)
		}
		s.heads.values[placeOf(id, p.key)] = p.value
		return nil
	})
	if errors.Is(err, ledger.ErrDamaged) {
		s.note(fmt.Sprintf("not all entries could be read to learn which were erased; erase again what must not come back: %v", err))
		return nil
	}
	return err
}

// openGone reads erased.wal, behind heads.wal.
func (s *Store) openGone(dir files) error {
	h := &s.heads
	aead, err := newAEAD(s.opt.Key, goneWAL)
	if err != nil {
		return fmt.Errorf("badgerstore: %w", err)
	}
	seen, err := s.mark(keyGone)
	if err != nil {
		return err
	}
	h.told = make(map[place]struct{})
	reached := mark{}
	w, _, err := openWAL(dir, goneWAL, aead, mark{}, batches(goneWAL.name, func(m mark, batch []ledger.Record) error {
		for i := range batch {
			r := &batch[i]
			if r.Table != ledger.TableEntries || !kept(r) {
				return fmt.Errorf("%w: %s, record %d, is of no erased entry: %s", ledger.ErrDamaged, goneWAL.name, m.Number, goneWAL.advice)
			}
			at := place{r.Table, r.Log, r.Seq}
			h.told[at] = struct{}{}
			if _, ok := h.values[at]; !ok {
				h.values[at] = r.Value
				h.bytes += len(r.Value)
			}
		}
		if m.Number == seen.Number {
			reached = m
		}
		return nil
	}))
	if err != nil {
		return err
	}
	h.gone, h.whole = w, seen.Number == 0 || reached == seen
	if !h.whole {
		s.note("erased.wal does not reach as far as the index: it was cut, exchanged or moved away; it is made again from heads.wal")
	}
	return nil
}

// completeGone appends to erased.wal what is known to be erased and not in it.
func (s *Store) completeGone() error {
	var missing []ledger.Record
	for at, value := range s.heads.values {
		if _, ok := s.heads.told[at]; !ok && at.table == ledger.TableEntries {
			missing = append(missing, ledger.Record{Table: at.table, Log: at.log, Seq: at.seq, Value: value})
		}
	}
	if len(missing) == 0 && s.heads.whole {
		return nil
	}
	for piece := range slices.Chunk(missing, ledger.MaxBatchRecords) {
		if err := s.putGone(piece); err != nil {
			return err
		}
	}
	err := s.db.Update(func(txn *badger.Txn) error { return txn.Set(keyGone, s.heads.gone.last.marshal()) })
	if err != nil {
		return diskError("cannot write the index", err)
	}
	s.heads.whole = true
	return nil
}

func (s *Store) putGone(records []ledger.Record) error {
	payload, err := marshalBatch(records)
	if err == nil {
		_, err = s.heads.gone.append(payload)
	}
	return err
}

// appendGone makes durable what a transaction is about to erase for good, and
// returns the mark for it.
func (s *Store) appendGone(own, in []walBatch) (mark, error) {
	var gone []ledger.Record
	for _, batches := range [][]walBatch{own, in} {
		for _, b := range batches {
			for _, r := range b.records {
				if r.Table == ledger.TableEntries && kept(&r) {
					gone = append(gone, r)
				}
			}
		}
	}
	if len(gone) > 0 {
		if err := s.putGone(gone); err != nil {
			return mark{}, err
		}
	}
	if !s.heads.whole {
		return s.mark(keyGone) // an opening is about to make the file complete
	}
	return s.heads.gone.last, nil
}
