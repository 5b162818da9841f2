package identity

import (
	"bytes"
	"crypto/hpke"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// TestCrossedLeaves puts together leaves that are each good, and that differ
// from this device's in one key, or in the organisation.
func TestCrossedLeaves(t *testing.T) {
	h := newHouse(t)
	other, err := newHouseKeys(h)
	if err != nil {
		t.Fatal(err)
	}
	north, err := NewAuthority("northern.nhs.example", "Northern root", noon, 5*365*24*time.Hour, h.rand)
	if err != nil {
		t.Fatal(err)
	}
	h.bundle, err = NewBundle("North West", noon, h.authority.Certificate(), north.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	issue := func(by *Authority, relay *RelayKeys, vault *VaultKeys) *Enrolment {
		t.Helper()
		w := h.wish()
		w.Person.Org = by.Org()
		req, err := NewRequest(w, relay, vault)
		if err != nil {
			t.Fatal(err)
		}
		e, err := by.Issue(req, h.grant())
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	// The witness key is the same throughout, so that only one thing differs.
	otherRelay := *h.relay
	otherRelay.Transport = other.relay.Transport
	own := issue(h.authority, h.relay, h.vault)
	if _, _, err := own.Accept(h.relay, h.vault, noon); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ admission, credential *Enrolment }{
		"credential of another signing key":      {own, issue(h.authority, h.relay, other.vault)},
		"admission leaf of another signing key":  {issue(h.authority, h.relay, other.vault), own},
		"credential of another transport key":    {own, issue(h.authority, &otherRelay, h.vault)},
		"admission leaf of another organisation": {issue(north, h.relay, h.vault), own},
	} {
		e := *own
		e.Admission, e.Credential = tc.admission.Admission, tc.credential.Credential
		if _, _, err := e.Accept(h.relay, h.vault, noon); err == nil || !strings.Contains(err.Error(), "other keys than this device's") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseEnrolmentErrors(t *testing.T) {
	h := newHouse(t)
	encode := func(change func(*Enrolment)) []byte {
		e := *h.enrolment
		change(&e)
		raw, err := e.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	good := encode(func(*Enrolment) {})
	version := bytes.Clone(good)
	version[0] = 2
	for name, tc := range map[string]struct {
		raw  []byte
		says string
	}{
		"nothing":                  {nil, "cut short"},
		"cut short":                {good[:len(good)-1], "cut short"},
		"a byte after the end":     {append(bytes.Clone(good), 0), "cut short"},
		"version 2":                {version, "newer than this program"},
		"over the limit":           {make([]byte, MaxEnrolment+1), "over the limit"},
		"a large sealed key":       {encode(func(e *Enrolment) { e.SealedMeshKey = make([]byte, maxSealedKey+1) }), "over its limit"},
		"a large admission chain":  {encode(func(e *Enrolment) { e.Admission = make([]byte, MaxAdmission+1) }), "over its limit"},
		"no admission chain":       {encode(func(e *Enrolment) { e.Admission = nil }), "chain-encoding"},
		"no credential":            {encode(func(e *Enrolment) { e.Credential = nil }), "form"},
		"a credential of no form":  {encode(func(e *Enrolment) { e.Credential = []byte{9} }), "form"},
		"no bundle":                {encode(func(e *Enrolment) { e.Bundle = nil }), "trust bundle"},
		"something for the bundle": {encode(func(e *Enrolment) { e.Bundle = []byte("bundle") }), "trust bundle"},
	} {
		if e, err := ParseEnrolment(tc.raw); err == nil || e != nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v, want a word about %q", name, err, tc.says)
		}
	}
	if _, err := (&Enrolment{Admission: make([]byte, 1<<16)}).Marshal(); err == nil {
		t.Error("64 KiB of admission chain are encoded")
	}
	if _, err := (&Enrolment{Admission: make([]byte, 1<<16)}).MarshalPEM(); err == nil {
		t.Error("64 KiB of admission chain are encoded in PEM")
	}
}

// TestMeshKeyContents: what opens must be a mesh key.
func TestMeshKeyContents(t *testing.T) {
	h := newHouse(t)
	info := meshKeyInfo(h.bundle.MeshID(), KeyOf(h.vault.Signing))
	for name, plain := range map[string][]byte{"zeros": make([]byte, 32), "31 bytes": bytes.Repeat([]byte{1}, 31), "33 bytes": bytes.Repeat([]byte{1}, 33)} {
		sealed, err := hpke.Seal(h.vault.Bundle.PublicKey(), hpke.HKDFSHA256(), hpke.AES256GCM(), info, plain)
		if err != nil {
			t.Fatal(err)
		}
		e := *h.enrolment
		e.SealedMeshKey = sealed
		if _, err := e.OpenMeshKey(h.vault); err == nil || !strings.Contains(err.Error(), "does not open") {
			t.Errorf("%s: %v", name, err)
		}
	}
	relay := *h.enrolment
	relay.SealedMeshKey = nil
	if _, err := relay.OpenMeshKey(h.vault); err == nil || !strings.Contains(err.Error(), "a relay's") {
		t.Errorf("no mesh key: %v", err)
	}
	relay = *h.enrolment
	relay.Bundle = nil
	if _, err := relay.OpenMeshKey(h.vault); err == nil || !strings.Contains(err.Error(), "trust bundle") {
		t.Errorf("no bundle: %v", err)
	}
}

func TestPeerKey(t *testing.T) {
	h := newHouse(t)
	id := h.relay.PeerID()
	if k, err := PeerKey(id); err != nil || k != KeyOf(h.relay.Transport) {
		t.Errorf("key of a peer: %v", err)
	}
	// The same key with a field that protocol buffers skip: libp2p reads it.
	raw := append([]byte(id), 0x18, 0)
	raw[1] += 2
	second, err := peer.IDFromBytes(raw)
	if err != nil {
		t.Fatal(err)
	}
	if pub, err := second.ExtractPublicKey(); err != nil || pub == nil {
		t.Fatalf("libp2p has begun to refuse a second spelling: %v", err)
	}
	for name, id := range map[string]peer.ID{"none": "", "a hash": peer.ID(append([]byte{0x12, 32}, make([]byte, 32)...)), "a second spelling": second} {
		if k, err := PeerKey(id); err == nil || k != (Key{}) {
			t.Errorf("%s has a key", name)
		}
	}
	if _, err := ParseRelayKeysPEM(encodePEM(pemRelayKeys, append([]byte{2}, bytes.Repeat([]byte("abc"), 32)...))); err == nil {
		t.Error("relay keys of version 2 are read")
	}
	if _, err := ParseRelayKeysPEM(encodePEM(pemRelayKeys, append([]byte{1}, bytes.Repeat([]byte("abc"), 32)...))); err != nil {
		t.Errorf("relay keys: %v", err)
	}
}
