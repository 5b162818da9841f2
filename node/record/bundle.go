package record

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
)

// Bundles are written entry by entry, so that an incident of any size takes little memory: a Binary is read while it is written.

// Summary says what a document holds.
type Summary struct {
	Messages  int            `json:"messages"`
	Resources map[string]int `json:"resources"` // by type
	Proofs    int            `json:"proofs"`    // messages with a proof
	Bytes     int64          `json:"bytes"`
	SHA256    [32]byte       `json:"-"`
}

// Document writes the incident as one FHIR document Bundle (hl7.org/fhir/R4/documents.html). It holds everything: nothing in it points
// outside but by an identifier. Errors match [ErrInvalid], or are those of w and of the sources.
func (x *Export) Document(w io.Writer) (Summary, error) {
	s := Summary{Messages: len(x.items), Resources: make(map[string]int)}
	sum := sha256.New()
	out := newBundleWriter(io.MultiWriter(w, sum))
	head := Bundle{Common: Common{Type: "Bundle"}, BundleType: "document", Identifier: ptr(x.documentIdentifier()), Timestamp: stamp(x.in.Written)}
	if x.Exercise() {
		head.Meta = &Meta{Security: []Coding{exerciseLabel()}}
	}
	if err := out.begin(head); err != nil {
		return s, err
	}
	for e, err := range x.all() {
		if err != nil {
			return s, err
		}
		s.Resources[e.Resource.Kind()]++
		if d, ok := e.Resource.(*DocumentReference); ok && len(d.Identifier) == 1 && d.Identifier[0].System == SystemPart {
			s.Proofs++
		}
		e.Request = nil
		if err := out.entry(e); err != nil {
			return s, err
		}
	}
	if err := out.end(); err != nil {
		return s, err
	}
	s.Bytes = out.n
	sum.Sum(s.SHA256[:0])
	return s, nil
}

// all are the entries of the document: the page, everyone and every place, then what arises from each message.
func (x *Export) all() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		if !yield(x.composition(), nil) {
			return
		}
		for _, e := range x.directory() {
			if !yield(e, nil) {
				return
			}
		}
		for _, it := range x.items {
			unit, err := x.unit(it)
			if err != nil {
				yield(Entry{}, err)
				return
			}
			for _, e := range unit {
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}

// bundleWriter writes one Bundle.
type bundleWriter struct {
	w     *bufio.Writer
	n     int64
	begun bool
}

func newBundleWriter(w io.Writer) *bundleWriter {
	return &bundleWriter{w: bufio.NewWriterSize(w, 64<<10)}
}

func (b *bundleWriter) raw(p []byte) error {
	n, err := b.w.Write(p)
	b.n += int64(n)
	return err
}

// encode is the JSON of v without escapes for HTML: narratives are full of angle brackets.
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("record: encode: %w", err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// begin writes everything but the entries.
func (b *bundleWriter) begin(head Bundle) error {
	head.Entry = nil
	raw, err := encode(head)
	if err != nil {
		return err
	}
	return errors.Join(b.raw(bytes.TrimSuffix(raw, []byte("}"))), b.raw([]byte(`,"entry":[`)))
}

// separate writes what stands before the next entry.
func (b *bundleWriter) separate() error {
	sep := []byte("\n")
	if b.begun {
		sep = []byte(",\n")
	}
	b.begun = true
	return b.raw(sep)
}

func (b *bundleWriter) entry(e Entry) error {
	if err := b.separate(); err != nil {
		return err
	}
	if e.content.open != nil {
		return b.binary(e)
	}
	raw, err := encode(e)
	if err != nil {
		return err
	}
	return b.raw(raw)
}

// dataMark stands in the place of a Binary's data until it is written; no encoding of anything else holds it.
const dataMark = `"data":"\u0000"`

// around is an entry whose data is read when it is written: what stands before the data, and what behind it.
func around(e Entry) (before, after []byte, err error) {
	r, ok := e.Resource.(*Binary)
	if !ok {
		return nil, nil, fmt.Errorf("record: content for a %s", e.Resource.Kind())
	}
	marked := *r
	marked.Data = "\x00"
	e.Resource = &marked
	raw, err := encode(e)
	if err != nil {
		return nil, nil, err
	}
	before, after, ok = bytes.Cut(raw, []byte(dataMark))
	if !ok {
		return nil, nil, errors.New("record: a Binary cannot be written")
	}
	return append(before[:len(before):len(before)], `"data":"`...), append([]byte(`"`), after...), nil
}

// binary writes an entry whose data is read on the way, and holds it against its hash.
func (b *bundleWriter) binary(e Entry) error {
	before, after, err := around(e)
	if err != nil {
		return err
	}
	if err := b.raw(before); err != nil {
		return err
	}
	if err := b.content(e.content); err != nil {
		return err
	}
	return b.raw(after)
}

// content writes a content in base64. One that is not what its message says is an error: a file that was changed does not enter the record.
func (b *bundleWriter) content(c content) error {
	f, err := c.reader()
	if err != nil {
		return err
	}
	defer f.Close()
	count := &counter{w: b.w}
	_, err = io.Copy(count, f)
	b.n += count.n
	return err
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func (b *bundleWriter) end() error {
	return errors.Join(b.raw([]byte("\n]}\n")), b.w.Flush())
}
