package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"tocsin/ledger"
)

// chainOf signs n entries of a log, whose bodies are found again on a disk.
func chainOf(t testing.TB, w *writer, n int) []ledger.Verified {
	t.Helper()
	var chain []ledger.Verified
	var prev ledger.ID
	for i := range n {
		v, err := ledger.Sign(w.key, ledger.Header{Seq: uint64(i), Prev: prev, Kind: ledger.KindControl, HLC: 1}, fmt.Appendf(nil, "the body of entry %d", i))
		if err != nil {
			t.Fatal(err)
		}
		prev, chain = v.Entry().ID(), append(chain, v)
	}
	return chain
}

// erasedLogs fills a store with a log of 8 entries of which 3 and 7 had a body
// that was erased, and 5 was erased before its body ever came.
func erasedLogs(t testing.TB, s *Store, w *writer) (chain []ledger.Verified) {
	t.Helper()
	l := openLogs(t, s)
	chain = chainOf(t, w, 8)
	for i, v := range chain {
		if i == 5 {
			h, err := ledger.VerifySigned(v.Entry().SignedHeader())
			if err != nil {
				t.Fatal(err)
			}
			v = h
		}
		if o, err := l.Append(ctx, v, noon); err != nil || o != ledger.Appended {
			t.Fatal(o, err)
		}
	}
	if n, err := l.Erase(ctx, w.id, 3, 5, 7); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	return chain
}

// TestErasedStaysErased: whatever file or record of the index is lost after an
// erasure, at run time or between two openings, a peer that brings the whole
// entry again does not bring the body back.
func TestErasedStaysErased(t *testing.T) {
	remove := func(t *testing.T, dir string, names ...string) {
		t.Helper()
		for _, name := range names {
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	forget := func(t *testing.T, s *Store, w *writer) {
		t.Helper()
		err := s.db.Update(func(txn *badger.Txn) error {
			for seq := range uint64(8) {
				k, err := key(ledger.TableEntries, w.id, seq)
				if err = errors.Join(err, txn.Delete(k)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, lose := range map[string]func(*testing.T, *Store, string, *writer) *Store{
		"records, at run time": func(t *testing.T, s *Store, _ string, w *writer) *Store {
			if err := s.settle(); err != nil {
				t.Fatal(err)
			}
			forget(t, s, w)
			return s
		},
		"records, at run time after an opening": func(t *testing.T, s *Store, dir string, w *writer) *Store {
			mustClose(t, s)
			s = mustOpen(t, dir, Options{Ballast: -1})
			forget(t, s, w)
			return s
		},
		"index": func(t *testing.T, s *Store, dir string, _ *writer) *Store {
			mustClose(t, s)
			remove(t, dir, indexName)
			return mustOpen(t, dir, Options{Ballast: -1})
		},
		"heads.wal, later the index": func(t *testing.T, s *Store, dir string, _ *writer) *Store {
			mustClose(t, s)
			remove(t, dir, headsWAL.name)
			mustClose(t, mustOpen(t, dir, Options{Ballast: -1}))
			remove(t, dir, indexName)
			return mustOpen(t, dir, Options{Ballast: -1})
		},
		"heads.wal, later records": func(t *testing.T, s *Store, dir string, w *writer) *Store {
			mustClose(t, s)
			remove(t, dir, headsWAL.name)
			s = mustOpen(t, dir, Options{Ballast: -1})
			forget(t, s, w)
			return s
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, w := t.TempDir(), newWriter("a")
			s := mustOpen(t, dir, Options{Ballast: -1})
			chain := erasedLogs(t, s, w)
			s = lose(t, s, dir, w)
			for i := range 2 {
				l := openLogs(t, s)
				if _, err := l.Scrub(ctx, 1000); err != nil {
					t.Fatal(err)
				}
				if lost := l.Health().LostEntries; i == 0 && lost < 5 {
					t.Fatalf("%d entries are lost: the test sees nothing", lost)
				}
				for i := len(chain) - 1; i >= 0; i-- {
					if _, err := l.Append(ctx, chain[i], noon); err != nil {
						t.Fatal(err)
					}
				}
				if lost := l.Lost(); len(lost) != 0 {
					t.Fatalf("still lost: %v", lost)
				}
				for _, v := range chain {
					e, err := l.Entry(ctx, w.id, v.Entry().Header.Seq)
					if err != nil {
						t.Fatal(err)
					}
					seq := e.Header.Seq
					erased := seq == 3 || seq == 5 || seq == 7
					if e.Erased != erased || !erased && !bytes.Equal(e.Body, v.Entry().Body) {
						t.Errorf("opening %d, entry %d: erased %v, body %q", i+1, seq, e.Erased, e.Body)
					}
				}
				mustClose(t, s)
				s = mustOpen(t, dir, Options{Ballast: -1})
			}
			mustClose(t, s)
		})
	}
}

// watched is a directory that says when a file is written.
type watched struct {
	*fakeFiles
	wrote func(name string)
}

func (d *watched) Open(name string) (file, error) {
	f, err := d.fakeFiles.Open(name)
	if err != nil {
		return nil, err
	}
	return &watchedFile{f, name, d}, nil
}

type watchedFile struct {
	file
	name string
	dir  *watched
}

func (f *watchedFile) WriteAt(p []byte, off int64) (int, error) {
	f.dir.wrote(f.name)
	return f.file.WriteAt(p, off)
}

// TestKeyGoesLast: while the key of an erased body is overwritten, readers are
// shown the new record already, which is durable, and the index takes nothing,
// so that the record is still read from the wal if the process dies now.
func TestKeyGoesLast(t *testing.T) {
	for _, own := range []bool{true, false} {
		_, id := keyOf("a")
		r, gone := withBody(id, 1, "a body")
		var s *Store
		watching, seen := false, 0
		dir := &watched{newFakeFiles(), func(name string) {
			if !watching || name != "own.slots" && name != "in.slots" {
				return
			}
			seen++
			raw, err := s.raw(r.Table, id, 1)
			if err != nil {
				t.Error(err)
			}
			if st, err := parseStored(raw); err != nil || st.slot != nil {
				t.Errorf("own %v: the key is overwritten and a reader is sent to it: %+v %v", own, st, err)
			}
			if s.indexMu.TryLock() {
				s.indexMu.Unlock()
				t.Errorf("own %v: the index may take the record before its key is overwritten", own)
			}
		}}
		s, err := open(t.TempDir(), Options{Key: walKey, Ballast: -1}, dir)
		if err != nil {
			t.Fatal(err)
		}
		_, commit := journalOf(s, own)
		if err := commit(r); err != nil {
			t.Fatal(err)
		}
		stale, err := s.raw(r.Table, id, 1)
		if err != nil {
			t.Fatal(err)
		}
		watching = true
		if err := commit(gone); err != nil {
			t.Fatal(err)
		}
		watching = false
		if seen == 0 {
			t.Fatal("no key was overwritten: the test sees nothing")
		}
		// A reader that was in between has the old record and finds no key.
		if v, err := s.openStored(id, 1, stale); err != nil || string(v) != "erased" {
			t.Errorf("own %v: a reader in between got %q %v", own, v, err)
		}
		mustClose(t, s)
	}
}
