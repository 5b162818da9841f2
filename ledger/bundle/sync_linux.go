package bundle

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// forgetCached asks the system to drop what it holds of a file, so that the
// next read comes from the medium.
func forgetCached(f *os.File) error {
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil && !errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("bundle: %w", err)
	}
	return nil
}

// syncDir makes a rename durable. File systems of sticks may not know how to
// sync a directory; they write its changes with the file's.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTSUP) {
		return fmt.Errorf("bundle: %w", err)
	}
	return nil
}

// startWriting asks the system to begin writing a part of a file to its medium,
// while the next part is made. Nothing rests on it: the sync at the end does.
func startWriting(f *os.File, off, n int64) {
	_ = unix.SyncFileRange(int(f.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE)
}
