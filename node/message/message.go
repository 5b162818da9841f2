package message

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits. A payload must also fit an entry body of 60 KiB after padding (design, protocol section 3).
const (
	// MaxText is the most bytes of UTF-8 in a text.
	MaxText = 8000
	// MaxReceiptEntries is the most entries that one receipt names.
	MaxReceiptEntries = 512
	// MaxEncoded is the most bytes in the encoding of any message, known or not.
	MaxEncoded = 40 << 10
	// MaxKind is the most bytes in the name of a kind.
	MaxKind = 32

	// latest is the first millisecond after the year 9999, the end of what RFC 3339 can write.
	latest = 253402300800000
)

// ErrInvalid is wrapped by every error of this package; the text around it says which rule was broken and what to do.
var ErrInvalid = errors.New("message: not a valid message")

// Kind names what a message is. The fields of a kind never change: a new field makes a new kind, so that an older device
// knows that it does not understand the whole of what was said, and says so, rather than showing half of it.
type Kind string

// The kinds of this version.
const (
	KindText       Kind = "text"
	KindReceipt    Kind = "receipt"
	KindAttachment Kind = "attachment"
)

// State is what a receipt says about the entries it names.
type State string

// The states a receipt can report. Each includes the one before it.
const (
	// Delivered: the recipient's device has opened the message and keeps it durably.
	Delivered State = "delivered"
	// Read: the message was on the recipient's unlocked screen.
	Read State = "read"
)

// Message is one thing said. Exactly one of Text, Receipt, Attachment and Unknown is set, and Kind says which.
type Message struct {
	Kind Kind
	// Sent is when the sender's clock says it was sent, in whole milliseconds, UTC.
	Sent time.Time

	Text       *Text
	Receipt    *Receipt
	Attachment *Attachment
	// Unknown is the whole encoding of a message whose kind this version does not know.
	Unknown []byte
}

// Text is free text.
type Text struct {
	// Body is 1 to MaxText bytes of UTF-8 with at least one visible character, and no control characters but tab and new line.
	Body string
	// ReplyTo is the entry id of the message that this one answers; zero for none.
	ReplyTo [32]byte
}

// Receipt reports what became of entries, batched. It names 1 to MaxReceiptEntries entries.
type Receipt struct {
	State State
	// Entries are entry ids. Encode sorts them and drops repeats; Decode refuses any other order.
	Entries [][32]byte
}

// NewText returns a text message. Line ends of other systems become a plain new line; [Encode] checks the rest.
func NewText(body string, sent time.Time) Message {
	body = strings.ReplaceAll(body, "\r\n", "\n")
	return Message{Kind: KindText, Sent: sent, Text: &Text{Body: body}}
}

// NewReceipt returns a receipt for the entries.
func NewReceipt(state State, entries [][32]byte, sent time.Time) Message {
	return Message{Kind: KindReceipt, Sent: sent, Receipt: &Receipt{State: state, Entries: entries}}
}

// Shown reports whether the message stands in a conversation. Receipts do not: they change the state of messages that do.
func (m Message) Shown() bool { return m.Kind != KindReceipt }

// Summary is the message in one line of at most 80 characters, for lists on small screens. It holds content: it must not
// go to a log, a page title or a notification.
func (m Message) Summary() string {
	switch {
	case m.Text != nil:
		return oneLine(m.Text.Body, 80)
	case m.Receipt != nil:
		return fmt.Sprintf("%s: %d %s", m.Receipt.State, len(m.Receipt.Entries), plural(len(m.Receipt.Entries), "message", "messages"))
	case m.Attachment != nil:
		return oneLine(m.Attachment.Words(), 80)
	default:
		return NewerKind
	}
}

// NewerKind is how a message of an unknown kind is shown.
const NewerKind = "a message of a newer kind"

func oneLine(s string, most int) string {
	s = strings.Join(strings.Fields(s), " ")
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	runes := []rune(s)
	return strings.TrimRightFunc(string(runes[:most-1]), unicode.IsSpace) + "…"
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// LogValue implements slog.LogValuer: kind and size, never content.
func (m Message) LogValue() slog.Value {
	attrs := []slog.Attr{slog.String("kind", m.logKind())}
	switch {
	case m.Text != nil:
		attrs = append(attrs, slog.Int("bytes", len(m.Text.Body)))
	case m.Receipt != nil:
		attrs = append(attrs, slog.Int("entries", len(m.Receipt.Entries)))
	case m.Attachment != nil:
		attrs = append(attrs, slog.Int64("bytes", m.Attachment.Size), slog.Int("chunks", len(m.Attachment.Chunks)))
	default:
		attrs = append(attrs, slog.Int("bytes", len(m.Unknown)))
	}
	return slog.GroupValue(attrs...)
}

// logKind names the kind for a log. The name of an unknown kind comes from the sender, so it is not repeated.
func (m Message) logKind() string {
	if m.Kind == KindText || m.Kind == KindReceipt || m.Kind == KindAttachment {
		return string(m.Kind)
	}
	return "unknown"
}

// String describes the message without its content, so that a stray %v cannot carry it.
func (m Message) String() string {
	if m.Text != nil {
		return m.Text.String()
	}
	return fmt.Sprintf("%s message (content withheld)", m.logKind())
}

// GoString does the same for %#v.
func (m Message) GoString() string { return m.String() }

// LogValue implements slog.LogValuer.
func (t Text) LogValue() slog.Value { return slog.StringValue(t.String()) }

// String describes the text without its content.
func (t Text) String() string { return fmt.Sprintf("text of %d bytes (content withheld)", len(t.Body)) }

// GoString does the same for %#v.
func (t Text) GoString() string { return t.String() }

// Validate reports the first rule that the message breaks. Encode and Decode both call it.
func (m Message) Validate() error {
	if err := checkKind(m.Kind); err != nil {
		return err
	}
	if ms := m.Sent.UnixMilli(); ms <= 0 || ms >= latest {
		return fmt.Errorf("%w: the time of sending is outside 1970 to 9999; set the clock of the sending device", ErrInvalid)
	}
	if m.parts() != 1 {
		return fmt.Errorf("%w: a message holds exactly one thing", ErrInvalid)
	}
	switch {
	case m.Kind == KindText && m.Text != nil:
		return m.Text.validate()
	case m.Kind == KindReceipt && m.Receipt != nil:
		return m.Receipt.validate()
	case m.Kind == KindAttachment && m.Attachment != nil:
		return m.Attachment.validate()
	case m.Kind != KindText && m.Kind != KindReceipt && m.Kind != KindAttachment && m.Unknown != nil:
		return nil
	}
	return fmt.Errorf("%w: it holds something else than its kind says", ErrInvalid)
}

// parts counts what the message holds.
func (m Message) parts() (n int) {
	for _, held := range []bool{m.Text != nil, m.Receipt != nil, m.Attachment != nil, m.Unknown != nil} {
		if held {
			n++
		}
	}
	return n
}

func checkKind(k Kind) error {
	if len(k) == 0 || len(k) > MaxKind {
		return fmt.Errorf("%w: the name of the kind has %d bytes, allowed are 1 to %d", ErrInvalid, len(k), MaxKind)
	}
	for _, c := range []byte(k) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("%w: the name of the kind may hold only a-z, 0-9 and hyphens", ErrInvalid)
		}
	}
	return nil
}

func (t *Text) validate() error {
	if len(t.Body) > MaxText {
		return fmt.Errorf("%w: the text has %d bytes, at most %d fit; send it in parts", ErrInvalid, len(t.Body), MaxText)
	}
	if !utf8.ValidString(t.Body) {
		return fmt.Errorf("%w: the text is not valid UTF-8; save it as UTF-8 and send it again", ErrInvalid)
	}
	// A terminal obeys control characters: a message must not be able to rewrite the screen it is read on.
	if i := strings.IndexFunc(t.Body, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }); i >= 0 {
		return fmt.Errorf("%w: the text has a control character at byte %d; remove it and send it again", ErrInvalid, i)
	}
	if !strings.ContainsFunc(t.Body, visible) {
		return fmt.Errorf("%w: the text is empty; write something", ErrInvalid)
	}
	return nil
}

func visible(r rune) bool { return unicode.IsGraphic(r) && !unicode.IsSpace(r) }

func (r *Receipt) validate() error {
	if r.State != Delivered && r.State != Read {
		return fmt.Errorf("%w: a receipt says delivered or read", ErrInvalid)
	}
	if n := len(r.Entries); n == 0 || n > MaxReceiptEntries {
		return fmt.Errorf("%w: a receipt names 1 to %d entries, this one %d", ErrInvalid, MaxReceiptEntries, n)
	}
	return nil
}

// sortIDs returns the ids in ascending order without repeats, leaving the argument alone.
func sortIDs(ids [][32]byte) [][32]byte {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, compareIDs)
	return slices.Compact(ids)
}

func compareIDs(a, b [32]byte) int { return slices.Compare(a[:], b[:]) }
