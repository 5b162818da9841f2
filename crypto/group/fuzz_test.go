package group

import (
	"bytes"
	"maps"
	"slices"
	"testing"

	"tocsin/crypto/identity"
)

// Every parser reads one encoding: what it accepts, it writes back the same.

func seedBodies(f *testing.F) (pages [][]byte, body []byte, ops []SignedOp, keys []byte) {
	ds, id := meet(f, 2, start)
	a := ds[0].announce(id, start)
	for _, o := range ds[0].k.groups[id].ops {
		ops = append(ops, o.sealed)
	}
	set := ds[0].k.preKeysOf(ds[1].log)
	return a.Pages, ds[0].seal(id, "hello", start).body, ops, set.Marshal()
}

func FuzzPreKeys(f *testing.F) {
	_, _, _, keys := seedBodies(f)
	f.Add(keys)
	f.Add(keys[:100])
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePreKeys(b)
		if err == nil && !bytes.Equal(p.Marshal(), b) {
			t.Fatal("prekeys are written in another way than they were read")
		}
	})
}

func FuzzOp(f *testing.F) {
	_, _, ops, _ := seedBodies(f)
	for _, o := range ops {
		f.Add(o.Payload)
	}
	for _, op := range everyOp() {
		f.Add(must(op.Marshal()))
	}
	for kind := range byte(10) {
		b := bytes.Clone(ops[0].Payload)
		b[35+32*(len(must(ParseOp(b)).Deps))] = kind
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := ParseOp(b)
		if err != nil {
			return
		}
		if got, err := o.Marshal(); err != nil || !bytes.Equal(got, b) {
			t.Fatalf("an operation is written in another way than it was read: %v", err)
		}
	})
}

func FuzzEpochPage(f *testing.F) {
	pages, _, _, _ := seedBodies(f)
	for _, p := range pages {
		f.Add(p)
	}
	f.Add(OpBody())
	d := newDevice(f, 2)
	d.publish(start)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parsePage(b)
		if err == nil {
			if got, err := p.marshal(); err != nil || !bytes.Equal(got, b) {
				t.Fatalf("a page is written in another way than it was read: %v", err)
			}
		}
		l, changes, err := d.k.LearnEpoch(Place{Log: d.log}, [32]byte{}, b, start)
		if l.Complete {
			t.Fatal("learnt an epoch from one page")
		}
		if err == nil {
			if err := New(d.config(1)).Apply(changes...); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzEpochState(f *testing.F) {
	ds, id := meet(f, 2, start)
	st := epochState{group: id, members: []epochMember{{device: ds[0].log, reached: true}}}
	for _, o := range ds[0].k.groups[id].ops {
		st.ops = append(st.ops, o.sealed)
	}
	f.Add(must(st.marshal()))
	next := ds[1].log
	next.Incarnation++
	st.successions = []Succession{{Old: ds[1].log, New: next}}
	f.Add(must(st.marshal()))
	f.Fuzz(func(t *testing.T, b []byte) {
		st, err := parseEpochState(b)
		if err != nil {
			return
		}
		if got, err := st.marshal(); err != nil || !bytes.Equal(got, b) {
			t.Fatalf("a state is written in another way than it was read: %v", err)
		}
	})
}

func FuzzBody(f *testing.F) {
	_, body, _, _ := seedBodies(f)
	f.Add(body)
	f.Add(body[:60])
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parseEnvelope(b)
		if err == nil && !bytes.Equal(e.marshal(), b) {
			t.Fatal("a body is written in another way than it was read")
		}
	})
}

func FuzzPlain(f *testing.F) {
	f.Add(make([]byte, 256))
	f.Fuzz(func(t *testing.T, b []byte) {
		opening, payload, err := readPlain(b)
		if err != nil {
			return
		}
		got := make([]byte, padded(plainPrefix+len(payload)))
		copy(got, opening[:])
		got[32], got[33], got[34], got[35] = byte(len(payload)>>24), byte(len(payload)>>16), byte(len(payload)>>8), byte(len(payload))
		copy(got[36:], payload)
		if !bytes.Equal(got, b) {
			t.Fatal("a plaintext has two encodings")
		}
	})
}

// Records come from an authenticated vault; all the same nothing in them may
// end the process.
func FuzzRecords(f *testing.F) {
	ds, id := meet(f, 2, start)
	a := ds[0].announce(id, start)
	_, changes, err := ds[1].k.LearnEpoch(ds[0].place(), [32]byte{}, a.Pages[1], start)
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range append(changes, dumpChanges(f, ds[1].k)...) {
		f.Add(c.Key, c.Value)
		f.Add(c.Key, []byte(nil))
	}
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		k, err := Load(ds[1].config(1), scanner(ds[1].disk))
		if err != nil {
			t.Fatal(err)
		}
		before := len(dump(t, k))
		if err := k.Apply(Change{Key: key, Value: value}); err != nil && len(dump(t, k)) != before {
			t.Fatalf("a refused record left something behind: %v", err)
		}
	})
}

// everyOp has one operation of each kind but create.
func everyOp() []*Op {
	device := identity.LogID{Author: identity.Key{7}, Incarnation: 2}
	ops := []*Op{
		{Add: &Add{Device: device, Role: RoleAdmin}}, {Remove: &Remove{Device: device}}, {Role: &RoleChange{Device: device, Role: RoleMember}}, {Leave: &Leave{}},
		{Retention: &Retention{Days: 30}}, {State: &StateChange{State: StateClosed}}, {Appoint: &Appoint{Statement: []byte("statement")}},
	}
	for _, op := range ops {
		op.Group, op.Deps = ID{1}, [][32]byte{{2}, {3}}
	}
	return ops
}

// The merge of operations that the bytes draw agrees with the model, and is
// the same whatever the order in which they come.
func FuzzMerge(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("a long enough line of bytes to draw a good many operations from, with every kind and role in it"))
	f.Add(bytes.Repeat([]byte{3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3}, 12))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = b[:min(len(b), 400)]
		draw := func(_ string, n int) int {
			if len(b) == 0 {
				return 0
			}
			x := int(b[0]) % n
			b = b[1:]
			return x
		}
		g := newGrove(draw)
		for len(b) > 0 {
			g.grow(draw)
		}
		got, err := g.set.evaluate(nil, g.id)
		if err != nil {
			t.Fatal(err)
		}
		newNaive(g.set).view().compare(t, got)
		// The same again, in the order of the map of this turn.
		again, err := maps.Clone(g.set).evaluate(nil, g.id)
		if err != nil || !slices.Equal(again.Members, got.Members) || !slices.Equal(again.Void, got.Void) {
			t.Fatalf("another order, another view: %v", err)
		}
	})
}

func FuzzUnreadable(f *testing.F) {
	f.Add(must((&Unreadable{Creator: identity.LogID{Author: identity.Key{1}}, Entries: [][32]byte{{1}, {2}}}).Marshal()))
	f.Fuzz(func(t *testing.T, b []byte) {
		u, err := ParseUnreadable(b)
		if err != nil {
			return
		}
		if got, err := u.Marshal(); err != nil || !bytes.Equal(got, b) {
			t.Fatalf("a request is written in another way than it was read: %v", err)
		}
	})
}

func FuzzHandover(f *testing.F) {
	f.Add(must(MarshalHandover([]HandoverItem{{ID: [32]byte{1}, Payload: []byte("x")}, {ID: [32]byte{2}}})))
	f.Fuzz(func(t *testing.T, b []byte) {
		items, err := ParseHandover(b)
		if err != nil {
			return
		}
		if got, err := MarshalHandover(items); err != nil || !bytes.Equal(got, b) {
			t.Fatalf("a hand-over is written in another way than it was read: %v", err)
		}
		good, missing, err := CheckHandover(ID{1}, items, func(id [32]byte) (HandedHeader, bool) { return HandedHeader{}, id[0] == 1 })
		if err == nil && len(good) > 0 || len(missing) > len(items) {
			t.Fatal("took a message that nobody committed to")
		}
	})
}

func FuzzBroadcast(f *testing.F) {
	d := newDevice(f, 1)
	c, err := SealBroadcast([32]byte{1}, 3, d.place(), []byte("x"), d.k.cfg.Rand)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(c.Body)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := BroadcastNumber(b); err != nil {
			return
		}
		if o, err := OpenBroadcast([32]byte{2}, Place{}, [32]byte{}, b); err == nil {
			t.Fatalf("opened under another key: %+v", o)
		}
	})
}
