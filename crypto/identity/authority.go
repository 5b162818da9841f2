package identity

import (
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"time"
)

// Authority is an organisation's certificate authority. Its key vouches for
// everyone of the organisation and can vouch for nobody else: the certificate
// permits one host.
type Authority struct {
	issuer
}

// NewAuthority makes an authority with a new Ed25519 key from rand. org is the
// host name of the organisation, name the common name shown to people (1 to 64
// bytes). The certificate starts [Backdate] before now.
func NewAuthority(org, name string, now time.Time, validity time.Duration, rand io.Reader) (*Authority, error) {
	var seed [ed25519.SeedSize]byte
	if _, err := io.ReadFull(rand, seed[:]); err != nil {
		return nil, fmt.Errorf("identity: no randomness for a new authority: %w", err)
	}
	return NewAuthorityWithKey(org, name, now, validity, rand, ed25519.NewKeyFromSeed(seed[:]))
}

// NewAuthorityWithKey is [NewAuthority] with a given key, Ed25519 or ECDSA
// P-384, which may lie in a hardware module.
func NewAuthorityWithKey(org, name string, now time.Time, validity time.Duration, rand io.Reader, key crypto.Signer) (*Authority, error) {
	if err := CheckOrg(org); err != nil {
		return nil, err
	}
	if name == "" || !isDisplayText(name, maxCommonName) {
		return nil, errors.New("identity: the name of an authority is 1 to 64 bytes of plain text")
	}
	if validity < 24*time.Hour {
		return nil, errors.New("identity: an authority lasts at least a day")
	}
	serial, err := newSerial(rand)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{org}, CommonName: name},
		NotBefore:    now.Add(-Backdate), NotAfter: now.Add(validity),
		BasicConstraintsValid: true, IsCA: true, MaxPathLen: 1,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		ExtraExtensions: []pkix.Extension{
			{Id: oidNameConstraints(), Critical: true, Value: derConstraints(org)},
		},
	}
	der, err := x509.CreateCertificate(rand, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("identity: the authority's certificate cannot be signed: %w", err)
	}
	cert, err := parseCertificate(der)
	if err != nil {
		return nil, err
	}
	return LoadAuthority(cert, key)
}

// LoadAuthority joins a root certificate that keeps the profile to its key.
func LoadAuthority(cert *x509.Certificate, key crypto.Signer) (*Authority, error) {
	cert, err := parseCertificate(cert.Raw)
	if err != nil {
		return nil, err
	}
	root, err := checkAuthority(cert)
	if err != nil {
		return nil, err
	}
	if !keyFits(key, cert) {
		return nil, errors.New("identity: the key is not that of the authority's certificate: give the key that belongs to it")
	}
	return &Authority{issuer{root: root, self: root, key: key}}, nil
}

// ParseAuthorityPEM reads what [Authority.MarshalPEM] wrote, or what openssl
// wrote: a certificate and a PKCS #8 key.
func ParseAuthorityPEM(cert, key []byte) (*Authority, error) {
	c, err := ParseCertificatePEM(cert)
	if err != nil {
		return nil, err
	}
	signer, err := parseSignerPEM(key)
	if err != nil {
		return nil, err
	}
	return LoadAuthority(c, signer)
}

// MarshalPEM returns the certificate, and the key as PKCS #8. The key is
// secret: whoever has it can enrol anyone of the organisation.
func (a *Authority) MarshalPEM() (cert, key []byte, err error) {
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("identity: the authority's key cannot leave its module: %w", err)
	}
	return CertificatePEM(a.self.cert.Raw), encodePEM(pemPrivateKey, der), nil
}
