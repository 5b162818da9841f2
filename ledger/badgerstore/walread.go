package badgerstore

import (
	"bytes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"

	"tocsin/ledger"
)

// errKey is the sentence for a key that does not fit the files.
var errKey = errors.New("badgerstore: the store key does not fit this data directory: it belongs to another device or the key file was replaced")

// openWAL reads a file from the start, checks that the batch that the mark from
// names is in it, and calls fn for the payload of each, whose bytes fn may keep. Before it reads, it syncs the file
// and its name: what a process wrote that was killed before its sync is still in
// the system's memory, and a batch read from there, indexed and sent on could be
// lost in the next power cut, and its sequence numbers used twice. It returns
// the file ready for appending and the number of bytes of a torn record that it cut off.
//
// A record that is not whole is cut off only if it can be shown that its append
// never returned, hence was never acknowledged: it is the last thing in the
// file, and either the file ends within it, or part of it was never written
// (see torn). Everything else is damage, and an error.
func openWAL(dir files, spec walSpec, aead cipher.AEAD, from mark, fn func(mark, []byte) error) (*wal, int64, error) {
	f, err := dir.Open(spec.name)
	if ok, err := exists(err); err != nil {
		return nil, 0, diskError("cannot open "+spec.name, err)
	} else if !ok {
		if from.Number > 0 {
			return nil, 0, fmt.Errorf("%w: %s is missing, and %d batches were in it: %s", ledger.ErrDamaged, spec.name, from.Number, spec.advice)
		}
		w, err := createWAL(dir, spec, aead, mark{})
		if err != nil {
			return nil, 0, diskError("cannot create "+spec.name, err)
		}
		return w, 0, nil
	}
	w := &wal{walSpec: spec, f: f, aead: aead}
	if err := errors.Join(f.Sync(), dir.SyncDir()); err != nil {
		return nil, 0, errors.Join(diskError("cannot sync "+spec.name+" before it is read", err), f.Close())
	}
	cut, err := w.recover(from, fn)
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return w, cut, nil
}

// recover reads all records and cuts a torn tail.
func (w *wal) recover(from mark, fn func(mark, []byte) error) (int64, error) {
	if err := w.readFileHeader(); err != nil {
		return 0, err
	}
	end, err := w.end()
	if err != nil {
		return 0, err
	}
	if from.Number > 0 && from.File != w.last.File {
		return 0, fmt.Errorf("%w: %s is not the file that the index was built from: restore both from the same backup", ledger.ErrDamaged, w.name)
	}
	defer func() { w.window = nil }()
	for w.size < end {
		payload, length, err := w.readRecord(end)
		if errors.Is(err, errTorn) && !w.closed {
			return w.cut(from, end)
		}
		if err != nil {
			return 0, err
		}
		w.size += length
		if w.last.Number == from.Number && w.last != from {
			return 0, fmt.Errorf("%w: %s differs from the index at batch %d: restore both from the same backup", ledger.ErrDamaged, w.name, from.Number)
		}
		if payload, err = unpad(payload); err != nil {
			return 0, fmt.Errorf("%w: %s, batch %d: %w", ledger.ErrDamaged, w.name, w.last.Number, err)
		}
		if err := fn(w.last, payload); err != nil {
			return 0, err
		}
	}
	return 0, w.checkReaches(from)
}

// end returns the length of the file, or, if it has room, that of what was
// written of it: records end in a tag, which is never zeros by chance.
func (w *wal) end() (int64, error) {
	size, err := w.f.Size()
	if err != nil {
		return 0, diskError("cannot read "+w.name, err)
	}
	if w.room == 0 {
		return size, nil
	}
	if size != w.room {
		return 0, fmt.Errorf("%w: %s has %d bytes and was made with %d, so that acknowledged records may be missing: %s", ledger.ErrDamaged, w.name, size, w.room, w.advice)
	}
	buf := make([]byte, windowSize)
	for size > walFileHeader {
		b := buf[:min(size-walFileHeader, windowSize)]
		if n, err := w.f.ReadAt(b, size-int64(len(b))); n < len(b) {
			return 0, diskError("cannot read "+w.name, err)
		}
		if written := len(bytes.TrimRight(b, "\x00")); written > 0 {
			end := size - int64(len(b)) + int64(written)
			return end + (walAlign-end%walAlign)%walAlign, nil
		}
		size -= int64(len(b))
	}
	return walFileHeader, nil
}

// batches makes of fn, which takes a batch of records, what reads a file.
func batches(name string, fn func(mark, []ledger.Record) error) func(mark, []byte) error {
	return func(m mark, payload []byte) error {
		batch, err := parseBatch(payload)
		if err != nil {
			return fmt.Errorf("%w: %s, batch %d: %w", ledger.ErrDamaged, name, m.Number, err)
		}
		return fn(m, batch)
	}
}

// checkReaches fails if the file ends before what the index has seen of it.
func (w *wal) checkReaches(from mark) error {
	if w.last.Number < from.Number {
		return fmt.Errorf("%w: %s ends after batch %d and the index has %d: it was cut or comes from an older backup", ledger.ErrDamaged, w.name, w.last.Number, from.Number)
	}
	return nil
}

// cut removes a torn record from the end of the file.
func (w *wal) cut(from mark, end int64) (int64, error) {
	if err := w.checkReaches(from); err != nil {
		return 0, err
	}
	err := w.cutBack(int(end - w.size))
	if err == nil {
		err = w.f.Sync()
	}
	if err != nil {
		return 0, diskError("cannot cut the torn record off "+w.name, err)
	}
	return end - w.size, nil
}

func (w *wal) readFileHeader() error {
	head := make([]byte, walFileHeader)
	if n, err := w.f.ReadAt(head, 0); n < len(head) {
		return fmt.Errorf("%w: %s has no header: %s: %w", ledger.ErrDamaged, w.name, w.advice, err)
	}
	clear := head[:walFileHeader-walSealExtra]
	if !bytes.HasPrefix(head, []byte(walMagic)) {
		return fmt.Errorf("%w: %s is not a file of this program, or of a newer one", ledger.ErrDamaged, w.name)
	}
	if _, err := w.aead.Open(nil, nil, head[len(clear):], clear); err != nil {
		return errKey
	}
	before, err := parseMark(clear[len(walMagic)+walIDSize:])
	if err != nil {
		return err
	}
	w.before = before
	w.last = mark{File: [walIDSize]byte(clear[len(walMagic):]), Number: before.Number}
	w.size = int64(len(head))
	return nil
}

// errTorn: the rest of the file is one record whose append never returned.
var errTorn = errors.New("badgerstore: torn record")

// readRecord reads the record at w.size, moves w.last to it and returns its
// plaintext and its length in the file.
func (w *wal) readRecord(end int64) ([]byte, int64, error) {
	rest := end - w.size
	head, err := w.read(min(rest, walHeadSize), end)
	if err != nil {
		return nil, 0, err
	}
	length, headOK := w.head(head)
	if headOK && length <= rest {
		record, err := w.read(length, end)
		if err != nil {
			return nil, 0, err
		}
		payload, err := w.aead.Open(nil, nil, record[walHeadSize:], recordAAD(w.last, record[:walHeadSize]))
		if err == nil {
			w.last.Number++
			w.last.Tag = [walTagSize]byte(record[length-walTagSize:])
			return payload, length, nil
		}
	}
	buf, err := w.read(min(rest, maxWALRecord), end)
	if err != nil {
		return nil, 0, err
	}
	if w.torn(buf, rest, length, headOK) {
		return nil, 0, errTorn
	}
	return nil, 0, fmt.Errorf("%w: %s, batch %d at byte %d: %s", ledger.ErrDamaged, w.name, w.last.Number+1, w.size, w.advice)
}

// windowSize is how much of a file is read at once.
const windowSize = 256 << 10

// read returns n bytes from w.size on, which lie before end. They are valid
// until the next call.
func (w *wal) read(n, end int64) ([]byte, error) {
	at := w.size - w.windowAt
	if w.window == nil || at < 0 || at+n > int64(len(w.window)) {
		w.window = make([]byte, min(max(n, windowSize), end-w.size))
		w.windowAt, at = w.size, 0
		if got, err := w.f.ReadAt(w.window, w.size); got < len(w.window) {
			return nil, diskError("cannot read "+w.name, err)
		}
	}
	return w.window[at : at+n], nil
}

// head reads the head of the record that should follow w.last.
func (w *wal) head(b []byte) (length int64, ok bool) {
	return parseHead(w.last.File, b, w.last.Number+1, w.last.Number+1)
}

// parseHead reads the head of a record numbered lowest to highest.
func parseHead(id [walIDSize]byte, b []byte, lowest, highest uint64) (length int64, ok bool) {
	if len(b) < walHeadSize {
		return 0, false
	}
	length = walHeadSize + int64(binary.BigEndian.Uint32(b))
	number := binary.BigEndian.Uint64(b[4:])
	if number < lowest || number > highest || length%walAlign != 0 ||
		length < walHeadSize+walSealExtra || length > maxWALRecord {
		return 0, false
	}
	check := headCheck(id, b)
	return length, bytes.Equal(b[12:walHeadSize], check[:])
}

// torn reports whether buf, which begins with a record that is not whole, can
// only be an append that was interrupted. An append writes its bytes in one go
// and returns after a sync, and only then the next one begins; so a record with
// anything behind it was acknowledged. In a file that was growing, a sector
// that was not written reads as zeros, and ciphertext is never 8 zeros in a row
// by chance.
func (w *wal) torn(buf []byte, rest, length int64, headOK bool) bool {
	switch {
	case rest < walHeadSize:
		return true // the file ends within the head
	case headOK && length > rest:
		return true // the file ends within the record
	case headOK:
		return length == rest && unwritten(buf, w.size, rest)
	}
	// The head itself must be what was not written, and nothing may follow.
	return rest == int64(len(buf)) && unwritten(buf, w.size, walHeadSize) && !w.laterHead(buf)
}

// laterHead reports whether a later record begins somewhere in b.
func (w *wal) laterHead(b []byte) bool {
	const far = 1 << 16
	for len(b) > walAlign {
		b = b[walAlign:]
		if _, ok := parseHead(w.last.File, b, w.last.Number+2, w.last.Number+far); ok {
			return true
		}
	}
	return false
}

// sector is the smallest unit that a disk writes as a whole.
const sector = 512

// unwritten reports whether a sector that holds one of the first n bytes of b,
// which was found at offset off of the file, was never written: whether all
// that it holds of b is zeros.
func unwritten(b []byte, off, n int64) bool {
	for n > 0 && len(b) > 0 {
		piece := min(int64(len(b)), sector-off%sector)
		if len(bytes.TrimLeft(b[:piece], "\x00")) == 0 {
			return true
		}
		b, off, n = b[piece:], off+piece, n-piece
	}
	return false
}
