package message

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
)

// Input says how a field is filled in.
type Input string

// The inputs.
const (
	InputLine    Input = "line"    // one line of text
	InputText    Input = "text"    // several lines
	InputChoice  Input = "choice"  // one of Choices
	InputNumber  Input = "number"  // a whole number
	InputTime    Input = "time"    // RFC 3339, or "15:04" of the day in question where a form adds it
	InputEntry   Input = "entry"   // the id of an entry, 64 hexadecimal characters
	InputEntries Input = "entries" // several of them
	InputList    Input = "list"    // several lines, each a value
)

// Choice is one of the values that a field allows.
type Choice struct {
	Value string // in the encoding, "p1"
	Label string // for people, "P1 immediate"
}

// Field is one field of a content, bound to it. Number is its key in the encoding, Name its name in JSON and on the command
// line, Label what people read. Neither a number nor a name is ever given to another meaning.
type Field struct {
	Number   uint64
	Name     string
	Label    string
	Help     string // one sentence for who fills it in, may be empty
	Required bool
	value
}

// value is how a field's value is checked, written and read. Errors say what is wrong after "the field X" and hold nothing
// of the value.
type value interface {
	Input() Input
	// Choices are what an [InputChoice] allows, in order; nil for others.
	Choices() []Choice
	// Zero reports whether nothing was filled in; then the field is left out of the encoding.
	Zero() bool
	// Values is the value as [Field.Set] reads it, nil if Zero.
	Values() []string
	// Human is the value as people read it.
	Human() string

	set(values []string) error
	check() error
	encode() any
	decode(c modes, raw cbor.RawMessage) error
}

// Set reads a value from a form. No values, or empty ones, clear the field.
func (f Field) Set(values ...string) error {
	values = slices.DeleteFunc(slices.Clone(values), func(s string) bool { return strings.TrimSpace(s) == "" })
	return f.wrap(f.value.set(values))
}

// Check reports what is wrong with the field.
func (f Field) Check() error {
	if f.Zero() {
		if f.Required {
			return fmt.Errorf("%w: the field %q (%s) is missing; fill it in", ErrInvalid, f.Label, f.Name)
		}
		return nil
	}
	return f.wrap(f.value.check())
}

func (f Field) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: the field %q (%s) %w", ErrInvalid, f.Label, f.Name, err)
}

// textValue is a text of at most max bytes.
type textValue struct {
	p    *string
	max  int
	line bool
}

func line(p *string, most int) textValue  { return textValue{p: p, max: most, line: true} }
func prose(p *string, most int) textValue { return textValue{p: p, max: most} }

func (v textValue) Input() Input {
	if v.line {
		return InputLine
	}
	return InputText
}
func (v textValue) Choices() []Choice { return nil }
func (v textValue) Zero() bool        { return *v.p == "" }
func (v textValue) Human() string     { return *v.p }
func (v textValue) Values() []string {
	if v.Zero() {
		return nil
	}
	return []string{*v.p}
}

func (v textValue) set(values []string) error {
	*v.p = ""
	if len(values) > 0 {
		*v.p = Clean(values[len(values)-1])
	}
	return v.check()
}

func (v textValue) check() error { return checkText(*v.p, v.max, v.line) }
func (v textValue) encode() any  { return *v.p }
func (v textValue) decode(c modes, raw cbor.RawMessage) error {
	return c.read(raw, v.p)
}

// checkText holds the rules of every text. The error follows the name of a field.
func checkText(s string, most int, line bool) error {
	switch {
	case s == "":
		return nil
	case len(s) > most:
		return fmt.Errorf("has %d bytes, at most %d fit; shorten it or send it in parts", len(s), most)
	case !utf8.ValidString(s):
		return fmt.Errorf("is not valid UTF-8; save it as UTF-8 and try again")
	case line && strings.ContainsAny(s, "\n\t"):
		return fmt.Errorf("must be one line")
	}
	// A terminal obeys control characters, and marks of direction show a text in another order than it was written:
	// a message must not be able to rewrite the screen it is read on, nor "5 mg" to look like "50 mg".
	if i := strings.IndexFunc(s, hidden); i >= 0 {
		return fmt.Errorf("has a hidden character at byte %d; remove it", i)
	}
	if i := disguised(s); i >= 0 {
		return fmt.Errorf("has a letter or digit of another alphabet, at byte %d, that looks like its neighbours and is none; type the word again", i)
	}
	if !strings.ContainsFunc(s, visible) {
		return fmt.Errorf("is blank; write something")
	}
	return nil
}

// choiceValue is one of a few words.
type choiceValue[T ~string] struct {
	p       *T
	choices []Choice
}

func choice[T ~string](p *T, choices ...Choice) choiceValue[T] { return choiceValue[T]{p, choices} }

func (v choiceValue[T]) Input() Input      { return InputChoice }
func (v choiceValue[T]) Choices() []Choice { return v.choices }
func (v choiceValue[T]) Zero() bool        { return *v.p == "" }
func (v choiceValue[T]) Human() string     { return label(v.choices, string(*v.p)) }
func (v choiceValue[T]) Values() []string {
	if v.Zero() {
		return nil
	}
	return []string{string(*v.p)}
}

func label(choices []Choice, value string) string {
	for _, c := range choices {
		if c.Value == value {
			return c.Label
		}
	}
	return value
}

func (v choiceValue[T]) set(values []string) error {
	*v.p = ""
	if len(values) > 0 {
		*v.p = T(strings.ToLower(strings.TrimSpace(values[len(values)-1])))
		return v.check()
	}
	return nil
}

func (v choiceValue[T]) check() error {
	words := make([]string, len(v.choices))
	for i, c := range v.choices {
		if c.Value == string(*v.p) {
			return nil
		}
		words[i] = c.Value
	}
	return fmt.Errorf("must be one of %s", strings.Join(words, ", "))
}
func (v choiceValue[T]) encode() any { return string(*v.p) }
func (v choiceValue[T]) decode(c modes, raw cbor.RawMessage) error {
	var s string
	err := c.read(raw, &s)
	*v.p = T(s)
	return err
}

// numberValue is a whole number from least to most; 0 counts as not filled in, so a field whose 0 means something has a
// pointer.
type numberValue struct {
	p           **int
	least, most int
	unit        string
}

func number(p **int, least, most int, unit string) numberValue {
	return numberValue{p, least, most, unit}
}

func (v numberValue) Input() Input      { return InputNumber }
func (v numberValue) Choices() []Choice { return nil }
func (v numberValue) Zero() bool        { return *v.p == nil }
func (v numberValue) Human() string {
	if v.Zero() {
		return ""
	}
	if v.unit == "" {
		return strconv.Itoa(**v.p)
	}
	return fmt.Sprintf("%d %s", **v.p, v.unit)
}
func (v numberValue) Values() []string {
	if v.Zero() {
		return nil
	}
	return []string{strconv.Itoa(**v.p)}
}

func (v numberValue) set(values []string) error {
	*v.p = nil
	if len(values) == 0 {
		return nil
	}
	n, err := strconv.Atoi(strings.TrimSpace(values[len(values)-1]))
	if err != nil {
		return fmt.Errorf("must be a whole number")
	}
	*v.p = &n
	return v.check()
}

func (v numberValue) check() error {
	if n := **v.p; n < v.least || n > v.most {
		return fmt.Errorf("must be from %d to %d", v.least, v.most)
	}
	return nil
}
func (v numberValue) encode() any { return **v.p }
func (v numberValue) decode(c modes, raw cbor.RawMessage) error {
	var n int
	err := c.read(raw, &n)
	*v.p = &n
	return err
}

// momentValue is a time in whole milliseconds, UTC.
type momentValue struct{ p *time.Time }

func moment(p *time.Time) momentValue { return momentValue{p} }

func (v momentValue) Input() Input      { return InputTime }
func (v momentValue) Choices() []Choice { return nil }
func (v momentValue) Zero() bool        { return v.p.IsZero() }
func (v momentValue) Human() string {
	if v.Zero() {
		return ""
	}
	return v.p.UTC().Format("2 Jan 2006 15:04 UTC")
}
func (v momentValue) Values() []string {
	if v.Zero() {
		return nil
	}
	return []string{v.p.UTC().Format("2006-01-02T15:04:05.999Z07:00")}
}

func (v momentValue) set(values []string) error {
	*v.p = time.Time{}
	if len(values) == 0 {
		return nil
	}
	t, err := time.Parse(time.RFC3339, strings.TrimSpace(values[len(values)-1]))
	if err != nil {
		return fmt.Errorf("must be a time such as 2026-11-22T14:05:00Z")
	}
	*v.p = t.UTC().Truncate(time.Millisecond)
	return v.check()
}

func (v momentValue) check() error {
	if ms := v.p.UnixMilli(); ms <= 0 || ms >= latest {
		return fmt.Errorf("is outside 1970 to 9999")
	}
	return nil
}
func (v momentValue) encode() any { return v.p.UnixMilli() }
func (v momentValue) decode(c modes, raw cbor.RawMessage) error {
	var ms int64
	if err := c.read(raw, &ms); err != nil {
		return err
	}
	if ms <= 0 || ms >= latest {
		return fmt.Errorf("is outside 1970 to 9999")
	}
	*v.p = time.UnixMilli(ms).UTC()
	return nil
}
