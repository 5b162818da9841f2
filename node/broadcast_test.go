package node

import (
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"tocsin/crypto/identity"
	"tocsin/node/message"
)

// TestBroadcastReachesEverybody: with its reason, marked for good, in a
// conversation of its own; a locked device shows it later.
func TestBroadcastReachesEverybody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a))
	c := w.enrol("Chidi", orgHospital).start(t, knows(a, b))
	ready(t, 2, a, b, c)
	check(t, c.Lock())
	for _, reason := range []string{"", "  ", strings.Repeat("x", MaxReason+1), "a\x1b[2J"} {
		if _, err := a.Broadcast(t.Context(), message.NewText("x", time.Time{}), "stat", reason); !errors.Is(err, ErrInvalid) {
			t.Errorf("the reason %q: %v", reason, err)
		}
	}
	s, err := a.Broadcast(t.Context(), message.NewText("Evacuate block C", time.Time{}), "stat", "Fire, no other channel")
	check(t, err)
	shows(t, a, BroadcastGroup, "Evacuate block C")
	shows(t, b, BroadcastGroup, "Evacuate block C")
	eventually(t, "the locked device holds it", func() bool {
		e, err := c.logs.Entry(t.Context(), a.self, s.Seq)
		return err == nil && e.HasBody()
	})
	check(t, c.Unlock(t.Context(), []byte(passphrase)))
	shows(t, c, BroadcastGroup, "Evacuate block C")
	for range 2 {
		for _, n := range []*Node{a, b, c} {
			items, err := n.Messages(BroadcastGroup, 0, 0)
			check(t, err)
			if it := items[0]; !it.Broadcast || it.Reason != "Fire, no other channel" || !it.Provable || it.Own != (n == a) {
				t.Errorf("%s shows %v %q %v", n.cred.Claims.Name, it.Broadcast, it.Reason, it.Provable)
			}
			check(t, n.Lock())
			check(t, n.Unlock(t.Context(), []byte(passphrase)))
		}
	}
}

// TestBroadcastWaitsForItsKey: a new trust bundle brings a new mesh key; what is
// sealed under it is shown once the page for this device has come, locked or not.
func TestBroadcastWaitsForItsKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a))
	ready(t, 1, a, b)
	third, err := identity.NewAuthority("third.nhs.example", "Authority of a third", w.issued, 365*24*time.Hour, rand.Reader)
	check(t, err)
	next, err := identity.NextBundle(w.bundle, time.Now(), w.authorities[orgHospital].Certificate(), w.authorities[orgAmbulance].Certificate(), third.Certificate())
	check(t, err)
	for _, org := range []string{orgHospital, orgAmbulance} {
		next, err = w.authorities[org].SignBundle(next)
		check(t, err)
	}
	raw, err := identity.BundleStatement(next)
	check(t, err)
	key := [32]byte{1, 2, 3}
	seal := func(org string, n *Node) []byte {
		pages, err := w.authorities[org].SealMeshKey(w.bundle.MeshID(), 1, key, []*identity.Credential{n.cred}, time.Now(), nil)
		check(t, err)
		return pages[0]
	}
	publish(t, a, raw)
	publish(t, a, seal(orgHospital, a))
	eventually(t, "the sender holds the key", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		_, held, err := a.meshKey(1)
		return held && err == nil
	})
	_, err = a.Broadcast(t.Context(), message.NewText("under the new key", time.Time{}), "urgent", "rehearsal")
	check(t, err)
	eventually(t, "Ben's device waits for the key", func() bool { return b.Status().BundleNumber == 1 && b.Status().Waiting == 1 })
	check(t, b.Lock())
	publish(t, a, seal(orgAmbulance, b))
	eventually(t, "the page has come", func() bool {
		b.keeper.mu.Lock()
		defer b.keeper.mu.Unlock()
		return len(b.keeper.mine) == 1
	})
	check(t, b.Unlock(t.Context(), []byte(passphrase)))
	shows(t, b, BroadcastGroup, "under the new key")
	if n := b.Status().Waiting; n != 0 {
		t.Errorf("%d entries wait", n)
	}
}

func FuzzParseBroadcast(f *testing.F) {
	raw, err := marshalBroadcast("why", []byte("what"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		reason, payload, err := parseBroadcast(raw)
		if err != nil {
			return
		}
		again, err := marshalBroadcast(reason, payload)
		check(t, err)
		if string(again) != string(raw) {
			t.Fatal("two encodings of one broadcast")
		}
	})
}

// TestMeshKeyWaitsForTheClock: the page was taken under a right clock and is not
// thrown away by an unlock under one that was set back.
func TestMeshKeyWaitsForTheClock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var clock testClock
	a := w.enrol("Amal", orgHospital).start(t, withClock(&clock))
	third, err := identity.NewAuthority("third.nhs.example", "Authority of a third", w.issued, 365*24*time.Hour, rand.Reader)
	check(t, err)
	next, err := identity.NextBundle(w.bundle, time.Now(), w.authorities[orgHospital].Certificate(), w.authorities[orgAmbulance].Certificate(), third.Certificate())
	check(t, err)
	for _, org := range []string{orgHospital, orgAmbulance} {
		next, err = w.authorities[org].SignBundle(next)
		check(t, err)
	}
	raw, err := identity.BundleStatement(next)
	check(t, err)
	publish(t, a, raw)
	check(t, a.Lock())
	pages, err := w.authorities[orgHospital].SealMeshKey(w.bundle.MeshID(), 1, [32]byte{1, 2, 3}, []*identity.Credential{a.cred}, time.Now(), nil)
	check(t, err)
	publish(t, a, pages[0])
	held := func(back time.Duration) bool {
		clock.by.Store(int64(-back))
		check(t, a.Unlock(t.Context(), []byte(passphrase)))
		defer func() { check(t, a.Lock()) }()
		a.mu.Lock()
		defer a.mu.Unlock()
		_, ok, err := a.meshKey(1)
		check(t, err)
		return ok
	}
	if held(72 * time.Hour) {
		t.Error("a page from the future was used")
	}
	if !held(0) {
		t.Error("the page is lost")
	}
}
