package vault

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"
)

// Errors of the PIN.
var (
	// ErrPIN is what a wrong PIN ends in; the error is a [PINError].
	ErrPIN = errors.New("vault: wrong PIN")
	// ErrBackoff refuses a try that comes too soon; the error is a
	// [BackoffError]. Nothing was tried and nothing counted.
	ErrBackoff = errors.New("vault: too many wrong PINs")
	// ErrNoPIN says that no PIN opens the vault now: none is set, the program
	// was started anew, the lock was a hard one, or MaxTries were wrong. The
	// passphrase does.
	ErrNoPIN = errors.New("vault: no PIN can be used now; unlock with the passphrase")
)

// PINError is a wrong PIN.
type PINError struct {
	Left int           // tries before the passphrase is needed; 0: it is now
	Wait time.Duration // before the next try
}

func (e *PINError) Error() string {
	switch {
	case e.Left == 0:
		return "vault: wrong PIN; it was the last try: unlock with the passphrase"
	case e.Wait > 0:
		return fmt.Sprintf("vault: wrong PIN; %d tries are left, the next in %v", e.Left, e.Wait)
	default:
		return fmt.Sprintf("vault: wrong PIN; %d tries are left", e.Left)
	}
}

func (e *PINError) Is(target error) bool { return target == ErrPIN }

// BackoffError is a try that came too soon.
type BackoffError struct {
	Wait time.Duration // still to go
}

func (e *BackoffError) Error() string {
	return fmt.Sprintf("vault: too many wrong PINs; try again in %v, or unlock with the passphrase", e.Wait.Round(time.Second))
}

func (e *BackoffError) Is(target error) bool { return target == ErrBackoff }

// pinKey is the key of the PIN among the values. No caller's key has such a
// character.
const pinKey = "\x01pin"

// warmSlot is the master key of a locked vault, sealed under a PIN and a
// secret that is only in memory.
type warmSlot struct {
	page   *page // the secret: its first keySize bytes
	params Params
	sealed []byte
}

// PINState says what a PIN can do now.
type PINState struct {
	Set      bool          // one is set, as far as a locked vault knows
	Usable   bool          // UnlockPIN or CheckPIN would try it, if not for Wait
	Failures int           // wrong ones since the last right one or passphrase
	Left     int           // tries before the passphrase is needed
	Wait     time.Duration // before the next try
	Err      error         // why a warm slot or the counter could not be written or read
}

// PIN returns what a PIN can do at now.
func (v *Vault) PIN(now time.Time) PINState {
	v.write.Lock()
	defer v.write.Unlock()
	st := PINState{Set: v.pinSet(), Failures: v.tries.failures, Err: v.pinErr}
	st.Usable = st.Set && !v.tries.spent() && v.usable() == nil
	if st.Usable {
		st.Left, st.Wait = v.tries.left(), v.tries.wait(now)
	}
	return st
}

// HasPIN reports whether a PIN can be used now.
func (v *Vault) HasPIN() bool {
	v.write.Lock()
	defer v.write.Unlock()
	return v.pinSet() && !v.tries.spent() && v.usable() == nil
}

func (v *Vault) pinSet() bool {
	if v.session == nil {
		return v.warm != nil
	}
	_, ok := v.session.index.get(pinKey)
	return ok
}

// SetPIN lets pin, of MinPIN to MaxPIN bytes, unlock this vault after a Lock
// until the program ends, the lease does or MaxTries were wrong. It is kept
// sealed in the vault, as an erasable value, so that each lock can be made
// ready for it. Only on an unlocked vault; that the person was asked for the
// passphrase before is the caller's to see to.
//
// A PIN guards an unlocked, running device that is left lying about. It never
// guards a disk: what a locked device has under its PIN is in memory only, and
// the counter of tries is all that stands before 10^6 guesses, which argon2id
// alone makes a matter of hours. Somebody who reads the memory of a running
// machine needs no PIN.
func (v *Vault) SetPIN(pin []byte) error {
	if err := checkPIN(pin); err != nil {
		return err
	}
	v.write.Lock()
	defer v.write.Unlock()
	if err := v.commit(Change{Key: pinKey, Value: pin, Erasable: true}); err != nil {
		return err
	}
	v.chill()
	return v.tries.forgive(v.disk)
}

// ClearPIN erases the PIN. Only on an unlocked vault.
func (v *Vault) ClearPIN() error {
	v.write.Lock()
	defer v.write.Unlock()
	if err := v.commit(Change{Key: pinKey}); err != nil {
		return err
	}
	v.chill()
	return nil
}

func checkPIN(pin []byte) error {
	if len(pin) < MinPIN || len(pin) > MaxPIN {
		return fmt.Errorf("vault: a PIN has %d to %d characters, not %d", MinPIN, MaxPIN, len(pin))
	}
	for _, step := range []byte{0, 1, 255} { // 111111, 123456, 654321
		run := 1
		for run < len(pin) && pin[run] == pin[run-1]+step {
			run++
		}
		if run == len(pin) {
			return errors.New("vault: that PIN is the first that is guessed; choose one that does not count up or down and has different digits")
		}
	}
	return nil
}

// UnlockPIN opens a locked vault with its PIN. now is the clock's reading,
// with its monotonic part, so that a clock that is set shortens no wait. The
// try is counted on stable storage before it is made. Errors: [ErrNoPIN],
// [BackoffError], [PINError], and what Unlock has to say about files. On an
// unlocked vault it checks the PIN.
func (v *Vault) UnlockPIN(pin []byte, now time.Time) error {
	v.write.Lock()
	defer v.write.Unlock()
	master, err := v.tryPIN(pin, now)
	if err != nil || v.session != nil {
		clear(master)
		return err
	}
	defer clear(master)
	return v.startSession(master)
}

// CheckPIN is re-authentication by PIN: nil where it is right. It counts as a
// try, and the vault stays locked or unlocked as it was.
func (v *Vault) CheckPIN(pin []byte, now time.Time) error {
	v.write.Lock()
	defer v.write.Unlock()
	master, err := v.tryPIN(pin, now)
	clear(master)
	return err
}

// tryPIN makes one try, in the order of protocol §9: refuse what comes too
// soon, count, sync, try. It returns the master key of a locked vault, which
// the caller clears.
func (v *Vault) tryPIN(pin []byte, now time.Time) ([]byte, error) {
	if err := v.usable(); err != nil {
		return nil, err
	}
	if !v.pinSet() || v.tries.spent() {
		return nil, ErrNoPIN
	}
	if wait := v.tries.wait(now); wait > 0 {
		return nil, &BackoffError{wait}
	}
	if err := v.tries.count(v.disk, now); err != nil {
		return nil, fmt.Errorf("vault: the try could not be counted and was not made; use the passphrase: %w", err)
	}
	master, err := v.matchPIN(pin)
	if errors.Is(err, ErrPIN) {
		if v.tries.spent() {
			v.chill()
		}
		return nil, &PINError{Left: v.tries.left(), Wait: v.tries.wait(now)}
	}
	if err != nil {
		return nil, err
	}
	// A right PIN is not refused because it cannot be written that it was.
	v.pinErr = v.tries.forgive(v.disk)
	return master, nil
}

// matchPIN holds a PIN against the one that is set, by whichever the vault
// has: the warm slot or, unlocked, the PIN.
func (v *Vault) matchPIN(pin []byte) ([]byte, error) {
	if v.session == nil {
		return v.warm.open(v.id, pin)
	}
	at, _ := v.session.index.get(pinKey)
	want, err := v.session.read(pinKey, at)
	if err != nil {
		return nil, err
	}
	defer clear(want)
	if subtle.ConstantTimeCompare(want, pin) != 1 {
		return nil, ErrPIN
	}
	return nil, nil
}

// heat makes the warm slot of a session that ends, or nil where no PIN is set.
func (v *Vault) heat(s *session) (*warmSlot, error) {
	at, ok := s.index.get(pinKey)
	if !ok {
		return nil, nil
	}
	pin, err := s.read(pinKey, at)
	if err != nil {
		return nil, err
	}
	defer clear(pin)
	w := &warmSlot{params: v.headers.current.params}
	if w.page, err = newPage(); err != nil {
		return nil, err
	}
	rand.Read(w.page.b[:keySize]) // never fails (crypto/rand)
	key := w.key(v.id, pin)
	defer clear(key)
	aead, err := newAEAD(key)
	if err != nil {
		w.page.destroy()
		return nil, err
	}
	w.sealed = aead.Seal(nil, nil, s.keys.master(), warmAAD(v.id))
	return w, nil
}

// chill destroys the warm slot.
func (v *Vault) chill() {
	if v.warm != nil {
		v.warm.page.destroy()
	}
	v.warm, v.pinErr = nil, nil
}

// key is argon2id over PIN ‖ secret. The secret is of one length, so that no
// two pairs read alike.
func (w *warmSlot) key(id [idSize]byte, pin []byte) []byte {
	both := make([]byte, 0, len(pin)+keySize)
	both = append(append(both, pin...), w.page.b[:keySize]...)
	defer clear(both)
	return w.params.stretch(both, id[:])
}

func (w *warmSlot) open(id [idSize]byte, pin []byte) ([]byte, error) {
	if len(pin) > MaxPIN {
		return nil, ErrPIN
	}
	key := w.key(id, pin)
	defer clear(key)
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	master, err := aead.Open(nil, nil, w.sealed, warmAAD(id))
	if err != nil {
		return nil, ErrPIN
	}
	return master, nil
}

func warmAAD(id [idSize]byte) []byte { return append([]byte(labelWarm), id[:]...) }
