package node

import (
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"tocsin/crypto/group"
	"tocsin/ledger"
	"tocsin/node/message"
)

// feed hands every entry of a log that from holds to another node, as a stick
// would.
func feed(t testing.TB, from, to *Node, log *Node) {
	t.Helper()
	head, _ := from.logs.Head(log.self)
	check(t, from.logs.Entries(t.Context(), log.self, 0, head.Next, func(e *ledger.Entry) error {
		to.accept(t.Context(), e.Frame())
		return nil
	}))
}

// TestLateJoinerIsHandedWhatWasSaid: by a member, on request, and never by itself.
func TestLateJoinerIsHandedWhatWasSaid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a))
	c := w.enrol("Chidi", orgHospital).start(t, knows(a, b))
	ready(t, 2, a, b, c)
	g := makeGroup(t, a, b)
	inGroup(t, g, b)
	say(t, a, g, "one")
	shows(t, b, g, "one")
	say(t, b, g, "two")
	shows(t, a, g, "one", "two")
	if _, err := a.HandOver(t.Context(), g, "Chidi", time.Time{}); err == nil {
		t.Fatal("handed over to one who is no member")
	}
	check(t, a.AddMember(t.Context(), g, "Chidi"))
	inGroup(t, g, c)
	say(t, a, g, "three")
	shows(t, c, g, "three")
	k, err := a.HandOver(t.Context(), g, "Chidi", time.Time{})
	check(t, err)
	if k != 3 {
		t.Errorf("%d messages were handed over", k)
	}
	shows(t, c, g, "one", "two", "three")
	items, err := c.Messages(g, 0, 0)
	check(t, err)
	for i, by := range []string{"Amal", "Amal", ""} {
		if items[i].HandedOver != by || !items[i].Provable {
			t.Errorf("message %d: handed over by %q, provable %v", i, items[i].HandedOver, items[i].Provable)
		}
	}
	if items[1].From.Name != "Ben" {
		t.Errorf("the second message is shown as that of %q", items[1].From.Name)
	}
	shows(t, b, g, "one", "two", "three")
	check(t, c.Lock())
	check(t, c.Unlock(t.Context(), []byte(passphrase)))
	shows(t, c, g, "one", "two", "three")
}

// TestHandedOverBeforeItsEntry: the hand-over may come before what it is about.
func TestHandedOverBeforeItsEntry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a))
	c := w.enrol("Chidi", orgHospital).start(t)
	ready(t, 1, a, b)
	g := makeGroup(t, a, b)
	inGroup(t, g, b)
	say(t, b, g, "from Ben")
	shows(t, a, g, "from Ben")
	feed(t, c, a, c)
	ready(t, 2, a)
	check(t, a.AddMember(t.Context(), g, c.self.String()))
	k, err := a.HandOver(t.Context(), g, "Chidi", time.Time{})
	check(t, err)
	if k != 1 {
		t.Fatalf("%d messages were handed over", k)
	}
	feed(t, a, c, a)
	eventually(t, "it waits for its entry", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.open.handed.sum.items == 1
	})
	check(t, c.Lock())
	check(t, c.Unlock(t.Context(), []byte(passphrase)))
	feed(t, b, c, b)
	shows(t, c, g, "from Ben")
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open.handed.sum.items != 0 {
		t.Error("what was handed over still waits for its entry")
	}
}

// TestOffForTenDaysAndAStickAfterTwenty: a device that was off reads what was said
// meanwhile, and a stick from one that was cut off brings the rest: every message
// is read.
func TestOffForTenDaysAndAStickAfterTwenty(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var clock testClock
	a := w.enrol("Amal", orgHospital).start(t, withClock(&clock))
	m := w.enrol("Ben", orgAmbulance)
	c := w.enrol("Chidi", orgHospital).start(t, withClock(&clock), knows(a))
	var g string
	t.Run("first life", func(t *testing.T) {
		b := m.start(t, m.onDisk(t), withClock(&clock), knows(a, c))
		ready(t, 2, a, b, c)
		g = makeGroup(t, a, b, c)
		inGroup(t, g, a, b, c)
		say(t, a, g, "a 0")
		shows(t, b, g, "a 0")
		shows(t, c, g, "a 0")
	})
	check(t, c.SetOnline(false))
	all := map[string]bool{"a 0": true}
	speak := func(n *Node, text string) {
		_, err := n.Send(t.Context(), g, message.NewText(text, time.Time{}), "stat") // without the wait before an epoch
		check(t, err)
		all[text] = true
	}
	day := func(i int) {
		clock.step(24 * time.Hour)
		for _, n := range []*Node{a, c} {
			n.mu.Lock()
			check(t, n.upkeep(t.Context(), upkeepInterval))
			n.mu.Unlock()
		}
		speak(a, fmt.Sprintf("a %d", i))
		speak(c, fmt.Sprintf("c %d", i))
	}
	for i := range 10 {
		day(i + 1)
	}
	b := m.start(t, m.onDisk(t), withClock(&clock), knows(a))
	eventually(t, "ten days of messages", func() bool { return len(texts(t, b, g)) == 11 })
	for i := range 10 {
		day(i + 11)
	}
	for _, n := range []*Node{a, b} {
		feed(t, c, n, c)
		eventually(t, n.cred.Claims.Name+" reads every message", func() bool { return len(texts(t, n, g)) == len(all) })
		for _, text := range texts(t, n, g) {
			if !all[text] {
				t.Errorf("%q was never said", text)
			}
		}
		if s := n.Status(); s.Waiting != 0 {
			t.Errorf("%s: %d entries wait", n.cred.Claims.Name, s.Waiting)
		}
	}
}

// TestSealedToADestroyedKeyIsAskedForAgain: a device that was cut off for longer
// than its prekeys live asks who sealed to them, who hands over what it missed.
func TestSealedToADestroyedKeyIsAskedForAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var clock testClock
	long := w.grant(200 * 24 * time.Hour)
	a := w.enrolWith("Amal", orgHospital, long).start(t, withClock(&clock))
	c := w.enrolWith("Chidi", orgHospital, long).start(t, withClock(&clock), knows(a))
	ready(t, 1, a, c)
	g := makeGroup(t, a, c)
	inGroup(t, g, a, c)
	say(t, a, g, "before")
	shows(t, c, g, "before")
	check(t, c.SetOnline(false))
	clock.step(25 * time.Hour) // a new epoch is due
	say(t, a, g, "to a key that is gone")
	for range 65 * 24 / 20 { // time that both devices run through
		clock.step(20 * time.Hour)
		for _, n := range []*Node{a, c} {
			n.mu.Lock()
			check(t, n.upkeep(t.Context(), 20*time.Hour))
			n.mu.Unlock()
		}
	}
	check(t, c.SetOnline(true))
	clock.pass(t, "it is handed over", askRest/10, func() bool { return len(texts(t, c, g)) == 2 })
	shows(t, c, g, "before", "to a key that is gone")
	if n := c.Metrics().Unreadable; n != 1 {
		t.Errorf("%d requests", n)
	}
	say(t, a, g, "after")
	shows(t, c, g, "before", "to a key that is gone", "after")
}

// TestAllThatIsLostIsAskedFor: what a device missed is more than one question may name, and its headers come long before
// it. The device asks once it is all here, and a day later for the rest.
func TestAllThatIsLostIsAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var clock testClock
	long := w.grant(200 * 24 * time.Hour)
	a := w.enrolWith("Amal", orgHospital, long).start(t, withClock(&clock))
	c := w.enrolWith("Chidi", orgHospital, long).start(t, withClock(&clock), knows(a))
	ready(t, 1, a, c)
	g := makeGroup(t, a, c)
	inGroup(t, g, a, c)
	want := []string{"before"}
	say(t, a, g, "before")
	shows(t, c, g, want...)
	check(t, c.SetOnline(false))
	clock.step(25 * time.Hour) // a new epoch is due
	for i := range maxHandItems + 20 {
		want = append(want, fmt.Sprint("to a key that is gone ", i))
		say(t, a, g, want[len(want)-1])
	}
	pass := func(d time.Duration) { // time that both devices run through
		clock.step(d)
		for _, n := range []*Node{a, c} {
			n.mu.Lock()
			check(t, n.upkeep(t.Context(), d))
			n.mu.Unlock()
		}
	}
	for range 65 * 24 / 20 {
		pass(20 * time.Hour)
	}
	check(t, c.SetOnline(true))
	clock.pass(t, "the first are handed over", askRest/10, func() bool { return len(texts(t, c, g)) > maxHandItems })
	for range askRounds {
		if len(texts(t, c, g)) == len(want) {
			break
		}
		before := len(texts(t, c, g))
		pass(25 * time.Hour)
		clock.pass(t, "the rest is handed over", askRest/10, func() bool { return len(texts(t, c, g)) > before })
	}
	shows(t, c, g, want...)
	say(t, a, g, "after")
	shows(t, c, g, append(want, "after")...)
	lostHere := func() (k int) {
		check(t, c.cfg.Vault.Scan(prefixLost, func(string, []byte) error { k++; return nil }))
		return k
	}
	clock.pass(t, "nothing is lost any more", time.Hour, func() bool { return lostHere() == 0 })
}

// TestNewcomerIsNotHandedThePastForTheAsking: who was added later asks for what
// was said before, and gets no answer; who was a member does.
func TestNewcomerIsNotHandedThePastForTheAsking(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a))
	d := w.enrol("Dora", orgHospital).start(t, knows(a))
	ready(t, 2, a, b, d)
	g := makeGroup(t, a, b)
	s := say(t, a, g, "before Dora came")
	shows(t, b, g, "before Dora came")
	check(t, a.AddMember(t.Context(), g, "Dora"))
	say(t, a, g, "after")
	shows(t, d, g, "after")
	raw, err := hex.DecodeString(s.ID)
	check(t, err)
	id, err := parseGroupID(g)
	check(t, err)
	asks := func(who *Node) (entries uint64) {
		t.Helper()
		a.mu.Lock()
		defer a.mu.Unlock()
		before, _ := a.logs.Head(a.self)
		batch := newBatch()
		batch.asked = []group.Asked{{From: who.self, Groups: []group.ID{id}, Unreadable: group.Unreadable{Entries: [][32]byte{[32]byte(raw)}}}}
		check(t, a.answer(t.Context(), batch))
		after, _ := a.logs.Head(a.self)
		return after.Next - before.Next
	}
	if n := asks(d); n != 0 {
		t.Fatalf("the newcomer was answered with %d entries", n)
	}
	if n := asks(b); n == 0 {
		t.Fatal("a member was not answered")
	}
}
