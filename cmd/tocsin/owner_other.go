//go:build !unix

package main

import "io/fs"

// ownedByUs cannot be told from a FileInfo here. The temporary directory of
// Windows is per user, so that the question does not arise.
func ownedByUs(fs.FileInfo) bool { return true }

// privateMode likewise: permission bits mean nothing here.
func privateMode(fs.FileInfo) bool { return true }
