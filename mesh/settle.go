package mesh

import (
	"context"
	"fmt"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
)

// mayMiss returns the connected peers that may not have been sent what was just
// published. gossipsub loses for ever what is published while the two sides
// still open their streams to each other, and says nothing.
func (g *gossip) mayMiss() []peer.ID {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.unsettled) == 0 {
		return nil
	}
	now := g.clock.Now()
	out := make([]peer.ID, 0, len(g.unsettled))
	for p, u := range g.unsettled {
		// Abs: a clock that was set back must not keep a peer unsettled for ever.
		if u.joined && now.Sub(u.since).Abs() > settleTime {
			delete(g.unsettled, p)
			continue
		}
		out = append(out, p)
	}
	return out
}

// peer is told of connections.
func (g *gossip) peer(p peer.ID, up bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if up {
		g.unsettled[p] = &unsettledPeer{since: g.clock.Now()}
	} else {
		delete(g.unsettled, p)
	}
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
	if u := g.unsettled[p]; u != nil {
		u.joined = in
		return
	}
	if !in && connected {
		// It left the topic but not us: a stream broke.
		g.unsettled[p] = &unsettledPeer{since: g.clock.Now()}
	}
}
