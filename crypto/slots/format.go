package slots

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	magic   = "tocsin slots\r\n\x1a\x00" // 16 bytes; line ends show a copy made as text
	version = 1

	idSize       = 16
	preambleSize = 64
	preambleBody = preambleSize - 16
	// The second preamble lies in another sector than the first, and the slots
	// in another page than both, so that no overwriting comes near them.
	preambleSpacing = 2048
	slotsAt         = 4096
	slotSize        = KeySize + sha256.Size

	domain = "tocsin/slot/v1\x00"
)

// ErrDamaged is wrapped by errors about bytes that are not what was written:
// by [Slots.Key] about one slot, by [Open] about the whole file.
var ErrDamaged = errors.New("slots: damaged")

type fileID [idSize]byte

func (id fileID) marshal() []byte {
	b := make([]byte, 0, preambleSize)
	b = append(b, magic...)
	b = append(b, version)
	b = append(b, id[:]...)
	b = b[:preambleBody]
	sum := sha256.Sum256(b)
	return append(b, sum[:preambleSize-preambleBody]...)
}

// parsePreamble reads what marshal wrote and refuses all else.
func parsePreamble(b []byte) (fileID, error) {
	var id fileID
	if len(b) != preambleSize || !bytes.HasPrefix(b, []byte(magic)) {
		return id, fmt.Errorf("%w: the file does not begin as a slot file does", ErrDamaged)
	}
	if v := b[len(magic)]; v != version {
		return id, fmt.Errorf("slots: the file has format %d and this program reads %d; use a newer tocsin", v, version)
	}
	copy(id[:], b[len(magic)+1:])
	if !bytes.Equal(id.marshal(), b) {
		return id, fmt.Errorf("%w: the beginning of the file is not as it was written", ErrDamaged)
	}
	return id, nil
}

// readPreamble reads the first of the two preambles that is whole.
func readPreamble(r io.ReaderAt) (fileID, error) {
	var firstErr error
	for at := int64(0); at < slotsAt; at += preambleSpacing {
		b := make([]byte, preambleSize)
		n, err := r.ReadAt(b, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return fileID{}, fmt.Errorf("slots: cannot read the file: %w", err)
		}
		id, err := parsePreamble(b[:n])
		if err == nil {
			return id, nil
		}
		if firstErr == nil {
			firstErr = err
		}
	}
	return fileID{}, fmt.Errorf("%w; put an archive of the whole folder back", firstErr)
}

// offset is where a slot lies in the file.
func offset(slot uint64) int64 { return slotsAt + int64(slot)*slotSize }

func (id fileID) check(slot uint64, key []byte) [sha256.Size]byte {
	b := make([]byte, 0, len(domain)+idSize+8+KeySize)
	b = append(b, domain...)
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint64(b, slot)
	return sha256.Sum256(append(b, key...))
}

func newID(random io.Reader) (id fileID, err error) {
	if random == nil {
		random = rand.Reader
	}
	if _, err := io.ReadFull(random, id[:]); err != nil {
		return id, fmt.Errorf("slots: no randomness: %w", err)
	}
	return id, nil
}

// fill makes n fresh slots from first on.
func (id fileID) fill(random io.Reader, first uint64, n int) ([]byte, error) {
	b := make([]byte, n*slotSize)
	keys := make([]byte, n*KeySize)
	defer clear(keys)
	if random == nil {
		random = rand.Reader
	}
	if _, err := io.ReadFull(random, keys); err != nil {
		return nil, fmt.Errorf("slots: no randomness: %w", err)
	}
	for i := range n {
		key := keys[i*KeySize : (i+1)*KeySize]
		sum := id.check(first+uint64(i), key)
		copy(b[i*slotSize:], key)
		copy(b[i*slotSize+KeySize:], sum[:])
	}
	return b, nil
}

// parseSlot returns the key of a slot that is as it was written.
func (id fileID) parseSlot(slot uint64, b []byte) (key [KeySize]byte, err error) {
	if len(b) != slotSize || id.check(slot, b[:KeySize]) != [sha256.Size]byte(b[KeySize:]) {
		return key, fmt.Errorf("%w: slot %d is not as it was written; what was sealed under it cannot be opened, all else can", ErrDamaged, slot)
	}
	copy(key[:], b)
	return key, nil
}
