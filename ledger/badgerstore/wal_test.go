package badgerstore

import (
	"bytes"
	"crypto/cipher"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"tocsin/crypto/identity"
	"tocsin/ledger"
)

var update = flag.Bool("update", false, "rewrite the files in testdata")

var walKey = [32]byte{7, 7, 7}

func aeadFor(t testing.TB, key [32]byte) cipher.AEAD {
	t.Helper()
	aead, err := newAEAD(key, ownWAL)
	if err != nil {
		t.Fatal(err)
	}
	return aead
}

// batchOf makes batch number n, of size bytes.
func batchOf(n, size int) []ledger.Record {
	return []ledger.Record{{
		Table: ledger.TableEntries,
		Log:   ledger.LogID{Author: identity.Key{1}, Incarnation: 2},
		Seq:   uint64(n),
		Value: bytes.Repeat([]byte{byte(n), 0, 0}, size/3+1)[:size],
	}}
}

// fill writes n batches and returns the directory and the length of the file
// after each, the header first.
func writeWAL(t testing.TB, n int, size func(int) int) (*fakeFiles, []int) {
	t.Helper()
	dir := newFakeFiles()
	w, err := createWAL(dir, ownWAL, aeadFor(t, walKey), mark{})
	if err != nil {
		t.Fatal(err)
	}
	ends := []int{int(w.size)}
	for i := 1; i <= n; i++ {
		payload, err := marshalBatch(batchOf(i, size(i)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.append(payload); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, int(w.size))
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	return dir, ends
}

// readWAL opens the file and returns how many batches it has, after checking
// that they are the ones that were written.
func readWAL(t testing.TB, dir *fakeFiles, from mark) (*wal, int, int64, error) {
	t.Helper()
	n := 0
	w, cut, err := openWAL(dir, ownWAL, aeadFor(t, walKey), from, batches("own.wal", func(m mark, batch []ledger.Record) error {
		n++
		if m.Number != uint64(n) || len(batch) != 1 || batch[0].Seq != uint64(n) ||
			!bytes.Equal(batch[0].Value, batchOf(n, len(batch[0].Value))[0].Value) {
			t.Errorf("batch %d is not what was written", n)
		}
		return nil
	}))
	return w, n, cut, err
}

func small(int) int { return 100 }

func TestWALReadsBack(t *testing.T) {
	dir, _ := writeWAL(t, 20, func(i int) int { return i * i * 50 })
	w, n, cut, err := readWAL(t, dir, mark{})
	if err != nil || n != 20 || cut != 0 {
		t.Fatalf("%d batches, %d bytes cut: %v", n, cut, err)
	}
	// It carries on where it ended, and the index may have any part of it.
	middle := w.last
	payload, err := marshalBatch(batchOf(21, 10))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.append(payload); err != nil {
		t.Fatal(err)
	}
	if _, n, _, err := readWAL(t, dir, middle); err != nil || n != 21 {
		t.Fatalf("%d batches: %v", n, err)
	}
}

// TestWALSync is the test of goal 1: what was acknowledged survives a power
// cut. It fails if append does not sync.
func TestWALSync(t *testing.T) {
	dir := newFakeFiles()
	w, err := createWAL(dir, ownWAL, aeadFor(t, walKey), mark{})
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= 5; i++ {
		payload, err := marshalBatch(batchOf(i, 100))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.append(payload); err != nil {
			t.Fatal(err)
		}
		if _, n, _, err := readWAL(t, dir.crash(), mark{}); err != nil || n != i {
			t.Fatalf("%d of %d acknowledged batches survive a power cut: %v", n, i, err)
		}
	}
}

// TestWALCreateCrash: a power cut right after the creation leaves a whole file.
func TestWALCreateCrash(t *testing.T) {
	dir := newFakeFiles()
	if _, err := createWAL(dir, ownWAL, aeadFor(t, walKey), mark{}); err != nil {
		t.Fatal(err)
	}
	if _, ok := dir.crash().files[ownWAL.name]; !ok {
		t.Fatal("own.wal is gone after a power cut: its name was not synced")
	}
	if _, _, _, err := readWAL(t, dir.crash(), mark{}); err != nil {
		t.Fatal(err)
	}
}

// TestWALTornTail cuts the file at every byte of the last record: everything
// before it is kept, and writing goes on.
func TestWALTornTail(t *testing.T) {
	dir, ends := writeWAL(t, 3, func(i int) int { return 700 })
	whole := dir.wal()
	for cut := ends[2] + 1; cut < ends[3]; cut++ {
		d := with(whole[:cut])
		w, n, gone, err := readWAL(t, d, mark{})
		if err != nil || n != 2 || gone != int64(cut-ends[2]) {
			t.Fatalf("cut to %d: %d batches, %d bytes cut: %v", cut, n, gone, err)
		}
		payload, err := marshalBatch(batchOf(3, 40))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.append(payload); err != nil {
			t.Fatal(err)
		}
		if _, n, _, err := readWAL(t, d.crash(), mark{}); err != nil || n != 3 {
			t.Fatalf("cut to %d and written on: %d batches: %v", cut, n, err)
		}
	}
}

// TestWALUnwrittenSectors: the file has its full length, but a sector of the
// last record never reached the disk.
func TestWALUnwrittenSectors(t *testing.T) {
	dir, ends := writeWAL(t, 3, func(i int) int { return 2100 + 13*i })
	whole := dir.wal()
	for start := ends[2] - ends[2]%sector; start < ends[3]; start += sector {
		d := with(whole)
		data := d.files[ownWAL.name].data
		clear(data[max(start, ends[2]):min(start+sector, ends[3])])
		_, n, gone, err := readWAL(t, d, mark{})
		if err != nil || n != 2 || gone != int64(ends[3]-ends[2]) {
			t.Fatalf("sector at %d: %d batches, %d bytes cut: %v", start, n, gone, err)
		}
	}
	// All of it, and more than the record: a file that only grew.
	d := with(append(whole[:ends[2]:ends[2]], make([]byte, 5000)...))
	if _, n, _, err := readWAL(t, d, mark{}); err != nil || n != 2 {
		t.Fatalf("zeros: %d batches: %v", n, err)
	}
}

// TestWALDamage changes every byte of the file: nothing that was acknowledged
// is ever cut off, least of all the last record.
func TestWALDamage(t *testing.T) {
	dir, _ := writeWAL(t, 3, small)
	whole := dir.wal()
	for i := range whole {
		for _, bit := range []byte{1, 0x80} {
			d := with(whole)
			d.files[ownWAL.name].data[i] ^= bit
			if _, n, cut, err := readWAL(t, d, mark{}); err == nil {
				t.Fatalf("byte %d changed: %d batches, %d bytes cut, no error", i, n, cut)
			}
			if len(d.wal()) != len(whole) {
				t.Fatalf("byte %d changed: the file was cut", i)
			}
		}
	}
}

// TestWALZeroedSectors: zeros in the middle are damage, because what follows was
// acknowledged later.
func TestWALZeroedSectors(t *testing.T) {
	dir, ends := writeWAL(t, 4, func(int) int { return 1500 })
	whole := dir.wal()
	for start := 0; start < ends[3]; start += sector {
		d := with(whole)
		clear(d.files[ownWAL.name].data[start:min(start+sector, ends[3])])
		if _, n, cut, err := readWAL(t, d, mark{}); err == nil {
			t.Fatalf("sector at %d zeroed: %d batches, %d bytes cut, no error", start, n, cut)
		}
	}
}

// TestWALZeroedHead: the beginning of a record in the middle is zeros up to the
// next sector, as if it had never been written; what follows says otherwise.
func TestWALZeroedHead(t *testing.T) {
	dir, ends := writeWAL(t, 4, func(int) int { return 1500 })
	whole := dir.wal()
	for _, start := range ends[:3] {
		d := with(whole)
		clear(d.files[ownWAL.name].data[start : start+sector-start%sector])
		if _, n, cut, err := readWAL(t, d, mark{}); !errors.Is(err, ledger.ErrDamaged) {
			t.Fatalf("record at %d: %d batches, %d bytes cut, %v", start, n, cut, err)
		}
	}
}

// TestWALShuffled: records cannot be left out, exchanged or brought back.
func TestWALShuffled(t *testing.T) {
	dir, ends := writeWAL(t, 4, small)
	whole := dir.wal()
	rec := func(i int) []byte { return whole[ends[i-1]:ends[i]] }
	head := whole[:ends[0]]
	other, _ := writeWAL(t, 4, small)
	for name, parts := range map[string][][]byte{
		"left out":       {head, rec(1), rec(3), rec(4)},
		"first left out": {head, rec(2), rec(3), rec(4)},
		"exchanged":      {head, rec(1), rec(3), rec(2), rec(4)},
		"twice":          {head, rec(1), rec(2), rec(2), rec(3), rec(4)},
		"other file":     {head, rec(1), rec(2), other.wal()[ends[2]:]},
		"other header":   {other.wal()[:ends[0]], rec(1), rec(2)},
	} {
		if _, n, _, err := readWAL(t, with(bytes.Join(parts, nil)), mark{}); !errors.Is(err, ledger.ErrDamaged) {
			t.Errorf("%s: %d batches, %v", name, n, err)
		}
	}
}

// TestWALBehindTheIndex: the index has seen more of the file than there is.
func TestWALBehindTheIndex(t *testing.T) {
	dir, ends := writeWAL(t, 4, small)
	w, _, _, err := readWAL(t, dir, mark{})
	if err != nil {
		t.Fatal(err)
	}
	whole, seen := dir.wal(), w.last
	for _, end := range append(ends[:4:4], ends[3]+5, 10, 0) {
		if _, n, _, err := readWAL(t, with(whole[:end]), seen); !errors.Is(err, ledger.ErrDamaged) {
			t.Errorf("cut to %d: %d batches, %v", end, n, err)
		}
	}
	if _, _, _, err := readWAL(t, newFakeFiles(), seen); !errors.Is(err, ledger.ErrDamaged) || !strings.Contains(err.Error(), "missing") {
		t.Errorf("without the file: %v", err)
	}
	other, _ := writeWAL(t, 5, small)
	if _, _, _, err := readWAL(t, other, seen); !errors.Is(err, ledger.ErrDamaged) {
		t.Errorf("another file: %v", err)
	}
	branch := seen
	branch.Tag[0] ^= 1
	if _, _, _, err := readWAL(t, dir, branch); !errors.Is(err, ledger.ErrDamaged) {
		t.Errorf("another record of that number: %v", err)
	}
	if _, _, _, err := readWAL(t, dir, seen); err != nil {
		t.Errorf("the right one: %v", err)
	}
}

func TestWALWrongKey(t *testing.T) {
	dir, _ := writeWAL(t, 2, small)
	_, _, err := openWAL(dir, ownWAL, aeadFor(t, [32]byte{9}), mark{}, nil)
	if !errors.Is(err, errKey) {
		t.Fatalf("%v, want a word about the key", err)
	}
}

// TestWALDiskFull: a write that fails half way changes nothing, and when there
// is space again writing goes on.
func TestWALDiskFull(t *testing.T) {
	dir, _ := writeWAL(t, 2, small)
	w, _, _, err := readWAL(t, dir, mark{})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := marshalBatch(batchOf(3, 100))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []int{0, 1, 20, 100} {
		dir.faults.write, dir.faults.writePart = syscall.ENOSPC, part
		if _, err := w.append(payload); !errors.Is(err, ledger.ErrFull) || !errors.Is(err, ledger.ErrReadOnly) {
			t.Fatalf("%v, want ErrFull and ErrReadOnly", err)
		}
		if _, n, _, err := readWAL(t, with(dir.wal()), mark{}); err != nil || n != 2 {
			t.Fatalf("%d batches: %v", n, err)
		}
	}
	dir.faults.write = nil
	if _, err := w.append(payload); err != nil {
		t.Fatal(err)
	}
	if _, n, cut, err := readWAL(t, dir.crash(), mark{}); err != nil || n != 3 || cut != 0 {
		t.Fatalf("%d batches, %d bytes cut: %v", n, cut, err)
	}
}

// TestWALSyncFails: after a sync that failed nobody knows what is on the disk,
// and a later one that succeeds proves nothing.
func TestWALSyncFails(t *testing.T) {
	broken := errors.New("disk broke")
	for name, break_ := range map[string]func(*faults){
		"sync":     func(f *faults) { f.sync = broken },
		"truncate": func(f *faults) { f.write, f.truncate = broken, broken },
	} {
		dir, _ := writeWAL(t, 2, small)
		w, _, _, err := readWAL(t, dir, mark{})
		if err != nil {
			t.Fatal(err)
		}
		payload, err := marshalBatch(batchOf(3, 100))
		if err != nil {
			t.Fatal(err)
		}
		break_(dir.faults)
		if _, err := w.append(payload); !errors.Is(err, ledger.ErrReadOnly) || !errors.Is(err, broken) {
			t.Fatalf("%s: %v, want ErrReadOnly", name, err)
		}
		*dir.faults = faults{}
		if _, err := w.append(payload); !errors.Is(err, ledger.ErrReadOnly) {
			t.Fatalf("%s: later: %v, want ErrReadOnly until it is opened again", name, err)
		}
		if _, n, _, err := readWAL(t, dir.crash(), mark{}); err != nil || n != 2 {
			t.Fatalf("%s: %d batches: %v", name, n, err)
		}
		// Started again without a power cut, the system may still show the pages.
		if _, n, _, err := readWAL(t, dir, mark{}); err != nil || n != 2 {
			t.Fatalf("%s: %d batches when started again: %v", name, n, err)
		}
	}
}

// TestWALKilledBeforeSync: a process was killed after it wrote batch 3 and
// before it synced; the next one reads it from the system's memory. From the
// moment it is read, it has to survive a power cut, and so has the file's name.
func TestWALKilledBeforeSync(t *testing.T) {
	dir, ends := writeWAL(t, 3, small)
	f := dir.files[ownWAL.name]
	f.synced = f.synced[:ends[2]]
	f.touch(0, int64(len(f.data)))
	clear(dir.durable)
	_, _, err := openWAL(dir, ownWAL, aeadFor(t, walKey), mark{}, func(m mark, _ []byte) error {
		if after := dir.crash().files[ownWAL.name]; after == nil || len(after.data) < ends[m.Number] {
			t.Errorf("batch %d was read and a power cut would lose it", m.Number)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, n, _, err := readWAL(t, dir.crash(), mark{}); err != nil || n != 3 {
		t.Fatalf("%d batches after the power cut, want 3: %v", n, err)
	}

	broken := errors.New("disk broke")
	dir.faults.sync = broken
	if _, n, _, err := readWAL(t, dir, mark{}); !errors.Is(err, broken) || n != 0 {
		t.Fatalf("%d batches were read from a file that could not be synced: %v", n, err)
	}
}

func TestWALTooLong(t *testing.T) {
	w, err := createWAL(newFakeFiles(), ownWAL, aeadFor(t, walKey), mark{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.append(make([]byte, maxWALPayload+1)); err == nil {
		t.Fatal("a batch that could not be read back was written")
	}
	if _, err := w.append(make([]byte, 0)); err != nil {
		t.Fatal(err)
	}
}

// TestWALGolden: the file in testdata is read for ever.
func TestWALGolden(t *testing.T) {
	const name = "testdata/own.wal"
	size := func(i int) int { return 40 * i }
	if *update {
		dir, _ := writeWAL(t, 3, size)
		if err := os.WriteFile(name, dir.wal(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, n, cut, err := readWAL(t, with(golden), mark{}); err != nil || n != 3 || cut != 0 {
		t.Fatalf("%d batches, %d bytes cut: %v", n, cut, err)
	}
}

// FuzzWALRecord: what is read of a batch is written back as the same bytes.
func FuzzWALRecord(f *testing.F) {
	for i := range 4 {
		b, err := marshalBatch(append(batchOf(i, i*20), ledger.Record{Table: ledger.TableStates, Value: []byte{1}}))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		batch, err := parseBatch(b)
		if err != nil {
			return
		}
		again, err := marshalBatch(batch)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("read %x, wrote %x: %v", b, again, err)
		}
	})
}

// FuzzWALFile overwrites and cuts a file at random: it either does not open, or
// gives the first of the batches that were written, and no others.
func FuzzWALFile(f *testing.F) {
	dir, ends := writeWAL(f, 4, func(i int) int { return 150 * i })
	whole := dir.wal()
	f.Add(uint16(ends[1]), []byte{0}, uint16(0))
	f.Add(uint16(ends[3]), make([]byte, 600), uint16(0))
	f.Add(uint16(0), []byte{}, uint16(77))
	f.Add(uint16(len(whole)), []byte("more"), uint16(0))
	f.Fuzz(func(t *testing.T, at uint16, over []byte, cut uint16) {
		b := bytes.Clone(whole)
		i := min(int(at), len(b))
		b = append(append(b[:i:i], over...), b[min(i+len(over), len(b)):]...)
		b = b[:max(0, len(b)-int(cut))]
		d := with(b)
		w, n, _, err := readWAL(t, d, mark{})
		if err != nil {
			if !errors.Is(err, ledger.ErrDamaged) && !errors.Is(err, errKey) {
				t.Fatal(err)
			}
			return
		}
		if got := d.wal(); n > 4 || !bytes.Equal(got, whole[:ends[n]]) || w.size != int64(ends[n]) {
			t.Fatalf("%d batches of a changed file", n)
		}
	})
}

func FuzzMark(f *testing.F) {
	f.Add(mark{Number: 5}.marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMark(b)
		if err == nil && !bytes.Equal(m.marshal(), b) {
			t.Fatalf("read %x, wrote %x", b, m.marshal())
		}
	})
}

func TestPad(t *testing.T) {
	for n := range 40 {
		payload := bytes.Repeat([]byte{9}, n)
		b := pad(payload)
		if (walHeadSize+len(b)+walSealExtra)%walAlign != 0 {
			t.Errorf("%d bytes: padded to %d", n, len(b))
		}
		if got, err := unpad(b); err != nil || !bytes.Equal(got, payload) {
			t.Errorf("%d bytes: %x %v", n, got, err)
		}
	}
	for _, bad := range [][]byte{nil, {0, 0}, {0, 0, 1}, {0, 0, 0, 1}, make([]byte, 3+walAlign)} {
		if _, err := unpad(bad); err == nil {
			t.Errorf("%x was unpadded", bad)
		}
	}
	if (walFileHeader)%walAlign != 0 {
		t.Error(fmt.Sprint("the file's header has ", walFileHeader, " bytes"))
	}
}
