package mesh

import (
	"context"
	"encoding/base32"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"tocsin/crypto/identity"
)

// serviceName returns the multicast DNS service of a mesh. It is a hash, so that
// a listener on the local network learns neither the mesh nor the program from it. It has
// 14 characters; RFC 6335 §5.1 allows 15.
func serviceName(id identity.MeshID) string {
	text := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(derive("mdns", id)[:8])
	return "_t" + strings.ToLower(text) + "._udp"
}

// interfaceState is what the machine's network looks like: its addresses, and a
// text that differs whenever an interface or address came, went, or changed.
type interfaceState struct {
	addrs []netip.Addr
	text  string
}

// readInterfaces asks the system.
func readInterfaces() (interfaceState, error) {
	var s interfaceState
	all, err := net.Interfaces()
	if err != nil {
		return s, err
	}
	var lines []string
	for _, i := range all {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			return s, err
		}
		lines = append(lines, i.Name+" "+(i.Flags&(net.FlagUp|net.FlagRunning|net.FlagMulticast)).String())
		for _, a := range addrs {
			lines = append(lines, i.Name+" "+a.String())
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				s.addrs = append(s.addrs, p.Addr().Unmap())
			}
		}
	}
	slices.Sort(lines)
	s.text = strings.Join(lines, "\n")
	return s, nil
}

// watcher follows the machine's network interfaces. When they change it closes
// the connections that stood on an address that is gone, so that nobody waits for
// them; it begins multicast anew, which libp2p binds to the interfaces of the moment;
// and it has the finder dial everybody afresh.
type watcher struct {
	host   host.Host
	links  *links
	clock  Clock
	log    *slog.Logger
	finder *finder
	read   func() (interfaceState, error)
	name   string // of the multicast service; "" without multicast
	wake   chan struct{}
	online atomic.Bool

	// Owned by run.
	last    interfaceState
	service mdns.Service // nil while multicast is off
	since   time.Duration
	failed  bool // the last look failed
}

func newWatcher(h host.Host, l *links, cfg *Config, f *finder) *watcher {
	w := &watcher{
		host: h, links: l, clock: cfg.Clock, log: cfg.Logger, finder: f,
		read: readInterfaces, wake: make(chan struct{}, 1),
	}
	if cfg.MDNS {
		w.name = serviceName(cfg.Trust.MeshID())
	}
	w.online.Store(true)
	return w
}

// now has the interfaces looked at at once.
func (w *watcher) now() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// NetworkChanged has the machine's network interfaces looked at now. They are
// looked at every few seconds anyway; call it where the system tells of a change.
func (m *Mesh) NetworkChanged() { m.watcher.now() }

func (w *watcher) setOnline(online bool) {
	w.online.Store(online)
	w.now()
}

// run follows the interfaces until ctx ends.
func (w *watcher) run(ctx context.Context) {
	defer w.stopMulticast()
	w.see()
	w.multicast(true)
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		case <-w.clock.After(jitter(lookInterval)):
			w.since += lookInterval
		}
		changed := w.see()
		w.multicast(changed)
		if changed {
			w.finder.mail.put(findEvent{kind: findMoved})
		}
	}
}

// see looks at the interfaces and reports whether they changed.
func (w *watcher) see() bool {
	s, err := w.read()
	if err != nil {
		if !w.failed {
			w.log.Warn("cannot enumerate the network interfaces; a change of network is noticed late", "error", err)
		}
		w.failed = true
		return false
	}
	w.failed = false
	before := w.last
	w.last = s
	if before.text == "" || before.text == s.text {
		return false
	}
	w.dropStranded(before, s)
	return true
}

// dropStranded closes the connections that stand on an address that the machine had
// and has no more. Nothing can come in on them, and libp2p would wait for half a minute.
func (w *watcher) dropStranded(before, now interfaceState) {
	for _, k := range w.links.snapshot() {
		at, ok := localOf(k.conn)
		if ok && slices.Contains(before.addrs, at) && !slices.Contains(now.addrs, at) {
			k.conn.CloseWithError(network.ConnShutdown)
		}
	}
}

// localOf returns our own IP address of a connection.
func localOf(c network.ConnMultiaddrs) (netip.Addr, bool) {
	ip, err := manet.ToIP(c.LocalMultiaddr())
	if err != nil {
		return netip.Addr{}, false
	}
	at, ok := netip.AddrFromSlice(ip)
	return at.Unmap(), ok
}

// multicast keeps the service running while we are online, and begins it anew when
// the interfaces have changed or it is time.
func (w *watcher) multicast(changed bool) {
	if w.name == "" {
		return
	}
	if !w.online.Load() {
		w.stopMulticast() // it would go on announcing us
		return
	}
	again := multicastAgain
	if w.finder.lonely.Load() {
		again = multicastLonely
	}
	if w.service != nil && !changed && w.since < again {
		return
	}
	w.stopMulticast()
	w.since = 0
	s := mdns.NewMdnsService(mdnsHost{w.host, w.finder.reach}, w.name, w.finder)
	if err := s.Start(); err != nil {
		// A device without a local network still has its other peers; the next look
		// tries again.
		w.log.Debug("cannot look for devices by multicast", "error", err)
		return
	}
	w.service = s
}

func (w *watcher) stopMulticast() {
	if w.service == nil {
		return
	}
	if err := w.service.Close(); err != nil {
		w.log.Debug("ending multicast", "error", err)
	}
	w.service = nil
}

// mdnsHost is a host whose addresses are those of this moment: libp2p's own list
// may be a minute old.
type mdnsHost struct {
	host.Host
	reach *reach
}

// Network implements host.Host.
func (h mdnsHost) Network() network.Network { return mdnsNetwork{h.Host.Network(), h.reach} }

type mdnsNetwork struct {
	network.Network
	reach *reach
}

// InterfaceListenAddresses implements network.Network.
func (n mdnsNetwork) InterfaceListenAddresses() ([]ma.Multiaddr, error) {
	addrs, err := n.reach.own()
	if err != nil {
		return nil, err
	}
	if len(addrs) == 0 {
		return nil, errors.New("mesh: no address to announce")
	}
	return addrs, nil
}
