package mesh

import (
	"crypto/sha256"
	"encoding/binary"
)

// The fields of gossipsub's RPC and of the message in it (its rpc.proto).
const (
	rpcPublish  = 2
	rpcControl  = 3
	rpcMessage  = 2 // data, in a message
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

// protoField reads one field of protocol buffers from b: its number, its content
// where it is bytes, and what follows it. ok is false where b is no field.
func protoField(b []byte) (number uint64, content, rest []byte, ok bool) {
	tag, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, nil, false
	}
	b = b[n:]
	size := 0
	switch tag & 7 {
	case wireVarint:
		if _, size = binary.Uvarint(b); size <= 0 {
			return 0, nil, nil, false
		}
	case wireFixed64:
		size = 8
	case wireFixed32:
		size = 4
	case wireBytes:
		l, n := binary.Uvarint(b)
		if n <= 0 || l > uint64(len(b)-n) {
			return 0, nil, nil, false
		}
		b = b[n:]
		return tag >> 3, b[:l], b[l:], true
	default:
		return 0, nil, nil, false
	}
	if size > len(b) {
		return 0, nil, nil, false
	}
	return tag >> 3, nil, b[size:], true
}

// scanRPC makes a parcel of one RPC as gossipsub writes it: a length, then the
// RPC. Its class is the best of its frames; what carries anything else is
// control. An empty control message, as it stands beside the answer to an IWANT, is
// nothing. data is kept.
func scanRPC(data []byte, label func(frame []byte) Label) *parcel {
	p := &parcel{data: data, Label: Label{Class: ClassBulk}}
	p.ids = p.one[:0]
	_, n := binary.Uvarint(data)
	if n <= 0 {
		return &parcel{data: data, control: true}
	}
	for b := data[n:]; len(b) > 0; {
		number, content, rest, ok := protoField(b)
		if !ok {
			return &parcel{data: data, control: true}
		}
		b = rest
		frame, isFrame := publishedFrame(number, content)
		if !isFrame {
			p.asked = p.asked || number == rpcControl
			p.control = p.control || number != rpcControl || len(content) > 0
			continue
		}
		p.ids = append(p.ids, frameID(sha256.Sum256(frame)))
		l := label(frame)
		if len(p.ids) == 1 {
			p.Author, p.Seq, p.Life = l.Author, l.Seq, l.Life
		} else if p.Author != l.Author {
			p.Author, p.Seq, p.Life = [32]byte{}, 0, 0 // of several
		}
		if l.Class < p.Class || len(p.ids) == 1 {
			p.Class, p.First = l.Class, l.First
		}
		p.First = p.First || l.Class == p.Class && l.First
	}
	if p.control || len(p.ids) == 0 {
		p.control, p.Class = true, ClassControl
	}
	return p
}

// publishedFrame returns the frame of a publish field.
func publishedFrame(number uint64, content []byte) ([]byte, bool) {
	if number != rpcPublish {
		return nil, false
	}
	for len(content) > 0 {
		number, data, rest, ok := protoField(content)
		if !ok {
			return nil, false
		}
		if number == rpcMessage {
			return data, true
		}
		content = rest
	}
	return nil, false
}

// splitRPC takes an RPC of several frames apart: each frame in an RPC of its own, and
// what is left. gossipsub answers an IWANT with up to maxRPC at once, which nothing
// could overtake. Any other RPC is nil.
func splitRPC(data []byte) (out [][]byte) {
	_, n := binary.Uvarint(data)
	if n <= 0 || !severalFrames(data[n:]) {
		return nil
	}
	var rest []byte
	for b := data[n:]; len(b) > 0; {
		number, content, after, _ := protoField(b) // severalFrames has read them all
		field := b[:len(b)-len(after)]
		b = after
		if _, isFrame := publishedFrame(number, content); isFrame {
			out = append(out, prefixed(field))
		} else if number != rpcControl || len(content) > 0 {
			rest = append(rest, field...)
		}
	}
	if len(rest) > 0 {
		out = append(out, prefixed(rest))
	}
	return out
}

// severalFrames reports whether an RPC, without its length, is well formed and has more
// than one frame.
func severalFrames(rpc []byte) bool {
	frames := 0
	for len(rpc) > 0 {
		number, content, after, ok := protoField(rpc)
		if !ok {
			return false
		}
		if _, isFrame := publishedFrame(number, content); isFrame {
			frames++
		}
		rpc = after
	}
	return frames > 1
}

// prefixed puts the length before an RPC.
func prefixed(rpc []byte) []byte {
	return append(binary.AppendUvarint(make([]byte, 0, len(rpc)+4), uint64(len(rpc))), rpc...)
}
