package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// The data directory of a node. One process uses it at a time.
//
//	VERSION         the format of this directory, a number; a newer one is refused
//	lock            held by the process that uses the directory; empty
//	relay.pem       relay keys, usable while locked: transport, witness, store (0600)
//	request.pem     the enrolment request for the organisation
//	keyroll-request.pem  the request for a new signing key, until its answer is here
//	trust.pem       the trust bundle of the mesh
//	credential.pem  who this device is, as its organisation certified it
//	admission.pem   the admission chain, which is all a stranger sees; written
//	                last of the three, so that its presence means "enrolled"
//	ticket.bin      the lease of the device, renewed at each unlock (by the node)
//	vault/          keys and opened messages, sealed under the passphrase
//	store/          all logs, and own.wal beside them
//	token           bearer token of the local API, for programs (0600)
//	tocsin.sock     the socket of the running node (0600), unless the path is too
//	                long for one: see socketPlace
//
// The log of a running node goes to standard error or where log.file says, not
// here.
const (
	versionFile    = "VERSION"
	lockFile       = "lock"
	relayFile      = "relay.pem"
	requestFile    = "request.pem"
	trustFile      = "trust.pem"
	credentialFile = "credential.pem"
	admissionFile  = "admission.pem"
	vaultDir       = "vault"
	storeDir       = "store"
	tokenFile      = "token"
	socketFile     = "tocsin.sock"
)

// dataVersion is the format that this program writes, of both kinds of
// directory.
const dataVersion = 1

// dataDir is a data directory whose VERSION was read.
type dataDir string

func (d dataDir) file(name string) string { return filepath.Join(string(d), name) }

// openDataDir checks that path is a data directory that this program knows.
func openDataDir(path string) (dataDir, error) {
	err := checkVersion(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fail(exitInput, "Run 'tocsin init' to set this device up, or name another directory with --data.",
			"there is no Tocsin data directory at %s", path)
	}
	return dataDir(path), err
}

// checkVersion reads the VERSION of a directory; fs.ErrNotExist when there is
// none.
func checkVersion(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, versionFile))
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(string(bytes.TrimSpace(text)), 10, 32)
	switch {
	case err != nil || n == 0:
		return fail(exitInput, "Put the directory back from a copy; nothing in it has been changed.",
			"the VERSION file in %s is damaged", dir)
	case n > dataVersion:
		return fail(exitInput, "Install the newer program; nothing has been changed.",
			"%s was written by a newer Tocsin (format %d; this program knows %d)", dir, n, dataVersion)
	}
	return nil
}

// lock takes the directory for this process. The operating system gives the
// lock back when the process ends, however it ends.
func (d dataDir) lock() (*os.File, error) {
	f, err := os.OpenFile(d.file(lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fail(exitFailed, "Check that you may write there and that the disk is not full.",
			"the data directory cannot be used: %w", err)
	}
	taken, err := tryLock(f)
	if err != nil {
		return nil, errors.Join(fail(exitFailed, "", "%s cannot be locked: %w", d, err), f.Close())
	}
	if !taken {
		return nil, errors.Join(fail(exitInUse, "Stop the node that runs there, or name another directory with --data.",
			"%s is in use by another Tocsin process", d), f.Close())
	}
	return f, nil
}

// enrolled reports whether the organisation's answer was imported.
func (d dataDir) enrolled() (bool, error) {
	_, err := os.Stat(d.file(admissionFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// makeDirectory builds a directory beside its final place and moves it there
// when it is whole, so that an interrupted init leaves nothing half-made.
func makeDirectory(path string, fill func(dir string) error) (err error) {
	entries, err := os.ReadDir(path)
	switch {
	case err == nil && len(entries) > 0:
		if checkVersion(path) == nil {
			return fail(exitInput, "Use it as it is, or name another directory.", "%s is already set up", path)
		}
		return fail(exitInput, "Name an empty directory, or one that does not exist yet.", "%s is not empty", path)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fail(exitFailed, "Check the path and its permissions.", "%s cannot be read: %w", path, err)
	}
	const next = "Check the path, its permissions and the space on the disk."
	parent := filepath.Dir(path)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return fail(exitFailed, next, "the directory cannot be made: %w", err)
	}
	dir, err := os.MkdirTemp(parent, "."+filepath.Base(path)+"-new-")
	if err != nil {
		return fail(exitFailed, next, "the directory cannot be made: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	if err := fill(dir); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, versionFile), fmt.Appendf(nil, "%d\n", dataVersion), 0o600); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // the empty one
		return fail(exitFailed, next, "%s cannot be replaced: %w", path, err)
	}
	if err := os.Rename(dir, path); err != nil {
		return fail(exitFailed, next, "the directory cannot be made: %w", err)
	}
	return syncDir(parent)
}

// writeFile writes a file so that after a crash it is whole: either as it was
// before, or as it is now.
func writeFile(path string, data []byte, mode fs.FileMode) (err error) {
	const next = "Check that you may write there and that the disk is not full."
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return fail(exitFailed, next, "%s cannot be written: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fail(exitFailed, next, "%s cannot be written: %w", path, err), os.Remove(f.Name()))
		}
	}()
	if err := writeAndSync(f, data, mode); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func writeAndSync(f *os.File, data []byte, mode fs.FileMode) (err error) {
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return f.Sync()
}

// readInput reads a file that the user named, or standard input for "-", up to
// limit bytes.
func (a *app) readInput(path, what string, limit int64) ([]byte, error) {
	r := a.in
	if path != "-" {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fail(exitNotFound, "Check the path.", "the %s %s does not exist", what, path)
		}
		if err != nil {
			return nil, fail(exitInput, "Check the path and its permissions.", "the %s cannot be read: %w", what, err)
		}
		defer f.Close()
		r = f
	}
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fail(exitInput, "", "the %s cannot be read: %w", what, err)
	}
	if int64(len(data)) > limit {
		return nil, fail(exitInput, "Check that it is the right file.", "the %s is longer than %d bytes", what, limit)
	}
	return data, nil
}
