package blob

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	if o.Reserve == 0 {
		o.Reserve = -1
	}
	s, err := Open(dir, o)
	check(t, err)
	t.Cleanup(func() { check(t, s.Close()) })
	return s
}

// chunkOf is a chunk of size bytes, another one for every n.
func chunkOf(n, size int) (Name, []byte) {
	data := bytes.Repeat([]byte{byte(n)}, size)
	binary.BigEndian.PutUint32(data, uint32(n))
	return sha256.Sum256(data), data
}

func put(t testing.TB, s *Store, n, size int, keep bool) Name {
	t.Helper()
	name, data := chunkOf(n, size)
	check(t, s.Put(name, data, keep))
	return name
}

func TestPutGetReopen(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	a, b := put(t, s, 1, 100, true), put(t, s, 2, MaxChunk, false)
	check(t, s.Sync())
	// What a crash leaves: a file that was being written, and one that is not ours.
	check(t, os.WriteFile(filepath.Join(dir, unfinished, "half"), []byte("x"), 0o600))
	check(t, os.WriteFile(filepath.Join(dir, "kept", "README"), []byte("x"), 0o600))
	s = open(t, dir, Options{})
	for n, name := range map[int]Name{1: a, 2: b} {
		got, err := s.Get(name)
		check(t, err)
		if sha256.Sum256(got) != name || !s.Has(name) {
			t.Errorf("chunk %d came back as %d bytes", n, len(got))
		}
	}
	if u := s.Usage(); u.Kept != 1 || u.Carried != 1 || u.KeptBytes != 100 || u.CarriedBytes != MaxChunk {
		t.Errorf("usage %+v", u)
	}
	if left, err := os.ReadDir(filepath.Join(dir, unfinished)); err != nil || len(left) != 0 {
		t.Errorf("left half written: %v, %v", left, err)
	}
	if _, err := s.Get(Name{1}); !errors.Is(err, ErrNotFound) {
		t.Errorf("a chunk that is not here: %v", err)
	}
}

func TestPutRefuses(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	name, data := chunkOf(1, 100)
	long := make([]byte, MaxChunk+1)
	for what, err := range map[string]error{
		"other bytes": s.Put(name, append(data, 0), true),
		"nothing":     s.Put(sha256.Sum256(nil), nil, true),
		"too long":    s.Put(sha256.Sum256(long), long, true),
	} {
		if !errors.Is(err, ErrName) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if u := s.Usage(); u.Kept != 0 {
		t.Errorf("%d were kept", u.Kept)
	}
}

func TestDamagedIsDroppedAndFetchedAgain(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	name, data := chunkOf(1, 1000)
	for what, spoil := range map[string]func(path string) error{
		"a flipped bit": func(path string) error {
			bad := bytes.Clone(data)
			bad[500] ^= 1
			return os.WriteFile(path, bad, 0o600)
		},
		"cut off": func(path string) error { return os.Truncate(path, 10) },
		"gone":    os.Remove,
	} {
		check(t, s.Put(name, data, true))
		check(t, spoil(s.path(kept, name)))
		if _, err := s.Get(name); !errors.Is(err, ErrNotFound) || s.Has(name) {
			t.Errorf("%s: %v, still there: %v", what, err, s.Has(name))
		}
		check(t, s.Put(name, data, true))
		if got, err := s.Get(name); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: fetched again: %v", what, err)
		}
		check(t, s.Remove(name))
	}
	if u := s.Usage(); u.Damaged != 3 || u.KeptBytes != 0 {
		t.Errorf("usage %+v", u)
	}
}

func TestCarriedMakeRoom(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{Carry: 300})
	a, b, c := put(t, s, 1, 100, false), put(t, s, 2, 100, false), put(t, s, 3, 100, false)
	_, err := s.Get(a) // used: it stays
	check(t, err)
	d := put(t, s, 4, 100, false)
	for name, want := range map[Name]bool{a: true, b: false, c: true, d: true} {
		if s.Has(name) != want {
			t.Errorf("%x: here %v, want %v", name[:4], !want, want)
		}
	}
	check(t, s.Keep(a, Name{9}))
	put(t, s, 5, 100, false)
	put(t, s, 6, 100, false)
	put(t, s, 7, 100, false)
	if !s.Has(a) {
		t.Error("a chunk that is kept was evicted")
	}
	name, data := chunkOf(8, 301)
	if err := s.Put(name, data, false); !errors.Is(err, ErrFull) {
		t.Errorf("a chunk beyond the whole quota: %v", err)
	}
	s = open(t, dir, Options{Carry: -1})
	if name, data := chunkOf(9, 4); !errors.Is(s.Put(name, data, false), ErrFull) {
		t.Error("a store that carries nothing took a chunk")
	}
}

func TestKeptAreNeverEvicted(t *testing.T) {
	s := open(t, t.TempDir(), Options{Keep: 250, Carry: 1000})
	a, b := put(t, s, 1, 100, true), put(t, s, 2, 100, true)
	name, data := chunkOf(3, 100)
	if err := s.Put(name, data, true); !errors.Is(err, ErrFull) {
		t.Errorf("beyond the quota: %v", err)
	}
	check(t, s.Put(name, data, false))
	if err := s.Keep(name); !errors.Is(err, ErrFull) || !s.Has(name) {
		t.Errorf("a carried one beyond the quota: %v", err)
	}
	if !s.Has(a) || !s.Has(b) || s.Room(51, 0) || !s.Room(50, 0) || s.Room(41, 10) || !s.Room(40, 10) {
		t.Error("kept chunks went, or room is counted wrongly")
	}
}

// TestDiskIsLeftToTheLogs: where the reserve is not free, carried chunks go, and then nothing more is taken.
func TestDiskIsLeftToTheLogs(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	a := put(t, s, 1, 100, false)
	check(t, s.Sync())
	s = open(t, dir, Options{Reserve: math.MaxInt64 / 2})
	name, data := chunkOf(2, 100)
	if s.Room(100, 0) || s.Room(math.MaxInt64-100, 0) {
		t.Error("there is said to be room")
	}
	if err := s.Put(name, data, true); !errors.Is(err, ErrFull) || s.Has(a) || s.Has(name) {
		t.Errorf("%v; carried one here: %v", err, s.Has(a))
	}
	if u := s.Usage(); u.NoSpace != 1 || u.Evicted != 1 {
		t.Errorf("usage %+v", u)
	}
}

// TestAnyOrder holds the store against a map, through reopening.
func TestAnyOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		check(t, err)
		s := open(t, dir, Options{})
		want := make(map[Name]bool) // kept
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			n := rapid.IntRange(1, 4).Draw(rt, "chunk")
			name, data := chunkOf(n, 10*n)
			keep := rapid.Bool().Draw(rt, "keep")
			switch rapid.IntRange(0, 3).Draw(rt, "what") {
			case 0:
				check(t, s.Put(name, data, keep))
				want[name] = want[name] || keep
			case 1:
				check(t, s.Keep(name))
				if _, here := want[name]; here {
					want[name] = true
				}
			case 2:
				check(t, s.Remove(name))
				delete(want, name)
			case 3:
				check(t, s.Close())
				s = open(t, dir, Options{})
			}
		}
		count := 0
		for name, keep := range want {
			if _, err := s.Get(name); err != nil {
				rt.Fatalf("%x: %v", name[:4], err)
			}
			if keep {
				count++
			}
		}
		if u := s.Usage(); u.Kept != count || u.Carried != len(want)-count || len(s.Kept()) != count {
			rt.Fatalf("usage %+v, want %v", u, want)
		}
	})
}

// TestBothShelves: a power cut may leave a moved chunk under both names.
func TestBothShelves(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	name := put(t, s, 1, 100, true)
	_, data := chunkOf(1, 100)
	check(t, os.MkdirAll(filepath.Dir(s.path(carried, name)), 0o700))
	check(t, os.WriteFile(s.path(carried, name), data, 0o600))
	s = open(t, dir, Options{})
	if u := s.Usage(); u.Kept != 1 || u.Carried != 0 {
		t.Errorf("usage %+v", u)
	}
	if _, err := os.Stat(s.path(carried, name)); err == nil {
		t.Error("the second copy is still there")
	}
}

// TestManyAtOnce: while chunks are written at once the quota holds, and one that two write is here once.
func TestManyAtOnce(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{Keep: 2000, Carry: 1000})
	var work sync.WaitGroup
	var full atomic.Int64
	for n := range 40 {
		work.Go(func() {
			name, data := chunkOf(n%30, 100)
			if err := s.Put(name, data, true); errors.Is(err, ErrFull) {
				full.Add(1)
			} else if err != nil || !s.Has(name) {
				t.Errorf("chunk %d: %v", n, err)
			}
			if err := s.Sync(); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	// A chunk that two write at once holds two places meanwhile, so that a few more may be refused.
	if u := s.Usage(); u.KeptBytes > 2000 || u.Kept < 10 || full.Load() == 0 || int(u.KeptBytes) != 100*u.Kept {
		t.Errorf("%d refused, usage %+v", full.Load(), u)
	}
	if s.coming != [2]int64{} || s.files != 0 || len(s.unsure) != 0 {
		t.Errorf("%v bytes in %d files are being written, %d names are unsure", s.coming, s.files, len(s.unsure))
	}
	if left, err := os.ReadDir(filepath.Join(dir, unfinished)); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestWhatIsBeingWrittenCounts: between the counting of a chunk and its place the store is open to others, and its room is taken.
func TestWhatIsBeingWrittenCounts(t *testing.T) {
	s := open(t, t.TempDir(), Options{Keep: 150})
	name, data := chunkOf(1, 100)
	s.mu.Lock()
	c := &chunk{name: name, size: 100, shelf: kept}
	check(t, s.makeRoom(c))
	s.coming[kept] += 100 // as write does before it lets go
	s.mu.Unlock()
	if s.Room(51, 0) || !s.Room(50, 0) || s.Has(name) {
		t.Error("what is being written does not count")
	}
	other, more := chunkOf(2, 100)
	if err := s.Put(other, more, true); !errors.Is(err, ErrFull) {
		t.Errorf("two in one place: %v", err)
	}
	temp, err := s.writeNew(data)
	check(t, err)
	s.mu.Lock()
	s.coming[kept] -= 100
	err = s.place(c, temp)
	s.mu.Unlock()
	check(t, err)
	if _, err := s.Get(name); err != nil {
		t.Error(err)
	}
}
