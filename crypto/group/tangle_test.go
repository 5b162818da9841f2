package group

import (
	"errors"
	"maps"
	"math"
	"reflect"
	"slices"
	"testing"

	"tocsin/crypto/identity"
)

// The worst that was found to do to a merge, by an admin who has as many keys
// as he likes: nothing in it needs anybody else's operation.

// knot draws operations that need no signature.
type knot struct {
	id  ID
	set opSet
	n   int
}

func newKnot() (*knot, [32]byte) {
	k := &knot{id: groupID(knotDevice(0), [32]byte{1}), set: make(opSet)}
	return k, k.put(0, &Op{Create: &Create{Kind: KindTeam, Nonce: [32]byte{1}, Name: "Ward 7"}})
}

func knotDevice(i int) identity.LogID {
	return identity.LogID{Author: identity.Key{byte(i), byte(i >> 8), 1}}
}

func (k *knot) put(by int, op *Op, deps ...[32]byte) [32]byte {
	op.Group, op.Deps = k.id, deps
	k.n++
	id := [32]byte{byte(k.n >> 8), byte(k.n)}
	k.set[id] = &knownOp{op: op, proof: OpProof{ID: id, Place: Place{Log: knotDevice(by), Seq: uint64(k.n)}}}
	return id
}

func (k *knot) add(by, who int, deps ...[32]byte) [32]byte {
	return k.put(by, &Op{Add: &Add{Device: knotDevice(who), Role: RoleAdmin}}, deps...)
}

func (k *knot) remove(by, who int, deps ...[32]byte) [32]byte {
	return k.put(by, &Op{Remove: &Remove{Device: knotDevice(who)}}, deps...)
}

// join gives one operation that knows all of these.
func (k *knot) join(by int, of ...[32]byte) [32]byte {
	for len(of) > 1 {
		n := min(len(of), MaxDeps)
		id := k.put(by, &Op{Retention: &Retention{}}, of[:n]...)
		of = append(of[n:], id)
	}
	return of[0]
}

// star: one device is added and given roles at the same time by one admin, and
// then acts itself, knowing all of it: many words of equal weight.
func star(n int) *knot {
	k, at := newKnot()
	x := k.add(0, 1, at)
	var all [][32]byte
	for i := range n / 2 {
		if i%2 == 0 {
			all = append(all, k.add(0, 1, x))
		} else {
			all = append(all, k.put(0, &Op{Role: &RoleChange{Device: knotDevice(1), Role: RoleAdmin}}, x))
		}
	}
	last := k.join(0, all...)
	for k.n < n {
		k.put(1, &Op{Retention: &Retention{}}, last)
	}
	return k
}

// revolving: one device is removed many times, then added many times by one who
// knew the removals, then removed once more, and acts all the same: every add is
// held to every removal.
func revolving(n int) *knot {
	k, at := newKnot()
	x := k.add(0, 1, at)
	for k.n < n/3 {
		x = k.remove(0, 1, x)
	}
	for k.n < 2*n/3 {
		x = k.add(0, 1, x)
	}
	x = k.remove(0, 1, x)
	for k.n < n {
		k.put(1, &Op{Retention: &Retention{}}, x)
	}
	return k
}

// flicker: strikes that take the ground from under a long line of admins, one
// after the other, each followed by a removal whose author the end of the line
// removed.
func flicker(n int) *knot {
	k, base := newKnot()
	rounds := n / 14
	who := func(kind, i int) int { return 1 + kind*(1<<13) + i }
	for i := range rounds { // strikers and those who ask, by turns
		base = k.add(0, who(1, i), base)
		base = k.add(0, who(2, i), base)
	}
	for i := range rounds {
		base = k.add(0, who(3, i), base)
	}
	base = k.add(0, who(4, 0), base)
	k.put(who(4, 0), &Op{Retention: &Retention{}}, base) // what those who ask would strike
	var acts [][32]byte
	for i := range rounds {
		acts = append(acts, k.put(who(3, i), &Op{Retention: &Retention{}}, base))
		k.remove(who(1, i), who(3, i), base)
	}
	line := k.join(0, acts...)
	line = k.add(0, who(0, 0), line)
	last := 0
	for ; k.n < n-2*rounds; last++ {
		line = k.add(who(0, last), who(0, last+1), line)
	}
	for i := range rounds {
		line = k.remove(who(0, last), who(2, i), line)
	}
	for i := range rounds {
		k.remove(who(2, i), who(4, 0), line)
	}
	return k
}

// wide: one device is added many times at once, and each of its acts knows one
// more of them: as many words of equal weight, and never the same.
func wide(n int) *knot {
	k, at := newKnot()
	x := k.add(0, 1, at)
	for last := x; k.n < n-3; {
		one := k.add(0, 1, x)
		last = k.put(0, &Op{Retention: &Retention{}}, last, one)
		k.put(1, &Op{Retention: &Retention{}}, last)
	}
	return k
}

// gated: one device is removed often by an equal, then added often by one who knew
// it, then removed often at the same time; each of its acts, which an equal does not
// strike, knows another of the last removals, so that every add is held to every
// removal anew.
func gated(n int) *knot {
	k, at := newKnot()
	x := k.join(0, k.add(0, 1, at), k.add(0, 2, at), k.add(0, 3, at))
	for k.n < n/4 {
		x = k.remove(2, 1, x)
	}
	for k.n < n/2 {
		x = k.add(2, 1, x)
	}
	for k.n < n-1 {
		k.remove(1, 3, k.remove(2, 1, x))
	}
	return k
}

var knots = map[string]func(n int) *knot{"star": star, "revolving": revolving, "flicker": flicker, "wide": wide, "gated": gated}

// The views of knots are the model's, and what they cost depends on the set
// alone: one look less and they are refused, whatever the order they came in.
func TestKnots(t *testing.T) {
	t.Parallel()
	for name, tie := range knots {
		small := tie(60)
		v, err := small.set.evaluate(nil, small.id)
		if err != nil {
			t.Fatal(name, err)
		}
		newNaive(small.set).view().compare(t, v)
		k := tie(300)
		m, err := k.set.merge(nil, k.id, math.MaxInt)
		if err != nil {
			t.Fatal(name, err)
		}
		want := m.view()
		for range 3 {
			again := maps.Clone(k.set)
			if v, err := again.evaluateWithin(nil, k.id, m.looks); err != nil || !reflect.DeepEqual(v, want) {
				t.Errorf("%s: %d looks do not suffice again: %v", name, m.looks, err)
			}
			if _, err := again.evaluateWithin(nil, k.id, m.looks-1); !errors.Is(err, errTangled) {
				t.Errorf("%s: with %d looks: %v", name, m.looks-1, err)
			}
		}
	}
}

// Thousands of operations end in a view or are refused, soon: uncounted, the worst
// of them take hours. Ten thousand usual ones are far from the bound.
func TestKnotsAreBounded(t *testing.T) {
	t.Parallel()
	for name, tie := range knots {
		k := tie(4000)
		m, err := k.set.merge(nil, k.id, 1<<20)
		if err != nil && !errors.Is(err, errTangled) {
			t.Fatal(name, err)
		}
		if bad := name == "gated" || name == "flicker"; bad && err == nil {
			t.Errorf("%s is merged with %d looks", name, m.looks)
		}
	}
	g := bigGrove(10_000, false)
	if _, err := g.set.evaluateWithin(nil, g.id, MaxMergeLooks/100); err != nil {
		t.Errorf("usual operations: %v", err)
	}
}

// An announce whose operations cannot be merged at a bearable cost, alone or with
// ours, is refused for good; nothing of it is kept, and the group goes on.
func TestTangledAnnounce(t *testing.T) {
	ds, id := meet(t, 3, start)
	a, b, c := ds[0], ds[1], ds[2]
	tie := func(d *device, n int) {
		head := d.k.groups[id].view.Heads
		for i := range n {
			op := &Op{Group: id, Deps: head, Role: &RoleChange{Device: c.log, Role: Role(1 + i%2)}}
			d.learnOp(must(op.Marshal()))
		}
	}
	looks := func(k *Keyring) int { return must(k.groups[id].ops.merge(nil, id, math.MaxInt)).looks }
	a.learnOp(must(a.k.RoleOp(id, b.log, RoleAdmin)))
	b.learn(a, a.announce(id, start).Pages, start)
	tie(a, 40)
	b.k.maxLooks = looks(a.k) - 1
	if _, err := b.learnError(a, a.announce(id, start).Pages); !errors.Is(err, ErrInvalid) {
		t.Fatalf("too much by itself: %v", err)
	}
	// By itself it is bearable, with ours it is not.
	b.k.maxLooks = MaxMergeLooks
	tie(b, 40)
	b.k.maxLooks = max(looks(a.k), looks(b.k)) + 1
	if _, err := b.learnError(a, a.announce(id, start).Pages); !errors.Is(err, ErrInvalid) {
		t.Fatalf("too much with ours: %v", err)
	}
	if n := len(b.k.groups[id].ops); n != 44 {
		t.Errorf("%d operations are held", n)
	}
	b.checkDisk()
	// Our own are held to it too, and what is stored loads whatever the bound.
	op := must(b.k.RetentionOp(id, 1))
	b.k.maxLooks = looks(b.k)
	if _, err := b.k.LearnOp(b.signOp(op)); !errors.Is(err, ErrLimit) {
		t.Errorf("an operation of ours: %v", err)
	}
	b.reload()
	a.learn(b, b.announce(id, start).Pages, start)
	a.mustOpen(b.seal(id, "both at once", start), start)
}

func BenchmarkKnots(b *testing.B) {
	for _, name := range slices.Sorted(maps.Keys(knots)) {
		k := knots[name](MaxMergedOps)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				m, err := k.set.merge(nil, k.id, MaxMergeLooks)
				if err == nil {
					m.view()
					b.ReportMetric(float64(m.looks)/MaxMergeLooks, "of-bound")
				} else if !errors.Is(err, errTangled) {
					b.Fatal(err)
				}
			}
		})
	}
}
