package mesh

import (
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// Two devices of one mesh find each other by multicast; nobody tells them.
func TestMDNS(t *testing.T) {
	if !multicast(t) {
		t.Skip("no network interface with multicast")
	}
	t.Parallel()
	w := newWorld(t)
	on := func(cfg *Config) { cfg.MDNS, cfg.Listen = true, []string{"/ip4/0.0.0.0/tcp/0"} }
	a, b := w.start(t, tcpCarrier, on), w.start(t, tcpCarrier, on)
	a.awaitPeer(t, b)
}

func multicast(t *testing.T) bool {
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		addrs, err := i.Addrs()
		if err == nil && len(addrs) > 0 && i.Flags&net.FlagUp != 0 && i.Flags&net.FlagMulticast != 0 && i.Flags&net.FlagLoopback == 0 {
			return true
		}
	}
	return false
}

// What multicast tells is dialled, and proved by the handshake like anything else.
func TestFoundByMulticast(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.start(t, quicCarrier, nil)
	b := w.start(t, quicCarrier, nil)
	b.finder.HandlePeerFound(infoOf(t, a.Addrs()))
	a.awaitPeer(t, b)
}

type namedHost struct {
	host.Host
	id peer.ID
}

func (h namedHost) ID() peer.ID { return h.id }

func addr(t *testing.T, s string) ma.Multiaddr {
	t.Helper()
	a, err := ma.NewMultiaddr(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newBook(t *testing.T) *finder {
	cfg := &Config{Clock: &testClock{}, Logger: slog.New(slog.DiscardHandler)}
	f, err := newFinder(namedHost{id: "self"}, nil, cfg, newReach(nil), newCounters())
	if err != nil {
		t.Fatal(err)
	}
	f.exchange = &exchanger{clock: cfg.Clock, purses: make(map[peer.ID]*purse)}
	return f
}

// Anybody on the local network can claim to be anybody: the book stays bounded,
// and what we know to be good stays in it.
func TestAddressBookIsBounded(t *testing.T) {
	f := newBook(t)
	f.learn("static", []ma.Multiaddr{addr(t, "/ip4/10.0.0.1/tcp/1")}, foundStatic, func(c *contact) { c.fixed = true })
	f.learn("good", []ma.Multiaddr{addr(t, "/ip4/10.0.0.2/tcp/1")}, foundCaller, f.markGood)
	for i := range 2 * maxContacts {
		f.learn(peer.ID(fmt.Sprintf("liar %d", i)), []ma.Multiaddr{addr(t, "/ip4/10.0.0.3/tcp/1")}, foundMulticast, nil)
	}
	for i := range 3 * maxAddrsPerContact {
		f.learn("good", []ma.Multiaddr{addr(t, fmt.Sprintf("/ip4/10.0.0.2/tcp/%d", i+1))}, foundMulticast, nil)
	}
	f.learn("self", []ma.Multiaddr{addr(t, "/ip4/10.0.0.9/tcp/1")}, foundMulticast, nil)
	if len(f.book) > maxContacts || f.book["static"] == nil || f.book["good"] == nil || f.book["self"] != nil {
		t.Errorf("%d contacts, static %v, good %v", len(f.book), f.book["static"], f.book["good"])
	}
	if n := len(f.book["good"].addrs); n != maxAddrsPerContact {
		t.Errorf("%d addresses of one peer", n)
	}
	good := f.good()
	if len(good) != 1 || good[0].ID != "good" || !good[0].Addrs[0].Equal(addr(t, fmt.Sprintf("/ip4/10.0.0.2/tcp/%d", 3*maxAddrsPerContact))) {
		t.Errorf("remembered: %v", good)
	}
}

// A stranger that never answers is forgotten; a static or known peer never is.
func TestStrangersAreForgotten(t *testing.T) {
	f := newBook(t)
	at := []ma.Multiaddr{addr(t, "/ip4/10.0.0.1/tcp/1")}
	f.learn("static", at, foundStatic, func(c *contact) { c.fixed = true })
	f.learn("known", at, foundCaller, f.markGood)
	f.learn("stranger", at, foundMulticast, nil)
	for range maxStrangerFailures {
		for _, p := range []peer.ID{"static", "known", "stranger"} {
			f.dialed(p)
		}
	}
	if f.book["stranger"] != nil || f.book["static"] == nil || f.book["known"] == nil {
		t.Errorf("book: %v", f.book)
	}
	if d, ok := f.tasks.next(); !ok || d > redialMax*5/4 {
		t.Errorf("next dial in %v", d)
	}
}

// dialsDue lets time pass and returns whom to dial.
func dialsDue(f *finder, d time.Duration) (due []peer.ID) {
	for _, t := range f.tasks.advance(d) {
		if t.kind == toDial {
			due = append(due, t.peer)
		}
	}
	return due
}

func TestDialsFollowState(t *testing.T) {
	f := newBook(t)
	f.learn("p", []ma.Multiaddr{addr(t, "/ip4/10.0.0.1/tcp/1")}, foundMulticast, nil)
	f.handle(findEvent{kind: findOnline, online: false})
	if due := dialsDue(f, redialMax*2); len(due) != 0 {
		t.Errorf("due while offline: %v", due)
	}
	f.handle(findEvent{kind: findOnline, online: true})
	if due := dialsDue(f, redialMin); len(due) != 1 {
		t.Error("not redialled on coming online")
	}
	f.handle(findEvent{kind: findUp, peer: "p"})
	f.enqueue("p")
	if len(f.queue) != 0 || !f.changed {
		t.Error("dialled while connected, or not remembered")
	}
	f.handle(findEvent{kind: findDown, peer: "p"})
	for _, p := range dialsDue(f, redialMin*2) {
		f.enqueue(p)
	}
	if len(f.queue) != 1 {
		t.Error("not redialled after the connection ended")
	}
}

func TestUsable(t *testing.T) {
	self, relay := testPeer(t, 1), testPeer(t, 2)
	for text, want := range map[string]bool{
		"/ip4/10.0.0.1/tcp/4750":                                                          true,
		"/ip4/10.0.0.1/tcp/4750/ws":                                                       true,
		"/ip6/fd00::2/udp/4750/quic-v1":                                                   true,
		"/ip4/0.0.0.0/tcp/4750":                                                           false,
		"/ip6/::/tcp/4750":                                                                false,
		"/ip4/224.0.0.251/udp/5353/quic-v1":                                               false,
		"/ip4/10.0.0.1/udp/4750":                                                          false,
		"/ip4/10.0.0.1/tcp/4750/http":                                                     false,
		"/dns4/evil.example/tcp/4750":                                                     false,
		"/dnsaddr/evil.example":                                                           false,
		"/ip4/10.0.0.1/tcp/1/p2p-circuit":                                                 false,
		"/p2p-circuit":                                                                    false,
		"/p2p/" + relay + "/p2p-circuit":                                                  false,
		"/ip4/10.0.0.1/tcp/1/p2p/" + relay + "/p2p-circuit":                               true,
		"/dns4/evil.example/tcp/1/p2p/" + relay + "/p2p-circuit":                          false,
		"/ip4/10.0.0.1/tcp/1/p2p/" + self + "/p2p-circuit":                                false,
		"/ip4/10.0.0.1/tcp/1/p2p/" + relay + "/p2p-circuit/p2p/" + self:                   false,
		"/ip4/10.0.0.1/tcp/1/p2p/" + relay + "/p2p-circuit/ip4/10.0.0.2/tcp/1":            false,
		"/ip4/10.0.0.1/udp/1/quic-v1/p2p/" + relay + "/p2p-circuit":                       true,
		"/ip4/10.0.0.1/tcp/1/ws/p2p/" + relay + "/p2p-circuit":                            true,
		"/ip4/10.0.0.1/tcp/1/p2p/" + relay + "/p2p-circuit/p2p/" + relay + "/p2p-circuit": false,
	} {
		id, err := peer.Decode(self)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(dialable([]ma.Multiaddr{addr(t, text)}, id)) == 1; got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

// testPeer returns a peer id as text.
func testPeer(t testing.TB, n byte) string {
	t.Helper()
	return testPeerID(t, n).String()
}

func testPeerID(t testing.TB, n byte) peer.ID {
	t.Helper()
	_, id, err := hostKey(testKey(n))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// testKey returns a transport key that depends on n alone.
func testKey(n byte) ed25519.PrivateKey {
	seed := [ed25519.SeedSize]byte{n}
	return ed25519.NewKeyFromSeed(seed[:])
}
