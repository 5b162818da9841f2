package badgerstore

import (
	"errors"
	"fmt"

	"golang.org/x/sys/windows"
)

// freeSpace returns the bytes that this user may still write under dir.
func freeSpace(dir string) (uint64, error) {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, fmt.Errorf("badgerstore: cannot tell the free space of %s: %w", dir, err)
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(name, &free, nil, nil); err != nil {
		return 0, fmt.Errorf("badgerstore: cannot tell the free space of %s: %w", dir, err)
	}
	return free, nil
}

// isFull reports whether a write failed because there is no more space.
func isFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}
