package node

import (
	"context"
	"fmt"

	"tocsin/crypto/group"
	"tocsin/ledger"
)

// The drain passes an entry of which only the header is held, and leaves a mark
// under "absent/". The entry is drained once its body has come.

// drainFilled drains one such entry, if its body is here. n.mu is held and the
// device is unlocked.
func (n *Node) drainFilled(ctx context.Context, key string) error {
	_, marked, err := n.cfg.Vault.Get(key)
	if err != nil {
		return err
	}
	log, seq, err := parseMessageKey(prefixMessage + key[len(prefixAbsent):])
	if err != nil {
		return fmt.Errorf("%w: %s", err, key)
	}
	e, err := n.logs.Entry(ctx, log, seq)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		n.log.Error("an entry whose body was awaited cannot be read", "log", log, "seq", seq, "err", err)
		return nil
	}
	if e.Absent {
		n.misses(e, true)
		return nil
	}
	if !marked {
		return n.drainRestored(ctx, e)
	}
	b := newBatch()
	b.drop(key)
	if err := n.drainEntry(b, e); err != nil {
		return n.fallBack(err)
	}
	b.entries++
	if err := n.finish(b); err != nil {
		return err
	}
	return n.conclude(ctx, b)
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
	for _, key := range keys {
		if err != nil || n.open == nil {
			return err
		}
		err = n.drainFilled(ctx, key)
	}
	return err
}
