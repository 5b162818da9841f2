package model

import (
	"math/bits"
	"slices"
	"time"
)

// fault is one that may be in force.
type fault struct {
	*Fault
	index int
	part  []uint8 // of each device: 1 and up, 0 for none
	gone  []edge  // pairs that are no neighbours since, and will be
}

type edge struct{ a, b uint32 }

// planFault puts a fault on the agenda and returns when it is over.
func (r *run) planFault(i int) (over time.Duration) {
	f := &fault{Fault: &r.s.Faults[i], index: i}
	r.faults = append(r.faults, f)
	switch f.Kind {
	case Cut, Degrade:
		f.part = make([]uint8, len(r.devices))
		for k, set := range f.Parts {
			for _, x := range set {
				for d := x.First; d < x.End; d++ {
					f.part[d] |= 1 << k
				}
			}
		}
		r.due(f.From, func() { r.begin(f) })
		r.due(f.To, func() { r.end(f) })
		return f.To
	case Crash:
		k := 0
		for _, x := range f.Parts[0] {
			for d := x.First; d < x.End; d++ {
				by := f.Every * time.Duration(k)
				back := max(f.To, f.From) + by
				k++
				r.due(f.From+by, func() { r.off(uint32(d), f) })
				r.due(back, func() { r.on(uint32(d)) })
				over = max(over, back)
			}
		}
		return over
	}
	return r.planRansomware(f)
}

// planRansomware draws who is lost.
func (r *run) planRansomware(f *fault) time.Duration {
	var all []uint32
	for _, x := range f.Parts[0] {
		for d := x.First; d < x.End; d++ {
			all = append(all, uint32(d))
		}
	}
	at := f.From
	for k := range int(f.Share * float64(len(all))) {
		if at >= f.To {
			break
		}
		j := k + int(r.rng.below(uint64(len(all)-k)))
		all[k], all[j] = all[j], all[k]
		d := all[k]
		r.devices[d].lost = true
		r.due(at, func() { r.off(d, f) })
		at += f.Every
	}
	return at
}

// link is what a way has become by the faults in force.
func (r *run) link(was *Link, a, b uint32) (l *Link, cut bool) {
	l = was
	for _, f := range r.active {
		if !f.concerns(a, b) {
			continue
		}
		r.res.Bit[f.index]++
		if f.Kind == Cut {
			cut = true
			continue
		}
		r.changed = l.over(f.Change)
		l = &r.changed
	}
	return l, cut
}

// way is the link between two devices now.
func (r *run) way(a, b uint32) *Link {
	l := &r.s.Near
	if r.devices[a].site != r.devices[b].site {
		l = &r.s.Far
	}
	l, _ = r.link(l, a, b)
	return l
}

// concerns reports whether a fault of the network stands between two devices.
func (f *fault) concerns(a, b uint32) bool {
	x, y := f.part[a], f.part[b]
	if f.Kind == Cut {
		return x != 0 && y != 0 && x != y
	}
	return x&1 != 0 && y&2 != 0 || x&2 != 0 && y&1 != 0
}

func (l Link) over(c Link) Link {
	if c.Latency != 0 {
		l.Latency = c.Latency
	}
	if c.Jitter != 0 {
		l.Jitter = c.Jitter
	}
	if c.Loss != 0 {
		l.Loss = c.Loss
	}
	if c.Rate != 0 {
		l.Rate = c.Rate
	}
	return l
}

// begin puts a fault of the network into force. Who was cut from a neighbour looks for
// another one after a while.
func (r *run) begin(f *fault) {
	r.active = append(r.active, f)
	if f.Kind != Cut {
		return
	}
	for d := range r.devices {
		a := uint32(d)
		for _, b := range r.devices[a].neighbours() {
			b &^= away
			if f.concerns(a, b) {
				if a < b {
					f.gone = append(f.gone, edge{a, b})
				}
				r.wheel.add(event{at: r.now + r.within(r.s.Params.Regraft), node: a, from: b, what: evRegraft << kindShift})
			}
		}
	}
}

// end takes it out of force: the parts find each other again.
func (r *run) end(f *fault) {
	r.active = slices.DeleteFunc(r.active, func(o *fault) bool { return o == f })
	for _, e := range f.gone {
		r.meet(e.a, e.b)
	}
	f.gone = nil
}

// meet has two devices be neighbours again before long.
func (r *run) meet(a, b uint32) {
	r.wheel.add(event{at: r.now + r.within(r.s.Params.Contact), node: a, from: b, what: evContact << kindShift})
}

// within is a time from half of d to one and a half of it.
func (r *run) within(d time.Duration) int64 { return int64((0.5 + r.rng.share()) * float64(d)) }

// off ends a device without a word.
func (r *run) off(d uint32, f *fault) {
	x := &r.devices[d]
	if x.off {
		return
	}
	x.off = true
	r.running--
	r.res.Bit[f.index]++
	r.tally(d, -1)
	for _, o := range x.neighbours() {
		r.wheel.add(event{at: r.now + r.within(r.s.Params.Regraft), node: o &^ away, from: d, what: evRegraft << kindShift})
	}
}

// on starts it again, with what it held.
func (r *run) on(d uint32) {
	x := &r.devices[d]
	if !x.off || x.lost {
		return
	}
	x.off = false
	r.running++
	r.tally(d, 1)
	for _, o := range x.neighbours() {
		r.meet(d, o&^away)
	}
	if x.n == 0 {
		r.seek(d)
	}
}

// tally counts what a device holds among what running ones hold, or no more.
func (r *run) tally(d uint32, by int32) {
	for w, held := range r.held[int(d)*r.words : int(d+1)*r.words] {
		for ; held != 0; held &= held - 1 {
			r.holders[w<<6+bits.TrailingZeros64(held)] += by
		}
	}
}

// reaches reports whether a packet would go from one to the other.
func (r *run) reaches(a, b uint32) bool {
	if r.devices[a].off || r.devices[b].off {
		return false
	}
	for _, f := range r.active {
		if f.Kind == Cut && f.concerns(a, b) {
			return false
		}
	}
	return true
}

// regraft lets go of a neighbour that is silent and takes another.
func (r *run) regraft(e *event) {
	if r.devices[e.node].off || r.reaches(e.node, e.from) {
		return
	}
	if r.devices[e.from].off {
		// It keeps its own list: it knows whom to dial when it is back.
		r.devices[e.node].drop(e.from)
	} else {
		r.devices[e.node].drop(e.from)
		r.devices[e.from].drop(e.node)
	}
	if float64(r.devices[e.node].n) < r.s.Params.Degree {
		r.seek(e.node)
	}
}

// seek looks for a neighbour at random, and fetches from it what came meanwhile.
func (r *run) seek(d uint32) {
	for range 64 {
		o := uint32(r.rng.below(uint64(len(r.devices))))
		if o != d && r.reaches(d, o) && r.join(d, o) {
			r.fetch(d, o)
			return
		}
	}
	// Nobody is to be had now: again later, if it still has nobody.
	if r.devices[d].n == 0 {
		r.wheel.add(event{at: r.now + r.within(10*time.Second), node: d, from: d, what: evContact << kindShift})
	}
}

// contact brings two together that were apart.
func (r *run) contact(e *event) {
	if e.node == e.from {
		if r.devices[e.node].n == 0 && !r.devices[e.node].off {
			r.seek(e.node)
		}
		return
	}
	if !r.reaches(e.node, e.from) {
		return
	}
	pa, pb := &r.devices[e.node], &r.devices[e.from]
	switch {
	case pa.has(e.from) && pb.has(e.node):
	case pa.has(e.from):
		if !r.add(e.from, e.node) {
			pa.drop(e.from) // that one is full by now
		}
	default:
		r.join(e.node, e.from)
	}
	// Whether or not there is room for one more neighbour: they have met, and compare.
	r.fetch(e.node, e.from)
	r.fetch(e.from, e.node)
}

// fetch has a device fetch from another what it lacks, soon.
func (r *run) fetch(d, from uint32) {
	r.wheel.add(event{at: r.now + r.within(r.s.Params.Session), node: d, from: from, what: evPull << kindShift})
}

// pull brings a device all that another one holds and it does not. What is new to it its
// neighbours fetch in turn.
func (r *run) pull(e *event) {
	if !r.reaches(e.node, e.from) {
		return
	}
	l := r.way(e.from, e.node)
	at, gained := e.at, false
	mine, theirs := r.held[int(e.node)*r.words:], r.held[int(e.from)*r.words:]
	for w := range r.words {
		for lack := theirs[w] &^ mine[w]; lack != 0; lack &= lack - 1 {
			i := w<<6 + bits.TrailingZeros64(lack)
			at += wireTime(l.Rate, r.s.Messages[i].Bytes) + int64(r.s.CPU)
			r.hold(e.node, i)
			r.show(e.node, i, at)
			r.res.Packets++
			r.res.Bytes += uint64(r.s.Messages[i].Bytes)
			gained = true
		}
	}
	if !gained {
		return
	}
	for _, o := range r.devices[e.node].neighbours() {
		if o &^= away; o != e.from {
			r.wheel.add(event{at: at + r.within(r.s.Params.Nudge), node: o, from: e.node, what: evPull << kindShift})
		}
	}
}
