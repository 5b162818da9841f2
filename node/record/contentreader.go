package record

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"hash"
	"io"
)

// contentChunk is how much of a content is encoded at a time, in bytes: a multiple of three, so that no padding stands in the middle.
const contentChunk = 48 << 10

// reader returns a content in base64, read and encoded on the way. What is not what its message says ends with an error in place of its
// last bytes, so that nothing with it is ever whole. Errors match [ErrInvalid].
func (c content) reader() (io.ReadCloser, error) {
	f, err := c.open()
	if err != nil {
		return nil, invalid("a file could not be read: %w", err)
	}
	return &contentReader{content: c, f: f, sum: sha256.New()}, nil
}

type contentReader struct {
	content content
	f       io.ReadCloser
	sum     hash.Hash
	n       int64  // bytes of f so far
	out     []byte // encoded and not read yet
	buf     []byte
	err     error // behind out
}

func (r *contentReader) Close() error { return r.f.Close() }

func (r *contentReader) Read(p []byte) (int, error) {
	for len(r.out) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.more()
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

// more encodes the next part.
func (r *contentReader) more() {
	if r.buf == nil {
		r.buf = make([]byte, contentChunk)
	}
	n, err := io.ReadFull(r.f, r.buf)
	r.n += int64(n)
	r.sum.Write(r.buf[:n])
	switch {
	case r.n > r.content.size:
		r.err = r.other()
		return
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		if r.n != r.content.size || [32]byte(r.sum.Sum(nil)) != r.content.sum {
			r.err = r.other()
			return
		}
		r.err = io.EOF
	case err != nil:
		r.err = invalid("a file could not be read: %w", err)
		return
	}
	r.out = base64.StdEncoding.AppendEncode(r.out[:0], r.buf[:n])
}

func (r *contentReader) other() error {
	return invalid("a file is not what its message says it is (%d bytes, %d were said, or another SHA-256); fetch it again, then export again", r.n, r.content.size)
}

// check reads a content to its end.
func (c content) check() error {
	f, err := c.reader()
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, f)
	return errors.Join(err, f.Close())
}

// part is one part of a request: bytes, or a content that is read when they are sent.
type part struct {
	raw  []byte
	file content
}

// parts are a request.
type parts []part

// size is how many bytes all of them are.
func (p parts) size() (n int64) {
	for _, one := range p {
		if n += int64(len(one.raw)); one.file.open != nil {
			n += int64(base64.StdEncoding.EncodedLen(int(one.file.size)))
		}
	}
	return n
}

// light are the bytes without the contents, whose data is then empty.
func (p parts) light() (raw []byte) {
	for _, one := range p {
		raw = append(raw, one.raw...)
	}
	return raw
}

// open reads all of them in turn; one file is open at a time.
func (p parts) open() io.ReadCloser { return &partsReader{rest: p} }

type partsReader struct {
	rest parts
	read int           // bytes of the first one
	file io.ReadCloser // of the first one, being read
}

func (r *partsReader) Read(b []byte) (int, error) {
	for len(r.rest) > 0 {
		one := &r.rest[0]
		if one.file.open == nil {
			n := copy(b, one.raw[r.read:])
			if r.read += n; r.read == len(one.raw) {
				r.rest, r.read = r.rest[1:], 0
			}
			if n > 0 || len(b) == 0 {
				return n, nil
			}
			continue
		}
		if r.file == nil {
			f, err := one.file.reader()
			if err != nil {
				return 0, err
			}
			r.file = f
		}
		n, err := r.file.Read(b)
		if errors.Is(err, io.EOF) {
			err = r.file.Close()
			r.file, r.rest = nil, r.rest[1:]
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.EOF
}

// Close closes the file that is being read.
func (r *partsReader) Close() error {
	if r.file == nil {
		return nil
	}
	f := r.file
	r.file, r.rest = nil, nil
	return f.Close()
}
