package ledger

import "slices"

// This file remembers what the store lost: places below a head that cannot be
// read. Reads, VerifyAll and Scrub find them; they can be asked for again, and
// an entry that comes for one is taken back if the log itself proves its id.

// lostWant is how many lost entries one Want of [Logs.Lost] spans at most.
const lostWant = 256

// spans is a set of sequence numbers as ranges: rising, apart from each other.
type spans struct{ list []span }

type span struct{ from, to uint64 } // to is exclusive

// find returns the number of the first range that ends after seq.
func (s *spans) find(seq uint64) int {
	i, _ := slices.BinarySearchFunc(s.list, seq, func(r span, seq uint64) int {
		if r.to <= seq {
			return -1
		}
		return 1
	})
	return i
}

func (s *spans) has(seq uint64) bool {
	i := s.find(seq)
	return i < len(s.list) && s.list[i].from <= seq
}

// add puts in a range and returns how many numbers are new.
func (s *spans) add(from, to uint64) (added uint64) {
	if from >= to {
		return 0
	}
	added = to - from
	i := 0
	if from > 0 {
		i = s.find(from - 1)
	}
	j := i
	for j < len(s.list) && s.list[j].from <= to {
		r := s.list[j]
		if lo, hi := max(r.from, from), min(r.to, to); hi > lo {
			added -= hi - lo
		}
		j++
	}
	if j > i {
		from, to = min(from, s.list[i].from), max(to, s.list[j-1].to)
	}
	s.list = slices.Replace(s.list, i, j, span{from, to})
	return added
}

// remove takes out one number.
func (s *spans) remove(seq uint64) {
	i := s.find(seq)
	if i == len(s.list) || s.list[i].from > seq {
		return
	}
	r := s.list[i]
	var rest []span
	if r.from < seq {
		rest = append(rest, span{r.from, seq})
	}
	if seq+1 < r.to {
		rest = append(rest, span{seq + 1, r.to})
	}
	s.list = slices.Replace(s.list, i, i+1, rest...)
}

func (s *spans) count() (n uint64) {
	for _, r := range s.list {
		n += r.to - r.from
	}
	return n
}

// lose notes that places from <= seq < to of a log cannot be read, and returns
// how many were not known.
func (l *Logs) lose(id LogID, from, to uint64) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.loseLocked(id, from, to)
}

func (l *Logs) loseLocked(id LogID, from, to uint64) uint64 {
	s := l.lost[id]
	if s == nil {
		s = &spans{}
		l.lost[id] = s
	}
	return s.add(from, to)
}

// loseUnless notes that a place cannot be read, unless places were written again
// since mended was read: then it reports false, and the caller reads again.
func (l *Logs) loseUnless(id LogID, seq, mended uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mended.Load() != mended {
		return false
	}
	l.loseLocked(id, seq, seq+1)
	return true
}

// found notes that a place can be read again. The caller holds mu.
func (l *Logs) found(id LogID, seq uint64) {
	l.mended.Add(1)
	if s := l.lost[id]; s != nil {
		if s.remove(seq); len(s.list) == 0 {
			delete(l.lost, id)
		}
	}
}

// isLost reports whether a place is known to be unreadable.
func (l *Logs) isLost(id LogID, seq uint64) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	s := l.lost[id]
	return s != nil && s.has(seq)
}

// lostEntries counts the places that are known to be unreadable. The caller
// holds mu.
func (l *Logs) lostEntries() (n uint64) {
	for _, s := range l.lost {
		n += s.count()
	}
	return n
}

// Lost returns the places below the heads that are known to be unreadable, in
// the order of logs, and within a log from the highest down, in pieces of at
// most 256. What others bring for them, [Logs.Append] takes back: the highest of
// a row first, since each is proved by the entry after it, or by the head;
// others wait for that in the pen.
func (l *Logs) Lost() []Want {
	l.mu.RLock()
	defer l.mu.RUnlock()
	ids := make([]LogID, 0, len(l.lost))
	for id := range l.lost {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, LogID.Compare)
	wants := []Want{}
	for _, id := range ids {
		for _, r := range slices.Backward(l.lost[id].list) {
			for to := r.to; to > r.from; {
				from := max(r.from, to-min(to, lostWant))
				wants = append(wants, Want{Log: id, From: from, To: to})
				to = from
			}
		}
	}
	return wants
}
