package mesh

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// This file is what the finder does about devices that are connected: whom it has
// for neighbours, what it asks them, and how it gets past relays.

// origin is how a neighbour was found.
type origin struct {
	found      string
	introducer peer.ID
	relays     bool
}

// up takes a peer in as a neighbour.
func (f *finder) up(p peer.ID, hearing bool) {
	c := f.learn(p, nil, foundCaller, func(c *contact) {
		if !c.up {
			f.ups++
		}
		c.up, c.hearing, c.fails, c.upgradeTry = true, hearing, 0, 0
		if !hearing {
			f.markGood(c)
		}
	})
	if c == nil {
		return
	}
	f.offersChanged = true
	f.tasks.drop(task{toDial, p})
	if hearing {
		f.hushed(p)
		return
	}
	f.tasks.set(task{toExchange, p}, jitter(exchangeSoon))
	f.tasks.set(task{toUpgrade, p}, jitter(upgradeMin))
	if c.told != nil {
		f.known(p, c, c.told)
	}
	f.noteOrigins()
	f.considerDirectory()
}

// known takes what a neighbour told of itself when it was connected; of one whose
// connection is not known of yet it is kept until then.
func (f *finder) known(p peer.ID, c *contact, e *findEvent) {
	if !c.up {
		c.told = e
		return
	}
	c.told = nil
	if e.at != nil && len(f.dialable([]ma.Multiaddr{e.at})) > 0 && c.prove(e.at) {
		f.changed = true
	}
	c.relay = c.relay || e.relays
	f.considerRelay(p, c)
}

// hushed is told of a neighbour that may only hear of its wipe order: nothing is asked
// of it, and nobody is told of it, until it is connected without.
func (f *finder) hushed(p peer.ID) {
	c := f.book[p]
	if c == nil {
		return
	}
	c.hearing, f.offersChanged = true, true
	for _, k := range []taskKind{toExchange, toUpgrade, toReserve} {
		f.tasks.drop(task{k, p})
	}
	f.noteOrigins()
	f.lostRelay(p, c)
	if d := f.listing.Load(); d != nil {
		d.forget(p)
	}
}

// down plans how a neighbour is found again.
func (f *finder) down(p peer.ID) {
	c := f.book[p]
	if c == nil || !c.up {
		return
	}
	c.up, c.asked = false, false
	f.ups--
	f.offersChanged = true
	for _, k := range []taskKind{toExchange, toUpgrade, toReserve} {
		f.tasks.drop(task{k, p})
	}
	f.noteOrigins()
	f.lostRelay(p, c)
	f.exchange.prune()
	if f.ups == f.want-1 {
		f.fill() // there are too few again
	}
	f.plan(p, c, jitter(redialMin))
}

// fill plans dials of everybody who is not connected, spread over a while.
func (f *finder) fill() {
	for p, c := range f.book {
		f.plan(p, c, rand.N(redialMax))
	}
}

// noteOrigins tells Peers how its neighbours were found.
func (f *finder) noteOrigins() {
	m := make(map[peer.ID]origin, f.ups)
	for p, c := range f.book {
		if c.up {
			m[p] = origin{c.found, c.introducer, c.relay}
		}
	}
	f.origins.Store(&m)
}

// origin returns how p was found; the zero value while that is not noted yet.
func (f *finder) origin(p peer.ID) origin {
	if m := f.origins.Load(); m != nil {
		return (*m)[p]
	}
	return origin{}
}

func (f *finder) markGood(c *contact) {
	if !c.good {
		c.good, f.changed, f.offersChanged = true, true, true
	}
}

// explore dials one contact at random although there are neighbours enough: two
// parts of a large mesh that have enough within themselves find each other only
// so. Where that makes too many, others at random are let go.
func (f *finder) explore() {
	if f.ups < f.want {
		return
	}
	away := slices.DeleteFunc(slices.Collect(maps.Keys(f.book)), func(p peer.ID) bool {
		c := f.book[p]
		return c.up || c.busy || !c.reachable()
	})
	if len(away) > 0 {
		p := away[rand.N(len(away))]
		f.book[p].explored = true
		f.enqueue(p)
	}
	f.shed()
}

// explorePeriod is the wait between two such dials: in a large mesh longer, so that all of it
// together explores as often.
func (f *finder) explorePeriod() time.Duration {
	known := 0
	for _, c := range f.book {
		if !c.stranger() { // strangers may be anybody's invention
			known++
		}
	}
	return explorePause * time.Duration(min(max(known/f.want, 1), maxExplorePauses))
}

// shed lets some of the neighbours go that are too many, at random. Others dial us just as we dial
// others, and whose configuration names us comes back: one at a time would be too few.
func (f *finder) shed() {
	over := min(f.ups-f.want-f.spare, maxShed)
	if over <= 0 || f.carries {
		return
	}
	spare := slices.DeleteFunc(slices.Collect(maps.Keys(f.book)), func(p peer.ID) bool {
		c := f.book[p]
		return !c.up || c.fixed || c.relay || c.reserved
	})
	rand.Shuffle(len(spare), func(i, j int) { spare[i], spare[j] = spare[j], spare[i] })
	for _, p := range spare[:min(over, len(spare))] {
		f.letGo(p)
	}
}

// askFor runs an exchange with a neighbour and plans the next. The first brings
// many records, the later ones a few: they only keep up.
func (f *finder) askFor(ctx context.Context, p peer.ID, c *contact) {
	want, next := exchangeAgain, exchangeInterval
	if !c.asked {
		want = maxExchanged
	}
	c.asked = true
	switch {
	case f.ups < minPeers:
		want, next = maxExchanged, exchangeLonely
	case f.thin():
		next *= thriftRounds
	}
	f.tasks.set(task{toExchange, p}, jitter(next))
	f.dials.Go(func() {
		if err := f.exchange.ask(ctx, p, want); err != nil && !broke(err) {
			f.mail.put(findEvent{kind: findUnasked, peer: p})
		}
	})
}

// unasked has an exchange that the network ended tried again soon.
func (f *finder) unasked(p peer.ID) {
	if c := f.book[p]; c != nil && c.up {
		c.asked = false
		f.tasks.set(task{toExchange, p}, jitter(exchangeRetry))
	}
}

// onlyRelayed reports whether all connections to p run through relays.
func (f *finder) onlyRelayed(p peer.ID) bool {
	conns := f.host.Network().ConnsToPeer(p)
	return len(conns) > 0 && !slices.ContainsFunc(conns, func(c network.Conn) bool { return !isCircuit(c.RemoteMultiaddr()) })
}

// upgrade looks for a way to a neighbour past the relay.
func (f *finder) upgrade(ctx context.Context, p peer.ID, c *contact) {
	direct := c.directAddrs()
	if !f.onlyRelayed(p) || len(direct) == 0 {
		return
	}
	f.dials.Go(func() {
		err := f.dial(network.WithForceDirectDial(ctx, "past the relay"), peer.AddrInfo{ID: p, Addrs: direct})
		f.mail.put(findEvent{kind: findDialed, peer: p, err: err, direct: true})
	})
}

// upgraded plans the next try. When it succeeded, the relayed connections were
// closed by what closes all that a newer connection makes useless (links).
func (f *finder) upgraded(p peer.ID, err error) {
	c := f.book[p]
	if c == nil || !c.up || err == nil {
		return
	}
	c.upgradeTry++
	d := upgradeMin << min(c.upgradeTry, 16)
	f.tasks.set(task{toUpgrade, p}, jitter(min(d, upgradeMax)))
}
