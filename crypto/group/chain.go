package group

import (
	"slices"

	"tocsin/crypto/identity"
)

// chain is the sequence of message seeds of one author in one epoch. What lies
// behind next is destroyed but for the generations that were skipped: those
// are kept until their message comes or the epoch ends, one seed each, or, where
// seeds are too many, as gaps.
type chain struct {
	next  uint32
	ck    secret // chain key of generation next
	seeds map[uint32]secret
	gaps  []gap  // ascending, apart from each other
	key   string // of the stored record; filled in when first needed
	// stored is set once the record of next and ck was read. Seeds and gaps alone
	// make no chain: its key would be zeros, which everybody knows.
	stored bool
}

// gap is a run of skipped generations [from, to) kept as its first chain key:
// small, at the price that this key also yields what comes after.
type gap struct {
	from, to uint32
	ck       secret
}

// step is what opening one generation does to a chain. It is worked out first,
// and becomes changes only when the message has proved genuine.
type step struct {
	gen      uint32
	moved    bool // next and ck are new
	next     uint32
	ck       secret
	newSeeds []seedAt
	newGaps  []gap
	dropSeed bool // the seed of gen
	dropGap  bool // the gap that starts at gapFrom
	gapFrom  uint32
}

type seedAt struct {
	gen  uint32
	seed secret
}

// take returns the seed of generation gen and what using it does to the chain,
// which stays as it is. room is the number of seeds that may still be kept.
func (c *chain) take(gen uint32, room int) (secret, step, error) {
	if gen >= c.next {
		seed, s := c.takeAhead(gen, room)
		return seed, s, nil
	}
	if seed, ok := c.seeds[gen]; ok {
		return seed, step{gen: gen, dropSeed: true}, nil
	}
	i := slices.IndexFunc(c.gaps, func(g gap) bool { return g.from <= gen && gen < g.to })
	if i < 0 {
		return secret{}, step{}, ErrReplayed
	}
	seed, s := takeFromGap(c.gaps[i], gen)
	return seed, s, nil
}

// takeAhead walks to gen and keeps what it skips: as seeds if there is room,
// else as a gap. Which, is decided here, because seeds cannot be turned back
// into a chain key.
func (c *chain) takeAhead(gen uint32, room int) (secret, step) {
	s := step{gen: gen, moved: true, next: gen + 1, ck: c.ck}
	skipped := int(gen - c.next)
	asGap := skipped > 1 && skipped > room
	if asGap {
		s.newGaps = []gap{{from: c.next, to: gen, ck: c.ck}}
	}
	for at := c.next; at < gen; at++ {
		r := newRatchet(s.ck)
		if !asGap {
			s.newSeeds = append(s.newSeeds, seedAt{gen: at, seed: r.seed()})
		}
		s.ck = r.next()
	}
	r := newRatchet(s.ck)
	s.ck = r.next()
	return r.seed(), s
}

// takeFromGap takes gen out of g and leaves what is on either side of it.
func takeFromGap(g gap, gen uint32) (secret, step) {
	s := step{gen: gen, dropGap: true, gapFrom: g.from}
	ck := g.ck
	for at := g.from; at < gen; at++ {
		ck = newRatchet(ck).next()
	}
	r := newRatchet(ck)
	s.keep(gap{from: g.from, to: gen, ck: g.ck})
	s.keep(gap{from: gen + 1, to: g.to, ck: r.next()})
	return r.seed(), s
}

// keep stores g, a gap of one as its seed.
func (s *step) keep(g gap) {
	switch g.to - g.from {
	case 0:
	case 1:
		s.newSeeds = append(s.newSeeds, seedAt{gen: g.from, seed: newRatchet(g.ck).seed()})
	default:
		s.newGaps = append(s.newGaps, g)
	}
}

// changes turns s into stored changes of member's chain c in epoch id.
func (s *step) changes(c *chain, id EpochID, member identity.LogID) []Change {
	out := make([]Change, 0, 1+len(s.newSeeds)+len(s.newGaps))
	if s.dropSeed {
		out = append(out, Change{Key: seedKey(id, member, s.gen)})
	}
	// A gap that shrank from its far end is overwritten in place.
	replaced := slices.ContainsFunc(s.newGaps, func(g gap) bool { return g.from == s.gapFrom })
	if s.dropGap && !replaced {
		out = append(out, Change{Key: gapKey(id, member, s.gapFrom)})
	}
	for _, seed := range s.newSeeds {
		out = append(out, Change{Key: seedKey(id, member, seed.gen), Value: slices.Clone(seed.seed[:])})
	}
	for _, g := range s.newGaps {
		out = append(out, Change{Key: gapKey(id, member, g.from), Value: g.marshal()})
	}
	if s.moved {
		out = append(out, Change{Key: c.stateKey(id, member), Value: marshalChain(s.next, s.ck)})
	}
	return out
}

func (c *chain) change(id EpochID, member identity.LogID) Change {
	return Change{Key: c.stateKey(id, member), Value: marshalChain(c.next, c.ck)}
}

// stateKey builds the key of the stored record once: it is on the way of every
// message.
func (c *chain) stateKey(id EpochID, member identity.LogID) string {
	if c.key == "" {
		c.key = chainKey(id, member)
	}
	return c.key
}
