package group

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"tocsin/crypto/identity"
)

// CreateOp returns the id of a new group, of which this device is the creator
// and first admin, and the payload of the operation that makes it. Nothing is
// known of the group until [Keyring.LearnOp].
func (k *Keyring) CreateOp(kind Kind, name string) (ID, []byte, error) {
	if !kind.valid() {
		return ID{}, nil, fmt.Errorf("group: unknown kind of group %d", uint8(kind))
	}
	if err := checkName(kind, name); err != nil {
		return ID{}, nil, fmt.Errorf("group: %w", err)
	}
	c := &Create{Kind: kind, Name: name}
	if _, err := io.ReadFull(k.cfg.Rand, c.Nonce[:]); err != nil {
		return ID{}, nil, fmt.Errorf("group: random bytes: %w", err)
	}
	id := groupID(k.cfg.Self, c.Nonce)
	payload, err := (&Op{Group: id, Create: c}).Marshal()
	return id, payload, err
}

// AddOp returns the payload of the operation that makes device a member. This
// device must be an admin of the group. In a direct group it fails with
// [ErrDirect] for a device of a third person.
func (k *Keyring) AddOp(group ID, device identity.LogID, role Role) ([]byte, error) {
	device = k.Newest(device)
	g, err := k.changeable(group, true)
	if err != nil {
		return nil, err
	}
	_, member := g.view.Role(device)
	switch {
	case !role.valid():
		return nil, fmt.Errorf("group: unknown role %d", uint8(role))
	case member:
		return nil, fmt.Errorf("group: %s is a member of %q already", device, g.view.Name)
	case len(g.members) >= MaxDevices:
		return nil, fmt.Errorf("%w: group %q has %d devices, the most it can have", ErrLimit, g.view.Name, MaxDevices)
	case k.persons(g, device) > 2:
		return nil, ErrDirect
	}
	return k.op(g, device, &Op{Add: &Add{Device: device, Role: role}})
}

// RemoveOp returns the payload of the operation that ends the membership of
// device. This device must be an admin of the group; it leaves by
// [Keyring.LeaveOp].
func (k *Keyring) RemoveOp(group ID, device identity.LogID) ([]byte, error) {
	device = k.Newest(device)
	g, err := k.changeable(group, true)
	if err != nil {
		return nil, err
	}
	if device == k.cfg.Self {
		return nil, errors.New("group: a device does not remove itself: it leaves the group")
	}
	if err := g.has(device); err != nil {
		return nil, err
	}
	return k.op(g, device, &Op{Remove: &Remove{Device: k.named(g, device)}})
}

// RoleOp returns the payload of the operation that gives a member another
// role. This device must be an admin of the group.
func (k *Keyring) RoleOp(group ID, device identity.LogID, role Role) ([]byte, error) {
	device = k.Newest(device)
	g, err := k.changeable(group, true)
	if err != nil {
		return nil, err
	}
	if err := g.has(device); err != nil {
		return nil, err
	}
	switch held, _ := g.view.Role(device); {
	case !role.valid():
		return nil, fmt.Errorf("group: unknown role %d", uint8(role))
	case held == role:
		return nil, fmt.Errorf("group: %s is %s of %q already", device, role, g.view.Name)
	}
	return k.op(g, device, &Op{Role: &RoleChange{Device: k.named(g, device), Role: role}})
}

// LeaveOp returns the payload of the operation that ends this device's own
// membership. It is handed to [Keyring.Farewell].
func (k *Keyring) LeaveOp(group ID) ([]byte, error) {
	g, err := k.changeable(group, false)
	if err != nil {
		return nil, err
	}
	return k.op(g, k.cfg.Self, &Op{Leave: &Leave{}})
}

// RetentionOp returns the payload of the operation that sets for how many days
// messages are kept, 0 until they are erased by hand. This device must be an
// admin of the group.
func (k *Keyring) RetentionOp(group ID, days uint16) ([]byte, error) {
	g, err := k.changeable(group, true)
	if err != nil {
		return nil, err
	}
	return k.op(g, k.cfg.Self, &Op{Retention: &Retention{Days: days}})
}

// StateOp returns the payload of the operation that opens or closes the group.
// This device must be an admin of it.
func (k *Keyring) StateOp(group ID, state GroupState) ([]byte, error) {
	g, err := k.changeable(group, true)
	if err != nil {
		return nil, err
	}
	if !state.valid() {
		return nil, fmt.Errorf("group: unknown state of a group %d", uint8(state))
	}
	return k.op(g, k.cfg.Self, &Op{State: &StateChange{State: state}})
}

// AppointOp returns the payload of the operation by which this device, a
// member, becomes admin of a group that has none left. The authority's
// statement names the group and this device's signing key.
func (k *Keyring) AppointOp(group ID, statement []byte) ([]byte, error) {
	g, err := k.changeable(group, false)
	if err != nil {
		return nil, err
	}
	if g.view.hasAdmin(func(d identity.LogID) bool { return k.excluded(group, d) }) {
		return nil, fmt.Errorf("group: %q has an admin; ask one", g.view.Name)
	}
	payload, err := k.op(g, k.cfg.Self, &Op{Appoint: &Appoint{Statement: statement}})
	if err != nil {
		return nil, err
	}
	if err := k.checkAppointment(group, k.cfg.Self, statement); err != nil {
		return nil, err
	}
	return payload, nil
}

// checkAppointment holds a statement to the group and the device that use it.
func (k *Keyring) checkAppointment(group ID, device identity.LogID, statement []byte) error {
	a, err := k.cfg.VerifyAppointment(statement)
	if errors.Is(err, ErrNotYet) || errors.Is(err, identity.ErrEarly) {
		return fmt.Errorf("%w: appointment: %w", ErrNotYet, err)
	}
	if err != nil {
		return invalid("appointment: %w", err)
	}
	if a.Group != group || a.Device != device.Author {
		return invalid("appointment of another device, or in another group")
	}
	return nil
}

// changeable returns a group that this device may change: as an admin, or as
// a member.
func (k *Keyring) changeable(id ID, admin bool) (*groupState, error) {
	g, ok := k.groups[id]
	if !ok {
		return nil, fmt.Errorf("group: no group %s is known here", id)
	}
	switch mine, ok := g.view.Role(k.cfg.Self); {
	case !ok:
		return nil, ErrNotMember
	case admin && mine != RoleAdmin:
		return nil, fmt.Errorf("%w (%q)", ErrNotAdmin, g.view.Name)
	case len(g.ops) >= MaxOps:
		return nil, fmt.Errorf("%w: group %q has had %d changes, the most it can have: begin a new group", ErrLimit, g.view.Name, MaxOps)
	}
	return g, nil
}

// named returns the log under which a member was made one: its present one, or else
// the last of those that were added or made the group. An operation about it is
// then lawful for those, too, who know of another succession or of none.
func (k *Keyring) named(g *groupState, device identity.LogID) identity.LogID {
	var best *identity.LogID
	for _, o := range g.ops {
		if o.op.Create == nil && o.op.Add == nil {
			continue
		}
		switch made := o.target(); {
		case made == device:
			return device
		case k.lineage.device(made) == k.lineage.device(device) && (best == nil || made.Compare(*best) > 0):
			best = &made
		}
	}
	if best == nil {
		return device
	}
	return *best
}

func (g *groupState) has(device identity.LogID) error {
	if _, ok := g.view.Role(device); !ok {
		return fmt.Errorf("%w: %s is not in %q", ErrNotMember, device, g.view.Name)
	}
	return nil
}

// op completes an operation with the group and its deps. Where there are more
// heads than one operation names, those go first that know most about this
// device and the target: what the operation rests on, and what it is to end.
func (k *Keyring) op(g *groupState, target identity.LogID, op *Op) ([]byte, error) {
	deps := slices.Clone(g.view.Heads)
	if len(deps) > MaxDeps {
		m, err := g.ops.merge(k.lineage, g.view.ID, math.MaxInt)
		if err != nil {
			return nil, err
		}
		weight := make(map[[32]byte]int, len(deps))
		for i, o := range m.order {
			for _, who := range []identity.LogID{k.cfg.Self, target} {
				if s := m.devices[m.lineage.device(who)]; s != nil {
					weight[o.proof.ID] += m.count(s.setters, i) + m.count(s.cancels, i)
				}
			}
		}
		slices.SortStableFunc(deps, func(a, b [32]byte) int { return cmp.Compare(weight[b], weight[a]) })
		deps = deps[:MaxDeps]
		slices.SortFunc(deps, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	}
	op.Group, op.Deps = g.view.ID, deps
	return op.Marshal()
}

// count returns how many of these positions lie in the past of position i.
func (m *merge) count(positions []int, i int) (n int) {
	for _, p := range positions {
		if m.past[i].has(p) {
			n++
		}
	}
	return n
}

// OpInfo is one operation of a group, for showing what happened.
type OpInfo struct {
	ID    [32]byte
	Place Place
	Op    *Op
	Void  bool // without effect: see [View].Void
}

// Ops returns the operations of a group, each after those it depends on.
func (k *Keyring) Ops(group ID) []OpInfo {
	g, ok := k.groups[group]
	if !ok {
		return nil
	}
	m, err := g.ops.merge(k.lineage, group, math.MaxInt)
	if err != nil {
		return nil // the set has a view, so that it merges
	}
	out := make([]OpInfo, len(m.order))
	for i, o := range m.order {
		op := *o.op
		out[i] = OpInfo{ID: o.proof.ID, Place: o.proof.Place, Op: &op, Void: !m.good.has(i)}
	}
	return out
}

// LearnOp takes an operation of this device once its entry is durable. Others'
// operations come with their announces, by [Keyring.LearnEpoch].
func (k *Keyring) LearnOp(op SignedOp) ([]Change, error) {
	o, err := k.checkOp(op)
	if err != nil {
		return nil, err
	}
	if o.author() != k.cfg.Self {
		return nil, invalid("operation of %s; others' operations come with their announces", o.author())
	}
	set := opSet{o.proof.ID: o}
	if g, ok := k.groups[o.op.Group]; ok {
		if g.ops[o.proof.ID] != nil {
			return nil, nil
		}
		if err := g.room([]*knownOp{o}); err != nil {
			return nil, err
		}
		for id, held := range g.ops {
			set[id] = held
		}
	}
	if _, err := set.evaluateWithin(k.lineage, o.op.Group, k.maxLooks); errors.Is(err, errTangled) {
		return nil, fmt.Errorf("%w: %w: begin a new group", ErrLimit, err)
	} else if err != nil {
		return nil, err
	}
	c, err := o.change()
	if err != nil {
		return nil, err
	}
	return []Change{c}, nil
}
