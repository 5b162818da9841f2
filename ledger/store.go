package ledger

import (
	"context"
	"errors"
	"fmt"
)

// Table names a kind of record in a [Store].
type Table uint8

// The tables. Entries has a record for each sequence number of a log, the
// others one record for each log, at sequence number 0.
const (
	TableEntries Table = 1
	TableStates  Table = 2
	TableForks   Table = 3
)

// Record is one value of a store, at (Table, Log, Seq). To the store the value
// is opaque.
type Record struct {
	Table Table
	Log   LogID
	Seq   uint64
	Value []byte
}

// Store keeps records on behalf of [Logs]. It is the one place that promises
// durability, and everything acknowledged to a user rests on this contract:
//
//   - Commit and CommitOwn apply all records of a batch or none, also across a
//     crash, and return nil only when the batch survives a power cut. A record
//     at a place that is taken replaces the older one.
//   - After an error the batch may be there or not, and the caller counts on
//     neither. If the store cannot tell what is on the disk it refuses further
//     writes with [ErrReadOnly].
//   - A batch that returned nil is seen by every later read.
//   - A read returns exactly the bytes that were committed, or [ErrNotFound],
//     or another error. It never leaves out records in silence.
//   - All methods may be called at the same time. After Close they return
//     [ErrClosed].
//
// Batches hold at most [MaxBatchRecords] records and [MaxBatchBytes] of values.
// The store does not keep or change slices it is given once the call is over,
// and the slices it hands out are the caller's. storetest checks all this.
type Store interface {
	// Commit makes records of others' logs durable.
	Commit(ctx context.Context, batch []Record) error
	// CommitOwn makes records of this device's own log durable. They cannot be
	// fetched again from anyone, so they must be in a file on which a real sync
	// (fsync, FlushFileBuffers) has succeeded. What was put at a place through
	// one of the two methods is replaced through the same one only.
	CommitOwn(ctx context.Context, batch []Record) error
	// Get returns the value at a place.
	Get(ctx context.Context, t Table, id LogID, seq uint64) ([]byte, error)
	// Range calls fn for the entries of one log with from <= seq < to that are
	// held, in rising order. An error of fn ends it and is returned as it is.
	Range(ctx context.Context, id LogID, from, to uint64, fn func(seq uint64, value []byte) error) error
	// Each calls fn for every record of TableStates or TableForks, in rising
	// order of logs. An error of fn ends it and is returned as it is.
	Each(ctx context.Context, t Table, fn func(id LogID, value []byte) error) error
	// Close releases what the store holds. It is called once, by whoever opened
	// the store.
	Close() error
}

// CheckBatch refuses a batch that breaks the contract of [Store]: empty, too
// large, an unknown table, or a single record at another place than 0.
func CheckBatch(batch []Record) error {
	if len(batch) == 0 {
		return errors.New("ledger: an empty batch")
	}
	size := 0
	for i := range batch {
		r := &batch[i]
		size += len(r.Value)
		switch {
		case r.Table < TableEntries || r.Table > TableForks:
			return fmt.Errorf("ledger: there is no table %d", r.Table)
		case r.Table != TableEntries && r.Seq != 0:
			return fmt.Errorf("ledger: a record of table %d is at sequence number %d, not 0", r.Table, r.Seq)
		}
	}
	if size > MaxBatchBytes || len(batch) > MaxBatchRecords {
		return fmt.Errorf("ledger: a batch of %d records and %d bytes is beyond %d and %d",
			len(batch), size, MaxBatchRecords, MaxBatchBytes)
	}
	return nil
}
