package badgerstore

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// files is what own.wal needs of a directory. Tests replace it by one that
// loses everything on which no sync has succeeded.
type files interface {
	// Open opens an existing file for reading and writing; the error matches
	// fs.ErrNotExist if there is none.
	Open(name string) (file, error)
	// Create makes an empty file, or empties one.
	Create(name string) (file, error)
	Rename(from, to string) error
	// List returns the names of the files.
	List() ([]string, error)
	// SyncDir makes creations and renames durable.
	SyncDir() error
}

// file is one open file.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	// Truncate cuts the file, or makes it longer by zeros that need no space.
	Truncate(size int64) error
	// Sync returns nil when all that was written survives a power cut.
	Sync() error
}

// has reports whether there is a file of this name.
func has(dir files, name string) (bool, error) {
	f, err := dir.Open(name)
	there, err := exists(err)
	if err == nil && there {
		err = f.Close()
	}
	if err != nil {
		return false, diskError("cannot open "+name, err)
	}
	return there, nil
}

// rename gives a file another name, durably.
func rename(dir files, from, to string) error {
	if err := dir.Rename(from, to); err != nil {
		return err
	}
	return dir.SyncDir()
}

// osFiles is a real directory.
type osFiles struct{ dir string }

func (d osFiles) Open(name string) (file, error) {
	return d.open(name, os.O_RDWR)
}

func (d osFiles) Create(name string) (file, error) {
	return d.open(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
}

func (d osFiles) open(name string, flags int) (file, error) {
	f, err := os.OpenFile(filepath.Join(d.dir, name), flags, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (d osFiles) List() ([]string, error) {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (d osFiles) Rename(from, to string) error {
	return os.Rename(filepath.Join(d.dir, from), filepath.Join(d.dir, to))
}

func (d osFiles) SyncDir() error {
	if runtime.GOOS == "windows" {
		return nil // NTFS journals names; a directory cannot be flushed
	}
	f, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// exists reports whether err says that a file is there.
func exists(err error) (bool, error) {
	if err == nil {
		return true, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return false, err
}
