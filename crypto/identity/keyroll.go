package identity

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// KeyRoll says that a person's device goes on with new keys, in a new log. The
// old signing key signs the new credential, and the new one signs back, so that
// neither can be claimed without the other.
type KeyRoll struct {
	Old, New   Key
	Credential *Credential // of the new keys
}

// NewKeyRoll makes a key roll:
//
//	struct { uint8 version = 1; opaque old[32]; opaque credential<1..2^16-1>; } Roll;
//	struct { Roll roll; opaque by_old[64]; opaque by_new[64]; } KeyRoll;
//
// by_old is over "tocsin/key-roll/v1\0" ‖ SHA-256(roll), by_new over
// "tocsin/key-roll-back/v1\0" ‖ SHA-256(roll).
func NewKeyRoll(old, new ed25519.PrivateKey, newCredential []byte) ([]byte, error) {
	if KeyOf(old) == KeyOf(new) {
		return nil, errors.New("identity: a key roll is to another key")
	}
	roll, err := encodeRoll(KeyOf(old), newCredential)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(roll)
	roll = append(roll, Sign(old, domainKeyRoll, digest[:])...)
	return append(roll, Sign(new, domainKeyRollBack, digest[:])...), nil
}

func encodeRoll(old Key, credential []byte) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(1)
	b.AddBytes(old[:])
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(credential) })
	out, err := b.Bytes()
	if err != nil || len(credential) > MaxCredential {
		return nil, fmt.Errorf("identity: the key roll cannot be encoded: a credential of %d bytes", len(credential))
	}
	return out, nil
}

// VerifyKeyRoll checks a key roll of the device whose credential is old: both
// signatures, and that the new credential is of the same person. A device that
// has been taken out rolls no more: its key may be a thief's. The error wraps
// [ErrRefused], [ErrForeign] or [ErrRevoked].
func (s *TrustStore) VerifyKeyRoll(raw []byte, old *Credential) (*KeyRoll, error) {
	bad := refuse(checkRollEncoding, "the key roll is cut short, has bytes after its end or is of another version")
	if len(raw) > MaxCredential+256 {
		return nil, bad
	}
	in := cryptobyte.String(slices.Clone(raw))
	var version uint8
	var credential cryptobyte.String
	var byOld, byNew [ed25519.SignatureSize]byte
	r := &KeyRoll{}
	if !in.ReadUint8(&version) || version != 1 || !in.CopyBytes(r.Old[:]) || !in.ReadUint16LengthPrefixed(&credential) {
		return nil, bad
	}
	digest := sha256.Sum256(raw[:len(raw)-len(in)])
	if !in.CopyBytes(byOld[:]) || !in.CopyBytes(byNew[:]) || !in.Empty() {
		return nil, bad
	}
	var err error
	if r.Credential, err = s.ReadCredential(credential); err != nil {
		return nil, err
	}
	r.New = r.Credential.SigningKey
	if r.Old != old.SigningKey || r.Old == r.New || VerifySignature(r.Old, domainKeyRoll, digest[:], byOld[:]) != nil ||
		VerifySignature(r.New, domainKeyRollBack, digest[:], byNew[:]) != nil {
		return nil, refuse(checkRollSignature, "a key roll is signed by the old key and, in return, by the new one")
	}
	if r.Credential.Person != old.Person {
		return nil, refuse(checkRollPerson, "a key roll stays with the person")
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if st, out := s.subtracted(subjectOf(old)); out {
		return nil, st.refusal("credential", old.NotBefore, old.NotAfter)
	}
	return r, nil
}
