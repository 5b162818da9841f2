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
}

// Commit makes all changes, in their order, or none. When it returns nil they
// are on stable storage, by one record and one sync, and visible.
//
// After an error nothing of it is visible. A full disk is an error that
// leaves the vault as it was; after ErrBroken further commits are refused, and
// whether the failed one took place is known when the vault was locked and
// unlocked.
func (v *Vault) Commit(changes ...Change) error {
	if err := checkChanges(changes); err != nil {
		return err
	}
	v.write.Lock()
	defer v.write.Unlock()
	s := v.session
	switch {
	case s == nil:
		return ErrLocked
	case s.broken != nil:
		return s.broken
	case len(changes) == 0:
		return nil
	}
	list, values := s.sealValues(changes)
	record, next, err := s.chain.seal(s.keys, list, values)
	if err != nil {
		return err
	}
	if err := s.append(record); err != nil {
		return err
	}
	v.mu.Lock()
	s.index.apply(s.chain.offset, frame{manifestLen: uint32(len(record) - len(values) - frameSize)}, list)
	v.mu.Unlock()
	s.chain = next
	s.advanceHead()
	v.compactIfDue()
	return nil
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

// sealValues seals the values of changes, end to end, and lists them.
func (s *session) sealValues(changes []Change) ([]change, []byte) {
	size := 0
	for _, c := range changes {
		size += len(c.Value) + sealOverhead
	}
	list, values := make([]change, len(changes)), make([]byte, 0, size)
	for i, c := range changes {
		list[i] = change{key: c.Key, version: s.chain.version + uint64(i), deleted: c.Value == nil}
		if c.Value != nil {
			before := len(values)
			values = sealValue(s.keys, values, c.Key, list[i].version, c.Value)
			list[i].size = uint32(len(values) - before)
		}
	}
	return list, values
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
