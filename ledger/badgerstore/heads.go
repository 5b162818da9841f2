package badgerstore

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/crypto/cryptobyte"

	"tocsin/ledger"
)

// heads.wal is a copy, outside Badger, of what Badger has of the tables with one
// record for each log: states (how many entries, which head), forks, witnesses;
// and of the entries whose body was erased, so that none is ever fetched again.
// Before each transaction what it changes of them is appended and synced, and
// the transaction keeps the mark of that record. So at an opening the two tell
// of each other what is missing: Badger loses whole transactions in silence when
// a byte of its files is wrong.
//
// A record is: uint64 own_slots; uint64 in_slots; opaque before[40]; batch.
// own_slots and in_slots say from which slot on the two slot files were never
// used; before is the mark of the file that was replaced by this one, in its
// first record, else zeros.

// headsOverhead is what a record of heads.wal has besides the batch.
const headsOverhead = 8 + 8 + markSize

// headsCompact is the length from which heads.wal is written anew at an opening
// if most of it is outdated.
const headsCompact = 1 << 20

// headsRecord is one record of heads.wal.
type headsRecord struct {
	ownSlots, inSlots uint64
	before            mark
	batch             []ledger.Record
}

func (h *headsRecord) marshal() ([]byte, error) {
	batch, err := marshalBatch(h.batch)
	if err != nil {
		return nil, err
	}
	b := cryptobyte.NewBuilder(make([]byte, 0, headsOverhead+len(batch)))
	b.AddUint64(h.ownSlots)
	b.AddUint64(h.inSlots)
	b.AddBytes(h.before.marshal())
	b.AddBytes(batch)
	return b.Bytes()
}

func parseHeads(b []byte) (*headsRecord, error) {
	s := cryptobyte.String(b)
	var h headsRecord
	var before []byte
	if !s.ReadUint64(&h.ownSlots) || !s.ReadUint64(&h.inSlots) || !s.ReadBytes(&before, markSize) {
		return nil, errors.New("badgerstore: a record of heads is cut short")
	}
	var err error
	if h.before, err = parseMark(before); err != nil {
		return nil, err
	}
	if h.batch, err = parseBatch(s); err != nil {
		return nil, err
	}
	for i := range h.batch {
		if !kept(&h.batch[i]) {
			return nil, fmt.Errorf("badgerstore: a record of heads is of table %d", h.batch[i].Table)
		}
	}
	return &h, nil
}

// kept reports whether a record, as it is stored, has a copy in heads.wal.
func kept(r *ledger.Record) bool {
	if r.Table != ledger.TableEntries {
		return r.Table.Single()
	}
	st, err := parseStored(r.Value)
	return err == nil && st.final
}

// heads is heads.wal, open for appending. It is guarded by Store.indexMu.
type heads struct {
	wal  *wal
	gone *wal // erased.wal
	// What reading it told, used while opening:
	values  map[place][]byte
	bytes   int                // of values
	before  mark               // of the file that this one replaced
	known   bool               // the file was there, and had a record
	trusted bool               // it reaches as far as the index says
	atIndex mark               // the record that the index names, if it is in the file
	told    map[place]struct{} // erasures that erased.wal has
	whole   bool               // erased.wal reaches as far as the index says
	gap     mark               // no record of any file: where the index is while it goes on without one
}

// openHeads reads heads.wal and compares how far it and the index reach.
func (s *Store) openHeads(dir files) error {
	h := &s.heads
	h.values = make(map[place][]byte)
	aead, err := newAEAD(s.opt.Key, headsWAL)
	if err != nil {
		return fmt.Errorf("badgerstore: %w", err)
	}
	seen, err := s.mark(keyHeads)
	if err != nil {
		return err
	}
	w, cut, err := openWAL(dir, headsWAL, aead, mark{}, func(m mark, payload []byte) error {
		r, err := parseHeads(payload)
		if err != nil {
			return fmt.Errorf("%w: %s, record %d: %w", ledger.ErrDamaged, headsWAL.name, m.Number, err)
		}
		if m.Number == seen.Number && m.File == seen.File {
			h.atIndex = m
		}
		h.known = true
		h.take(r)
		s.own.use.end, s.in.use.end = max(s.own.use.end, r.ownSlots), max(s.in.use.end, r.inSlots)
		return nil
	})
	if err != nil {
		return err
	}
	h.wal = w
	if cut > 0 {
		s.opt.Logger.Warn("the last append was interrupted before it was acknowledged; it was cut off", "file", headsWAL.name, "bytes", cut)
	}
	switch {
	case seen == mark{}:
		// A new store, or an index that was moved away or lost: then all that is
		// in the file is compared with nothing, and restored.
		h.trusted = true
	case h.known && (seen == h.atIndex || seen.File == h.before.File && seen.Number <= h.before.Number):
		h.trusted = true
	default:
		h.gap.Number = 1
		rand.Read(h.gap.File[:]) // never fails (crypto/rand)
		s.note("heads.wal does not reach as far as the index: it was cut, exchanged or moved away; it is made again from the index, and all logs are checked")
	}
	return nil
}

func (h *heads) take(r *headsRecord) {
	if r.before != (mark{}) {
		h.before = r.before
	}
	for _, rec := range r.batch {
		at := place{rec.Table, rec.Log, rec.Seq}
		h.bytes += len(rec.Value) - len(h.values[at])
		h.values[at] = rec.Value
	}
}

// settleHeads compares the copy with the index and what the wals brought, once
// these are read: what the index lost is put back and its log is suspected.
func (s *Store) settleHeads(dir files) error {
	if !s.heads.trusted {
		// Start over from the index. What was ever erased stays so.
		maps.DeleteFunc(s.heads.values, func(at place, _ []byte) bool { return at.table != ledger.TableEntries })
	}
	if !s.heads.trusted && !s.heads.whole {
		if err := s.findErased(); err != nil {
			return err
		}
	}
	lost, err := s.compareHeads()
	if err != nil {
		return err
	}
	if len(lost) > 0 {
		s.note(fmt.Sprintf("the index had lost or changed %d records about logs, which were put back; their entries are checked, and what is missing is fetched again", len(lost)))
		if err := s.restoreHeads(lost); err != nil {
			return err
		}
	}
	if err = s.rewriteHeads(dir); err == nil {
		err = s.completeGone()
	}
	s.erased.addAll(maps.Keys(s.heads.values))
	s.heads.values, s.heads.told = nil, nil
	return err
}

// compareHeads returns the records that the index should have and does not, and
// takes those that only the index has into the copy.
func (s *Store) compareHeads() (lost []ledger.Record, err error) {
	want := s.heads.values
	seen := make(map[place]struct{}, len(want))
	suspects := make(map[ledger.LogID]struct{})
	for t := ledger.TableEntries; t <= ledger.TableLast; t++ {
		if !t.Single() {
			continue
		}
		err := s.each(t, func(id ledger.LogID, value []byte) error {
			at := place{t, id, 0}
			seen[at] = struct{}{}
			good, ok := want[at]
			switch {
			case ok && bytes.Equal(good, value):
				return nil
			case s.replayed(at): // it is newer than the copy
				want[at] = value
				return nil
			case ok:
				lost = append(lost, ledger.Record{Table: t, Log: id, Value: good})
			default:
				want[at] = value
				s.heads.bytes += len(value)
			}
			if ok || s.heads.known || !s.heads.trusted {
				suspects[id] = struct{}{}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for at, value := range want {
		if at.table == ledger.TableEntries {
			missing, err := s.forgotErasure(at)
			if err != nil {
				return nil, err
			}
			if !missing {
				continue
			}
			lost = append(lost, ledger.Record{Table: at.table, Log: at.log, Seq: at.seq, Value: value})
		} else if _, ok := seen[at]; !ok {
			lost = append(lost, ledger.Record{Table: at.table, Log: at.log, Value: value})
			suspects[at.log] = struct{}{}
		}
	}
	s.suspects = slices.SortedFunc(maps.Keys(suspects), ledger.LogID.Compare)
	return lost, nil
}

// forgotErasure reports whether the index does not know that a body was erased.
func (s *Store) forgotErasure(at place) (bool, error) {
	raw, err := s.raw(at.table, at.log, at.seq)
	if errors.Is(err, ledger.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	st, err := parseStored(raw)
	return err != nil || !st.final, nil
}

// replayed reports whether the wals had a record for a place: it is newer than
// the copy.
func (s *Store) replayed(at place) bool {
	_, ok := s.fresh[at]
	return ok
}

// restoreHeads puts lost records back into the index.
func (s *Store) restoreHeads(lost []ledger.Record) error {
	for piece := range slices.Chunk(lost, ledger.MaxBatchRecords) {
		err := s.db.Update(func(txn *badger.Txn) error {
			for _, r := range piece {
				k, err := key(r.Table, r.Log, r.Seq)
				if err == nil {
					err = txn.Set(k, r.Value)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return diskError("cannot repair the index", err)
		}
	}
	return nil
}

// rewriteHeads writes the file anew if it was not to be trusted, or if most of
// it is outdated: a snapshot under a temporary name, which then takes its place.
func (s *Store) rewriteHeads(dir files) error {
	h := &s.heads
	outdated := h.wal.size > headsCompact && h.wal.size > 4*int64(h.bytes+len(h.values)*recordOverhead)
	missing := !h.known && len(h.values) > 0
	if h.trusted && !outdated && !missing {
		return nil
	}
	spec := headsWAL
	if err := writeNewWAL(dir, spec, h.wal.aead, mark{}); err != nil {
		return diskError("cannot write "+spec.name, err)
	}
	f, err := dir.Open(spec.name + newSuffix)
	if err != nil {
		return diskError("cannot write "+spec.name, err)
	}
	w := &wal{walSpec: spec, f: f, aead: h.wal.aead}
	before := h.wal.last
	if !h.trusted {
		if before, err = s.mark(keyHeads); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	if err := s.writeSnapshot(w, before); err != nil {
		return errors.Join(err, f.Close())
	}
	if err = errors.Join(f.Close(), h.wal.f.Close()); err == nil {
		err = rename(dir, spec.name+newSuffix, spec.name)
	}
	if err == nil {
		w.f, err = dir.Open(spec.name)
	}
	if err != nil {
		h.wal = nil // it is closed
		return diskError("cannot replace "+spec.name, err)
	}
	h.wal = w
	h.before, h.trusted, h.known = before, true, true
	return nil
}

// writeSnapshot writes all records of the copy, in batches that a reader takes.
func (s *Store) writeSnapshot(w *wal, before mark) error {
	if err := w.readFileHeader(); err != nil {
		return err
	}
	places := slices.SortedFunc(maps.Keys(s.heads.values), comparePlaces)
	r := headsRecord{ownSlots: s.own.use.end, inSlots: s.in.use.end, before: before}
	size := 0
	flush := func() error {
		payload, err := r.marshal()
		if err != nil {
			return err
		}
		_, err = w.append(payload)
		r.batch, size = nil, 0
		return err
	}
	for _, at := range places {
		value := s.heads.values[at]
		if size += len(value); len(r.batch) == ledger.MaxBatchRecords || size > ledger.MaxBatchBytes {
			if err := flush(); err != nil {
				return err
			}
			size = len(value)
		}
		r.batch = append(r.batch, ledger.Record{Table: at.table, Log: at.log, Seq: at.seq, Value: value})
	}
	return flush()
}

func comparePlaces(a, b place) int {
	if a.table != b.table {
		return int(a.table) - int(b.table)
	}
	return cmp.Or(a.log.Compare(b.log), cmp.Compare(a.seq, b.seq))
}

// appendHeads makes durable what a transaction is about to change of the single
// records, before it does. While an opening brings the index up to the wals and
// the file is not to be trusted, nothing is appended: what would follow is not
// what comes before. The index then names a record that no file has, so that
// neither this file nor the right one, put back, is taken for a copy of it; the
// file that is made anew carries on from that name.
func (s *Store) appendHeads(own, in []walBatch) (mark, error) {
	if !s.heads.trusted {
		return s.heads.gap, nil
	}
	r := headsRecord{ownSlots: s.own.slotEnd.Load(), inSlots: s.in.slotEnd.Load()}
	last := make(map[place]int)
	for _, batches := range [][]walBatch{own, in} {
		for _, b := range batches {
			for _, rec := range b.records {
				if !kept(&rec) {
					continue
				}
				at := place{rec.Table, rec.Log, rec.Seq}
				if i, ok := last[at]; ok {
					r.batch[i].Value = rec.Value
					continue
				}
				last[at] = len(r.batch)
				r.batch = append(r.batch, ledger.Record{Table: rec.Table, Log: rec.Log, Seq: rec.Seq, Value: rec.Value})
			}
		}
	}
	payload, err := r.marshal()
	if err != nil {
		return mark{}, err
	}
	m, err := s.heads.wal.append(payload)
	if err == nil && s.heads.values != nil {
		s.heads.take(&r) // while opening
	}
	return m, err
}

// Suspects implements ledger.Suspicious.
func (s *Store) Suspects() []ledger.LogID { return s.suspects }
