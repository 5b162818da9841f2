package node

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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

// wiped waits until n has wiped itself. A neighbour lets it in for half a minute in an hour to hear of its order and to hand over
// its receipt: where a slow machine needs longer, the next hour comes.
func wiped(t *testing.T, clock *testClock, n *Node) {
	t.Helper()
	const window = 4500 // looks, three quarters of a minute
	looks := 0
	eventually(t, "the device has wiped itself", func() bool {
		if looks++; looks%window == 0 {
			clock.step(hearingPause + time.Minute)
		}
		select {
		case <-n.Wiped():
			return true
		default:
			return false
		}
	})
}

// TestWipeOverTheMesh: an authority's order reaches the device by way of another,
// which holds its receipt afterwards; the others see it, and the groups rotate.
func TestWipeOverTheMesh(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var clock testClock
	a := w.enrol("Amal", orgHospital).start(t, withClock(&clock))
	b := w.enrol("Ben", orgAmbulance).start(t, withClock(&clock), knows(a))
	m := w.enrol("Chidi", orgHospital)
	stolen := m.start(t, withClock(&clock), knows(a, b), m.destroysKeys)
	ready(t, 2, a, b, stolen)
	g := makeGroup(t, a, b, stolen)
	inGroup(t, g, a, b, stolen)
	say(t, a, g, "secret")
	shows(t, stolen, g, "secret")
	check(t, stolen.Lock())

	publish(t, b, w.orderWipe(orgHospital, stolen))
	wiped(t, &clock, stolen)
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
	var clock testClock
	a := w.enrol("Amal", orgHospital).start(t, withClock(&clock))
	m := w.enrol("Chidi", orgHospital)
	stolen := m.start(t, withClock(&clock), knows(a), m.destroysKeys)
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
	wiped(t, &clock, stolen)
	eventually(t, "the receipt", func() bool { p := person(t, a, stolen); return p.Wipe != nil && !p.Wipe.Receipt.IsZero() })
}

func TestHearingIsShortAndRare(t *testing.T) {
	t.Parallel()
	clock := testClock{Clock: stillClock{SystemClock(), time.Now()}} // what the steps take is not counted
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
// finishes, without a vault and without a mark too.
func TestWipeGoesOnAfterACrash(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"taken", "marked", "destroyed", "unmarked", "self marked", "self destroyed", "self unmarked"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var clock testClock
			a := w.enrol("Amal", orgHospital).start(t, withClock(&clock))
			m := w.enrol("Chidi", orgHospital)
			t.Run("unlocked once", func(t *testing.T) { ready(t, 1, m.start(t, m.onDisk(t), knows(a)), a) })
			interrupted(t, w, m, step)
			cfg, err := m.config()
			if strings.HasSuffix(step, "destroyed") || strings.HasSuffix(step, "unmarked") {
				if !errors.Is(err, vault.ErrWiped) {
					t.Fatalf("the vault on disk: %v", err)
				}
				cfg = m.configWithout(t)
				cfg.VaultWiped = true
			} else {
				check(t, err)
			}
			cfg.Store, err = m.openStore(&cfg)
			check(t, err)
			knows(a)(&cfg)
			withClock(&clock)(&cfg)
			m.destroysKeys(&cfg)
			n, err := Open(t.Context(), cfg)
			check(t, err)
			t.Cleanup(func() { check(t, n.Close()) })
			if err := n.Unlock(t.Context(), []byte(passphrase)); step != "taken" && !errors.Is(err, ErrWiped) {
				t.Errorf("unlocking it: %v", err)
			}
			if !strings.HasPrefix(step, "self") {
				publish(t, a, n.RawStatements()[0])
			}
			wiped(t, &clock, n)
			if !strings.HasPrefix(step, "self") {
				eventually(t, "the receipt", func() bool { p := person(t, a, n); return p.Wipe != nil && !p.Wipe.Receipt.IsZero() })
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
	n.wipe = &wipeMark{stage: wipeOrdered, self: true, at: 1}
	if !strings.HasPrefix(step, "self") {
		_, err = n.take(w.orderWipe(orgHospital, n), false)
		check(t, err)
		order, ok := n.trust.WipeFor(n.cred, n.cfg.Clock.Now())
		if !ok {
			t.Fatal("no order for this device")
		}
		n.wipe = &wipeMark{stage: wipeOrdered, order: *order, at: 1}
	}
	if step != "taken" && !strings.HasSuffix(step, "unmarked") {
		check(t, n.saveWipe())
	}
	if strings.HasSuffix(step, "destroyed") || strings.HasSuffix(step, "unmarked") {
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

// TestWipeSelfGoesOn: where the wish cannot be noted nothing is destroyed; where a
// key cannot be destroyed it is tried again without being asked.
func TestWipeSelfGoesOn(t *testing.T) {
	t.Parallel()
	m := newWorld(t).enrol("Amal", orgHospital)
	var refused atomic.Int32
	a := m.start(t, func(cfg *Config) {
		cfg.DestroyRelayKeys = func() error {
			if refused.Add(1) <= 1 {
				return errors.New("the disk is busy")
			}
			return os.Remove(filepath.Join(m.dir, "relay.pem"))
		}
	})
	mark := filepath.Join(m.dir, wipeFile)
	check(t, os.MkdirAll(filepath.Join(mark, "in the way"), 0o700))
	if err := a.WipeSelf(t.Context(), token(t, a)); !errors.Is(err, ErrReadOnly) {
		t.Fatalf("a wipe that cannot be noted began: %v", err)
	}
	if s := a.Status(); s.Wiped || s.Locked || refused.Load() != 0 {
		t.Errorf("after a wipe that did not begin: %+v", s)
	}
	check(t, os.RemoveAll(mark))
	if err := a.WipeSelf(t.Context(), token(t, a)); !errors.Is(err, ErrReadOnly) {
		t.Fatalf("a key was not destroyed, and nobody said so: %v", err)
	}
	if wiped, err := WipeMark(m.dir); err != nil || !wiped {
		t.Errorf("the mark of a wipe that is not finished: %v %v", wiped, err)
	}
	select {
	case <-a.Wiped():
	case <-time.After(patience):
		t.Fatal("the wipe was not finished")
	}
}

// TestReceiptIsHandedOnOncePerMinute: a locked device forwards the receipt of
// another, and nobody can make it forward more.
func TestReceiptIsHandedOnOncePerMinute(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgHospital).start(t)
	first, err := b.logs.Entry(t.Context(), b.self, 0)
	check(t, err)
	a.accept(t.Context(), first.Frame())
	publish(t, a, w.orderWipe(orgHospital, b))
	order, ok := a.trust.WipeFor(b.cred, time.Now())
	if !ok {
		t.Fatal("no order")
	}
	raw, err := identity.NewWipeReceipt(b.cred, b.cfg.Relay.Witness, order, w.bundle.MeshID(), time.Now())
	check(t, err)
	check(t, a.Lock())
	minute := time.Now().Truncate(time.Minute)
	for i, offer := range []struct {
		stamp time.Time
		want  mesh.Verdict
	}{
		{minute, mesh.Accept},
		{minute.Add(time.Second), mesh.Ignore},
		{minute.Add(30 * time.Minute), mesh.Ignore},
		{minute.Add(-30 * time.Minute), mesh.Ignore},
		{minute.Add(time.Minute), mesh.Accept},
		{minute, mesh.Ignore},
	} {
		if v := a.Receive(t.Context(), b.mesh.ID(), receiptFrame(raw, offer.stamp)); v != offer.want {
			t.Errorf("offer %d: verdict %v, want %v", i, v, offer.want)
		}
	}
	if r, ok := a.trust.ReceiptFor(order.ID); !ok || r.Key != b.cred.KeyHash() {
		t.Error("the receipt was not taken")
	}
	check(t, a.Unlock(t.Context(), []byte(passphrase))) // it stands in its log from here on
	check(t, a.Lock())
	if v := a.Receive(t.Context(), b.mesh.ID(), receiptFrame(raw, minute.Add(2*time.Minute))); v != mesh.Ignore {
		t.Errorf("a receipt that stands in a log was handed on: %v", v)
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
	for _, m := range []*wipeMark{{stage: wipeOrdered, at: 1}, {stage: wipeDelivered, receipt: []byte{1}}, {stage: wipeDestroyed, self: true}} {
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
