package group

import (
	"errors"
	"math/rand/v2"
	"testing"
)

// Messages in the worst order, with room for their seeds and without.
func TestSkipped(t *testing.T) {
	for _, room := range []int{MaxSeeds, 10, 0} {
		ds, id, _ := taped(t, 2)
		ds[1].k.maxSeeds = room
		var messages []sent
		for range 120 {
			messages = append(messages, ds[0].seal(id, "bed 4", start))
		}
		last := len(messages) - 1
		ds[1].mustOpen(messages[last], start)
		if seeds := ds[1].k.seeds; room < last && seeds > room {
			t.Errorf("%d seeds with room for %d", seeds, room)
		}
		order := rand.New(rand.NewPCG(1, uint64(room))).Perm(last)
		for n, i := range order {
			if n%20 == 0 {
				ds[1].reload()
				ds[1].checkDisk()
			}
			ds[1].mustOpen(messages[i], start)
			refused(t, "again", ds[1], messages[i], ErrReplayed)
		}
		c := ds[1].k.epochs[messages[0].s.Epoch].chains[ds[0].log]
		if len(c.seeds) != 0 || len(c.gaps) != 0 {
			t.Errorf("room %d: %d seeds and %d gaps are left of a chain that was opened whole", room, len(c.seeds), len(c.gaps))
		}
	}
}

// A gap is as good as its seeds, whatever is taken out of it.
func TestGapsEqualSeeds(t *testing.T) {
	var ck secret
	want := make([]secret, 40)
	for i := range want {
		r := newRatchet(ck)
		want[i], ck = r.seed(), r.next()
	}
	for seed := range uint64(50) {
		k := New(Config{})
		e := &epoch{chains: map[secretLog]*chain{{}: {}}}
		k.epochs[EpochID{}] = e
		c := e.chains[secretLog{}]
		taken := make(map[int]bool)
		r := rand.New(rand.NewPCG(seed, 2))
		for range 60 {
			gen := r.IntN(len(want))
			got, s, err := c.take(uint32(gen), r.IntN(3)*10)
			if taken[gen] {
				if !errors.Is(err, ErrReplayed) {
					t.Fatalf("generation %d taken twice", gen)
				}
				continue
			}
			if err != nil || got != want[gen] {
				t.Fatalf("generation %d: %x, %v; want %x", gen, got, err, want[gen])
			}
			taken[gen] = true
			if err := k.Apply(s.changes(c, EpochID{}, secretLog{})...); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// What lies behind a chain is gone: the seeds of opened messages are in no
// record.
func TestForwardSecrecy(t *testing.T) {
	ds, id, e := taped(t, 2)
	for range 3 {
		ds[1].mustOpen(ds[0].seal(id, "gone", start), start)
	}
	late := ds[0].seal(id, "skipped", start)
	ds[1].mustOpen(ds[0].seal(id, "ahead", start), start)
	ck, err := deriveEpoch(e.id, secret(e.es))
	if err != nil {
		t.Fatal(err)
	}
	at := must(ck.chainKey(ds[0].log))
	for gen := range uint32(5) {
		r := newRatchet(at)
		for key, value := range ds[1].disk {
			if contains(value, at) || contains(value, r.seed()) && gen != late.s.Generation {
				t.Errorf("record %s keeps what opens generation %d", key, gen)
			}
			if contains(value, secret(e.es)) || contains(value, secret(ck.prk)) {
				t.Errorf("record %s keeps the epoch's secret", key)
			}
		}
		at = r.next()
	}
	ds[1].mustOpen(late, start)
}

// The end of a chain: due for rotation at 1,000, closed at MaxGeneration.
func TestChainEnds(t *testing.T) {
	ds, id, e := taped(t, 2)
	a := ds[0]
	for want := range uint32(MaxGeneration) {
		if due := a.k.NeedsEpoch(id, start); due != (want >= RotateGeneration) {
			t.Fatalf("generation %d: rotation due is %v", want, due)
		}
		s, err := a.k.Seal(id, a.place(), nil, start)
		if err != nil || s.Generation != want {
			t.Fatalf("generation %d: %v", want, err)
		}
		a.apply(s.Changes)
	}
	if _, err := a.k.Seal(id, a.place(), nil, start); !errors.Is(err, ErrNoEpoch) {
		t.Errorf("sealed past the end of the chain: %v", err)
	}
	beyond := forge(e, Place{Log: a.log, Seq: 9000}, func(f *forgery) {
		f.generation = MaxGeneration
		f.keys = e.keys(a.log, MaxGeneration, f.salt)
		f.prefix[19], f.prefix[20] = MaxGeneration>>8, MaxGeneration&255
		copy(f.prefix[21:], f.keys[44:])
		f.aad = modelAAD(f.prefix, Place{Log: a.log, Seq: 9000}, e.tag())
	})
	refused(t, "a generation past the end", ds[1], beyond, ErrOpen)
	a.announce(id, start)
	if s := a.seal(id, "on", start); s.s.Generation != 0 {
		t.Errorf("generation %d in a new epoch", s.s.Generation)
	}
}
