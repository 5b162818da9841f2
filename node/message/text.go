package message

import (
	"fmt"
	"time"
)

// Text is free text.
type Text struct {
	private
	// Body is 1 to MaxText bytes of UTF-8 with at least one visible character, and none that is hidden.
	Body string
	// ReplyTo is the message that this one answers; zero for none.
	ReplyTo EntryID
}

// NewText returns a text message of what was typed or pasted as it is but for hidden characters and line ends; [Encode] checks the rest.
func NewText(body string, sent time.Time) Message {
	return Message{Sent: sent, Content: &Text{Body: plain(body)}}
}

func (t *Text) Kind() Kind      { return KindText }
func (t *Text) Summary() string { return t.Body }
func (t *Text) Fields() []Field {
	return []Field{
		{Number: 0, Name: "body", Label: "Text", Required: true, value: prose(&t.Body, MaxText)},
		{Number: 1, Name: "reply-to", Label: "In reply to", value: entry(&t.ReplyTo)},
	}
}

// Unknown is a message of a kind that this version does not know, kept byte for byte.
type Unknown struct {
	private
	// Named is what its sender calls the kind.
	Named Kind
	// Raw is the whole encoding of the message.
	Raw []byte
}

func (u *Unknown) Kind() Kind      { return u.Named }
func (u *Unknown) Summary() string { return NewerKind }
func (u *Unknown) Fields() []Field { return nil }

func (u *Unknown) rules() error {
	if len(u.Raw) == 0 || New(u.Named) != nil {
		return fmt.Errorf("%w: a message of an unknown kind holds its encoding and nothing else", ErrInvalid)
	}
	return nil
}
