package node

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/node/inbox"
)

// CreateGroup makes a group with this device's person as its admin, adds every
// device of the members named, and announces its first epoch, so that the
// members see it at once. Errors: [ErrLocked], [ErrInvalid], [ErrReadOnly].
func (n *Node) CreateGroup(ctx context.Context, spec GroupSpec) (inbox.Conversation, error) {
	kind, err := parseGroupKind(spec.Kind)
	if err != nil {
		return inbox.Conversation{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.writable(); err != nil {
		return inbox.Conversation{}, err
	}
	members, err := n.resolveAll(spec.Members)
	if err != nil {
		return inbox.Conversation{}, err
	}
	id, payload, err := n.open.keyring.CreateOp(kind, spec.Name)
	if err != nil {
		return inbox.Conversation{}, invalid("%v", err)
	}
	if err := n.commitOp(ctx, payload); err != nil {
		return inbox.Conversation{}, err
	}
	if err := n.addDevices(ctx, id, members); err != nil {
		return inbox.Conversation{}, err
	}
	n.showGroup(id)
	n.events.publish(Event{Type: EventGroup, Group: id.String()})
	return n.conversation(id)
}

func parseGroupKind(s string) (group.Kind, error) {
	for _, k := range []group.Kind{group.KindDirect, group.KindTeam, group.KindIncident} {
		if k.String() == s {
			return k, nil
		}
	}
	return 0, invalid("a group is direct, team or incident, not %q", s)
}

// devicesFor finds the group (hex id) and the devices of the member that a change
// is about. It fails where nothing can be sent. n.mu is held.
func (n *Node) devicesFor(groupID, member string) (group.ID, []identity.LogID, error) {
	id, err := parseGroupID(groupID)
	if err != nil {
		return id, nil, err
	}
	if err := n.writable(); err != nil {
		return id, nil, err
	}
	if _, ok := n.open.keyring.Group(id); !ok {
		return id, nil, noGroup(id)
	}
	devices, err := n.people.resolve(member)
	return id, devices, err
}

// AddMember adds every device of a person to a group and announces a new
// epoch. The newcomers read nothing older (protocol §4, rule 5).
func (n *Node) AddMember(ctx context.Context, groupID, member string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	id, members, err := n.devicesFor(groupID, member)
	if err != nil {
		return err
	}
	if err := n.addDevices(ctx, id, members); err != nil {
		return err
	}
	n.showGroup(id)
	n.events.publish(Event{Type: EventGroup, Group: groupID})
	return nil
}

// resolveAll finds the devices of every member named.
func (n *Node) resolveAll(members []string) ([]identity.LogID, error) {
	var out []identity.LogID
	for _, m := range members {
		logs, err := n.people.resolve(m)
		if err != nil {
			return nil, err
		}
		out = append(out, logs...)
	}
	return out, nil
}

// addDevices writes an add for every device that is not yet a member and
// announces the epoch at once: whoever changes the view is the one about to
// send.
func (n *Node) addDevices(ctx context.Context, id group.ID, devices []identity.LogID) error {
	for _, d := range devices {
		if n.isMember(id, d) {
			continue
		}
		if err := n.mayAdd(id, d); err != nil {
			return err
		}
		payload, err := n.open.keyring.AddOp(id, d, group.RoleMember)
		if err != nil {
			return invalid("%v", err)
		}
		if err := n.commitOp(ctx, payload); err != nil {
			return err
		}
	}
	n.open.eager[id] = true // also where announcing fails now
	return n.ensureEpoch(ctx, id, true)
}

func (n *Node) isMember(id group.ID, d identity.LogID) bool {
	v, _ := n.open.keyring.Group(id)
	d = n.open.keyring.Newest(d)
	for _, m := range v.Members {
		if m.Device == d {
			return true
		}
	}
	return false
}

// commitOp appends the entry that proves an op and then learns the op. The
// payload itself travels only in the sealed state of announcements.
func (n *Node) commitOp(ctx context.Context, payload []byte) error {
	op, err := n.signOp(ctx, payload)
	if err != nil {
		return err
	}
	changes, err := n.open.keyring.LearnOp(op)
	if err != nil {
		return fmt.Errorf("node: our own group change: %w", err)
	}
	return n.saveGroup(changes)
}

// signOp appends the entry that proves an op.
func (n *Node) signOp(ctx context.Context, payload []byte) (op group.SignedOp, err error) {
	var opening [32]byte
	if _, err := io.ReadFull(n.rand, opening[:]); err != nil {
		return op, err
	}
	h, err := n.reserve(ledger.KindEpoch, ledger.Routine)
	if err != nil {
		return op, err
	}
	h.Commit = group.Commit(opening, payload)
	e, err := n.commitEntry(ctx, h, group.OpBody())
	if err != nil {
		return op, err
	}
	return group.SignedOp{SignedHeader: e.SignedHeader(), Opening: opening, Payload: payload}, nil
}

// secureRand is where a node's randomness comes from.
func secureRand() io.Reader { return rand.Reader }
