package message

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"pgregory.net/rapid"
)

var rewrite = flag.Bool("rewrite", false, "write testdata/vectors.txt anew")

var sent = time.Date(2026, 3, 4, 5, 6, 7, 89*int(time.Millisecond), time.UTC)

func id(b byte) (out [32]byte) {
	for i := range out {
		out[i] = b
	}
	return out
}

// vectors are the messages whose bytes are fixed in testdata/vectors.txt.
func vectors(t testing.TB) []struct {
	name string
	m    Message
} {
	reply := NewText("On my way.", sent)
	reply.Content.(*Text).ReplyTo = id(7)
	newer, err := Decode(newerKind(t))
	if err != nil {
		t.Fatal(err)
	}
	return []struct {
		name string
		m    Message
	}{
		{"text", NewText("Bed 4: BP 80/40, please come.", sent)},
		{"text-utf8", NewText("Größe 3 µg\n\tΔ 💉", sent)},
		{"text-reply", reply},
		{"receipt-delivered", NewReceipt(Delivered, [][32]byte{id(1)}, sent)},
		{"receipt-read", NewReceipt(Read, [][32]byte{id(3), id(1), id(2), id(1)}, sent)},
		{"receipt-acknowledged", NewReceipt(Acknowledged, [][32]byte{id(4)}, sent)},
		{"newer-kind", newer},
		{"text-for", Message{Sent: sent, Content: &Text{Body: "Please come."}, For: []string{RoleAddress("medical-registrar"), PersonAddress("nhs.example/gmc/7654321")}}},
		{"incident-statement", Message{Sent: sent, Content: &Incident{Name: "Flood", Mode: Live, State: IncidentDeclared, Statement: []byte("signed")}}},
		{"attachment", NewAttachment(file(ChunkSize+1), sent)},
		{"attachment-thumb", NewAttachment(photo(), sent)},
	}
}

// golden are the messages of fixed bytes, and one of every other kind.
func golden(t testing.TB) []struct {
	name string
	m    Message
} {
	out := vectors(t)
	for _, c := range samples() {
		out = append(out, struct {
			name string
			m    Message
		}{string(c.Kind()), Message{Sent: sent, Content: c}})
	}
	return out
}

// newerKind is a message that only a later version would know.
func newerKind(t testing.TB) []byte {
	t.Helper()
	content, err := codec().enc.Marshal(map[uint64]any{0: "P1", 1: uint64(12), 2: []any{true, nil, "x", []byte{1, 2}, -5, 1.5}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := codec().enc.Marshal(wire{Kind: "ward-round", Sent: sent.UnixMilli(), Content: content})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVectors(t *testing.T) {
	const file = "testdata/vectors.txt"
	var out strings.Builder
	out.WriteString("# The encodings of fixed messages (see golden in message_test.go): name, then the bytes in hex.\n")
	for _, v := range golden(t) {
		b, err := Encode(v.m)
		if err != nil {
			t.Fatalf("%s: %v", v.name, err)
		}
		fmt.Fprintf(&out, "%s %x\n", v.name, b)
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("the encodings changed; wire formats do not. Got\n%s\nwant\n%s", out.String(), want)
	}
	for line := range strings.Lines(string(want)) {
		name, h, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || name == "#" {
			continue
		}
		b, err := hex.DecodeString(h)
		if err != nil {
			t.Fatal(err)
		}
		m, err := Decode(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		again, err := Encode(m)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%s: encodes again as %x, %v", name, again, err)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMessage(t)
		b, err := Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > MaxEncoded {
			t.Fatalf("%d bytes", len(b))
		}
		got, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if r, ok := m.Content.(*Receipt); ok {
			r.Entries = sortIDs(r.Entries)
		}
		if !reflect.DeepEqual(got, m) {
			t.Fatalf("got %#v, want %#v", got, m)
		}
	})
}

func drawMessage(t *rapid.T) Message {
	at := time.UnixMilli(rapid.Int64Range(1, latest-1).Draw(t, "sent")).UTC()
	ids := rapid.Custom(func(t *rapid.T) [32]byte {
		return [32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "id"))
	})
	if rapid.Bool().Draw(t, "receipt") {
		state := rapid.SampledFrom([]State{Delivered, Read, Acknowledged}).Draw(t, "state")
		return NewReceipt(state, rapid.SliceOfN(ids, 1, 20).Draw(t, "entries"), at)
	}
	body := undisguised("a" + strings.Map(func(r rune) rune {
		if hidden(r) || r == '\u00a0' {
			return '\n'
		}
		return r
	}, rapid.StringN(0, 300, MaxText-1).Draw(t, "body")))
	if rapid.Bool().Draw(t, "attachment") {
		return NewAttachment(drawFile(t, body), at)
	}
	m := NewText(body, at)
	for i := range rapid.IntRange(0, MaxFor).Draw(t, "for") {
		m.For = append(m.For, RoleAddress(fmt.Sprintf("%s-%d", rapid.StringMatching(`[a-z]{1,10}`).Draw(t, "role"), i)))
	}
	if rapid.Bool().Draw(t, "reply") {
		m.Content.(*Text).ReplyTo = ids.Draw(t, "to")
	}
	return m
}

func TestUnknownKindIsKept(t *testing.T) {
	b := newerKind(t)
	m, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	u, ok := m.Content.(*Unknown)
	if !ok || m.Kind() != "ward-round" || !bytes.Equal(u.Raw, b) || !m.Sent.Equal(sent) {
		t.Errorf("got %+v", m)
	}
	if m.Summary() != NewerKind || !m.Shown() {
		t.Errorf("summary %q, shown %v", m.Summary(), m.Shown())
	}
	again, err := Encode(m)
	if err != nil || !bytes.Equal(again, b) {
		t.Errorf("encodes as %x, %v; want %x", again, err, b)
	}
	u.Named = "rota"
	if _, err := Encode(m); !errors.Is(err, ErrInvalid) {
		t.Errorf("kept bytes of another kind: %v", err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	long := make([][32]byte, MaxReceiptEntries+1)
	for name, m := range map[string]Message{
		"empty message":     {},
		"empty text":        NewText("", sent),
		"blank text":        NewText(" \n\t\u200b", sent),
		"too long":          NewText(strings.Repeat("x", MaxText+1), sent),
		"not UTF-8":         NewText("a\xffb", sent),
		"escape":            NewText("a\x1b[2Jb", sent),
		"C1 control":        NewText("a\u009bb", sent),
		"lone return":       {Sent: sent, Content: &Text{Body: "a\rb"}},
		"turned round":      {Sent: sent, Content: &Text{Body: "give 5\u202e0 mg"}},
		"no time":           NewText("a", time.Time{}),
		"far time":          NewText("a", time.UnixMilli(latest)),
		"bad kind":          {Sent: sent, Content: &Unknown{Named: "Text!", Raw: []byte{1}}},
		"unknown, no bytes": {Sent: sent, Content: &Unknown{Named: "ward-round"}},
		"unknown, known":    {Sent: sent, Content: &Unknown{Named: KindTask, Raw: []byte{1}}},
		"unknown, rubbish":  {Sent: sent, Content: &Unknown{Named: "ward-round", Raw: []byte{1}}},
		"odd state":         NewReceipt("seen", [][32]byte{id(1)}, sent),
		"no entries":        NewReceipt(Read, nil, sent),
		"many entries":      NewReceipt(Read, long, sent),
	} {
		if b, err := Encode(m); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: encoded as %x, %v", name, b, err)
		}
	}
	if _, err := Encode(NewText("a\r\nb", sent)); err != nil {
		t.Errorf("line ends of other systems: %v", err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	good, err := Encode(NewText("hello", sent))
	if err != nil {
		t.Fatal(err)
	}
	loose, err := cbor.EncOptions{Sort: cbor.SortNone}.EncMode()
	if err != nil {
		t.Fatal(err)
	}
	enc := func(v any) []byte {
		b, err := loose.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	whole := func(kind string, content any) []byte {
		return enc(wire{Kind: kind, Sent: sent.UnixMilli(), Content: enc(content)})
	}
	one := id(1)
	two := id(2)
	head, rest := good[:4], good[4:] // a3 00 64 't': the head of the kind's string follows the key
	if head[0] != 0xa3 || head[2] != 0x64 {
		t.Fatalf("the encoding is not what this test takes apart: %x", good)
	}
	for name, b := range map[string][]byte{
		"nothing":           {},
		"trailing byte":     append(bytes.Clone(good), 0),
		"long length":       append([]byte{0xa3, 0x00, 0x78, 0x04, head[3]}, rest...),
		"indefinite map":    append(append([]byte{0xbf}, good[1:]...), 0xff),
		"tagged":            append([]byte{0xc1}, good...),
		"not a map":         enc([]int{1}),
		"no content":        enc(map[int]any{0: "text", 1: 5}),
		"extra field":       enc(map[int]any{0: "text", 1: 5, 2: map[int]any{0: "a"}, 3: 1}),
		"extra text field":  whole("text", map[int]any{0: "a", 9: 1}),
		"duplicate key":     {0xa3, 0x00, 0x61, 'x', 0x00, 0x61, 'y', 0x02, 0xa0},
		"unsorted keys":     {0xa3, 0x01, 0x05, 0x00, 0x61, 'x', 0x02, 0xa0},
		"bad UTF-8":         {0xa3, 0x00, 0x64, 't', 'e', 'x', 't', 0x01, 0x05, 0x02, 0xa1, 0x00, 0x61, 0xff},
		"empty reply":       whole("text", map[int]any{0: "a", 1: []byte{}}),
		"short reply":       whole("text", map[int]any{0: "a", 1: one[:31]}),
		"zero reply":        whole("text", map[int]any{0: "a", 1: make([]byte, 32)}),
		"unsorted receipt":  whole("receipt", map[int]any{0: "read", 1: [][]byte{two[:], one[:]}}),
		"repeated receipt":  whole("receipt", map[int]any{0: "read", 1: [][]byte{one[:], one[:]}}),
		"empty receipt":     whole("receipt", map[int]any{0: "read", 1: [][]byte{}}),
		"float time":        enc(map[int]any{0: "text", 1: 5.0, 2: map[int]any{0: "a"}}),
		"negative time":     enc(wire{Kind: "text", Sent: -5, Content: enc(map[int]any{0: "a"})}),
		"unknown, loose":    {0xa3, 0x00, 0x61, 'x', 0x01, 0x05, 0x02, 0x18, 0x01},
		"unknown, deep":     whole("x", deep(20)),
		"unknown, kind":     whole("X", 1),
		"too big":           make([]byte, MaxEncoded+1),
		"unknown undefined": {0xa3, 0x00, 0x61, 'x', 0x01, 0x05, 0x02, 0xf7},
	} {
		if m, err := Decode(b); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %x decoded as %#v, %v", name, b, m, err)
		}
	}
	for i := range good {
		if _, err := Decode(good[:i]); !errors.Is(err, ErrInvalid) {
			t.Errorf("cut at %d of %d: %v", i, len(good), err)
		}
	}
}

func deep(n int) any {
	if n == 0 {
		return 1
	}
	return []any{deep(n - 1)}
}

const canary = "CANARY-patient-in-bed-4"

// TestLogsHoldNoContent fails when any way of logging or printing a message carries what was said.
func TestLogsHoldNoContent(t *testing.T) {
	m := NewText(canary, sent)
	text := m.Content.(*Text)
	secret := file(1)
	secret.Name, secret.Caption = canary, canary
	copy(secret.Key[:], canary)
	attached := NewAttachment(secret, sent)
	unknown, err := codec().enc.Marshal(wire{Kind: "ward-round", Sent: sent.UnixMilli(), Content: mustEncode(t, canary)})
	if err != nil {
		t.Fatal(err)
	}
	newer, err := Decode(unknown)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, log := range []*slog.Logger{slog.New(slog.NewTextHandler(&out, nil)), slog.New(slog.NewJSONHandler(&out, nil))} {
		for _, m := range []Message{m, newer, attached} {
			log.Info("a message", "message", m, "pointer", &m)
			log.Info("a content", "content", m.Content)
		}
		for _, c := range samples() {
			log.Info("a content", "content", c)
		}
		log.Info("a value", "value", *text)
	}
	for _, f := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		fmt.Fprintf(&out, f+f+f+f+"\n", m, &m, newer, []Message{m, newer, attached})
		fmt.Fprintf(&out, f+f+f+"\n", attached.Content, secret, attached)
		fmt.Fprintf(&out, f+f+"\n", text, *text)
		for _, c := range samples() {
			fmt.Fprintf(&out, f+f+"\n", c, []Content{c})
		}
	}
	if !strings.Contains(out.String(), "withheld") {
		t.Fatal("nothing was logged")
	}
	for _, leak := range []string{canary, hex.EncodeToString([]byte(canary)), "67 65 78"} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("a log holds content: %s", out.String())
		}
	}
}

func mustEncode(t testing.TB, v any) []byte {
	t.Helper()
	b, err := codec().enc.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestErrorsHoldNoContent(t *testing.T) {
	for _, body := range []string{canary + "\x1b", canary + "\xff", strings.Repeat(canary, 400)} {
		_, err := Encode(NewText(body, sent))
		if err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("error %v", err)
		}
	}
}

func TestSummary(t *testing.T) {
	for _, c := range []struct {
		m    Message
		want string
	}{
		{NewText("one\n  two", sent), "one two"},
		{NewText(strings.Repeat("é", 81), sent), strings.Repeat("é", 79) + "…"},
		{NewText(strings.Repeat("é", 80), sent), strings.Repeat("é", 80)},
		{NewReceipt(Read, [][32]byte{id(1)}, sent), "read: 1 message"},
		{NewReceipt(Delivered, [][32]byte{id(1), id(2)}, sent), "delivered: 2 messages"},
	} {
		if got := c.m.Summary(); got != c.want {
			t.Errorf("summary %q, want %q", got, c.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, v := range golden(f) {
		b, err := Encode(v.m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil {
			return
		}
		again, err := Encode(m)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x decodes, and encodes as %x, %v", b, again, err)
		}
	})
}
