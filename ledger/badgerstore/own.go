package badgerstore

import (
	"bytes"
	"crypto/cipher"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/crypto/cryptobyte"

	"tocsin/ledger"
)

// openOwn opens own.wal and brings the index up to it. The file is the truth:
// if the index lost something that it had, it is written again from the file,
// because a sequence number that is forgotten would be used twice. Of closed
// segments only what the index has not seen is read.
func (s *Store) openOwn(dir files) error {
	if err := unrotate(dir); err != nil {
		return err
	}
	from, err := s.mark(keyWatermark)
	if err != nil {
		return err
	}
	truth := make(ownTruth)
	err = s.readOwn(dir, from, func(m mark, batch []ledger.Record) error {
		truth.add(batch)
		if m.Number <= from.Number {
			return nil
		}
		return s.replay(&s.own, m, batch)
	})
	if err != nil {
		return err
	}
	held, err := s.holds(truth)
	if err != nil || held {
		return err
	}
	s.note("the index had lost some of this device's own entries; they were written again from own.wal")
	if err := s.own.wal.close(); err != nil {
		return diskError("cannot close own.wal", err)
	}
	s.own.wal, s.own.pending = nil, newPending()
	return s.readOwn(dir, mark{}, func(m mark, batch []ledger.Record) error {
		return s.replay(&s.own, m, batch)
	})
}

// readOwn reads what follows from of the segments, and all of own.wal, which it
// leaves open for appending.
func (s *Store) readOwn(dir files, from mark, fn func(mark, []ledger.Record) error) error {
	aead, err := newAEAD(s.opt.Key, ownWAL)
	if err != nil {
		return fmt.Errorf("badgerstore: %w", err)
	}
	before, id, err := peekWAL(dir, ownWAL, aead)
	if err != nil {
		return err
	}
	read := batches(ownWAL.name, fn)
	if before != (mark{}) {
		if from.Number > before.Number && from.File != id {
			return fmt.Errorf("%w: own.wal is not the file that the index was built from: restore both from the same backup", ledger.ErrDamaged)
		}
		if err := s.readSegments(dir, aead, before, from, read); err != nil {
			return err
		}
		if from.Number <= before.Number {
			from = mark{} // it is in a segment, which was compared with it
		}
	}
	return s.openJournal(&s.own, dir, ownWAL, from, read)
}

// peekWAL reads the header of a file: which record it carries on from, and its
// id. Both are zeros if there is no file.
func peekWAL(dir files, spec walSpec, aead cipher.AEAD) (before mark, id [walIDSize]byte, err error) {
	f, err := dir.Open(spec.name)
	if ok, err := exists(err); err != nil {
		return mark{}, id, diskError("cannot open "+spec.name, err)
	} else if !ok {
		return mark{}, id, nil
	}
	w := &wal{walSpec: spec, f: f, aead: aead}
	err = errors.Join(w.readFileHeader(), f.Close())
	return w.before, w.last.File, err
}

// openIn opens in.wal and gives all of it to the index again: it holds the
// newest records of others without a gap, so whatever the index has of them
// already ends as it was.
func (s *Store) openIn(dir files) error {
	return s.openJournal(&s.in, dir, inWAL, mark{}, batches(inWAL.name, func(m mark, batch []ledger.Record) error {
		return s.replay(&s.in, m, batch)
	}))
}

func (s *Store) openJournal(j *journal, dir files, spec walSpec, from mark, fn func(mark, []byte) error) error {
	aead, err := newAEAD(s.opt.Key, spec)
	if err != nil {
		return fmt.Errorf("badgerstore: %w", err)
	}
	w, cut, err := openWAL(dir, spec, aead, from, fn)
	if err != nil {
		return err
	}
	j.wal = w
	if cut > 0 {
		s.opt.Logger.Warn("the last append was interrupted before it was acknowledged; it was cut off", "file", spec.name, "bytes", cut)
	}
	return nil
}

// replay gives a batch of a file to the index.
func (s *Store) replay(j *journal, m mark, batch []ledger.Record) error {
	if err := j.use.noteBatch(batch); err != nil {
		return err
	}
	if err := j.relist(batch); err != nil {
		return err
	}
	// Whatever of both journals the index is given next, heads.wal then says that
	// its keys are in use.
	j.slotEnd.Store(j.use.end)
	for _, r := range batch {
		switch {
		case r.Table.Single():
			s.fresh[place{r.Table, r.Log, 0}] = struct{}{}
		case kept(&r):
			s.erased.add(place{r.Table, r.Log, r.Seq})
		}
	}
	j.pending.add(m, batch)
	if !j.pending.full() {
		return nil
	}
	return s.index()
}

// ownTruth is what own.wal says about each log in it.
type ownTruth map[ledger.LogID]*ownLog

type ownLog struct {
	seqs  map[uint64]struct{} // of entries
	first uint64
	last  uint64
	state []byte // nil if there is none
}

func (t ownTruth) add(batch []ledger.Record) {
	for _, r := range batch {
		o := t[r.Log]
		if o == nil {
			o = &ownLog{seqs: make(map[uint64]struct{})}
			t[r.Log] = o
		}
		switch r.Table {
		case ledger.TableEntries:
			if len(o.seqs) == 0 {
				o.first, o.last = r.Seq, r.Seq
			}
			o.seqs[r.Seq] = struct{}{}
			o.first, o.last = min(o.first, r.Seq), max(o.last, r.Seq)
		case ledger.TableStates:
			o.state = r.Value
		}
	}
}

// holds reports whether the index, with what is pending, has the state and every
// entry that was read of own.wal. It looks at keys only: values carry their own
// check, and the scrub looks at all.
func (s *Store) holds(t ownTruth) (bool, error) {
	for id, o := range t {
		if o.state != nil {
			value, err := s.get(ledger.TableStates, id, 0)
			if errors.Is(err, ledger.ErrNotFound) || err == nil && !bytes.Equal(value, o.state) {
				return false, nil
			}
			if err != nil {
				return false, err
			}
		}
		if len(o.seqs) == 0 {
			continue
		}
		n, err := s.countEntries(id, o)
		if err != nil || n != len(o.seqs) {
			return false, err
		}
	}
	return true, nil
}

// countEntries counts the entries of a log, of those that own.wal has, in Badger
// and pending, by their keys.
func (s *Store) countEntries(id ledger.LogID, o *ownLog) (n int, err error) {
	defer damagedIndex(&err)
	for at := range s.own.pending.at {
		if _, ok := o.seqs[at.seq]; ok && at.table == ledger.TableEntries && at.log == id {
			n++
		}
	}
	from, err := key(ledger.TableEntries, id, o.first)
	if err != nil {
		return 0, err
	}
	end, err := key(ledger.TableEntries, id, o.last)
	if err != nil {
		return 0, err
	}
	err = s.db.View(func(txn *badger.Txn) error {
		opt := badger.DefaultIteratorOptions
		opt.PrefetchValues = false
		opt.Prefix = from[:len(from)-8]
		it := txn.NewIterator(opt)
		defer it.Close()
		for it.Seek(from); it.Valid() && bytes.Compare(it.Item().Key(), end) <= 0; it.Next() {
			at := placeOf(id, it.Item().Key())
			_, pending := s.own.pending.at[at]
			if _, ok := o.seqs[at.seq]; ok && !pending {
				n++
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("badgerstore: cannot read the index: %w", err)
	}
	return n, nil
}

// mark returns a mark that Badger keeps, zeros if it has none.
func (s *Store) mark(key []byte) (mark, error) {
	value, err := s.value(key)
	if errors.Is(err, ledger.ErrNotFound) {
		return mark{}, nil
	}
	if err != nil {
		return mark{}, err
	}
	m, err := parseMark(value)
	if err != nil {
		return mark{}, fmt.Errorf("%w: a mark of the index cannot be read: %s", ledger.ErrDamaged, indexAdvice)
	}
	return m, nil
}

func (m mark) marshal() []byte {
	b := cryptobyte.NewBuilder(make([]byte, 0, markSize))
	b.AddBytes(m.File[:])
	b.AddUint64(m.Number)
	b.AddBytes(m.Tag[:])
	return b.BytesOrPanic() // fixed-size fields only: it cannot fail
}

// markSize is the encoded size of a mark.
const markSize = walIDSize + 8 + walTagSize

func parseMark(value []byte) (mark, error) {
	var m mark
	s := cryptobyte.String(value)
	if !s.CopyBytes(m.File[:]) || !s.ReadUint64(&m.Number) || !s.CopyBytes(m.Tag[:]) || !s.Empty() {
		return mark{}, fmt.Errorf("badgerstore: a mark has %d bytes, not %d", len(value), markSize)
	}
	return m, nil
}
