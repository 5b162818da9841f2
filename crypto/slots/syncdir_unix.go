//go:build !windows

package slots

import (
	"errors"
	"os"
	"syscall"
)

// SyncDir makes the names in dir durable. Some file systems (FUSE, network
// shares) know no such call and say EINVAL or ENOTSUP; there is nothing more
// that we could do on them.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil
	}
	return errors.Join(err, d.Close())
}
