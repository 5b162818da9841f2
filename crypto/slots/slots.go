package slots

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"sync"
)

// Slots is an open slot file. Its methods may be called from any goroutine.
// The file belongs to one process; the owner of the data directory sees to it.
type Slots struct {
	file   File
	path   string // empty where the caller opened the file
	random io.Reader
	id     fileID

	mu      sync.RWMutex
	count   uint64   // slots in the file
	used    bitmap   // claimed or taken; also beyond count, where a file was cut
	nUsed   int      // bits of used
	free    []uint64 // the others below count; the last is taken next
	claimed bool
	closed  bool
}

// Stats describes a slot file.
type Stats struct {
	Slots int   // in the file
	Used  int   // claimed or taken
	Bytes int64 // of the file
}

var errClosed = fmt.Errorf("slots: %w", fs.ErrClosed)

// CreateOn makes a slot file of f, which is empty, and makes its contents
// durable; its name is the caller's to sync. Closing s closes f.
func CreateOn(f File, random io.Reader) (*Slots, error) {
	s := &Slots{file: f, random: random}
	id, err := newID(random)
	if err != nil {
		return nil, err
	}
	s.id = id
	head := make([]byte, slotsAt)
	copy(head, id.marshal())
	copy(head[preambleSpacing:], id.marshal())
	if _, err := f.WriteAt(head, 0); err != nil {
		return nil, fmt.Errorf("slots: cannot write the file: %w", err)
	}
	if err := s.grow(); err != nil {
		return nil, err
	}
	return s, nil
}

// OpenOn opens the slot file f. Closing s closes f.
func OpenOn(f File, random io.Reader) (*Slots, error) {
	id, err := readPreamble(f)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		return nil, fmt.Errorf("slots: cannot read the file: %w", err)
	}
	// A piece of a slot at the end is of a block that was never handed out,
	// or of a file that was cut: then its slot reads as damaged.
	count := max(size-slotsAt, 0) / slotSize
	if count > MaxSlots {
		return nil, fmt.Errorf("%w: the file has %d slots; %d are the most", ErrDamaged, count, MaxSlots)
	}
	return &Slots{file: f, random: random, id: id, count: uint64(count)}, nil
}

// Claim says which slots the owner's records name, once after opening. All
// others are overwritten, and on stable storage when it returns nil. A slot
// that is named twice, or that no file can have, is an error before anything
// is overwritten: records of that kind belong to another file. So is a second
// call. A failed one may be repeated.
func (s *Slots) Claim(used iter.Seq[uint64]) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return errClosed
	case s.claimed:
		return errors.New("slots: claimed already")
	}
	var b bitmap
	n := 0
	for slot := range used {
		if slot >= MaxSlots {
			return fmt.Errorf("%w: slot %d is claimed and a file has %d at most", ErrDamaged, slot, MaxSlots)
		}
		if b.has(slot) {
			return fmt.Errorf("%w: slot %d is claimed by two records", ErrDamaged, slot)
		}
		b.set(slot)
		n++
	}
	var free []uint64
	for slot := range s.count {
		if !b.has(slot) {
			free = append(free, slot)
		}
	}
	if err := s.overwrite(free); err != nil {
		return err
	}
	slices.Reverse(free) // low numbers first
	s.used, s.nUsed, s.free, s.claimed = b, n, free, true
	return nil
}

// overwrite writes fresh slots over those given, in ascending order, and syncs
// once.
func (s *Slots) overwrite(slots []uint64) error {
	if len(slots) == 0 {
		return nil
	}
	for len(slots) > 0 {
		n := 1 // neighbours go in one write
		for n < len(slots) && n < blockSlots && slots[n] == slots[0]+uint64(n) {
			n++
		}
		b, err := s.id.fill(s.random, slots[0], n)
		if err != nil {
			return err
		}
		_, err = s.file.WriteAt(b, offset(slots[0]))
		clear(b)
		if err != nil {
			return fmt.Errorf("slots: cannot overwrite: %w", err)
		}
		slots = slots[n:]
	}
	if err := s.file.Sync(); err != nil {
		return fmt.Errorf("slots: the disk did not confirm that keys were overwritten: %w", err)
	}
	return nil
}

// grow adds a block of fresh slots. They count only when they are on stable
// storage; a block that a failure left is written again.
func (s *Slots) grow() error {
	if s.count+blockSlots > MaxSlots {
		return fmt.Errorf("slots: all %d slots of the file are in use", MaxSlots)
	}
	b, err := s.id.fill(s.random, s.count, blockSlots)
	if err != nil {
		return err
	}
	defer clear(b)
	if _, err := s.file.WriteAt(b, offset(s.count)); err != nil {
		return fmt.Errorf("slots: cannot make room for keys; is the disk full? %w", err)
	}
	if err := s.file.Sync(); err != nil {
		return fmt.Errorf("slots: the disk did not confirm room for keys: %w", err)
	}
	first := s.count
	s.count += blockSlots
	for slot := s.count; slot > first; slot-- {
		if !s.used.has(slot - 1) {
			s.free = append(s.free, slot-1)
		}
	}
	return nil
}

// Take hands out a slot and its key, which is random, was on stable storage
// before and is nobody else's. The caller clears the key when it is done.
func (s *Slots) Take() (slot uint64, key [KeySize]byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(); err != nil {
		return 0, key, err
	}
	for len(s.free) == 0 { // twice where all of a block was claimed
		if err := s.grow(); err != nil {
			return 0, key, err
		}
	}
	slot = s.free[len(s.free)-1]
	key, err = s.read(slot)
	if errors.Is(err, ErrDamaged) { // nobody's yet: made anew
		if err = s.overwrite([]uint64{slot}); err == nil {
			key, err = s.read(slot)
		}
	}
	if err != nil {
		return 0, key, err
	}
	s.free = s.free[:len(s.free)-1]
	s.used.set(slot)
	s.nUsed++
	return slot, key, nil
}

func (s *Slots) ready() error {
	switch {
	case s.closed:
		return errClosed
	case !s.claimed:
		return errors.New("slots: not claimed yet")
	}
	return nil
}

// Release gives back slots that were taken and whose keys sealed nothing that
// was written anywhere. All others are given back by [Slots.Erase].
func (s *Slots) Release(slots ...uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, slot := range slots {
		s.forget(slot)
	}
}

// forget enters a slot that holds a fresh key among the free ones.
func (s *Slots) forget(slot uint64) {
	if !s.used.has(slot) {
		return
	}
	s.used.unset(slot)
	s.nUsed--
	if slot < s.count {
		s.free = append(s.free, slot)
	}
}

// Key returns the key of a slot, read from the file: none are kept in memory.
// A slot that is not as it was written is [ErrDamaged]; that of another value
// is not noticed here but by the owner's seal. The caller clears the key.
func (s *Slots) Key(slot uint64) ([KeySize]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return [KeySize]byte{}, errClosed
	}
	return s.read(slot)
}

func (s *Slots) read(slot uint64) ([KeySize]byte, error) {
	if slot >= s.count {
		return [KeySize]byte{}, fmt.Errorf("%w: slot %d is beyond the end of the file", ErrDamaged, slot)
	}
	var b [slotSize]byte
	defer clear(b[:])
	n, err := s.file.ReadAt(b[:], offset(slot))
	if n < slotSize && err != nil && !errors.Is(err, io.EOF) {
		return [KeySize]byte{}, fmt.Errorf("slots: cannot read slot %d: %w", slot, err)
	}
	return s.id.parseSlot(slot, b[:n])
}

// Erase destroys the keys of slots by overwriting them in place, all with one
// sync, and returns nil when that is on stable storage. The slots are free
// then, with new keys. After an error it is not known which keys are left; the
// slots stay in use, and Erase may be called again. Erasing a slot that is free
// is no error.
func (s *Slots) Erase(slots ...uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(); err != nil {
		return err
	}
	list := slices.Clone(slots)
	slices.Sort(list)
	list = slices.Compact(list)
	if n := len(list); n > 0 && list[n-1] >= MaxSlots {
		return fmt.Errorf("slots: there is no slot %d", list[n-1])
	}
	inFile, _ := slices.BinarySearch(list, s.count) // beyond the end is nothing to destroy
	if err := s.overwrite(list[:inFile]); err != nil {
		return err
	}
	for _, slot := range list {
		s.forget(slot)
	}
	return nil
}

// Stats returns figures of the file.
func (s *Slots) Stats() Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return Stats{Slots: int(s.count), Used: s.nUsed, Bytes: offset(s.count)}
}

// Destroy overwrites the whole file and makes that durable, claimed or not,
// then closes it and, where it was opened by path, removes it. After an error
// it may be called again.
func (s *Slots) Destroy() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		if err := Shred(s.file, s.random); err != nil {
			return err
		}
		if err := s.close(); err != nil {
			return err
		}
	}
	if s.path == "" {
		return nil
	}
	return remove(s.path)
}

// Close closes the file. It can be called twice.
func (s *Slots) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	return s.close()
}

func (s *Slots) close() error {
	s.closed = true
	if err := s.file.Close(); err != nil {
		return fmt.Errorf("slots: closing: %w", err)
	}
	return nil
}
