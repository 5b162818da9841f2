package badgerstore

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// reserve gives a file blocks of the disk.
func reserve(f *os.File, size int64) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return writeZeros(f, size)
	}
	return err
}
