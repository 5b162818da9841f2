// Package memstore is a ledger.Store in memory: for tests, simulations and
// relays that keep nothing. What it holds lives as long as the process.
package memstore

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"tocsin/ledger"
)

// Store keeps records in memory. It is safe for concurrent use.
type Store struct {
	mu     sync.RWMutex
	closed bool // guarded by mu
	disk   *disk
}

// disk is what outlives a Store: it plays the part of the files.
type disk struct {
	mu     sync.RWMutex
	shares *Shares                                           // nil where it shares with nobody
	rows   map[ledger.Table]map[ledger.LogID]map[uint64]cell // Value ‖ Body
	single map[ledger.Table]map[ledger.LogID][]byte
}

// New returns an empty store.
func New() *Store { return newStore(nil) }

func newStore(shares *Shares) *Store {
	d := &disk{
		shares: shares,
		rows:   make(map[ledger.Table]map[ledger.LogID]map[uint64]cell),
		single: make(map[ledger.Table]map[ledger.LogID][]byte),
	}
	for t := ledger.TableEntries; t <= ledger.TableLast; t++ {
		if t.Single() {
			d.single[t] = make(map[ledger.LogID][]byte)
		} else {
			d.rows[t] = make(map[ledger.LogID]map[uint64]cell)
		}
	}
	return &Store{disk: d}
}

// Reopen closes s and returns a store with the same contents, as a process that
// starts again finds its files.
func (s *Store) Reopen() *Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return &Store{disk: s.disk}
}

// Close implements ledger.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ledger.ErrClosed
	}
	s.closed = true
	return nil
}

// Commit implements ledger.Store.
func (s *Store) Commit(ctx context.Context, batch []ledger.Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := ledger.CheckBatch(batch); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ledger.ErrClosed
	}
	d := s.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range batch {
		d.put(&batch[i])
	}
	return nil
}

// put keeps a copy of a record, and overwrites the one before: a body that was
// erased does not linger in memory, once the last of those who share it has erased it.
func (d *disk) put(r *ledger.Record) {
	value := slices.Concat(r.Value, r.Body)
	if r.Table.Single() {
		clear(d.single[r.Table][r.Log])
		d.single[r.Table][r.Log] = value
		return
	}
	rows := d.rows[r.Table]
	if rows[r.Log] == nil {
		rows[r.Log] = make(map[uint64]cell)
	}
	before := rows[r.Log][r.Seq]
	rows[r.Log][r.Seq] = d.shares.keep(value)
	d.shares.drop(before)
}

// CommitOwn implements ledger.Store.
func (s *Store) CommitOwn(ctx context.Context, batch []ledger.Record) error {
	return s.Commit(ctx, batch)
}

// Get implements ledger.Store.
func (s *Store) Get(ctx context.Context, t ledger.Table, id ledger.LogID, seq uint64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.read(t, id, seq, []byte{})
}

// read appends what a place holds to buf.
func (s *Store) read(t ledger.Table, id ledger.LogID, seq uint64, buf []byte) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, ledger.ErrClosed
	}
	d := s.disk
	d.mu.RLock()
	defer d.mu.RUnlock()
	value, ok := d.single[t][id]
	if !t.Single() {
		var c cell
		c, ok = d.rows[t][id][seq]
		value = c.bytes
	}
	if !ok {
		return nil, ledger.ErrNotFound
	}
	return append(buf, value...), nil
}

// Range implements ledger.Store. It sees the entries held when it began.
func (s *Store) Range(ctx context.Context, id ledger.LogID, from, to uint64, fn func(uint64, []byte) error) error {
	return s.each(ctx, id, from, to, func(seq uint64) ([]byte, error) { return s.Get(ctx, ledger.TableEntries, id, seq) }, fn)
}

// Lend implements ledger.Lender: fn gets the same piece of memory each time.
func (s *Store) Lend(ctx context.Context, id ledger.LogID, from, to uint64, fn func(uint64, []byte) error) error {
	buf, used := s.disk.shares.borrow(), 0
	defer func() {
		clear(buf[:used]) // what is erased later does not linger here
		s.disk.shares.giveBack(buf)
	}()
	return s.each(ctx, id, from, to, func(seq uint64) ([]byte, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		value, err := s.read(ledger.TableEntries, id, seq, buf[:0])
		if err == nil {
			buf, used = value[:cap(value)], max(used, len(value))
		}
		return value, err
	}, fn)
}

// each calls fn with the entries that get reads.
func (s *Store) each(ctx context.Context, id ledger.LogID, from, to uint64, get func(uint64) ([]byte, error), fn func(uint64, []byte) error) error {
	seqs := s.disk.held(id, from, to)
	if err := s.open(ctx); err != nil {
		return err
	}
	for _, seq := range seqs {
		value, err := get(seq)
		if err != nil {
			return err
		}
		if err := fn(seq, value); err != nil {
			return err
		}
	}
	return nil
}

// held lists the places of a log from <= seq < to that are taken, in order.
func (d *disk) held(id ledger.LogID, from, to uint64) (seqs []uint64) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	rows := d.rows[ledger.TableEntries][id]
	if from >= to {
		return nil
	}
	if to-from <= uint64(len(rows)) { // a part of a log, which has no gaps as a rule
		seqs = make([]uint64, 0, to-from)
		for seq := from; seq < to; seq++ {
			if _, ok := rows[seq]; ok {
				seqs = append(seqs, seq)
			}
		}
		return seqs
	}
	for seq := range rows {
		if from <= seq && seq < to {
			seqs = append(seqs, seq)
		}
	}
	slices.Sort(seqs)
	return seqs
}

// Each implements ledger.Store. It sees the logs held when it began.
func (s *Store) Each(ctx context.Context, t ledger.Table, fn func(ledger.LogID, []byte) error) error {
	if err := s.open(ctx); err != nil {
		return err
	}
	s.disk.mu.RLock()
	if s.disk.single[t] == nil {
		s.disk.mu.RUnlock()
		return fmt.Errorf("memstore: table %d has no single records", t)
	}
	ids := make([]ledger.LogID, 0, len(s.disk.single[t]))
	for id := range s.disk.single[t] {
		ids = append(ids, id)
	}
	s.disk.mu.RUnlock()
	slices.SortFunc(ids, ledger.LogID.Compare)
	for _, id := range ids {
		value, err := s.Get(ctx, t, id, 0)
		if err != nil {
			return err
		}
		if err := fn(id, value); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) open(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ledger.ErrClosed
	}
	return nil
}
