package mesh

import (
	"slices"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// With the directory a device finds one that it remembers at an address that is no
// longer true, by asking a neighbour that knows.
func TestDirectory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	on := func(cfg *Config) { cfg.DHT = DHTOn }
	hub := w.start(t, quicCarrier, on)
	moved := w.start(t, quicCarrier, func(cfg *Config) { on(cfg); cfg.Static = hub.Addrs() })
	moved.awaitPeer(t, hub)
	poll(t, "the directory of two", func() bool { return hub.Stats().DHTPeers == 1 && moved.Stats().DHTPeers == 1 })
	seeker := w.start(t, quicCarrier, func(cfg *Config) { on(cfg); cfg.Static = hub.Addrs() })
	seeker.awaitPeer(t, hub)
	poll(t, "a place in the directory", func() bool { return seeker.Stats().DHT && seeker.Stats().DHTPeers >= 1 })
	info, err := seeker.finder.listing.Load().table.FindPeer(t.Context(), moved.ID())
	if err != nil || !slices.ContainsFunc(info.Addrs, func(a ma.Multiaddr) bool { return usable(a, "") }) {
		t.Errorf("found %v (%v)", info, err)
	}
}

// In a small mesh nobody needs it, and it can be switched off in a large one.
func TestDirectoryWhenDue(t *testing.T) {
	f := newBook(t)
	f.considerDirectory()
	for n := range directoryFrom - 1 {
		f.book[peer.ID(rune(n))] = &contact{good: true}
	}
	f.book["never met"] = &contact{}
	if f.met() != directoryFrom-1 {
		t.Errorf("%d known", f.met())
	}
	f.considerDirectory()
	f.dhtMode = DHTOff
	f.book["one more"] = &contact{good: true}
	f.considerDirectory()
	if f.listing.Load() != nil {
		t.Error("the directory runs")
	}
}

// What a record or the directory claims about us or about names is not dialled; an
// outsider has no stream to the directory at all (TestIntruderDials).
func TestDirectoryName(t *testing.T) {
	w := newWorld(t)
	a := directoryName(derive("directory", w.home.store.MeshID()))
	b := directoryName(derive("directory", w.foreign.store.MeshID()))
	if a == b || len(a) > 64 {
		t.Errorf("%s and %s", a, b)
	}
}
