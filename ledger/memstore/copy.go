package memstore

import (
	"fmt"
	"maps"
	"slices"

	"tocsin/ledger"
)

// Copy returns a store with a copy of what s holds at this moment, as whoever images a
// disk has it. What comes to the one afterwards does not come to the other. It works
// on a closed store too.
func (s *Store) Copy() *Store {
	from := s.disk
	from.mu.RLock()
	defer from.mu.RUnlock()
	c := New()
	for t, logs := range from.single {
		for id, value := range logs {
			c.disk.single[t][id] = slices.Clone(value)
		}
	}
	for t, logs := range from.rows {
		for id, rows := range logs {
			rows = maps.Clone(rows)
			for seq := range rows {
				rows[seq] = slices.Clone(rows[seq])
			}
			c.disk.rows[t][id] = rows
		}
	}
	return c
}

// Spoil flips a bit of an entry, in its body where that is held, as a bad disk does or
// somebody with an editor. The error matches [ledger.ErrNotFound] where there is no such
// entry. It works on a closed store too.
func (s *Store) Spoil(id ledger.LogID, seq uint64) error {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	value := s.disk.rows[ledger.TableEntries][id][seq]
	if len(value) == 0 {
		return fmt.Errorf("memstore: entry %d of log %s: %w", seq, id, ledger.ErrNotFound)
	}
	value[len(value)-1] ^= 1
	return nil
}
