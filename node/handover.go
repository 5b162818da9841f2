package node

// Handing over, and asking for it (protocol §4, rule 5):
//
//	HandOver        a member seals older messages of a group, with their openings, under its present epoch
//	drainHandover   each item is held against the signed header it names; what is new here is shown
//	askAgain        (ask.go) what was sealed to a key that is destroyed here is asked for, in a control entry
//	drainAsked      the announcer seals anew, and hands over what was asked for
//
// An item whose entry has not come waits under "handed/" until it has, within
// the bounds of handed.go. Both may come in one turn of the drain, in any order.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/node/inbox"
)

// payloadHandover begins a sealed payload that hands messages over. Messages are
// CBOR maps and begin with another byte.
const payloadHandover = 0x01

// maxHandItems is how many messages share one hand-over.
const maxHandItems = 64

// HandOver seals the messages of a group that are at most as old as since says
// anew, for a member who joined late and asked. All members can open the
// hand-over; it shows nothing twice. It returns how many messages were handed
// over. Errors: [ErrLocked], [ErrNotFound], [ErrInvalid], [ErrReadOnly].
func (n *Node) HandOver(ctx context.Context, groupID, member string, since time.Time) (int, error) {
	id, err := parseGroupID(groupID)
	if err != nil {
		return 0, err
	}
	n.sendMu.Lock()
	defer n.sendMu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.writable(); err != nil {
		return 0, err
	}
	if _, ok := n.open.keyring.Group(id); !ok {
		return 0, noGroup(id)
	}
	if err := n.drainAll(ctx); err != nil { // what was said a moment ago, too
		return 0, err
	}
	if err := n.writable(); err != nil {
		return 0, err
	}
	devices, err := n.people.resolve(member)
	if err != nil {
		return 0, err
	}
	if !slices.ContainsFunc(devices, func(d identity.LogID) bool { return n.isMember(id, d) }) {
		return 0, invalid("%q is no member of this group: add them first", member)
	}
	items, err := n.handItems(id, func(rec *openedRecord) bool { return rec.received >= since.UnixMilli() })
	if err != nil {
		return 0, err
	}
	return n.sendHandover(ctx, id, items)
}

// handItems returns the messages of a group that can be proved and are wanted,
// oldest first. n.mu is held.
func (n *Node) handItems(id group.ID, want func(*openedRecord) bool) ([]group.HandoverItem, error) {
	type dated struct {
		hlc  uint64
		item group.HandoverItem
	}
	var found []dated
	err := n.cfg.Vault.Scan(prefixMessage, func(key string, value []byte) error {
		rec, err := parseOpenedRecord(value)
		if err != nil {
			return fmt.Errorf("%w: %s", err, key)
		}
		if rec.group != id || !handable(rec) || !want(rec) {
			return nil
		}
		found = append(found, dated{rec.hlc, group.HandoverItem{ID: rec.id, Opening: rec.opening, TagKey: rec.tagKey, Payload: rec.payload}})
		return nil
	})
	slices.SortFunc(found, func(a, b dated) int {
		if a.hlc != b.hlc {
			return int(min(1, max(-1, int64(a.hlc-b.hlc))))
		}
		return slices.Compare(a.item.ID[:], b.item.ID[:])
	})
	items := make([]group.HandoverItem, len(found))
	for i, d := range found {
		items[i] = d.item
	}
	return items, err
}

// handable reports whether a message can be handed over: it can be proved, was
// said in a group, and is no receipt.
func handable(rec *openedRecord) bool {
	if !rec.flags.has(flagProvable) || rec.flags&(flagBroadcast|flagPart) != 0 || rec.tagKey == [32]byte{} {
		return false
	}
	msg, _, err := rec.message()
	return err == nil && msg.Shown()
}

// shown reports whether a message is shown here. n.mu is held.
func (n *Node) shown(id ledger.ID) bool {
	_, ok := n.open.inbox.Message(inbox.EntryID(id))
	return ok
}

// sendHandover seals items in as many messages as they need.
func (n *Node) sendHandover(ctx context.Context, id group.ID, items []group.HandoverItem) (int, error) {
	sent := 0
	for len(items) > 0 {
		part := items[:handoverPart(items)]
		raw, err := group.MarshalHandover(part)
		if err != nil {
			return sent, fmt.Errorf("node: handing over: %w", err)
		}
		if _, err := n.sendPayload(ctx, id, append([]byte{payloadHandover}, raw...), ledger.Routine); err != nil {
			return sent, err
		}
		sent += len(part)
		items = items[len(part):]
	}
	return sent, nil
}

// handoverPart is how many of the first items fit one message.
func handoverPart(items []group.HandoverItem) int {
	const fixed = 3*32 + 8 // of an item beside its payload
	size := 64
	for i, it := range items {
		size += fixed + len(it.Payload)
		if i > 0 && size > group.MaxPayload || i == maxHandItems {
			return i
		}
	}
	return len(items)
}

// drainHandover takes what another member handed over in e.
func (n *Node) drainHandover(b *batch, e *ledger.Entry, id group.ID, payload []byte) error {
	items, err := group.ParseHandover(payload[1:])
	if err != nil {
		return n.unopened(e, err)
	}
	if e.Header.Author == n.cred.SigningKey {
		return nil // ours: we have what we gave
	}
	headers := make(map[[32]byte]*ledger.Entry)
	looked := make(map[[32]byte]bool)
	for _, it := range items {
		if looked[it.TagKey] {
			continue
		}
		looked[it.TagKey] = true
		if err := n.findWaiting(b, tagOf(it.TagKey, id), headers); err != nil {
			return err
		}
	}
	good, missing, err := group.CheckHandover(id, items, func(want [32]byte) (group.HandedHeader, bool) {
		held, ok := headers[want]
		if !ok {
			return group.HandedHeader{}, false
		}
		h := &held.Header
		return group.HandedHeader{Place: group.Place{Log: h.Log(), Seq: h.Seq}, Tag: h.GroupTag, Commit: h.Commit}, true
	})
	if err != nil {
		return n.unopened(e, err)
	}
	name := n.authorOf(e.Header.Log(), n.cfg.Clock.Now()).Name
	for _, it := range good {
		held := headers[it.ID]
		if _, ok := b.taken[it.ID]; ok {
			continue // twice in one hand-over
		}
		b.unwait(waitKey(held.Header.GroupTag, held.Header.Log(), held.Header.Seq))
		if err := n.takeHanded(b, held, id, it, name); err != nil {
			return err
		}
	}
	return n.keepHanded(b, id, items, missing, e.Header.Log(), name)
}

// takeHanded shows one message that was handed over.
func (n *Node) takeHanded(b *batch, e *ledger.Entry, id group.ID, it group.HandoverItem, name string) error {
	h := &e.Header
	for _, from := range n.open.handed.from(e.ID()) {
		n.dropHanded(b, handedRef{e.ID(), from})
	}
	erased, err := n.wasErased(e.ID())
	if err != nil || erased {
		return err
	}
	return n.add(b, e, &openedRecord{
		group: id, hlc: h.HLC, received: n.cfg.Clock.Now().UnixMilli(), priority: h.Priority,
		flags: flagProvable, opening: it.Opening, tagKey: it.TagKey, payload: it.Payload, by: name,
	})
}

// dropHanded forgets an item that waits for its entry.
func (n *Node) dropHanded(b *batch, ref handedRef) {
	key := handedKey(ref.id, ref.from)
	b.drop(key)
	delete(b.handed, key)
	n.open.handed.drop(ref.id, ref.from)
}

// keepHanded keeps the items whose entries have not come, each alone, until they
// do. What is known here already is not kept.
func (n *Node) keepHanded(b *batch, id group.ID, items []group.HandoverItem, missing [][32]byte, from identity.LogID, name string) error {
	for _, it := range items {
		if _, taken := b.taken[it.ID]; taken || !slices.Contains(missing, it.ID) || n.shown(it.ID) {
			continue
		}
		erased, err := n.wasErased(it.ID)
		if err != nil {
			return err
		}
		if erased {
			continue
		}
		rec := &openedRecord{
			id: it.ID, group: id, received: n.cfg.Clock.Now().UnixMilli(),
			flags: flagProvable, opening: it.Opening, tagKey: it.TagKey, payload: it.Payload, by: name,
		}
		raw, err := rec.marshal()
		if err != nil {
			return err
		}
		key := handedKey(it.ID, from)
		b.change(secretChange(key, raw))
		b.handed[key] = rec
		gone := n.open.handed.add(it.ID, from, handedItemOf(rec))
		for _, ref := range gone {
			n.dropHanded(b, ref)
		}
		if len(gone) > 0 {
			n.log.Warn("messages that were handed over are let go: too many wait for entries that have not come; they can be handed over again", "messages", len(gone), "by", gone[0].from)
		}
	}
	return nil
}

// drainHanded shows an entry that was handed over before it came, and says
// whether it was.
func (n *Node) drainHanded(b *batch, e *ledger.Entry) (bool, error) {
	for _, from := range n.open.handed.from(e.ID()) {
		rec, err := n.handedRecord(b, handedKey(e.ID(), from))
		if err != nil {
			return false, err
		}
		n.dropHanded(b, handedRef{e.ID(), from})
		if rec == nil {
			continue
		}
		h := &e.Header
		it := group.HandoverItem{ID: rec.id, Opening: rec.opening, TagKey: rec.tagKey, Payload: rec.payload}
		good, _, err := group.CheckHandover(rec.group, []group.HandoverItem{it}, func([32]byte) (group.HandedHeader, bool) {
			return group.HandedHeader{Place: group.Place{Log: h.Log(), Seq: h.Seq}, Tag: h.GroupTag, Commit: h.Commit}, true
		})
		if err == nil && len(good) == 1 {
			return true, n.takeHanded(b, e, rec.group, it, rec.by)
		}
		n.log.Warn("a message that was handed over is not what its author wrote", "by", from, "err", err)
	}
	return false, nil
}

// handedRecord returns an item that waits for its entry, as b will have it; nil
// for none.
func (n *Node) handedRecord(b *batch, key string) (*openedRecord, error) {
	if rec := b.handed[key]; rec != nil {
		return rec, nil
	}
	raw, ok, err := n.cfg.Vault.Get(key)
	if err != nil || !ok {
		return nil, err
	}
	return parseOpenedRecord(raw)
}

// findWaiting adds to headers the entries that wait under a tag, as b will have
// it.
func (n *Node) findWaiting(b *batch, tag group.Tag, headers map[[32]byte]*ledger.Entry) error {
	for _, e := range b.waits {
		if e != nil && e.Header.GroupTag == tag {
			headers[e.ID()] = e
		}
	}
	return n.cfg.Vault.Scan(waitPrefix(tag), func(key string, _ []byte) error {
		if _, ok := b.waits[key]; ok {
			return nil
		}
		_, log, seq, err := parseWaitKey(key)
		if err != nil {
			return err
		}
		e, err := n.logs.Entry(n.ctx, log, seq)
		if err != nil {
			n.log.Error("an entry that waited cannot be read", "log", log, "seq", seq, "err", err)
			return nil
		}
		headers[e.ID()] = e
		return nil
	})
}

// drainAsked takes a request of another device. The announcer answers, once the
// batch is on disk.
func (n *Node) drainAsked(b *batch, e *ledger.Entry, content []byte) error {
	if n.mine(e.Header.Log()) {
		return nil
	}
	asked, changes, err := n.open.keyring.LearnUnreadable(e.Header.Log(), content, n.cfg.Clock.Now())
	if err != nil {
		n.log.Warn("a request to seal again cannot be used", "log", e.Header.Log(), "err", err)
		return nil
	}
	if err := n.fold(b, changes); err != nil {
		return err
	}
	if n.mine(asked.Creator) && len(asked.Groups) > 0 {
		b.asked = append(b.asked, asked)
	}
	return nil
}

// answer does what a batch led to and what needs entries of our own: it notes what
// could not be read, so that it is asked for, and hands over what was asked for. A
// crash before it loses the answer, for which is asked again.
func (n *Node) answer(ctx context.Context, b *batch) error {
	var errs []error
	if len(b.lost) > 0 {
		errs = append(errs, n.lose(b.lost))
	}
	if len(b.asked) == 0 || n.writable() != nil {
		return errors.Join(errs...)
	}
	for _, a := range b.asked {
		for _, id := range a.Groups {
			since, ok := n.memberSince(id, a.From)
			if !ok {
				continue
			}
			items, err := n.handItems(id, func(rec *openedRecord) bool {
				return rec.hlc >= since && slices.Contains(a.Entries, [32]byte(rec.id))
			})
			if err == nil {
				_, err = n.sendHandover(ctx, id, items)
			}
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// memberSince is the hybrid time of the last operation that made a device a
// member. What was said before is handed to it by a person ([Node.HandOver]) and
// not for the asking: a newcomer would read the past of every group that it is
// added to (protocol §4, rule 5).
func (n *Node) memberSince(id group.ID, device identity.LogID) (hlc uint64, ok bool) {
	for _, signed := range n.open.keyring.Joined(id, device) {
		if e, err := ledger.VerifyHeader(signed); err == nil {
			hlc, ok = max(hlc, e.Header.HLC), true
		}
	}
	return hlc, ok
}
