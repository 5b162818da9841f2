package slots

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
)

func newSlots(t testing.TB) (*Slots, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "slots")
	s, err := Create(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	claim(t, s)
	return s, path
}

func claim(t testing.TB, s *Slots, used ...uint64) {
	t.Helper()
	if err := s.Claim(slices.Values(used)); err != nil {
		t.Fatal(err)
	}
}

func take(t testing.TB, s *Slots) (uint64, [KeySize]byte) {
	t.Helper()
	slot, key, err := s.Take()
	if err != nil {
		t.Fatal(err)
	}
	return slot, key
}

func contents(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestLifecycle(t *testing.T) {
	s, path := newSlots(t)
	keys := map[uint64][KeySize]byte{}
	seen := map[[KeySize]byte]bool{}
	for range 2*blockSlots + 1 { // over two growths
		slot, key := take(t, s)
		if _, twice := keys[slot]; twice || seen[key] {
			t.Fatalf("slot %d or its key was handed out twice", slot)
		}
		keys[slot], seen[key] = key, true
	}
	for slot, key := range keys {
		if got, err := s.Key(slot); err != nil || got != key {
			t.Fatalf("slot %d: %v", slot, err)
		}
	}
	gone, kept := uint64(7), uint64(8)
	if err := s.Erase(gone, 2000, gone); err != nil {
		t.Fatal(err)
	}
	b := contents(t, path)
	if key := keys[gone]; bytes.Contains(b, key[:]) {
		t.Fatal("an erased key is in the file")
	}
	if key := keys[kept]; !bytes.Contains(b, key[:]) {
		t.Fatal("the neighbour's key is not in the file")
	}
	if st := s.Stats(); st.Used != len(keys)-2 || st.Slots != 3*blockSlots || st.Bytes != int64(len(b)) {
		t.Fatalf("%+v of %d bytes", st, len(b))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	r, err := Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.Key(kept); err != nil || got != keys[kept] {
		t.Fatalf("before Claim: %v", err)
	}
	if _, _, err := r.Take(); err == nil {
		t.Fatal("Take before Claim")
	}
	if err := r.Erase(kept); err == nil {
		t.Fatal("Erase before Claim")
	}
	claim(t, r, kept)
	if err := r.Claim(slices.Values([]uint64{kept})); err == nil {
		t.Fatal("a second Claim")
	}
	b = contents(t, path)
	for slot, key := range keys {
		if bytes.Contains(b, key[:]) != (slot == kept) {
			t.Fatalf("slot %d after a Claim of %d alone", slot, kept)
		}
	}
	slot, key := take(t, r)
	if slot == kept || seen[key] {
		t.Fatalf("slot %d again", slot)
	}
	if err := r.Destroy(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("after Destroy: %v", err)
	}
	if _, err := r.Key(kept); !errors.Is(err, fs.ErrClosed) {
		t.Fatalf("Key after Destroy: %v", err)
	}
	if err := r.Destroy(); err != nil {
		t.Fatalf("Destroy again: %v", err)
	}
}

// TestInPlace: the file that erases is the file that was, not a renamed copy.
func TestInPlace(t *testing.T) {
	s, path := newSlots(t)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	slot, _ := take(t, s)
	if err := s.Erase(slot); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(path)
	if err != nil || !os.SameFile(before, after) || before.Size() != after.Size() {
		t.Fatalf("another file: %v", err)
	}
	if runtime.GOOS != "windows" && after.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v", after.Mode())
	}
	if _, err := Create(path, nil); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("Create over a file: %v", err)
	}
}

// TestRelease: what was taken and sealed nothing is handed out again with the
// same key, and a free slot cannot be freed twice.
func TestRelease(t *testing.T) {
	s, _ := newSlots(t)
	slot, key := take(t, s)
	s.Release(slot, slot)
	again, sameKey := take(t, s)
	if again != slot || sameKey != key {
		t.Fatalf("slot %d, want %d", again, slot)
	}
	if next, _ := take(t, s); next == slot {
		t.Fatal("one slot for two")
	}
	if err := s.Erase(MaxSlots); err == nil {
		t.Fatal("a slot that no file has was erased")
	}
}
