package node

// The outbound flow, top to bottom, one writer (n.mu):
//
//	Send            message → payload
//	ensureEpoch     an epoch that every member can read, announced if needed
//	seal            reserve a place → seal at that place → sender state on disk
//	commitEntry     sign → append (on disk) → publish
//
// A crash on the way skips a generation of the sender's chain and never reuses
// one. A publish that fails after the append is no failure to the user:
// synchronisation repairs it.

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"tocsin/crypto/group"
	"tocsin/crypto/vault"
	"tocsin/ledger"
	"tocsin/node/message"
)

// Send seals m to the group (hex id) and saves it in this device's log. It
// returns once the entry is durable here, whether or not a neighbour is in
// reach. Errors: [ErrLocked], [ErrNotFound], [ErrInvalid], [ErrReadOnly].
func (n *Node) Send(ctx context.Context, groupID string, m message.Message, priority string) (Sent, error) {
	id, err := parseGroupID(groupID)
	if err != nil {
		return Sent{}, err
	}
	if err := n.prepare(&m); err != nil {
		return Sent{}, err
	}
	p, payload, err := n.encode(&m, priority)
	if err != nil {
		return Sent{}, err
	}
	n.sendMu.Lock()
	defer n.sendMu.Unlock()
	if err := n.meetFirst(ctx); err != nil {
		return Sent{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.fits(id, m.Content, priority); err != nil {
		return Sent{}, err
	}
	if _, ok := m.Content.(*message.Decision); ok {
		if payload, err = n.following(ctx, id, &m, priority); err != nil {
			return Sent{}, err
		}
	}
	e, err := n.sendContent(ctx, id, m.Content, payload, p)
	if err != nil {
		return Sent{}, err
	}
	n.declared(ctx, m.Content)
	sent := sentOf(e, m.Sent)
	if n.open != nil {
		sent.Nobody = n.unheld(id, m)
	}
	return sent, nil
}

// encode dates m now, and returns its priority and payload.
func (n *Node) encode(m *message.Message, priority string) (ledger.Priority, []byte, error) {
	p, err := ledger.ParsePriority(priority)
	if err != nil {
		return 0, nil, invalid("priority is routine, urgent or stat, not %q", priority)
	}
	m.Sent = n.cfg.Clock.Now()
	payload, err := message.Encode(*m)
	if err != nil {
		return 0, nil, invalid("%v", err)
	}
	return p, payload, nil
}

func sentOf(e *ledger.Entry, at time.Time) Sent {
	h := &e.Header
	return Sent{ID: e.ID().String(), Log: h.Log().String(), Seq: h.Seq, Time: at, State: "saved"}
}

// meetLimit bounds how long the first message after a start waits for a first
// comparison of logs with a neighbour.
const meetLimit = 3 * time.Second

// meetFirst lets a device that has neighbours compare its log with theirs
// before it signs anything: one that was restored from a copy learns so before
// it uses a place twice (protocol §3). A device alone does not wait.
func (n *Node) meetFirst(ctx context.Context) error {
	if n.cfg.Unsafe.NoSync || len(n.mesh.Peers()) == 0 {
		return nil
	}
	select {
	case <-n.met:
	case <-n.cfg.Clock.After(meetLimit):
	case <-ctx.Done():
		return ctx.Err()
	case <-n.ctx.Done():
		return n.ctx.Err()
	}
	return nil
}

// sendPayload runs the flow for one encoded message. n.mu is held.
func (n *Node) sendPayload(ctx context.Context, id group.ID, payload []byte, p ledger.Priority) (*ledger.Entry, error) {
	if err := n.prepareSend(ctx, id); err != nil {
		return nil, err
	}
	if err := n.ensureEpoch(ctx, id, p == ledger.Stat); err != nil {
		return nil, err
	}
	return n.sendAll(ctx, &outgoing{group: id, payload: payload, priority: p, parts: n.open.keyring.Parts(id)})
}

// prepareSend sees to it that this device may write, and tries to send what is left
// of what it said before.
func (n *Node) prepareSend(ctx context.Context, id group.ID) error {
	n.goOn(ctx)
	if err := n.writable(); err != nil {
		return err
	}
	if _, ok := n.open.keyring.Group(id); !ok {
		return noGroup(id)
	}
	n.sendRest(ctx)
	return nil
}

// sendPart seals, signs, saves and publishes one entry of m.
func (n *Node) sendPart(ctx context.Context, m *outgoing) (*ledger.Entry, error) {
	h, body, rec, err := n.seal(m)
	if err != nil {
		return nil, err
	}
	e, err := n.commitEntry(ctx, h, body)
	if err != nil {
		return nil, err
	}
	if m.opening == nil {
		m.first, m.opening, m.part = e.ID(), &rec.opening, 1
		n.showOwn(e, rec)
	}
	return e, nil
}

// showOwn shows what this device has just said. The record and the entry are
// durable; the drain, which comes to the entry in a moment, or after a crash,
// moves the record to its place among the opened messages and shows it again,
// which changes nothing.
func (n *Node) showOwn(e *ledger.Entry, rec *openedRecord) {
	rec.id, rec.as, rec.first = e.ID(), e.ID(), e.Header.Seq
	msg, _, err := rec.message()
	if err != nil {
		return // the drain counts and reports it, or it is no message
	}
	n.present(opened{e.Header.Log(), e.Header.Seq, rec, msg})
}

// maxAnnounceWait bounds the random pause before an epoch is announced that
// other members may be about to announce too (protocol §4, rule 1).
const maxAnnounceWait = 5 * time.Second

// announceWait is the pause of one of members devices that all wait for the
// first to announce; u is uniform in [0, 1). Early pauses are rare, the rarer the
// more devices there are (feedback suppression with exponential timers,
// Nonnenmacher and Biersack 1999), so that of 200 that are told of a revocation at
// once one or two announce, where even pauses would have eight do so within the
// time that an announcement takes to arrive.
func announceWait(u float64, members int) time.Duration {
	if members <= 2 {
		return time.Duration(u * float64(maxAnnounceWait))
	}
	share := 1 + math.Log(1-u)/math.Log(10*float64(members))
	return time.Duration(max(0, share) * float64(maxAnnounceWait))
}

// ensureEpoch announces a new epoch where the group has none that fits. Only a
// device about to send does so, and it first gives an equal announcement of
// another member a moment to arrive, unless the message cannot wait (atOnce).
func (n *Node) ensureEpoch(ctx context.Context, id group.ID, atOnce bool) error {
	if end := n.open.trialEnd; !end.IsZero() && n.cfg.Clock.Now().After(end) {
		n.reexamine() // a sponsored device's time is over
	}
	if !n.open.keyring.NeedsEpoch(id, n.cfg.Clock.Now()) {
		return nil
	}
	if !atOnce && !n.open.eager[id] && len(n.mesh.Peers()) > 0 {
		if err := n.pause(ctx, announceWait(rand.Float64(), n.open.keyring.AudienceSize(id))); err != nil {
			return err
		}
		if !n.open.keyring.NeedsEpoch(id, n.cfg.Clock.Now()) {
			return nil
		}
	}
	return n.announce(ctx, id)
}

// pause lets go of n.mu for d, so that entries keep being drained meanwhile.
// The device may have been locked when it returns; then that is its error.
func (n *Node) pause(ctx context.Context, d time.Duration) error {
	n.mu.Unlock()
	var err error
	select {
	case <-n.cfg.Clock.After(d):
	case <-ctx.Done():
		err = ctx.Err()
	case <-n.ctx.Done():
		err = n.ctx.Err()
	}
	n.mu.Lock()
	if err != nil {
		return err
	}
	return n.writable()
}

// announce publishes a new epoch, or one for each part of a large audience:
// pages first, then our own state. A crash in between leaves pages whose wrap for
// ourselves the drain opens.
func (n *Node) announce(ctx context.Context, id group.ID) error {
	all, err := n.open.keyring.AnnounceAll(id, n.cfg.Clock.Now())
	if err != nil {
		return fmt.Errorf("node: announcing an epoch: %w", err)
	}
	for _, a := range all {
		if err := n.publishPages(ctx, a); err != nil {
			return err
		}
		if err := n.saveGroup(a.Changes); err != nil {
			return err
		}
		if len(a.Missing) > 0 {
			n.log.Info("an epoch was announced without some members: their prekeys are not known yet", "missing", len(a.Missing))
		}
	}
	n.count(func(m *Metrics) { m.Announced++ })
	delete(n.open.eager, id)
	return nil
}

func (n *Node) publishPages(ctx context.Context, a *group.Announce) error {
	for _, page := range a.Pages {
		h, err := n.reserve(ledger.KindEpoch, ledger.Routine)
		if err != nil {
			return err
		}
		if _, err := n.commitEntry(ctx, h, page); err != nil {
			return err
		}
		n.cfg.Step("outbound:page")
	}
	return nil
}

// reserve returns a header at the next place of our own log.
func (n *Node) reserve(k ledger.Kind, p ledger.Priority) (ledger.Header, error) {
	if n.mustGoOn() {
		return ledger.Header{}, errGoOn
	}
	place, err := n.own.Reserve(n.cfg.Clock.Now())
	if err != nil {
		return ledger.Header{}, storeError(err)
	}
	h := place.Header()
	h.Kind, h.Priority = k, p
	return h, nil
}

// seal seals payload at the next place of our log and makes the sender's state
// durable together with the payload, so that the drain can show it once the
// entry stands in the log.
func (n *Node) seal(m *outgoing) (ledger.Header, []byte, *openedRecord, error) {
	h, err := n.reserve(ledger.KindData, m.priority)
	if err != nil {
		return h, nil, nil, err
	}
	n.cfg.Step("outbound:reserved")
	now := n.cfg.Clock.Now()
	at := group.Place{Log: h.Log(), Seq: h.Seq}
	var s *group.Sealed
	if m.toward != nil {
		s, err = n.open.keyring.SealToward(m.group, *m.toward, at, m.payload, now)
	} else {
		s, err = n.open.keyring.SealPart(m.group, m.part, m.opening, at, m.payload, now)
	}
	if err != nil {
		return h, nil, nil, fmt.Errorf("node: sealing: %w", err)
	}
	n.cfg.Step("outbound:sealed")
	rec := &openedRecord{
		group: m.group, hlc: h.HLC, received: now.UnixMilli(), priority: m.priority,
		flags: flagProvable, opening: s.Opening, tagKey: s.TagKey, payload: m.payload,
	}
	if m.opening != nil {
		rec.flags, rec.payload = flagPart, nil
	}
	raw, err := rec.marshal()
	if err != nil {
		return h, nil, nil, err
	}
	also := []vault.Change{secretChange(outKey(h.Log(), h.Seq), raw)}
	if m.opening == nil && m.parts > 1 {
		m.rest = restKey(h.Log(), h.Seq)
		also = append(also, secretChange(m.rest, raw))
	}
	if err := n.saveGroup(s.Changes, also...); err != nil {
		return h, nil, nil, err
	}
	n.cfg.Step("outbound:state")
	h.GroupTag, h.Commit, h.LifetimeS = s.Tag, s.Commit, messageLifetime
	if n.cfg.Unsafe.NoSeal {
		return h, m.payload, rec, nil
	}
	return h, s.Body, rec, nil
}

// saveGroup makes changes of group state durable, with others in the same
// record, and then folds them into the keyring.
func (n *Node) saveGroup(changes []group.Change, also ...vault.Change) error {
	all := make([]vault.Change, 0, len(changes)+len(also))
	for _, c := range changes {
		all = append(all, groupChange(c))
	}
	if err := n.cfg.Vault.Commit(append(all, also...)...); err != nil {
		return fmt.Errorf("%w: the vault's journal: %w", ErrReadOnly, err)
	}
	return n.open.keyring.Apply(changes...)
}

// commitEntry signs the entry, appends it and hands it to the mesh. It is
// durable when this returns; only then may anything leave.
func (n *Node) commitEntry(ctx context.Context, h ledger.Header, body []byte) (*ledger.Entry, error) {
	v, err := ledger.Sign(n.open.keys.Signing, h, body)
	if err != nil {
		return nil, fmt.Errorf("node: signing: %w", err)
	}
	n.cfg.Step("outbound:signed")
	if err := n.own.Append(ctx, v); err != nil {
		return nil, storeError(err)
	}
	n.cfg.Step("outbound:appended")
	if h.Priority == ledger.Stat {
		n.sync.statCame(h.Log())
	}
	n.heed(v.Entry(), h.Seq+1)
	n.due.add(v.Entry(), h.Seq+1)
	n.testimony.grew(h.Log())
	if err := n.mesh.Publish(ctx, v.Entry().Frame()); err != nil {
		n.count(func(m *Metrics) { m.PublishFailed++ })
		n.log.Debug("not published now; synchronisation will carry it", "err", err)
	}
	n.cfg.Step("outbound:published")
	return v.Entry(), nil
}

// commitControl appends a control entry of ours. n.mu is held.
func (n *Node) commitControl(ctx context.Context, t controlType, content []byte) error {
	body, err := marshalControl(t, content)
	if err != nil {
		return err
	}
	h, err := n.reserve(ledger.KindControl, ledger.Routine)
	if err != nil {
		return err
	}
	_, err = n.commitEntry(ctx, h, body)
	return err
}

// errGoOn: what is left to write in this log would be beyond its end.
var errGoOn = fmt.Errorf("%w: this device is about to go on in a new log: try again in a moment", ErrReadOnly)

// writable says why nothing can be sent at present, if so. A device that may not
// write to its log any more goes on in another at once. n.mu is held.
func (n *Node) writable() error {
	if n.open != nil && n.mustGoOn() {
		n.goOn(n.ctx)
	}
	return n.unwritable()
}

// unwritable is writable where nothing is to be done about it. n.mu is held.
func (n *Node) unwritable() error {
	if n.open == nil {
		return n.lockedError()
	}
	if n.ctx.Err() != nil {
		return errors.New("node: closed")
	}
	if err := n.clockProblem(); err != nil {
		return err
	}
	if n.stalled != nil {
		return fmt.Errorf("%w: %w", ErrReadOnly, n.stalled)
	}
	if n.mustGoOn() {
		return errGoOn
	}
	return nil
}

func storeError(err error) error {
	return fmt.Errorf("%w: %w", ErrReadOnly, err)
}

func noGroup(id group.ID) error {
	return fmt.Errorf("%w: this device is in no group %s", ErrNotFound, id)
}

func parseGroupID(s string) (group.ID, error) {
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != len(group.ID{}) {
		return group.ID{}, invalid("a group id is %d hexadecimal characters", 2*len(group.ID{}))
	}
	return group.ID(raw), nil
}
