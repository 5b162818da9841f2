package vault

import (
	"errors"
	"fmt"
)

// Change sets a value, or with a nil Value deletes it. An empty Value that is
// not nil is a value of no bytes. Keys are 1 to MaxKey characters of printable
// ASCII, values at most MaxValue bytes.
type Change struct {
	Key   string
	Value []byte
	// Erasable has the value sealed under a key of its own in the slot file.
	// When a Commit that deletes or replaces it returns nil, that key is
	// destroyed: what is left of the value in the journal, in journals from
	// before a compaction and in free blocks of the disk does not open any
	// more, whoever knows the passphrase. What was stored decides, so a delete
	// needs no flag, and replacing an erasable value by one that is not
	// destroys the old one.
	//
	// It is for opened messages, and as well for whatever must be gone when it
	// is deleted: prekeys, epoch secrets, chain keys. To store one costs no
	// sync of its own; to delete or replace costs one, however many a commit
	// destroys. Keys, versions and sizes of values are no part of this: they
	// stay in the journal, sealed under the passphrase, until it is compacted.
	Erasable bool
}

// Commit makes all changes, in their order, or none. When it returns nil they
// are on stable storage, by one record and one sync, and visible; and the keys
// of erasable values that it deleted or replaced are destroyed, by a second
// sync.
//
// After an error nothing of it is visible. A full disk is an error that
// leaves the vault as it was; after ErrBroken further commits are refused, and
// whether the failed one took place is known when the vault was locked and
// unlocked. There is one exception: where the changes were saved and only the
// destruction of keys was not confirmed, the error is ErrBroken and the changes
// are visible; the next unlock destroys the keys.
//
// A crash never leaves a value readable whose erasure was acknowledged, nor
// destroys one whose deletion was not recorded: the record comes first, and
// unlocking overwrites every slot that no record names.
func (v *Vault) Commit(changes ...Change) error {
	if err := checkChanges(changes); err != nil {
		return err
	}
	v.write.Lock()
	defer v.write.Unlock()
	return v.commit(changes...)
}

// errUndestroyed is wrapped with ErrBroken where a commit took place and its
// erasures perhaps did not.
var errUndestroyed = errors.New("the changes were saved; what they delete may still be readable until the next unlock")

// commit is Commit for changes that were checked. The caller holds write.
func (v *Vault) commit(changes ...Change) error {
	s := v.session
	switch {
	case s == nil:
		return v.lockedErr()
	case s.broken != nil:
		return s.broken
	case len(changes) == 0:
		return nil
	}
	list, values, err := s.sealValues(changes)
	if err != nil {
		s.slots.Release(taken(list)...)
		return err
	}
	record, next, err := s.chain.seal(s.keys, list, values)
	if err != nil {
		s.slots.Release(taken(list)...)
		return err
	}
	if err := s.append(record); err != nil {
		return s.abandon(list, err)
	}
	v.mu.Lock()
	freed := s.index.apply(s.chain.offset, frame{manifestLen: uint32(len(record) - len(values) - frameSize)}, list)
	v.mu.Unlock()
	s.chain = next
	s.advanceHead()
	if len(freed) > 0 {
		if err := s.slots.Erase(freed...); err != nil {
			return fmt.Errorf("%w: %w", s.breakWith("the disk did not confirm an erasure", err), errUndestroyed)
		}
	}
	v.compactIfDue()
	return nil
}

// abandon destroys the keys of a record that was withdrawn: some of it may
// have reached the disk. Where it is not known whether the record is there, its
// slots stay as they are until unlocking finds out.
func (s *session) abandon(list []change, err error) error {
	used := taken(list)
	if s.broken != nil || len(used) == 0 {
		return err
	}
	return errors.Join(err, s.slots.Erase(used...))
}

// taken lists the slots of new values.
func taken(list []change) []uint64 {
	var used []uint64
	for _, c := range list {
		if c.slot != noSlot {
			used = append(used, uint64(c.slot))
		}
	}
	return used
}

func checkChanges(changes []Change) error {
	if len(changes) > MaxChanges {
		return fmt.Errorf("vault: a commit has %d changes; %d are allowed", len(changes), MaxChanges)
	}
	total := 0
	for _, c := range changes {
		if err := checkKey(c.Key); err != nil {
			return err
		}
		if len(c.Value) > MaxValue {
			return fmt.Errorf("vault: the value of %q has %d bytes; %d are allowed", c.Key, len(c.Value), MaxValue)
		}
		total += len(c.Value)
	}
	if total > MaxCommit {
		return fmt.Errorf("vault: the values of a commit have %d bytes together; %d are allowed", total, MaxCommit)
	}
	return nil
}

// sealValues seals the values of changes, end to end, and lists them. After
// an error the list has those that took a slot.
func (s *session) sealValues(changes []Change) ([]change, []byte, error) {
	size := 0
	for _, c := range changes {
		size += len(c.Value) + sealOverhead
	}
	list, values, aad := make([]change, 0, len(changes)), make([]byte, 0, size), []byte(nil)
	for i, c := range changes {
		to := change{key: c.Key, version: s.chain.version + uint64(i), deleted: c.Value == nil, slot: noSlot}
		before := len(values)
		aad = appendAAD(aad[:0], c.Key, to.version)
		var err error
		switch {
		case c.Value == nil:
		case c.Erasable:
			to.slot, values, err = s.sealErasable(values, c.Value, aad)
		default:
			values = s.keys.value.Seal(values, nil, c.Value, aad)
		}
		to.size = uint32(len(values) - before)
		list = append(list, to)
		if err != nil {
			return list, nil, err
		}
	}
	return list, values, nil
}

// sealErasable appends a value to values, sealed under the key of a slot that
// it takes.
func (s *session) sealErasable(values, value, aad []byte) (slot, []byte, error) {
	n, key, err := s.slots.Take()
	if err != nil {
		return noSlot, values, fmt.Errorf("vault: could not save: %w", err)
	}
	defer clear(key[:])
	aead, err := s.keys.own(&key)
	if err != nil {
		return slot(n), values, err
	}
	return slot(n), aead.Seal(values, nil, value, aad), nil
}

// openValue opens what one of the two above sealed.
func (s *session) openValue(sealed []byte, key string, r ref) ([]byte, error) {
	aead := s.keys.value
	if r.slot != noSlot {
		slotKey, err := s.slots.Key(uint64(r.slot))
		if err != nil {
			return nil, fmt.Errorf("%w: the value of %q has lost its key: %w", ErrDamaged, key, err)
		}
		defer clear(slotKey[:])
		if aead, err = s.keys.own(&slotKey); err != nil {
			return nil, err
		}
	}
	value, err := aead.Open(make([]byte, 0, len(sealed)-sealOverhead), nil, sealed, valueAAD(key, r.version))
	if err != nil {
		return nil, damaged("the value of %q does not open", key)
	}
	return value, nil
}

// append writes record behind the journal and syncs it. Where it fails, it
// cuts the journal back; where that fails or the sync did, the vault is broken:
// pages that could not be synced are dropped by the kernel, and a second sync
// would report success over the hole.
func (s *session) append(record []byte) error {
	if size, err := s.journal.size(); err != nil || size != s.chain.offset {
		return s.breakWith("the journal was changed by another program", err)
	}
	if _, err := s.journal.WriteAt(record, s.chain.offset); err != nil {
		if cut := s.withdraw(); cut != nil {
			return s.breakWith("a commit could be neither written nor withdrawn", errors.Join(err, cut))
		}
		return fmt.Errorf("vault: could not save; is the disk full? %w", err)
	}
	if err := s.journal.sync(); err != nil {
		// If the cut fails too, opening finds either the whole record, which
		// was then written after all, or a torn one.
		cut := s.journal.truncate(s.chain.offset)
		return s.breakWith("the disk did not confirm a commit", errors.Join(err, cut))
	}
	return nil
}

// withdraw cuts what a failed write left behind the journal, durably: a
// write can have reached the disk whole and be reported as failed.
func (s *session) withdraw() error {
	if err := s.journal.truncate(s.chain.offset); err != nil {
		return err
	}
	return s.journal.sync()
}

func (s *session) breakWith(what string, err error) error {
	s.broken = fmt.Errorf("%w: %s; see to the disk, then lock and unlock", ErrBroken, what)
	if err != nil {
		s.broken = fmt.Errorf("%w: %w", s.broken, err)
	}
	return s.broken
}

// advanceHead records the commit that was just made durable. It is no failure
// of that commit if this cannot be written, but no other one is taken.
func (s *session) advanceHead() {
	slot := 1 - s.slot
	if err := writeHead(s.headFile, s.keys, s.chain.preamble.id, slot, s.chain.head()); err != nil {
		_ = s.breakWith("the head could not be written", err) // told by the next commit
		return
	}
	s.slot = slot
}
