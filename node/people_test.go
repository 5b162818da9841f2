package node

import (
	"crypto/ed25519"
	"slices"
	"testing"
	"time"

	"tocsin/crypto/identity"
	"tocsin/ledger"
)

// firstEntry is seq 0 of an incarnation of m's log, with its credential.
func (m *machine) firstEntry(t *testing.T, incarnation uint32) (*ledger.Entry, *identity.Credential) {
	t.Helper()
	keys, cfg := m.secrets(t)
	trust, err := identity.NewTrustStore(cfg.Bundle)
	check(t, err)
	c, err := trust.ReadCredential(cfg.Credential)
	check(t, err)
	if incarnation == 0 {
		return seqZero(t, keys.Signing, 0, time.Now(), controlCredential, cfg.Credential), c
	}
	return m.later(t, incarnation, incarnation-1, ledger.ClosedRestored, time.Now()), c
}

// later is seq 0 of a log that goes on for another of the same key.
func (m *machine) later(t *testing.T, next, old uint32, reason ledger.ClosingReason, at time.Time) *ledger.Entry {
	t.Helper()
	keys, cfg := m.secrets(t)
	key := identity.KeyOf(keys.Signing)
	c, err := ledger.SignClosing(keys.Signing, cfg.Bundle.MeshID(), identity.LogID{Author: key, Incarnation: old}, 7, ledger.Hash{1},
		reason, identity.LogID{Author: key, Incarnation: next})
	check(t, err)
	return seqZero(t, keys.Signing, next, at, controlRestart, slices.Concat(c.Marshal(), cfg.Credential))
}

// seqZero is the first entry of a log.
func seqZero(t *testing.T, key ed25519.PrivateKey, incarnation uint32, at time.Time, typ controlType, content []byte) *ledger.Entry {
	t.Helper()
	body, err := marshalControl(typ, content)
	check(t, err)
	v, err := ledger.Sign(key, ledger.Header{Incarnation: incarnation, Kind: ledger.KindControl, HLC: uint64(at.UnixMilli()) << 16}, body)
	check(t, err)
	return v.Entry()
}

// secrets opens the vault of a machine that does not run.
func (m *machine) secrets(t *testing.T) (*identity.VaultKeys, Config) {
	t.Helper()
	cfg, err := m.config()
	check(t, err)
	check(t, cfg.Vault.Unlock([]byte(passphrase)))
	raw, _, err := cfg.Vault.Get(keyVaultKeys)
	check(t, err)
	check(t, cfg.Vault.Close())
	keys, err := identity.ParseVaultKeys(raw)
	check(t, err)
	return keys, cfg
}

// TestDirectoryKeepsTheNewestCredential: an old incarnation that arrives late
// must not bring an old credential back.
func TestDirectoryKeepsTheNewestCredential(t *testing.T) {
	w := newWorld(t)
	other, self := w.enrol("Ben", orgAmbulance), w.enrol("Amal", orgHospital)
	_, own := self.firstEntry(t, 0)
	trust, err := identity.NewTrustStore(w.bundle)
	check(t, err)
	d := newDirectory(trust, own)

	later, _ := other.firstEntry(t, 2)
	check(t, d.Admit(later))
	kept := d.credential(later.Header.Author)
	earlier, _ := other.firstEntry(t, 1)
	check(t, d.Admit(earlier))
	if d.credential(later.Header.Author) != kept {
		t.Error("an earlier incarnation replaced the credential of a later one")
	}
	again, _ := self.firstEntry(t, 0)
	check(t, d.Admit(again))
	if d.credential(own.SigningKey) != own {
		t.Error("this device's own credential was replaced")
	}
	if n := len(d.devices()); n != 2 {
		t.Errorf("%d devices", n)
	}
	stolen := *later
	stolen.Header.Author = own.SigningKey
	if err := d.Admit(&stolen); err == nil {
		t.Error("a credential was taken for another's log")
	}
}
