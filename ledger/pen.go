package ledger

import (
	"container/list"

	"tocsin/crypto/identity"
)

// pen keeps, in memory and within limits, entries that cannot be appended yet:
// their author is not known, or earlier entries are missing. It is guarded by
// Logs.mu. Losing it costs nothing but another synchronisation.
type pen struct {
	limits  Limits
	authors map[identity.Key]*penAuthor
	waiting *list.List // of *penAuthor: those not known, longest waiting first

	entries      int
	unknownBytes int
	gapBytes     int
	forgotten    uint64
}

// penAuthor is what waits of one author.
type penAuthor struct {
	key   identity.Key
	elem  *list.Element // in waiting; nil once the author is known
	logs  map[LogID]map[uint64]*Entry
	n     int
	bytes int
}

func newPen(limits Limits) *pen {
	return &pen{limits: limits, authors: make(map[identity.Key]*penAuthor), waiting: list.New()}
}

func (p *pen) get(id LogID, seq uint64) *Entry {
	a := p.authors[id.Author]
	if a == nil {
		return nil
	}
	return a.logs[id][seq]
}

// addUnknown keeps an entry of an author who is not known. The first entry of a
// log displaces another one at the limit, because it is what can make the
// author known.
func (p *pen) addUnknown(e *Entry) Outcome {
	id, seq := e.Header.Log(), e.Header.Seq
	if held := p.get(id, seq); held != nil {
		if held.id != e.id || held.HasBody() || !e.HasBody() {
			return Penned
		}
		p.remove(held) // it comes with its body now
	}
	size := e.size()
	if size > p.limits.UnknownBytes {
		return OverBudget
	}
	a := p.authors[id.Author]
	if a != nil && a.n >= p.limits.UnknownEntries {
		last := a.last()
		if seq != 0 || last.Header.Seq == 0 {
			return OverBudget
		}
		p.remove(last)
		p.forgotten++
		a = p.authors[id.Author]
	}
	for p.waiting.Len() > 0 && (p.unknownBytes+size > p.limits.UnknownBytes ||
		a == nil && p.waiting.Len() >= p.limits.UnknownAuthors) {
		p.forgetOldest()
		a = p.authors[id.Author]
	}
	if a == nil {
		a = &penAuthor{key: id.Author, logs: make(map[LogID]map[uint64]*Entry)}
		a.elem = p.waiting.PushBack(a)
		p.authors[id.Author] = a
	}
	p.put(a, e)
	return Penned
}

// addGap keeps an entry of a known author ahead of a gap, or one below the head
// that is to be restored when the one after it is. If another entry is
// waiting at the same place it is returned instead: together they prove a fork.
func (p *pen) addGap(e *Entry, next uint64) (other *Entry, o Outcome) {
	id, seq := e.Header.Log(), e.Header.Seq
	if held := p.get(id, seq); held != nil {
		if held.id != e.id {
			return held, Forked
		}
		if held.HasBody() || !e.HasBody() {
			return nil, Penned
		}
		p.remove(held) // it comes with its body now
	}
	a := p.authors[id.Author]
	if a != nil && a.elem != nil {
		p.promote(a)
	}
	size, have := e.size(), 0
	if a != nil {
		have = a.bytes
	}
	if seq > next && seq-next > p.limits.AheadOfGap ||
		p.gapBytes+size > p.limits.GapBytes || have+size > p.limits.GapAuthorBytes {
		return nil, OverBudget
	}
	if a == nil {
		a = &penAuthor{key: id.Author, logs: make(map[LogID]map[uint64]*Entry)}
		p.authors[id.Author] = a
	}
	p.put(a, e)
	return nil, Penned
}

// promote moves what an author has waiting to the account of known authors.
func (p *pen) promote(a *penAuthor) {
	p.waiting.Remove(a.elem)
	a.elem = nil
	p.unknownBytes -= a.bytes
	p.gapBytes += a.bytes
}

func (p *pen) put(a *penAuthor, e *Entry) {
	id := e.Header.Log()
	if a.logs[id] == nil {
		a.logs[id] = make(map[uint64]*Entry)
	}
	a.logs[id][e.Header.Seq] = e
	p.account(a, 1, e.size())
}

func (p *pen) account(a *penAuthor, n, bytes int) {
	a.n += n
	a.bytes += bytes
	p.entries += n
	if a.elem != nil {
		p.unknownBytes += bytes
	} else {
		p.gapBytes += bytes
	}
}

// remove takes e out if it is there.
func (p *pen) remove(e *Entry) {
	id := e.Header.Log()
	a := p.authors[id.Author]
	if a == nil || a.logs[id][e.Header.Seq] != e {
		return
	}
	delete(a.logs[id], e.Header.Seq)
	if len(a.logs[id]) == 0 {
		delete(a.logs, id)
	}
	p.account(a, -1, -e.size())
	if a.n == 0 {
		p.drop(a)
	}
}

// removeFrom takes out what waits of a log at seq and after it.
func (p *pen) removeFrom(id LogID, seq uint64) {
	a := p.authors[id.Author]
	if a == nil {
		return
	}
	for at, e := range a.logs[id] {
		if at >= seq {
			p.remove(e)
		}
	}
}

func (p *pen) forgetOldest() {
	a := p.waiting.Front().Value.(*penAuthor)
	p.forgotten += uint64(a.n)
	p.account(a, -a.n, -a.bytes)
	p.drop(a)
}

func (p *pen) drop(a *penAuthor) {
	if a.elem != nil {
		p.waiting.Remove(a.elem)
	}
	delete(p.authors, a.key)
}

// last returns the waiting entry with the highest sequence number.
func (a *penAuthor) last() *Entry {
	var last *Entry
	for _, log := range a.logs {
		for seq, e := range log {
			if last == nil || seq > last.Header.Seq {
				last = e
			}
		}
	}
	return last
}

// penned returns the entry that waits at a place, nil if there is none.
func (l *Logs) penned(id LogID, seq uint64) *Entry {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.pen.get(id, seq)
}

// penLogs returns the logs of which something of this author waits.
func (l *Logs) penLogs(author identity.Key) []LogID {
	l.mu.RLock()
	defer l.mu.RUnlock()
	a := l.pen.authors[author]
	if a == nil {
		return nil
	}
	ids := make([]LogID, 0, len(a.logs))
	for id := range a.logs {
		ids = append(ids, id)
	}
	return ids
}

// unpen removes an entry that will never be appended.
func (l *Logs) unpen(e *Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pen.remove(e)
}
