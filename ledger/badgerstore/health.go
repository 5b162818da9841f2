package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/dgraph-io/badger/v4"

	"tocsin/ledger"
)

// fileScrub is how far reading of files that nobody else reads has come.
type fileScrub struct {
	mu     sync.Mutex
	next   int               // the file to read next, in the order of scrubbed
	debt   int64             // bytes read beyond the budgets so far
	damage map[string]string // by file
}

// ScrubFiles implements ledger.FileScrubber: it reads own.wal, its segments,
// heads.wal and erased.wal from end to end, one file at a time, when as much budget has come
// together as the file before was long. At the end of a round it gives space
// back that the index does not need any more.
func (s *Store) ScrubFiles(ctx context.Context, budget int64) (damage []string, round bool, err error) {
	if err := s.begin(ctx); err != nil {
		return nil, false, err
	}
	defer s.uses.Done()
	s.own.mu.Lock() // no segment begins meanwhile
	defer s.own.mu.Unlock()
	c := &s.scrub
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.debt -= budget; c.debt > 0 {
		return nil, false, nil
	}
	specs, err := s.scrubbed()
	if err != nil {
		return nil, false, err
	}
	if c.next >= len(specs) {
		c.next = 0
	}
	name := specs[c.next]
	c.next++
	size, err := s.scrubFile(ctx, name)
	c.debt = size
	switch {
	case errors.Is(err, ledger.ErrDamaged):
		if c.damage == nil {
			c.damage = make(map[string]string)
		}
		c.damage[name] = err.Error()
		damage = append(damage, err.Error())
	case err != nil:
		return nil, false, err
	default:
		delete(c.damage, name)
	}
	if round = c.next == len(specs); round {
		if err := s.reclaim(); err != nil {
			damage = append(damage, err.Error())
		}
	}
	return damage, round, nil
}

// reclaim gives the space of replaced values in Badger's value log back, one
// file at a time, where more than half of it is of no use.
func (s *Store) reclaim() (err error) {
	defer damagedIndex(&err)
	err = s.db.RunValueLogGC(0.5)
	if err == nil || errors.Is(err, badger.ErrNoRewrite) || errors.Is(err, badger.ErrRejected) {
		return nil
	}
	return fmt.Errorf("badgerstore: the value log of the index cannot be cleared: %w", err)
}

// scrubbed names the files to read, oldest segment first. The caller holds
// own.mu.
func (s *Store) scrubbed() ([]string, error) {
	list, err := segments(s.files, s.own.wal.aead, s.own.wal.before)
	if errors.Is(err, ledger.ErrDamaged) {
		return []string{ownWAL.name, headsWAL.name, goneWAL.name}, nil // reading own.wal tells what is wrong
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, w := range list {
		names = append(names, w.name)
	}
	return append(names, ownWAL.name, headsWAL.name, goneWAL.name), closeAll(list)
}

// scrubFile reads one file to its end as it is now. The caller holds own.mu.
func (s *Store) scrubFile(ctx context.Context, name string) (int64, error) {
	aead, end := s.own.wal.aead, int64(-1)
	switch name {
	case headsWAL.name:
		s.indexMu.Lock()
		defer s.indexMu.Unlock()
		aead, end = s.heads.wal.aead, s.heads.wal.size
	case goneWAL.name:
		s.indexMu.Lock()
		defer s.indexMu.Unlock()
		aead, end = s.heads.gone.aead, s.heads.gone.size
	case ownWAL.name:
		list, err := segments(s.files, aead, s.own.wal.before)
		if err = errors.Join(err, closeAll(list)); err != nil {
			return 0, err
		}
		end = s.own.wal.size
	}
	f, err := s.files.Open(name)
	if err != nil {
		return 0, diskError("cannot open "+name, err)
	}
	w := &wal{walSpec: walSpec{name: name, advice: ownWAL.advice}, f: f, aead: aead, closed: true}
	_, err = w.recover(mark{}, func(mark, []byte) error { return ctx.Err() })
	if err == nil && end >= 0 && w.size != end {
		err = fmt.Errorf("%w: %s has %d bytes and %d were written", ledger.ErrDamaged, name, w.size, end)
	}
	return w.size, errors.Join(err, f.Close())
}

// Health implements ledger.HealthReporter.
func (s *Store) Health() ledger.StoreHealth {
	h := ledger.StoreHealth{Floor: s.opt.MinFree, Ballast: uint64(s.ballast.now()), Notes: slices.Clone(s.notes)}
	free, err := s.opt.Free(s.dir)
	h.Free = free
	switch fault := s.indexFault(); {
	case err != nil:
		h.ReadOnly = err.Error()
	case fault != nil:
		h.ReadOnly = fault.Error()
	case free < h.Floor:
		h.ReadOnly = spaceError(free, h.Floor).Error()
	}
	h.Files = s.fileHealth()
	return h
}

// fileHealth lists the files of the data directory, the index as one.
func (s *Store) fileHealth() []ledger.FileHealth {
	s.scrub.mu.Lock()
	defer s.scrub.mu.Unlock()
	sizes := make(map[string]int64)
	problems := make(map[string]string)
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // Badger has just removed it
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(s.dir, path)
		if err != nil {
			return err
		}
		if filepath.Dir(rel) != "." {
			rel = indexName
		}
		if info, err := os.Stat(path); err == nil {
			sizes[rel] += info.Size()
		}
		return nil
	})
	if err != nil {
		problems["."] = err.Error()
		sizes["."] = 0
	}
	for name, problem := range s.scrub.damage {
		problems[name] = problem
		sizes[name] += 0
	}
	var out []ledger.FileHealth
	for name, size := range sizes {
		out = append(out, ledger.FileHealth{Name: name, Bytes: size, Problem: problems[name]})
	}
	slices.SortFunc(out, func(a, b ledger.FileHealth) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out
}
