package mesh

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"golang.org/x/crypto/cryptobyte"
)

// A record says where a device can be reached, signed by its transport key, so
// that whoever hands it on cannot change it:
//
//	struct { opaque addr<1..256>; } Address;                                  /* 16-bit lengths */
//	struct { uint8 version = 1; opaque key[32]; uint64 issued; uint8 flags; Address addrs<0..16 of them>; } Body;
//	struct { Body body; opaque signature[64]; } Record;    /* over "tocsin/peer/v1\0" ‖ mesh tag ‖ body */
//
// issued is in seconds since 1970 on the device's own clock; of two records the
// later counts. It proves a key, and not that the key is admitted: that shows when
// the device is dialled.

const (
	recordVersion = 1
	recordLabel   = "tocsin/peer/v1\x00"
	// recordRelays is the flag of a device that carries for others.
	recordRelays = 1
)

// maxRecord bounds a record in bytes.
const maxRecord = 1 + ed25519.PublicKeySize + 8 + 1 + 2 + maxAddrsPerContact*(2+maxAddrBytes) + ed25519.SignatureSize

var errRecord = errors.New("mesh: malformed address record")

// record is a parsed and verified record.
type record struct {
	peer   peer.ID
	issued uint64
	relays bool
	addrs  []ma.Multiaddr // those that can be dialled
	raw    []byte
}

// signRecord makes our own record.
func signRecord(key ed25519.PrivateKey, tag [tagSize]byte, issued time.Time, relays bool, addrs []ma.Multiaddr) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(recordVersion)
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("mesh: the transport key is no Ed25519 key")
	}
	b.AddBytes(public)
	b.AddUint64(uint64(max(issued.Unix(), 0)))
	flags := uint8(0)
	if relays {
		flags = recordRelays
	}
	b.AddUint8(flags)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, a := range addrs[:min(len(addrs), maxAddrsPerContact)] {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(a.Bytes()) })
		}
	})
	body, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("mesh: our own address record: %w", err)
	}
	return append(body, ed25519.Sign(key, recordSigned(tag, body))...), nil
}

func recordSigned(tag [tagSize]byte, body []byte) []byte {
	return slices.Concat([]byte(recordLabel), tag[:], body)
}

// recordBody is a record before its signature is looked at.
type recordBody struct {
	key    ed25519.PublicKey
	issued uint64
	flags  uint8
	addrs  [][]byte
}

// parseRecordBody reads the shape alone. The result shares memory with raw.
func parseRecordBody(raw []byte) (recordBody, error) {
	var r recordBody
	s := cryptobyte.String(raw)
	var version uint8
	var key []byte
	var addrs cryptobyte.String
	if !s.ReadUint8(&version) || version != recordVersion {
		return r, fmt.Errorf("%w: another version", errRecord)
	}
	if !s.ReadBytes(&key, ed25519.PublicKeySize) || !s.ReadUint64(&r.issued) || !s.ReadUint8(&r.flags) ||
		!s.ReadUint16LengthPrefixed(&addrs) || !s.Empty() {
		return r, fmt.Errorf("%w: cut short, or bytes after its end", errRecord)
	}
	if r.flags&^recordRelays != 0 {
		return r, fmt.Errorf("%w: unknown flags", errRecord)
	}
	r.key = key
	for !addrs.Empty() {
		var a cryptobyte.String
		if !addrs.ReadUint16LengthPrefixed(&a) || len(a) == 0 || len(a) > maxAddrBytes || len(r.addrs) == maxAddrsPerContact {
			return r, fmt.Errorf("%w: an address that is too long, or too many", errRecord)
		}
		r.addrs = append(r.addrs, a)
	}
	return r, nil
}

// marshal is the inverse of parseRecordBody.
func (r recordBody) marshal() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(recordVersion)
	b.AddBytes(r.key)
	b.AddUint64(r.issued)
	b.AddUint8(r.flags)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, a := range r.addrs {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(a) })
		}
	})
	return b.Bytes()
}

// openRecord verifies a record of a mesh for a device with the peer id self.
// Addresses that self cannot or must not dial are left out of the result.
func openRecord(raw []byte, tag [tagSize]byte, self peer.ID) (*record, error) {
	if len(raw) > maxRecord || len(raw) <= ed25519.SignatureSize {
		return nil, fmt.Errorf("%w: %d bytes", errRecord, len(raw))
	}
	body, signature := raw[:len(raw)-ed25519.SignatureSize], raw[len(raw)-ed25519.SignatureSize:]
	b, err := parseRecordBody(body)
	if err != nil {
		return nil, err
	}
	if !ed25519.Verify(b.key, recordSigned(tag, body), signature) {
		return nil, fmt.Errorf("%w: the signature is not its device's", errRecord)
	}
	key, err := crypto.UnmarshalEd25519PublicKey(b.key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	r := &record{issued: b.issued, relays: b.flags&recordRelays != 0, raw: slices.Clone(raw)}
	if r.peer, err = peer.IDFromPublicKey(key); err != nil {
		return nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	for _, text := range b.addrs {
		a, err := ma.NewMultiaddrBytes(text)
		if err != nil || !usable(a, self) || ma.Contains(r.addrs, a) {
			continue // of a transport that we do not know, or none to dial
		}
		if relay, ok := relayOf(a); ok && relay == r.peer {
			continue
		}
		r.addrs = append(r.addrs, a)
	}
	return r, nil
}

// timely reports whether a record may be used and handed on at the given time:
// not older than recordLife and not from the future by more than recordAhead.
func (r *record) timely(now time.Time) bool {
	age := now.Sub(time.Unix(int64(min(r.issued, 1<<40)), 0))
	return age <= recordLife && age >= -recordAhead
}
