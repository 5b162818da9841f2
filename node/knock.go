package node

import (
	"sync"
	"time"

	"tocsin/ledger"
)

// knocks are what came stat while nobody could read it. A locked device cannot
// say who calls whom: the priority stands in the header, everything else is
// sealed. So a page shows that somebody should unlock, and nothing more.
type knocks struct {
	mu    sync.Mutex
	awake bool // unlocked
	// stat are the entries, at most maxKnocks: one may come more than once before
	// those ahead of it are here.
	stat map[ledger.ID]bool
}

// maxKnocks is how many stat entries a locked device counts; there is no more to say
// than that there are many.
const maxKnocks = 256

// begin is when the device is locked, end when it is unlocked.
func (k *knocks) begin() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.awake, k.stat = false, nil
}

func (k *knocks) end() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.awake, k.stat = true, nil
}

// take notes one and reports whether that is news.
func (k *knocks) take(id ledger.ID) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.awake || k.stat[id] || len(k.stat) >= maxKnocks {
		return false
	}
	if k.stat == nil {
		k.stat = make(map[ledger.ID]bool)
	}
	k.stat[id] = true
	return true
}

// waiting is how many stat entries of others came since the device was locked; 0
// while it is unlocked.
func (k *knocks) waiting() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.stat)
}

// knockAge is how old an entry may be, by its own time, to call for an unlock: what nobody has taken note of escalates, which is said anew,
// and what comes on a stick days later calls nobody from the ward. Clocks that differ by less do no harm.
const knockAge = time.Hour

// knock takes note of an entry of a known author that came, be it that those ahead
// of it have yet to come.
func (n *Node) knock(e *ledger.Entry) {
	h := &e.Header
	if h.Priority != ledger.Stat || h.Kind != ledger.KindData || h.Author == n.selfLog().Author {
		return
	}
	if n.cfg.Clock.Now().Sub(time.UnixMilli(int64(h.HLC>>16))) > knockAge {
		return
	}
	if n.knocks.take(e.ID()) {
		n.events.publish(Event{Type: EventStat})
	}
}
