package badgerstore

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"tocsin/crypto/identity"
	"tocsin/ledger"
)

// Beside each slot file lies a list, *.places, of which entry each slot was taken
// for. The records say that too, but the index can lose a record in silence, or
// come back as it was before: then the slot that the lost record named would
// keep its key for ever, also when the entry has come again under another key
// and is erased. Erasing therefore looks here for every key that the entry ever
// had.
//
//	opaque magic[16]; uint64 place[];   /* one for each slot; 0 for none */
//
// A place is the first 8 bytes of SHA-256(key ‖ log ‖ seq), key of HKDF from the
// store's key, so that the list says nothing to whoever finds it. It is written
// before the record that names the slot, and synced before the index takes that
// record over from the wal, which is read again until then.
type places struct {
	mu    sync.Mutex // held from taking a slot until it is listed, and while slots of a place are looked for
	name  string
	f     file
	key   [32]byte
	slots uint64 // that the file has room for
	dirty bool   // written since the last sync
}

const (
	placesMagic  = "tocsin places 1\n"
	placesHeader = len(placesMagic)
	placeSize    = 8
	placesBlock  = 1024 // slots by which the file grows
)

// openPlaces opens a list, or begins one: it is filled from the records then.
func openPlaces(dir files, name string, storeKey [32]byte) (*places, error) {
	key, err := hkdf.Key(sha256.New, storeKey[:], nil, "tocsin/1 places", 32)
	if err != nil {
		return nil, fmt.Errorf("badgerstore: %w", err)
	}
	p := &places{name: name, key: [32]byte(key)}
	f, err := dir.Open(name)
	there, err := exists(err)
	if err != nil {
		return nil, diskError("cannot open "+name, err)
	}
	if there {
		ok, err := p.begin(f)
		if ok || err != nil {
			return p, err
		}
		if err := f.Close(); err != nil {
			return nil, diskError("cannot open "+name, err)
		}
	}
	if f, err = dir.Create(name + newSuffix); err != nil {
		return nil, diskError("cannot create "+name, err)
	}
	_, err = f.WriteAt([]byte(placesMagic), 0)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = rename(dir, name+newSuffix, name)
	}
	if err == nil {
		f, err = dir.Open(name)
	}
	if err != nil {
		return nil, diskError("cannot create "+name, err)
	}
	if ok, err := p.begin(f); err != nil || !ok {
		return nil, errors.Join(fmt.Errorf("badgerstore: %s does not read as it was written", name), err, f.Close())
	}
	return p, nil
}

// begin takes a file, and reports whether it is a list.
func (p *places) begin(f file) (bool, error) {
	size, err := f.Size()
	if err != nil {
		return false, errors.Join(diskError("cannot read "+p.name, err), f.Close())
	}
	head := make([]byte, placesHeader)
	if n, _ := f.ReadAt(head, 0); n < len(head) || string(head) != placesMagic {
		return false, nil
	}
	p.f, p.slots = f, uint64(size-int64(placesHeader))/placeSize
	return true, nil
}

// of returns how a place stands in the list; it is never 0.
func (p *places) of(id ledger.LogID, seq uint64) uint64 {
	log := id.Bytes()
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(append(p.key[:len(p.key):len(p.key)], log[:]...), seq))
	return max(1, binary.BigEndian.Uint64(sum[:]))
}

// listed is a slot and what it was taken for.
type listed struct{ slot, place uint64 }

// set lists slots; the caller holds mu. It is durable after sync.
func (p *places) set(list []listed) error {
	slices.SortFunc(list, func(a, b listed) int { return int(int64(a.slot) - int64(b.slot)) })
	var run []byte
	for i, l := range list {
		run = binary.BigEndian.AppendUint64(run, l.place)
		if i+1 < len(list) && list[i+1].slot == l.slot+1 {
			continue
		}
		if err := p.grow(l.slot + 1); err != nil {
			return err
		}
		first := l.slot + 1 - uint64(len(run)/placeSize)
		p.dirty = true
		if _, err := p.f.WriteAt(run, int64(placesHeader)+int64(first)*placeSize); err != nil {
			return diskError("cannot write "+p.name, err)
		}
		run = run[:0]
	}
	return nil
}

// grow makes room for so many slots.
func (p *places) grow(slots uint64) error {
	if slots <= p.slots {
		return nil
	}
	slots = (slots + placesBlock - 1) / placesBlock * placesBlock
	if err := p.f.Truncate(int64(placesHeader) + int64(slots)*placeSize); err != nil {
		return diskError("cannot make "+p.name+" longer", err)
	}
	p.slots, p.dirty = slots, true
	return nil
}

// sync makes durable what was listed.
func (p *places) sync() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.dirty {
		return nil
	}
	if err := p.f.Sync(); err != nil {
		return diskError("cannot sync "+p.name, err)
	}
	p.dirty = false
	return nil
}

// find returns the slots that are listed for any of some places. The caller
// holds mu.
func (p *places) find(want map[uint64]struct{}) (slots []uint64, err error) {
	var sieve [1 << 16]bool // most are told apart by 16 bits
	for place := range want {
		sieve[place>>48] = true
	}
	buf := make([]byte, 1<<20)
	for from := uint64(0); from < p.slots; {
		b := buf[:min(uint64(len(buf)), (p.slots-from)*placeSize)]
		if n, err := p.f.ReadAt(b, int64(placesHeader)+int64(from)*placeSize); n < len(b) {
			return nil, diskError("cannot read "+p.name, err)
		}
		for i := 0; i < len(b); i += placeSize {
			if !sieve[uint16(b[i])<<8|uint16(b[i+1])] {
				continue
			}
			if _, ok := want[binary.BigEndian.Uint64(b[i:])]; ok {
				slots = append(slots, from+uint64(i/placeSize))
			}
		}
		from += uint64(len(b) / placeSize)
	}
	return slots, nil
}

// forget takes destroyed slots off the list. What a crash leaves of them does no
// harm: a slot is listed anew before it is used again.
func (p *places) forget(slots []uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]listed, 0, len(slots))
	for _, slot := range slots {
		if slot < p.slots {
			list = append(list, listed{slot, 0})
		}
	}
	return p.set(list)
}

// relist lists what a batch of a wal names: what was written of the list may not
// have reached the disk.
func (j *journal) relist(batch []ledger.Record) error {
	var list []listed
	for i := range batch {
		if batch[i].Table != ledger.TableEntries {
			continue
		}
		if st, err := parseStored(batch[i].Value); err == nil && st.slot != nil {
			list = append(list, listed{*st.slot, j.places.of(batch[i].Log, batch[i].Seq)})
		}
	}
	j.places.mu.Lock()
	defer j.places.mu.Unlock()
	return j.places.set(list)
}

// settlePlaces fills a list that is missing or was cut from all records there
// are. It reads the whole index, which only damage makes necessary.
func (s *Store) settlePlaces() error {
	short := false
	for _, j := range []*journal{&s.own, &s.in} {
		short = short || j.places.slots < j.use.end
	}
	if !short {
		return nil
	}
	pend, err := s.pendingIn(func(at place) bool { return at.table == ledger.TableEntries })
	if err != nil {
		return err
	}
	lists := make(map[bool][]listed)
	err = s.merge(context.Background(), []byte{prefixEntries}, []byte{prefixEntries}, nil, pend, func(p pair) error {
		st, err := parseStored(p.value)
		if err != nil || st.slot == nil {
			return nil // whoever reads it says what is wrong with it
		}
		id, err := identity.LogIDFromBytes(p.key[1 : len(p.key)-8])
		if err != nil {
			return fmt.Errorf("%w: a key of the entries: %w", ledger.ErrDamaged, err)
		}
		list := append(lists[st.own], listed{*st.slot, s.own.places.of(id, placeOf(id, p.key).seq)})
		if lists[st.own] = list; len(list) < placesBlock {
			return nil
		}
		lists[st.own] = nil
		return s.list(st.own, list)
	})
	if errors.Is(err, ledger.ErrDamaged) {
		s.note(fmt.Sprintf("a list of the keys of entries was missing or cut, and not all entries could be read to make it again: erasing an entry that is lost now may leave a key of it: %v", err))
		err = nil
	}
	if err == nil {
		err = errors.Join(s.list(true, lists[true]), s.list(false, lists[false]))
	}
	for _, j := range []*journal{&s.own, &s.in} {
		if err == nil {
			err = errors.Join(j.places.grow(j.use.end), j.places.sync())
		}
	}
	return err
}

// list is places.set in a journal, while opening.
func (s *Store) list(own bool, list []listed) error {
	if own {
		return s.own.places.set(list)
	}
	return s.in.places.set(list)
}

// destroyFormer destroys the keys that the entries which a batch takes the body
// of ever had, but those that the batch itself or the records it replaces name:
// keys whose records the index has lost. No record that can be read names them,
// so that they may go before the batch is durable.
func (s *Store) destroyFormer(batch []ledger.Record, olds []*stored, own bool, taken []uint64) error {
	want := make(map[uint64]struct{})
	named := make(map[uint64]struct{}, len(taken))
	for i := range batch {
		r := &batch[i]
		if r.Table == ledger.TableEntries && len(r.Body) == 0 && !r.Fresh {
			want[s.own.places.of(r.Log, r.Seq)] = struct{}{}
		}
		if olds[i] != nil && olds[i].slot != nil {
			named[*olds[i].slot] = struct{}{}
		}
	}
	if len(want) == 0 {
		return nil
	}
	for _, slot := range taken {
		named[slot] = struct{}{}
	}
	for _, j := range []*journal{&s.own, &s.in} {
		if err := j.destroyListed(want, func(slot uint64) bool {
			_, ok := named[slot]
			return ok && (j == &s.own) == own
		}); err != nil {
			return err
		}
	}
	return nil
}

// destroyListed destroys the keys of places, but those that are kept.
func (j *journal) destroyListed(want map[uint64]struct{}, keep func(uint64) bool) error {
	j.places.mu.Lock()
	defer j.places.mu.Unlock()
	found, err := j.places.find(want)
	if err != nil {
		return err
	}
	found = slices.DeleteFunc(found, keep)
	if len(found) == 0 {
		return nil
	}
	if err := j.keys.Erase(found...); err != nil {
		return diskError("cannot destroy former keys of erased bodies", err)
	}
	list := make([]listed, 0, len(found))
	for _, slot := range found {
		list = append(list, listed{slot, 0})
	}
	return j.places.set(list)
}
