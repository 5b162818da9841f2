package ledger

import (
	"context"
	"crypto/sha256"
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

// checkSize is the length of the check before each stored frame.
const checkSize = 8

// entryCheck covers the signed header; the header's own hash covers the body.
// It finds damage, not malice: signatures do that.
func entryCheck(signed []byte) [checkSize]byte {
	h := sha256.New()
	h.Write([]byte("tocsin/1 stored\x00"))
	h.Write(signed)
	return [checkSize]byte(h.Sum(nil)[:checkSize])
}

// storedEntry is the value of an entry in TableEntries: check ‖ frame.
func storedEntry(e *Entry) []byte {
	check := entryCheck(e.signed)
	return append(append(make([]byte, 0, checkSize+len(e.frame)), check[:]...), e.frame...)
}

// readStored turns a stored value back into the entry at (id, seq), or says
// what is wrong with it.
func readStored(id LogID, seq uint64, value []byte) (*Entry, error) {
	if len(value) < checkSize {
		return nil, damaged(id, seq, "its record is cut short")
	}
	e, err := ParseFrame(value[checkSize:])
	if err != nil {
		return nil, damaged(id, seq, err.Error())
	}
	if entryCheck(e.signed) != [checkSize]byte(value) {
		return nil, damaged(id, seq, "its check value does not match")
	}
	if e.Header.Log() != id || e.Header.Seq != seq {
		return nil, damaged(id, seq, fmt.Sprintf("another entry, %s %d, is in its place", e.Header.Log(), e.Header.Seq))
	}
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
	if err != nil {
		return err
	}
	return l.store.Each(ctx, TableForks, func(id LogID, value []byte) error {
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
		l.print(id, st)
		l.forks++
		return nil
	})
}

// mergeUsage takes the largest count of the latest day: every state record
// holds the author's total as of when it was written.
func (l *Logs) mergeUsage(author identity.Key, u usage) {
	cur := l.usage[author]
	if u.day > cur.day || (u.day == cur.day && u.headers > cur.headers) {
		l.usage[author] = u
	}
}
