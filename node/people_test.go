package node

import (
	"testing"

	"tocsin/crypto/identity"
	"tocsin/ledger"
)

// firstEntry is seq 0 of an incarnation of m's log, with the given credential.
func (m *machine) firstEntry(t *testing.T, incarnation uint32) (*ledger.Entry, *identity.Credential) {
	t.Helper()
	cfg, err := m.config()
	check(t, err)
	check(t, cfg.Vault.Unlock([]byte(passphrase)))
	raw, _, err := cfg.Vault.Get(keyVaultKeys)
	check(t, err)
	check(t, cfg.Vault.Close())
	keys, err := identity.ParseVaultKeys(raw)
	check(t, err)
	body, err := marshalControl(controlCredential, cfg.Credential)
	check(t, err)
	v, err := ledger.Sign(keys.Signing, ledger.Header{Incarnation: incarnation, Kind: ledger.KindControl}, body)
	check(t, err)
	trust, err := identity.NewTrustStore(cfg.Bundle)
	check(t, err)
	c, err := trust.ReadCredential(cfg.Credential)
	check(t, err)
	return v.Entry(), c
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
