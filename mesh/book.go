package mesh

import (
	"bytes"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// The address book: who is in it, what is said of them, who is forgotten, and what is
// remembered for the next run.

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
func (f *finder) wanted(c *contact) bool { return c.fixed || c.via || f.ups < f.want }

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
