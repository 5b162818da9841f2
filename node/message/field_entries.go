package message

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/fxamacker/cbor/v2"
)

// EntryID is the id of a ledger entry. Zero is none.
type EntryID = [32]byte

// entryValue points at another message.
type entryValue struct{ p *EntryID }

func entry(p *EntryID) entryValue { return entryValue{p} }

func (v entryValue) Input() Input      { return InputEntry }
func (v entryValue) Choices() []Choice { return nil }
func (v entryValue) Zero() bool        { return *v.p == EntryID{} }
func (v entryValue) Human() string {
	if v.Zero() {
		return ""
	}
	return "message " + hex.EncodeToString(v.p[:4])
}
func (v entryValue) Values() []string {
	if v.Zero() {
		return nil
	}
	return []string{hex.EncodeToString(v.p[:])}
}

func (v entryValue) set(values []string) (err error) {
	*v.p = EntryID{}
	if len(values) > 0 {
		*v.p, err = parseEntryID(values[len(values)-1])
	}
	return err
}
func (v entryValue) check() error { return nil }
func (v entryValue) encode() any  { return v.p[:] }
func (v entryValue) decode(c modes, raw cbor.RawMessage) (err error) {
	var b []byte
	if err := c.read(raw, &b); err != nil {
		return err
	}
	*v.p, err = entryID(b)
	return err
}

// madeEntry points at another message, and is filled in by the sender's device: no form asks for it.
type madeEntry struct{ entryValue }

func (v madeEntry) Input() Input { return InputMade }

func parseEntryID(s string) (EntryID, error) {
	b, err := hex.DecodeString(strings.TrimSpace(s))
	if err != nil || len(b) != len(EntryID{}) {
		return EntryID{}, fmt.Errorf("must be the whole id of a message, 64 hexadecimal characters")
	}
	return EntryID(b), nil
}

func entryID(b []byte) (EntryID, error) {
	if len(b) != len(EntryID{}) {
		return EntryID{}, fmt.Errorf("has an entry id of %d bytes, it must have 32", len(b))
	}
	return EntryID(b), nil
}

// entriesValue names 1 to max messages. They are encoded in ascending order without repeats.
type entriesValue struct {
	p   *[]EntryID
	max int
}

func entries(p *[]EntryID, most int) entriesValue { return entriesValue{p, most} }

func (v entriesValue) Input() Input      { return InputEntries }
func (v entriesValue) Choices() []Choice { return nil }
func (v entriesValue) Zero() bool        { return len(*v.p) == 0 }
func (v entriesValue) Human() string {
	return fmt.Sprintf("%d %s", len(*v.p), plural(len(*v.p), "message", "messages"))
}
func (v entriesValue) Values() []string {
	var out []string
	for _, id := range sortIDs(*v.p) {
		out = append(out, hex.EncodeToString(id[:]))
	}
	return out
}

func (v entriesValue) set(values []string) error {
	*v.p = nil
	for _, s := range values {
		id, err := parseEntryID(s)
		if err != nil {
			return err
		}
		*v.p = append(*v.p, id)
	}
	return v.check()
}

func (v entriesValue) check() error {
	if n := len(*v.p); n > v.max {
		return fmt.Errorf("names 1 to %d entries, this one %d", v.max, n)
	}
	return nil
}

func (v entriesValue) encode() any {
	var out [][]byte
	for _, id := range sortIDs(*v.p) {
		out = append(out, id[:])
	}
	return out
}

func (v entriesValue) decode(c modes, raw cbor.RawMessage) error {
	var list [][]byte
	if err := c.read(raw, &list); err != nil {
		return err
	}
	if len(list) > v.max {
		return fmt.Errorf("names 1 to %d entries, this one %d", v.max, len(list))
	}
	*v.p = nil
	for _, b := range list {
		id, err := entryID(b)
		if err != nil {
			return err
		}
		*v.p = append(*v.p, id)
	}
	return nil
}

// madeEntries names messages, and is filled in by the sender's device: no form asks for it.
type madeEntries struct{ entriesValue }

func (v madeEntries) Input() Input { return InputMade }

// sortIDs returns the ids in ascending order without repeats, leaving the argument alone.
func sortIDs(ids []EntryID) []EntryID {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, func(a, b EntryID) int { return slices.Compare(a[:], b[:]) })
	return slices.Compact(ids)
}

// listValue is 1 to max lines, in the writer's order.
type listValue struct {
	p         *[]string
	max, each int
	// shape, if set, reports what is wrong with one of them, after "has a value that".
	shape func(string) error
	// human, if set, is one of them as people read it.
	human func(string) string
}

func list(p *[]string, most, each int) listValue { return listValue{p: p, max: most, each: each} }

func (v listValue) Input() Input      { return InputList }
func (v listValue) Choices() []Choice { return nil }
func (v listValue) Zero() bool        { return len(*v.p) == 0 }
func (v listValue) Human() string {
	words := slices.Clone(*v.p)
	if v.human != nil {
		for i, s := range words {
			words[i] = v.human(s)
		}
	}
	return strings.Join(words, "; ")
}
func (v listValue) Values() []string { return slices.Clone(*v.p) }

func (v listValue) set(values []string) error {
	*v.p = nil
	for _, s := range values {
		*v.p = append(*v.p, Clean(s))
	}
	return v.check()
}

func (v listValue) check() error {
	if n := len(*v.p); n > v.max {
		return fmt.Errorf("has %d values, at most %d fit", n, v.max)
	}
	for i, s := range *v.p {
		err := checkText(s, v.each, true)
		switch {
		case s == "":
			err = fmt.Errorf("is blank; write something")
		case err == nil && v.shape != nil:
			err = v.shape(s)
		}
		if err != nil {
			return fmt.Errorf("has a value, number %d, that %w", i+1, err)
		}
	}
	return nil
}
func (v listValue) encode() any { return *v.p }
func (v listValue) decode(c modes, raw cbor.RawMessage) error {
	*v.p = nil
	return c.read(raw, v.p)
}

// Redirect returns m with every entry that it points at replaced by what to says, such as the first of several entries by which one
// message left. m itself stays as it is.
func Redirect(m Message, to func(EntryID) EntryID) Message {
	if m.Content == nil || !redirect(m.Content, to, false) {
		return m
	}
	c := New(m.Kind())
	if err := Fill(c, Values(m.Content)); err != nil {
		return m // not a valid message: there is nothing to redirect
	}
	redirect(c, to, true)
	return Message{Sent: m.Sent, Content: c, For: m.For}
}

// redirect reports whether anything that c points at is to be replaced, and replaces it if set.
func redirect(c Content, to func(EntryID) EntryID, set bool) (changes bool) {
	for _, f := range c.Fields() {
		switch v := f.value.(type) {
		case entryValue:
			changes = redirectOne(v.p, to, set) || changes
		case madeEntry:
			changes = redirectOne(v.p, to, set) || changes
		case entriesValue:
			changes = redirectAll(*v.p, to, set) || changes
		case madeEntries:
			changes = redirectAll(*v.p, to, set) || changes
		}
	}
	return changes
}

func redirectAll(ids []EntryID, to func(EntryID) EntryID, set bool) (changes bool) {
	for i, id := range ids {
		next := to(id)
		changes = changes || next != id
		if set {
			ids[i] = next
		}
	}
	return changes
}

func redirectOne(p *EntryID, to func(EntryID) EntryID, set bool) (changes bool) {
	next := to(*p)
	changes = next != *p
	if set {
		*p = next
	}
	return changes
}
