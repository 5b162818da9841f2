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
	c.Members, c.Heads = slices.Clone(v.Members), slices.Clone(v.Heads)
	return c
}

// knownOp is a checked operation. Its author is proof.Place.Log.
type knownOp struct {
	sealed SignedOp
	proof  OpProof
	op     *Op
}

func (o *knownOp) author() identity.LogID { return o.proof.Place.Log }

// opSet holds the operations of one group by id.
type opSet map[[32]byte]*knownOp

// evaluate computes the view of a set that is closed (every dep is in it) and
// lawful (every author was allowed to act by what it depends on). An operation
// is judged by its own past alone, so that no later arrival can make a lawful
// set unlawful, and the union of two lawful sets is lawful.
func (set opSet) evaluate(id ID) (*View, error) {
	order, err := set.sort()
	if err != nil {
		return nil, err
	}
	e := evaluation{id: id, past: make(map[[32]byte]bitset, len(order)), grants: make(map[identity.LogID][]int), roles: make(map[identity.LogID]Role)}
	for i, o := range order {
		if err := e.admit(i, o); err != nil {
			return nil, err
		}
	}
	if e.create == nil {
		return nil, invalid("a group without its create operation")
	}
	v := &View{ID: id, Kind: e.create.op.Create.Kind, Name: e.create.op.Create.Name, Creator: e.create.author(), Heads: set.heads()}
	for _, device := range e.seniority {
		v.Members = append(v.Members, Member{Device: device, Role: e.roles[device]})
	}
	return v, nil
}

// sort orders the set so that an operation follows its deps; among those free
// to follow, the lowest id goes first.
func (set opSet) sort() ([]*knownOp, error) {
	waits := make(map[[32]byte]int, len(set))
	next := make(map[[32]byte][]*knownOp)
	var ready []*knownOp
	for id, o := range set {
		waits[id] = len(o.op.Deps)
		for _, d := range o.op.Deps {
			if set[d] == nil {
				return nil, invalid("operation %x depends on %x, which is missing", id[:4], d[:4])
			}
			next[d] = append(next[d], o)
		}
		if waits[id] == 0 {
			ready = append(ready, o)
		}
	}
	byID := func(a, b *knownOp) int { return bytes.Compare(a.proof.ID[:], b.proof.ID[:]) }
	slices.SortFunc(ready, byID)
	order := make([]*knownOp, 0, len(set))
	for len(ready) > 0 {
		o := ready[0]
		ready = ready[1:]
		order = append(order, o)
		for _, n := range next[o.proof.ID] {
			if waits[n.proof.ID]--; waits[n.proof.ID] == 0 {
				at, _ := slices.BinarySearchFunc(ready, n, byID)
				ready = slices.Insert(ready, at, n)
			}
		}
	}
	if len(order) != len(set) {
		return nil, invalid("operations depend on each other in a circle")
	}
	return order, nil
}

// heads returns the operations that no other of the set depends on.
func (set opSet) heads() [][32]byte {
	named := make(map[[32]byte]bool)
	for _, o := range set {
		for _, d := range o.op.Deps {
			named[d] = true
		}
	}
	var heads [][32]byte
	for id := range set {
		if !named[id] {
			heads = append(heads, id)
		}
	}
	slices.SortFunc(heads, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	return heads
}

// evaluation walks a sorted set.
type evaluation struct {
	id        ID
	create    *knownOp
	past      map[[32]byte]bitset      // by operation: what it depends on, directly or not, and itself
	grants    map[identity.LogID][]int // positions of the operations that make a device an admin
	roles     map[identity.LogID]Role
	seniority []identity.LogID
}

func (e *evaluation) admit(i int, o *knownOp) error {
	past := make(bitset, i/64+1)
	for _, d := range o.op.Deps {
		past.or(e.past[d])
	}
	switch {
	case o.op.Group != e.id:
		return invalid("operation of another group")
	case o.op.Create != nil:
		if groupID(o.author(), o.op.Create.Nonce) != e.id {
			return invalid("create operation by someone who is not the creator")
		}
		// A creator may sign two creates of one group; the earlier entry counts.
		if e.create == nil || cmp.Compare(o.proof.Place.Seq, e.create.proof.Place.Seq) < 0 {
			e.create = o
		}
		e.grant(i, o.author(), RoleAdmin)
	case o.op.Add != nil:
		if !e.wasAdmin(o.author(), past) {
			return invalid("add operation by %s, who is no admin", o.author())
		}
		e.grant(i, o.op.Add.Device, o.op.Add.Role)
	}
	past.set(i)
	e.past[o.proof.ID] = past
	return nil
}

// grant gives a device a role. Of two adds the higher role counts, whatever
// their order.
func (e *evaluation) grant(i int, device identity.LogID, role Role) {
	if _, ok := e.roles[device]; !ok {
		e.seniority = append(e.seniority, device)
	}
	e.roles[device] = max(e.roles[device], role)
	if role == RoleAdmin {
		e.grants[device] = append(e.grants[device], i)
	}
}

func (e *evaluation) wasAdmin(device identity.LogID, past bitset) bool {
	return slices.ContainsFunc(e.grants[device], past.has)
}

// bitset is a set of positions in the sorted order. It may be shorter than
// the order: what is beyond its end is not in it.
type bitset []uint64

func (b bitset) set(i int)      { b[i/64] |= 1 << (i % 64) }
func (b bitset) has(i int) bool { return i/64 < len(b) && b[i/64]&(1<<(i%64)) != 0 }
func (b bitset) or(o bitset) {
	for i := range o {
		b[i] |= o[i]
	}
}
