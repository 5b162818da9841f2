package node

import (
	"sync/atomic"
	"time"

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

// knockAge is how old an entry may be, by its own time, to call for an unlock: what nobody has taken note of escalates, which is said anew,
// and what comes on a stick days later calls nobody from the ward. Clocks that differ by less do no harm.
const knockAge = time.Hour

// knock takes note of an entry that was appended.
func (n *Node) knock(h *ledger.Header) {
	if n.cfg.Clock.Now().Sub(time.UnixMilli(int64(h.HLC>>16))) > knockAge {
		return
	}
	if h.Priority != ledger.Stat || h.Kind != ledger.KindData || n.knocks.awake.Load() || h.Author == n.selfLog().Author {
		return
	}
	n.knocks.stat.Add(1)
	n.events.publish(Event{Type: EventStat})
}
