package node

import (
	"context"
	"errors"
	"time"

	"tocsin/crypto/group"
	"tocsin/crypto/vault"
	"tocsin/ledger"
	"tocsin/node/message"
)

// receiptsSoon wakes the receipt loop; it never blocks.
func (n *Node) receiptsSoon() {
	select {
	case n.owed <- struct{}{}:
	default:
	}
}

// receiptLoop sends the receipts that are owed, a batch for each group, after
// a pause in which more may gather.
func (n *Node) receiptLoop() {
	defer n.wg.Done()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.owed:
		}
		if !n.wait(n.cfg.ReceiptDelay) {
			return
		}
		n.mu.Lock()
		err := n.sendReceipts(n.ctx)
		n.mu.Unlock()
		if err != nil && !errors.Is(err, ErrLocked) && n.ctx.Err() == nil {
			n.log.Warn("receipts could not be sent; they are owed until they are", "err", err)
		}
	}
}

// wait returns false when the node closes first.
func (n *Node) wait(d time.Duration) bool {
	select {
	case <-n.ctx.Done():
		return false
	case <-n.cfg.Clock.After(d):
		return true
	}
}

// sendReceipts pays what is owed: the receipt and the deletion of the debt
// share a journal record, so that no receipt is forgotten by a crash.
func (n *Node) sendReceipts(ctx context.Context) error {
	if n.open == nil {
		return ErrLocked
	}
	owed := make(map[group.ID][][32]byte)
	err := n.cfg.Vault.Scan(prefixReceipt, func(key string, _ []byte) error {
		g, id, err := parseReceiptKey(key)
		if err == nil && len(owed[g]) < message.MaxReceiptEntries {
			owed[g] = append(owed[g], id)
		}
		return err
	})
	if err != nil {
		return err
	}
	var errs []error
	for g, ids := range owed {
		errs = append(errs, n.sendReceipt(ctx, g, ids))
		if len(ids) == message.MaxReceiptEntries {
			n.receiptsSoon()
		}
	}
	return errors.Join(errs...)
}

func (n *Node) sendReceipt(ctx context.Context, g group.ID, ids [][32]byte) error {
	if n.open == nil {
		return ErrLocked // locked while an epoch was awaited
	}
	payload, err := message.Encode(message.NewReceipt(message.Delivered, ids, n.cfg.Clock.Now()))
	if err != nil {
		return err
	}
	paid := make([]vault.Change, 0, len(ids))
	for _, id := range ids {
		paid = append(paid, vault.Change{Key: receiptKey(g, id)})
	}
	_, err = n.sendPayload(ctx, g, payload, ledger.Routine, paid...)
	return err
}
