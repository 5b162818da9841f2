package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"tocsin/crypto/group"
	"tocsin/crypto/vault"
	"tocsin/ledger"
	"tocsin/node/inbox"
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
		if !n.wait(n.receiptDelay()) {
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

// sendReceipts pays what is owed. A debt is deleted once its receipt stands in
// the log: a crash in between repeats a receipt, which changes nothing, and
// forgets none.
func (n *Node) sendReceipts(ctx context.Context) error {
	if n.open == nil {
		return n.lockedError()
	}
	owed := make(map[debt][][32]byte)
	err := n.cfg.Vault.Scan(prefixReceipt, func(key string, value []byte) error {
		g, id, err := parseReceiptKey(key)
		if err != nil || len(value) != 1 {
			return errors.Join(errRecord, err)
		}
		d := debt{g, value[0]}
		if len(owed[d]) < message.MaxReceiptEntries {
			owed[d] = append(owed[d], id)
		}
		return nil
	})
	if err != nil {
		return err
	}
	var errs []error
	for d, ids := range owed {
		err := n.sendReceipt(ctx, d, ids)
		if errs = append(errs, err); err == nil && len(ids) == message.MaxReceiptEntries {
			n.receiptsSoon() // more may be owed
		}
	}
	return errors.Join(errs...)
}

// The values under "receipt/": what is owed.
const (
	oweDelivered byte = 1
	oweRead      byte = 2 // which says delivered, too
)

// debt is what receipts that may share a message have in common.
type debt struct {
	group group.ID
	owed  byte
}

func (d debt) state() message.State {
	if d.owed == oweRead {
		return message.Read
	}
	return message.Delivered
}

func (n *Node) sendReceipt(ctx context.Context, d debt, ids [][32]byte) error {
	if n.open == nil {
		return n.lockedError() // locked while an epoch was awaited
	}
	payload, err := message.Encode(message.NewReceipt(d.state(), ids, n.cfg.Clock.Now()))
	if err != nil {
		return err
	}
	if _, err := n.sendPayload(ctx, d.group, payload, ledger.Routine); err != nil {
		return err
	}
	var paid []vault.Change
	for _, id := range ids {
		key := receiptKey(d.group, id)
		value, ok, err := n.cfg.Vault.Get(key)
		if err != nil {
			return err
		}
		// More may be owed than when this receipt began to wait for an epoch.
		if ok && len(value) == 1 && value[0] == d.owed {
			paid = append(paid, vault.Change{Key: key})
		}
	}
	if err := n.cfg.Vault.Commit(paid...); err != nil {
		return fmt.Errorf("%w: the vault's journal: %w", ErrReadOnly, err)
	}
	return nil
}

// MarkRead notes that this device's user has seen a group up to now. The
// signed receipts follow in a batch. Errors: [ErrLocked], [ErrInvalid].
func (n *Node) MarkRead(groupID string) error {
	id, err := parseGroupID(groupID)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return n.lockedError()
	}
	var owed []vault.Change
	for _, it := range n.open.inbox.Messages(inbox.GroupID(id), 0, 0) {
		if it.Unread {
			owed = append(owed, vault.Change{Key: receiptKey(id, ledger.ID(it.ID)), Value: []byte{oweRead}})
		}
	}
	for part := range slices.Chunk(owed, vault.MaxChanges) {
		if err := n.cfg.Vault.Commit(part...); err != nil {
			return fmt.Errorf("%w: the vault's journal: %w", ErrReadOnly, err)
		}
	}
	if len(owed) > 0 {
		n.receiptsSoon()
	}
	return nil
}
