package identity

import (
	"bytes"
	"errors"
	"testing"
)

// TestKeyRoll: the old key signs the new credential and the new key signs back.
func TestKeyRoll(t *testing.T) {
	w := newWorld(t)
	old, next := w.enrol(w.a, "7000001", w.grant("doctor")), w.enrol(w.a, "7000001", w.grant("doctor"))
	other := w.enrol(w.a, "7000002", w.grant("doctor"))
	good := get(NewKeyRoll(old.vault.Signing, next.vault.Signing, []byte(next.cred.Raw)))(t)
	r, err := w.store.VerifyKeyRoll(good, old.cred)
	if err != nil || r.Old != old.cred.SigningKey || r.New != next.cred.SigningKey || r.Credential.Person != old.cred.Person {
		t.Fatalf("%v", err)
	}
	flip := func(i int) []byte {
		b := bytes.Clone(good)
		b[i] ^= 1
		return b
	}
	n := len(good)
	for _, tc := range []struct {
		name string
		raw  []byte
		want check
		kind error
	}{
		{"nothing", nil, checkRollEncoding, nil},
		{"cut short", good[:n-1], checkRollEncoding, nil},
		{"a byte after the end", append(bytes.Clone(good), 0), checkRollEncoding, nil},
		{"version 0", flip(0), checkRollEncoding, nil},
		{"the old key did not sign", flip(n - 128), checkRollSignature, nil},
		{"the new key did not sign back", flip(n - 1), checkRollSignature, nil},
		{"of another old key", get(NewKeyRoll(other.vault.Signing, next.vault.Signing, []byte(next.cred.Raw)))(t), checkRollSignature, nil},
		{"signed back by another", get(NewKeyRoll(old.vault.Signing, other.vault.Signing, []byte(next.cred.Raw)))(t), checkRollSignature, nil},
		{"to another person", get(NewKeyRoll(old.vault.Signing, other.vault.Signing, []byte(other.cred.Raw)))(t), checkRollPerson, nil},
		{"to a foreign credential", get(NewKeyRoll(old.vault.Signing, next.vault.Signing, foreignCredential(t)))(t), checkSignature, ErrForeign},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := w.store.VerifyKeyRoll(tc.raw, old.cred)
			assertRefused(t, err, tc.want, tc.kind)
			if r != nil {
				t.Error("a key roll beside an error")
			}
		})
	}
	if _, err := NewKeyRoll(old.vault.Signing, old.vault.Signing, []byte(old.cred.Raw)); err == nil {
		t.Error("a roll to the same key is made")
	}
	mustTake(t, w.store, w.crl(w.a, 1, noon, old), noon)
	if _, err := w.store.VerifyKeyRoll(good, old.cred); !errors.Is(err, ErrRevoked) {
		t.Errorf("a revoked device rolls: %v", err)
	}
}

func foreignCredential(t *testing.T) []byte {
	w := newWorldOf(t, 8)
	return []byte(w.enrol(w.a, "7000001", w.grant("doctor")).cred.Raw)
}
