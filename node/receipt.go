package node

// Receipts, from what is owed to what is shown:
//
//	add, MarkRead     a debt under "receipt/", in one record with what it is for
//	receiptLoop       waits until something is due (receiptpace.go)
//	payReceipts       debts (owed.go) → runs (receiptruns.go) → one entry; then the debts are deleted
//	drainReceipts     another device's entry → kept, where it is for this one
//	applyReceipts     runs → messages by their places (places.go) → inbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
	"tocsin/ledger"
	"tocsin/node/inbox"
)

// receiptsSoon wakes the receipt loop; it never blocks.
func (n *Node) receiptsSoon() { ring(n.owed) }

// receiptsNow does so for what cannot wait.
func (n *Node) receiptsNow() { ring(n.owedNow) }

func ring(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// receiptLoop sends the receipts that are owed when they are due.
func (n *Node) receiptLoop() {
	defer n.wg.Done()
	var timer <-chan time.Time
	var at time.Time
	until := func(d time.Duration) {
		if t := n.cfg.Clock.Now().Add(d); timer == nil || t.Before(at) {
			timer, at = n.cfg.Clock.After(d), t
		}
	}
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.owed: // more may gather
			until(n.receiptDelay())
			continue
		case <-n.owedNow:
		case <-timer:
		}
		timer = nil
		n.mu.Lock()
		wait, err := n.payReceipts(n.ctx)
		n.mu.Unlock()
		if err != nil && !errors.Is(err, ErrLocked) && n.ctx.Err() == nil {
			n.log.Warn("receipts could not be sent; they are owed until they are", "err", err)
		}
		if wait > 0 {
			until(wait)
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

// payReceipts pays what is due of what is owed, and returns how long it is until
// more may be; 0 where nothing is left. n.mu is held.
func (n *Node) payReceipts(ctx context.Context) (time.Duration, error) {
	if n.open == nil {
		return 0, n.lockedError()
	}
	interval := n.receiptInterval()
	bills, err := n.bills()
	if err != nil {
		return interval, err
	}
	owed := len(bills)
	n.open.owed.plan(nil, nil) // what comes while an epoch is awaited is told
	bills = slices.DeleteFunc(bills, func(b bill) bool { return !n.payable(&b) })
	due, wait := n.paces.choose(bills, n.cfg.Clock.Now(), interval)
	if wait == 0 && len(bills) < owed {
		wait = interval // the way to some is closed, and may be open by then
	}
	var errs []error
	for _, b := range due {
		left, err := n.pay(ctx, b, interval)
		if err != nil {
			errs = append(errs, err)
			n.paces.putOff(b, n.cfg.Clock.Now(), interval)
		}
		if left && (wait == 0 || wait > interval) {
			wait = interval
		}
		if n.open == nil {
			break // locked while an epoch was awaited
		}
	}
	if n.open != nil && wait > 0 {
		n.open.owed.plan(bills, due)
	}
	return wait, errors.Join(errs...)
}

// receiptInterval is how often routine receipts leave at most.
func (n *Node) receiptInterval() time.Duration {
	if n.Thrifty() {
		return max(n.cfg.ReceiptInterval, thriftReceipts)
	}
	return n.cfg.ReceiptInterval
}

// bills returns who is to be paid, and ends the debts that nobody waits for.
func (n *Node) bills() ([]bill, error) {
	o, err := n.owes()
	if err != nil {
		return nil, err
	}
	bills, void := o.bills(n.open.keyring.Parts)
	if err := n.commitChunks(void); err != nil {
		return bills, err
	}
	o.garbled = nil
	return bills, nil
}

// payable reports whether there is a way to who is to be paid. Where somebody was
// removed from a group of several parts the author opens it with the next message.
func (n *Node) payable(b *bill) bool {
	return b.to == identity.LogID{} || n.open.keyring.Shares(b.group, b.to, n.cfg.Clock.Now())
}

// pay sends one bill. A debt is deleted once its receipt stands in the log: a
// crash in between repeats a receipt, which changes nothing, and forgets none.
// left reports that more is owed than one entry holds.
func (n *Node) pay(ctx context.Context, b bill, interval time.Duration) (left bool, err error) {
	o, err := n.owes()
	if err != nil {
		return true, err
	}
	debts := o.debtsTo(b.payee)
	if len(debts) == 0 {
		return false, nil // erased while the one before waited for an epoch
	}
	for _, d := range debts { // something more urgent may have come while those before waited
		b.highest = max(b.highest, d.priority)
	}
	b.members = n.open.keyring.AudienceSize(b.group)
	runs, paid, rest := runsOf(debts)
	payload, err := marshalReceipts(runs)
	if err != nil {
		return true, err
	}
	var e *ledger.Entry
	if (b.to == identity.LogID{}) {
		e, err = n.sendPayload(ctx, b.group, payload, receiptPriority(b.highest))
	} else {
		e, err = n.sendToward(ctx, b.group, b.to, payload, receiptPriority(b.highest))
	}
	if err != nil {
		return true, err
	}
	n.paces.paid(b, len(e.Frame()), n.cfg.Clock.Now(), interval)
	return len(rest) > 0, n.settleDebts(b.group, paid)
}

// receiptPriority: that something stat has come is worth knowing as soon.
func receiptPriority(highest ledger.Priority) ledger.Priority {
	if highest == ledger.Stat {
		return ledger.Urgent
	}
	return ledger.Routine
}

// settleDebts deletes debts that were paid, unless more is owed by now than when
// the receipt began to wait for an epoch.
func (n *Node) settleDebts(g group.ID, paid []debt) error {
	if n.open == nil {
		return n.lockedError() // meanwhile; it is paid again
	}
	o, err := n.owes()
	if err != nil {
		return err
	}
	var changes []vault.Change
	for _, d := range paid {
		if o.has(g, d) {
			changes = append(changes, vault.Change{Key: receiptKey(g, d.id)})
		}
	}
	return n.commitChunks(changes)
}

func (n *Node) commitChunks(changes []vault.Change) error {
	for part := range slices.Chunk(changes, vault.MaxChanges) {
		if err := n.commitOwed(part); err != nil {
			return fmt.Errorf("%w: the vault's journal: %w", ErrReadOnly, err)
		}
	}
	return nil
}

// commitOwed is one commit to the vault that may change what is owed. n.mu is held.
func (n *Node) commitOwed(changes []vault.Change) error {
	err := n.cfg.Vault.Commit(changes...)
	switch {
	case n.open == nil:
	case err != nil:
		n.open.owed.stale = true
	default:
		n.open.owed.note(changes)
	}
	return err
}

// MarkRead notes that this device's user has seen a group up to now. The
// signed receipts follow when they are due. Errors: [ErrLocked], [ErrInvalid].
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
	var changes []vault.Change
	var read []inbox.EntryID
	stat := false
	for _, it := range n.open.inbox.Messages(inbox.GroupID(id), 0, 0) {
		if !it.Unread {
			continue
		}
		d, err := debtOf(&it)
		if err != nil {
			return err
		}
		read = append(read, it.ID)
		if n.open.keyring.Parts(id) == 0 { // said to everybody, or in a group that was left: no receipt says it
			changes = append(changes, vault.Change{Key: readKey(id, d.id), Value: []byte{1}})
			continue
		}
		stat = stat || d.priority == ledger.Stat
		changes = append(changes, vault.Change{Key: receiptKey(id, d.id), Value: d.marshal()})
	}
	if len(read) == 0 {
		return nil
	}
	if err := n.commitChunks(changes); err != nil {
		return err
	}
	n.open.inbox.MarkRead(inbox.GroupID(id), read...)
	n.events.publish(Event{Type: EventDelivery, Group: groupID, ID: ledger.ID(read[len(read)-1]).String()})
	if stat {
		n.receiptsNow()
	}
	n.receiptsSoon()
	return nil
}

// debtOf is what is owed for a message that was read.
func debtOf(it *inbox.Item) (debt, error) {
	d := debt{owed: oweRead, seq: it.First, id: ledger.ID(it.ID)}
	var err error
	if d.log, err = identity.ParseLogID(it.From.Log); err != nil {
		return d, fmt.Errorf("node: the log of message %s: %w", d.id, err)
	}
	if d.priority, err = ledger.ParsePriority(it.Priority); err != nil {
		return d, fmt.Errorf("node: message %s: %w", d.id, err)
	}
	return d, nil
}

// loadDebt takes in what this device owes, and marks as read what it has read and
// not yet said so.
func (n *Node) loadDebt(key string, value []byte) error {
	if err := n.readOwed(key, value); err != nil {
		return err
	}
	if g, id, err := parseReceiptKey(key); err == nil {
		if d, err := parseDebt(id, value); err == nil && d.owed == oweRead {
			n.open.inbox.MarkRead(inbox.GroupID(g), inbox.EntryID(id))
		}
	}
	return nil
}

// loadRead marks as read what this device has read and says to nobody.
func (n *Node) loadRead(key string, _ []byte) error {
	g, id, err := parseReceiptKey(prefixReceipt + strings.TrimPrefix(key, prefixRead))
	if err != nil {
		n.log.Error("a mark that something was read cannot be read", "key", key, "err", err)
		return nil
	}
	n.open.inbox.MarkRead(inbox.GroupID(g), inbox.EntryID(id))
	return nil
}

// drainReceipts takes the receipts that e brings. What is not for this device, in
// a group so large that receipts are for the author, is not kept.
func (n *Node) drainReceipts(b *batch, e *ledger.Entry, rec *openedRecord) error {
	runs, err := parseReceipts(rec.payload)
	if err != nil {
		return n.unopened(e, err)
	}
	if !n.concerns(rec.group, e.Header.Log(), runs) {
		return nil
	}
	rec.id, rec.as, rec.first = e.ID(), e.ID(), e.Header.Seq
	raw, err := rec.marshal()
	if err != nil {
		return err
	}
	b.change(secretChange(messageKey(e.Header.Log(), e.Header.Seq), raw))
	b.receipts = append(b.receipts, opened{log: e.Header.Log(), seq: e.Header.Seq, rec: rec})
	return nil
}

// concerns reports whether receipts of a device are for this one.
func (n *Node) concerns(g group.ID, from identity.LogID, runs []receiptRun) bool {
	if n.mine(from) || n.open.keyring.AudienceSize(g) <= receiptsToAll {
		return true
	}
	return slices.ContainsFunc(runs, func(r receiptRun) bool { return n.isOwnShort(r.log) })
}

// isOwnShort reports whether a short name is of a log of this device.
func (n *Node) isOwnShort(short [8]byte) bool {
	if short == n.self.Short() {
		return true
	}
	at := n.open.places.logs[short]
	return at != nil && n.mine(at.log)
}

// applyReceipts shows what receipts say. Those that are about a message which is
// not here yet are looked at again when it is. n.mu is held.
func (n *Node) applyReceipts(o opened) {
	if n.open.places.tell(n.open.inbox, n.receiptItem(&o), o, n.entryAt) {
		n.events.publish(Event{Type: EventDelivery, Group: o.rec.group.String(), ID: o.rec.id.String()})
	}
}

// receiptItem is what the inbox is told of an entry of receipts, but for what they
// say.
func (n *Node) receiptItem(o *opened) inbox.Item {
	received := time.UnixMilli(o.rec.received)
	return inbox.Item{
		Group: inbox.GroupID(o.rec.group), HLC: o.rec.hlc, Seq: o.seq, First: o.seq, From: n.authorOf(o.log, received),
		Received: received, Own: n.mine(o.log), Removed: o.rec.flags.has(flagRemoved),
	}
}

// applyLate shows what receipts say that waited for a message. n.mu is held.
func (n *Node) applyLate(o opened) {
	moved := false
	for _, l := range n.open.places.put(o.log, o.rec.first, o.rec.as) {
		moved = n.open.places.tellLate(n.open.inbox, n.receiptItem(l.from), l, o.rec.as, n.entryAt) || moved
	}
	if moved {
		n.events.publish(Event{Type: EventDelivery, Group: o.rec.group.String(), ID: o.rec.as.String()})
	}
}

// maxGathered bounds the receipts that wait for the end of a turn of the drain, in
// bytes of their payloads.
const maxGathered = 16 << 20

// gathered are receipts that were drained and are applied at the end of the turn:
// logs come in the order of their ids, so that half of all receipts would else come
// before what they are about.
type gathered struct {
	on    bool
	size  int
	these []opened
}

// takeReceipts applies receipts that were drained, or keeps them for the end of the
// turn. n.mu is held.
func (n *Node) takeReceipts(all []opened) {
	g := &n.open.gathered
	for _, o := range all {
		g.these, g.size = append(g.these, o), g.size+len(o.rec.payload)
	}
	if !g.on || g.size > maxGathered {
		n.applyGathered()
	}
}

// applyGathered applies what takeReceipts kept, and what had found no room among
// the receipts that wait and finds some now.
func (n *Node) applyGathered() {
	these := n.open.gathered.these
	n.open.gathered.these, n.open.gathered.size = nil, 0
	for _, o := range these {
		n.applyReceipts(o)
	}
	for _, log := range n.open.places.room() {
		if err := n.applyKept(log); err != nil {
			n.log.Error("some receipts are shown from the next unlock on", "err", err)
		}
	}
}

// applyKept applies all receipts of a log that are kept.
func (n *Node) applyKept(log identity.LogID) error {
	var all []opened
	err := n.scanOpened(fmt.Sprintf("%s%s/", prefixMessage, log), func(o opened) error {
		if o.rec.ofReceipts() {
			all = append(all, o)
		}
		return nil
	})
	for _, o := range all {
		n.applyReceipts(o)
	}
	return err
}

// entryAt is the id of an entry that is held, of a log of which messages are shown.
func (n *Node) entryAt(short [8]byte, seq uint64) (ledger.ID, bool) {
	at := n.open.places.logs[short]
	if at == nil {
		return ledger.ID{}, false
	}
	e, err := n.logs.Entry(n.ctx, at.log, seq)
	if err != nil {
		return ledger.ID{}, false // not here yet, or lost: it is looked at again when it comes
	}
	return e.ID(), true
}
