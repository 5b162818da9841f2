package node

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
	"tocsin/ledger"
	"tocsin/mesh"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

func ledgerID(it inbox.Item) string { return ledger.ID(it.ID).String() }

// destroysKeys has the configuration remove the machine's relay keys as the
// program does.
func (m *machine) destroysKeys(cfg *Config) {
	cfg.DestroyRelayKeys = func() error { return os.Remove(filepath.Join(m.dir, "relay.pem")) }
}

// TestWipeOverTheMesh: an authority's order reaches the device by way of another,
// which holds its receipt afterwards; the others see it, and the groups rotate.
func TestWipeOverTheMesh(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a))
	m := w.enrol("Chidi", orgHospital)
	stolen := m.start(t, knows(a, b), m.destroysKeys)
	ready(t, 2, a, b, stolen)
	g := makeGroup(t, a, b, stolen)
	inGroup(t, g, a, b, stolen)
	say(t, a, g, "secret")
	shows(t, stolen, g, "secret")
	check(t, stolen.Lock())

	publish(t, b, w.orderWipe(orgHospital, stolen))
	select {
	case <-stolen.Wiped():
	case <-time.After(patience):
		t.Fatal("the device did not wipe itself")
	}
	if err := stolen.Unlock(t.Context(), []byte(passphrase)); !errors.Is(err, ErrWiped) {
		t.Errorf("unlocking a wiped device: %v", err)
	}
	if _, err := stolen.Messages(g, 0, 0); !errors.Is(err, ErrWiped) {
		t.Errorf("reading on a wiped device: %v", err)
	}
	if s := stolen.Status(); !s.Wiped || s.WipedAt.IsZero() || s.Problem == "" {
		t.Errorf("the status of a wiped device: %+v", s)
	}
	if _, err := vault.Open(filepath.Join(m.dir, "vault")); !errors.Is(err, vault.ErrWiped) {
		t.Errorf("the vault on disk: %v", err)
	}
	if _, err := os.Stat(filepath.Join(m.dir, "relay.pem")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the relay keys: %v", err)
	}
	for _, n := range []*Node{a, b} {
		eventually(t, "the receipt is shown", func() bool {
			p := person(t, n, stolen)
			return p.Standing.State == "wiped" && p.Wipe != nil && !p.Wipe.Receipt.IsZero()
		})
	}
	say(t, a, g, "after")
	shows(t, b, g, "secret", "after")
	if roster, err := b.Roster(g); err != nil || len(roster) != 3 {
		t.Errorf("roster %v %v", roster, err)
	}
	if announced := a.Metrics().Announced + b.Metrics().Announced; announced < 2 { // who sends first announces, be it a receipt
		t.Errorf("the group did not rotate: %d announcements", announced)
	}
}

// TestStolenDeviceThatComesBackHearsItsOrder: it was switched off when the order
// came, and every neighbour refuses it but for hearing this.
func TestStolenDeviceThatComesBackHearsItsOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	m := w.enrol("Chidi", orgHospital)
	stolen := m.start(t, knows(a), m.destroysKeys)
	ready(t, 1, a, stolen)
	check(t, stolen.SetOnline(false))
	check(t, stolen.Lock())
	eventually(t, "it is away", func() bool { return !linked(a, stolen) })
	publish(t, a, w.orderWipe(orgHospital, stolen))
	other := w.enrol("Ben", orgAmbulance).start(t, knows(a)) // whose log it is not to see
	ready(t, 1, a, other)
	eventually(t, "both hold all", func() bool { return a.logs.Frontier().Hash() == other.logs.Frontier().Hash() })
	if !a.hears(stolen.mesh.ID()) || a.mayServe(stolen.mesh.ID(), other.self) || !a.mayServe(stolen.mesh.ID(), a.self) {
		t.Error("a device under an order is to be served the log with its order and no other")
	}
	check(t, stolen.SetOnline(true))
	select {
	case <-stolen.Wiped():
	case <-time.After(patience):
		t.Fatal("the device did not wipe itself")
	}
	eventually(t, "the receipt", func() bool { p := person(t, a, stolen); return p.Wipe != nil && !p.Wipe.Receipt.IsZero() })
}

// oneFrame is a stream on which a neighbour has said one thing.
type oneFrame struct {
	mesh.SyncStream
	f mesh.Frame
}

func (s oneFrame) Receive() (mesh.Frame, error) { return s.f, nil }

// TestHearingDeviceFindsNoOtherLog: a neighbour under a wipe order asks for any log
// and is answered as if none but the one with its order were held.
func TestHearingDeviceFindsNoOtherLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	stolen := w.enrol("Chidi", orgHospital).start(t)
	publish(t, a, w.orderWipe(orgHospital, stolen))
	asked := func(to peer.ID, log identity.LogID) identity.LogID {
		payload := ledger.MarshalWant(7, ledger.Request{Want: ledger.Want{Log: log, From: 1, To: 2}, Piece: ledger.PieceHeader})
		f, err := hearingStream{oneFrame{f: mesh.Frame{Type: frameWant, Payload: payload}}, a, to}.Receive()
		check(t, err)
		number, r, err := ledger.ParseWant(f.Payload)
		check(t, err)
		if number != 7 || r.From != 1 || r.To != 2 {
			t.Errorf("the request became %d %+v", number, r)
		}
		return r.Log
	}
	thief, friend := stolen.mesh.ID(), peer.ID("friend")
	if got := asked(friend, stolen.self); got != stolen.self {
		t.Errorf("a friend's request became one for %v", got)
	}
	if !a.hears(thief) {
		t.Fatal("it is not let in at all")
	}
	if got := asked(thief, stolen.self); got == stolen.self {
		t.Error("a device under a wipe order is served another log")
	}
	if got := asked(thief, a.self); got != a.self {
		t.Errorf("the log with its order: %v", got)
	}
}

func TestHearingIsShortAndRare(t *testing.T) {
	t.Parallel()
	var clock testClock
	a := newWorld(t).enrol("Amal", orgHospital).start(t, withClock(&clock))
	steps := []struct {
		after time.Duration
		want  bool
	}{{0, true}, {29 * time.Second, true}, {2 * time.Second, false}, {50 * time.Minute, false}, {10 * time.Minute, true}, {time.Minute, false}}
	for i, s := range steps {
		clock.by.Add(int64(s.after))
		if got := a.hears("x"); got != s.want {
			t.Errorf("step %d: heard %v", i, got)
		}
	}
}

// TestWipeGoesOnAfterACrash: at whatever step the process ended, the next start
// finishes, without a vault too.
func TestWipeGoesOnAfterACrash(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"taken", "marked", "destroyed"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			a := w.enrol("Amal", orgHospital).start(t)
			m := w.enrol("Chidi", orgHospital)
			t.Run("unlocked once", func(t *testing.T) { ready(t, 1, m.start(t, m.onDisk(t), knows(a)), a) })
			interrupted(t, w, m, step)
			cfg, err := m.config()
			if step == "destroyed" {
				if !errors.Is(err, vault.ErrWiped) {
					t.Fatalf("the vault on disk: %v", err)
				}
				cfg = m.configWithout(t)
			} else {
				check(t, err)
			}
			cfg.Store, err = m.openStore(&cfg)
			check(t, err)
			knows(a)(&cfg)
			m.destroysKeys(&cfg)
			n, err := Open(t.Context(), cfg)
			check(t, err)
			t.Cleanup(func() { check(t, n.Close()) })
			crl := n.RawStatements()[0]
			publish(t, a, crl)
			select {
			case <-n.Wiped():
			case <-time.After(patience):
				t.Fatal("the wipe was not finished")
			}
		})
	}
}

// interrupted leaves a machine as a crash right after a step of its wipe does.
func interrupted(t *testing.T, w *world, m *machine, step string) {
	t.Helper()
	cfg, err := m.config()
	check(t, err)
	if cfg.Store, err = m.openStore(&cfg); err != nil {
		t.Fatal(err)
	}
	n, err := prepare(cfg)
	check(t, err)
	check(t, n.openLogs(t.Context()))
	_, err = n.take(w.orderWipe(orgHospital, n), false)
	check(t, err)
	order, ok := n.trust.WipeFor(n.cred, n.cfg.Clock.Now())
	if !ok {
		t.Fatal("no order for this device")
	}
	n.wipe = &wipeMark{stage: wipeOrdered, order: *order, at: 1}
	if step != "taken" {
		check(t, n.saveWipe())
	}
	if step == "destroyed" {
		check(t, n.cfg.Vault.Wipe())
	}
	n.cancel()
	check(t, cfg.closeOwned())
}

func TestWipeSelf(t *testing.T) {
	t.Parallel()
	m := newWorld(t).enrol("Amal", orgHospital)
	a := m.start(t, m.destroysKeys)
	g := makeGroup(t, a)
	say(t, a, g, "x")
	check(t, a.WipeSelf(t.Context(), token(t, a)))
	<-a.Wiped()
	if _, err := a.Send(t.Context(), g, message.NewText("y", time.Time{}), "routine"); !errors.Is(err, ErrWiped) {
		t.Errorf("sending after it: %v", err)
	}
	wiped, err := WipeMark(m.dir)
	if err != nil || !wiped {
		t.Errorf("the mark: %v %v", wiped, err)
	}
}

func TestForeignReceiptIsNoReceipt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgHospital).start(t)
	c := w.enrol("Chidi", orgHospital).start(t)
	publish(t, a, w.orderWipe(orgHospital, b))
	order, ok := a.trust.WipeFor(b.cred, time.Now())
	if !ok {
		t.Fatal("no order")
	}
	forged := *order
	forged.Key = c.cred.KeyHash()
	raw, err := identity.NewWipeReceipt(c.cred, c.cfg.Relay.Witness, &forged, w.bundle.MeshID(), time.Now())
	check(t, err)
	if v := a.Receive(t.Context(), c.mesh.ID(), receiptFrame(raw, time.Now())); v == mesh.Accept {
		t.Error("the receipt of another device was taken")
	}
	if v := a.Receive(t.Context(), c.mesh.ID(), receiptFrame(w.revoke(1, orgHospital), time.Now())); v != mesh.Reject {
		t.Errorf("another statement in a receipt's frame: %v", v)
	}
	if v := a.Receive(t.Context(), c.mesh.ID(), frameReceipt); v != mesh.Reject {
		t.Errorf("an empty frame: %v", v)
	}
}

func FuzzParseWipeMark(f *testing.F) {
	for _, m := range []*wipeMark{{stage: wipeOrdered, at: 1}, {stage: wipeDelivered, receipt: []byte{1}}} {
		raw, err := m.marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := parseWipeMark(raw)
		if err != nil {
			return
		}
		again, err := m.marshal()
		check(t, err)
		if string(again) != string(raw) {
			t.Fatal("two encodings of one mark")
		}
	})
}
