package mesh

import (
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/quic-go/quic-go"
)

// pace is what is known of a neighbour's link: bytes a second while it was busy, and
// the share of packets lost. Both are forgotten after PaceMemory, for a link that
// is hardly used, as in low-bandwidth mode, gives no new ones. Times come from the device's clock, so a sample in which it was
// stepped is wrong; samples out of all reason are left out, and the next ones
// mend the rest.
type pace struct {
	clock Clock

	mu    sync.Mutex
	rate  float64   // bytes a second, 0 while unknown
	at    time.Time // of the last sample
	bytes int
	busy  time.Duration
	loss  lossWindow
}

func newPace(clock Clock) *pace { return &pace{clock: clock} }

const (
	// paceSample is how long handing gossip over must have been held up for one sample:
	// what a buffer takes at once says nothing of the link behind it. paceBytes is how
	// much must have come in a session.
	paceSample = 250 * time.Millisecond
	paceBytes  = 64 << 10
	// paceWeight is the share of a new sample.
	paceWeight = 0.3
	// paceStall is how long a wait may take that says how fast a link is: what is
	// longer is a neighbour that is busy, or a link that is gone.
	paceStall = time.Second
	// lossLook is the least time over which loss is counted, lossPackets how many
	// packets of ours it takes.
	lossLook    = 10 * time.Second
	lossPackets = 100
)

// PaceMemory is how long after the last measurement [Peer].Goodput and [Peer].Loss
// are 0 again: not known.
const PaceMemory = 2 * time.Minute

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
	case p.busy >= paceSample:
		p.sample(float64(p.bytes) / p.busy.Seconds())
		p.bytes, p.busy = 0, 0
	case !more:
		p.bytes, p.busy = 0, 0 // an idle link says nothing
	}
}

// session notes a session in which n bytes came in d. A short one says nothing.
func (p *pace) session(n int, d time.Duration) {
	if n < paceBytes || d < 0 || d > 2*sessionTimeout {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	// What came at once says at least that the link is not what is slow.
	p.sample(float64(n) / max(d, time.Millisecond).Seconds())
}

// now is the time by which old measurements are forgotten; without a clock none are.
func (p *pace) now() time.Time {
	if p.clock == nil {
		return time.Time{}
	}
	return p.clock.Now()
}

// fade forgets a rate that is old. p.mu is held.
func (p *pace) fade() {
	if p.rate != 0 && p.now().Sub(p.at).Abs() >= PaceMemory {
		p.rate = 0
	}
}

func (p *pace) sample(rate float64) {
	p.fade()
	p.at = p.now()
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
	p.fade()
	return p.rate
}

// lossWindow is a stretch of one connection over which loss is counted.
type lossWindow struct {
	conn       string
	since      time.Time
	sent, lost uint64  // then, since the connection began
	share      float64 // of the last stretch
}

// lossOf returns the share of packets that were lost on a QUIC connection lately, 0
// while that is not known.
func (p *pace) lossOf(c network.Conn) float64 {
	var q *quic.Conn
	if !c.As(&q) {
		return 0
	}
	s := q.ConnectionStats()
	return p.lost(c.ID(), s.PacketsSent, s.PacketsLost)
}

// lost is lossOf for a connection by its name, with its counters.
func (p *pace) lost(conn string, sent, lost uint64) float64 {
	now := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	w := &p.loss
	age := now.Sub(w.since)
	switch {
	case w.conn != conn || sent < w.sent || lost < w.lost || age < 0:
		*w = lossWindow{conn: conn, since: now, sent: sent, lost: lost}
	case age >= lossLook && sent-w.sent >= lossPackets:
		share := min(float64(lost-w.lost)/float64(sent-w.sent), 1)
		*w = lossWindow{conn: conn, since: now, sent: sent, lost: lost, share: share}
	case age >= PaceMemory:
		*w = lossWindow{conn: conn, since: now, sent: sent, lost: lost}
	}
	return w.share
}

// meter measures how fast a synchronisation session comes in: only the time in
// which more was on its way and had not come yet. Left out is what the device
// takes to work on what came, and the first wait after a question, in which the
// neighbour works on the answer.
type meter struct {
	r     io.Reader
	clock Clock
	asked atomic.Bool

	bytes  int
	waited time.Duration
}

// Read implements io.Reader.
func (m *meter) Read(b []byte) (int, error) {
	begun := m.clock.Now()
	n, err := m.r.Read(b)
	d := m.clock.Now().Sub(begun)
	if !m.asked.Swap(false) && d >= 0 && d <= paceStall {
		m.bytes += n
		m.waited += d
	}
	return n, err
}
