package badgerstore

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"

	"tocsin/ledger"
)

const (
	walMagic = "tocsin wal 2\n\x00\x00\x00\x00\x00\x00\x00"

	walIDSize     = 16
	walTagSize    = 16 // of AES-GCM
	walSealExtra  = 12 + walTagSize
	walFileHeader = 20 + walIDSize + markSize + walSealExtra
	walHeadSize   = 4 + 8 + 4
	// maxWALPayload bounds one batch with what marshalBatch adds.
	maxWALPayload = ledger.MaxBatchBytes + ledger.MaxBatchRecords*(recordOverhead+sealOverhead) + headsOverhead
	// walAlign divides the length of the file's header and of every record, so
	// that no piece of a record in a sector is too short to judge by (walread.go).
	walAlign     = 8
	maxWALRecord = walHeadSize + 3 + maxWALPayload + walAlign + walSealExtra
)

// walSpec is what differs between the files.
type walSpec struct {
	name   string
	advice string // what to do when it is damaged
	// room, if not 0, is the size of the file from its making on: behind the last
	// record it is zeros that take no space. So whatever cuts the file is told,
	// also a cut between two records, and no append ever changes the size.
	room int64
}

var (
	// ownWAL keeps the newest part of the own log, and the segments before it the
	// rest: nobody else can be asked for it.
	ownWAL = walSpec{name: "own.wal", advice: "restore the file from a backup, or enrol this device again"}
	// inWAL keeps what others sent until the index has it.
	inWAL = walSpec{name: "in.wal", advice: "move the file away; entries that were only in it are fetched again from other devices", room: inWALRoom}
	// goneWAL keeps a second copy of which entries were erased (erasures.go).
	goneWAL = walSpec{name: "erased.wal", advice: "move the file away; it is made again from heads.wal"}
	// headsWAL keeps a copy of what the index says of each log (heads.go).
	headsWAL = walSpec{name: "heads.wal", advice: "move the file away; it is made again from the index, which then is trusted unchecked once"}
)

// mark names a record of a wal: how many there are up to it, in which file,
// and its authentication tag. Badger keeps the mark of what it
// has indexed of own.wal.
type mark struct {
	File   [walIDSize]byte
	Number uint64 // records up to and with this one; 0 for none
	Tag    [walTagSize]byte
}

// wal is a write-ahead log, open for appending. It is not safe for concurrent
// use.
type wal struct {
	walSpec
	f      file
	aead   cipher.AEAD
	before mark  // the last record of the file that this one carries on from; zero if none
	size   int64 // bytes that hold acknowledged records
	last   mark
	fault  error // set once it is no longer known what is on the disk
	closed bool  // a segment that takes no more: nothing in it can be a torn append

	// window is what was read last, from windowAt on; nil while appending.
	window   []byte
	windowAt int64

	// held is what Unsafe.LoseOwnEntriesWhenKilled keeps from the file.
	unsafeHold bool
	held       []byte
}

// newAEAD derives the key of a file. Nonces are random, 96 bits, one for each
// record: a record that was cut off and written again never reuses one.
func newAEAD(key [32]byte, spec walSpec) (cipher.AEAD, error) {
	k, err := hkdf.Key(sha256.New, key[:], nil, "tocsin/1 "+spec.name, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(k)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// createWAL makes an empty file whole or not at all. It carries on from a record
// of another file, or from nothing.
func createWAL(dir files, spec walSpec, aead cipher.AEAD, before mark) (*wal, error) {
	if err := writeNewWAL(dir, spec, aead, before); err != nil {
		return nil, err
	}
	if err := rename(dir, spec.name+newSuffix, spec.name); err != nil {
		return nil, err
	}
	f, err := dir.Open(spec.name)
	if err != nil {
		return nil, err
	}
	w := &wal{walSpec: spec, f: f, aead: aead}
	if err := w.readFileHeader(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return w, nil
}

// newSuffix is the end of the name of a file that is not whole yet.
const newSuffix = ".new"

// writeNewWAL writes and syncs an empty file under its temporary name.
func writeNewWAL(dir files, spec walSpec, aead cipher.AEAD, before mark) error {
	var id [walIDSize]byte
	rand.Read(id[:]) // never fails (crypto/rand)
	head := append(append([]byte(walMagic), id[:]...), before.marshal()...)
	head = aead.Seal(head, nil, nil, head)
	f, err := dir.Create(spec.name + newSuffix)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(head, 0)
	if err == nil && spec.room > 0 {
		err = f.Truncate(spec.room)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// fits reports whether the file has room for one more record.
func (w *wal) fits(payload int) bool {
	return w.room == 0 || w.size+int64(walHeadSize+3+payload+walAlign+walSealExtra) <= w.room
}

// cutBack takes the first n bytes behind the acknowledged records, and what
// follows them, off again.
func (w *wal) cutBack(n int) error {
	if w.room == 0 {
		return w.f.Truncate(w.size)
	}
	_, err := w.f.WriteAt(make([]byte, n), w.size)
	return err
}

// append writes one batch behind the others and returns its mark when the file
// is synced. If the disk is full, nothing has changed and a later try may
// succeed; after a failed sync the file takes no more.
func (w *wal) append(payload []byte) (mark, error) {
	if w.fault != nil {
		return mark{}, w.fault
	}
	if len(payload) > maxWALPayload {
		return mark{}, fmt.Errorf("badgerstore: a batch of %d bytes is longer than %d", len(payload), maxWALPayload)
	}
	next := mark{File: w.last.File, Number: w.last.Number + 1}
	if !w.fits(len(payload)) {
		return mark{}, fmt.Errorf("badgerstore: %s has no room for a batch of %d bytes", w.name, len(payload))
	}
	record := w.seal(next.Number, payload)
	next.Tag = [walTagSize]byte(record[len(record)-walTagSize:])
	if w.unsafeHold {
		w.held = append(w.held, record...)
	} else if err := w.write(record); err != nil {
		return mark{}, err
	}
	w.last = next
	return next, nil
}

// write puts bytes at the end of the file and syncs it. If the sync fails it
// cuts them off again: the system may take the lost pages for written from now
// on, and the next opening would read as durable what never reached the disk.
func (w *wal) write(b []byte) error {
	if n, err := w.f.WriteAt(b, w.size); err != nil {
		if undo := w.cutBack(n); undo != nil {
			w.fault = fmt.Errorf("%w: %s could neither be written nor cut back; restart when the disk is well: %w",
				ledger.ErrReadOnly, w.name, errors.Join(err, undo))
			return w.fault
		}
		return diskError("cannot write "+w.name, err)
	}
	if err := w.sync(); err != nil {
		if undo := w.cutBack(len(b)); undo != nil {
			w.fault = fmt.Errorf("%w; nor could the record be cut off: %w", err, undo)
		}
		return w.fault
	}
	w.size += int64(len(b))
	return nil
}

// sync makes the file durable, or gives it up.
func (w *wal) sync() error {
	err := w.f.Sync()
	if err == nil {
		return nil
	}
	// The system may have dropped the pages and would say "synced" next time.
	w.fault = fmt.Errorf("%w: %s could not be synced; restart when the disk is well: %w", ledger.ErrReadOnly, w.name, err)
	if isFull(err) {
		w.fault = fmt.Errorf("%w: %w", ledger.ErrFull, w.fault)
	}
	return w.fault
}

// renew puts an empty file in the place of this one, all of which the index has:
// under another name first, so that a crash leaves the one or the other whole.
func (w *wal) renew(dir files) error {
	if w.fault != nil {
		return w.fault
	}
	if err := writeNewWAL(dir, w.walSpec, w.aead, mark{}); err != nil {
		return diskError("cannot begin a new "+w.name, err) // nothing has changed
	}
	err := w.f.Close()
	if err == nil {
		err = rename(dir, w.name+newSuffix, w.name)
	}
	if err == nil {
		w.f, err = dir.Open(w.name)
	}
	if err == nil {
		err = w.readFileHeader()
	}
	if err != nil {
		w.fault = fmt.Errorf("%w: %s could not be begun anew; restart when the disk is well: %w", ledger.ErrReadOnly, w.name, err)
		return w.fault
	}
	return nil
}

// seal encodes one record: uint32 length, uint64 number, check[4], sealed.
func (w *wal) seal(number uint64, payload []byte) []byte {
	payload = pad(payload)
	record := make([]byte, 0, walHeadSize+len(payload)+walSealExtra)
	record = binary.BigEndian.AppendUint32(record, uint32(len(payload)+walSealExtra))
	record = binary.BigEndian.AppendUint64(record, number)
	check := headCheck(w.last.File, record)
	record = append(record, check[:]...)
	return w.aead.Seal(record, nil, payload, recordAAD(w.last, record))
}

// pad makes the plaintext of a record: opaque payload<0..2^24-1>, then zeros
// until the record's length is a multiple of walAlign.
func pad(payload []byte) []byte {
	n := 3 + len(payload)
	for (walHeadSize+n+walSealExtra)%walAlign != 0 {
		n++
	}
	b := make([]byte, n)
	b[0], b[1], b[2] = byte(len(payload)>>16), byte(len(payload)>>8), byte(len(payload))
	copy(b[3:], payload)
	return b
}

// unpad is the inverse of pad.
func unpad(b []byte) ([]byte, error) {
	s := cryptobyte.String(b)
	var payload cryptobyte.String
	if !s.ReadUint24LengthPrefixed(&payload) || len(s) >= walAlign || len(bytes.TrimLeft(s, "\x00")) > 0 {
		return nil, errors.New("badgerstore: the padding of a record is wrong")
	}
	return payload, nil
}

// headCheck tells a record's head that was written from one that was not.
func headCheck(id [walIDSize]byte, head []byte) [4]byte {
	sum := sha256.Sum256(append(append([]byte("tocsin/1 wal head\x00"), id[:]...), head[:12]...))
	return [4]byte(sum[:4])
}

// recordAAD nails a record to its file, its number and the record before it, so
// that none can be left out, exchanged or brought back.
func recordAAD(before mark, head []byte) []byte {
	return bytes.Join([][]byte{before.File[:], head, before.Tag[:]}, nil)
}

// close writes what Unsafe kept back and closes the file.
func (w *wal) close() error {
	var err error
	if len(w.held) > 0 && w.fault == nil {
		err = w.write(w.held)
		w.held = nil
	}
	return errors.Join(err, w.f.Close())
}

// diskError wraps an error of the disk with the sentinels that callers branch on.
func diskError(what string, err error) error {
	if isFull(err) {
		return fmt.Errorf("%w: %w: %s: free some space: %w", ledger.ErrReadOnly, ledger.ErrFull, what, err)
	}
	return fmt.Errorf("badgerstore: %s: %w", what, err)
}
