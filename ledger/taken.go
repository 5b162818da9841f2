package ledger

import (
	"context"
	"errors"
)

// This file is the part of a round that meets entries below the head: known
// ones, others at their place, bodies of headers, and entries that were lost.

// compare meets an entry at a place that is taken.
func (r *round) compare(ctx context.Context, st *logState, e *Entry) (Outcome, error) {
	id, seq := e.Header.Log(), e.Header.Seq
	held, err := r.held(ctx, id, seq)
	switch {
	case errors.Is(err, ErrDamaged):
		return r.restore(ctx, st, e)
	case err != nil:
		return 0, err
	case held.id != e.id && !r.l.sound(held):
		return Forked, nil // what is held proves nothing: its signature was spoilt
	case held.id != e.id:
		return r.evidence(st, e, held), nil
	case held.Absent && e.HasBody():
		return r.fill(e.since(held.received)), nil
	case held.Absent && e.Erased: // the store forgot, and its second copy did not
		e = e.since(held.received)
		r.placed[spotOf(e)] = e
		r.record(storedEntry(e))
	}
	return Known, nil
}

// keepErased returns e as it is held from now on: without its body if that was
// erased here, by the store's second copy.
func (l *Logs) keepErased(e *Entry) *Entry {
	store, ok := l.store.(ErasureKeeper)
	if !ok || e.Erased || !store.WasErased(e.Header.Log(), e.Header.Seq) {
		return e
	}
	return e.erased()
}

// erased returns a copy of an entry that says its body was erased.
func (e *Entry) erased() *Entry {
	gone := e.headerOnly()
	gone.Absent, gone.Erased = false, true
	return gone
}

// held returns the entry at a taken place, of this round or of the store. It
// matches ErrDamaged if it is lost, whichever check found that out.
func (r *round) held(ctx context.Context, id LogID, seq uint64) (*Entry, error) {
	if e := r.placed[spot{id, seq}]; e != nil {
		return e, nil
	}
	for _, e := range r.fresh[id] {
		if e.Header.Seq == seq {
			return e, nil
		}
	}
	if r.l.isLost(id, seq) {
		return nil, damaged(id, seq, "it was lost")
	}
	return r.l.entry(ctx, id, seq)
}

// fill takes the body of an entry of which the header is held. It counts as
// bytes of the author's day.
func (r *round) fill(e *Entry) Outcome {
	use := r.used(e.Header.Author)
	use.bytes += uint64(e.Header.BodyLen)
	if use.bytes > r.l.limits.DayBytes {
		return OverBudget
	}
	r.usage[e.Header.Author] = use
	r.placed[spotOf(e)] = e
	r.record(storedEntry(e))
	return Filled
}

// restore takes an entry back whose place is lost, if the log proves its id: by
// the entry after it, or by the head. If the entry after it is lost too, it
// waits. A body that was erased here does not come back with it.
func (r *round) restore(ctx context.Context, st *logState, e *Entry) (Outcome, error) {
	id, seq := e.Header.Log(), e.Header.Seq
	want := st.head
	if seq+1 < st.next {
		after, err := r.header(ctx, id, seq+1)
		if errors.Is(err, ErrDamaged) {
			return r.wait(st, e), nil
		}
		if err != nil {
			return 0, err
		}
		want = after.Header.Prev
	}
	if e.id != want {
		return Forked, nil // what was held here was another entry
	}
	// The place may be readable, and counted as lost because of a neighbour. Then
	// it keeps the body that it has, and has none that was erased.
	received := secondsOf(r.at)
	if held, err := r.l.read(ctx, id, seq); err == nil && held.id == e.id {
		switch {
		case held.Absent:
		case held.Erased:
			e = e.erased() // the signature here may be a spoilt one
		case held.verifySignature() == nil:
			e = held
		}
		received = held.received
	}
	e = e.since(received)
	r.clear(id, seq)
	r.placed[spotOf(e)] = e
	r.back = append(r.back, spotOf(e))
	r.record(storedEntry(e))
	if seq > 0 {
		r.below = append(r.below, spot{id, seq - 1})
	}
	if waited := r.l.penned(id, seq); waited != nil {
		r.taken = append(r.taken, waited)
	}
	return Restored, nil
}

// header returns the header of an entry that should be held, even if its body
// is damaged.
func (r *round) header(ctx context.Context, id LogID, seq uint64) (*Entry, error) {
	e, err := r.held(ctx, id, seq)
	if !errors.Is(err, ErrDamaged) {
		return e, err
	}
	value, err := r.l.stored(ctx, id, seq)
	if err != nil {
		return nil, err
	}
	if e, err = storedHeader(id, seq, value); err != nil {
		return nil, err
	}
	if _, doubted := r.l.doubted(id, seq); doubted {
		return e, nil // a checkpoint of the author's proves its id
	}
	return e, e.verifySignature()
}
