package group

import (
	"fmt"
	"io"
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
// device must be an admin of the group.
func (k *Keyring) AddOp(group ID, device identity.LogID, role Role) ([]byte, error) {
	g, ok := k.groups[group]
	if !ok {
		return nil, fmt.Errorf("group: no group %s is known here", group)
	}
	if !role.valid() {
		return nil, fmt.Errorf("group: unknown role %d", uint8(role))
	}
	mine, ok := g.view.Role(k.cfg.Self)
	switch _, member := g.view.Role(device); {
	case !ok:
		return nil, ErrNotMember
	case mine != RoleAdmin:
		return nil, fmt.Errorf("group: only an admin adds members to %q; ask one", g.view.Name)
	case member:
		return nil, fmt.Errorf("group: %s is a member of %q already", device, g.view.Name)
	case len(g.members) >= MaxMembers:
		return nil, fmt.Errorf("%w: group %q has %d devices, the most it can have", ErrLimit, g.view.Name, MaxMembers)
	case len(g.ops) >= MaxOps:
		return nil, fmt.Errorf("%w: group %q has %d operations, the most it can have", ErrLimit, g.view.Name, MaxOps)
	}
	deps := slices.Clone(g.view.Heads)
	return (&Op{Group: group, Deps: deps[:min(len(deps), MaxDeps)], Add: &Add{Device: device, Role: role}}).Marshal()
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
		if len(g.ops) >= MaxOps {
			return nil, fmt.Errorf("%w: group %q has %d operations, the most it can have", ErrLimit, g.view.Name, MaxOps)
		}
		for id, held := range g.ops {
			set[id] = held
		}
	}
	if _, err := set.evaluate(o.op.Group); err != nil {
		return nil, err
	}
	c, err := o.change()
	if err != nil {
		return nil, err
	}
	return []Change{c}, nil
}
