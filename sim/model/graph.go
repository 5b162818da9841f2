package model

// maxDegree is the most neighbours of one device.
const maxDegree = 8

// device is the state of one: a line of the processor's cache.
type device struct {
	sends, takes, works int64 // when its line out, its line in and its processor are free
	// of are the neighbours, n of them. They are mutual while both run. The top bit tells
	// that one stands at another site.
	of   [maxDegree]uint32
	site uint16
	n    uint8
	off  bool
	lost bool // is, or will be, off for good
}

const away = 1 << 31

func (p *device) neighbours() []uint32 { return p.of[:p.n] }

func (p *device) has(d uint32) bool {
	for _, o := range p.of[:p.n] {
		if o&^away == d {
			return true
		}
	}
	return false
}

func (p *device) drop(d uint32) {
	for i, o := range p.of[:p.n] {
		if o&^away == d {
			p.n--
			p.of[i] = p.of[p.n]
			return
		}
	}
}

// add makes b a neighbour of a, not yet the other way round, if there is room.
func (r *run) add(a, b uint32) bool {
	p := &r.devices[a]
	if p.n == maxDegree || p.has(b) {
		return false
	}
	p.of[p.n] = b
	if p.site != r.devices[b].site {
		p.of[p.n] |= away
	}
	p.n++
	return true
}

// join makes two devices neighbours if both have room.
func (r *run) join(a, b uint32) bool {
	if a == b || r.devices[a].n == maxDegree || r.devices[b].n == maxDegree || r.devices[a].has(b) {
		return false
	}
	return r.add(a, b) && r.add(b, a)
}

// connect makes the mesh: all hang together by one way that visits everybody in a random order, as
// real ones do once they have met, and by random pairs up to the degree.
func (r *run) connect() {
	n := len(r.devices)
	order := make([]uint32, n)
	for i := range order {
		j := int(r.rng.below(uint64(i + 1)))
		order[i] = order[j]
		order[j] = uint32(i)
	}
	for i := range order {
		r.join(order[i], order[(i+1)%n])
	}
	more := int(float64(n) * (r.s.Params.Degree - 2) / 2)
	for tries := 0; more > 0 && tries < 20*n; tries++ {
		a, b := uint32(r.rng.below(uint64(n))), uint32(r.rng.below(uint64(n)))
		// Who has few is chosen sooner: that is how degrees stay together.
		if r.devices[a].n > 5 || r.devices[b].n > 5 || !r.join(a, b) {
			continue
		}
		more--
	}
}

// rng is splitmix64 (Steele, Lea and Flood 2014): fast, and the same everywhere.
type rng uint64

func (g *rng) next() uint64 {
	*g += 0x9e3779b97f4a7c15
	z := uint64(*g)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below returns a number from 0 to before n, n below 2^32.
func (g *rng) below(n uint64) uint64 { return (g.next() >> 32) * n >> 32 }

// share returns a number from 0 to before 1.
func (g *rng) share() float64 { return float64(g.next()>>11) / (1 << 53) }
