package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"tocsin/ledger"
)

// acked is what was acknowledged of some logs, own and others', and is now held
// against what a damaged directory gives.
type acked struct {
	own     ledger.LogID
	ownLost atomic.Int64 // own entries that had to come back from others
	entries map[ledger.LogID][]ledger.Verified
	erased  map[ledger.LogID]uint64
}

// newAcked fills a store: an own log, others' logs, an erased body in each.
func newAcked(t testing.TB, s *Store, n int) *acked {
	t.Helper()
	l := openLogs(t, s)
	me := newWriter("me")
	a := &acked{own: me.id, entries: make(map[ledger.LogID][]ledger.Verified), erased: make(map[ledger.LogID]uint64)}
	g, err := l.Own(ctx, me.id)
	if err != nil {
		t.Fatal(err)
	}
	others := []*writer{newWriter("a"), newWriter("b")}
	for i := range n {
		p, err := g.Reserve(noon)
		if err != nil {
			t.Fatal(err)
		}
		h := p.Header()
		h.Kind = ledger.KindControl
		v, err := ledger.Sign(me.key, h, fmt.Appendf(nil, "own body %d", i))
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Append(ctx, v); err != nil {
			t.Fatal(err)
		}
		a.entries[me.id] = append(a.entries[me.id], v)
		for _, w := range others {
			chain := a.entries[w.id]
			h := ledger.Header{Seq: uint64(i), Kind: ledger.KindControl, HLC: 1}
			if i > 0 {
				h.Prev = chain[i-1].Entry().ID()
			}
			v, err := ledger.Sign(w.key, h, fmt.Appendf(nil, "body %d of another", i))
			if err != nil {
				t.Fatal(err)
			}
			if o, err := l.Append(ctx, v, noon); err != nil || o != ledger.Appended {
				t.Fatal(o, err)
			}
			a.entries[w.id] = append(chain, v)
		}
		if i%20 == 19 {
			if err := s.index(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for id := range a.entries {
		a.erased[id] = uint64(n / 2)
		if _, err := l.Erase(ctx, id, a.erased[id]); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// check opens logs on a store and holds them against what was acknowledged:
// whatever cannot be read is told, own entries are all there, and what others
// bring again heals the rest. It returns how many entries were lost.
func (a *acked) check(s *Store) (lost int, err error) {
	l, err := ledger.Open(ctx, ledger.Config{Store: s, Authors: anyone{}})
	if err != nil {
		return 0, err
	}
	if _, err := l.Own(ctx, a.own); err != nil {
		return 0, err
	}
	for rounds := 0; rounds < 2; {
		rep, err := l.Scrub(ctx, 1000)
		if err != nil {
			return 0, err
		}
		if rep.Round {
			rounds++
		}
	}
	for id, chain := range a.entries {
		if h, _ := l.Head(id); h.Next != uint64(len(chain)) || h.ID != chain[len(chain)-1].Entry().ID() {
			return 0, fmt.Errorf("HIDDEN: log %s has %d entries, %d were acknowledged", id, h.Next, len(chain))
		}
	}
	told := make(map[ledger.LogID]map[uint64]bool)
	for _, w := range l.Lost() {
		for seq := w.From; seq < w.To; seq++ {
			if told[w.Log] == nil {
				told[w.Log] = make(map[uint64]bool)
			}
			told[w.Log][seq] = true
			lost++
		}
	}
	for id, chain := range a.entries {
		for _, v := range chain {
			if told[id][v.Entry().Header.Seq] {
				if id == a.own {
					a.ownLost.Add(1)
				}
				continue
			}
			if err := a.same(l, v); err != nil {
				return 0, err
			}
		}
	}
	return lost, a.heal(l, told)
}

// same reads one entry.
func (a *acked) same(l *ledger.Logs, v ledger.Verified) error {
	h := v.Entry().Header
	e, err := l.Entry(ctx, h.Log(), h.Seq)
	if err != nil {
		return fmt.Errorf("HIDDEN: entry %d of log %s was not told to be lost: %w", h.Seq, h.Log(), err)
	}
	if e.ID() != v.Entry().ID() || e.Erased != (a.erased[h.Log()] == h.Seq && h.Seq > 0) || !e.Erased && !bytes.Equal(e.Body, v.Entry().Body) {
		return fmt.Errorf("HIDDEN: entry %d of log %s is another one now", h.Seq, h.Log())
	}
	return nil
}

// heal brings what was lost again, as a synchronisation does.
func (a *acked) heal(l *ledger.Logs, told map[ledger.LogID]map[uint64]bool) error {
	for id, seqs := range told {
		for seq := range seqs {
			if _, err := l.Append(ctx, a.entries[id][seq], noon); err != nil {
				return err
			}
		}
	}
	if left := l.Lost(); len(left) > 0 {
		return fmt.Errorf("not healed: %v", left)
	}
	rep, err := l.VerifyAll(ctx, nil)
	if err == nil && !rep.OK() {
		err = fmt.Errorf("after healing: %v", rep.First)
	}
	return err
}

// flips is how many bytes of each file are changed, one at a time.
func flips() int {
	if n, err := strconv.Atoi(os.Getenv("TOCSIN_FLIPS")); err == nil && n > 0 {
		return n
	}
	return 3
}

// TestFlippedByteEverywhere changes one byte in every region of every file, of a
// store that was closed and of one that was killed. The store then either does
// not open and says so, or everything that was acknowledged is there, or told to
// be lost, and can be brought again.
func TestFlippedByteEverywhere(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{Ballast: -1})
	a := newAcked(t, s, 50)
	killed := cloneDir(t, dir)
	mustClose(t, s)
	for name, from := range map[string]string{"closed": dir, "killed": killed} {
		for _, file := range regularFiles(t, from) {
			t.Run(name+"/"+file, func(t *testing.T) {
				flipFile(t, a, from, file)
			})
		}
	}
}

// regularFiles lists the files of a directory that say anything.
func regularFiles(t testing.TB, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err == nil && d.Name() != "lock" && d.Name() != "LOCK" {
			names = append(names, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func flipFile(t *testing.T, a *acked, from, name string) {
	whole, err := os.ReadFile(filepath.Join(from, name))
	if err != nil {
		t.Fatal(err)
	}
	end := len(bytes.TrimRight(whole, "\x00")) // Badger's files are mostly zeros behind this
	rng := rand.New(rand.NewPCG(7, uint64(len(whole))))
	n := flips()
	for i := range min(n, end) {
		at := i*end/n + rng.IntN(max(end/n, 1))
		dir := t.TempDir()
		copyTree(t, dir, from)
		changed := bytes.Clone(whole)
		changed[at] ^= 1 << rng.IntN(8)
		overwrite(t, filepath.Join(dir, name), int64(at), changed[at:at+1])
		tellDamage(t, a, dir, fmt.Sprintf("%s, byte %d of %d", name, at, len(whole)))
	}
}

// overwrite writes bytes into a file, in place.
func overwrite(t *testing.T, name string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(b, at)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// tellDamage opens a damaged directory and fails the test if anything is hidden.
func tellDamage(t *testing.T, a *acked, dir, what string) {
	t.Helper()
	s, err := Open(dir, Options{Key: walKey, Ballast: -1})
	if err != nil {
		t.Logf("%s: told at opening: %v", what, err)
		return
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Logf("%s: told at closing: %v", what, err)
		}
	}()
	before := a.ownLost.Load()
	lost, err := a.check(s)
	switch {
	case err != nil:
		t.Errorf("%s: %v", what, err)
	case a.ownLost.Load() > before && !strings.Contains(what, "own.slots"):
		t.Errorf("%s: own entries were not repaired from own.wal", what)
	default:
		t.Logf("%s: %d lost and brought again; notes %q", what, lost, s.Health().Notes)
	}
}

// TestMissingAndShortFiles takes files away and cuts them.
func TestMissingAndShortFiles(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{Ballast: -1})
	a := newAcked(t, s, 30)
	mustClose(t, s)
	for _, file := range regularFiles(t, dir) {
		for _, part := range []int{0, 1, 2} {
			t.Run(fmt.Sprint(file, "/", part), func(t *testing.T) {
				to := t.TempDir()
				copyTree(t, to, dir)
				name := filepath.Join(to, file)
				info, err := os.Stat(name)
				if err == nil && part == 0 {
					err = os.Remove(name)
				} else if err == nil {
					err = os.Truncate(name, info.Size()*int64(part)/3)
				}
				if err != nil {
					t.Fatal(err)
				}
				tellDamage(t, a, to, file)
			})
		}
	}
}

// TestIndexMovedAway does what the messages about a damaged index say: own
// entries and the heads are there again, others' entries come back, and what
// was erased stays so.
func TestIndexMovedAway(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{Ballast: -1})
	a := newAcked(t, s, 30)
	mustClose(t, s)
	if err := os.RemoveAll(filepath.Join(dir, indexName)); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, dir, Options{Ballast: -1})
	lost, err := a.check(s)
	if err != nil || lost != 2*(30-1) || a.ownLost.Load() != 0 {
		t.Fatalf("%d lost, want the others' 58 that were not erased: %v", lost, err)
	}
	mustClose(t, s)
}

// TestHeadsMadeAnew: heads.wal is made from an index that the wals were just
// brought into, and has everything: an index that is lost later comes back from it.
func TestHeadsMadeAnew(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{Ballast: -1})
	state := func(log, n int) ledger.Record {
		_, id := keyOf(fmt.Sprint(log))
		return ledger.Record{Table: ledger.TableStates, Log: id, Value: fmt.Appendf(nil, "state %d", n)}
	}
	for i := range pendingBatches + 20 {
		if err := s.Commit(ctx, []ledger.Record{state(i%3, i)}); err != nil {
			t.Fatal(err)
		}
	}
	killed := cloneDir(t, dir)
	mustClose(t, s)
	if err := os.Remove(filepath.Join(killed, headsWAL.name)); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, killed, Options{Ballast: -1})
	if len(s.Health().Notes) != 1 {
		t.Fatalf("notes %q", s.Health().Notes)
	}
	mustClose(t, s)
	if err := os.RemoveAll(filepath.Join(killed, indexName)); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, killed, Options{Ballast: -1})
	for log := range 3 {
		want := state(log, pendingBatches+20-3+(log+3-(pendingBatches+20)%3)%3)
		if v, err := s.Get(ctx, want.Table, want.Log, 0); err != nil || !bytes.Equal(v, want.Value) {
			t.Errorf("log %d: %q %v, want %q", log, v, err, want.Value)
		}
	}
	if len(s.Suspects()) != 3 {
		t.Errorf("suspects %v", s.Suspects())
	}
	mustClose(t, s)
}

// TestIndexLosesTransactions: Badger comes back as it was some transactions ago,
// as it does when a byte of its newest file is wrong. The copy of the heads says
// so; own entries are there again, others' are told to be lost, and come back.
func TestIndexLosesTransactions(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{Ballast: -1})
	newAcked(t, s, 10)
	mustClose(t, s)
	older := filepath.Join(t.TempDir(), "index")
	copyTree(t, older, filepath.Join(dir, indexName))
	s = mustOpen(t, dir, Options{Ballast: -1})
	l := openLogs(t, s)
	a := &acked{own: newWriter("me").id, entries: map[ledger.LogID][]ledger.Verified{}}
	w := newWriter("late")
	var prev ledger.ID
	for i := range 20 {
		v, err := ledger.Sign(w.key, ledger.Header{Seq: uint64(i), Prev: prev, Kind: ledger.KindControl, HLC: 1}, fmt.Appendf(nil, "late %d", i))
		if err != nil {
			t.Fatal(err)
		}
		prev = v.Entry().ID()
		if _, err := l.Append(ctx, v, noon); err != nil {
			t.Fatal(err)
		}
		a.entries[w.id] = append(a.entries[w.id], v)
	}
	mustClose(t, s)
	if err := os.RemoveAll(filepath.Join(dir, indexName)); err != nil {
		t.Fatal(err)
	}
	copyTree(t, filepath.Join(dir, indexName), older)
	s = mustOpen(t, dir, Options{Ballast: -1})
	if got := s.Suspects(); !slices.Contains(got, w.id) || len(s.Health().Notes) == 0 {
		t.Fatalf("the loss was not told: suspects %v, notes %q", got, s.Health().Notes)
	}
	if lost, err := a.check(s); err != nil || lost != 20 {
		t.Fatalf("%d lost, want 20: %v", lost, err)
	}
	mustClose(t, s)
}
