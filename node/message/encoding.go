package message

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// wire is the outer map. The content is a map from the numbers of fields to their values, without those that were not
// filled in ([Field]). Rules for changing either: numbers are never reused, the fields of a kind never change, and a new
// field means a new kind (see [Kind]).
type wire struct {
	Kind    string          `cbor:"0,keyasint"`
	Sent    int64           `cbor:"1,keyasint"` // milliseconds since 1970-01-01 UTC
	Content cbor.RawMessage `cbor:"2,keyasint"`
	For     []string        `cbor:"3,keyasint,omitempty"` // addresses, in the writer's order
}

// modes are the two CBOR modes: deterministic out, strict in.
type modes struct {
	enc cbor.EncMode
	dec cbor.DecMode
	err error
}

var codec = sync.OnceValue(func() modes {
	out := cbor.CoreDetEncOptions()
	out.IndefLength = cbor.IndefLengthForbidden
	out.TagsMd = cbor.TagsForbidden
	enc, err := out.EncMode()
	if err != nil {
		return modes{err: err}
	}
	dec, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		UTF8:              cbor.UTF8RejectInvalid,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		MaxNestedLevels:   8,
		MaxArrayElements:  4096,
		MaxMapPairs:       256,
	}.DecMode()
	return modes{enc: enc, dec: dec, err: err}
})

// read decodes one value. The decoder's own words may repeat content and are left out.
func (c modes) read(raw cbor.RawMessage, into any) error {
	if err := c.dec.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("cannot be read")
	}
	return nil
}

// Encode returns the one encoding of the message, at most MaxEncoded bytes. Sent is cut to whole milliseconds, and lists of
// entries are sorted. A message of an unknown kind comes out as it came in. Errors wrap ErrInvalid.
func Encode(m Message) ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	c := codec()
	if c.err != nil {
		return nil, fmt.Errorf("message: cannot set up the encoding: %w", c.err)
	}
	if u, ok := m.Content.(*Unknown); ok {
		return encodeUnknown(m, u)
	}
	content := make(map[uint64]any)
	for _, f := range m.Content.Fields() {
		if !f.Zero() {
			content[f.Number] = f.encode()
		}
	}
	raw, err := c.enc.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("message: encode %s: %w", m.Kind(), err)
	}
	b, err := c.enc.Marshal(wire{Kind: string(m.Kind()), Sent: m.Sent.UnixMilli(), Content: raw, For: m.For})
	if err != nil {
		return nil, fmt.Errorf("message: encode %s: %w", m.Kind(), err)
	}
	if len(b) > MaxEncoded {
		return nil, fmt.Errorf("%w: it has %d bytes, at most %d fit; shorten it or send it in parts", ErrInvalid, len(b), MaxEncoded)
	}
	return b, nil
}

// encodeUnknown hands back the kept bytes once they have been shown to be the message they are said to be.
func encodeUnknown(m Message, u *Unknown) ([]byte, error) {
	kept, err := Decode(u.Raw)
	if err != nil {
		return nil, err
	}
	k, ok := kept.Content.(*Unknown)
	if !ok || k.Named != u.Named || !kept.Sent.Equal(m.Sent) || !slices.Equal(kept.For, m.For) {
		return nil, fmt.Errorf("%w: the kept bytes are another message", ErrInvalid)
	}
	return k.Raw, nil
}

// Decode reads one message. It refuses trailing bytes, unknown fields, every encoding but the deterministic one, and every
// message that breaks a rule; errors wrap ErrInvalid and never repeat content. The result shares no memory with b.
func Decode(b []byte) (Message, error) {
	if len(b) > MaxEncoded {
		return Message{}, fmt.Errorf("%w: %d bytes, at most %d are read", ErrInvalid, len(b), MaxEncoded)
	}
	c := codec()
	if c.err != nil {
		return Message{}, fmt.Errorf("message: cannot set up the encoding: %w", c.err)
	}
	var w wire
	if err := c.dec.Unmarshal(b, &w); err != nil {
		return Message{}, fmt.Errorf("%w: the outer map cannot be read", ErrInvalid)
	}
	if len(w.Content) == 0 {
		return Message{}, fmt.Errorf("%w: it has no content", ErrInvalid)
	}
	m := Message{Sent: time.UnixMilli(w.Sent).UTC(), Content: New(Kind(w.Kind)), For: w.For}
	if m.Content == nil {
		return c.keepUnknown(w, b)
	}
	if err := c.fill(m.Content, w.Content); err != nil {
		return Message{}, err
	}
	again, err := Encode(m)
	if err != nil {
		return Message{}, err
	}
	if !bytes.Equal(again, b) {
		return Message{}, errNotDeterministic
	}
	return m, nil
}

var errNotDeterministic = fmt.Errorf("%w: it is not in the deterministic encoding", ErrInvalid)

// fill reads the map of a content into its fields.
func (c modes) fill(content Content, raw cbor.RawMessage) error {
	var values map[uint64]cbor.RawMessage
	if err := c.dec.Unmarshal(raw, &values); err != nil {
		return fmt.Errorf("%w: the content cannot be read", ErrInvalid)
	}
	for _, f := range content.Fields() {
		if v, ok := values[f.Number]; ok {
			if err := f.wrap(f.decode(c, v)); err != nil {
				return err
			}
			delete(values, f.Number)
		}
	}
	if len(values) > 0 {
		return fmt.Errorf("%w: %d of its fields belong to no message of this kind", ErrInvalid, len(values))
	}
	return nil
}

// keepUnknown checks that a message of an unknown kind is deterministic CBOR as a whole, and keeps it.
func (c modes) keepUnknown(w wire, whole []byte) (Message, error) {
	var content any
	if err := c.dec.Unmarshal(w.Content, &content); err != nil {
		return Message{}, fmt.Errorf("%w: the content cannot be read", ErrInvalid)
	}
	raw, err := c.enc.Marshal(content)
	if err != nil {
		return Message{}, fmt.Errorf("%w: the content cannot be encoded again", ErrInvalid)
	}
	again, err := c.enc.Marshal(wire{Kind: w.Kind, Sent: w.Sent, Content: raw, For: w.For})
	if err != nil {
		return Message{}, fmt.Errorf("%w: it cannot be encoded again", ErrInvalid)
	}
	if !bytes.Equal(again, whole) {
		return Message{}, errNotDeterministic
	}
	m := Message{Sent: time.UnixMilli(w.Sent).UTC(), Content: &Unknown{Named: Kind(w.Kind), Raw: bytes.Clone(whole)}, For: w.For}
	return m, m.Validate()
}
