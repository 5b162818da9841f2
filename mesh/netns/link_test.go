//go:build linux

package netns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"tocsin/mesh/netns/link"
)

// systemClock is the machine's clock, as the link wants it.
type systemClock struct{}

func (systemClock) Now() time.Time                         { return time.Now() }
func (systemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// joinByLink joins two namespaces by a link of two TUN devices: a has the address
// 192.168.n.1, b 192.168.n.2.
func joinByLink(t *testing.T, n int, a *space, nameA string, b *space, nameB string, ab, ba link.Shape) *link.Link {
	t.Helper()
	ends := make([]link.Device, 2)
	for i, e := range []struct {
		s    *space
		name string
	}{{a, nameA}, {b, nameB}} {
		if err := e.s.inside(func() (err error) {
			ends[i], err = link.OpenTUN(e.name)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		e.s.ip(t,
			fmt.Sprintf("address add 192.168.%d.%d peer 192.168.%d.%d dev %s", n, i+1, n, 2-i, e.name),
			// The kernel's own queue must not drop what the link is to decide about.
			fmt.Sprintf("link set %s txqueuelen 10000 up", e.name))
	}
	l, err := link.New(systemClock{}, ends[0], ends[1], ab, ba)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l
}

// TestLink measures a link that was made to measure: its rate, its loss and its
// round trip, with packets of the kernel.
func TestLink(t *testing.T) {
	needed(t)
	for _, c := range []struct {
		name    string
		shape   link.Shape
		packets int
		rtt     time.Duration // without the probe's own time on the line
	}{
		{name: "slow and long", shape: link.Shape{Rate: 64_000, Delay: 400 * time.Millisecond, Queue: 1 << 20},
			packets: 24, rtt: 800 * time.Millisecond},
		{name: "lossy", shape: link.Shape{Rate: 8_000_000, Delay: 20 * time.Millisecond, Loss: 0.1, Queue: 16 << 20},
			packets: 2000, rtt: 40 * time.Millisecond},
		{name: "fast", shape: link.Shape{Rate: 10_000_000, Delay: 5 * time.Millisecond, Queue: 16 << 20},
			packets: 2000, rtt: 10 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a, b := newSpace(t, "a"), newSpace(t, "b")
			l := joinByLink(t, 7, a, "tun0", b, "tun0", c.shape, link.Shape{Delay: c.shape.Delay})
			p := newProbe(t, a, b)
			rtt := p.roundTrip(t, c.shape.Loss > 0)
			// The probe itself takes its time on the line.
			own := time.Duration(float64(probeSize*8) / float64(c.shape.Rate) * float64(time.Second))
			got, rate := p.flood(t, c.packets)
			forth, _ := l.Counts()
			t.Logf("round trip %v, %d of %d packets arrived, at %.0f b/s; the link counted %+v", rtt.Round(time.Millisecond/10), got, c.packets, rate, forth)
			// A busy machine makes a link slower, never faster.
			if rtt < c.rtt || rtt > c.rtt+own+300*time.Millisecond {
				t.Errorf("a round trip takes %v, not %v", rtt, c.rtt+own)
			}
			if r := float64(c.shape.Rate); rate > 1.02*r || rate < 0.8*r {
				t.Errorf("the rate is %.0f b/s, not %.0f", rate, r)
			}
			if n := forth.Delivered + forth.Lost + forth.Overflown; n < uint64(c.packets) || forth.Overflown > 0 {
				t.Errorf("the link counted %+v of %d packets", forth, c.packets)
			}
			// Four standard deviations.
			want := c.shape.Loss * float64(c.packets)
			if lost := float64(c.packets - got); math.Abs(lost-want) > 4*math.Sqrt(want*(1-c.shape.Loss)) {
				t.Errorf("%.0f of %d packets were lost, not about %.0f", lost, c.packets, want)
			}
		})
	}
}

// probeSize is the length of a probe on the line: the payload, UDP and IPv4.
const probeSize = 972 + 8 + 20

// probe sends datagrams from a to b, where they are counted, and echoed if they
// ask for it.
type probe struct {
	out *net.UDPConn // in a, connected to in
	in  *net.UDPConn // in b
}

func newProbe(t *testing.T, a, b *space) *probe {
	t.Helper()
	p := &probe{}
	at := &net.UDPAddr{IP: net.IPv4(192, 168, 7, 2), Port: 9}
	err := errors.Join(
		b.inside(func() (err error) { p.in, err = net.ListenUDP("udp4", at); return err }),
		a.inside(func() (err error) { p.out, err = net.DialUDP("udp4", nil, at); return err }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(p.in.Close(), p.out.Close()); err != nil {
			t.Error(err)
		}
	})
	if err := p.in.SetReadBuffer(4 << 20); err != nil {
		t.Fatal(err)
	}
	return p
}

// roundTrip returns the median of five round trips of a packet each. Where packets
// are lost it tries again.
func (p *probe) roundTrip(t *testing.T, lossy bool) time.Duration {
	t.Helper()
	var took []time.Duration
	buf := make([]byte, 2048)
	for try := uint32(0); len(took) < 5; try++ {
		if try > 20 {
			t.Fatalf("of %d probes %d came back", try, len(took))
		}
		sent := time.Now()
		packet := binary.BigEndian.AppendUint32(make([]byte, 0, 972), try)
		if _, err := p.out.Write(packet[:972]); err != nil {
			t.Fatal(err)
		}
		deadline := sent.Add(2 * time.Second)
		if err := errors.Join(p.in.SetReadDeadline(deadline), p.out.SetReadDeadline(deadline)); err != nil {
			t.Fatal(err)
		}
		n, from, err := p.in.ReadFromUDP(buf)
		if err == nil {
			if _, err = p.in.WriteToUDP(buf[:n], from); err == nil {
				n, err = p.out.Read(buf)
			}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) && lossy {
			continue
		}
		if err != nil || n != 972 || binary.BigEndian.Uint32(buf) != try {
			t.Fatalf("the probe came back as %d bytes, %v", n, err)
		}
		took = append(took, time.Since(sent))
	}
	slices.Sort(took)
	return took[2]
}

// flood sends packets as fast as the kernel takes them and returns how many
// arrive, and at which rate in bits a second on the line, what was lost there
// included.
func (p *probe) flood(t *testing.T, packets int) (arrived int, rate float64) {
	t.Helper()
	sending := make(chan error, 1)
	go func() { sending <- p.sendAll(packets) }()
	buf := make([]byte, 2048)
	var first, last time.Time
	var firstNumber, lastNumber uint32
	for {
		if err := p.in.SetReadDeadline(time.Now().Add(3 * time.Second)); err != nil {
			t.Fatal(err)
		}
		_, _, err := p.in.ReadFromUDP(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		last, lastNumber = time.Now(), binary.BigEndian.Uint32(buf)
		if arrived++; arrived == 1 {
			first, firstNumber = last, lastNumber
		}
		if int(lastNumber) == packets-1 {
			break
		}
	}
	if err := <-sending; err != nil {
		t.Fatal(err)
	}
	if arrived < 2 {
		t.Fatalf("%d of %d packets arrived", arrived, packets)
	}
	return arrived, float64(lastNumber-firstNumber) * probeSize * 8 / last.Sub(first).Seconds()
}

func (p *probe) sendAll(packets int) error {
	packet := make([]byte, 972)
	for i := range packets {
		binary.BigEndian.PutUint32(packet, uint32(i))
		if _, err := p.out.Write(packet); err != nil {
			return err
		}
	}
	return nil
}
