package node

import (
	"errors"
	"strings"
	"testing"
	"time"

	"tocsin/ledger"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

func tell(t *testing.T, n *Node, g string, c message.Content, priority string) Sent {
	t.Helper()
	s, err := n.Send(t.Context(), g, message.Message{Content: c}, priority)
	check(t, err)
	return s
}

func boardOf(t *testing.T, n *Node, g string) Board {
	t.Helper()
	b, err := n.Board(g)
	check(t, err)
	return b
}

func entryOf(t *testing.T, s Sent) message.EntryID {
	t.Helper()
	var c message.Retract
	check(t, message.Fill(&c, map[string][]string{"entry": {s.ID}}))
	return c.Entry
}

// An alert that nobody answers is escalated in both halves of a split mesh; after the heal it is one alert with one step, and one
// acknowledgement ends it everywhere.
func TestEscalationInTwoPartitions(t *testing.T) {
	var clock testClock
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t, withClock(&clock))
	b := w.enrol("Ben", orgAmbulance).start(t, withClock(&clock), knows(a))
	c := w.enrol("Chidi", orgHospital).start(t, withClock(&clock), knows(a, b))
	ready(t, 2, a, b, c)
	g := makeGroup(t, a, b, c)
	inGroup(t, g, a, b, c)
	after := 60 // minutes: far more than what else this test does takes
	alert := tell(t, a, g, &message.Alert{What: "Cardiac arrest", Where: "Bed 4", After: &after,
		To: []string{message.RoleAddress("registrar"), message.RoleAddress("consultant"), message.RoleAddress("chief")}}, "stat")
	sounds := func(n *Node, called int) func() bool {
		return func() bool {
			alerts := boardOf(t, n, g).Alerts
			return len(alerts) == 1 && alerts[0].Sounds() && len(alerts[0].Called) == called
		}
	}
	for _, n := range []*Node{a, b, c} {
		eventually(t, "the alert sounds", sounds(n, 1))
	}
	check(t, c.SetOnline(false))
	clock.step(55 * time.Minute) // a device that begins to wait only after it is late, but not by another step
	clock.pass(t, "each half escalates by itself", turnGap, func() bool { return (sounds(a, 2)() || sounds(b, 2)()) && sounds(c, 2)() })
	for _, n := range []*Node{a, b} {
		eventually(t, "one device of a half tells the others", sounds(n, 2))
	}
	check(t, c.SetOnline(true))
	ack, err := c.Acknowledge(t.Context(), alert.ID)
	check(t, err)
	if e, err := c.logs.Entry(t.Context(), c.selfLog(), ack.Seq); err != nil || e.Header.Priority != ledger.Urgent { // or it would call every locked device
		t.Errorf("the acknowledgement left as %v, %v", e.Header.Priority, err)
	}
	for _, n := range []*Node{a, b, c} {
		eventually(t, "one acknowledged alert", func() bool {
			alerts := boardOf(t, n, g).Alerts
			return len(alerts) == 1 && !alerts[0].Sounds() && len(alerts[0].Called) == 2 && alerts[0].Item.State == inbox.StateAcknowledged
		})
	}
	steps := func(n *Node) int {
		found, err := n.Search(inbox.Query{Kind: message.KindEscalation})
		check(t, err)
		return len(found)
	}
	before := steps(a)
	if before == 0 || before > 3 {
		t.Errorf("%d escalations for one step of three devices", before)
	}
	clock.step(2 * time.Hour)
	say(t, b, g, "Thank you")
	eventually(t, "a later message", func() bool {
		found, err := a.Search(inbox.Query{Words: "thank you"})
		check(t, err)
		return len(found) == 1
	})
	if steps(a) != before {
		t.Error("an acknowledged alert was escalated")
	}
	if _, err := a.Acknowledge(t.Context(), alert.ID); !errors.Is(err, ErrInvalid) {
		t.Errorf("acknowledging one's own alert: %v", err)
	}
}

// What does not fit what stands is refused in a sentence, before anything is sealed, and what was said stays.
func TestWhatDoesNotFitIsRefused(t *testing.T) {
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a))
	ready(t, 1, a, b)
	g := makeGroup(t, a, b)
	inGroup(t, g, a, b)
	call := tell(t, a, g, &message.CallOut{Question: "Can you come?", Place: "ED"}, "urgent")
	eventually(t, "the call-out is there", func() bool { return len(boardOf(t, b, g).CallOuts) == 1 })
	eta := 10
	tell(t, b, g, &message.CallOutAnswer{CallOut: entryOf(t, call), Answer: message.AnswerComing, ETA: &eta}, "routine")
	eventually(t, "the answer is tallied, and is no chat", func() bool {
		out, err := a.CallOut(call.ID)
		check(t, err)
		messages, err := a.Messages(g, 0, 0)
		check(t, err)
		return len(out.Coming) == 1 && out.Coming[0].From.Name == "Ben" && out.Silent == 0 && len(messages) == 1
	})
	tell(t, a, g, &message.CallOutClose{CallOut: entryOf(t, call)}, "routine")
	eventually(t, "it is closed", func() bool { return boardOf(t, b, g).CallOuts[0].Closed != nil })
	before := len(mustMessages(t, b, g))
	for why, c := range map[string]message.Content{
		"stand by": &message.CallOutAnswer{CallOut: entryOf(t, call), Answer: message.AnswerCannot},
		"runs":     &message.Incident{Name: "x", Mode: message.Live, State: message.IncidentDeclared},
		"hold":     &message.Role{Role: "loggist", Action: message.RoleRelease},
		"author":   &message.Retract{Entry: entryOf(t, call), Reason: "r"},
		"missing":  &message.SBAR{Situation: "s"},
	} {
		_, err := b.Send(t.Context(), g, message.Message{Content: c}, "routine")
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", why, err)
		}
	}
	if len(mustMessages(t, b, g)) != before {
		t.Error("something that was refused is shown")
	}
}

func mustMessages(t *testing.T, n *Node, g string) []inbox.Item {
	t.Helper()
	items, err := n.Messages(g, 0, 0)
	check(t, err)
	return items
}

// Devices take turns by lot: all work out the same order, and a new one for each step.
func TestTurns(t *testing.T) {
	members := make([]string, 40)
	for i := range members {
		members[i] = strings.Repeat("m", i+1)
	}
	first := map[string]bool{}
	for step := 1; step <= 5; step++ {
		e := &inbox.Escalation{Members: members, Content: message.Escalation{Step: &step}}
		early := 0
		for _, m := range members {
			switch wait := turn(e, m); {
			case wait == 0:
				first[m] = true
				early++
			case wait > turnCount*turnGap+turnRest:
				t.Errorf("a turn after %v", wait)
			case wait < turnGap:
				t.Errorf("a second device after %v", wait)
			}
		}
		if early != 1 {
			t.Errorf("step %d: %d devices are first", step, early)
		}
	}
	if len(first) < 2 {
		t.Error("one device is first in every step")
	}
}

// What ends an alert cannot be erased from under it: the alert would sound again, and be escalated for everybody.
func TestErasingDoesNotWakeAnAlert(t *testing.T) {
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	g := makeGroup(t, a)
	inGroup(t, g, a)
	alert := tell(t, a, g, &message.Alert{What: "Fire", Where: "Ward 3", To: []string{message.RoleAddress("registrar"), message.RoleAddress("chief")}}, "stat")
	cancel := tell(t, a, g, &message.AlertCancel{Alert: entryOf(t, alert), Reason: "False alarm"}, "urgent")
	eventually(t, "the alert is cancelled", func() bool {
		alerts := boardOf(t, a, g).Alerts
		return len(alerts) == 1 && !alerts[0].Sounds()
	})
	if _, err := a.EraseMessages(t.Context(), token(t, a), g, cancel.ID); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "erase both") {
		t.Errorf("erasing the cancellation alone: %v", err)
	}
	if alerts := boardOf(t, a, g).Alerts; len(alerts) != 1 || alerts[0].Sounds() {
		t.Error("the alert sounds again")
	}
	_, err := a.EraseMessages(t.Context(), token(t, a), g, cancel.ID, alert.ID)
	check(t, err)
	if alerts := boardOf(t, a, g).Alerts; len(alerts) != 0 {
		t.Error("an erased alert stands")
	}
}
