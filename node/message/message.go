package message

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits. A payload must also fit an entry body of 60 KiB after padding (design, protocol section 3).
const (
	// MaxText is the most bytes of UTF-8 in a text.
	MaxText = 8000
	// MaxProse and MaxLine are the most bytes in a field of several lines or of one.
	MaxProse = 2000
	MaxLine  = 200
	// MaxReceiptEntries is the most entries that one receipt names.
	MaxReceiptEntries = 512
	// MaxEncoded is the most bytes in the encoding of any message, known or not.
	MaxEncoded = 40 << 10
	// MaxKind is the most bytes in the name of a kind.
	MaxKind = 32
	// SummaryLength is the most characters in a summary.
	SummaryLength = 80

	// latest is the first millisecond after the year 9999, the end of what RFC 3339 can write.
	latest = 253402300800000
)

// ErrInvalid is wrapped by every error of this package; the text around it says which rule was broken and what to do.
var ErrInvalid = errors.New("message: not a valid message")

// NewerKind is how a message of an unknown kind is shown.
const NewerKind = "a message of a newer kind"

// Message is one thing said.
type Message struct {
	// Sent is when the sender's clock says it was sent, in whole milliseconds, UTC.
	Sent time.Time
	// Content is what is said, never nil in a valid message.
	Content Content
	// For are the addresses of whom it is for in the first place; empty where it is for all. Everybody else in the conversation reads
	// it as well.
	For []string
}

// Kind names what the message is, "" of the zero value.
func (m Message) Kind() Kind {
	if m.Content == nil {
		return ""
	}
	return m.Content.Kind()
}

// Shown reports whether the message stands in a conversation.
func (m Message) Shown() bool { return m.Kind().Shown() }

// Summary is the message in one line of at most [SummaryLength] characters, for lists on small screens. It holds content:
// it must not go to a log, a page title or a notification.
func (m Message) Summary() string {
	if m.Content == nil {
		return ""
	}
	return oneLine(m.Content.Summary(), SummaryLength)
}

// Validate reports the first rule that the message breaks. Encode and Decode both call it.
func (m Message) Validate() error {
	if m.Content == nil {
		return fmt.Errorf("%w: it has no content", ErrInvalid)
	}
	if err := checkKind(m.Kind()); err != nil {
		return err
	}
	if ms := m.Sent.UnixMilli(); ms <= 0 || ms >= latest {
		return fmt.Errorf("%w: the time of sending is outside 1970 to 9999; set the clock of the sending device", ErrInvalid)
	}
	if err := m.checkFor(); err != nil {
		return err
	}
	return check(m.Content)
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

// joined puts the parts that are not empty in one line.
func joined(sep string, parts ...string) string {
	var out []string
	for _, p := range parts {
		if p != "" {
			out = append(out, p)
		}
	}
	return strings.Join(out, sep)
}

// LogValue implements slog.LogValuer: the kind, never content.
func (m Message) LogValue() slog.Value {
	return slog.GroupValue(slog.String("kind", m.logKind()))
}

// logKind names the kind for a log. The name of an unknown kind comes from the sender, so it is not repeated.
func (m Message) logKind() string {
	if New(m.Kind()) == nil {
		return "unknown"
	}
	return string(m.Kind())
}

// String describes the message without its content, so that a stray %v cannot carry it.
func (m Message) String() string {
	return fmt.Sprintf("%s message (content withheld)", m.logKind())
}

// GoString does the same for %#v.
func (m Message) GoString() string { return m.String() }

// private is embedded in everything that holds what was said: whatever logs or prints it gets no content.
type private struct{}

const withheld = "(content withheld)"

// LogValue implements slog.LogValuer.
func (private) LogValue() slog.Value { return slog.StringValue(withheld) }

// String and GoString describe without content.
func (private) String() string   { return withheld }
func (private) GoString() string { return withheld }
