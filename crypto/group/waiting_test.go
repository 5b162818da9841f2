package group

import (
	"errors"
	"fmt"
	"testing"

	"tocsin/crypto/identity"
)

// judge lets d verify one statement about a device, as soon as it is known.
func (d *device) judge(known *bool, id ID, who *device) {
	d.k.cfg.VerifyAppointment = func(s []byte) (Appointment, error) {
		switch {
		case string(s) == "early":
			return Appointment{}, fmt.Errorf("its bundle is to come: %w", identity.ErrEarly)
		case string(s) != "statement":
			return Appointment{}, errors.New("not signed")
		case !*known:
			return Appointment{}, fmt.Errorf("%w: the credential of the admin is not here", ErrNotYet)
		}
		return Appointment{Group: id, Device: who.log.Author}, nil
	}
}

// appointed makes a group whose creator has left and whose second member was
// appointed, as the second knows it.
func appointed(t *testing.T) (ds []*device, id ID, known *bool) {
	t.Helper()
	ds, id = meet(t, 3, start)
	known = new(bool)
	yes := true
	ds[1].judge(&yes, id, ds[1])
	ds[2].judge(known, id, ds[1])
	all, _, err := ds[0].k.Farewell(ds[0].signOp(must(ds[0].k.LeaveOp(id))), start)
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	for _, d := range ds[1:] {
		d.learn(ds[0], all[0].Pages, start)
	}
	ds[1].learnOp(must(ds[1].k.AppointOp(id, []byte("statement"))))
	return ds, id, known
}

func (d *device) retry() []Learned {
	d.t.Helper()
	learned, changes, err := d.k.Retry(start)
	if err != nil {
		d.t.Fatal(err)
	}
	d.apply(changes)
	d.checkDisk()
	return learned
}

// An announce with an appointment that cannot be judged yet waits, over a
// restart too, and is taken when it can be: nothing of it is handed in again.
func TestAppointmentNotYet(t *testing.T) {
	ds, id, known := appointed(t)
	b, c := ds[1], ds[2]
	a := b.announce(id, start)
	if l := c.learn(b, a.Pages, start); l.Complete || !l.Waiting || l.Epoch != a.Epoch {
		t.Fatalf("learnt %+v", l)
	}
	if learned := c.retry(); len(learned) != 0 {
		t.Errorf("learnt before it could be judged: %+v", learned)
	}
	m := b.seal(id, "from the new admin", start)
	if _, err := c.open(m, start); !errors.Is(err, ErrUnknownTag) {
		t.Fatal(err)
	}
	c.reload()
	*known = true
	if learned := c.retry(); len(learned) != 1 || !learned[0].Complete || learned[0].Epoch != a.Epoch {
		t.Fatalf("learnt %+v", learned)
	}
	if role, _ := found(c.k.Group(id)).Role(b.log); role != RoleAdmin {
		t.Errorf("the appointed is %s", role)
	}
	c.mustOpen(m, start)
	if learned := c.retry(); len(learned) != 0 || len(c.k.partials) != 0 {
		t.Errorf("learnt twice: %+v", learned)
	}
}

func found(v View, ok bool) *View {
	if !ok {
		panic("no such group")
	}
	return &v
}

// A statement that can never be right is refused at once; one that turns out so
// is given up; neither error is taken for the other.
func TestAppointmentVerdicts(t *testing.T) {
	ds, id, _ := appointed(t)
	b, c := ds[1], ds[2]
	op := func(statement string) SignedOp {
		deps := c.k.groups[id].view.Heads
		return b.signOp(must((&Op{Group: id, Deps: deps, Appoint: &Appoint{Statement: []byte(statement)}}).Marshal()))
	}
	for statement, want := range map[string]error{"early": ErrNotYet, "statement": ErrNotYet, "forged": ErrInvalid} {
		_, err := c.k.checkOp(op(statement))
		if errors.Is(err, ErrNotYet) != (want == ErrNotYet) || errors.Is(err, ErrInvalid) != (want == ErrInvalid) {
			t.Errorf("%s: %v", statement, err)
		}
	}
	if _, err := c.k.AppointOp(id, []byte("early")); !errors.Is(err, ErrNotYet) {
		t.Errorf("our own, too early: %v", err)
	}
	a := b.announce(id, start)
	c.learn(b, a.Pages, start)
	c.k.cfg.VerifyAppointment = func([]byte) (Appointment, error) { return Appointment{}, errors.New("revoked root") }
	if learned := c.retry(); len(learned) != 1 || !errors.Is(learned[0].Refused, ErrInvalid) || len(c.k.partials) != 0 {
		t.Errorf("a wrong statement that waited: %+v", learned)
	}
}

// What waits has places of its own: announces with pages missing do not take
// them, and more than a month's waiting are kept.
func TestWaitingPlaces(t *testing.T) {
	ds, id, known := appointed(t)
	b, c := ds[1], ds[2]
	var first *Announce
	for i := range MaxWaitingPerLog + 1 {
		a := b.announce(id, start)
		if l := c.learn(b, a.Pages, start); !l.Waiting {
			t.Fatalf("announce %d: %+v", i, l)
		}
		if first == nil {
			first = a
		}
	}
	for range MaxPartialsPerLog + 1 { // and some of which a page is missing
		c.learn(b, b.announce(id, start).Pages[:1], start)
	}
	c.checkDisk()
	if n := len(c.k.partials); n != MaxWaitingPerLog+MaxPartialsPerLog {
		t.Errorf("%d announces are kept", n)
	}
	*known = true
	n := 0
	for ; len(c.retry()) > 0; n++ {
	}
	if n != MaxWaitingPerLog {
		t.Errorf("%d announces were taken", n)
	}
	if _, held := c.k.epochs[first.Epoch]; held {
		t.Error("the oldest was to give way")
	}
}

// A device that may not be in one group is out of its audience alone.
func TestMayBeIn(t *testing.T) {
	ds, id := meet(t, 3, start)
	a := ds[0]
	other := a.create(KindTeam, "Ward 8")
	a.add(other, RoleMember, ds[1], ds[2])
	bad := id
	a.k.cfg.MayBeIn = func(group ID, d identity.LogID) bool { return group != bad || d != ds[2].log }
	if touched := a.k.Reexamine(); len(touched) != 1 || touched[0] != id {
		t.Errorf("touched %v", touched)
	}
	if len(a.k.Audience(id)) != 2 || len(a.k.Audience(other)) != 3 || !a.k.NeedsEpoch(id, start) {
		t.Errorf("audiences %v, %v", a.k.Audience(id), a.k.Audience(other))
	}
	if l := ds[2].learn(a, a.announce(id, start).Pages, start); l.Complete {
		t.Error("who may not be in the group was given its epoch")
	}
	// An admin who may not be in the group is none: the authority may name one.
	bad = other
	ds[1].learn(a, a.announce(other, start).Pages, start)
	yes := true
	ds[1].judge(&yes, other, ds[1])
	ds[1].k.cfg.MayBeIn = func(group ID, d identity.LogID) bool { return group != other || d != a.log }
	ds[1].k.Reexamine()
	if _, err := ds[1].k.AppointOp(other, []byte("statement")); err != nil {
		t.Error(err)
	}
}

// learnError hands the pages in until one is refused.
func (d *device) learnError(from *device, pages [][]byte) (Learned, error) {
	var last Learned
	for _, p := range pages {
		l, changes, err := d.k.LearnEpoch(from.place(), [32]byte{}, p, start)
		if err != nil {
			return l, err
		}
		d.apply(changes)
		last = l
	}
	return last, nil
}
