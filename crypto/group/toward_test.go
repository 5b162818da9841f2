package group

import (
	"errors"
	"testing"
)

// small has epochs of at most four devices: parts of three.
func small(ds []*device) {
	for _, d := range ds {
		d.k.cfg.Devices = 4
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
