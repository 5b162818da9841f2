package identity

import (
	"crypto/ed25519"
	"errors"

	"filippo.io/edwards25519"
)

// Domain separates the kinds of signed record, so that a signature over one
// can never be replayed as another. It ends in a zero byte, and the signature
// is over domain ‖ message.
type Domain string

// ErrSignature is returned for every signature that does not verify, whatever
// the reason: the reason would help only a forger.
var ErrSignature = errors.New("identity: signature does not verify")

var (
	errKeyEncoding = errors.New("identity: not the canonical encoding of an Ed25519 key")
	errKeyOrder    = errors.New("identity: Ed25519 key of small order")
)

// CheckKey refuses Ed25519 public keys that RFC 8032 decoders disagree on:
// encodings that are not canonical, points off the curve, and points of small
// order, under which one signature fits many messages.
func CheckKey(k Key) error {
	p, err := new(edwards25519.Point).SetBytes(k[:])
	if err != nil {
		return errKeyEncoding
	}
	if Key(p.Bytes()) != k {
		return errKeyEncoding
	}
	if new(edwards25519.Point).MultByCofactor(p).Equal(edwards25519.NewIdentityPoint()) == 1 {
		return errKeyOrder
	}
	return nil
}

// Sign returns the 64-byte Ed25519 signature over domain ‖ message.
func Sign(priv ed25519.PrivateKey, domain Domain, message []byte) []byte {
	return ed25519.Sign(priv, join(domain, message))
}

// VerifySignature is the one verifier of Ed25519 signatures in Tocsin. It
// checks the key with [CheckKey] and then the signature with the standard
// library's verifier (cofactorless, canonical S). There is no batch
// verification: batch and single verifiers disagree on crafted signatures,
// and a disagreement splits a mesh.
func VerifySignature(k Key, domain Domain, message, signature []byte) error {
	if CheckKey(k) != nil || len(signature) != ed25519.SignatureSize {
		return ErrSignature
	}
	if !ed25519.Verify(k[:], join(domain, message), signature) {
		return ErrSignature
	}
	return nil
}

func join(domain Domain, message []byte) []byte {
	return append(append(make([]byte, 0, len(domain)+len(message)), domain...), message...)
}
