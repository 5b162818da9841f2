//go:build unix

package vault

import "golang.org/x/sys/unix"

// mapPage maps memory of its own and locks it into memory where the system
// lets us.
func mapPage(size int) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, err
	}
	_ = unix.Mlock(b) // told by Harden, which tries the same
	keepFromDumps(b)
	return b, nil
}

// unmapPage gives memory back; unlocking is part of it. A failure would leave
// zeros mapped.
func unmapPage(b []byte) { _ = unix.Munmap(b) }

// lockable says why memory cannot be locked, nil if it can.
func lockable() error {
	b, err := unix.Mmap(-1, 0, unix.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	defer unmapPage(b)
	return unix.Mlock(b)
}
