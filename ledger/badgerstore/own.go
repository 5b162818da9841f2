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
	aead, err := newAEAD(s.opt.Key)
	if err != nil {
		return fmt.Errorf("badgerstore: %w", err)
	}
	from, err := s.watermark()
	if err != nil {
		return err
	}
	truth := make(ownTruth)
	w, cut, err := openWAL(dir, aead, from, func(m mark, batch []ledger.Record) error {
		truth.add(batch)
		if m.Number <= from.Number {
			return nil
		}
		return s.replay(m, batch)
	})
	if err != nil {
		return err
	}
	s.wal = w
	if cut > 0 {
		s.opt.Logger.Warn("the last append to own.wal was interrupted before it was acknowledged; it was cut off", "bytes", cut)
	}
	held, err := s.holds(truth)
	if err != nil || held {
		return err
	}
	s.opt.Logger.Error("the index lost some of this device's own entries; it is written again from own.wal")
	return s.reindex(dir)
}

// replay gives a batch of own.wal to the index.
func (s *Store) replay(m mark, batch []ledger.Record) error {
	s.pending.add(m, batch)
	if !s.pending.full() {
		return nil
	}
	return s.index(nil)
}

// reindex gives all of own.wal to the index again.
func (s *Store) reindex(dir files) error {
	if err := s.wal.close(); err != nil {
		return diskError("cannot close own.wal", err)
	}
	s.wal, s.pending = nil, newPending()
	aead, err := newAEAD(s.opt.Key)
	if err != nil {
		return fmt.Errorf("badgerstore: %w", err)
	}
	s.wal, _, err = openWAL(dir, aead, mark{}, s.replay)
	return err
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
	for at := range s.pending.at {
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
			if _, ok := s.pending.at[placeOf(id, it.Item().Key())]; !ok {
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
