package group

import (
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tocsin/crypto/identity"
)

// heirs gives every device of a grove further logs, in a random tree, and returns
// the successions with the log that goes on for each device.
func heirs(draw func(string, int) int, g *grove) (all []Succession, logs [][]identity.LogID) {
	for i, d := range g.devices {
		own := []identity.LogID{d}
		for n := draw("heirs", 4); n > 0; n-- {
			before := own[draw("before", len(own))]
			next := identity.LogID{Author: before.Author, Incarnation: before.Incarnation + 1 + uint32(draw("gap", 2))}
			if draw("roll", 3) == 0 {
				next = identity.LogID{Author: identity.Key{byte(100 + 10*i + len(own))}, Incarnation: uint32(draw("incarnation", 2))}
			}
			if !slices.Contains(own, next) {
				own, all = append(own, next), append(all, Succession{Old: before, New: next, Size: math.MaxUint64})
			}
		}
		logs = append(logs, own)
	}
	return all, logs
}

func lineageFrom(all []Succession) *lineage {
	old := make(map[identity.LogID]identity.LogID)
	sizes := make(map[identity.LogID]uint64)
	for _, s := range all {
		old[s.New], sizes[s.New] = s.Old, s.Size
	}
	return newLineage(old, sizes)
}

// Whichever of its logs a device writes and others name, the view is that of a
// group in which it had only one, under the name of the log that goes on.
func TestSuccessionsNameOneMember(t *testing.T) {
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
		all, logs := heirs(draw, g)
		l := lineageFrom(all)
		any := func(d identity.LogID) identity.LogID {
			own := logs[slices.Index(g.devices, d)]
			return own[draw("log", len(own))]
		}
		for id, o := range g.set {
			op, at := *o.op, o.proof
			if op.Create == nil { // a create is by the log that the group's id names
				by := any(at.Place.Log)
				if !l.disowned(Place{Log: by, Seq: at.Place.Seq}) {
					at.Place.Log = by
				}
			}
			switch {
			case op.Add != nil:
				op.Add = &Add{Device: any(op.Add.Device), Role: op.Add.Role}
			case op.Remove != nil:
				op.Remove = &Remove{Device: any(op.Remove.Device)}
			case op.Role != nil:
				op.Role = &RoleChange{Device: any(op.Role.Device), Role: op.Role.Role}
			}
			g.set[id] = &knownOp{op: &op, proof: at}
		}
		got, err := g.set.evaluate(l, g.id)
		if err != nil {
			t.Fatal(err)
		}
		for i := range want.Members {
			want.Members[i].Device = l.follow(want.Members[i].Device)
		}
		if !slices.Equal(got.Members, want.Members) || !slices.Equal(got.Void, want.Void) || !slices.Equal(got.Heads, want.Heads) {
			t.Fatalf("have %+v\nwant %+v", got, want)
		}
	})
}

// A keyring's lineage is the same whatever order successions come in and however
// they are grouped, and one more never makes a lawful set unlawful.
func TestSuccessionsInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := rapidDraw(t)
		g := newGrove(draw)
		for range 4 + draw("size", 12) {
			g.grow(draw)
		}
		all, logs := heirs(draw, g)
		want := lineageFrom(all)
		k := New(Config{})
		disk := make(map[string][]byte)
		for order := rapid.Permutation(all).Draw(t, "order"); len(order) > 0; {
			n := 1 + draw("together", len(order))
			changes, err := k.LearnSuccessions(append(slices.Clone(order[:n]), all[draw("again", len(all))])...)
			if err != nil {
				t.Fatal(err)
			}
			store(disk, changes)
			if err := k.Apply(changes...); err != nil {
				t.Fatal(err)
			}
			order = order[n:]
			if _, err := g.set.evaluate(k.lineage, g.id); err != nil {
				t.Fatalf("a succession made a lawful set unlawful: %v", err)
			}
		}
		again, err := Load(Config{}, scanner(disk))
		if err != nil {
			t.Fatal(err)
		}
		for _, have := range []*lineage{k.lineage, again.lineage} {
			if !maps.Equal(have.old, want.old) || !maps.Equal(have.newest, want.newest) || !maps.Equal(have.root, want.root) {
				t.Fatalf("have %v, want %v", have, want)
			}
		}
		for i := range logs {
			for _, log := range logs[i] {
				if k.Newest(log) != k.Newest(g.devices[i]) {
					t.Fatalf("%s and %s of one device go on in two logs", log, g.devices[i])
				}
			}
		}
	})
}

// restarted is d, restored from a copy of its disk, in a new log.
func (d *device) restarted(disk map[string][]byte, by *device) *device {
	d.t.Helper()
	n := &device{t: d.t, priv: d.priv, log: identity.LogID{Author: d.log.Author, Incarnation: d.log.Incarnation + 100}, disk: maps.Clone(disk)}
	if by != nil {
		n.priv, n.log = by.priv, identity.LogID{Author: by.log.Author}
	}
	cfg := d.k.cfg
	cfg.Self = n.log
	k, err := Load(cfg, scanner(n.disk))
	if err != nil {
		d.t.Fatal(err)
	}
	n.k = k
	return n
}

// closedAt is how far the logs of these tests are closed: before anything that is
// said after a device went on.
func (d *device) closedAt(identity.LogID) uint64 { return 1000 }

func (d *device) succeed(old, next identity.LogID) {
	d.t.Helper()
	changes, err := d.k.LearnSuccessions(Succession{Old: old, New: next, Size: d.closedAt(old)})
	if err != nil {
		d.t.Fatal(err)
	}
	d.apply(changes)
}

// A device that goes on in another log, of its own key or a rolled one, stays in
// its groups: it is given the next epoch, what it wrote before gets none, it opens
// what was sealed to the log before, and what others say and it says is read.
func TestSuccessorStaysInItsGroups(t *testing.T) {
	for name, by := range map[string]*device{"restored": nil, "rolled": newDevice(t, 77)} {
		t.Run(name, func(t *testing.T) {
			ds, id := meet(t, 3, start)
			a, b, c := ds[0], ds[1], ds[2]
			copied := maps.Clone(b.disk)
			early := b.seal(id, "after the copy was taken", start)
			b2 := b.restarted(copied, by)

			// An epoch that was sealed to the log before, which the copy does not hold.
			later := start.Add(RotateAge)
			past := a.announce(id, later)
			missed := a.seal(id, "while the device was away", later)
			b2.succeed(b.log, b2.log)
			if l := b2.learn(a, past.Pages, later); !l.Complete {
				t.Fatalf("an epoch sealed to the log before does not open: %+v", l)
			}
			b2.mustOpen(missed, later)
			// What the device said itself after the copy is read again.
			if o, err := b2.open(early, later); err != nil || o.Removed {
				t.Fatalf("its own message from before: %+v, %v", o, err)
			}

			a.succeed(b.log, b2.log)
			if v, _ := a.k.Group(id); len(v.Members) != 3 || v.Members[1].Device != b2.log {
				t.Fatalf("members are %v", v.Members)
			}
			if !a.k.NeedsEpoch(id, later) {
				t.Fatal("no new epoch is due although a member goes on in another log")
			}
			b2.publish(later, a, c)
			next := a.announce(id, later)
			if len(next.Missing) > 0 {
				t.Fatalf("the epoch does not reach %v", next.Missing)
			}
			if l := b2.learn(a, next.Pages, later); !l.Complete {
				t.Fatalf("the successor cannot read: %+v", l)
			}
			if l := b.learn(a, next.Pages, later); !l.NotOurs {
				t.Fatalf("the log before was given a new epoch: %+v", l)
			}
			// Who has not heard of the succession waits for it.
			if l := c.learn(a, next.Pages, later); l.Complete || !l.Waiting {
				t.Fatalf("judged without knowing the succession: %+v", l)
			}
			c.succeed(b.log, b2.log)
			learned, changes, err := c.k.Retry(later)
			if err != nil || len(learned) != 1 || !learned[0].Complete {
				t.Fatalf("retry: %+v, %v", learned, err)
			}
			c.apply(changes)
			to, from := a.seal(id, "to the successor", later), b2.seal(id, "from the successor", later)
			b2.mustOpen(to, later)
			for _, d := range []*device{a, c} {
				if o, err := d.open(from, later); err != nil || o.Removed {
					t.Fatalf("%+v, %v", o, err)
				}
				if o, err := d.open(early, later); err != nil || o.Removed {
					t.Fatalf("what was said in the log before: %+v, %v", o, err)
				}
			}
			for _, d := range []*device{a, c, b2} {
				d.checkDiskWithSuccessions()
			}
		})
	}
}

// checkDiskWithSuccessions restarts a device and compares its views.
func (d *device) checkDiskWithSuccessions() {
	d.t.Helper()
	before := d.k.Groups()
	d.reload()
	for i, v := range d.k.Groups() {
		if !slices.Equal(v.Members, before[i].Members) {
			d.t.Fatalf("members after a restart are %v, before %v", v.Members, before[i].Members)
		}
	}
}

// An admin who was restored is still one, and is named by either log.
func TestSuccessorKeepsItsRights(t *testing.T) {
	ds, id := meet(t, 3, start)
	a, b := ds[0], ds[1]
	a2 := a.restarted(a.disk, nil)
	for _, d := range []*device{a2, b} {
		d.succeed(a.log, a2.log)
	}
	payload, err := a2.k.RemoveOp(id, ds[2].log)
	if err != nil {
		t.Fatal(err)
	}
	a2.learnOp(payload)
	if v, _ := a2.k.Group(id); len(v.Members) != 2 {
		t.Fatalf("members are %v", v.Members)
	}
	a2.publish(start.Add(time.Hour), b)
	next := a2.announce(id, start.Add(time.Hour))
	if l := b.learn(a2, next.Pages, start); !l.Complete {
		t.Fatalf("%+v", l)
	}
	if v, _ := b.k.Group(id); len(v.Members) != 2 || v.Members[0] != (Member{Device: a2.log, Role: RoleAdmin}) {
		t.Fatalf("members are %v", v.Members)
	}
	if got := len(b.k.Joined(id, a2.log)); got != 1 {
		t.Fatalf("%d operations made it a member, want the creation", got)
	}
}

// Successions that contradict what is known, or that nothing asks for, are refused.
func TestSuccessionsRefused(t *testing.T) {
	ds, id := meet(t, 3, start)
	a, b := ds[0], ds[1]
	next := identity.LogID{Author: b.log.Author, Incarnation: 9}
	a.succeed(b.log, next)
	if _, err := a.k.LearnSuccessions(Succession{Old: ds[2].log, New: next}); !errors.Is(err, ErrInvalid) {
		t.Fatalf("one log that goes on for two: %v", err)
	}
	if _, err := a.k.LearnSuccessions(Succession{Old: next, New: next}); !errors.Is(err, ErrInvalid) {
		t.Fatalf("a log that goes on for itself: %v", err)
	}
	// One about a stranger has no place in an announce of this group.
	stranger := Succession{Old: identity.LogID{Author: identity.Key{200}}, New: identity.LogID{Author: identity.Key{200}, Incarnation: 1}}
	changes, err := a.k.LearnSuccessions(stranger)
	if err != nil {
		t.Fatal(err)
	}
	a.apply(changes)
	g := a.k.groups[id]
	st := epochState{group: id, successions: append(a.k.lineage.among(g.ops), stranger)}
	for _, o := range g.ops {
		st.ops = append(st.ops, o.sealed)
	}
	slices.SortFunc(st.ops, func(x, y SignedOp) int {
		px, _ := verifyTestHeader(x.SignedHeader)
		py, _ := verifyTestHeader(y.SignedHeader)
		return slices.Compare(px.ID[:], py.ID[:])
	})
	slices.SortFunc(st.successions, func(x, y Succession) int { return x.New.Compare(y.New) })
	if _, _, err := a.k.checkState(&st, &partial{es: new(secret)}, a.log); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "rest on") {
		t.Fatalf("an announce that lists a stranger's succession: %v", err)
	}
}

// After a key roll the prekeys of before, which the thief of a copy has, are not
// published any more, and still open what was sealed to them.
func TestRolledKeyHasFreshPreKeys(t *testing.T) {
	ds, id := meet(t, 2, start)
	a, b := ds[0], ds[1]
	before := maps.Clone(b.k.own)
	past := a.announce(id, start.Add(time.Hour))
	b2 := b.restarted(b.disk, newDevice(t, 77))
	b2.succeed(b.log, b2.log)
	later := start.Add(2 * time.Hour)
	payload, changes, err := b2.k.PreKeyUpdate(later)
	if err != nil {
		t.Fatal(err)
	}
	b2.apply(changes)
	b2.reload()
	set, err := ParsePreKeys(payload)
	if err != nil {
		t.Fatal(err)
	}
	for week, own := range before {
		if slices.ContainsFunc(set.Public[:], func(p [preKeySize]byte) bool { return slices.Equal(p[:], own.private.PublicKey().Bytes()) }) {
			t.Fatalf("the prekey of week %d is published under the new key", week)
		}
	}
	if l := b2.learn(a, past.Pages, later); !l.Complete {
		t.Fatalf("an epoch sealed to a prekey of before the roll does not open: %+v", l)
	}
	// Another incarnation of one key keeps its prekeys: nobody else has them.
	b3 := b2.restarted(b2.disk, nil)
	if payload, _, err = b3.k.PreKeyUpdate(later); err != nil {
		t.Fatal(err)
	}
	if again, err := ParsePreKeys(payload); err != nil || again.Public != set.Public {
		t.Fatalf("a restart made other prekeys: %v", err)
	}
	// What is kept of before goes when it is due.
	b2.apply(b2.k.Expire(later, 0))
	for range 36 {
		later = later.Add(24 * time.Hour)
		b2.apply(b2.k.Expire(later, 24*time.Hour))
	}
	for id := range b2.k.former {
		if weekStart(id.week).Add(SecretLife).Before(later) {
			t.Fatalf("the prekey of week %d is still held", id.week)
		}
	}
	b2.reload()
}

// rolledAway makes a group whose admin a, a member b and a newcomer to be: a's key
// was copied, and its owner rolled it to another, which b knows and c does not.
func rolledAway(t *testing.T) (thief, owner, b, c *device, id ID) {
	t.Helper()
	ds, id := meet(t, 3, start)
	a := ds[0]
	thief = &device{t: t, priv: a.priv, log: a.log, disk: maps.Clone(a.disk), seq: 2000}
	thief.k = New(a.k.cfg)
	thief.reload()
	owner = a.restarted(a.disk, newDevice(t, 77))
	owner.succeed(a.log, owner.log)
	ds[1].succeed(a.log, owner.log)
	return thief, owner, ds[1], ds[2], id
}

// A key that was rolled because a thief has it changes no group any more, in the
// log that the roll closed or in another, by his own announce or by that of somebody
// who has not heard of the roll.
func TestRolledKeyChangesNoGroup(t *testing.T) {
	for name, incarnation := range map[string]uint32{"beyond the closing": 1, "another log": 7} {
		t.Run(name, func(t *testing.T) {
			thief, owner, b, c, id := rolledAway(t)
			if incarnation != thief.log.Incarnation {
				old := thief.log
				thief.log.Incarnation = incarnation
				thief.reload()
				thief.succeed(old, thief.log)
				thief.seq = 0
				for _, d := range []*device{b, c} { // it closes the log as the device might
					d.succeed(old, thief.log)
				}
				thief.publish(start, b, c)
			}
			later := start.Add(time.Hour)
			payload, err := thief.k.AddOp(id, newDevice(t, 5).log, RoleAdmin)
			if err != nil {
				t.Fatal(err)
			}
			thief.learnOp(payload)
			taken := thief.announce(id, later)
			if l := c.learn(thief, taken.Pages, later); !l.Complete { // it knows no better
				t.Fatalf("%+v", l)
			}
			if v, _ := c.k.Group(id); len(v.Members) != 4 {
				t.Fatalf("the members are %v", v.Members)
			}
			want, _ := b.k.Group(id)
			b.learn(thief, taken.Pages, later)
			if v, _ := b.k.Group(id); !slices.Equal(v.Members, want.Members) || len(b.k.groups[id].ops) != 3 {
				t.Fatalf("the thief made the members %v, want %v", v.Members, want.Members)
			}
			// Others bring what the thief said, and it has no effect.
			from := c.announce(id, later)
			b.learn(c, from.Pages, later)
			if v, _ := b.k.Group(id); !slices.Equal(v.Members, want.Members) {
				t.Fatalf("the thief's word, brought by another, made the members %v, want %v", v.Members, want.Members)
			}
			// Who hears of the roll later comes to the same.
			c.succeed(identity.LogID{Author: thief.log.Author, Incarnation: 1}, owner.log)
			if v, _ := c.k.Group(id); !slices.Equal(v.Members, want.Members) {
				t.Fatalf("after the roll was heard of the members are %v, want %v", v.Members, want.Members)
			}
			for _, d := range []*device{b, c} {
				d.checkDiskWithSuccessions()
			}
		})
	}
}

// A member who signs two first entries of one log, and shows one to each half of the
// mesh, does not part the halves: each takes the other's announces.
func TestForkedSuccessionPartsNobody(t *testing.T) {
	ds, id := meet(t, 3, start)
	a, b, c := ds[0], ds[1], ds[2]
	next := identity.LogID{Author: c.log.Author, Incarnation: 50}
	for d, s := range map[*device]Succession{
		a: {Old: c.log, New: next, Size: 9}, b: {Old: identity.LogID{Author: c.log.Author, Incarnation: 8}, New: next, Size: 1},
	} {
		changes, err := d.k.LearnSuccessions(s)
		if err != nil {
			t.Fatal(err)
		}
		d.apply(changes)
	}
	later := start.Add(time.Hour)
	if l := b.learn(a, a.announce(id, later).Pages, later); !l.Complete {
		t.Fatalf("refused for another's fork: %+v", l)
	}
	// The other way: what b knows does not touch the group, what a knows does.
	payload, err := a.k.RemoveOp(id, next)
	if err != nil {
		t.Fatal(err)
	}
	a.learnOp(payload)
	if l := b.learn(a, a.announce(id, later).Pages, later); !l.Complete {
		t.Fatalf("the removal of who forked does not arrive: %+v", l)
	}
	if v, _ := b.k.Group(id); len(v.Members) != 2 {
		t.Fatalf("members are %v", v.Members)
	}
	b.mustOpen(a.seal(id, "without the third", later), later)
}

// An announce that lists a succession of which nothing will be heard, because the
// log's first entry is held here and says otherwise, is not waited for.
func TestSettledSuccessionIsNotWaitedFor(t *testing.T) {
	ds, id := meet(t, 3, start)
	a, b, c := ds[0], ds[1], ds[2]
	next := identity.LogID{Author: identity.Key{9}}
	a.succeed(c.log, next)
	later := start.Add(time.Hour)
	pages := a.announce(id, later).Pages
	if l := b.learn(a, pages, later); l.Complete || !l.Waiting {
		t.Fatalf("judged without knowing the succession: %+v", l)
	}
	b.k.cfg.Settled = func(log identity.LogID) bool { return log == next }
	learned, changes, err := b.k.Retry(later)
	if err != nil || len(learned) != 1 || !learned[0].Complete {
		t.Fatalf("waits for what will not come: %+v, %v", learned, err)
	}
	b.apply(changes)
	b.mustOpen(a.seal(id, "hello", later), later)
	if v, _ := b.k.Group(id); !listed(v.devices(), c.log) {
		t.Fatalf("a succession that is not known here made the members %v", v.Members)
	}
}
