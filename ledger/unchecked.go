package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// This file remembers which entries came in a proved range and have not had
// their own signatures checked: they are stored and stand in the chain, but
// nothing hands them out. Whoever reads through the exported methods of [Logs]
// gets an entry only after its signature was checked; [Logs.Check]
// works through the rest. An entry whose signature is wrong was spoilt on the
// way: its place is lost until somebody else brings it, and whoever carried it is
// named. Its author, who signed the whole, is not to blame.

const (
	// maxCarrier bounds the name of a carrier, which the ledger does not read.
	maxCarrier = 64
	// maxRuns bounds the runs that are remembered of one log. Beyond it
	// neighbouring spoilt places are counted as one with all between them, which
	// costs that these are fetched again.
	maxRuns = 1024
	// runSize is the encoded size of a run.
	runSize = 8 + 8 + 1 + 2
)

// run is a part of a log.
type run struct {
	span
	spoilt  bool   // the signatures are wrong; else they are not checked yet
	carrier string // who brought it, for whoever asked to append it
}

// doubt is what of one log is unchecked or spoilt. runs is what is on disk, and
// replaced, never changed; the rest is what was found since and not written yet.
type doubt struct {
	runs  []run // rising, apart
	good  spans // places of runs that were checked
	wrong spans // places of runs that turned out spoilt
}

// at returns the run of a place, and false if its signature was checked.
func (d *doubt) at(seq uint64) (run, bool) {
	i, found := slices.BinarySearchFunc(d.runs, seq, func(r run, seq uint64) int {
		switch {
		case r.to <= seq:
			return -1
		case r.from > seq:
			return 1
		}
		return 0
	})
	if !found || d.good.has(seq) {
		return run{}, false
	}
	r := d.runs[i]
	r.spoilt = r.spoilt || d.wrong.has(seq)
	return r, true
}

// addRun appends a place behind all runs.
func addRun(runs []run, seq uint64, carrier string) []run {
	if n := len(runs); n > 0 && runs[n-1].to == seq && !runs[n-1].spoilt && runs[n-1].carrier == carrier {
		runs[n-1].to++
		return runs
	}
	return append(runs, run{span: span{seq, seq + 1}, carrier: carrier})
}

// without returns runs without some places.
func without(runs []run, gone *spans) []run {
	var out []run
	for _, r := range runs {
		from := r.from
		for i := gone.find(from); i < len(gone.list) && gone.list[i].from < r.to; i++ {
			if g := gone.list[i]; g.from > from {
				out = append(out, run{span{from, g.from}, r.spoilt, r.carrier})
			}
			from = gone.list[i].to
		}
		if from < r.to {
			out = append(out, run{span{from, r.to}, r.spoilt, r.carrier})
		}
	}
	return out
}

// minus returns what of a is not in b.
func minus(a, b spans) spans {
	var runs []run
	for _, s := range a.list {
		runs = append(runs, run{span: s})
	}
	var out spans
	for _, r := range without(runs, &b) {
		out.list = append(out.list, r.span)
	}
	return out
}

// settled returns the runs as they are once what was found is written.
func (d *doubt) settled() []run {
	var out []run
	for _, r := range without(d.runs, &d.good) {
		if r.spoilt {
			out = joinRun(out, r)
			continue
		}
		from := r.from
		for i := d.wrong.find(from); i < len(d.wrong.list) && d.wrong.list[i].from < r.to; i++ {
			w := d.wrong.list[i]
			if w.from > from {
				out = joinRun(out, run{span{from, w.from}, false, r.carrier})
			}
			lo, hi := max(w.from, from), min(w.to, r.to)
			out, from = joinRun(out, run{span{lo, hi}, true, r.carrier}), hi
		}
		if from < r.to {
			out = joinRun(out, run{span{from, r.to}, false, r.carrier})
		}
	}
	for len(out) > maxRuns {
		fewer := halve(out)
		if len(fewer) == len(out) {
			break
		}
		out = fewer
	}
	return out
}

// joinRun appends a run, to the last one where it carries on from that.
func joinRun(runs []run, r run) []run {
	if n := len(runs); n > 0 && runs[n-1].to == r.from && runs[n-1].spoilt == r.spoilt && runs[n-1].carrier == r.carrier {
		runs[n-1].to = r.to
		return runs
	}
	return append(runs, r)
}

// halve joins pairs of spoilt runs of one carrier, with all between them.
func halve(runs []run) []run {
	var out []run
	for i := 0; i < len(runs); i++ {
		r := runs[i]
		if i+1 < len(runs) && r.spoilt && runs[i+1].spoilt && runs[i+1].carrier == r.carrier {
			i++
			r.to = runs[i].to
		}
		out = append(out, r)
	}
	return out
}

// marshalRuns encodes a record of [TableUnchecked] (FORMAT.md, "Proved range").
func marshalRuns(id LogID, runs []run) ([]byte, error) {
	index := make(map[string]uint16)
	var carriers []string
	for _, r := range runs {
		if _, ok := index[r.carrier]; !ok {
			index[r.carrier] = uint16(len(carriers))
			carriers = append(carriers, r.carrier)
		}
	}
	var b cryptobyte.Builder
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, c := range carriers {
			b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(c)) })
		}
	})
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, r := range runs {
			b.AddUint64(r.from)
			b.AddUint64(r.to)
			b.AddUint8(stateOfRun(r))
			b.AddUint16(index[r.carrier])
		}
	})
	data, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("ledger: what is unchecked of log %s: %w", id, err)
	}
	return slices.Concat(runsCheck(id, data), data), nil
}

func stateOfRun(r run) uint8 {
	if r.spoilt {
		return 1
	}
	return 0
}

func runsCheck(id LogID, data []byte) []byte {
	h := sha256.New()
	h.Write([]byte("tocsin/1 unchecked\x00"))
	log := id.Bytes()
	h.Write(log[:])
	h.Write(data)
	return h.Sum(nil)[:checkSize]
}

// parseRuns reads what marshalRuns wrote, all of value.
func parseRuns(id LogID, value []byte) ([]run, error) {
	bad := fmt.Errorf("%w: the record of what is unchecked of log %s cannot be read", ErrDamaged, id)
	if len(value) < checkSize || !bytes.Equal(runsCheck(id, value[checkSize:]), value[:checkSize]) {
		return nil, bad
	}
	s := cryptobyte.String(value[checkSize:])
	var names, list cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&names) || !s.ReadUint24LengthPrefixed(&list) || !s.Empty() || len(list)%runSize != 0 {
		return nil, bad
	}
	var carriers []string
	for !names.Empty() {
		var name cryptobyte.String
		if !names.ReadUint8LengthPrefixed(&name) || len(name) > maxCarrier {
			return nil, bad
		}
		carriers = append(carriers, string(name))
	}
	runs := make([]run, 0, len(list)/runSize)
	for !list.Empty() {
		var r run
		var state uint8
		var c uint16
		ok := list.ReadUint64(&r.from) && list.ReadUint64(&r.to) && list.ReadUint8(&state) && list.ReadUint16(&c)
		if !ok || r.from == 0 || r.from >= r.to || r.to > MaxSeq+1 || state > 1 || int(c) >= len(carriers) ||
			len(runs) > 0 && runs[len(runs)-1].to > r.from {
			return nil, bad
		}
		r.spoilt, r.carrier = state == 1, carriers[c]
		runs = append(runs, r)
	}
	if again, err := marshalRuns(id, runs); err != nil || !bytes.Equal(again, value) {
		return nil, bad // there is one encoding
	}
	return runs, nil
}

// loadUnchecked reads the table. A record that cannot be read makes all of its
// log unchecked, but for the first entry, which never comes in a proved range.
func (l *Logs) loadUnchecked(ctx context.Context) error {
	return l.store.Each(ctx, TableUnchecked, func(id LogID, value []byte) error {
		st := l.logs[id]
		if st == nil || st.next < 2 {
			return nil
		}
		runs, err := parseRuns(id, value)
		if err != nil {
			runs = []run{{span: span{1, st.next}}}
		}
		l.setRuns(id, runs)
		for _, r := range runs {
			if r.spoilt {
				l.loseLocked(id, r.from, r.to)
			}
		}
		return nil
	})
}

// setRuns replaces what is on disk of a log. What was found since stays, where it
// still is in a run. The caller holds mu, or is [Open].
func (l *Logs) setRuns(id LogID, runs []run) {
	d := l.doubts[id]
	switch {
	case len(runs) == 0 && d == nil:
		return
	case len(runs) == 0:
		delete(l.doubts, id)
	case d == nil:
		l.doubts[id] = &doubt{runs: runs}
	default:
		d.runs = runs
	}
	if st := l.logs[id]; st != nil {
		l.print(id, st)
	}
}

// checked returns the first place of a log whose signature was not found right.
// The caller holds mu.
func (l *Logs) checked(id LogID, st *logState) uint64 {
	if d := l.doubts[id]; d != nil {
		return min(d.runs[0].from, st.next)
	}
	return st.next
}

// uncheckedNext returns how many entries are held of a log of which something is
// in doubt, and 0 for other logs.
func (l *Logs) uncheckedNext(id LogID) uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.doubts[id] == nil {
		return 0
	}
	return l.logs[id].next
}

// Checked returns the sequence number of the first entry of a log that came in a
// proved range and whose own signature was not found right; where there is none,
// the number of entries held. Everything below may be cosigned and promised.
func (l *Logs) Checked(id LogID) uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	st := l.logs[id]
	if st == nil {
		return 0
	}
	return l.checked(id, st)
}

// SpoiltBy returns who carried the entry at a place whose signature turned out
// wrong, as it was given to [Logs.AppendProved], and false for other places.
func (l *Logs) SpoiltBy(id LogID, seq uint64) (carrier []byte, spoilt bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	d := l.doubts[id]
	if d == nil {
		return nil, false
	}
	r, doubted := d.at(seq)
	if !doubted || !r.spoilt {
		return nil, false
	}
	return []byte(r.carrier), true
}

// doubted returns the run of a place whose signature was not checked, or is
// wrong.
func (l *Logs) doubted(id LogID, seq uint64) (run, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if d := l.doubts[id]; d != nil {
		return d.at(seq)
	}
	return run{}, false
}

// doubtsIn returns a function that says of a place with from <= seq < to whether
// it is in doubt now; nil if none is.
func (l *Logs) doubtsIn(id LogID, from, to uint64) func(seq uint64) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	d := l.doubts[id]
	if d == nil || !slices.ContainsFunc(d.runs, func(r run) bool { return r.from < to && from < r.to }) {
		return nil
	}
	now := doubt{runs: d.runs, good: spans{slices.Clone(d.good.list)}}
	return func(seq uint64) bool { _, doubted := now.at(seq); return doubted }
}

const spoiltWords = "its signature was spoilt by whoever brought it; it is asked for elsewhere"

// vouched reads an entry in doubt and checks its signature. One that is wrong is
// lost and matches [ErrDamaged].
func (l *Logs) vouched(ctx context.Context, id LogID, seq uint64) (*Entry, error) {
	for {
		mended := l.mended.Load()
		e, err := l.entry(ctx, id, seq)
		if err != nil {
			return nil, err
		}
		right := e.verifySignature() == nil
		if l.judge(id, seq, right, mended) && !right {
			return nil, damaged(id, seq, spoiltWords)
		}
		if right {
			return e, nil
		}
	}
}

// judge notes whether the signature at a place in doubt is right, unless places
// were written again since mended was read: then it reports false.
func (l *Logs) judge(id LogID, seq uint64, right bool, mended uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mended.Load() != mended {
		return false
	}
	d := l.doubts[id]
	if d == nil {
		return true
	}
	switch r, doubted := d.at(seq); {
	case !doubted:
	case right && !r.spoilt:
		d.good.add(seq, seq+1)
	case !right:
		if !r.spoilt {
			d.wrong.add(seq, seq+1)
			l.spoilt = append(l.spoilt, Spoilt{Log: id, Seq: seq, Carrier: []byte(r.carrier)})
		}
		l.loseLocked(id, seq, seq+1)
	}
	return true
}

// sound reports whether an entry that is held can be shown to others: its
// signature was checked, or is right.
func (l *Logs) sound(e *Entry) bool {
	_, doubted := l.doubted(e.Header.Log(), e.Header.Seq)
	return !doubted || e.verifySignature() == nil
}

// inDoubt returns the logs of which something is not checked yet, or was found
// and is not written, in order.
func (l *Logs) inDoubt() []LogID {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var ids []LogID
	for id, d := range l.doubts {
		if _, more := d.next(0, l.lost[id]); more || len(d.good.list)+len(d.wrong.list) > 0 {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, LogID.Compare)
	return ids
}

// moreToCheck reports whether something can be checked now.
func (l *Logs) moreToCheck() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for id, d := range l.doubts {
		if _, more := d.next(0, l.lost[id]); more {
			return true
		}
	}
	return false
}

// doubtedEntries counts what is unchecked and what is spoilt. The caller holds mu.
func (l *Logs) doubtedEntries() (unchecked, spoilt uint64) {
	for _, d := range l.doubts {
		for _, r := range d.settled() {
			if r.spoilt {
				spoilt += r.to - r.from
			} else {
				unchecked += r.to - r.from
			}
		}
	}
	return unchecked, spoilt
}
