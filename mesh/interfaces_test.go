package mesh

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// scripted is a machine whose network the test changes.
type scripted struct {
	mu    sync.Mutex
	state interfaceState
	err   error
	looks int
}

func (s *scripted) set(text string, addrs ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = interfaceState{text: text}
	for _, a := range addrs {
		s.state.addrs = append(s.state.addrs, netip.MustParseAddr(a))
	}
}

func (s *scripted) read() (interfaceState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks++
	return s.state, s.err
}

func newTestWatcher(l *links) (*watcher, *scripted, *finder) {
	s := &scripted{}
	f := &finder{mail: newMailbox[findEvent]()}
	w := &watcher{links: l, clock: &testClock{}, log: slog.New(slog.DiscardHandler), finder: f, read: s.read, wake: make(chan struct{}, 1)}
	return w, s, f
}

// A connection on an address that the machine has no more is closed at once, and
// only that.
func TestStranded(t *testing.T) {
	g := newGate(t)
	g.admit("old", 1)
	g.at = addr(t, "/ip4/10.1.0.5/tcp/4001")
	on := g.admit("moved", 1)
	g.at = addr(t, "/ip4/10.7.7.7/tcp/4001") // never one of the machine's: a simulated network
	g.admit("foreign", 1)
	for _, k := range g.open {
		g.Connected(nil, k.conn)
	}
	w, s, _ := newTestWatcher(g.links)
	s.set("a", "127.0.0.1", "10.1.0.5")
	if w.see() {
		t.Error("the first look is a change")
	}
	s.set("a", "127.0.0.1", "10.1.0.5")
	if w.see() || len(g.open) != 3 {
		t.Error("the same is a change")
	}
	s.set("b", "127.0.0.1", "10.2.0.5")
	if !w.see() || len(g.open) != 2 || g.open[on.ID()] != nil {
		t.Errorf("after the move %d connections are open", len(g.open))
	}
	s.err = errors.New("netlink is not allowed")
	if w.see() || len(g.open) != 2 {
		t.Error("a look that failed is a change")
	}
}

// A change has the finder start afresh.
func TestNetworkChange(t *testing.T) {
	w, s, f := newTestWatcher(newLinks(&desk{}))
	s.set("a", "10.1.0.5")
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { w.run(ctx) })
	poll(t, "the first look", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.looks > 0 })
	s.set("b", "10.2.0.5")
	w.now()
	var got []findEvent
	poll(t, "the finder is told", func() bool { got = append(got, f.mail.take()...); return len(got) > 0 })
	cancel()
	run.Wait()
	if len(got) != 1 || got[0].kind != findMoved {
		t.Errorf("told %+v", got)
	}
	b := newBook(t)
	p := testPeerID(t, 1)
	b.learn(p, []ma.Multiaddr{addr(t, "/ip4/10.0.0.1/tcp/1")}, foundCaller, b.markGood)
	b.tasks.drop(task{toDial, p})
	for range 20 {
		b.dialed(p)
	}
	if due := dialsDue(b, redialMin); len(due) != 0 {
		t.Fatal("dialled at once although it failed again and again")
	}
	b.handle(findEvent{kind: findMoved})
	if due := dialsDue(b, redialMin); !slices.Equal(due, []peer.ID{p}) || b.counts.networks.Load() != 1 {
		t.Errorf("after the change dialled %v", due)
	}
}

func TestReadInterfaces(t *testing.T) {
	s, err := readInterfaces()
	if err != nil {
		t.Fatal(err)
	}
	again, err := readInterfaces()
	if err != nil {
		t.Fatal(err)
	}
	if s.text == "" || len(s.addrs) == 0 || s.text != again.text {
		t.Errorf("this machine has %d addresses:\n%s\nthen\n%s", len(s.addrs), s.text, again.text)
	}
}

// Offline, multicast does not go on announcing us; online again it does.
func TestMulticastFollowsOnline(t *testing.T) {
	if !multicast(t) {
		t.Skip("no network interface with multicast")
	}
	t.Parallel()
	w := newWorld(t)
	a := w.start(t, tcpCarrier, func(cfg *Config) { cfg.Listen = []string{"/ip4/0.0.0.0/tcp/0"} })
	v := newWatcher(a.host, a.links, &Config{MDNS: true, Trust: a.dev.store, Clock: a.clock, Logger: slog.New(slog.DiscardHandler)}, a.finder)
	v.multicast(false)
	defer v.stopMulticast()
	first := v.service
	if first == nil {
		t.Fatal("multicast did not start")
	}
	if v.multicast(false); v.service != first {
		t.Error("begun anew for no reason")
	}
	if v.multicast(true); v.service == nil || v.service == first {
		t.Error("not begun anew on a change of network")
	}
	v.setOnline(false)
	if v.multicast(false); v.service != nil {
		t.Error("it goes on while offline")
	}
	v.setOnline(true)
	if v.multicast(false); v.service == nil {
		t.Error("it does not come back")
	}
}

// A newer connection of a peer says that older ones are dead, but two that open at
// about the same time are two dials that crossed.
func TestNewerConnection(t *testing.T) {
	g := newGate(t)
	clock := g.desk.clock.(*testClock)
	old := g.admit("old", 1)
	g.Connected(nil, old)
	clock.offset.Add(int64(staleAfter / 2))
	crossed := g.admit("crossed", 1)
	g.Connected(nil, crossed)
	if len(g.open) != 2 || !slices.Equal(g.notices, []bool{true}) {
		t.Fatalf("%d open after two dials crossed, notices %v", len(g.open), g.notices)
	}
	clock.offset.Add(int64(2 * staleAfter))
	g.Connected(nil, g.admit("new", 1))
	if len(g.open) != 1 || g.open["new"] == nil {
		t.Errorf("%d are open", len(g.open))
	}
	// It is told of, so that both sides pull at once.
	if !slices.Equal(g.notices, []bool{true, false, true}) {
		t.Errorf("notices %v", g.notices)
	}
	other := g.conn("other")
	g.mustExpect(other, &proof{peer: "peer"}) // without a run, as without admission
	if ok, _ := g.InterceptUpgraded(other); !ok {
		t.Fatal("refused")
	}
	clock.offset.Add(int64(2 * staleAfter))
	g.Connected(nil, other)
	if len(g.open) != 2 {
		t.Error("a connection that tells of no run closed another")
	}
}

// Nobody is dialled while there is no ticket to show.
func TestNoDialWithoutTicket(t *testing.T) {
	f := newBook(t)
	ready := false
	f.admissible = func() bool { return ready }
	p := testPeerID(t, 1)
	f.learn(p, []ma.Multiaddr{addr(t, "/ip4/10.0.0.1/tcp/1")}, foundStatic, func(c *contact) { c.fixed = true })
	turn := func(d time.Duration) {
		for _, k := range f.tasks.advance(d) {
			f.due(t.Context(), k)
		}
	}
	turn(redialMin)
	if len(f.queue) != 0 {
		t.Fatal("dialled without a ticket")
	}
	ready = true
	turn(2 * ticketPause)
	if len(f.queue) != 1 {
		t.Error("not dialled once there was one")
	}
}

// With neighbours enough only those of the configuration are dialled, and now and then
// somebody at random; when there are too few, everybody.
func TestWanted(t *testing.T) {
	f := newBook(t)
	at := []ma.Multiaddr{addr(t, "/ip4/10.0.0.1/tcp/1")}
	for n := range byte(wantPeers) {
		f.up(testPeerID(t, n+1), false)
	}
	static, other := testPeerID(t, 100), testPeerID(t, 101)
	f.learn(static, at, foundStatic, func(c *contact) { c.fixed = true })
	f.learn(other, at, foundMulticast, nil)
	if due := dialsDue(f, redialMax); !slices.Equal(due, []peer.ID{static}) {
		t.Errorf("dialled %v", due)
	}
	f.book[static].busy = true
	if d := f.explorePeriod(); d != explorePause {
		t.Errorf("with few contacts the wait is %v", d)
	}
	f.want = 2 // of whom the book holds many more, and strangers do not count
	if d := f.explorePeriod(); d < maxExplorePauses*explorePause {
		t.Errorf("with many contacts the wait is %v", d)
	}
	for n := range byte(100) {
		f.learn(testPeerID(t, n+140), at, foundMulticast, nil)
	}
	f.want = wantPeers
	if d := f.explorePeriod(); d != explorePause {
		t.Errorf("with many strangers the wait is %v", d)
	}
	for n := range byte(100) {
		f.drop(testPeerID(t, n+140))
	}
	f.want = 2
	if d := f.explorePeriod(); d != maxExplorePauses*explorePause {
		t.Errorf("with many contacts the wait is %v", d)
	}
	f.want = wantPeers
	f.explore()
	if !slices.Equal(f.queue, []peer.ID{other}) {
		t.Errorf("explored %v", f.queue)
	}
	// Beyond what is spare somebody is let go, but no relay and none of the configuration.
	f.book[other].busy, f.queue = false, nil
	var gone []peer.ID
	f.letGo = func(p peer.ID) { gone = append(gone, p) }
	for n := range byte(sparePeers) {
		f.up(testPeerID(t, n+120), false)
	}
	if f.explore(); len(gone) != 0 {
		t.Errorf("let %v go with none to spare", gone)
	}
	for p, c := range f.book {
		c.relay = p != testPeerID(t, 3)
	}
	f.up(static, false)
	if f.explore(); !slices.Equal(gone, []peer.ID{testPeerID(t, 3)}) {
		t.Errorf("let %v go", gone)
	}
	gone, f.book[static].fixed = nil, false
	for _, c := range f.book {
		c.relay = false
	}
	for n := range byte(maxShed) {
		f.up(testPeerID(t, n+180), false)
	}
	if f.explore(); len(gone) != maxShed || slices.Contains(gone[1:], gone[0]) {
		t.Errorf("with %d too many let %v go", maxShed+1, gone)
	}
	for n := range byte(maxShed) {
		f.down(testPeerID(t, n+180))
	}
	for n := range byte(sparePeers) {
		f.down(testPeerID(t, n+120))
	}
	f.down(static)
	f.book[other].busy, f.queue = false, nil // explored again
	dialsDue(f, redialMax)
	f.down(testPeerID(t, 1))
	if due := dialsDue(f, redialMax); !slices.Contains(due, other) {
		t.Errorf("with too few neighbours dialled %v", due)
	}
}

// However many are away, all of them together are dialled at a bounded rate.
func TestRedialRate(t *testing.T) {
	f := newBook(t)
	if d := f.backoff(&contact{fails: 100}); d != redialMax {
		t.Errorf("alone: %v", d)
	}
	for n := range 1000 {
		f.book[peer.ID(rune(n))] = &contact{good: n < 200}
	}
	if d := f.backoff(&contact{fails: 100}); d != 1000*redialSpacing {
		t.Errorf("a stranger among a thousand: %v", d)
	}
	if d := f.backoff(&contact{fails: 100, fixed: true}); d != 200*redialSpacing {
		t.Errorf("one of the configuration among a thousand, 200 of them met: %v", d)
	}
	if d := f.backoff(&contact{fails: 1}); d != backoff(1) {
		t.Errorf("the first redial: %v", d)
	}
}
