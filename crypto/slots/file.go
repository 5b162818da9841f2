package slots

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// File is what a slot file needs of the file system; tests hand in one that
// fails and loses power.
//
// Contract: what was written may be lost by a power cut until Sync returns nil.
// WriteAt within the file's size overwrites in place.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	Sync() error
}

// osFile is a file of the operating system.
type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Create makes a slot file at path, readable by its owner only, with the first
// block of slots in it, and makes it and its name durable. random makes the
// keys; nil is the system's source. What is there is never touched:
// errors.Is(err, fs.ErrExist). [Slots.Claim] comes next, also here.
func Create(path string, random io.Reader) (*Slots, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("slots: cannot create: %w", err)
	}
	s, err := CreateOn(osFile{f}, random)
	if err == nil {
		err = SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("slots: cannot create; is the disk full? %w", err), f.Close(), os.Remove(path))
	}
	s.path = path
	return s, nil
}

// Open opens the slot file at path. Where there is none,
// errors.Is(err, fs.ErrNotExist). Keys can be read at once; nothing is taken or
// erased before [Slots.Claim].
func Open(path string, random io.Reader) (*Slots, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("slots: cannot open: %w", err)
	}
	s, err := OpenOn(osFile{f}, random)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	s.path = path
	return s, nil
}

// Destroy overwrites and removes the slot file at path, whatever state it is
// in: it finishes what a crash interrupted. Where there is none it does nothing.
func Destroy(path string, random io.Reader) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("slots: cannot open: %w", err)
	}
	if err := errors.Join(Shred(osFile{f}, random), f.Close()); err != nil {
		return err
	}
	return remove(path)
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("slots: the keys are destroyed, the file cannot be removed: %w", err)
	}
	if err := SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("slots: the keys are destroyed, the folder cannot be synced: %w", err)
	}
	return nil
}

// Shred overwrites every byte of f in place with random ones and makes that
// durable. f is any file of keys, in any state; nil is the system's randomness.
func Shred(f File, random io.Reader) error {
	if random == nil {
		random = rand.Reader
	}
	size, err := f.Size()
	if err != nil {
		return fmt.Errorf("slots: cannot overwrite: %w", err)
	}
	b := make([]byte, min(size, blockSlots*slotSize))
	for at := int64(0); at < size; at += int64(len(b)) {
		b = b[:min(int64(len(b)), size-at)]
		if _, err := io.ReadFull(random, b); err != nil {
			return fmt.Errorf("slots: no randomness: %w", err)
		}
		if _, err := f.WriteAt(b, at); err != nil {
			return fmt.Errorf("slots: cannot overwrite: %w", err)
		}
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("slots: the disk did not confirm that keys were overwritten: %w", err)
	}
	return nil
}
