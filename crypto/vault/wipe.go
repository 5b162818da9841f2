package vault

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"tocsin/crypto/slots"
)

// ErrWiped is returned by everything after a wipe.
var ErrWiped = errors.New("vault: this vault was wiped; enrol this device anew")

// wipedText is the mark that a wipe has begun, for who finds the folder.
const wipedText = "This vault was wiped on request. Nothing in this folder can be read any more.\n"

// Wipe destroys the vault for good, locked or not, and returns nil when that
// is on stable storage. In this order:
//
//  1. a mark, so that a wipe that a crash or a power cut interrupts is finished
//     by the next Open;
//  2. every slot is overwritten in place: no erasable value opens any more;
//  3. both copies of the header are overwritten in place: no passphrase leads
//     to the master key any more;
//  4. the warm slot, so that no PIN does;
//  5. the files are removed, all but the mark.
//
// The keys of an unlocked vault are overwritten first of all. An error of one
// step does not keep the others from being done; Wipe can then be called again,
// and any number of times. Everything else says [ErrWiped] from the beginning
// on.
//
// What a disk remembers of bytes that were overwritten is in the documentation
// of crypto/slots.
func (v *Vault) Wipe() error {
	v.write.Lock()
	defer v.write.Unlock()
	v.mu.Lock()
	v.wiped = true
	v.mu.Unlock()
	_ = v.endSession() // what it could not close is destroyed below
	err := errors.Join(mark(v.disk), destroyKeys(v.disk, rand.Reader))
	v.chill()
	if err := errors.Join(err, removeFiles(v.disk)); err != nil {
		return fmt.Errorf("vault: the wipe is not complete; call it again: %w", err)
	}
	return nil
}

// mark makes durable that a wipe has begun.
func mark(d disk) error {
	there, err := d.exists(wipedName)
	if err == nil && !there {
		err = writeFile(d, wipedName, []byte(wipedText))
	}
	return errors.Join(err, d.syncDir())
}

// wipeFiles finishes a wipe whose mark is there.
func wipeFiles(d disk, random io.Reader) error {
	// The mark was perhaps read from the cache only.
	if err := errors.Join(d.syncDir(), destroyKeys(d, random), removeFiles(d)); err != nil {
		return fmt.Errorf("vault: a wipe was interrupted and could not be finished; open the vault again: %w", err)
	}
	return nil
}

// keyFiles hold keys, in the order in which a wipe destroys them. The last is
// what a Create that was cut short may have left.
var keyFiles = []string{slotsName, headerName, newHeaderName}

// destroyKeys overwrites the files that hold keys, then removes those that
// were.
func destroyKeys(d disk, random io.Reader) error {
	var errs []error
	var destroyed []string
	for _, name := range keyFiles {
		f, err := d.open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = errors.Join(slots.Shred(slotFile{f}, random), f.Close())
		}
		if err == nil {
			destroyed = append(destroyed, name)
		}
		errs = append(errs, err)
	}
	for _, name := range destroyed {
		errs = append(errs, d.remove(name))
	}
	return errors.Join(errs...)
}

// removeFiles removes the files that hold no keys, but for the mark.
func removeFiles(d disk) error {
	var errs []error
	for _, name := range []string{journalName, tempName, headName, triesName} {
		errs = append(errs, d.remove(name))
	}
	return errors.Join(append(errs, d.syncDir())...)
}
