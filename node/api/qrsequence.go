package api

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// What is longer than one QR code is shown as a sequence of codes, in any order and as often as it takes. Each code is
//
//	"T1" ‖ kind ‖ id ‖ index ‖ count ‖ part
//
// kind is one capital letter; id the first 6 bytes of SHA-256(kind ‖ content) in 12 capital hexadecimal digits, which is checksum
// and name in one; index (from 001) and count are three decimal digits each; part is 64 bytes of the content, the last part fewer, in base 45
// (RFC 9285). A code has at most 117 characters, all of QR's alphanumeric mode, so that a poor camera reads it.
//
// The checksum finds mistakes, not attacks: what is carried is signed, and is checked by whoever takes it in.

// QRKind says what a sequence carries.
type QRKind byte

// The kinds. They are part of the format and never reused.
const (
	QRRequest   QRKind = 'R' // an enrolment request, in wire form
	QRAnswer    QRKind = 'A' // an enrolment, in wire form
	QRStatement QRKind = 'S' // a statement, in wire form
	QRSponsor   QRKind = 'V' // a sponsorship, in wire form
)

const (
	qrMagic  = "T1"
	qrIDSize = 6
	qrHead   = len(qrMagic) + 1 + 2*qrIDSize + 3 + 3
)

// QRSequence returns the texts of the codes that carry content.
func QRSequence(kind QRKind, content []byte) ([]string, error) {
	if kind < 'A' || kind > 'Z' {
		return nil, errors.New("api: the kind of a QR sequence is a capital letter")
	}
	count := (len(content) + qrPart - 1) / qrPart
	if count < 1 || count > maxQRCodes {
		return nil, fmt.Errorf("api: a sequence of QR codes carries 1 to %d bytes, not %d: carry it as a file", maxQRCodes*qrPart, len(content))
	}
	head := qrMagic + string(kind) + sequenceID(kind, content)
	out := make([]string, 0, count)
	for part := range slices.Chunk(content, qrPart) {
		out = append(out, fmt.Sprintf("%s%03d%03d%s", head, len(out)+1, count, base45(part)))
	}
	return out, nil
}

func sequenceID(kind QRKind, content []byte) string {
	sum := sha256.Sum256(append([]byte{byte(kind)}, content...))
	return strings.ToUpper(hex.EncodeToString(sum[:qrIDSize]))
}

// IsQRSequence reports whether a code looks like one of a sequence.
func IsQRSequence(text string) bool { return strings.HasPrefix(text, qrMagic) && len(text) > qrHead }

// QRCollector puts a sequence together from codes in any order. The zero value is ready.
type QRCollector struct {
	head  string // magic, kind and id of the sequence
	count int
	parts map[int][]byte
}

// Add takes one code in. A code that was there already changes nothing; one of another sequence is an error, and so is one that is
// no code of a sequence.
func (c *QRCollector) Add(text string) error {
	if !IsQRSequence(text) {
		return errors.New("api: this QR code is none of a sequence that Tocsin shows")
	}
	head, rest := text[:qrHead-6], text[qrHead-6:]
	index, err1 := number3(rest[:3])
	count, err2 := number3(rest[3:6])
	part, err3 := parseBase45(rest[6:])
	if err := errors.Join(err1, err2, err3); err != nil || index < 1 || index > count || count > maxQRCodes ||
		len(part) < 1 || len(part) > qrPart || index < count && len(part) != qrPart || !isHead(head) {
		return errors.New("api: this QR code of a sequence is damaged")
	}
	if c.parts == nil {
		c.head, c.count, c.parts = head, count, map[int][]byte{}
	}
	if c.head != head || c.count != count {
		return errors.New("api: these QR codes are of two sequences: show those of one only")
	}
	if old, ok := c.parts[index]; ok && !slices.Equal(old, part) {
		return errors.New("api: two QR codes say different things at one place: show the sequence again from the start")
	}
	c.parts[index] = part
	return nil
}

func isHead(head string) bool {
	kind, id := head[len(qrMagic)], head[len(qrMagic)+1:]
	return kind >= 'A' && kind <= 'Z' && strings.Trim(id, "0123456789ABCDEF") == ""
}

func number3(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	return int(n), err
}

// Missing returns the indices, from 1, of the codes that were not seen yet; count is how many there are in all, 0 before the first.
func (c *QRCollector) Missing() (missing []int, count int) {
	for i := 1; i <= c.count; i++ {
		if c.parts[i] == nil {
			missing = append(missing, i)
		}
	}
	return missing, c.count
}

// Content returns what the sequence carries once every code was seen.
func (c *QRCollector) Content() (QRKind, []byte, error) {
	missing, count := c.Missing()
	if count == 0 {
		return 0, nil, ErrNoQR
	}
	if len(missing) > 0 {
		return 0, nil, fmt.Errorf("api: %d of %d QR codes are missing: %s", len(missing), count, ranges(missing))
	}
	var content []byte
	for i := 1; i <= count; i++ {
		content = append(content, c.parts[i]...)
	}
	kind := QRKind(c.head[len(qrMagic)])
	if sequenceID(kind, content) != c.head[len(qrMagic)+1:] {
		return 0, nil, errors.New("api: the QR codes do not belong together: show the sequence again from the start")
	}
	return kind, content, nil
}

// ranges writes "1 to 3, 7" for people.
func ranges(numbers []int) string {
	var out []string
	for i := 0; i < len(numbers); {
		j := i
		for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
			j++
		}
		if text := strconv.Itoa(numbers[i]); i == j {
			out = append(out, text)
		} else {
			out = append(out, text+" to "+strconv.Itoa(numbers[j]))
		}
		i = j + 1
	}
	return strings.Join(out, ", ")
}

// alphabet45 is that of RFC 9285 §4, which is QR's alphanumeric mode.
const alphabet45 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"

func base45(b []byte) string {
	var out strings.Builder
	for pair := range slices.Chunk(b, 2) {
		n, digits := int(pair[0]), 2
		if len(pair) == 2 {
			n, digits = n<<8|int(pair[1]), 3
		}
		for range digits {
			out.WriteByte(alphabet45[n%45])
			n /= 45
		}
	}
	return out.String()
}

var errBase45 = errors.New("api: not base 45")

// parseBase45 reads what base45 writes, and no second spelling.
func parseBase45(s string) ([]byte, error) {
	var out []byte
	for part := range slices.Chunk([]byte(s), 3) {
		n, weight := 0, 1
		for _, c := range part {
			digit := strings.IndexByte(alphabet45, c)
			if digit < 0 {
				return nil, errBase45
			}
			n, weight = n+digit*weight, weight*45
		}
		switch {
		case len(part) == 3 && n < 1<<16:
			out = append(out, byte(n>>8), byte(n))
		case len(part) == 2 && n < 1<<8:
			out = append(out, byte(n))
		default:
			return nil, errBase45
		}
	}
	return out, nil
}
