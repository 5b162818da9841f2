package identity

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hpke"
	"fmt"
	"slices"
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// BundleKeySize is the length of an HPKE bundle key, MLKEM768-X25519.
const BundleKeySize = 1216

// Claims say who holds a credential and what they may do. They stand in a
// non-critical extension of the credential leaf, as deterministic CBOR (RFC
// 8949 §4.2.1), and never in the admission leaf.
type Claims struct {
	Name        string   // display name, 1 to 128 bytes
	Roles       []string // sorted, at most 16, each of a–z, 0–9 and hyphen
	Grade       string   // "ST5", "Consultant"; may be empty
	ODS         string   // code of the site (Organisation Data Service); may be empty
	Witness     Key      // cosigns, gives custody, signs wipe receipts
	Bundle      string   // HPKE public key MLKEM768-X25519, 1,216 bytes; of a [Credential] a part of its Raw
	Relay       bool     // the device carries and cannot read
	Provisional bool     // shown with a badge
}

// HasRole reports whether role is among the roles.
func (c Claims) HasRole(role string) bool { return slices.Contains(c.Roles, role) }

// claimsWire is the CBOR map. Evolution: the decoder refuses keys that it does
// not know, so a new field needs a new extension identifier.
type claimsWire struct {
	Name    string   `cbor:"1,keyasint"`
	Roles   []string `cbor:"2,keyasint,omitempty"`
	Grade   string   `cbor:"3,keyasint,omitempty"`
	ODS     string   `cbor:"4,keyasint,omitempty"`
	Witness []byte   `cbor:"5,keyasint"`
	Bundle  []byte   `cbor:"6,keyasint"`
	Flags   uint8    `cbor:"7,keyasint,omitempty"`
}

const (
	flagRelay       = 1
	flagProvisional = 2
)

func (c Claims) marshal() ([]byte, error) {
	w := claimsWire{
		Name: c.Name, Roles: c.Roles, Grade: c.Grade, ODS: c.ODS,
		Witness: c.Witness[:], Bundle: []byte(c.Bundle),
	}
	if c.Relay {
		w.Flags |= flagRelay
	}
	if c.Provisional {
		w.Flags |= flagProvisional
	}
	return marshalCBOR(w)
}

// parseClaims decodes one encoding only: anything that does not come out the
// same again is refused.
func parseClaims(b []byte) (Claims, error) {
	var w claimsWire
	if err := unmarshalCBOR(b, &w); err != nil {
		return Claims{}, refuse(checkClaims, "the claims are not in their one encoding: %v", err)
	}
	if len(w.Witness) != len(Key{}) || w.Flags&^(flagRelay|flagProvisional) != 0 {
		return Claims{}, refuse(checkClaims, "the claims have a witness key of %d bytes and flags %#x", len(w.Witness), w.Flags)
	}
	c := Claims{
		Name: w.Name, Roles: w.Roles, Grade: w.Grade, ODS: w.ODS,
		Witness: Key(w.Witness), Bundle: string(w.Bundle),
		Relay: w.Flags&flagRelay != 0, Provisional: w.Flags&flagProvisional != 0,
	}
	return c, c.validate()
}

func (c Claims) validate() error {
	if c.Name == "" || !isDisplayText(c.Name, maxName) {
		return refuse(checkClaimsValue, "the display name is empty, longer than %d bytes or holds characters that cannot be shown", maxName)
	}
	if !isDisplayText(c.Grade, maxGrade) {
		return refuse(checkClaimsValue, "the grade is longer than %d bytes or holds characters that cannot be shown", maxGrade)
	}
	if c.ODS != "" && !isCode(c.ODS, maxODS) {
		return refuse(checkClaimsValue, "an ODS code is up to %d capital letters and digits", maxODS)
	}
	if err := checkRoleList(c.Roles); err != nil {
		return refuse(checkClaimsValue, "%v", err)
	}
	if err := CheckKey(c.Witness); err != nil {
		return refuse(checkWitness, "the witness key cannot be used: %v", err)
	}
	return checkBundle([]byte(c.Bundle))
}

// checkRoleList demands the canonical order, so that a set of roles has one
// spelling.
func checkRoleList(roles []string) error {
	if len(roles) > maxRoles {
		return fmt.Errorf("identity: more than %d roles", maxRoles)
	}
	for i, r := range roles {
		if !isToken(r, maxRole) {
			return fmt.Errorf("identity: a role is 1 to %d lower-case letters, digits or hyphens", maxRole)
		}
		if i > 0 && roles[i-1] >= r {
			return fmt.Errorf("identity: roles are sorted and each stands once")
		}
	}
	return nil
}

func checkBundle(key []byte) error {
	if err := CheckHPKEKey(key); err != nil {
		return refuse(checkBundleKey, "the bundle key cannot be used: %v", err)
	}
	return nil
}

// CheckHPKEKey refuses MLKEM768-X25519 public keys (of [BundleKeySize] bytes)
// that cannot be sealed to: those whose ML-KEM half is not reduced (FIPS 203
// §7.2), and those whose X25519 half gives the same secret to everybody, for
// which hpke.NewPublicKey does not look.
func CheckHPKEKey(key []byte) error {
	if len(key) != BundleKeySize {
		return fmt.Errorf("identity: HPKE key of %d bytes, not %d", len(key), BundleKeySize)
	}
	if _, err := hpke.MLKEM768X25519().NewPublicKey(key); err != nil {
		return fmt.Errorf("identity: HPKE key: %w", err)
	}
	classic, err := ecdh.X25519().NewPublicKey(key[BundleKeySize-32:])
	if err != nil {
		return fmt.Errorf("identity: HPKE key: %w", err)
	}
	// Any scalar shows a point of small order: the product is zero, which ECDH
	// reports as an error (RFC 7748 §6.1).
	scalar, err := anyScalar()
	if err != nil {
		return fmt.Errorf("identity: HPKE key: %w", err)
	}
	if _, err := scalar.ECDH(classic); err != nil {
		return fmt.Errorf("identity: HPKE key of small order: %w", err)
	}
	return nil
}

// anyScalar is a fixed private key for CheckHPKEKey: to make one costs as much as to use it.
var anyScalar = sync.OnceValues(func() (*ecdh.PrivateKey, error) {
	return ecdh.X25519().NewPrivateKey(bytes.Repeat([]byte{1}, 32))
})

func marshalCBOR(v any) ([]byte, error) {
	options := cbor.CoreDetEncOptions()
	// A list that is not there and an empty one are the same to Go: with this
	// they are one to CBOR too, and null is refused when read.
	options.NilContainers = cbor.NilContainerAsEmpty
	mode, err := options.EncMode()
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	return mode.Marshal(v)
}

func unmarshalCBOR(b []byte, v any) error {
	mode, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		UTF8:              cbor.UTF8RejectInvalid,
		MaxNestedLevels:   4,
		MaxArrayElements:  maxRoles,
		MaxMapPairs:       16,
	}.DecMode()
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	if err := mode.Unmarshal(b, v); err != nil {
		return err
	}
	again, err := marshalCBOR(v)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, b) {
		return fmt.Errorf("identity: not deterministic CBOR")
	}
	return nil
}
