package slots

import (
	"io"
	"math/rand/v2"
	"slices"
)

// memFile is a file in memory that knows what is on stable storage and fails
// on demand.
type memFile struct {
	data, stable []byte
	pending      []write // since the last sync
	fail         func(op string) error
	after        func() // every call that changes something
	writes       int
	syncs        int
}

type write struct {
	offset int64
	bytes  []byte
}

func (f *memFile) ReadAt(b []byte, offset int64) (int, error) {
	if offset >= int64(len(f.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.data[offset:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) step(op string) error {
	if f.fail != nil {
		return f.fail(op)
	}
	return nil
}

func (f *memFile) WriteAt(b []byte, offset int64) (int, error) {
	if err := f.step("write"); err != nil {
		return 0, err
	}
	f.writes++
	f.pending = append(f.pending, write{offset, slices.Clone(b)})
	f.data = place(f.data, b, offset)
	if f.after != nil {
		f.after()
	}
	return len(b), nil
}

func (f *memFile) Sync() error {
	if err := f.step("sync"); err != nil {
		f.pending = nil // the kernel drops what it could not write, and forgets
		return err
	}
	f.syncs++
	f.stable, f.pending = slices.Clone(f.data), nil
	if f.after != nil {
		f.after()
	}
	return nil
}

func (f *memFile) Size() (int64, error) { return int64(len(f.data)), nil }

func (f *memFile) Close() error {
	return f.step("close")
}

func place(to, b []byte, offset int64) []byte {
	if end := int(offset) + len(b); end > len(to) {
		to = append(to, make([]byte, end-len(to))...)
	}
	copy(to[offset:], b)
	return to
}

// crashed returns the file as a kill leaves it (cut false) or a power cut,
// which loses any sectors of what was not synced.
func (f *memFile) crashed(r *rand.Rand, cut bool) *memFile {
	if !cut {
		return &memFile{data: slices.Clone(f.data), stable: slices.Clone(f.stable), pending: slices.Clone(f.pending)}
	}
	b := slices.Clone(f.stable)
	for _, w := range f.pending {
		odds := r.IntN(3)
		for at := 0; at < len(w.bytes); {
			end := min((int(w.offset)+at)/512*512+512-int(w.offset), len(w.bytes))
			if odds == 2 || odds == 1 && r.IntN(2) == 0 {
				b = place(b, w.bytes[at:end], w.offset+int64(at))
			}
			at = end
		}
	}
	return &memFile{data: b, stable: slices.Clone(b)}
}
