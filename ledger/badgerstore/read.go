package badgerstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"tocsin/crypto/identity"
	"tocsin/ledger"
)

// A page is what is read from Badger at once, so that no transaction stays open
// while a caller works.
const (
	pageRecords = 256
	pageBytes   = 1 << 20
)

// Get implements ledger.Store.
func (s *Store) Get(ctx context.Context, t ledger.Table, id ledger.LogID, seq uint64) ([]byte, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.uses.Done()
	return s.get(t, id, seq)
}

func (s *Store) get(t ledger.Table, id ledger.LogID, seq uint64) ([]byte, error) {
	value, err := s.raw(t, id, seq)
	if err != nil || t != ledger.TableEntries {
		return value, err
	}
	return s.openStored(id, seq, value)
}

// raw returns the stored form of a record.
func (s *Store) raw(t ledger.Table, id ledger.LogID, seq uint64) ([]byte, error) {
	k, err := key(t, id, seq)
	if err != nil {
		return nil, err
	}
	if t.Single() {
		seq = 0
	}
	at := place{t, id, seq}
	s.pendMu.RLock()
	p, ok := s.own.pending.at[at]
	if !ok {
		p, ok = s.in.pending.at[at]
	}
	s.pendMu.RUnlock()
	if ok {
		return append([]byte{}, p.value...), nil
	}
	return s.value(k)
}

// value reads one key of Badger.
func (s *Store) value(k []byte) (value []byte, err error) {
	defer damagedIndex(&err)
	err = s.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(k)
		if err != nil {
			return err
		}
		value, err = item.ValueCopy([]byte{})
		return err
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, ledger.ErrNotFound
	}
	if err != nil {
		return nil, readError(err)
	}
	return value, nil
}

// readError is what Badger says when it cannot read. Unless it was closed, what
// was asked for is lost as long as that lasts: others can be asked for it.
func readError(err error) error {
	if errors.Is(err, badger.ErrDBClosed) {
		return fmt.Errorf("badgerstore: cannot read the index: %w", err)
	}
	return fmt.Errorf("%w: the index cannot be read: %w", ledger.ErrDamaged, err)
}

// damagedIndex turns a panic of Badger's over what it read into an error.
func damagedIndex(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: the index contradicts itself: %s (%.60s)", ledger.ErrDamaged, indexAdvice, fmt.Sprint(p))
	}
}

// pair is one key and value of a page.
type pair struct{ key, value []byte }

// page reads the keys with a prefix from a key on. more says whether it stopped
// because the page was full.
func (s *Store) page(prefix, from, to []byte) (pairs []pair, more bool, err error) {
	defer damagedIndex(&err)
	err = s.db.View(func(txn *badger.Txn) error {
		opt := badger.DefaultIteratorOptions
		opt.Prefix = prefix
		opt.PrefetchValues = false // it happens in goroutines where no panic can be caught
		it := txn.NewIterator(opt)
		defer it.Close()
		size := 0
		for it.Seek(from); it.Valid(); it.Next() {
			item := it.Item()
			if to != nil && bytes.Compare(item.Key(), to) >= 0 {
				return nil
			}
			if len(pairs) == pageRecords || size > pageBytes {
				more = true
				return nil
			}
			value, err := item.ValueCopy([]byte{})
			if err != nil {
				return err
			}
			pairs = append(pairs, pair{item.KeyCopy(nil), value})
			size += len(value)
		}
		return nil
	})
	if err != nil {
		return nil, false, readError(err)
	}
	return pairs, more, nil
}

// merge calls fn for the records of Badger under a prefix, from one key on and
// below another (nil for all), and for pending ones, in the order of keys. A
// pending record, gathered before, stands for one of the same key in Badger.
func (s *Store) merge(ctx context.Context, prefix, from, to []byte, pend []pair, fn func(pair) error) error {
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return err
		}
		var pairs []pair
		var err error
		pairs, more, err = s.page(prefix, from, to)
		if err != nil {
			return err
		}
		for _, p := range pairs {
			for len(pend) > 0 && bytes.Compare(pend[0].key, p.key) < 0 {
				if err := fn(pend[0]); err != nil {
					return err
				}
				pend = pend[1:]
			}
			if len(pend) > 0 && bytes.Equal(pend[0].key, p.key) {
				p, pend = pend[0], pend[1:]
			}
			if err := fn(p); err != nil {
				return err
			}
			from = append(p.key, 0)
		}
	}
	for _, p := range pend {
		if err := fn(p); err != nil {
			return err
		}
	}
	return nil
}

// pendingIn copies the pending records that want chooses, in the order of keys.
func (s *Store) pendingIn(want func(place) bool) ([]pair, error) {
	s.pendMu.RLock()
	defer s.pendMu.RUnlock()
	var pend []pair
	for _, j := range []*journal{&s.own, &s.in} {
		for at, v := range j.pending.at {
			if !want(at) {
				continue
			}
			k, err := key(at.table, at.log, at.seq)
			if err != nil {
				return nil, err
			}
			pend = append(pend, pair{k, append([]byte{}, v.value...)})
		}
	}
	slices.SortFunc(pend, func(a, b pair) int { return bytes.Compare(a.key, b.key) })
	return pend, nil
}

// Range implements ledger.Store.
func (s *Store) Range(ctx context.Context, id ledger.LogID, from, to uint64, fn func(uint64, []byte) error) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.uses.Done()
	first, err := key(ledger.TableEntries, id, from)
	if err != nil {
		return err
	}
	last, err := key(ledger.TableEntries, id, to)
	if err != nil {
		return err
	}
	pend, err := s.pendingIn(func(at place) bool {
		return at.table == ledger.TableEntries && at.log == id && from <= at.seq && at.seq < to
	})
	if err != nil {
		return err
	}
	r := ranging{s: s, id: id, next: from, fn: fn}
	err = s.merge(ctx, first[:len(first)-8], first, last, pend, func(p pair) error {
		seq := placeOf(id, p.key).seq
		if err := r.lookFor(ctx, seq); err != nil || seq < r.next {
			return err
		}
		return r.hand(seq, p.value)
	})
	if err != nil {
		return err
	}
	return r.lookFor(ctx, to)
}

// ranging hands the entries of one log on. Badger's iterators leave out in
// silence what is behind a damaged place of a block, also records that were
// written again since; so where one is not met its place is looked at.
type ranging struct {
	s    *Store
	id   ledger.LogID
	next uint64 // the first that was not handed on
	fn   func(uint64, []byte) error
}

func (r *ranging) hand(seq uint64, raw []byte) error {
	r.next = seq + 1
	value, err := r.s.openStored(r.id, seq, raw)
	if errors.Is(err, ledger.ErrDamaged) {
		value, err = nil, nil // an empty value is none: see ledger.Store
	}
	if err != nil {
		return err
	}
	return r.fn(seq, value)
}

// lookFor hands on what stands from next on, up to a place that is empty or to to.
func (r *ranging) lookFor(ctx context.Context, to uint64) error {
	for r.next < to {
		raw, err := r.s.raw(ledger.TableEntries, r.id, r.next)
		if errors.Is(err, ledger.ErrNotFound) || errors.Is(err, ledger.ErrDamaged) {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		if err := r.hand(r.next, raw); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// placeOf returns the place of an entry of a known log by its key.
func placeOf(id ledger.LogID, key []byte) place {
	return place{ledger.TableEntries, id, binary.BigEndian.Uint64(key[len(key)-8:])}
}

// Each implements ledger.Store.
func (s *Store) Each(ctx context.Context, t ledger.Table, fn func(ledger.LogID, []byte) error) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.uses.Done()
	return s.eachContext(ctx, t, fn)
}

// each is Each while the store is opened.
func (s *Store) each(t ledger.Table, fn func(ledger.LogID, []byte) error) error {
	return s.eachContext(context.Background(), t, fn)
}

func (s *Store) eachContext(ctx context.Context, t ledger.Table, fn func(ledger.LogID, []byte) error) error {
	p, err := prefixOf(t)
	if err != nil {
		return err
	}
	if !t.Single() {
		return fmt.Errorf("badgerstore: table %d has no single records", t)
	}
	pend, err := s.pendingIn(func(at place) bool { return at.table == t })
	if err != nil {
		return err
	}
	prefix := []byte{p}
	return s.merge(ctx, prefix, prefix, nil, pend, func(p pair) error {
		id, err := identity.LogIDFromBytes(p.key[1:])
		if err != nil {
			return fmt.Errorf("%w: a key of table %d: %w", ledger.ErrDamaged, t, err)
		}
		return fn(id, p.value)
	})
}
