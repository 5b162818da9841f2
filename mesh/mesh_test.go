package mesh

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"go.uber.org/goleak"

	"tocsin/crypto/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// say does what a node does: first durable, then published.
func (s *station) say(t testing.TB, text string) {
	t.Helper()
	s.store.put([]byte(text))
	if err := s.Publish(t.Context(), []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func TestTwoNodes(t *testing.T) {
	eachCarrier(t, func(t *testing.T, c carrier) {
		t.Parallel()
		w := newWorld(t)
		a := w.start(t, c, nil)
		a.store.put([]byte("said before they met"))
		b := w.start(t, c, func(cfg *Config) { cfg.Static = a.Addrs() })
		b.store.awaitFrame(t, "said before they met")
		a.awaitPeer(t, b)
		for i := range 20 {
			a.say(t, fmt.Sprintf("from a %d", i))
			b.store.awaitFrame(t, fmt.Sprintf("from a %d", i))
			b.say(t, fmt.Sprintf("from b %d", i))
			a.store.awaitFrame(t, fmt.Sprintf("from b %d", i))
		}
		p := a.Peers()
		if len(p) != 1 || p[0].ID != b.ID() || p[0].Org != "stmarys.nhs.example" ||
			p[0].Transport != string(c) || !p[0].Inbound || p[0].Latency <= 0 || p[0].Since.IsZero() {
			t.Errorf("peers of a: %+v", p)
		}
		if p := b.Peers(); len(p) != 1 || p[0].Inbound {
			t.Errorf("peers of b: %+v", p)
		}
		if s := a.Stats(); s.Peers != 1 || s.Connections != 1 || s.Published != 20 || s.Accepted == 0 || len(s.Refused) != 0 {
			t.Errorf("stats of a: %+v", s)
		}
		// Neither names nor peers of the person stand in a log.
		for _, s := range []*station{a, b} {
			if got := leaks([]byte(s.log.String())); got != nil {
				t.Errorf("the log holds %v", got)
			}
		}
	})
}

// Five nodes in a chain, TCP and QUIC mixed: what one says, all have.
func TestFiveNodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var all []*station
	for i := range 5 {
		s := w.start(t, tcpCarrier, func(cfg *Config) {
			cfg.Listen = []string{tcpCarrier.listen(), quicCarrier.listen()}
			if i > 0 {
				cfg.Static = all[i-1].Addrs()
			}
		})
		all = append(all, s)
	}
	for i, s := range all {
		for n := range 10 {
			s.say(t, fmt.Sprintf("node %d says %d", i, n))
		}
	}
	// Sync goes one hop; here the gossip must do the rest, or a next pull.
	for _, s := range all {
		s.SyncSoon("")
	}
	for _, s := range all {
		for i := range all {
			for n := range 10 {
				text := fmt.Sprintf("node %d says %d", i, n)
				s.store.await(t, text, func() bool {
					if s.store.has(text) {
						return true
					}
					for _, o := range all {
						o.SyncSoon("")
					}
					return false
				})
			}
		}
	}
}

func TestPartitionHeals(t *testing.T) {
	eachCarrier(t, func(t *testing.T, c carrier) {
		t.Parallel()
		w := newWorld(t)
		a := w.start(t, c, nil)
		b := w.start(t, c, func(cfg *Config) { cfg.Static = a.Addrs() })
		cut := w.start(t, c, func(cfg *Config) { cfg.Static = slices.Concat(a.Addrs(), b.Addrs()) })
		a.awaitPeer(t, b)
		a.awaitPeer(t, cut)
		b.awaitPeer(t, cut)
		poll(t, "an address of the node to be cut off", func() bool { return a.knows(cut) && b.knows(cut) })

		if err := cut.SetOnline(false); err != nil {
			t.Fatal(err)
		}
		poll(t, "the cut", func() bool { return !a.links.admitted(cut.ID()) && !b.links.admitted(cut.ID()) })
		if p := cut.Peers(); len(p) != 0 {
			t.Errorf("peers while offline: %+v", p)
		}
		// The others try to reach it, in vain.
		failed := a.Stats().DialsFailed
		poll(t, "dials of an offline node", func() bool { return a.Stats().DialsFailed > failed+1 })
		for i := range 5 {
			a.say(t, fmt.Sprintf("missed %d", i))
			cut.say(t, fmt.Sprintf("alone %d", i))
		}
		b.store.awaitFrame(t, "missed 4")
		if cut.store.has("missed 0") || a.store.has("alone 0") {
			t.Error("the partition leaks")
		}

		if err := cut.SetOnline(true); err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			cut.store.awaitFrame(t, fmt.Sprintf("missed %d", i))
			a.store.awaitFrame(t, fmt.Sprintf("alone %d", i))
		}
		b.store.awaitFrame(t, "alone 4")
		if n := cut.Stats().Refused[reasonOffline]; n == 0 {
			t.Error("nothing was refused while offline")
		}
	})
}

// A peer that restarts, on another port and after we were away, is found
// again through what was remembered on either side.
func TestRestart(t *testing.T) {
	eachCarrier(t, func(t *testing.T, c carrier) {
		t.Parallel()
		w := newWorld(t)
		var book addressBook
		a := w.start(t, c, nil)
		dev := w.member(t)
		cfg, b := w.config(t, dev, c)
		cfg.Static, cfg.Remember = a.Addrs(), book.keep
		var err error
		if b.Mesh, err = New(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		a.awaitPeer(t, b)
		poll(t, "a remembered address", func() bool { return len(book.peers()) == 1 })
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		poll(t, "the end of b", func() bool { return !a.links.admitted(b.ID()) })
		a.say(t, "while b was down")

		cfg.Static, cfg.Remembered = nil, book.peers()
		again := &station{dev: dev, clock: b.clock, log: b.log, store: b.store}
		if again.Mesh, err = New(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		again.store.awaitFrame(t, "while b was down")
	})
}

type addressBook struct {
	mu    sync.Mutex
	infos []Remembered
}

func (b *addressBook) keep(infos []Remembered) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.infos = infos
}

func (b *addressBook) peers() []Remembered {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.infos
}

// A ticket that ends closes the open connection, keeps its device out, and
// lets it in again once it was renewed.
func TestLease(t *testing.T) {
	eachCarrier(t, func(t *testing.T, c carrier) {
		t.Parallel()
		w := newWorld(t)
		a := w.start(t, c, nil)
		dev := w.member(t)
		var ticket atomic.Pointer[[]byte]
		renew := func(from time.Time) {
			raw := dev.ticket(t, from, 24*time.Hour)
			ticket.Store(&raw)
		}
		renew(time.Now())
		cfg, b := w.config(t, dev, c)
		cfg.Static, cfg.Ticket = a.Addrs(), func() []byte { return *ticket.Load() }
		var err error
		if b.Mesh, err = New(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		a.awaitPeer(t, b)
		if n := a.Recheck(); n != 0 {
			t.Errorf("rechecking closed %d good connections", n)
		}
		a.clock.offset.Store(int64(25 * time.Hour))
		if n := a.Recheck(); n != 1 {
			t.Errorf("rechecking closed %d connections, want 1", n)
		}
		poll(t, "refusals of the lapsed ticket", func() bool { return a.Stats().Refused["ticket-ended"] > 0 })
		if a.links.admitted(b.ID()) || a.Stats().Refused[reasonLapsed] != 1 {
			t.Errorf("after the lease: %+v", a.Stats())
		}
		renew(time.Now().Add(20 * time.Hour))
		a.awaitPeer(t, b)
	})
}

// The chain's end closes too.
func TestCredentialEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.start(t, tcpCarrier, nil)
	dev := w.enrol(t, w.home, time.Now(), 6*time.Hour)
	cfg, b := w.config(t, dev, tcpCarrier)
	cfg.Static = a.Addrs()
	var err error
	if b.Mesh, err = New(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	a.awaitPeer(t, b)
	a.clock.offset.Store(int64(7 * time.Hour))
	if n := a.Recheck(); n != 1 {
		t.Errorf("rechecking closed %d connections, want 1", n)
	}
	poll(t, "refusal of the ended chain", func() bool { return a.Stats().Refused["time"] > 0 })
}

// What gossip may have missed is pulled, without any timer: the interval of
// these stations is an hour.
func TestNudge(t *testing.T) {
	eachCarrier(t, func(t *testing.T, c carrier) {
		t.Parallel()
		w := newWorld(t)
		a := w.start(t, c, nil)
		b := w.start(t, c, func(cfg *Config) { cfg.Static = a.Addrs() })
		a.awaitPeer(t, b)
		poll(t, "the first pull", func() bool { return b.Stats().Pulls > 0 })
		// Durable at a, never published: as if gossip had lost it.
		a.store.put([]byte("lost by gossip"))
		a.gossip.owe(b.ID())
		b.store.awaitFrame(t, "lost by gossip")
		if a.Stats().Nudges == 0 {
			t.Error("no nudge was counted")
		}
	})
}

// A publish at the very moment of the connection reaches the other side.
func TestPublishRightAfterConnect(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 5 {
		a := w.start(t, tcpCarrier, nil)
		b := w.start(t, tcpCarrier, func(cfg *Config) { cfg.Static = a.Addrs() })
		a.awaitPeer(t, b)
		a.say(t, fmt.Sprintf("at once %d", i))
		b.store.awaitFrame(t, fmt.Sprintf("at once %d", i))
	}
}

func TestNoSync(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.start(t, tcpCarrier, nil)
	a.store.put([]byte("only sync brings it"))
	b := w.start(t, tcpCarrier, func(cfg *Config) { cfg.Static = a.Addrs(); cfg.Unsafe.NoSync = true })
	a.awaitPeer(t, b)
	poll(t, "a's pull", func() bool { return a.Stats().Pulls > 0 })
	b.SyncSoon("")
	poll(t, "gossip", func() bool {
		b.say(t, fmt.Sprintf("still gossiping %d", b.Stats().Published))
		return a.Stats().Accepted > 0
	})
	if s := b.Stats(); s.Pulls+s.PullsFailed+s.Nudges != 0 || b.store.has("only sync brings it") {
		t.Errorf("it synchronised all the same: %+v", s)
	}
	if !strings.Contains(b.log.String(), "UNSAFE") {
		t.Error("no warning in the log")
	}
}

// Invalid frames are not spread, and cost their sender our ear.
func TestRejected(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.start(t, tcpCarrier, nil)
	// b and other are not to meet.
	b := w.start(t, tcpCarrier, func(cfg *Config) { cfg.Static = a.Addrs(); hide(cfg) })
	other := w.start(t, tcpCarrier, func(cfg *Config) { cfg.Static = a.Addrs(); hide(cfg) })
	a.awaitPeer(t, b)
	a.awaitPeer(t, other)
	n := 0
	poll(t, "the loss of all credit", func() bool {
		n++
		if err := b.Publish(t.Context(), fmt.Appendf(nil, "bad %d", n)); err != nil {
			t.Fatal(err)
		}
		for _, p := range a.Peers() {
			if p.ID == b.ID() && p.Score < -400 {
				return true
			}
		}
		return false
	})
	s := a.Stats()
	if s.Rejected < 4 || s.Rejected == uint64(n) {
		t.Errorf("%d of %d rejected: it went on listening", s.Rejected, n)
	}
	if s := other.Stats(); s.Rejected+s.Ignored+s.Accepted != 0 {
		t.Errorf("invalid frames were handed on: %+v", s)
	}
	if len(a.Peers()) != 2 {
		t.Error("the neighbour was cut off; synchronisation must stay")
	}
}

// Members can be villains too. They cannot do more than any neighbour.
func TestVillainousMember(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	victim := w.start(t, tcpCarrier, nil)
	d := w.member(t)
	v := launch(t, w, intruder{card: func(testing.TB, *world) card { return w.card(d, d.ticket(t, time.Now(), time.Hour)) }}, tcpCarrier, false)
	if err := v.Connect(t.Context(), infoOf(t, victim.Addrs())); err != nil {
		t.Fatal(err)
	}
	poll(t, "subscription", func() bool { return v.subscriptions.Load() > 0 })
	// Oversized frames.
	n := 0
	poll(t, "an oversized frame", func() bool {
		n++
		if err := v.topic.Publish(t.Context(), fmt.Appendf(make([]byte, MaxFrame), "%d", n)); err != nil {
			t.Fatal(err)
		}
		return victim.Stats().Oversized > 0
	})
	if received, _ := victim.store.touched(); received != 0 {
		t.Errorf("%d oversized frames reached the receiver", received)
	}
	// Foreign protocols and topics.
	for _, id := range []string{"/ipfs/ping/1.0.0", "/libp2p/circuit/relay/0.2.0/hop", "/libp2p/autonat/1.0.0", "/meshsub/1.1.0", "/floodsub/1.0.0"} {
		if s, err := v.NewStream(t.Context(), victim.ID(), protocolID(id)); err == nil {
			t.Errorf("%s is spoken", id)
			s.Reset()
		}
	}
	known, err := v.Peerstore().GetProtocols(victim.ID())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range known {
		if !slices.Contains([]string{string(GossipProtocol), string(SyncProtocol), "/libp2p/circuit/relay/0.2.0/stop", string(PeersProtocol), "/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0"}, string(id)) {
			t.Errorf("offers %s", id)
		}
	}
	for key, want := range map[string]string{"AgentVersion": agent, "ProtocolVersion": agent + "/1"} {
		if got, err := v.Peerstore().Get(victim.ID(), key); err != nil || got != want {
			t.Errorf("%s is %v (%v)", key, got, err)
		}
	}
}

func TestTracerTellsOfDrops(t *testing.T) {
	var owed []peer.ID
	var lacked []peer.ID
	g := &gossip{counts: newCounters(), owe: func(p peer.ID) { owed = append(owed, p) }, lack: func(p peer.ID) { lacked = append(lacked, p) }}
	tr := &gossipTracer{g: g}
	tr.DropRPC(&pubsub.RPC{}, "control")
	tr.DropRPC(&pubsub.RPC{RPC: pb.RPC{Publish: []*pb.Message{{}}}}, "frames")
	tr.UndeliverableMessage(nil)
	tr.RejectMessage(&pubsub.Message{ReceivedFrom: "unseen"}, pubsub.RejectValidationQueueFull)
	tr.RejectMessage(&pubsub.Message{ReceivedFrom: "seen"}, pubsub.RejectValidationFailed)
	if !slices.Equal(owed, []peer.ID{"frames"}) || !slices.Equal(lacked, []peer.ID{"unseen"}) {
		t.Errorf("owed: %v, lacked: %v", owed, lacked)
	}
	if s := g.counts.stats(); s.DroppedRPCs != 2 || s.Undeliverable != 1 || s.Throttled != 1 {
		t.Errorf("%+v", s)
	}
}

func TestMayMiss(t *testing.T) {
	c := &stillClock{now: time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)}
	g := &gossip{clock: c, met: make(map[peer.ID]time.Time), members: make(map[peer.ID]bool), unsettled: make(map[peer.ID]*unsettledPeer)}
	want := func(what string, want ...missing) {
		t.Helper()
		if got := g.mayMiss("other"); !slices.Equal(got, want) {
			t.Errorf("%s: %v", what, got)
		}
	}
	g.peer("p", true)
	for range 2 {
		want("a peer that has not joined hears nothing", missing{peer: "p"})
	}
	g.joined("p", true, true)
	c.now = c.now.Add(settleTime / 4)
	if got := g.mayMiss("p"); len(got) > 0 {
		t.Errorf("who sent the frame is told to pull: %v", got)
	}
	want("a young peer may miss something", missing{"p", settleTime - settleTime/4})
	want("it is named once")
	g.joined("p", false, true)
	want("it left the topic", missing{peer: "p"})
	g.joined("p", true, true)
	want("it is back", missing{"p", settleTime - settleTime/4})
	c.now = c.now.Add(settleTime)
	want("a settled peer hears all")
	g.joined("p", false, true)
	want("a peer that left the topic hears nothing", missing{peer: "p"})
	g.peer("p", false)
	want("a peer that is gone is owed nothing")
	// gossipsub may say that a peer has joined before we know of its connection, and says it once
	// where a second connection takes the place of the first.
	g.joined("early", true, false)
	for range 2 {
		g.peer("early", true)
		want("a young peer that had joined before", missing{"early", settleTime})
		c.now = c.now.Add(2 * settleTime)
		want("it is not owed for ever")
	}
	g.joined("early", false, true)
	want("it left the topic", missing{peer: "early"})
	g.peer("early", false)
	// Set back by a year, the clock does not keep a peer unsettled.
	g.peer("q", true)
	g.joined("q", true, true)
	c.now = c.now.AddDate(-1, 0, 0)
	want("after a step")
}

func TestScoring(t *testing.T) {
	params, _ := scoring([]string{"topic", "other"}, func(peer.ID) float64 { return 0 })
	l := newLinks(&desk{})
	l.peers["in"] = 1
	d := newDefence(&Config{Clock: &testClock{}, Score: func(peer.ID) float64 { return -7 }}, l, newCounters())
	if d.score("in") != -7 || d.score("out") >= -400 {
		t.Error("the score does not follow admission and the node")
	}
	if d.conduct.blame("in", "", "x", d.clock.Now()); d.score("in") > -16.9 {
		t.Errorf("the score of who was blamed is %v", d.score("in"))
	}
	p := params.Topics["topic"]
	if p.MeshMessageDeliveriesWeight != 0 || p.MeshFailurePenaltyWeight != 0 || params.IPColocationFactorWeight != 0 || p.InvalidMessageDeliveriesWeight >= 0 {
		t.Errorf("weights: %+v", p)
	}
}

func TestConfigErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	busy, err := ma.NewMultiaddr(fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", taken.Addr().(*net.TCPAddr).Port))
	if err != nil {
		t.Fatal(err)
	}
	other, foreign := w.member(t), w.enrol(t, w.foreign, time.Now(), time.Hour)
	for name, c := range map[string]struct {
		change func(*Config)
		says   string
	}{
		"no key":         {func(c *Config) { c.Transport = nil }, "transport key"},
		"no trust":       {func(c *Config) { c.Trust = nil }, "trust store"},
		"no chain":       {func(c *Config) { c.Chain = nil }, "enrol"},
		"long chain":     {func(c *Config) { c.Chain = make([]byte, MaxChain+1) }, "shorter"},
		"no ticket":      {func(c *Config) { c.Ticket = nil }, "Ticket"},
		"no clock":       {func(c *Config) { c.Clock = nil }, "Clock"},
		"no logger":      {func(c *Config) { c.Logger = nil }, "Logger"},
		"no receiver":    {func(c *Config) { c.Receiver = nil }, "Receiver"},
		"no syncer":      {func(c *Config) { c.Syncer = nil }, "Syncer"},
		"interval":       {func(c *Config) { c.SyncInterval = -1 }, "interval"},
		"listen":         {func(c *Config) { c.Listen = []string{"localhost:80"} }, "for example"},
		"static":         {func(c *Config) { c.Static = []string{"/ip4/10.0.0.1/tcp/1"} }, "for example"},
		"busy port":      {func(c *Config) { c.Listen = []string{busy.String()} }, "choose another"},
		"another's key":  {func(c *Config) { c.Chain = other.chain }, "refuse our own"},
		"foreign chain":  {func(c *Config) { c.Transport, c.Chain = foreign.relay.Transport, foreign.chain }, "refuse our own"},
		"damaged chain":  {func(c *Config) { c.Chain = []byte("nonsense") }, "refuse our own"},
		"no ed25519 key": {func(c *Config) { c.Transport = make(ed25519.PrivateKey, 7) }, "Ed25519"},
	} {
		cfg, _ := w.config(t, w.member(t), tcpCarrier)
		c.change(&cfg)
		m, err := New(t.Context(), cfg)
		if err == nil {
			m.Close()
			t.Errorf("%s: started", name)
			continue
		}
		if !strings.HasPrefix(err.Error(), "mesh: ") || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A device whose credential has ended starts, so that it can be read, and says
// what is wrong; others refuse it.
func TestStartsWithEndedCredential(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.enrol(t, w.home, time.Now().Add(-200*24*time.Hour), 100*24*time.Hour)
	cfg, s := w.config(t, d, tcpCarrier)
	m, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if !strings.Contains(s.log.String(), "renew") {
		t.Errorf("the log does not say what to do: %s", s.log)
	}
}

func TestDefaultListen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.start(t, tcpCarrier, func(cfg *Config) { cfg.Listen = nil })
	var tcp4, quic4 bool
	for _, a := range s.Addrs() {
		if !strings.HasSuffix(a, "/p2p/"+s.ID().String()) {
			t.Errorf("no peer id in %s", a)
		}
		tcp4 = tcp4 || strings.HasPrefix(a, "/ip4/") && strings.Contains(a, "/tcp/")
		quic4 = quic4 || strings.HasPrefix(a, "/ip4/") && strings.Contains(a, "/quic-v1/")
	}
	if !tcp4 || !quic4 {
		t.Errorf("listens on %v", s.Addrs())
	}
}

// Close works in any state, twice, and with a context that has ended.
func TestClose(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.start(t, tcpCarrier, nil)
	dev := w.member(t)
	cfg, b := w.config(t, dev, tcpCarrier)
	cfg.Static = a.Addrs()
	ctx, cancel := context.WithCancel(t.Context())
	var err error
	if b.Mesh, err = New(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	a.awaitPeer(t, b)
	cancel()
	if err := errors.Join(b.Close(), b.Close()); err != nil {
		t.Error(err)
	}
	if err := b.Publish(t.Context(), []byte("too late")); err == nil {
		t.Error("published after Close")
	}
	b.SyncSoon("")
	if err := b.SetOnline(false); err != nil {
		t.Error(err)
	}
	if p := b.Peers(); len(p) != 0 {
		t.Errorf("peers after Close: %v", p)
	}
}

func TestPublishLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.start(t, tcpCarrier, nil)
	if err := s.Publish(t.Context(), nil); err == nil {
		t.Error("published nothing")
	}
	if err := s.Publish(t.Context(), make([]byte, MaxFrame+1)); err == nil {
		t.Error("published an oversized frame")
	}
	if err := s.Publish(t.Context(), make([]byte, MaxFrame)); err != nil {
		t.Error(err)
	}
}

// What stands for the mesh gives its id away nowhere, and differs by use and mesh.
func TestDerived(t *testing.T) {
	var a, b identity.MeshID
	b[31] = 1
	names := []string{Topic(a), Topic(b), UrgentTopic(a), UrgentTopic(b), serviceName(a), serviceName(b)}
	slices.Sort(names)
	if len(slices.Compact(names)) != 6 {
		t.Errorf("not distinct: %v", names)
	}
	label, _, _ := strings.Cut(serviceName(a), ".")
	if len(label)-1 > 15 || label[0] != '_' || strings.Contains(serviceName(a), "tocsin") {
		t.Errorf("service name %q", serviceName(a))
	}
	if string(derive("x", a)) == string(derive("y", a)) {
		t.Error("labels do not matter")
	}
}

// The node is told who comes and who goes, once for each.
func TestPeerChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	type change struct {
		p  peer.ID
		up bool
	}
	told := make(chan change, 10)
	a := w.start(t, tcpCarrier, func(cfg *Config) {
		cfg.PeerChange = func(p peer.ID, up bool) { told <- change{p, up} }
	})
	b := w.start(t, tcpCarrier, func(cfg *Config) { cfg.Static = a.Addrs() })
	if got := <-told; got != (change{b.ID(), true}) {
		t.Errorf("told %v", got)
	}
	if err := b.SetOnline(false); err != nil {
		t.Fatal(err)
	}
	if got := <-told; got != (change{b.ID(), false}) {
		t.Errorf("told %v", got)
	}
	if len(told) != 0 {
		t.Errorf("told more: %v", <-told)
	}
}
