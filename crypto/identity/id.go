package identity

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Key is an Ed25519 public key (RFC 8032), 32 bytes. As an author it is a
// device's signing key.
type Key [ed25519.PublicKeySize]byte

// KeyOf returns the public half of priv.
func KeyOf(priv ed25519.PrivateKey) Key {
	return Key(priv.Public().(ed25519.PublicKey))
}

// String returns k in lower-case hexadecimal, 64 characters.
func (k Key) String() string { return hex.EncodeToString(k[:]) }

// IsZero reports whether k is all zeros, which is no valid key.
func (k Key) IsZero() bool { return k == Key{} }

// LogID names one log: an author and its incarnation (design, protocol §3).
// A member of a group is a LogID too, because prekeys and chains belong to one
// incarnation.
type LogID struct {
	Author      Key
	Incarnation uint32
}

// LogIDSize is the length of the binary form of a LogID: author, then the
// incarnation in big-endian order.
const LogIDSize = ed25519.PublicKeySize + 4

// Bytes returns author ‖ incarnation, the form in which a LogID is hashed.
func (l LogID) Bytes() [LogIDSize]byte {
	var b [LogIDSize]byte
	copy(b[:], l.Author[:])
	binary.BigEndian.PutUint32(b[ed25519.PublicKeySize:], l.Incarnation)
	return b
}

// LogIDFromBytes is the inverse of [LogID.Bytes].
func LogIDFromBytes(b []byte) (LogID, error) {
	if len(b) != LogIDSize {
		return LogID{}, fmt.Errorf("identity: a log id has %d bytes, not %d", LogIDSize, len(b))
	}
	return LogID{
		Author:      Key(b[:ed25519.PublicKeySize]),
		Incarnation: binary.BigEndian.Uint32(b[ed25519.PublicKeySize:]),
	}, nil
}

// Short returns SHA-256(author ‖ incarnation)[:8], by which an entry's refs
// name a log.
func (l LogID) Short() [8]byte {
	b := l.Bytes()
	sum := sha256.Sum256(b[:])
	return [8]byte(sum[:8])
}

// Compare orders LogIDs by author, then incarnation.
func (l LogID) Compare(o LogID) int {
	if c := bytes.Compare(l.Author[:], o.Author[:]); c != 0 {
		return c
	}
	return cmp.Compare(l.Incarnation, o.Incarnation)
}

// String returns "<author hex>/<incarnation>", which [ParseLogID] reads.
func (l LogID) String() string {
	return l.Author.String() + "/" + strconv.FormatUint(uint64(l.Incarnation), 10)
}

// MarshalText implements encoding.TextMarshaler.
func (l LogID) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *LogID) UnmarshalText(text []byte) error {
	id, err := ParseLogID(string(text))
	if err != nil {
		return err
	}
	*l = id
	return nil
}

// ParseLogID reads the form that [LogID.String] writes, and no other.
func ParseLogID(s string) (LogID, error) {
	author, inc, ok := strings.Cut(s, "/")
	if !ok {
		return LogID{}, errors.New("identity: a log is written <author>/<incarnation>")
	}
	raw, err := hex.DecodeString(author)
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return LogID{}, errors.New("identity: the author of a log is 64 hexadecimal characters")
	}
	n, err := strconv.ParseUint(inc, 10, 32)
	if err != nil {
		return LogID{}, errors.New("identity: the incarnation of a log is a number below 2^32")
	}
	id := LogID{Author: Key(raw), Incarnation: uint32(n)}
	if id.String() != s {
		return LogID{}, errors.New("identity: a log id has one spelling: lower case, no leading zeros")
	}
	return id, nil
}
