package badgerstore

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/slots"
	"tocsin/ledger"
)

// An entry is stored, in the wals and in Badger alike, with its body sealed
// under a key of its own, which stands in a slot file that is overwritten in
// place. Old copies of the record, in a wal, a table or a free block of the
// disk, are worth nothing once the slot is overwritten.
//
//	struct {
//	    uint8 flags;     /* 1: a body follows; 2: an older body was erased; 4: own journal;
//	                        8: no body is ever to come back */
//	    select (flags & 1) { uint64 slot; }
//	    select (flags & 2) { uint64 erased; }   /* the slot that this record erased */
//	    opaque value<0..2^24-1>;
//	    select (flags & 1) { opaque nonce[12]; opaque body[]; opaque tag[16]; }
//	} Stored;
//
// Slots are numbers in own.slots for a record of the own journal, else in
// in.slots. A place stays with the journal that it was first written to, because
// the order of records is known within one file only.
type stored struct {
	own    bool
	slot   *uint64 // of the body; nil if there is none
	erased *uint64 // a slot that is dead since this record
	final  bool    // no body is ever to come back; there is none
	value  []byte
	sealed []byte
}

const (
	flagBody   = 1
	flagErased = 2
	flagOwn    = 4
	flagFinal  = 8

	bodyNonce = 12
	bodyTag   = 16
	// sealOverhead is the most that the stored form has beyond value and body.
	sealOverhead = 1 + 8 + 8 + 3 + bodyNonce + bodyTag
)

func (st *stored) marshal() []byte {
	b := make([]byte, 1, sealOverhead+len(st.value)+len(st.sealed))
	if st.own {
		b[0] |= flagOwn
	}
	if st.final {
		b[0] |= flagFinal
	}
	if st.slot != nil {
		b[0] |= flagBody
		b = binary.BigEndian.AppendUint64(b, *st.slot)
	}
	if st.erased != nil {
		b[0] |= flagErased
		b = binary.BigEndian.AppendUint64(b, *st.erased)
	}
	n := len(st.value)
	b = append(b, byte(n>>16), byte(n>>8), byte(n))
	return append(append(b, st.value...), st.sealed...)
}

// parseStored reads a stored entry, all of b, which it keeps.
func parseStored(b []byte) (*stored, error) {
	s := cryptobyte.String(b)
	var st stored
	var flags uint8
	var slot, erased uint64
	var value cryptobyte.String
	ok := s.ReadUint8(&flags) && flags <= flagBody|flagErased|flagOwn|flagFinal && flags&(flagBody|flagFinal) != flagBody|flagFinal
	st.own, st.final = flags&flagOwn != 0, flags&flagFinal != 0
	if ok && flags&flagBody != 0 {
		ok = s.ReadUint64(&slot)
		st.slot = &slot
	}
	if ok && flags&flagErased != 0 {
		ok = s.ReadUint64(&erased)
		st.erased = &erased
	}
	if !ok || !s.ReadUint24LengthPrefixed(&value) {
		return nil, errors.New("badgerstore: a stored entry is cut short or has unknown flags")
	}
	if (st.slot == nil) != s.Empty() || st.slot != nil && len(s) < bodyNonce+bodyTag {
		return nil, errors.New("badgerstore: the body of a stored entry is cut short or out of place")
	}
	st.value, st.sealed = value, s
	return &st, nil
}

// bodyAAD nails a body to its place.
func bodyAAD(r *ledger.Record) []byte {
	log := r.Log.Bytes()
	return binary.BigEndian.AppendUint64(append([]byte("tocsin/1 body\x00"), log[:]...), r.Seq)
}

func bodyAEAD(key [slots.KeySize]byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// sealBody takes a slot and seals a body under its key. The nonce is random
// because a slot may be taken again after a crash that lost this record.
func sealBody(keys *slots.Slots, r *ledger.Record) (slot uint64, sealed []byte, err error) {
	slot, key, err := keys.Take()
	if err != nil {
		return 0, nil, diskError("cannot take a key for a body", err)
	}
	defer clear(key[:])
	aead, err := bodyAEAD(key)
	if err != nil {
		return 0, nil, fmt.Errorf("badgerstore: %w", err)
	}
	sealed = make([]byte, bodyNonce, bodyNonce+len(r.Body)+bodyTag)
	rand.Read(sealed) // never fails (crypto/rand)
	return slot, aead.Seal(sealed, sealed[:bodyNonce], r.Body, bodyAAD(r)), nil
}

// openStored turns a stored entry into what [ledger.Store] reads: value ‖ body,
// or the value alone if the body cannot be had any more. A record that has been
// replaced since it was read may have lost its key: then the new one is read,
// which was there before the key went.
func (s *Store) openStored(id ledger.LogID, seq uint64, b []byte) ([]byte, error) {
	for {
		out, whole, err := s.openOnce(id, seq, b)
		if err != nil || whole {
			return out, err
		}
		now, err := s.raw(ledger.TableEntries, id, seq)
		if err != nil || bytes.Equal(now, b) {
			return out, nil // the key is gone or damaged; the value was read
		}
		b = now
	}
}

// openOnce is openStored of one record. It is not whole if its body could not be
// opened.
func (s *Store) openOnce(id ledger.LogID, seq uint64, b []byte) (out []byte, whole bool, err error) {
	st, err := parseStored(b)
	if err != nil {
		return nil, false, fmt.Errorf("%w: entry %d of log %s: %w", ledger.ErrDamaged, seq, id, err)
	}
	keys := s.in.keys
	if st.own {
		keys = s.own.keys
	}
	out = append(make([]byte, 0, len(st.value)+len(st.sealed)), st.value...)
	if st.slot == nil {
		return out, true, nil
	}
	key, err := keys.Key(*st.slot)
	if errors.Is(err, slots.ErrDamaged) {
		return out, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("badgerstore: cannot read the key of a body: %w", err)
	}
	defer clear(key[:])
	aead, err := bodyAEAD(key)
	if err != nil {
		return nil, false, fmt.Errorf("badgerstore: %w", err)
	}
	opened, err := aead.Open(out, st.sealed[:bodyNonce], st.sealed[bodyNonce:], bodyAAD(&ledger.Record{Log: id, Seq: seq}))
	if err != nil {
		return out, false, nil
	}
	return opened, true, nil
}
