package node

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tocsin/ledger"
)

// heldBodies returns how many bodies of messages of a log a node holds.
func heldBodies(t testing.TB, n *Node, id ledger.LogID) (bodies, headers int) {
	t.Helper()
	head, _ := n.logs.Head(id)
	check(t, n.logs.Entries(t.Context(), id, 0, head.Next, func(e *ledger.Entry) error {
		if e.Header.Kind == ledger.KindData {
			headers++
			if e.HasBody() {
				bodies++
			}
		}
		return nil
	}))
	return bodies, headers
}

// carriedBytes adds up the bodies of a log that a node holds for others.
func carriedBytes(t testing.TB, n *Node, id ledger.LogID) (bytes int) {
	t.Helper()
	head, _ := n.logs.Head(id)
	var held []*ledger.Entry
	check(t, n.logs.Entries(t.Context(), id, 0, head.Next, func(e *ledger.Entry) error {
		if e.HasBody() {
			held = append(held, e)
		}
		return nil
	}))
	for _, e := range held {
		if n.interestOf(&e.Header) != reads {
			bytes += len(e.Body)
		}
	}
	return bytes
}

// missingOwn counts the messages of a log that a node reads and has no body of.
func missingOwn(t testing.TB, n *Node, id ledger.LogID) (missing int) {
	t.Helper()
	head, _ := n.logs.Head(id)
	var absent []*ledger.Entry
	check(t, n.logs.Entries(t.Context(), id, 0, head.Next, func(e *ledger.Entry) error {
		if e.Absent {
			absent = append(absent, e)
		}
		return nil
	}))
	for _, e := range absent {
		if n.interestOf(&e.Header) == reads {
			missing++
		}
	}
	return missing
}

// TestCarryQuota: a device keeps what it reads whatever it takes, and of what it
// carries for others no more than its quota, by gossip and by synchronisation
// alike. What it did not keep it does not ask for again, and hands on as a header.
func TestCarryQuota(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.enrol("Ben", orgAmbulance).start(t, alone)
	c := w.enrol("Chi", orgHospital).start(t, alone)
	tight := func(cfg *Config) { cfg.Carry = ledger.Quota{Author: 8 << 10} }
	a := w.enrol("Amal", orgHospital).start(t, alone, tight)
	for range 2 {
		synced(t, b, c)
		synced(t, c, b)
		synced(t, b, a)
		synced(t, a, b)
		synced(t, c, a)
	}
	b.drainNow(t) // it has read the others' prekeys
	ours, theirs := makeGroup(t, b, a), makeGroup(t, b, c)
	say(t, b, ours, "for Amal")
	synced(t, a, b)
	shows(t, a, ours, "for Amal") // from now on it can tell what it reads
	for i := range 60 {
		say(t, b, ours, fmt.Sprint("for Amal ", i))
		say(t, b, theirs, fmt.Sprint("for Chi ", i))
	}
	synced(t, a, b)
	synced(t, c, b)
	eventually(t, "all that it reads is held", func() bool {
		synced(t, a, b)
		return missingOwn(t, a, b.self) == 0
	})
	shows(t, a, ours, append([]string{"for Amal"}, numbered("for Amal", 60)...)...)
	bodies, headers := heldBodies(t, a, b.self)
	if headers < 120 || bodies >= headers || bodies < 60 {
		t.Fatalf("%d bodies of %d messages are held", bodies, headers)
	}
	if n := carriedBytes(t, a, b.self); n > 10<<10 || n == 0 {
		t.Fatalf("%d bytes are carried, beyond the quota", n)
	}
	asked := synced(t, a, b)
	if again, _ := heldBodies(t, a, b.self); again != bodies {
		t.Fatalf("bodies beyond the quota were fetched: %d, then %d", bodies, again)
	}
	for _, f := range asked.frames {
		if f.Type == frameItem {
			if it, err := ledger.ParseItem(f.Payload); err != nil || it.Piece == ledger.PieceBody {
				t.Fatalf("a body came again: %v", err)
			}
		}
	}

	// What is pushed at it, as gossip does, is bounded as well.
	absent := 0
	for range 3 { // twice the quota
		s := say(t, b, theirs, strings.Repeat("pushed", 700))
		e, err := b.logs.Entry(t.Context(), b.self, s.Seq)
		check(t, err)
		if r := a.accept(t.Context(), e.Frame())[0]; r.outcome != ledger.Appended {
			t.Fatalf("%s", r.outcome)
		}
		e, err = a.logs.Entry(t.Context(), b.self, s.Seq)
		check(t, err)
		if e.Absent {
			absent++
		}
	}
	if n := carriedBytes(t, a, b.self); absent == 0 || n > 10<<10 {
		t.Fatalf("what was pushed was kept: %d bytes are carried", n)
	}
	if a.Metrics().NotCarried == 0 {
		t.Error("it was not counted")
	}
	s := say(t, b, ours, "also for Amal")
	e, err := b.logs.Entry(t.Context(), b.self, s.Seq)
	check(t, err)
	a.accept(t.Context(), e.Frame())
	eventually(t, "what is pushed and read here is held", func() bool {
		synced(t, a, b)
		return missingOwn(t, a, b.self) == 0
	})
	shows(t, a, ours, append(append([]string{"for Amal"}, numbered("for Amal", 60)...), "also for Amal")...)
	shows(t, c, theirs, numbered("for Chi", 60)...)
}

func numbered(text string, n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprint(text, " ", i))
	}
	return out
}

// stranger writes to a log whose entries nobody here reads.
type stranger struct {
	n    *Node
	next uint64
	prev ledger.ID
}

func newStranger(t testing.TB, n *Node) *stranger {
	t.Helper()
	head, _ := n.logs.Head(n.self)
	return &stranger{n: n, next: head.Next, prev: head.ID}
}

// write makes n messages of 1 KiB that live for a minute.
func (s *stranger) write(t testing.TB, n int, p ledger.Priority) [][]byte {
	t.Helper()
	var frames [][]byte
	for range n {
		h := ledger.Header{
			Incarnation: s.n.self.Incarnation, Seq: s.next, Prev: s.prev, HLC: uint64(time.Now().UnixMilli())<<16 + s.next,
			Kind: ledger.KindData, Priority: p, GroupTag: [16]byte{7}, LifetimeS: 60,
			Commit: ledger.Commitment(make([]byte, 32), []byte{byte(s.next)}),
		}
		v, err := ledger.Sign(s.n.open.keys.Signing, h, make([]byte, 1<<10))
		check(t, err)
		s.next, s.prev = s.next+1, v.Entry().ID()
		frames = append(frames, v.Entry().Frame())
	}
	return frames
}

// TestCarryEvicts: beyond its quota a carrier gives up what has expired since it
// came; nothing that it has promised, before that promise ends, and nothing
// urgent. What it gave up is not asked for again, also after a restart.
func TestCarryEvicts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var clock testClock
	a := w.enrol("Amal", orgHospital).start(t, alone, withClock(&clock), func(cfg *Config) {
		cfg.Carry = ledger.Quota{Author: 200 << 10}
		cfg.WitnessPause = 10000 * time.Hour // promises are made where this test says
	})
	d := w.enrol("Dee", orgAmbulance).start(t, alone)
	synced(t, a, d)
	s := newStranger(t, d)
	id, first := d.self, s.next
	take := func(frames [][]byte) {
		for _, r := range a.accept(t.Context(), frames...) {
			if r.outcome != ledger.Appended {
				t.Fatalf("%s", r.outcome)
			}
		}
	}
	take(s.write(t, 40, ledger.Routine))
	check(t, a.promise(t.Context(), id, clock.Now()))
	promised := s.next
	take(s.write(t, 10, ledger.Urgent))
	urgent := s.next
	take(s.write(t, 140, ledger.Routine))
	a.drainNow(t)
	body := func(seq uint64) bool {
		e, err := a.logs.Entry(t.Context(), id, seq)
		check(t, err)
		return e.HasBody()
	}
	// Full, and nothing has expired: what comes next is not kept.
	take(s.write(t, 30, ledger.Routine))
	a.drainNow(t)
	check(t, a.relieve(t.Context()))
	if body(s.next-1) || a.Metrics().Evicted != 0 || a.Metrics().NotCarried == 0 {
		t.Fatalf("%+v", a.Metrics())
	}
	// An hour later.
	clock.by.Add(int64(time.Hour))
	take(s.write(t, 1, ledger.Routine))
	a.drainNow(t)
	eventually(t, "room is made", func() bool { // by the loop, if it was first
		check(t, a.relieve(t.Context()))
		return a.carry.bytes() <= 200<<10*7/8
	})
	evicted := a.Metrics().Evicted
	if evicted == 0 {
		t.Fatal("nothing was given up")
	}
	for seq := first; seq < urgent; seq++ {
		if !body(seq) {
			t.Fatalf("entry %d was given up: promised below %d, urgent below %d", seq, promised, urgent)
		}
	}
	if body(urgent) {
		t.Fatal("the one that expired first is still held")
	}
	asked := func() bool {
		e, err := a.logs.Entry(t.Context(), id, urgent)
		check(t, err)
		return isAbsent(a, id, urgent) || a.worthFetching(t.Context(), e)
	}
	if asked() {
		t.Fatal("what was given up is asked for again")
	}
	forgetAbsent(a) // as after a restart
	check(t, a.scanAbsent(t.Context()))
	if asked() {
		t.Fatal("what was given up is asked for again after a restart")
	}

	// The promise ends, and room is wanted again.
	clock.by.Add(int64(custodyLife))
	a.testimony.unpromise(id)
	for range 40 {
		take(s.write(t, 1, ledger.Routine))
	}
	a.drainNow(t)
	eventually(t, "what was promised is given up after the promise", func() bool {
		clock.by.Add(int64(2 * relieveRest)) // the loop may have been first
		a.carry.lacksRoom()
		check(t, a.relieve(t.Context()))
		return a.Metrics().Evicted != evicted && !body(first)
	})
	for seq := promised; seq < urgent; seq++ {
		if !body(seq) {
			t.Fatalf("urgent entry %d was given up", seq)
		}
	}
}

// drainNow has the node come to all that it holds, so that it can tell what it
// reads.
func (n *Node) drainNow(t testing.TB) {
	t.Helper()
	n.due.addEverything()
	eventually(t, "the drain is done", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, h := range n.logs.Frontier() {
			if n.open == nil || n.open.cursors[h.Log] < h.Next {
				return false
			}
		}
		return true
	})
}
