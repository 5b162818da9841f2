package mesh

import (
	"context"
	"fmt"
	"slices"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/peer"
)

// missing is a peer that may not have been sent what was just published, and how long it may
// wait until it is told to pull.
type missing struct {
	peer  peer.ID
	after time.Duration
}

// mayMiss returns the connected peers that may not have been sent what was just
// published. gossipsub loses for ever what is published while the two sides
// still open their streams to each other, and says nothing. Who has not joined loses
// it, and is named each time; who has joined just now hardly does, and is named once, to be told when
// that is over, whatever it was told before. from, who sent it, misses nothing.
func (g *gossip) mayMiss(from peer.ID) []missing {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.unsettled) == 0 {
		return nil
	}
	now := g.clock.Now()
	out := make([]missing, 0, len(g.unsettled))
	for p, u := range g.unsettled {
		// Abs: a clock that was set back must not keep a peer unsettled for ever.
		age := now.Sub(u.since).Abs()
		switch {
		case u.joined && age > settleTime:
			delete(g.unsettled, p)
		case p == from:
		case !u.joined:
			out = append(out, missing{peer: p})
		case !u.owed:
			u.owed = true
			out = append(out, missing{p, settleTime - age})
		}
	}
	return out
}

// peer is told of connections.
func (g *gossip) peer(p peer.ID, up bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if up {
		g.met[p] = g.clock.Now()
		g.unsettled[p] = &unsettledPeer{since: g.met[p], joined: g.members[p]}
	} else {
		delete(g.met, p)
		delete(g.unsettled, p)
	}
}

// justMet reports whether p is connected for less than announceWait.
func (g *gossip) justMet(p peer.ID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	since, ok := g.met[p]
	return ok && g.clock.Now().Sub(since).Abs() < announceWait
}

// leaveAnnounced takes the announcements of routine frames out of an RPC of a neighbour
// that was met just now. They are of what it heard before, and gossipsub would ask for all
// of it at once; the pull that begins at meeting brings what is urgent first, and another
// one follows for what was announced since it began.
func (g *gossip) leaveAnnounced(from peer.ID, rpc *pubsub.RPC) {
	routine := func(h *pb.ControlIHave) bool { return h.GetTopicID() == g.names[0] }
	c := rpc.GetControl()
	if !slices.ContainsFunc(c.GetIhave(), routine) || !g.justMet(from) {
		return
	}
	news := slices.ContainsFunc(c.GetIhave(), func(h *pb.ControlIHave) bool {
		return routine(h) && slices.ContainsFunc(h.GetMessageIDs(), func(id string) bool { return !g.heard(id) })
	})
	c.Ihave = slices.DeleteFunc(c.Ihave, routine)
	if news {
		g.lack(from)
	}
}

// heard reports whether the frame of a message id of the routine topic is known to have come lately,
// and was not turned away.
func (g *gossip) heard(id string) bool {
	if len(id) != len(frameID{}) {
		return false
	}
	frame := frameID([]byte(id))
	return len(g.holders.of(frame)) > 0 && !g.turned.has(frame)
}

// run follows who has joined the topic, until ctx ends.
func (g *gossip) run(ctx context.Context, connected func(peer.ID) bool) error {
	for {
		e, err := g.events.NextPeerEvent(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("mesh: gossip events: %w", err)
		}
		g.joined(e.Peer, e.Type == pubsub.PeerJoin, connected(e.Peer))
	}
}

func (g *gossip) joined(p peer.ID, in, connected bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if in {
		g.members[p] = true
	} else {
		delete(g.members, p)
	}
	if u := g.unsettled[p]; u != nil {
		u.joined, u.owed = in, u.owed && in
		return
	}
	if !in && connected {
		// It left the topic but not us: a stream broke.
		g.unsettled[p] = &unsettledPeer{since: g.clock.Now()}
	}
}
