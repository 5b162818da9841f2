package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"fmt"
)

// The types of our PEM files (RFC 7468 framing).
const (
	pemRequest   = "TOCSIN ENROLMENT REQUEST"
	pemEnrolment = "TOCSIN ENROLMENT"
	pemBundle    = "TOCSIN TRUST BUNDLE"
	pemRelayKeys = "TOCSIN RELAY KEYS"

	pemSponsorRequest = "TOCSIN SPONSOR REQUEST"

	pemCertificate = "CERTIFICATE"
	pemPrivateKey  = "PRIVATE KEY"
	pemPublicKey   = "PUBLIC KEY"
)

func encodePEM(kind string, b []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b})
}

// decodePEM reads one block of the given type and nothing beside it. The only
// freedom is that of mail programs and editors: CRLF line ends, and white
// space around the block.
func decodePEM(kind string, text []byte) ([]byte, error) {
	if len(text) > MaxPEM {
		return nil, fmt.Errorf("identity: the file is larger than any %s", kind)
	}
	text = append(bytes.TrimSpace(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))), '\n')
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("identity: this is not a PEM file: it should begin with -----BEGIN %s-----", kind)
	}
	if block.Type != kind {
		return nil, fmt.Errorf("identity: this file holds a %q, not a %q: give the other file", block.Type, kind)
	}
	if len(block.Headers) != 0 || !bytes.Equal(encodePEM(kind, block.Bytes), text) {
		return nil, fmt.Errorf("identity: the %s is damaged or has something beside it: fetch the file again", kind)
	}
	return block.Bytes, nil
}

// CertificatePEM returns der as a "CERTIFICATE" block, for other tools.
func CertificatePEM(der []byte) []byte { return encodePEM(pemCertificate, der) }

// ParseCertificatePEM reads one certificate, as openssl writes it. It checks
// the encoding and no rule of the profile.
func ParseCertificatePEM(text []byte) (*x509.Certificate, error) {
	der, err := decodePEM(pemCertificate, text)
	if err != nil {
		return nil, err
	}
	return parseCertificate(der)
}

// KeyPEM returns k as a "PUBLIC KEY" block (RFC 8410), for other tools.
func KeyPEM(k Key) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(ed25519.PublicKey(k[:]))
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	return encodePEM(pemPublicKey, der), nil
}
