package identity

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Issuer is who may issue credentials and sign statements: an [Authority], or
// a [Registrar] within what its authority has given it.
type Issuer interface {
	Org() string                                        // the organisation it speaks for
	Name() string                                       // common name, for people
	Certificate() *x509.Certificate                     // its own
	IsRegistrar() bool                                  // limited as protocol §1 says
	KeyHash() [32]byte                                  // see [IssuerKeyHash]
	Issue(*Request, Grant) (*Enrolment, error)          // both leaves of a device
	CRL(mesh MeshID, c CRL) ([]byte, error)             // revokes devices and registrars
	Wipe(mesh MeshID, w Wipe) ([]byte, error)           // orders one device to erase itself
	Declare(mesh MeshID, d Declaration) ([]byte, error) // an incident begins or ends
}

var (
	_ Issuer = (*Authority)(nil)
	_ Issuer = (*Registrar)(nil)
)

// issuer is what authorities and registrars have in common.
type issuer struct {
	root *issuerCert // the authority
	self *issuerCert // whose key it is: root's own, or a registrar under it
	key  crypto.Signer
}

// Certificate returns the issuer's own certificate.
func (a *issuer) Certificate() *x509.Certificate { return a.self.cert }

// Org returns the organisation that the issuer speaks for.
func (a *issuer) Org() string { return a.self.host }

// Name returns the common name of the issuer, for people.
func (a *issuer) Name() string { return a.self.cert.Subject.CommonName }

// IsRegistrar reports whether the issuer is a registrar.
func (a *issuer) IsRegistrar() bool { return a.self.registrar }

// KeyHash returns [IssuerKeyHash] of the issuer's certificate.
func (a *issuer) KeyHash() [32]byte { return IssuerKeyHash(a.self.cert) }

// IssuerKeyHash names the key of an authority or registrar in statements:
// SHA-256("tocsin/issuer-key/v1\0" ‖ SubjectPublicKeyInfo), of the DER.
func IssuerKeyHash(c *x509.Certificate) [32]byte {
	return sha256.Sum256(join(domainIssuerKey, c.RawSubjectPublicKeyInfo))
}

// keyFits reports whether key is the private half of the certificate's.
func keyFits(key crypto.Signer, cert *x509.Certificate) bool {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(cert.PublicKey)
}

// parseSignerPEM reads a PKCS #8 key.
func parseSignerPEM(text []byte) (crypto.Signer, error) {
	der, err := decodePEM(pemPrivateKey, text)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("identity: the issuer's key cannot be read: %w", err)
	}
	signer, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, errors.New("identity: the issuer's key cannot sign")
	}
	return signer, nil
}

// Grant is what an authority or a registrar decides to give.
type Grant struct {
	Now         time.Time
	Validity    time.Duration // from Now; up to 399 days, by a registrar 6 days and 23 hours
	Roles       []string      // exactly these, whatever was asked for
	Bundle      *Bundle       // the genesis of the mesh; it, or a later one in Statements, must name the authority
	Statements  [][]byte      // in force in the mesh, of [TrustStore.Statements]; they go along
	MeshKey     [32]byte      // sealed to the bundle key; never to a relay
	Relay       bool          // the device carries and cannot read
	Provisional bool          // shown with a badge
	Rand        io.Reader     // of serial numbers and ECDSA; nil means crypto/rand
}

// Issue makes both leaves for a request. It verifies the request again, and
// checks its own work with the verifier before handing it out. Whether the
// person is who they say is for the caller to have checked.
func (a *issuer) Issue(req *Request, g Grant) (*Enrolment, error) {
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
	return AssembleEnrolment(req, g.Bundle, g.MeshKey, a.chain(admission), a.chain(credential), g.Statements...)
}

// chain puts a registrar's own certificate behind a leaf.
func (a *issuer) chain(leaf []byte) [][]byte {
	if a.self.registrar {
		return [][]byte{leaf, a.self.cert.Raw}
	}
	return [][]byte{leaf}
}

func (a *issuer) checkGrant(req *Request, g Grant) error {
	if req.wish.Person.Org != a.self.host {
		return fmt.Errorf("identity: the request is for %s and this one issues for %s: send it to theirs", req.wish.Person.Org, a.self.host)
	}
	if err := a.checkNamed(g); err != nil {
		return err
	}
	if a.self.registrar {
		if err := a.checkRegistrarGrant(g); err != nil {
			return err
		}
	}
	if first := a.self.cert.NotBefore; g.Now.Before(first) {
		return fmt.Errorf("identity: the issuer's certificate begins on %s: look at the clock", first.UTC().Format(time.RFC3339))
	}
	if end := g.Now.Add(g.Validity); g.Validity <= 0 || end.After(a.self.cert.NotAfter) {
		return fmt.Errorf("identity: the credential would end on %s, the issuer's own certificate ends on %s: choose a validity above zero and within it",
			end.UTC().Format(time.RFC3339), a.self.cert.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// checkNamed demands that the bundle in force names the root.
func (a *issuer) checkNamed(g Grant) error {
	unknown := errors.New("identity: the trust bundle does not name this authority: nobody of the mesh would believe the credential")
	if g.Bundle == nil {
		return unknown
	}
	store, err := NewTrustStore(g.Bundle)
	if err != nil {
		return err
	}
	for _, raw := range g.Statements {
		if _, err := store.Take(raw, g.Now); err != nil && !isOvertaken(err) {
			return fmt.Errorf("identity: a statement that is to go along: %w", err)
		}
	}
	if !store.Bundle().has(a.root.cert) {
		return unknown
	}
	return nil
}

func (a *issuer) checkRegistrarGrant(g Grant) error {
	if limit := MaxRegistrarLeafValidity - Backdate; g.Validity > limit {
		return fmt.Errorf("identity: what a registrar issues lasts %v at most: choose a shorter validity, or ask the authority", limit)
	}
	for _, r := range g.Roles {
		if !slices.Contains(a.self.roles, r) {
			return fmt.Errorf("identity: this registrar may not grant the role %q, only %s: ask the authority", r, strings.Join(a.self.roles, ", "))
		}
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

func (a *issuer) sign(extensions []pkix.Extension, key Key, g Grant) ([]byte, error) {
	serial, err := newSerial(g.Rand)
	if err != nil {
		return nil, err
	}
	start := g.Now.Add(-Backdate)
	if first := a.self.cert.NotBefore; start.Before(first) {
		start = first
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{a.self.host}},
		NotBefore:    start, NotAfter: g.Now.Add(g.Validity),
		KeyUsage:        x509.KeyUsageDigitalSignature,
		ExtraExtensions: extensions,
	}
	der, err := x509.CreateCertificate(g.Rand, template, a.self.cert, ed25519.PublicKey(key[:]), a.key)
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
