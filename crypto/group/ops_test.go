package group

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"tocsin/crypto/identity"
)

// The rules of seniority, each in the smallest history that shows it. Device 0
// is the creator; unless a test says otherwise each adds the next admin.

func (tr *tree) remove(by, who int, deps ...[32]byte) [32]byte {
	tr.t.Helper()
	return tr.sign(by, &Op{Group: tr.id, Deps: deps, Remove: &Remove{Device: tr.devices[who].log}})
}

func (tr *tree) role(by, who int, role Role, deps ...[32]byte) [32]byte {
	tr.t.Helper()
	return tr.sign(by, &Op{Group: tr.id, Deps: deps, Role: &RoleChange{Device: tr.devices[who].log, Role: role}})
}

func (tr *tree) leave(by int, deps ...[32]byte) [32]byte {
	tr.t.Helper()
	return tr.sign(by, &Op{Group: tr.id, Deps: deps, Leave: &Leave{}})
}

// has checks who is in: "0a 2m" is device 0 as admin and device 2 as member.
func (tr *tree) has(want string) {
	tr.t.Helper()
	v := tr.view()
	var got []string
	for i, d := range tr.devices {
		if r, ok := v.Role(d.log); ok {
			got = append(got, fmt.Sprintf("%d%c", i, r.String()[0]))
		}
	}
	if s := fmt.Sprint(got); s != "["+want+"]" {
		tr.t.Errorf("members %s, want [%s]", s, want)
	}
	newNaive(tr.set).view().compare(tr.t, v)
}

// admins makes a line of admins, each added by the one before, and returns the
// last add.
func admins(t *testing.T, n, spare int) (*tree, [32]byte) {
	tr := newTree(t, n+spare)
	last := tr.create
	for i := 1; i < n; i++ {
		last = tr.add(i-1, i, RoleAdmin, last)
	}
	return tr, last
}

func TestRemoveAndAddAgain(t *testing.T) {
	tr, base := admins(t, 2, 1)
	in := tr.add(0, 2, RoleAdmin, base)
	tr.has("0a 1a 2a")
	out := tr.remove(1, 2, in)
	tr.has("0a 1a")
	tr.add(2, 1, RoleMember, out) // an operation of one who knows that he was removed
	if v := tr.view(); len(v.Void) != 1 {
		t.Errorf("void %x", v.Void)
	}
	again := tr.add(0, 2, RoleMember, out)
	tr.has("0a 1a 2m")
	tr.role(1, 2, RoleAdmin, again)
	tr.has("0a 1a 2a")
}

// A junior's removal of a senior holds, and voids nothing that the senior did
// at the same time.
func TestJuniorVoidsNothingOfASenior(t *testing.T) {
	tr, base := admins(t, 3, 2)
	tr.remove(2, 1, base)
	in := tr.add(1, 3, RoleMember, base)
	tr.has("0a 2a 3m")
	tr.add(1, 4, RoleMember, in) // still at the same time
	tr.has("0a 2a 3m 4m")
}

// A senior's removal takes away what the junior did at the same time.
func TestSeniorVoidsAJunior(t *testing.T) {
	tr, base := admins(t, 3, 2)
	tr.remove(1, 2, base)
	in := tr.add(2, 3, RoleAdmin, base)
	tr.has("0a 1a")
	tr.add(3, 4, RoleMember, in) // and what rests on it
	tr.has("0a 1a")
	if v := tr.view(); len(v.Void) != 2 {
		t.Errorf("void %x", v.Void)
	}
}

// Removals of each other: the senior's counts alone; those of equals both hold.
func TestMutualRemovals(t *testing.T) {
	tr, base := admins(t, 3, 0)
	tr.remove(1, 2, base)
	tr.remove(2, 1, base)
	tr.has("0a 1a")

	tr = newTree(t, 3)
	b, c := tr.add(0, 1, RoleAdmin, tr.create), tr.add(0, 2, RoleAdmin, tr.create)
	tr.remove(1, 2, b, c)
	tr.remove(2, 1, b, c)
	tr.has("0a")
}

// An equal's removal strikes what is not itself a removal, so that one who was
// removed cannot come back by adding another of his own at "the same time".
func TestEqualRemovalStrikesAdds(t *testing.T) {
	tr := newTree(t, 5)
	b, c := tr.add(0, 1, RoleAdmin, tr.create), tr.add(0, 2, RoleAdmin, tr.create)
	d := tr.add(0, 4, RoleMember, b, c)
	tr.remove(1, 2, d)
	tr.add(2, 3, RoleMember, d)
	tr.remove(2, 4, d)
	tr.has("0a 1a")
}

// The same device added and removed at the same time.
func TestRemovalAgainstAdd(t *testing.T) {
	tr, base := admins(t, 3, 1)
	first := tr.add(0, 3, RoleMember, base)
	out := tr.remove(1, 3, first)
	tr.add(2, 3, RoleMember, first) // a junior's add
	tr.has("0a 1a 2a")
	tr.add(0, 3, RoleMember, first) // a senior's
	tr.has("0a 1a 2a 3m")
	tr.remove(0, 3, out) // of what one author did in two places, the removal counts
	tr.has("0a 1a 2a")
}

func TestRoles(t *testing.T) {
	tr, base := admins(t, 3, 1)
	down := tr.role(1, 2, RoleMember, base)
	tr.has("0a 1a 2m")
	tr.add(2, 3, RoleMember, base) // a demotion strikes what the junior did meanwhile
	tr.has("0a 1a 2m")
	tr.role(0, 2, RoleAdmin, base) // a senior said otherwise at the same time
	tr.has("0a 1a 2a")
	tr.role(1, 2, RoleMember, down)
	tr.has("0a 1a 2a")

	tr = newTree(t, 4) // equals: the lower role
	b, c := tr.add(0, 1, RoleAdmin, tr.create), tr.add(0, 2, RoleAdmin, tr.create)
	d := tr.add(0, 3, RoleMember, b, c)
	tr.role(1, 3, RoleAdmin, d)
	tr.has("0a 1a 2a 3a")
	tr.role(2, 3, RoleMember, d)
	tr.has("0a 1a 2a 3m")
}

func TestLeave(t *testing.T) {
	tr, base := admins(t, 2, 1)
	in := tr.add(0, 2, RoleMember, base)
	gone := tr.leave(2, in)
	tr.has("0a 1a")
	tr.add(1, 2, RoleMember, gone)
	tr.has("0a 1a 2m")
	tr.leave(0, in) // the creator too
	tr.has("1a 2m")
}

func TestSettings(t *testing.T) {
	tr, base := admins(t, 2, 0)
	set := func(by int, days uint16, deps ...[32]byte) [32]byte {
		return tr.sign(by, &Op{Group: tr.id, Deps: deps, Retention: &Retention{Days: days}})
	}
	a := set(0, 30, base)
	b := set(1, 90, base)
	if v := tr.view(); v.Retention != 30 {
		t.Errorf("retention %d, the senior said 30", v.Retention)
	}
	set(1, 7, a, b)
	if v := tr.view(); v.Retention != 7 {
		t.Errorf("retention %d, the last said 7", v.Retention)
	}
	tr.sign(1, &Op{Group: tr.id, Deps: [][32]byte{base}, State: &StateChange{State: StateClosed}})
	if v := tr.view(); v.State != StateClosed {
		t.Errorf("state %s", v.State)
	}
	tr.has("0a 1a")
}

// The authority names an admin: a member, once by each statement.
func TestAppointment(t *testing.T) {
	tr, base := admins(t, 1, 3)
	statement := []byte("the authority says")
	for _, d := range tr.devices {
		d.k.cfg.VerifyAppointment = func(s []byte) (Appointment, error) {
			if string(s) != string(statement) {
				return Appointment{}, errors.New("not signed")
			}
			return Appointment{Group: tr.id, Device: tr.devices[1].log.Author}, nil
		}
	}
	appoint := func(by int, deps ...[32]byte) [32]byte {
		return tr.sign(by, &Op{Group: tr.id, Deps: deps, Appoint: &Appoint{Statement: statement}})
	}
	in := tr.add(0, 1, RoleMember, base)
	gone := tr.leave(0, in)
	named := appoint(1, gone)
	tr.has("1a")
	b := tr.add(1, 2, RoleAdmin, named)
	down := tr.role(2, 1, RoleMember, b)
	appoint(1, down)
	tr.has("1m 2a") // one statement appoints once
	if _, err := tr.devices[3].k.checkOp(tr.devices[2].signOp(must((&Op{Group: tr.id, Deps: [][32]byte{gone}, Appoint: &Appoint{Statement: statement}}).Marshal()))); !errors.Is(err, ErrInvalid) {
		t.Errorf("another device used the statement: %v", err)
	}
	if _, err := tr.devices[3].k.checkOp(tr.devices[1].signOp(must((&Op{Group: tr.id, Deps: [][32]byte{gone}, Appoint: &Appoint{Statement: []byte("forged")}}).Marshal()))); !errors.Is(err, ErrInvalid) {
		t.Errorf("a forged statement: %v", err)
	}
	tr.devices[3].k.cfg.VerifyAppointment = New(Config{}).cfg.VerifyAppointment
	if _, err := tr.devices[3].k.checkOp(tr.set[named].sealed); !errors.Is(err, ErrInvalid) {
		t.Errorf("a statement that nobody can check: %v", err)
	}
	delete(tr.set, in)
}

func TestForgedRemovals(t *testing.T) {
	for what, build := range map[string]func(tr *tree, base [32]byte){
		"a removal by a member":    func(tr *tree, base [32]byte) { tr.remove(2, 0, tr.add(0, 2, RoleMember, base)) },
		"a removal by a stranger":  func(tr *tree, base [32]byte) { tr.remove(3, 0, base) },
		"a removal of a stranger":  func(tr *tree, base [32]byte) { tr.remove(0, 3, base) },
		"a demotion of a stranger": func(tr *tree, base [32]byte) { tr.role(0, 3, RoleMember, base) },
		"a removal by one who was made an admin elsewhere": func(tr *tree, base [32]byte) {
			in := tr.add(0, 2, RoleMember, base)
			tr.role(0, 2, RoleAdmin, in)
			tr.remove(2, 1, in)
		},
		"a stranger's leave": func(tr *tree, base [32]byte) { tr.leave(3, base) },
		"a role for himself": func(tr *tree, base [32]byte) {
			tr.role(2, 2, RoleAdmin, tr.add(0, 2, RoleMember, base))
		},
		"a stranger's retention": func(tr *tree, base [32]byte) {
			tr.sign(3, &Op{Group: tr.id, Deps: [][32]byte{base}, Retention: &Retention{Days: 1}})
		},
	} {
		tr, base := admins(t, 2, 2)
		build(tr, base)
		if _, err := tr.set.evaluate(nil, tr.id); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// The view of a long line of operations, and seniority along it.
func TestSeniorityIsNotGround(t *testing.T) {
	tr, base := admins(t, 3, 1)
	// Device 2 dates the add of its friend back as far as it can: after its own.
	friend := tr.add(2, 3, RoleAdmin, base)
	tr.remove(3, 1, friend)
	tr.remove(1, 3, friend)
	tr.has("0a 1a 2a")
	m, err := tr.set.merge(nil, tr.id, MaxMergeLooks)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range tr.devices {
		for j, b := range tr.devices {
			if m.senior(m.devices[a.log], m.devices[b.log]) != (i < j) {
				t.Errorf("device %d senior to %d: %v", i, j, i >= j)
			}
		}
	}
}

func TestOpsOfTheKeyring(t *testing.T) {
	ds, id := meet(t, 4, start)
	a := ds[0]
	for what, try := range map[string]func() ([]byte, error){
		"remove by a member":    func() ([]byte, error) { return ds[1].k.RemoveOp(id, ds[2].log) },
		"role by a member":      func() ([]byte, error) { return ds[1].k.RoleOp(id, ds[2].log, RoleAdmin) },
		"retention by a member": func() ([]byte, error) { return ds[1].k.RetentionOp(id, 1) },
		"state by a member":     func() ([]byte, error) { return ds[1].k.StateOp(id, StateClosed) },
		"add by a member":       func() ([]byte, error) { return ds[1].k.AddOp(id, newDevice(t, 9).log, RoleMember) },
	} {
		if _, err := try(); !errors.Is(err, ErrNotAdmin) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, try := range map[string]func() ([]byte, error){
		"remove a stranger":       func() ([]byte, error) { return a.k.RemoveOp(id, newDevice(t, 9).log) },
		"remove oneself":          func() ([]byte, error) { return a.k.RemoveOp(id, a.log) },
		"the role he has":         func() ([]byte, error) { return a.k.RoleOp(id, ds[1].log, RoleMember) },
		"no such role":            func() ([]byte, error) { return a.k.RoleOp(id, ds[1].log, 7) },
		"no such state":           func() ([]byte, error) { return a.k.StateOp(id, 7) },
		"an unknown group":        func() ([]byte, error) { return a.k.LeaveOp(ID{1}) },
		"appoint with an admin":   func() ([]byte, error) { return ds[1].k.AppointOp(id, []byte("x")) },
		"leave a group elsewhere": func() ([]byte, error) { return newDevice(t, 9).k.LeaveOp(id) },
	} {
		if _, err := try(); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	a.learnOp(must(a.k.RemoveOp(id, ds[3].log)))
	a.learnOp(must(a.k.RoleOp(id, ds[1].log, RoleAdmin)))
	a.learnOp(must(a.k.RetentionOp(id, 30)))
	a.learnOp(must(a.k.StateOp(id, StateClosed)))
	v, _ := a.k.Group(id)
	if _, in := v.Role(ds[3].log); in || v.Retention != 30 || v.State != StateClosed {
		t.Errorf("view %+v", v)
	}
	a.checkDisk()
	var kinds []OpKind
	for _, o := range a.k.Ops(id) {
		if kinds = append(kinds, o.Op.Kind()); o.Void {
			t.Errorf("%s is void", o.Op.Kind())
		}
	}
	if !slices.Equal(kinds, []OpKind{OpCreate, OpAdd, OpAdd, OpAdd, OpRemove, OpRole, OpRetention, OpState}) {
		t.Errorf("operations %v", kinds)
	}
}

// More heads than an operation names: a removal still knows the adding it ends.
func TestRemovalNamesWhatItEnds(t *testing.T) {
	ds, id := meet(t, 2, start)
	a := ds[0]
	head := a.k.groups[id].view.Heads
	target := identity.LogID{Author: identity.Key{9}}
	for i := range 3 * MaxDeps { // as many admins in as many partitions would
		op := &Op{Group: id, Deps: head, Add: &Add{Device: identity.LogID{Author: identity.Key{10, byte(i)}}, Role: RoleMember}}
		if i == MaxDeps {
			op.Add.Device = target
		}
		a.learnOp(must(op.Marshal()))
	}
	if v, _ := a.k.Group(id); len(v.Heads) != 3*MaxDeps {
		t.Fatalf("%d heads", len(v.Heads))
	}
	a.learnOp(must(a.k.RemoveOp(id, target)))
	if v, _ := a.k.Group(id); len(v.Heads) != 2*MaxDeps+1 {
		t.Errorf("%d heads", len(v.Heads))
	} else if _, in := v.Role(target); in {
		t.Error("the removal missed the adding")
	}
}
