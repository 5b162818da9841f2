package vault

import (
	"crypto/sha256"
	"errors"
	"fmt"

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

func marshalManifest(valuesHash [sha256.Size]byte, changes []change) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddBytes(valuesHash[:])
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, c := range changes {
			b.AddUint8(c.op())
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(c.key)) })
			b.AddUint64(c.version)
			if !c.deleted {
				b.AddUint32(c.size)
				if c.slot != noSlot {
					b.AddUint64(uint64(c.slot))
				}
			}
		}
	})
	return b.Bytes()
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
