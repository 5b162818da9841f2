package node

import (
	"context"
	"errors"
	"fmt"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
)

// Member is one device of a group, with the person behind it.
type Member struct {
	Person
	Role string `json:"role"` // admin or member
	// Excluded: revoked, wiped or at its end, so that it is given no new key.
	Excluded bool `json:"excluded,omitempty"`
}

// Roster returns the devices of a group, in order of seniority. Errors:
// [ErrLocked], [ErrNotFound], [ErrInvalid].
func (n *Node) Roster(groupID string) ([]Member, error) {
	id, err := parseGroupID(groupID)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return nil, n.lockedError()
	}
	v, ok := n.open.keyring.Group(id)
	if !ok {
		return nil, noGroup(id)
	}
	out := make([]Member, 0, len(v.Members))
	near := n.neighbours()
	for _, m := range v.Members {
		out = append(out, Member{Person: n.personOf(m.Device, near), Role: m.Role.String(), Excluded: n.excluded(m.Device)})
	}
	return out, nil
}

// RemoveMember removes every device of a person from a group and announces a new
// epoch at once: what is sent after is not for them. In a partition that has not
// heard of it they read on (protocol §4).
func (n *Node) RemoveMember(ctx context.Context, groupID, member string) error {
	return n.changeGroup(ctx, groupID, member, func(id group.ID, d identity.LogID) ([]byte, error) {
		return n.open.keyring.RemoveOp(id, d)
	})
}

// SetRole makes every device of a person an admin or a plain member of a group.
func (n *Node) SetRole(ctx context.Context, groupID, member, role string) error {
	var want group.Role
	for _, r := range []group.Role{group.RoleMember, group.RoleAdmin} {
		if r.String() == role {
			want = r
		}
	}
	if want == 0 {
		return invalid("a role in a group is admin or member, not %q", role)
	}
	return n.changeGroup(ctx, groupID, member, func(id group.ID, d identity.LogID) ([]byte, error) {
		return n.open.keyring.RoleOp(id, d, want)
	})
}

// changeGroup writes an operation for every device of a member and announces.
func (n *Node) changeGroup(ctx context.Context, groupID, member string, op func(group.ID, identity.LogID) ([]byte, error)) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	id, devices, err := n.membersFor(groupID, member)
	if err != nil {
		return err
	}
	done := 0
	for _, d := range devices {
		if !n.isMember(id, d) {
			continue
		}
		payload, err := op(id, d)
		if err != nil {
			return invalid("%v", err)
		}
		if err := n.commitOp(ctx, payload); err != nil {
			return err
		}
		done++
	}
	if done == 0 {
		return invalid("%q is no member of this group", member)
	}
	return n.announceChange(ctx, id)
}

// membersFor is devicesFor where the member may also be named by any log of a device
// that the roster shows, though nobody known is called so: whoever is in the group
// can be taken out of it. n.mu is held.
func (n *Node) membersFor(groupID, member string) (group.ID, []identity.LogID, error) {
	id, devices, err := n.devicesFor(groupID, member)
	if !errors.Is(err, ErrInvalid) {
		return id, devices, err
	}
	log, perr := identity.ParseLogID(member)
	if perr != nil || n.open == nil || !n.isMember(id, log) {
		return id, nil, err
	}
	return id, []identity.LogID{n.open.keyring.Newest(log)}, nil
}

// announceChange tells the members what we changed: whoever changes the view is
// the one about to send.
func (n *Node) announceChange(ctx context.Context, id group.ID) error {
	n.open.eager[id] = true // also where announcing fails now
	n.showGroup(id)
	n.events.publish(Event{Type: EventGroup, Group: id.String()})
	return n.ensureEpoch(ctx, id, true)
}

// LeaveGroup takes this device out of a group. What was said stays readable here.
func (n *Node) LeaveGroup(ctx context.Context, groupID string) error {
	id, err := parseGroupID(groupID)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.writable(); err != nil {
		return err
	}
	if _, ok := n.open.keyring.Group(id); !ok {
		return noGroup(id)
	}
	n.sendRest(ctx) // what cannot go now does not go any more
	payload, err := n.open.keyring.LeaveOp(id)
	if err != nil {
		return invalid("%v", err)
	}
	op, err := n.signOp(ctx, payload)
	if err != nil {
		return err
	}
	all, changes, err := n.open.keyring.Farewell(op, n.cfg.Clock.Now())
	if err != nil {
		return fmt.Errorf("node: leaving the group: %w", err)
	}
	for _, a := range all {
		if err := n.publishPages(ctx, a); err != nil {
			return err
		}
	}
	if err := n.saveGroup(changes); err != nil {
		return err
	}
	delete(n.open.eager, id)
	n.showGroup(id)
	n.events.publish(Event{Type: EventGroup, Group: groupID})
	return nil
}

// excluded says whether a device is subtracted from every group beside the
// operations: it was revoked or wiped, or its sponsors' time is over.
func (n *Node) excluded(d identity.LogID) bool {
	c := n.people.credential(d.Author)
	if c == nil {
		return false
	}
	if _, revoked := n.trust.RevokedDevice(c); revoked {
		return true
	}
	return len(c.Sponsors) > 0 && n.cfg.Clock.Now().After(c.NotAfter)
}

// personName tells group who stands behind a device, so that a direct
// conversation stays between two people.
func (n *Node) personName(d identity.LogID) (string, bool) {
	c := n.people.credential(d.Author)
	if c == nil {
		return "", false
	}
	return c.Person.String(), true
}

// appointment reads an authority's statement that names an admin for a group
// that has none. The admin must be of the authority's own organisation.
func (n *Node) appointment(statement []byte) (group.Appointment, error) {
	a, err := n.trust.ReadGroupAdmin(statement)
	if errors.Is(err, identity.ErrEarly) {
		return group.Appointment{}, fmt.Errorf("%w: %w", group.ErrNotYet, err)
	}
	if err != nil {
		return group.Appointment{}, err
	}
	c := n.people.credential(a.Admin.Author)
	if c == nil {
		return group.Appointment{}, fmt.Errorf("%w: the credential of the admin that %s names has not come", group.ErrNotYet, a.Org)
	}
	if c.Person.Org != a.Org {
		return group.Appointment{}, fmt.Errorf("node: %s names an admin who is not its own", a.Org)
	}
	return group.Appointment{Group: a.Group, Device: a.Admin.Author}, nil
}

// mayBeIn says whether a device's credential lets it be in a group: break-glass
// names its groups, whoever adds it.
func (n *Node) mayBeIn(id group.ID, d identity.LogID) bool {
	c := n.people.credential(d.Author)
	return c == nil || c.MayJoin(id)
}
