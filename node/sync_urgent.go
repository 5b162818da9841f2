package node

// What is urgent waits for nothing else in a session: not for testimony, which takes a
// busy device seconds, nor for the headers of other logs. And a neighbour that has got a
// stat entry since a session began puts off what is routine of the same log, for its client
// has not heard of that entry.

import (
	"context"
	"time"

	"tocsin/ledger"
)

// maxStats bounds the logs of which it is remembered when a stat entry came.
const maxStats = 1024

// herald notes an entry of which the header has come, where its body is urgent.
func (p *puller) herald(ctx context.Context, e *ledger.Entry) {
	if !e.Absent || e.Header.BodyLen == 0 || ledger.ClassOf(&e.Header, p.n.cfg.Clock.Now()) > ledger.ClassUrgent {
		return
	}
	if p.n.worthFetching(ctx, e) {
		p.urgent = append(p.urgent, e)
	}
}

// heralded fetches the bodies of what herald noted.
func (p *puller) heralded(ctx context.Context) error {
	urgent, now := p.urgent, p.n.cfg.Clock.Now()
	p.urgent = nil
	p.try(urgent, now)
	return p.fetch(ctx, ledger.Plan(urgent, now))
}

// try notes which urgent bodies are asked for, so that none is twice in a session.
func (p *puller) try(entries []*ledger.Entry, now time.Time) {
	for _, e := range entries {
		if ledger.ClassOf(&e.Header, now) <= ledger.ClassUrgent {
			p.tried[dueKey{e.Header.Log(), e.Header.Seq}] = struct{}{}
		}
	}
}

// turnOf reports whether a body is to be asked for among those of the classes up to worst.
func (p *puller) turnOf(e *ledger.Entry, worst ledger.Class, now time.Time) bool {
	_, tried := p.tried[dueKey{e.Header.Log(), e.Header.Seq}]
	return !tried && ledger.ClassOf(&e.Header, now) <= worst
}

// letGo asks again for headers that other sessions were at and have let go of: their
// neighbours may have had less of a log, and not what is urgent at its end.
func (p *puller) letGo(ctx context.Context, theirs []ledger.Mark) error {
	if !p.skipped || p.later {
		return nil
	}
	p.came = make(map[ledger.LogID]bool)
	skipped, err := p.entries(ctx, p.n.logs.Need(theirs, p.n.cfg.Clock.Now()).Wants)
	if err == nil {
		err = p.heralded(ctx)
	}
	p.n.sync.release(p)
	p.skipped, p.came = skipped, nil
	return err
}

// stats remembers in which order stat entries came, by log. The zero value is empty.
type stats struct {
	count uint64
	last  map[ledger.LogID]uint64
}

// note remembers that a stat entry of a log came just now.
func (s *stats) note(id ledger.LogID) {
	if s.last == nil {
		s.last = make(map[ledger.LogID]uint64)
	}
	for other := range s.last {
		if len(s.last) < maxStats {
			break
		}
		delete(s.last, other)
	}
	s.count++
	s.last[id] = s.count
}

// statCame notes a stat entry for the sessions that are being served.
func (s *syncing) statCame(id ledger.LogID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.note(id)
}

// statCount is how many stat entries have come so far.
func (s *syncing) statCount() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats.count
}

// statSince reports whether one of a log came after so many.
func (s *syncing) statSince(id ledger.LogID, count uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats.last[id] > count
}
