package slots

import (
	"bytes"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
)

// owner is what somebody keeps who uses slots: durable records that name them.
type owner struct {
	records map[uint64][KeySize]byte
	erased  [][KeySize]byte // acknowledged
	doubted [][KeySize]byte // erasure begun
}

func holds(b []byte, key [KeySize]byte) bool { return bytes.Contains(b, key[:]) }

// keysIn returns what a file holds where keys lie.
func keysIn(b []byte) map[[KeySize]byte]bool {
	keys := make(map[[KeySize]byte]bool, len(b)/slotSize)
	for at := slotsAt; at+KeySize <= len(b); at += slotSize {
		keys[[KeySize]byte(b[at:])] = true
	}
	return keys
}

// TestCrashEverywhere stops the machine after every write and sync of a life
// with growth, taking and erasing: at reopening, everything that a record names
// has its key, nothing that was erased does, and what was taken for no record
// is overwritten.
func TestCrashEverywhere(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	f := &memFile{}
	o := &owner{records: map[uint64][KeySize]byte{}}
	made, points := false, 0
	f.after = func() {
		if !made {
			return // Create is repeated from nothing
		}
		if len(f.pending) > 0 && r.IntN(6) > 0 || testing.Short() && r.IntN(3) > 0 {
			return // one of six between syncs
		}
		points++
		checkCrash(t, o, f.crashed(r, false))
		for range 3 {
			checkCrash(t, o, f.crashed(r, true))
		}
	}
	s, err := CreateOn(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	made = true
	claim(t, s)
	for round := range 20 {
		var taken []uint64
		n := 1 + r.IntN(150)
		if round == 3 {
			n = blockSlots // over a growth
		}
		for range n {
			slot, key := take(t, s)
			if r.IntN(4) > 0 { // the others are of records that a crash or an error kept away
				o.records[slot] = key
			} else {
				o.doubted = append(o.doubted, key)
			}
			taken = append(taken, slot)
		}
		gone := []uint64{taken[0], taken[len(taken)/2]}
		for slot := range o.records {
			if r.IntN(6) == 0 {
				gone = append(gone, slot)
			}
		}
		before := len(o.doubted)
		for _, slot := range gone {
			if key, ok := o.records[slot]; ok {
				o.doubted = append(o.doubted, key)
				delete(o.records, slot) // the owner's record comes first
			}
		}
		if err := s.Erase(gone...); err != nil {
			t.Fatal(err)
		}
		o.erased = append(o.erased, o.doubted[before:]...)
		if round == 10 {
			if s, err = OpenOn(f, nil); err != nil {
				t.Fatal(err)
			}
			claim(t, s, slices.Collect(maps.Keys(o.records))...)
		}
	}
	if points < 20 || len(o.erased) < 100 || s.Stats().Slots == blockSlots {
		t.Fatalf("%d crash points, %d erased, %+v", points, len(o.erased), s.Stats())
	}
}

func checkCrash(t *testing.T, o *owner, c *memFile) {
	t.Helper()
	there := keysIn(c.stable)
	for _, key := range o.erased {
		if there[key] {
			t.Fatal("a key whose erasure was acknowledged is on the disk")
		}
	}
	s, err := OpenOn(c, nil)
	if err != nil {
		t.Fatalf("after a crash: %v", err)
	}
	claim(t, s, slices.Collect(maps.Keys(o.records))...)
	for slot, key := range o.records {
		if got, err := s.Key(slot); err != nil || got != key {
			t.Fatalf("after a crash slot %d has lost its key: %v", slot, err)
		}
	}
	there = keysIn(c.stable)
	for _, key := range o.doubted {
		if there[key] {
			t.Fatal("after Claim a key that no record names is on the disk")
		}
	}
	if slot, _ := take(t, s); o.records[slot] != [KeySize]byte{} {
		t.Fatal("a slot that is in use was handed out")
	}
}

// TestFaultEverywhere fails every call in turn: what failed is not handed out
// or stays in use, and succeeds when it is tried again.
func TestFaultEverywhere(t *testing.T) {
	for n := 0; ; n++ {
		f := &memFile{}
		s, err := CreateOn(f, nil)
		if err != nil {
			t.Fatal(err)
		}
		calls := 0
		f.fail = func(string) error {
			calls++
			if calls == n+1 {
				return syscall.EIO
			}
			return nil
		}
		again := func(what string, do func() error) {
			t.Helper()
			err := do()
			if err != nil && !errors.Is(err, syscall.EIO) {
				t.Fatalf("%s: %v", what, err)
			}
			if err != nil {
				if err = do(); err != nil {
					t.Fatalf("%s, tried again: %v", what, err)
				}
			}
		}
		again("Claim", func() error { return s.Claim(slices.Values([]uint64{1})) })
		keys := map[uint64][KeySize]byte{}
		for range blockSlots + 5 {
			again("Take", func() error {
				slot, key, err := s.Take()
				if _, twice := keys[slot]; twice && err == nil {
					t.Fatalf("slot %d twice", slot)
				}
				if err == nil {
					keys[slot] = key
				}
				return err
			})
		}
		gone := keys[7]
		again("Erase", func() error {
			err := s.Erase(7, 9, 1100)
			if err != nil && s.Stats().Used != len(keys)+1 {
				t.Fatal("an erasure that failed freed slots")
			}
			return err
		})
		if holds(f.stable, gone) {
			t.Fatal("an erased key is on the disk")
		}
		if got, err := s.Key(8); err != nil || got != keys[8] {
			t.Fatalf("the neighbour: %v", err)
		}
		again("Destroy", s.Destroy)
		there := keysIn(f.stable)
		for _, key := range keys {
			if there[key] {
				t.Fatal("a key is on the disk after Destroy")
			}
		}
		if calls <= n {
			if n < 8 {
				t.Fatalf("only %d calls", n)
			}
			return
		}
	}
}
