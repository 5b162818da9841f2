package node

import (
	"strings"
	"testing"

	"tocsin/ledger"
)

// What the disk loses is found without anybody reading it, told, and fetched
// again from a neighbour.
func TestLostEntryIsFoundToldAndFetched(t *testing.T) {
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a))
	ready(t, 1, a, b)
	g := makeGroup(t, a, b)
	s := say(t, a, g, "Theatre 2 is free")
	shows(t, b, g, "Theatre 2 is free")
	check(t, b.SetOnline(false))
	lost := ledger.Record{Table: ledger.TableEntries, Log: a.self, Seq: s.Seq, Value: []byte("what a bad sector left")}
	check(t, b.cfg.Store.Commit(t.Context(), []ledger.Record{lost}))
	for b.logs.Health().ScrubRounds == 0 {
		b.scrub()
	}
	if p := b.Status().Problem; !strings.Contains(p, "cannot be read") {
		t.Fatalf("the status says %q", p)
	}
	check(t, b.SetOnline(true))
	eventually(t, "the entry is whole again", func() bool {
		e, err := b.logs.Entry(t.Context(), a.self, s.Seq)
		return err == nil && e.ID().String() == s.ID && b.Status().Problem == ""
	})
}
