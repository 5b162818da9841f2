package node

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tocsin/crypto/group"
	"tocsin/crypto/vault"
	"tocsin/ledger"
	"tocsin/node/inbox"
	"tocsin/node/message"
	"tocsin/node/record"
)

// maxReview is how many messages one call reviews.
const maxReview = 4096

// maxName bounds a patient's name, in bytes.
const maxName = 100

// attribution checks a patient as a clinician typed them. Errors repeat nothing of it.
func (p *Patient) attribution(now time.Time) (record.Attribution, error) {
	a := record.Attribution{NHSNumber: digitsOf(p.NHSNumber), Traced: p.Traced, Family: message.Clean(p.Family), Given: message.Clean(p.Given), Born: strings.TrimSpace(p.Born)}
	if a == (record.Attribution{}) {
		return a, nil
	}
	switch {
	case a.NHSNumber == "":
		return a, invalid("a patient is named by their NHS number: without one, leave the message without a patient, or use the number of the casualty's tag")
	case len(a.NHSNumber) != 10 || !message.ValidNHSNumber(a.NHSNumber):
		return a, invalid("this is no NHS number: its check digit does not fit; read it again from the wristband")
	case len(a.Family) > maxName || len(a.Given) > maxName || strings.ContainsAny(a.Family+a.Given, "\n\t"):
		return a, invalid("a name is one line of at most %d bytes", maxName)
	}
	if a.Born != "" {
		born, err := time.Parse(time.DateOnly, a.Born)
		if err != nil || born.After(now) || born.Year() < 1850 {
			return a, invalid("a date of birth is one such as 1980-12-31, and in the past")
		}
	}
	return a, nil
}

// reviewing calls change for each message that is named, and makes what it does durable in one commit. n.mu is held until it returns.
func (n *Node) reviewing(groupID string, ids []string, change func(t *tracker, id ledger.ID, it *inbox.Item, now review) (*review, error)) (TransferCounts, error) {
	g, err := parseGroupID(groupID)
	if err != nil {
		return TransferCounts{}, err
	}
	if len(ids) == 0 || len(ids) > maxReview {
		return TransferCounts{}, invalid("name 1 to %d messages", maxReview)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return TransferCounts{}, n.lockedError()
	}
	return n.review(g, ids, change)
}

// review is reviewing where n.mu is held and the device is unlocked.
func (n *Node) review(g group.ID, ids []string, change func(*tracker, ledger.ID, *inbox.Item, review) (*review, error)) (TransferCounts, error) {
	c, err := n.conversation(g)
	if err != nil {
		return TransferCounts{}, err
	}
	t := n.track(&c)
	said := n.queuedIn(c.ID)
	after := make(map[ledger.ID]*review)
	var changes []vault.Change
	for _, s := range ids {
		id, err := ledger.ParseID(s)
		if err != nil {
			return TransferCounts{}, invalid("%q is no message id", s)
		}
		it := said[id]
		if it == nil {
			return TransferCounts{}, fmt.Errorf("%w: no message %s of this conversation goes to the record", ErrNotFound, s)
		}
		var now review
		if r := n.open.queue.reviews[id]; r != nil {
			now = *r
		}
		next, err := change(t, id, it, now)
		if err != nil {
			return TransferCounts{}, err
		}
		if *next == (review{}) {
			continue // nothing was said of it here
		}
		raw, err := next.marshal()
		if err != nil {
			return TransferCounts{}, fmt.Errorf("node: what was reviewed cannot be kept: %w", err)
		}
		after[id] = next
		changes = append(changes, secretChange(reviewKey(id), raw))
	}
	if err := n.cfg.Vault.Commit(changes...); err != nil {
		return TransferCounts{}, fmt.Errorf("%w: the vault's journal: %w", ErrReadOnly, err)
	}
	for id, r := range after {
		n.open.queue.reviews[id] = r
	}
	n.events.publish(Event{Type: EventTransfer, Group: g.String()})
	return t.counts(), nil
}

// counts are those of one conversation.
func (t *tracker) counts() (out TransferCounts) {
	t.n.open.inbox.Each(inbox.GroupID(t.group), func(it *inbox.Item) {
		if queued(it.Message.Kind()) {
			out.add(t.state(ledger.ID(it.ID)))
		}
	})
	return out
}

// queuedIn are the messages of a conversation that go to the record, by id.
func (n *Node) queuedIn(g inbox.GroupID) map[ledger.ID]*inbox.Item {
	out := make(map[ledger.ID]*inbox.Item)
	n.open.inbox.Each(g, func(it *inbox.Item) {
		if queued(it.Message.Kind()) {
			one := *it
			out[ledger.ID(it.ID)] = &one
		}
	})
	return out
}

// Attribute notes that a clinician has looked at messages, and which patient they are about; the zero Patient is for none. Attributing one
// anew corrects it, and takes its signature back, until it stands in the record. Errors: [ErrLocked], [ErrNotFound], [ErrInvalid] also where the number
// is wrong, [ErrReadOnly].
func (n *Node) Attribute(groupID string, p Patient, ids ...string) (TransferCounts, error) {
	now := n.cfg.Clock.Now()
	a, err := p.attribution(now)
	if err != nil {
		return TransferCounts{}, err
	}
	return n.reviewing(groupID, ids, func(t *tracker, id ledger.ID, _ *inbox.Item, r review) (*review, error) {
		who, err := n.reviewer()
		if err != nil {
			return nil, err
		}
		if err := t.changeable(id); err != nil {
			return nil, err
		}
		if err := n.samePatient(t.group, a, ids); err != nil {
			return nil, err
		}
		if !r.at.IsZero() && r.patient != a && r.corrected < 255 {
			r.corrected++
		}
		if r.patient != a {
			r.signer, r.signed = "", time.Time{}
		}
		r.patient, r.by, r.at, r.refused = a, who.String(), now, ""
		return &r, nil
	})
}

// changeable refuses to change what is on its way to the record or there.
func (t *tracker) changeable(id ledger.ID) error {
	switch state := t.state(id); {
	case t.receipt(id) != nil:
		return invalid("message %s stands in the record already: correct it there", id)
	case state == TransferSending:
		return invalid("message %s is being sent: wait until that is over, or stop it", id)
	}
	return nil
}

// samePatient refuses one NHS number for people of different names or birthdays in a conversation: one of them is somebody else. What is attributed
// anew in the same act does not count.
func (n *Node) samePatient(g group.ID, a record.Attribution, anew []string) error {
	if a.NHSNumber == "" {
		return nil
	}
	var err error
	differ := func(x, y string) bool { return x != "" && y != "" && !strings.EqualFold(x, y) }
	n.open.inbox.Each(inbox.GroupID(g), func(it *inbox.Item) {
		r := n.open.queue.reviews[ledger.ID(it.ID)]
		if r == nil || r.patient.NHSNumber != a.NHSNumber || err != nil || slices.Contains(anew, ledger.ID(it.ID).String()) {
			return
		}
		if differ(r.patient.Family, a.Family) || differ(r.patient.Given, a.Given) || differ(r.patient.Born, a.Born) {
			err = invalid("another message here has this NHS number with another name or date of birth (message %s): check both", ledger.ID(it.ID))
		}
	})
	return err
}

// SignOff signs that messages go to the record: all that are named, or all that are reviewed if none is. It needs a token of [Node.Reauth].
// Messages that nobody has looked at are refused. Errors: [ErrLocked], [ErrReauth], [ErrNotFound], [ErrInvalid], [ErrReadOnly].
func (n *Node) SignOff(token, groupID string, ids ...string) (TransferCounts, error) {
	g, err := parseGroupID(groupID)
	if err != nil {
		return TransferCounts{}, err
	}
	if len(ids) > maxReview {
		return TransferCounts{}, invalid("name at most %d messages", maxReview)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.spend(token); err != nil {
		return TransferCounts{}, err
	}
	who, err := n.reviewer()
	if err != nil {
		return TransferCounts{}, err
	}
	if c, err := n.conversation(g); err != nil {
		return TransferCounts{}, err
	} else if n.track(&c).mode == string(message.Exercise) {
		return TransferCounts{}, errExercise
	}
	if len(ids) == 0 {
		if ids, err = n.inState(g, TransferReviewed); err != nil {
			return TransferCounts{}, err
		}
		if len(ids) == 0 {
			return TransferCounts{}, invalid("nothing is reviewed and not signed off: look at the messages first")
		}
	}
	now := n.cfg.Clock.Now()
	return n.review(g, ids, func(t *tracker, id ledger.ID, _ *inbox.Item, r review) (*review, error) {
		switch {
		case t.receipt(id) != nil, t.state(id) == TransferSending:
			return &r, nil
		case r.at.IsZero():
			return nil, invalid("nobody has looked at message %s: say which patient it is about, or that it is about none", id)
		}
		r.signer, r.signed, r.refused = who.String(), now, ""
		return &r, nil
	})
}

// errExercise refuses to send what never happened.
var errExercise = fmt.Errorf("%w: %w", ErrInvalid, record.ErrExercise)

// inState are the messages of a conversation in one state. n.mu is held and the device is unlocked.
func (n *Node) inState(g group.ID, state string) (ids []string, err error) {
	c, err := n.conversation(g)
	if err != nil {
		return nil, err
	}
	t := n.track(&c)
	n.open.inbox.Each(c.ID, func(it *inbox.Item) {
		if id := ledger.ID(it.ID); queued(it.Message.Kind()) && t.state(id) == state && len(ids) < maxReview {
			ids = append(ids, id.String())
		}
	})
	return ids, nil
}

// WithdrawSignOff takes signatures back, until the messages are sent. Errors: [ErrLocked], [ErrNotFound], [ErrInvalid], [ErrReadOnly].
func (n *Node) WithdrawSignOff(groupID string, ids ...string) (TransferCounts, error) {
	return n.reviewing(groupID, ids, func(t *tracker, id ledger.ID, _ *inbox.Item, r review) (*review, error) {
		if err := t.changeable(id); err != nil {
			return nil, err
		}
		if !r.signedOff() {
			return nil, invalid("message %s is not signed off", id)
		}
		r.signer, r.signed, r.refused = "", time.Time{}, ""
		return &r, nil
	})
}
