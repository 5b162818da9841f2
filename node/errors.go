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
	// ErrPIN: the PIN is wrong. [PINError] says how many attempts are left.
	ErrPIN = vault.ErrPIN
	// ErrBackoff: it is too early after wrong PINs. [BackoffError] says for how long.
	ErrBackoff = vault.ErrBackoff
	// ErrNoPIN: no PIN unlocks this device at present: its passphrase does.
	ErrNoPIN = vault.ErrNoPIN
	// ErrReauth: the call needs a fresh token of [Node.Reauth].
	ErrReauth = errors.New("node: say again who you are: this needs your passphrase or PIN")
	// ErrWiped: this device was wiped.
	ErrWiped = errors.New("node: this device was wiped: nothing can be read or sent here any more; enrol it anew with `tocsin init` in an empty directory")
)

// PINError is the error of a wrong PIN.
type PINError = vault.PINError

// BackoffError is the error of a PIN that was given too early.
type BackoffError = vault.BackoffError

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}
