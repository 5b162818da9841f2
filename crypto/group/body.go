package group

import (
	"encoding/binary"
	"math/bits"

	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/identity"
)

const (
	bodyPrefix  = 1 + saltSize + 4 + 32 // suite ‖ salt ‖ generation ‖ kc
	plainPrefix = 32 + 4                // opening ‖ length
	padFloor    = 256
	maxPadded   = 59392 // the largest PADMÉ size that fits MaxBody
)

// envelope is the sealed form of a message: the body of a data entry. Its
// parts alias the body.
type envelope struct {
	prefix     []byte // suite ‖ salt ‖ generation ‖ kc
	salt       []byte
	generation uint32
	kc         []byte
	sealed     []byte
}

// parseEnvelope reads a body. Everything in it but these few fields is
// ciphertext.
func parseEnvelope(body []byte) (e envelope, err error) {
	if len(body) > MaxBody {
		return e, invalid("body of %d bytes, more than %d", len(body), MaxBody)
	}
	s := cryptobyte.String(body)
	var version uint8
	if !s.ReadUint8(&version) || !s.ReadBytes(&e.salt, saltSize) || !s.ReadUint32(&e.generation) || !s.ReadBytes(&e.kc, 32) {
		return e, invalid("body cut short")
	}
	if version != suite {
		return e, invalid("body of suite %d; this version knows suite %d", version, suite)
	}
	if e.generation >= MaxGeneration {
		return e, invalid("generation %d; a chain ends at %d", e.generation, MaxGeneration)
	}
	if n := len(s) - gcmTag; n < padFloor || n > maxPadded || n != padded(n) {
		return e, invalid("ciphertext of %d bytes, which is no padded size", len(s))
	}
	e.prefix, e.sealed = body[:bodyPrefix], s
	return e, nil
}

// marshal returns the body.
func (e *envelope) marshal() []byte {
	b := make([]byte, 0, bodyPrefix+len(e.sealed))
	b = append(b, suite)
	b = append(b, e.salt...)
	b = binary.BigEndian.AppendUint32(b, e.generation)
	b = append(b, e.kc...)
	return append(b, e.sealed...)
}

// padded returns the PADMÉ size of n bytes (Nikitin et al., "Reducing Metadata
// Leakage from Encrypted Files and Communication with PURBs", 2019), at least
// 256: it gives away O(log log n) bits of the length and adds at most 12%.
func padded(n int) int {
	if n <= padFloor {
		return padFloor
	}
	e := bits.Len(uint(n)) - 1
	zero := e - bits.Len(uint(e)) // low bits that are zero in a padded size
	mask := 1<<zero - 1
	return (n + mask) &^ mask
}

// nail appends what a body is nailed to: its own prefix, its place and tag.
func nail(b, prefix []byte, at Place, tag Tag) []byte {
	b = append(b, prefix...)
	b = append(b, at.Log.Author[:]...)
	b = binary.BigEndian.AppendUint32(b, at.Log.Incarnation)
	b = binary.BigEndian.AppendUint64(b, at.Seq)
	return append(b, tag[:]...)
}

const nailSize = bodyPrefix + identity.LogIDSize + 8 + len(Tag{})

// readPlain reads opening ‖ length ‖ payload ‖ zero padding. The payload
// aliases plain.
func readPlain(plain []byte) (opening [32]byte, payload []byte, err error) {
	s := cryptobyte.String(plain)
	var n uint32
	if !s.CopyBytes(opening[:]) || !s.ReadUint32(&n) || uint64(n) > uint64(len(s)) {
		return opening, nil, invalid("plaintext cut short")
	}
	payload, padding := s[:n:n], s[n:]
	var any byte
	for _, b := range padding {
		any |= b
	}
	if any != 0 || len(plain) != padded(plainPrefix+int(n)) {
		return opening, nil, invalid("plaintext padded in another way than PADMÉ")
	}
	return opening, payload, nil
}
