//go:build !linux

package vault

import "os"

// syncData writes the file to stable storage: F_FULLFSYNC on macOS,
// FlushFileBuffers on Windows.
func syncData(f *os.File) error { return f.Sync() }
