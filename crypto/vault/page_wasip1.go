package vault

import "errors"

// In a WebAssembly sandbox (the simulator's replay) there is one memory, which its host
// may swap or dump: a page of our own cannot be had. Such a vault holds rehearsal keys only.

func mapPage(size int) ([]byte, error) { return make([]byte, size), nil }

func unmapPage(b []byte) { clear(b) }

// lockable says why memory cannot be locked.
func lockable() error { return errors.New("a WebAssembly sandbox has no locked memory") }

// noDumps says that dumps are the host's.
func noDumps() []string { return []string{"whoever hosts a WebAssembly sandbox can read all of it"} }
