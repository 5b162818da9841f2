package node

import (
	"testing"
	"time"

	"tocsin/ledger"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

// TestBreakGlassIsRemembered: a message to everybody reaches every admitted device with its reason, and what it was stays: when its
// author retracts it and is wiped, and another device erases its copy, those who keep it still show who said it, that it was to
// everybody and why, and every log still holds and verifies the entry.
func TestBreakGlassIsRemembered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var clock testClock
	a := w.enrol("Amal", orgHospital).start(t, withClock(&clock))
	b := w.enrol("Ben", orgAmbulance).start(t, withClock(&clock), knows(a))
	m := w.enrol("Chidi", orgHospital)
	author := m.start(t, withClock(&clock), knows(a, b), m.destroysKeys)
	ready(t, 2, a, b, author)
	const reason = "Switchboard down, patient without a team"
	s, err := author.Broadcast(t.Context(), message.NewText("Anaesthetist to resus", time.Time{}), "stat", reason)
	check(t, err)
	for _, n := range []*Node{a, b, author} {
		shows(t, n, BroadcastGroup, "Anaesthetist to resus")
	}
	_, err = author.Broadcast(t.Context(), message.Message{Content: &message.Retract{Entry: entryOf(t, s), Reason: "Found one"}}, "urgent", "Ends the call")
	check(t, err)
	for _, n := range []*Node{a, b} {
		eventually(t, "it is retracted", func() bool { it, _ := itemOf(t, n, s); return it.Retracted != "" })
	}
	_, err = b.EraseMessages(t.Context(), token(t, b), BroadcastGroup, s.ID)
	check(t, err)
	publish(t, a, w.orderWipe(orgHospital, author))
	wiped(t, &clock, author)
	remembers := func() {
		t.Helper()
		it, ok := itemOf(t, a, s)
		if !ok || !it.Broadcast || it.Reason != reason || it.From.Name != "Chidi" || it.Retracted == "" || !it.Provable {
			t.Errorf("what stays of it: %v, to everybody %v, %q, by %q, retracted %v", ok, it.Broadcast, it.Reason, it.From.Name, it.Retracted != "")
		}
	}
	remembers()
	check(t, a.Lock())
	check(t, a.Unlock(t.Context(), []byte(passphrase)))
	remembers()
	if found, err := a.Search(inbox.Query{Words: "anaesthetist"}); err != nil || len(found) != 1 {
		t.Errorf("it is found %d times, %v", len(found), err)
	}
	log, seq := parsedPlace(t, s)
	for _, n := range []*Node{a, b} {
		e, err := n.logs.Entry(t.Context(), log, seq)
		check(t, err)
		if e.ID().String() != s.ID || e.Header.Kind != ledger.KindBroadcast || e.Erased != (n == b) {
			t.Errorf("%s: the entry is of kind %v, erased %v", n.cred.Claims.Name, e.Header.Kind, e.Erased)
		}
		report, err := n.VerifyLogs(t.Context(), nil)
		check(t, err)
		if !report.OK() {
			t.Errorf("%s: the logs: %+v", n.cred.Claims.Name, report)
		}
	}
}
