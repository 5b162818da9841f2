package mesh

import (
	"slices"

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
	// told is what it told of itself before its connection was known of here: the two
	// come by different ways. nil once it was taken.
	told *findEvent
	// hearing says that it was last connected only to hear of its wipe order.
	hearing bool
	busy    bool // queued or being dialled
	// explored says that it is dialled although there are neighbours enough.
	explored bool
	asked    bool // an exchange was had since it is connected
	fails    int

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
