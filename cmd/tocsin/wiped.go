package main

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// destroyRelayKeys overwrites the relay keys where they lie and removes the
// file. It is the last step of a wipe, and may be done twice.
func (d dataDir) destroyRelayKeys() error {
	path := d.file(relayFile)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(overwrite(f), f.Close(), os.Remove(path), syncDir(string(d)))
}

// overwrite puts random bytes over all of a file, on the disk.
func overwrite(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	noise := make([]byte, info.Size())
	if _, err := rand.Read(noise); err != nil {
		return err
	}
	if _, err := f.WriteAt(noise, 0); err != nil {
		return err
	}
	return f.Sync()
}

func (d dataDir) relayKeysGone() bool {
	_, err := os.Lstat(d.file(relayFile))
	return errors.Is(err, fs.ErrNotExist)
}

// removeWiped takes away what a wiped device leaves: sealed bytes whose keys are
// gone, who it was, and whom it has met. It may be done twice. VERSION and the mark of the wipe stay, so that a later
// start says what happened.
func (d dataDir) removeWiped() error {
	entries, err := os.ReadDir(string(d))
	errs := []error{err}
	gone := []string{vaultDir, storeDir, requestFile, sponsorRequestFile, credentialFile, admissionFile, trustFile,
		"trust.bin", "enrolled.bin", "ticket.bin", "peers.json", "frontiers", "blobs"}
	for _, e := range entries {
		// A write that was cut short leaves its name with a dot and a number.
		if slices.ContainsFunc(gone, func(name string) bool { return e.Name() == name || strings.HasPrefix(e.Name(), name+".") }) {
			errs = append(errs, os.RemoveAll(d.file(e.Name())))
		}
	}
	return errors.Join(append(errs, syncDir(string(d)))...)
}
