package mesh

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// SyncProtocol is the libp2p protocol of a synchronisation session.
const SyncProtocol protocol.ID = "/tocsin/sync/1"

// syncEvent is what the rest of the mesh tells the scheduler.
type syncEvent struct {
	kind syncEventKind
	peer peer.ID // "" = all
	// Of an ended pull: for which spell of being connected it ran, its error, and
	// whether it received anything.
	of    *neighbour
	err   error
	moved bool
}

type syncEventKind uint8

const (
	syncUp    syncEventKind = iota // first connection to peer
	syncDown                       // last connection gone
	syncSoon                       // pull soon
	syncOwed                       // gossip may have missed something: nudge
	syncEnded                      // a pull ended
	syncFreed                      // a nudge ended
)

// syncer decides when to pull from whom, runs the sessions, and serves those of
// others. The goroutine run owns the scheduling state; everybody else talks to it
// through the mailbox.
type syncer struct {
	host     host.Host
	peers    Syncer
	clock    Clock
	log      *slog.Logger
	counts   *counters
	interval time.Duration
	off      bool // Unsafe.NoSync

	mail *mailbox[syncEvent]
	work sync.WaitGroup // pulls, nudges and serves

	// Owned by run.
	neighbours map[peer.ID]*neighbour
	pulls      *agenda[peer.ID]
	nudges     *agenda[peer.ID]
	ready      []peer.ID // due, waiting for a slot
	running    int       // sessions of ours

	serveMu sync.Mutex
	serving map[peer.ID]int // sessions being served
	served  int             // their sum
	closed  bool            // no more are begun
}

// neighbour is the scheduler's view of one connected peer.
type neighbour struct {
	pulling bool
	again   bool // asked for while pulling
	queued  bool // in ready
	retry   time.Duration
}

func newSyncer(h host.Host, cfg *Config, counts *counters) *syncer {
	return &syncer{
		host: h, peers: cfg.Syncer, clock: cfg.Clock, log: cfg.Logger, counts: counts,
		interval: cfg.syncInterval(), off: cfg.Unsafe.NoSync,
		mail:       newMailbox[syncEvent](),
		neighbours: make(map[peer.ID]*neighbour),
		pulls:      newAgenda[peer.ID](), nudges: newAgenda[peer.ID](),
		serving: make(map[peer.ID]int),
	}
}

// run schedules until ctx ends, then waits for every session.
func (s *syncer) run(ctx context.Context) {
	defer s.work.Wait()
	defer s.shut()
	for ctx.Err() == nil {
		// Time first: what the mail plans has not waited yet.
		passed := s.wait(ctx)
		for _, p := range s.pulls.advance(passed) {
			s.due(p)
		}
		for _, p := range s.nudges.advance(passed) {
			s.nudge(ctx, p)
		}
		for _, e := range s.mail.take() {
			s.handle(e)
		}
		s.start(ctx)
	}
}

// wait sleeps until the next pull or nudge is due, or until there is mail.
func (s *syncer) wait(ctx context.Context) time.Duration {
	if d, ok := s.nudges.next(); ok {
		if p, pulls := s.pulls.next(); !pulls || d < p {
			return s.nudges.wait(s.clock, s.mail.wake, ctx.Done())
		}
	}
	return s.pulls.wait(s.clock, s.mail.wake, ctx.Done())
}

func (s *syncer) handle(e syncEvent) {
	n := s.neighbours[e.peer]
	switch e.kind {
	case syncUp:
		if n == nil {
			s.neighbours[e.peer] = &neighbour{}
			s.pulls.set(e.peer, 0)
		}
	case syncDown:
		delete(s.neighbours, e.peer)
		s.pulls.drop(e.peer)
		s.nudges.drop(e.peer)
	case syncSoon:
		s.soon(e.peer)
	case syncOwed:
		if n != nil {
			s.nudges.sooner(e.peer, nudgeDelay)
		}
	case syncEnded:
		s.running--
		if n != nil && n == e.of {
			s.ended(n, e)
		}
	case syncFreed:
		s.running--
	}
}

// soon asks for a pull from p, or from everybody.
func (s *syncer) soon(p peer.ID) {
	for id, n := range s.neighbours {
		if p != "" && p != id {
			continue
		}
		if n.pulling {
			n.again = true
			continue
		}
		s.pulls.sooner(id, syncCoalesce)
	}
}

// ended plans the next pull after one has ended.
func (s *syncer) ended(n *neighbour, e syncEvent) {
	n.pulling = false
	next := jitter(s.interval)
	switch {
	case e.err == nil:
		n.retry = 0
	case e.moved:
		// It was going well and was cut off, by a limit or by the network: go on.
		n.retry = 0
		next = syncRetryMin
	default:
		n.retry = min(max(2*n.retry, syncRetryMin), s.interval)
		next = jitter(n.retry)
	}
	if n.again {
		n.again = false
		next = min(next, syncCoalesce)
	}
	s.pulls.set(e.peer, next)
}

// jitter returns d ± a quarter, so that a mesh does not pull in step.
func jitter(d time.Duration) time.Duration {
	if d < 4 {
		return d
	}
	return d*3/4 + rand.N(d/2)
}

// due queues a pull.
func (s *syncer) due(p peer.ID) {
	n := s.neighbours[p]
	if n == nil || n.pulling || n.queued || s.off {
		return
	}
	n.queued = true
	s.ready = append(s.ready, p)
}

// start begins as many queued pulls as there are slots for.
func (s *syncer) start(ctx context.Context) {
	for len(s.ready) > 0 && s.running < maxPulls {
		p := s.ready[0]
		s.ready = s.ready[1:]
		n := s.neighbours[p]
		if n == nil || !n.queued {
			continue // gone meanwhile
		}
		n.queued, n.pulling = false, true
		s.running++
		s.work.Go(func() {
			moved, err := s.pull(ctx, p)
			s.mail.put(syncEvent{kind: syncEnded, peer: p, of: n, err: err, moved: moved})
		})
	}
}

// pull runs one session as client.
func (s *syncer) pull(ctx context.Context, p peer.ID) (moved bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, sessionTimeout)
	defer cancel()
	stream, err := s.open(ctx, p)
	if err == nil {
		stop := context.AfterFunc(ctx, func() { stream.Reset() })
		ses := newSession(stream, s.counts)
		err = ses.finish(s.peers.Pull(ctx, p, ses))
		moved = ses.moved()
		stop()
	}
	if err != nil {
		s.counts.pullsFailed.Add(1)
		s.log.Debug("pull failed", "error", err)
		return moved, err
	}
	s.counts.pulls.Add(1)
	return moved, nil
}

// open opens a session on a connection that is there; it dials none.
func (s *syncer) open(ctx context.Context, p peer.ID) (network.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, frameTimeout)
	defer cancel()
	return s.host.NewStream(network.WithNoDial(ctx, "sync"), p, SyncProtocol)
}

// nudge tells p to pull from us.
func (s *syncer) nudge(ctx context.Context, p peer.ID) {
	if s.neighbours[p] == nil || s.off {
		return
	}
	if s.running >= maxPulls {
		s.nudges.set(p, nudgeDelay) // sessions are under way; come back
		return
	}
	s.running++
	s.work.Go(func() {
		defer s.mail.put(syncEvent{kind: syncFreed})
		stream, err := s.open(ctx, p)
		if err == nil {
			ses := newSession(stream, s.counts)
			err = ses.finish(ses.sendFrame(Frame{Type: typeNudge}))
		}
		if err != nil {
			// It pulls when it connects again and on its timer.
			s.log.Debug("nudge failed", "error", err)
			return
		}
		s.counts.nudges.Add(1)
	})
}

// handler returns the stream handler that serves the sessions of others.
func (s *syncer) handler(ctx context.Context) network.StreamHandler {
	return func(stream network.Stream) {
		p := stream.Conn().RemotePeer()
		if !s.enter(p) {
			s.counts.servesRefused.Add(1)
			stream.ResetWithError(network.StreamRateLimited)
			return
		}
		defer s.leave(p)
		ctx, cancel := context.WithTimeout(ctx, sessionTimeout)
		defer cancel()
		stop := context.AfterFunc(ctx, func() { stream.Reset() })
		defer stop()
		ses := newSession(stream, s.counts)
		if err := ses.finish(s.serve(ctx, p, ses)); err != nil {
			s.counts.servesFailed.Add(1)
			s.log.Debug("serving a pull failed", "error", err)
		}
	}
}

func (s *syncer) serve(ctx context.Context, p peer.ID, ses *session) error {
	f, err := ses.peek()
	if err != nil {
		return fmt.Errorf("first frame: %w", err)
	}
	if f.Type == typeNudge {
		if len(f.Payload) > 0 {
			return fmt.Errorf("%w: a nudge with a payload", errFrame)
		}
		s.mail.put(syncEvent{kind: syncSoon, peer: p})
		return nil
	}
	if err := s.peers.Serve(ctx, p, ses); err != nil {
		return err
	}
	s.counts.serves.Add(1)
	return nil
}

// enter takes a slot for serving p.
func (s *syncer) enter(p peer.ID) bool {
	s.serveMu.Lock()
	defer s.serveMu.Unlock()
	if s.closed || s.served >= maxServes || s.serving[p] >= maxServesPerPeer {
		return false
	}
	s.served++
	s.serving[p]++
	s.work.Add(1)
	return true
}

func (s *syncer) leave(p peer.ID) {
	s.serveMu.Lock()
	defer s.serveMu.Unlock()
	s.served--
	if s.serving[p]--; s.serving[p] == 0 {
		delete(s.serving, p)
	}
	s.work.Done()
}

// shut lets no further session be served, so that the wait for them can begin.
func (s *syncer) shut() {
	s.serveMu.Lock()
	defer s.serveMu.Unlock()
	s.closed = true
}
