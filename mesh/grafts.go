package mesh

import (
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"
)

// grafts follows which neighbours gossipsub has grafted in the routine topic.
// gossipsub sends our own frames to everybody; for what is urgent that is the
// shortest way, for routine frames it is a duplicate for each neighbour that is
// not grafted and gets them from others a moment later.
type grafts struct {
	topic string

	mu    sync.Mutex
	peers map[peer.ID]bool
}

func newGrafts(topic string) *grafts {
	return &grafts{topic: topic, peers: make(map[peer.ID]bool)}
}

// gone forgets p.
func (g *grafts) gone(p peer.ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.peers, p)
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
	}
}

// has reports whether p is grafted.
func (g *grafts) has(p peer.ID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.peers[p]
}

// spare reports whether p need not be sent our own routine frames: it is not
// grafted, and enough others are.
func (g *grafts) spare(p peer.ID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.peers) >= enoughGrafts && !g.peers[p]
}
