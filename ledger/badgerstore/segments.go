package badgerstore

import (
	"bytes"
	"context"
	"crypto/cipher"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"tocsin/ledger"
)

// own.wal is kept for ever, in pieces: when it has grown and the index has all
// of it, it is renamed to a segment and a new own.wal carries on from its last
// record, which the new header names. So the segments are found one from the
// other, newest first, and an opening reads the newest only.

// segmentSize is the length from which own.wal becomes a segment, unless
// Store.segment says another one.
const segmentSize = 8 << 20

// segmentName is the file that ends with a record number.
func segmentName(last uint64) string { return fmt.Sprintf("own-%016d.wal", last) }

// segments opens the files that own.wal carries on from, oldest first. What is
// missing, cut short or exchanged is found here, what is changed inside by
// reading them (ScrubFiles).
func segments(dir files, aead cipher.AEAD, before mark) (list []*wal, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, closeAll(list))
			list = nil
		}
	}()
	for before != (mark{}) {
		spec := walSpec{name: segmentName(before.Number), advice: ownWAL.advice}
		f, err := dir.Open(spec.name)
		if ok, err := exists(err); err != nil {
			return list, diskError("cannot open "+spec.name, err)
		} else if !ok {
			return list, fmt.Errorf("%w: %s is missing: %s", ledger.ErrDamaged, spec.name, spec.advice)
		}
		w := &wal{walSpec: spec, f: f, aead: aead, closed: true}
		list = append([]*wal{w}, list...)
		if err = w.readFileHeader(); err != nil {
			return list, err
		}
		if w.last.File != before.File || w.before.Number >= before.Number {
			return list, fmt.Errorf("%w: %s is another file than the one that was carried on from: %s", ledger.ErrDamaged, spec.name, spec.advice)
		}
		if err = w.endsWith(before.Tag); err != nil {
			return list, err
		}
		before = w.before
	}
	return list, nil
}

// endsWith checks that the file ends with the record of this tag.
func (w *wal) endsWith(tag [walTagSize]byte) error {
	size, err := w.f.Size()
	if err != nil {
		return diskError("cannot read "+w.name, err)
	}
	var end [walTagSize]byte
	if size >= walFileHeader+walTagSize {
		if n, err := w.f.ReadAt(end[:], size-walTagSize); n < len(end) {
			return diskError("cannot read "+w.name, err)
		}
	}
	if end != tag {
		return fmt.Errorf("%w: %s was cut or changed at its end: %s", ledger.ErrDamaged, w.name, w.advice)
	}
	return nil
}

func closeAll(list []*wal) error {
	var errs []error
	for _, w := range list {
		errs = append(errs, w.f.Close())
	}
	return errors.Join(errs...)
}

// unrotate completes a change of segments that a crash interrupted: own.wal is
// always there again before a record is written.
func unrotate(dir files) error {
	f, err := dir.Open(ownWAL.name)
	if ok, err := exists(err); err != nil {
		return diskError("cannot open "+ownWAL.name, err)
	} else if ok {
		return f.Close()
	}
	names, err := dir.List()
	if err != nil {
		return diskError("cannot list the data directory", err)
	}
	newest := ""
	for _, name := range names {
		var n uint64
		if _, err := fmt.Sscanf(name, "own-%016d.wal", &n); err == nil && segmentName(n) == name && name > newest {
			newest = name
		}
	}
	if newest == "" {
		return nil
	}
	if err := rename(dir, newest, ownWAL.name); err != nil {
		return diskError("cannot name the newest segment own.wal again", err)
	}
	return nil
}

// rotate makes a segment of own.wal, all of which the index has. The caller
// holds own.mu.
func (s *Store) rotate() error {
	w := s.own.wal
	if w.fault != nil {
		return w.fault
	}
	err := writeNewWAL(s.files, ownWAL, w.aead, w.last)
	if err != nil {
		return diskError("cannot begin a new own.wal", err) // nothing has changed
	}
	name := segmentName(w.last.Number)
	if err = w.f.Close(); err == nil {
		err = rename(s.files, ownWAL.name, name)
	}
	if err == nil {
		err = rename(s.files, ownWAL.name+newSuffix, ownWAL.name)
	}
	var f file
	if err == nil {
		f, err = s.files.Open(ownWAL.name)
	}
	if err != nil {
		w.fault = fmt.Errorf("%w: own.wal could not be carried on in a new file; restart when the disk is well: %w", ledger.ErrReadOnly, err)
		return w.fault
	}
	next := &wal{walSpec: ownWAL, f: f, aead: w.aead}
	if err := next.readFileHeader(); err != nil {
		w.fault = fmt.Errorf("%w: the new own.wal cannot be read: %w", ledger.ErrReadOnly, err)
		return errors.Join(w.fault, f.Close())
	}
	s.own.wal = next
	return nil
}

// readSegments reads the batches of the segments that lead to own.wal, whose
// header names active, in order: those behind from, or all of them.
func (s *Store) readSegments(dir files, aead cipher.AEAD, active mark, from mark, fn func(mark, []byte) error) error {
	list, err := segments(dir, aead, active)
	if err != nil {
		return err
	}
	ends := make([]mark, 0, len(list))
	for _, w := range list[min(1, len(list)):] {
		ends = append(ends, w.before)
	}
	ends = append(ends, active)
	for i, w := range list {
		if from.Number >= ends[i].Number {
			if from.File == w.last.File && from != ends[i] {
				err = fmt.Errorf("%w: %s differs from the index at its end: restore both from the same backup", ledger.ErrDamaged, w.name)
			}
		} else {
			sub := mark{}
			if from.File == w.last.File {
				sub = from
			}
			_, err = w.recover(sub, fn)
		}
		if err != nil {
			break
		}
	}
	return errors.Join(err, closeAll(list))
}

// Recover implements ledger.Recoverer: own.wal and its segments have all own
// entries.
func (s *Store) Recover(ctx context.Context, id ledger.LogID, from, to uint64) (int, error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	defer s.uses.Done()
	s.own.mu.Lock()
	defer s.own.mu.Unlock()
	found := make(map[uint64][]byte)
	err := s.eachOwn(func(m mark, payload []byte) error {
		batch, err := parseBatch(payload)
		if err != nil {
			return fmt.Errorf("%w: own.wal, batch %d: %w", ledger.ErrDamaged, m.Number, err)
		}
		for _, r := range batch {
			if r.Table == ledger.TableEntries && r.Log == id && from <= r.Seq && r.Seq < to {
				found[r.Seq] = bytes.Clone(r.Value) // the newest stands
			}
		}
		return ctx.Err()
	})
	if err != nil || len(found) == 0 {
		return 0, err
	}
	return len(found), s.putBack(id, found)
}

// eachOwn reads every own batch that is on the disk. The caller holds own.mu.
func (s *Store) eachOwn(fn func(mark, []byte) error) error {
	if err := s.readSegments(s.files, s.own.wal.aead, s.own.wal.before, mark{}, fn); err != nil {
		return err
	}
	f, err := s.files.Open(ownWAL.name)
	if err != nil {
		return diskError("cannot open own.wal", err)
	}
	w := &wal{walSpec: ownWAL, f: f, aead: s.own.wal.aead, closed: true}
	_, err = w.recover(mark{}, fn)
	return errors.Join(err, f.Close())
}

// putBack writes stored entries of one log into the index.
func (s *Store) putBack(id ledger.LogID, found map[uint64][]byte) error {
	s.indexMu.Lock()
	defer s.indexMu.Unlock()
	batch := s.db.NewWriteBatch()
	defer batch.Cancel()
	for seq, value := range found {
		k, err := key(ledger.TableEntries, id, seq)
		if err != nil {
			return err
		}
		if err := batch.SetEntry(badger.NewEntry(k, value)); err != nil {
			return diskError("cannot repair the index", err)
		}
	}
	if err := batch.Flush(); err != nil {
		return diskError("cannot repair the index", err)
	}
	return nil
}
