package mesh

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// How we came to know a peer (Peer.Found).
const (
	foundStatic     = "static"     // configured
	foundVia        = "via"        // configured as our relay
	foundRemembered = "remembered" // met in an earlier run
	foundMulticast  = "multicast"
	foundExchange   = "exchange" // a neighbour named it
	foundDirectory  = "dht"
	foundCaller     = "" // it came to us
)

// contact is one peer of the address book.
type contact struct {
	// Addresses by who says so, so that nobody's word pushes another's out. set are
	// those of the configuration, proved is where we last reached it ourselves; both are
	// always dialled. addrs are what it told us or signed, newest first.
	set    []ma.Multiaddr
	proved ma.Multiaddr
	addrs  []ma.Multiaddr
	// rumours are what multicast and the directory tell: anybody, or any member, can say
	// anything there. They have few places, the last, and are never written down. The
	// first vain of them were dialled for nothing, and make room for others.
	rumours []ma.Multiaddr
	vain    int

	record *record // what it last signed; nil if we never saw any
	found  string
	// introducer is the neighbour that named it first, where found is foundExchange.
	introducer peer.ID

	fixed bool // from the configuration: dialled for ever
	via   bool // a relay of the configuration
	relay bool // carries for others
	good  bool // was connected, in this run or an earlier one
	up    bool
	// hearing says that it was last connected only to hear of its wipe order.
	hearing bool
	busy    bool // queued or being dialled
	asked   bool // an exchange was had since it is connected
	fails   int

	// Of our reservation at it.
	reserved   bool
	reserving  bool
	reserveTry int // in a row that failed
	upgradeTry int // direct dials in a row that failed while only relayed
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

// hint adds what multicast or the directory says.
func (c *contact) hint(addrs []ma.Multiaddr) {
	known := c.lasting()
	for _, a := range addrs {
		if ma.Contains(known, a) || ma.Contains(c.rumours, a) {
			continue
		}
		if len(c.rumours) == maxRumours {
			if c.vain == 0 {
				return
			}
			c.rumours = slices.Delete(c.rumours, 0, 1)
			c.vain--
		}
		c.rumours = append(c.rumours, a)
	}
}

// prove notes where we reached it, and reports whether that is new.
func (c *contact) prove(at ma.Multiaddr) bool {
	news := !ma.Contains(c.lasting(), at)
	c.proved = at
	return news
}

// lasting returns the addresses that are worth keeping, the surest first.
func (c *contact) lasting() []ma.Multiaddr {
	var out []ma.Multiaddr
	if c.proved != nil {
		out = append(out, c.proved)
	}
	for _, a := range slices.Concat(c.set, c.addrs) {
		if !ma.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// all returns the addresses to dial.
func (c *contact) all() []ma.Multiaddr {
	out := c.lasting()
	for _, a := range c.rumours {
		if !ma.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// reachable reports whether there is an address to dial.
func (c *contact) reachable() bool {
	return c.proved != nil || len(c.set)+len(c.addrs)+len(c.rumours) > 0
}

// replace makes what a record says the addresses, and reports whether they are
// others than before. An address of the configuration stays, and so does the one
// that we reached it at: the device itself may not know it, behind a router.
func (c *contact) replace(addrs []ma.Multiaddr) bool {
	if len(addrs) == 0 {
		return false // it is reached by nobody, or only by what we cannot speak
	}
	all := slices.Clone(addrs)
	if c.up { // what it told us of itself on this connection counts too, as far as there is room
		for _, a := range c.addrs {
			if !ma.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	all = all[:min(len(all), maxAddrsPerContact)]
	same := len(all) == len(c.addrs) && !slices.ContainsFunc(all, func(a ma.Multiaddr) bool { return !ma.Contains(c.addrs, a) })
	if !same {
		c.addrs = all
	}
	return !same
}

// keep says that the contact is never pushed out of the book.
func (c *contact) keep() bool { return c.fixed || c.via || c.up || c.busy }

// stranger says that nobody but others has told of it.
func (c *contact) stranger() bool { return !c.fixed && !c.via && !c.good }

// directAddrs returns the addresses that need no relay.
func (c *contact) directAddrs() []ma.Multiaddr {
	return slices.DeleteFunc(c.all(), isCircuit)
}

func isCircuit(a ma.Multiaddr) bool {
	_, err := a.ValueForProtocol(ma.P_CIRCUIT)
	return err == nil
}

// learn adds addresses of a peer to the book and plans a dial. It returns nil for
// ourselves, and where the book is full of better ones.
func (f *finder) learn(p peer.ID, addrs []ma.Multiaddr, found string, mark func(*contact)) *contact {
	if p == f.host.ID() || p == "" {
		return nil
	}
	c := f.book[p]
	if c == nil {
		if hearsay(found) && !f.makeRoomFor(found) || len(f.book) >= maxContacts && !f.makeRoom() {
			return nil
		}
		c = &contact{found: found}
		f.book[p] = c
	}
	if mark != nil {
		mark(c)
	}
	switch {
	case hearsay(found):
		c.hint(addrs)
		if c.fails > 0 { // not as often as anybody likes to shout
			f.plan(p, c, jitter(backoff(c.fails)))
			return c
		}
	case found == foundStatic || found == foundVia:
		for _, a := range addrs {
			if !ma.Contains(c.set, a) {
				c.set = append(c.set, a)
			}
		}
	default:
		if c.add(addrs) && c.good {
			f.changed = true
		}
	}
	f.plan(p, c, jitter(redialMin/2))
	return c
}

// plan has a contact dialled in d, unless it is planned earlier or need not be.
func (f *finder) plan(p peer.ID, c *contact, d time.Duration) {
	if !c.up && !c.busy && c.reachable() && f.wanted(c) {
		f.tasks.sooner(task{toDial, p}, d)
	}
}

// wanted reports whether a contact is worth a dial of its own: those of the
// configuration always, others while we have too few neighbours. In a small mesh
// everybody becomes everybody's neighbour.
func (f *finder) wanted(c *contact) bool { return c.fixed || c.via || f.ups < wantPeers }

// hearsay reports whether found is a source that proves nothing of who is told of.
func hearsay(found string) bool { return found == foundMulticast || found == foundDirectory }

// makeRoomFor keeps what one such source has told of and that was never met within
// bounds: for another one, one that does not answer is forgotten, or there is no place.
func (f *finder) makeRoomFor(found string) bool {
	var worst peer.ID
	n := 0
	for p, c := range f.book {
		if c.found != found || !c.stranger() || c.up {
			continue
		}
		n++
		if w := f.book[worst]; !c.busy && c.fails > 0 && (w == nil || c.fails > w.fails) {
			worst = p
		}
	}
	if n < maxHearsay {
		return true
	}
	if worst == "" {
		return false
	}
	f.drop(worst)
	return true
}

// makeRoom forgets one peer: one that was never any good and does not answer, else
// one that has not answered for long, else another that was never any good, else the one
// that has failed most often in a row.
func (f *finder) makeRoom() bool {
	rank := func(c *contact) int {
		switch {
		case !c.good && c.fails > 0:
			return 0
		case c.fails >= longGone:
			return 1
		case !c.good:
			return 2
		}
		return 3
	}
	var worst peer.ID
	for p, c := range f.book {
		if c.keep() {
			continue
		}
		w := f.book[worst]
		if w == nil || rank(c) < rank(w) || rank(c) == rank(w) && c.fails > w.fails {
			worst = p
		}
	}
	if worst == "" {
		return false
	}
	f.drop(worst)
	return true
}

// drop forgets a contact.
func (f *finder) drop(p peer.ID) {
	if c := f.book[p]; c != nil && (c.record != nil || c.good || c.found == foundRemembered) {
		f.changed = true
	}
	delete(f.book, p)
	for k := range taskKinds {
		f.tasks.drop(task{k, p})
	}
	f.offersChanged = true
}

// heard takes what an exchange brought: the neighbour's own record, and those of
// others that it hands on. A neighbour can name only so many that we have not met, so
// that one that invents devices cannot fill the book or have us dial for it
// without end.
func (f *finder) heard(h heard) {
	if c := f.book[h.from]; c != nil && c.hearing {
		return
	}
	strangers := 0
	for _, c := range f.book {
		if c.introducer == h.from && !c.good {
			strangers++
		}
	}
	now := f.clock.Now()
	for _, r := range h.records {
		c := f.book[r.peer]
		own := r.peer == h.from
		switch {
		case r.peer == f.host.ID():
			f.outdo(r)
			continue
		case !own && !r.timely(now):
			f.counts.recordsStale.Add(1)
			continue
		case c != nil && c.record != nil && !own && c.record.issued >= r.issued && c.record.timely(now):
			continue // known, or older than what we know
		case c == nil && !own && strangers >= maxIntroduced:
			f.counts.recordsRefused.Add(1)
			continue
		case c == nil:
			if c = f.learn(r.peer, nil, foundExchange, nil); c == nil {
				f.counts.recordsRefused.Add(1)
				continue
			}
			if !own {
				c.introducer = h.from
				strangers++
			}
		}
		f.apply(r, c)
	}
}

// apply makes a record that is newer what we know of its device.
func (f *finder) apply(r *record, c *contact) {
	if c.record == nil || c.record.issued != r.issued || !bytes.Equal(c.record.raw, r.raw) {
		f.offersChanged = true
	}
	moved := c.replace(f.dialable(r.addrs))
	c.record, c.relay = r, r.relays
	if moved {
		f.changed = true
		if !c.stranger() {
			c.fails = 0
		}
	}
	switch {
	case c.fails == 0:
		f.plan(r.peer, c, jitter(redialMin/2))
	case moved: // whoever invents devices can give them addresses without end
		f.plan(r.peer, c, jitter(f.backoff(c)))
	}
	if c.up {
		f.considerRelay(r.peer, c)
	}
}

// good returns the addresses worth keeping, in a stable order. Devices that were
// named by record belong to them although they were not met yet: the one that named
// them may be gone at the next start. Those that do not answer are dropped within a
// minute, and from here with it.
func (f *finder) good() []Remembered {
	var out []Remembered
	for p, c := range f.book {
		addrs := c.lasting()
		if (c.good || c.record != nil || c.found == foundRemembered) && len(addrs) > 0 {
			info := peer.AddrInfo{ID: p, Addrs: addrs[:min(len(addrs), maxAddrsPerContact)]}
			out = append(out, Remembered{Peer: info, Met: c.good})
		}
	}
	// Relays first, then those that are connected: they are the last to lose.
	rank := func(p peer.ID) int {
		switch c := f.book[p]; {
		case c.relay && c.up:
			return 0
		case c.up:
			return 1
		case c.good:
			return 2
		}
		return 3
	}
	slices.SortFunc(out, func(a, b Remembered) int {
		if d := rank(a.Peer.ID) - rank(b.Peer.ID); d != 0 {
			return d
		}
		return bytes.Compare([]byte(a.Peer.ID), []byte(b.Peer.ID))
	})
	return out[:min(len(out), maxRemembered)]
}

// offer hands the exchanger what may be handed on.
func (f *finder) offer() {
	offers := make([]offer, 0, len(f.book))
	for _, c := range f.book {
		// Only those we have met: we vouch for nobody whom we do not know.
		if c.record != nil && c.good && !c.hearing {
			offers = append(offers, offer{record: c.record, up: c.up})
		}
	}
	f.exchange.offers.Store(&offers)
}

// reachedAt is the address of a peer that we have proved to work: where we dialled it.
func reachedAt(c network.Conn) (ma.Multiaddr, bool) {
	return c.RemoteMultiaddr(), c.Stat().Direction == network.DirOutbound
}

// usable reports whether a may be dialled: an IP address with a transport of
// ours, or the same of a relay and a circuit through it. Names are not: an
// admitted device could make us resolve any. self is our own peer id.
func usable(a ma.Multiaddr, self peer.ID) bool {
	if relay, ok := relayOf(a); ok {
		at, circuit := ma.SplitFunc(a, func(c ma.Component) bool { return c.Protocol().Code == ma.P_P2P })
		return relay != self && len(circuit) == 2 && usable(at, self)
	}
	if len(a) < 2 || len(a) > 3 || len(a.Bytes()) > maxAddrBytes {
		return false
	}
	switch first := a[0]; first.Protocol().Code {
	case ma.P_IP4, ma.P_IP6:
		if ip, ok := netip.AddrFromSlice(first.RawValue()); !ok || ip.IsUnspecified() || ip.IsMulticast() {
			return false
		}
	default:
		return false
	}
	return dialableTransport(a[1:])
}

// dialableTransport reports whether the rest of an address names a transport of ours.
func dialableTransport(rest ma.Multiaddr) bool {
	code := func(i int) int { return rest[i].Protocol().Code }
	switch len(rest) {
	case 1:
		return code(0) == ma.P_TCP
	case 2:
		return code(0) == ma.P_TCP && code(1) == ma.P_WS || code(0) == ma.P_UDP && code(1) == ma.P_QUIC_V1
	}
	return false
}

// dialable drops the addresses that are not usable.
func dialable(addrs []ma.Multiaddr, self peer.ID) []ma.Multiaddr {
	return slices.DeleteFunc(slices.Clone(addrs), func(a ma.Multiaddr) bool { return !usable(a, self) })
}
