package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// MaxForkProof bounds an encoded proof of a fork.
const MaxForkProof = 2 * (2 + MaxSignedHeader)

// Marshal returns the proof in the form in which it spreads (FORMAT.md, "Fork"):
// two signed headers, the lower id first. It proves itself: nothing but the two
// signatures of one author is needed to check it.
func (f *Fork) Marshal() []byte { return f.marshal() }

// ParseForkProof reads a proof as [Fork.Marshal] writes it and checks it from
// its own bytes alone: two valid signed headers of one author, one log and one
// sequence number with different ids. Errors match [ErrInvalid]: whoever sent
// them is to blame.
func ParseForkProof(raw []byte) (*Fork, error) {
	if len(raw) > MaxForkProof {
		return nil, invalid("a fork proof of %d bytes is longer than %d", len(raw), MaxForkProof)
	}
	s := cryptobyte.String(raw)
	var two [2]*Entry
	for i := range two {
		var signed cryptobyte.String
		if !s.ReadUint16LengthPrefixed(&signed) {
			return nil, invalid("fork proof is cut short")
		}
		e, err := VerifyHeader(signed)
		if err != nil {
			return nil, err
		}
		two[i] = e
	}
	a, b := two[0], two[1]
	switch {
	case !s.Empty():
		return nil, invalid("%d bytes follow the fork proof", len(s))
	case a.Header.Log() != b.Header.Log() || a.Header.Seq != b.Header.Seq:
		return nil, invalid("the two headers of a fork proof are not of one place")
	case bytes.Compare(a.id[:], b.id[:]) >= 0:
		return nil, invalid("the two headers of a fork proof are the same, or in the wrong order")
	}
	return &Fork{Log: a.Header.Log(), Seq: a.Header.Seq, First: a, Second: b}, nil
}

// TakeFork takes the proof of a fork that came from elsewhere: the log closes
// there, durably. It reports whether this device knew less before, so that the
// proof is worth handing on. A log of an author who is not known matches
// [ErrNotFound]: nobody can fill a store with forks of invented keys.
func (l *Logs) TakeFork(ctx context.Context, raw []byte) (changed bool, err error) {
	f, err := ParseForkProof(raw)
	if err != nil {
		return false, err
	}
	r := &request{proof: f}
	if err := l.submit(ctx, r); err != nil {
		return false, err
	}
	return r.released > 0, nil
}

// takeFork decides a request with a proof.
func (r *round) takeFork(ctx context.Context, q *request) {
	f := q.proof
	st := r.state(f.Log)
	if st.next == 0 && st.fork == nil && (!r.l.authors.Known(f.Log.Author) || r.crowded(f.Log)) {
		q.err = fmt.Errorf("%w: the author of log %s is not known here", ErrNotFound, f.Log)
		return
	}
	others := []*Entry{f.Second}
	if f.Seq < st.next {
		held, err := r.held(ctx, f.Log, f.Seq)
		if err != nil && !errors.Is(err, ErrDamaged) {
			q.err = err
			return
		}
		if err == nil && r.l.sound(held) { // two headers are proof enough where the third is lost
			others = append(others, held)
		}
	}
	before := len(r.records)
	r.evidence(st, f.First, others...)
	if q.err = r.gather(ctx, f.Log); q.err != nil {
		return
	}
	if len(r.records) > before {
		q.released = 1
		r.part = append(r.part, q)
	}
}
