package ledger

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/mod/sumdb/tlog"

	"tocsin/crypto/identity"
)

// Testimony is what one device says about another's log: [Cosigned] or
// [Custody]; or the proof that nothing more is to be said: *[Contradiction]. Of
// each log, witness and kind the last one counts. It is no entry, and travels in
// the control scope of a synchronisation.
//
// Evolution: kinds are never reused; a kind that is not known is refused, and
// costs its sender nothing.
type Testimony interface {
	// Verify checks every signature in it.
	Verify(mesh identity.MeshID) error

	kind() testimonyKind
	subject() LogID
	by() identity.Key // the witness key
	add(*cryptobyte.Builder)
}

type testimonyKind uint8

const (
	testimonyCosigned      testimonyKind = 1
	testimonyCustody       testimonyKind = 2
	testimonyContradiction testimonyKind = 3
)

var (
	// ErrTestimony: the bytes are no testimony, or a signature in it is wrong.
	// Whoever made it is to blame.
	ErrTestimony = errors.New("ledger: invalid testimony")
	// ErrUnknownWitness: the witness key belongs to no credential that is known
	// yet. Ask again when it is.
	ErrUnknownWitness = errors.New("ledger: the witness is not known yet")
)

// MarshalTestimony returns the encoding of t: its kind, one byte, and its fields
// (FORMAT.md).
func MarshalTestimony(t Testimony) []byte {
	var b cryptobyte.Builder
	b.AddUint8(uint8(t.kind()))
	t.add(&b)
	return b.BytesOrPanic() // fixed-size fields only: it cannot fail
}

// ParseTestimony reads the form that [MarshalTestimony] writes. It does not
// check signatures. Errors match [ErrTestimony].
func ParseTestimony(raw []byte) (Testimony, error) {
	s := cryptobyte.String(raw)
	t, err := readTestimony(&s)
	if err != nil {
		return nil, err
	}
	if !s.Empty() {
		return nil, fmt.Errorf("%w: %d bytes follow it", ErrTestimony, len(s))
	}
	return t, nil
}

func readTestimony(s *cryptobyte.String) (t Testimony, err error) {
	var kind uint8
	ok := s.ReadUint8(&kind)
	if ok {
		switch testimonyKind(kind) {
		case testimonyCosigned:
			t, ok = readCosigned(s)
		case testimonyCustody:
			t, ok = readCustody(s)
		case testimonyContradiction:
			t, ok = readContradiction(s)
		default:
			return nil, fmt.Errorf("%w: kind %d is not known to this program; a newer one may be needed", ErrTestimony, kind)
		}
	}
	if !ok {
		return nil, fmt.Errorf("%w: it is cut short or contradicts itself", ErrTestimony)
	}
	return t, nil
}

// LogTestimony is all that is kept of the testimony about one log. Sets that
// took the same testimony in any order and any grouping are equal.
type LogTestimony struct {
	Log LogID

	kept []kept // by kind, then witness
}

// kept is a testimony with the organisation of its witness.
type kept struct {
	Testimony
	org string // empty for a contradiction
}

// place orders what is held: one of each kind and witness.
func place(a, b kept) int {
	ka, kb := a.by(), b.by()
	return cmp.Or(cmp.Compare(a.kind(), b.kind()), bytes.Compare(ka[:], kb[:]))
}

// rank is above zero if a is worth more than b of the same kind: what replaces
// an older one, and what is kept when there are too many. All devices must
// agree, so it looks at nothing but the two.
func rank(a, b Testimony) int {
	switch x := a.(type) {
	case Cosigned:
		return x.rank(b.(Cosigned))
	case Custody:
		y := b.(Custody)
		return cmp.Or(cmp.Compare(x.Until, y.Until), cmp.Compare(x.To, y.To), cmp.Compare(y.From, x.From),
			bytes.Compare(y.Holder[:], x.Holder[:]), bytes.Compare(y.Signature[:], x.Signature[:]))
	}
	x, y := a.(*Contradiction), b.(*Contradiction)
	return cmp.Or(cmp.Compare(y.A.Size, x.A.Size), compareHash(y.A.Root, x.A.Root), compareHash(y.B.Root, x.B.Root),
		bytes.Compare(MarshalTestimony(y), MarshalTestimony(x)))
}

// rank: the larger tree; then, of two witnesses, the one that a hash chooses, so
// that no key is kept for all logs; then the earlier time, which proves more.
func (c Cosigned) rank(o Cosigned) int {
	hc, ho := c.draw(), o.draw()
	return cmp.Or(cmp.Compare(c.Size, o.Size), bytes.Compare(ho[:], hc[:]), compareHash(o.Root, c.Root),
		cmp.Compare(o.Time, c.Time), bytes.Compare(o.Cosignature[:], c.Cosignature[:]), bytes.Compare(o.Signature[:], c.Signature[:]))
}

func (c Cosigned) draw() [32]byte {
	log := c.Log.Bytes()
	return sha256.Sum256(slices.Concat(log[:], c.Witness[:]))
}

func compareHash(a, b tlog.Hash) int { return bytes.Compare(a[:], b[:]) }

// find returns where a testimony stands or would stand.
func (l *LogTestimony) find(h kept) (int, bool) {
	return slices.BinarySearchFunc(l.kept, h, place)
}

// newer reports whether t would replace what is held of its kind and witness.
func (l *LogTestimony) newer(t Testimony) bool {
	i, ok := l.find(kept{Testimony: t})
	return !ok || rank(t, l.kept[i].Testimony) > 0
}

// add takes a verified testimony of a known witness. self is never dropped. It
// reports whether anything changed.
func (l *LogTestimony) add(t Testimony, org string, self identity.Key) bool {
	if !l.newer(t) {
		return false
	}
	before := slices.Clone(l.kept)
	if c, ok := t.(Cosigned); ok {
		l.evidence(c, self)
	}
	l.put(kept{t, org})
	l.trim(self)
	return !slices.Equal(before, l.kept)
}

func (l *LogTestimony) put(h kept) {
	i, ok := l.find(h)
	if ok {
		l.kept[i] = h
	} else {
		l.kept = slices.Insert(l.kept, i, h)
	}
}

// evidence records that c contradicts what is held.
func (l *LogTestimony) evidence(c Cosigned, self identity.Key) {
	for _, o := range l.Cosigned() {
		if proof := contradict(c.Checkpoint, o.Checkpoint); proof != nil && l.newer(proof) {
			l.put(kept{Testimony: proof})
		}
	}
}

// trim drops what is beyond the limits. Of each kind stay the highest by rank,
// and the highest of each of the highest organisations: both halves are the
// maxima of a total order, so that the order of arrival does not matter.
func (l *LogTestimony) trim(self identity.Key) {
	keep := make(map[kept]bool)
	for _, kind := range []testimonyKind{testimonyCosigned, testimonyCustody} {
		var of []kept
		for _, h := range l.kept {
			if h.kind() == kind {
				of = append(of, h)
			}
		}
		slices.SortFunc(of, func(a, b kept) int { return rank(b.Testimony, a.Testimony) })
		orgs := make(map[string]bool)
		for i, h := range of {
			first := !orgs[h.org] && len(orgs) < testimonyByOrg
			orgs[h.org] = orgs[h.org] || first
			if i < testimonyByRank || first || h.by() == self {
				keep[h] = true
			}
		}
	}
	l.kept = slices.DeleteFunc(l.kept, func(h kept) bool { return h.kind() != testimonyContradiction && !keep[h] })
}

// All returns what is held, each kind by rising witness key.
func (l *LogTestimony) All() []Testimony {
	all := make([]Testimony, len(l.kept))
	for i := range l.kept {
		all[i] = l.kept[i].Testimony
	}
	return all
}

// Cosigned returns the cosignatures.
func (l *LogTestimony) Cosigned() []Cosigned {
	var all []Cosigned
	for _, h := range l.kept {
		if c, ok := h.Testimony.(Cosigned); ok {
			all = append(all, c)
		}
	}
	return all
}

// Custody returns the custody statements.
func (l *LogTestimony) Custody() []Custody {
	var all []Custody
	for _, h := range l.kept {
		if c, ok := h.Testimony.(Custody); ok {
			all = append(all, c)
		}
	}
	return all
}

// Contradiction returns the evidence that the author signed two roots for one
// size, or nil.
func (l *LogTestimony) Contradiction() *Contradiction {
	for _, h := range l.kept {
		if c, ok := h.Testimony.(*Contradiction); ok {
			return c
		}
	}
	return nil
}

// of returns the cosignature of one witness, or nil.
func (l *LogTestimony) of(witness identity.Key) *Cosigned {
	i, ok := l.find(kept{Testimony: Cosigned{Witness: witness}})
	if !ok {
		return nil
	}
	c := l.kept[i].Testimony.(Cosigned)
	return &c
}

// What is stored: FORMAT.md, "Testimony".

func (l *LogTestimony) marshal() ([]byte, error) {
	var b cryptobyte.Builder
	for _, h := range l.kept {
		b.AddUint8LengthPrefixed(func(c *cryptobyte.Builder) { c.AddBytes([]byte(h.org)) })
		b.AddUint8(uint8(h.kind()))
		h.add(&b)
	}
	body, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("ledger: cannot encode the testimony about log %s: %w", l.Log, err)
	}
	return append(testimonyCheck(l.Log, body), body...), nil
}

func testimonyCheck(id LogID, body []byte) []byte {
	h := sha256.New()
	h.Write([]byte("tocsin/1 testimony\x00"))
	log := id.Bytes()
	h.Write(log[:])
	h.Write(body)
	return h.Sum(nil)[:checkSize]
}

// parseLogTestimony reads what marshal wrote. Signatures were checked before it
// was stored and are not checked again; the check value finds damage.
func parseLogTestimony(id LogID, value []byte) (*LogTestimony, error) {
	damage := func(what string) error {
		return fmt.Errorf("%w: the testimony about log %s %s", ErrDamaged, id, what)
	}
	if len(value) < checkSize || !bytes.Equal(value[:checkSize], testimonyCheck(id, value[checkSize:])) {
		return nil, damage("was changed")
	}
	l := &LogTestimony{Log: id}
	for s := cryptobyte.String(value[checkSize:]); !s.Empty(); {
		var org cryptobyte.String
		if !s.ReadUint8LengthPrefixed(&org) {
			return nil, damage("is cut short")
		}
		t, err := readTestimony(&s)
		if err != nil {
			return nil, damage(err.Error())
		}
		h := kept{t, string(org)}
		if t.subject() != id || len(l.kept) > 0 && place(l.kept[len(l.kept)-1], h) >= 0 {
			return nil, damage("is of another log, or out of order")
		}
		l.kept = append(l.kept, h)
	}
	return l, nil
}

// Shared returns what every device keeps that took the same testimony: all but
// what this device keeps of itself beyond the limits. It is what others are told:
// they would drop the rest, and it must not make two tables look different.
func (l *LogTestimony) Shared() *LogTestimony {
	cp := &LogTestimony{Log: l.Log, kept: slices.Clone(l.kept)}
	cp.trim(identity.Key{})
	return cp
}

// Hash names the set: SHA-256("tocsin/testimony/v1\0" ‖ log ‖ each testimony's
// encoding). Devices that took the same testimony have the same hash.
func (l *LogTestimony) Hash() [32]byte {
	h := sha256.New()
	h.Write([]byte("tocsin/testimony/v1\x00"))
	log := l.Log.Bytes()
	h.Write(log[:])
	for _, t := range l.Shared().All() {
		h.Write(MarshalTestimony(t))
	}
	return [32]byte(h.Sum(nil))
}
