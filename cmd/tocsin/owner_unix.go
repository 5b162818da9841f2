//go:build unix

package main

import (
	"io/fs"
	"os"
	"syscall"
)

// ownedByUs reports whether the file belongs to the user who runs us.
func ownedByUs(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

// privateMode reports whether nobody else may read, write or enter.
func privateMode(info fs.FileInfo) bool { return info.Mode().Perm()&0o077 == 0 }
