package node

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"tocsin/crypto/group"
	"tocsin/ledger"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

// fits asks the boards whether something can be said now in a group. n.mu is held.
func (n *Node) fits(id group.ID, content message.Content, priority string) error {
	if n.open == nil {
		return n.lockedError()
	}
	v, ok := n.open.keyring.Group(id)
	if !ok {
		return noGroup(id)
	}
	role, _ := v.Role(n.self)
	now := n.cfg.Clock.Now()
	if n.cfg.Unsafe.NoRules {
		return nil
	}
	err := n.open.inbox.Check(inbox.Saying{
		Group: inbox.GroupID(id), From: n.authorOf(n.self, now), Admin: role == group.RoleAdmin,
		Content: content, Priority: priority, Now: now,
	})
	if errors.Is(err, inbox.ErrRefused) {
		return invalid("%s", strings.TrimPrefix(err.Error(), inbox.ErrRefused.Error()+": "))
	}
	return err
}

// Acknowledge tells the members of its group that this reader has taken note of a
// message: a receipt of the reader's own press, at the message's priority, but urgent for what is stat: what calls a locked device is to be
// somebody's call, and not each answer to it. id is the entry's, in hexadecimal. Errors: [ErrLocked], [ErrNotFound], [ErrInvalid].
func (n *Node) Acknowledge(ctx context.Context, id string) (Sent, error) {
	it, err := n.message(id)
	if err != nil {
		return Sent{}, err
	}
	if it.Own {
		return Sent{}, invalid("this message is your own: it is for others to acknowledge")
	}
	if it.Broadcast {
		return Sent{}, invalid("a message to everybody is not acknowledged; answer its author in a conversation")
	}
	receipt := message.NewReceipt(message.Acknowledged, []message.EntryID{message.EntryID(it.ID)}, n.cfg.Clock.Now())
	priority := it.Priority
	if priority == ledger.Stat.String() {
		priority = ledger.Urgent.String()
	}
	return n.Send(ctx, hex.EncodeToString(it.Group[:]), receipt, priority)
}

// message finds a shown message by its entry id.
func (n *Node) message(id string) (inbox.Item, error) {
	raw, err := hex.DecodeString(id)
	if err != nil || len(raw) != len(inbox.EntryID{}) {
		return inbox.Item{}, invalid("an entry id is 64 hexadecimal characters")
	}
	var it inbox.Item
	err = n.reads(func(in *inbox.Inbox) error {
		var ok bool
		if it, ok = in.Message(inbox.EntryID(raw)); !ok {
			return fmt.Errorf("%w: no message %s is shown here; look its id up with `tocsin watch` or in the conversation", ErrNotFound, id)
		}
		return nil
	})
	return it, err
}

// reads calls f with the read model of an unlocked device.
func (n *Node) reads(f func(in *inbox.Inbox) error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return n.lockedError()
	}
	return f(n.open.inbox)
}

// Board is everything that stands in one conversation, apart from what was said.
type Board struct {
	// Incident is nil where none was made.
	Incident   *inbox.Incident
	CallOuts   []inbox.CallOut
	Alerts     []inbox.Alert
	Casualties inbox.CasualtyBoard
	Tasks      []inbox.Task
	Decisions  []inbox.Decision
	Duties     []inbox.Duty
	// Reports are the M/ETHANE reports, those that stand first.
	Reports []inbox.Item
	// Exercise: everything here belongs to an exercise.
	Exercise bool
	// Grace is the declaration in force that the incident carried; nil for none.
	Grace *Declared
	// Cards are the action cards of what this reader has to do now; Carded are the roles that have one.
	Cards  []message.Card
	Carded []string
	// Reader is the person whose device this is; Members are the conversation's.
	Reader  string
	Members []inbox.Author
}

// Board returns the boards of a group (hex id). Errors: [ErrLocked], [ErrNotFound].
func (n *Node) Board(groupID string) (Board, error) {
	id, err := parseGroupID(groupID)
	if err != nil {
		return Board{}, err
	}
	var b Board
	err = n.reads(func(in *inbox.Inbox) error {
		g := inbox.GroupID(id)
		c, ok := in.Conversation(g)
		if !ok {
			return noGroup(id)
		}
		b.Exercise, b.Reports, b.Reader, b.Members = c.Exercise, in.Reports(g), n.cred.Person.String(), c.Members
		if i, ok := in.Incident(g); ok {
			b.Incident, b.Grace = &i, n.grace(&i)
		}
		b.CallOuts, b.Alerts, b.Casualties = in.CallOuts(g), in.Alerts(g), in.Casualties(g)
		b.Tasks, b.Decisions, b.Duties = in.Tasks(g), in.Decisions(g), in.Duties(g, n.cfg.Clock.Now())
		cards, err := n.cards()
		if err != nil {
			return err
		}
		for _, card := range cards {
			b.Carded = append(b.Carded, card.Role)
		}
		b.Cards = cardsFor(cards, b.Reader, b.Duties, b.Incident)
		return nil
	})
	return b, err
}

// CallOut returns one call-out with its tally, by entry id.
func (n *Node) CallOut(id string) (out inbox.CallOut, err error) {
	it, err := n.message(id)
	if err != nil {
		return out, err
	}
	err = n.reads(func(in *inbox.Inbox) error {
		var ok bool
		if out, ok = in.CallOut(it.ID); !ok {
			return invalid("message %s is no call-out", id)
		}
		return nil
	})
	return out, err
}

// Search looks through all opened messages.
func (n *Node) Search(q inbox.Query) (found []inbox.Item, err error) {
	err = n.reads(func(in *inbox.Inbox) error {
		found = in.Search(q)
		in.Vacancies(found, n.cfg.Clock.Now())
		return nil
	})
	return found, err
}

// Draft says what in a text may identify a patient, by this device's clock.
func (n *Node) Draft(text string) []message.Found {
	return message.Identifiers(text, n.cfg.Clock.Now())
}
