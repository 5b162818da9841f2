package ledger_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"tocsin/crypto/identity"
	"tocsin/ledger"
)

// fullHeader is a header with every field set and as many refs as allowed.
func fullHeader() ledger.Header {
	h := ledger.Header{
		Author:      newDevice("full").id.Author,
		Incarnation: 2, Seq: 77, Prev: ledger.ID{1, 2}, HLC: 1 << 50,
		Kind: ledger.KindData, Priority: ledger.Stat, GroupTag: [16]byte{3},
		LifetimeS: 3600, BodyLen: 5, BodyHash: sha256.Sum256([]byte("hello")), Commit: [32]byte{9},
	}
	for i := range ledger.MaxRefs {
		h.Refs = append(h.Refs, ledger.Ref{Log: [8]byte{byte(i), 1}, Seq: uint64(i), ID: ledger.ID{byte(i), 2}})
	}
	return h
}

func TestHeaderSizes(t *testing.T) {
	h := fullHeader()
	long, err := h.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	h.Refs = nil
	short, err := h.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if len(short) != ledger.MinHeader || len(long) != ledger.MaxHeader {
		t.Fatalf("headers of %d and %d bytes, want %d and %d", len(short), len(long), ledger.MinHeader, ledger.MaxHeader)
	}
	v := newDevice("full").sign(t, fullHeader(), strings.Repeat("x", ledger.MaxBody))
	if n := len(v.Entry().Frame()); n != ledger.MaxFrame {
		t.Fatalf("longest frame has %d bytes, want %d", n, ledger.MaxFrame)
	}
	if _, err := ledger.Verify(v.Entry().Frame()); err != nil {
		t.Fatal(err)
	}
}

// TestHeaderRules breaks each rule of the header by itself: neither Marshal nor
// ParseHeader may let it pass.
func TestHeaderRules(t *testing.T) {
	author := newDevice("full").id
	for _, c := range []struct {
		name   string
		change func(*ledger.Header)
		want   string
	}{
		{"kind 0", func(h *ledger.Header) { h.Kind, h.GroupTag = 0, [16]byte{} }, "kind 0"},
		{"kind 5", func(h *ledger.Header) { h.Kind, h.GroupTag = 5, [16]byte{} }, "kind 5"},
		{"priority 3", func(h *ledger.Header) { h.Priority = 3 }, "priority 3"},
		{"seq too high", func(h *ledger.Header) { h.Seq = ledger.MaxSeq + 1 }, "sequence number"},
		{"seq 0 not control", func(h *ledger.Header) { h.Seq, h.Prev = 0, ledger.ID{} }, "must be a control"},
		{"seq 0 with prev", func(h *ledger.Header) {
			h.Seq, h.Kind, h.GroupTag, h.Commit = 0, ledger.KindControl, [16]byte{}, [32]byte{}
		}, "prev"},
		{"prev missing", func(h *ledger.Header) { h.Prev = ledger.ID{} }, "prev"},
		{"tag on epoch", func(h *ledger.Header) { h.Kind = ledger.KindEpoch }, "group tag"},
		{"tag on broadcast", func(h *ledger.Header) { h.Kind = ledger.KindBroadcast }, "group tag"},
		{"tag on control", func(h *ledger.Header) { h.Kind, h.Commit = ledger.KindControl, [32]byte{} }, "group tag"},
		{"commit on control", func(h *ledger.Header) { h.Kind, h.GroupTag = ledger.KindControl, [16]byte{} }, "commitment"},
		{"body too long", func(h *ledger.Header) { h.BodyLen = ledger.MaxBody + 1 }, "longer than"},
		{"refs not sorted", func(h *ledger.Header) { h.Refs[2], h.Refs[3] = h.Refs[3], h.Refs[2] }, "rise strictly"},
		{"ref twice", func(h *ledger.Header) { h.Refs[3].Log = h.Refs[2].Log }, "rise strictly"},
		{"ref to own log", func(h *ledger.Header) {
			h.Refs = []ledger.Ref{{Log: ledger.LogID{Author: author.Author, Incarnation: 2}.Short()}}
		}, "other logs"},
		{"ref seq too high", func(h *ledger.Header) { h.Refs[0].Seq = ledger.MaxSeq + 1 }, "ref to sequence"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := fullHeader()
			c.change(&h)
			if _, err := h.Marshal(); !errors.Is(err, ledger.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Marshal: %v, want %q", err, c.want)
			}
			_, err := ledger.ParseHeader(rawHeader(1, h))
			if !errors.Is(err, ledger.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("ParseHeader: %v, want %q", err, c.want)
			}
		})
	}
	h := fullHeader()
	h.Refs = append(h.Refs, ledger.Ref{Log: [8]byte{0xff}})
	if _, err := h.Marshal(); !errors.Is(err, ledger.ErrInvalid) {
		t.Errorf("nine refs: %v", err)
	}
	if _, err := ledger.ParseHeader(rawHeader(1, h)); !errors.Is(err, ledger.ErrInvalid) {
		t.Errorf("nine refs parsed: %v", err)
	}
	if _, err := ledger.ParseHeader(rawHeader(2, fullHeader())); !errors.Is(err, ledger.ErrInvalid) {
		t.Errorf("version 2 parsed: %v", err)
	}
}

// rawHeader encodes h without any check, apart from the code under test.
func rawHeader(version byte, h ledger.Header) []byte {
	b := append([]byte{version}, h.Author[:]...)
	b = binary.BigEndian.AppendUint32(b, h.Incarnation)
	b = binary.BigEndian.AppendUint64(b, h.Seq)
	b = append(b, h.Prev[:]...)
	b = binary.BigEndian.AppendUint64(b, h.HLC)
	b = append(b, byte(h.Kind), byte(h.Priority))
	b = append(b, h.GroupTag[:]...)
	b = binary.BigEndian.AppendUint32(b, h.LifetimeS)
	b = binary.BigEndian.AppendUint32(b, h.BodyLen)
	b = append(append(b, h.BodyHash[:]...), h.Commit[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(h.Refs)*ledger.RefSize))
	for _, r := range h.Refs {
		b = binary.BigEndian.AppendUint64(append(b, r.Log[:]...), r.Seq)
		b = append(b, r.ID[:]...)
	}
	return b
}

func TestRawHeaderAgrees(t *testing.T) {
	h := fullHeader()
	got, err := h.Marshal()
	if err != nil || !bytes.Equal(got, rawHeader(1, h)) {
		t.Fatalf("Marshal differs from the description of the format: %v", err)
	}
	back, err := ledger.ParseHeader(got)
	if err != nil || fmt.Sprint(back) != fmt.Sprint(h) {
		t.Fatalf("read back %+v: %v", back, err)
	}
}

// TestEveryBit changes each bit of a frame: none may pass, because everything
// is under the signature, the hash or a length.
func TestEveryBit(t *testing.T) {
	v := newDevice("full").sign(t, fullHeader(), "hello")
	frame := v.Entry().Frame()
	for i := range len(frame) * 8 {
		bad := slices.Clone(frame)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := ledger.Verify(bad); !errors.Is(err, ledger.ErrInvalid) {
			t.Fatalf("bit %d changed: %v, want ErrInvalid", i, err)
		}
	}
}

func TestEveryLength(t *testing.T) {
	v := newDevice("full").sign(t, fullHeader(), "hello")
	frame, signed := v.Entry().Frame(), v.Entry().SignedHeader()
	for n := range len(frame) {
		if _, err := ledger.Verify(frame[:n]); !errors.Is(err, ledger.ErrInvalid) {
			t.Fatalf("frame cut to %d bytes: %v", n, err)
		}
	}
	for n := range len(signed) {
		if _, err := ledger.VerifyHeader(signed[:n]); !errors.Is(err, ledger.ErrInvalid) {
			t.Fatalf("signed header cut to %d bytes: %v", n, err)
		}
	}
	for _, b := range [][]byte{append(slices.Clone(frame), 0), make([]byte, ledger.MaxFrame+1)} {
		if _, err := ledger.Verify(b); !errors.Is(err, ledger.ErrInvalid) {
			t.Fatalf("%d bytes: %v", len(b), err)
		}
	}
	for _, b := range [][]byte{append(slices.Clone(signed), 0), make([]byte, ledger.MaxSignedHeader+1)} {
		if _, err := ledger.VerifyHeader(b); !errors.Is(err, ledger.ErrInvalid) {
			t.Fatalf("%d bytes: %v", len(b), err)
		}
	}
}

// TestSignatureDomain: a signature over the same bytes for another purpose is
// no signature of an entry, and nor is one by another key.
func TestSignatureDomain(t *testing.T) {
	d := newDevice("full")
	v := d.sign(t, fullHeader(), "hello")
	signed := v.Entry().SignedHeader()
	header := signed[:len(signed)-ledger.SignatureSize]
	for name, sig := range map[string][]byte{
		"other domain": identity.Sign(d.key, "tocsin/ticket/v1\x00", header),
		"no domain":    identity.Sign(d.key, "", header),
		"other key":    identity.Sign(newDevice("other").key, ledger.Domain, header),
	} {
		if _, err := ledger.VerifyHeader(append(slices.Clone(header), sig...)); !errors.Is(err, ledger.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	e, err := ledger.VerifyHeader(append(slices.Clone(header), identity.Sign(d.key, ledger.Domain, header)...))
	if err != nil || e.ID() != v.Entry().ID() || e.Body != nil || e.Frame() != nil {
		t.Errorf("the right signature: %v", err)
	}
	if e.ID() != ledger.ID(sha256.Sum256(append([]byte{0}, header...))) {
		t.Error("the id is not SHA-256(0x00 ‖ header)")
	}
}

// TestWeakKeys: an author whose key is of small order could sign anything.
func TestWeakKeys(t *testing.T) {
	h := ledger.Header{Kind: ledger.KindControl, BodyHash: sha256.Sum256(nil)}
	h.Author[0] = 1 // the identity point
	header, err := h.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	sig := make([]byte, ledger.SignatureSize)
	sig[0] = 1 // R = identity, S = 0 satisfies the equation for every message
	if _, err := ledger.VerifyHeader(append(header, sig...)); !errors.Is(err, ledger.ErrInvalid) {
		t.Fatalf("a forged signature under a small-order key: %v", err)
	}
}

func TestVerifyKeepsACopy(t *testing.T) {
	frame := slices.Clone(newDevice("a").chain(t, 1)[0].Entry().Frame())
	v, err := ledger.Verify(frame)
	if err != nil {
		t.Fatal(err)
	}
	clear(frame)
	if _, err := ledger.Verify(v.Entry().Frame()); err != nil {
		t.Fatal("the entry changed with the caller's bytes:", err)
	}
}

func TestSignRefuses(t *testing.T) {
	d := newDevice("a")
	if _, err := ledger.Sign(d.key[:31], ledger.Header{Kind: ledger.KindControl}, nil); err == nil {
		t.Error("a short key signed")
	}
	if _, err := ledger.Sign(d.key, ledger.Header{Kind: ledger.KindControl}, make([]byte, ledger.MaxBody+1)); !errors.Is(err, ledger.ErrInvalid) {
		t.Errorf("a long body: %v", err)
	}
	if _, err := ledger.Sign(d.key, ledger.Header{Kind: ledger.KindData}, nil); !errors.Is(err, ledger.ErrInvalid) {
		t.Errorf("a bad header: %v", err)
	}
}

func TestWords(t *testing.T) {
	for p := ledger.Routine; p <= ledger.Stat; p++ {
		if got, err := ledger.ParsePriority(p.String()); err != nil || got != p {
			t.Errorf("priority %s: %v", p, err)
		}
	}
	if _, err := ledger.ParsePriority("asap"); err == nil {
		t.Error("asap is no priority of ours")
	}
	id := ledger.ID{1, 0xab}
	if got, err := ledger.ParseID(id.String()); err != nil || got != id {
		t.Errorf("id %s: %v", id, err)
	}
	for _, s := range []string{"", id.String()[1:], strings.ToUpper(id.String()), id.String() + "00"} {
		if _, err := ledger.ParseID(s); err == nil {
			t.Errorf("%q was read as an id", s)
		}
	}
}
