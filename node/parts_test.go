package node

import (
	"slices"
	"testing"
	"time"

	"tocsin/crypto/vault"
	"tocsin/ledger"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

// fewAnEpoch has epochs of four devices, so that a group of five has two parts.
func fewAnEpoch(cfg *Config) { cfg.EpochDevices = 4 }

// large is a group of five real devices in two parts. The first made it.
func large(t *testing.T, options ...func(*Config)) (w *world, nodes []*Node, g string) {
	t.Helper()
	w = newWorld(t)
	options = append(options, fewAnEpoch)
	for _, name := range []string{"Amal", "Ben", "Chidi", "Dora", "Eve"} {
		nodes = append(nodes, w.enrol(name, orgHospital).start(t, append(options, knows(nodes...))...))
	}
	ready(t, len(nodes)-1, nodes...)
	g = makeGroup(t, nodes...)
	inGroup(t, g, nodes...)
	return w, nodes, g
}

// partsHold is how many entries of a message a device can open: one, but for who
// sent it.
func partsHold(t *testing.T, n *Node, s Sent) (all, opened int) {
	t.Helper()
	log, seq := parsedPlace(t, s)
	entries, err := n.entriesOf(t.Context(), log, seq)
	check(t, err)
	for _, e := range entries {
		_, ok, err := n.cfg.Vault.Get(messageKey(log, e.Header.Seq))
		check(t, err)
		if ok {
			opened++
		}
	}
	return len(entries), opened
}

// TestLargeGroupAgrees: in a group of several parts everybody has one id for a message, whichever entry brought it, so that answers,
// acknowledgements, steps of a task and escalations mean the same on all devices.
func TestLargeGroupAgrees(t *testing.T) {
	t.Parallel()
	var clock testClock
	_, nodes, g := large(t, withClock(&clock))
	a, rest := nodes[0], nodes[1:]
	after := 60 // far more than what else this test does takes
	alert := tell(t, a, g, &message.Alert{What: "Cardiac arrest", Where: "Bed 4", After: &after,
		To: []string{message.RoleAddress("registrar"), message.RoleAddress("consultant")}}, "stat")
	call := tell(t, a, g, &message.CallOut{Question: "Can you come?", Place: "ED"}, "urgent")
	last := rest[len(rest)-1]
	task := tell(t, a, g, &message.Task{What: "Fetch blood", To: message.PersonAddress(last.cred.Person.String())}, "urgent")
	ids := func(n *Node) (out []string) {
		for _, it := range mustMessages(t, n, g) {
			out = append(out, ledger.ID(it.ID).String())
		}
		return out
	}
	firsts := 0
	for _, n := range nodes {
		eventually(t, "all three are there", func() bool { return len(ids(n)) == 3 })
		if got := ids(n); !slices.Equal(got, []string{alert.ID, call.ID, task.ID}) {
			t.Errorf("%s shows %v", n.cred.Claims.Name, got)
		}
		eventually(t, "one entry of the message is kept", func() bool {
			all, opened := partsHold(t, n, call)
			return all == 2 && opened == 1
		})
		if it := mustMessages(t, n, g)[1]; n != a && it.Seq == call.Seq {
			firsts++
		}
	}
	if firsts == 0 || firsts == len(rest) {
		t.Errorf("%d of %d others read the first entry: both parts must have somebody", firsts, len(rest))
	}
	clock.step(55 * time.Minute)
	clock.pass(t, "the alert is escalated", 2*turnGap, func() bool {
		return slices.ContainsFunc(nodes, func(n *Node) bool { return len(boardOf(t, n, g).Alerts[0].Called) == 2 })
	})
	for _, n := range nodes {
		eventually(t, "the alert was escalated", func() bool {
			alerts := boardOf(t, n, g).Alerts
			return len(alerts) == 1 && len(alerts[0].Called) == 2
		})
	}
	eta := 10
	for _, n := range rest {
		before := n.Metrics().Announced
		s := tell(t, n, g, &message.CallOutAnswer{CallOut: entryOf(t, call), Answer: message.AnswerComing, ETA: &eta}, "urgent")
		log, seq := parsedPlace(t, s)
		of, err := n.entriesOf(t.Context(), log, seq)
		check(t, err)
		if n.Metrics().Announced != before || len(of) != 1 {
			t.Errorf("an answer of %s took %d entries, and %d announcements", n.cred.Claims.Name, len(of), n.Metrics().Announced-before)
		}
	}
	eventually(t, "every answer is tallied, once", func() bool {
		out, err := a.CallOut(call.ID)
		check(t, err)
		return len(out.Coming) == len(rest) && out.Silent == 0
	})
	_, err := last.Acknowledge(t.Context(), alert.ID)
	check(t, err)
	tell(t, last, g, &message.TaskUpdate{Task: entryOf(t, task), State: message.TaskAccepted}, "urgent")
	for _, n := range nodes {
		eventually(t, "all agree", func() bool {
			b := boardOf(t, n, g)
			return len(b.Alerts) == 1 && !b.Alerts[0].Sounds() && len(b.Alerts[0].Acknowledged) == 1 &&
				len(b.Tasks) == 1 && b.Tasks[0].State == message.TaskAccepted && len(b.CallOuts) == 1
		})
	}
	for _, n := range nodes { // what a restart makes of it
		check(t, n.Lock())
		check(t, n.Unlock(t.Context(), []byte(passphrase)))
		b := boardOf(t, n, g)
		if b.Alerts[0].Sounds() || b.Tasks[0].State != message.TaskAccepted {
			t.Errorf("%s shows something else after an unlock", n.cred.Claims.Name)
		}
		if got := ids(n); !slices.Contains(got, alert.ID) || !slices.Contains(got, task.ID) {
			t.Errorf("%s shows %v after an unlock", n.cred.Claims.Name, got)
		}
	}
}

// TestRestOfALargeMessage: a device that stops after the first of several entries has said its message, and says it to the others
// before anything else.
func TestRestOfALargeMessage(t *testing.T) {
	t.Parallel()
	_, nodes, g := large(t)
	a := nodes[0]
	say(t, a, g, "before")
	for _, n := range nodes {
		shows(t, n, g, "before")
	}
	id, err := parseGroupID(g)
	check(t, err)
	_, payload, err := a.encode(&message.Message{Content: &message.Text{Body: "to all of you"}}, "routine")
	check(t, err)
	a.mu.Lock()
	m := outgoing{group: id, payload: payload, parts: a.open.keyring.Parts(id)}
	first, err := a.sendPart(t.Context(), &m) // and no more: the power fails
	check(t, err)
	a.mu.Unlock()
	if m.parts != 2 {
		t.Fatalf("%d parts", m.parts)
	}
	check(t, a.Lock())
	check(t, a.Unlock(t.Context(), []byte(passphrase)))
	say(t, a, g, "after")
	for _, n := range nodes {
		shows(t, n, g, "before", "to all of you", "after")
		if it := mustMessages(t, n, g)[1]; it.ID != inbox.EntryID(first.ID()) {
			t.Errorf("%s has it as %x", n.cred.Claims.Name, it.ID)
		}
	}
	left := 0
	check(t, a.cfg.Vault.Scan(prefixRest, func(string, []byte) error { left++; return nil }))
	if left != 0 {
		t.Errorf("%d messages are noted as not said to all", left)
	}
	if p := a.Status().Problem; p != "" {
		t.Error(p)
	}
	// One that never became durable was not said.
	a.mu.Lock()
	lost := outgoing{group: id, payload: payload, parts: 2}
	_, _, _, err = a.seal(&lost)
	check(t, err)
	a.mu.Unlock()
	check(t, a.Lock())
	check(t, a.Unlock(t.Context(), []byte(passphrase)))
	say(t, a, g, "the last")
	for _, n := range nodes {
		shows(t, n, g, "before", "to all of you", "after", "the last")
	}
}

// TestErasedInALargeGroup: what is erased goes with all entries that brought it.
func TestErasedInALargeGroup(t *testing.T) {
	t.Parallel()
	_, nodes, g := large(t)
	a := nodes[0]
	gone := say(t, a, g, "to be erased")
	for _, n := range nodes { // all of them before the first erases it: who erased its bodies hands them on to nobody
		shows(t, n, g, "to be erased")
		eventually(t, "both entries are here, and one is kept", func() bool { all, k := partsHold(t, n, gone); return all == 2 && k == 1 })
	}
	for _, n := range nodes {
		_, err := n.EraseMessages(t.Context(), token(t, n), g, gone.ID)
		check(t, err)
		shows(t, n, g)
		check(t, n.Lock())
		check(t, n.Unlock(t.Context(), []byte(passphrase)))
		shows(t, n, g)
		log, seq := parsedPlace(t, gone)
		entries, err := n.entriesOf(t.Context(), log, seq)
		check(t, err)
		for _, e := range entries {
			if !e.Erased {
				t.Errorf("%s: entry %d is still here", n.cred.Claims.Name, e.Header.Seq)
			}
		}
		if _, k := partsHold(t, n, gone); k != 0 || len(entries) != 2 {
			t.Errorf("%s: %d records of %d entries", n.cred.Claims.Name, k, len(entries))
		}
	}
}

// TestWhichEntriesAreOneMessage: a commit, and nothing but control and epochs in between.
func TestWhichEntriesAreOneMessage(t *testing.T) {
	t.Parallel()
	a := newWorld(t).enrol("Amal", orgHospital).start(t)
	one, two := [32]byte{1}, [32]byte{2}
	type said struct {
		kind   ledger.Kind
		commit [32]byte
		first  int // which of these the message is named after; -1 where it is no message
	}
	all := []said{
		{ledger.KindData, one, 0}, {ledger.KindData, one, 0}, {ledger.KindControl, [32]byte{}, -1}, {ledger.KindEpoch, [32]byte{}, -1},
		{ledger.KindData, one, 0}, {ledger.KindData, two, 5}, {ledger.KindData, one, 6}, {ledger.KindBroadcast, one, -1},
		{ledger.KindData, one, 8}, {ledger.KindData, [32]byte{}, 9}, {ledger.KindData, [32]byte{}, 10}, {ledger.KindData, two, 11},
	}
	for range maxPartGap + 1 {
		all = append(all, said{ledger.KindControl, [32]byte{}, -1})
	}
	all = append(all, said{ledger.KindData, two, len(all)})
	a.mu.Lock()
	defer a.mu.Unlock()
	var entries []*ledger.Entry
	body, err := marshalControl(200, []byte{1}) // of a later version
	check(t, err)
	for _, s := range all {
		h, err := a.reserve(s.kind, ledger.Routine)
		check(t, err)
		if h.Commit = s.commit; s.kind == ledger.KindData {
			h.GroupTag[0], h.LifetimeS = 1, 1
		}
		v, err := ledger.Sign(a.open.keys.Signing, h, body)
		check(t, err)
		check(t, a.own.Append(t.Context(), v))
		entries = append(entries, v.Entry())
	}
	// In order, as the drain comes by, and at any place, as what waited is opened.
	for _, ordered := range []bool{true, false} {
		clear(a.open.tails)
		for i, s := range all {
			e := entries[i]
			as, first, err := a.messageOf(t.Context(), e)
			check(t, err)
			want := i
			if s.first >= 0 {
				want = s.first
			}
			if as != entries[want].ID() || first != entries[want].Header.Seq {
				t.Errorf("in order %v: entry %d is not of the message of %d", ordered, i, want)
			}
			if ordered {
				a.passed(e, as, first)
			} else {
				clear(a.open.tails)
			}
		}
	}
	for i, s := range all {
		if s.kind != ledger.KindData {
			continue
		}
		of, err := a.entriesOf(t.Context(), a.self, entries[i].Header.Seq)
		check(t, err)
		if of[0].ID() != entries[s.first].ID() || !slices.ContainsFunc(of, func(e *ledger.Entry) bool { return e.ID() == entries[i].ID() }) {
			t.Errorf("entry %d is of a message of %d entries", i, len(of))
		}
	}
}

// TestWhatIsLeftHoldsUpNothing: a message of which not all parts have left keeps nothing else from being said, wherever; it is said once
// more as a new one where something else was said since, and is dropped when its group is left.
func TestWhatIsLeftHoldsUpNothing(t *testing.T) {
	t.Parallel()
	_, nodes, g := large(t)
	b := nodes[1]
	id, err := parseGroupID(g)
	check(t, err)
	other := makeGroup(t, b, nodes[2])
	firstPart := func(body string) {
		t.Helper()
		payload, err := message.Encode(message.Message{Sent: b.cfg.Clock.Now(), Content: &message.Text{Body: body}})
		check(t, err)
		check(t, b.ensureEpoch(t.Context(), id, true))
		_, err = b.sendPart(t.Context(), &outgoing{group: id, payload: payload, priority: ledger.Routine, parts: 2})
		check(t, err)
		b.open.rest = true
	}
	left := func() (k int) {
		check(t, b.cfg.Vault.Scan(prefixRest, func(string, []byte) error { k++; return nil }))
		return k
	}
	texts := func(n *Node) (out []string) {
		for _, it := range mustMessages(t, n, g) {
			out = append(out, it.Message.Content.(*message.Text).Body)
		}
		return out
	}
	b.mu.Lock()
	firstPart("one")
	check(t, b.commitControl(t.Context(), 200, []byte{1}))
	b.sendRest(t.Context())
	b.mu.Unlock()
	for _, n := range nodes {
		eventually(t, "the first is there once", func() bool { return slices.Equal(texts(n), []string{"one"}) })
	}
	// Something else is said between the parts.
	b.mu.Lock()
	firstPart("two")
	b.open.rest = false
	b.mu.Unlock()
	say(t, b, other, "elsewhere")
	b.mu.Lock()
	b.open.rest = true
	b.sendRest(t.Context())
	k, rerr := left(), b.open.restErr
	b.mu.Unlock()
	if k != 0 || rerr != nil {
		t.Errorf("%d messages are left, %v", k, rerr)
	}
	ids := func(n *Node) (out []inbox.EntryID) {
		for _, it := range mustMessages(t, n, g) {
			out = append(out, it.ID)
		}
		return out
	}
	eventually(t, "everybody has it", func() bool {
		return !slices.ContainsFunc(nodes, func(n *Node) bool { return !slices.Contains(texts(n), "two") || len(texts(n)) < 2 })
	})
	all := ids(b)
	for _, n := range nodes {
		for _, id := range ids(n) {
			if !slices.Contains(all, id) {
				t.Errorf("%s shows a message that its author does not know", n.cred.Claims.Name)
			}
		}
	}
	// A record that cannot be read, and a group that was left.
	b.mu.Lock()
	check(t, b.cfg.Vault.Commit(vault.Change{Key: restKey(b.self, 1<<30), Value: []byte{1}}))
	firstPart("three")
	b.mu.Unlock()
	check(t, b.LeaveGroup(t.Context(), g))
	b.mu.Lock()
	k = left()
	b.mu.Unlock()
	if k != 0 {
		t.Errorf("%d messages are left of a group that was left", k)
	}
	tell(t, b, other, &message.Text{Body: "Cardiac arrest, bed 4"}, "stat")
}
