package badgerstore

import (
	"context"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"tocsin/ledger"
)

// Commit implements ledger.Store: one synced transaction. Own records that the
// index lacks ride along, which costs no further sync.
func (s *Store) Commit(ctx context.Context, batch []ledger.Record) error {
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
	return s.index(batch)
}

// CommitOwn implements ledger.Store: own.wal is appended to and synced. The
// index follows later, with the next Commit or when enough has gathered.
func (s *Store) CommitOwn(ctx context.Context, batch []ledger.Record) error {
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
	full, err := s.appendOwn(batch)
	if err != nil || !full || s.opt.Unsafe.LoseOwnEntriesWhenKilled {
		return err
	}
	if err := s.index(nil); err != nil {
		// What was asked for is durable; the index will be brought up when the
		// store is opened again, and until then takes nothing.
		s.opt.Logger.Error("the index could not be written; restart when the disk is well", "error", err)
	}
	return nil
}

// appendOwn makes a batch durable in own.wal and visible.
func (s *Store) appendOwn(batch []ledger.Record) (full bool, err error) {
	payload, err := marshalBatch(batch)
	if err != nil {
		return false, err
	}
	// Records are kept apart from the caller's slices.
	kept, err := parseBatch(payload)
	if err != nil {
		return false, err
	}
	s.ownMu.Lock()
	defer s.ownMu.Unlock()
	if err := s.indexFault(); err != nil {
		return false, err // else own records would gather in memory without end
	}
	m, err := s.wal.append(payload)
	if err != nil {
		return false, err
	}
	s.pendMu.Lock()
	defer s.pendMu.Unlock()
	s.pending.add(m, kept)
	return s.pending.full(), nil
}

func (s *Store) indexFault() error {
	s.pendMu.RLock()
	defer s.pendMu.RUnlock()
	return s.fault
}

// index writes a batch to Badger, with as many pending own records as fit.
func (s *Store) index(batch []ledger.Record) error {
	s.indexMu.Lock()
	defer s.indexMu.Unlock()
	if err := s.indexFault(); err != nil {
		return err
	}
	size := batchSize(batch)
	var own []ownBatch
	if !s.opt.Unsafe.LoseOwnEntriesWhenKilled {
		s.pendMu.RLock()
		own = s.pending.fitting(ledger.MaxBatchBytes-size, ledger.MaxBatchRecords-len(batch))
		s.pendMu.RUnlock()
	}
	txn := s.db.NewTransaction(true)
	defer txn.Discard()
	if err := fill(txn, batch, own); err != nil {
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
	if len(own) > 0 {
		s.pendMu.Lock()
		s.pending.indexed(own)
		s.pendMu.Unlock()
	}
	return nil
}

// fill puts records into a transaction.
func fill(txn *badger.Txn, batch []ledger.Record, own []ownBatch) error {
	set := func(records []ledger.Record) error {
		for i := range records {
			k, err := key(records[i].Table, records[i].Log, records[i].Seq)
			if err != nil {
				return err
			}
			if err := txn.Set(k, append([]byte{}, records[i].Value...)); err != nil {
				return fmt.Errorf("badgerstore: cannot add to the transaction: %w", err)
			}
		}
		return nil
	}
	for _, o := range own {
		if err := set(o.records); err != nil {
			return err
		}
	}
	if len(own) > 0 {
		if err := txn.Set(keyWatermark, own[len(own)-1].mark.marshal()); err != nil {
			return fmt.Errorf("badgerstore: cannot add to the transaction: %w", err)
		}
	}
	return set(batch)
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
