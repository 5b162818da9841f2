package sim

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/marcopolo/simnet"

	"tocsin/node"
)

// Link is what the way from one device to another is like. Zero fields of a change
// leave what was.
type Link struct {
	Latency   time.Duration `yaml:"latency"`   // one way
	Jitter    time.Duration `yaml:"jitter"`    // added to Latency, evenly from 0; makes packets overtake one another
	Loss      float64       `yaml:"loss"`      // share of packets lost, 0 to 1
	Burst     float64       `yaml:"burst"`     // mean length of a run of losses, in packets; below 1 counts as 1
	Duplicate float64       `yaml:"duplicate"` // share of packets that come twice
	Corrupt   float64       `yaml:"corrupt"`   // share of packets with a flipped bit
	Rate      int64         `yaml:"rate"`      // bits a second that one device sends, and takes; 0 is without bound
}

// over returns l with the fields of change that are set.
func (l Link) over(change Link) Link {
	set(&l.Latency, change.Latency)
	set(&l.Jitter, change.Jitter)
	set(&l.Loss, change.Loss)
	set(&l.Burst, change.Burst)
	set(&l.Duplicate, change.Duplicate)
	set(&l.Corrupt, change.Corrupt)
	set(&l.Rate, change.Rate)
	return l
}

func set[T comparable](to *T, v T) {
	var zero T
	if v != zero {
		*to = v
	}
}

// queueBound is how long a packet waits for a thin link or a busy device before it
// is dropped, as by a router's or a socket's buffer.
const queueBound = 500 * time.Millisecond

// tick is the grain of time at which packets arrive. What arrives everywhere within one is worked on
// at once, on all cores, where each packet alone would have all the world wait for it; the scale model
// counts in the same grain.
const tick = time.Millisecond

// network carries the datagrams of all devices. Its conditions may be changed at
// any time.
type network struct {
	clock  node.Clock
	router simnet.VariableLatencyRouter
	stop   chan struct{}
	work   sync.WaitGroup

	trace *trace

	mu     sync.Mutex
	rng    *rand.Rand // guarded by mu, as all below
	ports  map[netip.Addr]*port
	near   Link // within a site
	far    Link // between sites
	cpu    time.Duration
	faults []*netFault // in force, oldest first
	lossy  map[[2]netip.Addr]bool
	total  traffic
}

// traffic counts datagrams.
type traffic struct {
	Packets, Bytes, Lost, Cut, Duplicated, Corrupted, Overflowed, Replayed uint64
}

// netFault is a change of the network in force.
type netFault struct {
	// touches reports whether a packet from one device to another is concerned.
	touches func(from, to *port) bool
	cut     bool // it does not arrive
	change  Link
	bit     uint64 // guarded by network.mu: packets that it concerned
}

func newNetwork(clock node.Clock, seed uint64, near, far Link, cpu time.Duration) *network {
	n := &network{
		clock: clock, stop: make(chan struct{}), rng: rand.New(rand.NewPCG(seed, 1)),
		ports: make(map[netip.Addr]*port), near: near, far: far, cpu: cpu, lossy: make(map[[2]netip.Addr]bool),
	}
	n.router.CloseSignal = n.stop
	n.router.LatencyFunc = func(p *simnet.Packet) time.Duration {
		if s, ok := p.To.(stamped); ok {
			return s.delay
		}
		return 0
	}
	n.router.Start(&n.work)
	return n
}

func (n *network) close() {
	close(n.stop)
	n.work.Wait()
}

// port is a device's socket.
type port struct {
	*simnet.SimConn
	net  *network
	ip   netip.Addr
	name string
	site string
	up   bool // guarded by network.mu: false for a device that is off, whose last words are not heard

	// sends, takes and works are when the link out, the link in and the processor are free. The
	// links to one's own site (0) and to others (1) are apart: a thin line between sites keeps
	// nobody waiting within one. Guarded by network.mu.
	sends, takes [2]time.Time
	works        time.Time
	out, in      uint64 // guarded by network.mu: bytes
	kept         []kept // guarded by network.mu: packets to replay, where wanted
	keep         int
}

// kept is a packet as it went.
type kept struct {
	bytes []byte
	to    net.Addr
}

// listen opens a device's socket; a socket that had its address before is gone.
func (n *network) listen(name, site string, addr *net.UDPAddr) (*port, error) {
	ip, ok := netip.AddrFromSlice(addr.IP.To4())
	if !ok {
		return nil, fmt.Errorf("sim: %s is no IPv4 address", addr)
	}
	p := &port{SimConn: simnet.NewBlockingSimConn(addr), net: n, ip: ip, name: name, site: site, up: true}
	p.SetUpPacketReceiver(&n.router)
	n.mu.Lock()
	defer n.mu.Unlock()
	if old := n.ports[ip]; old != nil {
		p.keep, p.out, p.in = old.keep, old.out, old.in
	}
	n.ports[ip] = p
	n.router.AddNode(addr, p.SimConn)
	return p, nil
}

// stamped is an address with the delay that the packet has coming.
type stamped struct {
	*net.UDPAddr
	text  string
	delay time.Duration
}

// String makes the router take the address as it took the one of AddNode.
func (s stamped) String() string { return s.text }

// WriteTo sends a packet as the network is at this moment.
func (p *port) WriteTo(b []byte, to net.Addr) (int, error) {
	udp, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, fmt.Errorf("sim: %s is no UDP address", to)
	}
	for _, f := range p.net.fate(p, udp, b) {
		if _, err := p.SimConn.WriteTo(f.bytes, f.to); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// sending is one copy of a packet on its way.
type sending struct {
	bytes []byte
	to    stamped
}

// fate decides what becomes of a packet: lost, once, or twice.
func (n *network) fate(from *port, udp *net.UDPAddr, b []byte) []sending {
	ip, ok := netip.AddrFromSlice(udp.IP.To4())
	if !ok {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	to := n.ports[ip]
	n.trace.packet(from.ip, ip, b)
	n.total.Packets++
	n.total.Bytes += uint64(len(b))
	from.out += uint64(len(b))
	if len(from.kept) < from.keep {
		from.kept = append(from.kept, kept{append([]byte(nil), b...), udp})
	}
	if to == nil || !from.up || !to.up {
		n.total.Cut++
		return nil
	}
	link, cut := n.link(from, to)
	if cut {
		n.total.Cut++
		return nil
	}
	if n.loses(from, to, link) {
		n.total.Lost++
		return nil
	}
	delay, ok := n.delay(from, to, link, len(b))
	if !ok {
		n.total.Overflowed++
		return nil
	}
	to.in += uint64(len(b))
	if link.Corrupt > 0 && n.rng.Float64() < link.Corrupt {
		n.total.Corrupted++
		b = append([]byte(nil), b...)
		b[n.rng.IntN(len(b))] ^= 1 << n.rng.IntN(8)
	}
	address := stamped{udp, netip.AddrPortFrom(ip, uint16(udp.Port)).String(), delay}
	all := []sending{{b, address}}
	if link.Duplicate > 0 && n.rng.Float64() < link.Duplicate {
		n.total.Duplicated++
		address.delay += time.Duration(n.rng.Int64N(int64(50 * time.Millisecond)))
		all = append(all, sending{b, address})
	}
	return all
}

// link is the way from one device to another now, and whether there is none. n.mu
// is held.
func (n *network) link(from, to *port) (l Link, cut bool) {
	l = n.far
	if from.site == to.site {
		l = n.near
	}
	for _, f := range n.faults {
		if f.touches(from, to) {
			f.bit++
			cut = cut || f.cut
			l = l.over(f.change)
		}
	}
	return l, cut
}

// loses draws whether a packet is lost, by a chain of two states (Gilbert 1960): in
// the bad one all are, and it lasts Burst packets in the mean. n.mu is held.
func (n *network) loses(from, to *port, l Link) bool {
	if l.Loss <= 0 {
		return false
	}
	if l.Loss >= 1 {
		return true
	}
	way := [2]netip.Addr{from.ip, to.ip}
	leave := 1 / max(l.Burst, 1)
	enter := min(1, leave*l.Loss/(1-l.Loss)) // so that the share of the bad state is Loss
	if n.lossy[way] {
		n.lossy[way] = n.rng.Float64() >= leave
	} else {
		n.lossy[way] = n.rng.Float64() < enter
	}
	return n.lossy[way]
}

// delay is how long a packet of size bytes takes, and false if it finds a full
// queue: for the sender's link, the receiver's, and the receiver's processor. n.mu is held.
func (n *network) delay(from, to *port, l Link, size int) (time.Duration, bool) {
	now := n.clock.Now()
	at := now
	// Each queue is taken as it is now, not as it will be when the packet gets there: one that is
	// long under way keeps nobody waiting who overtakes it.
	queue := func(free *time.Time, cost time.Duration) bool {
		begin := now
		if free.After(begin) {
			begin = *free
		}
		if begin.Sub(now) > queueBound {
			return false
		}
		*free = begin.Add(cost)
		at = at.Add(free.Sub(now))
		return true
	}
	var wire time.Duration
	if l.Rate > 0 {
		wire = time.Duration(int64(size) * 8 * int64(time.Second) / l.Rate)
	}
	line := 0
	if from.site != to.site {
		line = 1
	}
	if !queue(&from.sends[line], wire) {
		return 0, false
	}
	at = at.Add(l.Latency)
	if l.Jitter > 0 {
		at = at.Add(time.Duration(n.rng.Int64N(int64(l.Jitter))))
	}
	if !queue(&to.takes[line], wire) || !queue(&to.works, n.cpu) {
		return 0, false
	}
	if at = at.Round(tick); !at.After(now) {
		at = at.Add(tick)
	}
	return at.Sub(now), true
}

// charge keeps a device's processor busy for so long, from when it is free.
func (n *network) charge(ip netip.Addr, cost time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.ports[ip]
	if p == nil {
		return
	}
	if now := n.clock.Now(); p.works.Before(now) {
		p.works = now
	}
	p.works = p.works.Add(cost)
}

// begin puts a fault into force, until the returned function is called.
func (n *network) begin(f *netFault) (end func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults = append(n.faults, f)
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		for i := range n.faults {
			if n.faults[i] == f {
				n.faults = append(n.faults[:i:i], n.faults[i+1:]...)
				return
			}
		}
	}
}

// bit is how many packets a fault has concerned.
func (n *network) bit(f *netFault) uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return f.bit
}

// power switches a device's socket on or off; off, nothing comes or goes.
func (n *network) power(ip netip.Addr, up bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := n.ports[ip]; p != nil {
		p.up = up
	}
}

// record has the next packets that a device sends kept for a replay.
func (n *network) record(ip netip.Addr, packets int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := n.ports[ip]; p != nil {
		p.keep, p.kept = packets, nil
	}
}

// replay sends what a device sent before once more, unchanged, and returns how many packets
// that were.
func (n *network) replay(ip netip.Addr) (int, error) {
	n.mu.Lock()
	p := n.ports[ip]
	var again []kept
	if p != nil {
		again = p.kept
		p.keep = 0
	}
	n.total.Replayed += uint64(len(again))
	n.mu.Unlock()
	for _, k := range again {
		if _, err := p.WriteTo(k.bytes, k.to); err != nil {
			return 0, fmt.Errorf("sim: replaying packets: %w", err)
		}
	}
	return len(again), nil
}

// traffic returns the counters as they are now.
func (n *network) traffic() traffic {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.total
}

// bytes returns what a device has sent and was sent so far.
func (n *network) bytes(ip netip.Addr) (out, in uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := n.ports[ip]; p != nil {
		return p.out, p.in
	}
	return 0, 0
}

// address is the address of the i-th device, of RFC 1918's 10/8.
func address(i int) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 10<<24|uint32(i+1))
	return netip.AddrFrom4(b)
}

// addrPort is where a device of an address listens.
func addrPort(ip netip.Addr) netip.AddrPort { return netip.AddrPortFrom(ip, devicePort) }

// devicePort is the UDP port of every device.
const devicePort = 4750
