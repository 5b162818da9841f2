package ledger

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"tocsin/crypto/identity"
)

// Tree returns the fingerprints of all heads ([ScopeHeaders]). It follows the
// logs by itself.
func (l *Logs) Tree() *Tree { return l.tree }

// print keeps the tree in step with the state of a log. The caller holds mu.
func (l *Logs) print(id LogID, st *logState) {
	if st.next == 0 && st.fork == nil {
		return
	}
	m := markOf(id, st)
	if checked := l.checked(id, st); checked < m.Next {
		// Nothing is claimed that cannot be handed out yet.
		m.Next, m.ID = checked, [32]byte{}
	}
	l.tree.Set(m)
}

// markOf is what a node says of a log. Of a fork whose two entries follow one
// entry everything below is common to all branches, so that nothing remains to
// be compared once all of that is held.
func markOf(id LogID, st *logState) Mark {
	m := Mark{Log: id, Next: st.next, ID: st.head}
	if st.fork == nil {
		return m
	}
	m.Fork = st.fork.print()
	if st.next >= st.fork.Seq && st.fork.lowest() {
		m.Next, m.ID = st.fork.Seq, [32]byte{}
	}
	return m
}

// lowest reports whether the two entries follow the same one, so that no lower
// fork hides below them.
func (f *Fork) lowest() bool { return f.First.Header.Prev == f.Second.Header.Prev }

// Need is what a comparison of heads leads to.
type Need struct {
	// Wants are ranges to ask for, newest log first as far as is known.
	Wants []Want
	// Proofs are logs of which the other side shows another fork proof.
	Proofs []LogID
	// Branches are heads that contradict ours: the place where the branches part
	// is to be found ([Bisect]) and both entries there are the proof.
	Branches []Mark
}

// Need judges the marks of a neighbour that differ from ours: what is worth
// asking for, no more of a log than could be kept and nothing that waits in the
// pen already.
func (l *Logs) Need(theirs []Mark, at time.Time) Need {
	var n Need
	for _, t := range theirs {
		mine, held := l.tree.Get(t.Log)
		if next := l.uncheckedNext(t.Log); next > mine.Next {
			mine.Next, mine.ID = next, [32]byte{} // the rest is asked for as it is lost
		}
		if t.Fork != [32]byte{} && !t.SameProof(mine) {
			n.Proofs = append(n.Proofs, t.Log)
		}
		switch {
		case t.Next > mine.Next:
			if w, ok := l.worth(Want{Log: t.Log, From: mine.Next, To: t.Next}, at); ok {
				n.Wants = append(n.Wants, subtract(w, l.Islands(t.Log))...)
			}
		case held && t.Next > 0 && t.ID != [32]byte{} && mine.ID != [32]byte{} && (t.Next < mine.Next || t.ID != mine.ID):
			n.Branches = append(n.Branches, t)
		}
	}
	return n
}

// Lacks reports whether another's marks say that it holds entries which are not held here,
// whether or not they would be taken.
func (l *Logs) Lacks(theirs []Mark) bool {
	return slices.ContainsFunc(theirs, func(t Mark) bool {
		mine, _ := l.tree.Get(t.Log)
		return t.Next > max(mine.Next, l.uncheckedNext(t.Log))
	})
}

// Fork returns the proof that closes a log, and false if there is none.
func (l *Logs) Fork(id LogID) (Fork, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	st := l.logs[id]
	if st == nil || st.fork == nil {
		return Fork{}, false
	}
	return *st.fork, true
}

// ParseHeaderFrame reads the header of a header frame without checking its
// signature: enough to see whether it is what was asked for.
func ParseHeaderFrame(b []byte) (Header, error) {
	signed, _, err := parseHeaderFrame(b)
	if err != nil {
		return Header{}, err
	}
	if len(signed) > MaxSignedHeader {
		return Header{}, invalid("signed header of %d bytes is longer than %d", len(signed), MaxSignedHeader)
	}
	e, err := parseSigned(signed)
	if err != nil {
		return Header{}, err
	}
	return e.Header, nil
}

// Islands returns the ranges of a log that wait in the pen, ahead of a gap or
// of their author's credential, in rising order.
func (l *Logs) Islands(id LogID) []Want {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.pen.islands(id)
}

func (p *pen) islands(id LogID) []Want {
	a := p.authors[id.Author]
	if a == nil || len(a.logs[id]) == 0 {
		return nil
	}
	seqs := make([]uint64, 0, len(a.logs[id]))
	for seq := range a.logs[id] {
		seqs = append(seqs, seq)
	}
	slices.Sort(seqs)
	return Ranges(id, seqs)
}

// Ranges turns rising sequence numbers into the ranges that they make up.
func Ranges(id LogID, seqs []uint64) []Want {
	var out []Want
	for _, seq := range seqs {
		if n := len(out); n > 0 && out[n-1].To == seq {
			out[n-1].To++
			continue
		}
		out = append(out, Want{Log: id, From: seq, To: seq + 1})
	}
	return out
}

// subtract returns what is left of w without the islands, which rise.
func subtract(w Want, islands []Want) []Want {
	var out []Want
	for _, i := range islands {
		if i.To <= w.From || i.From >= w.To {
			continue
		}
		if i.From > w.From {
			out = append(out, Want{Log: w.Log, From: w.From, To: i.From})
		}
		w.From = i.To
	}
	if w.From < w.To {
		out = append(out, w)
	}
	return out
}

// Bisect finds the lowest place at which two branches of a log differ. Below
// lo they are the same, at hi they differ. Each step asks for the header at
// [Bisect.Place] and says with [Bisect.Take] whether it was the same as ours.
type Bisect struct{ lo, hi uint64 }

// NewBisect starts from a place, hi, at which the branches differ.
func NewBisect(hi uint64) *Bisect { return &Bisect{hi: hi} }

// Place returns the next place to compare, and true when it is the lowest at
// which the branches differ. From a head the steps grow before they shrink,
// because branches mostly part a short way back.
func (b *Bisect) Place() (seq uint64, found bool) {
	if b.lo == b.hi {
		return b.hi, true
	}
	return b.lo + (b.hi-b.lo)/2, false
}

// Take says what was found at [Bisect.Place].
func (b *Bisect) Take(same bool) {
	mid := b.lo + (b.hi-b.lo)/2
	if same {
		b.lo = mid + 1
	} else {
		b.hi = mid
	}
}

// Class is a traffic class, from the most urgent. Classes share a session by
// weights ([Share]), so that bulk never starves what is urgent.
type Class uint8

// The classes, with weights 8, 4, 2 and 1.
const (
	ClassControl Class = 0 // control and epoch entries, headers, statements: what the rest needs to be read
	ClassUrgent  Class = 1 // stat and urgent
	ClassRoutine Class = 2
	ClassBulk    Class = 3 // expired or long past
	Classes            = 4
)

// bulkAge is the age, by the author's clock, beyond which delivery is not
// promised any more (protocol §4), so that a body comes last.
const bulkAge = 28 * 24 * time.Hour

// ClassOf returns the class of an entry's body.
func ClassOf(h *Header, now time.Time) Class {
	switch {
	case h.Kind == KindControl || h.Kind == KindEpoch:
		return ClassControl
	case h.Priority >= Urgent:
		return ClassUrgent
	}
	sent := time.UnixMilli(int64(h.HLC >> 16))
	if age := now.Sub(sent); age > bulkAge || h.LifetimeS > 0 && age > time.Duration(h.LifetimeS)*time.Second {
		return ClassBulk
	}
	return ClassRoutine
}

// Request is a range to ask for, in its class.
type Request struct {
	Want
	Class Class
	Piece Piece
}

// MaxRange is the longest range of one request, in entries: a neighbour can
// answer it with no more, whatever it claims to hold.
const MaxRange = 512

// Plan puts the bodies of these entries into requests, most urgent class
// first, in it the newest first.
func Plan(absent []*Entry, now time.Time) []Request {
	sorted := slices.Clone(absent)
	slices.SortStableFunc(sorted, func(a, b *Entry) int {
		return cmp.Or(
			cmp.Compare(ClassOf(&a.Header, now), ClassOf(&b.Header, now)),
			cmp.Compare(b.Header.Priority, a.Header.Priority),
			cmp.Compare(b.Header.HLC, a.Header.HLC),
			a.Header.Log().Compare(b.Header.Log()),
			cmp.Compare(b.Header.Seq, a.Header.Seq),
		)
	})
	var out []Request
	for _, e := range sorted {
		id, seq, class := e.Header.Log(), e.Header.Seq, ClassOf(&e.Header, now)
		if n := len(out); n > 0 && out[n-1].Log == id && out[n-1].Class == class &&
			out[n-1].From == seq+1 && out[n-1].To-out[n-1].From < MaxRange {
			out[n-1].From = seq
			continue
		}
		out = append(out, Request{Want: Want{Log: id, From: seq, To: seq + 1}, Class: class, Piece: PieceBody})
	}
	return out
}

// Cut divides ranges so that none is longer than [MaxRange].
func Cut(wants []Want) []Want {
	var out []Want
	for _, w := range wants {
		for w.To-w.From > MaxRange {
			out = append(out, Want{Log: w.Log, From: w.From, To: w.From + MaxRange})
			w.From += MaxRange
		}
		out = append(out, w)
	}
	return out
}

// Absence is which bodies a node lacks and would like to have, with the tree
// that compares it ([ScopeBodies]). It is not safe for concurrent use.
type Absence struct {
	tree  *Tree
	logs  map[LogID]map[uint64]struct{}
	stale map[LogID]struct{} // changed since the tree was
}

// NewAbsence returns an empty set.
func NewAbsence() *Absence {
	return &Absence{tree: NewTree(ScopeBodies), logs: make(map[LogID]map[uint64]struct{}), stale: make(map[LogID]struct{})}
}

// Tree returns the fingerprints of what is absent now.
func (a *Absence) Tree() *Tree {
	for id := range a.stale {
		a.print(id)
	}
	clear(a.stale)
	return a.tree
}

// Len returns the number of logs of which bodies are absent.
func (a *Absence) Len() int { return len(a.logs) }

// Add notes absent bodies of one log.
func (a *Absence) Add(id LogID, seqs ...uint64) {
	if len(seqs) == 0 {
		return
	}
	if a.logs[id] == nil {
		a.logs[id] = make(map[uint64]struct{})
	}
	for _, seq := range seqs {
		a.logs[id][seq] = struct{}{}
	}
	a.stale[id] = struct{}{}
}

// Remove notes bodies that came, or that are wanted no more.
func (a *Absence) Remove(id LogID, seqs ...uint64) {
	if a.logs[id] == nil {
		return
	}
	for _, seq := range seqs {
		delete(a.logs[id], seq)
	}
	if len(a.logs[id]) == 0 {
		delete(a.logs, id)
	}
	a.stale[id] = struct{}{}
}

// Bodies returns the number of absent bodies.
func (a *Absence) Bodies() int {
	n := 0
	for _, seqs := range a.logs {
		n += len(seqs)
	}
	return n
}

// Has reports whether a body is absent.
func (a *Absence) Has(id LogID, seq uint64) bool {
	_, ok := a.logs[id][seq]
	return ok
}

// Of returns the absent ranges of a log, rising.
func (a *Absence) Of(id LogID) []Want {
	seqs := make([]uint64, 0, len(a.logs[id]))
	for seq := range a.logs[id] {
		seqs = append(seqs, seq)
	}
	slices.Sort(seqs)
	return Ranges(id, seqs)
}

// All returns the logs of which bodies are absent, in order.
func (a *Absence) All() []LogID {
	ids := make([]LogID, 0, len(a.logs))
	for id := range a.logs {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, identity.LogID.Compare)
	return ids
}

func (a *Absence) print(id LogID) {
	if len(a.logs[id]) == 0 {
		a.tree.Remove(id)
		return
	}
	h := sha256.New()
	for _, w := range a.Of(id) {
		h.Write(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, w.From), w.To))
	}
	a.tree.Set(Mark{Log: id, Next: uint64(len(a.logs[id])), ID: [32]byte(h.Sum(nil))})
}
