package group

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"math"
	"slices"

	"tocsin/crypto/identity"
)

// The merge of operations: what a set of them amounts to (protocol §4, FORMAT.md
// "View"). Three things are kept apart:
//
//	lawful   an operation is judged by its own past alone: its author was given
//	         the right at some time. A set with an unlawful operation is refused;
//	         no later arrival makes a lawful set unlawful.
//	struck   a removal or demotion takes away what its target did at the same
//	         time, but never from a senior; from an equal it takes everything but
//	         his own removals and demotions.
//	good     lawful, not struck, and its author had the right by the good
//	         operations of its past. Only good operations have an effect.
//
// Seniority is an order of cause, not of names or clocks, so that nobody can
// grind his way up it: a is senior to b if a is the creator, or a's first adding
// lies in the past of b's. Two whose addings did not know of each other are
// equals.

// opSet holds the operations of one group by id.
type opSet map[[32]byte]*knownOp

// evaluate computes the view of a set that is closed (every dep is in it) and
// lawful. All logs of a device are one member, named by the log that goes on. A
// lineage that knows more makes no lawful set unlawful.
func (set opSet) evaluate(l *lineage, id ID) (*View, error) {
	return set.evaluateWithin(l, id, math.MaxInt)
}

// evaluateWithin is evaluate for a set that is not ours yet. It fails with
// errTangled where that takes more than a number of looks: what an admin can tie
// with a few thousand operations would otherwise take hours. The count is the
// same everywhere, for it depends on the set alone.
func (set opSet) evaluateWithin(l *lineage, id ID, looks int) (*View, error) {
	m, err := set.merge(l, id, looks)
	if err != nil {
		return nil, err
	}
	v := m.view()
	if m.spend(0) {
		return nil, errTangled
	}
	return v, nil
}

var errTangled = errors.New("too many changes made at the same time contradict each other: their merge takes too long")

// merge is one evaluation of a set. Operations are known by their position in
// order, in which each follows its deps.
type merge struct {
	id      ID
	lineage *lineage
	order   []*knownOp
	past    []bitset // by position: what it depends on, directly or not, and itself
	heads   [][32]byte
	devices map[identity.LogID]*standing // by lineage.device
	by      []*standing                  // by position: the author
	about   []*standing                  // by position: the device it is about, the author if it names none
	creator *standing
	create  int // the create that counts
	used    map[[32]byte]int
	struck  bitset
	good    bitset // where known
	known   bitset // verdicts that stand by what is struck so far
	hits    int    // how often something was struck
	looks   int    // at single operations and words of bitsets: what the merge cost
	most    int    // of looks; past it the result is of no use
}

// spend counts looks, and reports that there were too many.
func (m *merge) spend(looks int) bool {
	m.looks += looks
	return m.looks > m.most
}

// standing lists the positions of the operations about one device, ascending,
// whichever of its logs they name.
type standing struct {
	device  identity.LogID // the log that goes on
	first   int            // its first adding
	grants  []int          // creates and adds: they make it a member
	cancels []int          // removals, and its own leaving
	setters []int          // grants, role changes and appointments
	acts    []int          // what it did itself
	memo    memo
}

// memo is the answer to the last question about a device: whether it is an
// admin or a member by these operations about it. Most of what a device does, it
// does by the same.
type memo struct {
	about bitset // the operations about the device
	asked bitset // those of them in question
	hits  int    // what was struck then
	full  bool
	isIn  bool
	role  Role // worked out if not 0
}

func (set opSet) merge(l *lineage, id ID, looks int) (*merge, error) {
	m := &merge{id: id, lineage: l, create: -1, most: looks, devices: make(map[identity.LogID]*standing), used: make(map[[32]byte]int)}
	if err := m.sort(set); err != nil {
		return nil, err
	}
	for i, o := range m.order {
		if err := m.admit(i, o); err != nil {
			return nil, err
		}
	}
	if m.create < 0 {
		return nil, invalid("a group without its create operation")
	}
	words := len(m.order)/64 + 1
	m.struck, m.good, m.known = make(bitset, words), make(bitset, words), make(bitset, words)
	for i, o := range m.order {
		if l.disowned(o.proof.Place) {
			m.struck.set(i) // signed with a key that its owner had given up
		}
	}
	m.strike()
	for i := range m.order {
		m.isGood(i)
	}
	if m.spend(0) {
		return nil, errTangled
	}
	return m, nil
}

// sort orders the set by depth (the longest way to a create), then id, works
// out every operation's past, and the heads: what no other depends on.
func (m *merge) sort(set opSet) error {
	type node struct {
		op    *knownOp
		depth int
		waits int
		next  []*node
	}
	nodes := make(map[[32]byte]*node, len(set))
	for id, o := range set {
		nodes[id] = &node{op: o, waits: len(o.op.Deps)}
	}
	ready := make([]*node, 0, len(set))
	for id, n := range nodes {
		for _, d := range n.op.op.Deps {
			dep := nodes[d]
			if dep == nil {
				return invalid("operation %x depends on %x, which is missing", id[:4], d[:4])
			}
			dep.next = append(dep.next, n)
		}
		if n.waits == 0 {
			ready = append(ready, n)
		}
	}
	for i := 0; i < len(ready); i++ {
		for _, n := range ready[i].next {
			n.depth = max(n.depth, ready[i].depth+1)
			if n.waits--; n.waits == 0 {
				ready = append(ready, n)
			}
		}
	}
	if len(ready) != len(set) {
		return invalid("operations depend on each other in a circle")
	}
	slices.SortFunc(ready, func(a, b *node) int {
		return cmp.Or(cmp.Compare(a.depth, b.depth), bytes.Compare(a.op.proof.ID[:], b.op.proof.ID[:]))
	})
	for _, n := range ready {
		m.order = append(m.order, n.op)
		if len(n.next) == 0 {
			m.heads = append(m.heads, n.op.proof.ID)
		}
	}
	slices.SortFunc(m.heads, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	m.remember()
	return nil
}

// remember works out every operation's past.
func (m *merge) remember() {
	at := make(map[[32]byte]int, len(m.order))
	for i, o := range m.order {
		past := make(bitset, i/64+1)
		for _, d := range o.op.Deps {
			past.or(m.past[at[d]])
		}
		past.set(i)
		at[o.proof.ID] = i
		m.past = append(m.past, past)
	}
}

func (m *merge) standing(device identity.LogID) *standing {
	name := m.lineage.device(device)
	s, ok := m.devices[name]
	if !ok {
		s = &standing{device: m.lineage.follow(device), first: -1}
		m.devices[name] = s
	}
	return s
}

// admit holds one operation to what is lawful, and files it.
func (m *merge) admit(i int, o *knownOp) error {
	kind := o.op.Kind()
	author := m.standing(o.author())
	switch {
	case o.op.Group != m.id:
		return invalid("operation of another group")
	case kind == OpCreate:
		if groupID(o.author(), o.op.Create.Nonce) != m.id {
			return invalid("create operation by someone who is not the creator")
		}
		m.creator = author
		// A creator may sign two creates of one group; the earlier entry counts.
		if m.create < 0 || o.proof.Place.Seq < m.order[m.create].proof.Place.Seq {
			m.create = i
		}
	case kind == OpLeave || kind == OpAppoint:
		if !m.any(author.grants, i) {
			return invalid("%s operation by %s, who was never a member", kind, o.author())
		}
	case !slices.ContainsFunc(author.setters, func(at int) bool {
		m.looks++
		return m.past[i].has(at) && m.roleOf(at) == RoleAdmin
	}):
		return invalid("%s operation by %s, who was never an admin", kind, o.author())
	}
	target := m.standing(o.target())
	if (kind == OpRemove || kind == OpRole) && !m.any(target.grants, i) {
		return invalid("%s operation on %s, who was never a member", kind, o.target())
	}
	author.acts = append(author.acts, i)
	m.by, m.about = append(m.by, author), append(m.about, target)
	switch kind {
	case OpCreate, OpAdd:
		if target.first < 0 {
			target.first = i
		}
		target.grants, target.setters = append(target.grants, i), append(target.setters, i)
	case OpRemove, OpLeave:
		target.cancels = append(target.cancels, i)
	case OpRole:
		target.setters = append(target.setters, i)
	case OpAppoint:
		// One statement appoints once.
		digest := sha256.Sum256(o.op.Appoint.Statement)
		if _, ok := m.used[digest]; !ok && !m.lineage.disowned(o.proof.Place) {
			m.used[digest] = i
		}
		target.setters = append(target.setters, i)
	}
	return nil
}

// target returns the device that o is about: its author where it names none.
func (o *knownOp) target() identity.LogID {
	switch {
	case o.op.Add != nil:
		return o.op.Add.Device
	case o.op.Remove != nil:
		return o.op.Remove.Device
	case o.op.Role != nil:
		return o.op.Role.Device
	}
	return o.author()
}

// any reports whether one of these positions lies in the past of position i.
func (m *merge) any(positions []int, i int) bool {
	return slices.ContainsFunc(positions, func(p int) bool {
		m.looks++
		return m.past[i].has(p)
	})
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

func (b bitset) put(i int, v bool) {
	if v {
		b.set(i)
	} else {
		b[i/64] &^= 1 << (i % 64)
	}
}
