package mesh

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// How a device dials whom it knows: in which order, how often, and what becomes of it.

// dialable drops the addresses that cannot or must not be dialled, and those of the
// machine itself unless that is all the network there is.
func (f *finder) dialable(addrs []ma.Multiaddr) []ma.Multiaddr {
	out := dialable(addrs, f.host.ID())
	if f.loopback {
		return out
	}
	return slices.DeleteFunc(out, manet.IsIPLoopback)
}

// dialed plans the next dial after one has ended.
func (f *finder) dialed(p peer.ID) {
	c := f.book[p]
	if c == nil {
		return
	}
	c.busy, c.explored = false, false
	if c.up {
		c.fails = 0
		return
	}
	// Without an error it was there and has gone again: it refused us, for a QUIC
	// dialler is told so only after the dial.
	c.fails++
	c.vain = len(c.rumours)
	if c.stranger() && c.fails >= maxStrangerFailures {
		f.drop(p) // whoever told of it will do so again
		return
	}
	f.plan(p, c, jitter(f.backoff(c)))
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

// backoff is the same where so many contacts are away that dialling all of them
// every redialMax would cost too much. Strangers, of whom anybody can invent any number,
// make the others wait no longer.
func (f *finder) backoff(c *contact) time.Duration {
	d := backoff(c.fails)
	if d < redialMax {
		return d
	}
	away := 0
	for _, o := range f.book {
		if !o.up && (c.stranger() || !o.stranger()) {
			away++
		}
	}
	return max(d, time.Duration(away)*redialSpacing)
}

// enqueue queues a dial.
func (f *finder) enqueue(p peer.ID) {
	c := f.book[p]
	if c == nil || c.up || c.busy || !f.online || !c.reachable() {
		return
	}
	c.busy = true
	f.queue = append(f.queue, p)
}

// start begins as many queued dials as there are slots for.
func (f *finder) start(ctx context.Context) {
	for {
		p, c := f.next()
		if c == nil {
			return
		}
		info, stranger := peer.AddrInfo{ID: p, Addrs: c.all()}, c.stranger()
		f.dialing++
		if stranger {
			f.strange++
		}
		f.dials.Go(func() {
			f.mail.put(findEvent{kind: findDialed, peer: p, err: f.dial(ctx, info), stranger: stranger})
		})
	}
}

// next takes from the queue whom to dial, if there is a slot: those of the
// configuration and those that we have met first. Strangers, who may be anybody's
// invention, have half of the slots only.
func (f *finder) next() (peer.ID, *contact) {
	f.queue = slices.DeleteFunc(f.queue, func(p peer.ID) bool { return f.book[p] == nil || f.needless(f.book[p]) })
	if len(f.queue) == 0 || f.dialing >= maxDials {
		return "", nil
	}
	i := slices.IndexFunc(f.queue, func(p peer.ID) bool { return !f.book[p].stranger() })
	if i < 0 {
		if i = 0; f.strange >= min(maxStrangeDials, (f.want+1)/2) {
			return "", nil
		}
	}
	p := f.queue[i]
	f.queue = slices.Delete(f.queue, i, i+1)
	return p, f.book[p]
}

// needless reports whether a queued dial is one too many by now, for others have brought more
// neighbours than are kept, and then takes it back: it is planned again when there are too few.
func (f *finder) needless(c *contact) bool {
	if c.explored || c.fixed || c.via || f.ups < f.want+f.spare {
		return false
	}
	c.busy = false
	return true
}

func (f *finder) dial(ctx context.Context, info peer.AddrInfo) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	// libp2p has a backoff of its own that grows to minutes; ours is the one that
	// knows how soon a mesh must re-form.
	f.clearBackoff(info.ID)
	f.counts.dials.Add(1)
	// The circuit's own dial of its relay has 5 s, too few on a bad link, and a backoff.
	warming, warmed := context.WithCancel(ctx)
	var relays sync.WaitGroup
	for _, relay := range f.relaysOf(info.Addrs) {
		relays.Go(func() {
			if err := f.host.Connect(warming, relay); err != nil {
				f.log.Debug("the relay of a circuit is not reached", "error", err)
			}
		})
	}
	err := f.host.Connect(ctx, info)
	if err == nil {
		warmed()
	}
	relays.Wait() // so that the next dial finds the relay connected
	warmed()
	if err != nil {
		f.counts.dialsFailed.Add(1)
		f.log.Debug("dial failed", "error", err)
	}
	return err
}

// clearBackoff has libp2p forget that dials of p failed.
func (f *finder) clearBackoff(p peer.ID) {
	if s, ok := f.host.Network().(interface{ Backoff() *swarm.DialBackoff }); ok {
		s.Backoff().Clear(p)
	}
}

// relaysOf returns the relays of the circuits among addrs that we are not connected
// to, ready to be dialled.
func (f *finder) relaysOf(addrs []ma.Multiaddr) []peer.AddrInfo {
	var out []peer.AddrInfo
	for _, a := range addrs {
		relay, ok := relayOf(a)
		if !ok || relay == f.host.ID() || f.host.Network().Connectedness(relay) == network.Connected {
			continue
		}
		at, _ := ma.SplitFunc(a, func(c ma.Component) bool { return c.Protocol().Code == ma.P_P2P })
		i := slices.IndexFunc(out, func(o peer.AddrInfo) bool { return o.ID == relay })
		switch {
		case i >= 0:
			out[i].Addrs = append(out[i].Addrs, at)
		case len(out) < maxCircuitAddrs:
			f.clearBackoff(relay)
			out = append(out, peer.AddrInfo{ID: relay, Addrs: []ma.Multiaddr{at}})
		}
	}
	return out
}
