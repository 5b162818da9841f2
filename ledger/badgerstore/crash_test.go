package badgerstore

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"tocsin/crypto/identity"
	"tocsin/ledger"
)

// cloneDir copies a data directory while it is in use, as a process that is
// killed leaves it: the index first and the keys of bodies last, the order in
// which they are written the other way round.
func cloneDir(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	for _, name := range []string{indexName, headsWAL.name, ownWAL.name, inWAL.name, goneWAL.name, "own.slots", "in.slots", "own.places", "in.places"} {
		if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) { // it may be on another disk
			copyTree(t, filepath.Join(to, name), filepath.Join(dir, name))
		}
	}
	return to
}

// copyTree copies a file or a directory. Badger's memtables come first: they point into its value
// log, which is written before them.
func copyTree(t testing.TB, to, from string) {
	t.Helper()
	copyThose(t, to, from, func(path string) bool { return filepath.Ext(path) == ".mem" })
	copyThose(t, to, from, func(path string) bool { return filepath.Ext(path) != ".mem" })
}

// copyThose copies the files of a tree that are meant, with all directories.
func copyThose(t testing.TB, to, from string, meant func(path string) bool) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() && !meant(path) {
			return nil
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		return copyFile(filepath.Join(to, rel), path)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// copyFile copies a file and leaves holes where there are zeros: Badger's files
// are mostly that.
func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return errors.Join(err, in.Close())
	}
	buf, zeros := make([]byte, 64<<10), make([]byte, 64<<10)
	var off int64
	for {
		n, err := io.ReadFull(in, buf)
		if n > 0 && !bytes.Equal(buf[:n], zeros[:n]) {
			if _, err := out.WriteAt(buf[:n], off); err != nil {
				return errors.Join(err, in.Close(), out.Close())
			}
		}
		off += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return errors.Join(err, in.Close(), out.Close())
		}
	}
	return errors.Join(out.Truncate(off), in.Close(), out.Close())
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

type anyone struct{}

func (anyone) Known(identity.Key) bool   { return true }
func (anyone) Admit(*ledger.Entry) error { return nil }

func openLogs(t testing.TB, s *Store) *ledger.Logs {
	t.Helper()
	l, err := ledger.Open(ctx, ledger.Config{Store: s, Authors: anyone{}})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func keyOf(name string) (ed25519.PrivateKey, ledger.LogID) {
	seed := sha256.Sum256([]byte(name))
	key := ed25519.NewKeyFromSeed(seed[:])
	return key, ledger.LogID{Author: identity.KeyOf(key)}
}

// writer appends to a log, own or not, and counts what was acknowledged.
type writer struct {
	key   ed25519.PrivateKey
	id    ledger.LogID
	acked atomic.Uint64
}

func newWriter(name string) *writer {
	key, id := keyOf(name)
	return &writer{key: key, id: id}
}

func (w *writer) own(l *ledger.Logs, n int) error {
	g, err := l.Own(ctx, w.id)
	if err != nil {
		return err
	}
	for i := range n {
		p, err := g.Reserve(noon)
		if err != nil {
			return err
		}
		h := p.Header()
		h.Kind = ledger.KindControl
		v, err := ledger.Sign(w.key, h, fmt.Appendf(nil, "own %d", i))
		if err != nil {
			return err
		}
		if err := g.Append(ctx, v); err != nil {
			return err
		}
		w.acked.Add(1)
	}
	return nil
}

func (w *writer) foreign(l *ledger.Logs, n int) error {
	var prev ledger.ID
	for i := range n {
		h := ledger.Header{Seq: uint64(i), Prev: prev, Kind: ledger.KindControl, HLC: 1}
		v, err := ledger.Sign(w.key, h, fmt.Appendf(nil, "foreign %d", i))
		if err != nil {
			return err
		}
		prev = v.Entry().ID()
		if o, err := l.Append(ctx, v, noon); err != nil || o != ledger.Appended {
			return fmt.Errorf("entry %d: %s: %w", i, o, err)
		}
		w.acked.Add(1)
	}
	return nil
}

// TestCrashClone kills a node at random moments while it writes: what was
// acknowledged by then is there, whole, and the own log carries on.
func TestCrashClone(t *testing.T) {
	clones := 8
	if testing.Short() {
		clones = 4
	}
	const entries = 400
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	l := openLogs(t, s)
	me := newWriter("me")
	writers := []*writer{me, newWriter("a"), newWriter("b")}
	done := make(chan error, len(writers))
	go func() { done <- me.own(l, entries) }()
	for _, w := range writers[1:] {
		go func() { done <- w.foreign(l, entries) }()
	}
	rng := rand.New(rand.NewPCG(5, 6))
	for range clones {
		// The next moment is some acknowledgements later.
		until := me.acked.Load() + rng.Uint64N(2*entries/uint64(clones))
		for me.acked.Load() < min(until, entries) {
			if len(done) > 0 {
				break
			}
			runtime.Gosched()
		}
		acked := make([]uint64, len(writers))
		for i, w := range writers {
			acked[i] = w.acked.Load()
		}
		checkClone(t, cloneDir(t, dir), writers, acked)
	}
	for range writers {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, s)
	checkClone(t, dir, writers, []uint64{entries, entries, entries})
}

func checkClone(t *testing.T, dir string, writers []*writer, acked []uint64) {
	t.Helper()
	s := mustOpen(t, dir, Options{})
	defer mustClose(t, s)
	l := openLogs(t, s)
	for i, w := range writers {
		h, _ := l.Head(w.id)
		if h.Next < acked[i] {
			t.Fatalf("log %d: %d entries, and %d were acknowledged", i, h.Next, acked[i])
		}
	}
	rep, err := l.VerifyAll(ctx, nil)
	if err != nil || !rep.OK() {
		t.Fatalf("%+v %v", rep.First, err)
	}
	before, _ := l.Head(writers[0].id)
	if err := (&writer{key: writers[0].key, id: writers[0].id}).own(l, 1); err != nil {
		t.Fatalf("the own log does not carry on: %v", err)
	}
	if after, _ := l.Head(writers[0].id); after.Next != before.Next+1 {
		t.Fatalf("the own log went from %d to %d", before.Next, after.Next)
	}
}
