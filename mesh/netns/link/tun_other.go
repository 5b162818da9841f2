//go:build !linux

package link

import "errors"

// OpenTUN fails: there are no network namespaces but on Linux.
func OpenTUN(string) (Device, error) {
	return nil, errors.New("link: TUN devices are made on Linux only")
}

func down(error) bool { return false }
