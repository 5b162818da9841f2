package mesh

import (
	"bytes"
	"context"
	"encoding/base32"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ma "github.com/multiformats/go-multiaddr"

	"tocsin/crypto/identity"
)

// serviceName returns the multicast DNS service of a mesh. It is a hash, so that
// a listener on the local network learns neither the mesh nor the program from it. It has
// 14 characters; RFC 6335 §5.1 allows 15.
func serviceName(id identity.MeshID) string {
	text := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(derive("mdns", id)[:8])
	return "_t" + strings.ToLower(text) + "._udp"
}

// findEvent is what the rest of the mesh tells discovery.
type findEvent struct {
	kind   findEventKind
	peer   peer.ID
	addrs  []ma.Multiaddr
	dialed error
	online bool
}

type findEventKind uint8

const (
	findSeen   findEventKind = iota // multicast told of a peer and its addresses
	findUp                          // first connection to peer
	findDown                        // last connection gone
	findKnown                       // an admitted peer told us where it listens
	findDialed                      // a dial ended
	findOnline                      // SetOnline
)

// finder dials. It keeps an address book of static, remembered and discovered peers
// and redials those that are not connected, with backoff and jitter. The
// goroutine run owns the book; everybody else talks to it through the mailbox.
type finder struct {
	host     host.Host
	clock    Clock
	log      *slog.Logger
	counts   *counters
	remember func([]peer.AddrInfo)

	mail  *mailbox[findEvent]
	dials sync.WaitGroup

	// Owned by run.
	book    map[peer.ID]*contact
	redial  *agenda[peer.ID]
	dialing int
	queue   []peer.ID // due, waiting for a slot
	online  bool
	changed bool // the good addresses differ from what was last remembered
}

// contact is one peer of the address book.
type contact struct {
	addrs []ma.Multiaddr // newest first
	fixed bool           // from the configuration: dialled for ever
	good  bool           // was connected, in this run or an earlier one
	up    bool
	busy  bool // queued or being dialled
	fails int
}

func newFinder(h host.Host, cfg *Config, counts *counters) (*finder, error) {
	static, err := cfg.staticPeers()
	if err != nil {
		return nil, err
	}
	f := &finder{
		host: h, clock: cfg.Clock, log: cfg.Logger, counts: counts, remember: cfg.Remember,
		mail: newMailbox[findEvent](), book: make(map[peer.ID]*contact),
		redial: newAgenda[peer.ID](), online: true,
	}
	for _, info := range static {
		f.learn(info.ID, info.Addrs, func(c *contact) { c.fixed = true })
	}
	for _, info := range cfg.Remembered {
		f.learn(info.ID, info.Addrs, func(c *contact) { c.good = true })
	}
	return f, nil
}

// learn adds addresses of a peer to the book and plans a dial.
func (f *finder) learn(p peer.ID, addrs []ma.Multiaddr, mark func(*contact)) {
	if p == f.host.ID() || p == "" {
		return
	}
	c := f.book[p]
	if c == nil {
		if len(f.book) >= maxContacts && !f.makeRoom() {
			return
		}
		c = &contact{}
		f.book[p] = c
	}
	if mark != nil {
		mark(c)
	}
	if c.add(addrs) && c.good {
		f.changed = true
	}
	if !c.up && !c.busy {
		f.redial.sooner(p, jitter(redialMin/2))
	}
}

// add puts the addresses that are new in front and reports whether there were
// any. Known ones keep their places: a peer tells of its addresses in any order, and
// that is no change worth writing down.
func (c *contact) add(addrs []ma.Multiaddr) bool {
	var fresh []ma.Multiaddr
	for _, a := range addrs {
		if len(fresh) < maxAddrsPerContact && !ma.Contains(c.addrs, a) && !ma.Contains(fresh, a) {
			fresh = append(fresh, a)
		}
	}
	if len(fresh) == 0 {
		return false
	}
	all := append(fresh, c.addrs...)
	c.addrs = all[:min(len(all), maxAddrsPerContact)]
	return true
}

// makeRoom forgets one peer that was never any good.
func (f *finder) makeRoom() bool {
	for p, c := range f.book {
		if !c.fixed && !c.good && !c.up && !c.busy {
			delete(f.book, p)
			f.redial.drop(p)
			return true
		}
	}
	return false
}

// run dials until ctx ends, then waits for the dials under way.
func (f *finder) run(ctx context.Context) {
	defer f.dials.Wait()
	for ctx.Err() == nil {
		passed := f.redial.wait(f.clock, f.mail.wake, ctx.Done())
		for _, p := range f.redial.advance(passed) {
			f.due(p)
		}
		for _, e := range f.mail.take() {
			f.handle(e)
		}
		f.start(ctx)
		if f.changed && f.remember != nil {
			f.changed = false
			f.remember(f.good())
		}
	}
}

func (f *finder) handle(e findEvent) {
	switch e.kind {
	case findSeen:
		f.learn(e.peer, e.addrs, nil)
	case findKnown:
		f.learn(e.peer, e.addrs, f.markGood)
	case findUp:
		f.learn(e.peer, nil, func(c *contact) { c.up, c.fails = true, 0; f.markGood(c) })
		f.redial.drop(e.peer)
	case findDown:
		if c := f.book[e.peer]; c != nil {
			c.up = false
			f.redial.set(e.peer, jitter(redialMin))
		}
	case findDialed:
		f.dialing--
		f.dialed(e.peer, e.dialed)
	case findOnline:
		f.setOnline(e.online)
	}
}

func (f *finder) markGood(c *contact) {
	if !c.good {
		c.good, f.changed = true, true
	}
}

// dialed plans the next dial after one has ended.
func (f *finder) dialed(p peer.ID, err error) {
	c := f.book[p]
	if c == nil {
		return
	}
	c.busy = false
	if err == nil || c.up {
		c.fails = 0
		if !c.up {
			// It may have gone again before we were told that it came.
			f.redial.sooner(p, redialMax)
		}
		return
	}
	c.fails++
	if !c.fixed && !c.good && c.fails >= maxStrangerFailures {
		delete(f.book, p) // multicast will tell of it again
		return
	}
	f.redial.set(p, jitter(backoff(c.fails)))
}

// backoff returns the wait after the given number of failures in a row.
func backoff(fails int) time.Duration {
	d := redialMin
	for range fails {
		if d *= 2; d >= redialMax {
			return redialMax
		}
	}
	return d
}

// setOnline stops dialling, or dials everybody afresh.
func (f *finder) setOnline(online bool) {
	f.online = online
	for p, c := range f.book {
		if !online {
			f.redial.drop(p)
			continue
		}
		c.fails = 0
		if !c.up && !c.busy {
			f.redial.set(p, jitter(redialMin/2))
		}
	}
}

// due queues a dial.
func (f *finder) due(p peer.ID) {
	c := f.book[p]
	if c == nil || c.up || c.busy || !f.online || len(c.addrs) == 0 {
		return
	}
	c.busy = true
	f.queue = append(f.queue, p)
}

// start begins as many queued dials as there are slots for.
func (f *finder) start(ctx context.Context) {
	for len(f.queue) > 0 && f.dialing < maxDials {
		p := f.queue[0]
		f.queue = f.queue[1:]
		info := peer.AddrInfo{ID: p, Addrs: slices.Clone(f.book[p].addrs)}
		f.dialing++
		f.dials.Go(func() {
			f.mail.put(findEvent{kind: findDialed, peer: p, dialed: f.dial(ctx, info)})
		})
	}
}

func (f *finder) dial(ctx context.Context, info peer.AddrInfo) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	// libp2p has a backoff of its own that grows to minutes; ours is the one that
	// knows how soon a mesh must re-form.
	if s, ok := f.host.Network().(interface{ Backoff() *swarm.DialBackoff }); ok {
		s.Backoff().Clear(info.ID)
	}
	f.counts.dials.Add(1)
	err := f.host.Connect(ctx, info)
	if err != nil {
		f.counts.dialsFailed.Add(1)
		f.log.Debug("dial failed", "error", err)
	}
	return err
}

// good returns the addresses worth keeping, in a stable order.
func (f *finder) good() []peer.AddrInfo {
	var out []peer.AddrInfo
	for p, c := range f.book {
		if c.good && len(c.addrs) > 0 {
			out = append(out, peer.AddrInfo{ID: p, Addrs: slices.Clone(c.addrs)})
		}
	}
	// Connected ones first: they are the last to lose.
	slices.SortFunc(out, func(a, b peer.AddrInfo) int {
		if x, y := f.book[a.ID].up, f.book[b.ID].up; x != y {
			if x {
				return -1
			}
			return 1
		}
		return bytes.Compare([]byte(a.ID), []byte(b.ID))
	})
	return out[:min(len(out), maxRemembered)]
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
			addrs := done.ListenAddrs
			if done.Conn.Stat().Direction == network.DirOutbound {
				addrs = append([]ma.Multiaddr{done.Conn.RemoteMultiaddr()}, addrs...)
			}
			f.mail.put(findEvent{kind: findKnown, peer: done.Peer, addrs: dialable(addrs)})
		}
	}
}

// dialable drops what cannot or must not be dialled: unspecified and relayed
// addresses, and names (a device that is admitted could make us resolve any).
func dialable(addrs []ma.Multiaddr) []ma.Multiaddr {
	return slices.DeleteFunc(slices.Clone(addrs), func(a ma.Multiaddr) bool {
		first, _ := ma.SplitFirst(a)
		if first == nil || (first.Protocol().Code != ma.P_IP4 && first.Protocol().Code != ma.P_IP6) {
			return true
		}
		if first.Value() == "0.0.0.0" || first.Value() == "::" {
			return true
		}
		_, err := a.ValueForProtocol(ma.P_CIRCUIT)
		return !errors.Is(err, ma.ErrProtocolNotFound)
	})
}

// startMDNS begins to announce and to look. libp2p takes the interfaces as they are now;
// following a change of network means starting it again, which is not done yet.
func startMDNS(h host.Host, id identity.MeshID, f *finder) (mdns.Service, error) {
	s := mdns.NewMdnsService(h, serviceName(id), f)
	if err := s.Start(); err != nil {
		return nil, err
	}
	return s, nil
}
