package group

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

// spoil makes the X25519 half of the prekeys a point of small order, to which
// nothing can be sealed although the standard library takes it for a key.
func spoil(p *PreKeys) {
	for i := range p.Public {
		clear(p.Public[i][preKeySize-32:])
	}
}

// A member cannot stop the announces of its groups with a prekey that cannot be
// sealed to.
func TestPreKeyOfSmallOrder(t *testing.T) {
	ds, id := meet(t, 3, start)
	a, b, eve := ds[0], ds[1], ds[2]
	bad := *a.k.preKeysOf(eve.log)
	spoil(&bad)
	for i := range bad.Public { // each week is looked at
		one := *a.k.preKeysOf(eve.log)
		one.Public[i] = bad.Public[i]
		if _, err := ParsePreKeys(one.Marshal()); !errors.Is(err, ErrInvalid) {
			t.Errorf("prekey %d of small order: %v", i, err)
		}
	}
	if changes, err := a.k.LearnPreKeys(eve.log, bad.Marshal(), start); !errors.Is(err, ErrInvalid) || changes != nil {
		t.Errorf("learnt: %v", err)
	}

	// One that came by other ways than this leaves out its device alone.
	good := *a.k.preKeysOf(eve.log)
	a.k.prekeys[eve.log] = bad.held()
	e, err := a.k.Announce(id, start)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(e.Missing, []secretLog{eve.log}) {
		t.Errorf("missing: %v", e.Missing)
	}
	a.apply(e.Changes)
	if l := b.learn(a, e.Pages, start); !l.Complete {
		t.Errorf("the others learnt %+v", l)
	}
	if u := b.k.epochs[e.Epoch].unreached; !slices.Equal(u, []secretLog{eve.log}) {
		t.Errorf("the others think unreached: %v", u)
	}

	// One on the disk counts as none, until the next set comes.
	a.disk[preKeyKey(eve.log)] = bad.Marshal()
	a.reload()
	if a.k.HasPreKey(eve.log, start) || a.k.NeedsEpoch(id, start) {
		t.Error("a stored prekey that cannot be sealed to counts")
	}
	a.apply(must(a.k.LearnPreKeys(eve.log, good.Marshal(), start)))
	if !a.k.HasPreKey(eve.log, start) || !bytes.Equal(a.disk[preKeyKey(eve.log)], good.Marshal()) {
		t.Error("a good set does not replace it")
	}
	a.checkDisk()
}

// What was checked when it was learnt is not checked again as a record, and that helps no other
// set: not one that differs in a single week, nor that set once another was learnt.
func TestPreKeysCheckedOnce(t *testing.T) {
	ds, _ := meet(t, 2, start)
	a, eve := ds[0], ds[1]
	good := *a.k.preKeysOf(eve.log)
	delete(a.k.prekeys, eve.log)
	changes := must(a.k.LearnPreKeys(eve.log, good.Marshal(), start))
	bad := good
	clear(bad.Public[len(bad.Public)-1][preKeySize-32:])
	a.apply([]Change{{Key: preKeyKey(eve.log), Value: bad.Marshal()}})
	if a.k.HasPreKey(eve.log, start) {
		t.Error("a set counts that was not the one checked")
	}
	sound := a.k.sound
	a.apply(changes)
	if !a.k.HasPreKey(eve.log, start) || a.k.prekeys[eve.log] != sound || sound.set.Value() != good {
		t.Error("the set that was checked is not the one held")
	}
	if _, err := a.k.LearnPreKeys(eve.log, bad.Marshal(), start); !errors.Is(err, ErrInvalid) || a.k.sound != sound {
		t.Errorf("a set that cannot be sealed to: %v", err)
	}
}
