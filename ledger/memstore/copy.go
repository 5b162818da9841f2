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
	c := newStore(from.shares)
	for t, logs := range from.single {
		for id, value := range logs {
			c.disk.single[t][id] = slices.Clone(value)
		}
	}
	for t, logs := range from.rows {
		for id, rows := range logs {
			rows = maps.Clone(rows)
			for seq := range rows {
				rows[seq] = c.disk.shares.keep(slices.Clone(rows[seq].bytes))
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
	rows := s.disk.rows[ledger.TableEntries][id]
	before := rows[seq]
	if len(before.bytes) == 0 {
		return fmt.Errorf("memstore: entry %d of log %s: %w", seq, id, ledger.ErrNotFound)
	}
	value := slices.Clone(before.bytes) // others may share it
	value[len(value)-1] ^= 1
	rows[seq] = cell{bytes: value}
	s.disk.shares.drop(before)
	return nil
}
