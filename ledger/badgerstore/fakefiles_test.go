package badgerstore

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
)

// fakeFiles is a directory that forgets, in a crash, everything on which no
// sync has succeeded, and that can fail.
type fakeFiles struct {
	files   map[string]*fakeData
	durable map[string]*fakeData // the names as of the last SyncDir
	faults  *faults
}

// faults are errors to come; nil means none.
type faults struct {
	write      error
	writePart  int // bytes that are written before write strikes
	sync       error
	syncCounts int
	truncate   error
	writeAfter int  // the write after so many less one fails, for want of space
	names      int  // the renaming or syncing of names after so many less one fails
	noSync     bool // a sync says that it succeeded and does nothing
	syncFrom   int  // the sync of a file after so many less one fails, and all after it
}

type fakeData struct {
	data   []byte
	synced []byte
	from   int64 // what was written since the last sync, so that it need not copy all
	to     int64
	reads  *int // counts the bytes that are read
}

func (d *fakeData) touch(from, to int64) {
	if d.from == d.to {
		d.from, d.to = from, to
	}
	d.from, d.to = min(d.from, from), max(d.to, to)
}

func newFakeFiles() *fakeFiles {
	return &fakeFiles{files: map[string]*fakeData{}, durable: map[string]*fakeData{}, faults: &faults{}}
}

func (d *fakeFiles) Open(name string) (file, error) {
	f := d.files[name]
	if f == nil {
		return nil, fs.ErrNotExist
	}
	return &fakeFile{f, d.faults}, nil
}

func (d *fakeFiles) Create(name string) (file, error) {
	f := &fakeData{}
	d.files[name] = f
	return &fakeFile{f, d.faults}, nil
}

// name fails if that is to be.
func (f *faults) name() error {
	if f.names > 0 {
		if f.names--; f.names == 0 {
			return errors.New("fake: the directory cannot be written")
		}
	}
	return nil
}

// now returns the directory as a process that is killed leaves it.
func (d *fakeFiles) now() *fakeFiles {
	after := newFakeFiles()
	for name, f := range d.files {
		c := &fakeData{data: bytes.Clone(f.data), synced: bytes.Clone(f.synced), to: int64(len(f.data))}
		after.files[name] = c
		if d.durable[name] == f {
			after.durable[name] = c
		}
	}
	return after
}

func (d *fakeFiles) Rename(from, to string) error {
	if err := d.faults.name(); err != nil {
		return err
	}
	if d.files[from] == nil {
		return fs.ErrNotExist
	}
	d.files[to] = d.files[from]
	delete(d.files, from)
	return nil
}

func (d *fakeFiles) List() ([]string, error) {
	var names []string
	for name := range d.files {
		names = append(names, name)
	}
	return names, nil
}

func (d *fakeFiles) SyncDir() error {
	if err := d.faults.name(); err != nil {
		return err
	}
	clear(d.durable)
	for name, f := range d.files {
		d.durable[name] = f
	}
	return nil
}

// crash returns the directory as a power cut leaves it at worst.
func (d *fakeFiles) crash() *fakeFiles {
	after := newFakeFiles()
	for name, f := range d.durable {
		c := &fakeData{data: bytes.Clone(f.synced), synced: bytes.Clone(f.synced)}
		after.files[name], after.durable[name] = c, c
	}
	return after
}

// with returns a directory that holds nothing but an own.wal of these bytes.
func with(wal []byte) *fakeFiles {
	d := newFakeFiles()
	d.files[ownWAL.name] = &fakeData{data: bytes.Clone(wal), synced: bytes.Clone(wal)}
	d.durable[ownWAL.name] = d.files[ownWAL.name]
	return d
}

func (d *fakeFiles) wal() []byte { return bytes.Clone(d.files[ownWAL.name].data) }

type fakeFile struct {
	d      *fakeData
	faults *faults
}

func (f *fakeFile) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(f.d.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.d.data[off:])
	if f.d.reads != nil {
		*f.d.reads += n
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *fakeFile) WriteAt(p []byte, off int64) (int, error) {
	if off > int64(len(f.d.data)) {
		return 0, errors.New("fake: a write beyond the end")
	}
	err := f.faults.write
	if f.faults.writeAfter > 0 {
		if f.faults.writeAfter--; f.faults.writeAfter == 0 {
			err = errNoSpace
		}
	}
	if err != nil {
		p = p[:min(len(p), f.faults.writePart)]
	}
	n := copy(f.d.data[off:], p)
	f.d.data = append(f.d.data, p[n:]...)
	f.d.touch(off, off+int64(len(p)))
	return len(p), err
}

func (f *fakeFile) Size() (int64, error) { return int64(len(f.d.data)), nil }

func (f *fakeFile) Truncate(size int64) error {
	if f.faults.truncate != nil {
		return f.faults.truncate
	}
	had := int64(len(f.d.data))
	f.d.data = append(f.d.data[:min(size, had)], make([]byte, max(0, size-had))...)
	f.d.touch(min(size, had), max(size, had))
	return nil
}

func (f *fakeFile) Sync() error {
	f.faults.syncCounts++
	if f.faults.sync != nil {
		return f.faults.sync
	}
	if f.faults.syncFrom > 0 && f.faults.syncCounts >= f.faults.syncFrom {
		return errors.New("fake: the process is dead")
	}
	if f.faults.noSync {
		return nil
	}
	size := int64(len(f.d.data))
	f.d.synced = append(f.d.synced[:min(size, int64(len(f.d.synced)))], make([]byte, max(0, size-int64(len(f.d.synced))))...)
	if from, to := min(f.d.from, size), min(f.d.to, size); from < to {
		copy(f.d.synced[from:to], f.d.data[from:to])
	}
	f.d.from, f.d.to = 0, 0
	return nil
}

func (f *fakeFile) Close() error { return nil }
