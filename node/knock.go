package node

import (
	"sync/atomic"

	"tocsin/ledger"
)

// knocks counts what came stat while nobody could read it. A locked device cannot
// say who calls whom: the priority stands in the header, everything else is
// sealed. So a page shows that somebody should unlock, and nothing more.
type knocks struct {
	awake atomic.Bool // unlocked
	stat  atomic.Int64
}

// begin is when the device is locked, end when it is unlocked.
func (k *knocks) begin() {
	k.stat.Store(0)
	k.awake.Store(false)
}

func (k *knocks) end() { k.awake.Store(true) }

// waiting is how many stat entries of others came since the device was locked; 0
// while it is unlocked.
func (k *knocks) waiting() int {
	if k.awake.Load() {
		return 0
	}
	return int(k.stat.Load())
}

// knock takes note of an entry that was appended.
func (n *Node) knock(h *ledger.Header) {
	if h.Priority != ledger.Stat || h.Kind != ledger.KindData || n.knocks.awake.Load() || h.Author == n.selfLog().Author {
		return
	}
	n.knocks.stat.Add(1)
	n.events.publish(Event{Type: EventStat})
}
