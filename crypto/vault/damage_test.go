package vault

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
)

// sample returns a closed vault with a few records and what it holds.
func sample(t testing.TB) (*memDisk, map[string]string) {
	d := newMemDisk()
	v := createOn(t, d)
	commit(t, v, "a", "first")
	if err := v.Commit(Change{Key: "b", Value: []byte("second"), Erasable: true}, Change{Key: "c", Value: []byte{}}); err != nil {
		t.Fatal(err)
	}
	if err := v.Commit(Change{Key: "a"}, Change{Key: "d", Value: []byte("fourth")}); err != nil {
		t.Fatal(err)
	}
	want := contents(t, v)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	return d, want
}

// with returns d with one file changed.
func with(d *memDisk, name string, change func([]byte) []byte) *memDisk {
	c := d.clone()
	c.names[name].data = change(slices.Clone(c.names[name].data))
	return c
}

// stride thins out what the race detector makes slow.
func stride() int {
	if testing.Short() {
		return 13
	}
	return 1
}

// inGap reports whether a byte lies between the two copies in a file, where
// a few samples do.
func inGap(name string, i int) bool {
	return name == headName && i >= headSlotSize && i < headSpacing ||
		name == headerName && i >= headerSize && i < headerSpacing
}

// some is n, or fewer of what the race detector makes slow.
func some(n int) int {
	if testing.Short() {
		return (n + 4) / 5
	}
	return n
}

func TestEveryFlippedBit(t *testing.T) {
	d, want := sample(t)
	for name, step := range map[string]int{headerName: 5, journalName: 1, headName: 3} {
		for bit := 0; bit < 8*len(d.names[name].data); bit += step * stride() {
			if inGap(name, bit/8) && bit%64 != 0 {
				continue
			}
			v, err := unlockOn(with(d, name, func(b []byte) []byte {
				b[bit/8] ^= 1 << (bit % 8)
				return b
			}))
			if err == nil && name != journalName {
				// One of two copies, or the gap between them: nothing depends on it.
				equal(t, contents(t, v), want)
				continue
			}
			if err == nil {
				t.Fatalf("%s with bit %d flipped was opened", name, bit)
			}
			if errors.Is(err, ErrPassphrase) {
				t.Fatalf("%s with bit %d flipped is blamed on the passphrase", name, bit)
			}
		}
	}
	if _, err := unlockOn(with(d, headName, func(b []byte) []byte { return make([]byte, len(b)) })); !errors.Is(err, ErrDamaged) {
		t.Fatalf("head of zeros: %v", err)
	}
}

func TestEveryLength(t *testing.T) {
	d, want := sample(t)
	for _, name := range []string{headerName, journalName, headName} {
		for size := 0; size < len(d.names[name].data); size += stride() {
			if inGap(name, size) && size%64 != 0 {
				continue
			}
			v, err := unlockOn(with(d, name, func(b []byte) []byte { return b[:size] }))
			if err == nil && (name == headName || name == headerName && size >= headerSize) {
				equal(t, contents(t, v), want)
				continue
			}
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("%s cut to %d bytes: %v", name, size, err)
			}
		}
	}
	if _, err := unlockOn(with(d, headerName, func(b []byte) []byte { return append(b, 0) })); !errors.Is(err, ErrDamaged) {
		t.Fatalf("header with a byte more: %v", err)
	}
	for _, name := range []string{journalName, headName, slotsName} {
		c := d.clone()
		delete(c.names, name)
		if _, err := unlockOn(c); err == nil {
			t.Fatalf("opened without its %s", name)
		}
	}
}

// records returns the bounds of the records in a journal.
func records(t testing.TB, d *memDisk) []int {
	t.Helper()
	b := d.names[journalName].data
	p, err := parsePreamble(b[:preambleSize])
	if err != nil {
		t.Fatal(err)
	}
	bounds := []int{preambleSize}
	for at := preambleSize; at < len(b); {
		f, ok := parseFrame(b[at:], p.marker)
		if !ok {
			t.Fatal("no frame")
		}
		at += int(f.size())
		bounds = append(bounds, at)
	}
	return bounds
}

// TestRecordsCannotBeMoved cuts, drops, swaps and repeats whole records, each
// of them authentic.
func TestRecordsCannotBeMoved(t *testing.T) {
	d := newMemDisk()
	v := createOn(t, d)
	for i := range 4 {
		commit(t, v, "k", fmt.Sprint(i)) // all of one size
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	at := records(t, d)
	b := d.names[journalName].data
	part := func(i int) []byte { return b[at[i]:at[i+1]] }
	start := b[:at[0]]
	for name, parts := range map[string][][]byte{
		"all cut":       {start},
		"last cut":      {start, part(0), part(1), part(2)},
		"first dropped": {start, part(1), part(2), part(3)},
		"one dropped":   {start, part(0), part(2), part(3)},
		"two swapped":   {start, part(0), part(2), part(1), part(3)},
		"one repeated":  {start, part(0), part(1), part(1), part(3)},
	} {
		_, err := unlockOn(with(d, journalName, func([]byte) []byte { return bytes.Join(parts, nil) }))
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A repeated record behind the last is no record: its number is used.
	if w, err := unlockOn(with(d, journalName, func(b []byte) []byte { return append(b, part(3)...) })); err == nil {
		equal(t, contents(t, w), map[string]string{"k": "3"})
	} else {
		t.Errorf("last repeated: %v", err)
	}
}

// TestOldCopies puts older copies of single files back.
func TestOldCopies(t *testing.T) {
	d := newMemDisk()
	v := createOn(t, d)
	commit(t, v, "k", "1")
	old := d.clone()
	commit(t, v, "k", "2")
	commit(t, v, "k", "3")
	replace := func(name string, from *memDisk) error {
		_, err := unlockOn(with(d, name, func([]byte) []byte { return from.names[name].data }))
		return err
	}
	if err := replace(journalName, old); !errors.Is(err, ErrDamaged) {
		t.Errorf("old journal: %v", err)
	}
	if err := replace(headName, old); err != nil {
		t.Errorf("a head that is behind is what a power cut leaves: %v", err)
	}
	beforeCompaction := d.clone()
	if err := v.Compact(); err != nil {
		t.Fatal(err)
	}
	if err := replace(journalName, beforeCompaction); !errors.Is(err, ErrDamaged) {
		t.Errorf("journal from before a compaction: %v", err)
	}
	if err := replace(headName, beforeCompaction); !errors.Is(err, ErrDamaged) {
		t.Errorf("head from before a compaction: %v", err)
	}
	// Two copies of one vault that went different ways.
	twin := d.clone()
	commit(t, v, "k", "4")
	w, err := unlockOn(twin)
	if err != nil {
		t.Fatal(err)
	}
	commit(t, w, "k", "5")
	commit(t, w, "k", "6")
	for _, name := range []string{journalName, headName} {
		if err := replace(name, twin); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s of a copy that went another way: %v", name, err)
		}
	}
	other, _ := sample(t)
	for _, name := range []string{journalName, headName} {
		if err := replace(name, other); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s of another vault: %v", name, err)
		}
	}
	if err := replace(headerName, other); !errors.Is(err, ErrDamaged) {
		t.Errorf("header of another vault: %v", err)
	}
}

// TestTornOrDamaged separates the two where the head is behind, as after a
// power cut: what may be the torn last append is cut and counted, what has a
// whole record behind it is damage.
func TestTornOrDamaged(t *testing.T) {
	d := newMemDisk()
	v := createOn(t, d)
	commit(t, v, "k", "0")
	early := d.clone()
	for i := 1; i < 4; i++ {
		commit(t, v, fmt.Sprint("k", i), "v")
	}
	want := contents(t, v)
	at := records(t, d)
	d = with(d, headName, func([]byte) []byte { return early.names[headName].data })
	flip := func(i int) *memDisk {
		return with(d, journalName, func(b []byte) []byte {
			b[i] ^= 1
			return b
		})
	}
	for i := at[1]; i < at[3]; i++ {
		if _, err := unlockOn(flip(i)); !errors.Is(err, ErrDamaged) {
			t.Fatalf("byte %d, with whole records behind it: %v", i, err)
		}
	}
	delete(want, "k3")
	for i := at[3]; i < at[4]; i++ {
		w, err := unlockOn(flip(i))
		if err != nil {
			t.Fatalf("byte %d of the last append: %v", i, err)
		}
		if s, err := w.Stats(); err != nil || !s.TornTail {
			t.Fatalf("the torn tail is not counted: %+v, %v", s, err)
		}
		equal(t, contents(t, w), want)
	}
}

// TestDamageUnderRunningVault: bytes that rot after unlocking are refused
// when they are read, and by compaction.
func TestDamageUnderRunningVault(t *testing.T) {
	d := newMemDisk()
	v := createOn(t, d)
	commit(t, v, "k", "value")
	b := d.names[journalName].data
	b[len(b)-1] ^= 1
	if _, _, err := v.Get("k"); !errors.Is(err, ErrDamaged) {
		t.Errorf("Get: %v", err)
	}
	if err := v.Compact(); !errors.Is(err, ErrDamaged) {
		t.Errorf("Compact: %v", err)
	}
	b[len(b)-1] ^= 1
	equal(t, contents(t, v), map[string]string{"k": "value"})
}

func TestHeaderBounds(t *testing.T) {
	d, _ := sample(t)
	h, err := parseHeader(d.names[headerName].data[:headerSize])
	if err != nil {
		t.Fatal(err)
	}
	floor := DefaultParams()
	for name, change := range map[string]func(*header){
		"a tebibyte":              func(h *header) { h.params.MemoryKiB = 1 << 30 },
		"all the memory":          func(h *header) { h.params.MemoryKiB = 1<<32 - 1 },
		"passes for a week":       func(h *header) { h.params.Time = 1 << 31 },
		"no pass":                 func(h *header) { h.params.Time = 0 },
		"no lane":                 func(h *header) { h.params.Threads = 0 },
		"255 lanes":               func(h *header) { h.params.Threads = 255 },
		"below the floor":         func(h *header) { h.flags = 0 },
		"memory below the floor":  func(h *header) { h.params, h.flags = Params{floor.MemoryKiB - 1, 3, 4}, 0 },
		"passes below the floor":  func(h *header) { h.params, h.flags = Params{floor.MemoryKiB, 2, 4}, 0 },
		"said to be weak, is not": func(h *header) { h.params = floor },
		"unknown flag":            func(h *header) { h.flags |= 2 },
	} {
		c := *h
		change(&c)
		if _, err := parseHeader(c.marshal()); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	newer := h.marshal()
	newer[len(headerMagic)]++
	if _, err := parseHeader(newer); err == nil || errors.Is(err, ErrDamaged) {
		t.Errorf("newer format: %v", err)
	}
}

// TestNothingInClear looks for keys, values and passphrase in the files.
func TestNothingInClear(t *testing.T) {
	d := newMemDisk()
	v := createOn(t, d)
	commit(t, v, "canary-key", "canary-value")
	if err := v.Compact(); err != nil {
		t.Fatal(err)
	}
	commit(t, v, "canary-key-2", "canary-value-2")
	for name, n := range d.names {
		for _, word := range []string{"canary", string(testPass)} {
			if bytes.Contains(n.data, []byte(word)) {
				t.Errorf("%s holds %q", name, word)
			}
		}
	}
	if !maps.Equal(contents(t, v), map[string]string{"canary-key": "canary-value", "canary-key-2": "canary-value-2"}) {
		t.Error("contents differ")
	}
}
