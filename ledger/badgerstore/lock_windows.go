package badgerstore

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/windows"
)

// acquire takes the lock on a file, which ends with the process at the latest.
func acquire(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("badgerstore: cannot open the lock file: %w", err)
	}
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err = windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, new(windows.Overlapped))
	if err == nil {
		return f, nil
	}
	closeErr := f.Close()
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return nil, errors.Join(ErrInUse, closeErr)
	}
	return nil, errors.Join(fmt.Errorf("badgerstore: cannot lock %s: %w", name, err), closeErr)
}
