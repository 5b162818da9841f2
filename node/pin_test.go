package node

import (
	"errors"
	"testing"

	"tocsin/ledger/memstore"
)

// TestWipedDeviceIsLockedAgain: a device without a vault takes a lock, and nothing
// that needs the vault.
func TestWipedDeviceIsLockedAgain(t *testing.T) {
	t.Parallel()
	cfg := newWorld(t).enrol("Amal", orgHospital).configWithout(t)
	cfg.VaultWiped, cfg.Store = true, memstore.New()
	n, err := prepare(cfg)
	check(t, err)
	t.Cleanup(n.cancel)
	n.wipe = &wipeMark{stage: wipeDestroyed}
	check(t, n.Lock())
	check(t, n.LockHard())
	for what, err := range map[string]error{
		"Unlock":           n.Unlock(t.Context(), []byte(passphrase)),
		"UnlockPIN":        n.UnlockPIN(t.Context(), []byte(testPIN)),
		"SetPIN":           n.SetPIN(t.Context(), "00", []byte(testPIN)),
		"ClearPIN":         n.ClearPIN(t.Context(), "00"),
		"ChangePassphrase": n.ChangePassphrase(t.Context(), []byte(passphrase), []byte(passphrase)),
	} {
		if !errors.Is(err, ErrWiped) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
