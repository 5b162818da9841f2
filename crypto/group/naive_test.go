package group

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"tocsin/crypto/identity"
)

// A second implementation of the view, word by word from FORMAT.md: sets as
// maps, everything looked up anew, nothing cached but verdicts of one state of
// what is struck.
type naive struct {
	ops   map[[32]byte]*knownOp
	hit   map[[32]byte]bool // struck
	known map[[32]byte]bool // verdicts: good
	done  map[[32]byte]bool
}

func newNaive(ops map[[32]byte]*knownOp) *naive {
	return &naive{ops: ops, hit: make(map[[32]byte]bool), known: make(map[[32]byte]bool), done: make(map[[32]byte]bool)}
}

func (n *naive) past(id [32]byte) map[[32]byte]bool {
	out := make(map[[32]byte]bool)
	var walk func(id [32]byte)
	walk = func(id [32]byte) {
		for _, d := range n.ops[id].op.Deps {
			if !out[d] {
				out[d] = true
				walk(d)
			}
		}
	}
	walk(id)
	return out
}

func (n *naive) depth(id [32]byte) int {
	most := 0
	for _, d := range n.ops[id].op.Deps {
		most = max(most, n.depth(d)+1)
	}
	return most
}

func (n *naive) order() [][32]byte {
	var ids [][32]byte
	for id := range n.ops {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b [32]byte) int {
		if x, y := n.depth(a), n.depth(b); x != y {
			return x - y
		}
		return slices.Compare(a[:], b[:])
	})
	return ids
}

func (n *naive) concurrent(a, b [32]byte) bool {
	return a != b && !n.past(a)[b] && !n.past(b)[a]
}

func (n *naive) creator() (who identity.LogID) {
	for _, o := range n.ops {
		if o.op.Create != nil {
			who = o.author()
		}
	}
	return who
}

// adds says whether an operation makes a device a member.
func (n *naive) adds(id [32]byte, who identity.LogID) bool {
	o := n.ops[id]
	return o.op.Create != nil && o.author() == who || o.op.Add != nil && o.op.Add.Device == who
}

func (n *naive) ends(id [32]byte, who identity.LogID) bool {
	o := n.ops[id]
	return o.op.Remove != nil && o.op.Remove.Device == who || o.op.Leave != nil && o.author() == who
}

func (n *naive) gives(id [32]byte, who identity.LogID) (Role, bool) {
	o := n.ops[id]
	switch {
	case o.op.Create != nil && o.author() == who, o.op.Appoint != nil && o.author() == who:
		return RoleAdmin, true
	case o.op.Add != nil && o.op.Add.Device == who:
		return o.op.Add.Role, true
	case o.op.Role != nil && o.op.Role.Device == who:
		return o.op.Role.Role, true
	}
	return 0, false
}

func (n *naive) firstAdding(who identity.LogID) [32]byte {
	for _, id := range n.order() {
		if n.adds(id, who) {
			return id
		}
	}
	panic("never added")
}

func (n *naive) senior(a, b identity.LogID) bool {
	if a == b || b == n.creator() {
		return false
	}
	return a == n.creator() || n.past(n.firstAdding(b))[n.firstAdding(a)]
}

func (n *naive) good(id [32]byte) bool {
	if !n.done[id] {
		n.done[id], n.known[id] = true, !n.hit[id] && n.entitled(id)
	}
	return n.known[id]
}

func (n *naive) entitled(id [32]byte) bool {
	o, past := n.ops[id], n.past(id)
	switch {
	case o.op.Create != nil:
		return true
	case o.op.Leave != nil:
		return n.member(o.author(), past)
	case o.op.Appoint != nil:
		for _, other := range n.order() {
			if x := n.ops[other].op.Appoint; x != nil && string(x.Statement) == string(o.op.Appoint.Statement) {
				return other == id && n.member(o.author(), past)
			}
		}
	}
	return n.member(o.author(), past) && n.role(o.author(), past) == RoleAdmin
}

func (n *naive) member(who identity.LogID, within map[[32]byte]bool) bool {
	for id := range within {
		if n.adds(id, who) && n.good(id) && !n.cancelled(id, who, within) {
			return true
		}
	}
	return false
}

func (n *naive) cancelled(add [32]byte, who identity.LogID, within map[[32]byte]bool) bool {
	for id := range within {
		if !n.ends(id, who) || !n.good(id) {
			continue
		}
		if n.past(id)[add] || n.concurrent(id, add) && !n.senior(n.ops[add].author(), n.ops[id].author()) {
			return true
		}
	}
	return false
}

func (n *naive) role(who identity.LogID, within map[[32]byte]bool) Role {
	var set [][32]byte
	for id := range within {
		if _, ok := n.gives(id, who); ok && n.good(id) && !(n.adds(id, who) && n.cancelled(id, who, within)) {
			set = append(set, id)
		}
	}
	role := RoleAdmin
	for _, id := range n.last(set) {
		r, _ := n.gives(id, who)
		role = min(role, r)
	}
	return role
}

// last drops what another of the set knew, then what another's author outranks.
func (n *naive) last(set [][32]byte) [][32]byte {
	drop := func(set [][32]byte, over func(a, b [32]byte) bool) (out [][32]byte) {
		for _, b := range set {
			if !slices.ContainsFunc(set, func(a [32]byte) bool { return over(a, b) }) {
				out = append(out, b)
			}
		}
		return out
	}
	set = drop(set, func(a, b [32]byte) bool { return n.past(a)[b] })
	return drop(set, func(a, b [32]byte) bool { return n.senior(n.ops[a].author(), n.ops[b].author()) })
}

func (n *naive) strikeAll() {
	order := n.order()
	place := func(who identity.LogID) int { return slices.Index(order, n.firstAdding(who)) }
	takes := func(id [32]byte) bool {
		o := n.ops[id].op
		return o.Remove != nil || o.Role != nil && o.Role.Role == RoleMember
	}
	var strikers [][32]byte
	for _, id := range order {
		if takes(id) {
			strikers = append(strikers, id)
		}
	}
	slices.SortStableFunc(strikers, func(a, b [32]byte) int { return place(n.ops[a].author()) - place(n.ops[b].author()) })
	for _, r := range strikers {
		by, target := n.ops[r].author(), n.ops[r].target()
		if by == target || n.senior(target, by) || !n.good(r) {
			continue
		}
		for _, id := range order {
			if n.ops[id].author() != target || !n.concurrent(r, id) || n.ops[id].op.Leave != nil || n.ops[id].op.Create != nil {
				continue
			}
			if n.senior(by, target) || !takes(id) {
				n.hit[id] = true
			}
		}
		clear(n.done)
	}
}

// naiveView is what the rest of the tests holds views to.
type naiveView struct {
	members   map[identity.LogID]Role
	retention uint16
	state     GroupState
	void      map[[32]byte]bool
}

func (n *naive) view() naiveView {
	n.strikeAll()
	v := naiveView{members: make(map[identity.LogID]Role), void: make(map[[32]byte]bool), state: StateOpen}
	all := make(map[[32]byte]bool)
	var retentions, states [][32]byte
	for id, o := range n.ops {
		all[id] = true
		if !n.good(id) {
			v.void[id] = true
		} else if o.op.Retention != nil {
			retentions = append(retentions, id)
		} else if o.op.State != nil {
			states = append(states, id)
		}
	}
	for id := range n.ops {
		if who := n.ops[id].target(); n.adds(id, who) && n.member(who, all) {
			v.members[who] = n.role(who, all)
		}
	}
	longest := -1
	for _, id := range n.last(retentions) {
		days := int(n.ops[id].op.Retention.Days)
		if days == 0 {
			days = 1 << 20
		}
		longest = max(longest, days)
	}
	if longest > 0 && longest < 1<<20 {
		v.retention = uint16(longest)
	}
	for i, id := range n.last(states) {
		if s := n.ops[id].op.State.State; i == 0 || s == StateOpen {
			v.state = s
		}
	}
	return v
}

func (v naiveView) compare(t failer, got *View) {
	t.Helper()
	if len(got.Members) != len(v.members) || got.Retention != v.retention || got.State != v.state || len(got.Void) != len(v.void) {
		t.Fatalf("view %+v, the model has %+v", got, v)
	}
	for _, m := range got.Members {
		if v.members[m.Device] != m.Role {
			t.Fatalf("%s is %s, in the model %s", m.Device, m.Role, v.members[m.Device])
		}
	}
	for _, id := range got.Void {
		if !v.void[id] {
			t.Fatalf("operation %x is void, in the model it is not", id[:4])
		}
	}
}

// grove draws operations that need no signature: ids and places are drawn.
type grove struct {
	id      ID
	set     opSet
	ids     [][32]byte
	devices []identity.LogID
}

func newGrove(draw func(label string, n int) int) *grove {
	g := &grove{set: make(opSet)}
	for i := range 2 + draw("devices", 4) {
		g.devices = append(g.devices, identity.LogID{Author: identity.Key{byte(i + 1)}})
	}
	g.id = groupID(g.devices[0], [32]byte{1})
	g.put(draw, 0, &Op{Group: g.id, Create: &Create{Kind: KindTeam, Nonce: [32]byte{1}, Name: "Ward 7"}})
	return g
}

func (g *grove) put(draw func(label string, n int) int, by int, op *Op) [32]byte {
	// The first byte is drawn, so that ids stand in any order.
	id := [32]byte{byte(draw("id", 256)), byte(len(g.ids))}
	g.set[id] = &knownOp{op: op, proof: OpProof{ID: id, Place: Place{Log: g.devices[by], Seq: uint64(len(g.ids))}}}
	g.ids = append(g.ids, id)
	return id
}

// grow adds one operation if it is lawful, and says whether.
func (g *grove) grow(draw func(label string, n int) int) bool {
	by, who := draw("by", len(g.devices)), g.devices[draw("who", len(g.devices))]
	op := &Op{Group: g.id}
	for range 1 + draw("deps", 3) {
		// Mostly late ones: histories are long and not bushes.
		at := max(len(g.ids)-1-draw("dep", 4), 0)
		if draw("any", 4) == 0 {
			at = draw("early", len(g.ids))
		}
		if !slices.Contains(op.Deps, g.ids[at]) {
			op.Deps = append(op.Deps, g.ids[at])
		}
	}
	slices.SortFunc(op.Deps, func(a, b [32]byte) int { return slices.Compare(a[:], b[:]) })
	switch draw("kind", 12) {
	case 0, 1, 2:
		op.Add = &Add{Device: who, Role: RoleMember}
	case 3, 4:
		op.Add = &Add{Device: who, Role: RoleAdmin}
	case 5, 6, 7:
		op.Remove = &Remove{Device: who}
	case 8, 9:
		op.Role = &RoleChange{Device: who, Role: Role(1 + draw("role", 2))}
	case 10:
		op.Leave = &Leave{}
	default:
		switch draw("setting", 3) {
		case 0:
			op.Retention = &Retention{Days: uint16(draw("days", 3))}
		case 1:
			op.State = &StateChange{State: GroupState(1 + draw("state", 2))}
		default:
			op.Appoint = &Appoint{Statement: []byte{byte(draw("statement", 2))}}
		}
	}
	id := g.put(draw, by, op)
	if _, err := g.set.evaluate(nil, g.id); err != nil {
		delete(g.set, id)
		g.ids = g.ids[:len(g.ids)-1]
		return false
	}
	return true
}

func rapidDraw(t *rapid.T) func(string, int) int {
	return func(label string, n int) int { return rapid.IntRange(0, n-1).Draw(t, label) }
}

// The view agrees with the model, for a set and for every set it grew from.
func TestViewIsTheModels(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := rapidDraw(t)
		g := newGrove(draw)
		for range 4 + draw("size", 24) {
			g.grow(draw)
		}
		got, err := g.set.evaluate(nil, g.id)
		if err != nil {
			t.Fatal(err)
		}
		newNaive(g.set).view().compare(t, got)
	})
}

// Any order and any grouping of the same operations ends in one view: keyrings
// merge closed parts of a set, in any order, some of them twice.
func TestMergeIsPure(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := rapidDraw(t)
		g := newGrove(draw)
		for range 4 + draw("size", 16) {
			g.grow(draw)
		}
		want, err := g.set.evaluate(nil, g.id)
		if err != nil {
			t.Fatal(err)
		}
		merged := make(opSet)
		for len(merged) < len(g.set) {
			closed := make(opSet)
			n := newNaive(g.set)
			for range 1 + draw("roots", 3) {
				root := g.ids[draw("root", len(g.ids))]
				closed[root] = g.set[root]
				for id := range n.past(root) {
					closed[id] = g.set[id]
				}
			}
			if _, err := closed.evaluate(nil, g.id); err != nil {
				t.Fatalf("a closed part of a lawful set is refused: %v", err)
			}
			for id, o := range closed {
				merged[id] = o
			}
			if _, err := merged.evaluate(nil, g.id); err != nil {
				t.Fatalf("the union of lawful sets is refused: %v", err)
			}
		}
		got, err := merged.evaluate(nil, g.id)
		if err != nil || !slices.Equal(got.Members, want.Members) || !slices.Equal(got.Void, want.Void) || !slices.Equal(got.Heads, want.Heads) {
			t.Fatalf("%+v\n%+v\n%v", got, want, err)
		}
	})
}
