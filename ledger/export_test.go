package ledger

// Queued returns how many callers wait for the leader.
func Queued(l *Logs) int {
	l.queueMu.Lock()
	defer l.queueMu.Unlock()
	return len(l.queue)
}

// StoredEntry is what a store reads back for an entry.
func StoredEntry(e *Entry) []byte {
	r := storedEntry(e)
	return append(r.Value, r.Body...)
}
