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

// RunsRecord reads a record of [TableUnchecked] and writes it again.
func RunsRecord(id LogID, value []byte) ([]byte, error) {
	runs, err := parseRuns(id, value)
	if err != nil {
		return nil, err
	}
	return marshalRuns(id, runs)
}

// SealRuns puts the check before the rest of a record of [TableUnchecked].
func SealRuns(id LogID, data []byte) []byte { return append(runsCheck(id, data), data...) }
