package node

import (
	"context"
	"slices"

	"tocsin/crypto/group"
	"tocsin/ledger"
)

// openWaiting opens the entries that waited for epochs which are held now; no
// tags means any. It works from the journal, in batches of its own, and runs
// again at every unlock, so that a crash between two batches loses nothing. What
// it fails to do is due again.
func (n *Node) openWaiting(ctx context.Context, tags []group.Tag) error {
	err := n.openTagged(ctx, tags)
	if err != nil {
		n.due.learn(tags)
	}
	return err
}

func (n *Node) openTagged(ctx context.Context, tags []group.Tag) error {
	prefixes := []string{prefixWait}
	if tags != nil {
		prefixes = prefixes[:0]
		for _, tag := range tags {
			prefixes = append(prefixes, waitPrefix(tag))
		}
	}
	var keys []string
	for _, prefix := range prefixes {
		err := n.cfg.Vault.Scan(prefix, func(key string, _ []byte) error {
			keys = append(keys, key)
			return nil
		})
		if err != nil {
			return err
		}
	}
	slices.Sort(keys)
	keys = slices.Compact(keys) // two pages may complete one epoch
	for len(keys) > 0 {
		b := newBatch()
		for ; len(keys) > 0 && !b.full(); keys = keys[1:] {
			if err := n.drainWaiting(ctx, b, keys[0]); err != nil {
				return n.fallBack(err)
			}
		}
		if err := n.finish(b); err != nil {
			return err
		}
	}
	return nil
}

// drainWaiting opens one entry that waited, if its epoch is held now or it was
// handed over. One that cannot be read goes on waiting.
func (n *Node) drainWaiting(ctx context.Context, b *batch, key string) error {
	tag, log, seq, err := parseWaitKey(key)
	if err != nil {
		return err
	}
	known := n.opens(tag)
	if !known && n.open.handed.tags[tag] == 0 {
		return nil
	}
	if waits, err := n.waits(b, key); err != nil || !waits {
		return err // handed over by an entry that waited, too
	}
	e, err := n.logs.Entry(ctx, log, seq)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		n.log.Error("an entry that waited cannot be read", "log", log, "seq", seq, "err", err)
		return nil
	}
	if !known && len(n.open.handed.from(e.ID())) == 0 {
		return nil
	}
	b.unwait(key)
	b.entries++
	if !e.HasBody() {
		return n.drainEntry(b, e)
	}
	if e.Header.Kind == ledger.KindBroadcast {
		return n.drainBroadcast(b, e)
	}
	return n.drainData(b, e)
}

// waits reports whether an entry still waits, as b will have it.
func (n *Node) waits(b *batch, key string) (bool, error) {
	if e, ok := b.waits[key]; ok {
		return e != nil, nil
	}
	_, ok, err := n.cfg.Vault.Get(key)
	return ok, err
}

// opens reports whether what waits under tag can be tried.
func (n *Node) opens(tag group.Tag) bool {
	if number, ok := meshKeyNumber(tag); ok {
		_, held, err := n.meshKey(number)
		return held && err == nil
	}
	return n.open.keyring.Knows(tag)
}
