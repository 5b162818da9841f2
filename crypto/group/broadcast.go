package group

import (
	"crypto/hmac"
	"encoding/binary"
	"fmt"
	"io"

	"tocsin/crypto/identity"
)

// A broadcast reaches every verified clinician of the mesh: it is sealed under
// the mesh key, which each holds and which changes with its number. It has no
// forward secrecy, and says what it is by its tag.

// BroadcastTag is the group_tag of a broadcast's data entry: the first 16 bytes
// of SHA-256("tocsin/1 broadcast").
var BroadcastTag = Tag{0x52, 0x4f, 0x45, 0xb6, 0x18, 0x85, 0x93, 0x62, 0x89, 0xd7, 0x33, 0x83, 0x2d, 0xa5, 0xe0, 0x78}

const (
	broadcastPrefix = 1 + 4 + saltSize + 32 // suite ‖ number ‖ salt ‖ kc
	// MaxBroadcast is the largest payload of a broadcast, in bytes.
	MaxBroadcast = MaxPayload
)

// Broadcast is a sealed broadcast on its way out.
type Broadcast struct {
	Body    []byte   // of the data entry, whose group_tag is [BroadcastTag]
	Commit  [32]byte // its commit
	Opening [32]byte // opens the commit
}

// OpenedBroadcast is a broadcast that was sealed at its place by one who holds
// the mesh key.
type OpenedBroadcast struct {
	Number   uint32 // of the mesh key
	Payload  []byte
	Opening  [32]byte
	Provable bool // opening and payload match the commit in the signed header
}

// SealBroadcast seals payload, of at most [MaxBroadcast] bytes, under the mesh
// key of this number at a place in this device's log.
func SealBroadcast(meshKey [32]byte, number uint32, at Place, payload []byte, random io.Reader) (*Broadcast, error) {
	if len(payload) > MaxBroadcast {
		return nil, fmt.Errorf("group: a broadcast has at most %d bytes, not %d", MaxBroadcast, len(payload))
	}
	var drawn [32 + saltSize]byte
	if _, err := io.ReadFull(random, drawn[:]); err != nil {
		return nil, fmt.Errorf("group: random bytes: %w", err)
	}
	c := &Broadcast{Opening: [32]byte(drawn[:32]), Commit: Commit([32]byte(drawn[:32]), payload)}
	salt := drawn[32:]
	key, nonce, kc, err := broadcastKey(meshKey, number, salt)
	if err != nil {
		return nil, err
	}
	aead, err := messageAEAD(key)
	if err != nil {
		return nil, err
	}
	size := padded(plainPrefix + len(payload))
	b := make([]byte, 0, broadcastPrefix+size+gcmTag)
	b = append(b, suite)
	b = binary.BigEndian.AppendUint32(b, number)
	b = append(b, salt...)
	b = append(b, kc...)
	plain := b[broadcastPrefix : broadcastPrefix+size]
	copy(plain, c.Opening[:])
	binary.BigEndian.PutUint32(plain[32:], uint32(len(payload)))
	copy(plain[plainPrefix:], payload)
	c.Body = aead.Seal(b, nonce, plain, broadcastNail(b, at, c.Commit))
	return c, nil
}

// BroadcastNumber returns the number of the mesh key that a broadcast's body
// is sealed under.
func BroadcastNumber(body []byte) (uint32, error) {
	if len(body) > MaxBody {
		return 0, invalid("body of %d bytes, more than %d", len(body), MaxBody)
	}
	n := len(body) - broadcastPrefix - gcmTag
	if n < padFloor || n > maxPadded || n != padded(n) {
		return 0, invalid("broadcast of %d bytes, which is no padded size", len(body))
	}
	if body[0] != suite {
		return 0, invalid("broadcast of suite %d; this version knows suite %d", body[0], suite)
	}
	return binary.BigEndian.Uint32(body[1:]), nil
}

// OpenBroadcast opens the body of the verified data entry at a place, with the
// commit of its header, under the mesh key of the number that
// [BroadcastNumber] returns. Everything that is wrong with it is [ErrOpen].
func OpenBroadcast(meshKey [32]byte, at Place, commit [32]byte, body []byte) (*OpenedBroadcast, error) {
	number, err := BroadcastNumber(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOpen, err)
	}
	prefix := body[:broadcastPrefix]
	key, nonce, kc, err := broadcastKey(meshKey, number, prefix[5:5+saltSize])
	if err != nil {
		return nil, err
	}
	if !hmac.Equal(kc, prefix[5+saltSize:]) {
		return nil, ErrOpen
	}
	aead, err := messageAEAD(key)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nonce, body[broadcastPrefix:], broadcastNail(prefix, at, commit))
	if err != nil {
		return nil, ErrOpen
	}
	o := &OpenedBroadcast{Number: number}
	if o.Opening, o.Payload, err = readPlain(plain); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOpen, err)
	}
	want := Commit(o.Opening, o.Payload)
	o.Provable = hmac.Equal(want[:], commit[:])
	return o, nil
}

// broadcastKey is key ‖ nonce ‖ kc = Expand(Extract("tocsin/1 broadcast", mesh
// key), "message" ‖ number ‖ salt).
func broadcastKey(meshKey [32]byte, number uint32, salt []byte) (key, nonce, kc []byte, err error) {
	prk, err := extract([]byte(labelBroadcast), meshKey[:])
	if err != nil {
		return nil, nil, nil, err
	}
	return messageKey(secret(prk), append(binary.BigEndian.AppendUint32(nil, number), salt...))
}

// broadcastNail is the additional data: prefix, place, tag and commit.
func broadcastNail(prefix []byte, at Place, commit [32]byte) []byte {
	b := make([]byte, 0, broadcastPrefix+identity.LogIDSize+8+len(Tag{})+32)
	b = nail(b, prefix, at, BroadcastTag)
	return append(b, commit[:]...)
}
