package ledger

// Queued returns how many callers wait for the leader.
func Queued(l *Logs) int {
	l.queueMu.Lock()
	defer l.queueMu.Unlock()
	return len(l.queue)
}

// StoredEntry is the value under which an entry is stored.
var StoredEntry = storedEntry
