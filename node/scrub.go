package node

import (
	"fmt"
	"time"
)

const (
	// scrubPause is the rest between two turns, scrubTurns how many of them a round
	// through the store takes, and scrubBudget how many entries one reads and checks
	// at most: each entry is looked at once an hour, and those of a large store,
	// ten million, in about four days, at a few milliseconds of work a minute. Until
	// everything was checked once since the start, each turn reads as much as it may:
	// damage is most probable after a bad end.
	scrubPause  = time.Minute
	scrubTurns  = 60
	scrubBudget = 2048
)

// leastTurn is how many entries a turn through the store looks at however small it is.
const leastTurn = 16

// turnOf is how many of so many entries one turn looks at for a round to take so many
// turns, or longer where that were more than budget.
func turnOf(entries, turns, budget uint64) uint64 {
	return min(max((entries+turns-1)/turns, leastTurn), budget)
}

// scrubLoop is the one goroutine that looks for entries that the disk has lost.
// What it finds is asked for again at the next synchronisation.
func (n *Node) scrubLoop() {
	defer n.wg.Done()
	for n.wait(scrubPause) {
		n.scrub()
	}
}

func (n *Node) scrub() {
	n.readUnknown()
	budget := uint64(scrubBudget)
	if n.scrubbed.Load() {
		_, entries := n.logs.Heads()
		budget = turnOf(entries, scrubTurns, scrubBudget)
	}
	r, err := n.logs.Scrub(n.ctx, int(budget))
	if r.Round {
		n.scrubbed.Store(true)
	}
	if err != nil && n.ctx.Err() == nil {
		n.log.Error("the store could not be checked", "err", err)
	}
	for _, words := range r.Files {
		n.log.Error("a file of the store is damaged", "what", words)
	}
	if r.Lost > 0 {
		n.log.Error("entries on this disk cannot be read; they are fetched again from other devices", "entries", r.Lost, "repaired", r.Repaired)
		n.mesh.SyncSoon("")
	}
}

// storeProblem is one sentence for what is wrong with the store, if anything is.
func (n *Node) storeProblem() string {
	h := n.logs.Health()
	spoilt := n.logs.Stats().Spoilt
	h.LostEntries -= min(h.LostEntries, spoilt)
	switch {
	case h.Store.ReadOnly != "":
		return "Nothing more is saved: " + h.Store.ReadOnly
	case h.LostEntries == 1:
		return "An entry on this disk cannot be read. It is fetched again from other devices; look at the disk."
	case h.LostEntries > 1:
		return fmt.Sprintf("%d entries on this disk cannot be read. They are fetched again from other devices; look at the disk.", h.LostEntries)
	case spoilt > 0:
		return fmt.Sprintf("%d entries came with spoilt signatures (`tocsin status` names who brought them). They are asked for elsewhere: meet another device.", spoilt)
	}
	return ""
}
