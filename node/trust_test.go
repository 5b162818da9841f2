package node

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/node/inbox"
)

// revoke is a CRL of an organisation's authority that takes devices out from now
// on.
func (w *world) revoke(number uint64, org string, out ...*Node) []byte {
	w.t.Helper()
	now := time.Now().Add(2 * time.Second) // statements count whole seconds, and a test is faster
	crl := identity.CRL{Number: number, Time: now}
	for _, n := range out {
		crl.Revoked = append(crl.Revoked, identity.Revoked{Key: n.cred.KeyHash(), Since: now})
	}
	raw, err := w.authorities[org].CRL(w.bundle.MeshID(), crl)
	check(w.t, err)
	return raw
}

// orderWipe is an authority's order that a device wipes itself.
func (w *world) orderWipe(org string, n *Node) []byte {
	w.t.Helper()
	now := time.Now()
	raw, err := w.authorities[org].Wipe(w.bundle.MeshID(), identity.Wipe{Time: now, Key: n.cred.KeyHash(), NotAfter: now.Add(30 * 24 * time.Hour)})
	check(w.t, err)
	return raw
}

func publish(t testing.TB, n *Node, raw []byte) StatementInfo {
	t.Helper()
	info, err := n.PublishStatement(t.Context(), raw)
	check(t, err)
	return info
}

// person returns what n knows of the device of other.
func person(t testing.TB, n, other *Node) Person {
	t.Helper()
	people, err := n.People()
	check(t, err)
	for _, p := range people {
		if p.Log == other.self.String() {
			return p
		}
	}
	return Person{}
}

// linked reports whether two nodes are neighbours.
func linked(a, b *Node) bool {
	return slices.ContainsFunc(a.Peers(), func(p Peer) bool { return p.ID == b.mesh.ID() })
}

// TestRevocationCutsRotatesAndIsShown: one statement, published by one device, ends
// the connections of the revoked device everywhere, takes it out of the next epoch
// and puts a badge beside its name, and what it said before stays as it was.
func TestRevocationCutsRotatesAndIsShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a))
	stolen := w.enrol("Chidi", orgHospital).start(t, knows(a, b))
	ready(t, 2, a, b, stolen)
	g := makeGroup(t, a, b, stolen)
	inGroup(t, g, a, b, stolen)
	say(t, stolen, g, "before")
	shows(t, b, g, "before")
	check(t, a.Lock()) // it must take the statement all the same
	eventually(t, "they are neighbours", func() bool { return linked(a, stolen) && linked(b, stolen) })

	info := publish(t, b, w.revoke(1, orgHospital, stolen))
	if !info.New || !info.Carried || info.Kind != "crl" {
		t.Errorf("what was published: %+v", info)
	}
	eventually(t, "both have cut the connection", func() bool { return !linked(a, stolen) && !linked(b, stolen) })
	check(t, a.Unlock(t.Context(), []byte(passphrase)))
	for _, n := range []*Node{a, b} {
		eventually(t, "the badge", func() bool {
			p := person(t, n, stolen)
			return p.Standing.State == "revoked" && !p.Valid && p.Standing.Words != ""
		})
		items, err := n.Messages(g, 0, 0)
		check(t, err)
		if it := items[0]; !it.From.Verified || it.From.Badge != inbox.BadgeRevoked {
			t.Errorf("what it said before: verified %v, badge %q", it.From.Verified, it.From.Badge)
		}
	}
	roster, err := a.Roster(g)
	check(t, err)
	for _, m := range roster {
		if m.Excluded != (m.Log == stolen.self.String()) {
			t.Errorf("%s: excluded %v", m.Name, m.Excluded)
		}
	}
	say(t, a, g, "without them")
	shows(t, b, g, "before", "without them")
	head, _ := a.logs.Head(a.self)
	for seq := range head.Next { // as a stick would bring it
		e, err := a.logs.Entry(t.Context(), a.self, seq)
		check(t, err)
		stolen.accept(t.Context(), e.Frame())
	}
	eventually(t, "the revoked device holds the message", func() bool {
		held, _ := stolen.logs.Head(a.self)
		return held == head && stolen.Status().Waiting >= 1
	})
	if got := texts(t, stolen, g); len(got) != 1 {
		t.Errorf("the revoked device reads %q", got)
	}
	if again := publish(t, a, w.authorityStatements(a)[0]); again.New {
		t.Error("a statement that is known was called new")
	}
}

// authorityStatements are those in force on n.
func (w *world) authorityStatements(n *Node) [][]byte { return n.RawStatements() }

// TestStatementOutlivesARestart: the file, its loss and its damage all end with
// the device still revoked, and an older list is refused.
func TestStatementOutlivesARestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gone := w.enrol("Chidi", orgHospital).start(t)
	m := w.enrol("Amal", orgHospital)
	older := w.revoke(1, orgHospital)
	newer := w.revoke(2, orgHospital, gone)
	first, err := gone.logs.Entry(t.Context(), gone.self, 0)
	check(t, err)
	t.Run("taken", func(t *testing.T) {
		a := m.start(t, m.onDisk(t))
		a.accept(t.Context(), first.Frame())
		publish(t, a, newer)
	})
	file := filepath.Join(m.dir, trustFile)
	for name, spoil := range map[string]func(t *testing.T){
		"kept":    func(*testing.T) {},
		"missing": func(t *testing.T) { check(t, os.Remove(file)) },
		"damaged": func(t *testing.T) {
			raw, err := os.ReadFile(file)
			check(t, err)
			raw[len(raw)/2] ^= 1
			check(t, os.WriteFile(file, raw, 0o600))
		},
		"cut": func(t *testing.T) { check(t, os.Truncate(file, 10)) },
	} {
		t.Run(name, func(t *testing.T) {
			spoil(t)
			a := m.start(t, m.onDisk(t))
			if s := person(t, a, gone).Standing.State; s != "revoked" {
				t.Errorf("after the restart the device is %s", s)
			}
			if _, err := a.PublishStatement(t.Context(), older); !errors.Is(err, ErrInvalid) {
				t.Errorf("an older list: %v", err)
			}
		})
	}
}

// TestStatementTakenLockedIsCarriedOnceUnlocked: a locked device acts at once and
// signs later.
func TestStatementTakenLockedIsCarriedOnceUnlocked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.enrol("Amal", orgHospital)
	other := w.enrol("Ben", orgAmbulance).start(t)
	crl := w.revoke(1, orgAmbulance, other)
	t.Run("locked", func(t *testing.T) {
		a := m.start(t, m.onDisk(t))
		check(t, a.Lock())
		if info := publish(t, a, crl); info.Carried || !info.New {
			t.Errorf("published while locked: %+v", info)
		}
	})
	t.Run("unlocked", func(t *testing.T) {
		a := m.start(t, m.onDisk(t))
		eventually(t, "it is carried", func() bool { return a.Statements()[0].Carried })
	})
}

// TestEnrolmentBringsStatements: what an enrolment brought holds from the first
// start on, and a device passes on what no log carries.
func TestEnrolmentBringsStatements(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gone := w.enrol("Chidi", orgHospital).start(t)
	store, err := identity.NewTrustStore(w.bundle)
	check(t, err)
	_, err = store.Take(w.revoke(1, orgHospital, gone), time.Now())
	check(t, err)
	m := w.enrol("Amal", orgHospital)
	check(t, SaveTrust(m.dir, store.Snapshot()))
	a := m.start(t)
	if _, out := a.trust.RevokedDevice(gone.cred); !out {
		t.Error("the list that came with the enrolment is not known")
	}
	a.mu.Lock()
	check(t, a.upkeep(t.Context(), upkeepInterval))
	a.mu.Unlock()
	if s := a.Statements(); len(s) != 1 || !s[0].Carried {
		t.Errorf("after an hour: %+v", s)
	}
}

func TestRevocationAgeIsShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var clock testClock
	a := w.enrol("Amal", orgHospital).start(t, withClock(&clock))
	state := func(org string) string {
		for _, r := range a.Status().Revocation {
			if r.Issuer == org {
				return r.State
			}
		}
		return "absent"
	}
	if s := state(orgHospital); s != "none" {
		t.Errorf("before the first list: %s", s)
	}
	publish(t, a, w.revoke(1, orgHospital))
	for _, at := range []struct {
		days int
		want string
	}{{0, "fresh"}, {2, "ageing"}, {8, "stale"}} {
		clock.by.Store(int64(time.Duration(at.days) * 24 * time.Hour))
		if s := state(orgHospital); s != at.want {
			t.Errorf("after %d days: %s, want %s", at.days, s, at.want)
		}
	}
	g := makeGroup(t, a)
	say(t, a, g, "stale data blocks nothing")
	if s := state(orgAmbulance); s != "none" {
		t.Errorf("another authority: %s", s)
	}
}

// TestDeclaredIncidentGivesGrace: an expired colleague stays in the mesh for 14
// days once the incident is declared, with a badge.
func TestDeclaredIncidentGivesGrace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var clock testClock
	short := identity.Grant{Now: w.issued, Validity: 25 * time.Hour, Roles: []string{"doctor"}}
	old := w.enrolWith("Ben", orgHospital, short).start(t)
	a := w.enrol("Amal", orgHospital).start(t, withClock(&clock), knows(old))
	ready(t, 1, a)
	eventually(t, "they are neighbours", func() bool { return linked(a, old) })
	clock.by.Store(int64(26 * time.Hour))
	if s := person(t, a, old).Standing.State; s != "expired" {
		t.Fatalf("without an incident: %s", s)
	}
	now := clock.Now()
	raw, err := w.authorities[orgHospital].Declare(w.bundle.MeshID(), identity.Declaration{
		Number: 1, Time: now, Declared: true, Name: "Switchboard down", Until: now.Add(7 * 24 * time.Hour)})
	check(t, err)
	publish(t, a, raw)
	if p := person(t, a, old); p.Standing.State != "grace" || !p.Valid {
		t.Errorf("in the incident: %+v", p.Standing)
	}
	if d := a.Status().Declared; len(d) != 1 || d[0].Incident != "Switchboard down" {
		t.Errorf("the status says %+v", d)
	}
}

// TestPostDatedStatementIsTriedAgain: one dated two days ahead does nothing now and
// is not forgotten.
func TestPostDatedStatementIsTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var clock testClock
	a := w.enrol("Amal", orgHospital).start(t, withClock(&clock))
	raw, err := w.authorities[orgHospital].CRL(w.bundle.MeshID(), identity.CRL{Number: 1, Time: time.Now().Add(48 * time.Hour)})
	check(t, err)
	if _, err := a.PublishStatement(t.Context(), raw); !errors.Is(err, ErrInvalid) {
		t.Fatalf("dated two days ahead: %v", err)
	}
	check(t, a.Lock()) // it needs no unlocking
	clock.step(23 * time.Hour)
	a.retryLater()
	if s := a.Statements(); len(s) != 0 {
		t.Errorf("after 23 hours %d statements are in force", len(s))
	}
	clock.step(7 * time.Hour)
	eventually(t, "it is in force a day later", func() bool {
		clock.step(time.Hour) // upkeep looks every hour
		return len(a.Statements()) == 1
	})
}

// TestForgedFutureCrowdsOutNothing: what is dated ahead is not verified yet, so that
// no device may fill the place that is kept for it.
func TestForgedFutureCrowdsOutNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	for by := range byte(100) {
		for i := range byte(10) {
			a.keepLater(deferred{identity.Key{by + 1}, []byte{by, i}})
		}
	}
	a.keeper.mu.Lock()
	kept := len(a.keeper.later)
	a.keeper.mu.Unlock()
	if k := kept; k > maxLater || k < laterEach {
		t.Errorf("%d are kept", k)
	}
	other := w.enrol("Ben", orgAmbulance).start(t)
	if info := publish(t, a, w.revoke(1, orgAmbulance, other)); !info.Carried {
		t.Error("a statement that counts now is not carried")
	}
}

// keptLater is how many statements that are dated ahead wait.
func keptLater(n *Node) int {
	n.keeper.mu.Lock()
	defer n.keeper.mu.Unlock()
	return len(n.keeper.later)
}

// TestClockBehindLosesNoStatement: this device's clock is two days behind, and more
// comes dated ahead than it keeps. Once the clock is right, which an unlock notices,
// what came last counts too, also after a restart.
func TestClockBehindLosesNoStatement(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprint("restart ", restart), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var clock testClock
			ahead := time.Now().Add(48 * time.Hour)
			b := w.enrol("Ben", orgAmbulance).start(t, alone)
			gone := w.enrol("Chidi", orgHospital).start(t, alone)
			b.mu.Lock()
			for i := range laterEach + 2 {
				crl := identity.CRL{Number: uint64(i + 1), Time: ahead.Add(time.Duration(i) * time.Second)}
				if i == laterEach+1 {
					crl.Revoked = []identity.Revoked{{Key: gone.cred.KeyHash(), Since: ahead}}
				}
				raw, err := w.authorities[orgHospital].CRL(w.bundle.MeshID(), crl)
				check(t, err)
				check(t, b.commitControl(t.Context(), controlStatement, raw))
			}
			b.mu.Unlock()
			say(t, b, makeGroup(t, b), "and so on") // the log grows after them
			m := w.enrol("Amal", orgHospital)
			revoked := func(a *Node) bool { _, out := a.trust.RevokedDevice(gone.cred); return out }
			hear := func(t *testing.T) *Node {
				a := m.start(t, alone, m.onDisk(t), withClock(&clock))
				synced(t, a, b)
				if waits := keptLater(a); waits != laterEach || revoked(a) {
					t.Errorf("%d statements wait", waits)
				}
				check(t, a.Lock())
				return a
			}
			if restart {
				t.Run("behind", func(t *testing.T) { hear(t) })
				clock.by.Store(int64(49 * time.Hour))
				cfg, err := m.config()
				check(t, err)
				for _, o := range []func(*Config){alone, m.onDisk(t), withClock(&clock)} {
					o(&cfg)
				}
				a, err := Open(t.Context(), cfg)
				check(t, err)
				t.Cleanup(func() { check(t, a.Close()) })
				if !revoked(a) {
					t.Error("after a start with the clock put right the last list does not count")
				}
				return
			}
			a := hear(t)
			clock.by.Store(int64(49 * time.Hour)) // no timer ends, nothing hourly runs
			check(t, a.Unlock(t.Context(), []byte(passphrase)))
			if !revoked(a) {
				t.Error("after an unlock with the clock put right the last list does not count")
			}
			if kept := keptLater(a); kept != 0 {
				t.Errorf("%d statements are kept that are in force", kept)
			}
		})
	}
}

// TestForgedStrangersCrowdOutNothing: a list of an authority that joins waits for
// the bundle that names it; a member carries so many of an authority that nobody
// names that the trust store drops it. It counts all the same once the bundle is
// here, also where this device restarted in between.
func TestForgedStrangersCrowdOutNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	author := func(org string) *identity.Authority {
		a, err := identity.NewAuthority(org, "Authority of "+org, w.issued, 365*24*time.Hour, rand.Reader)
		check(t, err)
		return a
	}
	joins, stranger := author("third.nhs.example"), author("forged.example")
	carry := func(n *Node, a *identity.Authority, lists int) {
		n.mu.Lock()
		defer n.mu.Unlock()
		for i := range lists {
			raw, err := a.CRL(w.bundle.MeshID(), identity.CRL{Number: uint64(i + 1), Time: time.Now().Add(time.Duration(i) * time.Second)})
			check(t, err)
			check(t, n.commitControl(t.Context(), controlStatement, raw))
		}
	}
	b, thief := w.enrol("Ben", orgAmbulance).start(t, alone), w.enrol("Chidi", orgHospital).start(t, alone)
	carry(b, joins, 1)
	carry(thief, stranger, 100)
	m := w.enrol("Amal", orgHospital)
	t.Run("before the restart", func(t *testing.T) {
		a := m.start(t, alone, m.onDisk(t))
		synced(t, a, b)
		synced(t, a, thief)
	})
	a := m.start(t, alone, m.onDisk(t))
	next, err := identity.NextBundle(w.bundle, time.Now(), w.authorities[orgHospital].Certificate(), w.authorities[orgAmbulance].Certificate(), joins.Certificate())
	check(t, err)
	for _, org := range []string{orgHospital, orgAmbulance} {
		next, err = w.authorities[org].SignBundle(next)
		check(t, err)
	}
	raw, err := identity.BundleStatement(next)
	check(t, err)
	publish(t, a, raw)
	eventually(t, "the list of the authority that joined is in force", func() bool {
		return slices.ContainsFunc(a.Statements(), func(s StatementInfo) bool { return s.Kind == "crl" && s.Issuer == "third.nhs.example" })
	})
}

// TestCarriedMakesRoom: once the account of what stands in logs is full, what is out
// of force leaves it, and what comes then is not signed again by everybody.
func TestCarriedMakesRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t, alone)
	publish(t, a, w.revoke(1, orgAmbulance))
	a.keeper.mu.Lock()
	for i := len(a.keeper.carried); i < maxCarried; i++ {
		a.keeper.carried[[32]byte{1, byte(i), byte(i >> 8)}] = struct{}{}
	}
	a.keeper.mu.Unlock()
	publish(t, a, w.revoke(1, orgHospital))
	if s := a.Statements(); len(s) != 2 || !s[0].Carried || !s[1].Carried {
		t.Errorf("%+v", s)
	}
	if n := len(a.keeper.carried); n != 2 {
		t.Errorf("%d hashes are kept", n)
	}
}

func TestTrustFileRoundTrip(t *testing.T) {
	k := newKeeper()
	k.cursors[identity.LogID{Author: identity.Key{1}, Incarnation: 2}] = 3
	k.carried[[32]byte{4}] = struct{}{}
	k.pending, k.mine = [][]byte{{5}, {6, 7}}, [][]byte{{8}}
	k.later = []deferred{{identity.Key{9}, []byte{10}}}
	k.orders[identity.LogID{Author: identity.Key{11}}] = struct{}{}
	k.early[identity.LogID{Author: identity.Key{12}}] = 13
	raw, err := k.marshal([]byte("snapshot"))
	check(t, err)
	got, snapshot, err := parseTrustFile(raw)
	check(t, err)
	again, err := got.marshal(snapshot)
	check(t, err)
	if string(snapshot) != "snapshot" || string(again) != string(raw) {
		t.Error("not what was written")
	}
	for i := range raw {
		raw[i] ^= 1
		if _, _, err := parseTrustFile(raw); err == nil {
			t.Errorf("byte %d flipped was taken", i)
		}
		raw[i] ^= 1
	}
}

// TestStatementBehindAnAbsentBody: the cursor of a log waits at a control entry
// whose body has not come, and a statement after it counts all the same.
func TestStatementBehindAnAbsentBody(t *testing.T) {
	k := newKeeper()
	id := identity.LogID{Author: identity.Key{1}}
	n := &Node{keeper: k}
	absent := &ledger.Entry{Header: ledger.Header{Author: id.Author, Seq: 0, Kind: ledger.KindControl}, Absent: true}
	n.heed(absent, 1)
	data := &ledger.Entry{Header: ledger.Header{Author: id.Author, Seq: 1, Kind: ledger.KindData}, Absent: true}
	n.heed(data, 2)
	if k.cursors[id] != 0 || len(k.behind) != 0 {
		t.Errorf("cursor %d, behind %v", k.cursors[id], k.behind)
	}
	absent.Absent, absent.Erased = false, true // as good as come: there is nothing to read
	n.heed(absent, 2)
	if _, ok := k.behind[id]; k.cursors[id] != 1 || !ok {
		t.Errorf("after the body: cursor %d, behind %v", k.cursors[id], k.behind)
	}
}

// TestFewAnnounceAfterOneRevocation: 200 devices that all want to send when one
// list comes wait as the rule says, an announcement takes a tenth of a second to
// arrive, and no more than three announce.
func TestFewAnnounceAfterOneRevocation(t *testing.T) {
	const devices, arrival = 200, 100 * time.Millisecond
	rng := newRand(t)
	worst, sum := 0, 0
	const rounds = 2000
	for range rounds {
		waits := make([]time.Duration, devices)
		for i := range waits {
			waits[i] = announceWait(rng.Float64(), devices)
		}
		first := slices.Min(waits)
		announced := 0
		for _, w := range waits {
			if w < first+arrival {
				announced++
			}
			if w < 0 || w > maxAnnounceWait {
				t.Fatalf("a wait of %v", w)
			}
		}
		if announced > 3 {
			worst++
		}
		sum += announced
	}
	if mean := float64(sum) / rounds; mean > 1.5 || worst > rounds/100 {
		t.Errorf("%.2f announcements on average, more than three in %d of %d rounds", mean, worst, rounds)
	}
}
