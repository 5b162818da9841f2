package node

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"tocsin/ledger"
	"tocsin/mesh"
	"tocsin/node/message"
)

// backlogged returns two nodes on a clock that stands still. The second has said more than
// is fetched as whole entries since they synchronised, and then something stat, as the
// returned message says.
func backlogged(t *testing.T) (a, b *Node, stat Sent) {
	t.Helper()
	clock := stillClock{SystemClock(), time.Now()}
	a, b = pair(t, 1, func(cfg *Config) { cfg.Clock = clock })
	synced(t, a, b)
	g := makeGroup(t, b)
	for i := range 2 * headersFirst {
		say(t, b, g, fmt.Sprint("note ", i))
	}
	stat, err := b.Send(t.Context(), g, message.NewText("cardiac arrest", time.Time{}), "stat")
	check(t, err)
	return a, b, stat
}

// pieces returns what came on a session, in order.
func (w *wire) pieces(t *testing.T) (items []ledger.Item) {
	t.Helper()
	for _, f := range w.frames {
		if f.Type != frameItem {
			continue
		}
		it, err := ledger.ParseItem(f.Payload)
		check(t, err)
		items = append(items, it)
	}
	return items
}

// brings reports whether an item brings the body of an entry, alone or with its header, as
// those beyond a proved range come where they are few.
func brings(t *testing.T, it ledger.Item, seq uint64) bool {
	t.Helper()
	if it.Piece != ledger.PieceEntry {
		return it.Piece == ledger.PieceBody && it.Seq == seq
	}
	e, err := ledger.ParseFrame(it.Data)
	check(t, err)
	return e.Header.Seq == seq
}

// TestSyncUrgentBeforeTestimony: what is urgent comes as soon as its header is here, before testimony,
// which takes a busy device seconds to judge.
func TestSyncUrgentBeforeTestimony(t *testing.T) {
	t.Parallel()
	a, b, stat := backlogged(t)
	items := synced(t, a, b).pieces(t)
	// The first header, the body, and the last testimony: the checkpoint of a proved range comes before the headers.
	header, body, testimony := -1, -1, -1
	for i, it := range items {
		switch {
		case it.Piece == ledger.PieceHeader && header < 0:
			header = i
		case brings(t, it, stat.Seq):
			body = i
		case it.Piece == ledger.PieceRecords:
			testimony = i
		}
	}
	if header < 0 || body < 0 || testimony < header {
		t.Fatalf("the first header came as item %d, what is stat as %d, the last testimony as %d", header, body, testimony)
	}
	if body > testimony {
		t.Errorf("what is stat came as item %d, and the last testimony as item %d", body, testimony)
	}
}

// TestSyncStatComesMeanwhile: a neighbour that gets something stat while it serves a session puts
// off what is routine of the same log: the client does not know of it, and learns of it first
// in its next session.
func TestSyncStatComesMeanwhile(t *testing.T) {
	t.Parallel()
	a, b, _ := backlogged(t)
	g := makeGroup(t, b)
	said := false
	c, pull, serve := meet(t, a, b, func(f mesh.Frame) []mesh.Frame {
		if f.Type == frameEqual && !said {
			said = true
			if _, err := b.Send(t.Context(), g, message.NewText("another", time.Time{}), "stat"); err != nil {
				t.Error(err)
			}
		}
		return []mesh.Frame{f}
	})
	check(t, serve)
	if n := c.bodies(t)[ledger.ClassRoutine]; n != 0 || !errors.Is(pull, mesh.ErrSessionLimit) {
		t.Errorf("%d routine bodies came before what the client had not heard of; the session ended with %v", n, pull)
	}
	c = synced(t, a, b)
	if !holdsStat(t, a, b.self) || c.bodies(t)[ledger.ClassRoutine] < headersFirst {
		t.Errorf("the next session brought, by class, %v", c.bodies(t))
	}
}

// TestSyncAfterAnothersPart: another session brought the headers of a log from a neighbour that has
// less of it. Before routine bodies of that part the rest of the headers is asked for, and what
// is urgent there.
func TestSyncAfterAnothersPart(t *testing.T) {
	t.Parallel()
	a, b, stat := backlogged(t)
	check(t, b.logs.Entries(t.Context(), b.self, 0, headersFirst, func(e *ledger.Entry) error {
		a.acceptHeaders(t.Context(), e.HeaderFrame())
		return nil
	}))
	another := &puller{n: a}
	if !a.sync.claim(another, b.self, a.cfg.Clock.Now()) {
		t.Fatal("the log is claimed already")
	}
	released := false
	c, pull, serve := meet(t, a, b, func(f mesh.Frame) []mesh.Frame {
		if it, err := ledger.ParseItem(f.Payload); f.Type == frameItem && err == nil && it.Piece == ledger.PieceRecords {
			a.sync.release(another)
			released = true
		}
		return []mesh.Frame{f}
	})
	check(t, serve)
	if !released {
		t.Fatal("no testimony came")
	}
	for _, it := range c.pieces(t) {
		if brings(t, it, stat.Seq) {
			break
		}
		if e, err := b.logs.Entry(t.Context(), b.self, it.Seq); it.Piece == ledger.PieceBody && (err != nil || ledger.ClassOf(&e.Header, a.cfg.Clock.Now()) > ledger.ClassUrgent) {
			t.Fatalf("body %d came before what is stat (%v)", it.Seq, err)
		}
	}
	if !holdsStat(t, a, b.self) {
		t.Errorf("what is stat did not come; the session ended with %v", pull)
	}
}

// TestStatOpensFirst: of many bodies that came late what is stat is shown first, and what is
// routine is left for it in the midst of a turn.
func TestStatOpensFirst(t *testing.T) {
	t.Parallel()
	late, low, high, g := lateMember(t)
	first := say(t, low, g, "note")
	var last Sent
	for i := range 2 * filledBatch {
		last = say(t, low, g, fmt.Sprint("note ", i))
	}
	stat, err := low.Send(t.Context(), g, message.NewText("cardiac arrest", time.Time{}), "stat")
	check(t, err)
	feed(t, high, late, high)
	inGroup(t, g, late)
	feedBefore(t, low, late, first.Seq)
	frames := make(map[uint64][]byte)
	check(t, low.logs.Entries(t.Context(), low.self, first.Seq, stat.Seq+1, func(e *ledger.Entry) error {
		frames[e.Header.Seq] = e.Frame()
		late.acceptHeaders(t.Context(), e.HeaderFrame())
		return nil
	}))
	eventually(t, "all are passed", func() bool {
		late.mu.Lock()
		defer late.mu.Unlock()
		return late.open.cursors[low.self] > stat.Seq
	})
	shown := func() (n int) { return len(texts(t, late, g)) }
	late.mu.Lock()
	late.due.take()
	for seq := first.Seq; seq <= last.Seq; seq++ {
		late.accept(t.Context(), frames[seq])
	}
	w := late.due.take() // the turn begins
	late.accept(t.Context(), frames[stat.Seq])
	err = late.drainBodies(t.Context(), &w)
	events := late.Subscribe(t.Context())
	late.mu.Unlock()
	check(t, err)
	if len(w.filled) != filledBatch+1 {
		t.Errorf("a turn opened %d of %d routine messages although one that is stat had come", 2*filledBatch+1-len(w.filled), 2*filledBatch+1)
	}
	late.due.putBack(w)
	eventually(t, "all is shown", func() bool { return shown() == 2*filledBatch+2 })
	for e := range events {
		if e.Type != EventMessage {
			continue
		}
		if e.ID != stat.ID {
			t.Error("something routine was shown before what is stat")
		}
		break
	}
}

// TestHeadersThatKeepComing: bodies of a log are held back while another session gets its headers,
// and not for one that gets none, nor for ever.
func TestHeadersThatKeepComing(t *testing.T) {
	t.Parallel()
	s, id, now := newSyncing(), ledger.LogID{Author: [32]byte{1}}, time.Unix(1_700_000_000, 0)
	p, other := &puller{}, &puller{}
	if !s.claim(p, id, now) {
		t.Fatal("the log is claimed already")
	}
	begun := now
	for now.Sub(begun) < claimTime {
		if !s.fetching(other, id, now) || !s.fetching(nil, id, now) || s.fetching(p, id, now) {
			t.Fatalf("after %v of headers", now.Sub(begun))
		}
		s.progress(other, id, now.Add(headersTime)) // of one that has not claimed it
		now = now.Add(headersTime - time.Millisecond)
		s.progress(p, id, now)
	}
	if s.fetching(other, id, now) {
		t.Error("a session that takes too long holds up bodies for ever")
	}
	if !s.claim(other, id, now) || s.fetching(p, id, now.Add(headersTime)) {
		t.Error("a session that gets no headers holds up bodies")
	}
}
