package identity

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Authority is an organisation's certificate authority. Its key vouches for
// everyone of the organisation and can vouch for nobody else: the certificate
// permits one host.
type Authority struct {
	root *issuerCert
	key  crypto.Signer
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
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(cert.PublicKey) {
		return nil, errors.New("identity: the key is not that of the authority's certificate: give the key that belongs to it")
	}
	return &Authority{root: root, key: key}, nil
}

// ParseAuthorityPEM reads what [Authority.MarshalPEM] wrote, or what openssl
// wrote: a certificate and a PKCS #8 key.
func ParseAuthorityPEM(cert, key []byte) (*Authority, error) {
	c, err := ParseCertificatePEM(cert)
	if err != nil {
		return nil, err
	}
	der, err := decodePEM(pemPrivateKey, key)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("identity: the authority's key cannot be read: %w", err)
	}
	signer, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, errors.New("identity: the authority's key cannot sign")
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
	return CertificatePEM(a.root.cert.Raw), encodePEM(pemPrivateKey, der), nil
}

// Certificate returns the root certificate.
func (a *Authority) Certificate() *x509.Certificate { return a.root.cert }

// Org returns the organisation that the authority speaks for.
func (a *Authority) Org() string { return a.root.host }

// Grant is what an authority decides to give.
type Grant struct {
	Now         time.Time
	Validity    time.Duration // from Now; up to 399 days
	Roles       []string      // exactly these, whatever was asked for
	Bundle      *Bundle       // of the mesh; it must name the authority
	MeshKey     [32]byte      // sealed to the bundle key; never to a relay
	Relay       bool          // the device carries and cannot read
	Provisional bool          // shown with a badge
	Rand        io.Reader     // of serial numbers and ECDSA; nil means crypto/rand
}

// Issue makes both leaves for a request. It verifies the request again, and
// checks its own work with the verifier before handing it out. Whether the
// person is who they say is for the caller to have checked.
func (a *Authority) Issue(req *Request, g Grant) (*Enrolment, error) {
	req, err := ParseRequest(req.raw)
	if err != nil {
		return nil, err
	}
	claims, err := g.claims(req)
	if err != nil {
		return nil, err
	}
	if err := a.checkGrant(req, g); err != nil {
		return nil, err
	}
	if g.Rand == nil {
		g.Rand = rand.Reader
	}
	encoded, err := claims.marshal()
	if err != nil {
		return nil, err
	}
	forAdmission, forCredential := req.names()
	ticket := TicketKey(req.signing)
	admission, err := a.sign(leafExtensions(oidAdmissionUsage(), forAdmission, oidTicketKey(), ticket[:]), req.transport, g)
	if err != nil {
		return nil, err
	}
	credential, err := a.sign(leafExtensions(oidCredentialUsage(), forCredential, oidClaims(), encoded), req.signing, g)
	if err != nil {
		return nil, err
	}
	return AssembleEnrolment(req, g.Bundle, g.MeshKey, [][]byte{admission}, [][]byte{credential})
}

func (a *Authority) checkGrant(req *Request, g Grant) error {
	if req.wish.Person.Org != a.root.host {
		return fmt.Errorf("identity: the request is for %s and this is the authority of %s: send it to theirs", req.wish.Person.Org, a.root.host)
	}
	if g.Bundle == nil || !g.Bundle.has(a.root.cert) {
		return errors.New("identity: the trust bundle does not name this authority: nobody of the mesh would believe the credential")
	}
	if first := a.root.cert.NotBefore; g.Now.Before(first) {
		return fmt.Errorf("identity: the authority's certificate begins on %s: look at the clock", first.UTC().Format(time.RFC3339))
	}
	if end := g.Now.Add(g.Validity); g.Validity <= 0 || end.After(a.root.cert.NotAfter) {
		return fmt.Errorf("identity: the credential would end on %s, the authority's own certificate ends on %s: choose a validity above zero and within it",
			end.UTC().Format(time.RFC3339), a.root.cert.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// claims returns what goes into the credential: the applicant's words and
// keys, the authority's roles and flags.
func (g Grant) claims(req *Request) (Claims, error) {
	c := req.wish.Claims
	c.Roles = slices.Sorted(slices.Values(g.Roles))
	c.Relay, c.Provisional = g.Relay, g.Provisional
	return c, c.validate()
}

// names returns the URIs of the two leaves.
func (r *Request) names() (admission, credential []string) {
	p := r.wish.Person
	id := uri(p.Org, "peer", peerIDOf(r.transport).String())
	return []string{id}, []string{uri(p.Org, p.Regulator, p.Number), uri(p.Org, "device", DeviceID(r.signing)), id}
}

func leafExtensions(usage asn1.ObjectIdentifier, uris []string, own asn1.ObjectIdentifier, value []byte) []pkix.Extension {
	return []pkix.Extension{
		{Id: oidExtendedUsage(), Critical: true, Value: derUsages(usage)},
		{Id: oidAltName(), Value: derURIs(uris...)},
		{Id: own, Value: derOctets(value)},
	}
}

func (a *Authority) sign(extensions []pkix.Extension, key Key, g Grant) ([]byte, error) {
	serial, err := newSerial(g.Rand)
	if err != nil {
		return nil, err
	}
	start := g.Now.Add(-Backdate)
	if first := a.root.cert.NotBefore; start.Before(first) {
		start = first
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{a.root.host}},
		NotBefore:    start, NotAfter: g.Now.Add(g.Validity),
		KeyUsage:        x509.KeyUsageDigitalSignature,
		ExtraExtensions: extensions,
	}
	der, err := x509.CreateCertificate(g.Rand, template, a.root.cert, ed25519.PublicKey(key[:]), a.key)
	if err != nil {
		return nil, fmt.Errorf("identity: the leaf cannot be signed: %w", err)
	}
	return der, nil
}

func newSerial(rand io.Reader) (*big.Int, error) {
	var b [16]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return nil, fmt.Errorf("identity: no randomness for a serial number: %w", err)
	}
	b[0] = b[0]&0x7f | 0x40 // positive, and always of the same length
	return new(big.Int).SetBytes(b[:]), nil
}

func derURIs(uris ...string) []byte {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, u := range uris {
			b.AddASN1(tagURI, func(b *cryptobyte.Builder) { b.AddBytes([]byte(u)) })
		}
	})
	return b.BytesOrPanic() // three URIs of a few hundred bytes
}

func derOctets(value []byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1OctetString(value)
	return b.BytesOrPanic() // claims of at most a few kilobytes
}
