package node

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/node/inbox"
	"tocsin/node/message"
	"tocsin/node/record"
)

// RecordExport says what was written to a file.
type RecordExport struct {
	Messages int    `json:"messages"`
	Proofs   int    `json:"proofs"` // of them with a proof
	Bytes    int64  `json:"bytes"`
	SHA256   string `json:"sha256"`
	Exercise bool   `json:"exercise,omitempty"`
	Unread   int    `json:"unread,omitempty"` // messages that are damaged on this device, and not in the file
	// Entries are the messages in the log that say that it was exported.
	Entries []string `json:"entries"`
	Words   string   `json:"words"`
}

// ExportRecord writes everything of a conversation to w, as one FHIR document Bundle that carries its proofs, reviewed or not; an exercise is
// marked on every resource. It needs a token of [Node.Reauth]. Before the first byte a message in the conversation says that it is exported. Errors:
// [ErrLocked], [ErrReauth], [ErrNotFound], [ErrInvalid], [ErrReadOnly]; after an error nothing of what was written may be used.
func (n *Node) ExportRecord(ctx context.Context, token, groupID string, w io.Writer) (RecordExport, error) {
	g, err := parseGroupID(groupID)
	if err != nil {
		return RecordExport{}, err
	}
	if g == (group.ID{}) {
		return RecordExport{}, invalid("messages to everybody have no members who could be told of an export; they are found by subject access, and sent to the record")
	}
	in, entries, unread, err := n.exported(ctx, token, g)
	if err != nil {
		return RecordExport{}, err
	}
	x, err := record.New(in, n.recordSources(ctx))
	if err != nil {
		return RecordExport{}, recordError(err)
	}
	out := RecordExport{Exercise: x.Exercise()}
	if out.Entries, err = n.sayDisclosed(ctx, groupID, message.DisclosedRecord, "Record of "+in.Name, entries, nil); err != nil {
		return out, err
	}
	s, err := x.Document(w)
	if err != nil {
		return out, recordError(err)
	}
	out.Messages, out.Proofs, out.Bytes, out.SHA256 = s.Messages, s.Proofs, s.Bytes, hex.EncodeToString(s.SHA256[:])
	out.Words = fmt.Sprintf("%d messages are in the file, %d of them with a proof. The conversation says that it was exported.", out.Messages, out.Proofs)
	if out.Unread = unread; unread > 0 {
		out.Words += fmt.Sprintf(" %d could not be read on this device and are not in the file: synchronise, then export again.", unread)
	}
	if out.Exercise {
		out.Words = "EXERCISE. " + out.Words
	}
	return out, nil
}

// exported collects what an export writes, and which messages it is.
func (n *Node) exported(ctx context.Context, token string, g group.ID) (in record.Incident, entries []message.EntryID, unread int, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.spend(token); err != nil {
		return in, nil, 0, err
	}
	if _, err := n.reviewer(); err != nil {
		return in, nil, 0, err
	}
	if err := n.drainAll(ctx); err != nil { // what was said a moment ago, too
		return in, nil, 0, err
	}
	if n.open == nil {
		return in, nil, 0, n.lockedError()
	}
	in, unread, err = n.recordIncident(ctx, g, everyMessage, func(id ledger.ID, k message.Kind) {
		if k != message.KindReceipt { // what devices say of messages goes along
			entries = append(entries, message.EntryID(id))
		}
	})
	return in, entries, unread, err
}

// everyMessage wants them all.
func everyMessage(ledger.ID, message.Message) bool { return true }

// recordError is an error of the record package for the callers of the node.
func recordError(err error) error {
	switch {
	case errors.Is(err, ErrLocked), errors.Is(err, ErrWiped):
		return err
	case errors.Is(err, record.ErrExercise), errors.Is(err, record.ErrInvalid):
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return fmt.Errorf("node: the record: %w", err)
}

// recordIncident collects what is wanted of a conversation, as the record package takes it, and refuses one of which it is not known whether it is
// an exercise. n.mu is held and the device is unlocked.
func (n *Node) recordIncident(ctx context.Context, g group.ID, want func(ledger.ID, message.Message) bool, taken func(ledger.ID, message.Kind)) (in record.Incident, unread int, err error) {
	c, err := n.conversation(g)
	if err != nil {
		return in, 0, err
	}
	t := n.track(&c)
	if t.mode == modeUnknown {
		return in, 0, errModeUnknown
	}
	return n.recordOf(ctx, &c, t, want, taken)
}

var errModeUnknown = fmt.Errorf("%w: whether this incident is live or an exercise has not arrived here, or its members say both: synchronise with whoever runs it, or have one of them declare it, or settle which it is", ErrInvalid)

// recordOf is recordIncident of any conversation.
func (n *Node) recordOf(ctx context.Context, c *inbox.Conversation, t *tracker, want func(ledger.ID, message.Message) bool, taken func(ledger.ID, message.Kind)) (in record.Incident, unread int, err error) {
	g := group.ID(c.ID)
	name := [32]byte(g)
	if g == (group.ID{}) {
		name = n.trust.MeshID() // messages to everybody are of no group
	}
	in = record.Incident{Group: name, Name: c.Name, Mode: message.Mode(t.mode), Written: n.cfg.Clock.Now().UTC(), By: n.recordAuthor(n.cred), Device: n.cred.Device,
		Custodian: cmp.Or(n.cfg.Custodian, n.cred.Person.Org), CustodianODS: n.cfg.CustodianODS}
	if in.Name == "" {
		in.Name = "Messages to everybody"
	}
	if in.Custodian == n.cred.Person.Org {
		in.CustodianODS = cmp.Or(in.CustodianODS, n.cred.Claims.ODS)
	}
	in.Items, unread, err = n.recordItems(ctx, g, want, taken)
	return in, unread, err
}

// recordItems reads the opened messages of a conversation, each once.
func (n *Node) recordItems(ctx context.Context, g group.ID, want func(ledger.ID, message.Message) bool, taken func(ledger.ID, message.Kind)) (out []record.Item, unread int, err error) {
	standings := n.open.inbox.Standings(inbox.GroupID(g))
	seen := make(map[ledger.ID]bool)
	shown := make(map[message.EntryID]bool)
	n.open.inbox.Each(inbox.GroupID(g), func(it *inbox.Item) { shown[message.EntryID(it.ID)] = true })
	err = n.scanOpened(prefixMessage, func(o opened) (err error) {
		if o.rec.group != g || o.rec.flags.has(flagPart) || seen[o.rec.as] {
			return nil
		}
		var msg message.Message
		var reason string
		if o.rec.ofReceipts() {
			if msg = n.receiptOf(&o, shown); msg.Content == nil {
				return nil // of nothing that is here
			}
			rec := *o.rec // what it says is signed by place, together with others
			rec.flags, rec.payload = rec.flags&^flagProvable, nil
			o.rec = &rec
		} else if msg, reason, err = o.rec.message(); err != nil {
			return nil // malformed: counted when it was opened
		}
		if !want(o.rec.as, msg) {
			return nil
		}
		seen[o.rec.as] = true
		it, err := n.recordItem(ctx, &o, msg, reason, standings[inbox.EntryID(o.rec.as)])
		if errors.Is(err, errDamagedMessage) {
			n.log.Error("a message cannot be read for the record", "id", o.rec.as, "err", err)
			unread++
			return nil // one bad sector holds up no other
		}
		if err != nil {
			return err
		}
		out = append(out, it)
		if taken != nil {
			taken(o.rec.as, msg.Kind())
		}
		return nil
	})
	return out, unread, err
}

// receiptOf is what an entry of receipts says of the messages of a conversation, as one receipt; empty for nothing. An entry may say of some that
// they were delivered and of others that they were read, which says delivered too: of all of them it then says the lesser. n.mu is held.
func (n *Node) receiptOf(o *opened, of map[message.EntryID]bool) (m message.Message) {
	runs, err := parseReceipts(o.rec.payload)
	if err != nil {
		return m // it was read when it was kept
	}
	state := message.Read
	var ids []message.EntryID
	for i := range runs {
		for _, id := range n.open.places.named(&runs[i], o, true, n.entryAt) {
			if !of[id] {
				continue
			}
			if ids = append(ids, id); stateOf(runs[i].owed) == message.Delivered {
				state = message.Delivered
			}
		}
	}
	slices.SortFunc(ids, func(a, b message.EntryID) int { return bytes.Compare(a[:], b[:]) })
	if ids = slices.Compact(ids); len(ids) == 0 {
		return m
	}
	if len(ids) > message.MaxReceiptEntries {
		n.log.Info("a receipt of more messages than one can name goes to the record with the first of them", "messages", len(ids))
		ids = ids[:message.MaxReceiptEntries]
	}
	return message.NewReceipt(state, ids, time.UnixMilli(int64(o.rec.hlc>>16)).UTC())
}

// errDamagedMessage: what is kept of a message is damaged on this device.
var errDamagedMessage = errors.New("node: what is kept of the message is damaged on this device: synchronise, then try again")

func (n *Node) recordItem(ctx context.Context, o *opened, msg message.Message, reason string, s inbox.Standing) (record.Item, error) {
	e, err := n.logs.Entry(ctx, o.log, o.rec.first)
	if errors.Is(err, ledger.ErrDamaged) {
		return record.Item{}, errDamagedMessage
	}
	if err != nil {
		return record.Item{}, storeError(err)
	}
	it := record.Item{Signed: e.SignedHeader(), Payload: o.rec.payload, Message: msg, Reason: reason, Received: time.UnixMilli(o.rec.received).UTC(),
		Standing: record.Standing{RetractedBy: ledger.ID(s.RetractedBy), Task: s.Task, Ended: s.Ended, Cancelled: s.Cancelled, Until: s.Until}}
	if o.rec.flags.has(flagProvable) {
		it.Opening = o.rec.opening[:]
	}
	c := n.people.credential(o.log.Author)
	if c == nil {
		return it, fmt.Errorf("%w: the credential of its author is not here", errDamagedMessage)
	}
	it.Author = n.recordAuthor(c)
	if o.rec.flags.has(flagRemoved) {
		it.Author.Note = joinNotes(it.Author.Note, "said after they were removed from the group")
	}
	if n.beyondFork(o.log, o.seq) {
		it.Author.Note = joinNotes(it.Author.Note, "the device signed two entries at one place of its log")
	}
	if n.afterClosing(o.log, o.seq) {
		it.Author.Note = joinNotes(it.Author.Note, "stands after the end of its log")
	}
	if r := n.open.queue.reviews[o.rec.as]; r != nil && r.patient.NHSNumber != "" {
		p := r.patient
		it.Patient = &p
	}
	return it, nil
}

func joinNotes(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

// recordAuthor is who a credential says somebody is.
func (n *Node) recordAuthor(c *identity.Credential) record.Author {
	a := record.Author{Person: c.Person, Name: c.Claims.Name, Roles: c.Claims.Roles, Grade: c.Claims.Grade, ODS: c.Claims.ODS}
	if s := standingOf(n.trust.Standing(c, n.cfg.Clock.Now())); s.Words != "" {
		a.Note = s.Words
	}
	return a
}

// recordSources reads proofs and files, one message at a time.
func (n *Node) recordSources(ctx context.Context) record.Sources {
	return record.Sources{
		Proof: func(id ledger.ID) ([]byte, error) {
			proof, err := n.Prove(ctx, id.String())
			if errors.Is(err, ErrUnwitnessed) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrInvalid) {
				return nil, record.ErrNoProof
			}
			return proof, err
		},
		Attachment: func(id ledger.ID) (io.ReadCloser, error) {
			_, file, err := n.OpenAttachment(ctx, id.String())
			if errors.Is(err, ErrNotFound) {
				return nil, record.ErrNoContent
			}
			return file, err
		},
	}
}

// sayDisclosed says in a conversation that messages were exported, in as many messages as that takes, and returns their ids.
func (n *Node) sayDisclosed(ctx context.Context, groupID string, basis message.DisclosedBasis, reference string, entries []message.EntryID, sums []string) ([]string, error) {
	var out []string
	for len(entries) > 0 {
		part := entries[:min(len(entries), message.MaxDisclosed)]
		entries = entries[len(part):]
		m := message.Message{Content: &message.Disclosed{Basis: basis, Reference: cutLine(reference), Entries: part, Sums: sums}}
		sent, err := n.Send(ctx, groupID, m, ledger.Routine.String())
		if err != nil {
			return out, fmt.Errorf("nothing was exported, because the conversation could not be told: %w", err)
		}
		out = append(out, sent.ID)
	}
	return out, nil
}

// cutLine fits a text into a line of a message.
func cutLine(s string) string {
	if len(s) <= message.MaxLine {
		return s
	}
	cut := 0
	for i := range s {
		if i > message.MaxLine {
			break
		}
		cut = i
	}
	return s[:cut]
}
