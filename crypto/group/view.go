package group

import (
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
