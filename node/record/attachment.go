package record

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"

	"tocsin/node/message"
)

// content is the bytes of a Binary, read when it is written.
type content struct {
	open func() (io.ReadCloser, error) // nil: there are none
	size int64
	sum  [32]byte
}

func bytesContent(b []byte) content {
	return content{open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }, size: int64(len(b)), sum: sha256.Sum256(b)}
}

// attachment points at a content. FHIR's own hash is SHA-1, which is broken: SHA-256 stands in an extension.
func (c content) attachment(media, title, url string) Attachment {
	return Attachment{ContentType: media, Title: title, URL: url, Size: ptr(c.size),
		Extension: []Extension{{URL: extSHA256, ValueString: hex.EncodeToString(c.sum[:])}}}
}

// binary makes the resource that holds a content. Binaries cannot be searched for everywhere, so its id is given and it is put there:
// twice is once.
func (x *Export) binary(it *item, part, media string, c content) Entry {
	name := it.id.String() + "-" + part
	r := &Binary{Common: Common{Type: "Binary", ID: uuid("Binary", name)}, ContentType: media}
	x.common(&r.Common, Coding{System: SystemEntry, Code: it.id.String()})
	return Entry{FullURL: urn("Binary", name), Resource: r, Request: &Request{Method: "PUT", URL: "Binary/" + r.ID}, content: c}
}

// attachment makes the document that a message carries, and its bytes where this device has them.
func (x *Export) attachment(it *item, a *message.Attachment) ([]Entry, error) {
	r := &DocumentReference{Domain: domain("DocumentReference"), Identifier: []Identifier{entryIdentifier(it.id)}, Status: "current",
		DocType: text(a.Name), Category: category(a.Kind()), Subject: x.patientRef(it), Date: stamp(it.said),
		Author: []Reference{x.staffRef(it.Author.Person)}, Custodian: x.orgRef(x.in.Custodian), Description: a.Caption}
	if x.retracted(it) {
		r.Status = "entered-in-error"
	}
	q := x.begin(it, &r.Domain, false)
	c := content{size: a.Size, sum: a.SHA256}
	at := c.attachment(a.Media, a.Name, "")
	at.Creation = stamp(it.said)
	held, err := x.held(it)
	if err != nil {
		return nil, err
	}
	out := []Entry{}
	if held {
		c.open = func() (io.ReadCloser, error) { return x.sources.Attachment(it.id) }
		b := x.binary(it, "file", a.Media, c)
		at.URL = b.FullURL
		out = append(out, b)
	} else {
		r.Extension = append(r.Extension, Extension{URL: extMissing, ValueString: "The file itself is not in this export: it was not on the exporting device."})
		p := x.page()
		p.bold("The file itself is not in this export: it was not on the exporting device.")
		r.Text.Div = p.b.String() + r.Text.Div + "</div>"
	}
	r.Content = []DocumentContent{{Attachment: at}}
	return append([]Entry{it.entry(r, q)}, out...), nil
}

// held reports whether a file can be read here.
func (x *Export) held(it *item) (bool, error) {
	if x.sources.Attachment == nil {
		return false, nil
	}
	f, err := x.sources.Attachment(it.id)
	if errors.Is(err, ErrNoContent) {
		return false, nil
	}
	if err != nil {
		return false, invalid("the file of message %s: %w", it.id, err)
	}
	return true, f.Close()
}
