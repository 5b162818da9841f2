package badgerstore

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"tocsin/crypto/slots"
	"tocsin/ledger"
)

// withBody makes the record of an entry with a body; gone is the one that stands
// for it after its erasure.
func withBody(id ledger.LogID, seq uint64, body string) (r, gone ledger.Record) {
	r = ledger.Record{Table: ledger.TableEntries, Log: id, Seq: seq, Value: []byte("value"), Body: []byte(body)}
	gone = ledger.Record{Table: ledger.TableEntries, Log: id, Seq: seq, Value: []byte("erased")}
	return r, gone
}

// journalOf returns a journal of s and the method that writes to it.
func journalOf(s *Store, own bool) (*journal, func(...ledger.Record) error) {
	if own {
		return &s.own, func(r ...ledger.Record) error { return s.CommitOwn(ctx, r) }
	}
	return &s.in, func(r ...ledger.Record) error { return s.Commit(ctx, r) }
}

// slotOf returns the slot of a body and its key.
func slotOf(t *testing.T, s *Store, r ledger.Record) (uint64, [slots.KeySize]byte) {
	t.Helper()
	raw, err := s.raw(r.Table, r.Log, r.Seq)
	if err != nil {
		t.Fatal(err)
	}
	st, err := parseStored(raw)
	if err != nil || st.slot == nil {
		t.Fatalf("%+v %v", st, err)
	}
	keys := s.in.keys
	if st.own {
		keys = s.own.keys
	}
	key, err := keys.Key(*st.slot)
	if err != nil {
		t.Fatal(err)
	}
	return *st.slot, key
}

// onDisk reports whether bytes stand anywhere in the files of a directory.
func onDisk(t *testing.T, dir string, what []byte) (where string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err == nil && bytes.Contains(b, what) {
			where = path
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return where
}

// TestErasedKeyIsNowhere: the key under which a body was sealed is on the disk
// before the erasure and nowhere after it, through restarts, and the body itself
// never is. The record before it stays readable.
func TestErasedKeyIsNowhere(t *testing.T) {
	for _, own := range []bool{true, false} {
		dir := t.TempDir()
		s := mustOpen(t, dir, Options{})
		_, commit := journalOf(s, own)
		_, id := keyOf("a")
		secret := "a body that nobody is to read again"
		keep, _ := withBody(id, 1, "a body that stays")
		r, gone := withBody(id, 2, secret)
		if err := commit(keep, r); err != nil {
			t.Fatal(err)
		}
		_, key := slotOf(t, s, r)
		if onDisk(t, dir, key[:]) == "" {
			t.Fatal("the key is not in the slot file: the test sees nothing")
		}
		if err := s.settle(); err != nil { // the record is in the index too
			t.Fatal(err)
		}
		if err := commit(gone); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if where := onDisk(t, dir, key[:]); where != "" {
				t.Fatalf("own %v: the key of an erased body is still in %s", own, where)
			}
			if where := onDisk(t, dir, []byte(secret)); where != "" {
				t.Fatalf("own %v: an erased body is in the clear in %s", own, where)
			}
			if v, err := s.Get(ctx, r.Table, id, 2); err != nil || string(v) != "erased" {
				t.Fatalf("%q %v", v, err)
			}
			if v, err := s.Get(ctx, r.Table, id, 1); err != nil || string(v) != "valuea body that stays" {
				t.Fatalf("%q %v", v, err)
			}
			mustClose(t, s)
			s = mustOpen(t, dir, Options{})
		}
		mustClose(t, s)
	}
}

// TestEraseCrash: killed between the record and the overwriting of the key, the
// next opening completes the erasure; killed before the record, nothing is lost.
func TestEraseCrash(t *testing.T) {
	for _, own := range []bool{true, false} {
		dir, wals := t.TempDir(), newFakeFiles()
		s, err := open(dir, Options{Key: walKey}, wals)
		if err != nil {
			t.Fatal(err)
		}
		j, commit := journalOf(s, own)
		_, id := keyOf("a")
		r, gone := withBody(id, 2, "a body")
		other, _ := withBody(id, 3, "another")
		if err := commit(r, other); err != nil {
			t.Fatal(err)
		}
		slot, key := slotOf(t, s, r)
		before := wals.crash()
		keyFile := wals.files[j.slotsName]
		saved := bytes.Clone(keyFile.data)
		if err := commit(gone); err != nil {
			t.Fatal(err)
		}
		// As if the overwriting had not happened yet.
		after := wals.crash()
		after.files[j.slotsName].data, after.files[j.slotsName].synced = saved, bytes.Clone(saved)
		if !bytes.Contains(saved, key[:]) || bytes.Contains(keyFile.synced, key[:]) {
			t.Fatal("the key was not overwritten and synced before the commit returned")
		}
		mustClose(t, s)

		for name, files := range map[string]*fakeFiles{"before": before, "after": after} {
			s, err := open(t.TempDir(), Options{Key: walKey}, files)
			if err != nil {
				t.Fatal(name, err)
			}
			want, dead := "valuea body", false
			if name == "after" {
				want, dead = "erased", true
			}
			if v, err := s.Get(ctx, r.Table, id, 2); err != nil || string(v) != want {
				t.Errorf("own %v, killed %s the record: %q %v", own, name, v, err)
			}
			if has := bytes.Contains(files.files[j.slotsName].synced, key[:]); has == dead {
				t.Errorf("own %v, killed %s the record: the key of slot %d is on the disk: %v", own, name, slot, has)
			}
			if v, err := s.Get(ctx, r.Table, id, 3); err != nil || string(v) != "valueanother" {
				t.Errorf("own %v, killed %s the record: %q %v", own, name, v, err)
			}
			mustClose(t, s)
		}
	}
}

// TestEraseGoesWhereTheRecordIs: an entry that was written as an own one is
// erased in own.wal, whoever it belongs to by now, so that no later opening
// brings the older record back.
func TestEraseGoesWhereTheRecordIs(t *testing.T) {
	for _, own := range []bool{true, false} {
		dir := t.TempDir()
		s := mustOpen(t, dir, Options{})
		_, commit := journalOf(s, own)
		_, other := journalOf(s, !own)
		_, id := keyOf("a")
		r, gone := withBody(id, 2, "a body")
		if err := commit(r); err != nil {
			t.Fatal(err)
		}
		_, key := slotOf(t, s, r)
		if err := other(gone); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if onDisk(t, dir, key[:]) != "" {
				t.Fatal("the key is still there")
			}
			if v, err := s.Get(ctx, r.Table, id, 2); err != nil || string(v) != "erased" {
				t.Fatalf("own %v: %q %v", own, v, err)
			}
			mustClose(t, s)
			s = mustOpen(t, dir, Options{})
		}
		mustClose(t, s)
	}
}

// TestKeysSurviveAMissingFile: while a file with records is away, no key is
// destroyed that they may name.
func TestKeysSurviveAMissingFile(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	_, id := keyOf("a")
	r, _ := withBody(id, 1, "a body")
	if err := s.Commit(ctx, []ledger.Record{r}); err != nil {
		t.Fatal(err)
	}
	clone := cloneDir(t, dir)
	mustClose(t, s)
	away := filepath.Join(t.TempDir(), "in.wal")
	in := filepath.Join(clone, inWAL.name)
	if err := os.Rename(in, away); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, clone, Options{})
	if _, err := s.Get(ctx, r.Table, id, 1); !errors.Is(err, ledger.ErrNotFound) {
		t.Fatal("the test sees nothing:", err)
	}
	mustClose(t, s)
	if err := os.Rename(away, in); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, clone, Options{})
	if v, err := s.Get(ctx, r.Table, id, 1); err != nil || string(v) != "valuea body" {
		t.Fatalf("%q %v", v, err)
	}
	mustClose(t, s)
}

func FuzzStored(f *testing.F) {
	slot, dead := uint64(5), uint64(6)
	sealed := make([]byte, bodyNonce+bodyTag+3)
	for _, st := range []stored{
		{value: []byte("v")}, {value: []byte("v"), slot: &slot, sealed: sealed}, {erased: &dead, own: true}, {value: []byte("v"), erased: &dead, final: true},
		{value: []byte("v"), slot: &slot, erased: &dead, sealed: sealed},
	} {
		f.Add(st.marshal())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		st, err := parseStored(b)
		if err == nil && !bytes.Equal(st.marshal(), b) {
			t.Fatalf("read %x, wrote %x", b, st.marshal())
		}
	})
}

func FuzzHeads(f *testing.F) {
	for _, h := range []headsRecord{{}, {ownSlots: 1, inSlots: 2, before: mark{Number: 3}, batch: []ledger.Record{{Table: ledger.TableStates, Value: []byte("s")}}}} {
		b, err := h.marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHeads(b)
		if err != nil {
			return
		}
		again, err := h.marshal()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("read %x, wrote %x: %v", b, again, err)
		}
	})
}
