package mesh

import (
	"bytes"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// reach knows at which addresses this device can be reached. It is safe for
// concurrent use.
type reach struct {
	announce []ma.Multiaddr // of the configuration
	// shown, if set, says what of it others are told. Set before the host stands.
	shown func([]ma.Multiaddr) []ma.Multiaddr

	mu       sync.Mutex
	host     host.Host                  // nil until it stands
	circuits map[peer.ID][]ma.Multiaddr // by relay
}

func newReach(announce []ma.Multiaddr) *reach {
	return &reach{announce: announce, circuits: make(map[peer.ID][]ma.Multiaddr)}
}

func (r *reach) setHost(h host.Host) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.host = h
}

// setRelay keeps the circuit addresses through a relay, or with none forgets it,
// and reports whether that changed anything.
func (r *reach) setRelay(relay peer.ID, addrs []ma.Multiaddr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.circuits[relay]
	if len(addrs) == 0 {
		delete(r.circuits, relay)
	} else {
		r.circuits[relay] = addrs
	}
	return !slices.EqualFunc(old, addrs, ma.Multiaddr.Equal)
}

// relays returns how many relays hold a reservation of ours.
func (r *reach) relays() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.circuits)
}

// own returns where this device listens, on the interfaces as they are at this
// moment (libp2p's list is up to a minute old). Addresses of the machine itself are
// left out where there are others.
func (r *reach) own() ([]ma.Multiaddr, error) {
	r.mu.Lock()
	h := r.host
	r.mu.Unlock()
	if h == nil {
		return nil, nil
	}
	listen := slices.DeleteFunc(h.Network().ListenAddresses(), isCircuit)
	if len(listen) == 0 {
		return nil, nil
	}
	addrs, err := manet.ResolveUnspecifiedAddresses(listen, nil)
	if slices.ContainsFunc(addrs, func(a ma.Multiaddr) bool { return !manet.IsIPLoopback(a) }) {
		addrs = slices.DeleteFunc(addrs, manet.IsIPLoopback)
	}
	return addrs, err
}

// direct returns the addresses that need no relay: those of the configuration, and
// our own.
func (r *reach) direct() ([]ma.Multiaddr, error) {
	addrs := slices.Clone(r.announce)
	own, err := r.own()
	for _, a := range own {
		if !ma.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	return addrs, err
}

// addrs returns all addresses, the direct ones first.
func (r *reach) addrs() ([]ma.Multiaddr, error) {
	addrs, err := r.direct()
	r.mu.Lock()
	defer r.mu.Unlock()
	relays := make([]peer.ID, 0, len(r.circuits))
	for p := range r.circuits {
		relays = append(relays, p)
	}
	slices.SortFunc(relays, func(a, b peer.ID) int { return bytes.Compare([]byte(a), []byte(b)) })
	for _, p := range relays {
		addrs = append(addrs, r.circuits[p]...)
	}
	return addrs, err
}

// toTell returns the addresses that others may know.
func (r *reach) toTell() ([]ma.Multiaddr, error) {
	addrs, err := r.addrs()
	if r.shown != nil {
		addrs = r.shown(addrs)
	}
	return addrs, err
}

// factory is what identify tells admitted neighbours. It may be called before
// the host stands.
func (r *reach) factory(given []ma.Multiaddr) []ma.Multiaddr {
	addrs, err := r.addrs()
	if err != nil || len(addrs) == 0 {
		return given
	}
	return addrs
}

// The finder's part: our own record.

// tell makes a new record of our own when our addresses have changed, and has the
// neighbours told.
func (f *finder) tell() {
	f.tasks.set(task{toTell, ""}, jitter(recordRefresh))
	before := f.exchange.own.Load()
	if err := f.renew(); err != nil {
		f.log.Error("cannot sign our own addresses", "error", err)
		return
	}
	if f.exchange.own.Load() == before {
		return
	}
	for p, c := range f.book {
		if c.up {
			f.tasks.sooner(task{toExchange, p}, jitter(exchangeSoon))
		}
	}
}

// renew signs a new record of our own if the last says something else than is so,
// or is getting old.
func (f *finder) renew() error {
	addrs, err := f.reach.toTell()
	if err != nil {
		f.log.Warn("cannot enumerate the network interfaces", "error", err)
	}
	addrs = chooseOwn(addrs, f.host.ID())
	now := f.clock.Now()
	same := f.exchange.own.Load() != nil && slices.EqualFunc(addrs, f.told, ma.Multiaddr.Equal)
	if same && !f.outdone && now.Sub(f.issued).Abs() < recordLife/4 {
		return nil
	}
	if now.Sub(f.issued) < time.Second {
		now = f.issued.Add(time.Second) // the clock was set back, or it is too soon: the later record counts
	}
	raw, err := f.sign(now, addrs)
	if err != nil {
		return err
	}
	f.issued, f.told, f.outdone = now, addrs, false
	f.exchange.own.Store(&raw)
	return nil
}

// outdo takes a record of our own that somebody kept. Where it is of a later time than our
// last, as after our clock was ahead, others would believe it for days and not what we
// say now: so the next record is later still.
func (f *finder) outdo(r *record) {
	if r.issued <= uint64(max(f.issued.Unix(), 0)) || !r.timely(f.clock.Now()) {
		return
	}
	f.issued, f.outdone = time.Unix(int64(r.issued), 0), true
	f.tasks.set(task{toTell, ""}, 0)
}

// chooseOwn returns what fits of our addresses: circuits last, but a place is kept
// for them.
func chooseOwn(addrs []ma.Multiaddr, self peer.ID) []ma.Multiaddr {
	var direct, circuits []ma.Multiaddr
	for _, a := range dialable(addrs, self) {
		if isCircuit(a) {
			circuits = append(circuits, a)
		} else {
			direct = append(direct, a)
		}
	}
	circuits = circuits[:min(len(circuits), maxCircuitAddrs)]
	return append(direct[:min(len(direct), maxAddrsPerContact-len(circuits))], circuits...)
}
