package identity

import (
	"crypto/hpke"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// wrapSize is the length of a sealed mesh key: 1,120 bytes of encapsulation
// (MLKEM768-X25519), 32 of key, 16 of tag.
const wrapSize = 1120 + 32 + 16

// MeshKeyPage is one statement's share of a new mesh key, sealed to at most
// [MaxMeshWraps] devices:
//
//	struct { opaque hint[4]; opaque sealed[1168]; } Wrap;
//	struct { uint64 number; Wrap wraps<1172..56256>; } MeshKeyPage;
//
// number is that of the trust bundle with which the key changes. sealed is HPKE
// (suite 1, base mode) enc ‖ ciphertext of the 32-byte key to the device's bundle
// key, with info = "tocsin/1 mesh key page" ‖ mesh id ‖ number ‖ signing key. hint
// is the beginning of SHA-256("tocsin/mesh-key-hint/v1\0" ‖ number ‖ signing key):
// everybody of the mesh has a wrap, so it gives nobody away, and it saves opening
// those of others.
type MeshKeyPage struct {
	Number uint64
	wraps  []wrap
}

type wrap struct {
	hint   [4]byte
	sealed [wrapSize]byte
}

// SealMeshKey seals the mesh key of a trust bundle's number to devices, in as
// many statements as it takes. Relays and break-glass get none and are left
// out, and so must revoked devices be: leave them out of to.
func (a *Authority) SealMeshKey(mesh MeshID, number uint64, key [32]byte, to []*Credential, now time.Time, rand io.Reader) ([][]byte, error) {
	if key == [32]byte{} {
		return nil, errors.New("identity: a mesh key of zeros is none")
	}
	to = slices.DeleteFunc(slices.Clone(to), func(c *Credential) bool { return c.Claims.Relay || c.BreakGlass })
	var out [][]byte
	for page := range slices.Chunk(to, MaxMeshWraps) {
		p := &MeshKeyPage{Number: number}
		for _, c := range page {
			w, err := wrapMeshKey(mesh, number, key, c)
			if err != nil {
				return nil, err
			}
			p.wraps = append(p.wraps, w)
		}
		body, err := p.encode()
		if err != nil {
			return nil, err
		}
		raw, err := a.statement(KindMeshKey, mesh, now, body, rand)
		if err != nil {
			return nil, err
		}
		out = append(out, raw)
	}
	return out, nil
}

func wrapMeshKey(mesh MeshID, number uint64, key [32]byte, c *Credential) (wrap, error) {
	w := wrap{hint: meshHint(number, c.SigningKey)}
	to, err := hpke.MLKEM768X25519().NewPublicKey([]byte(c.Claims.Bundle))
	if err != nil {
		return w, fmt.Errorf("identity: the bundle key cannot be used: %w", err)
	}
	sealed, err := hpke.Seal(to, hpke.HKDFSHA256(), hpke.AES256GCM(), meshPageInfo(mesh, number, c.SigningKey), key[:])
	if err != nil || len(sealed) != wrapSize {
		return w, fmt.Errorf("identity: the mesh key cannot be sealed: %w", err)
	}
	w.sealed = [wrapSize]byte(sealed)
	return w, nil
}

func meshPageInfo(mesh MeshID, number uint64, signing Key) []byte {
	info := append([]byte(labelMeshPage), mesh[:]...)
	info = binary.BigEndian.AppendUint64(info, number)
	return append(info, signing[:]...)
}

func meshHint(number uint64, signing Key) [4]byte {
	sum := sha256.Sum256(join(domainMeshHint, append(binary.BigEndian.AppendUint64(nil, number), signing[:]...)))
	return [4]byte(sum[:4])
}

// For reports whether the page probably has a wrap for the device: it needs no
// secret, so that a locked device knows what to keep.
func (p *MeshKeyPage) For(signing Key) bool {
	hint := meshHint(p.Number, signing)
	return slices.ContainsFunc(p.wraps, func(w wrap) bool { return w.hint == hint })
}

// Open opens the wrap for this device. ok is false if the page has none; a
// wrap that bears this device's hint and does not open is another's of the
// same hint, or broken, and is passed over.
func (p *MeshKeyPage) Open(mesh MeshID, k *VaultKeys) (key [32]byte, ok bool) {
	signing := KeyOf(k.Signing)
	hint, info := meshHint(p.Number, signing), meshPageInfo(mesh, p.Number, signing)
	for _, w := range p.wraps {
		if w.hint != hint {
			continue
		}
		plain, err := hpke.Open(k.Bundle, hpke.HKDFSHA256(), hpke.AES256GCM(), info, w.sealed[:])
		if err == nil && len(plain) == 32 && [32]byte(plain) != [32]byte{} {
			return [32]byte(plain), true
		}
	}
	return [32]byte{}, false
}

func (p *MeshKeyPage) encode() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint64(p.Number)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, w := range p.wraps {
			b.AddBytes(w.hint[:])
			b.AddBytes(w.sealed[:])
		}
	})
	return bytesOf(&b)
}

func parseMeshPage(body []byte) (*MeshKeyPage, error) {
	s := cryptobyte.String(body)
	var list cryptobyte.String
	p := &MeshKeyPage{}
	if !s.ReadUint64(&p.Number) || !s.ReadUint16LengthPrefixed(&list) || !s.Empty() || list.Empty() {
		return nil, errBody
	}
	for !list.Empty() {
		var w wrap
		if len(p.wraps) == MaxMeshWraps || !list.CopyBytes(w.hint[:]) || !list.CopyBytes(w.sealed[:]) {
			return nil, errBody
		}
		p.wraps = append(p.wraps, w)
	}
	return p, nil
}
