package node

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"tocsin/ledger"
	"tocsin/node/inbox"
)

// Two other devices cosign what a device wrote, it learns who carries it, and
// its proof verifies without any node.
func TestWitnessedCarriedAndProved(t *testing.T) {
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	alone := say(t, a, makeGroup(t, a), "Is anybody there?")
	if _, err := a.Prove(t.Context(), alone.ID); !errors.Is(err, ErrUnwitnessed) {
		t.Fatalf("a proof before anybody has witnessed: %v", err)
	}
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a))
	c := w.enrol("Chidi", orgHospital).start(t, knows(a))
	ready(t, 2, a, b, c)
	g := makeGroup(t, a, b)
	say(t, a, g, "Theatre 2 is free")
	shows(t, b, g, "Theatre 2 is free")
	check(t, b.Lock()) // neither a reader nor a stranger to the group need be unlocked to witness
	s := say(t, a, g, "Blood is on its way")

	eventually(t, "two devices carry it, and say so while nobody has read it", func() bool {
		items, err := a.Messages(g, -1, 1)
		check(t, err)
		return items[0].State == inbox.StateSaved && items[0].Carried == 2 &&
			items[0].StateWords() == "Carried by 2 other devices"
	})
	var file []byte
	eventually(t, "a proof", func() bool {
		var err error
		file, err = a.Prove(t.Context(), s.ID)
		if err != nil && !errors.Is(err, ErrUnwitnessed) {
			t.Fatal(err)
		}
		return err == nil
	})
	report, err := ledger.VerifyProof(file, a.trust)
	check(t, err)
	if report.Author.Claims.Name != "Amal" || len(report.Witnesses) != 2 || !strings.Contains(PayloadWords(report.Payload), "Blood") {
		t.Fatalf("%s", report)
	}
	raw, err := hex.DecodeString(s.ID)
	check(t, err)
	if !bytes.Equal(report.ID[:], raw) {
		t.Fatal("another entry was proved")
	}
	for _, id := range []string{"", "00", strings.Repeat("0", 64)} {
		if _, err := a.Prove(t.Context(), id); !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrNotFound) {
			t.Fatalf("%q: %v", id, err)
		}
	}
	check(t, a.Lock())
	if _, err := a.Prove(t.Context(), s.ID); !errors.Is(err, ErrLocked) {
		t.Fatalf("while locked: %v", err)
	}
}

// Testimony outlives a restart, and settles: devices that have nothing new to
// say have equal tables.
func TestTestimonySettles(t *testing.T) {
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a))
	ready(t, 1, a, b)
	g := makeGroup(t, a, b)
	say(t, a, g, "Theatre 2 is free")
	shows(t, b, g, "Theatre 2 is free")
	eventually(t, "equal tables that say something", func() bool {
		return a.testimony.tree.Len() == 2 && a.testimony.tree.Root() == b.testimony.tree.Root() &&
			a.logs.Tree().Root() == b.logs.Tree().Root()
	})
	if err := b.acceptRecords(t.Context(), []byte{0, 2, 1, 1}); !errors.Is(err, ledger.ErrTestimony) {
		t.Fatalf("testimony that is none: %v", err)
	}
	if err := b.acceptRecords(t.Context(), []byte{0}); !errors.Is(err, ledger.ErrTestimony) {
		t.Fatalf("testimony cut short: %v", err)
	}
}

// Witnessing takes its time where there is much of it, and none where there is
// little, whatever the size of the mesh.
func TestWitnessingPacesItself(t *testing.T) {
	w := &testimony{}
	for _, c := range []struct {
		work int
		want time.Duration
	}{
		{0, 5 * time.Second},
		{100, 5 * time.Second},
		{50 * testimonyRate, 50 * time.Second},
		{1 << 20, maxWitnessPause},
	} {
		w.worked(c.work)
		if got := w.pause(5 * time.Second); got != c.want {
			t.Errorf("after %d pieces of testimony the next round waits %v, want %v", c.work, got, c.want)
		}
	}
	if got := w.pause(time.Second); got != time.Second {
		t.Errorf("what was waited for counts again: %v", got)
	}
}
