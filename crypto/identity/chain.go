package identity

import (
	"crypto/ed25519"
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
	// FormSponsored is a self-signed leaf with sponsorships of other people.
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

// sponsored is the second form of a credential (design, protocol §1):
//
//	struct { Chain sponsor<1..2^16-1>; opaque signature[64]; } Sponsorship;
//	struct { opaque leaf<1..2^16-1>; Sponsorship sponsorships<1..2^16-1>; } Sponsored;
//
// The signature is over "tocsin/sponsor/v1\0" ‖ SHA-256(leaf).
type sponsored struct {
	leaf  []byte
	votes []sponsorship
}

type sponsorship struct {
	chain     []byte
	signature [ed25519.SignatureSize]byte
}

func (sp *sponsored) encode() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(byte(FormSponsored))
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(sp.leaf) })
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, v := range sp.votes {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(v.chain) })
			b.AddBytes(v.signature[:])
		}
	})
	return b.Bytes()
}

func decodeSponsored(b []byte) (*sponsored, error) {
	bad := refuse(checkForm, "the sponsored credential is cut short or has bytes after its end")
	s := cryptobyte.String(b)
	var leaf, votes cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&leaf) || !s.ReadUint16LengthPrefixed(&votes) || !s.Empty() {
		return nil, bad
	}
	if leaf.Empty() || len(leaf) > MaxCertificate || votes.Empty() {
		return nil, bad
	}
	sp := &sponsored{leaf: leaf}
	for !votes.Empty() {
		var chain cryptobyte.String
		var v sponsorship
		if len(sp.votes) == maxSponsors || !votes.ReadUint16LengthPrefixed(&chain) || !votes.CopyBytes(v.signature[:]) {
			return nil, bad
		}
		if _, err := DecodeChain(chain); err != nil {
			return nil, err
		}
		v.chain = chain
		sp.votes = append(sp.votes, v)
	}
	return sp, nil
}

var errTruncated = errors.New("identity: cut short, or bytes after the end")
