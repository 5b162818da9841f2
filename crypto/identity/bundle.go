package identity

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// MeshID names a mesh: SHA-256 of its genesis trust bundle, as encoded.
type MeshID [32]byte

// String returns the id in lower-case hexadecimal, 64 characters.
func (m MeshID) String() string { return hex.EncodeToString(m[:]) }

// Bundle is a trust bundle: the authorities that a mesh believes. Bundle 0,
// the genesis, founds the mesh and carries no signature: its hash *is* the
// mesh, and who joins takes that hash from the enrolment. Later bundles carry
// a number, the id of the one before, and signatures of a majority of the roots
// of the one before.
//
//	opaque Root<1..2^16-1>;                       /* DER of an authority's certificate */
//	struct { opaque root[32]; opaque signature<1..2^8-1>; } RootSignature;
//	struct {
//	    uint8  version = 1;
//	    uint64 number;
//	    select (number) { case 0: ; default: opaque mesh[32]; };
//	    opaque previous[32];                      /* zeros for 0 */
//	    uint64 created;                           /* seconds since 1970 */
//	    opaque name<1..2^8-1>;                    /* of the mesh, for people */
//	    Root   roots<1..2^24-1>;                  /* ascending as bytes, 1 to 64 */
//	    RootSignature signatures<0..2^16-1>;      /* none for 0; ascending by root */
//	} TrustBundle;
//
// A root is named by [IssuerKeyHash] and signs "tocsin/trust-bundle/v1\0" ‖
// everything before signatures. The id of a bundle is SHA-256 of it with
// signatures empty: who has signed does not change what is signed.
type Bundle struct {
	number     uint64
	mesh       MeshID // zero for 0
	previous   [32]byte
	name       string
	created    time.Time
	roots      roots
	signatures []rootSignature
	content    []byte // what is signed
	raw        []byte
}

type rootSignature struct {
	root      [32]byte
	signature []byte
}

// NewBundle makes the genesis bundle of a mesh. name is shown to people (1 to
// 128 bytes); created is kept to the second; each root must keep the profile
// of an authority.
func NewBundle(name string, created time.Time, roots ...*x509.Certificate) (*Bundle, error) {
	return newBundle(&Bundle{name: name, created: created}, roots)
}

// NextBundle makes the bundle that is to follow current, with the given roots
// and no signature yet: a majority of the roots of current adds theirs
// ([Authority.SignBundle]), and [BundleStatement] makes it a statement.
func NextBundle(current *Bundle, created time.Time, roots ...*x509.Certificate) (*Bundle, error) {
	if !created.Truncate(time.Second).After(current.created) {
		return nil, errors.New("identity: a trust bundle is made later than the one before it: look at the clock")
	}
	next := &Bundle{number: current.number + 1, mesh: current.MeshID(), previous: current.ID(), name: current.name, created: created}
	return newBundle(next, roots)
}

func newBundle(b *Bundle, roots []*x509.Certificate) (*Bundle, error) {
	if b.created.Unix() < 0 {
		return nil, errors.New("identity: a trust bundle is made after 1970: look at the clock")
	}
	ders := make([][]byte, 0, len(roots))
	for _, r := range roots {
		ders = append(ders, r.Raw)
	}
	slices.SortFunc(ders, bytes.Compare)
	raw, err := b.encode(ders)
	if err != nil {
		return nil, err
	}
	return ParseBundle(raw)
}

func (b *Bundle) encode(ders [][]byte) ([]byte, error) {
	var out cryptobyte.Builder
	out.AddUint8(1)
	out.AddUint64(b.number)
	if b.number != 0 {
		out.AddBytes(b.mesh[:])
	}
	out.AddBytes(b.previous[:])
	out.AddUint64(uint64(b.created.Unix()))
	out.AddUint8LengthPrefixed(func(out *cryptobyte.Builder) { out.AddBytes([]byte(b.name)) })
	out.AddUint24LengthPrefixed(func(out *cryptobyte.Builder) {
		for _, d := range ders {
			out.AddUint16LengthPrefixed(func(out *cryptobyte.Builder) { out.AddBytes(d) })
		}
	})
	out.AddUint16LengthPrefixed(func(out *cryptobyte.Builder) {
		for _, s := range b.signatures {
			out.AddBytes(s.root[:])
			out.AddUint8LengthPrefixed(func(out *cryptobyte.Builder) { out.AddBytes(s.signature) })
		}
	})
	raw, err := out.Bytes()
	if err != nil {
		return nil, fmt.Errorf("identity: the trust bundle cannot be encoded: %w", err)
	}
	return raw, nil
}

// SignBundle returns b with the signature of this authority added, or put in
// the place of an earlier one of its own.
func (a *Authority) SignBundle(b *Bundle) (*Bundle, error) {
	if b.number == 0 {
		return nil, errors.New("identity: the genesis bundle bears no signatures: its hash is the mesh")
	}
	sig, err := signAs(a.key, domainBundle, b.content, nil)
	if err != nil {
		return nil, err
	}
	next := *b
	hash := a.KeyHash()
	next.signatures = slices.DeleteFunc(slices.Clone(b.signatures), func(s rootSignature) bool { return s.root == hash })
	next.signatures = append(next.signatures, rootSignature{hash, sig})
	slices.SortFunc(next.signatures, func(x, y rootSignature) int { return bytes.Compare(x.root[:], y.root[:]) })
	ders := make([][]byte, 0, len(b.roots))
	for _, r := range b.roots {
		ders = append(ders, r.cert.Raw)
	}
	raw, err := next.encode(ders)
	if err != nil {
		return nil, err
	}
	return ParseBundle(raw)
}

// ParseBundle reads the form that [Bundle.Marshal] writes (≤256 KiB) and
// checks every root against the profile. The signatures of a later bundle are
// checked against the one before it, by [TrustStore.Take].
func ParseBundle(b []byte) (*Bundle, error) {
	if len(b) > MaxBundle {
		return nil, fmt.Errorf("identity: a trust bundle of %d bytes is over the limit of %d", len(b), MaxBundle)
	}
	out := &Bundle{raw: slices.Clone(b)}
	s := cryptobyte.String(out.raw)
	var version uint8
	var created uint64
	var name, roots, signatures cryptobyte.String
	if !s.ReadUint8(&version) || !s.ReadUint64(&out.number) {
		return nil, fmt.Errorf("identity: trust bundle: %w", errTruncated)
	}
	if version != 1 {
		return nil, fmt.Errorf("identity: a trust bundle of version %d is of a newer program: update this one", version)
	}
	if out.number != 0 && !s.CopyBytes(out.mesh[:]) ||
		!s.CopyBytes(out.previous[:]) || !s.ReadUint64(&created) || !s.ReadUint8LengthPrefixed(&name) || !s.ReadUint24LengthPrefixed(&roots) {
		return nil, fmt.Errorf("identity: trust bundle: %w", errTruncated)
	}
	out.content = out.raw[:len(out.raw)-len(s)]
	if !s.ReadUint16LengthPrefixed(&signatures) || !s.Empty() {
		return nil, fmt.Errorf("identity: trust bundle: %w", errTruncated)
	}
	if created > maxUnix || out.number == 0 && (out.previous != [32]byte{} || !signatures.Empty()) {
		return nil, errors.New("identity: a genesis trust bundle has no predecessor, no signatures and a sensible date")
	}
	if len(name) == 0 || !isDisplayText(string(name), maxName) {
		return nil, fmt.Errorf("identity: the name of a mesh is 1 to %d bytes of plain text", maxName)
	}
	out.name, out.created = string(name), time.Unix(int64(created), 0).UTC()
	if err := out.parseRoots(roots); err != nil {
		return nil, err
	}
	if err := out.parseSignatures(signatures); err != nil {
		return nil, err
	}
	return out, nil
}

func (b *Bundle) parseSignatures(list cryptobyte.String) error {
	for !list.Empty() {
		var s rootSignature
		var sig cryptobyte.String
		if len(b.signatures) == MaxRoots || !list.CopyBytes(s.root[:]) || !list.ReadUint8LengthPrefixed(&sig) || sig.Empty() {
			return fmt.Errorf("identity: the signatures of a trust bundle are cut short or more than %d", MaxRoots)
		}
		if n := len(b.signatures); n > 0 && bytes.Compare(b.signatures[n-1].root[:], s.root[:]) >= 0 {
			return errors.New("identity: the signatures of a trust bundle are sorted by root, and each root signs once")
		}
		s.signature = sig
		b.signatures = append(b.signatures, s)
	}
	return nil
}

// checkFollows demands that b follows current: its number, the id of the one
// before, and valid signatures of a majority of current's roots, and of nobody
// else.
func (b *Bundle) checkFollows(current *Bundle) error {
	if b.mesh != current.MeshID() {
		return refuseAs(ErrForeign, checkStatementMesh, "the trust bundle is that of another mesh")
	}
	if b.number <= current.number {
		return refuseAs(ErrRolledBack, checkBundleNumber, "trust bundle %d is known", current.number)
	}
	if b.number > current.number+1 {
		return refuseAs(ErrEarly, checkBundleGap, "trust bundle %d must come before %d", current.number+1, b.number)
	}
	if b.previous != current.ID() || !b.created.After(current.created) {
		return refuse(checkBundlePrevious, "the trust bundle does not follow the one in force")
	}
	for _, s := range b.signatures {
		root := current.root(s.root)
		if root == nil || b.created.After(root.cert.NotAfter) || verifyAs(root.cert, domainBundle, b.content, s.signature) != nil {
			return refuse(checkBundleSignature, "a signature of the trust bundle is not that of a root in force")
		}
	}
	if need := b.Needed(current); len(b.signatures) < need {
		return refuse(checkBundleMajority, "%d of the %d roots in force have signed the trust bundle, and %d are needed", len(b.signatures), len(current.roots), need)
	}
	return nil
}

// Needed returns how many roots of current must sign: more than half.
func (b *Bundle) Needed(current *Bundle) int {
	keys := map[[32]byte]bool{}
	for _, r := range current.roots {
		keys[IssuerKeyHash(r.cert)] = true
	}
	return len(keys)/2 + 1
}

// Signatures returns how many roots have signed, whether or not validly.
func (b *Bundle) Signatures() int { return len(b.signatures) }

// Number returns the bundle's number; 0 is the genesis.
func (b *Bundle) Number() uint64 { return b.number }

// ID returns SHA-256 of the bundle with its signatures left out. That of the
// genesis is the mesh id.
func (b *Bundle) ID() [32]byte {
	return sha256.Sum256(append(slices.Clone(b.content), 0, 0))
}

// root returns the root with the given key hash, or nil.
func (b *Bundle) root(hash [32]byte) *issuerCert {
	for _, r := range b.roots {
		if IssuerKeyHash(r.cert) == hash {
			return r
		}
	}
	return nil
}

var errNotGenesis = errors.New("identity: a trust store begins with the genesis bundle; later ones come as statements")

// maxUnix is the end of the year 9999, the last that a certificate can name.
const maxUnix = 253402300799

func (b *Bundle) parseRoots(list cryptobyte.String) error {
	var last []byte
	for !list.Empty() {
		var der cryptobyte.String
		if len(b.roots) == MaxRoots || !list.ReadUint16LengthPrefixed(&der) {
			return fmt.Errorf("identity: the roots of a trust bundle are cut short or more than %d", MaxRoots)
		}
		if bytes.Compare(last, der) >= 0 {
			return errors.New("identity: the roots of a trust bundle are sorted and each stands once")
		}
		last = der
		cert, err := parseCertificate(der)
		if err != nil {
			return fmt.Errorf("identity: root %d of the trust bundle: %w", len(b.roots)+1, err)
		}
		root, err := checkAuthority(cert)
		if err != nil {
			return fmt.Errorf("identity: root %d of the trust bundle: %w", len(b.roots)+1, err)
		}
		b.roots = append(b.roots, root)
	}
	if len(b.roots) == 0 {
		return errors.New("identity: a trust bundle names at least one authority")
	}
	return nil
}

// Marshal returns the one encoding of b.
func (b *Bundle) Marshal() []byte { return slices.Clone(b.raw) }

// MarshalPEM returns b as "TOCSIN TRUST BUNDLE".
func (b *Bundle) MarshalPEM() []byte { return encodePEM(pemBundle, b.raw) }

// ParseBundlePEM reads what [Bundle.MarshalPEM] wrote.
func ParseBundlePEM(text []byte) (*Bundle, error) {
	raw, err := decodePEM(pemBundle, text)
	if err != nil {
		return nil, err
	}
	return ParseBundle(raw)
}

// MeshID returns the id of the mesh: of bundle 0 its own, of a later one the
// id that it names.
func (b *Bundle) MeshID() MeshID {
	if b.number != 0 {
		return b.mesh
	}
	return sha256.Sum256(b.raw)
}

// Name returns the name of the mesh, for people.
func (b *Bundle) Name() string { return b.name }

// Created returns the time of making, to the second, in UTC.
func (b *Bundle) Created() time.Time { return b.created }

// Root is one authority of a bundle.
type Root struct {
	Org         string // the only organisation it can speak for
	Certificate *x509.Certificate
}

// Roots returns the authorities, in the order of the encoding.
func (b *Bundle) Roots() []Root {
	out := make([]Root, 0, len(b.roots))
	for _, r := range b.roots {
		out = append(out, Root{Org: r.host, Certificate: r.cert})
	}
	return out
}

// has reports whether c is one of the roots.
func (b *Bundle) has(c *x509.Certificate) bool {
	return slices.ContainsFunc(b.roots, func(r *issuerCert) bool { return r.cert.Equal(c) })
}
