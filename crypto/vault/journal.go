package vault

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"golang.org/x/crypto/cryptobyte"
)

// The journal:
//
//	struct {
//	    opaque magic[16]; uint8 version = 2; opaque vault_id[16];
//	    uint64 generation;      /* counts compactions */
//	    uint64 first_version;   /* of the values committed from here on */
//	    opaque marker[8];       /* random; begins every record */
//	} Preamble;
//
//	struct {
//	    opaque marker[8]; uint64 number;          /* from 0 */
//	    opaque previous[32];
//	    uint32 manifest_len; uint32 values_len;
//	    uint32 crc;                               /* CRC-32C of the 56 bytes before it */
//	    opaque manifest[manifest_len];            /* sealed, see below */
//	    opaque values[values_len];                /* sealed values, end to end */
//	} Record;
//
//	enum { put(1), delete(2), put_erasable(3) } Op;
//	struct {
//	    Op op; opaque key<1..512>; uint64 version;
//	    select (op) {
//	        case put:          uint32 sealed_len;
//	        case delete:       ;
//	        case put_erasable: uint32 sealed_len; uint64 slot;
//	    };
//	} Change;
//	struct { opaque values_hash[32]; Change changes<0..2^24-1>; } Manifest;
//
// The manifest's associated data is the frame, the 60 bytes before it; previous
// is SHA-256(frame ‖ manifest) of the record before, SHA-256(preamble) for the
// first. A value's is key ‖ version. The chain therefore covers every byte of
// the journal. The CRC only serves to find where records begin when one of them
// is damaged; that previous stands in the record, although a reader knows it,
// leaves those behind the damage provable one by one.
const (
	journalMagic   = "tocsin journ\r\n\x1a\x00" // 16 bytes
	journalVersion = 2
	markerSize     = 8
	preambleSize   = len(journalMagic) + 1 + idSize + 8 + 8 + markerSize
	frameSize      = markerSize + 8 + sha256.Size + 4 + 4 + 4

	opPut         = 1
	opDelete      = 2
	opPutErasable = 3
	// changeOverhead is the most that a change takes in a manifest beside its
	// key: op, length of the key, version, length of the value, slot.
	changeOverhead = 1 + 2 + 8 + 4 + 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// preamble begins a journal.
type preamble struct {
	id           [idSize]byte
	generation   uint64
	firstVersion uint64
	marker       [markerSize]byte
}

func newPreamble(id [idSize]byte, generation, firstVersion uint64) preamble {
	p := preamble{id: id, generation: generation, firstVersion: firstVersion}
	rand.Read(p.marker[:]) // never fails (crypto/rand)
	return p
}

func (p preamble) marshal() []byte {
	b := make([]byte, 0, preambleSize)
	b = append(b, journalMagic...)
	b = append(b, journalVersion)
	b = append(b, p.id[:]...)
	b = binary.BigEndian.AppendUint64(b, p.generation)
	b = binary.BigEndian.AppendUint64(b, p.firstVersion)
	return append(b, p.marker[:]...)
}

func parsePreamble(b []byte) (preamble, error) {
	var p preamble
	if len(b) != preambleSize || !bytes.HasPrefix(b, []byte(journalMagic)) {
		return p, damaged("the journal does not begin as a journal does")
	}
	if v := b[len(journalMagic)]; v != journalVersion {
		return p, fmt.Errorf("vault: the journal has format %d and this program reads %d; use a newer tocsin", v, journalVersion)
	}
	s := cryptobyte.String(b[len(journalMagic)+1:])
	if !s.CopyBytes(p.id[:]) || !s.ReadUint64(&p.generation) || !s.ReadUint64(&p.firstVersion) ||
		!s.CopyBytes(p.marker[:]) || !s.Empty() {
		return p, damaged("the journal does not begin as a journal does")
	}
	return p, nil
}

// frame is the clear part of a record.
type frame struct {
	number                 uint64
	previous               [sha256.Size]byte
	manifestLen, valuesLen uint32
}

func (f frame) size() int64 { return frameSize + int64(f.manifestLen) + int64(f.valuesLen) }

func (f frame) append(b []byte, marker [markerSize]byte) []byte {
	start := len(b)
	b = append(b, marker[:]...)
	b = binary.BigEndian.AppendUint64(b, f.number)
	b = append(b, f.previous[:]...)
	b = binary.BigEndian.AppendUint32(b, f.manifestLen)
	b = binary.BigEndian.AppendUint32(b, f.valuesLen)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// parseFrame reads a frame; false means that there is none.
func parseFrame(b []byte, marker [markerSize]byte) (frame, bool) {
	if len(b) < frameSize || !bytes.Equal(b[:markerSize], marker[:]) {
		return frame{}, false
	}
	const end = frameSize - 4
	if crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) {
		return frame{}, false
	}
	var f frame
	s := cryptobyte.String(b[markerSize:end])
	ok := s.ReadUint64(&f.number) && s.CopyBytes(f.previous[:]) &&
		s.ReadUint32(&f.manifestLen) && s.ReadUint32(&f.valuesLen)
	return f, ok && f.manifestLen <= maxManifest && f.valuesLen <= maxValues
}

// chain is the state of a journal after some records: what the next one needs.
type chain struct {
	preamble preamble
	count    uint64 // records
	offset   int64  // bytes
	last     [sha256.Size]byte
	version  uint64 // of the next value
}

func startChain(p preamble) chain {
	raw := p.marshal()
	return chain{preamble: p, offset: int64(len(raw)), last: sha256.Sum256(raw), version: p.firstVersion}
}

// seal makes the record that follows c out of changes and their sealed values,
// and returns it with the state after it. Nothing is written.
func (c chain) seal(k *keys, changes []change, values []byte) ([]byte, chain, error) {
	manifest, err := marshalManifest(sha256.Sum256(values), changes)
	if err != nil {
		return nil, c, fmt.Errorf("vault: %w", err)
	}
	f := frame{number: c.count, previous: c.last, manifestLen: uint32(len(manifest) + sealOverhead), valuesLen: uint32(len(values))}
	record := f.append(make([]byte, 0, f.size()), c.preamble.marker)
	record = k.journal.Seal(record, nil, manifest, record)
	next := c.after(f, record, changes)
	return append(record, values...), next, nil
}

// after returns the state behind a record; head is its frame and sealed manifest.
func (c chain) after(f frame, head []byte, changes []change) chain {
	c.count++
	c.offset += f.size()
	c.last = sha256.Sum256(head)
	for _, ch := range changes {
		if ch.version >= c.version {
			c.version = ch.version + 1
		}
	}
	return c
}

// open authenticates one record, which is all of b, and returns its changes
// and the state behind it.
func (c chain) open(k *keys, f frame, b []byte) ([]change, chain, error) {
	head := b[:frameSize+int(f.manifestLen)]
	manifest, err := k.journal.Open(nil, nil, head[frameSize:], head[:frameSize])
	if err != nil || f.previous != c.last {
		return nil, c, errManifest
	}
	hash, changes, err := parseManifest(manifest, f.valuesLen)
	if err != nil {
		return nil, c, err
	}
	if sha256.Sum256(b[len(head):]) != hash {
		return nil, c, errManifest
	}
	return changes, c.after(f, head, changes), nil
}

// apply enters the changes of the record at offset into x and returns the
// slots that nothing needs from then on.
func (x *index) apply(offset int64, f frame, changes []change) (freed []uint64) {
	at := offset + frameSize + int64(f.manifestLen)
	for _, c := range changes {
		old, was := ref{}, false
		if c.deleted {
			old, was = x.remove(c.key)
		} else {
			old, was = x.put(c.key, ref{offset: at, size: c.size, version: c.version, slot: c.slot})
			at += int64(c.size)
		}
		if was && old.slot != noSlot {
			freed = append(freed, uint64(old.slot))
		}
	}
	return freed
}

// scan reads a journal of size bytes from the first record on. each is called
// with the state before and after every record that is whole. It returns the
// state behind the last of them; where that is not the end, torn says that
// what follows can be the rest of an append that a crash cut short, and an
// error says that it cannot.
func scan(r io.ReaderAt, size int64, c chain, k *keys, each func(before, after chain, f frame, changes []change) error) (end chain, torn bool, err error) {
	var buf []byte
	for c.offset < size {
		var f frame
		if buf, f, err = readRecord(r, size, c, buf); err != nil {
			return c, false, err
		}
		if len(buf) == 0 {
			torn, err := tornTail(r, size, c)
			return c, torn, err
		}
		changes, next, err := c.open(k, f, buf)
		if err != nil {
			torn, err := tornTail(r, size, c)
			return c, torn, err
		}
		if err := each(c, next, f, changes); err != nil {
			return c, false, err
		}
		c = next
	}
	return c, false, nil
}

// readRecord reads the record behind c into buf, or nothing where none stands.
func readRecord(r io.ReaderAt, size int64, c chain, buf []byte) ([]byte, frame, error) {
	buf = grow(buf, int(min(frameSize, size-c.offset)))
	if err := readAt(r, buf, c.offset); err != nil {
		return nil, frame{}, err
	}
	f, ok := parseFrame(buf, c.preamble.marker)
	if !ok || f.number != c.count || f.size() > size-c.offset {
		return buf[:0], f, nil
	}
	buf = grow(buf, int(f.size()))
	return buf, f, readAt(r, buf, c.offset)
}

// tornTail decides about the bytes behind the last whole record. Appends are
// synced one by one, so a crash can have torn the last one only: if a later
// record stands there, or more bytes than one append writes, it is damage.
func tornTail(r io.ReaderAt, size int64, c chain) (bool, error) {
	rest := size - c.offset
	if rest > frameSize+maxManifest+maxValues {
		return false, damaged("record %d is unreadable and others follow it", c.count)
	}
	buf := make([]byte, rest)
	if err := readAt(r, buf, c.offset); err != nil {
		return false, err
	}
	for at := 1; ; at++ {
		i := bytes.Index(buf[at:], c.preamble.marker[:])
		if i < 0 {
			return true, nil
		}
		at += i
		if f, ok := parseFrame(buf[at:], c.preamble.marker); ok && f.number > c.count {
			return false, damaged("record %d is unreadable and record %d follows it", c.count, f.number)
		}
	}
}

// readAt fills b from offset.
func readAt(r io.ReaderAt, b []byte, offset int64) error {
	n, err := r.ReadAt(b, offset)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return damaged("the journal became shorter while it was read")
	}
	return fmt.Errorf("vault: cannot read the journal: %w", err)
}

func grow(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}

// The lengths of a frame are 32-bit and so must the limits be.
const _ = uint32(math.MaxUint32 - maxManifest - maxValues)
