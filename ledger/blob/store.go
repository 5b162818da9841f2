package blob

import (
	"container/list"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Name is the SHA-256 of a sealed chunk.
type Name = [sha256.Size]byte

// The errors on which callers branch.
var (
	// ErrNotFound: the chunk is not here, or was found damaged and dropped.
	ErrNotFound = errors.New("blob: no such chunk here")
	// ErrFull: no room is left under the quota or on the disk.
	ErrFull = errors.New("blob: no room for more chunks")
	// ErrName: the bytes are not the chunk of this name.
	ErrName = errors.New("blob: the chunk does not match its name")
)

// Options bound a store; zero fields are the defaults.
type Options struct {
	Keep    int64 // bytes kept for this device's messages
	Carry   int64 // bytes carried for others; negative for none
	Reserve int64 // bytes to leave free on the disk; negative for none
}

// Usage says how full a store is.
type Usage struct {
	Kept, Carried             int   // chunks
	KeptBytes, CarriedBytes   int64 // of them
	KeepQuota, CarryQuota     int64 // bytes
	Evicted, Damaged, NoSpace uint64
}

// Store is one directory of chunks. All methods may be called concurrently.
type Store struct {
	dir     string
	options Options

	mu      sync.Mutex
	chunks  map[Name]*chunk // guarded by mu, as is all below
	carried *list.List      // of *chunk, the longest unused first
	bytes   [2]int64        // by shelf
	coming  [2]int64        // likewise, of chunks that are being written
	files   int             // being written
	counts  [2]int
	unsure  map[string]bool // directories whose names are not synced yet
	closed  bool
	usage   Usage // its counters

	syncing sync.Mutex // one Sync at a time; taken before mu
}

// chunk is one that is here.
type chunk struct {
	name  Name
	size  int64
	shelf shelf
	place *list.Element // in carried; nil for a kept one
}

// shelf is where a chunk stands.
type shelf uint8

const (
	kept shelf = iota
	carried
)

var shelves = [...]string{kept: "kept", carried: "carried"}

const unfinished = "new"

// Open opens the store in dir, or makes it. It reads names and sizes, no
// chunk; what a crash left half written is removed.
func Open(dir string, o Options) (*Store, error) {
	if o.Keep == 0 {
		o.Keep = DefaultKeep
	}
	if o.Carry == 0 {
		o.Carry = DefaultCarry
	}
	if o.Reserve == 0 {
		o.Reserve = DefaultReserve
	}
	s := &Store{dir: dir, options: o, chunks: make(map[Name]*chunk), carried: list.New(), unsure: make(map[string]bool)}
	if err := os.RemoveAll(filepath.Join(dir, unfinished)); err != nil {
		return nil, fmt.Errorf("blob: what was being written cannot be cleared: %w", err)
	}
	for _, sub := range []string{unfinished, shelves[kept], shelves[carried]} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("blob: %w", err)
		}
	}
	for sh := range shelves {
		if err := s.load(shelf(sh)); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// load reads the names on a shelf, carried ones in the order in which they came.
func (s *Store) load(sh shelf) error {
	type found struct {
		*chunk
		at int64
	}
	var all []found
	err := filepath.WalkDir(filepath.Join(s.dir, shelves[sh]), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, ok := parseName(e.Name())
		if !ok || path != s.path(sh, name) {
			return nil // not ours: left alone
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if info.Size() == 0 || info.Size() > MaxChunk {
			s.usage.Damaged++
			return os.Remove(path)
		}
		all = append(all, found{&chunk{name: name, size: info.Size(), shelf: sh}, info.ModTime().UnixNano()})
		return nil
	})
	if err != nil {
		return fmt.Errorf("blob: the chunks cannot be listed: %w", err)
	}
	slices.SortFunc(all, func(a, b found) int { return int(max(min(a.at-b.at, 1), -1)) })
	for _, f := range all {
		if s.chunks[f.name] != nil { // a crash between the two of a move
			if err := os.Remove(s.path(sh, f.name)); err != nil {
				return fmt.Errorf("blob: %w", err)
			}
			continue
		}
		s.add(f.chunk)
	}
	return nil
}

func parseName(s string) (name Name, ok bool) {
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != len(name) || strings.ToLower(s) != s {
		return name, false
	}
	return Name(raw), true
}

func (s *Store) path(sh shelf, name Name) string {
	h := hex.EncodeToString(name[:])
	return filepath.Join(s.dir, shelves[sh], h[:2], h)
}

// add puts a chunk that is on disk into the index. mu is held, or nobody else
// knows the store.
func (s *Store) add(c *chunk) {
	s.chunks[c.name] = c
	if c.shelf == carried {
		c.place = s.carried.PushBack(c)
	}
	s.bytes[c.shelf] += c.size
	s.counts[c.shelf]++
}

// drop takes a chunk out of the index.
func (s *Store) drop(c *chunk) {
	delete(s.chunks, c.name)
	if c.place != nil {
		s.carried.Remove(c.place)
		c.place = nil
	}
	s.bytes[c.shelf] -= c.size
	s.counts[c.shelf]--
}

// Put stores a chunk, to be kept for a message of this device or carried for
// others. Its bytes are on disk when it returns; its name is once [Store.Sync]
// has returned. A chunk that is here already is not written again; a carried one is kept from now on if keep says
// so. No other call waits while its bytes are written. Errors: [ErrName], [ErrFull], and what the disk says.
func (s *Store) Put(name Name, data []byte, keep bool) error {
	if len(data) == 0 || len(data) > MaxChunk || sha256.Sum256(data) != name {
		return ErrName
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	if c := s.chunks[name]; c != nil {
		if keep {
			return s.keep(c)
		}
		return nil
	}
	c := &chunk{name: name, size: int64(len(data)), shelf: carried}
	if keep {
		c.shelf = kept
	}
	if err := s.makeRoom(c); err != nil {
		return err
	}
	return s.write(c, data)
}

var errClosed = errors.New("blob: the store is closed")

// makeRoom evicts carried chunks until c fits its quota and the disk.
func (s *Store) makeRoom(c *chunk) error {
	quota := s.options.Keep
	if c.shelf == carried {
		quota = s.options.Carry
	}
	for c.shelf == carried && s.bytes[carried]+s.coming[carried]+c.size > quota && s.carried.Len() > 0 {
		if err := s.evict(); err != nil {
			return err
		}
	}
	if s.bytes[c.shelf]+s.coming[c.shelf]+c.size > quota {
		return fmt.Errorf("%w: the quota of %d bytes is used up", ErrFull, max(quota, 0))
	}
	for {
		free, err := freeSpace(s.dir)
		if err != nil {
			return err
		}
		room := s.options.Reserve < 0 || free >= uint64(s.options.Reserve+s.coming[kept]+s.coming[carried]+c.size)
		if room && len(s.chunks)+s.files < maxChunks {
			return nil
		}
		if s.carried.Len() == 0 {
			s.usage.NoSpace++
			return fmt.Errorf("%w: the disk is nearly full, and what is left is for the logs", ErrFull)
		}
		if err := s.evict(); err != nil {
			return err
		}
	}
}

// evict removes the carried chunk that was longest unused.
func (s *Store) evict() error {
	c := s.carried.Front().Value.(*chunk)
	if err := s.remove(c); err != nil {
		return err
	}
	s.usage.Evicted++
	return nil
}

// write stores a chunk. mu is held, and let go of while the disk is at work: what that
// takes is counted meanwhile.
func (s *Store) write(c *chunk, data []byte) error {
	s.coming[c.shelf] += c.size
	s.files++
	s.mu.Unlock()
	temp, err := s.writeNew(data)
	s.mu.Lock()
	s.coming[c.shelf] -= c.size
	s.files--
	if err != nil {
		return err
	}
	if err := s.place(c, temp); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return nil
}

// writeNew writes and syncs a file that is no chunk yet.
func (s *Store) writeNew(data []byte) (path string, err error) {
	f, err := os.CreateTemp(filepath.Join(s.dir, unfinished), "*")
	if err != nil {
		return "", fmt.Errorf("blob: %w", err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("blob: a chunk cannot be written: %w", err), os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// place makes a file that was written the file of c. mu is held.
func (s *Store) place(c *chunk, temp string) error {
	if s.closed {
		return errClosed
	}
	if there := s.chunks[c.name]; there != nil { // another call was faster
		if c.shelf == kept {
			if err := s.keep(there); err != nil {
				return err
			}
		}
		return os.Remove(temp)
	}
	to := s.path(c.shelf, c.name)
	if err := s.folder(filepath.Dir(to)); err != nil {
		return err
	}
	if err := os.Rename(temp, to); err != nil {
		return fmt.Errorf("blob: a chunk cannot be put into its place: %w", err)
	}
	s.unsure[filepath.Dir(to)] = true
	s.add(c)
	return nil
}

// folder makes the directory of a chunk.
func (s *Store) folder(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("blob: %w", err)
	}
	s.unsure[filepath.Dir(dir)] = true
	return nil
}

// Sync makes durable the names of all that was put or kept before. No call but
// another Sync waits for it.
func (s *Store) Sync() error {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	s.mu.Lock()
	unsure := s.unsure
	s.unsure = make(map[string]bool)
	s.mu.Unlock()
	for dir := range unsure {
		if err := syncDir(dir); err != nil {
			s.mu.Lock()
			maps.Copy(s.unsure, unsure) // and those that are not: nothing is lost by once more
			s.mu.Unlock()
			return fmt.Errorf("blob: the names of chunks cannot be made durable: %w", err)
		}
		delete(unsure, dir)
	}
	return nil
}

// Keep has carried chunks kept from now on: a message of this device names
// them. Names that are not here are passed over. Errors: [ErrFull], and what the disk says.
func (s *Store) Keep(names ...Name) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		if c := s.chunks[name]; c != nil {
			if err := s.keep(c); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) keep(c *chunk) error {
	if c.shelf == kept {
		return nil
	}
	if s.bytes[kept]+s.coming[kept]+c.size > s.options.Keep {
		return fmt.Errorf("%w: the quota of %d bytes is used up", ErrFull, s.options.Keep)
	}
	to := s.path(kept, c.name)
	if err := s.folder(filepath.Dir(to)); err != nil {
		return err
	}
	if err := os.Rename(s.path(carried, c.name), to); err != nil {
		return fmt.Errorf("blob: %w", err)
	}
	s.unsure[filepath.Dir(to)] = true
	s.drop(c)
	c.shelf = kept
	s.add(c)
	return nil
}

// Has reports whether a chunk is here.
func (s *Store) Has(name Name) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.chunks[name] != nil
}

// Get returns a chunk. One that the disk has changed or lost is dropped and
// [ErrNotFound], so that it is fetched again.
func (s *Store) Get(name Name) ([]byte, error) {
	s.mu.Lock()
	c := s.chunks[name]
	var path string
	if c != nil {
		path = s.path(c.shelf, name)
		if c.place != nil {
			s.carried.MoveToBack(c.place)
		}
	}
	s.mu.Unlock()
	if c == nil {
		return nil, ErrNotFound
	}
	data, err := os.ReadFile(path)
	if err == nil && sha256.Sum256(data) == name {
		return data, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch now := s.chunks[name]; {
	case now != c:
		return nil, ErrNotFound // it went in between
	case s.path(c.shelf, name) != path: // it was moved in between, and will not be again
		if data, err = os.ReadFile(s.path(c.shelf, name)); err == nil && sha256.Sum256(data) == name {
			return data, nil
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("blob: a chunk cannot be read: %w", err)
	}
	s.usage.Damaged++
	return nil, errors.Join(ErrNotFound, s.remove(c))
}

// Remove deletes chunks. Names that are not here are passed over.
func (s *Store) Remove(names ...Name) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, name := range names {
		if c := s.chunks[name]; c != nil {
			errs = append(errs, s.remove(c))
		}
	}
	return errors.Join(errs...)
}

func (s *Store) remove(c *chunk) error {
	if err := os.Remove(s.path(c.shelf, c.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("blob: a chunk cannot be removed: %w", err)
	}
	s.drop(c)
	return nil
}

// Kept returns the names of all kept chunks, so that those that no message names
// any more can be removed.
func (s *Store) Kept() []Name {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Name, 0, s.counts[kept])
	for name, c := range s.chunks {
		if c.shelf == kept {
			out = append(out, name)
		}
	}
	return out
}

// Room reports whether chunks of so many bytes in all could be kept, spare bytes
// of the quota being left: under the quota, and on the disk, where carried chunks make way.
// Where the disk does not say what is free, there is none.
func (s *Store) Room(bytes, spare int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bytes[kept]+s.coming[kept]+bytes > s.options.Keep-spare {
		return false
	}
	if s.options.Reserve < 0 {
		return true
	}
	free, err := freeSpace(s.dir)
	return err == nil && bytes <= math.MaxInt64-s.options.Reserve &&
		free+uint64(s.bytes[carried]) >= uint64(s.options.Reserve+bytes)
}

// Usage says how full the store is.
func (s *Store) Usage() Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.usage
	u.Kept, u.Carried, u.KeptBytes, u.CarriedBytes = s.counts[kept], s.counts[carried], s.bytes[kept], s.bytes[carried]
	u.KeepQuota, u.CarryQuota = s.options.Keep, max(s.options.Carry, 0)
	return u
}

// Close makes names durable and ends the store.
func (s *Store) Close() error {
	err := s.Sync()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return err
}
