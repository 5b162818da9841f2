package group

import (
	"crypto/hmac"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// HandoverItem is one older message that a member hands to others, who cannot
// open it themselves: a late joiner, or one who asked for it ([Unreadable]). It
// travels inside a message under the current epoch.
type HandoverItem struct {
	ID      [32]byte // of the data entry
	Opening [32]byte // of its commit
	TagKey  [32]byte // [Opened.TagKey]: shows that its tag is the group's
	Payload []byte
}

const handoverItemSize = 32*3 + 4

// MarshalHandover returns the encoding of 1 to [MaxHanded] items, of at most
// [MaxPayload] bytes.
func MarshalHandover(items []HandoverItem) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(suite)
	for i := range items {
		b.AddBytes(items[i].ID[:])
		b.AddBytes(items[i].Opening[:])
		b.AddBytes(items[i].TagKey[:])
		b.AddUint32(uint32(len(items[i].Payload)))
		b.AddBytes(items[i].Payload)
	}
	out, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("group: encode hand-over: %w", err)
	}
	if _, err := ParseHandover(out); err != nil {
		return nil, err
	}
	return out, nil
}

// ParseHandover reads what [MarshalHandover] writes. The payloads alias raw.
func ParseHandover(raw []byte) ([]HandoverItem, error) {
	if len(raw) > MaxPayload {
		return nil, invalid("hand-over of %d bytes, more than %d", len(raw), MaxPayload)
	}
	s := cryptobyte.String(raw)
	var version uint8
	if !s.ReadUint8(&version) || s.Empty() {
		return nil, invalid("hand-over cut short")
	}
	if version != suite {
		return nil, invalid("hand-over of suite %d; this version knows suite %d", version, suite)
	}
	var items []HandoverItem
	for !s.Empty() {
		var it HandoverItem
		var n uint32
		if !s.CopyBytes(it.ID[:]) || !s.CopyBytes(it.Opening[:]) || !s.CopyBytes(it.TagKey[:]) || !s.ReadUint32(&n) ||
			uint64(n) > uint64(len(s)) || !s.ReadBytes(&it.Payload, int(n)) {
			return nil, invalid("hand-over cut short")
		}
		if items = append(items, it); len(items) > MaxHanded {
			return nil, invalid("hand-over of more than %d messages", MaxHanded)
		}
	}
	return items, nil
}

// HandedHeader is what the verified signed header of a data entry says.
type HandedHeader struct {
	Place  Place
	Tag    Tag
	Commit [32]byte
}

// CheckHandover checks the messages that were handed over in a group against
// the signed headers of their entries, which header looks up by id: each has
// the payload that its author committed to, in this group. It returns those
// that are right and the ids whose headers are not here yet. The error wraps
// [ErrInvalid] if one of them is wrong, and then nothing is taken.
func CheckHandover(group ID, items []HandoverItem, header func(id [32]byte) (HandedHeader, bool)) (good []HandoverItem, missing [][32]byte, err error) {
	for _, it := range items {
		h, ok := header(it.ID)
		if !ok {
			missing = append(missing, it.ID)
			continue
		}
		commit := Commit(it.Opening, it.Payload)
		if !hmac.Equal(commit[:], h.Commit[:]) {
			return nil, nil, invalid("message %x that was handed over is not what its author committed to", it.ID[:8])
		}
		if tag := tagOf(secret(it.TagKey), group); !hmac.Equal(tag[:], h.Tag[:]) {
			return nil, nil, invalid("message %x that was handed over belongs to another group", it.ID[:8])
		}
		good = append(good, it)
	}
	return good, missing, nil
}
