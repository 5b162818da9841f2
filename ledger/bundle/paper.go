package bundle

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// What is written on paper is a sequence of codes, each of which a camera reads
// or a person types: any order, as often as it takes, several sheets mixed.
//
//	"TP1" ‖ sheet[8] ‖ index[2] ‖ count[2] ‖ part ‖ check[4]
//
// All of it is base 32 in the alphabet of Crockford (no I, L, O, U), most
// significant bits first. sheet is the first 5 bytes of SHA-256("tocsin/1 paper
// sheet\0" ‖ content); index (from 0) and count less one have 10 bits each; part is
// 60 bytes of the content, the last part 1 to 60, with zeros to fill its last
// character; check is the first 20 bits of SHA-256("tocsin/1 paper code\0" ‖ what
// stands before it). So a code has at most 115 characters, all of QR's
// alphanumeric mode, and one that was mistyped is named by itself.
//
// The checks find mistakes, not attacks: what a sheet carries is sealed and
// signed (papersheet.go).
const (
	paperMagic  = "TP1"
	paperName   = 8
	paperNumber = 2
	paperCheck  = 4
	paperHead   = len(paperMagic) + paperName + 2*paperNumber
)

// crockford is the alphabet of the codes.
const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// ErrCode: a code of a sheet is damaged or mistyped.
var ErrCode = errors.New("bundle: no code of a sheet")

// PaperCodes returns the codes of a sheet with this content, at most
// [MaxPaperCodes] of them.
func PaperCodes(content []byte) ([]string, error) {
	count := (len(content) + paperPart - 1) / paperPart
	if count < 1 || count > MaxPaperCodes {
		return nil, fmt.Errorf("bundle: a sheet has 1 to %d codes of %d bytes, and %d bytes are to be written: choose fewer messages, or use a stick",
			MaxPaperCodes, paperPart, len(content))
	}
	name := sheetName(content)
	codes := make([]string, 0, count)
	for part := range slices.Chunk(content, paperPart) {
		code := paperMagic + name + number32(len(codes)) + number32(count-1) + base32(part)
		codes = append(codes, code+codeCheck(code))
	}
	return codes, nil
}

func sheetName(content []byte) string {
	sum := sha256.Sum256(append([]byte("tocsin/1 paper sheet\x00"), content...))
	return base32(sum[:5])
}

// codeCheck is the end of a code.
func codeCheck(code string) string {
	sum := sha256.Sum256([]byte("tocsin/1 paper code\x00" + code))
	n := binary.BigEndian.Uint32(sum[:]) >> 12
	return number32(int(n>>10)) + number32(int(n&1023))
}

// number32 writes a number below 1,024.
func number32(n int) string { return string([]byte{crockford[n>>5], crockford[n&31]}) }

func base32(b []byte) string {
	var out strings.Builder
	bits, n := 0, uint(0)
	for _, c := range b {
		n, bits = n<<8|uint(c), bits+8
		for bits >= 5 {
			bits -= 5
			out.WriteByte(crockford[n>>bits&31])
		}
	}
	if bits > 0 {
		out.WriteByte(crockford[n<<(5-bits)&31])
	}
	return out.String()
}

// parseBase32 is the inverse of base32 and takes no second spelling.
func parseBase32(s string) ([]byte, bool) {
	out := make([]byte, 0, len(s)*5/8)
	bits, n := 0, uint(0)
	for i := range len(s) {
		digit := strings.IndexByte(crockford, s[i])
		if digit < 0 {
			return nil, false
		}
		if n, bits = n<<5|uint(digit), bits+5; bits >= 8 {
			bits -= 8
			out = append(out, byte(n>>bits))
			n &= 1<<bits - 1
		}
	}
	return out, bits < 5 && n == 0
}

// CleanCode takes what a person may type out of a code: small letters, spaces,
// dashes, and I, L and O for the digits that they look like.
func CleanCode(typed string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case ' ', '-', '\t', '\r', '\n', '.', '_':
			return -1
		case 'i', 'I', 'l', 'L':
			return '1'
		case 'o', 'O':
			return '0'
		}
		if 'a' <= r && r <= 'z' {
			return r - 'a' + 'A'
		}
		return r
	}, typed)
}

// IsPaperCode reports whether a text begins like a code of a sheet.
func IsPaperCode(text string) bool { return strings.HasPrefix(CleanCode(text), paperMagic) }

// paperCode is a code that was read.
type paperCode struct {
	sheet string
	index int
	count int
	part  []byte
}

func parseCode(typed string) (c paperCode, err error) {
	if len(typed) > maxTypedCode {
		return c, fmt.Errorf("%w: it is %d characters long", ErrCode, len(typed))
	}
	s := CleanCode(typed)
	if !strings.HasPrefix(s, paperMagic) || len(s) < paperHead+paperCheck+2 || len(s) > paperHead+paperPart*8/5+paperCheck {
		return c, fmt.Errorf("%w: it does not begin with %s, or is too short or too long", ErrCode, paperMagic)
	}
	body, check := s[:len(s)-paperCheck], s[len(s)-paperCheck:]
	at := len(paperMagic)
	index, ok1 := parseNumber32(body[at+paperName:])
	count, ok2 := parseNumber32(body[at+paperName+paperNumber:])
	_, ok3 := parseBase32(body[at : at+paperName])
	part, ok4 := parseBase32(body[paperHead:])
	c = paperCode{body[at : at+paperName], index, count + 1, part}
	if !ok1 || !ok2 || !ok3 || !ok4 || codeCheck(body) != check {
		return c, fmt.Errorf("%w: a character of it is wrong", ErrCode)
	}
	if c.index >= c.count || c.count > MaxPaperCodes || c.index < c.count-1 && len(part) != paperPart {
		return c, fmt.Errorf("%w: its numbers contradict each other", ErrCode)
	}
	return c, nil
}

func parseNumber32(s string) (int, bool) {
	high, low := strings.IndexByte(crockford, s[0]), strings.IndexByte(crockford, s[1])
	return high<<5 | low, high >= 0 && low >= 0
}

// PaperCollector puts sheets together from their codes. The zero value is ready.
type PaperCollector struct {
	order  []string
	sheets map[string]*paperSheet
}

type paperSheet struct {
	count int
	parts map[int][]byte
	split bool // two codes say different things at one place
}

// PaperSheet is how far a sheet has come.
type PaperSheet struct {
	ID      string // its name, which begins each of its codes
	Count   int    // codes that it has
	Missing []int  // numbers, from 1, of those that were not seen
	Content []byte // nil until the sheet is whole
	Problem string // why it cannot be put together though all codes were seen
}

// Add takes a code in, read or typed. One that was there changes nothing. The
// error matches [ErrCode]; sheets that were begun stay as they are.
func (c *PaperCollector) Add(code string) error {
	p, err := parseCode(code)
	if err != nil {
		return err
	}
	s := c.sheets[p.sheet]
	if s == nil {
		if len(c.order) == maxSheets {
			return fmt.Errorf("%w: more than %d sheets are mixed: read fewer at once", ErrCode, maxSheets)
		}
		if c.sheets == nil {
			c.sheets = make(map[string]*paperSheet)
		}
		s = &paperSheet{count: p.count, parts: make(map[int][]byte)}
		c.sheets[p.sheet], c.order = s, append(c.order, p.sheet)
	}
	if old, ok := s.parts[p.index]; s.count != p.count || ok && !slices.Equal(old, p.part) {
		s.split = true
		return nil
	}
	s.parts[p.index] = p.part
	return nil
}

// Sheets returns how far each sheet has come, in the order of their first codes.
func (c *PaperCollector) Sheets() []PaperSheet {
	out := make([]PaperSheet, 0, len(c.order))
	for _, name := range c.order {
		s := c.sheets[name]
		sheet := PaperSheet{ID: name, Count: s.count}
		var content []byte
		for i := range s.count {
			part, ok := s.parts[i]
			if !ok {
				sheet.Missing = append(sheet.Missing, i+1)
			}
			content = append(content, part...)
		}
		switch {
		case s.split:
			sheet.Problem = "codes of it contradict each other: read this sheet again, alone"
		case len(sheet.Missing) == 0 && sheetName(content) != name:
			sheet.Problem = "its codes do not belong together: read this sheet again, alone"
		case len(sheet.Missing) == 0:
			sheet.Content = content
		}
		out = append(out, sheet)
	}
	return out
}
