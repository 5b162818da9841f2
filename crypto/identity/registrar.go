package identity

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Registrar admits staff while the authority is out of reach: a certificate of
// path length 0 for one host, with the roles that it may grant, for at most 30
// days. What it issues lasts at most 7 days and is shown with a badge.
type Registrar struct {
	issuer
}

// RegistrarGrant is what an authority gives to a registrar.
type RegistrarGrant struct {
	Name     string        // common name, 1 to 64 bytes: people see it
	Roles    []string      // the only ones it may grant, at most 16
	Now      time.Time     // the certificate starts [Backdate] earlier
	Validity time.Duration // from Now; with Backdate at most 30 days
	Key      crypto.Signer // Ed25519 or P-384, may lie in a module; nil makes a new Ed25519 key
	Rand     io.Reader     // nil means crypto/rand
}

// NewRegistrar certifies a registrar of the authority's own organisation.
func (a *Authority) NewRegistrar(g RegistrarGrant) (*Registrar, error) {
	if g.Rand == nil {
		g.Rand = rand.Reader
	}
	if g.Name == "" || !isDisplayText(g.Name, maxCommonName) {
		return nil, errors.New("identity: the name of a registrar is 1 to 64 bytes of plain text")
	}
	if limit := MaxRegistrarValidity - Backdate; g.Validity <= 0 || g.Validity > limit {
		return nil, fmt.Errorf("identity: a registrar lasts above zero and at most %v", limit)
	}
	if end := g.Now.Add(g.Validity); end.After(a.self.cert.NotAfter) {
		return nil, fmt.Errorf("identity: the registrar would end on %s, the authority's own certificate ends on %s: choose a shorter validity",
			end.UTC().Format(time.RFC3339), a.self.cert.NotAfter.UTC().Format(time.RFC3339))
	}
	roles := slices.Sorted(slices.Values(g.Roles))
	if err := checkRoleList(roles); err != nil {
		return nil, err
	}
	if g.Key == nil {
		var seed [ed25519.SeedSize]byte
		if _, err := io.ReadFull(g.Rand, seed[:]); err != nil {
			return nil, fmt.Errorf("identity: no randomness for a new registrar: %w", err)
		}
		g.Key = ed25519.NewKeyFromSeed(seed[:])
	}
	der, err := a.certifyRegistrar(g, roles)
	if err != nil {
		return nil, err
	}
	return loadRegistrar(der, a.self.cert.Raw, g.Key)
}

func (a *Authority) certifyRegistrar(g RegistrarGrant, roles []string) ([]byte, error) {
	grant, err := marshalCBOR(roles)
	if err != nil {
		return nil, err
	}
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
		Subject:      pkix.Name{Organization: []string{a.self.host}, CommonName: g.Name},
		NotBefore:    start, NotAfter: g.Now.Add(g.Validity),
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		ExtraExtensions: []pkix.Extension{
			{Id: oidExtendedUsage(), Critical: true, Value: derUsages(oidAdmissionUsage(), oidCredentialUsage())},
			{Id: oidNameConstraints(), Critical: true, Value: derConstraints(a.self.host)},
			{Id: oidGrant(), Value: derOctets(grant)},
		},
	}
	der, err := x509.CreateCertificate(g.Rand, template, a.self.cert, g.Key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("identity: the registrar's certificate cannot be signed: %w", err)
	}
	return der, nil
}

// loadRegistrar joins a registrar's certificate, that of its authority and the
// registrar's key, and checks the two with the rules of the profile.
func loadRegistrar(der, rootDER []byte, key crypto.Signer) (*Registrar, error) {
	rootCert, err := parseCertificate(rootDER)
	if err != nil {
		return nil, err
	}
	root, err := checkAuthority(rootCert)
	if err != nil {
		return nil, err
	}
	self, err := checkRegistrarUnder(der, root)
	if err != nil {
		return nil, err
	}
	if !keyFits(key, self.cert) {
		return nil, errors.New("identity: the key is not that of the registrar's certificate: give the key that belongs to it")
	}
	return &Registrar{issuer{root: root, self: self, key: key}}, nil
}

// checkRegistrarUnder holds all rules of a registrar's certificate under a
// known root, the signature included.
func checkRegistrarUnder(der []byte, root *issuerCert) (*issuerCert, error) {
	cert, err := parseCertificate(der)
	if err != nil {
		return nil, err
	}
	if err := checkSignedBy(cert, root.cert); err != nil {
		return nil, err
	}
	self, err := checkRegistrar(cert, root)
	if err != nil {
		return nil, err
	}
	return self, checkNested(cert, root.cert)
}

// Roles returns the roles that the registrar may grant, sorted.
func (r *Registrar) Roles() []string { return slices.Clone(r.self.roles) }

// Authority returns the certificate of the registrar's authority.
func (r *Registrar) Authority() *x509.Certificate { return r.root.cert }

// MarshalPEM returns the registrar's certificate followed by its authority's,
// and the registrar's key as PKCS #8. The key is secret.
func (r *Registrar) MarshalPEM() (chain, key []byte, err error) {
	der, err := x509.MarshalPKCS8PrivateKey(r.key)
	if err != nil {
		return nil, nil, fmt.Errorf("identity: the registrar's key cannot leave its module: %w", err)
	}
	chain = append(CertificatePEM(r.self.cert.Raw), CertificatePEM(r.root.cert.Raw)...)
	return chain, encodePEM(pemPrivateKey, der), nil
}

// ParseRegistrarPEM reads what [Registrar.MarshalPEM] wrote, or what openssl
// wrote with [OpenSSLRegistrarConfig]: the registrar's certificate, then the
// authority's; and a PKCS #8 key.
func ParseRegistrarPEM(chain, key []byte) (*Registrar, error) {
	ders, err := ParseChainPEM(chain)
	if err != nil {
		return nil, err
	}
	if len(ders) != 2 {
		return nil, errors.New("identity: the file holds the registrar's certificate and then its authority's, two in all")
	}
	signer, err := parseSignerPEM(key)
	if err != nil {
		return nil, err
	}
	return loadRegistrar(ders[0], ders[1], signer)
}

// OpenSSLRegistrarConfig returns a configuration with the extensions of a
// registrar of org that may grant the given roles:
//
//	openssl x509 -new -force_pubkey registrar.pub -subj "/O=<org>/CN=<name>" -days 29 \
//	    -CA authority.pem -CAkey authority.key \
//	    -extfile registrar.cnf -extensions registrar -out registrar.pem
//
// with "-sha384" for an ECDSA authority.
func OpenSSLRegistrarConfig(org string, roles ...string) ([]byte, error) {
	if err := CheckOrg(org); err != nil {
		return nil, err
	}
	roles = slices.Sorted(slices.Values(roles))
	if err := checkRoleList(roles); err != nil {
		return nil, err
	}
	grant, err := marshalCBOR(roles)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `# Tocsin: a registrar who may grant
# %s
[ registrar ]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
extendedKeyUsage = critical, %s, %s
nameConstraints = critical, permitted;URI:%s
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
%s = DER:%x
`, strings.Join(roles, " "), DottedAdmissionUsage, DottedCredentialUsage, org, DottedGrant, derOctets(grant))
	return b.Bytes(), nil
}
