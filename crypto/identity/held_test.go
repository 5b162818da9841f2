package identity

import (
	"bytes"
	"errors"
	"testing"
	"unsafe"
)

// The bytes of a credential exist once in a process, its bundle key among them, and are nobody's
// to change.
func TestCredentialHeldOnce(t *testing.T) {
	w := newWorld(t)
	m := w.enrol(w.a, "7000001", w.grant("doctor"))
	raw := bytes.Clone(m.enrolment.Credential)
	one := get(w.store.ReadCredential(raw))(t)
	clear(raw)
	two := get(w.fresh().ReadCredential(m.enrolment.Credential))(t)
	if one.Raw != string(m.enrolment.Credential) || two.Raw != one.Raw {
		t.Fatal("a credential is not the bytes that were read")
	}
	if unsafe.StringData(one.Raw) != unsafe.StringData(two.Raw) {
		t.Error("two stores of one process hold the same credential twice")
	}
	for _, c := range []*Credential{one, two} {
		if c.Claims.Bundle != string(m.vault.Bundle.PublicKey().Bytes()) {
			t.Error("another bundle key than the device's")
		}
		at := uintptr(unsafe.Pointer(unsafe.StringData(c.Claims.Bundle))) - uintptr(unsafe.Pointer(unsafe.StringData(c.Raw)))
		if at >= uintptr(len(c.Raw)) {
			t.Error("the bundle key is held beside the credential that carries it")
		}
	}
}

// That one device of a process believes a credential says nothing to another, whose trust store
// has heard something else.
func TestCredentialJudgedByEach(t *testing.T) {
	w := newWorld(t)
	m := w.enrol(w.a, "7000001", w.grant("doctor"))
	raw := m.enrolment.Credential
	heard, foreign := w.fresh(), newWorldOf(t, 8).store
	get(heard.Take(w.crl(w.a, 1, noon, m), noon))(t)
	for range 2 { // in whatever order they look
		if _, err := w.store.VerifyCredential(raw, noon); err != nil {
			t.Errorf("where nobody has revoked it: %v", err)
		}
		if _, err := heard.VerifyCredential(raw, noon); !errors.Is(err, ErrRevoked) {
			t.Errorf("revoked here: %v", err)
		}
		if _, err := foreign.VerifyCredential(raw, noon); !errors.Is(err, ErrForeign) {
			t.Errorf("in another mesh: %v", err)
		}
	}
	// Of bytes that another holds, one that is spoilt is as spoilt as ever.
	bad := bytes.Clone(raw)
	bad[len(bad)-1] ^= 1
	if _, err := w.fresh().ReadCredential(bad); err == nil {
		t.Error("a spoilt signature was believed")
	}
}
