package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"tocsin/crypto/identity"
)

// This file is the group commit, in processing order: Append, AppendBatch and
// Release, and Erase and Fill (erase.go), queue a request (submit); the first
// caller leads (lead), decides a batch (decide, with round.go), commits it once,
// and wakes the others.

// Outcome is what became of an entry. None of them blames whoever brought it.
type Outcome uint8

// The outcomes of [Logs.Append].
const (
	Appended   Outcome = 1 // new, and durable now
	Known      Outcome = 2 // held already
	Penned     Outcome = 3 // waits in memory for its author or for earlier entries
	Forked     Outcome = 4 // contradicts what is held of its log; kept out
	OverBudget Outcome = 5 // beyond a limit today; not kept, ask again later
	OwnAhead   Outcome = 6 // of our own log, which we did not write: see [ErrRollback]
	Filled     Outcome = 7 // its header was held; now its body is too, and durable
	Restored   Outcome = 8 // it had been lost here and is held again, durable: see [Logs.Lost]
)

// String returns a lower-case word for o.
func (o Outcome) String() string {
	switch o {
	case Appended:
		return "appended"
	case Known:
		return "known"
	case Penned:
		return "penned"
	case Forked:
		return "forked"
	case OverBudget:
		return "over budget"
	case OwnAhead:
		return "own log ahead"
	case Filled:
		return "filled"
	case Restored:
		return "restored"
	}
	return fmt.Sprintf("outcome %d", uint8(o))
}

// request is what one caller wants of the leader. The leader fills the results
// before it signals wake; until then they are the leader's.
type request struct {
	entries []Verified
	release *identity.Key // or: move this author's waiting entries
	at      time.Time

	proof *Fork // or: take this proof of a fork

	proved  []*Entry // or: take these entries of a proved range
	carrier string   // of proved

	edit  func(context.Context) ([]Record, error) // or: replace these entries
	after func()                                  // called with mu held once they are durable; may be nil
	log   LogID                                   // of all of them

	outcomes []Outcome
	released int
	edited   int
	err      error
	done     bool

	elected bool          // guarded by Logs.queueMu
	wake    chan struct{} // one signal: done, or elected to lead
}

// Append adds an entry that came from elsewhere. at is the present time of our
// clock. When it returns [Appended] the entry is durable, and so are entries
// that had waited for it. It is idempotent. Concurrent calls share a commit; an
// error of the store goes to every caller whose entry was in it, and then
// nothing of it counts as held.
//
// v may be without its body ([VerifySigned]): the log grows all the same, and
// the body is taken when the whole entry comes ([Filled]). A body that was
// erased here is not taken back: the whole entry is [Known].
//
// [OwnAhead] stops the own log for good: see [ErrRollback].
func (l *Logs) Append(ctx context.Context, v Verified, at time.Time) (Outcome, error) {
	out, err := l.AppendBatch(ctx, []Verified{v}, at)
	if err != nil {
		return 0, err
	}
	return out[0], nil
}

// AppendBatch is [Logs.Append] for several entries with as few commits as
// possible: the way to import what a synchronisation brought. Outcomes are in
// the order of vs. After an error those before it may have been appended.
func (l *Logs) AppendBatch(ctx context.Context, vs []Verified, at time.Time) ([]Outcome, error) {
	for _, v := range vs {
		if v.IsZero() {
			return nil, errors.New("ledger: Append of a zero Verified")
		}
	}
	out := make([]Outcome, 0, len(vs))
	for len(vs) > 0 {
		n := batchPrefix(vs)
		r := &request{entries: vs[:n], at: at}
		if err := l.submit(ctx, r); err != nil {
			return nil, err
		}
		out = append(out, r.outcomes...)
		vs = vs[n:]
	}
	return out, nil
}

// batchPrefix says how many of vs fit one commit; at least one does.
func batchPrefix(vs []Verified) int {
	bytes := 0
	for i, v := range vs {
		bytes += storedSize(v.e)
		if i > 0 && (bytes > maxRoundBytes || i >= maxBatchEntries) {
			return i
		}
	}
	return len(vs)
}

// Release is called when an author became known by another way than its first
// entry: its waiting entries are decided again. It returns how many were
// appended.
func (l *Logs) Release(ctx context.Context, author identity.Key, at time.Time) (int, error) {
	r := &request{release: &author, at: at}
	err := l.submit(ctx, r)
	return r.released, err
}

// submit queues r and returns when it is done, by this caller or another.
func (l *Logs) submit(ctx context.Context, r *request) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.wake = make(chan struct{}, 1)
	l.queueMu.Lock()
	l.queue = append(l.queue, r)
	lead := !l.leading
	l.leading = true
	l.queueMu.Unlock()
	if !lead {
		select {
		case <-r.wake:
		case <-ctx.Done():
			if l.withdraw(r) {
				return ctx.Err()
			}
			<-r.wake
		}
		if r.done {
			return r.err
		}
	}
	// Others depend on this commit too, so the leader's own deadline is not
	// allowed to cut it short.
	l.lead(context.WithoutCancel(ctx), r)
	return r.err
}

// withdraw takes r out of the queue unless a leader has it or it must lead.
func (l *Logs) withdraw(r *request) bool {
	l.queueMu.Lock()
	defer l.queueMu.Unlock()
	i := slices.Index(l.queue, r)
	if i < 0 || r.elected {
		return false
	}
	l.queue = slices.Delete(l.queue, i, i+1)
	return true
}

// lead works until mine is done, then hands over to the next in the queue, so
// that no caller is kept by the work of later ones.
func (l *Logs) lead(ctx context.Context, mine *request) {
	for !mine.done {
		batch := l.take()
		l.decide(ctx, batch)
		for _, r := range batch {
			r.done = true
			if r != mine {
				r.wake <- struct{}{}
			}
		}
	}
	l.queueMu.Lock()
	defer l.queueMu.Unlock()
	if len(l.queue) == 0 {
		l.leading = false
		return
	}
	l.queue[0].elected = true
	l.queue[0].wake <- struct{}{}
}

// take removes as many requests from the queue as fit one commit.
func (l *Logs) take() []*request {
	l.queueMu.Lock()
	defer l.queueMu.Unlock()
	n, entries, bytes := 0, 0, 0
	for n < len(l.queue) {
		r := l.queue[n]
		if r.edit != nil { // it reads what is durable, so it goes alone
			n = max(n, 1)
			break
		}
		for _, v := range r.entries {
			bytes += storedSize(v.e)
		}
		for _, e := range r.proved {
			bytes += storedSize(e)
		}
		entries += len(r.entries) + len(r.proved)
		if n > 0 && (entries > maxBatchEntries || bytes > maxRoundBytes) {
			break
		}
		n++
	}
	batch := slices.Clone(l.queue[:n])
	l.queue = slices.Delete(l.queue, 0, n)
	return batch
}

// decide settles a batch of requests and whatever they set free in the pen.
func (l *Logs) decide(ctx context.Context, batch []*request) {
	rd := newRound(l)
	for _, r := range batch {
		if r.edit != nil {
			l.decideEdit(ctx, r) // take made it the only one
			return
		}
		rd.request(ctx, r)
	}
	for {
		more := rd.drain(ctx)
		if !rd.finish(ctx) || !more {
			return
		}
		rd = rd.next()
	}
}
