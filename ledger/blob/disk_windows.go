package blob

import (
	"fmt"

	"golang.org/x/sys/windows"
)

// freeSpace returns the bytes that this user may still write under dir.
func freeSpace(dir string) (uint64, error) {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, fmt.Errorf("blob: cannot tell the free space of %s: %w", dir, err)
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(name, &free, nil, nil); err != nil {
		return 0, fmt.Errorf("blob: cannot tell the free space of %s: %w", dir, err)
	}
	return free, nil
}

// syncDir does nothing: Windows has no call for it, and NTFS journals names.
func syncDir(string) error { return nil }
