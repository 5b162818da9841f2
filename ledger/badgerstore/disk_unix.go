//go:build darwin || linux

package badgerstore

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// freeSpace returns the bytes that this user may still write under dir.
func freeSpace(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("badgerstore: cannot tell the free space of %s: %w", dir, err)
	}
	return st.Bavail * uint64(st.Bsize), nil
}

// isFull reports whether a write failed because there is no more space.
func isFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}
