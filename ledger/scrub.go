package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// ScrubReport is what one step of [Logs.Scrub] did.
type ScrubReport struct {
	Entries  uint64   // read and checked
	Bytes    uint64   // of them
	Lost     uint64   // places found unreadable that were not known to be
	Repaired uint64   // own entries that the store had a second copy of
	Round    bool     // a round through everything ended with this step
	Files    []string // sentences about files of the store that are damaged
}

// Recoverer is a [Store] with a second copy of this device's own entries.
type Recoverer interface {
	// Recover puts entries from <= seq < to of a log of this device's back in
	// their places if it can, and returns how many.
	Recover(ctx context.Context, id LogID, from, to uint64) (int, error)
}

// FileScrubber is a [Store] with files that reads do not reach.
type FileScrubber interface {
	// ScrubFiles reads about budget bytes of them, from where the last call
	// ended, and returns sentences about what is damaged, and whether a round
	// ended.
	ScrubFiles(ctx context.Context, budget int64) (damage []string, round bool, err error)
}

// Suspicious is a [Store] that can tell at opening which logs it may have lost
// something of. [Logs.Scrub] looks at them first.
type Suspicious interface{ Suspects() []LogID }

// Lender is a [Store] that can show entries without a copy of each. [Logs.Scrub] keeps none
// of those that it looks at.
type Lender interface {
	// Lend is [Store.Range], but for what fn gets: it must not be used once fn has returned.
	Lend(ctx context.Context, id LogID, from, to uint64, fn func(seq uint64, value []byte) error) error
}

// scrubFileBytes is what a step reads of files for each entry of its budget, and
// scrubFileLeast what it reads however small that is.
const (
	scrubFileBytes = 1 << 10
	scrubFileLeast = 1 << 20
)

// scrubber is where the scrub is.
type scrubber struct {
	mu     sync.Mutex // held for a step; taken before Logs.mu
	first  []LogID    // to be looked at before all others
	at     LogID      // the log under way; the next step takes it or the one after
	seq    uint64     // the next entry of it
	prev   ID         // of seq-1, if linked
	linked bool
	begun  bool
	all    uint64 // entries checked since Open
	rounds uint64
}

// Scrub checks the next entries, about budget of them, against damage: that
// each can be read, that body and header fit its check and its hash, and that
// it links to the one before; signatures are VerifyAll's. Over many calls it
// goes round and round through all logs and the files of the store. What it
// finds to be unreadable is repaired from the store's own second copy, or is
// among [Logs.Lost] from then on.
//
// It reads no clock: the caller decides how often and how much. The error is
// the context's or the store's.
func (l *Logs) Scrub(ctx context.Context, budget int) (ScrubReport, error) {
	s := &l.scrub
	s.mu.Lock()
	defer s.mu.Unlock()
	var rep ScrubReport
	if !s.begun {
		s.begun = true
		if store, ok := l.store.(Suspicious); ok {
			s.first = store.Suspects()
		}
	}
	for left := budget; left > 0; {
		id, to, ok := l.scrubNext()
		if !ok {
			s.at, s.seq, s.linked = LogID{}, 0, false
			rep.Round = true
			s.rounds++
			break
		}
		to = min(to, s.seq+uint64(left))
		left -= int(to - s.seq)
		if err := l.scrubRange(ctx, id, to, &rep); err != nil {
			return rep, err
		}
	}
	s.all += rep.Entries
	if store, ok := l.store.(FileScrubber); ok {
		damage, _, err := store.ScrubFiles(ctx, max(int64(budget)*scrubFileBytes, scrubFileLeast))
		rep.Files = damage
		if err != nil {
			return rep, err
		}
	}
	return rep, nil
}

// scrubNext returns the log to go on with and its length, moving to the next
// log where one is done.
func (l *Logs) scrubNext() (id LogID, to uint64, ok bool) {
	s := &l.scrub
	l.mu.RLock()
	defer l.mu.RUnlock()
	for len(s.first) > 0 {
		if st := l.logs[s.first[0]]; st != nil && s.at == s.first[0] && s.seq < st.next {
			return s.at, st.next, true
		} else if st != nil && s.at != s.first[0] && st.next > 0 {
			s.at, s.seq, s.prev, s.linked = s.first[0], 0, ID{}, true
			return s.at, st.next, true
		}
		if s.first = s.first[1:]; len(s.first) == 0 {
			s.at, s.seq = LogID{}, 0
		}
	}
	for id := range l.order.from(s.at) {
		if id != s.at {
			s.at, s.seq, s.prev, s.linked = id, 0, ID{}, true
		}
		if st := l.logs[id]; s.seq < st.next {
			return id, st.next, true
		}
	}
	return LogID{}, 0, false
}

// scrubRange checks the entries of the log under way up to to, which it then
// goes on from.
func (l *Logs) scrubRange(ctx context.Context, id LogID, to uint64, rep *ScrubReport) error {
	s := &l.scrub
	from, look := s.seq, l.store.Range
	if lender, ok := l.store.(Lender); ok {
		look = lender.Lend
	}
	err := look(ctx, id, from, to, func(seq uint64, value []byte) error {
		if seq > s.seq {
			l.scrubMissing(ctx, id, s.seq, seq, rep)
		}
		rep.Entries++
		rep.Bytes += uint64(len(value))
		l.scrubEntry(ctx, id, seq, value, rep)
		s.seq = seq + 1
		return ctx.Err()
	})
	switch {
	case err == nil && s.seq < to:
		l.scrubMissing(ctx, id, s.seq, to, rep)
	case err != nil && (ctx.Err() != nil || errors.Is(err, ErrClosed)):
		return err
	case err != nil:
		// The store cannot go on from here: this entry is lost, the next step
		// tries behind it.
		l.scrubLost(id, s.seq, s.seq+1, rep)
		s.linked = false
		to = s.seq + 1
	}
	s.seq = to
	if h, ok := l.Head(id); ok && h.Next == to && s.linked && s.prev != h.ID && !l.isLost(id, to-1) {
		l.scrubLost(id, to-1, to, rep) // what is there is not what was acknowledged
	}
	return l.recoverOwn(ctx, id, from, to, rep)
}

// scrubMissing looks one by one at places that a range left out: a store that
// cannot go on behind a damaged place may still have them.
func (l *Logs) scrubMissing(ctx context.Context, id LogID, from, to uint64, rep *ScrubReport) {
	l.scrub.linked = false
	for seq := from; seq < to; seq++ {
		value, err := l.store.Get(ctx, TableEntries, id, seq)
		if err == nil {
			rep.Entries++
			l.scrubEntry(ctx, id, seq, value, rep)
		} else if ctx.Err() == nil && !errors.Is(err, ErrClosed) {
			l.scrubLost(id, seq, seq+1, rep)
			l.scrub.linked = false
		}
	}
}

// scrubEntry checks one value and its link.
func (l *Logs) scrubEntry(ctx context.Context, id LogID, seq uint64, value []byte, rep *ScrubReport) {
	s := &l.scrub
	e, err := readStored(id, seq, value)
	if err != nil {
		// It may have been mended since it was read.
		if again, bad := l.read(ctx, id, seq); bad == nil {
			e, err = again, nil
		}
	}
	if err != nil {
		l.scrubLost(id, seq, seq+1, rep)
		if e, err = storedHeader(id, seq, value); err != nil {
			s.linked = false
			return
		}
	}
	if s.linked && e.Header.Prev != s.prev {
		// One of the two is not what was acknowledged, and it cannot be told
		// from here which: both are asked for again.
		l.scrubLost(id, seq-min(seq, 1), seq+1, rep)
	}
	s.prev, s.linked = e.id, true
}

func (l *Logs) scrubLost(id LogID, from, to uint64, rep *ScrubReport) {
	rep.Lost += l.lose(id, from, to)
}

// recoverOwn has the store put back lost entries of this device's own logs.
func (l *Logs) recoverOwn(ctx context.Context, id LogID, from, to uint64, rep *ScrubReport) error {
	store, ok := l.store.(Recoverer)
	if !ok || !l.ofOwnAuthor(id) {
		return nil
	}
	for _, w := range l.Lost() {
		if w.Log != id || w.To <= from || w.From >= to {
			continue
		}
		if _, err := store.Recover(ctx, id, w.From, w.To); err != nil {
			return fmt.Errorf("ledger: own entries %d to %d cannot be repaired: %w", w.From, w.To-1, err)
		}
		for seq := w.From; seq < w.To; seq++ {
			value, err := l.store.Get(ctx, TableEntries, id, seq)
			if err != nil {
				continue
			}
			if _, err := readStored(id, seq, value); err == nil {
				l.mu.Lock()
				l.found(id, seq)
				l.mu.Unlock()
				rep.Repaired++
			}
		}
	}
	return nil
}

// Health is what a person who looks after the device needs to know.
type Health struct {
	Lost        []Want // see [Logs.Lost]
	LostEntries uint64
	Scrubbed    uint64 // entries checked by Scrub since Open
	ScrubRounds uint64 // rounds through everything since Open
	Store       StoreHealth
}

// StoreHealth is the store's part of [Health].
type StoreHealth struct {
	Free     uint64 // bytes free on the disk
	Floor    uint64 // bytes below which nothing is written
	Ballast  uint64 // bytes set aside for an emergency
	ReadOnly string // why nothing is written; empty while writing works
	Files    []FileHealth
	Notes    []string // what opening found and repaired
}

// FileHealth is one file of a store, or one folder of files.
type FileHealth struct {
	Name    string
	Bytes   int64
	Problem string // empty if none is known
}

// HealthReporter is a [Store] that can tell how it is.
type HealthReporter interface {
	Health() StoreHealth
}

// Health returns the present state, for status pages and doctor.
func (l *Logs) Health() Health {
	h := Health{Lost: l.Lost()}
	for _, w := range h.Lost {
		h.LostEntries += w.To - w.From
	}
	l.scrub.mu.Lock()
	h.Scrubbed, h.ScrubRounds = l.scrub.all, l.scrub.rounds
	l.scrub.mu.Unlock()
	if store, ok := l.store.(HealthReporter); ok {
		h.Store = store.Health()
	}
	return h
}
