package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// The rules that hold for one certificate. How certificates hang together is
// path.go. crypto/x509 parses; nothing here trusts what it lets pass: wherever
// our profile has one legal value, the bytes are compared with it.

// parseCertificate reads one certificate of any kind.
func parseCertificate(der []byte) (*x509.Certificate, error) {
	if len(der) > MaxCertificate {
		return nil, refuse(checkCertSize, "a certificate of %d bytes is over the limit of %d", len(der), MaxCertificate)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, refuse(checkParse, "not a certificate: %v", err)
	}
	if err := checkOuterEncoding(c); err != nil {
		return nil, err
	}
	if c.Version != 3 {
		return nil, refuse(checkVersion, "a version %d certificate has no extensions", c.Version)
	}
	if c.SerialNumber.Sign() <= 0 || c.SerialNumber.BitLen() > maxSerial*8-1 {
		return nil, refuse(checkSerial, "the serial number is not positive or longer than %d bytes", maxSerial)
	}
	if !c.NotAfter.After(c.NotBefore) {
		return nil, refuse(checkValidity, "the certificate ends before it begins")
	}
	if err := checkCriticals(c); err != nil {
		return nil, err
	}
	return c, nil
}

// checkOuterEncoding builds the certificate again from its signed part, its
// algorithm and its signature. The signature covers only the first, and a bit
// string can be spelt with spare bits: without this, anyone could turn one
// valid certificate into another with a different hash.
func checkOuterEncoding(c *x509.Certificate) error {
	alg, ok := algorithmDER(c.SignatureAlgorithm)
	if !ok {
		return refuse(checkAlgorithm, "certificates are signed with Ed25519 or ECDSA P-384 with SHA-384, not %v", c.SignatureAlgorithm)
	}
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(c.RawTBSCertificate)
		b.AddBytes(alg)
		b.AddASN1BitString(c.Signature)
	})
	again, err := b.Bytes()
	if err != nil || !bytes.Equal(again, c.Raw) {
		return refuse(checkOuter, "the signature is not in its one encoding")
	}
	return nil
}

// algorithmDER returns the one encoding of the two algorithms (RFC 8410 §3,
// RFC 5758 §3.2: parameters absent).
func algorithmDER(a x509.SignatureAlgorithm) ([]byte, bool) {
	switch a {
	case x509.PureEd25519: // 1.3.101.112
		return []byte{0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70}, true
	case x509.ECDSAWithSHA384: // 1.2.840.10045.4.3.3
		return []byte{0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03}, true
	}
	return nil, false
}

// checkCriticals refuses a critical extension that this profile does not act
// on, also where crypto/x509 has read it: read is not obeyed.
func checkCriticals(c *x509.Certificate) error {
	known := []asn1.ObjectIdentifier{
		oidKeyUsage(), oidAltName(), oidBasicConstraints(), oidNameConstraints(), oidExtendedUsage(),
	}
	for _, e := range c.Extensions {
		if e.Critical && !slices.ContainsFunc(known, e.Id.Equal) {
			return refuse(checkCritical, "the critical extension %v is not part of the profile", e.Id)
		}
	}
	return nil
}

// extension returns the value of an extension; parsing has refused doubles.
func extension(c *x509.Certificate, id asn1.ObjectIdentifier) (value []byte, critical, ok bool) {
	for _, e := range c.Extensions {
		if e.Id.Equal(id) {
			return e.Value, e.Critical, true
		}
	}
	return nil, false, false
}

// isCritical reports whether the extension is there, critical, and has exactly
// the given value.
func isCritical(c *x509.Certificate, id asn1.ObjectIdentifier, want []byte) bool {
	value, critical, ok := extension(c, id)
	return ok && critical && bytes.Equal(value, want)
}

// The exact values (DER, X.690) of the extensions that have one.

func derLeafUsage() []byte      { return []byte{0x03, 0x02, 0x07, 0x80} }                // digitalSignature
func derIssuerUsage() []byte    { return []byte{0x03, 0x02, 0x01, 0x06} }                // keyCertSign, cRLSign
func derNotIssuer() []byte      { return []byte{0x30, 0x00} }                            // cA FALSE by default
func derIssuer(path int) []byte { return []byte{0x30, 6, 1, 1, 0xff, 2, 1, byte(path)} } // cA TRUE, pathLen

// derConstraints permits URIs of one host and says nothing else.
func derConstraints(host string) []byte {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(tagURI, func(b *cryptobyte.Builder) { b.AddBytes([]byte(host)) })
			})
		})
	})
	return b.BytesOrPanic() // a host is at most 253 bytes: there is no length to overflow
}

const tagURI = cbasn1.Tag(6) | 0x80 // uniformResourceIdentifier [6], RFC 5280 §4.2.1.6

// derUsages is an ExtKeyUsageSyntax of the given purposes.
func derUsages(ids ...asn1.ObjectIdentifier) []byte {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, id := range ids {
			b.AddASN1ObjectIdentifier(id)
		}
	})
	return b.BytesOrPanic()
}

// issuerCert is an authority's or a registrar's certificate that has passed.
type issuerCert struct {
	cert      *x509.Certificate
	host      string
	depth     int      // path length: 0 issues leaves only, 1 registrars too
	registrar bool     // else an authority, which grants any role
	roles     []string // what a registrar may grant
}

// checkIssuerCert holds the rules common to authorities and registrars.
func checkIssuerCert(c *x509.Certificate) (*issuerCert, error) {
	i := &issuerCert{cert: c}
	if err := checkIssuerKey(c); err != nil {
		return nil, err
	}
	switch {
	case isCritical(c, oidBasicConstraints(), derIssuer(0)):
		i.depth = 0
	case isCritical(c, oidBasicConstraints(), derIssuer(1)):
		i.depth = 1
	default:
		return nil, refuse(checkPathLength, "an issuer has critical basic constraints with a path length of 0 or 1")
	}
	if !isCritical(c, oidKeyUsage(), derIssuerUsage()) {
		return nil, refuse(checkKeyUsage, "an issuer's critical key usage is certificate signing and CRL signing, exactly")
	}
	host, ok := constrainedHost(c)
	if !ok {
		return nil, refuse(checkConstraints, "an issuer has critical name constraints that permit the URIs of one host and nothing else")
	}
	i.host = host
	if orgs := c.Subject.Organization; len(orgs) != 1 || orgs[0] != host {
		return nil, refuse(checkSubject, "the O of an issuer's subject is its permitted host")
	}
	if cn := c.Subject.CommonName; cn == "" || !isDisplayText(cn, maxCommonName) {
		return nil, refuse(checkSubject, "the CN of an issuer's subject is 1 to %d bytes of plain text: people see it", maxCommonName)
	}
	return i, nil
}

func constrainedHost(c *x509.Certificate) (string, bool) {
	if len(c.PermittedURIDomains) != 1 {
		return "", false
	}
	host := c.PermittedURIDomains[0]
	if CheckOrg(host) != nil || !isCritical(c, oidNameConstraints(), derConstraints(host)) {
		return "", false
	}
	return host, true
}

func checkIssuerKey(c *x509.Certificate) error {
	switch key := c.PublicKey.(type) {
	case ed25519.PublicKey:
		if err := CheckKey(Key(key)); err != nil {
			return refuse(checkCAKey, "the issuer's key cannot be used: %v", err)
		}
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P384() {
			return refuse(checkCAKey, "an issuer's ECDSA key is on P-384")
		}
	default:
		return refuse(checkCAKey, "an issuer's key is Ed25519 or ECDSA P-384, not %v", c.PublicKeyAlgorithm)
	}
	return nil
}

// checkAuthority holds the rules of a root: self-signed, and without an
// extended key usage, which would bind everything below it.
func checkAuthority(c *x509.Certificate) (*issuerCert, error) {
	i, err := checkIssuerCert(c)
	if err != nil {
		return nil, err
	}
	if checkSignedBy(c, c) != nil {
		return nil, refuse(checkSelfSigned, "an authority's certificate is signed by its own key")
	}
	if _, _, ok := extension(c, oidExtendedUsage()); ok {
		return nil, refuse(checkExtendedUsage, "an authority's certificate has no extended key usage")
	}
	return i, nil
}

// checkRegistrar holds the rules of an intermediate under root.
func checkRegistrar(c *x509.Certificate, root *issuerCert) (*issuerCert, error) {
	i, err := checkIssuerCert(c)
	if err != nil {
		return nil, err
	}
	if root.depth < 1 || i.depth != 0 {
		return nil, refuse(checkPathLength, "a registrar's path length is 0 and its authority's is 1")
	}
	if !isCritical(c, oidExtendedUsage(), derUsages(oidAdmissionUsage(), oidCredentialUsage())) {
		return nil, refuse(checkExtendedUsage, "a registrar's critical extended key usage is the two of this profile")
	}
	if i.host != root.host {
		return nil, refuse(checkHost, "a registrar's host is that of its authority")
	}
	if c.NotAfter.Sub(c.NotBefore) > MaxRegistrarValidity {
		return nil, refuse(checkRegistrarLife, "a registrar's certificate lasts 30 days at most")
	}
	i.registrar = true
	i.roles, err = parseGrant(c)
	return i, err
}

// parseGrant reads the roles that a registrar may grant: an octet string that
// holds a CBOR array of text. It is not critical, so that openssl can verify
// the chain, but it must be there.
func parseGrant(c *x509.Certificate) ([]string, error) {
	value, ok := octets(c, oidGrant())
	if !ok {
		return nil, refuse(checkGrant, "a registrar's certificate names the roles it may grant")
	}
	var roles []string
	if err := unmarshalCBOR(value, &roles); err != nil {
		return nil, refuse(checkGrant, "the registrar's roles are not in their one encoding: %v", err)
	}
	if err := checkRoleList(roles); err != nil {
		return nil, refuse(checkGrant, "%v", err)
	}
	return roles, nil
}

// octets returns the content of an extension whose value is one octet string.
func octets(c *x509.Certificate, id asn1.ObjectIdentifier) ([]byte, bool) {
	value, _, ok := extension(c, id)
	s := cryptobyte.String(value)
	var out cryptobyte.String
	if !ok || !s.ReadASN1(&out, cbasn1.OCTET_STRING) || !s.Empty() {
		return nil, false
	}
	return out, true
}

// checkLeaf holds the rules common to both leaves and returns the key.
func checkLeaf(c *x509.Certificate, issuer *issuerCert, usage asn1.ObjectIdentifier) (Key, error) {
	if basic, _, ok := extension(c, oidBasicConstraints()); ok && !bytes.Equal(basic, derNotIssuer()) {
		return Key{}, refuse(checkLeafCA, "a leaf issues nothing")
	}
	if !isCritical(c, oidKeyUsage(), derLeafUsage()) {
		return Key{}, refuse(checkKeyUsage, "a leaf's critical key usage is digital signature, exactly")
	}
	if !isCritical(c, oidExtendedUsage(), derUsages(usage)) {
		return Key{}, refuse(checkExtendedUsage, "a leaf's critical extended key usage is the one of its kind, exactly")
	}
	raw, ok := c.PublicKey.(ed25519.PublicKey)
	if !ok {
		return Key{}, refuse(checkLeafKey, "a leaf's key is Ed25519, not %v", c.PublicKeyAlgorithm)
	}
	if err := CheckKey(Key(raw)); err != nil {
		return Key{}, refuse(checkLeafKey, "the leaf's key cannot be used: %v", err)
	}
	if names := c.Subject.Names; len(names) != 1 || !names[0].Type.Equal(oidOrganisation()) || names[0].Value != any(issuer.host) {
		return Key{}, refuse(checkSubject, "a leaf's subject is O = the issuer's host, and nothing else")
	}
	return Key(raw), checkLeafLifetime(c, issuer)
}

func checkLeafLifetime(c *x509.Certificate, issuer *issuerCert) error {
	life := c.NotAfter.Sub(c.NotBefore)
	if issuer.registrar && life > MaxRegistrarLeafValidity {
		return refuse(checkRegistrarLeaf, "what a registrar issues lasts 7 days at most")
	}
	if life > MaxLeafValidity {
		return refuse(checkLeafLife, "a leaf lasts %d days at most", MaxLeafValidity/(24*time.Hour))
	}
	return nil
}

// altURIs returns the subject alternative names: URIs only, in the order of
// the certificate.
func altURIs(c *x509.Certificate, want int) ([]string, error) {
	value, _, ok := extension(c, oidAltName())
	if !ok {
		return nil, refuse(checkAltNameMissing, "a leaf has subject alternative names")
	}
	s := cryptobyte.String(value)
	var list cryptobyte.String
	if !s.ReadASN1(&list, cbasn1.SEQUENCE) || !s.Empty() {
		return nil, refuse(checkAltNameEncoding, "the subject alternative names are not well formed")
	}
	var out []string
	for !list.Empty() {
		var name cryptobyte.String
		var tag cbasn1.Tag
		if !list.ReadAnyASN1(&name, &tag) {
			return nil, refuse(checkAltNameEncoding, "the subject alternative names are not well formed")
		}
		if tag != tagURI {
			return nil, refuse(checkAltNameKind, "a subject alternative name is not a URI")
		}
		out = append(out, string(name))
	}
	if len(out) != want {
		return nil, refuse(checkAltNameCount, "%d subject alternative names instead of %d", len(out), want)
	}
	return out, nil
}

// hostURI splits one of our URIs and demands the issuer's own host, exactly: a
// name constraint would also admit hosts below it.
func hostURI(s string, issuer *issuerCert) (kind, value string, err error) {
	host, kind, value, ok := splitURI(s)
	if !ok {
		return "", "", refuse(checkURI, "a subject alternative name is not tocsin://<organisation>/<kind>/<value>")
	}
	if host != issuer.host {
		return "", "", refuse(checkHost, "a leaf names another organisation than its issuer may")
	}
	return kind, value, nil
}

// checkSignedBy checks names, algorithm and signature of child under parent.
func checkSignedBy(child, parent *x509.Certificate) error {
	if !bytes.Equal(child.RawIssuer, parent.RawSubject) {
		return refuse(checkIssuer, "the issuer's name is not that of the next certificate")
	}
	switch key := parent.PublicKey.(type) {
	case ed25519.PublicKey:
		if child.SignatureAlgorithm != x509.PureEd25519 {
			return refuse(checkAlgorithm, "the signature is not of the issuer's kind of key")
		}
		if VerifySignature(Key(key), "", child.RawTBSCertificate, child.Signature) != nil {
			return refuse(checkSignature, "the signature is not the issuer's")
		}
	case *ecdsa.PublicKey:
		if child.SignatureAlgorithm != x509.ECDSAWithSHA384 {
			return refuse(checkAlgorithm, "the signature is not of the issuer's kind of key")
		}
		digest := sha512.Sum384(child.RawTBSCertificate)
		if !ecdsa.VerifyASN1(key, digest[:], child.Signature) {
			return refuse(checkSignature, "the signature is not the issuer's")
		}
	default:
		return refuse(checkCAKey, "an issuer's key is Ed25519 or ECDSA P-384, not %v", parent.PublicKeyAlgorithm)
	}
	return nil
}

// checkNested demands that child lives within parent's life. Then a leaf's own
// times say whether the whole chain is valid, and an issuer cannot vouch for a
// time after its own end.
func checkNested(child, parent *x509.Certificate) error {
	if child.NotBefore.Before(parent.NotBefore) || child.NotAfter.After(parent.NotAfter) {
		return refuse(checkNesting, "a certificate outlives its issuer's")
	}
	return nil
}
