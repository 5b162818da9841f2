package node

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strings"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

// An incident is declared twice, for two readers. The message in its group moves the group's board, and who runs the group may send it: any
// clinician who made one. The declaration of an authority or a registrar (protocol §1) moves trust: credentials that run out count
// 14 days more (§9). The message can carry the declaration; then both happen together, on every device that has either. A message
// without one, whoever sent it, moves nothing of trust, and neither does an exercise.

// newInbox returns an empty read model that knows whose device this is.
func (n *Node) newInbox() *inbox.Inbox {
	in := inbox.New()
	in.SetReader(n.cred.Person.String())
	return in
}

// ran are the devices that run an incident's group or ever did.
func (n *Node) ran(v *group.View) (out []string) {
	if v.Kind != group.KindIncident {
		return nil
	}
	note := func(d identity.LogID) {
		for _, log := range []identity.LogID{d, n.open.keyring.Newest(d)} {
			if s := log.String(); !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	note(v.Creator)
	for _, op := range n.open.keyring.Ops(v.ID) {
		switch {
		case op.Void:
		case op.Op.Add != nil && op.Op.Add.Role == group.RoleAdmin:
			note(op.Op.Add.Device)
		case op.Op.Role != nil && op.Op.Role.Role == group.RoleAdmin:
			note(op.Op.Role.Device)
		}
	}
	for _, m := range v.Members { // those whom an authority appointed, too
		if m.Role == group.RoleAdmin {
			note(m.Device)
		}
	}
	return out
}

// prepare completes what is about to be said with what this device knows, and refuses an incident whose declaration would not be taken.
func (n *Node) prepare(m *message.Message) error {
	switch c := m.Content.(type) {
	case *message.Decision:
		entry := *c
		m.Content = &entry
		if self := n.cred.Person.String(); entry.Loggist == "" && entry.Decider != message.PersonAddress(self) {
			entry.Loggist = message.PersonAddress(self)
		}
	case *message.Incident:
		if len(c.Statement) > 0 {
			return n.declares(c)
		}
	}
	return nil
}

// following has an entry of the decision log name the one before it. Other entries come in whenever n.mu is let go of, so that whatever may
// wait is done first: until the entry is appended none can come between. n.mu is held.
func (n *Node) following(ctx context.Context, id group.ID, m *message.Message, priority string) ([]byte, error) {
	if err := n.prepareSend(ctx, id); err != nil {
		return nil, err
	}
	if err := n.ensureEpoch(ctx, id, priority == ledger.Stat.String()); err != nil {
		return nil, err
	}
	m.Content.(*message.Decision).After = message.EntryID(n.open.inbox.LastDecision(inbox.GroupID(id)))
	_, payload, err := n.encode(m, priority)
	return payload, err
}

// declares refuses the declaration of an incident's message, or its end, that would change nothing or is of another incident. Nothing of
// trust changes yet: the message goes first, so that whatever is declared stands on a board with who declared it.
func (n *Node) declares(c *message.Incident) error {
	eff, err := n.reread(c.Statement)
	if err == nil {
		err = n.tries(c.Statement)
	}
	switch {
	case err != nil:
		return invalid("the declaration that goes with the incident is refused: %v", err)
	case eff.Incident == nil:
		return invalid("the statement that goes with the incident is no declaration: take the file that 'tocsin authority declare' or 'stand-down' wrote")
	case eff.Incident.Declared != (c.State == message.IncidentDeclared):
		return invalid("the statement says that the incident %s, and the message says %s: take the other file", declaredWords(eff.Incident), c.State)
	case !strings.EqualFold(strings.TrimSpace(eff.Incident.Name), strings.TrimSpace(c.Name)):
		return invalid("the statement is about the incident %q, and the message about %q: take the file of this incident, or name the incident as the statement does", eff.Incident.Name, c.Name)
	}
	return nil
}

// tries takes a statement beside all that are in force, in a store that is thrown away.
func (n *Node) tries(raw []byte) error {
	fresh, err := identity.NewTrustStore(n.trust.Genesis())
	if err != nil {
		return err
	}
	now := n.cfg.Clock.Now()
	for _, st := range n.trust.Statements() {
		if _, err := fresh.Take(st, now); err != nil {
			n.log.Error("a statement in force is refused now", "err", err)
		}
	}
	_, err = fresh.Take(raw, now)
	return err
}

// declared carries the declaration of an incident's message, which was taken as it was shown, in this device's log. The message carries it,
// too: what fails here is made up for at the next unlock, and is no failure of the message. n.mu is held.
func (n *Node) declared(ctx context.Context, c message.Content) {
	if i, ok := c.(*message.Incident); !ok || len(i.Statement) == 0 || n.writable() != nil {
		return
	}
	if err := n.publishPending(context.WithoutCancel(ctx)); err != nil {
		n.log.Warn("the declaration of an incident went with its message and stands in no log of its own yet", "err", err)
	}
}

func declaredWords(i *identity.Incident) string {
	if i.Declared {
		return "is declared"
	}
	return "is stood down"
}

// heedDeclaration takes the declaration that an incident's message carries, which its sender's log carries too: whichever
// comes first counts. n.mu is held.
func (n *Node) heedDeclaration(o opened) {
	c, ok := o.msg.Content.(*message.Incident)
	if !ok || len(c.Statement) == 0 {
		return
	}
	_, err := n.take(c.Statement, false)
	switch {
	case errors.Is(err, identity.ErrPostDated):
		if !n.keepLater(deferred{raw: c.Statement}) {
			n.log.Warn("the declaration of an incident is post-dated, and too many wait for their date already")
		}
	case err != nil && !errors.Is(err, identity.ErrEarly):
		n.log.Warn("an incident came with a declaration that is refused: nothing of trust changes", "err", err)
	}
}

// grace is the declaration in force that a message of the incident carried; nil for none. n.mu is held.
func (n *Node) grace(i *inbox.Incident) *Declared {
	inForce := n.trust.Declared(n.cfg.Clock.Now())
	if len(inForce) == 0 {
		return nil
	}
	for _, s := range slices.Backward(i.Steps) {
		if len(s.Content.Statement) == 0 {
			continue
		}
		eff, err := n.reread(s.Content.Statement)
		if err != nil || eff.Incident == nil {
			continue
		}
		for _, d := range inForce {
			if d.Org == eff.Incident.Org && d.Name == eff.Incident.Name && d.Number == eff.Incident.Number {
				return &declaredOf([]identity.Incident{d})[0]
			}
		}
	}
	return nil
}

// Timeline returns what happened in a conversation (hex id), by when it happened; texts and files only if all are asked for.
// Errors: [ErrLocked], [ErrNotFound], [ErrInvalid].
func (n *Node) Timeline(groupID string, all bool) (out []inbox.TimelineEvent, err error) {
	id, err := parseGroupID(groupID)
	if err != nil {
		return nil, err
	}
	err = n.reads(func(in *inbox.Inbox) error {
		if _, ok := in.Conversation(inbox.GroupID(id)); !ok {
			return noGroup(id)
		}
		out = in.Timeline(inbox.GroupID(id), all)
		return nil
	})
	return out, err
}

// recall tells listeners of earlier messages that are for this reader from now on. n.mu is held.
func (n *Node) recall(g group.ID, change inbox.Change) {
	for _, id := range change.Calls {
		it, ok := n.open.inbox.Message(id)
		if !ok {
			continue
		}
		e := Event{Type: EventMessage, Group: g.String(), ID: hex.EncodeToString(id[:]), Exercise: it.Exercise, ForMe: true}
		if it.Priority != "routine" {
			e.Priority = it.Priority
		}
		n.events.publish(e)
	}
}

// unheld names whom of a message's addressees nobody is, for people. n.mu is held.
func (n *Node) unheld(id group.ID, m message.Message) (out []string) {
	to := m.For
	switch c := m.Content.(type) {
	case *message.Task:
		to = []string{c.To}
	case *message.Alert:
		to = c.To[:1]
	}
	for _, address := range n.open.inbox.Unheld(inbox.GroupID(id), to, n.cfg.Clock.Now()) {
		out = append(out, message.AddressWords(address))
	}
	return out
}
