package identity

import (
	"bytes"
	"testing"
)

// The fuzz targets demand that what a parser accepts comes out as the same
// bytes, built again from the parsed fields: an encoding that can be spelt in
// two ways is a hole.

func FuzzChain(f *testing.F) {
	h := newHouse(f)
	f.Add(h.enrolment.Admission)
	f.Add(h.enrolment.Credential[1:])
	f.Add([]byte{0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		ders, err := DecodeChain(b)
		if err != nil {
			return
		}
		again, err := EncodeChain(ders)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("chain reads back as other bytes: %v", err)
		}
	})
}

func FuzzSponsored(f *testing.F) {
	h := newHouse(f)
	seed, err := (&sponsored{leaf: []byte{1}, votes: []sponsorship{{chain: h.enrolment.Admission}}}).encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add(h.enrolment.Credential)
	f.Fuzz(func(t *testing.T, b []byte) {
		chain, sp, err := decodeCredential(b)
		switch {
		case err != nil:
			return
		case sp == nil:
			if !bytes.Equal(encodeCredential(chain), b) {
				t.Error("credential reads back as other bytes")
			}
		default:
			if again, err := sp.encode(); err != nil || !bytes.Equal(again, b) {
				t.Errorf("sponsored credential reads back as other bytes: %v", err)
			}
		}
	})
}

// FuzzCredential changes a good credential. Whatever is still accepted must be
// the very same bytes: there is no second spelling of a valid credential.
func FuzzCredential(f *testing.F) {
	h := newHouse(f)
	good := h.enrolment.Credential
	f.Add(good)
	f.Add(append(bytes.Clone(good), 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := h.store.ReadCredential(b); err == nil && (!bytes.Equal(b, good) || !bytes.Equal([]byte(c.Raw), b)) {
			t.Error("a changed credential is accepted")
		}
	})
}

func FuzzAdmission(f *testing.F) {
	h := newHouse(f)
	good := h.enrolment.Admission
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := h.store.VerifyAdmission(b, h.relay.PeerID(), noon); err == nil && !bytes.Equal(b, good) {
			t.Error("a changed admission chain is accepted")
		}
	})
}

func FuzzTicket(f *testing.F) {
	h := newHouse(f)
	good, err := NewTicket(h.vault.Signing, h.relay.PeerID(), noon, noon.Add(MaxTicketLife))
	if err != nil {
		f.Fatal(err)
	}
	adm, err := h.store.VerifyAdmission(h.enrolment.Admission, h.relay.PeerID(), noon)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		if h.store.VerifyTicket(b, adm, noon) == nil && !bytes.Equal(b, good) {
			t.Error("a changed ticket is accepted")
		}
		tk, err := parseTicket(b)
		if err != nil {
			return
		}
		if again, err := tk.marshal(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("ticket reads back as other bytes: %v", err)
		}
	})
}

func FuzzRequest(f *testing.F) {
	h := newHouse(f)
	f.Add(h.request.Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRequest(b)
		if err != nil {
			return
		}
		body, err := r.body() // from the fields, not from what was kept
		if err != nil || !bytes.Equal(body, b[:len(b)-3*64]) || !bytes.Equal(r.Marshal(), b) {
			t.Errorf("request reads back as other bytes: %v", err)
		}
	})
}

func FuzzClaims(f *testing.F) {
	h := newHouse(f)
	seed, err := h.request.Wish().Claims.marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseClaims(b)
		if err != nil {
			return
		}
		if again, err := c.marshal(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("claims read back as other bytes: %v", err)
		}
	})
}

func FuzzEnrolment(f *testing.F) {
	h := newHouse(f)
	seed, err := h.enrolment.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := ParseEnrolment(b)
		if err != nil {
			return
		}
		if again, err := e.Marshal(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("enrolment reads back as other bytes: %v", err)
		}
	})
}

func FuzzBundle(f *testing.F) {
	h := newHouse(f)
	f.Add(h.bundle.Marshal())
	next := get(NextBundle(h.bundle, noon.AddDate(0, 0, 1), h.authority.Certificate()))(f)
	f.Add(get(h.authority.SignBundle(next))(f).Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		parsed, err := ParseBundle(b)
		if err != nil {
			return
		}
		var ders [][]byte
		for _, r := range parsed.Roots() {
			ders = append(ders, r.Certificate.Raw)
		}
		again, err := parsed.encode(ders) // from the fields, not from what was kept
		if err != nil || !bytes.Equal(again, b) || !bytes.Equal(parsed.Marshal(), b) {
			t.Errorf("bundle reads back as other bytes: %v", err)
		}
	})
}

func FuzzPEM(f *testing.F) {
	h := newHouse(f)
	f.Add(h.bundle.MarshalPEM())
	f.Add(h.relay.MarshalPEM())
	f.Fuzz(func(t *testing.T, text []byte) {
		if b, err := ParseBundlePEM(text); err == nil && b.MeshID() != h.bundle.MeshID() {
			if _, err := ParseBundlePEM(b.MarshalPEM()); err != nil {
				t.Errorf("bundle in PEM does not read back: %v", err)
			}
		}
		k, err := ParseRelayKeysPEM(text)
		if err != nil {
			return
		}
		again, err := ParseRelayKeysPEM(k.MarshalPEM())
		if err != nil || !bytes.Equal(again.marshal(), k.marshal()) {
			t.Errorf("relay keys in PEM read back as others: %v", err)
		}
	})
}

func FuzzVaultKeys(f *testing.F) {
	h := newHouse(f)
	seed, err := h.vault.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParseVaultKeys(b)
		if err != nil {
			return
		}
		if again, err := k.Marshal(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("vault keys read back as other bytes: %v", err)
		}
	})
}
