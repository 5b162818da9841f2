package mesh

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
)

// ErrSessionLimit ends a synchronisation session that has moved as much as one
// session may. The next session goes on where it ended.
var ErrSessionLimit = errors.New("mesh: the synchronisation session has reached its limit")

// ErrNothingYet ends one that brought nothing although there is something: it is to be had in
// a moment. The next session follows soon, and after a wait that doubles while it is so.
var ErrNothingYet = fmt.Errorf("%w without anything having come", ErrSessionLimit)

// ErrNothingNew ends one that is complete and brought nothing, although the other side holds
// what is not held here: it is not to be had, or not taken. The next session is the usual one;
// that the other side says that more is held there counts for less each time that it is so again.
var ErrNothingNew = errors.New("mesh: what the other side holds is not to be had")

// refusedError says that the other side of a session broke the rules.
type refusedError struct {
	reason string
	err    error
}

func (e *refusedError) Error() string { return e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }

// Refused marks err as the other side's doing. reason is a word without content
// by which [Stats].SyncRefused counts it. A nil err stays nil.
func Refused(reason string, err error) error {
	if err == nil {
		return nil
	}
	return &refusedError{reason, err}
}

// session is the SyncStream over one libp2p stream.
type session struct {
	stream network.Stream
	counts *counters
	passed atomic.Uint64 // whole frames, both directions
	meter  *meter        // nil where nothing is measured

	send struct {
		turn
		w             *bufio.Writer
		buf           []byte
		frames, bytes int
	}
	receive struct {
		turn
		r             *bufio.Reader
		frames, bytes int
		first         *Frame // read already, to see whether it is a nudge
	}
}

var _ SyncStream = (*session)(nil)

func newSession(s network.Stream, counts *counters) *session {
	ses := &session{stream: s, counts: counts}
	ses.send.turn, ses.receive.turn = newTurn(), newTurn()
	ses.send.w = bufio.NewWriterSize(s, sessionStart)
	ses.receive.r = bufio.NewReaderSize(s, sessionRead)
	return ses
}

// deadline returns the moment d from now on the process's own monotonic time,
// which is what the network's deadlines run on. The device's clock would be
// wrong here: it may be a day off.
func deadline(d time.Duration) time.Time {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	at, _ := ctx.Deadline()
	return at
}

// Send implements SyncStream.
func (s *session) Send(f Frame) error {
	if f.Type == typeNudge {
		return fmt.Errorf("mesh: frame type %d is the mesh's own; use 1 to 255", typeNudge)
	}
	return s.sendFrame(f)
}

func (s *session) sendFrame(f Frame) error {
	t := &s.send
	t.Lock()
	defer t.Unlock()
	size := frameHeader + len(f.Payload)
	if t.frames >= maxSessionFrames || t.bytes+size > maxSessionBytes {
		return ErrSessionLimit
	}
	var err error
	if t.buf, err = appendFrame(t.buf[:0], f); err != nil {
		return err
	}
	if err := s.put(t.buf); err != nil {
		return err
	}
	t.frames++
	t.bytes += size
	s.passed.Add(1)
	s.counts.syncOut.Add(uint64(size))
	return nil
}

// put has b written, now or with what follows. Most sessions say next to nothing: only one
// that says more has a buffer for it. The caller holds the lock.
func (s *session) put(b []byte) error {
	t := &s.send
	if len(b) > t.w.Available() {
		if err := s.stream.SetWriteDeadline(deadline(frameTimeout)); err != nil {
			return err
		}
		if t.w.Size() < sessionWrite {
			if err := t.w.Flush(); err != nil {
				return err
			}
			t.w = bufio.NewWriterSize(s.stream, sessionWrite)
		}
	}
	_, err := t.w.Write(b)
	return err
}

// Flush implements SyncStream.
func (s *session) Flush() error { return s.flush() }

func (s *session) flush() error {
	t := &s.send
	t.Lock()
	defer t.Unlock()
	if t.w.Buffered() == 0 {
		return nil
	}
	if err := s.stream.SetWriteDeadline(deadline(frameTimeout)); err != nil {
		return err
	}
	if s.meter != nil {
		s.meter.asked.Store(true)
	}
	return t.w.Flush()
}

// Receive implements SyncStream.
func (s *session) Receive() (Frame, error) {
	if err := s.flush(); err != nil {
		return Frame{}, err
	}
	t := &s.receive
	t.Lock()
	defer t.Unlock()
	if f := t.first; f != nil {
		t.first = nil
		return *f, nil
	}
	f, err := s.next()
	if err == nil && f.Type == typeNudge {
		err = fmt.Errorf("%w: a nudge within a session", errFrame)
	}
	return f, err
}

// peek reads the first frame and keeps it for Receive.
func (s *session) peek() (Frame, error) {
	t := &s.receive
	t.Lock()
	defer t.Unlock()
	f, err := s.next()
	if err == nil {
		t.first = &f
	}
	return f, err
}

// next reads one frame; the caller holds the lock.
func (s *session) next() (Frame, error) {
	t := &s.receive
	if t.frames >= maxSessionFrames || t.bytes >= maxSessionBytes {
		return Frame{}, ErrSessionLimit
	}
	// How long to wait is the watch's to say: it sees both directions.
	f, err := readFrame(t.r)
	if err != nil {
		return Frame{}, err
	}
	t.frames++
	t.bytes += frameHeader + len(f.Payload)
	s.passed.Add(1)
	s.counts.syncIn.Add(uint64(frameHeader + len(f.Payload)))
	return f, nil
}

// moved reports whether any frame arrived.
func (s *session) moved() bool {
	s.receive.Lock()
	defer s.receive.Unlock()
	return s.receive.frames > 0
}

// measure has it measured how fast the session comes in. It is called before the
// session begins.
func (s *session) measure(clock Clock) {
	s.meter = &meter{r: s.stream, clock: clock}
	s.receive.r.Reset(s.meter)
}

// measured returns how many bytes came in how long, as far as that says how fast
// the link is.
func (s *session) measured() (bytes int, d time.Duration) {
	s.receive.Lock()
	defer s.receive.Unlock()
	return s.meter.bytes, s.meter.waited
}

// finish ends the session: in good order if err is nil or only says that enough
// has been moved, else at once, which discards what is still under way.
func (s *session) finish(err error) error {
	if err != nil && !errors.Is(err, ErrSessionLimit) && !errors.Is(err, ErrNothingNew) {
		s.stream.Reset()
		return err
	}
	if bad := s.part(); bad != nil {
		s.stream.Reset()
		if err == nil {
			err = bad
		}
	}
	return err
}

// part says that no more will come and waits for the other side to say so too.
// Closing before that would cancel, on QUIC, what it still sends.
func (s *session) part() error {
	if err := errors.Join(s.flush(), s.stream.CloseWrite()); err != nil {
		return err
	}
	if err := s.stream.SetReadDeadline(deadline(frameTimeout)); err != nil {
		return err
	}
	s.receive.Lock()
	defer s.receive.Unlock()
	switch _, err := s.receive.r.ReadByte(); {
	case errors.Is(err, io.EOF):
		return s.stream.Close()
	case err != nil:
		return err
	default:
		return fmt.Errorf("%w: bytes after the end of the session", errFrame)
	}
}
