package mesh

import (
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// grafts follows which neighbours gossipsub has grafted in the routine topic.
// gossipsub sends our own frames to everybody; for what is urgent that is the
// shortest way, for routine frames it is a duplicate for each neighbour that is
// not grafted and gets them from others a moment later. One that is new or was
// pruned just now may have nobody else yet: until gossipsub would graft it again it is
// sent ours all the same.
type grafts struct {
	topic string
	clock Clock

	mu    sync.Mutex
	peers map[peer.ID]bool
	fresh map[peer.ID]time.Time // when it came or was pruned
}

func newGrafts(topic string, clock Clock) *grafts {
	return &grafts{topic: topic, clock: clock, peers: make(map[peer.ID]bool), fresh: make(map[peer.ID]time.Time)}
}

// came notes that gossip with p begins.
func (g *grafts) came(p peer.ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fresh[p] = g.clock.Now()
}

// gone forgets p.
func (g *grafts) gone(p peer.ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.peers, p)
	delete(g.fresh, p)
}

// set notes that p was grafted, or is no more.
func (g *grafts) set(p peer.ID, topic string, grafted bool) {
	if topic != g.topic {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if grafted {
		g.peers[p] = true
	} else {
		delete(g.peers, p)
		g.fresh[p] = g.clock.Now()
	}
}

// has reports whether p is grafted.
func (g *grafts) has(p peer.ID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.peers[p]
}

// spare reports whether p need not be sent our own routine frames: enough others
// are grafted, and p is not and has had the time to find others.
func (g *grafts) spare(p peer.ID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.peers) < enoughGrafts || g.peers[p] {
		return false
	}
	// Abs: a clock that was set back must not keep it fresh for ever.
	if at, ok := g.fresh[p]; ok && g.clock.Now().Sub(at).Abs() < pruneBackoff {
		return false
	}
	delete(g.fresh, p)
	return true
}
