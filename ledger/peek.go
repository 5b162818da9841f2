package ledger

import (
	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/identity"
)

// Glance is what the beginning of a frame says of itself, without any check: who
// claims to have written it, and how urgent it claims to be.
type Glance struct {
	Author   identity.Key
	Log      LogID
	Seq      uint64
	Kind     Kind
	Priority Priority
}

// Peek reads the beginning of a frame or header frame. It is for queues and
// budgets, which must not cost a signature; ok is false where b is neither. What
// it says may be a lie until [Verify] has passed.
func Peek(b []byte) (g Glance, ok bool) {
	s := cryptobyte.String(b)
	var header cryptobyte.String
	var version, kind, priority uint8
	ok = s.ReadUint16LengthPrefixed(&header) && header.ReadUint8(&version) && version == headerVersion &&
		header.CopyBytes(g.Author[:]) && header.ReadUint32(&g.Log.Incarnation) && header.ReadUint64(&g.Seq) &&
		header.Skip(len(ID{})+8) && header.ReadUint8(&kind) && header.ReadUint8(&priority)
	if !ok {
		return Glance{}, false
	}
	g.Log.Author, g.Kind, g.Priority = g.Author, Kind(kind), Priority(priority)
	return g, true
}

// Class is the traffic class in which the entry first travels; later its age
// counts too ([ClassBulk]).
func (g Glance) Class() Class {
	switch {
	case g.Kind == KindControl || g.Kind == KindEpoch:
		return ClassControl
	case g.Priority >= Urgent:
		return ClassUrgent
	}
	return ClassRoutine
}
