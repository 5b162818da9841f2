package node

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tocsin/crypto/group"
	"tocsin/mesh"
	"tocsin/node/message"
)

func TestMessageReachesEveryMember(t *testing.T) {
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a))
	c := w.enrol("Chidi", orgHospital).start(t, knows(a, b))
	outside := w.enrol("Dora", orgHospital).start(t, knows(a, b))
	ready(t, 3, a, b, c, outside)
	g := makeGroup(t, a, b, c)
	say(t, a, g, "Theatre 2 is free")
	shows(t, b, g, "Theatre 2 is free")
	shows(t, c, g, "Theatre 2 is free")
	say(t, b, g, "On our way")
	shows(t, a, g, "Theatre 2 is free", "On our way")
	shows(t, c, g, "Theatre 2 is free", "On our way")

	eventually(t, "both members' receipts", func() bool {
		items, err := a.Messages(g, 0, 1)
		check(t, err)
		return items[0].State == "delivered" && len(items[0].Delivered) == 2
	})
	check(t, b.MarkRead(g))
	eventually(t, "the receipt that it was read", func() bool {
		items, err := a.Messages(g, 0, 1)
		check(t, err)
		mine, err := b.Messages(g, 0, 1)
		check(t, err)
		return len(items[0].Read) == 1 && !mine[0].Unread
	})
	eventually(t, "the outsider carries everything", func() bool {
		return outside.logs.Frontier().Hash() == a.logs.Frontier().Hash()
	})
	if _, err := outside.Messages(g, 0, 0); !errors.Is(err, ErrNotFound) {
		t.Fatalf("a device outside the group: %v", err)
	}
}

func TestLockedNodeReceivesAndShowsOnceUnlocked(t *testing.T) {
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a))
	ready(t, 1, a, b)
	g := makeGroup(t, a, b)
	say(t, a, g, "0")
	shows(t, b, g, "0")
	eventually(t, "the receipt", func() bool {
		items, err := a.Messages(g, 0, 1)
		check(t, err)
		// The sender's own view follows its log, and may come after the reader's.
		return len(items) == 1 && len(items[0].Delivered) == 1
	})

	check(t, b.Lock())
	want := []string{"0"}
	for i := range 100 {
		say(t, a, g, fmt.Sprint(i+1))
		want = append(want, fmt.Sprint(i+1))
	}
	eventually(t, "the locked node holds the entries", func() bool {
		return b.logs.Frontier().Hash() == a.logs.Frontier().Hash()
	})
	if _, err := b.Messages(g, 0, 0); !errors.Is(err, ErrLocked) {
		t.Fatalf("a locked node shows messages: %v", err)
	}
	if _, err := b.Send(t.Context(), g, message.NewText("x", time.Time{}), "routine"); !errors.Is(err, ErrLocked) {
		t.Fatalf("a locked node sends: %v", err)
	}
	items, err := a.Messages(g, -1, 1)
	check(t, err)
	if items[0].State != "saved" {
		t.Fatalf("a locked device gave a receipt: %q", items[0].State)
	}
	check(t, b.Unlock(t.Context(), []byte(passphrase)))
	shows(t, b, g, want...)
	check(t, b.Lock())
	check(t, b.Unlock(t.Context(), []byte(passphrase)))
	shows(t, b, g, want...)
}

func TestDirectConversationNeedsNoName(t *testing.T) {
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a))
	ready(t, 1, a, b)
	c, err := a.CreateGroup(t.Context(), GroupSpec{Kind: "direct", Members: []string{"Ben"}})
	check(t, err)
	g := group.ID(c.ID).String()
	say(t, a, g, "Are you free?")
	shows(t, b, g, "Are you free?")
	if _, err := a.CreateGroup(t.Context(), GroupSpec{Kind: "direct", Members: []string{"Zoe"}}); !errors.Is(err, ErrInvalid) {
		t.Fatalf("a group with a stranger: %v", err)
	}
	if _, err := a.CreateGroup(t.Context(), GroupSpec{Kind: "club"}); !errors.Is(err, ErrInvalid) {
		t.Fatalf("a group of no known kind: %v", err)
	}
}

// TestMessageDrainedBeforeItsEpoch: logs are drained in an order of their own, so
// that a message can come before the announcement that opens it, in the same
// batch. It must be shown all the same.
func TestMessageDrainedBeforeItsEpoch(t *testing.T) {
	w := newWorld(t)
	late := w.enrol("Chidi", orgHospital).start(t)
	low := w.enrol("Amal", orgHospital).start(t, knows(late))
	high := w.enrol("Ben", orgAmbulance).start(t, knows(late, low))
	if low.self.Compare(high.self) > 0 {
		low, high = high, low
	}
	ready(t, 2, late, low, high)
	check(t, late.Lock())
	g := makeGroup(t, high, low, late) // the epoch stands in the log that is drained last
	eventually(t, "the group is known", func() bool { c, err := low.Conversations(); return err == nil && len(c) == 1 })
	say(t, low, g, "first drained")
	eventually(t, "the locked device holds all", func() bool {
		return late.logs.Frontier().Hash() == high.logs.Frontier().Hash() && late.logs.Frontier().Hash() == low.logs.Frontier().Hash()
	})
	check(t, late.Unlock(t.Context(), []byte(passphrase)))
	shows(t, late, g, "first drained")
	if n := late.Status().Waiting; n != 0 {
		t.Fatalf("%d entries are said to wait", n)
	}
}

func TestPartitionHealsWithEverything(t *testing.T) {
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a))
	ready(t, 1, a, b)
	g := makeGroup(t, a, b)
	say(t, a, g, "before")
	shows(t, b, g, "before")
	check(t, b.SetOnline(false))
	say(t, a, g, "while away")
	say(t, b, g, "alone")
	check(t, b.SetOnline(true))
	for _, n := range []*Node{a, b} {
		eventually(t, "both hold both", func() bool { return len(texts(t, n, g)) == 3 })
	}
}

func TestRestartKeepsEverything(t *testing.T) {
	w := newWorld(t)
	m := w.enrol("Amal", orgHospital)
	b := w.enrol("Ben", orgAmbulance).start(t)

	var g string
	var first Sent
	t.Run("first life", func(t *testing.T) {
		a := m.start(t, m.onDisk(t), knows(b))
		ready(t, 1, a, b)
		g = makeGroup(t, a, b)
		first = say(t, a, g, "one")
		shows(t, a, g, "one")
	})
	t.Run("second life", func(t *testing.T) {
		a := m.start(t, m.onDisk(t), knows(b))
		shows(t, a, g, "one")
		second := say(t, a, g, "two")
		if second.Seq <= first.Seq {
			t.Fatalf("sequence number %d after %d", second.Seq, first.Seq)
		}
		shows(t, b, g, "one", "two")
		report, err := a.VerifyLogs(t.Context(), nil)
		check(t, err)
		if !report.OK() || report.Entries == 0 {
			t.Fatalf("the logs do not verify: %+v", report)
		}
	})
}

func TestLateMemberReadsWhatIsSentAfter(t *testing.T) {
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a))
	c := w.enrol("Chidi", orgHospital).start(t, knows(a, b))
	ready(t, 2, a, b, c)
	events := b.Subscribe(t.Context())
	g := makeGroup(t, a, b)
	for e := range events {
		if e == (Event{Type: EventGroup, Group: g}) {
			break // a member is told of the group before anything is said in it
		}
	}
	say(t, a, g, "before")
	shows(t, b, g, "before")
	check(t, a.AddMember(t.Context(), g, "Chidi"))
	say(t, a, g, "after")
	shows(t, c, g, "after")
	shows(t, b, g, "before", "after")
}

func TestClockBeforeCredentialRefusesToSign(t *testing.T) {
	w := newWorld(t)
	var clock testClock
	a := w.enrol("Amal", orgHospital).start(t, withClock(&clock))
	g := makeGroup(t, a)
	clock.by.Store(int64(-25 * time.Hour))
	_, err := a.Send(t.Context(), g, message.NewText("x", time.Time{}), "routine")
	if !errors.Is(err, ErrInvalid) {
		t.Fatalf("a clock a day slow: %v", err)
	}
}

// testClock is the machine's clock, wrong by as much as a test says. Time that
// step lets pass ends the waits that it is long enough for.
type testClock struct {
	Clock
	by      atomic.Int64
	stopped atomic.Bool // no wait that begins now ends but by gate
	gate    chan time.Time
	waits   atomic.Int64 // waits begun since then

	mu     sync.Mutex
	timers []testTimer // guarded by mu
}

type testTimer struct {
	at time.Time
	ch chan time.Time
}

func withClock(c *testClock) func(*Config) {
	return func(cfg *Config) {
		if c.Clock == nil { // several nodes may share one
			c.Clock = cfg.Clock
		}
		cfg.Clock = c
	}
}

func (c *testClock) Now() time.Time { return c.Clock.Now().Round(0).Add(time.Duration(c.by.Load())) }

func (c *testClock) After(d time.Duration) <-chan time.Time {
	if c.stopped.Load() {
		c.waits.Add(1)
		return c.gate
	}
	ch := make(chan time.Time, 1)
	c.mu.Lock()
	c.timers = append(c.timers, testTimer{c.Now().Add(d), ch})
	c.mu.Unlock()
	time.AfterFunc(d, c.ring)
	return ch
}

// ring ends every wait whose time has come.
func (c *testClock) ring() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.Now()
	c.timers = slices.DeleteFunc(c.timers, func(t testTimer) bool {
		if t.at.After(now) {
			return false
		}
		t.ch <- now
		return true
	})
}

// step lets d pass at once. A loop may have read the clock before it and begin to
// wait only after it: it waits d too long then, so that who waits for what a loop
// does lets time [testClock.pass].
func (c *testClock) step(d time.Duration) {
	c.by.Add(int64(d))
	c.ring()
}

// pass lets time go by, each at a time, until cond holds.
func (c *testClock) pass(t testing.TB, what string, each time.Duration, cond func() bool) {
	t.Helper()
	eventually(t, what, func() bool {
		if cond() {
			return true
		}
		c.step(each)
		return false
	})
}

// TestLockedWhileWaitingForAnEpoch: a device may be locked while a send of its
// own waits whether another member announces an epoch first.
func TestLockedWhileWaitingForAnEpoch(t *testing.T) {
	clock := testClock{gate: make(chan time.Time)}
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t, withClock(&clock))
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a))
	ready(t, 1, a, b)
	g := makeGroup(t, a, b)
	clock.by.Store(int64(25 * time.Hour)) // the daily rotation is due
	clock.stopped.Store(true)             // and the wait does not end by itself
	sent := make(chan error)
	go func() {
		_, err := a.Send(t.Context(), g, message.NewText("x", time.Time{}), "routine")
		sent <- err
	}()
	eventually(t, "the send waits", func() bool { return clock.waits.Load() > 0 })
	check(t, a.Lock())
	for {
		select {
		case clock.gate <- time.Now():
		case err := <-sent:
			if !errors.Is(err, ErrLocked) {
				t.Fatalf("the send: %v", err)
			}
			return
		}
	}
}

// TestTicketIsRenewedWhileUnlocked: a device that nobody locks for a week must
// not fall out of the mesh.
func TestTicketIsRenewedWhileUnlocked(t *testing.T) {
	var clock testClock
	a := newWorld(t).enrol("Amal", orgHospital).start(t, withClock(&clock))
	first := a.ticketNotAfter()
	upkeep := func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		check(t, a.upkeep(t.Context(), upkeepInterval))
	}
	upkeep()
	if got := a.ticketNotAfter(); !got.Equal(first) {
		t.Fatalf("a fresh ticket was renewed: %v, then %v", first, got)
	}
	clock.by.Store(int64(25 * time.Hour))
	upkeep()
	if got := a.ticketNotAfter(); got.Sub(first) < 24*time.Hour {
		t.Fatalf("a day later the ticket still ends on %v", got)
	}
	check(t, a.Lock())
	clock.by.Store(int64(9 * 24 * time.Hour))
	upkeep()
	if !strings.Contains(a.Status().Problem, "unlock") {
		t.Fatalf("a locked device renewed its lease: %q", a.Status().Problem)
	}
}

func TestAcceptVerdicts(t *testing.T) {
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t)
	first, err := b.logs.Entry(t.Context(), b.self, 0)
	check(t, err)
	second, err := b.logs.Entry(t.Context(), b.self, 1)
	check(t, err)

	if v := a.accept(t.Context(), second.Frame())[0].verdict; v != mesh.Ignore {
		t.Fatalf("an entry of a not yet known author: %v", v)
	}
	if v := a.accept(t.Context(), first.Frame())[0].verdict; v != mesh.Accept {
		t.Fatalf("the first entry: %v", v)
	}
	if head, _ := a.logs.Head(b.self); head.Next != 2 {
		t.Fatalf("the entry that waited was not released: %d", head.Next)
	}
	if v := a.accept(t.Context(), first.Frame())[0].verdict; v != mesh.Ignore {
		t.Fatalf("a known entry: %v", v)
	}
	frame := first.Frame()
	for i := range frame {
		bad := append([]byte(nil), frame...)
		bad[i] ^= 1
		if v := a.accept(t.Context(), bad)[0].verdict; v != mesh.Reject {
			t.Fatalf("byte %d flipped: %v", i, v)
		}
	}
	for i := range frame {
		if v := a.accept(t.Context(), frame[:i])[0].verdict; v != mesh.Reject {
			t.Fatalf("cut at %d: %v", i, v)
		}
	}
	if a.Metrics().Refused != uint64(2*len(frame)) {
		t.Fatalf("%d refusals counted, want %d", a.Metrics().Refused, 2*len(frame))
	}
}

// TestOvertakenEntryIsStillHandedOn: gossip may hand in seq 3 before seq 2; both
// must be forwarded.
func TestOvertakenEntryIsStillHandedOn(t *testing.T) {
	var clock testClock
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t, withClock(&clock))
	b := w.enrol("Ben", orgAmbulance).start(t)
	g := makeGroup(t, b)
	say(t, b, g, "x")
	head, _ := b.logs.Head(b.self)
	frames := make([][]byte, head.Next)
	for seq := range frames {
		e, err := b.logs.Entry(t.Context(), b.self, uint64(seq))
		check(t, err)
		frames[seq] = e.Frame()
	}
	last := len(frames) - 1
	a.accept(t.Context(), frames[:last-1]...)
	clock.stopped.Store(true)
	verdict := make(chan mesh.Verdict)
	go func() { verdict <- a.Receive(t.Context(), b.mesh.ID(), frames[last]) }()
	eventually(t, "the last entry waits", func() bool { return a.logs.Stats().Penned == 1 })
	if v := a.Receive(t.Context(), b.mesh.ID(), frames[last-1]); v != mesh.Accept {
		t.Fatalf("the entry in order: %v", v)
	}
	if v := <-verdict; v != mesh.Accept {
		t.Fatalf("the entry that came early: %v", v)
	}
}

// TestForeignAuthorStaysInPen: an admitted neighbour passes on an entry whose
// author's credential is another mesh's.
func TestForeignAuthorStaysInPen(t *testing.T) {
	a := newWorld(t).enrol("Amal", orgHospital).start(t)
	b := newWorld(t).enrol("Mallory", orgHospital).start(t)
	first, err := b.logs.Entry(t.Context(), b.self, 0)
	check(t, err)
	if v := a.accept(t.Context(), first.Frame())[0].verdict; v != mesh.Ignore {
		t.Fatalf("verdict %v", v)
	}
	if _, ok := a.logs.Head(b.self); ok {
		t.Fatal("a foreign author got a log")
	}
	people, err := a.People()
	check(t, err)
	if len(people) != 1 {
		t.Fatalf("a foreign author is shown among the people: %v", people)
	}
}

func FuzzParseControl(f *testing.F) {
	f.Add([]byte{1, 0, 1, 9})
	f.Fuzz(func(t *testing.T, raw []byte) {
		typ, content, err := parseControl(raw)
		if err != nil {
			return
		}
		again, err := marshalControl(typ, content)
		check(t, err)
		if string(again) != string(raw) {
			t.Fatal("two encodings of one control entry")
		}
	})
}

func FuzzParseOpenedRecord(f *testing.F) {
	seed, err := (&openedRecord{payload: []byte("x"), flags: flagProvable}).marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := parseOpenedRecord(raw)
		if err != nil {
			return
		}
		again, err := r.marshal()
		check(t, err)
		if string(again) != string(raw) {
			t.Fatal("two encodings of one record")
		}
	})
}
