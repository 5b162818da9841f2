package message

import (
	"bytes"
	"fmt"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// The wire structures. Rules for changing them: keys are never reused, the fields of a kind never change, and a new field
// means a new kind (see [Kind]).
type (
	wire struct {
		Kind    string          `cbor:"0,keyasint"`
		Sent    int64           `cbor:"1,keyasint"` // milliseconds since 1970-01-01 UTC
		Content cbor.RawMessage `cbor:"2,keyasint"`
	}
	wireText struct {
		Body    string `cbor:"0,keyasint"`
		ReplyTo []byte `cbor:"1,keyasint,omitempty"` // 32 bytes, left out for none
	}
	wireReceipt struct {
		State   string   `cbor:"0,keyasint"`
		Entries [][]byte `cbor:"1,keyasint"` // 32 bytes each, ascending
	}
)

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

// Encode returns the one encoding of the message, at most MaxEncoded bytes. Sent is cut to whole milliseconds and the
// entries of a receipt are sorted. A message of an unknown kind comes out as it came in. Errors wrap ErrInvalid.
func Encode(m Message) ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	c := codec()
	if c.err != nil {
		return nil, fmt.Errorf("message: cannot set up the encoding: %w", c.err)
	}
	if m.Unknown != nil {
		return encodeUnknown(m)
	}
	var content any
	switch {
	case m.Text != nil:
		content = textToWire(m.Text)
	case m.Attachment != nil:
		content = attachmentToWire(m.Attachment)
	default:
		content = receiptToWire(m.Receipt)
	}
	raw, err := c.enc.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("message: encode %s: %w", m.Kind, err)
	}
	b, err := c.enc.Marshal(wire{Kind: string(m.Kind), Sent: m.Sent.UnixMilli(), Content: raw})
	if err != nil {
		return nil, fmt.Errorf("message: encode %s: %w", m.Kind, err)
	}
	return b, nil
}

// encodeUnknown hands back the kept bytes once they have been shown to be the message they are said to be.
func encodeUnknown(m Message) ([]byte, error) {
	kept, err := Decode(m.Unknown)
	if err != nil {
		return nil, err
	}
	if kept.Kind != m.Kind || !kept.Sent.Equal(m.Sent) {
		return nil, fmt.Errorf("%w: the kept bytes are another message", ErrInvalid)
	}
	return kept.Unknown, nil
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
	m := Message{Kind: Kind(w.Kind), Sent: time.UnixMilli(w.Sent).UTC()}
	if err := c.decodeContent(&m, w, b); err != nil {
		return Message{}, err
	}
	if err := m.Validate(); err != nil {
		return Message{}, err
	}
	if m.Unknown != nil {
		return m, nil
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

func (c modes) decodeContent(m *Message, w wire, whole []byte) error {
	switch m.Kind {
	case KindText:
		var t wireText
		if err := c.dec.Unmarshal(w.Content, &t); err != nil {
			return fmt.Errorf("%w: the text cannot be read", ErrInvalid)
		}
		return textFromWire(m, t)
	case KindReceipt:
		var r wireReceipt
		if err := c.dec.Unmarshal(w.Content, &r); err != nil {
			return fmt.Errorf("%w: the receipt cannot be read", ErrInvalid)
		}
		return receiptFromWire(m, r)
	case KindAttachment:
		var a wireAttachment
		if err := c.dec.Unmarshal(w.Content, &a); err != nil {
			return fmt.Errorf("%w: the attachment cannot be read", ErrInvalid)
		}
		return attachmentFromWire(m, a)
	}
	return c.keepUnknown(m, w, whole)
}

// keepUnknown checks that a message of an unknown kind is deterministic CBOR as a whole, and keeps it.
func (c modes) keepUnknown(m *Message, w wire, whole []byte) error {
	var content any
	if err := c.dec.Unmarshal(w.Content, &content); err != nil {
		return fmt.Errorf("%w: the content cannot be read", ErrInvalid)
	}
	raw, err := c.enc.Marshal(content)
	if err != nil {
		return fmt.Errorf("%w: the content cannot be encoded again", ErrInvalid)
	}
	again, err := c.enc.Marshal(wire{Kind: w.Kind, Sent: w.Sent, Content: raw})
	if err != nil {
		return fmt.Errorf("%w: it cannot be encoded again", ErrInvalid)
	}
	if !bytes.Equal(again, whole) {
		return errNotDeterministic
	}
	m.Unknown = bytes.Clone(whole)
	return nil
}

func textToWire(t *Text) wireText {
	w := wireText{Body: t.Body}
	if t.ReplyTo != ([32]byte{}) {
		w.ReplyTo = t.ReplyTo[:]
	}
	return w
}

func textFromWire(m *Message, w wireText) error {
	m.Text = &Text{Body: w.Body}
	if w.ReplyTo == nil {
		return nil
	}
	id, err := entryID(w.ReplyTo)
	m.Text.ReplyTo = id
	return err
}

func receiptToWire(r *Receipt) wireReceipt {
	w := wireReceipt{State: string(r.State)}
	for _, id := range sortIDs(r.Entries) {
		w.Entries = append(w.Entries, id[:])
	}
	return w
}

func receiptFromWire(m *Message, w wireReceipt) error {
	if len(w.Entries) > MaxReceiptEntries {
		return fmt.Errorf("%w: a receipt names 1 to %d entries, this one %d", ErrInvalid, MaxReceiptEntries, len(w.Entries))
	}
	m.Receipt = &Receipt{State: State(w.State)}
	for _, b := range w.Entries {
		id, err := entryID(b)
		if err != nil {
			return err
		}
		m.Receipt.Entries = append(m.Receipt.Entries, id)
	}
	return nil
}

func entryID(b []byte) (id [32]byte, err error) {
	if len(b) != len(id) {
		return id, fmt.Errorf("%w: an entry id has %d bytes, it must have 32", ErrInvalid, len(b))
	}
	return [32]byte(b), nil
}
