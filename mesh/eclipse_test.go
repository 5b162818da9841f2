package mesh

import (
	"fmt"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
)

func TestEclipse(t *testing.T) {
	relay := "/ip4/192.0.2.1/tcp/4750/p2p/12D3KooWPPN37traRbkc9pedHqBquCvJj6He8vVkUctNfi989oLt/p2p-circuit"
	at := func(addrs ...string) (out []Peer) {
		for i, a := range addrs {
			out = append(out, Peer{ID: peer.ID(fmt.Sprint(i)), Addr: a})
		}
		return out
	}
	named := func(peers []Peer, by ...peer.ID) []Peer {
		for i, p := range by {
			peers[i].Introducer = p
		}
		return peers
	}
	apart := []string{"/ip4/10.1.0.1/tcp/1", "/ip4/10.2.0.1/tcp/1", "/ip4/10.3.0.1/udp/1/quic-v1"}
	for _, c := range []struct {
		name  string
		peers []Peer
		want  string
	}{
		{"nobody", nil, ""},
		{"two at one site", at("/ip4/10.1.0.1/tcp/1", "/ip4/10.1.0.2/tcp/1"), ""},
		{"apart", at(apart...), ""},
		{"one site", at("/ip4/10.1.0.1/tcp/1", "/ip4/10.1.0.2/tcp/1", "/ip4/10.1.0.99/tcp/2"), EclipseSite},
		{"one IPv6 site", at("/ip6/2001:db8:1::1/tcp/1", "/ip6/2001:db8:1:2::1/tcp/1", "/ip6/2001:db8:1:3::1/tcp/2"), EclipseSite},
		{"this machine", at("/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/2", "/ip4/127.0.0.1/tcp/3"), ""},
		{"one relay", at(relay, relay, relay), EclipseRelay},
		{"a relay and another way", at(relay, relay, "/ip4/10.1.0.1/tcp/1"), ""},
		{"one introducer, a neighbour itself", named(at(apart...), "", "0", "0"), EclipseIntroducer},
		{"one introducer that is gone", named(at(apart...), "x", "x", "x"), EclipseIntroducer},
		{"two introducers", named(at(apart...), "x", "x", "y"), ""},
		{"one came by itself", named(at(apart...), "x", "x", ""), ""},
	} {
		if got := Eclipse(c.peers); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
