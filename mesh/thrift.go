package mesh

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
)

// SetThrift says whether this device is on a thin link. On, it leaves the topic
// of routine frames, so that none come in by gossip; what is urgent and what
// control says still comes. Its own routine frames go to two neighbours only that are
// not on a thin link themselves, which hand them on; pulls from neighbours are further apart, and nudges wait longer.
// It returns at once and outlasts reconnecting; saying the same twice changes
// nothing.
func (m *Mesh) SetThrift(on bool) {
	if err := m.gossip.setThrift(on); err != nil {
		m.log.Warn("cannot leave or join the topic of routine messages", "thrift", on, "error", err)
	}
	m.refavour()
	m.syncer.thrift.Store(on)
}

// Thrift reports what SetThrift said last.
func (m *Mesh) Thrift() bool { return m.gossip.thrift.Load() }

// setThrift leaves or joins the routine topic.
func (g *gossip) setThrift(on bool) error {
	g.thriftMu.Lock()
	defer g.thriftMu.Unlock()
	if g.thrift.Swap(on) == on {
		return nil
	}
	if on && g.leaveRoutine != nil {
		g.leaveRoutine()
		g.leaveRoutine = nil
		return nil
	}
	if !on && g.leaveRoutine == nil {
		leave, err := g.routine.Relay()
		if err != nil {
			return err
		}
		g.leaveRoutine = leave
	}
	return nil
}

// spare reports whether a frame need not be written to p. Of our own routine
// frames only grafted neighbours get one, where there are enough; on a thin link
// only the favoured.
func (g *gossip) spare(p peer.ID, l Label, own bool) bool {
	if l.urgent() {
		return false
	}
	if !g.thrift.Load() {
		return own && g.grafts.spare(p)
	}
	if !own {
		return true // we hand nothing routine on
	}
	f := g.favoured.Load()
	return f != nil && len(f.sent) > 0 && !f.sent[p]
}

// favoured is what becomes of our own routine frames on a thin link.
type favoured struct {
	// sent are the neighbours that are sent them.
	sent map[peer.ID]bool
	// told is the neighbour that is nudged where there are none of the former.
	told peer.ID
}

// refavour chooses again what becomes of our own routine frames on a thin link.
func (m *Mesh) refavour() {
	g := m.gossip
	g.favourMu.Lock()
	defer g.favourMu.Unlock()
	if !g.thrift.Load() {
		g.favoured.Store(nil)
		return
	}
	all := m.Peers()
	// Who is on a thin link too has left the topic: it is sent nothing, and would hand
	// nothing on.
	listening := slices.DeleteFunc(slices.Clone(all), func(p Peer) bool { return !g.listens(p.ID) })
	f := &favoured{sent: favour(listening, thriftPeers)}
	if len(f.sent) == 0 {
		for p := range favour(all, 1) {
			f.told = p
		}
	}
	g.favoured.Store(f)
}

// oweFavoured has a neighbour told to pull where our own routine frame is sent to
// nobody, for all are on thin links.
func (g *gossip) oweFavoured() {
	if f := g.favoured.Load(); f != nil && f.told != "" {
		g.owe(f.told)
	}
}

// listens reports whether p is in the routine topic.
func (g *gossip) listens(p peer.ID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.listeners[p]
}

// runRoutine follows who is in the routine topic, until ctx ends.
func (g *gossip) runRoutine(ctx context.Context) error {
	for {
		e, err := g.routineEvents.NextPeerEvent(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("mesh: gossip events: %w", err)
		}
		g.mu.Lock()
		if e.Type == pubsub.PeerJoin {
			g.listeners[e.Peer] = true
		} else {
			delete(g.listeners, e.Peer)
		}
		g.mu.Unlock()
		g.changed()
	}
}

// favour chooses the n best neighbours: good conduct first, then the
// fastest link, then the shortest way, then the longest known.
func favour(peers []Peer, n int) map[peer.ID]bool {
	peers = slices.Clone(peers)
	slices.SortStableFunc(peers, func(a, b Peer) int {
		return cmp.Or(
			cmp.Compare(b.Score, a.Score),
			cmp.Compare(b.Goodput, a.Goodput),
			cmp.Compare(shortest(a.Latency), shortest(b.Latency)),
			a.Since.Compare(b.Since))
	})
	out := make(map[peer.ID]bool)
	for _, p := range peers[:min(n, len(peers))] {
		out[p.ID] = true
	}
	return out
}

// shortest puts an unknown latency behind all known ones.
func shortest(d time.Duration) time.Duration {
	if d == 0 {
		return 1<<63 - 1
	}
	return d
}

// round is the wait between two pulls from one neighbour.
func (s *syncer) round() time.Duration {
	d := s.interval * time.Duration(min(max(len(s.neighbours)/pullsARound, 1), maxRounds))
	if s.thrift.Load() {
		return thriftRounds * d
	}
	return d
}

// nudgeDelay is the wait before a nudge.
func (s *syncer) nudgeDelay() time.Duration {
	if s.thrift.Load() {
		return thriftNudgeDelay
	}
	return nudgeDelay
}
