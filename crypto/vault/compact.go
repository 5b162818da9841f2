package vault

import (
	"errors"
	"fmt"

	"tocsin/crypto/slots"
)

// Compact rewrites the journal with what is still needed. A crash at any point
// leaves either the old journal or the new one. Values are moved as they are
// sealed, after it was checked that they open; erasable ones keep their slots.
// The old journal is left in free blocks of the disk, which is why a value that
// must be gone when it is deleted has to be erasable.
func (v *Vault) Compact() error {
	v.write.Lock()
	defer v.write.Unlock()
	switch s := v.session; {
	case s == nil:
		return v.lockedErr()
	case s.broken != nil:
		return s.broken
	}
	return v.compact()
}

// compactIfDue compacts a journal that is mostly garbage. The commit that led
// here is durable, so a failure is kept for Stats and tried again when the
// journal has grown. The caller holds write.
func (v *Vault) compactIfDue() {
	s := v.session
	if s.broken != nil || s.chain.offset < max(compactAt, s.retryAt) || s.chain.offset < compactRatio*s.index.live {
		return
	}
	_ = v.compact() // in compactErr
}

// compact, in order: write the new journal under a temporary name; record its
// head beside the one in use; swap the files; drop the old head.
func (v *Vault) compact() error {
	s := v.session
	err := v.tryCompact(s)
	s.compactErr, s.retryAt = err, 0
	if err != nil {
		s.retryAt = s.chain.offset + compactAt
	}
	return err
}

func (v *Vault) tryCompact(s *session) error {
	end, moved, err := v.writeCompacted(s)
	if err != nil {
		return errors.Join(fmt.Errorf("vault: could not compact; is the disk full? %w", err), v.disk.remove(tempName))
	}
	// Both generations have a head from here until the files are swapped.
	spare := 1 - s.slot
	if err := writeHead(s.headFile, s.keys, end.preamble.id, spare, end.head()); err != nil {
		return errors.Join(err, v.disk.remove(tempName))
	}
	if err := s.headFile.sync(); err != nil {
		return s.breakWith("the disk did not confirm the head", err)
	}
	if err := v.swap(s, end, moved); err != nil {
		return err
	}
	if err := writeHead(s.headFile, s.keys, end.preamble.id, 1-spare, end.head()); err != nil {
		return s.breakWith("the head could not be written", err)
	}
	if err := s.headFile.sync(); err != nil {
		return s.breakWith("the disk did not confirm the head", err)
	}
	return nil
}

// swap puts the new journal in the place of the old one. The files are closed
// for it, because Windows renames over no open file.
func (v *Vault) swap(s *session, end chain, moved index) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	closeErr := s.journal.Close()
	s.journal = nil
	renameErr := v.disk.rename(tempName, journalName)
	journal, openErr := v.disk.open(journalName)
	if openErr != nil {
		return s.breakWith("the journal could not be opened again", errors.Join(closeErr, renameErr, openErr))
	}
	s.journal = journal
	if renameErr != nil {
		return errors.Join(fmt.Errorf("vault: could not compact: %w", renameErr), closeErr, v.disk.remove(tempName))
	}
	s.index, s.chain, s.slot = moved, end, 1-s.slot
	if err := errors.Join(closeErr, v.disk.syncDir()); err != nil {
		return s.breakWith("the disk did not confirm the new journal", err)
	}
	return nil
}

// writeCompacted writes and syncs the new journal and returns the state behind
// its last record and where the values lie in it. The caller holds write, so
// that the index does not change under it.
func (v *Vault) writeCompacted(s *session) (chain, index, error) {
	p := newPreamble(v.id, s.chain.preamble.generation+1, s.chain.version)
	w := &compactor{session: s, chain: startChain(p)}
	f, err := v.disk.create(tempName)
	if err != nil {
		return chain{}, index{}, err
	}
	w.file = f
	_, err = f.WriteAt(p.marshal(), 0)
	for _, r := range s.index.runs {
		for i := 0; i < len(r.keys) && err == nil; i++ {
			err = w.add(r.keys[i], r.refs[i])
		}
	}
	if err == nil {
		err = w.flush()
	}
	if err == nil {
		err = f.sync()
	}
	return w.chain, w.index, errors.Join(err, f.Close())
}

// compactor gathers values into records of about compactBatch bytes.
type compactor struct {
	session *session
	file    file
	chain   chain
	index   index
	list    []change
	values  []byte
}

func (w *compactor) add(key string, r ref) error {
	start := len(w.values)
	w.values = append(w.values, make([]byte, r.size)...)
	sealed := w.values[start:]
	if err := readAt(w.session.journal, sealed, r.offset); err != nil {
		return err
	}
	// One whose own key is lost never opens again. It is moved all the same,
	// so that it goes on to be told apart from one that was deleted.
	value, err := w.session.openValue(sealed, key, r)
	if err != nil && !errors.Is(err, slots.ErrDamaged) {
		return err
	}
	clear(value)
	w.list = append(w.list, change{key: key, version: r.version, size: r.size, slot: r.slot})
	if len(w.values) >= compactBatch || len(w.list) == MaxChanges {
		return w.flush()
	}
	return nil
}

func (w *compactor) flush() error {
	if len(w.list) == 0 {
		return nil
	}
	record, next, err := w.chain.seal(w.session.keys, w.list, w.values)
	if err != nil {
		return err
	}
	if _, err := w.file.WriteAt(record, w.chain.offset); err != nil {
		return err
	}
	w.index.apply(w.chain.offset, frame{manifestLen: uint32(len(record) - len(w.values) - frameSize)}, w.list)
	w.chain, w.list, w.values = next, w.list[:0], w.values[:0]
	return nil
}
