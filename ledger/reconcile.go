package ledger

import (
	"time"
)

// Want is a range of one log that one side lacks.
type Want struct {
	Log  LogID
	From uint64
	To   uint64 // exclusive
}

// Diff compares two frontiers, which must be sorted as [Frontier] says: what we
// lack of theirs, what they lack of ours, and the logs of which both hold the
// same number of entries but not the same ones. It is the whole-frontier form
// of reconciliation (protocol §6); their claims are not signed, so the answer
// says what to ask for, not what is true.
func Diff(mine, theirs Frontier) (want, behind []Want, forks []LogID) {
	i, j := 0, 0
	for i < len(mine) || j < len(theirs) {
		c := 0
		switch {
		case i == len(mine):
			c = 1
		case j == len(theirs):
			c = -1
		default:
			c = mine[i].Log.Compare(theirs[j].Log)
		}
		var m, t Head
		if c <= 0 {
			m = mine[i]
			i++
		}
		if c >= 0 {
			t = theirs[j]
			j++
		}
		switch {
		case t.Next > m.Next:
			want = append(want, Want{Log: t.Log, From: m.Next, To: t.Next})
		case t.Next < m.Next:
			behind = append(behind, Want{Log: m.Log, From: t.Next, To: m.Next})
		case t.ID != m.ID:
			forks = append(forks, m.Log)
		}
	}
	return want, behind, forks
}

// Missing returns what is worth asking of a node with this frontier: what
// [Diff] says we lack, without logs that are closed by a fork, that are one too
// many of their author ([MaxIncarnations]) or whose author's budget of today is
// used up, and no more of a log than could be kept. Of our
// own log it asks for one entry, which if it exists proves that we were rolled
// back ([OwnAhead]).
func (l *Logs) Missing(theirs Frontier, at time.Time) []Want {
	want, _, _ := Diff(l.Frontier(), theirs)
	kept := want[:0]
	for _, w := range want {
		if w, ok := l.worth(w, at); ok {
			kept = append(kept, w)
		}
	}
	return kept
}

// worth cuts one Want to what could be kept, and says whether anything is left.
func (l *Logs) worth(w Want, at time.Time) (Want, bool) {
	known := w.From > 0 || l.authors.Known(w.Log.Author) // not under mu: see wait
	l.mu.RLock()
	defer l.mu.RUnlock()
	st := l.logs[w.Log]
	if st != nil && st.fork != nil {
		w.To = min(w.To, st.fork.Seq)
	}
	if w.From == 0 && l.crowded(w.Log, nil) {
		return w, false
	}
	use := l.usage[w.Log.Author]
	if use.day == dayOf(at) && (use.headers >= l.limits.DayHeaders || use.bytes >= l.limits.DayBytes) {
		return w, false
	}
	switch {
	case l.own != nil && l.own.ahead(w.Log):
		if l.logs[l.own.id].rollback {
			return w, false
		}
		w.To = min(w.To, w.From+1)
	case !known:
		w.To = min(w.To, w.From+uint64(l.limits.UnknownEntries))
	}
	return w, w.From < w.To
}
