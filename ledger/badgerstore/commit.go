package badgerstore

import (
	"context"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"tocsin/ledger"
)

// inWALSize is the length from which in.wal is emptied when the index has all
// of it: what an opening after a crash reads again at most.
const inWALSize = 2 << 20

// Commit implements ledger.Store: in.wal is appended to and synced. The index
// follows when enough has gathered.
func (s *Store) Commit(ctx context.Context, batch []ledger.Record) error {
	return s.commit(ctx, &s.in, batch)
}

// CommitOwn implements ledger.Store: the same with own.wal, which is never
// emptied.
func (s *Store) CommitOwn(ctx context.Context, batch []ledger.Record) error {
	return s.commit(ctx, &s.own, batch)
}

func (s *Store) commit(ctx context.Context, j *journal, batch []ledger.Record) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.uses.Done()
	if err := ledger.CheckBatch(batch); err != nil {
		return err
	}
	if err := s.checkSpace(s.opt.MinFree); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	full, err := s.append(j, batch)
	if err != nil || !full || j.wal.unsafeHold {
		return err
	}
	if err := s.follow(j); err != nil {
		// What was asked for is durable. The index will be brought up to it when
		// the store is opened again; until then nothing more is taken.
		s.opt.Logger.Error("the index could not be written; restart when the disk is well", "error", err)
	}
	return nil
}

// append makes a batch durable in the journal's file and visible to readers.
func (s *Store) append(j *journal, batch []ledger.Record) (full bool, err error) {
	payload, err := marshalBatch(batch)
	if err != nil {
		return false, err
	}
	// Records are kept apart from the caller's slices.
	kept, err := parseBatch(payload)
	if err != nil {
		return false, err
	}
	if err := s.indexFault(); err != nil {
		return false, err // else records would gather in memory without end
	}
	m, err := j.wal.append(payload)
	if err != nil {
		return false, err
	}
	s.pendMu.Lock()
	defer s.pendMu.Unlock()
	j.pending.add(m, kept)
	return j.pending.full(), nil
}

// follow gives the index what has gathered, and empties in.wal when it has
// grown and nothing in it is needed any more.
func (s *Store) follow(j *journal) error {
	for {
		s.pendMu.RLock()
		full, empty := j.pending.full(), len(j.pending.batches) == 0
		s.pendMu.RUnlock()
		switch {
		case full:
			if err := s.index(); err != nil {
				return err
			}
		case empty && j == &s.in && j.wal.size >= inWALSize:
			return j.wal.reset()
		default:
			return nil
		}
	}
}

func (s *Store) indexFault() error {
	s.pendMu.RLock()
	defer s.pendMu.RUnlock()
	return s.fault
}

// index writes to Badger, in one synced transaction, the oldest pending records
// of both journals, as many as fit. A batch is never split, and one always fits.
func (s *Store) index() error {
	s.indexMu.Lock()
	defer s.indexMu.Unlock()
	if err := s.indexFault(); err != nil {
		return err
	}
	room, places := ledger.MaxBatchBytes, ledger.MaxBatchRecords
	s.pendMu.RLock()
	var own []walBatch
	if !s.opt.Unsafe.LoseOwnEntriesWhenKilled {
		own = s.own.pending.fitting(&room, &places)
	}
	in := s.in.pending.fitting(&room, &places)
	s.pendMu.RUnlock()
	txn := s.db.NewTransaction(true)
	defer txn.Discard()
	if err := fill(txn, own, in); err != nil {
		return err
	}
	if err := txn.Commit(); err != nil {
		// Badger may or may not have it, and after a failed sync may lose it while
		// it keeps what comes later. Only opening it again tells.
		err = fmt.Errorf("%w: the index could not be written; restart when the disk is well: %w",
			ledger.ErrReadOnly, diskError("commit", err))
		s.pendMu.Lock()
		s.fault = err
		s.pendMu.Unlock()
		return err
	}
	s.pendMu.Lock()
	defer s.pendMu.Unlock()
	s.own.pending.indexed(own)
	s.in.pending.indexed(in)
	return nil
}

// fill puts batches into a transaction, and the mark of the last own one.
func fill(txn *badger.Txn, own, in []walBatch) error {
	for _, batches := range [][]walBatch{own, in} {
		for _, b := range batches {
			for _, r := range b.records {
				k, err := key(r.Table, r.Log, r.Seq)
				if err != nil {
					return err
				}
				if err := txn.Set(k, r.Value); err != nil {
					return fmt.Errorf("badgerstore: cannot add to the transaction: %w", err)
				}
			}
		}
	}
	if len(own) == 0 {
		return nil
	}
	if err := txn.Set(keyWatermark, own[len(own)-1].mark.marshal()); err != nil {
		return fmt.Errorf("badgerstore: cannot add to the transaction: %w", err)
	}
	return nil
}

func batchSize(batch []ledger.Record) int {
	n := 0
	for i := range batch {
		n += len(batch[i].Value)
	}
	return n
}

// checkSpace refuses to write while the disk is nearly full.
func (s *Store) checkSpace(floor uint64) error {
	free, err := s.opt.Free(s.dir)
	if err != nil {
		return err
	}
	if free < floor {
		return fmt.Errorf("%w: %w: %d MiB are free and %d are needed: free some space",
			ledger.ErrReadOnly, ledger.ErrFull, free>>20, floor>>20)
	}
	return nil
}
