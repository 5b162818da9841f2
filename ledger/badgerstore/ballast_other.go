//go:build !linux

package badgerstore

import "os"

// reserve gives a file blocks of the disk.
func reserve(f *os.File, size int64) error { return writeZeros(f, size) }
