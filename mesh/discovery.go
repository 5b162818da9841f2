package mesh

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	circuit "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/proto"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// findEvent is what the rest of the mesh tells discovery.
type findEvent struct {
	kind   findEventKind
	peer   peer.ID
	addrs  []ma.Multiaddr
	at     ma.Multiaddr // findKnown: where we reached it; nil if it came to us
	relays bool         // findKnown: it carries for others
	err    error
	direct bool // findDialed: it was a dial past a relay
	// stranger of findDialed: it had one of the slots for those that nobody has met.
	stranger bool
	online   bool
	// hearing of findUp: the peer may only hear of its wipe order.
	hearing bool
	heard   heard
}

type findEventKind uint8

const (
	findSeen     findEventKind = iota // multicast or the directory told of a peer and its addresses
	findListed                        // the directory did
	findUp                            // first connection to peer
	findDown                          // last connection gone
	findKnown                         // an admitted peer told us where it listens
	findDialed                        // a dial ended
	findOnline                        // SetOnline
	findHeard                         // an exchange brought records
	findReserved                      // a relay answered
	findUnasked                       // an exchange of ours came to nothing
	findHushed                        // a neighbour may only hear of its wipe order from now on
	findMoved                         // the network of this machine changed
)

// task is something to be done for a peer at a time of its own.
type task struct {
	kind taskKind
	peer peer.ID // "" where it concerns nobody alone
}

type taskKind uint8

const (
	toDial     taskKind = iota
	toExchange          // ask a neighbour for addresses
	toReserve           // ask a relay for a reservation, or for its renewal
	toUpgrade           // find a way past the relay
	toExplore           // dial somebody although there are neighbours enough
	toTell              // our own record has changed
	toLookUp            // use the directory
	taskKinds
)

// finder dials. It keeps an address book of static, remembered and discovered peers
// and redials those that are not connected, with backoff and jitter. The
// goroutine run owns the book; everybody else talks to it through the mailbox.
type finder struct {
	host     host.Host
	links    *links
	clock    Clock
	log      *slog.Logger
	counts   *counters
	remember func([]Remembered)
	reach    *reach
	exchange *exchanger
	sign     func(issued time.Time, addrs []ma.Multiaddr) ([]byte, error)
	thin     func() bool // we are on a thin link
	letGo    func(peer.ID)
	// admissible reports whether we have a ticket to show. A device that was never unlocked
	// has none.
	admissible func() bool
	carries    bool // we are a relay ourselves
	dhtMode    string
	dhtName    protocol.ID // the prefix of its protocols
	// want is how many neighbours are looked for, spare how many more are kept.
	want, spare int

	mail  *mailbox[findEvent]
	dials sync.WaitGroup

	lonely  atomic.Bool                        // no neighbour at all
	origins atomic.Pointer[map[peer.ID]origin] // of Peers
	size    atomic.Int64                       // of the book
	listing atomic.Pointer[directory]

	// Owned by run.
	book          map[peer.ID]*contact
	tasks         *agenda[task]
	ups           int // contacts that are connected
	dialing       int
	strange       int       // of them to peers that nobody has met
	queue         []peer.ID // due, waiting for a slot
	online        bool
	loopback      bool // nobody but this machine can reach us: then its addresses count
	changed       bool // the good addresses differ from what was last remembered
	offersChanged bool
	issued        time.Time      // of our last record
	outdone       bool           // there is a record of ours of that time that says something else
	told          []ma.Multiaddr // what it said
}

func newFinder(h host.Host, l *links, cfg *Config, r *reach, counts *counters) (*finder, error) {
	f := &finder{
		host: h, links: l, clock: cfg.Clock, log: cfg.Logger, counts: counts, remember: cfg.Remember, reach: r,
		carries: cfg.Relay, dhtMode: cfg.DHT, admissible: func() bool { return true }, thin: func() bool { return false },
		mail: newMailbox[findEvent](), book: make(map[peer.ID]*contact),
		tasks: newAgenda[task](), online: true,
	}
	f.want, f.spare = cfg.neighbours()
	f.lonely.Store(true)
	for _, set := range []struct {
		texts []string
		found string
		mark  func(*contact)
	}{
		{cfg.Static, foundStatic, func(c *contact) { c.fixed = true }},
		{cfg.Via, foundVia, func(c *contact) { c.fixed, c.via, c.relay, c.found = true, true, true, foundVia }},
	} {
		infos, err := peersToDial(set.texts)
		if err != nil {
			return nil, err
		}
		for _, info := range infos {
			f.learn(info.ID, info.Addrs, set.found, set.mark)
		}
	}
	for _, r := range cfg.Remembered {
		f.learn(r.Peer.ID, dialable(r.Peer.Addrs, h.ID()), foundRemembered, func(c *contact) { c.good = r.Met })
	}
	return f, nil
}

// newDiscovery puts the finder and its exchanger together.
func (m *Mesh) newDiscovery(cfg *Config) (*finder, error) {
	f, err := newFinder(m.host, m.links, cfg, m.reach, m.counts)
	if err != nil {
		return nil, err
	}
	tag := m.links.desk.tag
	f.dhtName = directoryName(derive("directory", cfg.Trust.MeshID()))
	f.sign = func(issued time.Time, addrs []ma.Multiaddr) ([]byte, error) {
		return signRecord(cfg.Transport, tag, issued, cfg.Relay, addrs)
	}
	f.exchange = &exchanger{
		host: m.host, tag: tag, clock: cfg.Clock, log: cfg.Logger, counts: m.counts,
		hear:   func(h heard) { f.mail.put(findEvent{kind: findHeard, heard: h}) },
		blame:  m.defence.blame,
		purses: make(map[peer.ID]*purse),
	}
	f.thin = m.Thrift
	f.letGo = func(p peer.ID) {
		f.dials.Go(func() {
			if err := f.host.Network().ClosePeer(p); err != nil {
				f.log.Debug("letting a neighbour go", "error", err)
			}
		})
	}
	if !cfg.Unsafe.NoAdmission {
		f.admissible = func() bool { return len(cfg.Ticket()) > 0 }
	}
	// Without a record of our own nobody could be asked.
	return f, f.renew()
}

// run dials until ctx ends, then waits for the dials under way.
func (f *finder) run(ctx context.Context) {
	defer f.close()
	f.look()
	f.tasks.set(task{toExplore, ""}, jitter(explorePause))
	f.tasks.set(task{toTell, ""}, 0)
	for ctx.Err() == nil {
		passed := f.tasks.wait(f.clock, f.mail.wake, ctx.Done())
		for _, t := range f.tasks.advance(passed) {
			f.due(ctx, t)
		}
		for _, e := range f.mail.take() {
			f.handle(e)
		}
		f.start(ctx)
		f.publish()
	}
}

// close waits for what run began.
func (f *finder) close() {
	f.dials.Wait()
	if d := f.listing.Swap(nil); d != nil {
		if err := d.close(); err != nil {
			f.log.Warn("the directory did not end well", "error", err)
		}
	}
}

// publish hands on what changed in this turn.
func (f *finder) publish() {
	f.size.Store(int64(len(f.book)))
	f.lonely.Store(f.ups == 0)
	if f.offersChanged {
		f.offersChanged = false
		f.offer()
	}
	if f.changed && f.remember != nil {
		f.changed = false
		f.remember(f.good())
	}
}

// due does a task whose time has come.
func (f *finder) due(ctx context.Context, t task) {
	if !f.online && t.kind != toExplore {
		return // setOnline plans it again
	}
	c := f.book[t.peer]
	switch t.kind {
	case toDial:
		if !f.admissible() {
			f.tasks.set(t, jitter(ticketPause)) // everybody would refuse us
			return
		}
		f.enqueue(t.peer)
	case toExchange:
		if c != nil && c.up {
			f.askFor(ctx, t.peer, c)
		}
	case toReserve:
		if c != nil && c.up {
			f.reserve(ctx, t.peer, c)
		}
	case toUpgrade:
		if c != nil && c.up {
			f.upgrade(ctx, t.peer, c)
		}
	case toExplore:
		f.tasks.set(t, jitter(f.explorePeriod()))
		if f.online {
			f.explore()
		}
	case toTell:
		f.tell()
	case toLookUp:
		f.lookUp(ctx)
	}
}

func (f *finder) handle(e findEvent) {
	switch e.kind {
	case findSeen:
		f.learn(e.peer, f.dialable(e.addrs), foundMulticast, nil)
	case findListed:
		f.learn(e.peer, f.dialable(e.addrs), foundDirectory, nil)
	case findKnown:
		if c := f.learn(e.peer, f.dialable(e.addrs), foundCaller, nil); c != nil {
			f.known(e.peer, c, &e)
		}
	case findUp:
		f.up(e.peer, e.hearing)
	case findDown:
		f.down(e.peer)
	case findDialed:
		if e.direct {
			f.upgraded(e.peer, e.err)
			return
		}
		f.dialing--
		if e.stranger {
			f.strange--
		}
		if c := f.book[e.peer]; c != nil && !c.fixed && !c.via && !c.up && reasonOf(e.err) == reasonRevoked {
			f.drop(e.peer) // it will not be let in again
			return
		}
		f.dialed(e.peer)
	case findOnline:
		f.setOnline(e.online)
	case findHeard:
		f.heard(e.heard)
	case findReserved:
		f.reserved(e.peer, e.addrs, e.err)
	case findUnasked:
		f.unasked(e.peer)
	case findHushed:
		f.hushed(e.peer)
	case findMoved:
		f.moved()
	}
}

// setOnline stops dialling, or dials everybody afresh.
func (f *finder) setOnline(online bool) {
	f.online = online
	if online {
		f.afresh()
		f.tasks.set(task{toTell, ""}, 0)
		f.considerDirectory()
		return
	}
	for _, p := range f.queue { // not begun
		if c := f.book[p]; c != nil {
			c.busy, c.explored = false, false
		}
	}
	f.queue = nil
	for p := range f.book {
		f.tasks.drop(task{toDial, p})
	}
}

// afresh dials everybody who is away, at once and as if nothing had failed.
func (f *finder) afresh() {
	for p, c := range f.book {
		c.fails, c.upgradeTry = 0, 0
		if !c.up {
			f.plan(p, c, jitter(redialMin/2))
		} else {
			f.tasks.sooner(task{toUpgrade, p}, jitter(upgradeMin))
		}
	}
}

// moved is called when the machine has other addresses, or another network.
func (f *finder) moved() {
	f.look()
	f.counts.networks.Add(1)
	f.tasks.set(task{toTell, ""}, 0)
	if f.online {
		f.afresh()
	}
}

// look sees whether there is a network beside the machine itself.
func (f *finder) look() {
	addrs, err := f.reach.own()
	if err != nil {
		f.log.Warn("cannot enumerate the network interfaces", "error", err)
	}
	f.loopback = len(addrs) > 0 && !slices.ContainsFunc(addrs, func(a ma.Multiaddr) bool { return !manet.IsIPLoopback(a) })
}

// HandlePeerFound implements mdns.Notifee. Anybody on the local network can say
// anything there; the dial's handshake finds out.
func (f *finder) HandlePeerFound(info peer.AddrInfo) {
	f.mail.put(findEvent{kind: findSeen, peer: info.ID, addrs: info.Addrs})
}

// follow keeps the addresses that admitted peers say they listen on, and the one
// that we reached them at.
func (f *finder) follow(ctx context.Context, sub event.Subscription) {
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-sub.Out():
			if !ok {
				return
			}
			done, ok := e.(event.EvtPeerIdentificationCompleted)
			if !ok {
				continue
			}
			at, ok := reachedAt(done.Conn)
			if !ok {
				at = nil
			}
			f.mail.put(findEvent{
				kind: findKnown, peer: done.Peer, addrs: done.ListenAddrs, at: at,
				relays: slices.Contains(done.Protocols, circuit.ProtoIDv2Hop),
			})
		}
	}
}

// state is said of the finder in Stats.
func (f *finder) state(s *Stats) {
	s.Contacts = int(f.size.Load())
	s.Reservations = f.reach.relays()
	if offers := f.exchange.offers.Load(); offers != nil {
		s.Records = len(*offers)
	}
	if d := f.listing.Load(); d != nil {
		s.DHT, s.DHTPeers = true, d.size()
	}
}
