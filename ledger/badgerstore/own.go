package badgerstore

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/crypto/cryptobyte"

	"tocsin/ledger"
)

// openOwn opens own.wal and brings the index up to it. The file is the truth:
// if the index lost something that it had, it is written again from the file,
// because a sequence number that is forgotten would be used twice.
func (s *Store) openOwn(dir files) error {
	from, err := s.watermark()
	if err != nil {
		return err
	}
	truth := make(ownTruth)
	err = s.openJournal(&s.own, dir, ownWAL, from, func(m mark, batch []ledger.Record) error {
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
	s.opt.Logger.Error("the index lost some of this device's own entries; it is written again from own.wal")
	if err := s.own.wal.close(); err != nil {
		return diskError("cannot close own.wal", err)
	}
	s.own = journal{pending: newPending()}
	return s.openJournal(&s.own, dir, ownWAL, mark{}, func(m mark, batch []ledger.Record) error {
		return s.replay(&s.own, m, batch)
	})
}

// openIn opens in.wal and gives all of it to the index again: it holds the
// newest records of others without a gap, so whatever the index has of them
// already ends as it was.
func (s *Store) openIn(dir files) error {
	return s.openJournal(&s.in, dir, inWAL, mark{}, func(m mark, batch []ledger.Record) error {
		return s.replay(&s.in, m, batch)
	})
}

func (s *Store) openJournal(j *journal, dir files, spec walSpec, from mark, fn func(mark, []ledger.Record) error) error {
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
	j.pending.add(m, batch)
	if !j.pending.full() {
		return nil
	}
	return s.index()
}

// ownTruth is what own.wal says about each log in it.
type ownTruth map[ledger.LogID]*ownLog

type ownLog struct {
	first, last uint64 // sequence numbers of entries, if there are any
	entries     bool
	state       []byte // nil if there is none
}

func (t ownTruth) add(batch []ledger.Record) {
	for _, r := range batch {
		o := t[r.Log]
		if o == nil {
			o = &ownLog{}
			t[r.Log] = o
		}
		switch r.Table {
		case ledger.TableEntries:
			if !o.entries {
				o.first, o.last, o.entries = r.Seq, r.Seq, true
			}
			o.first, o.last = min(o.first, r.Seq), max(o.last, r.Seq)
		case ledger.TableStates:
			o.state = r.Value
		}
	}
}

// holds reports whether the index, with what is pending, has the state and every
// entry that own.wal has. It looks at keys only: values carry their own check.
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
		if !o.entries {
			continue
		}
		n, err := s.countEntries(id, o.first, o.last)
		if err != nil || n != o.last-o.first+1 {
			return false, err
		}
	}
	return true, nil
}

// countEntries counts the entries of a log from first to last, in Badger and
// pending, by their keys.
func (s *Store) countEntries(id ledger.LogID, first, last uint64) (n uint64, err error) {
	for at := range s.own.pending.at {
		if at.table == ledger.TableEntries && at.log == id && first <= at.seq && at.seq <= last {
			n++
		}
	}
	from, err := key(ledger.TableEntries, id, first)
	if err != nil {
		return 0, err
	}
	end, err := key(ledger.TableEntries, id, last)
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
			if _, ok := s.own.pending.at[placeOf(id, it.Item().Key())]; !ok {
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

// watermark returns the newest batch of own.wal that Badger holds.
func (s *Store) watermark() (mark, error) {
	value, err := s.value(keyWatermark)
	if errors.Is(err, ledger.ErrNotFound) {
		return mark{}, nil
	}
	if err != nil {
		return mark{}, err
	}
	return parseMark(value)
}

func (m mark) marshal() []byte {
	b := cryptobyte.NewBuilder(make([]byte, 0, walIDSize+8+walTagSize))
	b.AddBytes(m.File[:])
	b.AddUint64(m.Number)
	b.AddBytes(m.Tag[:])
	return b.BytesOrPanic() // fixed-size fields only: it cannot fail
}

func parseMark(value []byte) (mark, error) {
	var m mark
	s := cryptobyte.String(value)
	if !s.CopyBytes(m.File[:]) || !s.ReadUint64(&m.Number) || !s.CopyBytes(m.Tag[:]) || !s.Empty() {
		return mark{}, fmt.Errorf("%w: the index's mark of own.wal cannot be read: move the directory %s away; it is then rebuilt", ledger.ErrDamaged, indexName)
	}
	return m, nil
}
