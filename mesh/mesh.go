package mesh

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-yamux/v5"
	"github.com/quic-go/quic-go"
)

// Mesh is one device's place in the mesh. All methods are safe for concurrent
// use.
type Mesh struct {
	host    host.Host
	log     *slog.Logger
	clock   Clock
	counts  *counters
	links   *links
	reach   *reach
	change  func(p peer.ID, connected bool) // Config.PeerChange, may be nil
	gossip  *gossip
	syncer  *syncer
	blobs   *blobs // nil without Config.Blobs
	finder  *finder
	watcher *watcher
	defence *defence
	carry   *carrierService    // nil unless Config.Relay
	known   event.Subscription // of finder.follow

	cancel context.CancelFunc
	loops  sync.WaitGroup
	closed sync.Once
	// switching spans a call of SetOnline.
	switching sync.Mutex
	err       error // of Close
}

// Peer is one admitted neighbour. With several connections to it, the oldest
// is described.
type Peer struct {
	ID        peer.ID
	Org       string // of its admission chain
	Addr      string // multiaddr of the other end
	Transport string // "tcp", "quic", "ws" or "relay"
	// Found is how we came to know it: "static", "via", "remembered", "multicast",
	// "exchange", "dht", or empty if it came to us; Introducer is the neighbour that
	// named it, where that is "exchange".
	Found      string
	Introducer peer.ID
	Relay      bool // it carries connections for others
	Inbound    bool
	Since      time.Time
	// Latency is the smoothed round trip of the connection; 0 while unknown.
	Latency time.Duration
	// Score is gossipsub's: 0 for a good neighbour, below for a bad one.
	Score float64
	// Goodput is how many bytes a second its link took or gave while it was busy;
	// 0 where it was not in the last [PaceMemory].
	Goodput float64
	// Loss is the share of packets lost lately, from 0 to 1; 0 where that is not known
	// (anything but QUIC, and where little was sent in the last [PaceMemory]).
	Loss float64
	// Queued is how many bytes of gossip wait to be written to it.
	Queued int
}

// New starts a Mesh. It listens and dials until Close; ctx ends it too, but Close must be
// called all the same. The errors say what to change: a busy port, a chain that others
// would refuse, an address that does not parse.
func New(ctx context.Context, cfg Config) (*Mesh, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	listen, err := cfg.listenAddrs()
	if err != nil {
		return nil, err
	}
	key, self, err := hostKey(cfg.Transport)
	if err != nil {
		return nil, err
	}
	if cfg.Unsafe != (Unsafe{}) {
		cfg.Logger.Warn("UNSAFE test hooks are on; this device must not be used for anything real",
			"no_admission", cfg.Unsafe.NoAdmission, "no_sync", cfg.Unsafe.NoSync,
			"no_conduct", cfg.Unsafe.NoConduct)
	}
	m := &Mesh{log: cfg.Logger, clock: cfg.Clock, counts: newCounters(), change: cfg.PeerChange}
	d, err := newDesk(&cfg, self, m.counts)
	if err != nil {
		return nil, err
	}
	announce, err := cfg.announced()
	if err != nil {
		return nil, err
	}
	m.links, m.reach = newLinks(d), newReach(announce)
	if m.host, err = newHost(&cfg, key, d, m.links, m.reach); err != nil {
		return nil, err
	}
	m.reach.setHost(m.host)
	ctx, m.cancel = context.WithCancel(ctx)
	if err := m.start(ctx, &cfg, listen); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// hostKey returns the transport key in libp2p's form, and its peer id.
func hostKey(k ed25519.PrivateKey) (crypto.PrivKey, peer.ID, error) {
	key, err := crypto.UnmarshalEd25519PrivateKey(k)
	if err != nil {
		return nil, "", fmt.Errorf("mesh: transport key: %w", err)
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return nil, "", fmt.Errorf("mesh: transport key: %w", err)
	}
	return key, id, nil
}

// start puts every protocol in place, then listens, then dials.
func (m *Mesh) start(ctx context.Context, cfg *Config, listen []listenAddr) error {
	var err error
	m.syncer = newSyncer(m.host, cfg, m.counts)
	m.defence = newDefence(cfg, m.links, m.counts)
	m.syncer.blame, m.syncer.pace = m.defence.blame, m.defence.pace
	if cfg.Blobs != nil {
		m.blobs = newBlobs(m.host, cfg, m.counts)
		m.blobs.blame, m.blobs.hearing = m.defence.blame, m.links.hearing
		m.host.SetStreamHandler(BlobProtocol, m.blobs.handler(ctx))
		m.loops.Go(func() { m.blobs.run(ctx) })
	}
	tell := func(kind syncEventKind) func(peer.ID) {
		return func(p peer.ID) { m.syncer.mail.put(syncEvent{kind: kind, peer: p}) }
	}
	if m.gossip, err = newGossip(ctx, m.host, cfg, gossipLinks{
		admitted: m.links.admitted, score: m.defence.score, owe: tell(syncOwed), lack: tell(syncLack),
		oweAfter: func(p peer.ID, d time.Duration) {
			m.syncer.mail.put(syncEvent{kind: syncOwed, peer: p, after: d})
		},
		blame: m.defence.blame, pace: m.defence.pace, changed: m.refavour,
	}, m.counts); err != nil {
		return err
	}
	if m.finder, err = m.newDiscovery(cfg); err != nil {
		return err
	}
	m.watcher = newWatcher(m.host, m.links, cfg, m.finder)
	m.known, err = m.host.EventBus().Subscribe(new(event.EvtPeerIdentificationCompleted))
	if err != nil {
		return fmt.Errorf("mesh: events: %w", err)
	}
	m.links.watch, m.links.hushed = m.onPeer, m.onHushed
	m.host.Network().Notify(m.links)
	m.host.SetStreamHandler(SyncProtocol, m.syncer.handler(ctx))

	if cfg.Relay {
		if m.carry, err = newCarrier(m.host, m.links, m.counts); err != nil {
			return err
		}
	}
	m.loops.Go(func() { m.syncer.run(ctx) })
	m.loops.Go(func() { m.finder.follow(ctx, m.known) })
	m.loops.Go(func() { m.recheckLoop(ctx) })
	m.loops.Go(func() { m.defence.run(ctx) })
	for _, follow := range []func() error{
		func() error { return m.gossip.run(ctx, m.links.admitted) },
		func() error { return m.gossip.runRoutine(ctx) },
	} {
		m.loops.Go(func() {
			if err := follow(); err != nil {
				m.log.Error("gossip ended", "error", err)
			}
		})
	}
	if err := m.listen(listen); err != nil {
		return err
	}
	m.host.SetStreamHandler(PeersProtocol, m.links.unlessHearing(m.finder.exchange.handle))
	m.loops.Go(func() { m.finder.run(ctx) })
	// A simulated network is not the machine's: its interfaces say nothing then.
	if cfg.MDNS || len(cfg.HostOptions) == 0 {
		m.loops.Go(func() { m.watcher.run(ctx) })
	}
	return nil
}

func (m *Mesh) listen(addrs []listenAddr) error {
	for _, a := range addrs {
		err := m.host.Network().Listen(a.addr)
		switch {
		case err == nil:
		case a.optional:
			m.log.Info("not listening", "addr", a.addr.String(), "error", err)
		default:
			return fmt.Errorf("mesh: cannot listen on %s (%w); stop what uses the port, or choose another one", a.addr, err)
		}
	}
	return nil
}

// onPeer is told of the first connection to a peer and of the end of the last.
func (m *Mesh) onPeer(p peer.ID, up bool) {
	m.gossip.peer(p, up)
	if m.blobs != nil {
		m.blobs.onPeer(p, up)
	}
	if !up {
		m.gossip.budgets.forget(p)
		m.defence.forget(p)
	}
	m.refavour()
	if m.change != nil {
		m.change(p, up)
	}
	if up {
		m.syncer.mail.put(syncEvent{kind: syncUp, peer: p})
		m.finder.mail.put(findEvent{kind: findUp, peer: p, hearing: m.links.hearing(p)})
		return
	}
	m.syncer.mail.put(syncEvent{kind: syncDown, peer: p})
	m.finder.mail.put(findEvent{kind: findDown, peer: p})
}

// onHushed is told of a neighbour that from now on may only hear of its wipe order.
func (m *Mesh) onHushed(p peer.ID) {
	if m.blobs != nil {
		m.blobs.onPeer(p, false)
	}
	for _, c := range m.host.Network().ConnsToPeer(p) {
		for _, s := range c.GetStreams() {
			// What it holds open may go on for long: circuits, questions to the directory.
			if id := s.Protocol(); id != "" && id != SyncProtocol && id != GossipProtocol {
				s.Reset()
			}
		}
	}
	m.finder.mail.put(findEvent{kind: findHushed, peer: p})
}

func (m *Mesh) recheckLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.clock.After(recheckInterval):
			m.links.sweep()
			m.links.recheck()
		}
	}
}

// Recheck verifies the chain and ticket of every open connection again, at the
// clock's time, closes those that no longer pass, and returns how many that
// were. It runs by itself every minute; call it when trust has changed.
func (m *Mesh) Recheck() int { return m.links.recheck() }

// Publish spreads frame by gossip. It returns once gossip has it, not when
// anybody has received it: gossip is a hint, and a frame that gets lost is found by
// synchronisation. frame is 1 to MaxFrame bytes, must not be modified afterwards, and must be
// durable here before.
func (m *Mesh) Publish(ctx context.Context, frame []byte) error {
	return m.gossip.publish(ctx, frame)
}

// SyncSoon asks for a pull from p, or with "" from every neighbour, within about
// a tenth of a second. Calls coalesce.
func (m *Mesh) SyncSoon(p peer.ID) {
	m.syncer.mail.put(syncEvent{kind: syncSoon, peer: p})
}

// SyncBehind is SyncSoon for a neighbour that says that it holds what is not held here. Where
// pulls from it end with [ErrNothingNew] it waits longer each time.
func (m *Mesh) SyncBehind(p peer.ID) {
	m.syncer.mail.put(syncEvent{kind: syncBehind, peer: p})
}

// Nudge tells every neighbour to pull from us soon: something that is not
// gossiped was added. Calls coalesce for about a second.
func (m *Mesh) Nudge() {
	for _, p := range m.Peers() {
		m.syncer.mail.put(syncEvent{kind: syncOwed, peer: p.ID})
	}
}

// SetOnline(false) closes every connection, and refuses and dials none until
// SetOnline(true), which dials everybody known at once.
func (m *Mesh) SetOnline(online bool) error {
	// As one step: two calls at once must not leave the parts in different states.
	m.switching.Lock()
	defer m.switching.Unlock()
	if m.links.setOnline(online) {
		m.finder.mail.put(findEvent{kind: findOnline, online: online})
		m.watcher.setOnline(online)
	}
	return nil
}

// Peers returns the admitted neighbours, in the order of their ids.
func (m *Mesh) Peers() []Peer {
	all := m.links.snapshot()
	slices.SortFunc(all, func(a, b *link) int {
		return cmp.Or(cmp.Compare(a.proof.peer, b.proof.peer), a.since.Compare(b.since))
	})
	all = slices.CompactFunc(all, func(a, b *link) bool { return a.proof.peer == b.proof.peer })
	out := make([]Peer, 0, len(all))
	for _, k := range all {
		p := Peer{
			ID: k.proof.peer, Addr: k.conn.RemoteMultiaddr().String(), Transport: transportOf(k.conn),
			Inbound: k.conn.Stat().Direction == network.DirInbound, Since: k.since,
			Latency: latency(k.conn), Score: m.gossip.score(k.proof.peer),
			Queued: m.gossip.post.queued(k.proof.peer),
		}
		pace := m.defence.pace(p.ID)
		p.Goodput, p.Loss = pace.goodput(), pace.lossOf(k.conn)
		o := m.finder.origin(p.ID)
		p.Found, p.Introducer, p.Relay = o.found, o.introducer, o.relays
		if k.proof.adm != nil {
			p.Org = k.proof.adm.Org
		}
		out = append(out, p)
	}
	return out
}

// latency asks the connection for its smoothed round trip.
func latency(c network.Conn) time.Duration {
	var q *quic.Conn
	if c.As(&q) {
		return q.ConnectionStats().SmoothedRTT
	}
	var y *yamux.Session
	if c.As(&y) {
		return y.RTT()
	}
	return 0
}

// Addrs returns the addresses that others can dial, each with /p2p/<our id>: those
// of the interfaces as they are now, what Config.Announce adds, and those through
// relays.
func (m *Mesh) Addrs() []string {
	addrs, err := m.reach.addrs()
	if err != nil {
		m.log.Warn("cannot enumerate the network interfaces", "error", err)
	}
	full, err := peer.AddrInfoToP2pAddrs(&peer.AddrInfo{ID: m.host.ID(), Addrs: addrs})
	if err != nil {
		m.log.Warn("cannot write our own addresses", "error", err)
		return nil
	}
	out := make([]string, 0, len(full))
	for _, a := range full {
		out = append(out, a.String())
	}
	return out
}

// ID returns our own peer id.
func (m *Mesh) ID() peer.ID { return m.host.ID() }

// Stats returns the counters as they are now.
func (m *Mesh) Stats() Stats {
	s := m.counts.stats()
	all := m.links.snapshot()
	s.Connections = len(all)
	seen := make(map[peer.ID]bool, len(all))
	for _, k := range all {
		seen[k.proof.peer] = true
	}
	s.Peers = len(seen)
	m.finder.state(&s)
	return s
}

// Close ends everything and waits for it. Further calls return the same.
func (m *Mesh) Close() error {
	m.closed.Do(func() { m.err = m.shutdown() })
	return m.err
}

func (m *Mesh) shutdown() error {
	var errs []error
	// 1. We leave the topic while there are still connections to say so on.
	if m.gossip != nil {
		errs = append(errs, m.gossip.close())
	}
	// 2. Multicast, dials, sessions and gossip end: their contexts do.
	m.cancel()
	if m.carry != nil {
		errs = append(errs, m.carry.close())
	}
	// 3. Listeners and connections close, which ends every read that is left.
	errs = append(errs, m.host.Close())
	if m.known != nil {
		errs = append(errs, m.known.Close())
	}
	// 4. Every goroutine of ours is waited for.
	m.loops.Wait()
	if m.gossip != nil {
		m.gossip.post.wait()
	}
	return errors.Join(errs...)
}
