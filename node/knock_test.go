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
	b.knock(&ledger.Header{Kind: ledger.KindData, Priority: ledger.Stat, HLC: uint64(sent) << 16})
	if n := b.Status().StatWaiting; n != 1 {
		t.Errorf("one message calls, %d wait", n)
	}
	check(t, b.Unlock(t.Context(), []byte(passphrase)))
	if n := b.Status().StatWaiting; n != 0 {
		t.Errorf("unlocked, %d wait", n)
	}
}
