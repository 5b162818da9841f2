package mesh

import (
	"net/netip"
	"slices"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

func isCircuit(a ma.Multiaddr) bool {
	_, err := a.ValueForProtocol(ma.P_CIRCUIT)
	return err == nil
}

// reachedAt is the address of a peer that we have proved to work: where we dialled it.
func reachedAt(c network.Conn) (ma.Multiaddr, bool) {
	return c.RemoteMultiaddr(), c.Stat().Direction == network.DirOutbound
}

// usable reports whether a may be dialled: an IP address with a transport of
// ours, or the same of a relay and a circuit through it. Names are not: an
// admitted device could make us resolve any. self is our own peer id.
func usable(a ma.Multiaddr, self peer.ID) bool {
	if relay, ok := relayOf(a); ok {
		at, circuit := ma.SplitFunc(a, func(c ma.Component) bool { return c.Protocol().Code == ma.P_P2P })
		return relay != self && len(circuit) == 2 && usable(at, self)
	}
	if len(a) < 2 || len(a) > 3 || len(a.Bytes()) > maxAddrBytes {
		return false
	}
	switch first := a[0]; first.Protocol().Code {
	case ma.P_IP4, ma.P_IP6:
		if ip, ok := netip.AddrFromSlice(first.RawValue()); !ok || ip.IsUnspecified() || ip.IsMulticast() {
			return false
		}
	default:
		return false
	}
	return dialableTransport(a[1:])
}

// dialableTransport reports whether the rest of an address names a transport of ours.
func dialableTransport(rest ma.Multiaddr) bool {
	code := func(i int) int { return rest[i].Protocol().Code }
	switch len(rest) {
	case 1:
		return code(0) == ma.P_TCP
	case 2:
		return code(0) == ma.P_TCP && code(1) == ma.P_WS || code(0) == ma.P_UDP && code(1) == ma.P_QUIC_V1
	}
	return false
}

// dialable drops the addresses that are not usable.
func dialable(addrs []ma.Multiaddr, self peer.ID) []ma.Multiaddr {
	return slices.DeleteFunc(slices.Clone(addrs), func(a ma.Multiaddr) bool { return !usable(a, self) })
}
