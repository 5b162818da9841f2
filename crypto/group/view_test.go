package group

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"tocsin/crypto/identity"
)

// tree signs operations without a keyring, with any deps.
type tree struct {
	t       *testing.T
	id      ID
	set     opSet
	create  [32]byte
	devices []*device
}

func newTree(t *testing.T, n int) *tree {
	tr := &tree{t: t, set: make(opSet)}
	for i := range n {
		tr.devices = append(tr.devices, newDevice(t, uint64(i+1)))
	}
	tr.id = groupID(tr.devices[0].log, [32]byte{1})
	tr.create = tr.sign(0, &Op{Group: tr.id, Create: &Create{Kind: KindTeam, Nonce: [32]byte{1}, Name: "Ward 7"}})
	return tr
}

func (tr *tree) sign(by int, op *Op) [32]byte {
	tr.t.Helper()
	slices.SortFunc(op.Deps, func(a, b [32]byte) int { return slices.Compare(a[:], b[:]) })
	payload, err := op.Marshal()
	if err != nil {
		tr.t.Fatal(err)
	}
	sealed := tr.devices[by].signOp(payload)
	o, err := tr.devices[by].k.checkOp(sealed)
	if err != nil {
		tr.t.Fatal(err)
	}
	tr.set[o.proof.ID] = o
	return o.proof.ID
}

func (tr *tree) add(by, who int, role Role, deps ...[32]byte) [32]byte {
	tr.t.Helper()
	return tr.sign(by, &Op{Group: tr.id, Deps: deps, Add: &Add{Device: tr.devices[who].log, Role: role}})
}

func (tr *tree) view() *View {
	tr.t.Helper()
	v, err := tr.set.evaluate(nil, tr.id)
	if err != nil {
		tr.t.Fatal(err)
	}
	return v
}

func TestView(t *testing.T) {
	tr := newTree(t, 5)
	b := tr.add(0, 1, RoleAdmin, tr.create)
	c := tr.add(1, 2, RoleMember, b)
	d := tr.add(0, 3, RoleMember, b) // concurrent with c
	e := tr.add(1, 4, RoleMember, c, d)
	tr.add(0, 2, RoleAdmin, tr.create) // a second add raises the role
	v := tr.view()
	want := map[identity.LogID]Role{}
	for i, r := range []Role{RoleAdmin, RoleAdmin, RoleAdmin, RoleMember, RoleMember} {
		want[tr.devices[i].log] = r
	}
	if len(v.Members) != len(want) || v.Members[0].Device != tr.devices[0].log || v.Creator != tr.devices[0].log {
		t.Errorf("members %v", v.Members)
	}
	for _, m := range v.Members {
		if want[m.Device] != m.Role {
			t.Errorf("%s is %v", m.Device, m.Role)
		}
	}
	if len(v.Heads) != 2 || !slices.Contains(v.Heads, e) || v.Name != "Ward 7" || v.Kind != KindTeam {
		t.Errorf("view %+v", v)
	}
}

// The view depends on the set alone. Subsets that lack a dep have none.
func TestViewIsAPureFunction(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		tr := newTree(t, 8)
		known := [][32]byte{tr.create}
		admins := map[int][]int{0: {0}} // device -> positions in known that made it one
		for range 12 {
			at := r.IntN(len(known))
			by := 0
			for who, since := range admins {
				if slices.ContainsFunc(since, func(i int) bool { return tr.knows(known[at], known[i]) }) {
					by = who
				}
			}
			role, who := Role(1+r.IntN(2)), r.IntN(8)
			known = append(known, tr.add(by, who, role, known[at]))
			if role == RoleAdmin {
				admins[who] = append(admins[who], len(known)-1)
			}
		}
		want := tr.view()
		for range 5 { // maps iterate in another order each time
			got := tr.view()
			if !slices.Equal(got.Members, want.Members) || !slices.Equal(got.Heads, want.Heads) {
				t.Fatalf("%v\n%v", got, want)
			}
		}
		delete(tr.set, tr.create)
		if _, err := tr.set.evaluate(nil, tr.id); !errors.Is(err, ErrInvalid) {
			t.Fatalf("a view without its create: %v", err)
		}
	}
}

// knows reports whether op depends on what, directly or not, or is it.
func (tr *tree) knows(op, what [32]byte) bool {
	if op == what {
		return true
	}
	return slices.ContainsFunc(tr.set[op].op.Deps, func(d [32]byte) bool { return tr.knows(d, what) })
}

func TestUnlawfulOps(t *testing.T) {
	for what, build := range map[string]func(tr *tree){
		"add by a stranger": func(tr *tree) { tr.add(1, 2, RoleMember, tr.create) },
		"add by a member":   func(tr *tree) { tr.add(1, 2, RoleMember, tr.add(0, 1, RoleMember, tr.create)) },
		"add by someone made admin elsewhere, not before": func(tr *tree) {
			tr.add(0, 1, RoleAdmin, tr.create)
			tr.add(1, 2, RoleMember, tr.create)
		},
		"two adds that make each other admin": func(tr *tree) {
			x := tr.add(0, 3, RoleMember, tr.create)
			tr.add(2, 1, RoleAdmin, x)
			tr.add(1, 2, RoleAdmin, x)
		},
		"a dep that is missing": func(tr *tree) { tr.add(0, 1, RoleMember, [32]byte{9}) },
		"another group": func(tr *tree) {
			tr.sign(0, &Op{Group: ID{1}, Deps: [][32]byte{tr.create}, Add: &Add{Device: tr.devices[1].log, Role: RoleMember}})
		},
		"create by someone else": func(tr *tree) {
			tr.sign(1, &Op{Group: tr.id, Create: &Create{Kind: KindTeam, Nonce: [32]byte{1}, Name: "Mine"}})
		},
		"create with another nonce": func(tr *tree) {
			tr.sign(0, &Op{Group: tr.id, Create: &Create{Kind: KindTeam, Nonce: [32]byte{2}, Name: "Mine"}})
		},
	} {
		tr := newTree(t, 4)
		build(tr)
		if _, err := tr.set.evaluate(nil, tr.id); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Of two creates of one group, the earlier entry counts.
func TestTwoCreates(t *testing.T) {
	tr := newTree(t, 1)
	tr.sign(0, &Op{Group: tr.id, Create: &Create{Kind: KindDirect, Nonce: [32]byte{1}, Name: "Later"}})
	if v := tr.view(); v.Name != "Ward 7" || v.Kind != KindTeam || len(v.Heads) != 2 {
		t.Errorf("view %+v", v)
	}
}

func TestOwnOps(t *testing.T) {
	ds, id := meet(t, 3, start)
	for what, try := range map[string]func() error{
		"unknown group":       func() error { _, err := ds[0].k.AddOp(ID{1}, ds[1].log, RoleMember); return err },
		"unknown role":        func() error { _, err := ds[0].k.AddOp(id, newDevice(t, 9).log, 3); return err },
		"a member again":      func() error { _, err := ds[0].k.AddOp(id, ds[1].log, RoleMember); return err },
		"by no admin":         func() error { _, err := ds[1].k.AddOp(id, newDevice(t, 9).log, RoleMember); return err },
		"no name":             func() error { _, _, err := ds[0].k.CreateOp(KindTeam, ""); return err },
		"a long name":         func() error { _, _, err := ds[0].k.CreateOp(KindTeam, strings.Repeat("x", MaxName+1)); return err },
		"a name on two lines": func() error { _, _, err := ds[0].k.CreateOp(KindTeam, "a\nb"); return err },
		"a name that turns":   func() error { _, _, err := ds[0].k.CreateOp(KindTeam, "a\u202eb"); return err },
		"a name of bytes":     func() error { _, _, err := ds[0].k.CreateOp(KindTeam, "a\xff"); return err },
		"unknown kind":        func() error { _, _, err := ds[0].k.CreateOp(9, "x"); return err },
		"someone else's operation": func() error {
			_, payload, err := ds[1].k.CreateOp(KindTeam, "Hers")
			if err != nil {
				return nil
			}
			_, err = ds[0].k.LearnOp(ds[1].signOp(payload))
			return err
		},
		"a huge signed header": func() error {
			_, payload, err := ds[0].k.CreateOp(KindTeam, "Mine")
			if err != nil {
				return nil
			}
			op := ds[0].signOp(payload)
			op.SignedHeader = make([]byte, 1<<17)
			_, err = ds[0].k.LearnOp(op)
			return err
		},
		"another commit": func() error {
			_, payload, err := ds[0].k.CreateOp(KindTeam, "Mine")
			if err != nil {
				return nil
			}
			op := ds[0].signOp(payload)
			op.Opening[0] ^= 1
			_, err = ds[0].k.LearnOp(op)
			return err
		},
	} {
		if try() == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	if _, err := New(Config{Self: ds[0].log}).LearnOp(ds[0].k.groups[id].ops[ds[0].k.groups[id].view.Heads[0]].sealed); err == nil {
		t.Error("an operation was accepted that nobody verified")
	}
}

// A restart keeps every view; what is returned is the caller's own.
func TestViewsAreCopies(t *testing.T) {
	ds, id := meet(t, 3, start)
	v, _ := ds[0].k.Group(id)
	v.Members[0].Role, v.Heads[0] = 0, [32]byte{}
	all := ds[0].k.Groups()
	if len(all) != 1 || all[0].Members[0].Role != RoleAdmin || all[0].Heads[0] == [32]byte{} {
		t.Errorf("a caller changed the keyring: %+v", all)
	}
}
