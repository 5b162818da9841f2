package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tocsin/crypto/slots"
	"tocsin/ledger"
)

// torn returns the directory as a power cut may leave it: of what was written
// since the last sync of a file, each sector is on the disk or is not, and so
// are its new length and a name that was not synced.
func (d *fakeFiles) torn(rng *rand.Rand) *fakeFiles {
	after := newFakeFiles()
	for name, f := range d.durable {
		data := bytes.Clone(f.synced)
		if len(f.data) > len(data) && rng.IntN(2) == 0 {
			n := len(data) + rng.IntN(len(f.data)-len(data)+1)
			data = append(data, make([]byte, n-len(data))...)
		} else if len(f.data) < len(data) && rng.IntN(2) == 0 {
			data = data[:len(f.data)]
		}
		for at := 0; at < min(len(data), len(f.data)); at += sector {
			if rng.IntN(2) == 0 {
				copy(data[at:min(at+sector, len(data))], f.data[at:])
			}
		}
		c := &fakeData{data: data, synced: bytes.Clone(data)}
		after.files[name], after.durable[name] = c, c
	}
	return after
}

// history is what a scenario did to a store and what of it was acknowledged.
type history struct {
	acked  []ledger.Record               // with their bodies
	erased map[place][slots.KeySize]byte // the dead keys
	either map[place]bool                // erasures that failed: they may be there or not
	opt    Options
}

func newHistory() *history {
	return &history{
		erased: make(map[place][slots.KeySize]byte),
		either: make(map[place]bool),
		opt:    Options{Key: walKey, Ballast: -1},
	}
}

// step commits one thing more: own or another's entry, or an erasure. The error
// is the store's.
func (h *history) step(t *testing.T, s *Store, i int) error {
	own := i%2 == 0
	_, id := keyOf(fmt.Sprint("log of own ", own))
	_, commit := journalOf(s, own)
	r, _ := withBody(id, uint64(i), fmt.Sprintf("%s %d", strings.Repeat("body ", 40), i))
	if i%5 != 4 {
		err := commit(r, ledger.Record{Table: ledger.TableStates, Log: id, Value: fmt.Appendf(nil, "state %d", i)})
		if err == nil {
			h.acked = append(h.acked, r)
		}
		return err
	}
	// Erase the oldest one that this journal has.
	for _, old := range h.acked {
		at := place{old.Table, old.Log, old.Seq}
		if _, done := h.erased[at]; done || old.Log != id {
			continue
		}
		_, key := slotOf(t, s, old)
		_, gone := withBody(old.Log, old.Seq, "")
		err := commit(gone)
		if err == nil {
			h.erased[at] = key
		} else {
			h.either[at] = true
		}
		return err
	}
	return nil
}

// check holds a directory after a crash against what was acknowledged.
func (h *history) check(t *testing.T, index string, wals *fakeFiles) error {
	dir := t.TempDir()
	copyTree(t, filepath.Join(dir, indexName), index)
	s, err := open(dir, h.opt, wals)
	if err != nil {
		return fmt.Errorf("it does not open: %w", err)
	}
	defer mustClose(t, s)
	for _, r := range h.acked {
		want := "valuebody"
		key, erased := h.erased[place{r.Table, r.Log, r.Seq}]
		if erased {
			want = "erased"
		}
		if h.either[place{r.Table, r.Log, r.Seq}] {
			continue
		}
		v, err := s.Get(ctx, r.Table, r.Log, r.Seq)
		if err != nil || !strings.HasPrefix(string(v), want) || !erased && !bytes.HasSuffix(v, r.Body) {
			return fmt.Errorf("entry %d: %.20q %w", r.Seq, v, err)
		}
		for name, f := range wals.files {
			if erased && bytes.Contains(f.synced, key[:]) {
				return fmt.Errorf("entry %d was erased and its key is in %s", r.Seq, name)
			}
		}
	}
	return nil
}

// runPower plays a history on a disk that tears what was not synced, with a
// power cut after each step, and returns the first thing that was lost.
func runPower(t *testing.T, noSync bool, seed uint64) error {
	rng := rand.New(rand.NewPCG(seed, 9))
	dir, wals := t.TempDir(), newFakeFiles()
	h := newHistory()
	s, err := open(dir, h.opt, wals)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { mustClose(t, s) }()
	wals.faults.noSync = noSync
	for i := range 25 {
		if err := h.step(t, s, i); err != nil {
			t.Fatal(err)
		}
		if i == 12 {
			if err := s.index(); err != nil {
				t.Fatal(err)
			}
		}
		if i%2 == 0 {
			continue
		}
		index := filepath.Join(cloneDir(t, dir), indexName)
		if err := h.check(t, index, wals.torn(rng)); err != nil {
			return fmt.Errorf("power cut after step %d: %w", i, err)
		}
	}
	return nil
}

// TestPowerCutTearsSectors: nothing that was acknowledged is lost, and nothing
// that was erased comes back, whatever a power cut leaves of unsynced sectors.
func TestPowerCutTearsSectors(t *testing.T) {
	for seed := range uint64(2) {
		if err := runPower(t, false, seed); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPowerCutWithoutSync is the control: with the sync switched off the same
// test finds a loss.
func TestPowerCutWithoutSync(t *testing.T) {
	if err := runPower(t, true, 1); err == nil {
		t.Fatal("a store that does not sync loses nothing: the test cannot fail")
	} else {
		t.Log(err)
	}
}

// TestDiskFullAtEveryWrite lets the n-th write fail for want of space, for every
// n of a history, half way through its bytes. Everything acknowledged survives,
// also a power cut right then, and the store carries on when there is space.
func TestDiskFullAtEveryWrite(t *testing.T) {
	for n := 1; ; n++ {
		dir, wals := t.TempDir(), newFakeFiles()
		h := newHistory()
		s, err := open(dir, h.opt, wals)
		if err != nil {
			t.Fatal(err)
		}
		wals.faults.writeAfter, wals.faults.writePart = n, 30
		failed := 0
		for i := range 12 {
			err := h.step(t, s, i)
			switch {
			case err == nil:
			case errors.Is(err, ledger.ErrFull) || errors.Is(err, ledger.ErrReadOnly):
				failed++
			default:
				t.Fatalf("write %d: %v, want ErrFull or ErrReadOnly", n, err)
			}
		}
		if failed == 0 && wals.faults.writeAfter > 0 {
			mustClose(t, s)
			if n < 12 {
				t.Fatalf("only %d writes were made", n)
			}
			t.Logf("%d writes failed, one at a time", n-1)
			return // there are no more writes to fail
		}
		wals.faults.writeAfter = 0
		index := filepath.Join(cloneDir(t, dir), indexName)
		if err := h.check(t, index, wals.crash()); err != nil {
			t.Fatalf("write %d: after a power cut: %v", n, err)
		}
		err = h.step(t, s, 20)
		if err != nil && !errors.Is(err, ledger.ErrReadOnly) {
			t.Fatalf("write %d: with space again: %v", n, err)
		}
		mustClose(t, s)
		if err := h.check(t, filepath.Join(dir, indexName), wals); err != nil {
			t.Fatalf("write %d: opened again: %v", n, err)
		}
	}
}

var errNoSpace = syscall.ENOSPC
