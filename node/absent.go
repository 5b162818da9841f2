package node

import (
	"context"
	"errors"
	"fmt"

	"tocsin/crypto/group"
	"tocsin/ledger"
)

// The drain passes an entry of which only the header is held, and leaves a mark
// under "absent/". The entry is drained once its body has come.

// filledBatch is how many of them share one record at most: between two it is looked
// whether something has come that is more urgent.
const filledBatch = 32

// drainFilled drains such entries, where their bodies are here, and returns with how many
// it is done. Where one of them fails the others do not. n.mu is held and the device is
// unlocked.
func (n *Node) drainFilled(ctx context.Context, keys []string) (done []string, err error) {
	count, err := n.drainTogether(ctx, keys)
	if err == nil || len(keys) == 1 {
		return keys[:count], err
	}
	var errs []error
	for _, key := range keys {
		if n.open == nil || ctx.Err() != nil {
			return done, errors.Join(append(errs, ctx.Err())...)
		}
		if _, err := n.drainTogether(ctx, []string{key}); err != nil {
			errs = append(errs, err)
			continue
		}
		done = append(done, key)
	}
	return done, errors.Join(errs...)
}

// drainTogether drains the first of some such entries, as many as share a record, and
// returns with how many it is done: none where one fails.
func (n *Node) drainTogether(ctx context.Context, keys []string) (done int, err error) {
	b := newBatch()
	for _, key := range keys {
		if b.full() {
			break
		}
		e, marked, err := n.filled(ctx, key)
		if err != nil {
			return 0, n.undo(b, err)
		}
		if e != nil && !marked {
			if b.entries > 0 {
				break // it has a record of its own
			}
			return done + 1, n.drainRestored(ctx, e)
		}
		if done++; e == nil {
			continue
		}
		b.drop(key)
		if err := n.drainEntry(b, e); err != nil {
			return 0, n.fallBack(err)
		}
		b.entries++
	}
	if b.entries == 0 {
		return done, nil
	}
	if err := n.finish(b); err != nil {
		return 0, err
	}
	return done, n.conclude(ctx, b)
}

// undo takes the session back to what the journal says, if b has moved it.
func (n *Node) undo(b *batch, err error) error {
	if b.entries == 0 {
		return err
	}
	return n.fallBack(err)
}

// filled returns the entry of a mark, nil if there is nothing to drain of it, and whether
// the mark is still there.
func (n *Node) filled(ctx context.Context, key string) (e *ledger.Entry, marked bool, err error) {
	_, marked, err = n.cfg.Vault.Get(key)
	if err != nil {
		return nil, false, err
	}
	log, seq, err := parseMessageKey(prefixMessage + key[len(prefixAbsent):])
	if err != nil {
		return nil, false, fmt.Errorf("%w: %s", err, key)
	}
	e, err = n.logs.Entry(ctx, log, seq)
	if ctx.Err() != nil {
		return nil, false, ctx.Err()
	}
	if err != nil {
		n.log.Error("an entry whose body was awaited cannot be read", "log", log, "seq", seq, "err", err)
		return nil, false, nil
	}
	if e.Absent {
		n.misses(e, true)
		return nil, false, nil
	}
	return e, marked, nil
}

// drainRestored opens an entry whose body came again after it went bad, if it
// waits for an epoch that was learnt meanwhile. One that the drain has not come
// to yet is its own affair.
func (n *Node) drainRestored(ctx context.Context, e *ledger.Entry) error {
	h := &e.Header
	if h.Kind != ledger.KindData || !n.opens(h.GroupTag) {
		return nil
	}
	_, waits, err := n.cfg.Vault.Get(waitKey(h.GroupTag, h.Log(), h.Seq))
	if err != nil || !waits {
		return err
	}
	return n.openWaiting(ctx, []group.Tag{h.GroupTag})
}

// drainAbsent looks at every such entry: bodies may have come while the device
// was locked. What it fails to do is due again.
func (n *Node) drainAbsent(ctx context.Context) error {
	err := n.drainMarked(ctx)
	if err != nil {
		n.due.putBack(work{allFilled: true})
	}
	return err
}

func (n *Node) drainMarked(ctx context.Context) error {
	var keys []string
	err := n.cfg.Vault.Scan(prefixAbsent, func(key string, _ []byte) error {
		keys = append(keys, key)
		return nil
	})
	for len(keys) > 0 && err == nil && n.open != nil {
		var done []string
		done, err = n.drainFilled(ctx, keys[:min(filledBatch, len(keys))])
		keys = keys[len(done):]
	}
	return err
}
