package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"tocsin/crypto/identity"
	"tocsin/ledger"
)

const (
	// relieveRest is how long nothing is given up after a try: what may not go
	// today may not go in a second either.
	relieveRest = time.Minute
	// maxVictims bounds the bodies that one try gives up, and those that it compares.
	maxVictims = 16384
)

// relieve gives up bodies that are carried for others where they are beyond the
// quota. A device that is locked cannot tell which ones it will read, and gives up
// none; a relay reads none.
func (n *Node) relieve(ctx context.Context) error {
	quota, logs, load := n.carry.burden(n.cfg.Clock.Now())
	if len(logs) == 0 {
		return nil
	}
	now := n.cfg.Clock.Now()
	var held []ledger.Held
	for _, id := range logs {
		err := n.heldOfLog(ctx, id, now, func(h ledger.Held) {
			if load.Touches(quota, &h) && h.Evictable(now) {
				held = append(held, h)
			}
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			n.log.Error("a log is not looked at for what could be given up", "log", id, "err", err)
		}
		if len(held) > 2*maxVictims {
			held = ledger.FirstToGo(held, now, maxVictims)
		}
	}
	victims := make(map[identity.LogID][]ledger.Held)
	for _, h := range n.carry.quota.Low().Relieve(load, held, now) {
		victims[h.Log] = append(victims[h.Log], h)
	}
	var errs []error
	for _, id := range slices.SortedFunc(maps.Keys(victims), identity.LogID.Compare) {
		errs = append(errs, n.giveUp(ctx, id, victims[id], now))
	}
	return errors.Join(errs...)
}

// burden returns the quota that is exceeded, the logs of which something is carried
// in a part that exceeds it, and what is carried in all; no logs if nothing is to
// be done.
func (c *cargo) burden(now time.Time) (ledger.Quota, []identity.LogID, *ledger.Load) {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := c.quota
	if c.short {
		q = c.quota.Low() // room for what comes next
	}
	if !c.load.Over(q) || now.Sub(c.tried).Abs() < relieveRest {
		return q, nil, nil
	}
	c.tried, c.short = now, false
	load := ledger.NewLoad(nil)
	for id, s := range c.shares {
		for tag, n := range s {
			load.Add(&ledger.Held{Log: id, Group: tag, Bytes: n})
		}
	}
	var logs []identity.LogID
	for id, s := range c.shares {
		for tag := range s {
			if load.Touches(q, &ledger.Held{Log: id, Group: tag}) {
				logs = append(logs, id)
				break
			}
		}
	}
	slices.SortFunc(logs, identity.LogID.Compare)
	return q, logs, load
}

// heldOfLog calls fn for each body of a log that is carried for others.
func (n *Node) heldOfLog(ctx context.Context, id identity.LogID, now time.Time, fn func(ledger.Held)) error {
	keeping, err := n.testimony.table.Keeping(ctx, id)
	if err != nil {
		return err
	}
	head, _ := n.logs.Head(id)
	for from := uint64(0); from < head.Next; from += carryBudget {
		var held []*ledger.Entry // judged once the store is let go of
		err := n.logs.EntriesHeld(ctx, id, from, min(from+carryBudget, head.Next), func(e *ledger.Entry) error {
			if e.Header.Kind == ledger.KindData && e.HasBody() {
				held = append(held, e.Bare())
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, e := range held {
			if n.interestOf(&e.Header) != passes {
				continue
			}
			h := heldOf(&e.Header)
			h.Expires, h.Promised, h.Others = expiry(e), keeping.Promised(h.Seq), keeping.Others(h.Seq, now)
			fn(h)
		}
	}
	return nil
}

// giveUp drops bodies of one log, but for those that were promised meanwhile.
func (n *Node) giveUp(ctx context.Context, id identity.LogID, held []ledger.Held, now time.Time) error {
	n.carry.keep.Lock()
	defer n.carry.keep.Unlock()
	keeping, err := n.testimony.table.Keeping(ctx, id)
	if err != nil {
		return err
	}
	var seqs []uint64
	held = slices.DeleteFunc(held, func(h ledger.Held) bool { return keeping.Promised(h.Seq).After(now) })
	for _, h := range held {
		seqs = append(seqs, h.Seq)
	}
	did, err := n.logs.Evict(ctx, id, seqs...)
	n.count(func(m *Metrics) { m.Evicted += uint64(did) })
	if err != nil {
		return fmt.Errorf("node: bodies of log %s: %w", id, err)
	}
	for _, h := range held {
		n.carry.remove(h)
	}
	n.sync.bodies(func(a *ledger.Absence) { a.Remove(id, seqs...) })
	n.testimony.unpromise(id)
	return nil
}

// keeps returns from where on a log's bodies are held without a gap up to to, and
// will be: what has expired, and what is not read here while there is little room
// left, is promised to nobody. What lies below start has been looked at.
func (n *Node) keeps(ctx context.Context, id identity.LogID, from, start, to uint64, now time.Time) (uint64, error) {
	var tight []*ledger.Entry // judged once the store is let go of
	err := n.logs.Entries(ctx, id, start, to, func(e *ledger.Entry) error {
		if !e.HasBody() {
			from = e.Header.Seq + 1
			return nil
		}
		h := heldOf(&e.Header)
		if e.Header.Kind == ledger.KindData && (expired(e, now) || n.carry.pressed(&h)) {
			tight = append(tight, e.Bare())
		}
		return nil
	})
	for _, e := range tight {
		if n.interestOf(&e.Header) != reads {
			from = max(from, e.Header.Seq+1)
		}
	}
	return from, err
}
