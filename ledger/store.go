package ledger

import (
	"context"
	"errors"
	"fmt"
)

// Table names a kind of record in a [Store].
type Table uint8

// The tables. Entries has a record for each sequence number of a log, Tree and
// Evidence at any number, the others one record for each log, at number 0.
const (
	TableEntries Table = 1
	TableStates  Table = 2
	TableForks   Table = 3
	TableWitness Table = 4 // what witnesses said of a log
	TableTree    Table = 5 // pieces of Merkle trees, which can be computed again

	// TableUnchecked says which entries came in a proved range and have not had
	// their own signatures checked.
	TableUnchecked Table = 6
	// Two places for each sequence number, at seq*2 and seq*2+1: see [Branch].
	TableEvidence Table = 7

	// TableCustody says what this device has promised to keep, and until when.
	TableCustody Table = 8

	// TableLast is the highest table.
	TableLast = TableCustody
)

// Single reports whether t has one record for each log, at number 0.
func (t Table) Single() bool { return t != TableEntries && t != TableTree && t != TableEvidence }

// Record is one value of a store, at (Table, Log, Seq). To the store it is
// opaque.
type Record struct {
	Table Table
	Log   LogID
	Seq   uint64
	Value []byte
	// Body, of entries only, is what can be erased: see [Store]. It is read back
	// behind Value.
	Body []byte
	// Fresh, of entries only, promises that nothing is stored at this place, so
	// that the store need not look for what the record replaces.
	Fresh bool
	// Erased, of entries only, says that no body is ever to come back to this
	// place. A store that can lose records in silence keeps a second copy of such
	// ones, and answers by it: see [ErasureKeeper].
	Erased bool
}

// ErasureKeeper is a [Store] with a second copy of which entries are Erased, for
// when the record itself cannot be read.
type ErasureKeeper interface {
	// WasErased reports whether an Erased record was ever committed at the place.
	WasErased(id LogID, seq uint64) bool
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
//   - A read returns exactly the bytes that were committed, Value ‖ Body, or
//     [ErrNotFound], or another error. It never leaves out records in silence.
//     Only where a Body cannot be read any more the Value comes alone; it says
//     itself whether a body belongs to it.
//   - A Body is erased by replacing its record by one without it: when that
//     commit has returned nil, nothing that was ever written to the disk gives
//     the Body back to anyone, whatever keys he has. If the process dies before
//     that, the next opening completes the erasure or finds the old record.
//   - All methods may be called at the same time. After Close they return
//     [ErrClosed].
//
// Batches hold at most [MaxBatchRecords] records and [MaxBatchBytes] of values
// and bodies.
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
	// Get returns Value ‖ Body of a place.
	Get(ctx context.Context, t Table, id LogID, seq uint64) ([]byte, error)
	// Range calls fn for the entries of one log with from <= seq < to that are
	// held, in rising order. An error of fn ends it and is returned as it is.
	Range(ctx context.Context, id LogID, from, to uint64, fn func(seq uint64, value []byte) error) error
	// Each calls fn for every record of a table of single records, in rising order
	// of logs. An error of fn ends it and is returned as it is.
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
		size += len(r.Value) + len(r.Body)
		switch {
		case r.Table < TableEntries || r.Table > TableLast:
			return fmt.Errorf("ledger: there is no table %d", r.Table)
		case r.Table.Single() && r.Seq != 0:
			return fmt.Errorf("ledger: a record of table %d is at sequence number %d, not 0", r.Table, r.Seq)
		case r.Table != TableEntries && (r.Body != nil || r.Erased):
			return fmt.Errorf("ledger: a record of table %d has a body", r.Table)
		case r.Erased && r.Body != nil:
			return errors.New("ledger: the record of an erased entry has a body")
		}
	}
	if size > MaxBatchBytes || len(batch) > MaxBatchRecords {
		return fmt.Errorf("ledger: a batch of %d records and %d bytes is beyond %d and %d",
			len(batch), size, MaxBatchRecords, MaxBatchBytes)
	}
	return nil
}
