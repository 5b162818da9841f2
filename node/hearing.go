package node

import (
	"errors"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"tocsin/crypto/identity"
	"tocsin/ledger"
)

// A device that is refused only because it was ordered to wipe itself may hear
// so: each neighbour lets it in for hearingTime, once in hearingPause. It is
// served the logs that carry orders and finds no sign of others; what is
// gossiped meanwhile it gets, for its own receipt comes by gossip.
const (
	hearingTime  = 30 * time.Second
	hearingPause = time.Hour
	maxHearings  = 1024
)

// hearing is one device that was let in.
type hearing struct {
	since time.Time
	over  bool // its connections were ended
}

var errHearing = errors.New("node: the neighbour is let in to hear of its wipe order alone")

// hears says whether a device under a wipe order may be connected at present.
func (n *Node) hears(id peer.ID) bool {
	now := n.cfg.Clock.Now()
	n.hearMu.Lock()
	defer n.hearMu.Unlock()
	h, known := n.hearings[id]
	if known && now.Sub(h.since).Abs() <= hearingPause {
		return !h.over && now.Sub(h.since).Abs() <= hearingTime
	}
	if !known && len(n.hearings) >= maxHearings {
		return false // more orders than any authority gives: none is let in unnoted
	}
	n.hearings[id] = hearing{since: now}
	n.keeper.ring() // trustLoop ends it in time
	return true
}

// hearing says whether a neighbour is let in to hear of its wipe order, or was.
func (n *Node) hearing(id peer.ID) bool {
	n.hearMu.Lock()
	defer n.hearMu.Unlock()
	_, ok := n.hearings[id]
	return ok
}

// hearingDue is when endHearings has something to do; never while nobody hears.
func (n *Node) hearingDue() <-chan time.Time {
	now := n.cfg.Clock.Now()
	n.hearMu.Lock()
	defer n.hearMu.Unlock()
	first := time.Duration(-1)
	for _, h := range n.hearings {
		if h.over {
			continue
		}
		left := min(max(hearingTime-now.Sub(h.since), 0), hearingTime) + time.Second
		if first < 0 || left < first {
			first = left
		}
	}
	if first < 0 {
		return nil
	}
	return n.cfg.Clock.After(first)
}

// endHearings cuts the connections of devices that have heard for as long as they
// may.
func (n *Node) endHearings() {
	now, ended := n.cfg.Clock.Now(), false
	n.hearMu.Lock()
	for id, h := range n.hearings {
		if !h.over && now.Sub(h.since).Abs() > hearingTime {
			h.over, ended = true, true
			n.hearings[id] = h
		}
	}
	n.hearMu.Unlock()
	if ended {
		n.mesh.Recheck()
	}
}

// mayServe says whether a neighbour may be served a log: one that is let in for
// its wipe alone is shown what concerns that, and nothing else.
func (n *Node) mayServe(to peer.ID, log identity.LogID) bool {
	if !n.hearing(to) {
		return true
	}
	n.keeper.mu.Lock()
	defer n.keeper.mu.Unlock()
	_, carries := n.keeper.orders[log]
	return carries
}

// tree is the scope as the other side of a session may see it. One that hears
// compares with the heads of the logs that carry orders: other claims would show
// who posts, and would be found empty, for which it would end the session.
func (v *server) tree(s ledger.Scope) *ledger.Tree {
	if !v.hearing {
		return v.n.tree(s)
	}
	t := ledger.NewTree(s)
	if s != ledger.ScopeHeaders {
		return t
	}
	heads := v.n.tree(s)
	v.n.keeper.mu.Lock()
	defer v.n.keeper.mu.Unlock()
	for id := range v.n.keeper.orders {
		if m, ok := heads.Get(id); ok {
			t.Set(m)
		}
	}
	return t
}
