package vault

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/slots"
)

// change is one line of a manifest: where a value lies, or that it is gone.
type change struct {
	key     string
	version uint64
	deleted bool
	size    uint32 // sealed
	slot    slot
}

// slot is the number of the slot whose key a value was sealed under; noSlot
// says that it is not erasable.
type slot int64

const noSlot slot = -1

func (c change) op() uint8 {
	switch {
	case c.deleted:
		return opDelete
	case c.slot != noSlot:
		return opPutErasable
	default:
		return opPut
	}
}

// marshalManifest is written by hand, in one piece of memory: every commit makes one.
func marshalManifest(valuesHash [sha256.Size]byte, changes []change) ([]byte, error) {
	size := 0
	for _, c := range changes {
		if len(c.key) > math.MaxUint16 {
			return nil, fmt.Errorf("a key has %d characters, and the format %d at most", len(c.key), math.MaxUint16)
		}
		size += changeOverhead + len(c.key)
	}
	b := make([]byte, sha256.Size+3, sha256.Size+3+size)
	copy(b, valuesHash[:])
	for _, c := range changes {
		b = append(b, c.op())
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(c.key))), c.key...)
		b = binary.BigEndian.AppendUint64(b, c.version)
		if c.deleted {
			continue
		}
		b = binary.BigEndian.AppendUint32(b, c.size)
		if c.slot != noSlot {
			b = binary.BigEndian.AppendUint64(b, uint64(c.slot))
		}
	}
	list := len(b) - sha256.Size - 3
	if list >= 1<<24 {
		return nil, fmt.Errorf("a list of changes has %d bytes, and the format %d at most", list, 1<<24-1)
	}
	b[sha256.Size], b[sha256.Size+1], b[sha256.Size+2] = byte(list>>16), byte(list>>8), byte(list)
	return b, nil
}

var errManifest = errors.New("a record does not read as one")

// parseManifest reads what marshalManifest wrote, and holds the sizes of the
// values against valuesLen.
func parseManifest(b []byte, valuesLen uint32) (hash [sha256.Size]byte, changes []change, err error) {
	s := cryptobyte.String(b)
	var list cryptobyte.String
	if !s.CopyBytes(hash[:]) || !s.ReadUint24LengthPrefixed(&list) || !s.Empty() {
		return hash, nil, errManifest
	}
	var total uint64
	for !list.Empty() {
		c, ok := readChange(&list)
		if !ok || len(changes) == MaxChanges {
			return hash, nil, errManifest
		}
		total += uint64(c.size)
		changes = append(changes, c)
	}
	if total != uint64(valuesLen) {
		return hash, nil, errManifest
	}
	return hash, changes, nil
}

// readChange reads one line of a manifest.
func readChange(list *cryptobyte.String) (change, bool) {
	c := change{slot: noSlot}
	var op uint8
	var key cryptobyte.String
	if !list.ReadUint8(&op) || !list.ReadUint16LengthPrefixed(&key) || !list.ReadUint64(&c.version) {
		return c, false
	}
	c.key = string(key)
	if checkKey(c.key) != nil && c.key != pinKey {
		return c, false
	}
	if op == opDelete {
		c.deleted = true
		return c, true
	}
	if !list.ReadUint32(&c.size) || c.size < sealOverhead || c.size > MaxValue+sealOverhead {
		return c, false
	}
	if op == opPutErasable {
		var n uint64
		if !list.ReadUint64(&n) || n >= slots.MaxSlots {
			return c, false
		}
		c.slot = slot(n)
	}
	return c, op == opPut || op == opPutErasable
}

// checkKey refuses keys that are empty, too long or not printable ASCII.
func checkKey(key string) error {
	if len(key) == 0 || len(key) > MaxKey {
		return fmt.Errorf("vault: a key has 1 to %d characters, not %d", MaxKey, len(key))
	}
	for i := range len(key) {
		if key[i] < ' ' || key[i] > '~' {
			return fmt.Errorf("vault: key %q is not printable ASCII", key)
		}
	}
	return nil
}
