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
// a number, the hash of the one before, and signatures of a majority of the
// roots of the one before; the encoding has room for them, and this version
// reads bundle 0 only.
//
//	opaque Root<1..2^16-1>;                       /* DER of an authority's certificate */
//	struct {
//	    uint8  version = 1;
//	    uint64 number;                            /* 0 */
//	    opaque previous[32];                      /* zeros for 0 */
//	    uint64 created;                           /* seconds since 1970 */
//	    opaque name<1..2^8-1>;                    /* of the mesh, for people */
//	    Root   roots<1..2^24-1>;                  /* ascending as bytes, 1 to 64 */
//	    RootSignature signatures<0..2^16-1>;      /* none for 0 */
//	} TrustBundle;
type Bundle struct {
	name    string
	created time.Time
	roots   []*issuerCert
	raw     []byte
}

// NewBundle makes the genesis bundle of a mesh. name is shown to people (1 to
// 128 bytes); created is kept to the second; each root must keep the profile
// of an authority.
func NewBundle(name string, created time.Time, roots ...*x509.Certificate) (*Bundle, error) {
	if created.Unix() < 0 {
		return nil, errors.New("identity: a trust bundle is made after 1970: look at the clock")
	}
	ders := make([][]byte, 0, len(roots))
	for _, r := range roots {
		ders = append(ders, r.Raw)
	}
	slices.SortFunc(ders, bytes.Compare)
	var b cryptobyte.Builder
	b.AddUint8(1)
	b.AddUint64(0)
	b.AddBytes(make([]byte, 32))
	b.AddUint64(uint64(created.Unix()))
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(name)) })
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, d := range ders {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(d) })
		}
	})
	b.AddUint16(0)
	raw, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("identity: the trust bundle cannot be encoded: %w", err)
	}
	return ParseBundle(raw)
}

// ParseBundle reads the form that [Bundle.Marshal] writes (≤256 KiB) and
// checks every root against the profile.
func ParseBundle(b []byte) (*Bundle, error) {
	if len(b) > MaxBundle {
		return nil, fmt.Errorf("identity: a trust bundle of %d bytes is over the limit of %d", len(b), MaxBundle)
	}
	s := cryptobyte.String(b)
	var version uint8
	var number, created uint64
	var previous [32]byte
	var name, roots, signatures cryptobyte.String
	if !s.ReadUint8(&version) || !s.ReadUint64(&number) || !s.CopyBytes(previous[:]) || !s.ReadUint64(&created) ||
		!s.ReadUint8LengthPrefixed(&name) || !s.ReadUint24LengthPrefixed(&roots) || !s.ReadUint16LengthPrefixed(&signatures) || !s.Empty() {
		return nil, fmt.Errorf("identity: trust bundle: %w", errTruncated)
	}
	if version != 1 || number != 0 {
		return nil, fmt.Errorf("identity: trust bundle %d of version %d: this program reads bundle 0 of version 1; use a newer program", number, version)
	}
	if previous != [32]byte{} || !signatures.Empty() || created > maxUnix {
		return nil, errors.New("identity: a genesis trust bundle has no predecessor, no signatures and a sensible date")
	}
	if len(name) == 0 || !isDisplayText(string(name), maxName) {
		return nil, fmt.Errorf("identity: the name of a mesh is 1 to %d bytes of plain text", maxName)
	}
	out := &Bundle{name: string(name), created: time.Unix(int64(created), 0).UTC(), raw: slices.Clone(b)}
	if err := out.parseRoots(roots); err != nil {
		return nil, err
	}
	return out, nil
}

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

// MeshID returns the id of the mesh that b founds.
func (b *Bundle) MeshID() MeshID { return sha256.Sum256(b.raw) }

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
