package ledger

import "errors"

// The errors that callers branch on. All others are described by their text.
var (
	// ErrInvalid: the bytes are no valid entry: encoding, field ranges, body
	// hash or signature. It is the same verdict on every device, so whoever
	// sent the bytes is to blame.
	ErrInvalid = errors.New("ledger: invalid entry")
	// ErrNotFound: the log or the sequence number is not held.
	ErrNotFound = errors.New("ledger: not found")
	// ErrDamaged: the store lost or changed something it had acknowledged.
	ErrDamaged = errors.New("ledger: stored data is damaged")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("ledger: store is closed")
	// ErrReadOnly: the store refuses writes until the cause is removed: too
	// little free disk space (then [ErrFull] matches too) or a failed sync.
	ErrReadOnly = errors.New("ledger: store is read-only")
	// ErrFull: the disk is full, or so nearly full that writing would be unsafe.
	ErrFull = errors.New("ledger: disk is full")
	// ErrRollback: others hold entries of this device's own log that it does not
	// hold itself. It was restored from a backup or copied, and must not write
	// to this log again.
	ErrRollback = errors.New("ledger: this device's own log is older than what others hold of it: it was restored from a backup or copied")
	// ErrForked: two valid entries exist at one place of this log, so that it
	// takes no more.
	ErrForked = errors.New("ledger: log is forked and closed")
	// ErrPlace: an own entry is not at the place that was reserved for it.
	ErrPlace = errors.New("ledger: entry is not at the reserved place")
)
