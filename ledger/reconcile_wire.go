package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// The messages of reconciliation (mesh/PROTOCOL.md §4), in the presentation
// language of TLS. Each has one encoding; trailing bytes are errors.

// ErrProtocol: a neighbour broke the rules of synchronisation. Its text says
// which; [Broken] gives the word to count it by.
var ErrProtocol = errors.New("ledger: a neighbour broke the rules of synchronisation")

// protocolError carries a word without content, for counters.
type protocolError struct{ reason, text string }

func (e *protocolError) Error() string        { return ErrProtocol.Error() + ": " + e.text }
func (e *protocolError) Is(target error) bool { return target == ErrProtocol }

func broken(reason, format string, args ...any) error {
	return &protocolError{reason, fmt.Sprintf(format, args...)}
}

// The reasons of [Broken].
const (
	BrokenEncoding = "encoding"      // bytes that are no message
	BrokenRange    = "outside-range" // an answer to something that was not asked
	BrokenCredit   = "credit"        // more in flight than was granted
	BrokenGreedy   = "greedy"        // asked for more, or more often, than anyone needs
	BrokenFrontier = "frontier"      // claims that do not hold
	BrokenEntry    = "entry"         // an entry that does not verify
)

// Broken returns the reason in an error that matches [ErrProtocol], a word
// without content, or "".
func Broken(err error) string {
	var p *protocolError
	if errors.As(err, &p) {
		return p.reason
	}
	return ""
}

// Breach makes an error that matches [ErrProtocol] under one of the reasons.
func Breach(reason, format string, args ...any) error { return broken(reason, format, args...) }

// RootSize is what one scope takes in a message of roots.
const RootSize = 1 + 32

// ScopeRoot is step 1 of protocol §6 for one scope.
type ScopeRoot struct {
	Scope Scope
	Root  [32]byte
}

// MarshalRoots encodes struct { uint8 scope; opaque root[32]; } for each
// scope, rising.
func MarshalRoots(roots []ScopeRoot) []byte {
	b := make([]byte, 0, len(roots)*RootSize)
	for _, r := range roots {
		b = append(append(b, byte(r.Scope)), r.Root[:]...)
	}
	return b
}

// ParseRoots reads one to three roots.
func ParseRoots(b []byte) ([]ScopeRoot, error) {
	s := cryptobyte.String(b)
	var roots []ScopeRoot
	for !s.Empty() {
		var r ScopeRoot
		if !s.ReadUint8((*uint8)(&r.Scope)) || !s.CopyBytes(r.Root[:]) {
			return nil, broken(BrokenEncoding, "roots are cut short")
		}
		if r.Scope < ScopeControl || r.Scope > ScopeBodies {
			return nil, broken(BrokenEncoding, "there is no scope %d", r.Scope)
		}
		if len(roots) > 0 && roots[len(roots)-1].Scope >= r.Scope {
			return nil, broken(BrokenEncoding, "scopes must rise")
		}
		roots = append(roots, r)
	}
	if len(roots) == 0 {
		return nil, broken(BrokenEncoding, "no roots")
	}
	return roots, nil
}

// equalMark in place of a number of marks says that the roots are equal.
const equalMark = ^uint32(0)

// Answered is a server's answer to one root.
type Answered struct {
	Equal bool
	Count int // of its marks, where not equal
}

// AnswerRoots encodes, for each root asked, uint32: the number of marks, or
// 2^32-1 where the root is the same.
func AnswerRoots(roots []ScopeRoot, tree func(Scope) *Tree) []byte {
	b := make([]byte, 0, 4*len(roots))
	for _, r := range roots {
		n := equalMark
		if t := tree(r.Scope); t.Root() != r.Root {
			n = uint32(t.Len())
		}
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return b
}

// ParseAnswers reads the answer to n roots.
func ParseAnswers(b []byte, n int) ([]Answered, error) {
	if len(b) != 4*n {
		return nil, broken(BrokenEncoding, "an answer of %d bytes to %d roots", len(b), n)
	}
	out := make([]Answered, n)
	for i := range out {
		v := binary.BigEndian.Uint32(b[4*i:])
		switch {
		case v == equalMark:
			out[i].Equal = true
		case v > MaxFrontierLogs:
			return nil, broken(BrokenFrontier, "it claims %d logs; at most %d are allowed", v, MaxFrontierLogs)
		default:
			out[i].Count = int(v)
		}
	}
	return out, nil
}

// question asks about one range: for the marks that are not in list, or without
// a list for the fingerprints of its parts.
type question struct {
	Range
	listed bool
	list   []fingerprint // rising
}

const (
	// MaxList is the longest list of prints in one question.
	MaxList = 64
	// maxQuestions bounds the questions of one message.
	maxQuestions = 256
	noList       = 255
)

// ask is struct { uint8 scope; opaque salt[8]; Question questions<1..>; }, with
// Question { uint8 depth; opaque bits[(depth+1)/2]; uint8 n; opaque print[8][n]; }
// and n = 255 for no list. Ranges rise and do not overlap.
type ask struct {
	scope     Scope
	salt      [SaltSize]byte
	questions []question
}

func (a ask) marshal() []byte {
	b := append([]byte{byte(a.scope)}, a.salt[:]...)
	for _, q := range a.questions {
		var bits [8]byte
		binary.BigEndian.PutUint64(bits[:], q.Bits)
		b = append(append(b, q.Depth), bits[:(q.Depth+1)/2]...)
		if !q.listed {
			b = append(b, noList)
			continue
		}
		b = append(b, byte(len(q.list)))
		for _, p := range q.list {
			b = append(b, p[:]...)
		}
	}
	return b
}

func parseAsk(b []byte) (ask, error) {
	s := cryptobyte.String(b)
	var a ask
	if !s.ReadUint8((*uint8)(&a.scope)) || !s.CopyBytes(a.salt[:]) {
		return a, broken(BrokenEncoding, "a question is cut short")
	}
	for !s.Empty() {
		q, err := readQuestion(&s)
		if err != nil {
			return a, err
		}
		if n := len(a.questions); n > 0 && (n == maxQuestions || a.questions[n-1].last() >= q.Bits) {
			return a, broken(BrokenGreedy, "ranges must rise, must not overlap, and are at most %d", maxQuestions)
		}
		a.questions = append(a.questions, q)
	}
	if len(a.questions) == 0 {
		return a, broken(BrokenEncoding, "a message without a question")
	}
	return a, nil
}

func readQuestion(s *cryptobyte.String) (question, error) {
	var q question
	var raw []byte
	var n uint8
	if !s.ReadUint8(&q.Depth) || q.Depth > maxDepth || !s.ReadBytes(&raw, int(q.Depth+1)/2) || !s.ReadUint8(&n) {
		return q, broken(BrokenEncoding, "a question is cut short")
	}
	var bits [8]byte
	copy(bits[:], raw)
	q.Bits = binary.BigEndian.Uint64(bits[:])
	if q.Depth < maxDepth && q.Bits&q.last() != q.Bits || q.Bits&(q.last()-q.Bits) != 0 {
		return q, broken(BrokenEncoding, "a range has bits beyond its depth")
	}
	if n == noList {
		return q, nil
	}
	q.listed = true
	if n > MaxList {
		return q, broken(BrokenEncoding, "a list of %d; at most %d are allowed", n, MaxList)
	}
	q.list = make([]fingerprint, n)
	for i := range q.list {
		if !s.CopyBytes(q.list[i][:]) {
			return q, broken(BrokenEncoding, "a list is cut short")
		}
		if i > 0 && comparePrints(q.list[i-1], q.list[i]) >= 0 {
			return q, broken(BrokenEncoding, "a list must rise")
		}
	}
	return q, nil
}

// The forms of an answer to one question.
const (
	formParts = 0 // opaque print[8][16]
	formMarks = 1 // the last of its marks
	formMore  = 2 // marks, and more follow in another answer
)

// answer is struct { uint8 form; select (form) { parts: opaque print[8][16];
// marks: uint8 found; uint16 n; Mark marks[n]; more: uint16 n; Mark marks[n]; } }.
type answer struct {
	form  uint8
	parts [fanOut]fingerprint
	found uint8 // of the list, how many it holds
	marks []Mark
}

func (a answer) append(b []byte) []byte {
	b = append(b, a.form)
	if a.form == formParts {
		for i := range a.parts {
			b = append(b, a.parts[i][:]...)
		}
		return b
	}
	if a.form == formMarks {
		b = append(b, a.found)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(a.marks)))
	for i := range a.marks {
		b = a.marks[i].append(b)
	}
	return b
}

// append encodes struct { opaque log[36]; uint64 next; opaque id[32]; opaque
// fork<0..32>; }, fork being empty or 32 bytes.
func (m *Mark) append(b []byte) []byte {
	id := m.Log.Bytes()
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint64(b, m.Next)
	b = append(b, m.ID[:]...)
	if m.Fork == [32]byte{} {
		return append(b, 0)
	}
	return append(append(b, 32), m.Fork[:]...)
}

// markSize is what a mark without a fork takes.
const markSize = 32 + 4 + 8 + 32 + 1

func readMark(s *cryptobyte.String) (Mark, error) {
	var m Mark
	var fork cryptobyte.String
	if !s.CopyBytes(m.Log.Author[:]) || !s.ReadUint32(&m.Log.Incarnation) || !s.ReadUint64(&m.Next) ||
		!s.CopyBytes(m.ID[:]) || !s.ReadUint8LengthPrefixed(&fork) {
		return m, broken(BrokenEncoding, "a mark is cut short")
	}
	if len(fork) != 0 {
		if !fork.CopyBytes(m.Fork[:]) || !fork.Empty() || m.Fork == [32]byte{} {
			return m, broken(BrokenEncoding, "a fork is named by 32 bytes")
		}
	}
	if m.Next > MaxSeq+1 || m.Next == 0 && m.Fork == [32]byte{} {
		return m, broken(BrokenFrontier, "it claims %d entries of a log", m.Next)
	}
	return m, nil
}

func readAnswer(s *cryptobyte.String) (answer, error) {
	var a answer
	if !s.ReadUint8(&a.form) || a.form > formMore {
		return a, broken(BrokenEncoding, "an answer has no known form")
	}
	if a.form == formParts {
		for i := range a.parts {
			if !s.CopyBytes(a.parts[i][:]) {
				return a, broken(BrokenEncoding, "fingerprints are cut short")
			}
		}
		return a, nil
	}
	var n uint16
	if a.form == formMarks && !s.ReadUint8(&a.found) || !s.ReadUint16(&n) || int(n)*markSize > len(*s) {
		return a, broken(BrokenEncoding, "marks are cut short")
	}
	if n > 0 {
		a.marks = make([]Mark, n)
	}
	for i := range a.marks {
		m, err := readMark(s)
		if err != nil {
			return a, err
		}
		a.marks[i] = m
	}
	return a, nil
}

// Piece says what of an entry, or of a log, is asked for; PieceHeader and
// PieceBody may be joined.
type Piece uint8

// The pieces.
const (
	PieceHeader  Piece = 1 // signed headers, rising
	PieceBody    Piece = 2 // bodies, falling: the newest first
	PieceEntry         = PieceHeader | PieceBody
	PieceFork    Piece = 4 // the fork proof of a log; from and to are 0 and 1
	PieceRecords Piece = 8 // the statements about a log; from and to are 0 and 1
	// PieceEvidence is both branches of a forked log, or the log itself where no
	// fork of it is known: rising, at most two entries a place.
	PieceEvidence Piece = 16
)

// MarshalWant encodes struct { uint16 number; opaque log[36]; uint64 from;
// uint64 to; uint8 piece; }. number names the request within its session.
func MarshalWant(number uint16, r Request) []byte {
	b := binary.BigEndian.AppendUint16(make([]byte, 0, 55), number)
	id := r.Log.Bytes()
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint64(b, r.From)
	b = binary.BigEndian.AppendUint64(b, r.To)
	return append(b, byte(r.Piece))
}

// ParseWant reads one request; its class travels beside it.
func ParseWant(b []byte) (number uint16, r Request, err error) {
	s := cryptobyte.String(b)
	if !s.ReadUint16(&number) || !s.CopyBytes(r.Log.Author[:]) || !s.ReadUint32(&r.Log.Incarnation) ||
		!s.ReadUint64(&r.From) || !s.ReadUint64(&r.To) || !s.ReadUint8((*uint8)(&r.Piece)) || !s.Empty() {
		return 0, r, broken(BrokenEncoding, "a want has %d bytes, not 55", len(b))
	}
	switch r.Piece {
	case PieceHeader, PieceBody, PieceEntry, PieceEvidence:
		if r.From >= r.To || r.To > MaxSeq+1 || r.To-r.From > MaxRange {
			return 0, r, broken(BrokenGreedy, "a range of %d entries; 1 to %d are allowed", r.To-r.From, MaxRange)
		}
	case PieceFork, PieceRecords:
		if r.From != 0 || r.To != 1 {
			return 0, r, broken(BrokenEncoding, "a want of a whole log has a range")
		}
	default:
		return 0, r, broken(BrokenEncoding, "there is no piece %d", r.Piece)
	}
	return number, r, nil
}

// Item is one thing that was asked for.
type Item struct {
	Number uint16
	Piece  Piece
	// Seq is the place of a body.
	Seq uint64
	// Data is an entry's frame, a header frame, a body, a fork proof, records or
	// evidence ([MarshalEvidence]).
	Data []byte
}

// MarshalItem encodes struct { uint16 number; uint8 piece; select (piece) {
// body: uint64 seq; }; opaque data; } with data to the end.
func MarshalItem(i Item) []byte {
	b := binary.BigEndian.AppendUint16(make([]byte, 0, 11+len(i.Data)), i.Number)
	b = append(b, byte(i.Piece))
	if i.Piece == PieceBody {
		b = binary.BigEndian.AppendUint64(b, i.Seq)
	}
	return append(b, i.Data...)
}

// ParseItem reads one item, whose data is not copied.
func ParseItem(b []byte) (Item, error) {
	s := cryptobyte.String(b)
	var i Item
	if !s.ReadUint16(&i.Number) || !s.ReadUint8((*uint8)(&i.Piece)) || i.Piece == PieceBody && !s.ReadUint64(&i.Seq) {
		return i, broken(BrokenEncoding, "an item is cut short")
	}
	if !slices.Contains([]Piece{PieceHeader, PieceBody, PieceEntry, PieceFork, PieceRecords, PieceEvidence}, i.Piece) {
		return i, broken(BrokenEncoding, "there is no piece %d", i.Piece)
	}
	i.Data = s
	return i, nil
}

// End says how a range ended.
type End uint8

// The ends.
const (
	EndAll     End = 0 // all of it was sent
	EndShort   End = 1 // not all of it is held there
	EndLater   End = 2 // the session is full: the next one goes on
	EndBusy    End = 3 // bodies of this log are to be asked for again in a moment; others can be asked for now
	endHighest     = EndBusy
)

// MarshalDone encodes struct { uint16 number; uint8 end; }.
func MarshalDone(number uint16, e End) []byte {
	return append(binary.BigEndian.AppendUint16(nil, number), byte(e))
}

// ParseDone reads the end of one range.
func ParseDone(b []byte) (number uint16, e End, err error) {
	if len(b) != 3 || End(b[2]) > endHighest {
		return 0, 0, broken(BrokenEncoding, "the end of a range is malformed")
	}
	return binary.BigEndian.Uint16(b), End(b[2]), nil
}

// MarshalCredit encodes struct { uint32 bytes; }; the class travels beside it.
func MarshalCredit(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }

// ParseCredit reads one grant, at most a window.
func ParseCredit(b []byte) (int, error) {
	if len(b) != 4 {
		return 0, broken(BrokenEncoding, "a credit of %d bytes", len(b))
	}
	n := binary.BigEndian.Uint32(b)
	if n == 0 || n > Window {
		return 0, broken(BrokenCredit, "a credit of %d bytes; 1 to %d are allowed", n, Window)
	}
	return int(n), nil
}
