package mesh

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
)

func FuzzHello(f *testing.F) {
	for _, chain := range [][]byte{{1}, bytes.Repeat([]byte{7}, 900), bytes.Repeat([]byte{7}, MaxChain)} {
		raw, err := hello{tag: [tagSize]byte{1, 2, 3}, chain: chain}.marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
		f.Add(raw[:len(raw)-1])
		f.Add(append(raw, 0))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHello(b)
		if err != nil {
			return
		}
		again, err := h.marshal()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x became %x (%v)", b, again, err)
		}
		if len(b) > maxHello {
			t.Fatalf("a hello of %d bytes passed", len(b))
		}
	})
}

func FuzzTicketMessage(f *testing.F) {
	for _, ticket := range [][]byte{nil, {1}, bytes.Repeat([]byte{7}, MaxTicket)} {
		raw, err := ticketMessage{ticket: ticket}.marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
		f.Add(raw[:len(raw)-1])
		f.Add(append(raw, 0))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseTicketMessage(b)
		if err != nil {
			return
		}
		again, err := m.marshal()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x became %x (%v)", b, again, err)
		}
		if len(b) > maxTicketMessage {
			t.Fatalf("a ticket message of %d bytes passed", len(b))
		}
	})
}

// FuzzMessage reads length-prefixed messages from a stream.
func FuzzMessage(f *testing.F) {
	var b bytes.Buffer
	if err := writeMessage(&b, []byte("hello")); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte{0, 0})
	f.Add([]byte{0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		body, err := readMessage(r, 512)
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := writeMessage(&out, body); err != nil {
			t.Fatal(err)
		}
		if used := in[:len(in)-r.Len()]; !bytes.Equal(out.Bytes(), used) || len(body) > 512 {
			t.Fatalf("read %x, wrote %x", used, out.Bytes())
		}
	})
}

// FuzzFrame reads synchronisation frames from a stream until it fails.
func FuzzFrame(f *testing.F) {
	var all []byte
	for _, frame := range []Frame{{}, {Type: 1, Class: 2, Payload: []byte("x")}, {Type: 255, Payload: make([]byte, 300)}} {
		b, err := appendFrame(nil, frame)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)-1])
		all = append(all, b...)
	}
	f.Add(all)
	f.Add([]byte{1, 0, 0, 1, 0, 1})
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		for {
			before := r.Len()
			frame, err := readFrame(r)
			if err != nil {
				if errors.Is(err, io.EOF) && before != 0 {
					t.Fatalf("an end within a frame looks like one between frames")
				}
				return
			}
			out, err := appendFrame(nil, frame)
			used := in[len(in)-before : len(in)-r.Len()]
			if err != nil || !bytes.Equal(out, used) {
				t.Fatalf("read %x, wrote %x (%v)", used, out, err)
			}
		}
	})
}

func TestFrameLimits(t *testing.T) {
	if _, err := appendFrame(nil, Frame{Type: 1, Payload: make([]byte, MaxPayload+1)}); err == nil {
		t.Error("an oversized payload was encoded")
	}
	full, err := appendFrame(nil, Frame{Type: 1, Payload: make([]byte, MaxPayload)})
	if err != nil {
		t.Fatal(err)
	}
	if f, err := readFrame(bytes.NewReader(full)); err != nil || len(f.Payload) != MaxPayload {
		t.Errorf("the largest payload: %v", err)
	}
	// The length is judged before anything is allocated or read.
	head := binary.BigEndian.AppendUint32([]byte{1, 0}, MaxPayload+1)
	if _, err := readFrame(bytes.NewReader(head)); !errors.Is(err, errFrame) {
		t.Errorf("an oversized length: %v", err)
	}
	// The longest frame of one entry (ledger/FORMAT.md): signed header with
	// eight refs, body of 60 KiB, and the lengths of both.
	const entry = 2 + (1 + 32 + 4 + 8 + 32 + 8 + 1 + 1 + 16 + 4 + 4 + 32 + 32 + 2 + 8*48) + 64 + 3 + 60<<10
	if entry > MaxPayload || entry > MaxFrame {
		t.Errorf("an entry of %d bytes does not fit", entry)
	}
}
