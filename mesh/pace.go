package mesh

import (
	"sync"
	"time"
)

// pace is what is known of how fast a neighbour's link is: bytes a second while
// it was busy. Times come from the device's clock, so a sample in which it was
// stepped is wrong; samples out of all reason are left out, and the next ones
// mend the rest.
type pace struct {
	mu    sync.Mutex
	rate  float64 // bytes a second, 0 while unknown
	bytes int
	busy  time.Duration
}

const (
	// paceSample is how long a link must have been busy for one sample, or
	// paceBytes how much must have passed.
	paceSample = 250 * time.Millisecond
	paceBytes  = 64 << 10
	// paceWeight is the share of a new sample.
	paceWeight = 0.3
)

// moved notes that n bytes took d to hand over, and whether more waits.
func (p *pace) moved(n int, d time.Duration, more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d < 0 || d > sessionTimeout {
		p.bytes, p.busy = 0, 0
		return
	}
	p.bytes += n
	p.busy += d
	switch {
	case p.busy >= paceSample || p.bytes >= paceBytes && p.busy > 0:
		p.sample(float64(p.bytes) / p.busy.Seconds())
		p.bytes, p.busy = 0, 0
	case !more:
		p.bytes, p.busy = 0, 0 // an idle link says nothing
	}
}

// session notes a session in which n bytes came in d. A short one says nothing.
func (p *pace) session(n int, d time.Duration) {
	if n < paceBytes || d <= 0 || d > 2*sessionTimeout {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sample(float64(n) / d.Seconds())
}

func (p *pace) sample(rate float64) {
	if p.rate == 0 {
		p.rate = rate
		return
	}
	p.rate += paceWeight * (rate - p.rate)
}

// goodput returns bytes a second, 0 while unknown.
func (p *pace) goodput() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rate
}
