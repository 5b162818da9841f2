package mesh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	circuitpb "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/pb"
	circuit "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/proto"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	ma "github.com/multiformats/go-multiaddr"
)

// This file holds both ends of relaying (libp2p's circuit v2): the service of a
// device that carries the connections of others, and the reservations of one
// that wants to be reached through it. What is carried is a connection like any
// other: Noise and admission run within, end to end, so that the carrier sees
// who talks to whom, when and how much, and nothing else.

// carrier lets this device carry connections between admitted devices.
type carrierService struct{ relay *relay.Relay }

// newCarrier starts the service. Only admitted devices can reserve, and connect to
// whom: a stream to the service exists on admitted connections only, and the
// access list asks again, for a connection may have lapsed meanwhile. One that is there
// only to hear of its wipe order is carried nowhere.
func newCarrier(h host.Host, l *links, counts *counters) (*carrierService, error) {
	resources := relay.Resources{
		// A reservation ends with the connection it came by. The time limit is a
		// matter of clocks, which may be days apart here, so it is long.
		ReservationTTL:        reservationLife,
		MaxReservations:       maxCarried,
		MaxReservationsPerIP:  maxCarried, // a hospital is one address
		MaxReservationsPerASN: maxCarried,
		MaxCircuits:           maxCircuitsPerPeer,
		BufferSize:            carryBuffer,
	}
	// The order matters: WithResources sets the limits that WithInfiniteLimits
	// then lifts. With limits the connections would be "limited" ones, which
	// gossipsub ignores.
	r, err := relay.New(h,
		relay.WithResources(resources),
		relay.WithInfiniteLimits(),
		relay.WithACL(&carrierACL{links: l}),
		relay.WithReservationAddressFilter(func(ma.Multiaddr) bool { return true }), // local networks are what this is for
		relay.WithMetricsTracer(&carrierTracer{counts: counts}))
	if err != nil {
		return nil, fmt.Errorf("mesh: relay service: %w", err)
	}
	return &carrierService{relay: r}, nil
}

func (c *carrierService) close() error { return c.relay.Close() }

// carrierACL implements relay.ACLFilter.
type carrierACL struct{ links *links }

// AllowReserve implements relay.ACLFilter.
func (a *carrierACL) AllowReserve(p peer.ID, _ ma.Multiaddr) bool { return a.links.trusted(p) }

// AllowConnect implements relay.ACLFilter.
func (a *carrierACL) AllowConnect(src peer.ID, _ ma.Multiaddr, dest peer.ID) bool {
	return a.links.trusted(src) && a.links.trusted(dest)
}

// carrierTracer counts what is carried. It implements relay.MetricsTracer.
type carrierTracer struct{ counts *counters }

func (t *carrierTracer) RelayStatus(bool) {}
func (t *carrierTracer) ConnectionOpened() {
	t.counts.carried.Add(1)
	t.counts.carriedNow.Add(1)
}
func (t *carrierTracer) ConnectionClosed(time.Duration)              { t.counts.carriedNow.Add(-1) }
func (t *carrierTracer) ConnectionRequestHandled(s circuitpb.Status) { t.denied(s) }
func (t *carrierTracer) ReservationAllowed(bool)                     {}
func (t *carrierTracer) ReservationClosed(int)                       {}
func (t *carrierTracer) ReservationRequestHandled(s circuitpb.Status) {
	t.denied(s)
}
func (t *carrierTracer) BytesTransferred(n int) { t.counts.carriedBytes.Add(uint64(n)) }

func (t *carrierTracer) denied(s circuitpb.Status) {
	if s != circuitpb.Status_OK {
		t.counts.carryRefused.Add(1)
	}
}

// carrierLimits raises libp2p's limits for circuits, on both ends: by default it
// stops at 64 between a device and its relay.
func carrierLimits(limits *rcmgr.PartialLimitConfig) {
	many := rcmgr.ResourceLimits{
		Streams: 4 * maxCarried, StreamsInbound: 2 * maxCarried, StreamsOutbound: 2 * maxCarried, Memory: carryMemory,
	}
	one := rcmgr.ResourceLimits{
		Streams: 4 * maxCircuitsPerPeer, StreamsInbound: 2 * maxCircuitsPerPeer, StreamsOutbound: 2 * maxCircuitsPerPeer, Memory: carryMemory / 4,
	}
	limits.Service = map[string]rcmgr.ResourceLimits{relay.ServiceName: many}
	limits.ServicePeer = map[string]rcmgr.ResourceLimits{relay.ServiceName: one}
	limits.Protocol = make(map[protocol.ID]rcmgr.ResourceLimits)
	limits.ProtocolPeer = make(map[protocol.ID]rcmgr.ResourceLimits)
	for _, p := range []protocol.ID{circuit.ProtoIDv2Hop, circuit.ProtoIDv2Stop} {
		limits.Protocol[p] = many
		limits.ProtocolPeer[p] = one
	}
}

// The other end: our reservations.

// considerRelay asks a neighbour that carries for others for a reservation, if we
// have few. Those of the configuration are always asked. A relay reserves
// nowhere unless it is told to: it is there to be reached.
func (f *finder) considerRelay(p peer.ID, c *contact) {
	if !c.relay || !c.up || c.hearing || c.reserved || c.reserving || f.carries && !c.via {
		return
	}
	if c.via || f.reach.relays() < maxReservations {
		f.tasks.sooner(task{toReserve, p}, jitter(reserveSoon))
	}
}

// reserve asks a relay for a reservation, or for its renewal.
func (f *finder) reserve(ctx context.Context, p peer.ID, c *contact) {
	if c.reserving || !c.reserved && !c.via && f.reach.relays() >= maxReservations {
		return
	}
	c.reserving = true
	known := c.directAddrs()
	f.dials.Go(func() {
		addrs, err := f.askRelay(ctx, p, known)
		f.mail.put(findEvent{kind: findReserved, peer: p, addrs: addrs, err: err})
	})
}

// askRelay returns the addresses at which we are reached through p.
func (f *finder) askRelay(ctx context.Context, p peer.ID, known []ma.Multiaddr) ([]ma.Multiaddr, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	granted, err := client.Reserve(network.WithNoDial(ctx, "reserve"), f.host, peer.AddrInfo{ID: p})
	if err != nil {
		return nil, err
	}
	// First the address that we know to work from here, then what the relay says of
	// itself: others may be nearer to it.
	var all []ma.Multiaddr
	for _, c := range f.host.Network().ConnsToPeer(p) {
		if at, ok := reachedAt(c); ok {
			all = append(all, at)
		}
	}
	for _, a := range granted.Addrs {
		bare, _ := peer.SplitAddr(a)
		all = append(all, bare)
	}
	all = dialable(append(all, known...), f.host.ID())
	var out []ma.Multiaddr
	for _, a := range spread(slices.DeleteFunc(all, isCircuit), maxAddrsPerRelay) {
		through, err := circuitAddr(a, p)
		if err != nil {
			return nil, err
		}
		out = append(out, through)
	}
	if len(out) == 0 {
		return nil, errors.New("mesh: the relay has no address that others could dial")
	}
	return out, nil
}

// spread returns at most n of addrs, of as many hosts as there are.
func spread(addrs []ma.Multiaddr, n int) []ma.Multiaddr {
	var out, rest []ma.Multiaddr
	for _, a := range addrs {
		switch {
		case ma.Contains(out, a) || ma.Contains(rest, a):
		case slices.ContainsFunc(out, func(o ma.Multiaddr) bool { return o[0].Equal(&a[0]) }):
			rest = append(rest, a)
		default:
			out = append(out, a)
		}
	}
	out = append(out, rest...)
	return out[:min(len(out), n)]
}

// reserved takes a relay's answer.
func (f *finder) reserved(p peer.ID, addrs []ma.Multiaddr, err error) {
	c := f.book[p]
	if c == nil {
		return
	}
	c.reserving = false
	if err != nil {
		f.log.Debug("a relay gave no reservation", "error", err)
		f.lostRelay(p, c)
		if c.up {
			c.reserveTry++
			f.tasks.set(task{toReserve, p}, jitter(min(reserveMin<<min(c.reserveTry, 16), reserveMax)))
		}
		return
	}
	if !c.up {
		return // it went again, and the reservation with it
	}
	c.reserved, c.reserveTry = true, 0
	f.tasks.set(task{toReserve, p}, jitter(reserveRenewal))
	if f.reach.setRelay(p, addrs) {
		f.tasks.set(task{toTell, ""}, 0)
	}
}

// lostRelay forgets a reservation and looks for another.
func (f *finder) lostRelay(p peer.ID, c *contact) {
	c.reserved = false
	if !f.reach.setRelay(p, nil) {
		return
	}
	f.tasks.sooner(task{toTell, ""}, jitter(exchangeSoon))
	for other, o := range f.book {
		if other != p {
			f.considerRelay(other, o)
		}
	}
}

// relayOf returns the relay of a circuit address, false for any other.
func relayOf(a ma.Multiaddr) (peer.ID, bool) {
	before, circuit := ma.SplitFunc(a, func(c ma.Component) bool { return c.Protocol().Code == ma.P_CIRCUIT })
	if circuit == nil {
		return "", false
	}
	info, err := peer.AddrInfoFromP2pAddr(before)
	if err != nil {
		return "", false
	}
	return info.ID, true
}

// circuitAddr returns the address at which self is reached through a relay at
// the given address of it.
func circuitAddr(at ma.Multiaddr, relay peer.ID) (ma.Multiaddr, error) {
	hop, err := ma.NewMultiaddr("/p2p/" + relay.String() + "/p2p-circuit")
	if err != nil {
		return nil, err
	}
	if at == nil {
		return nil, errors.New("mesh: a relay without an address")
	}
	return at.Encapsulate(hop), nil
}
