package node

import (
	"testing"

	"tocsin/ledger/memstore"
)

// TestFirstEntryLost: a device of which the disk has lost how another's log began starts all
// the same, and knows the other again once that was fetched.
func TestFirstEntryLost(t *testing.T) {
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	m, store := w.enrol("Ben", orgAmbulance), memstore.New()
	open := func() *Node {
		t.Helper()
		cfg, err := m.config()
		check(t, err)
		cfg.Store = store
		knows(a)(&cfg)
		n, err := Open(t.Context(), cfg)
		check(t, err)
		return n
	}
	b := open()
	check(t, b.Unlock(t.Context(), []byte(passphrase)))
	eventually(t, "Ben knows Amal", func() bool { return b.people.Known(a.self.Author) })
	check(t, b.Close())
	store = store.Reopen()
	check(t, store.Spoil(a.self, 0))

	b = open()
	defer func() { check(t, b.Close()) }()
	eventually(t, "Ben knows Amal again", func() bool {
		b.scrub()
		return b.people.Known(a.self.Author)
	})
}
