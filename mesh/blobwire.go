package mesh

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/cryptobyte"
)

// A session of [BlobProtocol] (PROTOCOL.md): the client sends requests, and the
// server answers each in turn.
//
//	struct { uint8 type; uint16 length; opaque body[length]; } Request;
//	type 1, ask:  struct { uint8 hops; Name names<32..8192>; }          Name: opaque[32]
//	type 2, get:  struct { Name name; uint32 offset; uint32 length; }
//	type 3, news: no body, no answer, the only request of its session
//
//	answer to ask: opaque held[n];     one byte a name: 1 it is here, 0 it is not
//	answer to get: struct { uint32 size; uint32 n; opaque data[n]; }    size 0: it is not here
const (
	blobAsk  = 1
	blobGet  = 2
	blobNews = 3

	blobRequestHeader = 1 + 2
	blobAnswerHeader  = 4 + 4
)

// BlobName is the SHA-256 of a sealed chunk of an attachment.
type BlobName = [sha256.Size]byte

var errBlob error = &refusedError{"blob", errors.New("mesh: malformed request or answer about an attachment")}

// blobRequest is one request: names is set for an ask, else one chunk is meant.
type blobRequest struct {
	kind           uint8
	hops           uint8
	names          []BlobName
	name           BlobName
	offset, length uint32
}

// marshal returns the request's bytes.
func (r *blobRequest) marshal() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(r.kind)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		switch r.kind {
		case blobAsk:
			b.AddUint8(r.hops)
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
				for i := range r.names {
					b.AddBytes(r.names[i][:])
				}
			})
		case blobGet:
			b.AddBytes(r.name[:])
			b.AddUint32(r.offset)
			b.AddUint32(r.length)
		}
	})
	return b.Bytes()
}

// readBlobRequest reads one request. io.EOF means that the client ended the
// session between requests.
func readBlobRequest(r io.Reader) (*blobRequest, error) {
	var head [blobRequestHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(head[1:]))
	if n > maxBlobRequest {
		return nil, fmt.Errorf("%w: a request of %d bytes", errBlob, n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, noEOF(err)
	}
	return parseBlobRequest(head[0], body)
}

func parseBlobRequest(kind uint8, body []byte) (*blobRequest, error) {
	req := &blobRequest{kind: kind}
	s := cryptobyte.String(body)
	ok := false
	switch kind {
	case blobAsk:
		var names cryptobyte.String
		ok = s.ReadUint8(&req.hops) && s.ReadUint16LengthPrefixed(&names) &&
			len(names) > 0 && len(names)%sha256.Size == 0 && len(names)/sha256.Size <= maxBlobAsk
		for ok && !names.Empty() {
			var name BlobName
			ok = names.CopyBytes(name[:])
			req.names = append(req.names, name)
		}
	case blobGet:
		ok = s.CopyBytes(req.name[:]) && s.ReadUint32(&req.offset) && s.ReadUint32(&req.length) &&
			req.length > 0 && req.length <= MaxBlob && req.offset < MaxBlob
	case blobNews:
		ok = true
	}
	if !ok || !s.Empty() {
		return nil, fmt.Errorf("%w: request of type %d", errBlob, kind)
	}
	return req, nil
}

// readBlobAsked reads the answer to an ask for n names.
func readBlobAsked(r io.Reader, n int) ([]bool, error) {
	raw := make([]byte, n)
	if _, err := io.ReadFull(r, raw); err != nil {
		return nil, noEOF(err)
	}
	out := make([]bool, n)
	for i, b := range raw {
		if b > 1 {
			return nil, fmt.Errorf("%w: answer %d to an ask", errBlob, b)
		}
		out[i] = b == 1
	}
	return out, nil
}

// readBlobHead reads the head of the answer to a get of at most length bytes
// from offset on.
func readBlobHead(r io.Reader, offset, length uint32) (size, n uint32, err error) {
	var head [blobAnswerHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, 0, noEOF(err)
	}
	size, n = binary.BigEndian.Uint32(head[:4]), binary.BigEndian.Uint32(head[4:])
	if size > MaxBlob || n != pieceOf(size, offset, length) {
		return 0, 0, fmt.Errorf("%w: %d bytes of a chunk of %d", errBlob, n, size)
	}
	return size, n, nil
}

// pieceOf is how many bytes of a chunk of size answer a get.
func pieceOf(size, offset, length uint32) uint32 {
	if offset >= size {
		return 0
	}
	return min(size-offset, length)
}

// noEOF makes an end within something an unexpected one.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
