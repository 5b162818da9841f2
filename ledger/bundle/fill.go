package bundle

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"tocsin/ledger"
)

// Source is where a bundle's entries come from; [ledger.Logs] is one.
type Source interface {
	Frontier() ledger.Frontier
	// Entries calls fn for the entries of one log with from <= seq < to, rising.
	Entries(ctx context.Context, id ledger.LogID, from, to uint64, fn func(*ledger.Entry) error) error
	// Entry returns one entry.
	Entry(ctx context.Context, id ledger.LogID, seq uint64) (*ledger.Entry, error)
}

// Plan is what a bundle to a reader with a known frontier is to hold: all that
// the reader lacks. Bodies come in the order of their worth, each behind the
// headers of its log up to its own, which the reader needs to append it. So
// half a stick holds the urgent half.
type Plan struct {
	// Extra are statements and values of tables, which go before everything.
	Statements, Tables [][]byte
	// evidence are entries of branches of forked logs, which go last.
	evidence [][]byte

	frontier ledger.Frontier
	spans    []span
	bodies   []place
	counts   Counts
}

// span is a part of one log; headers before next were written.
type span struct {
	log      ledger.LogID
	from, to uint64
	next     uint64
}

// place is one body, and what decides its turn.
type place struct {
	span uint32 // index into spans
	rank uint8
	seq  uint64
	hlc  uint64
}

// The order of bodies: who people are, the epochs that fresh messages are sealed
// under, then by priority. Older epochs are large and open what is old.
const (
	rankControl = iota
	rankEpoch
	rankStat
	rankUrgent
	rankOldEpoch
	rankRoutine
)

// hlcBits are the low bits of a hybrid time, below its milliseconds.
const hlcBits = 16

// freshEpochs is how long before the newest entry an epoch may have been
// announced to go before urgent messages: they rotate daily.
const freshEpochs = 48 * time.Hour

// rankOf says when the body of h has its turn; newest is the highest hybrid time
// of the plan.
func rankOf(h *ledger.Header, newest uint64) uint8 {
	switch {
	case h.Kind == ledger.KindControl:
		return rankControl
	case h.Kind == ledger.KindEpoch && newest-min(newest, h.HLC) > uint64(freshEpochs.Milliseconds())<<hlcBits:
		return rankOldEpoch
	case h.Kind == ledger.KindEpoch:
		return rankEpoch
	case h.Priority == ledger.Stat:
		return rankStat
	case h.Priority == ledger.Urgent:
		return rankUrgent
	}
	return rankRoutine
}

// NewPlan compares src with theirs, which is empty for a reader of whom nothing
// is known, and reads what is missing once.
func NewPlan(ctx context.Context, src Source, theirs ledger.Frontier, statements, tables [][]byte) (*Plan, error) {
	p := &Plan{Statements: statements, Tables: tables, frontier: src.Frontier()}
	held := make(map[ledger.LogID]ledger.Head, len(theirs))
	for _, h := range theirs {
		held[h.Log] = h
	}
	for _, h := range p.frontier {
		from := held[h.Log].Next
		if from > 0 && from < h.Next { // of another branch than ours nothing helps but the place where they part
			e, err := src.Entry(ctx, h.Log, from-1)
			switch {
			case errors.Is(err, ledger.ErrDamaged) || errors.Is(err, ledger.ErrNotFound):
				// It is lost here; what else there is goes out all the same.
			case err != nil:
				return nil, err
			case e.ID() != held[h.Log].ID:
				from = 0
			}
		}
		if from < h.Next {
			p.spans = append(p.spans, span{h.Log, from, h.Next, from})
		}
	}
	for _, s := range statements {
		p.counts.add(Statement, len(s))
	}
	for _, t := range tables {
		p.counts.add(Table, len(t))
	}
	if err := p.survey(ctx, src); err != nil {
		return nil, err
	}
	slices.SortFunc(p.bodies, order)
	return p, nil
}

// survey notes every body and counts what there is.
func (p *Plan) survey(ctx context.Context, src Source) error {
	var newest uint64
	var epochs []int
	for i := range p.spans {
		s := &p.spans[i]
		err := src.Entries(ctx, s.log, s.from, s.to, func(e *ledger.Entry) error {
			newest = max(newest, e.Header.HLC)
			if e.Header.Seq == 0 && e.Frame() != nil {
				p.counts.add(Entry, len(e.Frame()))
				return nil
			}
			p.counts.add(Header, len(e.SignedHeader()))
			if e.Body == nil {
				return nil
			}
			if e.Header.Kind == ledger.KindEpoch {
				epochs = append(epochs, len(p.bodies))
			}
			p.bodies = append(p.bodies, place{uint32(i), rankOf(&e.Header, e.Header.HLC), e.Header.Seq, e.Header.HLC})
			p.counts.add(Body, placeSize+len(e.Body))
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, i := range epochs {
		b := &p.bodies[i]
		b.rank = rankOf(&ledger.Header{Kind: ledger.KindEpoch, HLC: b.hlc}, newest)
	}
	return nil
}

// order puts credentials and prekeys in the order of their making, and the rest
// newest first.
func order(a, b place) int {
	if c := cmp.Compare(a.rank, b.rank); c != 0 {
		return c
	}
	byTime := cmp.Compare(a.hlc, b.hlc)
	if a.rank > rankControl {
		byTime = -byTime
	}
	if byTime != 0 {
		return byTime
	}
	return cmp.Or(cmp.Compare(a.span, b.span), cmp.Compare(a.seq, b.seq))
}

// Counts is what the plan holds.
func (p *Plan) Counts() Counts { return p.counts }

// AddEvidence has the bundle carry an entry of a branch of a forked log, if it is
// one that [ledger.MarshalEvidence] made.
func (p *Plan) AddEvidence(raw []byte) {
	p.evidence = append(p.evidence, raw)
	p.counts.add(Evidence, len(raw))
}

// Frontier is the creator's frontier that the plan was made from.
func (p *Plan) Frontier() ledger.Frontier { return p.frontier }

// Write writes the plan to w, as far as it fits. progress, if set, is called
// with the bytes of records written so far.
func (p *Plan) Write(ctx context.Context, src Source, w *Writer, progress func(done uint64)) error {
	err := errors.Join(putAll(w, Statement, p.Statements), putAll(w, Table, p.Tables))
	for i := 0; err == nil && i < len(p.spans); i++ { // who people are
		if s := &p.spans[i]; s.from == 0 {
			err = p.headers(ctx, src, w, s, 1)
		}
	}
	for i := 0; err == nil && i < len(p.bodies); i++ {
		b := p.bodies[i]
		if err = p.headers(ctx, src, w, &p.spans[b.span], b.seq+1); err == nil {
			err = p.body(ctx, src, w, b)
		}
		tell(progress, w)
	}
	for i := 0; err == nil && i < len(p.spans); i++ { // of entries whose bodies are not held
		err = p.headers(ctx, src, w, &p.spans[i], p.spans[i].to)
	}
	if err == nil {
		err = putAll(w, Evidence, p.evidence)
	}
	if errors.Is(err, ErrFull) {
		return nil // what matters most is in; the end says how much that is
	}
	return err
}

// headers writes the headers of a log before to that are not written yet.
func (p *Plan) headers(ctx context.Context, src Source, w *Writer, s *span, to uint64) error {
	if s.next >= to {
		return nil
	}
	return src.Entries(ctx, s.log, s.next, to, func(e *ledger.Entry) error {
		t, data := Header, e.SignedHeader()
		if e.Header.Seq == 0 && e.Frame() != nil {
			t, data = Entry, e.Frame()
		}
		if err := w.Put(t, data); err != nil {
			return err
		}
		s.next = e.Header.Seq + 1
		return nil
	})
}

func (p *Plan) body(ctx context.Context, src Source, w *Writer, b place) error {
	log := p.spans[b.span].log
	e, err := src.Entry(ctx, log, b.seq)
	if err != nil || e.Body == nil { // erased since the plan was made
		return err
	}
	return w.Body(log, b.seq, e.Body)
}

func tell(progress func(uint64), w *Writer) {
	if progress != nil {
		progress(w.counts.Bytes)
	}
}

func putAll(w *Writer, t Type, all [][]byte) error {
	for _, data := range all {
		if err := w.Put(t, data); err != nil {
			return err
		}
	}
	return nil
}
