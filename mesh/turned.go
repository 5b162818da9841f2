package mesh

import (
	"sync"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
)

// turned remembers which frames of gossip were turned away unseen, for a budget or
// because too many waited. gossipsub takes such a frame for seen when others send it
// too. They may be nearer than who was over its budget, and more honest: so they are
// pulled from as well. It holds the last two generations of at most turnedKept
// frames each. The zero value is empty.
type turned struct {
	mu       sync.Mutex
	now, old map[frameID]int // how many others may still be pulled from
}

// note remembers a frame.
func (t *turned) note(id frameID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.now == nil || len(t.now) >= turnedKept {
		t.old, t.now = t.now, make(map[frameID]int)
	}
	t.now[id] = turnedPulls
}

// has reports whether the frame was turned away, and may still be pulled for.
func (t *turned) has(id frameID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.now[id] > 0 || t.old[id] > 0
}

// again reports whether whoever has sent the frame again is to be pulled from.
func (t *turned) again(id frameID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range []map[frameID]int{t.now, t.old} {
		left, ok := m[id]
		if !ok {
			continue
		}
		if left--; left == 0 {
			delete(m, id)
		} else {
			m[id] = left
		}
		return true
	}
	return false
}

// turnAway has a frame that was not looked at found by synchronisation.
func (g *gossip) turnAway(m *pubsub.Message) {
	g.lack(m.ReceivedFrom)
	id, ok := g.frameOf(m)
	if !ok {
		return
	}
	g.turned.note(id)
	for _, p := range g.holders.of(id) { // who came again before it was turned away
		if p != m.ReceivedFrom && g.turned.again(id) {
			g.lack(p)
		}
	}
}
