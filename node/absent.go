package node

import (
	"context"
	"fmt"
)

// The drain passes an entry of which only the header is held, and leaves a mark
// under "absent/". The entry is drained once its body has come.

// drainFilled drains one such entry, if its body is here. n.mu is held and the
// device is unlocked.
func (n *Node) drainFilled(ctx context.Context, key string) error {
	_, marked, err := n.cfg.Vault.Get(key)
	if err != nil || !marked {
		return err
	}
	log, seq, err := parseMessageKey(prefixMessage + key[len(prefixAbsent):])
	if err != nil {
		return fmt.Errorf("%w: %s", err, key)
	}
	e, err := n.logs.Entry(ctx, log, seq)
	if err != nil {
		n.log.Error("an entry whose body was awaited cannot be read", "log", log, "seq", seq, "err", err)
		return nil
	}
	if e.Absent {
		return nil
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
	if err := n.openWaiting(ctx, b.learnt); err != nil {
		return err
	}
	return n.answer(ctx, b)
}

// drainAbsent looks at every such entry: bodies may have come while the device
// was locked.
func (n *Node) drainAbsent(ctx context.Context) error {
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
