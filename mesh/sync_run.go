package mesh

import (
	"context"
	"errors"
	"sync"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// pull runs one session as client.
func (s *syncer) pull(ctx context.Context, p peer.ID) (moved, quiet bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, sessionTimeout)
	defer cancel()
	stream, err := s.open(ctx, p)
	if err == nil {
		ses := newSession(stream, s.counts)
		ses.measure(s.clock)
		err = s.watched(ctx, ses, s.crowded, func(ctx context.Context) error {
			return ses.finish(s.peers.Pull(ctx, p, ses))
		})
		moved, quiet = ses.moved(), ses.passed.Load() <= quietFrames
		s.pace(p).session(ses.measured())
	}
	if err != nil && !errors.Is(err, ErrNothingNew) {
		if !errors.Is(err, errYielded) && !errors.Is(err, ErrNothingYet) {
			s.counts.pullsFailed.Add(1)
		}
		s.log.Debug("pull ended early", "error", err)
		return moved, false, err
	}
	s.counts.pulls.Add(1)
	return moved, quiet, err
}

// crowded reports whether other neighbours wait for a slot.
func (s *syncer) crowded() bool { return s.waiting.Load() > 0 }

// watched runs a session and ends it when it stalls, or when it is to yield. The
// error says so where that was why it ended.
func (s *syncer) watched(ctx context.Context, ses *session, yield func() bool,
	run func(context.Context) error,
) error {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(ctx, func() { ses.stream.Reset() })
	var watch sync.WaitGroup
	watch.Go(func() { s.watch(ctx, ses, yield, cancel) })
	err := run(ctx)
	stop()
	cause := context.Cause(ctx)
	cancel(nil)
	watch.Wait()
	if err != nil && cause != nil {
		err = cause
	}
	switch {
	case errors.Is(err, errStalled):
		s.counts.stalled.Add(1)
	case errors.Is(err, errYielded):
		s.counts.yielded.Add(1)
	}
	if s.counts.refuseSync(err) && !errors.Is(err, errStalled) {
		s.blame(ses.stream.Conn().RemotePeer(), blameSync)
	}
	return err
}

// watch looks at a session once a tick until ctx ends.
func (s *syncer) watch(ctx context.Context, ses *session, yield func() bool, end context.CancelCauseFunc) {
	last, still := ses.passed.Load(), 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.clock.After(progressTick):
		}
		now := ses.passed.Load()
		if now != last {
			last, still = now, 0
		} else if still++; still >= 2 {
			end(errStalled)
			return
		}
		if yield() {
			end(errYielded)
			return
		}
	}
}

// open opens a session on a connection that is there; it dials none.
func (s *syncer) open(ctx context.Context, p peer.ID) (network.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, frameTimeout)
	defer cancel()
	return s.host.NewStream(network.WithNoDial(ctx, "sync"), p, SyncProtocol)
}
