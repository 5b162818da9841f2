package mesh

import (
	"bytes"
	"crypto/ed25519"
	"errors"
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

// Anybody on the local network can claim to be anybody: the book stays bounded, what we
// know to be good stays in it at the addresses that we know, and nothing of it is kept.
func TestAddressBookIsBounded(t *testing.T) {
	f := newBook(t)
	static, good, met := addr(t, "/ip4/10.0.0.1/tcp/1"), addr(t, "/ip4/10.0.0.2/tcp/1"), addr(t, "/ip4/10.0.0.2/tcp/2")
	f.learn("static", []ma.Multiaddr{static}, foundStatic, func(c *contact) { c.fixed = true })
	f.learn("good", []ma.Multiaddr{good}, foundCaller, f.markGood)
	f.handle(findEvent{kind: findUp, peer: "good"})
	f.handle(findEvent{kind: findKnown, peer: "good", at: met})
	f.handle(findEvent{kind: findDown, peer: "good"})
	f.changed = false
	for i := range 2 * maxContacts {
		f.learn(peer.ID(fmt.Sprintf("liar %d", i)), []ma.Multiaddr{addr(t, "/ip4/10.0.0.3/tcp/1")}, foundMulticast, nil)
	}
	for i := range 3 * maxAddrsPerContact {
		for _, p := range []peer.ID{"static", "good"} {
			f.learn(p, []ma.Multiaddr{addr(t, fmt.Sprintf("/ip4/10.6.6.6/tcp/%d", i+1))}, foundMulticast, nil)
		}
	}
	f.learn("self", []ma.Multiaddr{addr(t, "/ip4/10.0.0.9/tcp/1")}, foundMulticast, nil)
	if len(f.book) != 2+maxHearsay || f.book["static"] == nil || f.book["good"] == nil || f.book["self"] != nil {
		t.Errorf("%d contacts, static %v, good %v", len(f.book), f.book["static"], f.book["good"])
	}
	if all := f.book["static"].all(); len(all) != 1+maxRumours || !all[0].Equal(static) {
		t.Errorf("the address of the configuration gave way: %v", all)
	}
	if all := f.book["good"].all(); len(all) != 2+maxRumours || !all[0].Equal(met) || !all[1].Equal(good) {
		t.Errorf("the address that was proved gave way: %v", all)
	}
	kept := f.good()
	if f.changed || len(kept) != 1 || kept[0].Peer.ID != "good" || !kept[0].Met || len(kept[0].Peer.Addrs) != 2 {
		t.Errorf("remembered: %v, changed: %v", kept, f.changed)
	}
	// A liar that does not answer makes room for another, and so do addresses.
	f.book["liar 3"].fails = 1
	f.learn("newcomer", []ma.Multiaddr{good}, foundMulticast, nil)
	if f.book["liar 3"] != nil || f.book["newcomer"] == nil {
		t.Error("a stranger that does not answer keeps its place")
	}
	f.dialed("good")
	f.learn("good", []ma.Multiaddr{static}, foundMulticast, nil)
	if all := f.book["good"].all(); len(all) != 2+maxRumours || !all[len(all)-1].Equal(static) {
		t.Errorf("addresses dialled in vain keep their places: %v", all)
	}
}

// An honest device whose record names many addresses loses none of those that we have
// from the configuration or have proved.
func TestRecordLeavesWhatIsKnown(t *testing.T) {
	f := heardBook(t)
	p := testPeerID(t, 1)
	static, met := addr(t, "/ip4/203.0.113.1/tcp/1"), addr(t, "/ip4/203.0.113.2/tcp/1")
	f.learn(p, []ma.Multiaddr{static}, foundStatic, func(c *contact) { c.fixed = true })
	f.handle(findEvent{kind: findUp, peer: p})
	f.handle(findEvent{kind: findKnown, peer: p, at: met})
	var own []string
	for n := range maxAddrsPerContact {
		own = append(own, fmt.Sprintf("/ip4/10.0.0.%d/tcp/1", n+1))
	}
	hearing(t, f, 1, testRecord(t, 1, time.Now(), false, own...))
	if all := f.book[p].all(); len(all) != 2+maxAddrsPerContact || !ma.Contains(all, static) || !ma.Contains(all, met) {
		t.Errorf("dialled at %v", all)
	}
}

// Strangers take half of the slots at most, and wait for those that we know.
func TestStrangersWait(t *testing.T) {
	f := newBook(t)
	at := []ma.Multiaddr{addr(t, "/ip4/10.0.0.1/tcp/1")}
	for n := range byte(maxDials) {
		p := testPeerID(t, n+1)
		f.learn(p, at, foundMulticast, nil)
		f.enqueue(p)
	}
	known := testPeerID(t, 100)
	f.learn(known, at, foundCaller, f.markGood)
	f.enqueue(known)
	if p, _ := f.next(); p != known {
		t.Errorf("first %s", p)
	}
	n := 0
	for f.dialing = 1; ; n++ {
		if _, c := f.next(); c == nil {
			break
		}
		f.dialing, f.strange = f.dialing+1, f.strange+1
	}
	if n != maxStrangeDials || len(f.queue) != maxDials-maxStrangeDials {
		t.Errorf("%d strangers are dialled at once, %d wait", n, len(f.queue))
	}
}

// What an insider named and nobody ever met is forgotten after the next start as it is in
// this run; what was met is kept.
func TestNamedIsNotMet(t *testing.T) {
	f := heardBook(t)
	met, named := testPeerID(t, 1), testPeerID(t, 2)
	f.handle(findEvent{kind: findUp, peer: met})
	hearing(t, f, 1, testRecord(t, 1, time.Now(), false, "/ip4/10.0.0.1/tcp/1"), testRecord(t, 2, time.Now(), false, "/ip4/10.0.0.2/tcp/1"))
	kept := f.good()
	if len(kept) != 2 {
		t.Fatalf("kept %v", kept)
	}
	cfg := &Config{Clock: &testClock{}, Logger: slog.New(slog.DiscardHandler), Remembered: kept}
	g, err := newFinder(namedHost{id: "self"}, nil, cfg, newReach(nil), newCounters())
	if err != nil {
		t.Fatal(err)
	}
	if len(g.good()) != 2 {
		t.Errorf("after the start %d are kept", len(g.good()))
	}
	for range maxStrangerFailures {
		g.dialed(met)
		g.dialed(named)
	}
	if g.book[met] == nil || g.book[named] != nil || len(g.good()) != 1 {
		t.Errorf("kept %v", g.good())
	}
}

// A full book: one who was never met and was not dialled yet does not give way to one who
// has been gone for long.
func TestWhoGivesWay(t *testing.T) {
	f := newBook(t)
	f.book["gone"] = &contact{good: true, fails: longGone}
	f.book["away"] = &contact{good: true, fails: longGone - 1}
	f.book["new"] = &contact{}
	f.book["junk"] = &contact{fails: 1}
	for _, want := range []peer.ID{"junk", "gone", "new", "away"} {
		if !f.makeRoom() || f.book[want] != nil {
			t.Fatalf("%s did not give way next", want)
		}
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

// A record of our own of a later time than our clock says, as after the clock was ahead,
// is outdone, once somebody shows it; and who holds one of a neighbour shows it.
func TestLaterRecordOfOurOwn(t *testing.T) {
	f := heardBook(t)
	f.host = namedHost{id: testPeerID(t, 1)}
	f.sign = func(issued time.Time, addrs []ma.Multiaddr) ([]byte, error) {
		return signRecord(testKey(1), testTag, issued, false, addrs)
	}
	now := f.clock.Now()
	ahead := testRecord(t, 1, now.Add(30*time.Hour), false, "/ip4/10.0.0.1/tcp/1")
	if err := f.renew(); err != nil {
		t.Fatal(err)
	}
	holder := newBook(t).exchange
	holder.own.Store(f.exchange.own.Load())
	holder.offers.Store(&[]offer{{record: opened(t, ahead)}})
	if got := holder.list(testPeerID(t, 1), 8, uint64(now.Unix())); len(got) != 2 || !bytes.Equal(got[1], ahead) {
		t.Errorf("it is shown %d records", len(got))
	}
	if got := holder.list(testPeerID(t, 1), 8, uint64(now.Add(31*time.Hour).Unix())); len(got) != 1 {
		t.Errorf("it is shown what is old: %d records", len(got))
	}
	f.handle(findEvent{kind: findHeard, heard: heard{from: testPeerID(t, 2), records: []*record{opened(t, ahead)}}})
	f.tell()
	if r := opened(t, *f.exchange.own.Load()); r.issued <= opened(t, ahead).issued {
		t.Errorf("issued %d, the other %d", r.issued, opened(t, ahead).issued)
	}
}

// A record from too far in the future, as we took it at first hand, gives way to one that
// may be used.
func TestUntimelyRecordGivesWay(t *testing.T) {
	f := heardBook(t)
	now := f.clock.Now()
	hearing(t, f, 2, testRecord(t, 2, now.Add(10*recordAhead), false, "/ip4/10.0.0.2/tcp/1"))
	hearing(t, f, 1, testRecord(t, 2, now, false, "/ip4/10.0.0.3/tcp/1"))
	if c := f.book[testPeerID(t, 2)]; !ma.Contains(c.all(), addr(t, "/ip4/10.0.0.3/tcp/1")) {
		t.Errorf("known at %v", c.all())
	}
}

// Whom we refuse as revoked is dialled no more, but for those of the configuration.
func TestRevokedIsForgotten(t *testing.T) {
	f := newBook(t)
	at := []ma.Multiaddr{addr(t, "/ip4/10.0.0.1/tcp/1")}
	f.learn("out", at, foundCaller, f.markGood)
	f.learn("static", at, foundStatic, func(c *contact) { c.fixed = true })
	f.changed = false
	err := fmt.Errorf("dial: %w", refused(reasonRevoked, errors.New("by a CRL")))
	for _, p := range []peer.ID{"out", "static"} {
		f.handle(findEvent{kind: findDialed, peer: p, err: err})
	}
	if f.book["out"] != nil || f.book["static"] == nil || !f.changed {
		t.Errorf("book: %v", f.book)
	}
}

// A device that is known by a circuit only dials its relay by itself.
func TestRelaysOf(t *testing.T) {
	w := newWorld(t)
	s := w.start(t, tcpCarrier, nil)
	var circuits []ma.Multiaddr
	for _, text := range []string{"/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.2/tcp/1"} {
		c, err := circuitAddr(addr(t, text), testPeerID(t, 1))
		if err != nil {
			t.Fatal(err)
		}
		circuits = append(circuits, c)
	}
	got := s.finder.relaysOf(append(circuits, addr(t, "/ip4/127.0.0.1/tcp/2")))
	if len(got) != 1 || got[0].ID != testPeerID(t, 1) || len(got[0].Addrs) != 2 || len(got[0].Addrs[0]) != 2 {
		t.Errorf("relays %v", got)
	}
}
