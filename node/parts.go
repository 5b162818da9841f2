package node

// To more devices than one epoch holds a message leaves as several entries, one
// for each part of the audience, and yet is one message (protocol §4):
//
//	sendAll     one entry after the other, with one opening and so one commit
//	sendRest    after a crash or a full disk on the way: the parts that are left
//	messageOf   every device works out which entries are one message: its id is that of the first
//
// The id follows from headers alone, which every member holds of every part, and
// a commit binds what was said: whoever points at a message, in an answer, a
// receipt or an escalation, means the same one for all, and nobody is told
// something else under the same id.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
	"tocsin/ledger"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

const (
	// maxPartGap bounds the entries between two parts of a message: what a device
	// writes when it is unlocked, before it goes on with the parts that are left.
	// An announcement to four thousand devices takes some hundred entries.
	maxPartGap = 1024
	// maxParts bounds the entries of one message: those of the largest group, some
	// times over.
	maxParts = 64
)

// prefixRest begins the keys of messages that may not have left for all parts:
// rest/<log>/<seq of the first entry>, an [openedRecord] as under "out/".
const prefixRest = "rest/"

func restKey(log identity.LogID, seq uint64) string {
	return fmt.Sprintf("%s%s/%016x", prefixRest, log, seq)
}

// outgoing is a message on its way out.
type outgoing struct {
	group    group.ID
	payload  []byte
	priority ledger.Priority
	toward   *identity.LogID // sealed towards this member in one entry; nil for all
	parts    int             // how many entries it takes
	part     int             // which is next
	first    ledger.ID       // the entry that was sent first, once it was
	log      identity.LogID  // where that stands; of what is left of a message
	seq      uint64          // the place in it
	commit   [32]byte        // its commit
	opening  *[32]byte       // its opening
	rest     string          // the key under which the parts that are left are noted
}

// sendAll sends every part of m, and returns the first entry. Once that one is
// durable the message is said: what fails after it is made up for by
// [Node.sendRest], before anything else is said if that can be.
func (n *Node) sendAll(ctx context.Context, m *outgoing) (*ledger.Entry, error) {
	first, err := n.sendPart(ctx, m)
	if err != nil {
		return nil, err
	}
	n.count(func(c *Metrics) { c.Sent++ })
	if m.parts <= 1 {
		return first, nil
	}
	if err := n.sendParts(context.WithoutCancel(ctx), m); err != nil {
		n.open.rest, n.open.restErr = true, err
		n.log.Warn("a message has not left for all parts of a large group yet; the others go before the next is said", "err", err)
	}
	return first, nil
}

// sendContent sends a message of which the content says to whom. In a group of
// several parts an answer to a call-out goes to who asked, and to those who share
// the epoch by which it came: two thousand who answer would else announce two
// thousand times to everybody. n.mu is held.
func (n *Node) sendContent(ctx context.Context, id group.ID, c message.Content, payload []byte, p ledger.Priority) (*ledger.Entry, error) {
	answer, ok := c.(*message.CallOutAnswer)
	if !ok || n.open.keyring.Parts(id) <= 1 {
		return n.sendPayload(ctx, id, payload, p)
	}
	asked, ok := n.open.inbox.Message(inbox.EntryID(answer.CallOut))
	if !ok {
		return nil, invalid("no such call-out is in this conversation")
	}
	to, err := identity.ParseLogID(asked.From.Log)
	if err != nil {
		return nil, fmt.Errorf("node: the log of who asked: %w", err)
	}
	if !n.open.keyring.Shares(id, to, n.cfg.Clock.Now()) {
		return n.sendPayload(ctx, id, payload, p)
	}
	return n.sendToward(ctx, id, to, payload, p)
}

// sendToward runs the flow for a message to one member, in one entry. n.mu is
// held.
func (n *Node) sendToward(ctx context.Context, id group.ID, to identity.LogID, payload []byte, p ledger.Priority) (*ledger.Entry, error) {
	if err := n.prepareSend(ctx, id); err != nil {
		return nil, err
	}
	return n.sendAll(ctx, &outgoing{group: id, payload: payload, priority: p, parts: 1, toward: &to})
}

// sendParts sends the parts of m from m.part on, and notes that none is left.
func (n *Node) sendParts(ctx context.Context, m *outgoing) error {
	for ; m.part < m.parts; m.part++ {
		if _, err := n.sendPart(ctx, m); err != nil {
			return err
		}
	}
	if err := n.cfg.Vault.Commit(vault.Change{Key: m.rest}); err != nil {
		return fmt.Errorf("%w: the vault's journal: %w", ErrReadOnly, err)
	}
	return nil
}

// sendRest tries to send what has not left for all parts, whatever kept it, and
// keeps what cannot go now: nothing else waits for it. The audience may be cut into
// other parts by now, so that it goes to all of them: who has it already is shown
// nothing twice. n.mu is held and the device is unlocked.
func (n *Node) sendRest(ctx context.Context) {
	if !n.open.rest {
		return
	}
	n.open.rest = false
	var left []*outgoing
	var done []vault.Change
	var errs []error
	err := n.cfg.Vault.Scan(prefixRest, func(key string, value []byte) error {
		m, err := n.restOf(ctx, key, value)
		switch {
		case err != nil:
			errs = append(errs, err)
		case m == nil:
			done = append(done, vault.Change{Key: key})
		default:
			left = append(left, m)
		}
		return nil
	})
	if err == nil {
		err = n.commitChunks(done)
	}
	errs = append(errs, err)
	for _, m := range left {
		errs = append(errs, n.sendLeft(ctx, m))
	}
	if n.open.restErr = errors.Join(errs...); n.open.restErr != nil {
		n.open.rest = true
		n.log.Warn("a message has not left for all parts of a large group; it is tried again", "err", n.open.restErr)
	}
}

// sendLeft sends one message to all parts once more. Where it would not be known for
// the same, because something else was said since, or the device goes on in another
// log, it is said again as a new message: twice is better than not to all, and
// every device has one name for each.
func (n *Node) sendLeft(ctx context.Context, m *outgoing) error {
	if err := n.ensureEpoch(ctx, m.group, true); err != nil {
		return err
	}
	if m.parts = n.open.keyring.Parts(m.group); m.parts == 0 {
		return noGroup(m.group)
	}
	same, err := n.follows(ctx, m)
	if err != nil {
		return err
	}
	if same {
		return n.sendParts(ctx, m)
	}
	n.log.Warn("a message that had not left for all parts of a large group is said again: something else was said since", "id", m.first)
	again := &outgoing{group: m.group, payload: m.payload, priority: m.priority, parts: m.parts}
	if _, err := n.sendAll(ctx, again); err != nil {
		return err
	}
	return n.commitChunks([]vault.Change{{Key: m.rest}})
}

// follows reports whether the entries that this device writes next can be of the
// message m: readers know them by the same rule ([Node.messageOf]).
func (n *Node) follows(ctx context.Context, m *outgoing) (bool, error) {
	if m.log != n.self {
		return false, nil
	}
	head, _ := n.logs.Head(m.log)
	parts, gap := 1, 0
	for seq := m.seq + 1; seq < head.Next; seq++ {
		e, err := n.logs.Entry(ctx, m.log, seq)
		if err != nil {
			return false, storeError(err)
		}
		switch h := &e.Header; {
		case h.Kind == ledger.KindControl || h.Kind == ledger.KindEpoch:
			if gap++; gap > maxPartGap {
				return false, nil
			}
		case h.Kind == ledger.KindData && h.Commit == m.commit:
			parts, gap = parts+1, 0
		default:
			return false, nil
		}
	}
	return parts+m.parts <= maxParts, nil
}

// restOf reads one message that may have parts left; nil where none is to be sent:
// it was never said, because its first entry did not become durable, or this device
// is not in the group any more.
func (n *Node) restOf(ctx context.Context, key string, value []byte) (*outgoing, error) {
	log, seq, err := parseMessageKey(prefixMessage + strings.TrimPrefix(key, prefixRest))
	var rec *openedRecord
	if err == nil {
		rec, err = parseOpenedRecord(value)
	}
	if err != nil {
		n.log.Error("a message that may not have left for all parts of a large group cannot be read: say it again", "key", key, "err", err)
		return nil, nil
	}
	if head, _ := n.logs.Head(log); head.Next <= seq {
		return nil, nil
	}
	if _, ok := n.open.keyring.Group(rec.group); !ok || !n.isMember(rec.group, n.self) {
		n.log.Warn("a message has not left for all parts of a large group that this device is no longer in", "key", key)
		return nil, nil
	}
	e, err := n.logs.Entry(ctx, log, seq)
	if err != nil {
		return nil, storeError(err)
	}
	commit := group.Commit(rec.opening, rec.payload)
	if e.Header.Commit != commit {
		return nil, nil // the place was given to another entry
	}
	return &outgoing{
		group: rec.group, payload: rec.payload, priority: rec.priority,
		first: e.ID(), log: log, seq: seq, commit: commit, opening: &rec.opening, rest: key,
	}, nil
}

// tail is where a log was drained to, and the message of its last data entry.
type tail struct {
	next   uint64    // the place after it
	commit [32]byte  // of the data entry; zero where none can have more parts
	id     ledger.ID // of its message: that of its first entry
	first  uint64    // the place of that
	parts  int       // entries of the message so far
	gap    int       // entries since
}

// messageOf is the id of the message that an entry brings, and where the first of
// its entries stands, which is the entry itself but in groups of several parts.
func (n *Node) messageOf(ctx context.Context, e *ledger.Entry) (id ledger.ID, first uint64, err error) {
	h := &e.Header
	if h.Kind != ledger.KindData || h.Commit == [32]byte{} || h.Seq == 0 {
		return e.ID(), h.Seq, nil
	}
	t, ok := n.open.tails[h.Log()]
	if !ok || t.next != h.Seq {
		if t, err = n.readTail(ctx, h.Log(), h.Seq, h.Commit); err != nil {
			return ledger.ID{}, 0, err
		}
		n.open.tails[h.Log()] = t
	}
	if t.commit == h.Commit && t.parts < maxParts {
		return t.id, t.first, nil
	}
	return e.ID(), h.Seq, nil
}

// passed notes that an entry of a message was drained, which spares reading it
// again for the one after it.
func (n *Node) passed(e *ledger.Entry, as ledger.ID, first uint64) {
	h := &e.Header
	t, known := n.open.tails[h.Log()]
	known = known && t.next == h.Seq
	switch h.Kind {
	case ledger.KindControl, ledger.KindEpoch:
		if !known {
			return // the next data entry reads back
		}
		if t.gap++; t.gap > maxPartGap {
			t = tail{}
		}
	case ledger.KindData:
		if !known || as != t.id {
			t.parts = 0
		}
		t = tail{commit: h.Commit, id: as, first: first, parts: t.parts + 1}
	default:
		t = tail{}
	}
	t.next = h.Seq + 1
	n.open.tails[h.Log()] = t
}

// readTail reads back from a place of a log, as far as entries may be of one
// message with one that has this commit.
func (n *Node) readTail(ctx context.Context, log identity.LogID, seq uint64, commit [32]byte) (tail, error) {
	t := tail{next: seq}
	for at, gap := seq, 0; at > 0 && gap <= maxPartGap && t.parts < maxParts; {
		at--
		e, err := n.logs.Entry(ctx, log, at)
		if err != nil {
			return t, fmt.Errorf("%w: entry %d of log %s: %w", errUnreadable, at, log, err)
		}
		switch h := &e.Header; {
		case h.Kind == ledger.KindControl || h.Kind == ledger.KindEpoch:
			gap++
		case h.Kind == ledger.KindData && h.Commit == commit:
			t.commit, t.id, t.first, gap = commit, e.ID(), at, 0
			t.parts++
		default:
			return t, nil
		}
	}
	return t, nil
}

// entriesOf returns the entries of the message of which one stands at a place.
func (n *Node) entriesOf(ctx context.Context, log identity.LogID, seq uint64) ([]*ledger.Entry, error) {
	at, err := n.logs.Entry(ctx, log, seq)
	if err != nil {
		return nil, storeError(err)
	}
	commit := at.Header.Commit
	if at.Header.Kind != ledger.KindData || commit == [32]byte{} {
		return []*ledger.Entry{at}, nil
	}
	run, err := n.walkParts(ctx, at, -1)
	if err != nil {
		return nil, err
	}
	slices.Reverse(run)
	after, err := n.walkParts(ctx, at, 1)
	return append(append(run, at), after...), err
}

// walkParts returns the entries of the message of one that stand before it, or after
// it, nearest first.
func (n *Node) walkParts(ctx context.Context, from *ledger.Entry, step int) (run []*ledger.Entry, err error) {
	h := &from.Header
	head, _ := n.logs.Head(h.Log())
	gap := 0
	for seq := int64(h.Seq) + int64(step); seq >= 0 && seq < int64(head.Next) && len(run) < maxParts; seq += int64(step) {
		e, err := n.logs.Entry(ctx, h.Log(), uint64(seq))
		if err != nil {
			return nil, storeError(err)
		}
		switch {
		case e.Header.Kind == ledger.KindControl || e.Header.Kind == ledger.KindEpoch:
			if gap++; gap > maxPartGap {
				return run, nil
			}
		case e.Header.Kind == ledger.KindData && e.Header.Commit == h.Commit:
			run, gap = append(run, e), 0
		default:
			return run, nil
		}
	}
	return run, nil
}

// broughtBefore reports whether another entry has brought the message of e, or the
// message was erased here.
func (n *Node) broughtBefore(b *batch, e *ledger.Entry, as ledger.ID) (bool, error) {
	if _, taken := b.taken[as]; taken {
		return true, nil
	}
	if as == e.ID() {
		by, split := n.open.split[as]
		return split && by != as, nil
	}
	if erased, err := n.wasErased(as); err != nil || erased {
		return erased, err
	}
	return n.open.inbox.Knows(inbox.EntryID(as)), nil
}
