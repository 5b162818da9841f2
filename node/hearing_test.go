package node

import (
	"bytes"
	"testing"
	"time"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/mesh"
)

// TestHearingDeviceFindsItsOrderAmongManyLogs: it was away while more logs grew
// than it takes empty claims for, and its neighbour has restarted since the order
// came. It gets the log with its order in one session, and sees no sign of others.
func TestHearingDeviceFindsItsOrderAmongManyLogs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.enrol("Amal", orgHospital)
	stolen := w.enrol("Chidi", orgHospital).start(t, alone)
	var others []identity.LogID
	t.Run("before its restart", func(t *testing.T) {
		a := m.start(t, alone, m.onDisk(t))
		synced(t, stolen, a)
		synced(t, a, stolen)
		for range maxEmpty + 4 {
			e, _ := w.enrol("Another", orgAmbulance).firstEntry(t, 0)
			a.accept(t.Context(), e.Frame())
			others = append(others, e.Header.Log())
		}
		publish(t, a, w.orderWipe(orgHospital, stolen))
	})
	a := m.start(t, alone, m.onDisk(t))
	if !a.hears(stolen.mesh.ID()) || !a.mayServe(stolen.mesh.ID(), a.self) || a.mayServe(stolen.mesh.ID(), others[0]) {
		t.Fatal("a device under an order is to be served the log with its order and no other")
	}
	c, pull, _ := meet(t, stolen, a, nil)
	if pull != nil {
		t.Errorf("the device ended the session: %v", pull)
	}
	if _, ok := stolen.trust.WipeFor(stolen.cred, time.Now()); !ok {
		t.Error("it did not hear its order")
	}
	for _, f := range c.frames {
		for _, id := range others {
			if bytes.Contains(f.Payload, id.Author[:]) {
				t.Fatal("it was shown who posts")
			}
		}
	}
	eventually(t, "it obeys", func() bool { return stolen.Status().Wiped })
	if _, pull, _ := meet(t, a, stolen, nil); pull == nil {
		t.Error("the neighbour compared its logs with those of the stolen device")
	}
}

// TestHearingDeviceFindsNoOtherLog: a neighbour under a wipe order that asks for a
// log which it knows of is answered as if that were not held.
func TestHearingDeviceFindsNoOtherLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	stolen := w.enrol("Chidi", orgHospital).start(t, alone)
	e, _ := w.enrol("Ben", orgAmbulance).firstEntry(t, 0)
	a.accept(t.Context(), e.Frame())
	asked := func(log identity.LogID) *ledger.Entry {
		c, s := newWire()
		served := make(chan error)
		go func() { served <- a.Serve(t.Context(), stolen.mesh.ID(), s) }()
		p := &puller{n: stolen, s: c, inflow: ledger.NewInflow(), wants: make(map[uint16]*ledger.Expected)}
		_, err := p.roots([]ledger.Scope{ledger.ScopeHeaders})
		check(t, err)
		got, err := p.one(log, 0)
		check(t, err)
		close(c.out)
		check(t, <-served)
		return got
	}
	if asked(e.Header.Log()) == nil {
		t.Fatal("a friend is not served")
	}
	publish(t, a, w.orderWipe(orgHospital, stolen))
	if !a.hears(stolen.mesh.ID()) {
		t.Fatal("it is not let in at all")
	}
	if asked(e.Header.Log()) != nil {
		t.Error("a device under a wipe order is served another log")
	}
	if asked(a.self) == nil {
		t.Error("a device under a wipe order is not served the log with its order")
	}
}

// TestHearingEndsTheSession: the order comes while its device is being served.
func TestHearingEndsTheSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t, alone)
	stolen := w.enrol("Chidi", orgHospital).start(t, alone)
	c, s := newWire()
	served := make(chan error)
	go func() { served <- a.Serve(t.Context(), stolen.mesh.ID(), s) }()
	p := &puller{n: stolen, s: c, inflow: ledger.NewInflow(), wants: make(map[uint16]*ledger.Expected)}
	_, err := p.roots([]ledger.Scope{ledger.ScopeHeaders})
	check(t, err)
	a.hears(stolen.mesh.ID())
	check(t, c.Send(mesh.Frame{Type: frameBehind}))
	if err := <-served; err != errHearing {
		t.Errorf("the session ended with %v", err)
	}
}

// TestHearingIsCutInTime: who hears is not left connected until somebody happens to
// look.
func TestHearingIsCutInTime(t *testing.T) {
	t.Parallel()
	var clock testClock
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t, withClock(&clock))
	stolen := w.enrol("Chidi", orgHospital).start(t, knows(a))
	ready(t, 1, a, stolen)
	stolen.mu.Lock() // so that it gives no receipt
	defer stolen.mu.Unlock()
	publish(t, a, w.orderWipe(orgHospital, stolen))
	eventually(t, "it is let in to hear", func() bool { return a.hearing(stolen.mesh.ID()) })
	if !linked(a, stolen) {
		t.Error("it was cut before it could hear")
	}
	clock.pass(t, "its time is over by the node's own doing, not at the mesh's next look", time.Second, func() bool {
		a.hearMu.Lock()
		defer a.hearMu.Unlock()
		return a.hearings[stolen.mesh.ID()].over
	})
	eventually(t, "it is cut", func() bool { return !linked(a, stolen) })
}
