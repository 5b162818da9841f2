package badgerstore

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"tocsin/ledger"
)

// TestBallast: disk space is set aside while there is plenty, given back when
// nearly nothing is left, and what is to be erased does not wait for more.
func TestBallast(t *testing.T) {
	var free atomic.Uint64
	free.Store(1 << 40)
	dir := t.TempDir()
	opt := Options{MinFree: 1 << 20, Ballast: 3 << 20, Free: func(string) (uint64, error) { return free.Load(), nil }}
	s := mustOpen(t, dir, opt)
	_, id := keyOf("a")
	r, gone := withBody(id, 1, "a body")
	if err := s.Commit(ctx, []ledger.Record{r}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, ballastName)); err != nil || info.Size() != 3<<20 {
		t.Fatalf("%v %v", info, err)
	}
	if h := s.Health(); h.Ballast != 3<<20 || h.ReadOnly != "" || h.Floor != 1<<20 || len(h.Files) < 6 || len(h.Notes) != 0 {
		t.Fatalf("%+v", h)
	}
	free.Store(3 << 18) // below the floor, above half of it
	more, _ := withBody(id, 2, "another")
	if err := s.Commit(ctx, []ledger.Record{more}); !errors.Is(err, ledger.ErrFull) || !errors.Is(err, ledger.ErrReadOnly) {
		t.Fatalf("%v, want ErrFull and ErrReadOnly", err)
	}
	if h := s.Health(); h.ReadOnly == "" || h.Ballast == 0 {
		t.Fatalf("%+v", h)
	}
	if err := s.Commit(ctx, []ledger.Record{gone}); err != nil {
		t.Fatal("an erasure had to wait for space: ", err)
	}
	free.Store(1 << 10)
	if err := s.Commit(ctx, []ledger.Record{more}); !errors.Is(err, ledger.ErrFull) {
		t.Fatalf("%v, want ErrFull", err)
	}
	if _, err := os.Stat(filepath.Join(dir, ballastName)); err == nil || s.Health().Ballast != 0 {
		t.Fatal("the space that was set aside was not given back")
	}
	free.Store(1 << 40)
	if err := s.Commit(ctx, []ledger.Record{more}); err != nil {
		t.Fatal("with space again: ", err)
	}
	mustClose(t, s)
	s = mustOpen(t, dir, opt)
	if s.Health().Ballast == 0 {
		t.Fatal("space is not set aside again")
	}
	mustClose(t, s)
}
