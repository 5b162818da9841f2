package mesh

import (
	"net/netip"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// What all neighbours may have in common, so that one party could decide what
// this device gets to hear ([Eclipse]).
const (
	EclipseIntroducer = "introducer" // one neighbour named all the others
	EclipseRelay      = "relay"      // one relay carries all connections
	EclipseSite       = "site"       // all are in one network
)

// eclipseMin is from how many neighbours on having something in common says
// anything.
const eclipseMin = 3

// Eclipse says what all neighbours have in common, or "". It is a warning and no
// proof: a ward on its own network is at one site. The worst comes first.
func Eclipse(peers []Peer) string {
	switch {
	case len(peers) < eclipseMin:
		return ""
	case oneIntroducer(peers):
		return EclipseIntroducer
	case allShare(peers, carrierOf):
		return EclipseRelay
	case allShare(peers, networkOf):
		return EclipseSite
	}
	return ""
}

// oneIntroducer reports whether one peer named all others; it may be a neighbour
// itself.
func oneIntroducer(peers []Peer) bool {
	var by peer.ID
	for _, p := range peers {
		if p.Introducer != "" {
			by = p.Introducer
			break
		}
	}
	named := 0
	for _, p := range peers {
		switch {
		case p.Introducer == by:
			named++
		case p.ID != by:
			return false
		}
	}
	return by != "" && named >= eclipseMin-1
}

// allShare reports whether of gives the same for all, and not "".
func allShare(peers []Peer, of func(Peer) string) bool {
	first := of(peers[0])
	for _, p := range peers {
		if of(p) != first {
			return false
		}
	}
	return first != ""
}

// carrierOf returns the relay that carries the connection, or "".
func carrierOf(p Peer) string {
	a, err := ma.NewMultiaddr(p.Addr)
	if err != nil {
		return ""
	}
	before, circuit := ma.SplitFunc(a, func(c ma.Component) bool { return c.Protocol().Code == ma.P_CIRCUIT })
	if len(circuit) == 0 {
		return ""
	}
	id, err := before.ValueForProtocol(ma.P_P2P)
	if err != nil {
		return ""
	}
	return id
}

// networkOf returns the IPv4 /24 or IPv6 /48 of the neighbour, or "" where there
// is none to tell: carried by a relay, or this machine itself.
func networkOf(p Peer) string {
	a, err := ma.NewMultiaddr(p.Addr)
	if err != nil || carrierOf(p) != "" {
		return ""
	}
	ip, err := manet.ToIP(a)
	if err != nil {
		return ""
	}
	addr, ok := netip.AddrFromSlice(ip)
	if addr = addr.Unmap(); !ok || addr.IsLoopback() {
		return ""
	}
	bits := 24
	if addr.Is6() {
		bits = 48
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return ""
	}
	return prefix.String()
}
