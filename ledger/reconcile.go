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

// worth cuts one Want to what could be kept, and says whether anything is left:
// nothing of logs that are closed by a fork, that are one too many of their
// author ([MaxIncarnations]) or whose author's budget of today is used up. Of
// our own log it leaves one entry, which if it exists proves that we were rolled
// back ([OwnAhead]).
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
