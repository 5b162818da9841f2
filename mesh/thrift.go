package mesh

import (
	"cmp"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// SetThrift says whether this device is on a thin link. On, it leaves the topic
// of routine frames, so that none come in by gossip; what is urgent and what
// control says still comes. Its own routine frames go to two neighbours only, which
// hand them on; pulls from neighbours are further apart, and nudges wait longer.
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
	favoured := g.favoured.Load()
	return favoured != nil && len(*favoured) > 0 && !(*favoured)[p]
}

// refavour chooses again who is sent our own routine frames on a thin link.
func (m *Mesh) refavour() {
	if !m.gossip.thrift.Load() {
		m.gossip.favoured.Store(nil)
		return
	}
	chosen := favour(m.Peers())
	m.gossip.favoured.Store(&chosen)
}

// favour chooses the thriftPeers best neighbours: good conduct first, then the
// fastest link, then the shortest way, then the longest known.
func favour(peers []Peer) map[peer.ID]bool {
	peers = slices.Clone(peers)
	slices.SortStableFunc(peers, func(a, b Peer) int {
		return cmp.Or(
			cmp.Compare(b.Score, a.Score),
			cmp.Compare(b.Goodput, a.Goodput),
			cmp.Compare(shortest(a.Latency), shortest(b.Latency)),
			a.Since.Compare(b.Since))
	})
	out := make(map[peer.ID]bool)
	for _, p := range peers[:min(thriftPeers, len(peers))] {
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
	if s.thrift.Load() {
		return thriftRounds * s.interval
	}
	return s.interval
}

// nudgeDelay is the wait before a nudge.
func (s *syncer) nudgeDelay() time.Duration {
	if s.thrift.Load() {
		return thriftNudgeDelay
	}
	return nudgeDelay
}
