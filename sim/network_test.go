package sim

import (
	"bytes"
	"math"
	"net"
	"testing"
	"time"

	"tocsin/node"
)

// still is a clock that stands.
type still struct{ node.Clock }

func (still) Now() time.Time { return time.Unix(1_800_000_000, 0) }

// testNetwork has two devices at one site and a third at another.
func testNetwork(t *testing.T, near, far Link, cpu time.Duration) (n *network, ports [3]*port) {
	t.Helper()
	n = newNetwork(still{}, 1, near, far, cpu)
	t.Cleanup(n.close)
	for i := range ports {
		ip := address(i)
		p, err := n.listen(string(rune('a'+i)), []string{"x", "x", "y"}[i], net.UDPAddrFromAddrPort(addrPort(ip)))
		if err != nil {
			t.Fatal(err)
		}
		ports[i] = p
	}
	return n, ports
}

func (p *port) udp() *net.UDPAddr { return net.UDPAddrFromAddrPort(addrPort(p.ip)) }

func TestLoss(t *testing.T) {
	const packets = 200_000
	n, p := testNetwork(t, Link{Loss: 0.1, Burst: 4}, Link{}, 0)
	lost, bursts, before := 0, 0, false
	for range packets {
		gone := len(n.fate(p[0], p[1].udp(), []byte("x"))) == 0
		if gone {
			lost++
			if !before {
				bursts++
			}
		}
		before = gone
	}
	if share := float64(lost) / packets; math.Abs(share-0.1) > 0.01 {
		t.Errorf("%.3f of the packets are lost", share)
	}
	if mean := float64(lost) / float64(bursts); math.Abs(mean-4) > 0.3 {
		t.Errorf("%.2f are lost in a row", mean)
	}
	if got := n.fate(p[0], p[2].udp(), []byte("x")); len(got) != 1 {
		t.Error("the other link loses, too")
	}
}

// TestTick: packets arrive at whole ticks, later than they were sent, and as late in the mean as
// the link says.
func TestTick(t *testing.T) {
	const packets = 20_000
	link := Link{Latency: 1200 * time.Microsecond, Jitter: 3 * time.Millisecond}
	n, p := testNetwork(t, link, Link{Latency: 100 * time.Microsecond}, 0)
	var sum time.Duration
	for range packets {
		d := n.fate(p[0], p[1].udp(), []byte("x"))[0].to.delay
		if d <= 0 || d%tick != 0 {
			t.Fatalf("a packet takes %v", d)
		}
		sum += d
	}
	if mean, want := sum/packets, link.Latency+link.Jitter/2; (mean - want).Abs() > 50*time.Microsecond {
		t.Errorf("packets take %v in the mean, want %v", mean, want)
	}
	if d := n.fate(p[0], p[2].udp(), []byte("x"))[0].to.delay; d != tick {
		t.Errorf("a packet of a link that is faster than a tick takes %v", d)
	}
}

func TestDuplicatesAndCorruption(t *testing.T) {
	n, p := testNetwork(t, Link{Duplicate: 1, Corrupt: 1}, Link{}, 0)
	sent := bytes.Repeat([]byte{7}, 100)
	got := n.fate(p[0], p[1].udp(), sent)
	if len(got) != 2 || bytes.Equal(got[0].bytes, sent) || len(got[0].bytes) != len(sent) {
		t.Errorf("%d copies", len(got))
	}
	if !bytes.Equal(sent, bytes.Repeat([]byte{7}, 100)) {
		t.Error("the sender's own bytes were changed")
	}
}

// TestQueues: a thin link and a busy processor make packets wait, and at last drop.
func TestQueues(t *testing.T) {
	n, p := testNetwork(t, Link{Latency: 10 * time.Millisecond, Rate: 80_000}, Link{}, 5*time.Millisecond)
	var last time.Duration
	kept := 0
	for range 100 { // each takes 10 ms to send, 10 to take and 5 to work on
		got := n.fate(p[0], p[1].udp(), make([]byte, 100))
		if len(got) == 0 {
			break
		}
		if got[0].to.delay <= last {
			t.Fatalf("packet %d overtakes: %s after %s", kept, got[0].to.delay, last)
		}
		last = got[0].to.delay
		kept++
	}
	if kept < 50 || kept > 55 {
		t.Errorf("%d packets of 10 ms were taken before the queue of %s was full", kept, queueBound)
	}
	if n.traffic().Overflowed == 0 {
		t.Error("nothing counts as dropped")
	}
}

func TestCutsAndPower(t *testing.T) {
	n, p := testNetwork(t, Link{}, Link{}, 0)
	arrives := func(from, to int) bool { return len(n.fate(p[from], p[to].udp(), []byte("x"))) == 1 }
	f := &netFault{cut: true, touches: func(from, to *port) bool { return from.name == "a" && to.name == "b" }}
	end := n.begin(f)
	if arrives(0, 1) || !arrives(1, 0) || !arrives(0, 2) {
		t.Error("a one-way cut is not one")
	}
	if n.bit(f) != 1 {
		t.Errorf("it bit %d times", n.bit(f))
	}
	end()
	if !arrives(0, 1) {
		t.Error("the cut goes on")
	}
	n.power(p[1].ip, false)
	if arrives(0, 1) || arrives(1, 0) {
		t.Error("a device that is off is heard")
	}
}
