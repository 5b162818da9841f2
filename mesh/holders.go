package mesh

import (
	"slices"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"
)

// holders remembers, for a short while, which neighbours are known to have a
// frame, because they sent it: what waits to be written to such a one need not
// go. It holds the last two generations of at most holdersKept frames each.
type holders struct {
	self peer.ID

	mu       sync.Mutex
	now, old map[frameID][]peer.ID
}

func newHolders(self peer.ID) *holders {
	return &holders{self: self, now: make(map[frameID][]peer.ID)}
}

// note records that p has the frame.
func (h *holders) note(id frameID, p peer.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	had, ok := h.now[id]
	if !ok {
		if len(h.now) >= holdersKept {
			h.old, h.now = h.now, make(map[frameID][]peer.ID)
		}
		had = h.old[id]
	}
	// Beyond a few, the frame is everywhere anyway.
	if had == nil {
		had = make([]peer.ID, 0, 4)
	}
	if len(had) < maxHolders && !slices.Contains(had, p) {
		had = append(had, p) // behind what anybody else sees of it
	}
	h.now[id] = had
}

// has reports whether p is known to have the frame.
func (h *holders) has(id frameID, p peer.ID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Contains(h.now[id], p) || slices.Contains(h.old[id], p)
}

// of returns the neighbours that are known to have the frame.
func (h *holders) of(id frameID) []peer.ID {
	h.mu.Lock()
	defer h.mu.Unlock()
	if had, ok := h.now[id]; ok {
		return had // never changed in place
	}
	return h.old[id]
}

// own reports whether we published the frame.
func (h *holders) own(id frameID) bool { return h.has(id, h.self) }
