package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"tocsin/crypto/identity"
	"tocsin/ledger"
)

// This file knows which entries were erased for good, also where the index lost
// their records: heads.wal has a copy of them all.

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
