package node

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"tocsin/crypto/group"
	"tocsin/crypto/vault"
	"tocsin/ledger"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

// untold are the receipts of records that count which no message to the group names yet, by what they are of. n.mu is held and the device is unlocked.
func (n *Node) untold() map[group.ID][]ledger.ID {
	out := make(map[group.ID][]ledger.ID)
	for id, r := range n.open.queue.recorded {
		if _, member := n.open.keyring.Group(r.group); !r.said && member && n.stands(r.record) {
			out[r.group] = append(out[r.group], id)
		}
	}
	return out
}

// sayTransferred tells the group of what stands in the record, and notes that it did.
func (n *Node) sayTransferred(ctx context.Context, g group.ID) error {
	for {
		n.mu.Lock()
		if n.open == nil {
			n.mu.Unlock()
			return n.lockedError()
		}
		m, ids := n.transferredMessage(g)
		n.mu.Unlock()
		if len(ids) == 0 {
			return nil
		}
		if len(m.Content.(*message.Transferred).Entries) > 0 {
			if _, err := n.Send(ctx, g.String(), m, ledger.Routine.String()); err != nil {
				return err
			}
		}
		n.cfg.Step("transfer:told")
		if err := n.noteTold(ids); err != nil {
			return err
		}
	}
}

// transferredMessage is the next message that says what stands in the record, with the receipts that it settles. Receipts of what devices make are
// settled without being named. n.mu is held and the device is unlocked.
func (n *Node) transferredMessage(g group.ID) (message.Message, []ledger.ID) {
	ids := n.untold()[g]
	slices.SortFunc(ids, func(a, b ledger.ID) int { return slices.Compare(a[:], b[:]) })
	ids = ids[:min(len(ids), message.MaxTransferred)]
	said := &message.Transferred{}
	sum := sha256.New()
	first := ""
	var settled []ledger.ID
	going := n.queuedIn(inbox.GroupID(g))
	for _, id := range ids {
		r := n.open.queue.recorded[id]
		if said.Record != "" && r.record != said.Record {
			continue // of another record: it has a message of its own
		}
		settled = append(settled, id)
		if going[id] == nil && n.open.queue.gone[id] == nil {
			continue
		}
		said.Entries, said.Record = append(said.Entries, message.EntryID(id)), r.record
		fmt.Fprintf(sum, "%s %s %s\n", id, r.location, r.version)
		if first == "" {
			first = printable(r.location)
		}
	}
	said.Record = cutLine(said.Record)
	said.Receipt = fmt.Sprintf("%s and %d more; SHA-256 of all, one to a line as entry, location, version: %x", first, len(said.Entries)-1, sum.Sum(nil))
	if len(said.Entries) == 1 {
		said.Receipt = first
	}
	return message.Message{Content: said}, settled
}

// printable is what an endpoint calls a resource, in a line of a message.
func printable(s string) string {
	return cutLine(strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f {
			return '?'
		}
		return r
	}, s))
}

// noteTold notes that the group was told.
func (n *Node) noteTold(ids []ledger.ID) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return n.lockedError()
	}
	var changes []vault.Change
	after := make(map[ledger.ID]*recorded)
	for _, id := range ids {
		r := *n.open.queue.recorded[id]
		r.said = true
		raw, err := r.marshal()
		if err != nil {
			return fmt.Errorf("node: a receipt of the record: %w", err)
		}
		after[id] = &r
		changes = append(changes, vault.Change{Key: recordedKey(id), Value: raw})
	}
	if err := n.cfg.Vault.Commit(changes...); err != nil {
		return fmt.Errorf("%w: the vault's journal: %w", ErrReadOnly, err)
	}
	for id, r := range after {
		n.open.queue.recorded[id] = r
	}
	return nil
}

// tellTransferred makes up for messages to groups that could not be said when their receipts came.
func (n *Node) tellTransferred(ctx context.Context) error {
	n.mu.Lock()
	var groups []group.ID
	if n.open != nil {
		for g := range n.untold() {
			if !n.transfers.running(g) {
				groups = append(groups, g)
			}
		}
	}
	n.mu.Unlock()
	var errs []error
	for _, g := range groups {
		errs = append(errs, n.sayTransferred(ctx, g))
	}
	return errors.Join(errs...)
}
