package identity

import (
	"crypto/ed25519"
	"errors"
	"math/big"
	"slices"
	"testing"
)

func TestVerifySignature(t *testing.T) {
	priv := ed25519.NewKeyFromSeed(make([]byte, 32))
	key := KeyOf(priv)
	const a, b Domain = "tocsin/a/v1\x00", "tocsin/b/v1\x00"
	message := []byte("stat")
	sig := Sign(priv, a, message)
	if err := VerifySignature(key, a, message, sig); err != nil {
		t.Fatal(err)
	}
	flipped := slices.Clone(sig)
	flipped[0] ^= 1
	for name, tc := range map[string]struct {
		key     Key
		domain  Domain
		message []byte
		sig     []byte
	}{
		"another domain":        {key, b, message, sig},
		"no domain":             {key, "", message, sig},
		"another message":       {key, a, []byte("stat!"), sig},
		"another key":           {KeyOf(ed25519.NewKeyFromSeed([]byte("00000000000000000000000000000001"))), a, message, sig},
		"a flipped bit":         {key, a, message, flipped},
		"63 bytes":              {key, a, message, sig[:63]},
		"65 bytes":              {key, a, message, append(slices.Clone(sig), 0)},
		"nothing":               {key, a, message, nil},
		"S not reduced (S + L)": {key, a, message, plusOrder(sig)},
	} {
		if err := VerifySignature(tc.key, tc.domain, tc.message, tc.sig); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// plusOrder adds the order of the base point to S: the same equation holds,
// and a lax verifier takes the second spelling (RFC 8032 §5.1.7).
func plusOrder(sig []byte) []byte {
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	s := slices.Clone(sig[32:])
	slices.Reverse(s)
	sum := new(big.Int).Add(new(big.Int).SetBytes(s), order).FillBytes(make([]byte, 32))
	slices.Reverse(sum)
	return append(slices.Clone(sig[:32]), sum...)
}

// TestSmallOrderKeyFitsAnyMessage shows what CheckKey is for: under the
// identity as key, one signature fits every message to the standard library.
func TestSmallOrderKeyFitsAnyMessage(t *testing.T) {
	identityPoint := badKeys(t)["identity"]
	sig := append(slices.Clone([]byte(identityPoint)), make([]byte, 32)...)
	for _, m := range []string{"stat", "stand down"} {
		if !ed25519.Verify(identityPoint, []byte(m), sig) {
			t.Fatal("the standard library has begun to refuse keys of small order: amend CheckKey's comment")
		}
		if err := VerifySignature(Key(identityPoint), "", []byte(m), sig); !errors.Is(err, ErrSignature) {
			t.Errorf("%q: %v", m, err)
		}
	}
}

func TestCheckKey(t *testing.T) {
	for name, key := range badKeys(t) {
		want := errKeyEncoding
		if name == "identity" || name == "order 8" {
			want = errKeyOrder
		}
		if err := CheckKey(Key(key)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	if err := CheckKey(KeyOf(ed25519.NewKeyFromSeed(make([]byte, 32)))); err != nil {
		t.Error(err)
	}
}
