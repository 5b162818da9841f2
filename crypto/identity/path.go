package identity

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// How a chain hangs together: leaf, optional registrar, authority of the
// bundle. The chain is given, so nothing is searched: each certificate must be
// signed by the next, and the last by a root.

// path is a chain whose rules have all been checked, but for the time.
type path struct {
	leaf   *x509.Certificate
	key    Key // the leaf's
	issuer *issuerCert
	root   *issuerCert // above issuer, or issuer itself; nil when people vouch
}

// roots are authorities that are believed: those of the bundle in force, or of
// every bundle there was.
type roots []*issuerCert

// verifyPath checks a chain as DecodeChain gives it, with a leaf of the given
// kind. It reads no clock.
func (s roots) verifyPath(ders [][]byte, usage asn1.ObjectIdentifier) (*path, error) {
	leaf, err := parseCertificate(ders[0])
	if err != nil {
		return nil, err
	}
	issuer, root, err := s.verifyIssuer(leaf, ders[1:])
	if err != nil {
		return nil, err
	}
	if err := checkNested(leaf, issuer.cert); err != nil {
		return nil, err
	}
	key, err := checkLeaf(leaf, issuer, usage)
	if err != nil {
		return nil, err
	}
	return &path{leaf: leaf, key: key, issuer: issuer, root: root}, nil
}

// verifyIssuer returns the issuer of leaf, the registrar in above or a root,
// and the root.
func (s roots) verifyIssuer(leaf *x509.Certificate, above [][]byte) (issuer, root *issuerCert, err error) {
	if len(above) == 0 {
		root, err = s.rootOf(leaf)
		return root, root, err
	}
	registrar, root, err := s.registrar(above[0])
	if err != nil {
		return nil, nil, err
	}
	return registrar, root, checkSignedBy(leaf, registrar.cert)
}

// registrar checks an intermediate certificate and returns it with the root
// above it.
func (s roots) registrar(der []byte) (registrar, root *issuerCert, err error) {
	cert, err := parseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	if root, err = s.rootOf(cert); err != nil {
		return nil, nil, err
	}
	if registrar, err = checkRegistrar(cert, root); err != nil {
		return nil, nil, err
	}
	return registrar, root, checkNested(cert, root.cert)
}

// rootOf finds the root that signed c. Two roots may have one name: an
// authority that changes its key, or another mesh's namesake.
func (s roots) rootOf(c *x509.Certificate) (*issuerCert, error) {
	named := false
	for _, r := range s {
		if !bytes.Equal(c.RawIssuer, r.cert.RawSubject) {
			continue
		}
		named = true
		if checkSignedBy(c, r.cert) == nil {
			return r, nil
		}
	}
	if named {
		return nil, refuseAs(ErrForeign, checkSignature, "an authority of this mesh has the issuer's name, but did not sign")
	}
	return nil, refuseAs(ErrForeign, checkIssuer, "the issuer is not in the trust bundle")
}

// above is what a credential or admission leaf hangs on, in words that
// statements use. Both are zero when people vouch.
type above struct {
	root, registrar [32]byte // [IssuerKeyHash]
	registrarEnd    time.Time
}

func (p *path) above() above {
	var a above
	if p.root != nil {
		a.root = IssuerKeyHash(p.root.cert)
	}
	if p.issuer.registrar {
		a.registrar, a.registrarEnd = IssuerKeyHash(p.issuer.cert), p.issuer.cert.NotAfter
	}
	return a
}

// admission reads the admission leaf's own content.
func (p *path) admission() (*Admission, error) {
	uris, err := altURIs(p.leaf, 1)
	if err != nil {
		return nil, err
	}
	kind, value, err := hostURI(uris[0], p.issuer)
	if err != nil {
		return nil, err
	}
	id := peerIDOf(p.key)
	if kind != "peer" || value != id.String() {
		return nil, refuse(checkPeer, "the admission leaf names another peer than its key makes")
	}
	if _, _, ok := extension(p.leaf, oidClaims()); ok {
		return nil, refuse(checkLeak, "the admission leaf carries claims: strangers would read them")
	}
	ticket, ok := octets(p.leaf, oidTicketKey())
	if !ok || len(ticket) != 32 {
		return nil, refuse(checkTicketKey, "the admission leaf carries the 32-byte hash of the key that signs tickets")
	}
	return &Admission{
		Form: FormChain, Org: p.issuer.host, Peer: id, TicketKey: [32]byte(ticket),
		NotBefore: p.leaf.NotBefore, NotAfter: p.leaf.NotAfter, above: p.above(),
	}, nil
}

// credential reads the credential leaf's own content.
func (p *path) credential() (*Credential, error) {
	c := &Credential{
		Form: FormChain, SigningKey: p.key, Device: DeviceID(p.key),
		Issuer: p.issuer.cert.Subject.CommonName, Registrar: p.issuer.registrar,
		NotBefore: p.leaf.NotBefore, NotAfter: p.leaf.NotAfter, above: p.above(),
	}
	transport, err := p.names(c)
	if err != nil {
		return nil, err
	}
	raw, ok := octets(p.leaf, oidClaims())
	if !ok {
		return nil, refuse(checkClaims, "the credential has no claims")
	}
	claims, err := parseClaims(raw)
	if err != nil {
		return nil, err
	}
	c.Claims = claims
	if err := p.checkKeysAndRoles(c, transport); err != nil {
		return nil, err
	}
	return c, nil
}

// names reads the three URIs, person, device, peer, in this order, and returns
// the transport key that the last one spells out.
func (p *path) names(c *Credential) (Key, error) {
	uris, err := altURIs(p.leaf, 3)
	if err != nil {
		return Key{}, err
	}
	var kinds, values [3]string
	for i, u := range uris {
		if kinds[i], values[i], err = hostURI(u, p.issuer); err != nil {
			return Key{}, err
		}
	}
	c.Person = Person{Org: p.issuer.host, Regulator: kinds[0], Number: values[0]}
	if c.Person.Validate() != nil {
		return Key{}, refuse(checkPerson, "the first name of a credential is that of a person")
	}
	if kinds[1] != "device" || values[1] != c.Device {
		return Key{}, refuse(checkDevice, "the second name of a credential is the device that its key makes")
	}
	id, err := peer.Decode(values[2])
	if err != nil || kinds[2] != "peer" || id.String() != values[2] {
		return Key{}, refuse(checkPeer, "the third name of a credential is a peer")
	}
	transport, err := PeerKey(id)
	if err != nil {
		return Key{}, refuse(checkPeer, "the peer of a credential cannot be used: %v", err)
	}
	c.Peer = id
	return transport, nil
}

func (p *path) checkKeysAndRoles(c *Credential, transport Key) error {
	if transport == c.SigningKey || transport == c.Claims.Witness || c.SigningKey == c.Claims.Witness {
		return refuse(checkDistinct, "one key serves two purposes")
	}
	if !p.issuer.registrar {
		return nil // an authority grants any role
	}
	for _, r := range c.Claims.Roles {
		if !slices.Contains(p.issuer.roles, r) {
			return refuse(checkRoles, "a role is not among those that the registrar may grant")
		}
	}
	return nil
}
