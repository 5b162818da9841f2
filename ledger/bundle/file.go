package bundle

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
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
	wrote, err := writeTo(f, o, fill)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return wrote.counts, err
	}
	if err := wrote.readBack(f.Name()); err != nil {
		return wrote.counts, fmt.Errorf("bundle: what was written reads back differently, use another stick: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return wrote.counts, fmt.Errorf("bundle: %w", err)
	}
	return wrote.counts, syncDir(filepath.Dir(path))
}

// written is what is known of a file that was written.
type written struct {
	open   *blocks // with its key
	clear  int64   // bytes of its clear part
	size   int64
	counts Counts
}

func writeTo(f *os.File, o Options, fill func(*Writer) error) (written, error) {
	out := newFlusher(f)
	w, err := NewWriter(out, o)
	if err != nil {
		return written{}, errors.Join(err, out.close())
	}
	clear := int64(len(magic) + 1 + nonceSize + 2 + len(o.Recipients)*wrapSize)
	if err := fill(w); err != nil {
		return written{counts: w.counts}, errors.Join(err, out.close())
	}
	counts, err := w.Close()
	err = errors.Join(err, out.close())
	return written{w.seal, clear, out.off, counts}, err
}

// flushSize is how many bytes go to the medium at once.
const flushSize = 1 << 20

// flusher writes to a file in a goroutine of its own, so that sealing and the
// medium work at the same time. It is closed by whoever made it, which waits.
type flusher struct {
	f    *os.File
	buf  []byte
	full chan []byte
	free chan []byte
	done chan struct{}
	off  int64 // that were written; of the goroutine until done
	err  error // likewise
	fail atomic.Bool
}

func newFlusher(f *os.File) *flusher {
	w := &flusher{f: f, buf: make([]byte, 0, flushSize), full: make(chan []byte, 1), free: make(chan []byte, 3), done: make(chan struct{})}
	w.free <- make([]byte, 0, flushSize)
	w.free <- make([]byte, 0, flushSize)
	go w.run()
	return w
}

func (w *flusher) run() {
	defer close(w.done)
	for b := range w.full {
		if w.err == nil {
			n, err := w.f.Write(b)
			if w.err = err; err != nil {
				w.fail.Store(true)
			} else {
				startWriting(w.f, w.off, int64(n))
				w.off += int64(n)
			}
		}
		w.free <- b[:0]
	}
}

// Write implements io.Writer. What fails is said by a later call, or by close.
func (w *flusher) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		if w.fail.Load() {
			return 0, errors.New("bundle: the medium takes no more")
		}
		k := min(len(b), flushSize-len(w.buf))
		w.buf, b = append(w.buf, b[:k]...), b[k:]
		if len(w.buf) == flushSize {
			w.full <- w.buf
			w.buf = <-w.free
		}
	}
	return n, nil
}

// close writes what is left and waits until all is written.
func (w *flusher) close() error {
	w.full <- w.buf
	close(w.full)
	<-w.done
	return w.err
}

// readBack reads what was written from its medium: the clear part must hash, and
// each block open, as it was sealed; the key is still at hand. Two readers share
// the blocks, so that opening does not wait for the medium.
func (w *written) readBack(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := forgetCached(f); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() != w.size {
		return fmt.Errorf("%w: %d bytes in place of %d", ErrCut, info.Size(), w.size)
	}
	clear := make([]byte, w.clear)
	if _, err := f.ReadAt(clear, 0); err != nil {
		return err
	}
	if sha256.Sum256(clear) != w.open.clear {
		return fmt.Errorf("%w: its beginning", ErrDamaged)
	}
	var wg sync.WaitGroup
	var next atomic.Int64
	errs := make([]error, 2)
	for i := range errs {
		wg.Go(func() { errs[i] = w.readPieces(f, &next) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// readPieces reads and opens pieces of 16 blocks until there are no more.
func (w *written) readPieces(f *os.File, next *atomic.Int64) error {
	const sealed, piece = BlockSize + tagSize, 16
	buf, plain := make([]byte, piece*sealed), make([]byte, 0, BlockSize)
	for {
		first := (next.Add(1) - 1) * piece
		at := w.clear + first*sealed
		if at >= w.size {
			return nil
		}
		b := buf[:min(int64(len(buf)), w.size-at)]
		if _, err := f.ReadAt(b, at); err != nil {
			return err
		}
		for i := uint64(first); len(b) > 0; i++ {
			n := min(len(b), sealed)
			last := at+int64(n) == w.size
			var ok bool
			if plain, ok = w.open.openTo(plain[:0], i, last, b[:n]); !ok {
				return fmt.Errorf("%w: block %d", ErrDamaged, i)
			}
			at, b = at+int64(n), b[n:]
		}
	}
}
