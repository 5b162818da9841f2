package node

import (
	"context"
	"fmt"
)

// UnlockPIN is [Node.Unlock] with the PIN, where one is set and the device was
// unlocked with its passphrase since it was started. Errors: [ErrPIN] with the
// attempts left, [ErrBackoff] with the time to wait, [ErrNoPIN] where the
// passphrase is needed.
func (n *Node) UnlockPIN(ctx context.Context, pin []byte) error {
	return n.unlock(ctx, func() error {
		now := n.cfg.Clock.Now()
		if n.lease.left(now) <= 0 {
			n.endLease()
		}
		return n.cfg.Vault.UnlockPIN(pin, now)
	})
}

// SetPIN sets or replaces the PIN. It needs a token of [Node.Reauth]. Errors:
// [ErrLocked], [ErrReauth], [ErrInvalid] with what a PIN must be.
func (n *Node) SetPIN(_ context.Context, token string, pin []byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.spend(token); err != nil {
		return err
	}
	if err := n.cfg.Vault.SetPIN(pin); err != nil {
		return invalid("%v", err)
	}
	return nil
}

// ClearPIN takes the PIN away: only the passphrase unlocks from here on. It needs
// a token of [Node.Reauth].
func (n *Node) ClearPIN(_ context.Context, token string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.spend(token); err != nil {
		return err
	}
	if err := n.cfg.Vault.ClearPIN(); err != nil {
		return fmt.Errorf("%w: the vault: %w", ErrReadOnly, err)
	}
	return nil
}

// ChangePassphrase replaces the passphrase. The old one is asked for, so that it
// needs no token. Errors: [ErrPassphrase], [ErrWiped], [ErrInvalid] with what a
// passphrase must be.
func (n *Node) ChangePassphrase(_ context.Context, old, new []byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.wipe != nil {
		return ErrWiped
	}
	if err := n.cfg.Vault.CheckPassphrase(old); err != nil {
		return err
	}
	if err := n.cfg.Vault.ChangePassphrase(old, new); err != nil {
		return invalid("%v", err)
	}
	return nil
}

// LockHard locks the device so that only the passphrase opens it.
func (n *Node) LockHard() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closeSession()
	if n.cfg.Vault != nil { // nil after a wipe
		n.cfg.Vault.LockHard()
	}
	n.events.publish(Event{Type: EventLock})
	return nil
}
