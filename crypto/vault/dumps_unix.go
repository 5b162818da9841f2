//go:build unix && !linux

package vault

import "golang.org/x/sys/unix"

// keepFromDumps does nothing: only Linux leaves single pages out.
func keepFromDumps([]byte) {}

// noDumps turns core dumps off by their limit.
func noDumps() []string {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return []string{"core dumps could not be limited to nothing: " + err.Error()}
	}
	return nil
}
