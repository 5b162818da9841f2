//go:build !linux

package bundle

import "os"

// forgetCached does nothing here: the file is read back through the system's
// cache, which finds less than reading the medium would.
func forgetCached(*os.File) error { return nil }

// syncDir does nothing here: the systems that need it have no portable way.
func syncDir(string) error { return nil }

// startWriting does nothing here: the sync at the end writes everything.
func startWriting(*os.File, int64, int64) {}
