package node

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"time"
)

// reauthLife is how long a token of [Node.Reauth] can be used.
const reauthLife = 2 * time.Minute

// maxTokens bounds the tokens that wait to be used.
const maxTokens = 16

// Secret is what a person proves with that it is them: exactly one of the two.
type Secret struct {
	Passphrase []byte
	PIN        []byte
}

// Reauth is a proof that the person at this device knew its secret a moment ago.
type Reauth struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
}

// Reauth checks the passphrase or the PIN of an unlocked device and returns a
// token for one call that changes identity, exports, wipes or erases. It lasts
// two minutes and does not outlive a lock. A wrong PIN counts as one. Errors:
// [ErrLocked], [ErrPassphrase], [ErrPIN], [ErrBackoff], [ErrNoPIN], [ErrInvalid].
func (n *Node) Reauth(_ context.Context, s Secret) (Reauth, error) {
	if (len(s.Passphrase) == 0) == (len(s.PIN) == 0) {
		return Reauth{}, invalid("give the passphrase or the PIN")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return Reauth{}, n.lockedError()
	}
	if err := n.checkSecret(s); err != nil {
		return Reauth{}, err
	}
	var raw [32]byte
	if _, err := io.ReadFull(n.rand, raw[:]); err != nil {
		return Reauth{}, fmt.Errorf("node: no randomness for a token: %w", err)
	}
	r := Reauth{Token: hex.EncodeToString(raw[:]), Expires: n.cfg.Clock.Now().Add(reauthLife)}
	if n.open.tokens == nil || len(n.open.tokens) >= maxTokens {
		n.open.tokens = make(map[[32]byte]time.Time)
	}
	n.open.tokens[sha256.Sum256([]byte(r.Token))] = r.Expires
	return r, nil
}

func (n *Node) checkSecret(s Secret) error {
	if len(s.PIN) > 0 {
		return n.cfg.Vault.CheckPIN(s.PIN, n.cfg.Clock.Now())
	}
	return n.cfg.Vault.CheckPassphrase(s.Passphrase)
}

// spend uses a token up. n.mu is held.
func (n *Node) spend(token string) error {
	if n.open == nil {
		return n.lockedError()
	}
	key := sha256.Sum256([]byte(token))
	expires, ok := n.open.tokens[key]
	delete(n.open.tokens, key)
	// A clock that was set back by more than a token lasts must not revive one.
	left := expires.Sub(n.cfg.Clock.Now())
	if !ok || left < 0 || left > reauthLife {
		return ErrReauth
	}
	return nil
}
