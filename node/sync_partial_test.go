package node

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"tocsin/ledger"
	"tocsin/mesh"
	"tocsin/node/message"
)

// TestSyncPartialLog: while a session fetches the headers of a log, so that nobody
// here knows yet what is urgent at its end, no other session asks for bodies of it, and
// no neighbour is served routine ones: it is to ask again in a moment. What is urgent is
// served all the same.
func TestSyncPartialLog(t *testing.T) {
	t.Parallel()
	clock := stillClock{SystemClock(), time.Now()} // as long as that holds, however slow the machine
	a, b := pair(t, 1, func(cfg *Config) { cfg.Clock = clock })
	synced(t, a, b)
	g := makeGroup(t, b)
	for i := range 2 * headersFirst {
		say(t, b, g, fmt.Sprint("note ", i))
	}
	_, err := b.Send(t.Context(), g, message.NewText("cardiac arrest", time.Time{}), "stat")
	check(t, err)
	id := longest(b)

	// b fetches headers of the log, as another session does.
	fetching := &puller{n: b}
	if !b.sync.claim(fetching, id, b.cfg.Clock.Now()) {
		t.Fatal("the log is claimed already")
	}
	c, pull, serve := meet(t, a, b, nil)
	check(t, serve)
	if !errors.Is(pull, mesh.ErrSessionLimit) {
		t.Fatalf("the session ended with %v, not to be resumed", pull)
	}
	bodies := c.bodies(t)
	if bodies[ledger.ClassRoutine] != 0 || !holdsStat(t, a, id) {
		t.Errorf("bodies by class while headers are fetched: %v", bodies)
	}
	b.sync.release(fetching)

	// a does. The body of what it knows to be urgent is fetched all the same, and the session is
	// to be resumed.
	_, err = b.Send(t.Context(), g, message.NewText("another", time.Time{}), "stat")
	check(t, err)
	head, _ := b.logs.Head(id)
	check(t, b.logs.Entries(t.Context(), id, 0, head.Next, func(e *ledger.Entry) error {
		a.acceptHeaders(t.Context(), e.HeaderFrame())
		return nil
	}))
	fetching = &puller{n: a}
	a.sync.claim(fetching, id, a.cfg.Clock.Now())
	c, pull, serve = meet(t, a, b, nil)
	check(t, serve)
	if bodies = c.bodies(t); bodies[ledger.ClassUrgent] != 1 || bodies[ledger.ClassRoutine] != 0 {
		t.Errorf("bodies by class while another session fetches headers: %v", bodies)
	}
	if !errors.Is(pull, mesh.ErrSessionLimit) || errors.Is(pull, mesh.ErrNothingYet) {
		t.Errorf("the session ended with %v", pull)
	}
	if c, pull, _ = meet(t, a, b, nil); c.bodies(t) != [ledger.Classes]int{} || !errors.Is(pull, mesh.ErrNothingYet) {
		t.Errorf("a session that had to leave everything: %v, bodies by class %v", pull, c.bodies(t))
	}
	say(t, b, g, "one more") // its header, too, is for the session that holds the log
	if _, pull, _ = meet(t, a, b, nil); !errors.Is(pull, mesh.ErrNothingYet) {
		t.Errorf("a session that had to leave headers: %v", pull)
	}
	a.sync.release(fetching)
	if bodies = synced(t, a, b).bodies(t); bodies[ledger.ClassRoutine] < headersFirst {
		t.Errorf("bodies by class at last: %v", bodies)
	}
	synced(t, b, a)
	sameLogs(t, a, b)
}

// TestSyncGoesOnBesideABusyLog: bodies of a log that the other side is at are put off alone; those
// of other logs come in the same session, and what was put off is asked for once, not range by range.
func TestSyncGoesOnBesideABusyLog(t *testing.T) {
	t.Parallel()
	clock := stillClock{SystemClock(), time.Now()}
	w := newWorld(t)
	start := func(name, org string) *Node {
		return w.enrol(name, org).start(t, alone, func(cfg *Config) { cfg.Clock = clock })
	}
	a, b, c := start("Amal", orgHospital), start("Ben", orgAmbulance), start("Chidi", orgHospital)
	gb, gc := makeGroup(t, b), makeGroup(t, c)
	for i := range maxWants { // each a range of its own, because others stand between
		say(t, b, gb, fmt.Sprint("b ", i))
		say(t, c, gc, fmt.Sprint("c ", i))
	}
	synced(t, b, c)
	fetching := &puller{n: b}
	b.sync.claim(fetching, b.self, b.cfg.Clock.Now())
	lacks := func(id ledger.LogID) (n uint64) {
		a.sync.bodies(func(x *ledger.Absence) {
			for _, r := range x.Of(id) {
				n += r.To - r.From
			}
		})
		return n
	}
	_, pull, serve := meet(t, a, b, nil)
	check(t, serve)
	if !errors.Is(pull, mesh.ErrSessionLimit) || errors.Is(pull, mesh.ErrNothingYet) {
		t.Errorf("a session that brought something and left something ended with %v", pull)
	}
	if n := lacks(c.self); n != 0 {
		t.Errorf("%d bodies of a log that nobody is at are lacking", n)
	}
	if lacks(b.self) == 0 {
		t.Fatal("nothing was put off")
	}
	if _, pull, _ = meet(t, a, b, nil); !errors.Is(pull, mesh.ErrNothingYet) {
		t.Errorf("a session that could bring nothing ended with %v", pull)
	}
	b.sync.release(fetching)
	synced(t, a, b)
	synced(t, b, a)
	sameLogs(t, a, b)
}

// stillClock shows one moment for ever; its waits pass as ever.
type stillClock struct {
	Clock
	at time.Time
}

func (c stillClock) Now() time.Time { return c.at }

// bodies counts the bodies that came, by class.
func (w *wire) bodies(t *testing.T) (n [ledger.Classes]int) {
	t.Helper()
	for _, f := range w.frames {
		if f.Type != frameItem {
			continue
		}
		it, err := ledger.ParseItem(f.Payload)
		check(t, err)
		if it.Piece == ledger.PieceBody {
			n[f.Class]++
		}
	}
	return n
}

// longest returns the log with the most entries.
func longest(n *Node) ledger.LogID {
	heads := n.logs.Frontier()
	return slices.MaxFunc(heads, func(x, y ledger.Head) int { return cmp.Compare(x.Next, y.Next) }).Log
}

// TestPullCredit: whatever waits to be written and to be given credit for, the other side
// may send the longest item; otherwise both would wait for each other.
func TestPullCredit(t *testing.T) {
	in, out := ledger.NewInflow(), ledger.NewShare()
	send := func(n int) {
		if c, ok := out.Next([ledger.Classes]int{ledger.ClassRoutine: n}); !ok {
			t.Fatalf("an item of %d bytes may not be sent", n)
		} else {
			out.Spend(c, n)
		}
		check(t, in.Arrive(ledger.ClassRoutine, n))
	}
	written := func(n int) {
		if grant := in.Done(ledger.ClassRoutine, n); grant > 0 {
			check(t, out.Grant(ledger.ClassRoutine, grant))
		}
	}
	send(ledger.Window/4 - 1)
	written(ledger.Window/4 - 1) // not enough for a grant
	send(pullBatchBytes - 1)     // not enough to be written
	send(mesh.MaxPayload)
}

// holdsStat reports whether a node holds every stat message of a log, however it came.
func holdsStat(t *testing.T, n *Node, id ledger.LogID) bool {
	t.Helper()
	head, _ := n.logs.Head(id)
	stat, held := 0, 0
	check(t, n.logs.Entries(t.Context(), id, 0, head.Next, func(e *ledger.Entry) error {
		if e.Header.Priority == ledger.Stat && e.Header.Kind == ledger.KindData {
			stat++
			if e.HasBody() {
				held++
			}
		}
		return nil
	}))
	return stat > 0 && held == stat
}
