package node

import (
	"fmt"
	"time"
)

const (
	// scrubPause and scrubBudget are how much of the store is read over and checked
	// how often: ten million entries in about four days, at a few milliseconds of
	// work a minute.
	scrubPause  = time.Minute
	scrubBudget = 2048
)

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
	r, err := n.logs.Scrub(n.ctx, scrubBudget)
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
