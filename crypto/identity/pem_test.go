package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"strings"
	"testing"
	"time"
)

func TestPEMIsStrict(t *testing.T) {
	h := newHouse(t)
	good := h.bundle.MarshalPEM()
	for name, text := range map[string][]byte{
		"as written":         good,
		"CRLF line ends":     bytes.ReplaceAll(good, []byte("\n"), []byte("\r\n")),
		"white space around": append([]byte("\n \n"), append(bytes.Clone(good), "\n\n"...)...),
		"no final line end":  bytes.TrimSpace(good),
	} {
		if b, err := ParseBundlePEM(text); err != nil || b.MeshID() != h.bundle.MeshID() {
			t.Errorf("%s: %v", name, err)
		}
	}
	lines := bytes.SplitAfter(good, []byte("\n"))
	for name, tc := range map[string]struct {
		text []byte
		says string
	}{
		"empty":                   {nil, "not a PEM file"},
		"words before":            {append([]byte("hello\n"), good...), "something beside it"},
		"words after":             {append(bytes.Clone(good), "hello\n"...), "something beside it"},
		"two blocks":              {append(bytes.Clone(good), good...), "something beside it"},
		"another type":            {h.request.MarshalPEM(), "give the other file"},
		"headers":                 {bytes.Replace(good, []byte("-----\n"), []byte("-----\nA: b\n\n"), 1), "something beside it"},
		"lines of another length": {bytes.Replace(good, lines[1], append(lines[1][:30:30], append([]byte("\n"), lines[1][30:]...)...), 1), "something beside it"},
		"a line lost":             {bytes.Replace(good, lines[2], nil, 1), ""},
		"too large":               {bytes.Repeat([]byte(" "), MaxPEM+1), "larger than"},
	} {
		if b, err := ParseBundlePEM(tc.text); err == nil || b != nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v, want a word about %q", name, err, tc.says)
		}
	}
}

func TestPEMRoundTrips(t *testing.T) {
	h := newHouse(t)
	r, err := ParseRequestPEM(h.request.MarshalPEM())
	if err != nil || !bytes.Equal(r.Marshal(), h.request.Marshal()) {
		t.Errorf("request: %v", err)
	}
	text, err := h.enrolment.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	e, err := ParseEnrolmentPEM(text)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := e.MarshalPEM(); err != nil || !bytes.Equal(again, text) {
		t.Errorf("enrolment: %v", err)
	}
	wrong := h.bundle.MarshalPEM()
	if _, err := ParseRequestPEM(wrong); err == nil {
		t.Error("a bundle is read as a request")
	}
	if _, err := ParseEnrolmentPEM(wrong); err == nil {
		t.Error("a bundle is read as an enrolment")
	}
	if _, err := ParseRelayKeysPEM(wrong); err == nil {
		t.Error("a bundle is read as relay keys")
	}
	if _, err := ParseRelayKeysPEM(encodePEM(pemRelayKeys, make([]byte, 96))); err == nil {
		t.Error("96 bytes are read as relay keys")
	}
	if _, err := ParseRelayKeysPEM(encodePEM(pemRelayKeys, append([]byte{1}, make([]byte, 96)...))); err == nil {
		t.Error("twin keys are read as relay keys")
	}
	if chain, err := ParseChainPEM(bytes.Repeat(CertificatePEM(h.authority.Certificate().Raw), 3)); err != nil || len(chain) != 3 {
		t.Errorf("three certificates: %v", err)
	}
	for _, text := range [][]byte{nil, wrong, bytes.Repeat(CertificatePEM(h.authority.Certificate().Raw), 4), []byte("x\n" + string(CertificatePEM(h.authority.Certificate().Raw)))} {
		if _, err := ParseChainPEM(text); err == nil {
			t.Error("a file of something else is read as a chain")
		}
	}
}

func TestAuthorityKeys(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a, err := NewAuthorityWithKey("a.example", "Root", noon, 48*time.Hour, rand.Reader, p384)
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := a.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseAuthorityPEM(cert, key)
	if err != nil || again.Org() != "a.example" || !again.Certificate().Equal(a.Certificate()) {
		t.Fatalf("authority reads back: %v", err)
	}
	other, err := NewAuthority("a.example", "Root", noon, 48*time.Hour, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	otherCert, otherKey, err := other.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	for name, pair := range map[string][2][]byte{
		"another's key": {cert, otherKey}, "another's certificate": {otherCert, key}, "swapped": {key, cert},
		"no key": {cert, nil}, "key of garbage": {cert, encodePEM(pemPrivateKey, []byte{1})},
	} {
		if _, err := ParseAuthorityPEM(pair[0], pair[1]); err == nil {
			t.Errorf("%s is loaded", name)
		}
	}
	for name, make := range map[string]func() (*Authority, error){
		"P-256": func() (*Authority, error) {
			return NewAuthorityWithKey("a.example", "Root", noon, 48*time.Hour, rand.Reader, p256)
		},
		"an hour": func() (*Authority, error) { return NewAuthority("a.example", "Root", noon, time.Hour, rand.Reader) },
		"no name": func() (*Authority, error) { return NewAuthority("a.example", "", noon, 48*time.Hour, rand.Reader) },
		"no host": func() (*Authority, error) { return NewAuthority("St Mary's", "Root", noon, 48*time.Hour, rand.Reader) },
		"no randomness": func() (*Authority, error) {
			return NewAuthority("a.example", "Root", noon, 48*time.Hour, bytes.NewReader(nil))
		},
	} {
		if a, err := make(); err == nil || a != nil {
			t.Errorf("%s makes an authority", name)
		}
	}
	k := newKeySet(t)
	text, err := KeyPEM(KeyOf(k.root))
	if err != nil {
		t.Fatal(err)
	}
	der, err := decodePEM(pemPublicKey, text)
	if err != nil {
		t.Fatal(err)
	}
	if public, err := x509.ParsePKIXPublicKey(der); err != nil || !public.(ed25519.PublicKey).Equal(k.root.Public()) {
		t.Errorf("public key reads back: %v", err)
	}
}

func TestOpenSSLConfigErrors(t *testing.T) {
	h := newHouse(t)
	if _, err := OpenSSLAuthorityConfig("St Mary's", "Root"); err == nil {
		t.Error("a profile for no host")
	}
	if _, err := OpenSSLAuthorityConfig("a.example", "Root\n[ req ]"); err == nil {
		t.Error("a name that writes its own section")
	}
	g := h.grant()
	g.Roles = []string{"Not a role"}
	if _, err := h.request.OpenSSLConfig(g); err == nil {
		t.Error("a profile with a role that is none")
	}
}
