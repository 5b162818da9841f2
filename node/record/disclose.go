package record

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"html"
	"io"
	"strings"

	"tocsin/node/message"
)

// accessFormat names the machine form and its version.
const accessFormat = "tocsin-access/v1"

// disclosure is the machine form of an access export: one JSON object.
type disclosure struct {
	Format    string      `json:"format"`
	Reference string      `json:"reference"`
	Written   string      `json:"written"`
	By        string      `json:"by"`
	Scope     scopeWords  `json:"scope"`
	Searched  int         `json:"searched"`  // messages that were looked through
	Disclosed int         `json:"disclosed"` // messages that follow
	Messages  []disclosed `json:"messages"`
}

// scopeWords says what was asked for. The subject is not repeated: who reads it knows, and it may be read by others.
type scopeWords struct {
	From     string `json:"from,omitempty"`
	To       string `json:"to,omitempty"`
	Excluded int    `json:"excluded"` // messages that a reviewer took out
}

// disclosed is one message.
type disclosed struct {
	Entry    string          `json:"entry"`
	Incident string          `json:"incident"`
	Mode     string          `json:"mode"` // live, exercise or unknown
	Kind     string          `json:"kind"`
	Said     string          `json:"said"`
	Because  string          `json:"because"`
	Fields   []disclosedLine `json:"fields"`
	Redacted int             `json:"redacted"` // how many times a redaction applied to a field
	Reasons  []string        `json:"reasons,omitempty"`
	// Signature and Header show that the message is entry Entry of its author's log, where nothing of it is blacked out; with a redaction
	// they would lead to the author's key and are left out.
	Header    string `json:"header,omitempty"`
	Signature string `json:"signature,omitempty"`
	// Opening and Payload are what the header's commitment is over; only where nothing is blacked out, because they are the message.
	Opening string `json:"opening,omitempty"`
	Payload string `json:"payload,omitempty"`
}

type disclosedLine struct {
	Name  string `json:"name"`
	Label string `json:"label"`
	Text  string `json:"text"`
}

// Disclosed is what was written, for the entry in the log.
type Disclosed struct {
	Messages, Redacted int
	Bytes              int64
	SHA256             [32]byte
}

func (a *Access) message(m *accessed) disclosed {
	d := disclosed{Entry: m.id.String(), Incident: m.incident, Mode: "unknown", Kind: string(m.Message.Kind()), Said: stamp(m.said), Because: m.because,
		Redacted: m.blacked, Reasons: m.blacks}
	if m.mode == message.Live || m.mode == message.Exercise {
		d.Mode = string(m.mode)
	}
	if _, ok := m.Message.Content.(*message.Unknown); ok {
		d.Kind = "unknown" // what its author's device calls it is a row, which can be blacked out
	}
	for _, r := range m.rows {
		d.Fields = append(d.Fields, disclosedLine(r))
	}
	// A payload holds more than is shown: keys of files, and nothing is shown with it that was blacked out.
	if m.blacked == 0 && !m.sealed && m.provable && tells(m.item) {
		d.Header, d.Signature = hex.EncodeToString(m.bytes), hex.EncodeToString(m.sig)
		d.Opening, d.Payload = hex.EncodeToString(m.Opening), hex.EncodeToString(m.Payload)
	}
	return d
}

// tells reports whether everything in a payload is shown as words as well: the message has nothing but its time, whom it is for and fields that
// are shown, and the payload is nothing but the message.
func tells(it *item) bool {
	if _, ok := it.Message.Content.(*message.Unknown); ok {
		return false
	}
	for _, f := range it.Message.Content.Fields() {
		if !f.Zero() && f.Input() == message.InputMade {
			return false
		}
	}
	shown, err := message.Encode(message.Message{Sent: it.Message.Sent, For: it.Message.For, Content: it.Message.Content})
	return err == nil && bytes.Equal(shown, it.Payload)
}

// JSON writes the machine form. Errors match [ErrInvalid] where it would hold what was to be blacked out; nothing is written then.
func (a *Access) JSON(w io.Writer) (Disclosed, error) {
	return a.write(w, (*Access).machine, machineParts)
}

func (a *Access) machine() ([]byte, error) {
	d := disclosure{Format: accessFormat, Reference: a.req.Reference, Written: stamp(a.req.Written), By: a.by,
		Searched: a.held, Disclosed: len(a.found), Scope: scopeWords{Excluded: len(a.req.Exclude)}}
	if !a.req.From.IsZero() {
		d.Scope.From = stamp(a.req.From)
	}
	if !a.req.To.IsZero() {
		d.Scope.To = stamp(a.req.To)
	}
	for _, m := range a.found {
		d.Messages = append(d.Messages, a.message(m))
	}
	raw, err := encode(d)
	return append(raw, '\n'), err
}

// write makes a form, searches it and hands it out.
func (a *Access) write(w io.Writer, form func(*Access) ([]byte, error), parts func([]byte) ([]string, error)) (Disclosed, error) {
	raw, err := form(a)
	if err != nil {
		return Disclosed{}, err
	}
	if err := a.leaks(raw, form, parts); err != nil {
		return Disclosed{}, err
	}
	out := Disclosed{Messages: len(a.found), Bytes: int64(len(raw)), SHA256: sha256.Sum256(raw)}
	for _, m := range a.found {
		out.Redacted += m.blacked
	}
	b := bufio.NewWriter(w)
	if _, err := b.Write(raw); err != nil {
		return out, err
	}
	return out, b.Flush()
}

// accessStyle is the look of the page: it fetches nothing, prints in black on white, and numbers its pages.
const accessStyle = `body{font:16px/1.5 sans-serif;max-width:48rem;margin:2rem auto;padding:0 1rem;color:#212b32;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin:0}article{border-top:1px solid #768692;padding:1rem 0;break-inside:avoid}
table{border-collapse:collapse}th{text-align:left;vertical-align:top;padding:.1rem 1rem .1rem 0;font-weight:600}td{white-space:pre-wrap;overflow-wrap:anywhere}
small{color:#425563}.exercise{font-weight:700}@page{margin:18mm;@bottom-right{content:counter(page) " of " counter(pages)}}`

// HTML writes the form for people: one page that fetches nothing and prints. Its errors are those of [Access.JSON].
func (a *Access) HTML(w io.Writer) (Disclosed, error) {
	return a.write(w, (*Access).page, pageParts)
}

func (a *Access) page() ([]byte, error) {
	var b strings.Builder
	e := html.EscapeString
	fmt.Fprintf(&b, "<!DOCTYPE html>\n<html lang=\"en-GB\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">"+
		"<title>Disclosure %s</title><style>%s</style></head><body><main>\n<h1>Disclosure %s</h1>\n", e(a.req.Reference), accessStyle, e(a.req.Reference))
	fmt.Fprintf(&b, "<p>Written on %s by %s. %d messages were looked through; %d follow.</p>\n", e(forPeople(a.req.Written)), e(a.by), a.held, len(a.found))
	if !a.req.From.IsZero() || !a.req.To.IsZero() {
		from, to := "the beginning", "the end"
		if !a.req.From.IsZero() {
			from = forPeople(a.req.From)
		}
		if !a.req.To.IsZero() {
			to = forPeople(a.req.To)
		}
		fmt.Fprintf(&b, "<p>The request is for what was said from %s to %s.</p>\n", e(from), e(to))
	}
	b.WriteString("<p>Where something is blacked out, the reason stands in its place. Times are those of the authors' clocks.</p>\n")
	for _, m := range a.found {
		fmt.Fprintf(&b, "<article>\n<h2>%s</h2>\n", e(m.Message.Kind().Name()))
		switch m.mode {
		case message.Live:
		case message.Exercise:
			b.WriteString("<p class=\"exercise\">EXERCISE: not a real event</p>\n")
		default:
			b.WriteString("<p class=\"exercise\">It is not known here whether this was real or an exercise</p>\n")
		}
		fmt.Fprintf(&b, "<p><small>%s · %s · %s</small></p>\n<table><tbody>\n", e(forPeople(m.said)), e(m.incident), e(m.because))
		for _, r := range m.rows {
			fmt.Fprintf(&b, "<tr><th scope=\"row\">%s</th><td>%s</td></tr>\n", e(r.Label), e(r.Text))
		}
		fmt.Fprintf(&b, "</tbody></table>\n<p><small>Entry %s</small></p>\n</article>\n", m.id)
	}
	b.WriteString("</main></body></html>\n")
	return []byte(b.String()), nil
}
