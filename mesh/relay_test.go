package mesh

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// onlyCircuits hides the direct addresses of a station, as a router does that lets
// nobody in.
func onlyCircuits(cfg *Config) {
	cfg.HostOptions = append(cfg.HostOptions, libp2p.AddrsFactory(func(all []ma.Multiaddr) []ma.Multiaddr {
		return slices.DeleteFunc(slices.Clone(all), func(a ma.Multiaddr) bool { return !isCircuit(a) })
	}))
}

func (s *station) peerOf(other *station) (Peer, bool) {
	for _, p := range s.Peers() {
		if p.ID == other.ID() {
			return p, true
		}
	}
	return Peer{}, false
}

// Two devices that only reach a relay meet through it: they hear of each other by
// the exchange, are admitted by each other, gossip and synchronise. The relay carries
// bytes that it cannot read.
func TestRelay(t *testing.T) {
	for _, c := range []carrier{tcpCarrier, quicCarrier, wsCarrier} {
		t.Run(string(c), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			r := w.start(t, c, func(cfg *Config) { cfg.Relay = true })
			behind := func(cfg *Config) {
				cfg.Via = r.Addrs()
				onlyCircuits(cfg)
			}
			a, b := w.start(t, c, behind), w.start(t, c, behind)
			a.awaitPeer(t, b)
			p, _ := a.peerOf(b)
			if p.Transport != carriedByRelay || p.Found != foundExchange && p.Found != foundCaller || p.Org == "" {
				t.Errorf("the neighbour behind the relay: %+v", p)
			}
			if p, _ := a.peerOf(r); !p.Relay || p.Found != foundVia || p.Transport != string(c) {
				t.Errorf("the relay: %+v", p)
			}
			a.store.put([]byte("before"))
			a.Nudge()
			b.store.awaitFrame(t, "before")
			n := 0
			poll(t, "gossip over the relay", func() bool {
				n++
				if err := a.Publish(t.Context(), fmt.Appendf(nil, "frame %d", n)); err != nil {
					t.Fatal(err)
				}
				return b.store.has(fmt.Sprintf("frame %d", n/2)) // not the one of just now
			})
			poll(t, "the relay's count", func() bool {
				s := r.Stats()
				return s.Carried > 0 && s.CarriedNow > 0 && s.CarriedBytes > 0
			})
			if s := a.Stats(); s.Reservations != 1 {
				t.Errorf("%d reservations", s.Reservations)
			}
			if !slices.ContainsFunc(a.Addrs(), func(s string) bool { return strings.Contains(s, "/p2p-circuit/p2p/"+a.ID().String()) }) {
				t.Errorf("no circuit among %v", a.Addrs())
			}
		})
	}
}

// A device that is told of a circuit address gets in by it, though it does not know the relay;
// and when the relay goes, the reservation does, and comes back with it.
func TestRelayAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dev := w.member(t)
	r := w.startAs(t, dev, tcpCarrier, func(cfg *Config) { cfg.Relay = true })
	at := r.Addrs()
	a := w.start(t, tcpCarrier, func(cfg *Config) { cfg.Static = at; onlyCircuits(cfg) }) // a relay that is met is used too
	circuits := func() []string {
		return slices.DeleteFunc(a.Addrs(), func(s string) bool { return !strings.Contains(s, "p2p-circuit") })
	}
	poll(t, "a reservation", func() bool { return len(circuits()) > 0 })
	b := w.start(t, tcpCarrier, func(cfg *Config) { cfg.Static = circuits(); hide(cfg) })
	b.awaitPeer(t, a)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	poll(t, "the end of the reservation", func() bool { return len(circuits()) == 0 && a.Stats().Reservations == 0 })
	w.startAs(t, dev, tcpCarrier, func(cfg *Config) {
		cfg.Relay = true
		cfg.Listen = []string{strings.Split(at[0], "/p2p/")[0]}
	})
	poll(t, "another reservation", func() bool { return len(circuits()) > 0 })
	a.awaitPeer(t, b)
}

// Where there is a way past the relay it is found, and the relayed connection ends.
func TestPastTheRelay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.start(t, tcpCarrier, func(cfg *Config) { cfg.Relay = true })
	behind := func(cfg *Config) { cfg.Via = r.Addrs(); onlyCircuits(cfg) }
	a, b := w.start(t, tcpCarrier, behind), w.start(t, tcpCarrier, behind)
	a.awaitPeer(t, b)
	if p, _ := a.peerOf(b); p.Transport != carriedByRelay {
		t.Fatalf("met by %s", p.Transport)
	}
	// The router lets connections in now.
	direct := slices.DeleteFunc(infoOf(t, b.Addrs()).Addrs, isCircuit)
	a.finder.mail.put(findEvent{kind: findKnown, peer: b.ID(), addrs: direct})
	poll(t, "a direct connection and no other", func() bool {
		for _, s := range []*station{a, b} {
			for _, k := range s.links.snapshot() {
				if k.proof.peer != r.ID() && isCircuit(k.conn.RemoteMultiaddr()) {
					return false
				}
			}
		}
		p, _ := a.peerOf(b)
		return p.Transport == carriedByTCP
	})
}

// Whoever is not admitted can neither reserve nor be connected.
func TestCarrierAdmits(t *testing.T) {
	l := newLinks(&desk{})
	l.peers["in"], l.peers["too"] = 1, 1
	acl := &carrierACL{links: l}
	if !acl.AllowReserve("in", nil) || acl.AllowReserve("out", nil) {
		t.Error("reservations do not follow admission")
	}
	if !acl.AllowConnect("in", nil, "too") || acl.AllowConnect("out", nil, "in") || acl.AllowConnect("in", nil, "out") {
		t.Error("circuits do not follow admission")
	}
}

// A device that is no relay carries nothing.
func TestNoCarrierUnlessAsked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.start(t, tcpCarrier, nil)
	b := w.start(t, tcpCarrier, func(cfg *Config) { cfg.Via = a.Addrs() })
	b.awaitPeer(t, a)
	if _, err := b.finder.askRelay(t.Context(), a.ID(), nil); err == nil {
		t.Error("a device that is no relay gave a reservation")
	}
}

func TestSpread(t *testing.T) {
	all := []ma.Multiaddr{
		addr(t, "/ip4/10.0.0.1/tcp/1"), addr(t, "/ip4/10.0.0.1/udp/1/quic-v1"), addr(t, "/ip4/10.0.0.1/tcp/1"),
		addr(t, "/ip4/192.0.2.1/tcp/1"),
	}
	got := spread(all, 2)
	if len(got) != 2 || !got[0].Equal(all[0]) || !got[1].Equal(all[3]) {
		t.Errorf("chose %v", got)
	}
	if got := spread(all, 10); len(got) != 3 {
		t.Errorf("%v", got)
	}
}

func TestCircuitAddr(t *testing.T) {
	relay := testPeerID(t, 1)
	at, err := circuitAddr(addr(t, "/ip4/10.0.0.1/tcp/1"), relay)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := relayOf(at); !ok || got != relay || !usable(at, "") {
		t.Errorf("%s: relay %v", at, got)
	}
	for _, text := range []string{"/ip4/10.0.0.1/tcp/1", "/p2p-circuit", "/ip4/10.0.0.1/tcp/1/p2p-circuit"} {
		if _, ok := relayOf(addr(t, text)); ok {
			t.Errorf("%s has a relay", text)
		}
	}
}

// A relay is asked whether it is known to be connected before it tells what it is, or after.
func TestRelayToldBeforeItIsUp(t *testing.T) {
	p, met := testPeerID(t, 1), addr(t, "/ip4/10.0.0.1/tcp/1")
	known, up := findEvent{kind: findKnown, peer: p, at: met, relays: true}, findEvent{kind: findUp, peer: p}
	for _, order := range [][]findEvent{{up, known}, {known, up}, {known, up, {kind: findDown, peer: p}, known, up}} {
		f := heardBook(t)
		f.learn(p, []ma.Multiaddr{met}, foundVia, func(c *contact) { c.via = true })
		for _, e := range order {
			f.handle(e)
		}
		if due := f.tasks.advance(reserveMin); !slices.Contains(due, task{toReserve, p}) || !f.book[p].relay {
			t.Errorf("%d events: the relay is not asked; due are %v", len(order), due)
		}
		if c := f.book[p]; c.proved == nil || !c.proved.Equal(met) || c.told != nil {
			t.Errorf("%d events: reached at %v", len(order), c.proved)
		}
	}
}

// Few relays are asked, those of the configuration always; a relay asks none.
func TestConsiderRelay(t *testing.T) {
	f := heardBook(t)
	for n := range byte(10) {
		p := testPeerID(t, n+1)
		c := f.learn(p, []ma.Multiaddr{addr(t, "/ip4/10.0.0.1/tcp/1")}, foundMulticast, nil)
		c.relay, c.up, c.via = true, true, n == 9
		f.considerRelay(p, c)
		if n < maxReservations {
			f.reserved(p, []ma.Multiaddr{addr(t, "/ip4/10.0.0.1/tcp/1/p2p/"+p.String()+"/p2p-circuit")}, nil)
		}
	}
	asked := func() (due []peer.ID) {
		for _, tk := range f.tasks.advance(reserveRenewal / 2) {
			if tk.kind == toReserve {
				due = append(due, tk.peer)
			}
		}
		return due
	}
	if got := asked(); !slices.Equal(got, []peer.ID{testPeerID(t, 10)}) || f.reach.relays() != maxReservations {
		t.Errorf("asked %v beside %d", got, f.reach.relays())
	}
	// One is lost: another is asked.
	f.down(testPeerID(t, 1))
	if got := asked(); len(got) == 0 || f.reach.relays() != maxReservations-1 {
		t.Errorf("after a loss asked %v beside %d", got, f.reach.relays())
	}
	g := heardBook(t)
	g.carries = true
	c := g.learn(testPeerID(t, 1), []ma.Multiaddr{addr(t, "/ip4/10.0.0.1/tcp/1")}, foundMulticast, nil)
	c.relay, c.up = true, true
	g.considerRelay(testPeerID(t, 1), c)
	if due := g.tasks.advance(time.Minute); slices.ContainsFunc(due, func(k task) bool { return k.kind == toReserve }) {
		t.Error("a relay reserves at a relay unasked")
	}
}
