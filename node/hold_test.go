package node

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"tocsin/crypto/group"
	"tocsin/ledger"
	"tocsin/node/message"
)

// transferred has a node look at everything, sign it off and send it.
func transferred(t testing.TB, n *Node, g string) {
	t.Helper()
	reviewAll(t, n, g)
	if p := send(t, n, g); p.State != UploadDone || len(p.Refused) > 0 {
		t.Fatalf("the upload: %+v", p)
	}
}

// TestOrderIsObeyed: by the device that gave it at once, by the others once it has stood for a day; by none before the messages stand in the record, and
// by none while a hold is in force.
func TestOrderIsObeyed(t *testing.T) {
	t.Parallel()
	var clock testClock
	w, e := newWorld(t), newEndpoint(t)
	a := w.enrolWith("Amal", orgHospital, w.grant(longCredential)).start(t, recordAt(e), withClock(&clock))
	b := w.enrolWith("Ben", orgAmbulance, w.grant(longCredential)).start(t, knows(a), recordAt(e), withClock(&clock))
	ready(t, 1, a, b)
	g := declared(t, message.Live, a, b)
	inGroup(t, g, b)
	first, second := say(t, b, g, "about somebody who asked for it"), say(t, b, g, "stays")
	here := func(n *Node, s Sent) {
		t.Helper()
		eventually(t, "a message is here", func() bool { _, err := n.message(s.ID); return err == nil })
	}
	here(a, first)
	here(a, second)
	others := speak(t, a, g, &message.Text{Body: "of another"})
	here(b, others)
	if _, err := b.OrderErasure(t.Context(), token(t, b), g, "x", others.ID); !errors.Is(err, ErrInvalid) {
		t.Errorf("a member ordered another's message to be erased: %v", err)
	}
	if _, err := a.OrderErasure(t.Context(), "", g, "x", first.ID); !errors.Is(err, ErrReauth) {
		t.Errorf("without the passphrase: %v", err)
	}
	order, err := a.OrderErasure(t.Context(), token(t, a), g, "right to erasure", first.ID)
	check(t, err)
	erased := func(n *Node, s Sent) bool {
		_, err := n.message(s.ID)
		return errors.Is(err, ErrNotFound)
	}
	retained := func(n *Node) {
		t.Helper()
		_, err := n.Retain(t.Context())
		check(t, err)
	}
	if retained(a); erased(a, first) {
		t.Fatal("erased before it stands in the record")
	}
	transferred(t, a, g)
	retained(a)
	if !erased(a, first) || erased(a, second) {
		t.Error("the device that gave the order did not obey")
	}
	eventually(t, "the other device knows of the order", func() bool {
		_, err := b.message(order.ID)
		return err == nil && queueOf(t, b, g).Transferred > 0
	})
	if retained(b); erased(b, first) {
		t.Error("the other device did not wait")
	}
	hold, err := b.PlaceHold(t.Context(), token(t, b), g, "legal", "a claim is on its way")
	check(t, err)
	day := func() {
		for range 5 { // a leap of more than a day would count nothing
			clock.step(8 * time.Hour)
			retained(b)
		}
	}
	if day(); erased(b, first) {
		t.Error("erased though a hold is in force")
	}
	if v, err := b.Retention(g); err != nil || !v.Held || v.Orders != 1 || !strings.Contains(strings.Join(v.Kept, " "), "hold is in force") {
		t.Errorf("what is said of it: %+v, %v", v, err)
	}
	if _, err := b.EraseMessages(t.Context(), token(t, b), g, first.ID); !errors.Is(err, ErrInvalid) {
		t.Errorf("erased by hand though a hold is in force: %v", err)
	}
	end, err := b.EndHold(t.Context(), token(t, b), g, hold.ID, "settled")
	check(t, err)
	hs, err := b.Holds(g)
	check(t, err)
	if len(hs) != 1 || !hs[0].Ended || hs[0].EndReason != "settled" || hs[0].Person != b.cred.Person.String() {
		t.Errorf("the hold: %+v", hs)
	}
	retained(b)
	if !erased(b, first) || erased(b, second) {
		t.Error("the order is not obeyed once the hold is ended")
	}
	if _, err := b.EraseMessages(t.Context(), token(t, b), g, end.ID); !errors.Is(err, ErrInvalid) {
		t.Errorf("the end of a hold was erased by hand: %v", err)
	}
	if got := e.entries()[first.ID]; got != 1 {
		t.Errorf("the record holds it %d times", got)
	}
}

// TestOwnWordErasesNothing: whoever says that their own message stands in a record, and orders it to be erased, is not obeyed by others on that.
func TestOwnWordErasesNothing(t *testing.T) {
	t.Parallel()
	var clock testClock
	w := newWorld(t)
	a := w.enrolWith("Amal", orgHospital, w.grant(longCredential)).start(t, withClock(&clock))
	b := w.enrolWith("Ben", orgAmbulance, w.grant(longCredential)).start(t, knows(a), withClock(&clock))
	ready(t, 1, a, b)
	g := declared(t, message.Live, a, b)
	inGroup(t, g, b)
	regret := say(t, b, g, "give 50 mg")
	speak(t, b, g, &message.Transferred{Entries: []message.EntryID{mustID(t, regret.ID)}, Record: "https://record.example/fhir", Receipt: "Communication/1"})
	order := speak(t, b, g, &message.Erase{Entries: []message.EntryID{mustID(t, regret.ID)}, Reason: "slip"})
	eventually(t, "the order is here", func() bool {
		_, err := a.message(order.ID)
		return err == nil
	})
	for range 5 {
		clock.step(8 * time.Hour)
		_, err := a.Retain(t.Context())
		check(t, err)
	}
	if _, err := a.message(regret.ID); err != nil {
		t.Errorf("it is gone: %v", err)
	}
}

// TestClaimHidesNothing: a member's word that a message stands in a record is no receipt: of another record it counts for nothing here, and of this one
// the message can be signed off and sent all the same.
func TestClaimHidesNothing(t *testing.T) {
	t.Parallel()
	w, e := newWorld(t), newEndpoint(t)
	a := w.enrol("Amal", orgHospital).start(t, recordAt(e))
	g := declared(t, message.Live, a)
	elsewhere, here := say(t, a, g, "x"), say(t, a, g, "y")
	claim := func(s Sent, record string) {
		speak(t, a, g, &message.Transferred{Entries: []message.EntryID{mustID(t, s.ID)}, Record: record, Receipt: "Communication/1"})
	}
	claim(elsewhere, "http://127.0.0.1:1/rehearsal")
	claim(here, e.url)
	if x, y := rowOf(t, a, g, elsewhere.ID), rowOf(t, a, g, here.ID); x.State != TransferWaiting || y.State != TransferDone {
		t.Fatalf("claimed of another record: %s; of this one: %s", x.State, y.State)
	}
	_, err := a.Attribute(g, Patient{}, slices.Concat([]string{here.ID}, idsIn(t, a, g, TransferWaiting))...)
	check(t, err)
	_, err = a.SignOff(token(t, a), g, here.ID, elsewhere.ID)
	check(t, err)
	if p := send(t, a, g); p.State != UploadDone {
		t.Fatalf("%+v", p)
	}
	if got := e.entries(); got[here.ID] != 1 || got[elsewhere.ID] != 1 {
		t.Errorf("the record holds %v", got)
	}
}

// TestContestedModeGoesNowhere: an incident that its members call both live and an exercise is neither sent nor released.
func TestContestedModeGoesNowhere(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t)
	a := newWorld(t).enrol("Amal", orgHospital).start(t, recordAt(e), func(c *Config) { c.Unsafe.NoRules = true })
	g := declared(t, message.Exercise, a)
	speak(t, a, g, &message.Incident{Name: "Bus crash", Mode: message.Live, State: message.IncidentDeclared})
	reviewAll(t, a, g)
	if _, err := a.SendRecord(token(t, a), g); !errors.Is(err, ErrInvalid) {
		t.Errorf("sent: %v", err)
	}
	if q := queueOf(t, a, g); q.Mode != modeUnknown {
		t.Errorf("the queue: %+v", q)
	}
	if v, err := a.Retention(g); err != nil || v.Untransferred != 2 {
		t.Errorf("released: %+v, %v", v, err)
	}
}

// TestContestedIncidentIsSettled: one of those who run the group settles under their name, and with their passphrase, that an incident is live: on every
// device it is sent to the record from then on. That it is an exercise, one alone cannot say.
func TestContestedIncidentIsSettled(t *testing.T) {
	t.Parallel()
	w, e := newWorld(t), newEndpoint(t)
	free := func(c *Config) { c.Unsafe.NoRules = true }
	a := w.enrol("Amal", orgHospital).start(t, recordAt(e), free)
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a), recordAt(e))
	ready(t, 1, a, b)
	g := declared(t, message.Exercise, a, b)
	inGroup(t, g, b)
	both := speak(t, a, g, &message.Incident{Name: "Bus crash", Mode: message.Live, State: message.IncidentDeclared})
	eventually(t, "what says that it is live is here", func() bool { _, err := b.message(both.ID); return err == nil })
	modes := func(want string) {
		t.Helper()
		for _, n := range []*Node{a, b} {
			eventually(t, "the incident is "+want, func() bool { return queueOf(t, n, g).Mode == want })
		}
	}
	modes(modeUnknown)
	for _, c := range []struct {
		why, token, mode, reason string
		n                        *Node
		want                     error
	}{
		{"without the passphrase", "", "live", "x", a, ErrReauth},
		{"as neither", token(t, a), "unknown", "x", a, ErrInvalid},
		{"without a reason", token(t, a), "live", " ", a, ErrInvalid},
		{"by who does not run the group", token(t, b), "live", "x", b, ErrInvalid},
	} {
		if _, err := c.n.SettleIncident(t.Context(), c.token, g, c.mode, c.reason); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.why, err)
		}
	}
	sent, err := a.SettleIncident(t.Context(), token(t, a), g, "exercise", "x") // its device keeps no rules
	check(t, err)
	eventually(t, "it is here", func() bool { _, err := b.message(sent.ID); return err == nil })
	modes(modeUnknown)
	_, err = a.SettleIncident(t.Context(), token(t, a), g, "live", "the rehearsal was called off when the bus came")
	check(t, err)
	modes(string(message.Live))
	board, err := b.Board(g)
	check(t, err)
	if i := board.Incident; i == nil || i.Contested || i.Settled == nil || i.Settled.From.Person != a.cred.Person.String() {
		t.Errorf("the other device shows %+v", i)
	}
	if _, err := a.SettleIncident(t.Context(), token(t, a), g, "live", "x"); !errors.Is(err, ErrInvalid) {
		t.Errorf("settled twice: %v", err)
	}
	transferred(t, a, g)
}

// TestLoopbackReleasesNothing: what a record on this machine itself took stands nowhere else. Unless the settings say that it counts, nothing is erased
// on its account, here or where a colleague says so, and the group is not told.
func TestLoopbackReleasesNothing(t *testing.T) {
	t.Parallel()
	w, e := newWorld(t), newEndpoint(t)
	rehearses := func(c *Config) { c.Record.AllowLoopback = false }
	a := w.enrol("Amal", orgHospital).start(t, recordAt(e), rehearses)
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a))
	ready(t, 1, a, b)
	g := declared(t, message.Live, a, b)
	inGroup(t, g, b)
	text := say(t, a, g, "x")
	eventually(t, "it is here", func() bool { _, err := b.message(text.ID); return err == nil })
	transferred(t, a, g)
	if q := queueOf(t, a, g); q.Transferred != 2 || !strings.Contains(q.Words, "releases nothing") {
		t.Errorf("the queue: %+v", q)
	}
	if v, err := a.Retention(g); err != nil || v.Untransferred != 2 || !strings.Contains(strings.Join(v.Kept, " "), "record.allow_loopback") {
		t.Errorf("what is kept: %+v, %v", v, err)
	}
	if _, err := a.OrderErasure(t.Context(), token(t, a), g, "x", text.ID); err != nil {
		t.Fatal(err)
	}
	_, err := a.Retain(t.Context())
	check(t, err)
	if _, err := a.message(text.ID); err != nil {
		t.Errorf("it is gone: %v", err)
	}
	if len(a.untoldNow()) > 0 {
		t.Error("the group is to be told")
	}
	claim := speak(t, a, g, &message.Transferred{Entries: []message.EntryID{mustID(t, text.ID)}, Record: e.url, Receipt: "Communication/1"})
	eventually(t, "the word of a colleague is here", func() bool { _, err := b.message(claim.ID); return err == nil })
	if q := queueOf(t, b, g); q.Transferred != 0 {
		t.Errorf("taken at a colleague's word: %+v", q)
	}
}

// untoldNow is untold, for a test.
func (n *Node) untoldNow() map[group.ID][]ledger.ID {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.untold()
}
