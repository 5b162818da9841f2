package vault

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// syncData writes contents and size, but not the times, to stable storage:
// fdatasync saves the write of the inode where the size did not change.
// Android builds this file too.
func syncData(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}
