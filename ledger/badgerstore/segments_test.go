package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"tocsin/ledger"
)

// openSegmented opens a store whose own.wal is segmented early.
func openSegmented(t testing.TB, dir string, wals *fakeFiles) *Store {
	t.Helper()
	s, err := open(dir, Options{Key: walKey, Ballast: -1}, wals)
	if err != nil {
		t.Fatal(err)
	}
	s.segment = 4000
	return s
}

func segmentNames(wals *fakeFiles) (names []string) {
	for name := range wals.files {
		if strings.HasPrefix(name, "own-") {
			names = append(names, name)
		}
	}
	return names
}

// fillSegments commits n own batches, each of which the index gets at once.
func fillSegments(t testing.TB, s *Store, from, n int) {
	t.Helper()
	for i := from; i < from+n; i++ {
		if err := s.CommitOwn(ctx, batchOf(i, 300)); err != nil {
			t.Fatal(err)
		}
		if err := s.index(); err != nil {
			t.Fatal(err)
		}
		s.own.mu.Lock()
		err := s.follow(&s.own)
		s.own.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestSegments: own.wal stays short, nothing of it is lost through openings, and
// an opening reads only its newest part.
func TestSegments(t *testing.T) {
	dir, wals := t.TempDir(), newFakeFiles()
	for round := range 4 {
		s := openSegmented(t, dir, wals)
		if n := count(t, s); n != round*30 {
			t.Fatalf("%d own entries, want %d", n, round*30)
		}
		fillSegments(t, s, round*30+1, 30)
		if s.own.wal.size > 2*4000 {
			t.Fatalf("own.wal has %d bytes", s.own.wal.size)
		}
		mustClose(t, s)
	}
	if n := len(segmentNames(wals)); n < 5 {
		t.Fatalf("%d segments", n)
	}
	read := 0
	for name, f := range wals.files {
		if strings.HasPrefix(name, "own-") {
			f.reads = &read
		}
	}
	mustClose(t, openSegmented(t, dir, wals))
	if perSegment := walFileHeader + walTagSize; read > 2*perSegment*len(segmentNames(wals)) {
		t.Fatalf("an opening read %d bytes of closed segments", read)
	}
}

// TestSegmentsRebuildTheIndex: all own entries come back from the segments, at
// an opening without index and by Recover.
func TestSegmentsRebuildTheIndex(t *testing.T) {
	dir, wals := t.TempDir(), newFakeFiles()
	s := openSegmented(t, dir, wals)
	fillSegments(t, s, 1, 60)
	id := batchOf(1, 0)[0].Log
	for _, seq := range []uint64{1, 30, 60} {
		k, err := key(ledger.TableEntries, id, seq)
		if err != nil {
			t.Fatal(err)
		}
		txn := s.db.NewTransaction(true)
		if err := errors.Join(txn.Delete(k), txn.Commit()); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.Recover(ctx, id, 1, 61); err != nil || n != 60 {
		t.Fatalf("%d recovered: %v", n, err)
	}
	if n := count(t, s); n != 60 {
		t.Fatalf("%d own entries, want 60", n)
	}
	mustClose(t, s)
	s = openSegmented(t, t.TempDir(), wals) // with an empty index
	if n := count(t, s); n != 60 {
		t.Fatalf("%d own entries come back, want 60", n)
	}
	mustClose(t, s)
}

// TestSegmentDamage: a segment that is missing, cut, exchanged or changed is
// told, at the opening or by the scrub.
func TestSegmentDamage(t *testing.T) {
	build := func() (string, *fakeFiles, []string) {
		dir, wals := t.TempDir(), newFakeFiles()
		s := openSegmented(t, dir, wals)
		fillSegments(t, s, 1, 60)
		mustClose(t, s)
		names := segmentNames(wals)
		if len(names) < 3 {
			t.Fatalf("%d segments", len(names))
		}
		return dir, wals, names
	}
	for name, spoil := range map[string]func(wals *fakeFiles, a, b string){
		"missing":   func(w *fakeFiles, a, _ string) { delete(w.files, a) },
		"cut":       func(w *fakeFiles, a, _ string) { w.files[a].data = w.files[a].data[:len(w.files[a].data)-8] },
		"empty":     func(w *fakeFiles, a, _ string) { w.files[a].data = nil },
		"exchanged": func(w *fakeFiles, a, b string) { w.files[a], w.files[b] = w.files[b], w.files[a] },
		"longer":    func(w *fakeFiles, a, _ string) { w.files[a].data = append(w.files[a].data, 0) },
	} {
		dir, wals, names := build()
		spoil(wals, names[0], names[1])
		if _, err := open(dir, Options{Key: walKey, Ballast: -1}, wals); !errors.Is(err, ledger.ErrDamaged) {
			t.Errorf("%s: %v, want ErrDamaged", name, err)
		}
	}
	dir, wals, names := build()
	f := wals.files[names[0]]
	f.data = bytes.Clone(f.data)
	f.data[len(f.data)/2] ^= 1
	s := openSegmented(t, dir, wals)
	found := false
	for range 50 {
		damage, round, err := s.ScrubFiles(ctx, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		found = found || len(damage) > 0
		if round {
			break
		}
	}
	problem := ""
	for _, f := range s.Health().Files {
		problem += f.Problem
	}
	if !found || !strings.Contains(problem, names[0]) {
		t.Fatalf("a changed byte of %s was not told: %v %q", names[0], found, problem)
	}
	mustClose(t, s)
}

// TestRotateCrash: a power cut at any moment of a change of segments loses
// nothing, and a failed one is told.
func TestRotateCrash(t *testing.T) {
	for fail := range 6 {
		dir, wals := t.TempDir(), newFakeFiles()
		s := openSegmented(t, dir, wals)
		s.segment = 1 << 30
		fillSegments(t, s, 1, 20)
		wals.faults.names = fail + 1
		s.own.mu.Lock()
		err := s.rotate()
		s.own.mu.Unlock()
		wals.faults.names = 0
		if fail < 4 && err == nil {
			t.Fatalf("step %d failed and nobody heard of it", fail)
		}
		index := cloneDir(t, dir)
		for name, after := range map[string]*fakeFiles{"power cut": wals.crash(), "kill": wals.now()} {
			again, err := open(index, Options{Key: walKey, Ballast: -1}, after)
			if err != nil {
				t.Fatalf("step %d, %s: %v", fail, name, err)
			}
			if n := count(t, again); n != 20 {
				t.Fatalf("step %d, %s: %d own entries, want 20", fail, name, n)
			}
			if err := again.CommitOwn(ctx, batchOf(21, 10)); err != nil {
				t.Fatal(fmt.Sprint("step ", fail, ", ", name), err)
			}
			mustClose(t, again)
			index = cloneDir(t, dir)
		}
		if err := s.release(); err != nil {
			t.Log(err)
		}
	}
}
