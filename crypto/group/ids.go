package group

import (
	"encoding/hex"
	"errors"
	"fmt"

	"tocsin/crypto/identity"
)

// ID names a group: SHA-256("tocsin/1 group" ‖ creator ‖ nonce).
type ID [32]byte

// String returns id in lower-case hexadecimal, 64 characters.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// ParseID reads the form that [ID.String] writes.
func ParseID(s string) (ID, error) {
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != len(ID{}) || hex.EncodeToString(raw) != s {
		return ID{}, errors.New("group: a group is named by 64 lower-case hexadecimal characters")
	}
	return ID(raw), nil
}

// EpochID names an epoch: SHA-256 of the header of its announce.
type EpochID [32]byte

// String returns id in lower-case hexadecimal, 64 characters.
func (id EpochID) String() string { return hex.EncodeToString(id[:]) }

// Tag is the group_tag of a data entry's header. It tells holders of an epoch
// which one seals the body, and others nothing.
type Tag [16]byte

// Place is where an entry stands: its log and its sequence number. The body is
// nailed to it.
type Place struct {
	Log identity.LogID
	Seq uint64
}

// Kind is what a group is for. The numbers are part of the format.
type Kind uint8

// The kinds of group.
const (
	KindDirect   Kind = 1
	KindTeam     Kind = 2
	KindIncident Kind = 3
)

// String returns the word for k.
func (k Kind) String() string {
	switch k {
	case KindDirect:
		return "direct"
	case KindTeam:
		return "team"
	case KindIncident:
		return "incident"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

func (k Kind) valid() bool { return k >= KindDirect && k <= KindIncident }

// Role is what a member may do. The numbers are part of the format, and a
// higher one may do more.
type Role uint8

// The roles of members. Only admins change a group.
const (
	RoleMember Role = 1
	RoleAdmin  Role = 2
)

// String returns the word for r.
func (r Role) String() string {
	switch r {
	case RoleMember:
		return "member"
	case RoleAdmin:
		return "admin"
	}
	return fmt.Sprintf("role(%d)", uint8(r))
}

func (r Role) valid() bool { return r == RoleMember || r == RoleAdmin }

// GroupState says whether a group is in use. The numbers are part of the
// format.
type GroupState uint8

// The states of a group. A closed one (an incident stood down) is still read
// and may still be written to; the word is for the people in it.
const (
	StateOpen   GroupState = 1
	StateClosed GroupState = 2
)

// String returns the word for s.
func (s GroupState) String() string {
	switch s {
	case StateOpen:
		return "open"
	case StateClosed:
		return "closed"
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

func (s GroupState) valid() bool { return s == StateOpen || s == StateClosed }

// Change is one alteration of the keyring's stored state. Key starts with
// "group/"; a nil Value deletes it.
type Change struct {
	Key   string
	Value []byte
}

// The errors a caller may branch on. Every other error of the package tells of
// a wrong argument or of damaged state.
var (
	// ErrInvalid wraps every verdict that received bytes are wrong: no retry
	// and no other moment would make them right.
	ErrInvalid = errors.New("group: refused")
	// ErrLimit wraps refusals of bytes that may be right but are too much.
	ErrLimit = errors.New("group: too much")
	// ErrNotYet says that an appointment cannot be judged before more is known
	// here: try again when a statement or a credential was learnt.
	ErrNotYet = errors.New("group: cannot be judged yet")
	// ErrUnknownTag says that no epoch with this tag is held: keep the entry
	// and try again when an epoch is learnt.
	ErrUnknownTag = errors.New("group: no epoch held for this tag")
	// ErrOpen says that a body is not what its author sealed at this place.
	ErrOpen = errors.New("group: the message cannot be opened: it is damaged or forged")
	// ErrReplayed says that the generation of the author's chain was used.
	ErrReplayed = errors.New("group: this generation was already opened")
	// ErrNotMember says that a device is not a member where it must be one.
	ErrNotMember = errors.New("group: not a member")
	// ErrNotAdmin says that this device is a member and no admin of the group.
	ErrNotAdmin = errors.New("group: only an admin of the group can do this: ask one")
	// ErrDestroyed says that a body was sealed under an epoch whose keys this
	// device has destroyed: only a member who opened it can hand it over.
	ErrDestroyed = errors.New("group: sealed under keys that this device has destroyed")
	// ErrDirect says that a direct group has devices of a third person, so that
	// nothing is sent in it.
	ErrDirect = errors.New("group: this direct conversation has devices of more than two persons: nothing is sent in it; begin a new one")
	// ErrParts says that a group is larger than one epoch: seal to each part.
	ErrParts = errors.New("group: the group is larger than one epoch: seal to each of its parts")
	// ErrNoEpoch says that no epoch fits the group's members: announce one.
	ErrNoEpoch = errors.New("group: no epoch to send under: announce one first")
)

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrInvalid, fmt.Errorf(format, args...))
}
