package slots

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"sync"
	"testing"
)

// small returns a file with three slots in use, and their keys.
func small(t testing.TB) (*memFile, map[uint64][KeySize]byte) {
	t.Helper()
	f := &memFile{}
	s, err := CreateOn(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	claim(t, s)
	keys := map[uint64][KeySize]byte{}
	for range 3 {
		slot, key := take(t, s)
		keys[slot] = key
	}
	return f, keys
}

// TestEveryFlippedBit: a bit that flips in a slot is an error of this slot
// alone, one in a preamble costs nothing while the other is whole.
func TestEveryFlippedBit(t *testing.T) {
	f, keys := small(t)
	flip := func(bit int) *Slots {
		b := slices.Clone(f.data)
		b[bit/8] ^= 1 << (bit % 8)
		s, err := OpenOn(&memFile{data: b, stable: b}, nil)
		if err != nil {
			t.Fatalf("bit %d: %v", bit, err)
		}
		return s
	}
	for bit := 0; bit < 8*preambleSize; bit++ {
		for slot, key := range keys {
			if got, err := flip(bit).Key(slot); err != nil || got != key {
				t.Fatalf("bit %d of the first preamble: %v", bit, err)
			}
		}
	}
	for bit := 0; bit < 8*slotSize; bit++ {
		s := flip(8*int(offset(1)) + bit)
		for slot, key := range keys {
			got, err := s.Key(slot)
			if slot == 1 && (!errors.Is(err, ErrDamaged) || got != [KeySize]byte{}) {
				t.Fatalf("bit %d of the slot: %v", bit, err)
			}
			if slot != 1 && (err != nil || got != key) {
				t.Fatalf("bit %d of its neighbour: %v", bit, err)
			}
		}
	}
	b := slices.Clone(f.data)
	b[20] ^= 1
	b[preambleSpacing+20] ^= 1
	if _, err := OpenOn(&memFile{data: b}, nil); !errors.Is(err, ErrDamaged) {
		t.Fatalf("both preambles: %v", err)
	}
	newer := slices.Clone(f.data)
	newer[len(magic)]++
	newer[preambleSpacing+len(magic)]++
	if _, err := OpenOn(&memFile{data: newer}, nil); err == nil || errors.Is(err, ErrDamaged) {
		t.Fatalf("a newer format: %v", err)
	}
}

// TestMovedSlots: a slot in the place of another, or from another file, is
// damage and not its key.
func TestMovedSlots(t *testing.T) {
	f, _ := small(t)
	other, _ := small(t)
	for name, from := range map[string][]byte{
		"another place": f.data[offset(0):offset(1)],
		"another file":  other.data[offset(1):offset(2)],
		"zeros":         make([]byte, slotSize),
	} {
		b := place(slices.Clone(f.data), from, offset(1))
		s, err := OpenOn(&memFile{data: b}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Key(1); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEveryLength: a file that was cut has the slots that are whole; those
// beyond are damage, and their numbers are not handed out again.
func TestEveryLength(t *testing.T) {
	f, keys := small(t)
	for size := 0; size < int(offset(4)); size += 7 {
		b := slices.Clone(f.data[:size])
		s, err := OpenOn(&memFile{data: b, stable: b}, nil)
		if size < preambleSize {
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("%d bytes: %v", size, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		claim(t, s, 0, 1, 2)
		for slot, key := range keys {
			got, err := s.Key(slot)
			whole := size >= int(offset(slot+1))
			if whole && (err != nil || got != key) || !whole && !errors.Is(err, ErrDamaged) {
				t.Fatalf("%d bytes, slot %d: %v", size, slot, err)
			}
		}
		for range 5 {
			if slot, _ := take(t, s); slot < 3 {
				t.Fatalf("%d bytes: slot %d is in use and was handed out", size, slot)
			}
		}
		if err := s.Erase(0, 1, 2); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDamagedFreeSlot: a slot that rots while it is free is made anew.
func TestDamagedFreeSlot(t *testing.T) {
	f, _ := small(t)
	s, err := OpenOn(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	claim(t, s, 0, 1, 2)
	f.data[offset(3)] ^= 1
	slot, key := take(t, s)
	if slot != 3 {
		t.Fatalf("slot %d", slot)
	}
	if got, err := s.Key(3); err != nil || got != key || !holds(f.stable, key) {
		t.Fatalf("the key that was handed out is not on the disk: %v", err)
	}
}

func TestClaimRefuses(t *testing.T) {
	f, keys := small(t)
	s, err := OpenOn(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	before := slices.Clone(f.data)
	for name, used := range map[string][]uint64{"twice": {1, 2, 1}, "no file has it": {MaxSlots}} {
		if err := s.Claim(slices.Values(used)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		if !bytes.Equal(f.data, before) {
			t.Fatalf("%s: slots were overwritten", name)
		}
	}
	claim(t, s, 0, 1, 2)
	if got, err := s.Key(1); err != nil || got != keys[1] {
		t.Fatal(err)
	}
}

func TestNoRandomness(t *testing.T) {
	for _, n := range []int{0, idSize, idSize + KeySize} {
		if _, err := CreateOn(&memFile{}, bytes.NewReader(make([]byte, n))); err == nil {
			t.Errorf("slots from %d random bytes", n)
		}
	}
	f, keys := small(t)
	s, err := OpenOn(f, bytes.NewReader(nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Claim(slices.Values([]uint64{0})); err == nil {
		t.Error("overwriting without randomness")
	}
	if got, err := s.Key(2); err != nil || got != keys[2] {
		t.Errorf("a key is gone: %v", err)
	}
}

// TestDestroyFinishes: Destroy by path takes whatever a crash left of one.
func TestDestroyFinishes(t *testing.T) {
	s, path := newSlots(t)
	_, key := take(t, s)
	if err := os.WriteFile(path, append(bytes.Repeat([]byte{9}, 5000), contents(t, path)[5000:]...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, nil); !errors.Is(err, ErrDamaged) {
		t.Fatalf("half destroyed: %v", err)
	}
	link := path + ".link" // keeps the bytes in sight after the removal
	if err := os.Link(path, link); err != nil {
		t.Skipf("no hard links here: %v", err)
	}
	for range 2 {
		if err := Destroy(path, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Fatalf("the file is there: %v", err)
	}
	if holds(contents(t, link), key) {
		t.Fatal("the key is there")
	}
}

// TestConcurrent is for the race detector.
func TestConcurrent(t *testing.T) {
	s, _ := newSlots(t)
	var all sync.Map
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 200 {
				slot, key, err := s.Take()
				if err != nil {
					t.Error(err)
					return
				}
				if _, twice := all.LoadOrStore(key, slot); twice {
					t.Error("one key for two")
				}
				if got, err := s.Key(slot); err != nil || got != key {
					t.Error("another key:", err)
				}
				if i%50 == 0 {
					if err := s.Erase(slot); err != nil {
						t.Error(err)
					}
				}
				s.Stats()
			}
		})
	}
	wg.Wait()
}

func FuzzPreamble(f *testing.F) {
	f.Add(fileID{1, 2, 3}.marshal())
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, err := parsePreamble(b)
		if err == nil && !bytes.Equal(id.marshal(), b) {
			t.Fatal("a second encoding")
		}
	})
}

// FuzzFile opens any bytes as a slot file: it is refused or works, and no slot
// yields a key that does not agree with its check.
func FuzzFile(f *testing.F) {
	whole, _ := small(f)
	f.Add(whole.data[:offset(5)], uint64(2))
	f.Add(whole.data[:offset(1)+9], uint64(1))
	f.Add(whole.data[:preambleSpacing], uint64(0))
	f.Fuzz(func(t *testing.T, b []byte, used uint64) {
		s, err := OpenOn(&memFile{data: b, stable: b}, nil)
		if err != nil {
			return
		}
		key, keyErr := s.Key(used)
		if err := s.Claim(slices.Values([]uint64{used})); err != nil {
			if used < MaxSlots {
				t.Fatal(err)
			}
			return
		}
		again, err := s.Key(used)
		if (err == nil) != (keyErr == nil) || again != key {
			t.Fatalf("Claim changed a slot that is in use: %v, %v", keyErr, err)
		}
		if slot, _ := take(t, s); slot == used {
			t.Fatal("a slot that is in use was handed out")
		}
	})
}

func BenchmarkTake(b *testing.B) {
	s, _ := newSlots(b)
	for b.Loop() {
		if _, _, err := s.Take(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkErase erases one slot, which is a write and a sync, and a hundred
// at random places, which are a hundred writes and a sync.
func BenchmarkErase(b *testing.B) {
	for name, n := range map[string]int{"1": 1, "100": 100} {
		b.Run(name, func(b *testing.B) {
			s, _ := newSlots(b)
			var list []uint64
			for i := range 3 * n {
				slot, _ := take(b, s)
				if i%3 == 0 {
					list = append(list, slot)
				}
			}
			for b.Loop() {
				if err := s.Erase(list...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
