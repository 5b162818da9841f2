package memstore

import (
	"crypto/sha256"
	"sync"
)

// sharedFrom is from how many bytes on a record is shared: below that it costs more to find
// than to hold.
const sharedFrom = 512

// Shares has stores of one process hold what is the same in them once: in a simulation hundreds
// of devices keep the same entries. Nothing else about a store changes. The zero value is ready,
// and safe for concurrent use; a nil *Shares shares nothing.
type Shares struct {
	mu   sync.Mutex
	held map[[sha256.Size]byte]*shared // guarded by mu
	idle []byte                        // guarded by mu: what Lend reads into, while nobody does
}

// borrow returns a piece of memory to read into, which may be nil: many stores that are looked
// through at the same time, a log after the other, would else leave as much garbage as they hold.
func (s *Shares) borrow() []byte {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	buf := s.idle
	s.idle = nil
	return buf
}

// giveBack takes what was borrowed, or has grown out of it, and keeps the larger.
func (s *Shares) giveBack(buf []byte) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if cap(buf) > cap(s.idle) {
		s.idle = buf[:0]
	}
}

// shared is what stores hold together; its bytes are never changed while somebody does.
type shared struct {
	name    [sha256.Size]byte
	bytes   []byte
	holders int // guarded by Shares.mu
}

// cell is one record of a store.
type cell struct {
	bytes []byte
	with  *shared // nil where the bytes are this store's alone
}

// New returns an empty store that holds together with the others of s what is the same.
func (s *Shares) New() *Store { return newStore(s) }

// keep takes value, which must not be used afterwards but through the cell.
func (s *Shares) keep(value []byte) cell {
	if s == nil || len(value) < sharedFrom {
		return cell{bytes: value}
	}
	name := sha256.Sum256(value)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil {
		s.held = make(map[[sha256.Size]byte]*shared)
	}
	with := s.held[name]
	if with == nil {
		with = &shared{name: name, bytes: value}
		s.held[name] = with
	}
	with.holders++
	return cell{with.bytes, with}
}

// drop gives a cell up, and overwrites it if it was the last of its bytes.
func (s *Shares) drop(c cell) {
	if c.with == nil {
		clear(c.bytes)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.with.holders--; c.with.holders == 0 {
		clear(c.bytes)
		delete(s.held, c.with.name)
	}
}
