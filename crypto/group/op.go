package group

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/identity"
)

// OpKind is what an operation does. The numbers are part of the format; those
// without a decoder here are reserved and refused by name.
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
)

var opNames = [...]string{"", "create", "add", "remove", "role", "leave", "retention", "state"}

// String returns the word for k.
func (k OpKind) String() string {
	if k >= OpCreate && k <= OpState {
		return opNames[k]
	}
	return fmt.Sprintf("op(%d)", uint8(k))
}

// Op is a group operation. Exactly one of Create and Add is set.
//
// A new kind gets the next free code point and a field here; the encoding of
// an existing one never changes. An older version refuses an announce that
// carries a kind it does not know, because it cannot tell the members.
type Op struct {
	Group  ID
	Deps   [][32]byte // ids of the heads its author knew, ascending; none for create
	Create *Create
	Add    *Add
}

// Create makes a group. Its author is the first admin.
type Create struct {
	Kind  Kind
	Nonce [32]byte
	Name  string // 1 to MaxName bytes of printable UTF-8
}

// Add makes a device a member.
type Add struct {
	Device identity.LogID
	Role   Role
}

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

// Kind returns what o does.
func (o *Op) Kind() OpKind {
	if o.Create != nil {
		return OpCreate
	}
	return OpAdd
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
	switch {
	case o.Create != nil:
		b.AddUint8(uint8(o.Create.Kind))
		b.AddBytes(o.Create.Nonce[:])
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(o.Create.Name)) })
	case o.Add != nil:
		addLogID(&b, o.Add.Device)
		b.AddUint8(uint8(o.Add.Role))
	default:
		return nil, errors.New("group: an operation without content")
	}
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
	switch OpKind(kind) {
	case OpCreate:
		err = readCreate(&s, o)
	case OpAdd:
		err = readAdd(&s, o)
	case OpRemove, OpRole, OpLeave, OpRetention, OpState:
		err = invalid("operation %q is not supported by this version of Tocsin", OpKind(kind))
	default:
		err = invalid("unknown operation %d", kind)
	}
	if err != nil {
		return nil, err
	}
	if !s.Empty() {
		return nil, invalid("%d bytes after the operation", len(s))
	}
	return o, nil
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
	if len(o.Deps) != 0 {
		return invalid("a create operation depends on nothing")
	}
	if err := checkName(c.Kind, c.Name); err != nil {
		return invalid("%w", err)
	}
	o.Create = c
	return nil
}

func readAdd(s *cryptobyte.String, o *Op) error {
	a := new(Add)
	var role uint8
	if !readLogID(s, &a.Device) || !s.ReadUint8(&role) {
		return invalid("add operation cut short")
	}
	a.Role = Role(role)
	if !a.Role.valid() {
		return invalid("unknown role %d", role)
	}
	if len(o.Deps) == 0 {
		return invalid("an add operation depends on an earlier one")
	}
	o.Add = a
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

func (o *knownOp) change() (Change, error) {
	var b cryptobyte.Builder
	b.AddUint8(recordFormat)
	addLogID(&b, o.proof.Place.Log)
	b.AddUint64(o.proof.Place.Seq)
	addSignedOp(&b, &o.sealed)
	value, err := b.Bytes()
	if err != nil {
		return Change{}, fmt.Errorf("group: encode operation record: %w", err)
	}
	return Change{Key: opKey(o.op.Group, o.proof.ID), Value: value}, nil
}

func (b *batch) addOp(rest string, value []byte) error {
	n, err := names(rest, 32, 32)
	if err != nil {
		return err
	}
	if value == nil {
		return errors.New("operations live as long as their group")
	}
	s := cryptobyte.String(value)
	o := &knownOp{proof: OpProof{ID: [32]byte(n[1])}}
	var format uint8
	if !s.ReadUint8(&format) || format != recordFormat || !readLogID(&s, &o.proof.Place.Log) || !s.ReadUint64(&o.proof.Place.Seq) {
		return errRecord
	}
	sealed, err := readSignedOp(&s)
	if err != nil || !s.Empty() {
		return errRecord
	}
	o.sealed = *sealed
	o.proof.Commit = Commit(sealed.Opening, sealed.Payload)
	if o.op, err = ParseOp(sealed.Payload); err != nil {
		return err
	}
	if o.op.Group != ID(n[0]) {
		return errRecord
	}
	g := b.group(o.op.Group)
	g.ops[o.proof.ID] = o
	g.digests[sealed.digest()] = o
	return nil
}

// digest names a signed operation by all its bytes, so that one that is known
// need not be verified again.
func (o *SignedOp) digest() [32]byte {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(o.SignedHeader))))
	h.Write(o.SignedHeader)
	h.Write(o.Opening[:])
	h.Write(o.Payload)
	return [32]byte(h.Sum(nil))
}
