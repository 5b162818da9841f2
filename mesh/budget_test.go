package mesh

import (
	"testing"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/peer"
)

func TestBucket(t *testing.T) {
	var b bucket
	a := allowance{rate: 10, burst: 100}
	now := time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 100 {
		if !b.take(now, a, 1) {
			t.Fatalf("the burst ends at %d", i)
		}
	}
	if b.take(now, a, 1) {
		t.Error("there is no end to the burst")
	}
	if now = now.Add(time.Second); !b.take(now, a, 10) || b.take(now, a, 1) {
		t.Error("a second refills something else than the rate")
	}
	// A clock that is stepped back locks nobody out for longer than it takes anyway.
	now = now.AddDate(-1, 0, 0)
	b.take(now, a, 1)
	if now = now.Add(time.Second); !b.take(now, a, 10) {
		t.Error("a clock that was stepped back locks out")
	}
}

func TestRPCBudgets(t *testing.T) {
	c := &stillClock{now: time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)}
	b := newBudgets(c)
	graft := &pubsub.RPC{RPC: pb.RPC{Control: &pb.ControlMessage{Graft: make([]*pb.ControlGraft, 60)}}}
	for i := range graft.Control.Graft {
		graft.Control.Graft[i] = &pb.ControlGraft{}
	}
	if w := b.rpc("p", usage(graft)); w != "" {
		t.Errorf("the first is over %q", w)
	}
	if w := b.rpc("p", usage(graft)); w != "graft-prune" {
		t.Errorf("120 grafts are over %q", w)
	}
	if w := b.rpc("q", usage(graft)); w != "" {
		t.Errorf("another neighbour is over %q", w)
	}
	b.forget("p")
	if w := b.rpc("p", usage(graft)); w != "" {
		t.Errorf("a new connection is over %q", w)
	}
	ids := make([]string, 6000)
	for word, ctl := range map[string]*pb.ControlMessage{
		"ihave":     {Ihave: []*pb.ControlIHave{{MessageIDs: ids}, {MessageIDs: ids}, {MessageIDs: ids}, {MessageIDs: ids}}},
		"iwant":     {Iwant: []*pb.ControlIWant{{MessageIDs: ids}, {MessageIDs: ids}}},
		"idontwant": {Idontwant: []*pb.ControlIDontWant{{MessageIDs: ids}, {MessageIDs: ids}, {MessageIDs: ids}, {MessageIDs: ids}}},
	} {
		if w := b.rpc(peer.ID(word), usage(&pubsub.RPC{RPC: pb.RPC{Control: ctl}})); w != word {
			t.Errorf("%s: over %q", word, w)
		}
	}
}

// TestFrameBudgets: an author pays for what has proved to be its own only, a
// neighbour for everything, more for what brought nothing.
func TestFrameBudgets(t *testing.T) {
	c := &stillClock{now: time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)}
	b := newBudgets(c)
	l := Label{Author: [32]byte{1}}
	through := func(p peer.ID, v Verdict, n int) (passed int, over string) {
		for range n {
			if over = b.enter(p, l); over != "" {
				return passed, over
			}
			b.leave(p, l, v)
			passed++
		}
		return passed, ""
	}
	if n, over := through("liar", Reject, 4900); over != "" {
		t.Fatalf("%d passed, then %q", n, over)
	}
	if n, over := through("liar", Reject, 200); over != budgetFrames || 4900+n != 5000 {
		t.Errorf("%d frames that brought nothing passed, then %q", 4900+n, over)
	}
	// What the liar said in the author's name was not charged to the author.
	if n, over := through("honest", Accept, 6000); over != budgetAuthor || n != int(authorFrames.burst) {
		t.Errorf("%d of the author passed, then %q", n, over)
	}
	c.now = c.now.Add(time.Second)
	if n, over := through("another", Accept, 6000); over != budgetAuthor || n != int(authorFrames.rate) {
		t.Errorf("after a second %d of the author passed, then %q", n, over)
	}
	l.Author = [32]byte{}
	for range maxVerifying {
		if over := b.enter("many", l); over != "" {
			t.Fatal(over)
		}
	}
	if over := b.enter("many", l); over != budgetWaiting {
		t.Errorf("too many wait, and it is over %q", over)
	}
	for i := range maxAuthors + 10 {
		l.Author = [32]byte{2, byte(i), byte(i >> 8)}
		b.leave("p", l, Accept)
	}
	if len(b.authors) > maxAuthors {
		t.Errorf("%d authors are counted", len(b.authors))
	}
}
