package group

import (
	"bytes"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"
)

// hoard is a device with an epoch that has skipped seeds and gaps, and an
// incomplete announce, all due at the returned time.
func hoard(t *testing.T) (*device, []sent, time.Time) {
	t.Helper()
	ds, id := meet(t, 2, start)
	a, b := ds[0], ds[1]
	b.k.maxSeeds = 5
	var messages []sent
	for range 30 {
		messages = append(messages, a.seal(id, "x", start))
	}
	for _, i := range []int{4, 20, 12, 28} {
		b.mustOpen(messages[i], start)
	}
	_, changes, err := b.k.LearnEpoch(a.place(), [32]byte{}, a.announce(id, start).Pages[1], start)
	if err != nil {
		t.Fatal(err)
	}
	b.apply(changes)
	now := start
	for range 34 {
		b.apply(b.k.Expire(now, 0))
		now = now.Add(24 * time.Hour)
	}
	for len(b.k.Expire(now, 0)) < 5 { // only the clock, and prekeys
		b.apply(b.k.Expire(now, 0))
		now = now.Add(24 * time.Hour)
	}
	return b, messages, now
}

// The destruction of an epoch may be cut off anywhere: what is left loads, can
// neither send nor open what comes next, and goes next time.
func TestDropCutOff(t *testing.T) {
	d, messages, now := hoard(t)
	whole := d.disk
	changes := d.k.Expire(now, 0)
	for n := range len(changes) + 1 {
		d.disk = maps.Clone(whole)
		store(d.disk, changes[:n])
		d.reload()
		for _, e := range d.k.epochs {
			for m, c := range e.chains {
				if _, held := d.disk[chainKey(e.id, m)]; !held && c.next < MaxGeneration {
					t.Fatalf("after %d changes a chain whose record is gone can be used", n)
				}
			}
		}
		if last := messages[29]; n == len(changes) {
			if _, err := d.open(last, now); !errors.Is(err, ErrDestroyed) {
				t.Errorf("opened after its epoch went: %v", err)
			}
		}
		d.apply(d.k.Expire(now, 0))
		for key := range d.disk {
			for _, word := range []string{"chain", "seed", "gap", "epoch", "partial"} {
				if strings.HasPrefix(key, keyPrefix+word) {
					t.Fatalf("cut off after %d of %d changes, then left behind: %s", n, len(changes), key)
				}
			}
		}
	}
}

// A chain that is missing from an epoch still alive is damage, and seeds alone
// do not stand in for it.
func TestMissingChainIsDamage(t *testing.T) {
	ds, id := meet(t, 2, start)
	m := []sent{ds[0].seal(id, "x", start), ds[0].seal(id, "y", start)}
	ds[1].mustOpen(m[1], start)
	ds[1].apply(ds[1].k.Expire(start, 0))
	delete(ds[1].disk, chainKey(m[0].s.Epoch, ds[0].log))
	if _, err := Load(ds[1].config(9), scanner(ds[1].disk)); err == nil {
		t.Error("loaded a live epoch without one of its chains")
	}
}

func TestKnows(t *testing.T) {
	ds, id := meet(t, 2, start)
	m := ds[0].seal(id, "x", start)
	if !ds[1].k.Knows(m.tag) || ds[1].k.Knows(Tag(bytes.Repeat([]byte{7}, len(Tag{})))) {
		t.Error("Knows does not tell a held tag from another")
	}
	for epoch := range ds[1].k.epochs {
		ds[1].apply(ds[1].k.epochs[epoch].drop())
	}
	if ds[1].k.Knows(m.tag) {
		t.Error("Knows a tag whose epoch is gone")
	}
}
