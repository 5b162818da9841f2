package group

import (
	"errors"
	"slices"
	"testing"
	"time"

	"tocsin/crypto/identity"
)

// The largest epoch: 256 devices, six pages of wraps, delivered backwards.
func TestLargestEpoch(t *testing.T) {
	ds, id := meet(t, 2, start)
	a, b := ds[0], ds[1]
	// The others share one prekey: only the number of wraps matters here.
	set := a.k.preKeysOf(b.log).Marshal()
	for i := range MaxMembers - 2 {
		log := identity.LogID{Author: identity.Key{1, byte(i), byte(i >> 8)}}
		a.apply(must(a.k.LearnPreKeys(log, set, start)))
		a.learnOp(must(a.k.AddOp(id, log, RoleMember)))
	}
	e := a.announce(id, start)
	if len(e.Pages) < MaxWrapPages+2 || len(e.Missing) != 0 {
		t.Fatalf("%d pages, %d missing", len(e.Pages), len(e.Missing))
	}
	for _, p := range e.Pages {
		if len(p) > MaxBody {
			t.Errorf("a page of %d bytes", len(p))
		}
	}
	slices.Reverse(e.Pages)
	for i, p := range e.Pages {
		l, changes, err := b.k.LearnEpoch(Place{Log: a.log, Seq: uint64(i)}, [32]byte{}, p, start)
		if err != nil {
			t.Fatal(err)
		}
		b.apply(changes)
		if i%3 == 0 && !l.Complete {
			b.reload()
			b.checkDisk()
		}
		if l.Complete {
			break
		}
	}
	b.checkDisk()
	if v, _ := b.k.Group(id); len(v.Members) != MaxMembers || len(b.k.partials) != 0 {
		t.Errorf("%d members, %d incomplete announces", len(v.Members), len(b.k.partials))
	}
	b.mustOpen(a.seal(id, "all units", start), start)
}

// Pages in every order, each twice, with a restart between any two.
func TestPageOrders(t *testing.T) {
	ds, id := meet(t, 2, start)
	a := ds[0].announce(id, start)
	for _, order := range [][]int{{0, 1}, {1, 0}, {0, 0, 1, 1}, {1, 1, 0, 0}} {
		b := newDevice(t, 2)
		b.disk = make(map[string][]byte)
		store(b.disk, dumpChanges(t, ds[1].k))
		b.reload()
		complete := false
		for _, i := range order {
			l, changes, err := b.k.LearnEpoch(Place{Log: ds[0].log, Seq: uint64(i)}, [32]byte{}, a.Pages[i], start)
			if err != nil {
				t.Fatal(err)
			}
			b.apply(changes)
			b.reload()
			complete = l.Complete
		}
		if !complete || len(b.k.partials) != 0 {
			t.Errorf("order %v: complete %v, %d incomplete left", order, complete, len(b.k.partials))
		}
	}
}

func dumpChanges(t failer, k *Keyring) (out []Change) {
	for key, value := range dump(t, k) {
		out = append(out, Change{Key: key, Value: value})
	}
	return out
}

// The announcer finds its own epoch in its own log after a crash between the
// pages and the changes.
func TestOwnEpochAfterCrash(t *testing.T) {
	ds, id := meet(t, 2, start)
	e, err := ds[0].k.Announce(id, start)
	if err != nil {
		t.Fatal(err)
	}
	ds[0].reload() // the changes were lost
	if l := ds[0].learn(ds[0], e.Pages, start); !l.Complete || !l.Ours || l.Epoch != e.Epoch {
		t.Fatalf("learnt %+v", l)
	}
	if l := ds[0].learn(ds[0], e.Pages, start); !l.Complete || !l.Ours {
		t.Errorf("learnt again: %+v", l)
	}
	ds[1].learn(ds[0], e.Pages, start)
	for range 3 {
		ds[1].mustOpen(ds[0].seal(id, "back", start), start)
	}
}

func TestPlaceholderOfOperation(t *testing.T) {
	d := newDevice(t, 1)
	l, changes, err := d.k.LearnEpoch(d.place(), [32]byte{}, OpBody(), start)
	if l != (Learned{}) || changes != nil || err != nil {
		t.Errorf("%+v, %v, %v", l, changes, err)
	}
	for _, body := range [][]byte{nil, {}, {4}, {3, 0}, {1}, {2}} {
		if _, _, err := d.k.LearnEpoch(d.place(), [32]byte{}, body, start); !errors.Is(err, ErrInvalid) {
			t.Errorf("body %x: %v", body, err)
		}
	}
}

// Of one log at most MaxPartialsPerLog announces may be incomplete.
func TestPartialsCrowdOut(t *testing.T) {
	ds, id := meet(t, 2, start)
	var all []*Announce
	for i := range MaxPartialsPerLog + 3 {
		a := ds[0].announce(id, start)
		all = append(all, a)
		_, changes, err := ds[1].k.LearnEpoch(Place{Log: ds[0].log, Seq: uint64(i)}, [32]byte{}, a.Pages[0], start)
		if err != nil {
			t.Fatal(err)
		}
		ds[1].apply(changes)
	}
	ds[1].checkDisk()
	if n := len(ds[1].k.partials); n != MaxPartialsPerLog {
		t.Errorf("%d incomplete announces of one log", n)
	}
	for i, a := range all {
		_, held := ds[1].k.partials[partialID{log: ds[0].log, epoch: a.Epoch}]
		if held != (i >= 3) {
			t.Errorf("announce %d is held: %v; the oldest go first", i, held)
		}
	}
}

// Pages of many announces may come in any order, as bodies do after a long absence:
// none is lost.
func TestPagesInAnyOrder(t *testing.T) {
	ds, id := meet(t, 2, start)
	var all []*Announce
	for range 60 {
		all = append(all, ds[0].announce(id, start))
	}
	for _, state := range []bool{true, false} {
		for i, a := range all {
			page := a.Pages[0]
			if state {
				page = a.Pages[len(a.Pages)-1]
			}
			l, changes, err := ds[1].k.LearnEpoch(Place{Log: ds[0].log, Seq: uint64(i)}, [32]byte{}, page, start)
			if err != nil {
				t.Fatal(err)
			}
			if l.Complete == state {
				t.Fatalf("announce %d, state %v: %+v", i, state, l)
			}
			ds[1].apply(changes)
		}
	}
	ds[1].checkDisk()
}

// Once every wrap was tried in vain, the state that came before is let go.
func TestForeignState(t *testing.T) {
	ds, id := meet(t, 2, start)
	eve := newDevice(t, 66)
	eve.publish(start)
	wraps := must(parsePage(ds[0].announce(id, start).Pages[0]))
	wraps.header.statePages = 2
	state := &page{header: wraps.header, kind: bodyState, data: make([]byte, StateChunk+gcmTag)}
	for i, p := range []*page{state, wraps} {
		_, changes, err := eve.k.LearnEpoch(Place{Log: ds[0].log, Seq: uint64(i)}, [32]byte{}, must(p.marshal()), start)
		if err != nil {
			t.Fatal(err)
		}
		eve.apply(changes)
		eve.checkDisk()
	}
	state.index, state.data = 1, state.data[:100]
	if l := eve.learn(ds[0], [][]byte{must(state.marshal())}, start); l.Complete || len(eve.k.partials) != 0 {
		t.Errorf("a foreign announce is still held: %+v", l)
	}
}

// A flood of state pages drowns the log it comes from, and no other.
func TestPartialBytes(t *testing.T) {
	ds, id := meet(t, 2, start)
	good := ds[0].announce(id, start)
	_, changes, err := ds[1].k.LearnEpoch(ds[0].place(), [32]byte{}, good.Pages[1], start)
	if err != nil {
		t.Fatal(err)
	}
	ds[1].apply(changes)
	flood := func(log byte, pages int) {
		for i := range pages {
			ds[1].learnFlood(log, i/(MaxStatePages-1), i%(MaxStatePages-1))
		}
	}
	flood(0, 4*(MaxStatePages-1))
	flood(1, 220)
	flood(2, 220)
	ds[1].checkDisk()
	flood(0, 4*(MaxStatePages-1)) // the first was thrown out meanwhile
	ds[1].checkDisk()
	held := 0
	for _, p := range ds[1].k.partials {
		for _, data := range p.pages {
			held += len(data)
		}
	}
	if held > MaxPartialBytes {
		t.Errorf("%d bytes are held", held)
	}
	ds[1].checkDisk()
	if l := ds[1].learn(ds[0], good.Pages[:1], start); !l.Complete {
		t.Error("the flood drowned an honest announce")
	}
}

// Which epoch is sent under, and when another is due.
func TestRotation(t *testing.T) {
	ds, id := meet(t, 2, start)
	a := ds[0]
	if a.k.NeedsEpoch(id, start.Add(RotateAge-time.Second)) || !a.k.NeedsEpoch(id, start.Add(RotateAge)) {
		t.Error("an epoch is due after exactly a day")
	}
	day := start.Add(RotateAge)
	old := a.seal(id, "still possible", day)
	a.announce(id, day)
	if m := a.seal(id, "fresh", day); m.s.Epoch == old.s.Epoch || a.k.NeedsEpoch(id, day) {
		t.Error("sent under yesterday's epoch although there is one of today")
	}
	eve := newDevice(t, 66)
	eve.publish(day)
	a.add(id, RoleMember, eve)
	if !a.k.NeedsEpoch(id, day) {
		t.Error("the view changed and no epoch is due")
	}
	if _, err := a.k.Seal(id, a.place(), nil, day); !errors.Is(err, ErrNoEpoch) {
		t.Errorf("sealed under an epoch of another view: %v", err)
	}
	// Eve's prekey is not known yet.
	e := a.announce(id, day)
	if !slices.Equal(e.Missing, []identity.LogID{eve.log}) {
		t.Errorf("missing %v", e.Missing)
	}
	if a.k.NeedsEpoch(id, day) {
		t.Error("due although nobody could be reached that is not")
	}
	ds[1].learn(a, e.Pages, day)
	payload, changes, err := newDevice(t, 66).k.PreKeyUpdate(day)
	if err != nil || len(changes) == 0 {
		t.Fatal(err)
	}
	for i, d := range ds { // the flag tells the others too
		d.apply(must(d.k.LearnPreKeys(eve.log, payload, day)))
		if !d.k.NeedsEpoch(id, day) {
			t.Errorf("device %d: a member that was left out can be reached, and no epoch is due", i)
		}
	}
	e = a.announce(id, day)
	if len(e.Missing) != 0 || a.seal(id, "all", day).s.Epoch != e.Epoch || a.k.NeedsEpoch(id, day) {
		t.Error("the epoch that reaches everybody is not the one sent under")
	}
}

// Two devices announce at once: all end up under the lowest id.
func TestConcurrentAnnounces(t *testing.T) {
	ds, id := meet(t, 3, start)
	for _, d := range ds {
		for epoch := range d.k.epochs {
			d.apply(d.k.epochs[epoch].drop())
		}
	}
	x, y := ds[0].announce(id, start), ds[1].announce(id, start)
	m1, m2 := ds[0].seal(id, "under mine", start), ds[1].seal(id, "under mine", start)
	if m1.s.Epoch == m2.s.Epoch {
		t.Fatal("one epoch already")
	}
	for _, d := range ds {
		d.learn(ds[0], x.Pages, start)
		d.learn(ds[1], y.Pages, start)
	}
	lowest := x.Epoch
	if slices.Compare(y.Epoch[:], x.Epoch[:]) < 0 {
		lowest = y.Epoch
	}
	for _, d := range ds {
		if m := d.seal(id, "converged", start); m.s.Epoch != lowest {
			t.Errorf("%s sends under %s", name(d), m.s.Epoch)
		}
	}
	ds[2].mustOpen(m1, start)
	ds[2].mustOpen(m2, start)
}

// learnFlood hands in one page of state of an announce that never ends.
func (d *device) learnFlood(log byte, announce, index int) {
	d.t.Helper()
	h := epochHeader{salt: [32]byte{log, byte(announce)}, wrapPages: 1, statePages: MaxStatePages}
	p := page{header: h, kind: bodyState, index: uint8(index), data: make([]byte, StateChunk+gcmTag)}
	at := Place{Log: identity.LogID{Author: identity.Key{log}}, Seq: uint64(announce)}
	_, changes, err := d.k.LearnEpoch(at, [32]byte{}, must(p.marshal()), start)
	if err != nil {
		d.t.Fatal(err)
	}
	d.apply(changes)
}

func TestEpochsPerCreator(t *testing.T) {
	ds, id := meet(t, 2, start)
	ds[1].k.created[ds[0].log] = MaxEpochsPerCreator
	a := ds[0].announce(id, start)
	if l := ds[1].learn(ds[0], a.Pages, start); l.Complete || !l.Waiting || l.Epoch != a.Epoch {
		t.Fatalf("one epoch too many: %+v", l)
	}
	retry := func() []Learned {
		learned, changes, err := ds[1].k.Retry(start)
		if err != nil {
			t.Fatal(err)
		}
		ds[1].apply(changes)
		return learned
	}
	if learned := retry(); len(learned) != 0 {
		t.Errorf("learnt without room: %+v", learned)
	}
	ds[1].reload()
	ds[1].k.created[ds[0].log] = MaxEpochsPerCreator - 1
	if learned := retry(); len(learned) != 1 || !learned[0].Complete || learned[0].Epoch != a.Epoch {
		t.Errorf("there is room: %+v", learned)
	}
	if learned := retry(); len(learned) != 0 || len(ds[1].k.partials) != 0 {
		t.Errorf("learnt twice: %+v", learned)
	}
	ds[1].mustOpen(ds[0].seal(id, "after all", start), start)
	// What turned out to be wrong while it waited is given up.
	ds[1].k.created[ds[0].log] = MaxEpochsPerCreator
	b := ds[0].announce(id, start)
	ds[1].learn(ds[0], b.Pages, start)
	ds[1].k.created[ds[0].log] = 2
	ds[1].k.gone[ds[0].k.epochs[b.Epoch].tag] = &gone{group: id, creator: ds[0].log}
	if learned := retry(); len(learned) != 1 || !errors.Is(learned[0].Refused, ErrInvalid) || learned[0].Epoch != b.Epoch || len(ds[1].k.partials) != 0 {
		t.Errorf("a wrong announce that waited: %+v", learned)
	}
}

func TestSealArguments(t *testing.T) {
	ds, id := meet(t, 2, start)
	a := ds[0]
	if _, err := a.k.Seal(id, Place{Log: ds[1].log}, nil, start); err == nil {
		t.Error("sealed for a place in another log")
	}
	if _, err := a.k.Seal(ID{1}, a.place(), nil, start); err == nil {
		t.Error("sealed for an unknown group")
	}
	if _, err := a.k.Seal(id, a.place(), make([]byte, MaxPayload+1), start); err == nil {
		t.Error("sealed a payload that is too long")
	}
	for _, n := range []int{0, 1, 219, 220, 221, 222, 1024, MaxPayload - 1, MaxPayload} {
		m := a.seal(id, string(make([]byte, n)), start)
		if len(m.body) > MaxBody {
			t.Errorf("%d bytes make a body of %d", n, len(m.body))
		}
		ds[1].mustOpen(m, start)
	}
	if padded(MaxPayload+plainPrefix+1)+bodyPrefix+gcmTag <= MaxBody {
		t.Error("MaxPayload could be larger")
	}
}

func TestPadding(t *testing.T) {
	for _, c := range []struct{ n, want int }{{0, 256}, {255, 256}, {256, 256}, {257, 272}, {272, 272}, {273, 288}, {1000, 1024}, {1025, 1088}, {1060, 1088}, {9000, 9216}, {59000, 59392}} {
		if got := padded(c.n); got != c.want {
			t.Errorf("padded(%d) = %d, want %d", c.n, got, c.want)
		}
	}
	last := 0
	for n := range maxPadded + 1 {
		p := padded(n)
		if p < n || p < last || padded(p) != p || n > padFloor && float64(p) > 1.12*float64(n) {
			t.Fatalf("padded(%d) = %d", n, p)
		}
		last = p
	}
}

// Changes that no method returned are refused whole.
func TestApplyRefuses(t *testing.T) {
	ds, id := meet(t, 2, start)
	d := ds[0]
	before := dump(t, d.k)
	m := ds[0].seal(id, "x", start)
	good := m.s.Changes[0]
	e := m.s.Epoch
	bad := []Change{
		{Key: "vault/x", Value: []byte{1}},
		{Key: "group/", Value: []byte{1}},
		{Key: "group/nonsense/00", Value: []byte{1}},
		{Key: "group/clock/0", Value: make([]byte, 16)},
		{Key: "group/clock", Value: make([]byte, 15)},
		{Key: chainKey(e, newDevice(t, 9).log), Value: make([]byte, 36)},
		{Key: chainKey(EpochID{1}, d.log), Value: make([]byte, 36)},
		{Key: good.Key + "00", Value: good.Value},
		{Key: good.Key, Value: good.Value[1:]},
		{Key: good.Key, Value: append([]byte{255}, good.Value[1:]...)},
		{Key: epochKey(e), Value: []byte{1}},
		{Key: seedKey(e, d.log, MaxGeneration), Value: make([]byte, 32)},
		{Key: gapKey(e, d.log, 5), Value: marshalChain(5, secret{})},
		{Key: "group/own/published", Value: nil},
		{Key: "group/own/prekey/1", Value: make([]byte, 40)},
		{Key: opKey(id, [32]byte{1}), Value: []byte{1}},
	}
	for _, c := range bad {
		if err := d.k.Apply(Change{Key: clockKey, Value: make([]byte, 16)}, c); err == nil {
			t.Errorf("applied %q", c.Key)
		}
	}
	after := dump(t, d.k)
	if len(after) != len(before) || after[clockKey] != nil {
		t.Errorf("%d records, were %d", len(after), len(before))
	}
	for key := range d.disk { // a record lost or damaged is not passed over
		damaged := make(map[string][]byte)
		store(damaged, dumpChanges(t, d.k))
		damaged[key] = damaged[key][:len(damaged[key])-1]
		if _, err := Load(d.config(1), scanner(damaged)); err == nil {
			t.Errorf("loaded with a damaged %s", key)
		}
	}
	// The last operation can be missing without a trace: that is for the
	// vault's journal to notice. Nothing else can.
	for _, key := range []string{epochKey(e), chainKey(e, d.log), opKey(id, createOf(d.k.groups[id]))} {
		lost := make(map[string][]byte)
		store(lost, dumpChanges(t, d.k))
		delete(lost, key)
		if _, err := Load(d.config(1), scanner(lost)); err == nil {
			t.Errorf("loaded without %s", key)
		}
	}
	for what, c := range map[string]Change{
		"the chain of a stranger":   {Key: chainKey(e, newDevice(t, 9).log), Value: marshalChain(0, secret{})},
		"a page without its record": {Key: partialID{log: d.log}.pageKey(0), Value: make([]byte, 100)},
	} {
		more := make(map[string][]byte)
		store(more, append(dumpChanges(t, d.k), c))
		if _, err := Load(d.config(1), scanner(more)); err == nil {
			t.Errorf("loaded with %s", what)
		}
	}
}

func createOf(g *groupState) [32]byte {
	for id, o := range g.ops {
		if o.op.Create != nil {
			return id
		}
	}
	return [32]byte{}
}

// Operations beyond what an announce can carry are not merged: they wait, and
// the group can still be announced.
func TestRoomForOperations(t *testing.T) {
	ds, id := meet(t, 2, start)
	g := ds[1].k.groups[id]
	deps := g.view.Heads
	big := func(i int) *knownOp {
		op := &Op{Group: id, Deps: deps, Appoint: &Appoint{Statement: make([]byte, MaxStatement)}}
		return &knownOp{op: op, sealed: SignedOp{SignedHeader: make([]byte, MaxSignedHeader), Payload: must(op.Marshal())}, proof: OpProof{ID: [32]byte{byte(i), byte(i >> 8), 1}}}
	}
	var all []*knownOp
	for size := 0; size <= maxOpBytes; size += all[0].sealed.size() {
		all = append(all, big(len(all)))
	}
	if err := g.room(all); !errors.Is(err, ErrLimit) || len(all) > MaxMergedOps {
		t.Errorf("%d operations of the largest size: %v", len(all), err)
	}
	if err := g.room(all[:len(all)-2]); err != nil {
		t.Errorf("control: %v", err)
	}
	st := epochState{group: id, ops: make([]SignedOp, 0, len(all))}
	for _, o := range all[:len(all)-1] {
		st.ops = append(st.ops, o.sealed)
	}
	if n := (len(must(st.marshal())) + StateChunk - 1) / StateChunk; n > MaxStatePages {
		t.Errorf("%d pages", n)
	}
	if err := g.room(make([]*knownOp, MaxMergedOps)); !errors.Is(err, ErrLimit) {
		t.Errorf("too many operations: %v", err)
	}
}
