package mesh

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A frame on a synchronisation stream:
//
//	struct { uint8 type; uint8 class; opaque payload<0..MaxPayload>; } Frame;  /* 32-bit length */
const frameHeader = 1 + 1 + 4

// typeNudge is the mesh's own frame type: "pull from me soon". It has no payload
// and is the only frame of its session.
const typeNudge = 0

var errFrame error = &refusedError{"frame", errors.New("mesh: malformed synchronisation frame")}

// appendFrame appends the encoding of f to b.
func appendFrame(b []byte, f Frame) ([]byte, error) {
	if len(f.Payload) > MaxPayload {
		return nil, fmt.Errorf("mesh: a payload of %d bytes is over the limit of %d", len(f.Payload), MaxPayload)
	}
	b = append(b, f.Type, f.Class)
	b = binary.BigEndian.AppendUint32(b, uint32(len(f.Payload)))
	return append(b, f.Payload...), nil
}

// readFrame reads one frame. io.EOF means that the stream ended between
// frames; an end within a frame is io.ErrUnexpectedEOF.
func readFrame(r io.Reader) (Frame, error) {
	var head [frameHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Frame{}, err
	}
	n := binary.BigEndian.Uint32(head[2:])
	if n > MaxPayload {
		return Frame{}, fmt.Errorf("%w: %d bytes of payload, at most %d are allowed", errFrame, n, MaxPayload)
	}
	f := Frame{Type: head[0], Class: head[1]}
	if n == 0 {
		return f, nil
	}
	f.Payload = make([]byte, n)
	if _, err := io.ReadFull(r, f.Payload); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return Frame{}, err
	}
	return f, nil
}
