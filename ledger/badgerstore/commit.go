package badgerstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"tocsin/ledger"
)

// inWALSize is the length from which in.wal is emptied when the index has all
// of it: what an opening after a crash reads again at most.
const inWALSize = 2 << 20

// inWALRoom is the size of in.wal: what gathers until it is emptied, and the
// largest record.
const inWALRoom = 4 << 20

const _ = uint(inWALRoom - inWALSize - maxWALRecord)

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
	if err := s.indexFault(); err != nil {
		return err // else records would gather in memory without end
	}
	j, olds, err := s.lockFor(j, batch)
	if err != nil {
		return err
	}
	defer j.mu.Unlock()
	floor := s.opt.MinFree
	if erasesOnly(batch, olds) {
		floor /= 2 // what is to be forgotten must not wait for space
	}
	if err := s.checkSpace(floor); err != nil {
		return err
	}
	full, err := s.append(j, batch, olds)
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

// erasesOnly reports whether all that a batch does is to take bodies away.
func erasesOnly(batch []ledger.Record, olds []*stored) bool {
	for i := range batch {
		if batch[i].Table != ledger.TableEntries || batch[i].Body != nil || olds[i] == nil || olds[i].slot == nil {
			return false
		}
	}
	return true
}

// lockFor locks the journal that a batch belongs to and returns what is stored
// at the places of its entries: j, but the other one where it replaces entries
// that were written there.
func (s *Store) lockFor(j *journal, batch []ledger.Record) (*journal, []*stored, error) {
	for range 2 {
		j.mu.Lock()
		olds, other, err := s.olds(j, batch)
		if err == nil && !other {
			return j, olds, nil
		}
		j.mu.Unlock()
		if err != nil {
			return nil, nil, err
		}
		if j == &s.own {
			j = &s.in
		} else {
			j = &s.own
		}
	}
	return nil, nil, errors.New("badgerstore: one batch replaces own entries and others'")
}

// olds returns what is stored at the places of a batch, nil where there is
// nothing, by what the caller promises or by looking, or nothing that can be read. other says that something of it belongs to
// the other journal.
func (s *Store) olds(j *journal, batch []ledger.Record) (olds []*stored, other bool, err error) {
	olds = make([]*stored, len(batch))
	for i := range batch {
		r := &batch[i]
		if r.Table != ledger.TableEntries || r.Fresh {
			continue
		}
		value, err := s.raw(r.Table, r.Log, r.Seq)
		if errors.Is(err, ledger.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, false, fmt.Errorf("%w: it cannot be told what is to be replaced: %w", ledger.ErrReadOnly, err)
		}
		if st, err := parseStored(value); err == nil {
			olds[i] = st
			other = other || st.own != (j == &s.own)
		}
	}
	return olds, other, nil
}

// seal turns a batch into its stored form: bodies under keys of their own. taken
// are these keys' slots, dead those of bodies that the batch replaces.
func (s *Store) seal(j *journal, batch []ledger.Record, olds []*stored) (sealed []ledger.Record, taken, dead []uint64, err error) {
	sealed = make([]ledger.Record, len(batch))
	at := make(map[place]*stored)
	var list []listed
	j.places.mu.Lock()
	defer j.places.mu.Unlock()
	for i := range batch {
		r := &batch[i]
		sealed[i] = ledger.Record{Table: r.Table, Log: r.Log, Seq: r.Seq, Value: r.Value}
		if r.Table != ledger.TableEntries {
			continue
		}
		old, st := olds[i], &stored{own: j == &s.own, final: r.Erased, value: r.Value}
		p := place{r.Table, r.Log, r.Seq}
		if before := at[p]; before != nil {
			old = before // of the same batch
		}
		if len(r.Body) > 0 {
			slot, body, err := sealBody(j.keys, r)
			if err != nil {
				return nil, taken, nil, err
			}
			taken, list = append(taken, slot), append(list, listed{slot, j.places.of(r.Log, r.Seq)})
			st.slot, st.sealed = &slot, body
			j.slotEnd.Store(max(j.slotEnd.Load(), slot+1))
		}
		if old != nil && old.slot != nil {
			st.erased = old.slot
			dead = append(dead, *old.slot)
		}
		at[p] = st
		sealed[i].Value = st.marshal()
	}
	if err := j.places.set(list); err != nil {
		return nil, taken, nil, err
	}
	return sealed, taken, dead, nil
}

// append makes a batch durable in the journal's file, makes it visible to
// readers, and destroys the keys of what it replaces.
func (s *Store) append(j *journal, batch []ledger.Record, olds []*stored) (full bool, err error) {
	sealed, taken, dead, err := s.seal(j, batch, olds)
	if err == nil {
		err = s.destroyFormer(batch, olds, j == &s.own, taken)
	}
	if err != nil {
		return false, errors.Join(err, j.destroy(taken))
	}
	payload, err := marshalBatch(sealed)
	if err != nil {
		return false, errors.Join(err, j.destroy(taken))
	}
	// Records are kept apart from the caller's slices.
	kept, err := parseBatch(payload)
	if err != nil {
		return false, errors.Join(err, j.destroy(taken))
	}
	if err := s.makeRoom(j, len(payload)); err != nil {
		return false, errors.Join(err, j.destroy(taken))
	}
	m, err := j.wal.append(payload)
	if err != nil {
		// Parts of the record may have reached the disk.
		return false, errors.Join(err, j.destroy(taken))
	}
	// No reader may be sent to a key that is gone. And as long as one is there
	// that should not be, the index must not take the record: what it has of
	// own.wal is not read again if the process dies.
	if len(dead) > 0 {
		s.indexMu.Lock()
		defer s.indexMu.Unlock()
	}
	for i := range batch {
		if batch[i].Erased {
			s.erased.add(place{ledger.TableEntries, batch[i].Log, batch[i].Seq})
		}
	}
	s.pendMu.Lock()
	j.pending.add(m, kept)
	full = j.pending.full()
	s.pendMu.Unlock()
	if err := j.destroy(dead); err != nil {
		// The record that says so is durable: the next opening destroys them.
		err = fmt.Errorf("%w: bodies that were to be erased are still there; restart to complete it: %w", ledger.ErrReadOnly, err)
		s.setFault(err)
		return false, err
	}
	return full, nil
}

// emptyIn begins in.wal anew; the index has all of it. A clean one stays as it
// is.
func (s *Store) emptyIn() error {
	if s.in.wal.size == walFileHeader {
		return nil
	}
	return s.in.wal.renew(s.files)
}

// makeRoom gives the index all that is pending if the file of the journal has no
// room for a record, and empties it. The caller holds j.mu.
func (s *Store) makeRoom(j *journal, payload int) error {
	if j.wal.fits(payload) {
		return nil
	}
	for {
		s.pendMu.RLock()
		empty := len(j.pending.batches) == 0
		s.pendMu.RUnlock()
		if empty {
			return s.emptyIn()
		}
		if err := s.index(); err != nil {
			return err
		}
	}
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
			return s.emptyIn()
		case empty && j == &s.own && j.wal.size >= s.segment:
			return s.rotate()
		default:
			return nil
		}
	}
}

// setFault ends all writing until the store is opened again.
func (s *Store) setFault(err error) {
	s.pendMu.Lock()
	defer s.pendMu.Unlock()
	if s.fault == nil {
		s.fault = err
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
	room, places := ledger.MaxBatchBytes+ledger.MaxBatchRecords*sealOverhead, ledger.MaxBatchRecords
	s.pendMu.RLock()
	var own []walBatch
	if !s.opt.Unsafe.LoseOwnEntriesWhenKilled {
		own = s.own.pending.fitting(&room, &places)
	}
	in := s.in.pending.fitting(&room, &places)
	s.pendMu.RUnlock()
	if len(own)+len(in) == 0 {
		return nil
	}
	marks, err := s.prepare(own, in)
	if err != nil {
		s.setFault(err)
		return err
	}
	if err := s.transact(own, in, marks); err != nil {
		return err
	}
	s.pendMu.Lock()
	defer s.pendMu.Unlock()
	s.own.pending.indexed(own)
	s.in.pending.indexed(in)
	return nil
}

// prepare makes durable, before a transaction, what must be there when the wals
// are not read again: the lists of slots, the erasures, the heads.
func (s *Store) prepare(own, in []walBatch) (marks, error) {
	if err := errors.Join(s.own.places.sync(), s.in.places.sync()); err != nil {
		return marks{}, err
	}
	gone, err := s.appendGone(own, in)
	if err != nil {
		return marks{}, err
	}
	heads, err := s.appendHeads(own, in)
	return marks{heads, gone}, err
}

// marks are the newest records of heads.wal and erased.wal when a transaction is
// made.
type marks struct{ heads, gone mark }

// transact writes batches to Badger, in one synced transaction.
func (s *Store) transact(own, in []walBatch, m marks) error {
	txn := s.db.NewTransaction(true)
	defer txn.Discard()
	if err := fill(txn, own, in, m); err != nil {
		return err
	}
	if err := txn.Commit(); err != nil {
		// Badger may or may not have it, and after a failed sync may lose it while
		// it keeps what comes later. Only opening it again tells.
		err = fmt.Errorf("%w: the index could not be written; restart when the disk is well: %w",
			ledger.ErrReadOnly, diskError("commit", err))
		s.setFault(err)
		return err
	}
	return nil
}

// fill puts batches into a transaction, and the marks of the last own one and of
// the records of the heads and of what was erased.
func fill(txn *badger.Txn, own, in []walBatch, m marks) error {
	if err := errors.Join(txn.Set(keyHeads, m.heads.marshal()), txn.Set(keyGone, m.gone.marshal())); err != nil {
		return fmt.Errorf("badgerstore: cannot add to the transaction: %w", err)
	}
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
	s.ballast.watch(free, s.opt.MinFree)
	if free < floor {
		return spaceError(free, floor)
	}
	return nil
}

func spaceError(free, floor uint64) error {
	return fmt.Errorf("%w: %w: %d MiB are free and %d are needed: free some space",
		ledger.ErrReadOnly, ledger.ErrFull, free>>20, floor>>20)
}
