package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"tocsin/ledger"
)

// kept is what a store was given, and must give back after whatever happens to
// heads.wal.
type keptRecords map[place]string

// write commits n batches to each journal: an entry with a body, and the state.
// One entry of each journal is erased in the middle.
func (k keptRecords) write(t testing.TB, s *Store, n int) {
	t.Helper()
	for _, own := range []bool{true, false} {
		_, commit := journalOf(s, own)
		_, id := keyOf(fmt.Sprint("own ", own))
		first := uint64(len(k))
		for i := range n {
			seq := first + uint64(i)
			r, gone := withBody(id, seq, fmt.Sprintf("the body of %d", seq))
			state := ledger.Record{Table: ledger.TableStates, Log: id, Value: fmt.Appendf(nil, "state %d", seq)}
			batch := []ledger.Record{r, state}
			k[place{r.Table, id, seq}] = string(r.Value) + string(r.Body)
			if err := commit(batch...); err != nil {
				t.Fatal(err)
			}
			if i == n/2 {
				if err := commit(gone); err != nil {
					t.Fatal(err)
				}
				k[place{r.Table, id, seq}] = string(gone.Value)
			}
			k[place{state.Table, id, 0}] = string(state.Value)
		}
	}
}

// check reads all of it.
func (k keptRecords) check(t testing.TB, s *Store, when string) {
	t.Helper()
	lost := 0
	for at, want := range k {
		if v, err := s.Get(ctx, at.table, at.log, at.seq); err != nil || string(v) != want {
			if lost++; lost == 1 {
				t.Errorf("%s: table %d, seq %d: %q %v, want %q", when, at.table, at.seq, v, err, want)
			}
		}
	}
	if lost > 1 {
		t.Errorf("%s: %d of %d records are not what they were", when, lost, len(k))
	}
}

// opened opens a directory, reads everything, and closes it, or ends without
// what a clean end does.
func (k keptRecords) opened(t testing.TB, dir, when string, kill bool) {
	t.Helper()
	s := mustOpen(t, dir, Options{Ballast: -1})
	if k != nil {
		k.check(t, s, when)
	}
	if kill {
		s.opt.Free = func(string) (uint64, error) { return 0, nil }
	}
	mustClose(t, s)
}

// TestKeysSurviveHeads: whatever happens to heads.wal, and to files beside it,
// no key is destroyed that a record names, at this opening or a later one, and
// nothing goes back to what it was.
func TestKeysSurviveHeads(t *testing.T) {
	base := t.TempDir()
	all := make(keptRecords)
	s := mustOpen(t, base, Options{Ballast: -1})
	all.write(t, s, 20)
	mustClose(t, s)
	older := filepath.Join(t.TempDir(), headsWAL.name)
	copyTree(t, older, filepath.Join(base, headsWAL.name))
	s = mustOpen(t, base, Options{Ballast: -1})
	all.write(t, s, 20)
	killed := cloneDir(t, base)
	mustClose(t, s)
	info, err := os.Stat(filepath.Join(base, headsWAL.name))
	if err != nil {
		t.Fatal(err)
	}
	remove := func(names ...string) func(string) error {
		return func(dir string) error {
			for _, name := range names {
				if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
					return err
				}
			}
			return nil
		}
	}
	cut := func(size int64) func(string) error {
		return func(dir string) error { return os.Truncate(filepath.Join(dir, headsWAL.name), size) }
	}
	harm := map[string]func(string) error{
		"away":             remove(headsWAL.name),
		"header only":      cut(walFileHeader),
		"cut in a record":  cut(info.Size() - 20),
		"cut in the first": cut(walFileHeader + 20),
		"cut in half":      cut(info.Size() / 2),
		"older": func(dir string) error {
			b, err := os.ReadFile(older)
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, headsWAL.name), b, 0o600)
		},
	}
	for _, from := range []string{base, killed} {
		for name, do := range harm {
			for _, kill := range []bool{false, true} {
				if from == killed && !kill {
					continue
				}
				t.Run(fmt.Sprintf("killed %v/%s/killed again %v", from == killed, name, kill), func(t *testing.T) {
					t.Parallel()
					dir := cloneDir(t, from)
					if err := do(dir); err != nil {
						t.Fatal(err)
					}
					all.opened(t, dir, "first opening", kill)
					all.opened(t, dir, "second opening", kill)
				})
			}
		}
		// Others' bodies are lost while these are away, and back when they are.
		for name, away := range map[string][]string{
			"in.wal": {inWAL.name}, "in.wal and heads.wal": {inWAL.name, headsWAL.name},
			"index and heads.wal": {indexName, headsWAL.name}, "all three": {indexName, inWAL.name, headsWAL.name},
		} {
			for _, kill := range []bool{false, true} {
				if from == killed && !kill {
					continue // a clean end moves in.wal into the new index, which is thrown away then
				}
				t.Run(fmt.Sprintf("killed %v/%s for two openings, killed again %v", from == killed, name, kill), func(t *testing.T) {
					t.Parallel()
					dir := cloneDir(t, from)
					if err := remove(away...)(dir); err != nil {
						t.Fatal(err)
					}
					var none keptRecords
					none.opened(t, dir, "", kill)
					none.opened(t, dir, "", kill)
					for _, name := range away {
						if err := remove(name)(dir); err != nil {
							t.Fatal(err)
						}
						copyTree(t, filepath.Join(dir, name), filepath.Join(from, name))
					}
					all.opened(t, dir, "all files back", kill)
					all.opened(t, dir, "and opened again", false)
				})
			}
		}
	}
}

// TestKilledWhileHeadsAreMadeAnew: heads.wal is away, or an older one is put
// back, and the process dies at each step of the opening that follows, also
// while the index is brought up to the wals. Nothing is lost or goes back, also
// if the right heads.wal comes back then.
func TestKilledWhileHeadsAreMadeAnew(t *testing.T) {
	dir, wals := t.TempDir(), newFakeFiles()
	all := make(keptRecords)
	s, err := open(dir, Options{Key: walKey, Ballast: -1}, wals)
	if err != nil {
		t.Fatal(err)
	}
	all.write(t, s, 20)
	_, id := keyOf("a log that is quiet later")
	quiet := func(state string) {
		t.Helper()
		r := ledger.Record{Table: ledger.TableStates, Log: id, Value: []byte(state)}
		all[place{r.Table, id, 0}] = state
		if err := errors.Join(s.CommitOwn(ctx, []ledger.Record{r}), s.index()); err != nil {
			t.Fatal(err)
		}
	}
	quiet("first")
	older := wals.now().files[headsWAL.name]
	all.write(t, s, 20)
	quiet("second")
	all.write(t, s, pendingBatches-10) // an opening indexes others' in the middle
	right := wals.now()
	index := filepath.Join(t.TempDir(), indexName)
	copyTree(t, index, filepath.Join(dir, indexName))
	mustClose(t, s)

	for name, heads := range map[string]*fakeData{"away": nil, "older": older, "right": right.files[headsWAL.name]} {
		for _, putBack := range []bool{false, true} {
			if name == "right" && putBack {
				continue
			}
			t.Run(fmt.Sprintf("%s, put back %v", name, putBack), func(t *testing.T) {
				t.Parallel()
				for step := 1; ; step++ {
					files, dir := right.now(), t.TempDir()
					copyTree(t, filepath.Join(dir, indexName), index)
					delete(files.files, headsWAL.name)
					if heads != nil {
						files.files[headsWAL.name] = &fakeData{data: bytes.Clone(heads.data)}
					}
					files.faults.syncFrom = step
					s, err := open(dir, Options{Key: walKey, Ballast: -1}, files)
					if err == nil {
						mustClose(t, s)
						if step < 5 {
							t.Fatalf("the opening has %d steps: the test sees nothing", step)
						}
						return
					}
					files = files.now()
					if putBack {
						files.files[headsWAL.name] = right.now().files[headsWAL.name]
					}
					for i := range 2 {
						s, err := open(dir, Options{Key: walKey, Ballast: -1}, files)
						if err != nil {
							t.Fatalf("died at sync %d: %v", step, err)
						}
						all.check(t, s, fmt.Sprintf("died at sync %d, opening %d after it", step, i+1))
						mustClose(t, s)
						files = files.now()
					}
				}
			})
		}
	}
}
