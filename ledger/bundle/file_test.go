package bundle

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func TestWriteFileIsWholeOrAbsent(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ward"+Suffix)
	us := newKey(t)
	counts, err := WriteFile(path, options(us), func(w *Writer) error { return w.Put(Header, []byte("one")) })
	check(t, err)
	if counts.Headers != 1 {
		t.Fatalf("%+v", counts)
	}
	before, err := os.ReadFile(path)
	check(t, err)
	broken := errors.New("the log cannot be read")
	if _, err := WriteFile(path, options(us), func(w *Writer) error {
		check(t, w.Put(Header, make([]byte, 60_000)))
		check(t, w.Put(Header, make([]byte, 60_000)))
		return broken
	}); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	after, err := os.ReadFile(path)
	check(t, err)
	if !bytes.Equal(before, after) {
		t.Fatal("the older bundle was lost")
	}
	names, err := os.ReadDir(dir)
	check(t, err)
	if len(names) != 1 {
		t.Fatalf("left behind: %v", names)
	}
	if _, err := WriteFile(filepath.Join(dir, "missing", "x"), options(us), func(*Writer) error { return nil }); err == nil {
		t.Fatal("written into a directory that is not there")
	}
}

// What a lying stick returns is noticed before anybody carries it away.
func TestReadBackNoticesEveryByte(t *testing.T) {
	us := newKey(t)
	path := filepath.Join(t.TempDir(), "x")
	f, err := os.Create(path)
	check(t, err)
	wrote, err := writeTo(f, options(us), func(w *Writer) error {
		for range 40 {
			if err := w.Put(Header, make([]byte, 4000)); err != nil {
				return err
			}
		}
		return nil
	})
	check(t, err)
	check(t, f.Close())
	check(t, wrote.readBack(path))
	file, err := os.ReadFile(path)
	check(t, err)
	for _, at := range everyNth(len(file), 2003) {
		bad := bytes.Clone(file)
		bad[at] ^= 1
		check(t, os.WriteFile(path, bad, 0o600))
		if wrote.readBack(path) == nil {
			t.Fatalf("byte %d changed and not noticed", at)
		}
		check(t, os.WriteFile(path, file[:at], 0o600))
		if wrote.readBack(path) == nil {
			t.Fatalf("cut at %d and not noticed", at)
		}
	}
}

// fileBytes is how much the benchmarks move.
const fileBytes = 64 << 20

func benchmarkRecord() []byte { return make([]byte, 700) }

// BenchmarkPlainCopy is the limit that the others are held against: a copy of
// as many bytes with one sync.
func BenchmarkPlainCopy(b *testing.B) {
	dir := b.TempDir()
	data := make([]byte, fileBytes)
	_, err := io.ReadFull(rand.Reader, data)
	check(b, err)
	src := filepath.Join(dir, "src")
	check(b, os.WriteFile(src, data, 0o600))
	b.SetBytes(fileBytes)
	for b.Loop() {
		in, err := os.Open(src)
		check(b, err)
		out, err := os.Create(filepath.Join(dir, "dst"))
		check(b, err)
		// Not io.Copy between two files, which the system does without moving bytes.
		_, err = io.Copy(struct{ io.Writer }{out}, struct{ io.Reader }{in})
		check(b, err)
		check(b, out.Sync())
		check(b, errors.Join(in.Close(), out.Close()))
	}
}

// BenchmarkExport writes, syncs, renames and reads back.
func BenchmarkExport(b *testing.B) {
	path := filepath.Join(b.TempDir(), "x")
	us, rec := newKey(b), benchmarkRecord()
	b.SetBytes(fileBytes)
	for b.Loop() {
		_, err := WriteFile(path, options(us), func(w *Writer) error {
			for range fileBytes / len(rec) {
				if err := w.Put(Header, rec); err != nil {
					return err
				}
			}
			return nil
		})
		check(b, err)
	}
}

// BenchmarkImport reads a bundle and hands out its records; what the ledger
// does with them is measured there.
func BenchmarkImport(b *testing.B) {
	path := filepath.Join(b.TempDir(), "x")
	us, rec := newKey(b), benchmarkRecord()
	_, err := WriteFile(path, options(us), func(w *Writer) error {
		for range fileBytes / len(rec) {
			if err := w.Put(Header, rec); err != nil {
				return err
			}
		}
		return nil
	})
	check(b, err)
	b.SetBytes(fileBytes)
	for b.Loop() {
		f, err := os.Open(path)
		check(b, err)
		r, err := NewReader(f, us)
		check(b, err)
		if _, err := drainCount(r); !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
		check(b, f.Close())
	}
}

func drainCount(r *Reader) (n int, err error) {
	for {
		if _, err := r.Next(); err != nil {
			return n, err
		}
		n++
	}
}
