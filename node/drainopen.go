package node

import (
	"errors"

	"tocsin/crypto/group"
	"tocsin/ledger"
)

// What an entry of a group says, once the drain comes to it: ours, or sealed to us.

// drainOwn shows a message of ours once its entry stands in the log.
func (n *Node) drainOwn(b *batch, e *ledger.Entry) error {
	key := outKey(e.Header.Log(), e.Header.Seq)
	raw, ok, err := n.cfg.Vault.Get(key)
	if err != nil {
		return err
	}
	if !ok {
		if erased, err := n.wasErased(e.ID()); err != nil || erased {
			return err
		}
		if e.Header.Log() == n.self {
			// The message is saved before its entry is, so this vault is older than
			// the log: it would use generations of its chains twice.
			n.log.Error("the log holds an entry of this device that its vault does not know: the vault was restored from a copy", "seq", e.Header.Seq)
			b.put(keyRestored, restoredValue(n.self))
			n.open.restored = true
		}
		// What this device said itself, before it was restored, is opened as what
		// others say.
		if e.Header.Kind == ledger.KindBroadcast {
			return n.drainBroadcast(b, e)
		}
		return n.drainData(b, e)
	}
	rec, err := parseOpenedRecord(raw)
	if err != nil {
		return err
	}
	b.drop(key)
	if rec.flags.has(flagPart) {
		return nil // the message is kept where it was first
	}
	if len(rec.payload) > 0 && rec.payload[0] == payloadHandover && !rec.flags.has(flagBroadcast) {
		return nil // what was handed over is kept where it was first
	}
	if rec.ofReceipts() {
		return n.drainReceipts(b, e, rec)
	}
	return n.add(b, e, rec)
}

// drainData opens what is ours. What is sealed under an epoch that we do not
// hold waits under its tag until that epoch is learnt, or until it is handed
// over.
func (n *Node) drainData(b *batch, e *ledger.Entry) error {
	if handed, err := n.drainHanded(b, e); handed || err != nil {
		return err
	}
	h := &e.Header
	now := n.cfg.Clock.Now()
	o, changes, err := n.open.keyring.Open(group.Place{Log: h.Log(), Seq: h.Seq}, h.GroupTag, h.Commit, e.Body, now)
	switch {
	case errors.Is(err, group.ErrUnknownTag), errors.Is(err, group.ErrDestroyed):
		b.await(e)
		if errors.Is(err, group.ErrDestroyed) {
			n.log.Info("a message is sealed to a key that this device has destroyed: asked for again", "log", h.Log(), "seq", h.Seq)
			b.lost = append(b.lost, lost{creator: h.Log(), since: h.HLC})
		}
		return nil
	case err != nil:
		return n.unopened(e, err)
	}
	if err := n.fold(b, changes); err != nil {
		return err
	}
	rec := &openedRecord{
		group: o.Group, hlc: h.HLC, received: now.UnixMilli(), priority: h.Priority,
		opening: o.Opening, tagKey: o.TagKey, payload: o.Payload,
	}
	if o.Provable {
		rec.flags |= flagProvable
	}
	if o.Removed {
		rec.flags |= flagRemoved
	}
	if len(o.Payload) > 0 && o.Payload[0] == payloadHandover {
		return n.drainHandover(b, e, o.Group, o.Payload)
	}
	if isReceipts(o.Payload) {
		return n.drainReceipts(b, e, rec)
	}
	return n.add(b, e, rec)
}

// unopened counts an entry that is sealed to us and cannot be opened. It holds up
// nothing else.
func (n *Node) unopened(e *ledger.Entry, err error) error {
	n.count(func(m *Metrics) { m.Unopened++ })
	n.log.Warn("a sealed entry cannot be opened", "log", e.Header.Log(), "seq", e.Header.Seq, "err", err)
	return nil
}

// add puts an opened message into the record, with the receipt that we now owe
// for it.
func (n *Node) add(b *batch, e *ledger.Entry, rec *openedRecord) error {
	as, first, err := n.messageOf(n.ctx, e)
	if err != nil {
		return err
	}
	if known, err := n.broughtBefore(b, e, as); err != nil || known {
		return err
	}
	rec.id, rec.as, rec.first = e.ID(), as, first
	msg, _, err := rec.message()
	if err != nil {
		n.count(func(m *Metrics) { m.Unopened++ })
		n.log.Warn("an opened message is malformed; it is kept and not shown", "log", e.Header.Log(), "seq", e.Header.Seq)
	}
	raw, merr := rec.marshal()
	if merr != nil {
		return merr
	}
	b.change(secretChange(messageKey(e.Header.Log(), e.Header.Seq), raw))
	b.taken[rec.id], b.taken[rec.as] = struct{}{}, struct{}{}
	if err != nil {
		return nil
	}
	b.opened = append(b.opened, opened{e.Header.Log(), e.Header.Seq, rec, msg})
	if !n.mine(e.Header.Log()) && msg.Shown() && !rec.flags.has(flagBroadcast) {
		d := debt{owed: oweDelivered, priority: rec.priority, log: e.Header.Log(), seq: first, id: as}
		b.put(receiptKey(rec.group, as), d.marshal())
	}
	return nil
}
