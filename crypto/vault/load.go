package vault

import (
	"errors"
	"fmt"

	"tocsin/crypto/slots"
)

// load opens the files with the keys, in the order of its functions: it checks
// the whole journal, holds it against the head, leaves both durable and ready
// for the next commit, and then, when it is certain what is needed, overwrites
// the slots that are not. It takes k over: after an error they are destroyed.
func (v *Vault) load(k *keys) (*session, error) {
	s := &session{keys: k}
	err := s.openFiles(v.disk)
	var size int64
	if err == nil {
		size, err = s.check(v.id)
	}
	if err == nil {
		err = s.settle(v.disk, size)
	}
	if err == nil {
		err = s.claim()
	}
	if err != nil {
		return nil, errors.Join(err, s.abort())
	}
	return s, nil
}

func (s *session) openFiles(d disk) error {
	for _, f := range []struct {
		name string
		to   *file
	}{{journalName, &s.journal}, {headName, &s.headFile}} {
		var err error
		if *f.to, err = d.open(f.name); err != nil {
			return fmt.Errorf("vault: cannot open the %s; is the vault folder whole? %w", f.name, err)
		}
	}
	f, err := d.open(slotsName)
	if err != nil {
		return fmt.Errorf("vault: cannot open the slots; is the vault folder whole? %w", err)
	}
	if s.slots, err = slots.OpenOn(slotFile{f}, nil); err != nil {
		if errors.Is(err, slots.ErrDamaged) {
			err = fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return errors.Join(err, f.Close())
	}
	return nil
}

// abort closes what was opened and destroys the keys.
func (s *session) abort() error {
	s.keys.destroy()
	var err error
	for _, f := range []file{s.journal, s.headFile} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	if s.slots != nil {
		err = errors.Join(err, s.slots.Close())
	}
	return err
}

// claim tells the slots which of them values need. The journal is durable
// already: a deletion in it is one for good.
func (s *session) claim() error {
	if err := s.slots.Claim(s.index.slots); err != nil {
		return fmt.Errorf("vault: %w", err)
	}
	return nil
}

// check reads the journal into the index and returns the size of its file.
func (s *session) check(id [idSize]byte) (int64, error) {
	size, err := s.journal.size()
	if err != nil {
		return 0, fmt.Errorf("vault: cannot read the journal: %w", err)
	}
	if size < int64(preambleSize) {
		return 0, damaged("the journal is cut short")
	}
	raw := make([]byte, preambleSize)
	if err := readAt(s.journal, raw, 0); err != nil {
		return 0, err
	}
	p, err := parsePreamble(raw)
	if err != nil {
		return 0, err
	}
	if p.id != id {
		return 0, damaged("the journal belongs to another vault")
	}
	h, slot, err := readHead(s.headFile, s.keys, p)
	if err != nil {
		return 0, err
	}
	s.slot = slot
	start := startChain(p)
	met := start.head() == h // the journal passes through the head's state
	s.chain, s.torn, err = scan(s.journal, size, start, s.keys, func(before, after chain, f frame, changes []change) error {
		met = met || after.head() == h
		s.index.apply(before.offset, f, changes)
		return nil
	})
	if err != nil {
		return 0, err
	}
	switch {
	case s.chain.count < h.count:
		return 0, damaged("%d records were acknowledged and only the first %d are readable", h.count, s.chain.count)
	case !met:
		return 0, damaged("record %d is not the one that was acknowledged", h.count)
	}
	return size, nil
}

// settle cuts a torn tail and makes durable what was read before anything is
// built on it: after a crash of the program alone the last append, or the name
// of a compacted journal, may be in the page cache only. Then it renews the
// other head, so that none of another generation stays, and removes what an
// interrupted compaction left.
func (s *session) settle(d disk, size int64) error {
	if size > s.chain.offset {
		if err := s.journal.truncate(s.chain.offset); err != nil {
			return fmt.Errorf("vault: cannot cut the torn end of the journal: %w", err)
		}
	}
	if err := s.journal.sync(); err != nil {
		return fmt.Errorf("vault: cannot sync the journal: %w", err)
	}
	if err := d.syncDir(); err != nil {
		return fmt.Errorf("vault: cannot sync the folder: %w", err)
	}
	s.slot = 1 - s.slot
	if err := writeHead(s.headFile, s.keys, s.chain.preamble.id, s.slot, s.chain.head()); err != nil {
		return err
	}
	if err := s.headFile.sync(); err != nil {
		return fmt.Errorf("vault: cannot sync the head: %w", err)
	}
	if err := d.remove(tempName); err != nil {
		return fmt.Errorf("vault: cannot remove what an interrupted compaction left: %w", err)
	}
	return nil
}
