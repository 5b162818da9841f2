package badgerstore

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/goleak"

	"tocsin/ledger"
)

var ctx = context.Background()

func mustOpen(t testing.TB, dir string, opt Options) *Store {
	t.Helper()
	if opt.Key == [32]byte{} {
		opt.Key = walKey
	}
	s, err := Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustClose(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// count returns how many entries of batchOf's log are held, from seq 1 on
// without a gap.
func count(t testing.TB, s *Store) int {
	t.Helper()
	n := 0
	id := batchOf(0, 0)[0].Log
	err := s.Range(ctx, id, 0, 1<<40, func(seq uint64, v []byte) error {
		n++
		if seq != uint64(n) || !bytes.Equal(v, batchOf(n, len(v))[0].Value) {
			t.Errorf("entry %d where %d should be", seq, n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// other makes batch number n of another log.
func other(n, size int) []ledger.Record {
	b := batchOf(n, size)
	b[0].Log.Incarnation = 99
	return b
}

// TestPowerCut joins own.wal and in.wal on a disk that forgets with a real
// index: every acknowledged batch is there afterwards. It fails if the sync is
// taken out.
func TestPowerCut(t *testing.T) {
	dir, wals := t.TempDir(), newFakeFiles()
	id := other(0, 0)[0].Log
	for round := range 4 {
		s, err := open(dir, Options{Key: walKey}, wals)
		if err != nil {
			t.Fatal(err)
		}
		if n := count(t, s); n != round*10 {
			t.Fatalf("%d own entries after %d power cuts, want %d", n, round, round*10)
		}
		for i := range round * 10 {
			if _, err := s.Get(ctx, ledger.TableEntries, id, uint64(i+1)); err != nil {
				t.Fatalf("entry %d after %d power cuts: %v", i+1, round, err)
			}
		}
		for i := round*10 + 1; i <= round*10+10; i++ {
			if err := s.CommitOwn(ctx, batchOf(i, 200)); err != nil {
				t.Fatal(err)
			}
			if err := s.Commit(ctx, other(i, 50)); err != nil {
				t.Fatal(err)
			}
		}
		wals = wals.crash()
		// What a clean end would do must not help.
		s.opt.Free = func(string) (uint64, error) { return 0, nil }
		mustClose(t, s)
	}
}

func TestInUse(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	if _, err := Open(dir, Options{Key: walKey}); !errors.Is(err, ErrInUse) {
		t.Fatalf("%v, want ErrInUse", err)
	}
	if err := s.CommitOwn(ctx, batchOf(1, 10)); err != nil {
		t.Fatal("the one that has it is disturbed:", err)
	}
	mustClose(t, s)
	mustClose(t, mustOpen(t, dir, Options{}))
}

func TestWrongKey(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	if err := s.CommitOwn(ctx, batchOf(1, 10)); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	if _, err := Open(dir, Options{Key: [32]byte{1}}); !errors.Is(err, errKey) {
		t.Fatalf("%v, want a word about the key", err)
	}
	// Also where only own.wal is left to tell.
	if err := os.RemoveAll(filepath.Join(dir, indexName)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{Key: [32]byte{1}}); !errors.Is(err, errKey) {
		t.Fatalf("own.wal alone: %v, want a word about the key", err)
	}
	if _, err := Open(dir, Options{}); err == nil {
		t.Fatal("opened without a key")
	}
}

func TestUnwritable(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(name, "data"), Options{Key: walKey}); err == nil || !strings.Contains(err.Error(), "data directory") {
		t.Fatalf("%v, want a word about the data directory", err)
	}
}

// tablesIn closes a store that has been filled until it has tables.
func withTables(t *testing.T, dir string) []string {
	t.Helper()
	s := mustOpen(t, dir, Options{})
	for i := 1; i <= 30; i++ {
		if err := s.Commit(ctx, batchOf(i, 50_000)); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, s)
	tables, err := filepath.Glob(filepath.Join(dir, indexName, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	return tables
}

func TestManifestGuard(t *testing.T) {
	dir := t.TempDir()
	tables := withTables(t, dir)
	manifest := filepath.Join(dir, indexName, badger.ManifestFilename)
	kept := filepath.Join(t.TempDir(), "kept")
	if err := os.Rename(manifest, kept); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{Key: walKey}); !errors.Is(err, ledger.ErrDamaged) {
		t.Fatalf("%v, want ErrDamaged", err)
	}
	for _, name := range tables {
		if _, err := os.Stat(name); err != nil {
			t.Fatalf("a table was deleted: %v", err)
		}
	}
	if err := os.Rename(kept, manifest); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, dir, Options{})
	if n := count(t, s); n != 30 {
		t.Fatalf("%d entries after MANIFEST came back, want 30", n)
	}
	mustClose(t, s)
}

// TestIndexRebuilt: Badger is an index; own entries come back from own.wal.
func TestIndexRebuilt(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	for i := 1; i <= 600; i++ {
		if err := s.CommitOwn(ctx, batchOf(i, 1500)); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, s)
	for range 2 {
		if err := os.RemoveAll(filepath.Join(dir, indexName)); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, dir, Options{})
		if n := count(t, s); n != 600 {
			t.Fatalf("%d own entries, want 600", n)
		}
		mustClose(t, s)
	}
}

// TestIndexForgotOwn: the index lost some own records that it had, by whatever
// accident. They come back from own.wal, so that no place is used twice.
func TestIndexForgotOwn(t *testing.T) {
	for _, forget := range []struct {
		table ledger.Table
		seq   uint64
	}{{ledger.TableStates, 0}, {ledger.TableEntries, 0}, {ledger.TableEntries, 7}, {ledger.TableEntries, 19}} {
		var logged bytes.Buffer
		dir := t.TempDir()
		s := mustOpen(t, dir, Options{})
		w, foreign := newWriter("own"), newWriter("foreign")
		if err := w.own(openLogs(t, s), 20); err != nil {
			t.Fatal(err)
		}
		if err := foreign.foreign(openLogs(t, s), 3); err != nil {
			t.Fatal(err)
		}
		if err := s.settle(); err != nil {
			t.Fatal(err)
		}
		k, err := key(forget.table, w.id, forget.seq)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.db.Update(func(txn *badger.Txn) error { return txn.Delete(k) }); err != nil {
			t.Fatal(err)
		}
		mustClose(t, s)
		s = mustOpen(t, dir, Options{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		l := openLogs(t, s)
		rep, err := l.VerifyAll(ctx, nil)
		if err != nil || !rep.OK() || rep.Entries != 23 {
			t.Errorf("table %d seq %d forgotten: %d entries %+v %v", forget.table, forget.seq, rep.Entries, rep.First, err)
		}
		if !strings.Contains(logged.String(), "own.wal") {
			t.Error("nothing was said")
		}
		if err := w.own(l, 1); err != nil {
			t.Error(err)
		}
		mustClose(t, s)
		s = mustOpen(t, dir, Options{})
		if h, _ := openLogs(t, s).Head(w.id); h.Next != 21 {
			t.Errorf("%d own entries in the end, want 21", h.Next)
		}
		mustClose(t, s)
	}
}

// TestOwnFileGone: the opposite is not silently accepted, because seqs and
// generations would be used again.
func TestOwnFileGone(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	for i := 1; i <= 3; i++ {
		if err := s.CommitOwn(ctx, batchOf(i, 100)); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, s) // which brings the index up to date
	if err := os.Remove(filepath.Join(dir, ownWAL.name)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{Key: walKey}); !errors.Is(err, ledger.ErrDamaged) {
		t.Fatalf("%v, want ErrDamaged", err)
	}
}

func TestLowDisk(t *testing.T) {
	free := uint64(1 << 40)
	opt := Options{Key: walKey, MinFree: 100 << 20, Free: func(string) (uint64, error) { return free, nil }}
	dir := t.TempDir()
	s := mustOpen(t, dir, opt)
	if err := s.CommitOwn(ctx, batchOf(1, 10)); err != nil {
		t.Fatal(err)
	}
	free = 99 << 20
	for name, err := range map[string]error{
		"Commit": s.Commit(ctx, other(1, 10)), "CommitOwn": s.CommitOwn(ctx, batchOf(2, 10)),
	} {
		if !errors.Is(err, ledger.ErrReadOnly) || !errors.Is(err, ledger.ErrFull) || !strings.Contains(err.Error(), "free some space") {
			t.Errorf("%s: %v, want ErrReadOnly and ErrFull", name, err)
		}
	}
	if n := count(t, s); n != 1 {
		t.Fatalf("%d entries can be read, want 1", n)
	}
	mustClose(t, s)
	s = mustOpen(t, dir, opt) // to read
	if n := count(t, s); n != 1 {
		t.Fatalf("%d entries can be read, want 1", n)
	}
	free = 1 << 40
	if err := s.CommitOwn(ctx, batchOf(2, 10)); err != nil {
		t.Fatalf("with space again: %v", err)
	}
	mustClose(t, s)
	free = 49 << 20
	if _, err := Open(dir, opt); !errors.Is(err, ledger.ErrFull) {
		t.Fatalf("%v, want ErrFull", err)
	}
	opt.Free = func(string) (uint64, error) { return 0, errors.New("no such disk") }
	if _, err := Open(dir, opt); err == nil || errors.Is(err, ledger.ErrFull) {
		t.Fatalf("%v, want the error of the system", err)
	}
}

func TestFreeSpace(t *testing.T) {
	n, err := freeSpace(t.TempDir())
	if err != nil || n == 0 {
		t.Fatalf("%d bytes free: %v", n, err)
	}
	if _, err := freeSpace(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Fatal("free space of a directory that does not exist")
	}
}

// TestIndexFails: once Badger failed, nothing more is taken, and what was
// acknowledged before is there when it is opened again.
func TestIndexFails(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	if err := s.CommitOwn(ctx, batchOf(1, 10)); err != nil {
		t.Fatal(err)
	}
	const acked = 20
	for i := 1; i <= acked; i++ {
		if err := s.Commit(ctx, other(i, 10)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx, other(acked+1, 10)); !errors.Is(err, ledger.ErrReadOnly) {
		t.Fatalf("%v, want ErrReadOnly", err)
	}
	if err := s.index(); !errors.Is(err, ledger.ErrReadOnly) {
		t.Fatalf("%v, want ErrReadOnly", err)
	}
	if err := s.CommitOwn(ctx, batchOf(2, 10)); !errors.Is(err, ledger.ErrReadOnly) {
		t.Fatalf("%v, want ErrReadOnly", err)
	}
	mustClose(t, s)
	s = mustOpen(t, dir, Options{})
	if n := count(t, s); n != 1 {
		t.Fatalf("%d own entries, want 1", n)
	}
	for i := 1; i <= acked; i++ {
		if _, err := s.Get(ctx, ledger.TableEntries, other(i, 0)[0].Log, uint64(i)); err != nil {
			t.Fatalf("entry %d of %d that were acknowledged: %v", i, acked, err)
		}
	}
	mustClose(t, s)
}

// TestInWALIsEmptied: in.wal does not grow without end, and what was in it is in
// the index, also after a power cut at any moment.
func TestInWALIsEmptied(t *testing.T) {
	dir, wals := t.TempDir(), newFakeFiles()
	s, err := open(dir, Options{Key: walKey}, wals)
	if err != nil {
		t.Fatal(err)
	}
	longest, n := 0, 0
	for resets, before := 0, 0; resets < 2; {
		n++
		if err := s.Commit(ctx, batchOf(n, 30_000)); err != nil {
			t.Fatal(err)
		}
		size := int(s.in.wal.size)
		if size < before {
			resets++
		}
		before, longest = size, max(longest, size)
		if n%40 == 0 {
			wals = wals.crash()
			mustClose(t, s)
			if s, err = open(dir, Options{Key: walKey}, wals); err != nil {
				t.Fatal(err)
			}
			if got := count(t, s); got != n {
				t.Fatalf("%d entries after a power cut, want %d", got, n)
			}
		}
	}
	if longest > 2*inWALSize {
		t.Errorf("in.wal grew to %d bytes", longest)
	}
	mustClose(t, s)
	if end := len(bytes.TrimRight(wals.files[inWAL.name].data, "\x00")); end > walFileHeader {
		t.Errorf("in.wal has %d bytes after a clean close", end)
	}
	s = mustOpen(t, dir, Options{})
	if got := count(t, s); got != n {
		t.Errorf("%d entries in the index alone, want %d", got, n)
	}
	mustClose(t, s)
}

// TestInWALDamaged: the sentence says what to do, and doing it helps.
func TestInWALDamaged(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	for i := 1; i <= 3; i++ {
		if err := s.Commit(ctx, batchOf(i, 100)); err != nil {
			t.Fatal(err)
		}
	}
	killed := cloneDir(t, dir)
	mustClose(t, s)
	name := filepath.Join(killed, inWAL.name)
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[walFileHeader+len(bytes.TrimRight(b[walFileHeader:], "\x00"))/2] ^= 1
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(killed, Options{Key: walKey}); !errors.Is(err, ledger.ErrDamaged) || !strings.Contains(err.Error(), "move the file away") {
		t.Fatalf("%v, want ErrDamaged and what to do", err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	mustClose(t, mustOpen(t, killed, Options{}))
}

func TestNewerFormat(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	if err := s.db.Update(func(txn *badger.Txn) error { return txn.Set(keyFormat, []byte{formatVersion + 1}) }); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	if _, err := Open(dir, Options{Key: walKey}); err == nil || !strings.Contains(err.Error(), "newer tocsin") {
		t.Fatalf("%v, want a word about a newer program", err)
	}
}

// TestUnsafe: with the hook, a kill loses acknowledged own entries; without, it
// does not. A kill is played by copying the files while the store is open.
func TestUnsafe(t *testing.T) {
	for _, unsafe := range []bool{false, true} {
		var logged bytes.Buffer
		dir := t.TempDir()
		s := mustOpen(t, dir, Options{
			Logger: slog.New(slog.NewTextHandler(&logged, nil)),
			Unsafe: Unsafe{LoseOwnEntriesWhenKilled: unsafe},
		})
		for i := 1; i <= 300; i++ {
			if err := s.CommitOwn(ctx, batchOf(i, 10)); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Commit(ctx, other(1, 10)); err != nil {
			t.Fatal(err)
		}
		if n := count(t, s); n != 300 {
			t.Fatalf("unsafe %v: %d own entries while it runs", unsafe, n)
		}
		killed := cloneDir(t, dir)
		mustClose(t, s)
		for after, c := range map[string]struct {
			dir  string
			want int
		}{
			"a kill":        {killed, map[bool]int{false: 300, true: 0}[unsafe]},
			"a clean close": {dir, 300},
		} {
			s = mustOpen(t, c.dir, Options{})
			if n := count(t, s); n != c.want {
				t.Errorf("unsafe %v: %d own entries after %s, want %d", unsafe, n, after, c.want)
			}
			mustClose(t, s)
		}
		if got := strings.Contains(logged.String(), "UNSAFE"); got != unsafe {
			t.Errorf("unsafe %v: warned %v", unsafe, got)
		}
	}
}

// TestFlippedTable changes bytes of Badger's tables: what is read is what was
// written, or there is an error, and VerifyAll says so.
func TestFlippedTable(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	w := newWriter("a")
	if err := w.foreign(openLogs(t, s), 200); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s) // which writes a table
	tables, err := filepath.Glob(filepath.Join(dir, indexName, "*.sst"))
	if err != nil || len(tables) != 1 {
		t.Fatalf("tables %q: %v", tables, err)
	}
	whole, err := os.ReadFile(tables[0])
	if err != nil {
		t.Fatal(err)
	}
	const flips = 25
	noticed := 0
	for i := range flips {
		bad := slices.Clone(whole)
		bad[(2*i+1)*len(bad)/(2*flips)] ^= 4
		if err := os.WriteFile(tables[0], bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if !readsRight(t, dir, w, 200) {
			noticed++
		}
	}
	if noticed < flips/2 {
		t.Fatalf("%d of %d changes were noticed: the test does not reach the data", noticed, flips)
	}
}

// readsRight reports whether n entries can be read; if they cannot, it demands
// that someone says so.
func readsRight(t *testing.T, dir string, w *writer, n uint64) bool {
	t.Helper()
	s, err := Open(dir, Options{Key: walKey})
	if err != nil {
		return false
	}
	defer mustClose(t, s)
	l, err := ledger.Open(ctx, ledger.Config{Store: s, Authors: anyone{}})
	if err != nil {
		return false
	}
	h, _ := l.Head(w.id)
	next, prev := uint64(0), ledger.ID{}
	err = l.Entries(ctx, w.id, 0, n, func(e *ledger.Entry) error {
		if _, bad := ledger.Verify(e.Frame()); bad != nil || e.Header.Prev != prev || e.Header.Seq != next {
			t.Errorf("entry %d was read wrong: %v", next, bad)
		}
		next, prev = next+1, e.ID()
		return nil
	})
	right := err == nil && next == n
	rep, verr := l.VerifyAll(ctx, nil)
	if verr != nil {
		t.Errorf("VerifyAll: %v", verr)
	}
	if h.Next == n && !right && (err == nil || rep.OK()) {
		t.Errorf("%d of %d entries were read, error %v, VerifyAll OK %v", next, n, err, rep.OK())
	}
	return right
}

func TestNothingIsLeftRunning(t *testing.T) {
	before := goleak.IgnoreCurrent()
	s := mustOpen(t, t.TempDir(), Options{})
	if err := s.Commit(ctx, other(1, 10)); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	goleak.VerifyNone(t, before)
}

// TestCloseWaits: Close waits for readers, and a reader that writes meanwhile
// hears that the store is closed.
func TestCloseWaits(t *testing.T) {
	s := mustOpen(t, t.TempDir(), Options{})
	for i := 1; i <= 2; i++ {
		if err := s.Commit(ctx, batchOf(i, 10)); err != nil {
			t.Fatal(err)
		}
	}
	closed := make(chan error, 1)
	started := false
	err := s.Range(ctx, batchOf(0, 0)[0].Log, 0, 9, func(uint64, []byte) error {
		if started {
			return nil
		}
		started = true
		go func() { closed <- s.Close() }()
		for {
			err := s.Commit(ctx, other(1, 10))
			if errors.Is(err, ledger.ErrClosed) {
				return nil
			}
			if err != nil {
				return err
			}
		}
	})
	if err != nil {
		t.Fatalf("the reader: %v", err)
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
}
