package identity

import (
	"crypto/hpke"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// Enrolment is what an authority gives back for a request, or people who
// vouch: both leaves, the genesis trust bundle, the mesh key sealed to the
// applicant's bundle key, and the statements in force. It
// names a person, and holds nothing secret to anyone but the applicant.
//
//	struct {
//	    uint8  version = 1;
//	    opaque admission<1..2^16-1>;          /* Chain, or of the sponsored form */
//	    opaque credential<1..2^16-1>;         /* Credential */
//	    opaque bundle<1..2^24-1>;             /* TrustBundle */
//	    opaque sealed_mesh_key<0..2^16-1>;    /* empty for a relay and for break-glass */
//	    Statement statements<0..2^24-1>;      /* each opaque<1..2^16-1>; later bundles, CRLs … */
//	} Enrolment;
//
// sealed_mesh_key is HPKE (MLKEM768-X25519, HKDF-SHA256, AES-256-GCM, base
// mode, RFC 9180) enc ‖ ciphertext of the 32-byte key, with info = "tocsin/1
// mesh key" ‖ mesh id ‖ signing key.
type Enrolment struct {
	Admission     []byte
	Credential    []byte
	Bundle        []byte
	SealedMeshKey []byte
	Statements    [][]byte
}

// AssembleEnrolment joins leaves that were issued for req, by [Authority.Issue]
// or by another tool with the profile of [Request.OpenSSLConfig], to an
// enrolment. admission and credential are chains of DER, leaf first, root left
// out. Both are checked with the verifier, at the start of their own validity,
// and against the request. The statements in force go along; later bundles
// must be among them if one of those names the authority.
func AssembleEnrolment(req *Request, bundle *Bundle, meshKey [32]byte, admission, credential [][]byte, statements ...[]byte) (*Enrolment, error) {
	adm, err := EncodeChain(admission)
	if err != nil {
		return nil, err
	}
	cred, err := EncodeChain(credential)
	if err != nil {
		return nil, err
	}
	e := &Enrolment{Admission: adm, Credential: encodeCredential(cred), Bundle: bundle.Marshal(), Statements: statements}
	c, err := e.checkFor(req)
	if err != nil {
		return nil, err
	}
	if c.Claims.Relay {
		return e, nil
	}
	if e.SealedMeshKey, err = sealMeshKey(meshKey, bundle.MeshID(), c); err != nil {
		return nil, err
	}
	return e, nil
}

// checkFor verifies e as the answer to req, at the start of its own validity.
func (e *Enrolment) checkFor(req *Request) (*Credential, error) {
	bundle, err := ParseBundle(e.Bundle)
	if err != nil {
		return nil, err
	}
	store, err := NewTrustStore(bundle)
	if err != nil {
		return nil, err
	}
	probe, err := readNotBefore(e.Credential)
	if err != nil {
		return nil, err
	}
	if err := e.takeStatements(store, probe.Add(Backdate)); err != nil {
		return nil, err
	}
	c, err := e.check(store, req.transport, req.signing, nil)
	if err != nil {
		return nil, err
	}
	asked := req.wish
	if c.Person != asked.Person || c.Claims.Witness != asked.Claims.Witness || c.Claims.Bundle != asked.Claims.Bundle {
		return nil, errors.New("identity: the credential is not for the person and keys of the request")
	}
	return c, nil
}

// readNotBefore returns when the leaf of a credential begins, before anything
// else is known of it.
func readNotBefore(credential []byte) (time.Time, error) {
	chain, sp, err := decodeCredential(credential)
	if err != nil {
		return time.Time{}, err
	}
	var leaf []byte
	if sp != nil {
		leaf = sp.leaf
	} else {
		ders, err := DecodeChain(chain)
		if err != nil {
			return time.Time{}, err
		}
		leaf = ders[0]
	}
	cert, err := parseCertificate(leaf)
	if err != nil {
		return time.Time{}, err
	}
	return cert.NotBefore, nil
}

// takeStatements has store take what came along.
func (e *Enrolment) takeStatements(store *TrustStore, at time.Time) error {
	for _, raw := range e.Statements {
		_, err := store.Take(raw, at)
		if err != nil && !isOvertaken(err) {
			return fmt.Errorf("identity: a statement of the enrolment: %w", err)
		}
	}
	return nil
}

func sealMeshKey(key [32]byte, mesh MeshID, c *Credential) ([]byte, error) {
	if key == [32]byte{} {
		return nil, errors.New("identity: a mesh key is needed to enrol a clinician: give the one of the mesh")
	}
	to, err := hpke.MLKEM768X25519().NewPublicKey([]byte(c.Claims.Bundle))
	if err != nil {
		return nil, fmt.Errorf("identity: the bundle key cannot be used: %w", err)
	}
	sealed, err := hpke.Seal(to, hpke.HKDFSHA256(), hpke.AES256GCM(), meshKeyInfo(mesh, c.SigningKey), key[:])
	if err != nil {
		return nil, fmt.Errorf("identity: the mesh key cannot be sealed: %w", err)
	}
	return sealed, nil
}

func meshKeyInfo(mesh MeshID, signing Key) []byte {
	info := append([]byte(labelMeshKey), mesh[:]...)
	return append(info, signing[:]...)
}

// check verifies both leaves under store and that they are for the given keys.
// With at nil it looks at no clock but the leaves' own.
func (e *Enrolment) check(store *TrustStore, transport, signing Key, at *time.Time) (*Credential, error) {
	c, err := store.ReadCredential(e.Credential)
	if err != nil {
		return nil, fmt.Errorf("identity: the enrolment's credential: %w", err)
	}
	when := c.NotBefore
	if at != nil {
		when = *at
	}
	if err := c.ValidAt(when); err != nil {
		return nil, fmt.Errorf("identity: the enrolment's credential: %w", err)
	}
	id := peerIDOf(transport)
	a, err := store.VerifyAdmission(e.Admission, id, when)
	if err != nil {
		return nil, fmt.Errorf("identity: the enrolment's admission leaf: %w", err)
	}
	if c.SigningKey != signing || c.Peer != id || a.TicketKey != TicketKey(signing) || a.Org != c.Person.Org {
		return nil, errors.New("identity: the enrolment is for other keys than this device's: was the request made on another device?")
	}
	return c, nil
}

// Accept checks an enrolment as the applicant: that its bundle vouches for
// both leaves at the given time, that they are for this device's keys, and
// that the mesh key opens, which it puts into vault. It cannot know that the
// mesh is the right one: show the mesh id and let the person compare.
func (e *Enrolment) Accept(relay *RelayKeys, vault *VaultKeys, at time.Time) (*TrustStore, *Credential, error) {
	bundle, err := ParseBundle(e.Bundle)
	if err != nil {
		return nil, nil, err
	}
	store, err := NewTrustStore(bundle)
	if err != nil {
		return nil, nil, err
	}
	if err := e.takeStatements(store, at); err != nil {
		return nil, nil, err
	}
	c, err := e.check(store, KeyOf(relay.Transport), KeyOf(vault.Signing), &at)
	if err != nil {
		return nil, nil, err
	}
	if c.Claims.Relay || c.BreakGlass {
		return store, c, nil
	}
	key, err := e.OpenMeshKey(vault)
	if err != nil {
		return nil, nil, err
	}
	vault.MeshKey = key
	return store, c, nil
}

// OpenMeshKey opens the mesh key with the bundle key of k. That it opens is
// the proof that k is the applicant. The enrolments of relays and of
// break-glass have no mesh key.
func (e *Enrolment) OpenMeshKey(k *VaultKeys) ([32]byte, error) {
	if len(e.SealedMeshKey) == 0 {
		return [32]byte{}, errors.New("identity: the enrolment carries no mesh key: it is a relay's, or break-glass")
	}
	bundle, err := ParseBundle(e.Bundle)
	if err != nil {
		return [32]byte{}, err
	}
	info := meshKeyInfo(bundle.MeshID(), KeyOf(k.Signing))
	key, err := hpke.Open(k.Bundle, hpke.HKDFSHA256(), hpke.AES256GCM(), info, e.SealedMeshKey)
	if err != nil || len(key) != 32 || [32]byte(key) == [32]byte{} {
		return [32]byte{}, errors.New("identity: the mesh key does not open with this device's keys: ask the authority for a new enrolment")
	}
	return [32]byte(key), nil
}

// Marshal returns the one encoding of e.
func (e *Enrolment) Marshal() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(1)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(e.Admission) })
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(e.Credential) })
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(e.Bundle) })
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(e.SealedMeshKey) })
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, st := range e.Statements {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(st) })
		}
	})
	out, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("identity: the enrolment cannot be encoded: %w", err)
	}
	return out, nil
}

// ParseEnrolment reads the form that [Enrolment.Marshal] writes. It checks the
// framing and the parts' own encodings; [Enrolment.Accept] checks the rest.
func ParseEnrolment(raw []byte) (*Enrolment, error) {
	if len(raw) > MaxEnrolment {
		return nil, fmt.Errorf("identity: an enrolment of %d bytes is over the limit of %d", len(raw), MaxEnrolment)
	}
	s := cryptobyte.String(slices.Clone(raw))
	var version uint8
	var adm, cred, bundle, sealed, statements cryptobyte.String
	if !s.ReadUint8(&version) || !s.ReadUint16LengthPrefixed(&adm) || !s.ReadUint16LengthPrefixed(&cred) ||
		!s.ReadUint24LengthPrefixed(&bundle) || !s.ReadUint16LengthPrefixed(&sealed) || !s.ReadUint24LengthPrefixed(&statements) || !s.Empty() {
		return nil, fmt.Errorf("identity: enrolment: %w", errTruncated)
	}
	if version != 1 {
		return nil, fmt.Errorf("identity: an enrolment of version %d is newer than this program", version)
	}
	if len(sealed) > maxSealedKey || len(adm) > MaxAdmission || len(statements) > maxEnrolmentStatements {
		return nil, errors.New("identity: a part of the enrolment is over its limit")
	}
	if _, ok, err := decodeSponsoredAdmission(adm); err != nil {
		return nil, fmt.Errorf("identity: enrolment: %w", err)
	} else if !ok {
		if _, err := DecodeChain(adm); err != nil {
			return nil, fmt.Errorf("identity: enrolment: %w", err)
		}
	}
	if _, _, err := decodeCredential(cred); err != nil {
		return nil, fmt.Errorf("identity: enrolment: %w", err)
	}
	if _, err := ParseBundle(bundle); err != nil {
		return nil, fmt.Errorf("identity: enrolment: %w", err)
	}
	e := &Enrolment{Admission: adm, Credential: cred, Bundle: bundle, SealedMeshKey: sealed}
	for !statements.Empty() {
		var st cryptobyte.String
		if !statements.ReadUint16LengthPrefixed(&st) {
			return nil, fmt.Errorf("identity: enrolment: %w", errTruncated)
		}
		if _, err := parseStatement(st); err != nil {
			return nil, fmt.Errorf("identity: enrolment: %w", err)
		}
		e.Statements = append(e.Statements, st)
	}
	return e, nil
}

// MarshalPEM returns e as "TOCSIN ENROLMENT".
func (e *Enrolment) MarshalPEM() ([]byte, error) {
	raw, err := e.Marshal()
	if err != nil {
		return nil, err
	}
	return encodePEM(pemEnrolment, raw), nil
}

// ParseEnrolmentPEM reads what [Enrolment.MarshalPEM] wrote.
func ParseEnrolmentPEM(text []byte) (*Enrolment, error) {
	raw, err := decodePEM(pemEnrolment, text)
	if err != nil {
		return nil, err
	}
	return ParseEnrolment(raw)
}
