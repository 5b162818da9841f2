package vault

import (
	"unsafe"

	"golang.org/x/sys/windows"
)

// mapPage takes memory of its own and locks it into memory where the system
// lets us.
func mapPage(size int) ([]byte, error) {
	addr, err := windows.VirtualAlloc(0, uintptr(size), windows.MEM_COMMIT|windows.MEM_RESERVE, windows.PAGE_READWRITE)
	if err != nil {
		return nil, err
	}
	_ = windows.VirtualLock(addr, uintptr(size)) // told by Harden, which tries the same
	// The address is the system's and no object of Go's.
	return unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&addr))), size), nil
}

// unmapPage gives memory back; unlocking is part of it. A failure would leave
// zeros mapped.
func unmapPage(b []byte) {
	_ = windows.VirtualFree(uintptr(unsafe.Pointer(unsafe.SliceData(b))), 0, windows.MEM_RELEASE)
}

// lockable says why memory cannot be locked, nil if it can.
func lockable() error {
	const size = 4096
	addr, err := windows.VirtualAlloc(0, size, windows.MEM_COMMIT|windows.MEM_RESERVE, windows.PAGE_READWRITE)
	if err != nil {
		return err
	}
	defer windows.VirtualFree(addr, 0, windows.MEM_RELEASE)
	return windows.VirtualLock(addr, size)
}
