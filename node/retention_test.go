package node

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tocsin/crypto/group"
	"tocsin/ledger"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

// halfDays lets time go by, a device in use as any other.
func halfDays(t testing.TB, n *Node, clock *testClock, count int) {
	t.Helper()
	for range count {
		clock.step(12 * time.Hour)
		_, err := n.Retain(t.Context())
		check(t, err)
	}
}

// why a message went; 0 while it is here.
func whyGone(t testing.TB, n *Node, s Sent) goneWhy {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	id := mustID(t, s.ID)
	_, here := n.open.inbox.Message(id)
	mark := n.open.queue.gone[id]
	if here != (mark == nil) {
		t.Errorf("message %s: here %v, its mark %+v", s.ID, here, mark)
	}
	if mark == nil {
		return 0
	}
	return mark.why
}

func standDown(t testing.TB, n *Node, g string, mode message.Mode) Sent {
	t.Helper()
	return speak(t, n, g, &message.Incident{Name: "Bus crash", Mode: mode, State: message.IncidentStoodDown})
}

// TestRetentionErasesAfter30Days: by default, on a virtual clock. What was transferred goes, and exercises; nothing goes that was not transferred, or that a
// hold keeps.
func TestRetentionErasesAfter30Days(t *testing.T) {
	t.Parallel()
	var clock testClock
	w, e := newWorld(t), newEndpoint(t)
	a := w.enrolWith("Amal", orgHospital, w.grant(longCredential)).start(t, recordAt(e), withClock(&clock))
	sent := func(g string) {
		t.Helper()
		reviewAll(t, a, g)
		if p := send(t, a, g); p.State != UploadDone || len(p.Refused) > 0 {
			t.Fatalf("the upload: %+v", p)
		}
	}
	live := declared(t, message.Live, a)
	inRecord, down := say(t, a, live, "in the record"), standDown(t, a, live, message.Live)
	sent(live)
	waits := say(t, a, live, "not in the record")
	kept := declared(t, message.Live, a)
	held := say(t, a, kept, "of a claim")
	standDown(t, a, kept, message.Live)
	sent(kept)
	hold, err := a.PlaceHold(t.Context(), token(t, a), kept, "legal", "a claim")
	check(t, err)
	drill := declared(t, message.Exercise, a)
	rehearsed, drillDown := say(t, a, drill, "not real"), standDown(t, a, drill, message.Exercise)
	open := declared(t, message.Live, a)
	running := say(t, a, open, "of an incident that is not over")
	sent(open)
	c, err := a.CreateGroup(t.Context(), GroupSpec{Kind: "team", Name: "Ward 4"})
	check(t, err)
	team := group.ID(c.ID).String()
	chat := say(t, a, team, "in the record")
	sent(team)
	chatWaits := say(t, a, team, "not in the record")
	all := []Sent{inRecord, down, waits, held, hold, rehearsed, drillDown, running, chat, chatWaits}

	halfDays(t, a, &clock, 59)
	for i, s := range all {
		if why := whyGone(t, a, s); why != 0 {
			t.Fatalf("message %d went after 29 days and a half: %d", i, why)
		}
	}
	halfDays(t, a, &clock, 2)
	for i, s := range all {
		want := goneWhy(0)
		switch s.ID {
		case inRecord.ID, rehearsed.ID, drillDown.ID, chat.ID:
			want = goneRetention
		}
		if why := whyGone(t, a, s); why != want {
			t.Errorf("after 30 days and a half message %d: %d, want %d", i, why, want)
		}
	}
	if v, err := a.Retention(live); err != nil || v.Untransferred != 1 || v.Erasable != 0 || !strings.Contains(strings.Join(v.Kept, " "), "1 do not stand in the record") {
		t.Errorf("what is said of what stays: %+v, %v", v, err)
	}
	// What came into the record and is held no more goes at once.
	sent(live)
	_, err = a.EndHold(t.Context(), token(t, a), kept, hold.ID, "settled")
	check(t, err)
	_, err = a.Retain(t.Context())
	check(t, err)
	for i, s := range []Sent{waits, down, held} {
		if whyGone(t, a, s) != goneRetention {
			t.Errorf("message %d stays though nothing keeps it", i)
		}
	}
	if whyGone(t, a, running) != 0 || whyGone(t, a, chatWaits) != 0 {
		t.Error("what is not over, or not in the record, went")
	}
}

// TestSteppedClockErasesNothing (protocol §1): a clock that is set wrong by a month makes nothing old, also where nothing else would keep it, and neither
// does one that is mended. What is on a device that is switched off most of the time ends all the same.
func TestSteppedClockErasesNothing(t *testing.T) {
	t.Parallel()
	var clock testClock
	w := newWorld(t)
	a := w.enrolWith("Amal", orgHospital, w.grant(longCredential)).start(t, withClock(&clock), func(cfg *Config) { cfg.Retention.BeforeTransfer = true })
	g := declared(t, message.Exercise, a)
	text := say(t, a, g, "not real")
	standDown(t, a, g, message.Exercise)
	_, err := a.Retain(t.Context())
	check(t, err)
	looked := func(when string, want goneWhy) {
		t.Helper()
		check(t, a.Lock())
		check(t, a.Unlock(t.Context(), []byte(passphrase)))
		_, err := a.Retain(t.Context())
		check(t, err)
		if why := whyGone(t, a, text); why != want {
			t.Fatalf("%s: %d, want %d", when, why, want)
		}
	}
	const month = 31 * 24 * time.Hour
	clock.step(month)
	looked("a month ahead", 0)
	if v, err := a.Retention(g); err != nil || v.Erasable != 0 || v.Due.Sub(clock.Now()) < 29*24*time.Hour {
		t.Errorf("what is said of it: %+v, %v", v, err)
	}
	clock.step(-month)
	looked("mended", 0)
	for i := range 31 { // the first counts nothing
		looked(fmt.Sprintf("away %d times", i), 0)
		clock.step(48 * time.Hour)
	}
	looked("away 31 times", goneRetention)
}

// TestRetentionPowerCut: at any place while an incident goes, what is left still knows that it was an exercise and that it is over, and goes next; what comes
// later is of the exercise, and nobody makes it live.
func TestRetentionPowerCut(t *testing.T) {
	t.Parallel()
	var clock testClock
	errCut := errors.New("the power is cut")
	left := -1 // how many steps are let pass; guarded by mu of the node
	w := newWorld(t)
	a := w.enrolWith("Amal", orgHospital, w.grant(longCredential)).start(t, withClock(&clock), func(cfg *Config) {
		cfg.Step = func(step string) {
			if left < 0 || step != "erase:vault" && step != "erase:bodies" && step != "retention:settled" {
				return
			}
			if left--; left < 0 {
				panic(errCut)
			}
		}
	})
	for k, cut := 0, true; cut; k++ {
		g := declared(t, message.Exercise, a)
		for range 3 {
			say(t, a, g, "not real")
		}
		standDown(t, a, g, message.Exercise)
		_, err := a.Retain(t.Context())
		check(t, err)
		cut = cutWhileErasing(t, a, &clock, g, func() { left = k }, func(r any) bool {
			left = -1
			if r != nil && r != errCut {
				panic(r)
			}
			return r != nil
		})
		if !cut && k < 6 {
			t.Fatalf("the power could be cut at %d places only: too few messages at a time", k)
		}
		_, err = a.Retain(t.Context())
		check(t, err)
		if v, err := a.Retention(g); err != nil || v.Messages != 0 {
			t.Fatalf("cut %d: what was left did not go: %+v, %v", k, v, err)
		}
		late := say(t, a, g, "late")
		if q := queueOf(t, a, g); q.Mode != string(message.Exercise) || !q.Over || q.Exercise != 1 {
			t.Errorf("cut %d: what came later: %+v", k, q)
		}
		if it := itemFrom(t, a, late.ID); !it.Exercise {
			t.Errorf("cut %d: what came later is of no exercise", k)
		}
		again := message.Message{Content: &message.Incident{Name: "Bus crash", Mode: message.Live, State: message.IncidentDeclared}}
		if _, err := a.Send(t.Context(), g, again, "routine"); !errors.Is(err, ErrInvalid) {
			t.Errorf("cut %d: the exercise was declared live: %v", k, err)
		}
	}
}

// cutWhileErasing lets a month pass, erases a conversation two messages at a time until the power is cut, if it is, and starts the device again.
func cutWhileErasing(t testing.TB, n *Node, clock *testClock, g string, arm func(), disarm func(r any) bool) (cut bool) {
	t.Helper()
	n.mu.Lock() // so that nothing but this erases meanwhile
	defer n.mu.Unlock()
	for range 62 {
		clock.step(12 * time.Hour)
		check(t, n.readRetentionClock())
	}
	id, err := parseGroupID(g)
	check(t, err)
	c, err := n.conversation(id)
	check(t, err)
	func() {
		defer func() { cut = disarm(recover()) }()
		arm()
		_, err := n.retainGroup(t.Context(), &c, 2)
		check(t, err)
	}()
	n.closeSession()
	check(t, n.cfg.Vault.Unlock([]byte(passphrase)))
	check(t, n.startSession(t.Context()))
	c, err = n.conversation(id)
	check(t, err)
	r := n.retainedIn(&c)
	if r.tracker.mode != string(message.Exercise) || !r.tracker.incident.Over() || r.begins.IsZero() || len(r.goes) != len(r.items) {
		t.Errorf("after the cut: %s, %s, %d of %d messages go", r.tracker.mode, r.tracker.incident.State, len(r.goes), len(r.items))
	}
	return cut
}

// TestWhatIsStillToComeIsWaitedFor: an order to erase, and what was said of the record, stay as long as a message that they name has not come.
func TestWhatIsStillToComeIsWaitedFor(t *testing.T) {
	t.Parallel()
	went := inbox.EntryID{1}
	item := func(id byte, c message.Content) *inbox.Item {
		return &inbox.Item{ID: inbox.EntryID{id}, Message: message.Message{Content: c}}
	}
	for name, c := range map[string]struct {
		names message.EntryID
		goes  bool
	}{"went": {message.EntryID(went), true}, "here, and goes too": {message.EntryID{2}, true}, "here, and stays": {message.EntryID{3}, false}, "still to come": {message.EntryID{4}, false}} {
		n := &Node{open: &session{queue: &queue{gone: map[ledger.ID]*gone{ledger.ID(went): {}}, recorded: map[ledger.ID]*recorded{{2}: {}}}}}
		r := &retained{tracker: &tracker{n: n, mode: string(message.Live)}, policy: retention{days: 30}, elapsed: 31 * 24 * time.Hour,
			keeping: &keeping{since: make(map[ledger.ID]*time.Duration)}, at: make(map[inbox.EntryID]*inbox.Item), goes: make(map[inbox.EntryID]bool)}
		for _, it := range []*inbox.Item{item(2, &message.Text{}), item(3, &message.Text{}),
			item(5, &message.Erase{Entries: []message.EntryID{c.names}}), item(6, &message.Transferred{Entries: []message.EntryID{c.names}})} {
			r.items, r.at[it.ID], r.keeping.since[ledger.ID(it.ID)] = append(r.items, it), it, new(time.Duration)
		}
		r.decide()
		if !r.goes[inbox.EntryID{2}] || r.goes[inbox.EntryID{3}] {
			t.Fatalf("%s: what is in the record goes, what is not stays: %v", name, r.goes)
		}
		if r.goes[inbox.EntryID{5}] != c.goes || r.goes[inbox.EntryID{6}] != c.goes {
			t.Errorf("%s: the order goes %v, what was said of the record %v, want %v", name, r.goes[inbox.EntryID{5}], r.goes[inbox.EntryID{6}], c.goes)
		}
	}
}
