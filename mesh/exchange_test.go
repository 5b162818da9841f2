package mesh

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// A device that knows one member meets the others through it, remembers them, and
// needs the first no more: any remembered member will do.
func TestExchange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.start(t, quicCarrier, nil)
	second := w.start(t, tcpCarrier, func(cfg *Config) { cfg.Static = first.Addrs() })
	second.awaitPeer(t, first)
	var mu sync.Mutex
	var remembered []Remembered
	newcomer := w.member(t)
	third := w.startAs(t, newcomer, quicCarrier, func(cfg *Config) {
		cfg.Static = first.Addrs()
		cfg.Remember = func(infos []Remembered) {
			mu.Lock()
			defer mu.Unlock()
			remembered = infos
		}
	})
	third.awaitPeer(t, second)
	// Either may have heard of the other first.
	poll(t, "the word that they met through the first", func() bool {
		return slices.ContainsFunc(append(third.Peers(), second.Peers()...), func(p Peer) bool {
			return p.Found == foundExchange && p.Introducer == first.ID()
		})
	})
	knowsSecond := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return slices.ContainsFunc(remembered, func(i Remembered) bool { return i.Peer.ID == second.ID() && len(i.Peer.Addrs) > 0 })
	}
	poll(t, "the second in memory", knowsSecond)
	// The first is gone for good, and the newcomer starts again.
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := third.Close(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	memory := slices.Clone(remembered)
	mu.Unlock()
	again := w.startAs(t, newcomer, quicCarrier, func(cfg *Config) { cfg.Remembered = memory })
	again.awaitPeer(t, second)
	for _, p := range again.Peers() {
		if p.ID == second.ID() && p.Found != foundRemembered && p.Found != foundCaller {
			t.Errorf("found again as %q", p.Found)
		}
	}
	if s := again.Stats(); s.Contacts == 0 {
		t.Errorf("%+v", s)
	}
}

// An admitted device that breaks the rules of the exchange is told of, and nothing
// that it says is used.
func TestHostileExchange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	victim := w.start(t, tcpCarrier, nil)
	d, other := w.member(t), w.member(t)
	v := launch(t, w, intruder{card: func(testing.TB, *world) card { return w.card(d, d.ticket(t, time.Now(), time.Hour)) }}, tcpCarrier, false)
	list := make(chan [][]byte, 1)
	v.SetStreamHandler(PeersProtocol, func(s network.Stream) {
		defer s.Close()
		if _, err := readMessage(s, 2+2+maxRecord); err != nil {
			return
		}
		select {
		case records := <-list:
			if out, err := marshalAnswer(records); err == nil {
				_ = writeMessage(s, out)
			}
		default:
			s.Reset()
		}
	})
	tag := w.homeTag()
	record := func(d *device, n int) []byte {
		raw, err := signRecord(d.relay.Transport, tag, time.Now().Add(time.Duration(n)*time.Second), false, []ma.Multiaddr{addr(t, "/ip4/192.0.2.1/tcp/1")})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	forged := record(other, 0)
	forged[len(forged)-1] ^= 1
	if err := v.Connect(t.Context(), infoOf(t, victim.Addrs())); err != nil {
		t.Fatal(err)
	}
	victim.awaitHost(t, v.ID())
	ask := func(raw []byte) (answer []byte) {
		s, err := v.NewStream(t.Context(), victim.ID(), PeersProtocol)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Reset()
		if err := writeMessage(s, raw); err != nil {
			return nil
		}
		answer, _ = readMessage(s, 1+maxAnswer)
		return answer
	}
	good, err := marshalAsk(maxExchanged, record(d, 0))
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string][]byte{
		"nonsense":           []byte("\x01nonsense"),
		"a byte too many":    append(slices.Clone(good), 0),
		"a forged record":    mustAsk(t, forged),
		"another's record":   mustAsk(t, record(other, 0)),
		"an oversized claim": append([]byte{recordVersion, 1, 0xff, 0xff}, make([]byte, 100)...),
	} {
		before := victim.Stats()
		if got := ask(raw); got != nil {
			t.Errorf("%s was answered with %d bytes", name, len(got))
		}
		poll(t, name+" is counted", func() bool { return victim.Stats().ExchangesRefused > before.ExchangesRefused })
	}
	// The other direction: what it answers.
	for name, records := range map[string][][]byte{
		"forged":   {record(d, 0), forged},
		"too many": slices.Repeat([][]byte{record(d, 0)}, maxExchanged+1),
	} {
		before := victim.Stats().ExchangesRefused
		list <- records
		victim.finder.exchange.ask(t.Context(), v.ID(), maxExchanged)
		poll(t, name+" is counted", func() bool { return victim.Stats().ExchangesRefused > before })
	}
	if got := victim.Stats().Blamed[blamePeers]; got == 0 {
		t.Error("nobody was blamed")
	}
	if victim.Stats().Dials != 0 {
		t.Errorf("it dialled: %+v", victim.Stats())
	}
}

func mustAsk(t *testing.T, record []byte) []byte {
	t.Helper()
	raw, err := marshalAsk(maxExchanged, record)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func (s *station) awaitHost(t testing.TB, p peer.ID) {
	t.Helper()
	poll(t, "connection", func() bool { return s.links.admitted(p) })
}

// A neighbour that asks without end is answered a few times only.
func TestExchangePurse(t *testing.T) {
	p := &purse{left: exchangeBurst}
	now := time.Now()
	p.since = now
	n := 0
	for range 100 {
		if p.take(now) {
			n++
		}
	}
	if n != exchangeBurst {
		t.Errorf("answered %d times at once", n)
	}
	if p.take(now.Add(exchangePause/2)) || !p.take(now.Add(exchangePause+exchangePause/2)) {
		t.Error("the purse fills too soon or too late")
	}
	// A step of the clock, either way, fills it once and no more.
	p.take(now.Add(-1000 * time.Hour))
	if p.left > exchangeBurst {
		t.Errorf("%v left", p.left)
	}
}

// book returns a finder with a clock at now, for what records do to it.
func heardBook(t *testing.T) *finder {
	f := newBook(t)
	f.exchange.host = f.host
	return f
}

func hearing(t *testing.T, f *finder, from byte, raws ...[]byte) {
	t.Helper()
	h := heard{from: testPeerID(t, from)}
	for _, raw := range raws {
		h.records = append(h.records, opened(t, raw))
	}
	f.handle(findEvent{kind: findHeard, heard: h})
}

func TestHeard(t *testing.T) {
	f := heardBook(t)
	now := time.Now()
	a, b := testPeerID(t, 1), testPeerID(t, 2)
	text := func(p peer.ID) string { return fmt.Sprint(f.book[p].all()) }
	hearing(t, f, 1, testRecord(t, 1, now, false, "/ip4/10.0.0.1/tcp/1"), testRecord(t, 2, now, true, "/ip4/10.0.0.2/tcp/1"))
	if c := f.book[b]; c == nil || c.introducer != a || c.found != foundExchange || !c.relay || f.book[a].introducer != "" {
		t.Fatalf("the book: %+v", f.book)
	}
	// Older news of somebody does not replace newer.
	hearing(t, f, 1, testRecord(t, 2, now.Add(-time.Hour), false, "/ip4/10.0.0.9/tcp/1"))
	if got := text(b); got != "[/ip4/10.0.0.2/tcp/1]" || !f.book[b].relay {
		t.Errorf("after older news: %s", got)
	}
	hearing(t, f, 1, testRecord(t, 2, now.Add(time.Hour), false, "/ip4/10.0.0.3/tcp/1"))
	if got := text(b); got != "[/ip4/10.0.0.3/tcp/1]" || f.book[b].relay {
		t.Errorf("after newer news: %s", got)
	}
	// The device itself is believed whatever its clock says.
	hearing(t, f, 2, testRecord(t, 2, now.Add(-1000*time.Hour), false, "/ip4/10.0.0.4/tcp/1"))
	if got := text(b); got != "[/ip4/10.0.0.4/tcp/1]" {
		t.Errorf("after its own news: %s", got)
	}
	// From others neither what is too old nor what is from the future.
	before := f.counts.recordsStale.Load()
	hearing(t, f, 1, testRecord(t, 3, now.Add(-recordLife-time.Hour), false, "/ip4/10.0.0.5/tcp/1"),
		testRecord(t, 4, now.Add(recordAhead+time.Hour), false, "/ip4/10.0.0.5/tcp/1"))
	if len(f.book) != 2 || f.counts.recordsStale.Load() != before+2 {
		t.Errorf("%d contacts, %d stale", len(f.book), f.counts.recordsStale.Load())
	}
	// The book is good for redialling: an address of the configuration stays.
	f.learn(b, []ma.Multiaddr{addr(t, "/ip4/10.9.9.9/tcp/9")}, foundStatic, func(c *contact) { c.fixed = true })
	hearing(t, f, 2, testRecord(t, 2, now, false, "/ip4/10.0.0.6/tcp/1"))
	if c := f.book[b]; !ma.Contains(c.all(), addr(t, "/ip4/10.9.9.9/tcp/9")) || !ma.Contains(c.all(), addr(t, "/ip4/10.0.0.6/tcp/1")) {
		t.Errorf("addresses of a static peer: %v", c.addrs)
	}
}

// Nobody makes a device with a network dial into its own machine.
func TestLoopbackOfOthers(t *testing.T) {
	for _, loopback := range []bool{false, true} {
		f := heardBook(t)
		f.loopback = loopback
		want := 1
		if loopback {
			want = 2
		}
		hearing(t, f, 1, testRecord(t, 2, time.Now(), false, "/ip4/127.0.0.1/tcp/22", "/ip4/10.0.0.2/tcp/1"))
		f.handle(findEvent{kind: findSeen, peer: testPeerID(t, 3), addrs: []ma.Multiaddr{addr(t, "/ip6/::1/tcp/22"), addr(t, "/ip4/10.0.0.2/tcp/1")}})
		f.handle(findEvent{kind: findKnown, peer: testPeerID(t, 4), addrs: []ma.Multiaddr{addr(t, "/ip4/127.0.0.2/tcp/22"), addr(t, "/ip4/10.0.0.2/tcp/1")}})
		for n := byte(2); n <= 4; n++ {
			if c := f.book[testPeerID(t, n)]; c == nil || len(c.all()) != want {
				t.Errorf("only this machine: %v; contact %d: %+v", loopback, n, c)
			}
		}
	}
}

// Devices meet over IPv6 as over IPv4, and one with both is a bridge for those with one.
func TestBothFamilies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	listen := func(at ...string) func(*Config) {
		return func(cfg *Config) { cfg.Listen, cfg.Announce = at, []string{"/ip4/203.0.113.9/tcp/4747"} }
	}
	both := w.start(t, quicCarrier, listen("/ip4/127.0.0.1/udp/0/quic-v1", "/ip6/::1/udp/0/quic-v1", "/ip6/::1/tcp/0"))
	six := w.start(t, tcpCarrier, func(cfg *Config) {
		listen("/ip6/::1/tcp/0")(cfg)
		cfg.Static = slices.DeleteFunc(both.Addrs(), func(s string) bool { return !strings.HasPrefix(s, "/ip6/") })
	})
	four := w.start(t, quicCarrier, func(cfg *Config) {
		cfg.Static = slices.DeleteFunc(both.Addrs(), func(s string) bool { return !strings.HasPrefix(s, "/ip4/127.") })
	})
	six.awaitPeer(t, both)
	four.awaitPeer(t, both)
	six.store.put([]byte("over both"))
	six.Nudge()
	both.store.awaitFrame(t, "over both")
	both.Nudge()
	four.store.awaitFrame(t, "over both")
	r, err := openRecord(*both.finder.exchange.own.Load(), w.homeTag(), four.ID())
	if err != nil || !slices.ContainsFunc(r.addrs, func(a ma.Multiaddr) bool { return a.String() == "/ip4/203.0.113.9/tcp/4747" }) ||
		slices.ContainsFunc(r.addrs, func(a ma.Multiaddr) bool { return strings.Contains(a.String(), "/0") }) {
		t.Errorf("it tells of %v (%v)", r, err)
	}
}

// One neighbour that invents devices fills neither the book nor the dial queue, and
// keeps nobody else's from being heard.
func TestStrangersOfOneNeighbour(t *testing.T) {
	f := heardBook(t)
	now := time.Now()
	var raws [][]byte
	for n := range 100 {
		raws = append(raws, testRecord(t, byte(n+50), now, false, "/ip4/192.0.2.1/tcp/1"))
	}
	hearing(t, f, 1, raws...)
	hearing(t, f, 1, raws...)
	if len(f.book) != maxIntroduced || f.counts.recordsRefused.Load() == 0 {
		t.Errorf("%d contacts from one liar, %d refused", len(f.book), f.counts.recordsRefused.Load())
	}
	hearing(t, f, 2, testRecord(t, 2, now, false, "/ip4/10.0.0.2/tcp/1"), testRecord(t, 3, now, false, "/ip4/10.0.0.3/tcp/1"))
	if f.book[testPeerID(t, 3)] == nil {
		t.Error("another neighbour was not heard")
	}
	// They are remembered until they have failed for a minute, and not longer.
	if n := len(f.good()); n != maxIntroduced+2 {
		t.Errorf("%d are remembered", n)
	}
	f.changed = false
	for range maxStrangerFailures {
		for p := range f.book {
			f.dialed(p)
		}
	}
	if len(f.good()) != 0 || !f.changed {
		t.Errorf("after a minute without an answer %d are remembered", len(f.good()))
	}
	hearing(t, f, 1, raws...)
	if f.offer(); len(*f.exchange.offers.Load()) != 0 {
		t.Error("devices that nobody met are handed on")
	}
}

func TestChooseOffers(t *testing.T) {
	now := time.Now()
	var offers []offer
	for n := range 60 {
		issued := now
		if n >= 50 {
			issued = now.Add(-recordLife - time.Hour)
		}
		r := opened(t, testRecord(t, byte(n+1), issued, n < 3, "/ip4/10.0.0.1/tcp/1"))
		offers = append(offers, offer{record: r, up: n%2 == 0})
	}
	asker := testPeerID(t, 10)
	got := chooseOffers(offers, asker, 20, now)
	seen := make(map[peer.ID]bool)
	relays := 0
	for _, r := range got {
		if seen[r.peer] || r.peer == asker || !r.timely(now) {
			t.Errorf("twice, the asker itself, or stale: %v", r.peer)
		}
		seen[r.peer] = true
		if r.relays {
			relays++
		}
	}
	if len(got) != 20 || relays < 2 {
		t.Errorf("%d records, %d of relays", len(got), relays)
	}
	if n := len(chooseOffers(offers, asker, 1000, now)); n != 49 {
		t.Errorf("%d of 49 that may be handed on", n)
	}
	if n := len(chooseOffers(nil, asker, 10, now)) + len(chooseOffers(offers, asker, -1, now)); n != 0 {
		t.Errorf("%d where none may be", n)
	}
}
