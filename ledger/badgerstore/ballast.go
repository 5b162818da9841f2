package badgerstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// ballastName is a file that holds disk space which is given back when the disk
// is nearly full: Badger goes on writing for a while behind our backs, and a
// write that finds no space would kill the process.
const ballastName = "ballast"

// DefaultBallast is the size of the ballast, in bytes.
const DefaultBallast = 16 << 20

// ballast is that file.
type ballast struct {
	mu   sync.Mutex
	name string // empty if there is to be none
	size int64  // now
}

// openBallast makes the file if there is plenty of space. Without it the store
// works all the same, so a failure is only noted.
func (s *Store) openBallast() {
	if s.opt.Ballast < 0 {
		return
	}
	b := &s.ballast
	b.mu.Lock()
	defer b.mu.Unlock()
	b.name = filepath.Join(s.dir, ballastName)
	if info, err := os.Stat(b.name); err == nil && info.Size() == s.opt.Ballast {
		b.size = info.Size()
		return
	}
	free, err := s.opt.Free(s.dir)
	if err != nil || free < 2*s.opt.MinFree+uint64(s.opt.Ballast) {
		return
	}
	if err := makeBallast(b.name, s.opt.Ballast); err != nil {
		s.opt.Logger.Warn("no disk space could be set aside for an emergency", "error", errors.Join(err, os.RemoveAll(b.name)))
		return
	}
	b.size = s.opt.Ballast
}

func makeBallast(name string, size int64) error {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(reserve(f, size), f.Close())
}

// watch gives the space back when less than half of the floor is left.
func (b *ballast) watch(free, floor uint64) {
	if free >= floor/2 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.size > 0 && os.Remove(b.name) == nil {
		b.size = 0
	}
}

func (b *ballast) now() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.size
}

// writeZeros fills a file where space cannot be reserved without writing.
func writeZeros(f *os.File, size int64) error {
	block := make([]byte, 1<<20)
	for at := int64(0); at < size; at += int64(len(block)) {
		if _, err := f.WriteAt(block[:min(int64(len(block)), size-at)], at); err != nil {
			return fmt.Errorf("badgerstore: cannot set space aside: %w", err)
		}
	}
	return nil
}
