package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"tocsin/crypto/slots"
	"tocsin/ledger"
)

// dropFromIndex takes one entry out of Badger, as damage does.
func dropFromIndex(t testing.TB, s *Store, r ledger.Record) {
	t.Helper()
	k, err := key(r.Table, r.Log, r.Seq)
	if err == nil {
		err = s.db.Update(func(txn *badger.Txn) error { return txn.Delete(k) })
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestFormerKeysGo: the index loses an entry, or comes back as it was before the
// body came; the entry comes again under another key; when it is erased both keys
// go, also across openings, a lost list, and where it is erased while it is lost.
func TestFormerKeysGo(t *testing.T) {
	for _, own := range []bool{false, true} {
		for _, how := range []string{"restored", "lost", "opened between", "list lost", "killed before the index had it"} {
			t.Run(fmt.Sprintf("own %v, %s", own, how), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				s := mustOpen(t, dir, Options{Ballast: -1})
				defer func() { mustClose(t, s) }()
				_, id := keyOf("log")
				var keys [][slots.KeySize]byte
				put := func(body string, fresh bool) ledger.Record {
					_, commit := journalOf(s, own)
					r, _ := withBody(id, 4, body)
					r.Fresh = fresh
					if err := commit(r); err != nil {
						t.Fatal(err)
					}
					if body != "" {
						_, k := slotOf(t, s, r)
						keys = append(keys, k)
					}
					return r
				}
				reopen := func() {
					mustClose(t, s)
					s = mustOpen(t, dir, Options{Ballast: -1})
				}
				r := put("the body", true)
				if how == "killed before the index had it" {
					killed := cloneDir(t, dir)
					mustClose(t, s)
					dir, s = killed, mustOpen(t, killed, Options{Ballast: -1})
				}
				if err := s.settle(); err != nil {
					t.Fatal(err)
				}
				dropFromIndex(t, s, r)
				if how != "lost" {
					put("the body", false)
				}
				switch how {
				case "opened between":
					reopen()
				case "list lost":
					mustClose(t, s)
					if err := os.Remove(filepath.Join(dir, "own.places")); err != nil {
						t.Fatal(err)
					}
					s = mustOpen(t, dir, Options{Ballast: -1})
				}
				put("", false)
				for _, name := range []string{"own.slots", "in.slots"} {
					b, err := os.ReadFile(filepath.Join(dir, name))
					if err != nil {
						t.Fatal(err)
					}
					for i, k := range keys {
						lostList := how == "list lost" && own && i == 0 // nothing says any more what it was for
						if bytes.Contains(b, k[:]) && !lostList {
							t.Errorf("key %d of %d of the erased body is in %s", i+1, len(keys), name)
						}
					}
				}
			})
		}
	}
}

// TestListedAnew: a slot that was freed and taken for another entry belongs to
// that one: erasing the first entry again does not touch it.
func TestListedAnew(t *testing.T) {
	s := mustOpen(t, t.TempDir(), Options{Ballast: -1})
	defer mustClose(t, s)
	_, id := keyOf("log")
	commit := func(seq uint64, body string) ledger.Record {
		r, _ := withBody(id, seq, body)
		if err := s.Commit(ctx, []ledger.Record{r}); err != nil {
			t.Fatal(err)
		}
		return r
	}
	first, _ := slotOf(t, s, commit(1, "one"))
	commit(1, "")
	var other ledger.Record
	for seq := uint64(2); ; seq++ {
		other = commit(seq, "another")
		if slot, _ := slotOf(t, s, other); slot == first {
			break
		}
		if seq > 5000 {
			t.Fatal("the freed slot is never taken again: the test sees nothing")
		}
	}
	commit(1, "")
	if v, err := s.Get(ctx, other.Table, other.Log, other.Seq); err != nil || !bytes.HasSuffix(v, []byte("another")) {
		t.Fatalf("%q %v", v, err)
	}
}

// TestInWALCutAnywhere: whatever is cut off in.wal, also whole records, is told.
func TestInWALCutAnywhere(t *testing.T) {
	dir, wals := t.TempDir(), newFakeFiles()
	s, err := open(dir, Options{Key: walKey, Ballast: -1}, wals)
	if err != nil {
		t.Fatal(err)
	}
	var ends []int64
	for i := range 4 {
		if err := s.Commit(ctx, other(i+1, 700)); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, s.in.wal.size)
	}
	killed, index := wals.now(), filepath.Join(t.TempDir(), indexName)
	copyTree(t, index, filepath.Join(dir, indexName))
	mustClose(t, s)
	for _, at := range append(ends, walFileHeader, ends[0]+8, ends[2]-1, ends[3]+4096, inWALRoom-1) {
		dir, files := t.TempDir(), killed.now()
		copyTree(t, filepath.Join(dir, indexName), index)
		files.files[inWAL.name].data = files.files[inWAL.name].data[:at]
		if s, err := open(dir, Options{Key: walKey, Ballast: -1}, files); err == nil {
			mustClose(t, s)
			t.Errorf("cut at %d of %v: nothing is said", at, ends)
		} else if !errors.Is(err, ledger.ErrDamaged) {
			t.Errorf("cut at %d: %v", at, err)
		}
	}
}

// TestInWALMakesRoom: batches that the file has no room for beside each other
// empty it first.
func TestInWALMakesRoom(t *testing.T) {
	s := mustOpen(t, t.TempDir(), Options{Ballast: -1})
	defer mustClose(t, s)
	const size = ledger.MaxBatchBytes - 1000
	for i := 1; i <= 9; i++ {
		if err := s.Commit(ctx, batchOf(i, size)); err != nil {
			t.Fatalf("batch %d: %v", i, err)
		}
		if s.in.wal.size > inWALRoom {
			t.Fatalf("in.wal holds %d bytes", s.in.wal.size)
		}
	}
	if n := count(t, s); n != 9 {
		t.Fatalf("%d of 9 batches", n)
	}
}

// TestErasuresOutliveHeadsAndIndex: heads.wal is gone and the index cannot be
// read where it says what was erased. That is known all the same.
func TestErasuresOutliveHeadsAndIndex(t *testing.T) {
	for _, away := range [][]string{{headsWAL.name}, {headsWAL.name, indexName}, {goneWAL.name, indexName}, {goneWAL.name}} {
		t.Run(fmt.Sprint(away), func(t *testing.T) {
			t.Parallel()
			dir, w := t.TempDir(), newWriter("a")
			s := mustOpen(t, dir, Options{Ballast: -1})
			erasedLogs(t, s, w)
			mustClose(t, s)
			s = mustOpen(t, dir, Options{Ballast: -1})
			for _, seq := range []uint64{3, 5, 7} { // the index forgets that they ever were
				rec, _ := withBody(w.id, seq, "")
				dropFromIndex(t, s, rec)
			}
			mustClose(t, s)
			for _, name := range away {
				if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
			for opening := range 2 {
				s = mustOpen(t, dir, Options{Ballast: -1})
				for _, seq := range []uint64{3, 5, 7} {
					if !s.WasErased(w.id, seq) {
						t.Errorf("opening %d: entry %d may come back", opening+1, seq)
					}
				}
				if s.WasErased(w.id, 4) {
					t.Errorf("opening %d: an entry that was not erased may not come back", opening+1)
				}
				mustClose(t, s)
			}
		})
	}
}
