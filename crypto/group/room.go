package group

import (
	"bytes"
	"cmp"
	"fmt"

	"tocsin/crypto/identity"
)

// What received announces may take of memory and disk, and who gives way.

// crowdOut gives up the oldest announce of a log that has too many beside keep:
// of those with pages missing, or of those that wait.
func (k *Keyring) crowdOut(keep partialID, waiting bool, most int, gone map[partialID]bool) []Change {
	var oldest *partial
	var id partialID
	n := 0
	for at, p := range k.partials {
		if at.log != keep.log || at == keep || p.ready() != waiting {
			continue
		}
		n++
		if oldest == nil || cmp.Or(cmp.Compare(p.seq, oldest.seq), bytes.Compare(at.epoch[:], id.epoch[:])) < 0 {
			oldest, id = p, at
		}
	}
	if n < most {
		return nil
	}
	gone[id] = true
	return oldest.drop(id)
}

// makeRoom keeps the stored pages of state within bounds. The log that takes
// most gives up its announces, so that a flood drowns only itself. It is false
// if that leaves nothing to give up but the announce to keep.
func (k *Keyring) makeRoom(keep partialID, size int, gone map[partialID]bool) ([]Change, bool) {
	total, byLog := size, map[identity.LogID]int{keep.log: size}
	weight := make(map[partialID]int)
	for id, p := range k.partials {
		if gone[id] {
			continue
		}
		for _, data := range p.pages {
			weight[id] += len(data)
		}
		total, byLog[id.log] = total+weight[id], byLog[id.log]+weight[id]
	}
	var out []Change
	for total > MaxPartialBytes {
		var worst identity.LogID
		for log, n := range byLog {
			if n > byLog[worst] || n == byLog[worst] && log.Compare(worst) > 0 {
				worst = log
			}
		}
		freed := 0
		for id, n := range weight {
			if id.log == worst && id != keep {
				out = append(out, k.partials[id].drop(id)...)
				freed += n
				delete(weight, id)
			}
		}
		if freed == 0 && worst == keep.log {
			return out, false
		}
		total, byLog[worst] = total-freed, byLog[worst]-freed
	}
	return out, true
}

// room reports, by an [ErrLimit], that these operations would make a group too
// large for anyone to announce.
func (g *groupState) room(fresh []*knownOp) error {
	if len(g.ops)+len(fresh) > MaxMergedOps {
		return fmt.Errorf("%w: group %q would have more than %d operations", ErrLimit, g.view.Name, MaxMergedOps)
	}
	size := 0
	for _, o := range g.ops {
		size += o.sealed.size()
	}
	for _, o := range fresh {
		size += o.sealed.size()
	}
	if size > maxOpBytes {
		return fmt.Errorf("%w: the operations of group %q would take more than %d bytes", ErrLimit, g.view.Name, maxOpBytes)
	}
	return nil
}

// size returns the number of bytes that o takes in the state of an announce.
func (o *SignedOp) size() int { return 2 + len(o.SignedHeader) + len(o.Opening) + 2 + len(o.Payload) }
