package bundle

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/identity"
	"tocsin/ledger"
)

// The content of a sheet is sealed under the mesh key that every verified
// clinician's device holds, so that whoever finds the paper learns nothing, and
// no wrap for each reader has to be printed; the bodies in it are sealed to their
// groups as ever. What does not have to be printed is left out:
//
//	struct { uint8 version = 1; uint32 number; opaque salt[16]; opaque sealed[]; } Sheet;
//	struct { opaque log[36]; uint64 seq; opaque prev[32]; Item items<1..2^24-1>; } Run;   /* one or more, sealed */
//	struct { uint8 form; opaque tail[]; opaque signature[64]; select (form) { case 2: opaque body<0..2^16-1>; } } Item;
//
// sealed is AES-256-GCM under HKDF-SHA256(secret = mesh key, salt, info =
// "tocsin/1 paper" ‖ mesh id ‖ number), nonce zeros, AAD = version ‖ number ‖ salt.
// A run is entries of one log without a gap, from seq on, where prev is the id
// before the first. tail is the header from its hybrid time on: what stands before
// follows from the place. Form 1 is a header alone, form 2 an entry with its body,
// without body_len and body_hash in the tail.
const (
	paperVersion = 1
	paperSalt    = 16
	paperClear   = 1 + 4 + paperSalt

	itemHeader = 1
	itemEntry  = 2

	// tailStart is where the tail begins in a header; tailBody is how far into it
	// the length and the hash of the body are.
	tailStart = 1 + identity.LogIDSize + 8 + 32
	tailBody  = 8 + 1 + 1 + 16 + 4
	bodyNames = 4 + 32
)

// PaperRun is what a sheet carries of one log: entries without a gap, rising.
// Those with a nil Body go without it.
type PaperRun []*ledger.Entry

// PaperSize is what a run adds to the content of a sheet, in bytes.
func (r PaperRun) PaperSize() int {
	n := identity.LogIDSize + 8 + 32 + 3
	for _, e := range r {
		n += itemSize(e)
	}
	return n
}

func itemSize(e *ledger.Entry) int {
	n := 1 + len(e.SignedHeader()) - tailStart
	if e.Body != nil {
		n += 2 + len(e.Body) - bodyNames
	}
	return n
}

// PaperCount is how many codes a sheet with runs of this size has.
func PaperCount(size int) int { return (paperClear + size + tagSize + paperPart - 1) / paperPart }

func (r PaperRun) marshal() ([]byte, error) {
	first := &r[0].Header
	log := first.Log().Bytes()
	b := cryptobyte.NewBuilder(nil)
	b.AddBytes(log[:])
	b.AddUint64(first.Seq)
	b.AddBytes(first.Prev[:])
	prev := first.Prev
	for i, e := range r {
		if h := &e.Header; h.Log() != first.Log() || h.Seq != first.Seq+uint64(i) || h.Prev != prev {
			return nil, fmt.Errorf("bundle: entry %d of log %s is out of its run", h.Seq, h.Log())
		}
		prev = e.ID()
	}
	b.AddUint24LengthPrefixed(func(c *cryptobyte.Builder) {
		for _, e := range r {
			tail := e.SignedHeader()[tailStart:]
			if e.Body == nil {
				c.AddUint8(itemHeader)
				c.AddBytes(tail)
				continue
			}
			c.AddUint8(itemEntry)
			c.AddBytes(tail[:tailBody])
			c.AddBytes(tail[tailBody+bodyNames:])
			c.AddUint16LengthPrefixed(func(c *cryptobyte.Builder) { c.AddBytes(e.Body) })
		}
	})
	return b.Bytes()
}

// SealPaper returns the content of a sheet that carries runs, under the mesh key
// of this number.
func SealPaper(random io.Reader, mesh identity.MeshID, number uint32, key [32]byte, runs []PaperRun) ([]byte, error) {
	var plain []byte
	for _, r := range runs {
		if len(r) == 0 {
			continue
		}
		raw, err := r.marshal()
		if err != nil {
			return nil, fmt.Errorf("bundle: a sheet: %w", err)
		}
		plain = append(plain, raw...)
	}
	if len(plain) == 0 {
		return nil, errors.New("bundle: nothing is to be written on the sheet")
	}
	out := binary.BigEndian.AppendUint32([]byte{paperVersion}, number)
	out = append(out, make([]byte, paperSalt)...)
	if _, err := io.ReadFull(random, out[5:]); err != nil {
		return nil, fmt.Errorf("bundle: no randomness: %w", err)
	}
	aead, err := paperAEAD(mesh, key, out)
	if err != nil {
		return nil, err
	}
	return aead.Seal(out, make([]byte, aead.NonceSize()), plain, out), nil
}

// paperAEAD derives the key of one sheet from its clear part; the salt is
// random, so that the nonce may be zeros.
func paperAEAD(mesh identity.MeshID, key [32]byte, clear []byte) (cipher.AEAD, error) {
	info := append(append([]byte("tocsin/1 paper"), mesh[:]...), clear[1:5]...)
	k, err := hkdf.Key(sha256.New, key[:], clear[5:paperClear], string(info), 32)
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	block, err := aes.NewCipher(k)
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	return cipher.NewGCM(block)
}

// PaperNumber returns the number of the mesh key that a sheet is sealed under.
// The error matches [ErrFormat].
func PaperNumber(content []byte) (uint32, error) {
	if len(content) < paperClear+tagSize || content[0] != paperVersion {
		return 0, fmt.Errorf("%w: a sheet of another version, or too short", ErrFormat)
	}
	return binary.BigEndian.Uint32(content[1:]), nil
}

// OpenPaper returns the records of a sheet, in the order in which an importer
// takes them: each header, and behind it its body; a whole entry at sequence
// number 0. Errors match [ErrFormat], [ErrNotForUs] or [ErrDamaged]. Nothing of what it
// returns is verified.
func OpenPaper(mesh identity.MeshID, key [32]byte, content []byte) ([]Record, error) {
	if _, err := PaperNumber(content); err != nil {
		return nil, err
	}
	aead, err := paperAEAD(mesh, key, content)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, make([]byte, aead.NonceSize()), content[paperClear:], content[:paperClear])
	if err != nil {
		return nil, fmt.Errorf("%w: the sheet is of another mesh, or was not made by one of its devices", ErrNotForUs)
	}
	var out []Record
	for s := cryptobyte.String(plain); !s.Empty(); {
		if out, err = readRun(&s, out); err != nil {
			return nil, err
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: the sheet is empty", ErrDamaged)
	}
	return out, nil
}

var errRun = fmt.Errorf("%w: a sheet breaks its format", ErrDamaged)

// readRun rebuilds the entries of a run and appends them as records.
func readRun(s *cryptobyte.String, out []Record) ([]Record, error) {
	var log [identity.LogIDSize]byte
	var seq uint64
	var prev ledger.ID
	var items cryptobyte.String
	if !s.CopyBytes(log[:]) || !s.ReadUint64(&seq) || !s.CopyBytes(prev[:]) || !s.ReadUint24LengthPrefixed(&items) || items.Empty() {
		return nil, errRun
	}
	for ; !items.Empty(); seq++ {
		head := append([]byte{1}, log[:]...)
		head = append(binary.BigEndian.AppendUint64(head, seq), prev[:]...)
		signed, body, whole, err := readItem(&items, head)
		if err != nil {
			return nil, err
		}
		header := signed[:len(signed)-ed25519Size]
		h, err := ledger.ParseHeader(header)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		prev = sha256.Sum256(append([]byte{0}, header...)) // the entry's id
		switch {
		case whole && seq == 0:
			out = append(out, Record{Type: Entry, Data: frame(signed, body)})
		case whole:
			out = append(out, Record{Type: Header, Data: signed}, Record{Type: Body, Data: body, Log: h.Log(), Seq: seq})
		default:
			out = append(out, Record{Type: Header, Data: signed})
		}
	}
	return out, nil
}

// frame is the form in which a whole entry travels: [ledger.Entry.Frame].
func frame(signed, body []byte) []byte {
	f := append(make([]byte, 0, 5+len(signed)+len(body)), byte(len(signed)>>8), byte(len(signed)))
	f = append(append(f, signed...), byte(len(body)>>16), byte(len(body)>>8), byte(len(body)))
	return append(f, body...)
}

// readItem returns header ‖ signature of the next item, and its body if it has
// one. head is the header up to its tail.
func readItem(s *cryptobyte.String, head []byte) (signed, body []byte, whole bool, err error) {
	var form uint8
	var front, rest []byte
	if !s.ReadUint8(&form) || form != itemHeader && form != itemEntry || !s.ReadBytes(&front, tailBody) {
		return nil, nil, false, errRun
	}
	names := make([]byte, bodyNames)
	if form == itemHeader && !s.CopyBytes(names) {
		return nil, nil, false, errRun
	}
	// commit[32], then refs with their length, then the signature.
	view := *s
	var refs cryptobyte.String
	if !view.Skip(32) || !view.ReadUint16LengthPrefixed(&refs) || !s.ReadBytes(&rest, 32+2+len(refs)+ed25519Size) {
		return nil, nil, false, errRun
	}
	if whole = form == itemEntry; whole {
		var b cryptobyte.String
		if !s.ReadUint16LengthPrefixed(&b) {
			return nil, nil, false, errRun
		}
		body = b
		sum := sha256.Sum256(body)
		names = append(binary.BigEndian.AppendUint32(names[:0], uint32(len(body))), sum[:]...)
	}
	signed = append(append(append(head, front...), names...), rest...)
	return signed, body, whole, nil
}
