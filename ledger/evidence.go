package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
)

// What is known of the two branches of a forked log. One of them, or none, stands
// in the log; entries of the other are kept out of it, as evidence, in
// TableEvidence: they count for nothing and are shown as what they are.
//
// Everybody keeps the same: a branch begins with one of the two entries of the
// proof, and at each further place it has the entry with the lowest id that
// follows the one before, up to [MaxBranch] of them. That is a pure function of
// the entries known, so that devices which exchange what they have end with the
// same branches, in whatever order they meet.

// link is one entry of a branch.
type link struct {
	id    ID
	size  uint32 // of the body, by the header
	where where
	bare  bool // the body is not held and would be kept
}

// where an entry of a branch is kept.
type where uint8

const (
	inProof where = iota // its header, in the proof
	inLog                // in the log, where the fork was found late
	inSlot0              // in TableEvidence, in one of the two slots of its place
	inSlot1
)

// slotAt is the number of a record of TableEvidence.
func slotAt(seq uint64, slot where) uint64 { return seq<<1 | uint64(slot-inSlot0) }

// Branch is one of the two branches of a forked log.
type Branch struct {
	// Entries begin at the forked place, and each follows the one before; at most
	// [MaxBranch]. Bodies are absent where none is held.
	Entries []*Entry
	// InLog is how many of them, from the first on, stand in the log here.
	InLog int
}

// Branches returns what is held of the two branches of a forked log, in the order
// of the proof. It matches [ErrNotFound] if no fork of the log is known, and
// [ErrDamaged] if the disk does not hold what it should.
func (l *Logs) Branches(ctx context.Context, id LogID) ([2]Branch, error) {
	var out [2]Branch
	f, ok := l.Fork(id)
	if !ok {
		return out, ErrNotFound
	}
	for b, chain := range f.branches {
		for i, k := range chain {
			e, err := l.linked(ctx, &f, b, i)
			if err != nil {
				return out, err
			}
			if k.where == inLog {
				out[b].InLog++
			}
			out[b].Entries = append(out[b].Entries, e)
		}
	}
	return out, nil
}

// linked reads an entry of a branch.
func (l *Logs) linked(ctx context.Context, f *Fork, b, i int) (*Entry, error) {
	k, seq := f.branches[b][i], f.Seq+uint64(i)
	var e *Entry
	var err error
	switch k.where {
	case inProof:
		e = f.root(b)
	case inLog:
		e, err = l.Entry(ctx, f.Log, seq)
	default:
		e, err = l.slot(ctx, f.Log, seq, k.where)
	}
	if err == nil && e.id != k.id {
		err = damaged(f.Log, seq, "another entry is among the evidence of its fork")
	}
	return e, err
}

// slot reads a record of TableEvidence.
func (l *Logs) slot(ctx context.Context, id LogID, seq uint64, slot where) (*Entry, error) {
	value, err := l.store.Get(ctx, TableEvidence, id, slotAt(seq, slot))
	if err != nil {
		return nil, err
	}
	return readStored(id, seq, value)
}

func (f *Fork) root(b int) *Entry {
	if b == 0 {
		return f.First
	}
	return f.Second
}

// beginning is the branches of a fork of which nothing but the proof is known.
func (f *Fork) beginning() [2][]link {
	var out [2][]link
	for b := range out {
		e := f.root(b)
		out[b] = []link{{e.id, e.Header.BodyLen, inProof, true}}
	}
	return out
}

// print is what synchronisation compares of a fork: SHA-256 of the proof, cut to
// 12 bytes, and for each branch how many entries of it are held, and the first 8
// bytes of the id of the last.
func (f *Fork) print() [32]byte {
	var p [32]byte
	proof := sha256.Sum256(f.marshal())
	at := copy(p[:], proof[:printProof])
	for _, chain := range f.branches {
		binary.BigEndian.PutUint16(p[at:], uint16(len(chain)))
		at += 2 + copy(p[at+2:at+printBranch], chain[len(chain)-1].id[:])
	}
	return p
}

const (
	printProof  = 12
	printBranch = 10
)

// printed is one branch as [Fork.print] shows it.
type printed struct {
	n   int
	tip [printBranch - 2]byte
}

func branchOf(p [32]byte, b int) printed {
	at := p[printProof+b*printBranch:]
	return printed{int(binary.BigEndian.Uint16(at)), [printBranch - 2]byte(at[2:])}
}

// SameProof reports whether two marks show the same proof of a fork.
func (m *Mark) SameProof(o Mark) bool {
	return bytes.Equal(m.Fork[:printProof], o.Fork[:printProof])
}

// moreOf reports whether mine may tell the other side something of a fork that
// theirs does not show.
func moreOf(mine, theirs [32]byte) bool {
	if mine == [32]byte{} || mine == theirs {
		return false
	}
	if !bytes.Equal(mine[:printProof], theirs[:printProof]) {
		return true
	}
	for b := range 2 {
		m, t := branchOf(mine, b), branchOf(theirs, b)
		if m != t && m.n >= t.n {
			return true
		}
	}
	return false
}

// Evidence returns from which place on the branches of a forked log are to be
// asked of a neighbour who shows the mark theirs, and false if that would bring
// nothing. again asks for all of them: what lies beyond ours was asked for, and
// the two differ still, so that they part further down.
func (l *Logs) Evidence(theirs Mark, again bool) (Want, bool) {
	f, ok := l.Fork(theirs.Log)
	if !ok {
		return Want{}, false
	}
	from, wanted := f.Seq+MaxBranch, false
	for b, chain := range f.branches {
		place, more := f.Seq+uint64(len(chain)), false
		if theirs.Fork == [32]byte{} {
			place, more = f.Seq, f.tells(theirs)
		} else if !theirs.SameProof(Mark{Fork: f.print()}) {
			return Want{}, false // the proof comes first
		} else if t := branchOf(theirs.Fork, b); t.n <= len(chain) {
			place, more = f.Seq, t.n == 0 || [len(t.tip)]byte(chain[t.n-1].id[:]) != t.tip
		} else {
			more = true
		}
		if more {
			from, wanted = min(from, place), true
		}
	}
	if again {
		from, wanted = f.Seq, wanted && theirs.Fork != [32]byte{}
	}
	return Want{Log: theirs.Log, From: from, To: f.Seq + MaxBranch}, wanted && from < f.Seq+MaxBranch
}

// Bare returns the places of the branches of a forked log from the first one on of
// which a body is not held and would be kept; false if there is none. What
// synchronisation compares says nothing of bodies: any neighbour may have them.
func (l *Logs) Bare(id LogID) (Want, bool) {
	f, ok := l.Fork(id)
	if !ok {
		return Want{}, false
	}
	w := Want{Log: id, From: f.Seq + MaxBranch, To: f.Seq + MaxBranch}
	for _, chain := range f.branches {
		if i := slices.IndexFunc(chain, func(k link) bool { return k.bare }); i >= 0 {
			w.From = min(w.From, f.Seq+uint64(i))
		}
	}
	return w, w.From < w.To
}

// tells reports whether who knows of no fork may hold, in the log itself, entries
// of a branch that are not known.
func (f *Fork) tells(theirs Mark) bool {
	if theirs.Next <= f.Seq {
		return false
	}
	for _, chain := range f.branches {
		if i := theirs.Next - f.Seq - 1; i < uint64(len(chain)) && chain[i].id == theirs.ID {
			return false
		}
	}
	return true
}

// EachEvidence calls fn for what there is of a log between two places for who
// asks for [PieceEvidence]: the entries of both branches, rising, or of the log
// where no fork of it is known. An error of fn ends it and is returned as it is.
func (l *Logs) EachEvidence(ctx context.Context, id LogID, from, to uint64, fn func(*Entry) error) error {
	f, forked := l.Fork(id)
	if !forked {
		return l.Entries(ctx, id, from, to, fn)
	}
	for seq := max(from, f.Seq); seq < min(to, f.Seq+MaxBranch); seq++ {
		for b, chain := range f.branches {
			i := int(seq - f.Seq)
			if i >= len(chain) {
				continue
			}
			e, err := l.linked(ctx, &f, b, i)
			if err == nil {
				err = fn(e)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// MarshalEvidence encodes an entry of a branch for the wire: struct { uint8 whole;
// select (whole) { case 1: Frame; case 0: HeaderFrame; }; }.
func MarshalEvidence(e *Entry) []byte {
	if e.HasBody() {
		return append([]byte{1}, e.Frame()...)
	}
	return append([]byte{0}, e.HeaderFrame()...)
}

// VerifyEvidence reads an entry of a branch and makes all checks of [Verify].
func VerifyEvidence(raw []byte) (Verified, error) {
	if len(raw) == 0 || raw[0] > 1 {
		return Verified{}, invalid("evidence says neither that it is whole nor that it is not")
	}
	if raw[0] == 1 {
		return Verify(raw[1:])
	}
	v, _, err := VerifyHeaderFrame(raw[1:])
	return v, err
}

// ParseEvidence reads the header of an entry of a branch without checking its
// signature: enough to see whether it is what was asked for.
func ParseEvidence(raw []byte) (Header, error) {
	if len(raw) == 0 || raw[0] > 1 {
		return Header{}, invalid("evidence says neither that it is whole nor that it is not")
	}
	if raw[0] == 0 {
		return ParseHeaderFrame(raw[1:])
	}
	e, err := ParseFrame(raw[1:])
	if err != nil {
		return Header{}, err
	}
	return e.Header, nil
}

// loadEvidence finds the branches of all forks.
func (l *Logs) loadEvidence(ctx context.Context) error {
	r := newRound(l)
	for id := range l.forked {
		if err := r.trace(ctx, l.logs[id].fork); err != nil {
			return err
		}
		l.print(id, l.logs[id])
	}
	return nil
}

// trace finds the branches of a fork in the log and among the evidence on disk,
// as far as they are known, but for what r has not committed yet.
func (r *round) trace(ctx context.Context, f *Fork) error {
	f.branches = f.beginning()
	for b := range f.branches {
		if err := r.extend(ctx, f, b, 0); err != nil {
			return err
		}
	}
	return nil
}

// extend carries on a branch from place i on with what is held; at 0 it looks for
// the whole entry of which the proof has the header.
func (r *round) extend(ctx context.Context, f *Fork, b, i int) error {
	for ; i < MaxBranch; i++ {
		var best link
		found := false
		for at := inLog; at <= inSlot1; at++ {
			e, err := r.candidate(ctx, f, i, at)
			if err != nil {
				return err
			}
			if e == nil || i == 0 && e.id != f.root(b).id || i > 0 && e.Header.Prev != f.branches[b][i-1].id {
				continue
			}
			if !found || bytes.Compare(e.id[:], best.id[:]) < 0 {
				best, found = link{e.id, e.Header.BodyLen, at, at != inLog && e.Absent}, true
			}
		}
		switch {
		case !found && i == 0:
		case !found:
			return nil
		case i == 0:
			f.branches[b] = []link{best}
		default:
			f.branches[b] = append(f.branches[b][:i:i], best)
		}
	}
	return nil
}

// candidate is what is held in one of the places where an entry of a branch may
// be; nil if nothing is, or nothing that can be read: then it is fetched again.
func (r *round) candidate(ctx context.Context, f *Fork, i int, at where) (*Entry, error) {
	seq := f.Seq + uint64(i)
	var e *Entry
	var err error
	if at != inLog {
		if e = r.aside[spot{f.Log, slotAt(seq, at)}]; e != nil {
			return e, nil
		}
		e, err = r.l.slot(ctx, f.Log, seq, at)
	} else if seq < r.state(f.Log).next {
		e, err = r.held(ctx, f.Log, seq)
	}
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
		return nil, nil
	}
	return e, err
}

// keep takes an entry that has no place in the log as evidence, if it belongs to
// one of the two branches of a known fork.
func (r *round) keep(ctx context.Context, e *Entry) error {
	st := r.state(e.Header.Log())
	f := st.fork
	if f == nil || e.Header.Seq < f.Seq || e.Header.Seq >= f.Seq+MaxBranch {
		return nil
	}
	i := int(e.Header.Seq - f.Seq)
	for b := range f.branches {
		if f.wants(b, i, e) {
			return r.keepAt(ctx, st, b, i, e)
		}
	}
	return nil
}

// wants reports whether e tells something of a branch that is not known.
func (f *Fork) wants(b, i int, e *Entry) bool {
	chain := f.branches[b]
	switch {
	case i < len(chain) && chain[i].id == e.id:
		return chain[i].where == inProof || chain[i].bare && e.HasBody()
	case i == 0 || i > len(chain) || chain[i-1].id != e.Header.Prev:
		return false
	case i == len(chain):
		return true
	}
	return bytes.Compare(e.id[:], chain[i].id[:]) < 0
}

func (r *round) keepAt(ctx context.Context, st *logState, b, i int, e *Entry) error {
	f := *st.fork
	old := f.branches[b]
	bodies := int(e.Header.BodyLen)
	for _, k := range old[:i] {
		bodies += int(k.size)
	}
	room := bodies <= MaxBranchBytes
	if !room {
		e = e.headerOnly()
	}
	rec := evidenceRecord(e, f.free(b, i))
	r.records = append(r.records, rec)
	r.bytes += len(rec.Value)
	r.aside[spot{f.Log, rec.Seq}] = e

	k := link{e.id, e.Header.BodyLen, where(rec.Seq&1) + inSlot0, room && !e.HasBody()}
	if i < len(old) && old[i].id == e.id {
		f.branches[b] = slices.Clone(old)
		f.branches[b][i] = k
	} else {
		f.branches[b] = append(old[:i:i], k)
		if err := r.extend(ctx, &f, b, i+1); err != nil {
			return err
		}
	}
	cp := *st
	cp.fork = &f
	r.setState(f.Log, &cp)
	return nil
}

// free is the slot for the entry of a branch at a place: not the one that holds
// the other branch's.
func (f *Fork) free(b, i int) where {
	slot := inSlot0 + where(b)
	if other := f.branches[1-b]; i < len(other) && other[i].where == slot {
		return inSlot0 + inSlot1 - slot
	}
	return slot
}

// evidenceRecord is [storedEntry] in TableEvidence, whose records have no body
// apart: who keeps a proof keeps what was proved.
func evidenceRecord(e *Entry, slot where) Record {
	rec := storedEntry(e)
	return Record{Table: TableEvidence, Log: rec.Log, Seq: slotAt(rec.Seq, slot), Value: slices.Concat(rec.Value, rec.Body)}
}

// add decides one entry, and keeps what it shows of a fork. penned says that it
// is in the pen already.
func (r *round) add(ctx context.Context, e *Entry, penned bool) (Outcome, error) {
	o, err := r.place(ctx, e, penned)
	if err != nil {
		return o, err
	}
	if o == Forked {
		r.rivals = append(r.rivals, e)
	}
	return o, r.gather(ctx, e.Header.Log())
}

// gather keeps the entries that contradict others of a log, after evidence has
// said that there is a fork.
func (r *round) gather(ctx context.Context, id LogID) error {
	rivals := r.rivals
	r.rivals = nil
	if st := r.state(id); st.fork != nil && st.fork.branches[0] == nil {
		f := *st.fork
		err := r.trace(ctx, &f)
		cp := *st
		cp.fork = &f
		r.setState(id, &cp)
		if err != nil {
			return err
		}
	}
	for _, e := range rivals {
		if err := r.keep(ctx, e); err != nil {
			return err
		}
	}
	return nil
}
