package node

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tocsin/ledger"
)

// TestThriftUrgentFirst: in low-bandwidth mode the headers come, with what is urgent
// and what is needed to read it; routine messages trickle, and come at once when the
// mode is switched off.
func TestThriftUrgentFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.enrol("Amal", orgHospital).start(t, alone), w.enrol("Ben", orgAmbulance).start(t, alone)
	both := func() { synced(t, a, b); synced(t, b, a) }
	both()
	both()
	ready(t, 1, a, b)
	group := makeGroup(t, a, b)
	both()
	inGroup(t, group, a, b)
	check(t, b.SetThrift(ThriftOn))
	if !b.Thrifty() || !b.mesh.Thrift() || !strings.HasPrefix(b.Status().LowBandwidth.Words, "Low-bandwidth mode: headers and urgent messages only") {
		t.Fatalf("it is not on: %+v", b.Status().LowBandwidth)
	}
	long := strings.Repeat("word ", 1500)
	for i := range 6 {
		say(t, a, group, fmt.Sprintf("routine %d %s", i, long))
	}
	sayAs(t, a, group, "stat", "come at once")
	s := synced(t, b, a)
	shows(t, b, group, "come at once")
	head, _ := a.logs.Head(a.self)
	if got, _ := b.logs.Head(a.self); got != head {
		t.Fatalf("%d headers of %d came", got.Next, head.Next)
	}
	bytes := 0
	for _, f := range s.frames {
		bytes += len(f.Payload)
	}
	if bytes > len(long)*2 {
		t.Errorf("the session brought %d bytes; six routine messages have %d", bytes, 6*len(long))
	}
	if waiting := b.Status().LowBandwidth.Waiting; waiting != 6 {
		t.Errorf("%d messages wait, of 6", waiting)
	}
	synced(t, b, a) // nothing urgent is left: a few of the others
	eventually(t, "a trickle came", func() bool { n := len(texts(t, b, group)); return n > 1 && n < 7 })
	check(t, b.SetThrift(ThriftOff))
	synced(t, b, a)
	eventually(t, "all came", func() bool { return len(texts(t, b, group)) == 7 })
	if s := b.Status().LowBandwidth; s.On || s.Words != "" {
		t.Errorf("it is off and says %+v", s)
	}
	if err := b.SetThrift("perhaps"); err == nil {
		t.Error("there is no such mode")
	}
}

// TestThriftSwitches: the mode is told to whoever listens, once for each switch, and
// testimony waits in it.
func TestThriftSwitches(t *testing.T) {
	t.Parallel()
	n := newWorld(t).enrol("Amal", orgHospital).start(t)
	events := n.Subscribe(t.Context())
	if n.receiptDelay() != n.cfg.ReceiptDelay || !n.testimonyDue() || !n.testimonyDue() {
		t.Error("it is thrifty before it is told to be")
	}
	for range 2 {
		check(t, n.SetThrift(ThriftOn))
	}
	if n.receiptDelay() < thriftReceipts || n.testimonyPause() < thriftTestimony || !n.testimonyDue() || n.testimonyDue() {
		t.Error("receipts and testimony do not wait")
	}
	check(t, n.SetThrift(ThriftAuto))
	if n.Thrifty() {
		t.Error("without a neighbour it is thrifty")
	}
	n.events.publish(Event{Type: EventGap})
	told := 0
	for e := range events {
		if e.Type == EventGap {
			break
		}
		if e.Type == EventThrift {
			told++
		}
	}
	if told != 2 {
		t.Errorf("two switches were told %d times", told)
	}
}

// TestThriftyBodies: what is urgent comes alone; where nothing is, the newest of the
// others within the trickle, and never what is long past.
func TestThriftyBodies(t *testing.T) {
	now := time.UnixMilli(1 << 40)
	entry := func(age time.Duration, p ledger.Priority, size int) *ledger.Entry {
		return &ledger.Entry{Header: ledger.Header{Kind: ledger.KindData, Priority: p, BodyLen: uint32(size), HLC: uint64(now.Add(-age).UnixMilli()) << 16}}
	}
	stat, old := entry(time.Hour, ledger.Stat, 50<<10), entry(40*24*time.Hour, ledger.Routine, 100)
	new1, new2, large := entry(time.Minute, ledger.Routine, 9<<10), entry(time.Hour, ledger.Routine, 6<<10), entry(time.Second, ledger.Routine, 40<<10)
	if got, held := thriftyBodies([]*ledger.Entry{new1, stat, old}, now); len(got) != 1 || got[0] != stat || !held {
		t.Errorf("%d chosen, held %v", len(got), held)
	}
	if got, held := thriftyBodies([]*ledger.Entry{new2, old, new1, large}, now); len(got) != 2 || got[0] != new1 || got[1] != new2 || !held {
		t.Errorf("%d chosen, held %v", len(got), held)
	}
	if got, held := thriftyBodies([]*ledger.Entry{stat}, now); len(got) != 1 || held {
		t.Error("what is all urgent is held")
	}
}
