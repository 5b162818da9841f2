package mesh

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// place names one connection from the handshake on, before libp2p has made an
// object of it: the proven peer and the two ends.
type place struct {
	peer          peer.ID
	local, remote string
}

func placeOf(c network.ConnMultiaddrs, p peer.ID) place {
	return place{peer: p, local: c.LocalMultiaddr().String(), remote: c.RemoteMultiaddr().String()}
}

// link is one open connection and what it was admitted on.
type link struct {
	conn  network.Conn
	proof *proof
	since time.Time // by our clock, for display
	// hearing says that the peer was let in for no more than to hear of its wipe order.
	hearing bool
	// up is set once the swarm has announced the connection. Before that it must
	// not be closed through libp2p's object.
	up bool
}

// links knows every admitted connection. It is the connection gater too: a
// connection that comes to it without a proof of admission is closed, whatever
// transport it came by. The handshake leaves the proof with expect, and
// InterceptUpgraded picks it up.
type links struct {
	desk *desk

	mu      sync.Mutex
	online  bool
	pending map[place][]*awaited // two QUIC connections may share a place for a moment
	awaited map[peer.ID]int      // how many are pending
	open    map[string]*link     // by network.Conn.ID
	peers   map[peer.ID]int      // number of links that are up

	// watchMu spans the decision to give a notice and the notice, so that notices
	// of one peer come in the order of what they tell. It is taken before mu; no
	// connection is closed under it, for Close may call Disconnected.
	watchMu sync.Mutex
	told    map[peer.ID]bool // peers of which watch was last told that they are up
	// watch is told of the first connection to a peer and of the end of the last. Set before
	// the host listens. Called under watchMu without mu, must not block.
	watch func(p peer.ID, up bool)
	// barred reports whether a peer was cut off. Set before the host listens; must
	// not block.
	barred func(p peer.ID) bool
	// visited is told of each connection that a peer has opened to us, once it stands, and
	// whether another of it is closed for that. Set before the host listens; must not block.
	visited func(p peer.ID, instead bool)
	// hushed is told of a connected peer that from now on may only hear of its wipe order.
	// Set before the host listens; must not block.
	hushed func(p peer.ID)
}

// awaited is the proof of a connection that the swarm has not seen yet.
type awaited struct {
	*proof
	old bool // it was here at the last sweep
}

func newLinks(d *desk) *links {
	return &links{
		desk: d, online: true,
		pending: make(map[place][]*awaited),
		awaited: make(map[peer.ID]int),
		open:    make(map[string]*link),
		peers:   make(map[peer.ID]int),
		told:    make(map[peer.ID]bool),
	}
}

// expect records the proof of a connection that the swarm is about to see. It is an
// error where too many of that peer wait: libp2p may give a connection up after the
// handshake and tell nobody, so that a member could have us keep proofs without end.
func (l *links) expect(at place, p *proof) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.awaited[at.peer] >= maxAwaited {
		return refused(reasonBusy, errors.New("too many connections of one device on the way up"))
	}
	l.setPending(at, append(l.pending[at], &awaited{proof: p}))
	return nil
}

// forget drops p if nobody picked it up.
func (l *links) forget(at place, p *proof) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setPending(at, slices.DeleteFunc(slices.Clone(l.pending[at]), func(held *awaited) bool { return held.proof == p }))
}

// sweep drops the proofs that were here at the last sweep already: nobody picks them
// up any more.
func (l *links) sweep() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for at, held := range l.pending {
		kept := slices.DeleteFunc(slices.Clone(held), func(w *awaited) bool { return w.old })
		for _, w := range kept {
			w.old = true
		}
		l.setPending(at, kept)
	}
}

// setPending leaves no empty list behind. l.mu is held.
func (l *links) setPending(at place, proofs []*awaited) {
	n := l.awaited[at.peer] + len(proofs) - len(l.pending[at])
	if l.awaited[at.peer] = n; n == 0 {
		delete(l.awaited, at.peer)
	}
	if len(proofs) == 0 {
		delete(l.pending, at)
		return
	}
	l.pending[at] = proofs
}

func (l *links) isOnline() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.online
}

// The connection gater.

// InterceptPeerDial implements connmgr.ConnectionGater.
func (l *links) InterceptPeerDial(p peer.ID) bool { return l.isOnline() && !l.isBarred(p) }

// InterceptAddrDial implements connmgr.ConnectionGater.
func (l *links) InterceptAddrDial(peer.ID, ma.Multiaddr) bool { return l.isOnline() }

// InterceptAccept implements connmgr.ConnectionGater.
func (l *links) InterceptAccept(network.ConnMultiaddrs) bool {
	l.desk.counts.knocks.Add(1)
	if l.isOnline() {
		return true
	}
	l.desk.counts.refuse(reasonOffline)
	return false
}

// InterceptSecured implements connmgr.ConnectionGater.
func (l *links) InterceptSecured(network.Direction, peer.ID, network.ConnMultiaddrs) bool {
	return l.isOnline()
}

// InterceptUpgraded implements connmgr.ConnectionGater: the last gate, through
// which every connection passes before anybody is told of it.
func (l *links) InterceptUpgraded(c network.Conn) (bool, control.DisconnectReason) {
	barred := l.isBarred(c.RemotePeer())
	at := placeOf(c, c.RemotePeer())
	l.mu.Lock()
	defer l.mu.Unlock()
	var p *proof
	waiting := l.pending[at]
	ok := len(waiting) > 0
	if ok {
		p = waiting[0].proof
		l.setPending(at, waiting[1:])
	}
	switch {
	case !l.online:
		l.desk.counts.refuse(reasonOffline)
		return false, 0
	case barred:
		l.desk.counts.refuse(reasonCut)
		return false, 0
	case c.Stat().Limited:
		// A relay that allows a while and some bytes only: gossip ignores such a
		// connection, so that it would stand for a neighbour that hears nothing.
		l.desk.counts.refuse(reasonLimited)
		return false, 0
	case !ok && l.desk.open:
		p = &proof{peer: c.RemotePeer()}
	case !ok:
		l.desk.counts.refuse(reasonNoProof)
		return false, 0
	}
	l.open[c.ID()] = &link{conn: c, proof: p, since: l.desk.clock.Now(), hearing: p.adm != nil && p.adm.Hearing}
	return true, 0
}

// The swarm's notifications.

// Connected implements network.Notifiee. Streams start after it returns.
func (l *links) Connected(_ network.Network, c network.Conn) {
	p, dead, ok := l.connect(c)
	if !ok {
		c.Close() // we went offline between the gate and here, or it lapsed
		return
	}
	if len(dead) == 0 {
		return
	}
	for _, conn := range dead {
		conn.CloseWithError(network.ConnShutdown)
	}
	l.watchMu.Lock()
	defer l.watchMu.Unlock()
	l.settle(p)
}

// connect counts c in and gives notice. It returns the connections that are to
// be closed before the peer is up again, and false if c may not stay.
func (l *links) connect(c network.Conn) (p peer.ID, dead []network.Conn, ok bool) {
	l.watchMu.Lock()
	defer l.watchMu.Unlock()
	l.mu.Lock()
	k := l.open[c.ID()]
	if k == nil || !l.online {
		l.mu.Unlock()
		return "", nil, false
	}
	p = k.proof.peer
	k.up = true
	l.peers[p]++
	dead = l.useless(k)
	l.mu.Unlock()
	if l.visited != nil && c.Stat().Direction == network.DirInbound {
		l.visited(p, len(dead) > 0)
	}
	// A recheck that ran since the handshake saw nothing of this connection; one that
	// runs from here on sees it.
	if k.proof.checked != l.desk.checks.Load() {
		if err := l.verify(k); err != nil {
			return "", nil, false
		}
	}
	switch {
	case len(dead) == 0:
		l.settle(p)
	case l.told[p]:
		// It is another process now, which knows nothing of what we told the last.
		l.tell(p, false)
	}
	return p, dead, true
}

// settle gives the notice that is due, if any. l.watchMu is held.
func (l *links) settle(p peer.ID) {
	if up := l.admitted(p); up != l.told[p] {
		l.tell(p, up)
	}
}

// tell gives notice. l.watchMu is held.
func (l *links) tell(p peer.ID, up bool) {
	if up {
		l.told[p] = true
	} else {
		delete(l.told, p)
	}
	l.watch(p, up)
}

// useless returns the connections of k's peer that are dead now that k is here. A
// device dials only whom it is not connected to, or to get past a relay; so what
// is older is a connection of an earlier run (it was killed), one that stood on an address
// that it has no more, or a relayed one that is not needed any longer. Waiting
// for such a connection to time out would cost half a minute in which we talk
// to nobody. Two that open at about the same time are two dials that crossed. A run of
// zeros is none: without admission (Unsafe) some connections tell of no run.
// l.mu is held.
func (l *links) useless(k *link) []network.Conn {
	none := [runSize]byte{}
	if k.proof.run == none {
		return nil
	}
	var dead []network.Conn
	for _, other := range l.open {
		if !other.up || other == k || other.proof.peer != k.proof.peer || other.proof.run == none {
			continue
		}
		if other.proof.run != k.proof.run || k.since.Sub(other.since).Abs() > staleAfter {
			dead = append(dead, other.conn)
		}
	}
	return dead
}

// Disconnected implements network.Notifiee.
func (l *links) Disconnected(_ network.Network, c network.Conn) {
	l.watchMu.Lock()
	defer l.watchMu.Unlock()
	l.mu.Lock()
	k := l.open[c.ID()]
	delete(l.open, c.ID())
	last := false
	if k != nil && k.up {
		l.peers[k.proof.peer]--
		if last = l.peers[k.proof.peer] == 0; last {
			delete(l.peers, k.proof.peer)
		}
	}
	l.mu.Unlock()
	if last {
		l.settle(k.proof.peer)
	}
}

// Listen implements network.Notifiee.
func (l *links) Listen(network.Network, ma.Multiaddr) {}

// ListenClose implements network.Notifiee.
func (l *links) ListenClose(network.Network, ma.Multiaddr) {}

// admitted reports whether a connection to p is open.
func (l *links) admitted(p peer.ID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.peers[p] > 0
}

// hearing reports whether p is connected only to hear of its wipe order: it is to get
// nothing from us that such a device has no need of.
func (l *links) hearing(p peer.ID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range l.open {
		if k.hearing && k.proof.peer == p {
			return true
		}
	}
	return false
}

// trusted reports whether p is admitted, and not only to hear of its wipe order.
func (l *links) trusted(p peer.ID) bool { return l.admitted(p) && !l.hearing(p) }

// unlessHearing is the handler of a protocol that a device under a wipe order has no
// business with.
func (l *links) unlessHearing(handle network.StreamHandler) network.StreamHandler {
	return func(s network.Stream) {
		if l.hearing(s.Conn().RemotePeer()) {
			s.ResetWithError(network.StreamProtocolNegotiationFailed)
			return
		}
		handle(s)
	}
}

// snapshot returns the links that are up, in no order. One that has been closed is
// not, even before the swarm has said so.
func (l *links) snapshot() []*link {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]*link, 0, len(l.open))
	for _, k := range l.open {
		if k.up && !k.conn.IsClosed() {
			out = append(out, k)
		}
	}
	return out
}

// setOnline reports whether the state changed; going offline closes every
// connection.
func (l *links) setOnline(online bool) bool {
	l.mu.Lock()
	changed := l.online != online
	l.online = online
	l.mu.Unlock()
	if changed && !online {
		for _, k := range l.snapshot() {
			k.conn.Close()
		}
	}
	return changed
}

// recheck closes every connection whose chain or ticket no longer verifies,
// and returns how many that were.
func (l *links) recheck() int {
	l.desk.checks.Add(1)
	n := 0
	for _, k := range l.snapshot() {
		if l.verify(k) != nil {
			n++
			k.conn.CloseWithError(network.ConnGated)
		}
	}
	return n
}

// verify looks again at what k was admitted on, and counts a refusal. An order to wipe
// may have come meanwhile: then the device stays for no more than to hear of it.
func (l *links) verify(k *link) error {
	hearing, err := l.desk.recheck(k.proof)
	if err != nil {
		l.desk.refuse(refused(reasonLapsed, err), transportOf(k.conn), k.conn.Stat().Direction == network.DirOutbound)
		return err
	}
	l.mu.Lock()
	news := hearing && !k.hearing
	k.hearing = hearing
	l.mu.Unlock()
	if news && l.hushed != nil {
		l.hushed(k.proof.peer)
	}
	return nil
}
