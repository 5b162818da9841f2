package ledger

import (
	"bytes"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// Fork is the proof that a log's author signed two entries at one place: its
// device lied or was cloned. One is kept for each log, at the lowest place
// known, with the two lowest ids known there, so that all devices that know of
// the same entries keep the same proof. The log takes nothing at or after Seq.
type Fork struct {
	Log    LogID
	Seq    uint64
	First  *Entry // the lower id; header and signature only
	Second *Entry

	branches [2][]link // what is held of both, from Seq on: see evidence.go
}

// with returns the proof that f, which may be nil, becomes by knowing e and
// others too. Others at another place than e are ignored.
func (f *Fork) with(e *Entry, others ...*Entry) *Fork {
	seq := e.Header.Seq
	if f != nil && seq > f.Seq {
		return f
	}
	at := []*Entry{e}
	if f != nil && seq == f.Seq {
		others = append(slices.Clone(others), f.First, f.Second)
	}
	for _, o := range others {
		if o.Header.Seq == seq && !slices.ContainsFunc(at, func(h *Entry) bool { return h.id == o.id }) {
			at = append(at, o)
		}
	}
	if len(at) < 2 {
		return f
	}
	slices.SortFunc(at, func(a, b *Entry) int { return bytes.Compare(a.id[:], b.id[:]) })
	return &Fork{Log: e.Header.Log(), Seq: seq, First: at[0].headerOnly(), Second: at[1].headerOnly()}
}

func (f *Fork) equal(o *Fork) bool {
	if f == nil || o == nil {
		return f == o
	}
	return f.Seq == o.Seq && f.First.id == o.First.id && f.Second.id == o.Second.id
}

// headerOnly returns e without its body.
func (e *Entry) headerOnly() *Entry {
	cp := *e
	cp.Body, cp.frame, cp.Absent, cp.Erased = nil, nil, true, false
	cp.signed = bytes.Clone(e.signed) // the frame, body and all, may now be freed
	return &cp
}

// marshal encodes a fork record (FORMAT.md, "Fork").
func (f *Fork) marshal() []byte {
	b := cryptobyte.NewBuilder(nil)
	for _, e := range []*Entry{f.First, f.Second} {
		b.AddUint16LengthPrefixed(func(c *cryptobyte.Builder) { c.AddBytes(e.signed) })
	}
	return b.BytesOrPanic() // both are at most MaxSignedHeader long: it cannot fail
}

func parseFork(id LogID, value []byte) (*Fork, error) {
	s := cryptobyte.String(value)
	var two [2]*Entry
	for i := range two {
		var signed cryptobyte.String
		if !s.ReadUint16LengthPrefixed(&signed) {
			return nil, fmt.Errorf("%w: the fork record of log %s is cut short", ErrDamaged, id)
		}
		e, err := VerifyHeader(signed)
		if err != nil {
			return nil, fmt.Errorf("%w: the fork record of log %s: %w", ErrDamaged, id, err)
		}
		two[i] = e
	}
	f := &Fork{Log: id, Seq: two[0].Header.Seq, First: two[0], Second: two[1]}
	if !s.Empty() || two[0].Header.Log() != id || two[1].Header.Log() != id ||
		two[1].Header.Seq != f.Seq || bytes.Compare(two[0].id[:], two[1].id[:]) >= 0 {
		return nil, fmt.Errorf("%w: the fork record of log %s does not show a fork of it", ErrDamaged, id)
	}
	return f, nil
}

// Forks returns the evidence held, in the order of logs.
func (l *Logs) Forks() []Fork {
	l.mu.RLock()
	defer l.mu.RUnlock()
	forks := make([]Fork, 0, len(l.forked))
	for id := range l.forked {
		forks = append(forks, *l.logs[id].fork)
	}
	slices.SortFunc(forks, func(a, b Fork) int { return a.Log.Compare(b.Log) })
	return forks
}
