package group

import (
	"bytes"
	"cmp"
	"slices"

	"tocsin/crypto/identity"
)

// View is what the operations of a group amount to. It is a pure function of
// the set of operations, whatever the order they arrived in.
type View struct {
	ID      ID
	Kind    Kind
	Name    string
	Creator identity.LogID
	Members []Member   // by seniority: the creator, then in order of adding
	Heads   [][32]byte // operations no other depends on, ascending
	// Retention is the number of days that messages are kept; 0 is until they
	// are erased by hand.
	Retention uint16
	State     GroupState
	// Void lists the operations that have no effect, ascending: a senior
	// overruled them, or their author had lost the right.
	Void [][32]byte
}

// Member is one device of a group.
type Member struct {
	Device identity.LogID
	Role   Role
}

// Role returns the role of device, and false if it is no member.
func (v *View) Role(device identity.LogID) (Role, bool) {
	for _, m := range v.Members {
		if m.Device == device {
			return m.Role, true
		}
	}
	return 0, false
}

// hasAdmin reports whether an admin is left among the members who are not out.
func (v *View) hasAdmin(out func(identity.LogID) bool) bool {
	return slices.ContainsFunc(v.Members, func(m Member) bool { return m.Role == RoleAdmin && !out(m.Device) })
}

// devices returns the members' logs in ascending order, the form in which a
// list of members is compared and authenticated.
func (v *View) devices() []identity.LogID {
	out := make([]identity.LogID, len(v.Members))
	for i, m := range v.Members {
		out[i] = m.Device
	}
	slices.SortFunc(out, identity.LogID.Compare)
	return out
}

func (v *View) clone() View {
	c := *v
	c.Members, c.Heads, c.Void = slices.Clone(v.Members), slices.Clone(v.Heads), slices.Clone(v.Void)
	return c
}

// knownOp is a checked operation. Its author is proof.Place.Log.
type knownOp struct {
	sealed SignedOp
	proof  OpProof
	op     *Op
}

func (o *knownOp) author() identity.LogID { return o.proof.Place.Log }

// view sums the merge up.
func (m *merge) view() *View {
	create := m.order[m.create].op.Create
	v := &View{ID: m.id, Kind: create.Kind, Name: create.Name, Creator: m.creator.device, Heads: m.heads, State: StateOpen}
	all := make(bitset, len(m.order)/64+1)
	for i := range all {
		all[i] = ^uint64(0)
	}
	var members []*standing
	for _, s := range m.devices {
		if m.isMember(s, all) {
			members = append(members, s)
		}
	}
	slices.SortFunc(members, func(a, b *standing) int { return cmp.Compare(a.first, b.first) })
	for _, s := range members {
		v.Members = append(v.Members, Member{Device: s.device, Role: m.role(s, all)})
	}
	m.settings(v, all)
	for i, o := range m.order {
		if !m.good.has(i) {
			v.Void = append(v.Void, o.proof.ID)
		}
	}
	slices.SortFunc(v.Void, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	return v
}

// settings fills in retention and state. Among equals the longer retention
// and the open state count: nothing is lost by a tie.
func (m *merge) settings(v *View, all bitset) {
	var retentions, states []int
	for i, o := range m.order {
		switch {
		case o.op.Retention != nil:
			retentions = append(retentions, i)
		case o.op.State != nil:
			states = append(states, i)
		}
	}
	every := func(int) bool { return true }
	if last := m.last(retentions, all, every); len(last) > 0 {
		v.Retention = m.order[last[0]].op.Retention.Days
		for _, i := range last[1:] {
			if days := m.order[i].op.Retention.Days; days == 0 || v.Retention == 0 {
				v.Retention = 0
			} else {
				v.Retention = max(v.Retention, days)
			}
		}
	}
	if last := m.last(states, all, every); len(last) > 0 {
		v.State = StateClosed
		for _, i := range last {
			v.State = min(v.State, m.order[i].op.State.State)
		}
	}
}
