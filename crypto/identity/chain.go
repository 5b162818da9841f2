package identity

import (
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// EncodeChain returns the wire form of a chain: the leaf first, then the
// registrar if there is one; the authority is left out, the reader has it.
//
//	opaque Certificate<1..2^16-1>;
//	struct { Certificate chain<1..8190>; } Chain;
//
// It fails for a chain that [DecodeChain] would refuse.
func EncodeChain(der [][]byte) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, d := range der {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(d) })
		}
	})
	out, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("identity: the chain cannot be encoded: %w", err)
	}
	if _, err := DecodeChain(out); err != nil {
		return nil, err
	}
	return out, nil
}

// DecodeChain is the inverse of [EncodeChain]. It checks the framing and the
// sizes (a chain ≤8 KiB, one or two certificates, each ≤4 KiB), not the
// certificates. The result shares memory with b.
func DecodeChain(b []byte) ([][]byte, error) {
	if len(b) > MaxChain {
		return nil, refuse(checkChainSize, "a chain of %d bytes is over the limit of %d", len(b), MaxChain)
	}
	s := cryptobyte.String(b)
	var list cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&list) || !s.Empty() {
		return nil, refuse(checkChainEncoding, "the chain is cut short or has bytes after its end")
	}
	var out [][]byte
	for !list.Empty() {
		var der cryptobyte.String
		if !list.ReadUint16LengthPrefixed(&der) || der.Empty() {
			return nil, refuse(checkChainEncoding, "a certificate of the chain is cut short or empty")
		}
		if len(der) > MaxCertificate {
			return nil, refuse(checkCertSize, "a certificate of %d bytes is over the limit of %d", len(der), MaxCertificate)
		}
		if len(out) == MaxDepth-1 {
			return nil, refuse(checkDepth, "a chain is at most authority, registrar and leaf")
		}
		out = append(out, der)
	}
	if len(out) == 0 {
		return nil, refuse(checkChainEncoding, "the chain is empty")
	}
	return out, nil
}

// Form says how a credential is vouched for. The wire form of a credential is
// the form's byte, then its body.
type Form uint8

const (
	// FormChain is a leaf issued by an authority or a registrar: a Chain.
	FormChain Form = 1
	// FormSponsored is a self-signed leaf with sponsorships of people.
	FormSponsored Form = 2
)

// encodeCredential returns form ‖ chain.
func encodeCredential(chain []byte) []byte {
	return append([]byte{byte(FormChain)}, chain...)
}

// decodeCredential splits the wire form; exactly one result is set.
func decodeCredential(raw []byte) (chain []byte, sp *sponsored, err error) {
	if len(raw) > MaxCredential {
		return nil, nil, refuse(checkChainSize, "a credential of %d bytes is over the limit of %d", len(raw), MaxCredential)
	}
	if len(raw) == 0 {
		return nil, nil, refuse(checkForm, "the credential is empty")
	}
	switch Form(raw[0]) {
	case FormChain:
		return raw[1:], nil, nil
	case FormSponsored:
		sp, err = decodeSponsored(raw[1:])
		return nil, sp, err
	default:
		return nil, nil, refuse(checkForm, "%d is no form of credential", raw[0])
	}
}

var errTruncated = errors.New("identity: cut short, or bytes after the end")
