//go:build linux

package netns

import (
	"fmt"
	"testing"
)

// bed is a network of sites round a core. Each site is a bridge in its router's
// namespace, which the machines of the site are plugged into; each router has a
// cable to the core, which routes between sites.
//
//	site s: 10.s.0.0/24 and fd00:s::/64, router .1, machines .10 and up
//	cable:  192.168.s.0/30, core .1, router .2
type bed struct {
	t     *testing.T // at whose end all of it goes
	core  *space
	sites []*site
}

// site is one place with a network of its own.
type site struct {
	number  int // from 1
	subnet  int // second byte of its addresses; its number until it is re-addressed
	router  *space
	ports   int // machines plugged in so far
	plugged []*machine
	nat     bool // its machines go out under the router's address
	rate    int  // of the cable to it, in kilobits a second; 0 means no bound
}

// machine is a namespace with one process of Tocsin in it.
type machine struct {
	*space
	site *site
	host int // last byte of its address
}

func newBed(t *testing.T, sites, rate int) *bed {
	t.Helper()
	b := &bed{t: t}
	b.newCore(t)
	for i := range sites {
		b.sites = append(b.sites, newSite(t, i+1))
		b.sites[i].rate = rate
		b.connect(t, b.sites[i])
	}
	return b
}

// newCore puts a router into the middle. It knows no site yet.
func (b *bed) newCore(t *testing.T) {
	t.Helper()
	var err error
	if b.core, err = makeSpace("core"); err != nil {
		t.Fatal(err)
	}
	b.core.removeAtEnd(b.t)
	routing(t, b.core)
}

func routing(t *testing.T, s *space) {
	t.Helper()
	s.sysctl(t, "ipv4/ip_forward", "1")
	s.sysctl(t, "ipv6/conf/all/forwarding", "1")
}

func newSite(t *testing.T, number int) *site {
	t.Helper()
	s := &site{number: number, subnet: number, router: newSpace(t, fmt.Sprintf("router of site %d", number))}
	routing(t, s.router)
	s.router.ip(t, "link add lan type bridge mcast_snooping 0", "link set lan up")
	s.address(t)
	return s
}

// address gives the router its address on the site's side.
func (s *site) address(t *testing.T) {
	t.Helper()
	s.router.ip(t,
		fmt.Sprintf("address add 10.%d.0.1/24 dev lan", s.subnet),
		fmt.Sprintf("address add fd00:%x::1/64 dev lan nodad", s.subnet))
}

// connect lays the cable between a site and the core, and the routes over it.
func (b *bed) connect(t *testing.T, s *site) {
	t.Helper()
	port := fmt.Sprintf("site%d", s.number)
	cable(t, b.core, port, s.router, "wan")
	b.core.ip(t,
		fmt.Sprintf("address add 192.168.%d.1/30 dev %s", s.number, port),
		fmt.Sprintf("address add fd99:%x::1/64 dev %s nodad", s.number, port),
		fmt.Sprintf("link set %s up", port))
	s.router.ip(t,
		fmt.Sprintf("address add 192.168.%d.2/30 dev wan", s.number),
		fmt.Sprintf("address add fd99:%x::2/64 dev wan nodad", s.number),
		"link set wan up",
		fmt.Sprintf("route add default via 192.168.%d.1", s.number),
		fmt.Sprintf("route add ::/0 via fd99:%x::1", s.number))
	if s.rate > 0 {
		for _, end := range []struct {
			s   *space
			dev string
		}{{b.core, port}, {s.router, "wan"}} {
			if err := end.s.run("", "tc", "qdisc", "replace", "dev", end.dev, "root", "tbf",
				"rate", fmt.Sprintf("%dkbit", s.rate), "burst", "16kb", "latency", "300ms"); err != nil {
				t.Fatal(err)
			}
		}
	}
	b.route(t, s)
}

// route tells the core where a site is. The addresses behind NAT are nobody
// else's business.
func (b *bed) route(t *testing.T, s *site) {
	t.Helper()
	if s.nat {
		return
	}
	b.core.ip(t,
		fmt.Sprintf("route replace 10.%d.0.0/24 via 192.168.%d.2", s.subnet, s.number),
		fmt.Sprintf("route replace fd00:%x::/64 via fd99:%x::2", s.subnet, s.number))
}

// setUp puts a site's cable to the core up or down.
func (b *bed) setUp(t *testing.T, s *site, up bool) {
	t.Helper()
	if !up {
		b.core.ip(t, fmt.Sprintf("link set site%d down", s.number))
		return
	}
	// The routes went with the device.
	b.core.ip(t, fmt.Sprintf("link set site%d up", s.number))
	b.core.ip(t, fmt.Sprintf("address replace fd99:%x::1/64 dev site%d nodad", s.number, s.number))
	b.route(t, s)
}

// plug adds a machine to a site.
func (s *site) plug(t *testing.T) *machine {
	t.Helper()
	m := &machine{site: s, host: 10 + s.ports}
	m.space = newSpace(t, fmt.Sprintf("machine %d of site %d", s.ports+1, s.number))
	s.ports++
	port := fmt.Sprintf("port%d", m.host)
	cable(t, s.router, port, m.space, "eth0")
	s.router.ip(t, fmt.Sprintf("link set %s master lan up", port))
	m.ip(t, "link set eth0 up")
	m.address(t)
	s.plugged = append(s.plugged, m)
	return m
}

// address gives a machine its addresses and its way out.
func (m *machine) address(t *testing.T) {
	t.Helper()
	m.ip(t,
		fmt.Sprintf("address add %s/24 dev eth0", m.ip4()),
		fmt.Sprintf("address add %s/64 dev eth0 nodad", m.ip6()),
		fmt.Sprintf("route replace default via 10.%d.0.1", m.site.subnet),
		fmt.Sprintf("route replace ::/0 via fd00:%x::1", m.site.subnet))
}

func (m *machine) ip4() string { return fmt.Sprintf("10.%d.0.%d", m.site.subnet, m.host) }
func (m *machine) ip6() string { return fmt.Sprintf("fd00:%x::%x", m.site.subnet, m.host) }

// readdress moves a whole site to another network, as a new router or provider
// would: every machine loses its addresses and gets others. The core learns the way
// there when the cable is put up.
func (s *site) readdress(t *testing.T, subnet int) {
	t.Helper()
	s.subnet = subnet
	for _, m := range s.plugged {
		m.ip(t, "address flush dev eth0 scope global")
	}
	s.router.ip(t, "address flush dev lan scope global")
	s.address(t)
	for _, m := range s.plugged {
		m.address(t)
	}
}

// drop has the core drop packets: each rule is what follows in a chain of nft.
func (b *bed) drop(t *testing.T, rules ...string) {
	t.Helper()
	if len(rules) == 0 {
		b.core.nft(t, "")
		return
	}
	chain := "chain forward { type filter hook forward priority 0; policy accept;\n"
	for _, r := range rules {
		chain += r + "\n"
	}
	b.core.nft(t, chain+"}")
}

// masquerade puts a site behind NAT: what its machines begin goes out under the
// address of the router, and nothing that begins outside comes in. It has to
// come before connect.
func (s *site) masquerade(t *testing.T) {
	t.Helper()
	s.nat = true
	s.router.nft(t, `chain nat { type nat hook postrouting priority 100
  oifname "wan" masquerade
}
chain forward { type filter hook forward priority 0
  iifname "wan" ct state new drop
  meta nfproto ipv6 drop
}`)
}
