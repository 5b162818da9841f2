package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tocsin/crypto/identity"
)

func storedSize(e *Entry) int { return storedOverhead + e.size() }

// spot is the place of one entry.
type spot struct {
	log LogID
	seq uint64
}

// round is one commit in the making: a layer over the durable state, which
// becomes the state when the commit has succeeded. It belongs to the leader.
type round struct {
	l       *Logs
	states  map[LogID]*logState // changed in this round
	order   []LogID             // the keys of states, in order of change
	usage   map[identity.Key]usage
	runs    map[LogID][]run    // what is unchecked, of logs in which that changed
	fresh   map[LogID][]*Entry // entries of this round, rising
	records []Record           // entries and forks
	own     []Record           // of this device's author, which have a file of their own
	placed  map[spot]*Entry    // entries of this round below the head: filled or restored
	below   []spot             // the pen may have something for these, below the head
	back    []spot             // restored
	rivals  []*Entry           // of add: entries that contradict others
	aside   map[spot]*Entry    // evidence of this round, by its record's place
	bytes   int
	hlc     uint64

	drainable []LogID   // logs that the pen may have something for
	at        time.Time // of the latest request
	taken     []*Entry  // entries that leave the pen if the commit succeeds
	part      []*request
	count     counters
}

func newRound(l *Logs) *round {
	return &round{
		l:      l,
		states: make(map[LogID]*logState),
		usage:  make(map[identity.Key]usage),
		runs:   make(map[LogID][]run),
		fresh:  make(map[LogID][]*Entry),
		placed: make(map[spot]*Entry),
		aside:  make(map[spot]*Entry),
	}
}

// next is the round that carries on draining what this one had no room for.
func (r *round) next() *round {
	n := newRound(r.l)
	n.drainable, n.below, n.at, n.part = r.drainable, r.below, r.at, nil
	for _, q := range r.part {
		if q.release != nil {
			n.part = append(n.part, q)
		}
	}
	return n
}

// request decides one request. Errors that concern it alone are put into it.
func (r *round) request(ctx context.Context, q *request) {
	if q.proof != nil {
		r.takeFork(ctx, q)
		return
	}
	if q.proved != nil {
		r.prove(q)
		return
	}
	r.at = q.at
	if q.release != nil {
		r.part = append(r.part, q)
		r.drainable = append(r.drainable, r.l.penLogs(*q.release)...)
		return
	}
	q.outcomes = make([]Outcome, len(q.entries))
	touched := false
	for i, v := range q.entries {
		before := r.size()
		o, err := r.add(ctx, v.e, false)
		if err != nil {
			q.err = err
			break
		}
		q.outcomes[i] = o
		r.tally(o)
		r.drainable = append(r.drainable, v.e.Header.Log())
		touched = touched || r.size() != before || len(r.fresh[v.e.Header.Log()]) > 0 || r.placed[spotOf(v.e)] != nil
	}
	if touched {
		r.part = append(r.part, q)
	}
}

func spotOf(e *Entry) spot { return spot{e.Header.Log(), e.Header.Seq} }

// size is the number of records so far.
func (r *round) size() int { return len(r.records) + len(r.own) }

// record adds a record of an entry or a state.
func (r *round) record(rec Record) {
	r.bytes += len(rec.Value) + len(rec.Body)
	if r.l.ofOwnAuthor(rec.Log) {
		r.own = append(r.own, rec)
		return
	}
	r.records = append(r.records, rec)
}

func (r *round) tally(o Outcome) {
	switch o {
	case Appended:
		r.count.appended++
	case Known:
		r.count.known++
	case Penned:
		r.count.penned++
	case Forked:
		r.count.forked++
	case OverBudget:
		r.count.overBudget++
	case OwnAhead:
		r.count.ownAhead++
	case Filled:
		r.count.filled++
	case Restored:
		r.count.restored++
	}
}

// state returns the state of a log as this round sees it.
func (r *round) state(id LogID) *logState {
	if st := r.states[id]; st != nil {
		return st
	}
	r.l.mu.RLock()
	defer r.l.mu.RUnlock()
	if st := r.l.logs[id]; st != nil {
		cp := *st
		return &cp
	}
	return &logState{}
}

func (r *round) setState(id LogID, st *logState) {
	if _, ok := r.states[id]; !ok {
		r.order = append(r.order, id)
	}
	r.states[id] = st
}

// place is add but for the evidence of forks (evidence.go).
func (r *round) place(ctx context.Context, e *Entry, penned bool) (Outcome, error) {
	e = r.l.keepErased(e)
	id, seq := e.Header.Log(), e.Header.Seq
	st := r.state(id)
	own := r.l.ownLog()
	switch {
	case seq < st.next:
		return r.compare(ctx, st, e)
	case own != nil && own.ahead(id):
		return OwnAhead, own.markRollback(ctx)
	case st.closedAt(seq):
		return r.evidence(st, e, st.fork.First, st.fork.Second), nil
	case st.next == 0 && r.crowded(id):
		return OverBudget, nil
	case seq > st.next:
		if penned {
			return Penned, nil
		}
		return r.wait(st, e), nil
	case seq == 0:
		return r.first(id, st, e, penned), nil
	case e.Header.Prev != st.head:
		// The author signed another entry before this one than the one we hold.
		// Who is wrong cannot be told from here, and the neighbour is not.
		return Forked, nil
	}
	return r.append(id, st, e), nil
}

// evidence records that e contradicts others at its place.
func (r *round) evidence(st *logState, e *Entry, others ...*Entry) Outcome {
	r.rivals = append(append(r.rivals, e), others...)
	f := st.fork.with(e, others...)
	if f != nil && !f.equal(st.fork) {
		cp := *st
		cp.fork = f
		id := e.Header.Log()
		r.setState(id, &cp)
		value := f.marshal()
		r.records = append(r.records, Record{Table: TableForks, Log: id, Value: value})
		r.bytes += len(value)
	}
	return Forked
}

// crowded reports whether id would be one log too many of its author.
func (r *round) crowded(id LogID) bool {
	r.l.mu.RLock()
	defer r.l.mu.RUnlock()
	return r.l.crowded(id, r.states)
}

// first decides the first entry of a log: its author must be admitted with it,
// even if it is known from another log. Budgets come before that, because
// Authors takes a log that it admits for one that is held.
func (r *round) first(id LogID, st *logState, e *Entry, penned bool) Outcome {
	if _, ok := r.budget(e); !ok {
		return OverBudget
	}
	known := r.l.authors.Known(e.Header.Author)
	switch {
	case e.HasBody() && r.l.authors.Admit(e) == nil: // the body is the credential
		if !known {
			r.drainable = append(r.drainable, r.l.penLogs(e.Header.Author)...)
		}
		return r.append(id, st, e)
	case known:
		return OverBudget
	case penned:
		return Penned
	}
	return r.wait(st, e)
}

// wait puts an entry into the pen.
func (r *round) wait(st *logState, e *Entry) Outcome {
	// Asked before the lock is taken: Authors may hold a lock of its own.
	known := st.next > 0 || r.l.authors.Known(e.Header.Author)
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	if !known {
		return r.l.pen.addUnknown(e)
	}
	other, o := r.l.pen.addGap(e, st.next)
	if other != nil {
		return r.evidence(st, e, other)
	}
	return o
}

// append takes the entry that is next, if the author's budget of the day allows.
// What waited at its place leaves the pen; if that was another entry, the two
// prove a fork.
func (r *round) append(id LogID, st *logState, e *Entry) Outcome {
	held := r.l.penned(id, e.Header.Seq)
	if held != nil && held.id == e.id && held.HasBody() && !e.HasBody() {
		e = held // its body may have come on a stick that comes only once
	}
	use, ok := r.charge(e)
	if !ok {
		return OverBudget
	}
	cp := *st
	cp.next, cp.head, cp.hlc, cp.use = st.next+1, e.id, e.Header.HLC, use
	r.setState(id, &cp)
	r.fresh[id] = append(r.fresh[id], e)
	rec := storedEntry(e.since(secondsOf(r.at)))
	rec.Fresh = true
	r.record(rec)
	if limit := hlcAt(r.at.Add(maxClockAhead)); e.Header.HLC <= limit {
		r.hlc = max(r.hlc, e.Header.HLC)
	}
	if held != nil {
		r.taken = append(r.taken, held)
		if held.id != e.id {
			r.evidence(&cp, e, held)
		}
	}
	return Appended
}

// charge counts e against its author's budget.
func (r *round) charge(e *Entry) (usage, bool) {
	use, ok := r.budget(e)
	if ok {
		r.usage[e.Header.Author] = use
	}
	return use, ok
}

// budget returns what the author of e will have used with it, and whether that
// is within the limits.
func (r *round) budget(e *Entry) (usage, bool) {
	use := r.used(e.Header.Author)
	use.headers++
	use.bytes += uint64(e.size())
	if use.headers > r.l.limits.DayHeaders || use.bytes > r.l.limits.DayBytes {
		return usage{}, false
	}
	return use, true
}

// used returns what an author has used today.
func (r *round) used(author identity.Key) usage {
	use, ok := r.usage[author]
	if !ok {
		r.l.mu.RLock()
		use = r.l.usage[author]
		r.l.mu.RUnlock()
	}
	if day := dayOf(r.at); day != use.day {
		use = usage{day: day}
	}
	return use
}

// drain moves on what waited for entries of this round, as far as one commit
// reaches, and reports whether there is more.
func (r *round) drain(ctx context.Context) (more bool) {
	for len(r.below) > 0 {
		if r.full() {
			return true
		}
		at := r.below[0]
		r.below = r.below[1:]
		if e := r.l.penned(at.log, at.seq); e != nil {
			o, err := r.add(ctx, e, true)
			switch {
			case err != nil || o == Penned || o == OverBudget: // it waits on
			case o == Restored:
				r.count.restored++
			default:
				r.l.unpen(e)
			}
		}
	}
	for len(r.drainable) > 0 {
		id := r.drainable[0]
		if r.full() {
			return true
		}
		e := r.l.penned(id, r.state(id).next)
		if e == nil {
			r.drainable = r.drainable[1:]
			continue
		}
		o, err := r.add(ctx, e, true)
		switch {
		case err != nil || o == Penned || o == OverBudget:
			r.drainable = r.drainable[1:] // it waits on
		case o == Appended:
			r.count.appended++
			r.credit(e)
		default:
			r.l.unpen(e) // it will never fit
			r.drainable = r.drainable[1:]
		}
	}
	return false
}

// full reports whether the rest of what waits needs another commit.
func (r *round) full() bool { return r.bytes > maxRoundBytes || r.size() >= maxBatchEntries }

// credit tells a Release how many of its author's entries were appended.
func (r *round) credit(e *Entry) {
	for _, q := range r.part {
		if q.release != nil && *q.release == e.Header.Author {
			q.released++
		}
	}
}

// finish commits the round and, only then, moves the heads in memory. It
// reports whether there was something to commit and it succeeded.
func (r *round) finish(ctx context.Context) bool {
	if r.size() == 0 {
		r.apply()
		return false
	}
	for _, id := range r.order {
		if len(r.fresh[id]) > 0 {
			r.record(Record{Table: TableStates, Log: id, Value: r.states[id].marshal()})
		}
	}
	err := r.writeRuns()
	if err == nil {
		err = r.commit(ctx)
	}
	if err != nil {
		for _, q := range r.part {
			q.err = errors.Join(q.err, fmt.Errorf("ledger: cannot store entries: %w", err))
		}
		return false
	}
	r.apply()
	return true
}

func (r *round) commit(ctx context.Context) error {
	if len(r.own) > 0 {
		if err := r.l.store.CommitOwn(ctx, r.own); err != nil {
			return err
		}
	}
	if len(r.records) == 0 {
		return nil
	}
	return r.l.store.Commit(ctx, r.records)
}

func (r *round) apply() {
	l := r.l
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range r.taken {
		l.pen.remove(e)
	}
	for _, id := range r.order {
		st := r.states[id]
		if st.fork != nil {
			l.pen.removeFrom(id, st.fork.Seq) // it will never fit
			l.forked[id] = struct{}{}
		}
		if l.own != nil && l.own.id == id {
			// Only Log moves its own head; this round may have found its fork.
			cp := *l.logs[id]
			cp.fork = st.fork
			st = &cp
		}
		l.setState(id, st)
		if len(r.fresh[id]) > 0 && (l.own == nil || l.own.id != id) {
			l.seen.add(id)
		}
	}
	for author, use := range r.usage {
		l.usage[author] = use
	}
	for id, runs := range r.runs {
		l.setRuns(id, runs)
	}
	if len(r.placed) > 0 {
		l.mended.Add(1) // with or without a body, it is not what was read before
	}
	for _, at := range r.back {
		l.found(at.log, at.seq)
	}
	l.hlc = max(l.hlc, r.hlc)
	l.count.add(r.count)
}

func (c *counters) add(d counters) {
	c.appended += d.appended
	c.known += d.known
	c.penned += d.penned
	c.forked += d.forked
	c.overBudget += d.overBudget
	c.ownAhead += d.ownAhead
	c.filled += d.filled
	c.restored += d.restored
}

// dayOf is the UTC day of our clock that budgets count in.
func dayOf(at time.Time) uint32 { return uint32(max(at.Unix(), 0) / 86400) }
