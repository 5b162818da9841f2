package node

import (
	"errors"
	"fmt"

	"tocsin/crypto/vault"
)

// The errors on which callers branch. What is returned wraps one of them with
// a sentence that says what to do.
var (
	// ErrLocked: the device is locked, and the call needs the vault.
	ErrLocked = errors.New("node: this device is locked: unlock it with its passphrase")
	// ErrNotFound: no such group, log or entry on this device.
	ErrNotFound = errors.New("node: not found")
	// ErrInvalid: the caller's input cannot be acted on.
	ErrInvalid = errors.New("node: invalid request")
	// ErrReadOnly: nothing can be saved at present.
	ErrReadOnly = errors.New("node: nothing can be saved")
	// ErrPassphrase: the passphrase does not open the vault.
	ErrPassphrase = vault.ErrPassphrase
)

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}
