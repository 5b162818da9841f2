package group

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/identity"
)

// What this device remembers of the keys it has destroyed: nothing that opens
// anything, only that they were there, so that what was sealed to them is
// reported as such and asked for again.

// span says which of the prekeys that this device published are destroyed.
type span struct {
	published bool   // first is set
	first     uint32 // week of the first set
	any       bool   // destroyed is set
	destroyed uint32 // the latest week whose private half was destroyed
}

const spanKey = keyPrefix + "own/span"

func (s span) change() Change {
	var b cryptobyte.Builder
	addBool(&b, s.published)
	b.AddUint32(s.first)
	addBool(&b, s.any)
	b.AddUint32(s.destroyed)
	return Change{Key: spanKey, Value: b.BytesOrPanic()}
}

func (b *batch) addSpan(value []byte) error {
	s := cryptobyte.String(value)
	var v span
	if !readBool(&s, &v.published) || !s.ReadUint32(&v.first) || !readBool(&s, &v.any) || !s.ReadUint32(&v.destroyed) || !s.Empty() {
		return errRecord
	}
	b.do(func() { b.k.span = v })
	return nil
}

// MayBeDestroyed reports that an announce by creator, of which [Learned.NotOurs]
// was said, may have been sealed to a prekey that this device has destroyed: we
// share a group, and at the time it was sent (by its header) the prekey to use
// was one of ours that is gone. Nobody can say more: wraps carry no names.
func (k *Keyring) MayBeDestroyed(creator identity.LogID, sent time.Time) bool {
	week, err := weekOf(sent)
	if err != nil || !k.span.any || !k.span.published || week < k.span.first || week > k.span.destroyed {
		return false
	}
	return len(k.shared(creator)) > 0
}

// shared returns the groups that device and this one are both in, ascending.
func (k *Keyring) shared(device identity.LogID) (out []ID) {
	for id, g := range k.groups {
		if k.isMember(g) && listed(g.audience, k.Newest(device)) {
			out = append(out, id)
		}
	}
	slices.SortFunc(out, func(a, b ID) int { return bytes.Compare(a[:], b[:]) })
	return out
}

// gone is what is left of an epoch that was destroyed.
type gone struct {
	group   ID
	creator identity.LogID
	at      uint64 // elapsed seconds
}

func goneKey(tag Tag) string { return keyPrefix + "gone/" + hex.EncodeToString(tag[:]) }

func (e *epoch) remember(elapsed uint64) Change {
	return gone{group: e.group, creator: e.creator, at: elapsed}.change(e.tag)
}

func (g gone) change(tag Tag) Change {
	who := g.creator.Bytes()
	value := slices.Concat(g.group[:], who[:])
	return Change{Key: goneKey(tag), Value: binary.BigEndian.AppendUint64(value, g.at)}
}

func (b *batch) addGone(rest string, value []byte) error {
	n, err := names(rest, len(Tag{}))
	if err != nil {
		return err
	}
	tag := Tag(n[0])
	if value == nil {
		b.do(func() { delete(b.k.gone, tag) })
		return nil
	}
	if len(value) != 32+identity.LogIDSize+8 {
		return errRecord
	}
	g := &gone{group: ID(value[:32]), creator: logName(value[32 : 32+identity.LogIDSize]), at: binary.BigEndian.Uint64(value[32+identity.LogIDSize:])}
	b.do(func() { b.k.gone[tag] = g })
	return nil
}

// forgetGone keeps the number of tags remembered within bounds; the oldest go
// first.
func (k *Keyring) forgetGone() (out []Change) {
	over := len(k.gone) - MaxGone
	if over <= 0 {
		return nil
	}
	tags := slices.SortedFunc(maps.Keys(k.gone), func(a, b Tag) int {
		return cmp.Or(cmp.Compare(k.gone[a].at, k.gone[b].at), bytes.Compare(a[:], b[:]))
	})
	for _, tag := range tags[:over] {
		out = append(out, Change{Key: goneKey(tag)})
	}
	return out
}
