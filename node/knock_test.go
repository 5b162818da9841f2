package node

import (
	"testing"
	"time"

	"tocsin/ledger"
	"tocsin/node/message"
)

// TestKnockWhileLocked: a locked device says that something stat came, and neither what nor from whom; routine messages and its own do not
// count, and unlocking ends it.
func TestKnockWhileLocked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Beth", orgAmbulance).start(t, knows(a))
	ready(t, 1, a, b)
	g := makeGroup(t, a, b)
	send := func(text, priority string) {
		_, err := a.Send(t.Context(), g, message.NewText(text, time.Time{}), priority)
		check(t, err)
	}
	send("before", "stat")
	shows(t, b, g, "before")
	check(t, b.Lock())
	if n := b.Status().StatWaiting; n != 0 {
		t.Errorf("locked just now, %d wait", n)
	}
	events := b.Subscribe(t.Context())
	send("tea", "routine")
	send("fire", "stat")
	eventually(t, "it knocks", func() bool { return b.Status().StatWaiting == 1 })
	for e := range events {
		if e.Type != EventStat {
			continue
		}
		if e.Group != "" || e.ID != "" {
			t.Errorf("the event says too much: %+v", e)
		}
		break
	}
	// What was said two hours ago, and comes now, does not call.
	sent := time.Now().Add(-2 * time.Hour).UnixMilli()
	b.knock(&ledger.Entry{Header: ledger.Header{Kind: ledger.KindData, Priority: ledger.Stat, HLC: uint64(sent) << 16}})
	if n := b.Status().StatWaiting; n != 1 {
		t.Errorf("one message calls, %d wait", n)
	}
	check(t, b.Unlock(t.Context(), []byte(passphrase)))
	if n := b.Status().StatWaiting; n != 0 {
		t.Errorf("unlocked, %d wait", n)
	}
}

// TestKnockAheadOfAGap: what is stat calls at once, whatever of its author is still on
// the way, and once only, however often it comes; a stranger's does not.
func TestKnockAheadOfAGap(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t)
	stranger := newWorld(t).enrol("Mallory", orgHospital).start(t)
	last := func(n *Node) (frames [][]byte) {
		_, err := n.Send(t.Context(), makeGroup(t, n), message.NewText("fire", time.Time{}), "stat")
		check(t, err)
		head, _ := n.logs.Head(n.self)
		for seq := range head.Next {
			e, err := n.logs.Entry(t.Context(), n.self, seq)
			check(t, err)
			frames = append(frames, e.Frame())
		}
		return frames
	}
	of := func(frames [][]byte) (stat int) {
		for i, f := range frames {
			if e, err := ledger.ParseFrame(f); err == nil && e.Header.Priority == ledger.Stat && e.Header.Kind == ledger.KindData {
				stat = i
			}
		}
		return stat
	}
	check(t, a.Lock())
	theirs := last(b)
	at := of(theirs)
	a.accept(t.Context(), theirs[:at-1]...)
	foreign := last(stranger)
	a.accept(t.Context(), foreign[of(foreign)])
	if n := a.Status().StatWaiting; n != 0 {
		t.Fatalf("%d wait for what a stranger said", n)
	}
	for range 2 {
		a.accept(t.Context(), theirs[at])
	}
	if n := a.Status().StatWaiting; n != 1 {
		t.Errorf("one entry came early, and twice: %d wait", n)
	}
	a.accept(t.Context(), theirs...)
	if n := a.Status().StatWaiting; n != 1 {
		t.Errorf("and in order: %d wait", n)
	}
}
