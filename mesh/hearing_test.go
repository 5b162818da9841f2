package mesh

import (
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"tocsin/crypto/identity"
)

// wipe gives an order to wipe dev, of which every device of its realm learns.
func (r *realm) wipe(t testing.TB, dev *device) {
	t.Helper()
	cred, err := r.store.ReadCredential(dev.credential)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	raw, err := r.authority.Wipe(r.store.MeshID(), identity.Wipe{Time: now, Key: cred.KeyHash(), NotAfter: now.Add(24 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.store.Take(raw, now); err != nil {
		t.Fatal(err)
	}
}

// A stolen device that is let in to hear of its wipe order gets no more than that: no
// addresses of others, no circuit through us, no part in the directory and no chunk of an
// attachment, and its own address is handed to nobody. So it is whether the order came
// while it was connected or before.
func TestHearingGetsNoMore(t *testing.T) {
	for name, before := range map[string]bool{"connected before the order": false, "comes after the order": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, chunks := newWorld(t), newChunkStore()
			chunk := chunks.make(1, 100)
			w.home.store.SetHearing(func(peer.ID) bool { return true })
			dev := w.member(t)
			on := func(cfg *Config) { cfg.DHT = DHTOn }
			home := w.start(t, tcpCarrier, func(cfg *Config) { on(cfg); cfg.Relay, cfg.Blobs = true, chunks })
			if before {
				w.home.wipe(t, dev)
			}
			stolen := w.startAs(t, dev, tcpCarrier, func(cfg *Config) {
				on(cfg)
				cfg.Static, cfg.Blobs = home.Addrs(), newChunkStore()
			})
			home.awaitPeer(t, stolen)
			if !before {
				poll(t, "what a member gets", func() bool {
					s, h := stolen.Stats(), home.Stats()
					return s.Reservations == 1 && s.Exchanges > 0 && h.DHTPeers == 1 && h.Records == 1
				})
				w.home.wipe(t, dev)
				if n := home.Recheck(); n != 0 {
					t.Fatalf("%d connections were closed", n)
				}
			}
			if !home.links.admitted(stolen.ID()) || !home.links.hearing(stolen.ID()) || home.links.trusted(stolen.ID()) {
				t.Fatal("not let in to hear")
			}
			poll(t, "nothing kept of it", func() bool {
				s := home.Stats()
				return s.DHTPeers == 0 && s.Records == 0 && s.Contacts == 1
			})
			if _, err := stolen.finder.askRelay(t.Context(), home.ID(), nil); err == nil {
				t.Error("it got a reservation")
			}
			if err := stolen.finder.exchange.ask(t.Context(), home.ID(), maxExchanged); err == nil {
				t.Error("it got addresses")
			}
			poll(t, "its part of the directory", func() bool { return stolen.finder.listing.Load() != nil })
			if err := stolen.finder.listing.Load().table.Ping(t.Context(), home.ID()); err == nil {
				t.Error("the directory answered")
			}
			stolen.WantBlobs(wants([]BlobName{chunk}, 0))
			poll(t, "a refused session for chunks", func() bool { return home.Stats().SyncRefused["blob"] > 0 })
			if chunks.mu.Lock(); len(chunks.asked) != 0 {
				t.Error("it was told what chunks are here")
			}
			chunks.mu.Unlock()
			if acl := (&carrierACL{links: home.links}); acl.AllowReserve(stolen.ID(), nil) || acl.AllowConnect(stolen.ID(), nil, "other") {
				t.Error("it is carried")
			}
		})
	}
}

// A connection that a relay carries for a while only is refused, and its proof used up.
func TestLimitedCircuitIsRefused(t *testing.T) {
	g := newGate(t)
	c := g.conn("1")
	c.stat.Limited = true
	g.mustExpect(c, &proof{peer: "peer"})
	if ok, _ := g.InterceptUpgraded(c); ok || len(g.pending) != 0 || len(g.awaited) != 0 {
		t.Errorf("let in, or %d proofs left", len(g.pending))
	}
	if n := g.desk.counts.stats().Refused[reasonLimited]; n != 1 {
		t.Errorf("%d refusals counted", n)
	}
}

func (g *gate) mustExpect(c network.ConnMultiaddrs, p *proof) {
	g.t.Helper()
	if err := g.expect(placeOf(c, p.peer), p); err != nil {
		g.t.Fatal(err)
	}
}

// Proofs of connections that libp2p gave up without telling are not kept: so many at once
// of one peer, and for two sweeps at most.
func TestProofsAreNotKept(t *testing.T) {
	g := newGate(t)
	for range maxAwaited {
		g.mustExpect(g.conn(""), &proof{peer: "leaks"})
	}
	if err := g.expect(placeOf(g.conn(""), "leaks"), &proof{peer: "leaks"}); reasonOf(err) != reasonBusy {
		t.Errorf("one more: %v", err)
	}
	g.mustExpect(g.conn(""), &proof{peer: "other"})
	g.sweep()
	young := g.conn("young")
	g.mustExpect(young, &proof{peer: "peer"})
	g.sweep()
	if len(g.pending) != 1 || g.awaited["leaks"] != 0 || g.awaited["peer"] != 1 {
		t.Errorf("%d places, awaited %v", len(g.pending), g.awaited)
	}
	if ok, _ := g.InterceptUpgraded(young); !ok || len(g.awaited) != 0 {
		t.Errorf("a young one is refused, or not counted out: %v", g.awaited)
	}
}

// A recheck that runs while a connection is between handshake and notice does not miss it.
func TestRecheckOnTheWayUp(t *testing.T) {
	w := newWorld(t)
	dev := w.member(t)
	g := newGate(t)
	g.desk.trust, g.desk.log = w.home.store, slog.New(slog.DiscardHandler)
	raw, err := hello{chain: dev.chain}.marshal()
	if err != nil {
		t.Fatal(err)
	}
	admit := func(id string) *gateConn {
		p, err := g.desk.checkHello(raw, dev.relay.PeerID())
		if err != nil {
			t.Fatal(err)
		}
		p.ticket = dev.ticket(t, time.Now(), time.Hour)
		c := g.conn(id)
		c.peer = dev.relay.PeerID()
		g.mustExpect(c, p)
		if ok, _ := g.InterceptUpgraded(c); !ok {
			t.Fatal("refused")
		}
		return c
	}
	fine, late := admit("fine"), admit("late")
	g.recheck()
	g.Connected(nil, fine)
	w.home.wipe(t, dev)
	if g.recheck() != 1 || len(g.open) != 1 {
		t.Fatalf("%d are open", len(g.open))
	}
	g.Connected(nil, late)
	if len(g.open) != 0 || g.admitted(dev.relay.PeerID()) || len(g.notices) != 2 {
		t.Errorf("%d are open, notices %v", len(g.open), g.notices)
	}
}

// Calls of SetOnline that meet leave all parts of the mesh in one state.
func TestSetOnlineMeets(t *testing.T) {
	g := newGate(t)
	watcher, _, f := newTestWatcher(g.links)
	m := &Mesh{links: g.links, finder: f, watcher: watcher}
	c := g.admit("1", 1)
	g.Connected(nil, c)
	done := make(chan error, 1)
	c.closed = func() { // going offline is half done
		go func() { done <- m.SetOnline(true) }()
		for range 10_000 { // time enough for the other, if nothing holds it back
			runtime.Gosched()
		}
	}
	if err := m.SetOnline(false); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	events := f.mail.take()
	if n := len(events); n != 2 || !events[n-1].online || !g.isOnline() || !watcher.online.Load() {
		t.Errorf("the gate is online: %v, the finder was told: %v", g.isOnline(), events)
	}
}
