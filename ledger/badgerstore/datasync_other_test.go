//go:build !linux

package badgerstore_test

import "os"

func datasync(f *os.File) error { return f.Sync() }
