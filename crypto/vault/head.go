package vault

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/cryptobyte"
)

// The head file keeps, apart from the journal, how far it had come when the
// last commit was acknowledged:
//
//	struct { uint64 generation; uint64 count; uint64 offset; opaque last[32]; } Head;
//
// sealed under a key of its own with the vault id as associated data. There
// are two slots, written in turn, each within one sector, so that a write that
// is cut off leaves the other. A head is written only after the journal was
// synced, and is itself synced at opening and by compaction only: after a power
// cut it may be behind the journal, never ahead.
type head struct {
	generation, count uint64
	offset            int64
	last              [sha256.Size]byte
}

const (
	headPlain    = 8 + 8 + 8 + sha256.Size
	headSlotSize = headPlain + sealOverhead
	headSpacing  = 4096
	headFileSize = headSpacing + headSlotSize
)

func (c chain) head() head {
	return head{generation: c.preamble.generation, count: c.count, offset: c.offset, last: c.last}
}

func (h head) seal(k *keys, id [idSize]byte) []byte {
	b := cryptobyte.NewFixedBuilder(make([]byte, 0, headPlain))
	b.AddUint64(h.generation)
	b.AddUint64(h.count)
	b.AddUint64(uint64(h.offset))
	b.AddBytes(h.last[:])
	return k.head.Seal(nil, nil, b.BytesOrPanic(), id[:])
}

func openHead(k *keys, id [idSize]byte, b []byte) (head, bool) {
	plain, err := k.head.Open(nil, nil, b, id[:])
	if err != nil {
		return head{}, false
	}
	var h head
	var offset uint64
	s := cryptobyte.String(plain)
	ok := s.ReadUint64(&h.generation) && s.ReadUint64(&h.count) && s.ReadUint64(&offset) &&
		s.CopyBytes(h.last[:]) && s.Empty()
	h.offset = int64(offset)
	return h, ok && h.offset >= 0
}

// writeHead writes h into slot 0 or 1.
func writeHead(f file, k *keys, id [idSize]byte, slot int, h head) error {
	if _, err := f.WriteAt(h.seal(k, id), int64(slot)*headSpacing); err != nil {
		return fmt.Errorf("vault: cannot write the head: %w", err)
	}
	return nil
}

// readHead returns the newest head of a journal's generation and its slot.
func readHead(f file, k *keys, p preamble) (head, int, error) {
	var best head
	slot, newer := -1, false
	for i := range 2 {
		b := make([]byte, headSlotSize)
		if _, err := f.ReadAt(b, int64(i)*headSpacing); err != nil {
			if errors.Is(err, io.EOF) {
				continue // cut short: as unreadable as a slot that does not open
			}
			return head{}, 0, fmt.Errorf("vault: cannot read the head: %w", err)
		}
		h, ok := openHead(k, p.id, b)
		if !ok {
			continue
		}
		newer = newer || h.generation > p.generation
		if h.generation == p.generation && (slot < 0 || h.count > best.count) {
			best, slot = h, i
		}
	}
	switch {
	case slot >= 0:
		return best, slot, nil
	case newer:
		return head{}, 0, damaged("the journal is an older copy than its head")
	default:
		return head{}, 0, damaged("the head is unreadable or of another journal")
	}
}
