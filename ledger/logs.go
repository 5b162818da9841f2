package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"tocsin/crypto/identity"
)

// Authors tells who may have a log. It must not call back into [Logs].
type Authors interface {
	// Known reports whether k has been admitted: whether the first entry of one
	// of its logs was. It is asked about logs of which nothing is held yet.
	Known(k identity.Key) bool
	// Admit is shown the entry at seq 0 of each log before it is appended, also
	// of an author who is known already: a control entry with the author's
	// credential. If it returns nil the author is known from now on. Otherwise
	// the entry of an author who is not known waits in the pen, and that of
	// another is [OverBudget]. It may be shown the same entry again.
	Admit(first *Entry) error
}

// Config is what [Open] needs.
type Config struct {
	Store   Store   // required; closed by whoever opened it
	Authors Authors // required
	Limits  Limits  // zero fields mean the limits of the design
}

func (c *Config) validate() error {
	if c.Store == nil || c.Authors == nil {
		return errors.New("ledger: Config needs a Store and Authors")
	}
	return nil
}

// Logs is every log that a node holds. It is safe for concurrent use.
//
// One caller at a time leads: it takes what others have queued, decides it in
// order and makes it durable with one commit (see append.go). Only the leader
// changes the pen, usage, forks and the state of others' logs; only Log changes
// the state of its own; both hold mu while they do, and readers hold it too.
type Logs struct {
	store   Store
	authors Authors
	limits  Limits

	queueMu sync.Mutex
	queue   []*request // guarded by queueMu
	leading bool       // guarded by queueMu

	mu     sync.RWMutex // guards what follows
	logs   map[LogID]*logState
	order  logOrder // the keys of logs
	usage  map[identity.Key]usage
	pen    *pen
	tree   *Tree // of all heads
	own    *Log
	seen   *seenHeads
	hlc    uint64             // highest hybrid time received that was not far ahead
	folded bool               // hlc includes what was held at Open
	forked map[LogID]struct{} // logs with evidence of a fork
	lost   map[LogID]*spans   // places below a head that cannot be read
	spoilt []Spoilt           // found and not reported yet
	doubts map[LogID]*doubt   // entries whose own signatures were not checked (unchecked.go)
	moves  uint64             // how often a head has moved
	mended atomic.Uint64      // how often places below a head were written again; changed under mu
	held   struct {           // of all logs together
		logs    int
		entries uint64
	}
	count counters

	scrub scrubber
}

// counters count outcomes since [Open].
type counters struct {
	appended, known, penned, forked, overBudget, ownAhead, filled, restored uint64
}

// Open reads the state of all logs from the store; it takes time in proportion
// to the number of logs, not of entries. A device that writes calls [Logs.Own]
// before it appends anything from others.
func Open(ctx context.Context, cfg Config) (*Logs, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	l := &Logs{
		store:   cfg.Store,
		authors: cfg.Authors,
		limits:  cfg.Limits.orDefault(),
		logs:    make(map[LogID]*logState),
		usage:   make(map[identity.Key]usage),
		seen:    newSeenHeads(),
		tree:    NewTree(ScopeHeaders),
		forked:  make(map[LogID]struct{}),
		lost:    make(map[LogID]*spans),
		doubts:  make(map[LogID]*doubt),
	}
	l.pen = newPen(l.limits)
	if err := l.load(ctx); err != nil {
		return nil, err
	}
	return l, nil
}

// setState records the state of a log, in memory only.
func (l *Logs) setState(id LogID, st *logState) {
	old := l.logs[id]
	if old == nil {
		l.order.add(id)
		old = &logState{}
	}
	if st.next != old.next {
		l.moves++
		l.held.entries += st.next - old.next // a head never moves back
		if old.next == 0 {
			l.held.logs++
		}
	}
	l.logs[id] = st
	l.print(id, st)
}

// crowded reports whether nothing of log id can be taken because as many logs of
// its author beyond incarnation 0 as [MaxIncarnations] have an entry or the
// proof of a fork in l or in changed, which goes before l. The caller holds mu.
func (l *Logs) crowded(id LogID, changed map[LogID]*logState) bool {
	if id.Incarnation == 0 {
		return false
	}
	counts := func(other LogID, st *logState) bool {
		return other.Author == id.Author && other.Incarnation > 0 && other != id && (st.next > 0 || st.fork != nil)
	}
	n := 0
	for other, st := range changed {
		if counts(other, st) {
			n++
		}
	}
	for other := range l.order.from(LogID{Author: id.Author, Incarnation: 1}) {
		if other.Author != id.Author {
			break
		}
		if changed[other] == nil && counts(other, l.logs[other]) {
			n++
		}
	}
	return n >= MaxIncarnations
}

// Head is the newest entry held of a log.
type Head struct {
	Log  LogID
	Next uint64 // number of entries held; the head's sequence number is Next-1
	ID   ID     // of the entry at Next-1
}

// Head returns the head of a log, and false if nothing of it is held.
func (l *Logs) Head(id LogID) (Head, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	st := l.logs[id]
	if st == nil || st.next == 0 {
		return Head{}, false
	}
	return Head{Log: id, Next: st.next, ID: st.head}, true
}

// Frontier returns the heads of all logs of which something is held. It takes
// time in proportion to their number: see [Logs.EachHead].
func (l *Logs) Frontier() Frontier {
	l.mu.RLock()
	defer l.mu.RUnlock()
	f := make(Frontier, 0, l.held.logs)
	l.eachHead(LogID{}, func(h Head) bool { f = append(f, h); return true })
	return f
}

// EachHead calls fn for the heads of logs from one on, in the order of logs,
// until it returns false. Finding the first takes no time in proportion to the
// number of logs. fn must not call Logs.
func (l *Logs) EachHead(from LogID, fn func(Head) bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	l.eachHead(from, fn)
}

func (l *Logs) eachHead(from LogID, fn func(Head) bool) {
	for id := range l.order.from(from) {
		if st := l.logs[id]; st.next > 0 && !fn(Head{Log: id, Next: st.next, ID: st.head}) {
			return
		}
	}
}

// Generation returns a number that rises whenever a head moves, so that what
// was computed from the frontier can be kept while it stays the same.
func (l *Logs) Generation() uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.moves
}

// Heads returns of how many logs something is held, and how many entries in all.
func (l *Logs) Heads() (logs int, entries uint64) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.held.logs, l.held.entries
}

// Entry returns one entry, whose body may be absent or erased. It matches
// [ErrNotFound] if the place is beyond what is held, and [ErrDamaged] if it
// should be held and is not, or was changed: then it is among [Logs.Lost]. Of an
// entry that came in a proved range the signature is checked first.
func (l *Logs) Entry(ctx context.Context, id LogID, seq uint64) (*Entry, error) {
	if _, doubted := l.doubted(id, seq); doubted {
		return l.vouched(ctx, id, seq)
	}
	return l.entry(ctx, id, seq)
}

// entry is [Logs.Entry] of which the signature may not have been checked.
func (l *Logs) entry(ctx context.Context, id LogID, seq uint64) (*Entry, error) {
	h, ok := l.Head(id)
	if !ok || seq >= h.Next {
		return nil, fmt.Errorf("%w: entry %d of log %s", ErrNotFound, seq, id)
	}
	for {
		mended := l.mended.Load()
		e, err := l.read(ctx, id, seq)
		if !errors.Is(err, ErrDamaged) || l.loseUnless(id, seq, mended) {
			return e, err
		}
	}
}

// read reads the entry at a place below the head.
func (l *Logs) read(ctx context.Context, id LogID, seq uint64) (*Entry, error) {
	value, err := l.stored(ctx, id, seq)
	if err != nil {
		return nil, err
	}
	return readStored(id, seq, value)
}

// stored returns the value of an entry below the head.
func (l *Logs) stored(ctx context.Context, id LogID, seq uint64) ([]byte, error) {
	value, err := l.store.Get(ctx, TableEntries, id, seq)
	if errors.Is(err, ErrNotFound) {
		err = damaged(id, seq, missingWords)
	}
	return value, err
}

const missingWords = "it is missing although later entries are held"

// Entries calls fn for the entries with from <= seq < to that are held, in
// order; to may lie beyond the head. A log of which nothing is held matches
// [ErrNotFound]. A missing or changed entry matches [ErrDamaged]: the range is
// never shortened in silence. An error of fn ends it and is returned as it is. Of
// entries that came in a proved range the signatures are checked first.
func (l *Logs) Entries(ctx context.Context, id LogID, from, to uint64, fn func(*Entry) error) error {
	doubted := l.doubtsIn(id, from, to)
	if doubted == nil {
		return l.entries(ctx, id, from, to, fn)
	}
	return l.entries(ctx, id, from, to, func(e *Entry) error {
		if doubted(e.Header.Seq) {
			var err error
			if e, err = l.vouched(ctx, id, e.Header.Seq); err != nil {
				return err
			}
		}
		return fn(e)
	})
}

// entries is [Logs.Entries] of which the signatures may not have been checked.
func (l *Logs) entries(ctx context.Context, id LogID, from, to uint64, fn func(*Entry) error) error {
	h, ok := l.Head(id)
	if !ok {
		return fmt.Errorf("%w: log %s", ErrNotFound, id)
	}
	to = min(to, h.Next)
	if from >= to {
		return nil
	}
	want := from
	err := l.store.Range(ctx, id, from, to, func(seq uint64, value []byte) error {
		if seq != want {
			l.lose(id, want, seq)
			return damaged(id, want, missingWords)
		}
		e, err := readStored(id, seq, value)
		if err != nil {
			if e, err = l.entry(ctx, id, seq); err != nil { // it may have been mended meanwhile
				return err
			}
		}
		want++
		return fn(e)
	})
	if err == nil && want != to {
		l.lose(id, want, to)
		return damaged(id, want, missingWords)
	}
	return err
}

// Bodyless is [Logs.Entries] for the entries whose body is absent, not those
// whose body was erased: what is left to ask others for.
func (l *Logs) Bodyless(ctx context.Context, id LogID, from, to uint64, fn func(*Entry) error) error {
	return l.Entries(ctx, id, from, to, func(e *Entry) error {
		if !e.Absent {
			return nil
		}
		return fn(e)
	})
}

// Closed reports whether the log takes nothing more because it forked below or
// at its next place.
func (l *Logs) Closed(id LogID) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	st := l.logs[id]
	return st != nil && st.closedAt(st.next)
}

func (s *logState) closedAt(seq uint64) bool { return s.fork != nil && seq >= s.fork.Seq }

// Stats are numbers for status pages and metrics. Counts of outcomes are since
// [Open].
type Stats struct {
	Logs    int    // of which at least one entry is held
	Entries uint64 // held in all
	Forks   int    // logs with evidence of a fork

	Penned         int // entries waiting in memory
	PennedBytes    int
	UnknownAuthors int    // authors among them who are not known yet
	Forgotten      uint64 // entries the pen gave up to stay within its limits

	Lost uint64 // places below a head that are known to be unreadable

	Unchecked uint64 // entries of proved ranges whose signatures were not checked yet
	Spoilt    uint64 // places of Lost whose entries were spoilt by whoever brought them

	Appended, Known, Pens, Forked, OverBudget, OwnAhead, Filled, Restored uint64 // outcomes
}

// Stats returns the present numbers.
func (l *Logs) Stats() Stats {
	l.mu.RLock()
	defer l.mu.RUnlock()
	unchecked, spoilt := l.doubtedEntries()
	return Stats{
		Unchecked:      unchecked,
		Spoilt:         spoilt,
		Logs:           l.held.logs,
		Entries:        l.held.entries,
		Forks:          len(l.forked),
		Lost:           l.lostEntries(),
		Penned:         l.pen.entries,
		PennedBytes:    l.pen.unknownBytes + l.pen.gapBytes,
		UnknownAuthors: l.pen.waiting.Len(),
		Forgotten:      l.pen.forgotten,
		Appended:       l.count.appended,
		Known:          l.count.known,
		Pens:           l.count.penned,
		Forked:         l.count.forked,
		OverBudget:     l.count.overBudget,
		OwnAhead:       l.count.ownAhead,
		Filled:         l.count.filled,
		Restored:       l.count.restored,
	}
}
