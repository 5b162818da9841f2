package node

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
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
	in, unread, err = n.recordIncident(ctx, g, everyMessage, func(id ledger.ID) { entries = append(entries, message.EntryID(id)) })
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
func (n *Node) recordIncident(ctx context.Context, g group.ID, want func(ledger.ID, message.Message) bool, taken func(ledger.ID)) (in record.Incident, unread int, err error) {
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

var errModeUnknown = fmt.Errorf("%w: whether this incident is live or an exercise has not arrived here, or its members say both: synchronise with whoever runs it, or declare it", ErrInvalid)

// recordOf is recordIncident of any conversation.
func (n *Node) recordOf(ctx context.Context, c *inbox.Conversation, t *tracker, want func(ledger.ID, message.Message) bool, taken func(ledger.ID)) (in record.Incident, unread int, err error) {
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
func (n *Node) recordItems(ctx context.Context, g group.ID, want func(ledger.ID, message.Message) bool, taken func(ledger.ID)) (out []record.Item, unread int, err error) {
	standings := n.open.inbox.Standings(inbox.GroupID(g))
	seen := make(map[ledger.ID]bool)
	err = n.scanOpened(prefixMessage, func(o opened) error {
		if o.rec.group != g || o.rec.flags.has(flagPart) || !o.rec.flags.has(flagBroadcast) && isReceipts(o.rec.payload) || seen[o.rec.as] {
			return nil
		}
		msg, reason, err := o.rec.message()
		if err != nil || !want(o.rec.as, msg) {
			return nil // malformed: counted when it was opened
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
			taken(o.rec.as)
		}
		return nil
	})
	return out, unread, err
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
