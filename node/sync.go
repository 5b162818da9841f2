package node

// What flows on a `/tocsin/sync/1` stream (mesh/PROTOCOL.md §4). The mesh moves
// frames and bounds them; the ledger says what differs and what to ask for;
// these files join the two. One side pulls and the other serves; each side pulls
// on a stream of its own.
//
//	client (sync_pull.go, sync_fetch.go)   server (sync_serve.go)
//	roots(control, headers, bodies?)    →
//	                                    ←  answers: equal, or how many marks
//	ask(ranges)                         →
//	                                    ←  fingerprints | marks
//	…                                   …
//	want(log, from, to, piece)          →
//	                                    ←  item* done
//	credit                              →
//	behind                              →                (when the server lacks something)
//
// What arrives goes into the ledger through accept (inbound.go) and its sibling
// for headers (sync_inbound.go).

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"tocsin/ledger"
	"tocsin/mesh"
)

// The types of frame in a session.
const (
	frameRoots  = 1 // client: the roots of its scopes
	frameEqual  = 2 // server: the answer to roots
	frameAsk    = 3 // client: questions about ranges of a scope
	frameMarks  = 4 // server: answers to them
	frameWant   = 5 // client: a range; class
	frameItem   = 6 // server: one thing of a range; class
	frameDone   = 7 // server: end of a range
	frameCredit = 8 // client: credit; class
	frameBehind = 9 // client: "you lack entries that I hold: pull from me"
)

const (
	// claimTime is how long a session alone fetches a log that it has begun.
	claimTime = 10 * time.Second
	// headersTime is how long bodies of the log are held back after the last headers that
	// came, for the session that fetches them may be stuck.
	headersTime = 3 * time.Second
	// vainTime is how long a neighbour that had no body we lack is not asked for
	// the same ones.
	vainTime = 10 * time.Minute
	// maxEmptyClaims bounds the claims remembered that brought nothing.
	maxEmptyClaims = 1 << 14
	// maxRations bounds the neighbours remembered for what they were sent.
	maxRations = 512
	// absentScan is how many entries one session looks through for bodies that
	// an earlier run of this device left absent.
	absentScan = 4096
	// headersFirst is from how many missing entries on headers are fetched before
	// bodies, so that what is urgent need not wait for what is long past.
	headersFirst = 64
)

// syncing is what sessions share.
type syncing struct {
	mu      sync.Mutex
	claims  map[ledger.LogID]claim     // logs that a session is fetching
	rations map[peer.ID]*ledger.Ration // of those we serve
	absent  *ledger.Absence            // bodies to fetch
	vain    map[peer.ID]vain           // neighbours who had none of them
	empty   map[emptyClaim]time.Time   // claims that brought nothing, and when they ended
	stats   stats                      // stat entries that came

	scanMu  sync.Mutex
	scanLog ledger.LogID // guarded by scanMu, with the next two: how far scanAbsent is
	scanSeq uint64
	scanned bool
}

type claim struct {
	by    *puller
	moved time.Time // when it began, or when headers came last
	at    time.Time // when it was claimed last
}

// vain is what was absent when a neighbour had nothing of it, and when that was.
type vain struct {
	root [32]byte
	at   time.Time
}

// emptyClaim names a log and the neighbour that was to bring it.
type emptyClaim struct {
	from peer.ID
	log  ledger.LogID
}

func newSyncing() *syncing {
	return &syncing{
		claims: make(map[ledger.LogID]claim), rations: make(map[peer.ID]*ledger.Ration),
		absent: ledger.NewAbsence(), vain: make(map[peer.ID]vain),
		empty: make(map[emptyClaim]time.Time),
	}
}

// claim reports whether p may fetch a log now: no other session does, or the
// one that does has taken its time. Where the neighbour of p brought nothing of the log when
// it was claimed last, p may fetch it and keeps nobody else from it.
func (s *syncing) claim(p *puller, id ledger.LogID, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.claimed(p, id, now) {
		return false
	}
	if at, ok := s.empty[emptyClaim{p.from, id}]; ok && now.Sub(at) < vainTime && !now.Before(at) {
		return true
	}
	c := s.claims[id]
	if c.by != p {
		c = claim{by: p, moved: now}
	}
	c.at = now
	s.claims[id] = c
	return true
}

// progress notes that headers of a log came to p, which has claimed it.
func (s *syncing) progress(p *puller, id ledger.LogID, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.claims[id]; ok && c.by == p {
		c.moved = now
		s.claims[id] = c
	}
}

// fetching reports whether another session than p is fetching headers of a log, and has begun
// or got some just now.
func (s *syncing) fetching(p *puller, id ledger.LogID, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.claimed(p, id, now) && now.Sub(s.claims[id].moved) < headersTime
}

// claimed reports whether another session than p fetches a log now. s.mu is held.
func (s *syncing) claimed(p *puller, id ledger.LogID, now time.Time) bool {
	c, taken := s.claims[id]
	return taken && c.by != p && now.Sub(c.at) < claimTime && !now.Before(c.at)
}

// release gives back what p has claimed, and notes where that brought nothing.
func (s *syncing) release(p *puller) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, came := range p.came {
		if came {
			delete(s.empty, emptyClaim{p.from, id})
		}
	}
	for id, c := range s.claims {
		if c.by != p {
			continue
		}
		delete(s.claims, id)
		if came, asked := p.came[id]; !asked || came {
			continue
		}
		for other := range s.empty {
			if len(s.empty) < maxEmptyClaims {
				break
			}
			delete(s.empty, other)
		}
		s.empty[emptyClaim{p.from, id}] = p.n.cfg.Clock.Now()
	}
}

// ration calls f with what is remembered of a neighbour.
func (s *syncing) ration(p peer.ID, now time.Time, f func(*ledger.Ration) bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rations[p]
	if r == nil {
		for other := range s.rations {
			if len(s.rations) < maxRations {
				break
			}
			delete(s.rations, other)
		}
		r = ledger.NewRation(now)
		s.rations[p] = r
	}
	return f(r)
}

// bodies calls f with the set of absent bodies.
func (s *syncing) bodies(f func(*ledger.Absence)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s.absent)
}

// worthAsking reports whether a neighbour may hold bodies that we lack: not for a
// while if it was asked for the same ones and had none.
func (s *syncing) worthAsking(p peer.ID, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, asked := s.vain[p]
	return !asked || v.root != s.absent.Tree().Root() || now.Sub(v.at) >= vainTime || now.Before(v.at)
}

// askedInVain notes that a neighbour had none of the bodies that we lack.
func (s *syncing) askedInVain(p peer.ID, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for other := range s.vain {
		if len(s.vain) < maxRations {
			break
		}
		delete(s.vain, other)
	}
	s.vain[p] = vain{s.absent.Tree().Root(), now}
}

// breach marks what the other side of a session did wrong, for the mesh's
// counters, and leaves other errors as they are.
func breach(err error) error {
	if reason := ledger.Broken(err); reason != "" {
		return mesh.Refused(reason, err)
	}
	return err
}

// tree returns the fingerprints of a scope.
func (n *Node) tree(s ledger.Scope) *ledger.Tree {
	switch s {
	case ledger.ScopeHeaders:
		return n.logs.Tree()
	case ledger.ScopeBodies:
		var t *ledger.Tree
		n.sync.bodies(func(a *ledger.Absence) { t = a.Tree() })
		return t
	}
	return n.testimony.tree
}

// Pull implements [mesh.Syncer]: it asks a neighbour for what we lack.
func (n *Node) Pull(ctx context.Context, from peer.ID, s mesh.SyncStream) error {
	if n.hearing(from) {
		return errHearing // our questions would show what logs are held here
	}
	n.count(func(m *Metrics) { m.Pulls++ })
	err := n.pull(ctx, from, s)
	if err != nil && !errors.Is(err, mesh.ErrSessionLimit) && !errors.Is(err, mesh.ErrNothingNew) {
		n.count(func(m *Metrics) { m.PullFailures++ })
		return breach(err)
	}
	n.pulled.Do(func() { close(n.met) })
	return err
}

// Serve implements [mesh.Syncer]: it answers a neighbour that pulls.
func (n *Node) Serve(ctx context.Context, to peer.ID, s mesh.SyncStream) error {
	return breach(n.serve(ctx, to, s))
}
