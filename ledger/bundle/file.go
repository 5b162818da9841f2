package bundle

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// WriteFile writes a bundle to path so that whoever finds the name finds a
// whole bundle: to a temporary name beside it, synced, renamed, and then read
// back from the medium and checked to the last block, because sticks lie. fill
// writes the records. A file that was at path is replaced. Errors leave no file
// behind but the older one.
func WriteFile(path string, o Options, fill func(*Writer) error) (Counts, error) {
	dir, name := filepath.Split(path)
	f, err := os.CreateTemp(dir, "."+name+".*.partial")
	if err != nil {
		return Counts{}, fmt.Errorf("bundle: %w", err)
	}
	defer os.Remove(f.Name()) // fails once renamed, which is what we want
	key, clear, counts, err := writeTo(f, o, fill)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return counts, err
	}
	if err := verifyFile(f.Name(), key, clear, counts); err != nil {
		return counts, fmt.Errorf("bundle: what was written reads back differently, use another stick: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return counts, fmt.Errorf("bundle: %w", err)
	}
	return counts, syncDir(filepath.Dir(path))
}

func writeTo(f *os.File, o Options, fill func(*Writer) error) (key []byte, clear [32]byte, counts Counts, err error) {
	buf := bufio.NewWriterSize(f, 1<<20)
	w, err := NewWriter(buf, o)
	if err != nil {
		return nil, clear, counts, err
	}
	if err := fill(w); err != nil {
		return nil, clear, w.counts, err
	}
	if counts, err = w.Close(); err != nil {
		return nil, clear, counts, err
	}
	return w.key, w.seal.clear, counts, buf.Flush()
}

// verifyFile reads a bundle whose file key we still hold from its medium.
func verifyFile(path string, key []byte, clear [32]byte, want Counts) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := forgetCached(f); err != nil {
		return err
	}
	br := bufio.NewReaderSize(f, 1<<20)
	if err := skipClear(br, clear); err != nil {
		return err
	}
	r, err := newReader(br, key, clear)
	if err != nil {
		return err
	}
	for {
		if _, err := r.Next(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
	}
	if got := r.Report().Read; got != want {
		return fmt.Errorf("%w: %d headers and %d bodies in place of %d and %d", ErrDamaged, got.Headers, got.Bodies, want.Headers, want.Bodies)
	}
	return nil
}

// skipClear reads the clear part and compares it with what was written.
func skipClear(r *bufio.Reader, want [32]byte) error {
	head := make([]byte, len(magic)+1+nonceSize+2)
	if _, err := io.ReadFull(r, head); err != nil {
		return err
	}
	n := int(head[len(head)-2])<<8 | int(head[len(head)-1])
	if n > MaxRecipients {
		return ErrDamaged
	}
	rest := make([]byte, n*wrapSize)
	if _, err := io.ReadFull(r, rest); err != nil {
		return err
	}
	if got := sha256.Sum256(bytes.Join([][]byte{head, rest}, nil)); got != want {
		return fmt.Errorf("%w: its beginning", ErrDamaged)
	}
	return nil
}
