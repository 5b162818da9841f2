package node

import (
	"cmp"
	"context"

	"tocsin/crypto/group"
	"tocsin/ledger"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

// SettleIncident says for good whether an incident is live or an exercise (mode), where those who run its group say both: by who runs the group, under
// their name. Until then nothing of it is sent to the record or erased. That it is an exercise takes two people who say so. It needs a token of
// [Node.Reauth]. Errors: [ErrLocked], [ErrReauth], [ErrNotFound], [ErrInvalid] also where nobody contests it, [ErrReadOnly].
func (n *Node) SettleIncident(ctx context.Context, token, groupID, mode, reason string) (Sent, error) {
	g, err := parseGroupID(groupID)
	if err != nil {
		return Sent{}, err
	}
	m := message.Mode(mode)
	if m != message.Live && m != message.Exercise {
		return Sent{}, invalid("an incident is %s or %s, not %q", message.Live, message.Exercise, mode)
	}
	said, err := n.settling(ctx, token, inbox.GroupID(g), m)
	if err != nil {
		return Sent{}, err
	}
	said.Reason = message.Clean(reason)
	return n.Send(ctx, groupID, message.Message{Content: said}, ledger.Urgent.String())
}

// settling spends a token and makes the message that settles a contested incident.
func (n *Node) settling(ctx context.Context, token string, g inbox.GroupID, mode message.Mode) (*message.Incident, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.spend(token); err != nil {
		return nil, err
	}
	if err := n.drainAll(ctx); err != nil { // whatever says otherwise has to be named
		return nil, err
	}
	if n.open == nil {
		return nil, n.lockedError()
	}
	c, err := n.conversation(group.ID(g))
	if err != nil {
		return nil, err
	}
	said, contested := n.open.inbox.Settling(g, mode)
	if !contested {
		return nil, invalid("nobody who runs the group says anything else of this incident, so that there is nothing to settle")
	}
	if len(said.Overrules) > message.MaxOverrules {
		return nil, invalid("%d messages say otherwise, and one can overrule %d: take those who go on saying so out of the group, and settle it in another one", len(said.Overrules), message.MaxOverrules)
	}
	said.Name = cmp.Or(said.Name, c.Name)
	return said, nil
}
