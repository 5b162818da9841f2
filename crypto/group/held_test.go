package group

import (
	"errors"
	"testing"
)

// The keyrings of one process hold the prekeys of another device once, and nothing that one
// of them does to what it got out of it reaches the other.
func TestPreKeysHeldOnce(t *testing.T) {
	ds, _ := meet(t, 3, start)
	a, b, c := ds[0], ds[1], ds[2]
	if a.k.prekeys[c.log] != b.k.prekeys[c.log] {
		t.Fatal("two keyrings hold the same prekeys twice")
	}
	b.reload()
	if a.k.prekeys[c.log] != b.k.prekeys[c.log] {
		t.Error("held twice after a start")
	}
	before := *b.k.preKeysOf(c.log)
	spoil(a.k.preKeysOf(c.log))
	if *b.k.preKeysOf(c.log) != before {
		t.Error("one keyring changed what another holds")
	}
	// What one has learnt since is its own.
	next := start.Add(Week)
	payload, changes, err := c.k.PreKeyUpdate(next)
	if err != nil {
		t.Fatal(err)
	}
	c.apply(changes)
	a.apply(must(a.k.LearnPreKeys(c.log, payload, next)))
	if *b.k.preKeysOf(c.log) != before || *a.k.preKeysOf(c.log) == before {
		t.Error("what one keyring learnt, another holds")
	}
}

// That another keyring of the process holds a set, or has found it sound, says nothing to this one.
func TestPreKeysJudgedByEach(t *testing.T) {
	ds, _ := meet(t, 3, start)
	careless, a, eve := ds[0], ds[1], ds[2]
	bad := *a.k.preKeysOf(eve.log)
	spoil(&bad)
	careless.k.sound, careless.k.prekeys[eve.log] = bad.held(), bad.held()
	if _, err := a.k.LearnPreKeys(eve.log, bad.Marshal(), start); !errors.Is(err, ErrInvalid) {
		t.Errorf("prekeys that cannot be sealed to, held by another: %v", err)
	}
	a.disk[preKeyKey(eve.log)] = bad.Marshal()
	a.reload()
	if a.k.HasPreKey(eve.log, start) {
		t.Error("stored prekeys that cannot be sealed to count, for another holds them")
	}
}
