package ledger

import (
	"bytes"
	"testing"

	"golang.org/x/crypto/cryptobyte"
)

// FuzzReconcile holds every parser of synchronisation to one encoding for each
// message. The first byte chooses the parser.
func FuzzReconcile(f *testing.F) {
	tree := testTree(row(100)...)
	add := func(kind byte, b []byte) {
		f.Add(append([]byte{kind}, b...))
		f.Add(append([]byte{kind}, b[:len(b)-1]...))
		f.Add(append(append([]byte{kind}, b...), 0))
	}
	add(0, MarshalRoots([]ScopeRoot{{ScopeHeaders, tree.Root()}, {ScopeBodies, tree.Root()}}))
	add(1, ask{scope: ScopeHeaders, questions: []question{{Range: Range{Depth: 3}}, {Range: Range{Depth: 2, Bits: 3 << 60}, listed: true, list: []fingerprint{{1}, {2}}}}}.marshal())
	add(2, answer{form: formMarks, found: 1, marks: []Mark{testMark(1, 2, 3), {Next: 1, Fork: [32]byte{1}}}}.append(nil))
	add(2, answer{form: formMore, marks: []Mark{testMark(1, 2, 3)}}.append(nil))
	add(2, answer{}.append(nil))
	add(3, MarshalWant(7, Request{Want: Want{Log: testMark(1, 1, 0).Log, From: 3, To: 9}, Piece: PieceEntry}))
	add(3, MarshalWant(7, Request{Want: Want{Log: testMark(1, 1, 0).Log, To: 1}, Piece: PieceFork}))
	add(4, MarshalItem(Item{Number: 1, Piece: PieceBody, Seq: 9, Data: []byte("body")}))
	add(4, MarshalItem(Item{Number: 1, Piece: PieceHeader, Data: []byte("header")}))
	add(5, MarshalDone(3, EndLater))
	add(6, MarshalCredit(Window))
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) == 0 {
			return
		}
		b := in[1:]
		var again []byte
		var err error
		switch in[0] % 7 {
		case 0:
			var v []ScopeRoot
			v, err = ParseRoots(b)
			again = MarshalRoots(v)
		case 1:
			var v ask
			v, err = parseAsk(b)
			again = v.marshal()
		case 2:
			s := cryptobyte.String(b)
			var v answer
			v, err = readAnswer(&s)
			again = append(v.append(nil), s...)
		case 3:
			var n uint16
			var v Request
			n, v, err = ParseWant(b)
			again = MarshalWant(n, v)
		case 4:
			var v Item
			v, err = ParseItem(b)
			again = MarshalItem(v)
		case 5:
			var n uint16
			var v End
			n, v, err = ParseDone(b)
			again = MarshalDone(n, v)
		case 6:
			var v int
			v, err = ParseCredit(b)
			again = MarshalCredit(v)
		}
		if err == nil && !bytes.Equal(again, b) {
			t.Fatalf("%d: %x became %x", in[0]%7, b, again)
		}
		if err != nil && Broken(err) == "" {
			t.Fatalf("an error without a reason: %v", err)
		}
	})
}

// FuzzComparison lets a server say anything to a comparison, and a client
// anything to an answerer.
func FuzzComparison(f *testing.F) {
	f.Add(answer{form: formMarks, marks: []Mark{testMark(1, 2, 3)}}.append(nil), true)
	f.Add(ask{scope: ScopeHeaders, questions: []question{{listed: true}}}.marshal(), false)
	mine := testTree(row(200)...)
	f.Fuzz(func(t *testing.T, b []byte, server bool) {
		if !server {
			n := 0
			if err := NewAnswerer(mine).Answer(b, func(part []byte) error { n += len(part); return nil }); err != nil && Broken(err) == "" {
				t.Fatalf("an error without a reason: %v", err)
			}
			if n > 3*200*markSize {
				t.Fatalf("%d bytes of question drew %d bytes", len(b), n)
			}
			return
		}
		c := Compare(mine, [SaltSize]byte{}, 200)
		for range 4 {
			c.Ask()
			if err := c.Take(b); err != nil {
				if Broken(err) == "" {
					t.Fatalf("an error without a reason: %v", err)
				}
				return
			}
		}
		c.Result()
	})
}
