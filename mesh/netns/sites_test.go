//go:build linux

package netns

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// contact is how long after they have contact again everybody has everything.
const contact = 30 * time.Second

// siteRate is what a site's cable carries, in kilobits a second: a radio link
// between buildings, not a lab's.
const siteRate = 10_000

// network is a bed with devices that run on it and talk.
type network struct {
	*bed
	*talk
	spare []*device // enrolled, and not running yet
	boot  *peer     // the one device that others were told of
	// backlog is how many routine messages pile up in each spell apart.
	backlog int
	// last are the ids of the newest messages of priority stat: by the author of the
	// backlog, and by another one.
	last   []string
	behind map[string]bool
	number int
}

// mayPass is how many routine messages of an author may come before one of his that cannot wait: half
// of the backlog. What was in the windows of gossip when the way was cut cannot be overtaken any
// more; that is 8 KiB to each neighbour, 13 messages, more where a window has grown, and
// three after the other one has passed: 28 at most on a machine that is at leisure. Beyond that
// the rest waits, but for no longer than headersTime and claimTime (package node), which a
// starved machine outlasts: with forty other processes up to 77 were seen.
func (n *network) mayPass() int { return n.backlog / 2 }

// newNetwork runs some devices at each of some sites, and more are enrolled. Only
// the first of each site is told of anybody: of the first of the first site.
// Those of one site find each other by multicast.
func newNetwork(t *testing.T, sites, each, spare, backlog int) *network {
	t.Helper()
	n := &network{bed: newBed(t, sites, siteRate), backlog: backlog}
	devices, _ := cast(t, sites*each+spare)
	n.spare = devices[sites*each:]
	var peers []*peer
	for i := range sites * each {
		site := n.sites[i/each]
		flags := listenAll()
		if i%each == 0 && i > 0 {
			flags = append(flags, "--peer", n.boot.by([]string{"quic", "tcp"}[i/each%2], i/each%3 == 0))
		}
		p := up(t, devices[i], site.plug(t), flags...)
		if peers = append(peers, p); i == 0 {
			n.boot = p
		}
	}
	t.Logf("%d devices know each other after %v", len(peers), know(t, time.Minute, peers).Round(lookEvery))
	n.talk = newTalk(t, peers)
	n.say(t, peers[len(peers)-1-each], "urgent", "Water is over the quay.")
	t.Logf("the first message is everywhere after %v", n.everything(t, contact).Round(lookEvery))
	return n
}

// at returns the peers of some sites.
func (n *network) at(sites ...*site) []*peer {
	var found []*peer
	for _, p := range n.peers {
		for _, s := range sites {
			if p.at.site == s {
				found = append(found, p)
			}
		}
	}
	return found
}

// spell is a time of being apart.
type spell struct {
	name string
	// sides are those who can talk with each other meanwhile.
	sides [][]*peer
	lasts time.Duration
	// oneWay: what is said elsewhere may reach the first side, but not the other way.
	oneWay bool
	cut    func(*testing.T)
	heal   func(*testing.T)
}

// through plays a spell: each side says something, which stays there, a pile of
// routine messages and then one that cannot wait; and when they meet again,
// everybody has everything soon, and what cannot wait does not wait.
func (n *network) through(t *testing.T, s spell) {
	t.Helper()
	whole := false
	t.Run(s.name, func(t *testing.T) {
		began := time.Now()
		s.cut(t)
		n.number++
		said := make([]map[string]bool, len(s.sides))
		for i, side := range s.sides {
			said[i] = map[string]bool{n.say(t, side[len(side)-1], "routine", fmt.Sprintf("Spell %d on side %d: all well here.", n.number, i)): true}
		}
		n.pile(t, s.sides[0])
		for _, id := range n.last {
			said[0][id] = true
		}
		for i, side := range s.sides {
			until(t, contact, func() string { return n.lack(t, side, said[i]) })
		}
		during(t, s.lasts-time.Since(began), func() string { return n.crossed(t, s, said) })
		if wrong := n.crossed(t, s, said); wrong != "" {
			t.Fatal(wrong)
		}
		apart := time.Since(began)
		s.heal(t)
		took := n.everything(t, contact)
		t.Logf("after %v apart everybody has all %d messages within %v", apart.Round(lookEvery), len(n.said), took.Round(lookEvery))
		for i, whose := range []string{"the author of the backlog", "another author"} {
			most, longest := 0, time.Duration(0)
			for _, side := range s.sides[1:] {
				for _, p := range side {
					count, after := n.ahead(t, p, n.last[i], n.behind)
					if most, longest = max(most, count), max(longest, after); count > n.mayPass() {
						t.Errorf("at %s %d of %d routine messages came before the one of priority stat by %s, which came %v after the first of them",
							p.first(), count, n.backlog, whose, after)
					}
				}
			}
			t.Logf("of %d routine messages at most %d came before the one of priority stat by %s, which came at most %v after the first",
				n.backlog, most, whose, longest.Round(lookEvery))
		}
		whole = true
	})
	if !whole {
		t.FailNow() // the rest would build on it
	}
}

// pile has a peer say many routine things, and then it and another one something
// that cannot wait.
func (n *network) pile(t *testing.T, side []*peer) {
	t.Helper()
	n.behind = map[string]bool{}
	for i := range n.backlog {
		n.behind[n.say(t, side[0], "routine", fmt.Sprintf("Spell %d, note %d: nothing that could not wait.", n.number, i))] = true
	}
	n.last = []string{
		n.say(t, side[0], "stat", fmt.Sprintf("Spell %d: clear the ground floor now.", n.number)),
		n.say(t, side[len(side)-1], "stat", fmt.Sprintf("Spell %d: and the cellar.", n.number)),
	}
}

// lack names one of the peers who does not show one of the messages.
func (n *network) lack(t *testing.T, peers []*peer, ids map[string]bool) string {
	t.Helper()
	for _, p := range peers {
		shown := 0
		for _, m := range n.messages(t, p) {
			if ids[m.ID] {
				shown++
			}
		}
		if shown < len(ids) {
			return fmt.Sprintf("%s shows %d of %d messages of its own side", p.first(), shown, len(ids))
		}
	}
	return ""
}

// crossed names a message that came to a side that has no contact: then the test's
// network is not as cut as it says, and what follows proves nothing.
func (n *network) crossed(t *testing.T, s spell, said []map[string]bool) string {
	t.Helper()
	for i, side := range s.sides {
		if s.oneWay && i == 0 {
			continue
		}
		for _, m := range n.messages(t, side[0]) {
			for j := range said {
				if j != i && said[j][m.ID] {
					return fmt.Sprintf("%q of side %d reached side %d, which is cut off", m.Text, j, i)
				}
			}
		}
	}
	return ""
}

// TestSites is four sites of three devices each, which are cut apart for longer than
// connections survive, and robbed of their router and of the one device that all were
// told of. The short form has two sites of two.
func TestSites(t *testing.T) {
	needed(t)
	alongside(t)
	sites, each, backlog, long := 2, 2, 100, 5*time.Second
	if all {
		// Longer than connections survive, and longer than gossip remembers.
		sites, each, backlog, long = 4, 3, 200, 75*time.Second
	}
	n := newNetwork(t, sites, each, 1, backlog)
	n.through(t, spell{name: fmt.Sprintf("cut into %d", sites), sides: n.every(), lasts: long, cut: n.allDown, heal: n.allUp})
	n.through(t, spell{name: "the only router killed", sides: n.every(), lasts: 8 * time.Second, cut: n.killCore, heal: n.replaceCore})
	n.bootstrapGone(t, long)
	n.newcomer(t)
}

// TestSitesInPart is another four sites of three, which are cut in part, one way
// only, and given other addresses.
func TestSitesInPart(t *testing.T) {
	needed(t)
	if !all {
		return // TestSites is the short form of both
	}
	n := newNetwork(t, 4, 3, 0, 200)
	n.through(t, spell{name: "one-way", sides: [][]*peer{n.at(n.sites[1]), n.at(n.sites[0], n.sites[2], n.sites[3])}, lasts: 20 * time.Second,
		oneWay: true, cut: n.rule(`iifname "site2" drop`), heal: n.rule()})
	n.through(t, spell{name: "cut into two", sides: [][]*peer{n.at(n.sites[:2]...), n.at(n.sites[2:]...)}, lasts: 45 * time.Second,
		cut:  n.rule(`iifname { "site1", "site2" } oifname { "site3", "site4" } drop`, `iifname { "site3", "site4" } oifname { "site1", "site2" } drop`),
		heal: n.rule()})
	n.through(t, spell{name: "re-addressed", sides: n.every(), lasts: 8 * time.Second, cut: n.allDown, heal: func(t *testing.T) {
		n.sites[0].readdress(t, 20)
		n.sites[2].readdress(t, 30)
		n.allUp(t)
	}})
}

// every returns the peers by site.
func (n *network) every() (sides [][]*peer) {
	for _, s := range n.sites {
		sides = append(sides, n.at(s))
	}
	return sides
}

// allDown and allUp put every cable to the core down or up.
func (n *network) allDown(t *testing.T) {
	t.Helper()
	for _, s := range n.sites {
		n.setUp(t, s, false)
	}
}

func (n *network) allUp(t *testing.T) {
	t.Helper()
	for _, s := range n.sites {
		n.setUp(t, s, true)
	}
}

// rule returns what has the core drop packets by some rules, or none.
func (n *network) rule(rules ...string) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		n.drop(t, rules...)
	}
}

// killCore takes the router away that joins the sites, with everything it knew.
func (n *network) killCore(t *testing.T) {
	t.Helper()
	if err := n.core.remove(); err != nil {
		t.Fatal(err)
	}
	// The kernel removes the other ends of its cables with it, soon.
	for _, s := range n.sites {
		until(t, startTime, func() string {
			if s.router.run("", "ip", "link", "show", "wan") == nil {
				return "the cable to a router that is gone is still there"
			}
			return ""
		})
	}
}

// replaceCore puts another router in the place of one that is gone.
func (n *network) replaceCore(t *testing.T) {
	t.Helper()
	n.newCore(t)
	for _, s := range n.sites {
		n.connect(t, s)
	}
}

// bootstrapGone takes the one device away that all were told of, for good.
func (n *network) bootstrapGone(t *testing.T, lasts time.Duration) {
	t.Helper()
	n.boot.kill(t)
	n.peers = slices.DeleteFunc(n.peers, func(p *peer) bool { return p == n.boot })
	n.through(t, spell{name: "the only bootstrap gone", sides: n.every(), lasts: lasts, cut: n.allDown, heal: n.allUp})
}

// newcomer has a device join that was told of one other, which is nobody's
// bootstrap and at another site, and does not look round by itself. Later that one
// is gone too, and the newcomer comes back through others that it remembers.
func (n *network) newcomer(t *testing.T) {
	t.Helper()
	site := n.sites[len(n.sites)-1]
	var told *peer
	for _, p := range n.at(n.sites[:len(n.sites)-1]...) {
		told = p // the last one of the site before
	}
	machine := site.plug(t)
	fresh := up(t, n.spare[0], machine, append(listenAll(), "--mdns=false", "--peer", told.by("tcp", false))...)
	with := append(slices.Clone(n.peers), fresh)
	t.Logf("a newcomer who was told of %s knows all others after %v", told.first(), know(t, 2*contact, with).Round(lookEvery))
	if _, err := n.admin.client.AddMember(t.Context(), n.group, fresh.person); err != nil {
		t.Fatal(err)
	}
	until(t, contact, func() string { // who has not heard of it yet seals to those who were there before
		for _, p := range with {
			if !n.counts(t, p, fresh) {
				return p.first() + " does not know that the newcomer is in the group"
			}
		}
		return ""
	})
	later := &talk{group: n.group, admin: n.admin, peers: with, said: map[string]string{}}
	later.say(t, fresh, "routine", "Just arrived. Where can I help?")
	later.say(t, told, "stat", "At the back entrance, now.")
	t.Logf("what the newcomer says and is told is everywhere after %v", later.reach(t, contact).Round(lookEvery))

	fresh.kill(t)
	told.kill(t)
	n.peers = slices.DeleteFunc(n.peers, func(p *peer) bool { return p == told })
	back := later.say(t, n.peers[0], "routine", "The one who was told of is gone.")
	fresh = up(t, n.spare[0], machine, append(listenAll(), "--mdns=false")...)
	later.peers = append(slices.Clone(n.peers), fresh)
	later.say(t, fresh, "urgent", "Back again.")
	t.Logf("through others that it remembers it has everything after %v", later.reach(t, contact).Round(lookEvery))
	if _, ok := later.shows(t, fresh, back); !ok {
		t.Error("what was said while the newcomer was away has not come")
	}
}
