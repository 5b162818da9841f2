package mesh

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// serve is a session of another that is being served.
type serve struct {
	peer  peer.ID
	yield context.CancelCauseFunc
	ticks atomic.Int64 // how long, in progressTick
}

// handler returns the stream handler that serves the sessions of others.
func (s *syncer) handler(ctx context.Context) network.StreamHandler {
	return func(stream network.Stream) {
		v := &serve{peer: stream.Conn().RemotePeer()}
		ctx, cancel := context.WithTimeout(ctx, sessionTimeout)
		defer cancel()
		ctx, v.yield = context.WithCancelCause(ctx)
		if !s.enter(v) {
			s.counts.servesRefused.Add(1)
			stream.ResetWithError(network.StreamRateLimited)
			return
		}
		defer s.leave(v)
		ses := newSession(stream, s.counts)
		tick := func() bool { v.ticks.Add(1); return false }
		err := s.watched(ctx, ses, tick, func(ctx context.Context) error {
			return ses.finish(s.serve(ctx, v.peer, ses))
		})
		if err != nil {
			s.counts.servesFailed.Add(1)
			s.log.Debug("serving a pull ended early", "error", err)
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

// enter takes a slot for a session to be served. Where all are taken, the
// longest that has lasted a tick makes room: its client resumes, and so does the
// one that is refused meanwhile.
func (s *syncer) enter(v *serve) bool {
	s.serveMu.Lock()
	defer s.serveMu.Unlock()
	if s.closed || s.serving[v.peer] >= maxServesPerPeer {
		return false
	}
	if len(s.serves) >= maxServes {
		if old := s.serves[0]; old.ticks.Load() > 0 {
			old.yield(errYielded)
		}
		return false
	}
	s.serves = append(s.serves, v)
	s.serving[v.peer]++
	s.work.Add(1)
	return true
}

func (s *syncer) leave(v *serve) {
	s.serveMu.Lock()
	defer s.serveMu.Unlock()
	s.serves = slices.DeleteFunc(s.serves, func(o *serve) bool { return o == v })
	if s.serving[v.peer]--; s.serving[v.peer] == 0 {
		delete(s.serving, v.peer)
	}
	s.work.Done()
}

// shut lets no further session be served, so that the wait for them can begin.
func (s *syncer) shut() {
	s.serveMu.Lock()
	defer s.serveMu.Unlock()
	s.closed = true
}
