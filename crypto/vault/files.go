package vault

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"tocsin/crypto/slots"
)

// disk is the file layer of a vault, bound to its folder. It is an interface so
// that tests can fail every call and cut the power after each.
//
// Contract: WriteAt, Truncate, create, rename and remove may be lost by a
// power cut until sync of the file (for what is in it) or syncDir (for its
// name) returns nil. A sync that failed promises nothing about earlier writes,
// and a later one that succeeds does not repair it.
type disk interface {
	// open opens an existing file for reading and writing.
	open(name string) (file, error)
	// create makes an empty file, or empties one.
	create(name string) (file, error)
	// exists reports whether there is a file of that name.
	exists(name string) (bool, error)
	rename(from, to string) error
	// remove removes a file; that it is not there is no error.
	remove(name string) error
	syncDir() error
}

type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	truncate(size int64) error
	size() (int64, error)
	// sync returns when contents and size are on stable storage.
	sync() error
}

const (
	dirMode  fs.FileMode = 0o700
	fileMode fs.FileMode = 0o600
)

// osDisk is a folder of the operating system.
type osDisk struct{ dir string }

func (d osDisk) path(name string) string { return filepath.Join(d.dir, name) }

func (d osDisk) open(name string) (file, error) {
	f, err := os.OpenFile(d.path(name), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (d osDisk) create(name string) (file, error) {
	f, err := os.OpenFile(d.path(name), os.O_RDWR|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (d osDisk) exists(name string) (bool, error) {
	_, err := os.Lstat(d.path(name))
	if err == nil {
		return true, nil
	}
	if os.IsNotExist(err) {
		return false, nil
	}
	return false, err
}

func (d osDisk) rename(from, to string) error { return os.Rename(d.path(from), d.path(to)) }

func (d osDisk) remove(name string) error {
	if err := os.Remove(d.path(name)); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

func (d osDisk) syncDir() error { return slots.SyncDir(d.dir) }

// makeDir creates the folder of a new vault and closes it to everybody else.
// Parents that are missing are made as private as it.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return err
	}
	if err := os.Chmod(dir, dirMode); err != nil {
		return err
	}
	return slots.SyncDir(filepath.Dir(dir))
}

type osFile struct{ *os.File }

func (f osFile) truncate(size int64) error { return f.Truncate(size) }

func (f osFile) size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f osFile) sync() error { return syncData(f.File) }
