package identity

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
)

// Wish is what an applicant asks for. The witness and bundle keys of Claims
// are filled in by [NewRequest]; what is granted is the authority's decision
// ([Grant]).
type Wish struct {
	Person Person
	Claims Claims
}

// Request is an application for a credential, signed by each of the device's
// signing keys. Possession of the bundle key, which cannot sign, is proved
// later: the mesh key comes sealed to it.
//
//	struct {
//	    uint8  version = 1;
//	    opaque org<1..2^8-1>; opaque regulator<1..2^8-1>; opaque number<1..2^8-1>;
//	    opaque transport[32]; opaque signing[32];
//	    opaque claims<1..2^16-1>;              /* CBOR, as in the credential; holds the witness and bundle keys */
//	} RequestBody;
//	struct { RequestBody body; opaque by_transport[64]; opaque by_witness[64]; opaque by_signing[64]; } Request;
//
// Each signature is over "tocsin/enrolment-request/v1\0" ‖ body.
type Request struct {
	wish      Wish
	transport Key
	signing   Key
	raw       []byte
}

// NewRequest makes the request of a new device. Roles are sorted; a flag
// Provisional is for the authority to set and refused here.
func NewRequest(w Wish, relay *RelayKeys, vault *VaultKeys) (*Request, error) {
	w.Claims.Roles = slices.Sorted(slices.Values(w.Claims.Roles))
	w.Claims.Witness = KeyOf(relay.Witness)
	w.Claims.Bundle = string(vault.Bundle.PublicKey().Bytes())
	r := &Request{wish: w, transport: KeyOf(relay.Transport), signing: KeyOf(vault.Signing)}
	if err := r.validate(); err != nil {
		return nil, err
	}
	body, err := r.body()
	if err != nil {
		return nil, err
	}
	r.raw = body
	for _, key := range []ed25519.PrivateKey{relay.Transport, relay.Witness, vault.Signing} {
		r.raw = append(r.raw, Sign(key, domainRequest, body)...)
	}
	return r, nil
}

func (r *Request) validate() error {
	if err := r.wish.Person.Validate(); err != nil {
		return err
	}
	if r.wish.Claims.Provisional {
		return errors.New("identity: a request does not ask for a provisional credential: the authority decides")
	}
	if err := r.wish.Claims.validate(); err != nil {
		return err
	}
	if w := r.wish.Claims.Witness; r.transport == r.signing || r.transport == w || r.signing == w {
		return refuse(checkDistinct, "one key serves two purposes")
	}
	return nil
}

func (r *Request) body() ([]byte, error) {
	claims, err := r.wish.Claims.marshal()
	if err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddUint8(1)
	for _, s := range []string{r.wish.Person.Org, r.wish.Person.Regulator, r.wish.Person.Number} {
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(s)) })
	}
	b.AddBytes(r.transport[:])
	b.AddBytes(r.signing[:])
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(claims) })
	out, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("identity: the request cannot be encoded: %w", err)
	}
	return out, nil
}

// ParseRequest reads the form that [Request.Marshal] writes (≤4 KiB) and
// verifies the three signatures.
func ParseRequest(b []byte) (*Request, error) {
	if len(b) > MaxRequest {
		return nil, fmt.Errorf("identity: a request of %d bytes is over the limit of %d", len(b), MaxRequest)
	}
	s := cryptobyte.String(b)
	var version uint8
	var org, regulator, number, claims cryptobyte.String
	var signatures [3][ed25519.SignatureSize]byte
	r := &Request{raw: slices.Clone(b)}
	if !s.ReadUint8(&version) || !s.ReadUint8LengthPrefixed(&org) || !s.ReadUint8LengthPrefixed(&regulator) ||
		!s.ReadUint8LengthPrefixed(&number) || !s.CopyBytes(r.transport[:]) || !s.CopyBytes(r.signing[:]) || !s.ReadUint16LengthPrefixed(&claims) {
		return nil, fmt.Errorf("identity: request: %w", errTruncated)
	}
	body := b[:len(b)-len(s)]
	if !s.CopyBytes(signatures[0][:]) || !s.CopyBytes(signatures[1][:]) || !s.CopyBytes(signatures[2][:]) || !s.Empty() {
		return nil, fmt.Errorf("identity: request: %w", errTruncated)
	}
	if version != 1 {
		return nil, fmt.Errorf("identity: a request of version %d is newer than this program", version)
	}
	var err error
	if r.wish.Claims, err = parseClaims(claims); err != nil {
		return nil, fmt.Errorf("identity: request: %w", err)
	}
	r.wish.Person = Person{Org: string(org), Regulator: string(regulator), Number: string(number)}
	if err := r.validate(); err != nil {
		return nil, fmt.Errorf("identity: request: %w", err)
	}
	for i, k := range []Key{r.transport, r.wish.Claims.Witness, r.signing} {
		if err := VerifySignature(k, domainRequest, body, signatures[i][:]); err != nil {
			return nil, fmt.Errorf("identity: the request is not signed by its %s key: %w", [...]string{"transport", "witness", "signing"}[i], err)
		}
	}
	return r, nil
}

// Marshal returns the one encoding of r.
func (r *Request) Marshal() []byte { return slices.Clone(r.raw) }

// MarshalPEM returns r as "TOCSIN ENROLMENT REQUEST". It holds no secret.
func (r *Request) MarshalPEM() []byte { return encodePEM(pemRequest, r.raw) }

// ParseRequestPEM reads what [Request.MarshalPEM] wrote.
func ParseRequestPEM(text []byte) (*Request, error) {
	b, err := decodePEM(pemRequest, text)
	if err != nil {
		return nil, err
	}
	return ParseRequest(b)
}

// Wish returns what is asked for.
func (r *Request) Wish() Wish { return r.wish }

// Transport returns the key of the admission leaf.
func (r *Request) Transport() Key { return r.transport }

// Signing returns the key of the credential leaf.
func (r *Request) Signing() Key { return r.signing }

// Fingerprint returns the first 16 bytes of SHA-256 of the request as eight
// groups of four hexadecimal digits. Applicant and authority compare it by
// voice before anything is issued.
func (r *Request) Fingerprint() string {
	sum := sha256.Sum256(r.raw)
	digits := hex.EncodeToString(sum[:16])
	groups := make([]string, 0, 8)
	for i := 0; i < len(digits); i += 4 {
		groups = append(groups, digits[i:i+4])
	}
	return strings.Join(groups, " ")
}
