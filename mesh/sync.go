package mesh

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// SyncProtocol is the libp2p protocol of a synchronisation session.
const SyncProtocol protocol.ID = "/tocsin/sync/1"

// syncEvent is what the rest of the mesh tells the scheduler.
type syncEvent struct {
	kind syncEventKind
	peer peer.ID // "" = all
	// Of an ended pull or nudge: for which spell of being connected it ran, its error,
	// and whether it received anything.
	of    *neighbour
	err   error
	moved bool
	after time.Duration // of syncOwed: how long it may wait at least
	quiet bool          // it ended well, and all that was said is that nothing differs
}

type syncEventKind uint8

const (
	syncUp     syncEventKind = iota // first connection to peer
	syncDown                        // last connection gone
	syncSoon                        // pull soon
	syncBehind                      // peer says that it holds what is not held here
	syncOwed                        // gossip may have missed something: nudge
	syncLack                        // gossip of this peer was turned away unseen: pull in a while
	syncEnded                       // a pull ended
	syncNudged                      // a nudge ended
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
	settling   *agenda[peer.ID] // nudges at the end of the time in which gossip may lose something
	ready      []peer.ID        // due, waiting for a slot
	running    int              // pulls
	strangers  int              // of them from neighbours of which nothing was held
	nudging    int              // nudges under way
	elapsed    time.Duration    // since the start, as far as run has waited

	waiting atomic.Int64 // how many pulls wait for a slot
	thrift  atomic.Bool  // on a thin link: less often
	// known is Config.Known, never nil.
	known func(p peer.ID) bool
	// blame holds a word against a neighbour, pace is what is known of its link.
	blame func(p peer.ID, word string)
	pace  func(p peer.ID) *pace

	serveMu sync.Mutex
	serving map[peer.ID]int // sessions being served
	serves  []*serve        // the same, the longest first
	closed  bool            // no more are begun
}

// Why the watch ends a session.
var (
	errStalled error = &refusedError{"stalled", errors.New("mesh: nothing has passed on a synchronisation session any more")}
	errYielded       = errors.New("mesh: a synchronisation session made room for others; it is resumed")
)

// neighbour is the scheduler's view of one connected peer.
type neighbour struct {
	pulling bool
	again   bool // asked for while pulling
	behind  bool // it said while we pulled that we are behind
	lack    bool // gossip of it was turned away while pulling
	queued  bool // in ready
	news    bool // it said that it has something, or was met just now
	met     bool // it was pulled from
	strange bool // it is being pulled from as a stranger
	retry   time.Duration
	fails   int           // pulls in a row that failed and brought nothing
	quiet   int           // pulls in a row that found nothing to say
	vain    int           // pulls in a row that brought nothing of what was there
	asked   time.Duration // syncer.elapsed when it was asked last

	nudging bool // a nudge is under way
	nudged  int  // nudges in a row that failed
}

func newSyncer(h host.Host, cfg *Config, counts *counters) *syncer {
	return &syncer{
		host: h, peers: cfg.Syncer, clock: cfg.Clock, log: cfg.Logger, counts: counts,
		interval: cfg.syncInterval(), off: cfg.Unsafe.NoSync, known: cfg.known(),
		mail:       newMailbox[syncEvent](),
		neighbours: make(map[peer.ID]*neighbour),
		pulls:      newAgenda[peer.ID](), nudges: newAgenda[peer.ID](), settling: newAgenda[peer.ID](),
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
		s.elapsed += passed
		for _, p := range s.pulls.advance(passed) {
			s.due(p)
		}
		for _, a := range []*agenda[peer.ID]{s.nudges, s.settling} {
			for _, p := range a.advance(passed) {
				s.nudge(ctx, p)
			}
		}
		for _, e := range s.mail.take() {
			s.handle(e)
		}
		s.start(ctx)
	}
}

// wait sleeps until the next pull or nudge is due, or until there is mail.
func (s *syncer) wait(ctx context.Context) time.Duration {
	first := s.pulls
	for _, a := range []*agenda[peer.ID]{s.nudges, s.settling} {
		d, ok := a.next()
		if shortest, any := first.next(); ok && (!any || d < shortest) {
			first = a
		}
	}
	return first.wait(s.clock, s.mail.wake, ctx.Done())
}

func (s *syncer) handle(e syncEvent) {
	n := s.neighbours[e.peer]
	switch e.kind {
	case syncUp:
		if n == nil {
			s.neighbours[e.peer] = &neighbour{news: true, asked: s.elapsed}
			s.pulls.set(e.peer, 0)
		}
	case syncDown:
		s.gone(e.peer)
	case syncSoon:
		s.soon(e.peer)
	case syncBehind:
		switch {
		case n == nil:
		case n.pulling:
			n.behind = true
		default:
			n.news = true
			s.pulls.sooner(e.peer, s.asked(n))
		}
	case syncOwed:
		switch {
		case e.after > 0: // also before the peer is known to be up, for this is said once
			s.settling.sooner(e.peer, max(s.nudgeDelay(), e.after))
		case n != nil:
			s.nudges.sooner(e.peer, s.nudgeDelay())
		}
	case syncLack:
		switch {
		case n == nil:
		case n.pulling: // what it compares with may be older than that
			n.lack = true
		default:
			s.pulls.sooner(e.peer, throttledPull)
		}
	case syncEnded:
		s.running--
		if e.of.strange {
			s.strangers--
			e.of.strange = false
		}
		if n != nil && n == e.of {
			s.ended(n, e)
		}
	case syncNudged:
		s.nudging--
		if n != nil && n == e.of {
			s.afterNudge(n, e)
		}
	}
}

// afterNudge has a nudge that failed sent again, for a while: beyond that the neighbour
// pulls when it connects again and on its timer.
func (s *syncer) afterNudge(n *neighbour, e syncEvent) {
	n.nudging = false
	if e.err == nil {
		n.nudged = 0
		return
	}
	if n.nudged++; n.nudged < maxNudgeTries {
		s.nudges.sooner(e.peer, jitter(s.nudgeDelay()<<n.nudged))
		return
	}
	n.nudged = 0
}

// soon asks for a pull from p, or from everybody.
func (s *syncer) soon(p peer.ID) {
	for id, n := range s.neighbours {
		if p != "" && p != id {
			continue
		}
		n.news = n.news || p != ""
		if p == "" {
			n.vain = 0 // something changed here, so that what was not to be had may be now
		}
		if n.pulling {
			n.again = true
			continue
		}
		s.pulls.sooner(id, syncCoalesce)
	}
}

// asked is how long a pull waits for which there is no reason but that the neighbour says that
// we are behind: hardly, but where pull after pull brings nothing. Two devices of which each
// refuses what the other holds would tell each other so for ever.
func (s *syncer) asked(n *neighbour) time.Duration {
	if n.vain < vainPulls {
		return syncCoalesce
	}
	return min(syncRetryMin<<min(n.vain-vainPulls, 16), s.interval)
}

// ended plans the next pull after one has ended.
func (s *syncer) ended(n *neighbour, e syncEvent) {
	n.pulling = false
	if n.quiet++; !e.quiet {
		n.quiet = 0
	}
	next := s.pause(n)
	switch {
	case errors.Is(e.err, ErrNothingNew):
		n.retry, n.fails = 0, 0
		n.vain++
	case e.err == nil:
		n.retry, n.fails, n.vain = 0, 0, 0
	case errors.Is(e.err, ErrNothingYet):
		n.retry = min(max(2*n.retry, syncRetryMin), s.interval)
		next = jitter(n.retry)
	case e.moved && !errors.As(e.err, new(*refusedError)):
		// It was going well and was cut off, by a limit or by the network: go on.
		n.retry, n.fails, n.vain = 0, 0, 0
		next = syncRetryMin
	default:
		n.fails++
		n.retry = min(max(2*n.retry, syncRetryMin), s.interval)
		next = jitter(n.retry)
	}
	if n.lack {
		n.lack = false
		next = min(next, throttledPull)
	}
	if n.again {
		n.again = false
		next = min(next, syncCoalesce)
	}
	if n.behind {
		n.behind = false
		next = min(next, s.asked(n))
	}
	s.pulls.set(e.peer, next)
}

// pause is the wait until the next pull from a neighbour.
func (s *syncer) pause(n *neighbour) time.Duration {
	if n.quiet > quietPulls {
		return jitter(quietRounds * s.round()) // whoever has news says so
	}
	return jitter(s.round())
}

// gone forgets a neighbour. Those that are left are pulled from sooner where they are few now.
func (s *syncer) gone(p peer.ID) {
	before := s.round()
	delete(s.neighbours, p)
	for _, a := range []*agenda[peer.ID]{s.pulls, s.nudges, s.settling} {
		a.drop(p)
	}
	if s.round() == before {
		return
	}
	for id, n := range s.neighbours {
		if !n.pulling && !n.queued {
			s.pulls.sooner(id, s.pause(n))
		}
	}
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

// start begins as many queued pulls as there are slots for, in the order of
// [choose].
func (s *syncer) start(ctx context.Context) {
	s.ready = slices.DeleteFunc(s.ready, func(p peer.ID) bool {
		n := s.neighbours[p]
		return n == nil || !n.queued // gone meanwhile
	})
	cs := make([]candidate, len(s.ready))
	for i, p := range s.ready {
		cs[i] = s.candidate(p)
	}
	begun := make(map[peer.ID]bool)
	for _, i := range choose(cs, s.round(), s.running, maxPulls-s.running, maxStrangers-s.strangers) {
		p := s.ready[i]
		begun[p] = true
		s.begin(ctx, p, s.neighbours[p], cs[i].stranger)
	}
	s.ready = slices.DeleteFunc(s.ready, func(p peer.ID) bool { return begun[p] })
	s.waiting.Store(int64(len(s.ready)))
}

// candidate is what [choose] sees of a neighbour that is in ready.
func (s *syncer) candidate(p peer.ID) candidate {
	n := s.neighbours[p]
	return candidate{news: n.news, stranger: !n.met && !s.known(p), waited: s.elapsed - n.asked, failures: n.fails}
}

func (s *syncer) begin(ctx context.Context, p peer.ID, n *neighbour, stranger bool) {
	n.queued, n.pulling, n.news, n.asked = false, true, false, s.elapsed
	n.met, n.strange = true, stranger
	s.running++
	if stranger {
		s.strangers++
	}
	s.work.Go(func() {
		moved, quiet, err := s.pull(ctx, p)
		s.mail.put(syncEvent{kind: syncEnded, peer: p, of: n, err: err, moved: moved, quiet: quiet})
	})
}

// nudge tells p to pull from us. Pulls do not stand in its way: they may last for
// minutes.
func (s *syncer) nudge(ctx context.Context, p peer.ID) {
	n := s.neighbours[p]
	if n == nil || s.off {
		return
	}
	if n.nudging || s.nudging >= maxNudges {
		s.nudges.set(p, s.nudgeDelay()) // come back
		return
	}
	n.nudging = true
	s.nudging++
	s.work.Go(func() {
		err := s.sendNudge(ctx, p)
		s.mail.put(syncEvent{kind: syncNudged, peer: p, of: n, err: err})
		if err != nil {
			s.log.Debug("nudge failed", "error", err)
			return
		}
		s.counts.nudges.Add(1)
	})
}

func (s *syncer) sendNudge(ctx context.Context, p peer.ID) error {
	stream, err := s.open(ctx, p)
	if err != nil {
		return err
	}
	// What is under way ends with us.
	defer context.AfterFunc(ctx, func() { stream.Reset() })()
	ses := newSession(stream, s.counts)
	return ses.finish(ses.sendFrame(Frame{Type: typeNudge}))
}
