package node

import (
	"strings"
	"testing"

	"tocsin/node/message"
)

// TestUnopenedHoldIsWaitedFor: while the content of something that a member said is still to come, another's order and the end of an exercise's time erase
// nothing; for a week, because what nobody holds never comes.
func TestUnopenedHoldIsWaitedFor(t *testing.T) {
	t.Parallel()
	var clock testClock
	w := newWorld(t)
	device := func(name, org string) *Node {
		return w.enrolWith(name, org, w.grant(longCredential)).start(t, alone, withClock(&clock))
	}
	a, b, c, d := device("Amal", orgHospital), device("Ben", orgAmbulance), device("Chi", orgHospital), device("Dee", orgAmbulance)
	spread := func(from *Node, to ...*Node) {
		t.Helper()
		for _, n := range to {
			synced(t, n, from)
			n.drainNow(t)
		}
	}
	for _, n := range []*Node{b, c, d} {
		spread(n, a)
	}
	g := declared(t, message.Exercise, a, b, c, d)
	text, ordered := say(t, a, g, "not real"), say(t, a, g, "to go")
	standDown(t, a, g, message.Exercise)
	came := func(sent Sent, nodes ...*Node) { // a body may be opened after the cursor has passed its place
		t.Helper()
		for _, n := range nodes {
			eventually(t, "what was said is there", func() bool {
				n.mu.Lock()
				defer n.mu.Unlock()
				_, here := n.open.inbox.Message(mustID(t, sent.ID))
				return here
			})
		}
	}
	spread(a, b, c, d)
	came(text, b, c, d)
	came(ordered, b, c, d) // before its author orders it to go, who obeys at once and hands it over to nobody then
	order, err := a.OrderErasure(t.Context(), token(t, a), g, "a name", ordered.ID)
	check(t, err)
	spread(a, b, c, d)
	came(order, b, c, d)
	hold, err := b.PlaceHold(t.Context(), token(t, b), g, "legal", "a claim")
	check(t, err)
	spread(b, c)
	came(hold, c)
	if k, err := b.logs.Erase(t.Context(), b.self, hold.Seq); err != nil || k != 1 {
		t.Fatalf("erased %d: %v", k, err)
	}
	spread(b, a, d) // the header alone
	v, err := d.Retention(g)
	check(t, err)
	if v.Held || v.Orders != 1 || !strings.Contains(strings.Join(v.Kept, " "), "still to come") {
		t.Fatalf("Dee's device, which has order %s: %+v", order.ID, v)
	}
	both := func(count int) {
		t.Helper()
		for range count {
			halfDays(t, a, &clock, 1)
			_, err := d.Retain(t.Context())
			check(t, err)
		}
	}
	if both(6); whyGone(t, d, ordered) != 0 {
		t.Error("an order was obeyed though a hold may be on its way")
	}
	if both(10); whyGone(t, d, ordered) != goneOrdered {
		t.Error("an order waits for ever")
	}
	if both(48); whyGone(t, a, text) != 0 || whyGone(t, d, text) != 0 {
		t.Fatal("an exercise went though a hold may be on its way")
	}
	spread(c, d)
	came(hold, d)
	if both(16); whyGone(t, a, text) != goneRetention {
		t.Error("an exercise waits for ever")
	}
	if v, err := d.Retention(g); err != nil || !v.Held || whyGone(t, d, text) != 0 {
		t.Errorf("the hold came: %+v, %v", v, err)
	}
}
