package group

import (
	"errors"
	"testing"
)

// small has epochs of at most four devices: parts of three.
func small(ds []*device) {
	for _, d := range ds {
		d.k.cfg.Devices = 4
		clear(d.k.epochs) // that of meet has everybody
		d.k.Reexamine()
	}
}

// An answer in a group of several parts goes back by the way the question came: one entry, no announce, and it reaches who asked.
// Somebody in another part, who made no epoch, reads nothing of it.
func TestSealToward(t *testing.T) {
	ds, id := meet(t, 7, start)
	small(ds)
	asker := ds[0]
	if p := asker.k.Parts(id); p != 3 {
		t.Fatalf("%d parts", p)
	}
	all, err := asker.k.AnnounceAll(id, start)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		asker.apply(a.Changes)
		for _, d := range ds[1:] {
			d.learn(asker, a.Pages, start)
		}
	}
	for _, d := range ds[1:] {
		if !d.k.NeedsEpoch(id, start) {
			t.Errorf("%s holds an epoch of every part", name(d))
		}
		if !d.k.Shares(id, asker.log, start) {
			t.Fatalf("%s shares no epoch with who asked", name(d))
		}
		at := d.place()
		s, err := d.k.SealToward(id, asker.log, at, []byte("coming"), start)
		if err != nil {
			t.Fatal(err)
		}
		d.apply(s.Changes)
		m := sent{at: at, tag: s.Tag, commit: s.Commit, body: s.Body}
		if o, err := asker.open(m, start); err != nil || string(o.Payload) != "coming" || !o.Provable {
			t.Errorf("who asked reads %v, %v", o, err)
		}
		for _, other := range ds[1:] {
			together := partOf(d, id, d) == partOf(d, id, other)
			if _, err := other.open(m, start); other != d && (err == nil) != together || err != nil && other != d && !errors.Is(err, ErrUnknownTag) {
				t.Errorf("%s, in the same part: %v, opens an answer of %s: %v", name(other), together, name(d), err)
			}
		}
	}
	// Two who are in different parts and announced nothing share nothing.
	a := ds[1]
	apart := 0
	for _, b := range ds[2:] {
		if partOf(a, id, a) == partOf(a, id, b) {
			continue
		}
		apart++
		if _, err := a.k.SealToward(id, b.log, a.place(), nil, start); !errors.Is(err, ErrNoEpoch) || a.k.Shares(id, b.log, start) {
			t.Errorf("sealed towards somebody in another part: %v", err)
		}
	}
	if apart == 0 {
		t.Error("all are in one part")
	}
	// Nor is anything sealed towards who was removed.
	for _, d := range ds[1:] {
		d.exclude(asker)
		if _, err := d.k.SealToward(id, asker.log, d.place(), nil, start); !errors.Is(err, ErrNoEpoch) {
			t.Errorf("sealed towards a revoked device: %v", err)
		}
	}
}

// partOf is the part of a group, as d sees it, in which a device is.
func partOf(d *device, id ID, who *device) int {
	for i, p := range d.k.groups[id].parts {
		if listed(p.devices, who.log) {
			return i
		}
	}
	return -1
}

// Someone who said that he cannot read an epoch is not sealed towards under it.
func TestSealTowardUnreached(t *testing.T) {
	ds, id := meet(t, 2, start)
	a, b := ds[0], ds[1]
	b.learn(a, a.announce(id, start).Pages, start)
	if !a.k.Shares(id, b.log, start) {
		t.Fatal("two members share no epoch")
	}
	for _, e := range a.k.epochs {
		e.unreached = append(e.unreached, b.log)
	}
	if a.k.Shares(id, b.log, start) {
		t.Error("sealed towards a member who was given no wrap")
	}
}

// A device more cuts every part of the audience anew and leaves the way back as it was. A device less ends it until who is to be told
// announces: nothing is sealed under an epoch that reaches somebody who is out.
func TestSealTowardAfterChanges(t *testing.T) {
	ds, id := meet(t, 8, start)
	small(ds)
	admin, asker, other := ds[0], ds[1], ds[7]
	tell := func(by *device, to ...*device) {
		t.Helper()
		all, err := by.k.AnnounceAll(id, start)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range all {
			by.apply(a.Changes)
			for _, d := range to {
				if d != by {
					d.learn(by, a.Pages, start)
				}
			}
		}
	}
	remove := func(who *device) {
		t.Helper()
		payload, err := admin.k.RemoveOp(id, who.log)
		if err != nil {
			t.Fatal(err)
		}
		admin.learnOp(payload)
	}
	remove(other)
	tell(admin, ds[:7]...)
	tell(asker, ds[:7]...)
	admin.add(id, RoleMember, other)
	tell(admin, ds...)
	for _, d := range ds[2:7] {
		at := d.place()
		s, err := d.k.SealToward(id, asker.log, at, []byte("coming"), start)
		if err != nil {
			t.Fatalf("%s, after a device was added: %v", name(d), err)
		}
		d.apply(s.Changes)
		m := sent{at: at, tag: s.Tag, commit: s.Commit, body: s.Body}
		if o, err := asker.open(m, start); err != nil || string(o.Payload) != "coming" {
			t.Errorf("who asked reads %v, %v", o, err)
		}
	}
	gone := ds[3]
	remove(gone)
	left := []*device{ds[0], ds[1], ds[2], ds[4], ds[5], ds[6], ds[7]}
	tell(admin, left...)
	cut := 0
	for _, d := range left[2:] {
		if !d.k.Shares(id, asker.log, start) {
			cut++
			continue
		}
		at := d.place()
		s, err := d.k.SealToward(id, asker.log, at, []byte("coming"), start)
		if err != nil {
			t.Fatal(err)
		}
		d.apply(s.Changes)
		if _, err := gone.open(sent{at: at, tag: s.Tag, commit: s.Commit, body: s.Body}, start); err == nil {
			t.Errorf("who was removed reads what %s answers", name(d))
		}
	}
	if cut == 0 {
		t.Error("after a removal everybody shares an epoch with who asked, who announced none")
	}
	tell(asker, left...)
	for _, d := range left[2:] {
		if !d.k.Shares(id, asker.log, start) {
			t.Errorf("%s shares no epoch with who asked and has announced since", name(d))
		}
	}
}
