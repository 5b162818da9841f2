package identity

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Kind says what a statement states. STATEMENTS.md has the bytes of each.
type Kind uint8

// The kinds of statement. Evolution: a new kind gets a new number, and old
// programs refuse it; the bytes of a kind never change.
const (
	KindCRL           Kind = 1 // devices and registrars are revoked
	KindWipe          Kind = 2 // one device is to erase itself
	KindReceipt       Kind = 3 // a device has erased itself
	KindDeclaration   Kind = 4 // an incident begins or ends
	KindSponsorRevoke Kind = 5 // one who vouched takes it back
	KindBundle        Kind = 6 // a later trust bundle
	KindMeshKey       Kind = 7 // a page of a new mesh key
	KindGroupAdmin    Kind = 8 // a group without admin gets one
)

// String returns the word for k, for logs.
func (k Kind) String() string {
	words := [...]string{"", "crl", "wipe", "receipt", "declaration", "sponsor-revoke", "bundle", "mesh-key", "group-admin"}
	if k == 0 || int(k) >= len(words) {
		return "unknown"
	}
	return words[k]
}

// voiceKind says whose signature a statement bears.
type voiceKind uint8

const (
	byRoots     voiceKind = 0 // a bundle: signed inside, by several
	byAuthority voiceKind = 1 // signer is the authority's key hash
	byRegistrar voiceKind = 2 // signer is the registrar's certificate, DER
	byDevice    voiceKind = 3 // signer is a credential; signed by its signing key
	byWitness   voiceKind = 4 // signer is a credential; signed by its witness key
)

// statement is the frame of every statement:
//
//	struct {
//	    uint8  version = 1;
//	    uint8  kind;
//	    opaque mesh[32];
//	    uint64 time;                        /* seconds since 1970; a CRL's thisUpdate */
//	    uint8  by;
//	    opaque signer<0..2^16-1>;           /* by 0: empty, 1: key hash, 2: certificate, 3 and 4: credential */
//	    opaque body<0..2^16-1>;             /* of the kind */
//	} StatementBody;
//	struct { StatementBody signed; opaque signature<0..2^8-1>; } Statement;    /* ≤60 KiB */
//
// The signature is over "tocsin/statement/v1\0" ‖ signed: Ed25519, or ECDSA
// P-384 with SHA-384, DER, with the lower of the two values of s. A statement is
// known by SHA-256(signed), so that signing again makes no second one.
type statement struct {
	kind      Kind
	mesh      MeshID
	time      uint64
	by        voiceKind
	signer    []byte
	body      []byte
	signature []byte
}

func (st *statement) signed() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(1)
	b.AddUint8(uint8(st.kind))
	b.AddBytes(st.mesh[:])
	b.AddUint64(st.time)
	b.AddUint8(uint8(st.by))
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(st.signer) })
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(st.body) })
	out, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("identity: the statement cannot be encoded: %w", err)
	}
	return out, nil
}

func (st *statement) marshal() ([]byte, error) {
	signed, err := st.signed()
	if err != nil {
		return nil, err
	}
	if len(st.signature) > 255 {
		return nil, refuse(checkStatementEncoding, "a signature of %d bytes", len(st.signature))
	}
	raw := append(append(signed, byte(len(st.signature))), st.signature...)
	if len(raw) > MaxStatement {
		return nil, refuse(checkStatementSize, "a statement of %d bytes is over the limit of %d", len(raw), MaxStatement)
	}
	return raw, nil
}

// parseStatement reads the frame. The result shares no memory with raw.
func parseStatement(raw []byte) (*statement, error) {
	if len(raw) > MaxStatement {
		return nil, refuse(checkStatementSize, "a statement of %d bytes is over the limit of %d", len(raw), MaxStatement)
	}
	s := cryptobyte.String(slices.Clone(raw))
	var version, kind, by uint8
	var signer, body, signature cryptobyte.String
	st := &statement{}
	if !s.ReadUint8(&version) || !s.ReadUint8(&kind) || !s.CopyBytes(st.mesh[:]) || !s.ReadUint64(&st.time) || !s.ReadUint8(&by) ||
		!s.ReadUint16LengthPrefixed(&signer) || !s.ReadUint16LengthPrefixed(&body) || !s.ReadUint8LengthPrefixed(&signature) || !s.Empty() {
		return nil, refuse(checkStatementEncoding, "the statement is cut short or has bytes after its end")
	}
	if version != 1 || kind == 0 || Kind(kind) > KindGroupAdmin || st.time > maxUnix {
		return nil, refuse(checkStatementEncoding, "a statement of version %d and kind %d, which this program does not know", version, kind)
	}
	st.kind, st.by = Kind(kind), voiceKind(by)
	st.signer, st.body, st.signature = signer, body, signature
	return st, nil
}

// StatementKind reads the kind from the frame of a statement, and checks the
// frame only.
func StatementKind(raw []byte) (Kind, error) {
	st, err := parseStatement(raw)
	if err != nil {
		return 0, err
	}
	return st.kind, nil
}

func (st *statement) at() time.Time { return time.Unix(int64(st.time), 0).UTC() }

// sign makes a statement of an issuer.
func (a *issuer) statement(kind Kind, mesh MeshID, at time.Time, body []byte, random io.Reader) ([]byte, error) {
	if at.Unix() < 0 {
		return nil, fmt.Errorf("identity: the clock says %s: set it first", at.UTC().Format(time.RFC3339))
	}
	st := &statement{kind: kind, mesh: mesh, time: uint64(at.Unix()), by: byAuthority, body: body}
	hash := a.KeyHash()
	st.signer = hash[:]
	if a.self.registrar {
		st.by, st.signer = byRegistrar, a.self.cert.Raw
	}
	signed, err := st.signed()
	if err != nil {
		return nil, err
	}
	if st.signature, err = signAs(a.key, domainStatement, signed, random); err != nil {
		return nil, err
	}
	return st.marshal()
}

// deviceStatement makes a statement of a device, by its signing or witness key.
func deviceStatement(kind Kind, mesh MeshID, at time.Time, by voiceKind, c *Credential, key ed25519.PrivateKey, body []byte) ([]byte, error) {
	if at.Unix() < 0 {
		return nil, fmt.Errorf("identity: the clock says %s: set it first", at.UTC().Format(time.RFC3339))
	}
	st := &statement{kind: kind, mesh: mesh, time: uint64(at.Unix()), by: by, signer: []byte(c.Raw), body: body}
	signed, err := st.signed()
	if err != nil {
		return nil, err
	}
	st.signature = Sign(key, domainStatement, signed)
	return st.marshal()
}

// signAs signs domain ‖ message with an issuer's key: Ed25519 over the bytes,
// or ECDSA P-384 over their SHA-384 with the lower s.
func signAs(key crypto.Signer, domain Domain, message []byte, random io.Reader) ([]byte, error) {
	if random == nil {
		random = rand.Reader
	}
	input := join(domain, message)
	public, ok := key.Public().(*ecdsa.PublicKey)
	if !ok {
		sig, err := key.Sign(random, input, crypto.Hash(0))
		if err != nil {
			return nil, fmt.Errorf("identity: the issuer's key does not sign: %w", err)
		}
		return sig, nil
	}
	digest := sha512.Sum384(input)
	sig, err := key.Sign(random, digest[:], crypto.SHA384)
	if err != nil {
		return nil, fmt.Errorf("identity: the issuer's key does not sign: %w", err)
	}
	r, s, ok := parseECDSA(sig)
	if !ok {
		return nil, fmt.Errorf("identity: the issuer's key makes signatures that are not ECDSA in DER")
	}
	if order := public.Curve.Params().N; s.Cmp(new(big.Int).Rsh(order, 1)) > 0 {
		s.Sub(order, s)
	}
	return marshalECDSA(r, s)
}

// verifyAs is the inverse of signAs. A signature has one encoding: without the
// demand for the lower s anyone could make a second one.
func verifyAs(cert *x509.Certificate, domain Domain, message, signature []byte) error {
	switch key := cert.PublicKey.(type) {
	case ed25519.PublicKey:
		return VerifySignature(Key(key), domain, message, signature)
	case *ecdsa.PublicKey:
		r, s, ok := parseECDSA(signature)
		if !ok || s.Cmp(new(big.Int).Rsh(key.Curve.Params().N, 1)) > 0 {
			return ErrSignature
		}
		if again, err := marshalECDSA(r, s); err != nil || !bytes.Equal(again, signature) {
			return ErrSignature
		}
		digest := sha512.Sum384(join(domain, message))
		if !ecdsa.VerifyASN1(key, digest[:], signature) {
			return ErrSignature
		}
		return nil
	}
	return ErrSignature
}

func parseECDSA(sig []byte) (r, s *big.Int, ok bool) {
	in := cryptobyte.String(sig)
	var inner cryptobyte.String
	r, s = new(big.Int), new(big.Int)
	ok = in.ReadASN1(&inner, cbasn1.SEQUENCE) && in.Empty() && inner.ReadASN1Integer(r) && inner.ReadASN1Integer(s) && inner.Empty()
	return r, s, ok && r.Sign() > 0 && s.Sign() > 0
}

func marshalECDSA(r, s *big.Int) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1BigInt(r)
		b.AddASN1BigInt(s)
	})
	return b.Bytes()
}

// voice is the verified signer of a statement.
type voice struct {
	kind       voiceKind
	key, root  [32]byte    // issuers: [IssuerKeyHash], and that of the authority above or the same
	issuer     *issuerCert // of issuers
	credential *Credential // of devices
	org, name  string
}

// mayState says who may make which kind of statement.
func mayState(k Kind, by voiceKind) bool {
	switch k {
	case KindCRL, KindWipe, KindDeclaration:
		return by == byAuthority || by == byRegistrar
	case KindMeshKey, KindGroupAdmin:
		return by == byAuthority
	case KindSponsorRevoke:
		return by == byDevice
	case KindReceipt:
		return by == byWitness
	case KindBundle:
		return by == byRoots
	}
	return false
}

// hear finds and verifies the signer of a statement. s.mu is held.
func (s *TrustStore) hear(st *statement, now time.Time) (*voice, error) {
	if !mayState(st.kind, st.by) {
		return nil, refuseAs(ErrBeyond, checkStatementPower, "a %s is not for this kind of signer to state", st.kind)
	}
	v := &voice{kind: st.by}
	var err error
	switch st.by {
	case byRoots:
		if len(st.signer) != 0 || len(st.signature) != 0 {
			return nil, refuse(checkStatementEncoding, "a trust bundle bears its signatures inside")
		}
		return v, nil
	case byAuthority:
		err = s.hearAuthority(v, st)
	case byRegistrar:
		err = s.hearRegistrar(v, st, now)
	default:
		return v, s.hearDevice(v, st)
	}
	if err != nil {
		return nil, err
	}
	signed, err := st.signed()
	if err != nil {
		return nil, err
	}
	if verifyAs(v.issuer.cert, domainStatement, signed, st.signature) != nil {
		return nil, refuse(checkStatementSignature, "the signature of the statement does not verify")
	}
	v.key, v.org, v.name = IssuerKeyHash(v.issuer.cert), v.issuer.host, v.issuer.cert.Subject.CommonName
	if c := v.issuer.cert; st.at().Before(c.NotBefore) || st.at().After(c.NotAfter) {
		return nil, refuseAs(ErrExpired, checkStatementTime, "the statement is dated outside of its signer's certificate")
	}
	return v, nil
}

func (s *TrustStore) hearAuthority(v *voice, st *statement) error {
	if len(st.signer) != sha256.Size {
		return refuse(checkStatementEncoding, "an authority is named by the 32-byte hash of its key")
	}
	hash := [32]byte(st.signer)
	for _, r := range s.state.everRoots {
		if IssuerKeyHash(r.cert) == hash {
			v.issuer = r
		}
	}
	v.root = hash
	switch {
	case v.issuer == nil:
		return refuseAs(ErrForeign, checkStatementSigner, "the signer is no authority of this mesh")
	case !s.state.inForce(hash):
		return refuseAs(ErrRevoked, checkWithdrawn, "the trust bundle in force no longer names the signer")
	}
	return nil
}

// hearRegistrar demands that the registrar's certificate holds now: after its
// end a stolen key could date statements back into its life.
func (s *TrustStore) hearRegistrar(v *voice, st *statement, now time.Time) error {
	registrar, root, err := s.state.everRoots.registrar(st.signer)
	if err != nil {
		return err
	}
	if !s.state.inForce(IssuerKeyHash(root.cert)) {
		return refuseAs(ErrRevoked, checkWithdrawn, "the trust bundle in force no longer names the registrar's authority")
	}
	if s.state.registrarRevoked(root.host, IssuerKeyHash(registrar.cert)) {
		return refuseAs(ErrRevoked, checkRegistrarRevoked, "the registrar is revoked")
	}
	if end := registrar.cert.NotAfter; now.After(end) {
		return refuseAs(ErrExpired, checkStatementTime, "the registrar's certificate ended on %s: the authority must say it", end.UTC().Format(time.RFC3339))
	}
	v.issuer, v.root = registrar, IssuerKeyHash(root.cert)
	return nil
}

func (s *TrustStore) hearDevice(v *voice, st *statement) error {
	c, err := s.state.everRoots.readCredential(st.signer)
	if err != nil {
		return err
	}
	key := c.SigningKey
	if st.by == byWitness {
		key = c.Claims.Witness
	}
	signed, err := st.signed()
	if err != nil {
		return err
	}
	if VerifySignature(key, domainStatement, signed, st.signature) != nil {
		return refuse(checkStatementSignature, "the signature of the statement does not verify")
	}
	v.credential, v.org, v.name = c, c.Person.Org, c.Claims.Name
	return nil
}
