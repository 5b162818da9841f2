package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Log is the writable log of this device: the one writer reserves a place,
// seals and signs for it, and appends. It is safe for concurrent use, but two
// writers that reserve at once get the same place and one of them fails.
type Log struct {
	l  *Logs
	id LogID

	mu       sync.Mutex // held across a write; taken before Logs.mu
	reserved Place      // guarded by mu; Log is zero if there is none
	unsaved  bool       // guarded by mu: that we were rolled back is not stored yet
}

// Place is where the next own entry goes.
type Place struct {
	Log  LogID
	Seq  uint64
	Prev ID
	HLC  uint64
	Refs []Ref
}

// Header returns a header at this place; the caller sets kind, priority, tag,
// lifetime and commitment, and [Sign] the rest.
func (p Place) Header() Header {
	return Header{
		Author: p.Log.Author, Incarnation: p.Log.Incarnation,
		Seq: p.Seq, Prev: p.Prev, HLC: p.HLC, Refs: p.Refs,
	}
}

// After returns the place that follows v, which is at p and not appended yet:
// entries that belong together can be signed in a row and go to
// [Log.AppendBatch] as one.
func (p Place) After(v Verified) Place {
	return Place{Log: p.Log, Seq: p.Seq + 1, Prev: v.e.id, HLC: p.HLC + 1}
}

// Own returns the writable log id and makes it the one that this device is
// answerable for: entries of it, or of a later incarnation of its author, are
// no longer taken from others (see [OwnAhead]). It does not create anything.
func (l *Logs) Own(ctx context.Context, id LogID) (*Log, error) {
	if id.Author.IsZero() {
		return nil, errors.New("ledger: Own of a log without author")
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.own != nil && l.own.id == id {
		return l.own, nil
	}
	if l.own != nil && (l.own.id.Author != id.Author || id.Incarnation < l.own.id.Incarnation) {
		return nil, fmt.Errorf("ledger: %s is open as this device's log; only a later incarnation of it can follow, not %s", l.own.id, id)
	}
	if l.logs[id] == nil {
		l.setState(id, &logState{})
	}
	l.own = &Log{l: l, id: id}
	l.seen.remove(id)
	// What was signed after our last entry was first seen after it.
	for other := range l.order.all() {
		if st := l.logs[other]; other != id && st.next > 0 && st.hlc > l.logs[id].hlc {
			l.seen.add(other)
		}
	}
	return l.own, nil
}

func (l *Logs) ownLog() *Log {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.own
}

// ofOwnAuthor reports whether a log is of this device's author: its entries are
// kept through [Store.CommitOwn], whichever way they come.
func (l *Logs) ofOwnAuthor(id LogID) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.own != nil && l.own.id.Author == id.Author
}

// ahead reports whether entries of id that are not held can only have been
// written by this device, before it was rolled back, or by a clone of it.
func (g *Log) ahead(id LogID) bool {
	return id.Author == g.id.Author && id.Incarnation >= g.id.Incarnation
}

// ID returns the log's id.
func (g *Log) ID() LogID { return g.id }

// state returns a copy of the log's state, and why it takes no more, if so.
func (g *Log) state() (logState, error) {
	g.l.mu.RLock()
	defer g.l.mu.RUnlock()
	st := *g.l.logs[g.id]
	switch {
	case st.rollback:
		return st, ErrRollback
	case st.fork != nil:
		return st, fmt.Errorf("%w: log %s at %d", ErrForked, g.id, st.fork.Seq)
	case st.next > MaxSeq:
		return st, fmt.Errorf("ledger: log %s is full: open a new incarnation", g.id)
	}
	return st, nil
}

// Stopped says why the log takes no more entries of this device, nil if it does.
// The error matches [ErrRollback] or [ErrForked] where another incarnation must go
// on for it.
func (g *Log) Stopped() error {
	_, err := g.state()
	return err
}

// Reserve returns the place for the next entry at the present time of our
// clock. A place that is not used is given out again: what must never be used
// twice, such as a generation of a sender chain, is the caller's to count.
//
// Its hybrid time is the clock's, unless this log or an entry received (up to
// 24 h ahead of at) is later already; then it is one more than that. Its refs
// are up to 8 heads that were first seen since our previous entry.
func (g *Log) Reserve(at time.Time) (Place, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	st, err := g.state()
	if err != nil {
		return Place{}, err
	}
	ms := at.UnixMilli()
	if ms < 0 || ms >= 1<<47 {
		return Place{}, fmt.Errorf("ledger: the clock says %s: set it", at.UTC().Format(time.RFC3339))
	}
	g.l.mu.Lock()
	defer g.l.mu.Unlock()
	hlc := max(hlcAt(at), g.l.latest(at)+1)
	if st.next > 0 {
		hlc = max(hlc, st.hlc+1)
	}
	g.reserved = Place{Log: g.id, Seq: st.next, Prev: st.head, HLC: hlc, Refs: g.l.pickRefs(g.id)}
	p := g.reserved
	p.Refs = slices.Clone(p.Refs)
	return p, nil
}

// Append adds the entry at the reserved place. When it returns nil the entry is
// in a file on which a sync has succeeded, and may leave the device. After an
// error it must not leave. Appending the newest entry again does nothing.
func (g *Log) Append(ctx context.Context, v Verified) error {
	return g.AppendBatch(ctx, []Verified{v})
}

// AppendBatch adds a row of entries, the first at the reserved place and each
// further one at [Place.After] the one before, with one sync. All of them are
// durable or none is held. It takes as many as fit one [Store.CommitOwn]:
// 256 entries and 512 KiB.
func (g *Log) AppendBatch(ctx context.Context, vs []Verified) error {
	for _, v := range vs {
		if v.IsZero() {
			return errors.New("ledger: Append of a zero Verified")
		}
		if !v.e.HasBody() {
			return errors.New("ledger: an own entry needs its body")
		}
	}
	if len(vs) == 0 {
		return nil
	}
	if n := batchPrefix(vs); n < len(vs) {
		return fmt.Errorf("ledger: %d entries do not fit one commit; the first %d do", len(vs), n)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	st, err := g.state()
	if err != nil {
		return err
	}
	last := vs[len(vs)-1].e
	if st.next > 0 && last.id == st.head && last.Header.Log() == g.id {
		return nil
	}
	if err := g.checkRow(vs); err != nil {
		return err
	}
	st.next, st.head, st.hlc = last.Header.Seq+1, last.id, last.Header.HLC
	records := make([]Record, 0, len(vs)+1)
	for _, v := range vs {
		rec := storedEntry(v.e)
		rec.Fresh = true
		records = append(records, rec)
	}
	records = append(records, Record{Table: TableStates, Log: g.id, Value: st.marshal()})
	if err := g.l.store.CommitOwn(ctx, records); err != nil {
		return fmt.Errorf("ledger: cannot store our own entry: %w", err)
	}
	g.moved(&st, vs)
	return nil
}

// checkRow compares a row of entries with the reserved place.
func (g *Log) checkRow(vs []Verified) error {
	want := g.reserved
	if want.Log != g.id {
		return fmt.Errorf("%w: none is reserved", ErrPlace)
	}
	for _, v := range vs {
		h := &v.e.Header
		if h.Log() != want.Log || h.Seq != want.Seq || h.Prev != want.Prev || h.HLC != want.HLC ||
			!slices.Equal(h.Refs, want.Refs) {
			return fmt.Errorf("%w: have log %s seq %d, want log %s seq %d (or prev, time or refs differ)",
				ErrPlace, h.Log(), h.Seq, want.Log, want.Seq)
		}
		want = want.After(v)
	}
	return nil
}

// moved moves the head in memory after the entries are durable.
func (g *Log) moved(st *logState, vs []Verified) {
	g.reserved = Place{}
	l := g.l
	l.mu.Lock()
	defer l.mu.Unlock()
	st.fork = l.logs[g.id].fork // the leader may have found one meanwhile
	l.setState(g.id, st)
	l.count.appended += uint64(len(vs))
	for _, v := range vs {
		for _, ref := range v.e.Header.Refs {
			l.seen.cited(ref, l.logs)
		}
	}
}

// markRollback closes the log for writing, durably: its author's key has signed
// what this device does not hold. If it cannot be stored, the next call tries again.
func (g *Log) markRollback(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.l.mu.RLock()
	st := *g.l.logs[g.id]
	g.l.mu.RUnlock()
	if st.rollback && !g.unsaved {
		return nil
	}
	// In memory first: if the disk refuses, we must stop writing all the more.
	st.rollback, g.unsaved = true, true
	g.l.mu.Lock()
	st.fork = g.l.logs[g.id].fork
	g.l.setState(g.id, &st)
	g.l.mu.Unlock()
	record := Record{Table: TableStates, Log: g.id, Value: st.marshal()}
	if err := g.l.store.CommitOwn(ctx, []Record{record}); err != nil {
		return fmt.Errorf("ledger: cannot record that our own log is behind: %w", err)
	}
	g.unsaved = false
	return nil
}

// hlcAt is the hybrid time of a clock reading, with the counter at 0.
func hlcAt(at time.Time) uint64 { return uint64(max(at.UnixMilli(), 0)) << 16 }

// latest returns the highest hybrid time held that is not far ahead of at. The
// first call after Open looks through all logs, because Open knows no time.
func (l *Logs) latest(at time.Time) uint64 {
	if !l.folded {
		limit := hlcAt(at.Add(maxClockAhead))
		for _, st := range l.logs {
			if st.hlc <= limit {
				l.hlc = max(l.hlc, st.hlc)
			}
		}
		l.folded = true
	}
	return l.hlc
}

// pickRefs names up to [MaxRefs] heads, those that have waited longest first.
func (l *Logs) pickRefs(own LogID) []Ref {
	var refs []Ref
	ownShort := own.Short()
	for _, id := range l.seen.order {
		if len(refs) == MaxRefs {
			break
		}
		short := id.Short()
		taken := slices.ContainsFunc(refs, func(r Ref) bool { return r.Log == short })
		if st := l.logs[id]; st.next > 0 && !taken && short != ownShort {
			refs = append(refs, Ref{Log: short, Seq: st.next - 1, ID: st.head})
		}
	}
	slices.SortFunc(refs, func(a, b Ref) int { return bytes.Compare(a.Log[:], b.Log[:]) })
	return refs
}

// seenHeads are logs whose head moved since we last referred to it, longest
// waiting first, at most refsSeen of them.
type seenHeads struct {
	order []LogID
	set   map[LogID]struct{}
}

func newSeenHeads() *seenHeads { return &seenHeads{set: make(map[LogID]struct{})} }

func (s *seenHeads) add(id LogID) {
	if _, ok := s.set[id]; ok {
		return
	}
	if len(s.order) >= refsSeen {
		s.remove(s.order[0])
	}
	s.order = append(s.order, id)
	s.set[id] = struct{}{}
}

func (s *seenHeads) remove(id LogID) {
	if _, ok := s.set[id]; !ok {
		return
	}
	delete(s.set, id)
	s.order = slices.DeleteFunc(s.order, func(o LogID) bool { return o == id })
}

// cited removes the log that ref names, unless its head has moved since.
func (s *seenHeads) cited(ref Ref, logs map[LogID]*logState) {
	i := slices.IndexFunc(s.order, func(id LogID) bool {
		return id.Short() == ref.Log && logs[id].head == ref.ID
	})
	if i >= 0 {
		s.remove(s.order[i])
	}
}
