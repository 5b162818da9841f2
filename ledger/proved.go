package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// AppendProved stores a range that [VerifyRange] proved, each entry without its
// body and marked as unchecked, durably and in the same commit: nothing hands an
// entry out before its own signature was checked. carrier, of at most 64 bytes, is
// who brought the range, for whoever [Logs.Check] names. at is the present time.
//
// Entries that are held already are [Known]. It stops at the first one that it
// does not take, whose outcome says why; outcomes are those of the entries up to
// there. What is left goes through [Logs.AppendBatch], with every signature
// checked: so does what does not continue a log of which the first entry is held,
// and whatever is of this device's own author.
func (l *Logs) AppendProved(ctx context.Context, p Proved, carrier []byte, at time.Time) ([]Outcome, error) {
	if len(carrier) > maxCarrier {
		return nil, fmt.Errorf("ledger: the name of a carrier has %d bytes; at most %d are allowed", len(carrier), maxCarrier)
	}
	var out []Outcome
	for entries := p.entries; len(entries) > 0; {
		n := provedPrefix(entries)
		r := &request{proved: entries[:n], carrier: string(carrier), at: at}
		if err := l.submit(ctx, r); err != nil {
			return out, err
		}
		out = append(out, r.outcomes...)
		if len(r.outcomes) < n || !taken(r.outcomes[n-1]) {
			break
		}
		entries = entries[n:]
	}
	return out, nil
}

func taken(o Outcome) bool { return o == Appended || o == Known }

// provedPrefix says how many of the entries fit one commit; at least one does.
func provedPrefix(entries []*Entry) int {
	bytes := 0
	for i, e := range entries {
		bytes += storedSize(e)
		if i > 0 && (bytes > maxRoundBytes || i >= maxBatchEntries) {
			return i
		}
	}
	return len(entries)
}

// prove decides a request with a proved range.
func (r *round) prove(q *request) {
	r.at = q.at
	before := r.size()
	for _, e := range q.proved {
		o := r.addProved(e, q.carrier)
		q.outcomes = append(q.outcomes, o)
		r.tally(o)
		if !taken(o) {
			break
		}
	}
	if r.size() != before {
		r.part = append(r.part, q)
	}
	r.drainable = append(r.drainable, q.proved[0].Header.Log())
}

// addProved decides one entry of a proved range.
func (r *round) addProved(e *Entry, carrier string) Outcome {
	e = r.l.keepErased(e)
	id, seq := e.Header.Log(), e.Header.Seq
	st := r.state(id)
	switch {
	case seq < st.next:
		return Known
	case seq > st.next || seq == 0 || r.l.ofOwnAuthor(id):
		return Penned // not taken in this way
	case st.closedAt(seq) || e.Header.Prev != st.head:
		return Forked
	}
	checked := false
	if held := r.l.penned(id, seq); held != nil {
		switch {
		case held.id == e.id:
			e, checked = held, true
		case e.verifySignature() != nil:
			return Forked // no proof of a fork can be made of it
		}
	}
	o := r.append(id, st, e)
	if o == Appended && !checked {
		r.runs[id] = addRun(r.runsOf(id), seq, carrier)
	}
	return o
}

// runsOf returns a copy of what is unchecked or spoilt of a log, as this round
// sees it.
func (r *round) runsOf(id LogID) []run {
	if runs, ok := r.runs[id]; ok {
		return runs
	}
	r.l.mu.RLock()
	defer r.l.mu.RUnlock()
	if d := r.l.doubts[id]; d != nil {
		return append([]run(nil), d.runs...)
	}
	return nil
}

// clear takes a place out of what is unchecked or spoilt: an entry whose
// signature was checked stands there now.
func (r *round) clear(id LogID, seq uint64) {
	if _, doubted := r.l.doubted(id, seq); !doubted {
		if _, changed := r.runs[id]; !changed {
			return
		}
	}
	r.runs[id] = without(r.runsOf(id), &spans{[]span{{seq, seq + 1}}})
}

// writeRuns adds the records of what changed in what is unchecked.
func (r *round) writeRuns() error {
	for id, runs := range r.runs {
		value, err := marshalRuns(id, runs)
		if err != nil {
			return err
		}
		r.records = append(r.records, Record{Table: TableUnchecked, Log: id, Value: value})
		r.bytes += len(value)
	}
	return nil
}

// Spoilt is an entry of a proved range whose signature turned out wrong: it was
// changed on the way. Its place is among [Logs.Lost] until another brings it.
type Spoilt struct {
	Log     LogID
	Seq     uint64
	Carrier []byte // as given to [Logs.AppendProved]; empty if that is not known any more
}

// CheckReport is what one step of [Logs.Check] did.
type CheckReport struct {
	Checked uint64   // signatures that were checked
	Spoilt  []Spoilt // found since the last step, by it or by whoever read them
	More    bool     // there is more to check
}

// Check checks the signatures of about budget unchecked entries, in the order of
// logs, and makes durable what was found. It reads no clock: the caller decides
// how often and how much. The error is the context's or the store's.
func (l *Logs) Check(ctx context.Context, budget int) (CheckReport, error) {
	var rep CheckReport
	left := uint64(max(budget, 1))
	var touched []LogID
	for _, id := range l.inDoubt() {
		if left == 0 {
			rep.More = true
			break
		}
		n, err := l.checkLog(ctx, id, left)
		rep.Checked += n
		left -= n
		if err != nil {
			return rep, err
		}
		touched = append(touched, id)
	}
	for _, id := range touched {
		if err := l.writeFound(ctx, id); err != nil {
			return rep, err
		}
	}
	l.mu.Lock()
	rep.Spoilt, l.spoilt = l.spoilt, nil
	l.mu.Unlock()
	rep.More = rep.More || l.moreToCheck()
	return rep, nil
}

// next returns the first place from one on that is to be checked. Spoilt places
// and those that are lost already are not.
func (d *doubt) next(from uint64, lost *spans) (uint64, bool) {
	for _, r := range d.runs {
		if r.spoilt || r.to <= from {
			continue
		}
		for seq := max(r.from, from); seq < r.to; {
			skipped := false
			for _, s := range []*spans{&d.good, &d.wrong, lost} {
				if s == nil {
					continue
				}
				if i := s.find(seq); i < len(s.list) && s.list[i].from <= seq {
					seq, skipped = s.list[i].to, true
				}
			}
			if !skipped {
				return seq, true
			}
		}
	}
	return 0, false
}

// checkLog checks up to budget entries of one log.
func (l *Logs) checkLog(ctx context.Context, id LogID, budget uint64) (n uint64, err error) {
	for from := uint64(0); n < budget; n++ {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		l.mu.RLock()
		d, seq, more := l.doubts[id], uint64(0), false
		if d != nil {
			seq, more = d.next(from, l.lost[id])
		}
		l.mu.RUnlock()
		if !more {
			return n, nil
		}
		if _, err := l.vouched(ctx, id, seq); err != nil && !errors.Is(err, ErrDamaged) {
			return n, err
		}
		from = seq + 1
	}
	return n, nil
}

// writeFound makes durable what was found of a log.
func (l *Logs) writeFound(ctx context.Context, id LogID) error {
	var runs []run
	var good, wrong spans // what is written; more may be found meanwhile
	r := &request{log: id}
	r.edit = func(context.Context) ([]Record, error) {
		l.mu.RLock()
		defer l.mu.RUnlock()
		d := l.doubts[id]
		if d == nil || len(d.good.list)+len(d.wrong.list) == 0 {
			return nil, nil
		}
		runs = d.settled()
		good, wrong = spans{slices.Clone(d.good.list)}, spans{slices.Clone(d.wrong.list)}
		value, err := marshalRuns(id, runs)
		return []Record{{Table: TableUnchecked, Log: id, Value: value}}, err
	}
	r.after = func() {
		d := l.doubts[id]
		d.good, d.wrong = minus(d.good, good), minus(d.wrong, wrong)
		for _, lost := range runs {
			if lost.spoilt { // settled may have joined some
				l.loseLocked(id, lost.from, lost.to)
			}
		}
		l.setRuns(id, runs)
	}
	return l.submit(ctx, r)
}

// SignedOf returns header ‖ signature of what [Entry.HeaderFrame] wrote, which it
// neither copies nor checks further. Errors match [ErrInvalid].
func SignedOf(headerFrame []byte) ([]byte, error) {
	signed, _, err := parseHeaderFrame(headerFrame)
	return signed, err
}

// Spoilers returns, by carrier, how many places are lost here because their
// entries were spoilt on the way.
func (l *Logs) Spoilers() map[string]uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	out := make(map[string]uint64)
	for _, d := range l.doubts {
		for _, r := range d.settled() {
			if r.spoilt {
				out[r.carrier] += r.to - r.from
			}
		}
	}
	return out
}
