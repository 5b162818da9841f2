package badgerstore

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"tocsin/crypto/slots"
	"tocsin/ledger"
)

// slotUse is what is known of a slot file from the records that were read: which
// slots are dead, and from which number on none was ever used.
type slotUse struct {
	end  uint64              // every slot that a record names is below it
	dead map[uint64]struct{} // erased by a record, and not taken again since
}

// note takes in the stored form of an entry, in the order of the file.
func (u *slotUse) note(st *stored) {
	if st.erased != nil {
		u.dead[*st.erased] = struct{}{}
	}
	if st.slot != nil {
		u.end = max(u.end, *st.slot+1)
		delete(u.dead, *st.slot)
	}
}

// noteBatch takes in the entries of a batch that was read from a wal.
func (u *slotUse) noteBatch(batch []ledger.Record) error {
	for i := range batch {
		if batch[i].Table != ledger.TableEntries {
			continue
		}
		st, err := parseStored(batch[i].Value)
		if err != nil {
			return fmt.Errorf("%w: %w", ledger.ErrDamaged, err)
		}
		u.note(st)
	}
	return nil
}

// live gives the slots that must be kept: all below end but the dead ones. Some
// were erased long ago; keeping those costs 64 bytes each.
func (u *slotUse) live() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for slot := range u.end {
			if _, ok := u.dead[slot]; !ok && !yield(slot) {
				return
			}
		}
	}
}

// openSlots opens the slot file of a journal, or makes one. It is claimed later.
func openSlots(dir files, name string) (keys *slots.Slots, created bool, err error) {
	f, err := dir.Open(name)
	there, err := exists(err)
	if err != nil {
		return nil, false, diskError("cannot open "+name, err)
	}
	if there {
		if keys, err = slots.OpenOn(f, nil); err != nil {
			return nil, false, errors.Join(fmt.Errorf("%w: %s holds the keys of bodies and cannot be read: restore it, or move the data directory away and fetch everything again: %w",
				ledger.ErrDamaged, name, err), f.Close())
		}
		return keys, false, nil
	}
	if f, err = dir.Create(name + newSuffix); err != nil {
		return nil, false, diskError("cannot create "+name, err)
	}
	if keys, err = slots.CreateOn(f, nil); err != nil {
		return nil, false, errors.Join(diskError("cannot create "+name, err), f.Close())
	}
	if err = keys.Close(); err == nil {
		err = rename(dir, name+newSuffix, name)
	}
	if err != nil {
		return nil, false, diskError("cannot create "+name, err)
	}
	if f, err = dir.Open(name); err != nil {
		return nil, false, diskError("cannot open "+name, err)
	}
	if keys, err = slots.OpenOn(f, nil); err != nil {
		return nil, false, errors.Join(diskError("cannot open "+name, err), f.Close())
	}
	return keys, true, nil
}

// claim ends the opening of a slot file: whatever no record names is
// overwritten, which completes erasures that a crash interrupted and destroys
// keys of records that were never acknowledged. If not every record may have
// been seen, only what a record erased is destroyed (see judgeComplete).
func (j *journal) claim() error {
	if err := j.keys.Claim(j.use.live()); err != nil {
		return diskError("cannot claim the keys of "+j.slotsName, err)
	}
	dead := slices.Collect(maps.Keys(j.use.dead))
	j.use.dead = nil
	// Claim has overwritten those; this makes sure of any beyond the end.
	return j.destroy(dead)
}

// destroy overwrites slots; the bodies under them are gone when it returns nil.
func (j *journal) destroy(dead []uint64) error {
	if len(dead) == 0 {
		return nil
	}
	if err := j.keys.Erase(dead...); err != nil {
		return diskError("cannot destroy the keys of erased bodies", err)
	}
	return j.places.forget(dead)
}
