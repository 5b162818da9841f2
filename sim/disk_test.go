package sim

import (
	"errors"
	"strings"
	"testing"

	"tocsin/ledger"
	"tocsin/ledger/memstore"
)

// TestDisks: what a disk that fails did not take, or lost, comes back from the others; where
// they may not be asked it does not.
func TestDisks(t *testing.T) {
	for _, fault := range []string{diskFull, diskFailing, diskForgetful} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			s := read(t, with("timeline:\n  - {at: 5s, until: 45s, disk: {devices: [a, b/1], fault: "+fault+"}}\ncontrol: [sync]\nexpect:"))
			res := rehearse(t, s, options(t))
			if res.Verdict != Passed || res.Faults[0].Bit == 0 {
				t.Errorf("%s: %s", res.Verdict, res.Why)
			}
			if fault != diskForgetful && len(res.Unsaved) == 0 {
				t.Error("nobody was told that something could not be saved")
			}
			o := options(t)
			o.Without = s.Control
			if res := rehearse(t, s, o); res.Verdict != Broken || res.Healed != nil {
				t.Errorf("without %v it is %s: %s", s.Control, res.Verdict, res.Why)
			}
		})
	}
}

// TestDiskContract: a disk that fails keeps to what ledger.Store promises of errors, and a
// forgetful one loses what it called saved, and nothing from before.
func TestDiskContract(t *testing.T) {
	ctx, id := t.Context(), ledger.LogID{Incarnation: 1}
	mem, disk := memstore.New(), new(diskState)
	put := func(seq uint64) error {
		s := faultyStore{mem, disk}
		batch := []ledger.Record{{Table: ledger.TableEntries, Log: id, Seq: seq, Value: []byte("entry")}}
		if seq%2 == 0 {
			return s.CommitOwn(ctx, batch)
		}
		return s.Commit(ctx, batch)
	}
	holds := func(seq uint64) bool {
		_, err := mem.Get(ctx, ledger.TableEntries, id, seq)
		return err == nil
	}
	check := func(seq uint64, want error, held bool) {
		t.Helper()
		if err := put(seq); !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("entry %d: %v, not %v", seq, err, want)
		}
		if holds(seq) != held {
			t.Errorf("entry %d is held: %v", seq, !held)
		}
	}
	restart := func() { mem, _ = disk.restarted(mem) }

	check(0, nil, true)
	disk.spoil(diskFull, true, mem)
	check(1, ledger.ErrFull, false)
	check(1, ledger.ErrReadOnly, false)
	disk.mend()
	check(1, nil, true)

	for i, torn := range []bool{true, false} {
		disk.spoil(diskFailing, torn, mem)
		seq := uint64(2 + 2*i)
		check(seq, ledger.ErrReadOnly, torn)
		check(seq+1, ledger.ErrReadOnly, false)
		disk.mend()
		check(seq+1, ledger.ErrReadOnly, false) // it may not be written to before it is read again
		restart()
		check(seq+1, nil, true)
	}

	disk.spoil(diskForgetful, false, mem)
	check(10, nil, true)
	disk.mend()
	restart()
	if holds(10) || !holds(5) {
		t.Error("a forgetful disk did not lose what it should, or lost more")
	}
	check(10, nil, true)
	restart()
	if !holds(10) {
		t.Error("a disk that was mended forgets")
	}
}

// TestBadDisks: what is no fault of a disk is refused.
func TestBadDisks(t *testing.T) {
	for text, want := range map[string]string{
		"disk: {devices: [a], fault: slow}": "full, failing or forgetful",
		"disk: {devices: [c], fault: full}": `no site "c"`,
		"disk: {fault: full}":               "name devices",
	} {
		if _, err := ReadScenario("test.yaml", strings.NewReader(with("timeline:\n  - {at: 1s, "+text+"}\nexpect:"))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, not %q", text, err, want)
		}
	}
}
