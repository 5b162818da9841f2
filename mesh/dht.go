package mesh

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
)

// When the directory is used (Config.DHT).
const (
	DHTAuto = "auto" // once so many devices are known that not everybody can be everybody's neighbour
	DHTOn   = "on"
	DHTOff  = "off"
)

// directory is a private Kademlia table: in a large mesh it finds a device that
// nobody near us knows to have moved. It holds places of devices and nothing else
// (no values, no providers). Its streams exist on admitted connections only, and
// what it says is proved by dialling, like everything that discovery hears.
type directory struct{ table *dht.IpfsDHT }

// directoryName returns the prefix of the directory's protocols. It is a hash of
// the mesh, so that two meshes never join theirs.
func directoryName(tag []byte) protocol.ID { return protocol.ID("/tocsin/" + hex.EncodeToString(tag)) }

func newDirectory(h host.Host, l *links, name protocol.ID) (*directory, error) {
	table, err := dht.New(trustingHost{h, l},
		dht.ProtocolPrefix(name),
		dht.Mode(dht.ModeServer),
		dht.DisableProviders(), dht.DisableValues(),
		dht.RoutingTableFilter(func(_ any, p peer.ID) bool { return l.trusted(p) }),
		dht.QueryFilter(func(_ any, info peer.AddrInfo) bool { return info.ID != h.ID() && !l.hearing(info.ID) }),
		dht.AddressFilter(func(addrs []ma.Multiaddr) []ma.Multiaddr {
			addrs = dialable(addrs, h.ID())
			return addrs[:min(len(addrs), maxAddrsPerContact)]
		}),
		dht.Concurrency(directoryQueries), dht.Resiliency(directoryQueries),
		dht.RoutingTableRefreshPeriod(directoryRefresh),
		dht.RoutingTableRefreshQueryTimeout(dialTimeout),
	)
	if err != nil {
		return nil, fmt.Errorf("mesh: directory: %w", err)
	}
	return &directory{table: table}, nil
}

// trustingHost has the directory answer nobody who is connected only to hear of its
// wipe order.
type trustingHost struct {
	host.Host
	links *links
}

// SetStreamHandler implements host.Host.
func (h trustingHost) SetStreamHandler(id protocol.ID, handle network.StreamHandler) {
	h.Host.SetStreamHandler(id, h.links.unlessHearing(handle))
}

// forget takes p out of the table.
func (d *directory) forget(p peer.ID) { d.table.RoutingTable().RemovePeer(p) }

func (d *directory) close() error { return d.table.Close() }

// size returns how many devices are in our part of the table.
func (d *directory) size() int { return d.table.RoutingTable().Size() }

// considerDirectory starts the directory when it is due, and plans its use.
func (f *finder) considerDirectory() {
	if f.dhtMode == DHTOff {
		return
	}
	if f.listing.Load() != nil {
		f.tasks.sooner(task{toLookUp, ""}, jitter(directoryPause))
		return
	}
	if f.dhtMode != DHTOn && f.met() < directoryFrom {
		return
	}
	d, err := newDirectory(f.host, f.links, f.dhtName)
	if err != nil {
		// There are other ways to find devices.
		f.log.Warn("cannot use the directory of devices", "error", err)
		f.dhtMode = DHTOff
		return
	}
	f.listing.Store(d)
	f.tasks.sooner(task{toLookUp, ""}, jitter(directoryPause))
}

// met returns how many devices we know to exist: met, or named by somebody.
func (f *finder) met() int {
	n := 0
	for _, c := range f.book {
		if c.good || c.record != nil {
			n++
		}
	}
	return n
}

// lookUp asks the directory for one device that we have met and cannot reach, and
// learns of those in our part of the table.
func (f *finder) lookUp(ctx context.Context) {
	d := f.listing.Load()
	if d == nil {
		return
	}
	f.tasks.set(task{toLookUp, ""}, jitter(directoryPause))
	lost := slices.DeleteFunc(slices.Collect(maps.Keys(f.book)), func(p peer.ID) bool {
		c := f.book[p]
		return c.up || c.fails == 0 || !c.good && !c.fixed
	})
	if f.ups < f.want {
		for _, p := range d.table.RoutingTable().ListPeers() {
			f.mail.put(findEvent{kind: findListed, peer: p, addrs: f.host.Peerstore().Addrs(p)})
		}
	}
	if len(lost) == 0 {
		return
	}
	p := lost[rand.N(len(lost))]
	f.dials.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, lookUpTimeout)
		defer cancel()
		info, err := d.table.FindPeer(ctx, p)
		if err != nil {
			f.log.Debug("not in the directory", "error", err)
			return
		}
		f.mail.put(findEvent{kind: findListed, peer: info.ID, addrs: info.Addrs})
	})
}
