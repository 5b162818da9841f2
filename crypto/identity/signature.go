package identity

import (
	"crypto/ed25519"
	"errors"
	"slices"

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

// fieldPrime is 2^255-19, and smallOrder the y coordinates of the eight points
// of small order (x = ±…, so that each counts for both signs), all little-endian.
var (
	fieldPrime = [32]byte{0: 0xed, 1: 0xff, 2: 0xff, 3: 0xff, 4: 0xff, 5: 0xff, 6: 0xff, 7: 0xff, 8: 0xff, 9: 0xff, 10: 0xff,
		11: 0xff, 12: 0xff, 13: 0xff, 14: 0xff, 15: 0xff, 16: 0xff, 17: 0xff, 18: 0xff, 19: 0xff, 20: 0xff, 21: 0xff, 22: 0xff,
		23: 0xff, 24: 0xff, 25: 0xff, 26: 0xff, 27: 0xff, 28: 0xff, 29: 0xff, 30: 0xff, 31: 0x7f}
	smallOrder = []Key{
		{},  // order 4
		{1}, // order 1
		{0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
			0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, // order 2
		{0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
			0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05}, // order 8
		{0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
			0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a}, // order 8
	}
)

// usual is [CheckKey] without the curve: that the key is a point is for the
// verifier to find, which decodes it anyway. It spares a verification a second
// decoding, an inversion and three doublings, which are 40 % of its time.
func usual(k Key) bool {
	y := k
	y[31] &= 0x7f
	canonical := false
	for i := len(y) - 1; i >= 0; i-- {
		if y[i] != fieldPrime[i] {
			canonical = y[i] < fieldPrime[i]
			break
		}
	}
	return canonical && !slices.Contains(smallOrder, y)
}

// Sign returns the 64-byte Ed25519 signature over domain ‖ message.
func Sign(priv ed25519.PrivateKey, domain Domain, message []byte) []byte {
	return ed25519.Sign(priv, join(domain, message))
}

// VerifySignature is the one verifier of Ed25519 signatures in Tocsin. It
// checks the key as [CheckKey] does and then the signature with the standard
// library's verifier (cofactorless, canonical S). There is no batch
// verification: batch and single verifiers disagree on crafted signatures,
// and a disagreement splits a mesh.
func VerifySignature(k Key, domain Domain, message, signature []byte) error {
	if !usual(k) || len(signature) != ed25519.SignatureSize {
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
