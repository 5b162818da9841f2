package mesh

import (
	"context"
	"errors"
	"maps"
	"sync"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// reasonCut is why a peer that was cut off is not let in.
const reasonCut = "cut"

// defence joins what is held against neighbours to the connections: who goes too
// far is cut off for a time. It keeps the pace of links too.
type defence struct {
	clock   Clock
	counts  *counters
	links   *links
	conduct *conduct
	extra   func(peer.ID) float64 // Config.Score, may be nil
	pardons bool                  // Unsafe.NoConduct
	mail    *mailbox[peer.ID]     // to be closed

	mu     sync.Mutex
	paces  map[peer.ID]*pace
	visits map[peer.ID]*bucket // of those who came lately
}

func newDefence(cfg *Config, l *links, counts *counters) *defence {
	d := &defence{
		clock: cfg.Clock, counts: counts, links: l, conduct: newConduct(), extra: cfg.Score, pardons: cfg.Unsafe.NoConduct,
		mail: newMailbox[peer.ID](), paces: make(map[peer.ID]*pace), visits: make(map[peer.ID]*bucket),
	}
	l.barred = func(p peer.ID) bool { return d.conduct.barred(p, cfg.Clock.Now()) }
	l.visited = d.visited
	return d
}

// visited counts a connection that p has opened to us. A device that comes and goes all the
// time costs a handshake and a pull each time, and everything that is counted by
// connection begins anew. Where it takes the place of another, that was closed by us: two
// copies of a device do so to each other all the time, and neither is to be cut off for it.
func (d *defence) visited(p peer.ID, instead bool) {
	now, cost := d.clock.Now(), 1.0
	if instead {
		cost = insteadCost
	}
	d.mu.Lock()
	b := d.visits[p]
	if b == nil {
		if len(d.visits) >= maxMarked {
			maps.DeleteFunc(d.visits, func(_ peer.ID, b *bucket) bool { return b.idle(now, visits) })
		}
		b = new(bucket)
		if len(d.visits) < maxMarked {
			d.visits[p] = b
		}
	}
	ok := b.take(now, visits, cost)
	d.mu.Unlock()
	if !ok {
		d.blame(p, blameRestless)
	}
}

// isBarred reports whether p was cut off for now.
func (l *links) isBarred(p peer.ID) bool { return l.barred != nil && l.barred(p) }

// unbarred refuses a peer that was cut off as soon as its key is proved, which spares us
// looking at its credential: it may knock again and again.
func (l *links) unbarred(p peer.ID) error {
	if l.isBarred(p) {
		return refused(reasonCut, errors.New("a peer that was cut off"))
	}
	return nil
}

// blame holds word against p, and cuts it off if that is enough. It never blocks.
func (d *defence) blame(p peer.ID, word string) {
	d.counts.blamed.add(word)
	if d.pardons {
		return
	}
	if !d.conduct.blame(p, d.links.orgOf(p), word, d.clock.Now()) {
		return
	}
	d.counts.cut.add(d.conduct.list()[0].Reason)
	d.mail.put(p)
}

// orgOf returns the organisation of a connected peer.
func (l *links) orgOf(p peer.ID) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range l.open {
		if k.proof.peer == p && k.proof.adm != nil {
			return k.proof.adm.Org
		}
	}
	return ""
}

// score is what gossipsub adds to its own: a stranger is worth nothing.
func (d *defence) score(p peer.ID) float64 {
	if !d.links.admitted(p) {
		return -1000
	}
	if d.pardons {
		return 0
	}
	s := d.conduct.score(p, d.clock.Now())
	if d.extra != nil {
		s += min(d.extra(p), 0)
	}
	return s
}

// run closes the connections of those who were cut off, until ctx ends.
func (d *defence) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.mail.wake:
		}
		for _, p := range d.mail.take() {
			for _, k := range d.links.snapshot() {
				if k.proof.peer == p {
					k.conn.CloseWithError(network.ConnGated)
				}
			}
		}
	}
}

// pace returns what is known of p's link. It is kept until the last connection
// ends.
func (d *defence) pace(p peer.ID) *pace {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.paces[p]
	if k == nil {
		k = newPace(d.clock)
		if d.links.admitted(p) {
			d.paces[p] = k
		}
	}
	return k
}

func (d *defence) forget(p peer.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.paces, p)
}

// Blame tells the mesh that a neighbour did wrong. word is one without content
// by which [Stats].Blamed counts it. It lowers the neighbour's score; enough of
// it within minutes cuts it off ([Mesh.Cuts]).
func (m *Mesh) Blame(p peer.ID, word string) { m.defence.blame(p, word) }

// Cuts returns the last neighbours that were cut off, at most 64, newest first.
func (m *Mesh) Cuts() []Cut { return m.defence.conduct.list() }
