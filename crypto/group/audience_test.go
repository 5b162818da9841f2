package group

import (
	"errors"
	"slices"
	"testing"
	"time"

	"tocsin/crypto/identity"
)

// exclude lets a device hear of a revocation.
func (d *device) exclude(who ...*device) []ID {
	out := make(map[identity.LogID]bool)
	for _, o := range who {
		out[o.log] = true
	}
	d.k.cfg.Excluded = func(id identity.LogID) bool { return out[id] }
	return d.k.Reexamine()
}

// Revocation and wipe subtract a device beside the operations, and the next to
// send rotates.
func TestExcludedRotates(t *testing.T) {
	ds, id := meet(t, 3, start)
	a, b, c := ds[0], ds[1], ds[2]
	if touched := a.exclude(newDevice(t, 9)); len(touched) != 0 || a.k.NeedsEpoch(id, start) {
		t.Error("a stranger's revocation touches the group")
	}
	if touched := a.exclude(c); !slices.Equal(touched, []ID{id}) || !a.k.NeedsEpoch(id, start) {
		t.Fatalf("touched %v", touched)
	}
	if _, err := a.k.Seal(id, a.place(), nil, start); !errors.Is(err, ErrNoEpoch) {
		t.Errorf("sealed to a revoked device: %v", err)
	}
	e := a.announce(id, start)
	if slices.Contains(a.k.Audience(id), c.log) || len(a.k.Audience(id)) != 2 || a.k.AudienceSize(id) != 2 || a.k.AudienceSize(ID{9}) != 0 {
		t.Errorf("audience %v", a.k.Audience(id))
	}
	if l := c.learn(a, e.Pages, start); l.Complete || !l.NotOurs {
		t.Error("the revoked device learnt the next epoch")
	}
	// B has not heard of the revocation: it reads, and sends under the old.
	if l := b.learn(a, e.Pages, start); !l.Complete {
		t.Fatalf("learnt %+v", l)
	}
	m := a.seal(id, "without C", start)
	b.mustOpen(m, start)
	refused(t, "a revoked device", c, m, ErrUnknownTag)
	old := b.seal(id, "to all three", start)
	if old.s.Epoch == e.Epoch {
		t.Error("sent under an epoch whose list is not the view")
	}
	c.mustOpen(old, start)
	b.exclude(c)
	if m := b.seal(id, "heard of it", start); m.s.Epoch != e.Epoch || b.k.NeedsEpoch(id, start) {
		t.Error("not sent under the epoch without the revoked device")
	}
	v, _ := b.k.Group(id)
	if _, member := v.Role(c.log); !member {
		t.Error("a revocation changed the operations' view")
	}
	b.checkDisk()
	if c.exclude(c); c.k.NeedsEpoch(id, start) {
		t.Error("a revoked device is asked for an epoch")
	}
	if _, err := c.k.Seal(id, c.place(), nil, start); !errors.Is(err, ErrNotMember) {
		t.Errorf("a device that knows of its revocation sent: %v", err)
	}
}

// What a revoked device says of a group counts no more once its revocation is
// known; what it sent is read.
func TestExcludedChangesNothing(t *testing.T) {
	ds, id := meet(t, 3, start)
	a, b, eve := ds[0], ds[1], newDevice(t, 66)
	eve.publish(start, ds...)
	a.add(id, RoleMember, eve)
	e := a.announce(id, start)
	b.exclude(a)
	b.learn(a, e.Pages, start)
	if v, _ := b.k.Group(id); len(v.Members) != 3 {
		t.Errorf("a revoked admin added a member: %v", v.Members)
	}
	b.mustOpen(a.seal(id, "still read", start), start)
	// One who heard of it in time hands it on.
	ds[2].learn(a, e.Pages, start)
	b.learn(ds[2], ds[2].announce(id, start).Pages, start)
	if v, _ := b.k.Group(id); len(v.Members) != 4 {
		t.Errorf("what others took before is not taken: %v", v.Members)
	}
	b.checkDisk()
}

// A removed member reads nothing later; what he sends later is kept and
// flagged.
func TestRemovedMember(t *testing.T) {
	ds, id := meet(t, 3, start)
	a, b, c := ds[0], ds[1], ds[2]
	before := c.seal(id, "before", start)
	b.mustOpen(before, start)
	a.learnOp(must(a.k.RemoveOp(id, c.log)))
	e := a.announce(id, start)
	b.learn(a, e.Pages, start)
	if l := c.learn(a, e.Pages, start); l.Complete || !l.NotOurs || l.Epoch != e.Epoch {
		t.Errorf("a removed member learnt %+v", l)
	}
	m := a.seal(id, "after", start)
	b.mustOpen(m, start)
	refused(t, "a removed member", c, m, ErrUnknownTag)
	late := c.seal(id, "I am still here", start)
	if o, err := b.open(late, start); err != nil || !o.Removed || string(o.Payload) != "I am still here" {
		t.Errorf("a removed member's message: %+v, %v", o, err)
	}
	if o, err := b.open(a.seal(id, "a member's", start), start); err != nil || o.Removed {
		t.Errorf("a member's message: %+v, %v", o, err)
	}
	if b.k.NeedsEpoch(id, start) {
		t.Error("a removed member's message asks for an epoch")
	}
	// His own announce, with what he knew, is not sent under.
	stale := c.announce(id, start)
	b.learn(c, stale.Pages, start)
	if m := b.seal(id, "to two", start); m.s.Epoch != e.Epoch {
		t.Error("sent under a removed member's epoch")
	}
}

// Who leaves tells the others himself, once, by an epoch that nobody sends
// under.
func TestFarewell(t *testing.T) {
	ds, id := meet(t, 3, start)
	a, b, c := ds[0], ds[1], ds[2]
	op := c.signOp(must(c.k.LeaveOp(id)))
	out, changes, err := c.k.Farewell(op, start)
	if err != nil || len(out) != 1 || out[0].Changes != nil {
		t.Fatalf("%d announces, %v", len(out), err)
	}
	// A crash before the changes: the same again.
	if again, _, err := c.k.Farewell(op, start); err != nil || len(again) != 1 {
		t.Fatalf("again: %v", err)
	}
	c.apply(changes)
	c.checkDisk()
	if _, err := c.k.Announce(id, start); !errors.Is(err, ErrNotMember) {
		t.Errorf("announced after leaving: %v", err)
	}
	for _, d := range []*device{a, b} {
		if l := d.learn(c, out[0].Pages, start); !l.Complete || l.Group != id {
			t.Fatalf("learnt %+v", l)
		}
		if v, _ := d.k.Group(id); len(v.Members) != 2 || !d.k.NeedsEpoch(id, start) {
			t.Errorf("members %v", v.Members)
		}
		if _, err := d.k.Seal(id, d.place(), nil, start); !errors.Is(err, ErrNoEpoch) {
			t.Errorf("sealed under a farewell: %v", err)
		}
	}
	e := a.announce(id, start)
	b.learn(a, e.Pages, start)
	b.mustOpen(a.seal(id, "two of us", start), start)
	if _, _, err := a.k.Farewell(a.signOp(must(a.k.RetentionOp(id, 1))), start); err == nil {
		t.Error("a farewell by another operation")
	}
	// The last one has nobody to tell.
	a.learnOp(must(a.k.RemoveOp(id, b.log)))
	if out, _, err := a.k.Farewell(a.signOp(must(a.k.LeaveOp(id))), start); err != nil || len(out) != 0 {
		t.Errorf("the last one told %d: %v", len(out), err)
	}
}

// Only one whose own leave is there may announce without being on the list.
func TestFarewellNeedsALeave(t *testing.T) {
	ds, id := meet(t, 3, start)
	a, b, c := ds[0], ds[1], ds[2]
	a.learnOp(must(a.k.RemoveOp(id, c.log)))
	c.k.groups[id] = a.k.groups[id] // he got hold of it
	f := newAnnouncer(t, c, b, id)
	if err := b.tryLearn(c.place(), f.pages(t)); !errors.Is(err, ErrNotMember) {
		t.Errorf("a removed member's announce for the others: %v", err)
	}
}

// A rotation is due when two partitions meet, although the members are the
// same: the operations of one half must reach the other.
func TestMergeRotates(t *testing.T) {
	ds, id := meet(t, 3, start)
	a, b, c := ds[0], ds[1], ds[2]
	a.learnOp(must(a.k.RoleOp(id, b.log, RoleAdmin)))
	e := a.announce(id, start)
	b.learn(a, e.Pages, start)
	c.learn(a, e.Pages, start)
	a.learnOp(must(a.k.RetentionOp(id, 30)))
	b.learnOp(must(b.k.StateOp(id, StateClosed)))
	x, y := a.announce(id, start), b.announce(id, start)
	a.learn(b, y.Pages, start)
	b.learn(a, x.Pages, start)
	if !a.k.NeedsEpoch(id, start) || !b.k.NeedsEpoch(id, start) {
		t.Fatal("no rotation on merge")
	}
	c.learn(b, y.Pages, start)
	both := a.announce(id, start)
	for _, d := range []*device{b, c} {
		d.learn(a, both.Pages, start)
		if v, _ := d.k.Group(id); v.Retention != 30 || v.State != StateClosed || d.k.NeedsEpoch(id, start) {
			t.Errorf("view %+v", v)
		}
	}
}

// A direct group is for two persons' devices.
func TestDirectIsForTwo(t *testing.T) {
	ds := make([]*device, 5)
	person := make(map[identity.LogID]string)
	for i := range ds {
		ds[i] = newDevice(t, uint64(i+1))
		ds[i].k.cfg.Person = func(d identity.LogID) (string, bool) { p, ok := person[d]; return p, ok }
	}
	for i, p := range []string{"Ann", "Ann", "Bob", "Bob"} {
		person[ds[i].log] = p
	}
	for _, d := range ds {
		d.publish(start, ds...)
	}
	a, eve := ds[0], ds[4]
	id := a.create(KindDirect, "")
	a.add(id, RoleAdmin, ds[1:4]...)
	a.announce(id, start)
	a.seal(id, "two persons, four devices", start)
	a.add(id, RoleMember, eve) // whose she is, nobody knows yet
	a.announce(id, start)
	person[eve.log] = "Eve"
	if _, err := a.k.Seal(id, a.place(), nil, start); !errors.Is(err, ErrDirect) {
		t.Errorf("sealed to three persons: %v", err)
	}
	if _, err := a.k.Announce(id, start); !errors.Is(err, ErrDirect) {
		t.Errorf("announced to three persons: %v", err)
	}
	a.learnOp(must(a.k.RemoveOp(id, eve.log)))
	if _, err := a.k.AddOp(id, eve.log, RoleMember); !errors.Is(err, ErrDirect) {
		t.Errorf("added a third person: %v", err)
	}
	a.announce(id, start)
	a.seal(id, "two again", start)
	team := a.create(KindTeam, "Ward 7")
	a.add(team, RoleMember, ds[1:]...)
	a.announce(team, start)
	a.seal(team, "any number", start)
}

// An audience of more than one epoch: two of 150 and 151 devices, three of them
// real. Adds at the same time beyond one epoch are no error.
func TestParts(t *testing.T) {
	ds, id := meet(t, 4, start)
	a, b := ds[0], ds[1]
	a.learnOp(must(a.k.RoleOp(id, b.log, RoleAdmin)))
	b.learn(a, a.announce(id, start).Pages, start)
	set := a.k.preKeysOf(b.log).Marshal()
	grow := func(d *device, from, n int) {
		deps := d.k.groups[id].view.Heads
		for i := range n {
			log := identity.LogID{Author: identity.Key{byte(i), byte(from)}}
			d.apply(must(d.k.LearnPreKeys(log, set, start)))
			d.learnOp(must((&Op{Group: id, Deps: deps[:min(len(deps), MaxDeps)], Add: &Add{Device: log, Role: RoleMember}}).Marshal()))
			deps = d.k.groups[id].view.Heads
		}
	}
	grow(a, 1, 150)
	grow(b, 2, 147)
	one := b.announce(id, start)
	a.learn(b, one.Pages, start)
	if v, _ := a.k.Group(id); len(v.Members) != 301 || a.k.Parts(id) != 2 {
		t.Fatalf("%d members in %d parts", len(v.Members), a.k.Parts(id))
	}
	if _, err := a.k.Seal(id, a.place(), nil, start); !errors.Is(err, ErrParts) {
		t.Errorf("sealed to one part alone: %v", err)
	}
	for _, m := range a.k.Audience(id) {
		if _, ok := a.k.prekeys[m]; !ok && m != a.log {
			a.apply(must(a.k.LearnPreKeys(m, set, start)))
		}
	}
	out, err := a.k.AnnounceAll(id, start)
	if err != nil || len(out) != 2 {
		t.Fatal(len(out), err)
	}
	pages := 0
	for _, x := range out {
		a.apply(x.Changes)
		pages += len(x.Pages)
	}
	if a.k.NeedsEpoch(id, start) {
		t.Error("an epoch is due right after all were announced")
	}
	// The parts together are the audience, and each has one announcer more.
	var all []identity.LogID
	for i, p := range a.k.groups[id].parts {
		all = append(all, p.devices...)
		e := a.k.sending(a.k.groups[id], i, start)
		if e == nil || len(e.members) > MaxMembers || !listed(e.members, a.log) {
			t.Fatalf("part %d: epoch %v", i, e)
		}
	}
	if !slices.Equal(all, a.k.Audience(id)) {
		t.Error("the parts are not the audience")
	}
	// One message, an entry for each part, one commit; every real device opens
	// exactly one of them.
	first, err := a.k.SealPart(id, 0, nil, a.place(), []byte("all units"), start)
	if err != nil {
		t.Fatal(err)
	}
	at := []Place{{Log: a.log, Seq: a.seq}, a.place()}
	second, err := a.k.SealPart(id, 1, &first.Opening, at[1], []byte("all units"), start)
	if err != nil {
		t.Fatal(err)
	}
	if first.Commit != second.Commit || first.Tag == second.Tag || first.Epoch == second.Epoch {
		t.Error("two parts, one commit and two epochs")
	}
	for _, s := range []*Sealed{first, second} {
		a.apply(s.Changes)
	}
	for _, d := range ds[1:] {
		read := 0
		for _, x := range out {
			d.learn(a, x.Pages, start)
		}
		for i, s := range []*Sealed{first, second} {
			o, err := d.open(sent{at: at[i], tag: s.Tag, commit: s.Commit, body: s.Body}, start)
			if err == nil && string(o.Payload) == "all units" && o.Provable {
				read++
			} else if !errors.Is(err, ErrUnknownTag) {
				t.Errorf("part %d: %v", i, err)
			}
		}
		if v, _ := d.k.Group(id); read != 1 || len(v.Members) != 301 {
			t.Errorf("%s read it %d times, and sees %d members", name(d), read, len(v.Members))
		}
		d.checkDisk()
	}
	// Another sender is on the list of his own part, and announces the other.
	d := ds[2]
	for _, m := range d.k.Audience(id) {
		if _, ok := d.k.prekeys[m]; !ok && m != d.log {
			d.apply(must(d.k.LearnPreKeys(m, set, start)))
		}
	}
	if out, err := d.k.AnnounceAll(id, start); err != nil || len(out) != 1 {
		t.Errorf("%d announces, %v", len(out), err)
	}
	if _, err := d.k.SealPart(id, 7, nil, d.place(), nil, start); err == nil {
		t.Error("sealed to a part that is not there")
	}
}

// Own prekeys of a week are gone; an announce of that week may have been for
// them. It is asked for again, and the next one reaches.
func TestDestroyedPreKeyAsksAgain(t *testing.T) {
	ds, id := meet(t, 2, start)
	a, b := ds[0], ds[1]
	stale := a.announce(id, start)
	lost := a.seal(id, "while you were away", start)
	now := start
	for b.k.span.destroyed != b.k.span.first || !b.k.span.any {
		now = now.Add(24 * time.Hour)
		b.apply(b.k.Expire(now, 24*time.Hour))
		a.apply(a.k.Expire(now, 24*time.Hour))
	}
	if now.Sub(start) < SecretLife {
		t.Fatalf("a prekey lived %s", now.Sub(start))
	}
	b.checkDisk()
	l := b.learn(a, stale.Pages, now)
	if !l.NotOurs || l.Complete || l.Epoch != stale.Epoch {
		t.Fatalf("learnt %+v", l)
	}
	if !b.k.MayBeDestroyed(a.log, start) {
		t.Error("an announce of a destroyed week is not known as such")
	}
	for what, no := range map[string]bool{
		"a stranger's announce":   b.k.MayBeDestroyed(newDevice(t, 9).log, start),
		"one of a week alive":     b.k.MayBeDestroyed(a.log, now),
		"one before we were here": b.k.MayBeDestroyed(a.log, start.Add(-2*Week)),
		"nothing destroyed":       a.k.MayBeDestroyed(b.log, now),
	} {
		if no {
			t.Errorf("%s was sealed to a destroyed prekey", what)
		}
	}
	payload, changes, err := b.k.AskAgain(a.log, stale.Epoch, [][32]byte{{9}, {1}, {9}}, now)
	if err != nil || payload == nil {
		t.Fatal(err)
	}
	b.apply(changes)
	b.checkDisk()
	if again, _, err := b.k.AskAgain(a.log, stale.Epoch, nil, now.Add(time.Hour)); err != nil || again != nil {
		t.Error("asked twice within a day")
	}
	u := must(ParseUnreadable(payload))
	if u.Creator != a.log || u.Epoch != stale.Epoch || !slices.Equal(u.Entries, [][32]byte{{1}, {9}}) {
		t.Errorf("asked for %+v", u)
	}
	refused(t, "lost", b, lost, nil)
	b.publish(now, a)
	fresh := a.announce(id, now)
	b.learn(a, fresh.Pages, now)
	b.mustOpen(a.seal(id, "again", now), now)
	b.apply(b.k.Expire(now.Add(AskAge), AskAge))
	if again, _, err := b.k.AskAgain(a.log, stale.Epoch, nil, now.Add(AskAge)); err != nil || again == nil {
		t.Error("not asked again a day later")
	}
}

// A member's request demotes the epoch he cannot read: another is sent under,
// or announced. One request about an announcer a day; none of a stranger.
func TestUnreadableDemotes(t *testing.T) {
	ds, id := meet(t, 3, start)
	a, b, c := ds[0], ds[1], ds[2]
	held := a.seal(id, "x", start).s.Epoch
	ask := func(creator identity.LogID, epoch EpochID) []byte {
		return must((&Unreadable{Creator: creator, Epoch: epoch}).Marshal())
	}
	learn := func(d *device, from identity.LogID, payload []byte) Asked {
		t.Helper()
		asked, changes, err := d.k.LearnUnreadable(from, payload, start)
		if err != nil {
			t.Fatal(err)
		}
		d.apply(changes)
		d.checkDisk()
		return asked
	}
	if asked := learn(a, newDevice(t, 9).log, ask(a.log, held)); len(asked.Groups) != 0 || a.k.NeedsEpoch(id, start) {
		t.Errorf("a stranger's request: %+v", asked)
	}
	if asked := learn(a, c.log, ask(b.log, held)); len(asked.Demoted) != 0 || a.k.NeedsEpoch(id, start) {
		t.Errorf("an epoch by someone else: %+v", asked)
	}
	for _, d := range []*device{a, b} {
		if asked := learn(d, c.log, ask(a.log, EpochID{})); !slices.Equal(asked.Demoted, []EpochID{held}) || !slices.Equal(asked.Groups, []ID{id}) || !d.k.NeedsEpoch(id, start) {
			t.Errorf("asked %+v", asked)
		}
		if m := d.seal(id, "it still serves", start); m.s.Epoch != held {
			t.Error("where there is no other, the demoted epoch serves")
		}
	}
	next := b.announce(id, start)
	for _, d := range []*device{a, c} {
		d.learn(b, next.Pages, start)
	}
	for _, d := range []*device{a, b} {
		if m := d.seal(id, "y", start); m.s.Epoch != next.Epoch || d.k.NeedsEpoch(id, start) {
			t.Error("not sent under the epoch that everyone reads")
		}
	}
	own := a.announce(id, start)
	if asked := learn(a, c.log, ask(a.log, own.Epoch)); len(asked.Groups) != 0 || len(asked.Demoted) != 0 {
		t.Errorf("a second request within a day: %+v", asked)
	}
	a.reload()
	if m := a.seal(id, "y", start); m.s.Epoch == held {
		t.Error("a restart forgot the request")
	}
	a.apply(a.k.Expire(start, 0))
	a.apply(a.k.Expire(start.Add(AskAge), AskAge))
	if asked := learn(a, c.log, ask(a.log, own.Epoch)); len(asked.Demoted) != 1 {
		t.Errorf("a day later: %+v", asked)
	}
	for range 40 {
		a.apply(a.k.Expire(start, 24*time.Hour))
	}
	if len(a.k.epochs) != 0 || len(a.k.gone) == 0 {
		t.Error("a demoted epoch outlived its time")
	}
	for key := range a.disk {
		if len(key) > 14 && key[:14] == "group/demoted/" {
			t.Errorf("left behind: %s", key)
		}
	}
}

// A late joiner is handed what he may read, and cannot be told anything that
// its author did not say in this group.
func TestHandover(t *testing.T) {
	ds, id := meet(t, 2, start)
	a, b := ds[0], ds[1]
	other := a.create(KindTeam, "Elsewhere")
	a.announce(other, start)
	m, foreign := a.seal(id, "before she came", start), a.seal(other, "not for her", start)
	o, err := b.open(m, start)
	if err != nil {
		t.Fatal(err)
	}
	if o.TagKey != m.s.TagKey {
		t.Error("sender and reader keep another tag key")
	}
	headers := make(map[[32]byte]HandedHeader)
	for i, x := range []sent{m, foreign} {
		headers[[32]byte{byte(i)}] = HandedHeader{Place: x.at, Tag: x.tag, Commit: x.commit}
	}
	lookup := func(id [32]byte) (HandedHeader, bool) { h, ok := headers[id]; return h, ok }
	item := HandoverItem{ID: [32]byte{0}, Opening: o.Opening, TagKey: o.TagKey, Payload: o.Payload}
	raw := must(MarshalHandover([]HandoverItem{item, {ID: [32]byte{7}, Payload: []byte("?")}}))
	good, missing, err := CheckHandover(id, must(ParseHandover(raw)), lookup)
	if err != nil || len(good) != 1 || string(good[0].Payload) != "before she came" || !slices.Equal(missing, [][32]byte{{7}}) {
		t.Errorf("handed over %v, missing %v: %v", good, missing, err)
	}
	for what, change := range map[string]func(i *HandoverItem){
		"another text":    func(i *HandoverItem) { i.Payload = []byte("she was here") },
		"another opening": func(i *HandoverItem) { i.Opening[0] ^= 1 },
		"another tag key": func(i *HandoverItem) { i.TagKey[0] ^= 1 },
		"a message of another group": func(i *HandoverItem) {
			*i = HandoverItem{ID: [32]byte{1}, Opening: foreign.s.Opening, TagKey: foreign.s.TagKey, Payload: foreign.payload}
		},
	} {
		bad := item
		change(&bad)
		if good, _, err := CheckHandover(id, []HandoverItem{item, bad}, lookup); !errors.Is(err, ErrInvalid) || good != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := MarshalHandover(make([]HandoverItem, MaxHanded+1)); !errors.Is(err, ErrInvalid) {
		t.Errorf("too many: %v", err)
	}
	if _, err := MarshalHandover(nil); err == nil {
		t.Error("a hand-over of nothing")
	}
	if _, err := MarshalHandover([]HandoverItem{{Payload: make([]byte, MaxPayload)}}); err == nil {
		t.Error("a hand-over that fits no message")
	}
}

// One member's requests take places from nobody else: about names that are made
// up they lead to nothing, and about members they are bounded.
func TestRequestsDoNotSilence(t *testing.T) {
	ds, id := meet(t, 3, start)
	a, b, c := ds[0], ds[1], ds[2]
	held := a.seal(id, "x", start).s.Epoch
	ask := func(from, creator identity.LogID) (Asked, error) {
		asked, changes, err := a.k.LearnUnreadable(from, must((&Unreadable{Creator: creator}).Marshal()), start)
		if err == nil {
			a.apply(changes)
		}
		return asked, err
	}
	for i := range 3 * MaxAsked {
		if asked, err := ask(b.log, identity.LogID{Author: identity.Key{1, byte(i), byte(i >> 8)}}); err != nil || len(asked.Groups) != 0 {
			t.Fatalf("a name that was made up: %+v, %v", asked, err)
		}
	}
	if len(a.k.askedUs) != 0 {
		t.Fatalf("%d places are taken by nobody", len(a.k.askedUs))
	}
	// A group of Bob and many, but not of Carol.
	crowd := a.create(KindTeam, "Crowd")
	a.add(crowd, RoleMember, b)
	op := &Op{Group: crowd, Deps: a.k.groups[crowd].view.Heads}
	for i := range MaxAsked { // signed one after the other, learnt at once: a long line takes long
		op.Add = &Add{Device: identity.LogID{Author: identity.Key{2, byte(i), byte(i >> 8)}}, Role: RoleMember}
		o := must(a.k.checkOp(a.signOp(must(op.Marshal()))))
		a.apply([]Change{must(o.change())})
	}
	made := identity.LogID{Author: identity.Key{2}}
	if asked, err := ask(c.log, made); err != nil || len(asked.Groups) != 0 {
		t.Errorf("about a member of another group: %+v, %v", asked, err)
	}
	for i := range MaxAsked {
		made.Author[1], made.Author[2] = byte(i), byte(i>>8)
		if asked, err := ask(b.log, made); err != nil || !slices.Equal(asked.Groups, []ID{crowd}) {
			t.Fatalf("request %d: %+v, %v", i, asked, err)
		}
	}
	if _, err := ask(b.log, a.log); !errors.Is(err, ErrLimit) {
		t.Errorf("one request too many: %v", err)
	}
	if asked, err := ask(c.log, a.log); err != nil || !slices.Equal(asked.Groups, []ID{id}) || !slices.Equal(asked.Demoted, []EpochID{held}) {
		t.Errorf("the next member is not heard: %+v, %v", asked, err)
	}
	a.checkDisk()
	a.apply(a.k.Expire(start, 0))
	a.apply(a.k.Expire(start.Add(AskAge), AskAge))
	if a.checkDisk(); a.k.heeded != 0 {
		t.Errorf("%d requests are remembered a day later", a.k.heeded)
	}
	a.k.heeded = maxHeeded
	if _, err := ask(b.log, a.log); !errors.Is(err, ErrLimit) {
		t.Errorf("all places are taken: %v", err)
	}
}
