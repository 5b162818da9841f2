package vault

import (
	"errors"
	"fmt"
	"time"
)

// Unlock opens the vault with its passphrase and checks every record of the
// journal. It takes about 150 ms and 64 MiB for argon2id with the default
// costs. On an unlocked vault it checks the passphrase. Success forgives
// failures of the PIN.
func (v *Vault) Unlock(passphrase []byte) error {
	v.write.Lock()
	defer v.write.Unlock()
	master, err := v.openPassphrase(passphrase)
	if err != nil {
		return err
	}
	defer clear(master)
	if err := v.startSession(master); err != nil {
		return err
	}
	v.raiseErr = v.raiseNow(passphrase, master)
	return nil
}

// CheckPassphrase is re-authentication: nil where the passphrase is right.
// The vault stays locked or unlocked as it was. Success forgives failures of
// the PIN.
func (v *Vault) CheckPassphrase(passphrase []byte) error {
	v.write.Lock()
	defer v.write.Unlock()
	master, err := v.openPassphrase(passphrase)
	clear(master)
	return err
}

// openPassphrase returns the master key, which the caller clears.
func (v *Vault) openPassphrase(passphrase []byte) ([]byte, error) {
	if err := v.usable(); err != nil {
		return nil, err
	}
	master, err := v.headers.open(v.disk, passphrase)
	if err != nil {
		return nil, err
	}
	// The right passphrase is not refused because a counter cannot be written.
	v.pinErr = v.tries.forgive(v.disk)
	return master, nil
}

// usable says why nothing can be opened any more.
func (v *Vault) usable() error {
	switch {
	case v.wiped:
		return ErrWiped
	case v.closed:
		return errClosed
	}
	return nil
}

// startSession reads the vault with its master key, unless it is unlocked.
func (v *Vault) startSession(master []byte) error {
	if v.session != nil {
		return nil
	}
	k, err := deriveKeys(master)
	if err != nil {
		return err
	}
	s, err := v.load(k)
	if err != nil {
		return err
	}
	v.mu.Lock()
	v.session = s
	v.mu.Unlock()
	return nil
}

// Lock forgets the keys and the index, after which nothing can be read until
// the next Unlock. Where a PIN is set, the master key stays, sealed under it
// and a secret in locked memory, for UnlockPIN; making that takes one argon2id
// at the first lock after an unlock by passphrase, when reading has ended
// already. A locked vault stays locked.
func (v *Vault) Lock() {
	v.write.Lock()
	defer v.write.Unlock()
	s := v.detach()
	if s == nil {
		return
	}
	if v.warm == nil && !v.tries.spent() {
		v.warm, v.pinErr = v.heat(s)
	}
	// Every commit is durable already: all that a failed close could have to
	// say is said by the next Unlock.
	_ = s.close()
}

// LockHard locks and leaves nothing that a PIN could open: the passphrase is
// needed next. It is the lock at the end of a lease.
func (v *Vault) LockHard() {
	v.write.Lock()
	defer v.write.Unlock()
	v.chill()
	_ = v.endSession() // as in Lock
}

// detach takes the session away from readers and waits for those who are
// reading. The caller holds write and closes it.
func (v *Vault) detach() *session {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.session
	v.session = nil
	return s
}

// endSession drops the session. The caller holds write.
func (v *Vault) endSession() error {
	s := v.detach()
	if s == nil {
		return nil
	}
	return s.close()
}

// close overwrites the keys, syncs the head, so that a cut is noticed after a
// power cut too, and closes the files.
func (s *session) close() error {
	s.keys.destroy()
	err := s.headFile.sync()
	if s.journal != nil { // nil after a compaction that failed half-way
		err = errors.Join(err, s.journal.Close())
	}
	err = errors.Join(err, s.headFile.Close(), s.slots.Close())
	*s = session{}
	return err
}

// Locked reports whether the vault is locked.
func (v *Vault) Locked() bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.session == nil
}

// Close locks the vault for good.
func (v *Vault) Close() error {
	v.write.Lock()
	defer v.write.Unlock()
	v.closed = true
	v.chill()
	if err := v.endSession(); err != nil {
		return fmt.Errorf("vault: closing: %w", err)
	}
	return nil
}

// ChangePassphrase puts new in the place of old, on a locked or an unlocked
// vault, and returns nil when the disk holds nothing any more that old opens:
// both copies of the header were overwritten in place. After an error of the
// disk it is not known which of the two opens; both are tried by the next
// Unlock, and the one that does is the only one from then on.
//
// The master key stays the same. Whoever has a copy of the header from before
// and the old passphrase has it, and with it opens what the vault holds later
// too: to change the passphrase is no remedy for a disk that was copied
// together with its passphrase. Revoke such a device and enrol it anew.
func (v *Vault) ChangePassphrase(old, new []byte) error {
	if err := checkPassphrase(new); err != nil {
		return err
	}
	v.write.Lock()
	defer v.write.Unlock()
	master, err := v.openPassphrase(old)
	if err != nil {
		return err
	}
	defer clear(master)
	if err := v.reseal(new, master, v.headers.current.params); err != nil {
		return fmt.Errorf("vault: the passphrase may or may not have been changed; unlock with the new one, or else with the old one, and change it again: %w", err)
	}
	return nil
}

// reseal writes a header for the passphrase with the costs given.
func (v *Vault) reseal(passphrase, master []byte, p Params) error {
	h := *v.headers.current
	h.generation++
	h.params, h.flags = p, 0
	if p.Weak() {
		h.flags = flagWeak
	}
	if err := h.seal(v.rand, passphrase, master); err != nil {
		return err
	}
	return v.headers.replace(v.disk, &h)
}

// Raise makes every Unlock by passphrase from now on re-seal the header at the
// memory and passes of p where those recorded are lower; nothing is ever
// lowered. It costs that unlock one more argon2id. An unlock does not fail when
// this does: [Stats] tells.
func (v *Vault) Raise(p Params) error {
	if err := p.check(); err != nil {
		return err
	}
	v.write.Lock()
	defer v.write.Unlock()
	v.raise = p
	return nil
}

func (v *Vault) raiseNow(passphrase, master []byte) error {
	p, higher := v.headers.current.params.raised(v.raise)
	if !higher {
		return nil
	}
	if err := p.check(); err != nil {
		return err
	}
	if err := v.reseal(passphrase, master, p); err != nil {
		return fmt.Errorf("vault: the costs of the passphrase could not be raised: %w", err)
	}
	return nil
}

// Calibrate returns costs that take this machine about target: DefaultParams
// or more passes, never less. clock is read before and after one derivation.
func Calibrate(target time.Duration, clock func() time.Time) Params {
	p := DefaultParams()
	var salt [saltSize]byte
	start := clock()
	clear(p.stretch([]byte("calibration"), salt[:]))
	took := clock().Sub(start)
	if took <= 0 {
		return p // a clock that stands still tells nothing
	}
	passes := int64(p.Time) * int64(target) / int64(took)
	p.Time = uint32(min(max(passes, int64(p.Time)), maxTime))
	return p
}

// Params returns the costs of argon2id that are recorded now.
func (v *Vault) Params() Params {
	v.write.Lock()
	defer v.write.Unlock()
	return v.headers.current.params
}
