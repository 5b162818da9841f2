package node

import (
	"context"
	"time"

	"tocsin/crypto/group"
	"tocsin/ledger"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

// HoldView is a hold on a conversation: while one is in force nothing there is erased, on any device that has heard of it.
type HoldView struct {
	ID        string    `json:"id"`
	Basis     string    `json:"basis"` // legal, clinical or inquiry
	Reason    string    `json:"reason"`
	By        string    `json:"by"` // display name
	Person    string    `json:"person"`
	At        time.Time `json:"at"`
	Ended     bool      `json:"ended"`
	EndedBy   string    `json:"ended_by,omitempty"`
	EndedAt   time.Time `json:"ended_at,omitzero"`
	EndReason string    `json:"end_reason,omitempty"`
}

// Holds returns the holds on a conversation, in order. Errors: [ErrLocked], [ErrNotFound], [ErrInvalid].
func (n *Node) Holds(groupID string) ([]HoldView, error) {
	g, err := parseGroupID(groupID)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return nil, n.lockedError()
	}
	if _, err := n.conversation(g); err != nil {
		return nil, err
	}
	return n.holds(g), nil
}

// holds is Holds where n.mu is held and the device is unlocked.
func (n *Node) holds(g group.ID) []HoldView {
	out := []HoldView{}
	for _, h := range n.open.inbox.Holds(inbox.GroupID(g)) {
		v := HoldView{ID: ledger.ID(h.Item.ID).String(), Basis: string(h.Content.Basis), Reason: h.Content.Reason, By: h.Item.From.Name, Person: h.Item.From.Person, At: h.Item.Sent}
		if h.End != nil {
			v.Ended, v.EndedBy, v.EndedAt = true, h.End.From.Name, h.End.Sent
			if end, ok := h.End.Message.Content.(*message.HoldEnd); ok {
				v.EndReason = end.Reason
			}
		}
		out = append(out, v)
	}
	return out
}

// held reports whether a hold on a conversation is in force. n.mu is held and the device is unlocked.
func (n *Node) held(g group.ID) bool {
	for _, h := range n.open.inbox.Holds(inbox.GroupID(g)) {
		if h.End == nil {
			return true
		}
	}
	return false
}

// PlaceHold tells the group that nothing of it is to be erased until the hold is ended; basis is legal, clinical or inquiry. It needs a token of
// [Node.Reauth]. Errors: [ErrLocked], [ErrReauth], [ErrNotFound], [ErrInvalid], [ErrReadOnly].
func (n *Node) PlaceHold(ctx context.Context, token, groupID, basis, reason string) (Sent, error) {
	return n.sayWithToken(ctx, token, groupID, &message.Hold{Basis: message.HoldBasis(basis), Reason: message.Clean(reason)})
}

// EndHold ends a hold: by who placed it, or who runs the group. It needs a token of [Node.Reauth]. What is due then is erased within the hour. Errors:
// as of [Node.PlaceHold].
func (n *Node) EndHold(ctx context.Context, token, groupID, holdID, reason string) (Sent, error) {
	id, err := ledger.ParseID(holdID)
	if err != nil {
		return Sent{}, invalid("%q is no message id", holdID)
	}
	return n.sayWithToken(ctx, token, groupID, &message.HoldEnd{Hold: message.EntryID(id), Reason: message.Clean(reason)})
}

// OrderErasure orders the devices of all members to erase messages: once they stand in the record, and no hold is in force. It needs a token of
// [Node.Reauth], and is for who runs the group, and for authors of their own messages. This device obeys at once. Errors: as of [Node.PlaceHold].
func (n *Node) OrderErasure(ctx context.Context, token, groupID, reason string, ids ...string) (Sent, error) {
	order := &message.Erase{Reason: message.Clean(reason)}
	for _, s := range ids {
		id, err := ledger.ParseID(s)
		if err != nil {
			return Sent{}, invalid("%q is no message id", s)
		}
		order.Entries = append(order.Entries, message.EntryID(id))
	}
	sent, err := n.sayWithToken(ctx, token, groupID, order)
	if err == nil {
		n.transfers.retainSoon()
	}
	return sent, err
}

// sayWithToken spends a token and says something in a group.
func (n *Node) sayWithToken(ctx context.Context, token, groupID string, c message.Content) (Sent, error) {
	n.mu.Lock()
	err := n.spend(token)
	n.mu.Unlock()
	if err != nil {
		return Sent{}, err
	}
	return n.Send(ctx, groupID, message.Message{Content: c}, ledger.Routine.String())
}

// heedKeeping has what is due looked at again once something came that changes it. n.mu is held.
func (n *Node) heedKeeping(o opened) {
	switch o.msg.Kind() {
	case message.KindErase, message.KindHoldEnd, message.KindTransferred:
		n.transfers.retainSoon()
	}
}
