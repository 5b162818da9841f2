package node

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"tocsin/ledger"
	"tocsin/mesh"
	"tocsin/node/message"
)

// TestSyncIdleClaims: a neighbour that shows a log and then brings nothing of it keeps others from
// it once, whether it says nothing or "later"; while it is at that again, everything comes from one
// that is honest. And "later" for every log of many is a lie.
func TestSyncIdleClaims(t *testing.T) {
	t.Parallel()
	clock := stillClock{SystemClock(), time.Now()} // no claim ends by itself
	a, b := pair(t, 1, func(cfg *Config) { cfg.Clock = clock })
	g := makeGroup(t, b)
	for i := range 2 * headersFirst {
		say(t, b, g, fmt.Sprint("note ", i))
	}
	_, err := b.Send(t.Context(), g, message.NewText("cardiac arrest", time.Time{}), "stat")
	check(t, err)
	marks := func(logs ...ledger.LogID) *ledger.Tree {
		tree := ledger.NewTree(ledger.ScopeHeaders)
		for _, id := range logs {
			tree.Set(ledger.Mark{Log: id, Next: 1000, ID: [32]byte{9}})
		}
		return tree
	}
	liar := peer.ID("a liar")

	c, s := newWire()
	done := lie(s, marks(b.self), func(number uint16) error {
		return s.Send(mesh.Frame{Type: frameDone, Payload: ledger.MarshalDone(number, ledger.EndLater)})
	})
	if err := a.Pull(t.Context(), liar, c); !errors.Is(err, mesh.ErrNothingYet) {
		t.Fatalf("a session that brought nothing ended with %v", err)
	}
	c.reset()
	<-done

	c, s = newWire()
	asked := make(chan struct{})
	var once sync.Once
	done = lie(s, marks(b.self), func(uint16) error {
		once.Do(func() { close(asked) })
		return nil // and it is silent
	})
	pulled := make(chan struct{})
	go func() {
		defer close(pulled)
		a.Pull(t.Context(), liar, c)
	}()
	<-asked
	bodies := synced(t, a, b).bodies(t)
	if bodies[ledger.ClassUrgent] == 0 || bodies[ledger.ClassRoutine] < headersFirst {
		t.Errorf("bodies by class from the honest neighbour: %v", bodies)
	}
	head, _ := a.logs.Head(b.self)
	for seq := range head.Next { // the newest came whole
		if e, err := a.logs.Entry(t.Context(), b.self, seq); err != nil || e.Absent {
			t.Fatalf("entry %d has no body (%v)", seq, err)
		}
	}
	if ours, _ := b.logs.Head(b.self); head.Next != ours.Next {
		t.Errorf("%d of %d entries came", head.Next, ours.Next)
	}
	c.reset()
	<-pulled
	<-done

	// An honest claim that brings something is alone with its log, as ever.
	slow := &puller{n: a, from: b.mesh.ID()}
	if now := clock.Now(); !a.sync.claim(slow, b.self, now) || a.sync.claim(&puller{n: a, from: liar}, b.self, now) {
		t.Error("a neighbour that had brought a log has no claim to it")
	}

	many := make([]ledger.LogID, 100)
	for i := range many {
		many[i].Author = [32]byte{1, byte(i)}
	}
	c, s = newWire()
	done = lie(s, marks(many...), func(number uint16) error {
		return s.Send(mesh.Frame{Type: frameDone, Payload: ledger.MarshalDone(number, ledger.EndLater)})
	})
	if err := a.Pull(t.Context(), liar, c); ledger.Broken(err) != ledger.BrokenFrontier {
		t.Errorf("a hundred logs of which nothing comes, all of them later: %v", err)
	}
	c.reset()
	<-done
}

// TestSyncLostHoldsUpNothing: while routine bodies are fetched, what the store lost and nobody has is
// no claim that holds up others.
func TestSyncLostHoldsUpNothing(t *testing.T) {
	t.Parallel()
	a, b := pair(t, 2*headersFirst)
	synced(t, b, a)
	lost := ledger.Record{Table: ledger.TableEntries, Log: a.self, Seq: 1, Value: []byte("what a bad sector left")}
	check(t, b.cfg.Store.Commit(t.Context(), []ledger.Record{lost}))
	for b.logs.Health().ScrubRounds == 0 {
		b.scrub()
	}
	if n := len(b.logs.Lost()); n != 1 {
		t.Fatalf("%d ranges are lost", n)
	}
	g := makeGroup(t, a)
	for i := range 2 * headersFirst {
		say(t, a, g, fmt.Sprint("note ", i))
	}
	bodies := 0
	_, pull, serve := meet(t, b, a, func(f mesh.Frame) []mesh.Frame {
		it, err := ledger.ParseItem(f.Payload)
		if f.Type != frameItem || err != nil {
			return []mesh.Frame{f}
		}
		switch {
		case it.Piece == ledger.PieceEntry && f.Class == uint8(ledger.ClassUrgent):
			return nil // as if it were not held
		case it.Piece == ledger.PieceBody && f.Class >= uint8(ledger.ClassRoutine):
			if bodies++; b.sync.fetching(nil, a.self, b.cfg.Clock.Now()) {
				t.Error("a log of which an entry is lost is claimed while bodies come")
			}
		}
		return []mesh.Frame{f}
	})
	check(t, pull)
	check(t, serve)
	if bodies == 0 || len(b.logs.Lost()) != 1 {
		t.Fatalf("%d bodies came, lost %v", bodies, b.logs.Lost())
	}
	synced(t, b, a)
	if lost := b.logs.Lost(); len(lost) != 0 {
		t.Errorf("still lost: %v", lost)
	}
}
