package model

import (
	"context"
	"math"
	"slices"
	"time"
)

// The kinds of event.
const (
	evPacket  = iota // a packet with a message comes
	evPull           // node fetches from from all that it lacks
	evContact        // node and from may be neighbours again, and fetch
	evRegraft        // node has noticed that from is silent, and looks for another
)

// run is one run of a Spec.
type run struct {
	s     *Spec
	rng   rng
	wheel *wheel
	now   int64 // as the agenda goes

	devices    []device
	packetWork int64    // what a packet takes of a processor, ns
	words      int      // of one device's part of held
	held       []uint64 // who has what: a bit for each message, device after device
	holders    []int32  // by message: running devices that hold it
	said       []bool   // by message: it was sent
	groups     []*members
	running    int

	faults  []*fault
	active  []*fault // faults of the network in force
	changed Link     // what link returns, while faults stand
	warm    uint64   // keeps the compiler from leaving out what only warms the cache
	agenda  []todo
	res     *Result
}

// members is a group; all is without a bit for each.
type members struct {
	all  bool
	bits []uint64
}

func (m *members) has(d uint32) bool { return m.all || m.bits[d>>6]>>(d&63)&1 == 1 }

// todo is something that is done between the events of the wheel.
type todo struct {
	at int64
	do func()
}

// Options are how a run goes on beside what it is.
type Options struct {
	// Progress, if set, is told each sample how far the run is, and ends it by false.
	Progress func(done, total time.Duration, events uint64) bool
}

// Run runs a Spec. The error matches [ErrSpec] where it cannot be run; a run that was ended
// early returns what it found, with Stopped set.
func Run(ctx context.Context, s *Spec, o Options) (*Result, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	r := newRun(s)
	total := s.Duration + s.Heal
	for len(r.agenda) > 0 {
		t := r.agenda[0]
		r.agenda = r.agenda[1:]
		r.advance(t.at)
		r.now = t.at
		t.do()
		if ctx.Err() != nil || o.Progress != nil && !o.Progress(time.Duration(r.now), total, r.res.Events) {
			r.res.Stopped = true
			break
		}
		if r.res.Healed != nil {
			break
		}
	}
	r.finish()
	return r.res, nil
}

func newRun(s *Spec) *run {
	n := s.devices()
	r := &run{
		s: s, rng: rng(s.Seed), wheel: newWheel(), devices: make([]device, n),
		packetWork: int64(float64(s.CPU) * s.Params.Work),
		words:      (len(s.Messages) + 63) / 64, holders: make([]int32, len(s.Messages)), said: make([]bool, len(s.Messages)),
		running: n, res: &Result{Devices: n, Messages: make([]Told, len(s.Messages)), Bit: make([]uint64, len(s.Faults))},
	}
	r.held = make([]uint64, n*r.words)
	d := 0
	for i, size := range s.Sites {
		for range size {
			r.devices[d].site = uint16(i)
			d++
		}
	}
	for _, g := range s.Groups {
		m := &members{all: g.Size() == n}
		if !m.all {
			m.bits = bitsOf(g, n)
		}
		r.groups = append(r.groups, m)
	}
	for i, m := range s.Messages {
		r.res.Messages[i].Message = m
	}
	r.connect()
	r.plan()
	return r
}

func bitsOf(set Set, n int) []uint64 {
	bits := make([]uint64, (n+63)/64)
	for _, x := range set {
		for d := x.First; d < x.End; d++ {
			bits[d>>6] |= 1 << (d & 63)
		}
	}
	return bits
}

// plan fills the agenda: messages, faults, samples, and the looks whether all has healed.
func (r *run) plan() {
	s := r.s
	for i := range s.Messages {
		r.due(s.Messages[i].At, func() { r.send(i) })
	}
	healBegins := s.Duration
	for i := range s.Faults {
		healBegins = max(healBegins, r.planFault(i))
	}
	r.res.HealBegan = healBegins
	every := s.Every
	if every <= 0 {
		every = 10 * time.Second
	}
	for at := time.Duration(0); at <= s.Duration; at += every {
		r.due(at, r.sample)
	}
	const look = 250 * time.Millisecond
	for at := healBegins; at <= healBegins+s.Heal; at += look {
		r.due(at, func() {
			if r.agree() {
				took := time.Duration(r.now) - healBegins
				r.res.Healed = &took
			}
		})
	}
	slices.SortStableFunc(r.agenda, func(a, b todo) int { return int(min(1, max(-1, a.at-b.at))) })
}

func (r *run) due(at time.Duration, do func()) { r.agenda = append(r.agenda, todo{int64(at), do}) }

// advance works on all that is due until a time.
func (r *run) advance(until int64) {
	for r.wheel.take(until, r.handle) {
	}
}

// handle works on some events. What they are about lies all over the memory, so it is
// asked for all of them before the first is worked on: the processor then waits once.
func (r *run) handle(events []event) {
	for i := range events {
		e := &events[i]
		r.warm += uint64(r.devices[e.node].n) + r.held[int(e.node)*r.words+e.msg()>>6]
	}
	r.res.Events += uint64(len(events))
	for i := range events {
		e := &events[i]
		r.now = e.at
		switch e.kind() {
		case evPacket:
			r.packet(e)
		case evPull:
			r.pull(e)
		case evContact:
			r.contact(e)
		case evRegraft:
			r.regraft(e)
		}
	}
}

// send has a message said by its author.
func (r *run) send(i int) {
	m := &r.s.Messages[i]
	d := uint32(m.From)
	if r.devices[d].off {
		return
	}
	r.said[i] = true
	r.hold(d, i)
	r.forward(d, d, i, r.now)
}

func (r *run) holds(d uint32, i int) bool { return r.held[int(d)*r.words+i>>6]>>(i&63)&1 == 1 }

func (r *run) hold(d uint32, i int) {
	r.held[int(d)*r.words+i>>6] |= 1 << (i & 63)
	r.holders[i]++
}

// packet is a message that comes to a device.
func (r *run) packet(e *event) {
	to := &r.devices[e.node]
	if to.off {
		return
	}
	at := e.at
	if wire := int64(e.wire) * wireUnit; wire > 0 {
		at = max(at, to.takes) + wire
		to.takes = at
	}
	at = max(at, to.works) + r.packetWork
	to.works = at
	i := e.msg()
	if r.holds(e.node, i) {
		r.res.Duplicates++
		return
	}
	r.hold(e.node, i)
	r.show(e.node, i, at)
	r.forward(e.node, e.from, i, at)
}

// show counts a message as shown to a reader.
func (r *run) show(d uint32, i int, at int64) {
	m := &r.res.Messages[i]
	if r.devices[d].lost || !r.groups[m.Group].has(d) {
		return
	}
	took := time.Duration(at) - m.At + r.s.Params.Show
	if r.devices[d].site == r.devices[m.From].site {
		m.Near.Add(took)
		return
	}
	m.Away.Add(took)
}

// forward hands a message on to all neighbours but the one that it came from.
func (r *run) forward(d, except uint32, i int, at int64) {
	p := &r.devices[d]
	all := p.neighbours()
	k := 0
	if len(all) > 1 {
		k = int(r.rng.below(uint64(len(all)))) // nobody is always served first
	}
	for range all {
		if to := all[k]; to&^away != except {
			at = r.transmit(d, to, i, at)
		}
		if k++; k == len(all) {
			k = 0
		}
	}
}

// transmit sends a packet with a message and returns when the sender's line is free again;
// to is marked if it stands at another site.
func (r *run) transmit(from, to uint32, i int, at int64) int64 {
	bytes := r.s.Messages[i].Bytes
	l, cut := &r.s.Near, false
	if to&away != 0 {
		l, to = &r.s.Far, to&^away
	}
	if len(r.active) > 0 {
		l, cut = r.link(l, from, to)
	}
	r.res.Packets++
	r.res.Bytes += uint64(bytes)
	wire := wireTime(l.Rate, bytes)
	if wire > 0 {
		d := &r.devices[from]
		at = max(at, d.sends) + wire
		d.sends = at
	}
	if cut {
		return at
	}
	arrives := at + int64(l.Latency) + int64(r.rng.share()*float64(l.Jitter))
	if l.Loss > 0 {
		arrives += r.again(l)
	}
	r.wheel.add(event{at: arrives, node: to, from: from, what: evPacket<<kindShift | uint32(i), wire: uint32(min(wire/wireUnit, math.MaxUint32))})
	return at
}

// again is how much later a packet comes because it was lost and sent again, by the
// probe timeout of RFC 9002 §6.2: it doubles each time.
func (r *run) again(l *Link) (late int64) {
	const maxAckDelay = int64(25 * time.Millisecond)
	rtt := 2 * int64(l.Latency+l.Jitter/2)
	timeout := rtt + max(4*int64(l.Jitter)/3, int64(time.Millisecond)) + maxAckDelay
	for tries := 0; tries < 10 && r.rng.share() < l.Loss; tries++ {
		late += timeout
		timeout *= 2
	}
	return late
}

func wireTime(rate int64, bytes int) int64 {
	if rate <= 0 {
		return 0
	}
	return int64(bytes) * 8 * int64(time.Second) / rate
}

// sample looks at the mesh.
func (r *run) sample() {
	p := Sample{At: time.Duration(r.now), Running: r.running, Packets: r.res.Packets, Bytes: r.res.Bytes}
	for d := range r.devices {
		if !r.devices[d].off {
			p.Neighbours += int(r.devices[d].n)
		}
	}
	r.res.Samples = append(r.res.Samples, p)
}

// agree reports whether every message that somebody running holds is held by all.
func (r *run) agree() bool {
	for i, n := range r.holders {
		if r.said[i] && n != 0 && int(n) != r.running {
			return false
		}
	}
	return true
}

// finish counts who was to read what.
func (r *run) finish() {
	for d := range r.devices {
		if r.devices[d].lost {
			r.res.Lost++
		}
	}
	type audience struct{ group, site int }
	sizes := make(map[audience]int) // with the sender; site -1 is everywhere
	count := func(group, site int) int {
		a := audience{group, site}
		n, ok := sizes[a]
		if !ok {
			for d := range r.devices {
				if !r.devices[d].lost && r.groups[group].has(uint32(d)) && (site < 0 || int(r.devices[d].site) == site) {
					n++
				}
			}
			sizes[a] = n
		}
		return n
	}
	for i := range r.res.Messages {
		m := &r.res.Messages[i]
		if !r.said[i] || r.devices[m.From].lost {
			m.Near, m.Away = Hist{}, Hist{}
			continue
		}
		all, near := count(m.Group, -1), count(m.Group, int(r.devices[m.From].site))
		m.NearReaders, m.AwayReaders = near, all-near
		if r.groups[m.Group].has(uint32(m.From)) {
			m.NearReaders-- // who said it
		}
	}
}
