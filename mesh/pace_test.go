package mesh

import (
	"bytes"
	"io"
	"testing"
	"time"
)

// TestPaceIsForgotten: what was measured of a link that is not used any more is not
// known any more, so that low-bandwidth mode, in which links are not used, can be left.
func TestPaceIsForgotten(t *testing.T) {
	c := &stillClock{now: time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)}
	p := newPace(c)
	slow := func() { p.session(paceBytes, 16*time.Second) }
	slow()
	c.now = c.now.Add(PaceMemory - time.Second)
	if g := p.goodput(); g < 4000 || g > 4200 {
		t.Errorf("64 KiB in 16 s are %v bytes a second", g)
	}
	c.now = c.now.Add(time.Second)
	if g := p.goodput(); g != 0 {
		t.Errorf("after %v it is still %v bytes a second", PaceMemory, g)
	}
	// What is measured then does not weigh against what was forgotten.
	p.session(1<<20, time.Second)
	if g := p.goodput(); g != 1<<20 {
		t.Errorf("a MiB a second is %v", g)
	}
	c.now = c.now.AddDate(-1, 0, 0)
	if g := p.goodput(); g != 0 {
		t.Errorf("a clock that was stepped back keeps it at %v", g)
	}
}

// TestLossLately: loss is that of the last while, not of the whole connection, and of
// enough packets.
func TestLossLately(t *testing.T) {
	c := &stillClock{now: time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)}
	p := newPace(c)
	var sent, lost uint64
	look := func(after time.Duration, s, l uint64) float64 {
		c.now = c.now.Add(after)
		sent, lost = sent+s, lost+l
		return p.lost("a", sent, lost)
	}
	if got := look(0, 1000, 900); got != 0 {
		t.Errorf("at the first look the loss is %v", got)
	}
	if got := look(lossLook, lossPackets/2, lossPackets/2); got != 0 {
		t.Errorf("%d packets are enough to say %v", lossPackets/2, got)
	}
	if got := look(lossLook, 3*lossPackets/2, 0); got != 0.25 {
		t.Errorf("a quarter is %v", got)
	}
	if got := look(lossLook/2, 10*lossPackets, 0); got != 0.25 {
		t.Errorf("half the time is enough to say %v", got)
	}
	if got := look(lossLook, lossPackets, 0); got != 0 {
		t.Errorf("a line that is good again loses %v", got)
	}
	if got := look(lossLook, lossPackets, lossPackets); got != 1 {
		t.Errorf("a line that is dead loses %v", got)
	}
	if got := look(PaceMemory, 3, 0); got != 0 {
		t.Errorf("a line that is not used loses %v", got)
	}
	look(lossLook, lossPackets, lossPackets)
	if got := p.lost("b", 5, 5); got != 0 {
		t.Errorf("another connection loses %v", got)
	}
}

// waits is a stream whose reads take time on a clock.
type waits struct {
	clock *stillClock
	takes []time.Duration
}

func (w *waits) Read(b []byte) (int, error) {
	if len(w.takes) == 0 {
		return 0, io.EOF
	}
	w.clock.now = w.clock.now.Add(w.takes[0])
	w.takes = w.takes[1:]
	return copy(b, bytes.Repeat([]byte{1}, 8<<10)), nil
}

// TestMeter: neither the time in which the neighbour makes its answer nor a stall nor
// the work of our own between two reads make a link a slow one.
func TestMeter(t *testing.T) {
	c := &stillClock{now: time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)}
	const ms = time.Millisecond
	m := &meter{clock: c, r: &waits{c, []time.Duration{900 * ms, 10 * ms, 10 * ms, 5 * time.Second, 10 * ms, -time.Hour}}}
	m.asked.Store(true)
	b := make([]byte, 16<<10)
	for {
		_, err := m.Read(b)
		c.now = c.now.Add(time.Second) // the disk
		if err != nil {
			break
		}
	}
	if m.bytes != 3*8<<10 || m.waited != 30*ms {
		t.Errorf("%d bytes in %v", m.bytes, m.waited)
	}
}

// TestBuffersSayNothing: gossip that a buffer takes at once does not make a thin link
// look fast.
func TestBuffersSayNothing(t *testing.T) {
	p := newPace(&stillClock{now: time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)})
	for range 100 {
		p.moved(writeBatch, 20*time.Microsecond, true)
	}
	if g := p.goodput(); g != 0 {
		t.Errorf("it is %v bytes a second", g)
	}
}
