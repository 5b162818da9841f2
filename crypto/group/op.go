package group

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/identity"
)

// OpKind is what an operation does. The numbers are part of the format.
type OpKind uint8

// The kinds of operation.
const (
	OpCreate    OpKind = 1
	OpAdd       OpKind = 2
	OpRemove    OpKind = 3
	OpRole      OpKind = 4
	OpLeave     OpKind = 5
	OpRetention OpKind = 6
	OpState     OpKind = 7
	OpAppoint   OpKind = 8
)

var opNames = [...]string{"", "create", "add", "remove", "role", "leave", "retention", "state", "appoint"}

// String returns the word for k.
func (k OpKind) String() string {
	if k >= OpCreate && k <= OpAppoint {
		return opNames[k]
	}
	return fmt.Sprintf("op(%d)", uint8(k))
}

// Op is a group operation. Exactly one of the pointers is set.
//
// A new kind gets the next free code point and a field here; the encoding of
// an existing one never changes. An older version refuses an announce that
// carries a kind it does not know, because it cannot tell the members.
type Op struct {
	Group     ID
	Deps      [][32]byte // ids of the heads its author knew, ascending; none for create
	Create    *Create
	Add       *Add
	Remove    *Remove
	Role      *RoleChange
	Leave     *Leave
	Retention *Retention
	State     *StateChange
	Appoint   *Appoint
}

// Create makes a group. Its author is the first admin.
type Create struct {
	Kind  Kind
	Nonce [32]byte
	Name  string // 1 to MaxName bytes of printable UTF-8
}

// Add makes a device a member. Its author is an admin, as of every operation
// but Create, Leave and Appoint.
type Add struct {
	Device identity.LogID
	Role   Role
}

// Remove ends the membership of a device.
type Remove struct{ Device identity.LogID }

// RoleChange gives a member another role.
type RoleChange struct {
	Device identity.LogID
	Role   Role
}

// Leave ends the membership of its author.
type Leave struct{}

// Retention says for how many days members keep messages; 0 is until they are
// erased by hand.
type Retention struct{ Days uint16 }

// StateChange opens or closes the group.
type StateChange struct{ State GroupState }

// Appoint makes its author, a member, an admin by a statement of the authority,
// for a group that has none left.
type Appoint struct{ Statement []byte }

// SignedOp is an operation with what proves its author: the signed header of
// its entry, whose commit the opening and the payload match.
type SignedOp struct {
	SignedHeader []byte
	Opening      [32]byte
	Payload      []byte
}

// OpProof is what a checked signed header says: the entry's id, its place and
// its commit.
type OpProof struct {
	ID     [32]byte
	Place  Place
	Commit [32]byte
}

// groupID is SHA-256("tocsin/1 group" ‖ creator ‖ nonce).
func groupID(creator identity.LogID, nonce [32]byte) ID {
	who := creator.Bytes()
	h := sha256.New()
	h.Write([]byte(labelGroup))
	h.Write(who[:])
	h.Write(nonce[:])
	return ID(h.Sum(nil))
}

// Kind returns what o does, and 0 if nothing is set.
func (o *Op) Kind() OpKind {
	for i, set := range [...]bool{o.Create != nil, o.Add != nil, o.Remove != nil, o.Role != nil, o.Leave != nil, o.Retention != nil, o.State != nil, o.Appoint != nil} {
		if set {
			return OpKind(i + 1)
		}
	}
	return 0
}

// Marshal returns the payload that carries o.
func (o *Op) Marshal() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(suite)
	b.AddBytes(o.Group[:])
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, d := range o.Deps {
			b.AddBytes(d[:])
		}
	})
	b.AddUint8(uint8(o.Kind()))
	o.addContent(&b)
	out, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("group: encode operation: %w", err)
	}
	// Whatever is sent is readable by the rules of whoever receives it.
	if _, err := ParseOp(out); err != nil {
		return nil, err
	}
	return out, nil
}

func (o *Op) addContent(b *cryptobyte.Builder) {
	switch o.Kind() {
	case OpCreate:
		b.AddUint8(uint8(o.Create.Kind))
		b.AddBytes(o.Create.Nonce[:])
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(o.Create.Name)) })
	case OpAdd:
		addLogID(b, o.Add.Device)
		b.AddUint8(uint8(o.Add.Role))
	case OpRemove:
		addLogID(b, o.Remove.Device)
	case OpRole:
		addLogID(b, o.Role.Device)
		b.AddUint8(uint8(o.Role.Role))
	case OpRetention:
		b.AddUint16(o.Retention.Days)
	case OpState:
		b.AddUint8(uint8(o.State.State))
	case OpAppoint:
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(o.Appoint.Statement) })
	case OpLeave:
	default:
		b.SetError(errors.New("an operation without content"))
	}
}

// ParseOp reads the payload of an operation's entry, and only the one encoding
// that [Op.Marshal] writes.
func ParseOp(payload []byte) (*Op, error) {
	if len(payload) > MaxOpPayload {
		return nil, invalid("operation of %d bytes, more than %d", len(payload), MaxOpPayload)
	}
	s := cryptobyte.String(payload)
	var version, kind uint8
	o := new(Op)
	var deps cryptobyte.String
	if !s.ReadUint8(&version) || !s.CopyBytes(o.Group[:]) || !s.ReadUint16LengthPrefixed(&deps) || !s.ReadUint8(&kind) {
		return nil, invalid("operation cut short")
	}
	if version != suite {
		return nil, invalid("operation of suite %d; this version knows suite %d", version, suite)
	}
	var err error
	if o.Deps, err = readDeps(deps); err != nil {
		return nil, err
	}
	if (len(o.Deps) == 0) != (OpKind(kind) == OpCreate) {
		return nil, invalid("a create operation depends on nothing, every other on an earlier one")
	}
	if err := o.readContent(OpKind(kind), &s); err != nil {
		return nil, err
	}
	if !s.Empty() {
		return nil, invalid("%d bytes after the operation", len(s))
	}
	return o, nil
}

func (o *Op) readContent(kind OpKind, s *cryptobyte.String) error {
	ok := true
	switch kind {
	case OpCreate:
		return readCreate(s, o)
	case OpAdd:
		o.Add = new(Add)
		ok = readLogID(s, &o.Add.Device) && readByte(s, &o.Add.Role)
		if ok && !o.Add.Role.valid() {
			return invalid("unknown role %d", uint8(o.Add.Role))
		}
	case OpRemove:
		o.Remove = new(Remove)
		ok = readLogID(s, &o.Remove.Device)
	case OpRole:
		o.Role = new(RoleChange)
		ok = readLogID(s, &o.Role.Device) && readByte(s, &o.Role.Role)
		if ok && !o.Role.Role.valid() {
			return invalid("unknown role %d", uint8(o.Role.Role))
		}
	case OpLeave:
		o.Leave = new(Leave)
	case OpRetention:
		o.Retention = new(Retention)
		ok = s.ReadUint16(&o.Retention.Days)
	case OpState:
		o.State = new(StateChange)
		ok = readByte(s, &o.State.State)
		if ok && !o.State.State.valid() {
			return invalid("unknown state of a group %d", uint8(o.State.State))
		}
	case OpAppoint:
		return readAppoint(s, o)
	default:
		return invalid("unknown operation %d", uint8(kind))
	}
	if !ok {
		return invalid("%s operation cut short", kind)
	}
	return nil
}

func readByte[T ~uint8](s *cryptobyte.String, v *T) bool {
	var n uint8
	ok := s.ReadUint8(&n)
	*v = T(n)
	return ok
}

func readAppoint(s *cryptobyte.String, o *Op) error {
	var statement cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&statement) {
		return invalid("appoint operation cut short")
	}
	if len(statement) == 0 || len(statement) > MaxStatement {
		return invalid("appointment by a statement of %d bytes", len(statement))
	}
	o.Appoint = &Appoint{Statement: bytes.Clone(statement)}
	return nil
}

func readDeps(s cryptobyte.String) ([][32]byte, error) {
	if len(s)%32 != 0 || len(s)/32 > MaxDeps {
		return nil, invalid("deps of %d bytes; at most %d ids of 32", len(s), MaxDeps)
	}
	var deps [][32]byte
	for !s.Empty() {
		var d [32]byte
		s.CopyBytes(d[:])
		if n := len(deps); n > 0 && bytes.Compare(deps[n-1][:], d[:]) >= 0 {
			return nil, invalid("deps are not ascending")
		}
		deps = append(deps, d)
	}
	return deps, nil
}

func readCreate(s *cryptobyte.String, o *Op) error {
	var kind uint8
	var name cryptobyte.String
	c := new(Create)
	if !s.ReadUint8(&kind) || !s.CopyBytes(c.Nonce[:]) || !s.ReadUint8LengthPrefixed(&name) {
		return invalid("create operation cut short")
	}
	c.Kind, c.Name = Kind(kind), string(name)
	if !c.Kind.valid() {
		return invalid("unknown kind of group %d", kind)
	}
	if err := checkName(c.Kind, c.Name); err != nil {
		return invalid("%w", err)
	}
	o.Create = c
	return nil
}

// checkName refuses names that could deceive on a screen or break its lines. A
// direct group is called by its members and may go without.
func checkName(kind Kind, name string) error {
	if len(name) == 0 && kind != KindDirect || len(name) > MaxName {
		return fmt.Errorf("the name of a group has 1 to %d bytes, not %d", MaxName, len(name))
	}
	if !utf8.ValidString(name) {
		return errors.New("the name of a group is UTF-8 text")
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("the name of a group cannot contain the character %U", r)
		}
	}
	return nil
}

// OpBody returns the body of an operation's entry, which is of kind epoch: one
// type byte. The operation itself travels only inside the sealed state of
// announces, so that carriers do not learn who is a member of what.
func OpBody() []byte { return []byte{bodyOp} }

func addLogID(b *cryptobyte.Builder, id identity.LogID) {
	raw := id.Bytes()
	b.AddBytes(raw[:])
}

func readLogID(s *cryptobyte.String, id *identity.LogID) bool {
	return s.CopyBytes(id.Author[:]) && s.ReadUint32(&id.Incarnation)
}
