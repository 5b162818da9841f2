package node

// Erasing a message, top to bottom (protocol §9):
//
//	EraseMessages   the record's key is overwritten and its id is noted, in one commit of the vault
//	eraseBodies     the sealed body in the ledger goes the same way
//	inbox           shows nothing any more
//
// A crash between the first two is finished by the next unlock. The entry's
// header and signature stay, so that every log still verifies.

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
	"tocsin/ledger"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

// prefixErased begins the marks of erased messages: erased/<entry id> holds
// "<log>/<seq>" while the body in the ledger is to go, and nothing after.
const prefixErased = "erased/"

// maxErase is how many messages one call erases.
const maxErase = 512

// Erased says what [Node.EraseMessages] did.
type Erased struct {
	Messages int    `json:"messages"`
	Words    string `json:"words"`
}

func erasedKey(id ledger.ID) string { return prefixErased + id.String() }

// EraseMessages destroys messages of a group on this device: when it returns nil
// nothing here gives them back, with the passphrase or without, and they are
// never fetched again. Copies on other devices stay. It needs a token of
// [Node.Reauth]. Errors: [ErrLocked], [ErrReauth], [ErrNotFound], [ErrInvalid],
// [ErrReadOnly].
func (n *Node) EraseMessages(ctx context.Context, token, groupID string, ids ...string) (Erased, error) {
	g, err := parseGroupID(groupID)
	if err != nil {
		return Erased{}, err
	}
	if len(ids) == 0 || len(ids) > maxErase {
		return Erased{}, invalid("name 1 to %d messages to erase", maxErase)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.spend(token); err != nil {
		return Erased{}, err
	}
	if err := n.drainAll(ctx); err != nil { // a hold may have come
		return Erased{}, err
	}
	if n.open == nil {
		return Erased{}, n.lockedError()
	}
	if err := n.actsOnStanding(ids); err != nil {
		return Erased{}, err
	}
	if n.held(g) {
		return Erased{}, fmt.Errorf("%w: %w", ErrInvalid, errHeld)
	}
	var items []inbox.Item
	for _, s := range ids {
		id, err := ledger.ParseID(s)
		if err != nil {
			return Erased{}, invalid("%q is no message id", s)
		}
		it, ok := n.open.inbox.Message(inbox.EntryID(id))
		if !ok || it.Group != inbox.GroupID(g) {
			return Erased{}, fmt.Errorf("%w: no message %s in this group", ErrNotFound, s)
		}
		items = append(items, it)
	}
	early := n.untransferred(g, items)
	if err := n.eraseItems(ctx, items, goneByHand); err != nil {
		return Erased{}, err
	}
	out := Erased{Messages: len(items), Words: erasedWords(len(items))}
	if early > 0 {
		out.Words += fmt.Sprintf(" %d of them did not stand in the record yet: the queue says so.", early)
	}
	return out, nil
}

// untransferred counts those of the messages of a conversation that are not in the record, and should be. n.mu is held and the device is unlocked.
func (n *Node) untransferred(g group.ID, items []inbox.Item) (count int) {
	c, ok := n.open.inbox.Conversation(inbox.GroupID(g))
	if !ok {
		return 0
	}
	t := n.track(&c)
	for _, it := range items {
		if state := t.state(ledger.ID(it.ID)); queued(it.Message.Kind()) && state != TransferExercise && (state != TransferDone || !t.transferred(ledger.ID(it.ID))) {
			count++
		}
	}
	return count
}

// erasing are messages that go in one commit: each with all that was kept of it, or not at all.
type erasing struct {
	changes []vault.Change
	items   []inbox.Item
	marks   map[ledger.ID]*gone
}

// eraseItems destroys messages on this device, and notes when and why they went. n.mu is held and the device is unlocked.
func (n *Node) eraseItems(ctx context.Context, items []inbox.Item, why goneWhy) error {
	now := n.cfg.Clock.Now()
	e := &erasing{marks: make(map[ledger.ID]*gone)}
	for _, it := range items {
		id := ledger.ID(it.ID)
		changes, err := n.eraseChanges(ctx, id, it)
		if err != nil {
			return err
		}
		mark := &gone{group: group.ID(it.Group), at: now, why: why}
		raw, err := mark.marshal()
		if err != nil {
			return fmt.Errorf("node: the mark of an erased message: %w", err)
		}
		changes = append(changes, vault.Change{Key: reviewKey(id)}, vault.Change{Key: goneKey(id), Value: raw})
		if len(e.changes)+len(changes) > vault.MaxChanges {
			if err := n.eraseBatch(e); err != nil {
				return err
			}
			e = &erasing{marks: make(map[ledger.ID]*gone)}
		}
		e.changes, e.items, e.marks[id] = append(e.changes, changes...), append(e.items, it), mark
	}
	if err := n.eraseBatch(e); err != nil {
		return err
	}
	if err := n.eraseBodies(ctx); err != nil {
		return fmt.Errorf("%w: the messages are gone from the vault, and their sealed bodies will go with the next unlock: %w", ErrReadOnly, err)
	}
	return nil
}

// eraseBatch does the vault's part, and shows the messages no more.
func (n *Node) eraseBatch(e *erasing) error {
	if err := n.commitOwed(e.changes); err != nil {
		return fmt.Errorf("%w: the vault's journal: %w", ErrReadOnly, err)
	}
	n.cfg.Step("erase:vault")
	ids := make([]inbox.EntryID, len(e.items))
	for i, it := range e.items {
		ids[i] = it.ID
		n.open.queue.gone[ledger.ID(it.ID)] = e.marks[ledger.ID(it.ID)]
		delete(n.open.queue.reviews, ledger.ID(it.ID))
		delete(n.open.keeping.since, ledger.ID(it.ID))
	}
	n.open.inbox.Erase(ids...)
	n.forgetAttachments(ids)
	for _, it := range e.items {
		n.events.publish(Event{Type: EventErased, Group: group.ID(it.Group).String(), ID: ledger.ID(it.ID).String()})
	}
	return nil
}

// actsOnStanding refuses to erase what ends or moves a message that stays: an
// alert would sound again on every device's board, and be escalated. n.mu is held
// and the device is unlocked.
func (n *Node) actsOnStanding(ids []string) error {
	for _, s := range ids {
		id, err := ledger.ParseID(s)
		if err != nil {
			return invalid("%q is no message id", s)
		}
		it, ok := n.open.inbox.Message(inbox.EntryID(id))
		if !ok {
			continue // said of it below
		}
		switch it.Message.Kind() {
		case message.KindDecision:
			return invalid("message %s is an entry of the decision log, which is not erased by hand; correct it with a new entry", s)
		case message.KindIncident:
			return invalid("message %s says whether the incident is live or an exercise, and is not erased by hand", s)
		case message.KindTransferred, message.KindHold, message.KindHoldEnd, message.KindErase, message.KindDisclosed:
			return invalid("message %s says what was done with others, and goes when they have all gone", s)
		}
		target, acts := inbox.Acting(it.Message.Content)
		if _, stands := n.open.inbox.Message(target); acts && stands && !slices.Contains(ids, ledger.ID(target).String()) {
			return invalid("message %s changes what stands of message %s, which would come back as it was: erase both in one call, or neither", s, ledger.ID(target))
		}
	}
	return nil
}

func erasedWords(n int) string {
	what := "1 message is"
	if n != 1 {
		what = fmt.Sprintf("%d messages are", n)
	}
	return what + " erased from this device for good. Other devices keep their copies; a disk's own spare blocks may remember for a while."
}

// eraseChanges destroys one message and all that was kept of it, and notes where
// its sealed bodies lie: several in a group of several parts.
func (n *Node) eraseChanges(ctx context.Context, id ledger.ID, it inbox.Item) ([]vault.Change, error) {
	log, err := identity.ParseLogID(it.From.Log)
	if err != nil {
		return nil, fmt.Errorf("node: the log of message %s: %w", id, err)
	}
	g := group.ID(it.Group)
	out := []vault.Change{
		{Key: receiptKey(g, id)}, {Key: readKey(g, id)}, {Key: messageKey(log, it.Seq)}, {Key: keptKey(id)},
		{Key: erasedKey(id), Value: fmt.Appendf(nil, "%s/%016x", log, it.Seq)},
	}
	entries, err := n.entriesOf(ctx, log, it.Seq)
	if err != nil && !errors.Is(err, ledger.ErrDamaged) {
		return nil, err // what is damaged cannot be opened again anyhow
	}
	for _, e := range entries {
		seq := e.Header.Seq
		out = append(out, vault.Change{Key: messageKey(log, seq)},
			vault.Change{Key: erasedKey(e.ID()), Value: fmt.Appendf(nil, "%s/%016x", log, seq)})
		for _, from := range n.open.handed.from(e.ID()) {
			out = append(out, vault.Change{Key: handedKey(e.ID(), from)})
		}
		if it.Own {
			out = append(out, vault.Change{Key: outKey(log, seq)}, vault.Change{Key: restKey(log, seq)})
		}
	}
	return out, nil
}

// eraseBodies destroys the sealed bodies of messages that are erased, and notes
// that it did. n.mu is held and the device is unlocked.
func (n *Node) eraseBodies(ctx context.Context) error {
	todo := make(map[identity.LogID][]uint64)
	var done []vault.Change
	err := n.cfg.Vault.Scan(prefixErased, func(key string, value []byte) error {
		if len(value) == 0 {
			return nil
		}
		log, seq, err := parseMessageKey(prefixMessage + string(value))
		if err != nil {
			return fmt.Errorf("%w: %s", err, key)
		}
		todo[log] = append(todo[log], seq)
		done = append(done, vault.Change{Key: key, Value: []byte{}})
		return nil
	})
	if err != nil || len(done) == 0 {
		return err
	}
	for log, seqs := range todo {
		if _, err := n.logs.Erase(ctx, log, seqs...); err != nil {
			return err
		}
		n.testimony.unpromise(log)
	}
	n.cfg.Step("erase:bodies")
	for len(done) > 0 {
		part := done[:min(len(done), vault.MaxChanges)]
		done = done[len(part):]
		if err := n.cfg.Vault.Commit(part...); err != nil {
			return err
		}
	}
	return nil
}

// wasErased reports whether a message was erased here, so that it is not taken
// back from anybody.
func (n *Node) wasErased(id ledger.ID) (bool, error) {
	_, ok, err := n.cfg.Vault.Get(erasedKey(id))
	return ok, err
}
