package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/identity"
)

// logState is what is kept in memory and in TableStates for each log.
type logState struct {
	next     uint64 // number of entries held, which is the next sequence number
	head     ID     // of next-1
	hlc      uint64 // of next-1
	use      usage  // of the author, all logs together, as of the last write
	rollback bool   // own log only: others hold more of it than we wrote
	fork     *Fork  // kept in TableForks
}

// usage is what an author added on one UTC day of our clock.
type usage struct {
	day     uint32 // days since 1970
	headers uint32
	bytes   uint64
}

const stateVersion = 1

// marshal encodes a state record (FORMAT.md, "State").
func (s *logState) marshal() []byte {
	b := cryptobyte.NewBuilder(make([]byte, 0, 66))
	b.AddUint8(stateVersion)
	b.AddUint64(s.next)
	b.AddBytes(s.head[:])
	b.AddUint64(s.hlc)
	b.AddUint32(s.use.day)
	b.AddUint32(s.use.headers)
	b.AddUint64(s.use.bytes)
	var flags uint8
	if s.rollback {
		flags = 1
	}
	b.AddUint8(flags)
	return b.BytesOrPanic() // fixed-size fields only: it cannot fail
}

func parseState(value []byte) (*logState, error) {
	s := cryptobyte.String(value)
	var st logState
	var version, flags uint8
	ok := s.ReadUint8(&version) &&
		s.ReadUint64(&st.next) &&
		s.CopyBytes(st.head[:]) &&
		s.ReadUint64(&st.hlc) &&
		s.ReadUint32(&st.use.day) &&
		s.ReadUint32(&st.use.headers) &&
		s.ReadUint64(&st.use.bytes) &&
		s.ReadUint8(&flags)
	if !ok || !s.Empty() || version != stateVersion || flags > 1 || st.next > MaxSeq+1 {
		return nil, fmt.Errorf("%w: the state record of a log cannot be read", ErrDamaged)
	}
	st.rollback = flags == 1
	return &st, nil
}

// checkSize is the length of the check before each stored entry.
const checkSize = 8

// What a stored entry says of its body.
const (
	storedHeld   uint8 = 0
	storedAbsent uint8 = 1
	storedErased uint8 = 2
)

// storedOverhead is what a stored entry has more than [Entry.size]: the check,
// what is said of the body, and when the entry was received.
const storedOverhead = checkSize + 1 + 4

// entryCheck covers the signed header, and what is said of the body and of when
// the entry came; the
// header's own hash covers the body. It finds damage, not malice: signatures do
// that.
func entryCheck(said, signed []byte) [checkSize]byte {
	h := sha256.New()
	h.Write([]byte("tocsin/1 stored\x00"))
	h.Write(said)
	h.Write(signed)
	return [checkSize]byte(h.Sum(nil)[:checkSize])
}

// storedEntry is the record of an entry: its value is check ‖ uint8 body ‖ uint32
// received, then the frame without the bytes of the body, which are the record's Body; or only
// opaque signed_header<0..2^16-1> if there is no body.
func storedEntry(e *Entry) Record {
	body, rest := storedHeld, e.frame
	switch {
	case e.Erased:
		body = storedErased
	case e.Absent:
		body = storedAbsent
	}
	if !e.HasBody() {
		rest = e.HeaderFrame()[:2+len(e.signed)]
	} else {
		rest = rest[:len(rest)-len(e.Body)]
	}
	said := binary.BigEndian.AppendUint32([]byte{body}, e.received)
	check := entryCheck(said, e.signed)
	value := make([]byte, 0, storedOverhead+len(rest))
	value = append(append(append(value, check[:]...), said...), rest...)
	return Record{Table: TableEntries, Log: e.Header.Log(), Seq: e.Header.Seq, Value: value, Body: e.Body, Erased: e.Erased}
}

// readStored turns a stored value, with its body behind it, back into the entry
// at (id, seq), or says what is wrong with it. It keeps value.
func readStored(id LogID, seq uint64, value []byte) (*Entry, error) {
	if len(value) < storedOverhead {
		return nil, damaged(id, seq, "its record is cut short")
	}
	said, rest := value[checkSize:storedOverhead], value[storedOverhead:]
	e, err := parseStored(said[0], rest)
	if err != nil {
		return nil, damaged(id, seq, err.Error())
	}
	if entryCheck(said, e.signed) != [checkSize]byte(value) {
		return nil, damaged(id, seq, "its check value does not match")
	}
	if e.Header.Log() != id || e.Header.Seq != seq {
		return nil, damaged(id, seq, fmt.Sprintf("another entry, %s %d, is in its place", e.Header.Log(), e.Header.Seq))
	}
	e.received = binary.BigEndian.Uint32(said[1:])
	return e, nil
}

// parseStored reads a stored entry behind its check.
func parseStored(body uint8, rest []byte) (*Entry, error) {
	switch body {
	case storedHeld:
		return parseFrame(rest)
	case storedAbsent, storedErased:
		s := cryptobyte.String(rest)
		var signed cryptobyte.String
		if !s.ReadUint16LengthPrefixed(&signed) || !s.Empty() {
			return nil, errors.New("its header is cut short or has bytes behind it")
		}
		e, err := parseSigned(signed)
		if err == nil {
			e.Absent, e.Erased = body == storedAbsent, body == storedErased
		}
		return e, err
	}
	return nil, fmt.Errorf("its record says %d of its body", body)
}

// storedHeader reads the header of a stored entry, also where the body that
// should follow is damaged: enough to follow a hash link.
func storedHeader(id LogID, seq uint64, value []byte) (*Entry, error) {
	if len(value) < storedOverhead {
		return nil, damaged(id, seq, "its record is cut short")
	}
	s := cryptobyte.String(value[storedOverhead:])
	var signed cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&signed) {
		return nil, damaged(id, seq, "its header is cut short")
	}
	e, err := parseSigned(signed)
	switch {
	case err != nil:
		return nil, damaged(id, seq, err.Error())
	case entryCheck(value[checkSize:storedOverhead], signed) != [checkSize]byte(value):
		return nil, damaged(id, seq, "its check value does not match")
	case e.Header.Log() != id || e.Header.Seq != seq:
		return nil, damaged(id, seq, "another entry is in its place")
	}
	e.Absent, e.received = true, binary.BigEndian.Uint32(value[checkSize+1:])
	return e, nil
}

func damaged(id LogID, seq uint64, what string) error {
	return fmt.Errorf("%w: entry %d of log %s: %s", ErrDamaged, seq, id, what)
}

// load fills l from the store.
func (l *Logs) load(ctx context.Context) error {
	err := l.store.Each(ctx, TableStates, func(id LogID, value []byte) error {
		st, err := parseState(value)
		if err != nil {
			return fmt.Errorf("%w (log %s)", err, id)
		}
		l.setState(id, st)
		l.mergeUsage(id.Author, st.use)
		return nil
	})
	if err == nil {
		err = l.loadUnchecked(ctx)
	}
	if err != nil {
		return err
	}
	err = l.store.Each(ctx, TableForks, func(id LogID, value []byte) error {
		f, err := parseFork(id, value)
		if err != nil {
			return err
		}
		st := l.logs[id]
		if st == nil {
			st = &logState{}
			l.setState(id, st)
		}
		st.fork = f
		l.forked[id] = struct{}{}
		return nil
	})
	if err != nil {
		return err
	}
	return l.loadEvidence(ctx)
}

// mergeUsage takes the largest count of the latest day: every state record
// holds the author's total as of when it was written.
func (l *Logs) mergeUsage(author identity.Key, u usage) {
	cur := l.usage[author]
	if u.day > cur.day || (u.day == cur.day && u.headers > cur.headers) {
		l.usage[author] = u
	}
}
