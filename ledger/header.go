package ledger

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/identity"
)

// LogID names one log: an author and its incarnation.
type LogID = identity.LogID

// ID is an entry's name: SHA-256(0x00 ‖ header), which is the hash link to it
// and its RFC 6962 leaf hash at once. The signature is not part of it.
type ID [32]byte

// String returns the id in lower-case hexadecimal, 64 characters.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// IsZero reports whether id is all zeros, which names no entry.
func (id ID) IsZero() bool { return id == ID{} }

// MarshalText implements encoding.TextMarshaler.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *ID) UnmarshalText(text []byte) error {
	v, err := ParseID(string(text))
	if err != nil {
		return err
	}
	*id = v
	return nil
}

// ParseID reads the form that [ID.String] writes, and no other.
func ParseID(s string) (ID, error) {
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != len(ID{}) || hex.EncodeToString(raw) != s {
		return ID{}, errors.New("ledger: an entry id is 64 lower-case hexadecimal characters")
	}
	return ID(raw), nil
}

// Kind says what an entry carries.
type Kind uint8

// The kinds of entry. Values are part of the signed format; new ones need a
// new header version.
const (
	KindData      Kind = 1 // a message sealed to a group
	KindEpoch     Kind = 2 // a page of an epoch announce, or a group operation
	KindBroadcast Kind = 3 // a message sealed under the mesh key
	KindControl   Kind = 4 // credentials, prekeys, statements: not sealed
)

// String returns the word of the design for k.
func (k Kind) String() string {
	switch k {
	case KindData:
		return "data"
	case KindEpoch:
		return "epoch"
	case KindBroadcast:
		return "broadcast"
	case KindControl:
		return "control"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Priority is the urgency of an entry, in the words of FHIR.
type Priority uint8

// The priorities, in rising order of urgency.
const (
	Routine Priority = 0
	Urgent  Priority = 1
	Stat    Priority = 2
)

// String returns routine, urgent or stat.
func (p Priority) String() string {
	switch p {
	case Routine:
		return "routine"
	case Urgent:
		return "urgent"
	case Stat:
		return "stat"
	}
	return fmt.Sprintf("priority %d", uint8(p))
}

// ParsePriority reads the form that [Priority.String] writes.
func ParsePriority(s string) (Priority, error) {
	for p := Routine; p <= Stat; p++ {
		if p.String() == s {
			return p, nil
		}
	}
	return 0, fmt.Errorf("ledger: %q is no priority: use routine, urgent or stat", s)
}

// Ref names the head of another log that the author had seen.
type Ref struct {
	Log [8]byte // LogID.Short
	Seq uint64
	ID  ID
}

// Header is the signed part of an entry (protocol §3, FORMAT.md). It has
// exactly one encoding. A change of any rule below needs a new version byte:
// devices that disagree on what is valid no longer hold the same log.
type Header struct {
	Author      identity.Key
	Incarnation uint32
	Seq         uint64 // from 0
	Prev        ID     // id of the entry before; zeros at seq 0 only
	HLC         uint64 // hybrid time: milliseconds since 1970 << 16 | counter
	Kind        Kind
	Priority    Priority
	GroupTag    [16]byte // zeros but for data
	LifetimeS   uint32   // seconds after which carriers may drop the body; 0 for never
	BodyLen     uint32   // bytes
	BodyHash    [32]byte // SHA-256 of the body
	Commit      [32]byte // commitment to the opened payload; zeros where nothing is sealed
	Refs        []Ref    // at most 8, other logs only, strictly rising by Log
}

// headerVersion is the version and suite byte.
const headerVersion = 1

// Log returns the log that the header belongs to.
func (h *Header) Log() LogID {
	return LogID{Author: h.Author, Incarnation: h.Incarnation}
}

// Marshal returns the encoding of h, or an error matching [ErrInvalid] if h
// breaks a rule of the format.
func (h *Header) Marshal() ([]byte, error) {
	if err := h.check(); err != nil {
		return nil, err
	}
	b := cryptobyte.NewFixedBuilder(make([]byte, 0, MinHeader+len(h.Refs)*RefSize+SignatureSize))
	b.AddUint8(headerVersion)
	b.AddBytes(h.Author[:])
	b.AddUint32(h.Incarnation)
	b.AddUint64(h.Seq)
	b.AddBytes(h.Prev[:])
	b.AddUint64(h.HLC)
	b.AddUint8(uint8(h.Kind))
	b.AddUint8(uint8(h.Priority))
	b.AddBytes(h.GroupTag[:])
	b.AddUint32(h.LifetimeS)
	b.AddUint32(h.BodyLen)
	b.AddBytes(h.BodyHash[:])
	b.AddBytes(h.Commit[:])
	b.AddUint16(uint16(len(h.Refs) * RefSize))
	for i := range h.Refs {
		b.AddBytes(h.Refs[i].Log[:])
		b.AddUint64(h.Refs[i].Seq)
		b.AddBytes(h.Refs[i].ID[:])
	}
	return b.Bytes()
}

// ParseHeader reads one encoded header, all of b, and refuses every other
// spelling of it. Errors match [ErrInvalid].
func ParseHeader(b []byte) (Header, error) {
	s := cryptobyte.String(b)
	var h Header
	if err := h.read(&s); err != nil {
		return Header{}, err
	}
	if !s.Empty() {
		return Header{}, invalid("%d bytes follow the header", len(s))
	}
	return h, nil
}

// read takes one header from s and checks it.
func (h *Header) read(s *cryptobyte.String) error {
	var version, kind, priority uint8
	if !s.ReadUint8(&version) {
		return invalid("header is cut short")
	}
	if version != headerVersion {
		return invalid("header version %d is not known to this program; a newer one may be needed", version)
	}
	var refs cryptobyte.String
	ok := s.CopyBytes(h.Author[:]) &&
		s.ReadUint32(&h.Incarnation) &&
		s.ReadUint64(&h.Seq) &&
		s.CopyBytes(h.Prev[:]) &&
		s.ReadUint64(&h.HLC) &&
		s.ReadUint8(&kind) &&
		s.ReadUint8(&priority) &&
		s.CopyBytes(h.GroupTag[:]) &&
		s.ReadUint32(&h.LifetimeS) &&
		s.ReadUint32(&h.BodyLen) &&
		s.CopyBytes(h.BodyHash[:]) &&
		s.CopyBytes(h.Commit[:]) &&
		s.ReadUint16LengthPrefixed(&refs)
	if !ok {
		return invalid("header is cut short")
	}
	h.Kind, h.Priority = Kind(kind), Priority(priority)
	if err := h.readRefs(refs); err != nil {
		return err
	}
	return h.check()
}

func (h *Header) readRefs(s cryptobyte.String) error {
	if len(s)%RefSize != 0 || len(s) > MaxRefs*RefSize {
		return invalid("refs take %d bytes; at most %d of %d bytes each are allowed", len(s), MaxRefs, RefSize)
	}
	if len(s) == 0 {
		return nil
	}
	h.Refs = make([]Ref, len(s)/RefSize)
	for i := range h.Refs {
		r := &h.Refs[i]
		if !s.CopyBytes(r.Log[:]) || !s.ReadUint64(&r.Seq) || !s.CopyBytes(r.ID[:]) {
			return invalid("refs are cut short")
		}
	}
	return nil
}

// check holds the rules that the encoding alone does not.
func (h *Header) check() error {
	switch {
	case h.Kind < KindData || h.Kind > KindControl:
		return invalid("kind %d does not exist", h.Kind)
	case h.Priority > Stat:
		return invalid("priority %d does not exist", h.Priority)
	case h.Seq > MaxSeq:
		return invalid("sequence number %d is above %d", h.Seq, uint64(MaxSeq))
	case h.Seq == 0 && h.Kind != KindControl:
		return invalid("sequence number 0 must be a control entry, not %s", h.Kind)
	case (h.Seq == 0) != h.Prev.IsZero():
		return invalid("prev must be zeros at sequence number 0 and nowhere else")
	case h.Kind != KindData && h.GroupTag != [16]byte{}:
		return invalid("only data entries carry a group tag")
	case h.Kind == KindControl && h.Commit != [32]byte{}:
		return invalid("control entries are not sealed and carry no commitment")
	case h.BodyLen > MaxBody:
		return invalid("body of %d bytes is longer than %d", h.BodyLen, MaxBody)
	}
	return h.checkRefs()
}

func (h *Header) checkRefs() error {
	if len(h.Refs) > MaxRefs {
		return invalid("%d refs; at most %d are allowed", len(h.Refs), MaxRefs)
	}
	if len(h.Refs) == 0 {
		return nil
	}
	own := h.Log().Short()
	for i := range h.Refs {
		r := &h.Refs[i]
		switch {
		case i > 0 && bytes.Compare(h.Refs[i-1].Log[:], r.Log[:]) >= 0:
			return invalid("refs must rise strictly by log")
		case r.Log == own:
			return invalid("refs name other logs only")
		case r.Seq > MaxSeq:
			return invalid("ref to sequence number %d, above %d", r.Seq, uint64(MaxSeq))
		}
	}
	return nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}
