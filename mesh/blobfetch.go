package mesh

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// errWrongBytes: a neighbour sent a chunk that does not match its name. Its
// connection is authentic, so it was that neighbour and nobody else.
var errWrongBytes error = &refusedError{"wrong-bytes", errors.New("mesh: a chunk of an attachment is not what its name says")}

// blobSession is one session as client. One goroutine owns it.
type blobSession struct {
	*blobs
	peer   peer.ID
	stream network.Stream
	r      *bufio.Reader
	w      *bufio.Writer
	window blobWindow
	queue  []blobPending // requests without an answer yet
	flight int           // bytes asked for in queue
	active []*blobPart
	synced uint64 // bytes of synchronisation when last looked at
	moved  bool
}

// blobPending is a request that waits for its answer.
type blobPending struct {
	blobRequest
	part *blobPart // of a get
	at   time.Time
}

// fetch runs one session with p: it asks for all that is wanted, and fetches
// what p has.
func (b *blobs) fetch(ctx context.Context, p peer.ID) (moved bool, err error) {
	stream, err := b.open(ctx, p)
	if err != nil {
		return false, err
	}
	stop := context.AfterFunc(ctx, func() { stream.Reset() })
	defer stop()
	s := &blobSession{
		blobs: b, peer: p, stream: stream, r: bufio.NewReaderSize(stream, 32<<10), w: bufio.NewWriterSize(stream, 16<<10),
		window: blobWindow{size: blobMinWindow}, synced: b.syncBytes(),
	}
	err = s.run()
	for _, part := range s.active {
		b.plan.release(p, part, !errors.Is(err, errWrongBytes))
	}
	if errors.As(err, new(*refusedError)) {
		b.counts.refuseSync(err)
	}
	if errors.Is(err, errWrongBytes) {
		b.counts.blobsBad.Add(1)
		b.log.Warn("a neighbour sent a chunk of an attachment that is not what its name says; it is asked for nothing for an hour, and others are asked", "peer", p)
		b.plan.ban(p)
		b.mail.put(blobEvent{kind: blobBanned, peer: p})
		b.blame(p, "wrong-bytes")
	}
	if err != nil {
		stream.Reset()
		b.log.Debug("fetching chunks ended early", "peer", p, "error", err)
		return s.moved, err
	}
	return s.moved, stream.Close()
}

// open opens a session on a connection that is there; it dials none.
func (b *blobs) open(ctx context.Context, p peer.ID) (network.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, blobStall)
	defer cancel()
	return b.host.NewStream(network.WithNoDial(ctx, "blob"), p, BlobProtocol)
}

// run asks and reads until there is nothing left to ask for.
func (s *blobSession) run() error {
	for {
		for s.issue() {
		}
		if len(s.queue) == 0 {
			return s.w.Flush()
		}
		if err := s.stream.SetDeadline(deadline(blobStall)); err != nil {
			return err
		}
		if err := s.w.Flush(); err != nil {
			return err
		}
		next := s.queue[0]
		s.queue = s.queue[1:]
		if err := s.answer(next); err != nil {
			return err
		}
	}
}

// issue writes one more request where the window allows it. Errors of the buffer
// show when it is flushed.
func (s *blobSession) issue() bool {
	if !s.asking() {
		if names, hops := s.plan.ask(s.peer, maxBlobAsk); len(names) > 0 {
			return s.put(blobPending{blobRequest: blobRequest{kind: blobAsk, names: names, hops: hops}})
		}
	}
	if s.flight >= s.window.size {
		return false
	}
	part := s.nextPart()
	if part == nil {
		return false
	}
	length := uint32(min(MaxBlob, max(s.window.size/2, blobMinWindow)))
	if part.size > 0 {
		length = pieceOf(part.size, part.issued, length)
	}
	r := blobRequest{kind: blobGet, name: part.name, offset: part.issued, length: length}
	part.issued += length
	s.flight += int(length)
	return s.put(blobPending{blobRequest: r, part: part})
}

// asking reports whether an ask waits for its answer: one at a time is enough.
func (s *blobSession) asking() bool {
	for i := range s.queue {
		if s.queue[i].kind == blobAsk {
			return true
		}
	}
	return false
}

// nextPart returns a chunk of which more can be asked for: of one whose size is
// not known yet, only the first piece.
func (s *blobSession) nextPart() *blobPart {
	for _, part := range s.active {
		if part.size > 0 && part.issued < part.size {
			return part
		}
	}
	if len(s.active) >= maxBlobActive {
		return nil
	}
	part := s.plan.claim(s.peer)
	if part != nil {
		s.active = append(s.active, part)
	}
	return part
}

func (s *blobSession) put(p blobPending) bool {
	raw, err := p.marshal()
	if err == nil {
		_, err = s.w.Write(raw)
	}
	if err != nil {
		return false // the flush says it again
	}
	p.at = s.clock.Now()
	s.queue = append(s.queue, p)
	return true
}

// answer reads the answer to one request.
func (s *blobSession) answer(p blobPending) error {
	if p.kind == blobAsk {
		held, err := readBlobAsked(s.r, len(p.names))
		if err != nil {
			return err
		}
		s.counts.blobIn.Add(uint64(len(held)))
		s.plan.learn(s.peer, p.names, held)
		return nil
	}
	size, n, err := readBlobHead(s.r, p.offset, p.length)
	if err != nil {
		return err
	}
	if err := s.read(p.part, p.offset, size, n); err != nil {
		return err
	}
	s.flight -= int(p.length)
	s.moved = s.moved || n > 0
	s.counts.blobIn.Add(uint64(blobAnswerHeader + n))
	now, synced := s.clock.Now(), s.syncBytes()
	s.window.sample(int(n), now.Sub(p.at), synced != s.synced)
	s.synced = synced
	return s.arrived(p.part, size)
}

// read takes n bytes of a chunk of size. It takes them also where nobody wants the
// chunk any more, because they are on the wire.
func (s *blobSession) read(part *blobPart, offset, size, n uint32) error {
	if part.size != 0 && size != part.size && size != 0 || uint32(len(part.data)) != offset && n > 0 {
		return fmt.Errorf("%w: a chunk of %d bytes that had %d", errBlob, size, part.size)
	}
	if part.size == 0 {
		part.size = size
		part.data = append(make([]byte, 0, size), part.data...)
	}
	// What has come of a piece that is cut off is kept: on a link that breaks every few
	// seconds a piece may never come whole.
	for n > 0 {
		have := len(part.data)
		some := min(int(n), 2<<10)
		got, err := s.r.Read(part.data[have : have+some])
		part.data = part.data[:have+got]
		n -= uint32(got)
		if err != nil {
			return noEOF(err)
		}
		if got > 0 && n > 0 && have>>13 != len(part.data)>>13 {
			if err := s.stream.SetReadDeadline(deadline(blobStall)); err != nil {
				return err
			}
		}
	}
	return nil
}

// arrived looks at a chunk after a piece of it: whole, gone, or not yet there.
func (s *blobSession) arrived(part *blobPart, size uint32) error {
	switch {
	case size == 0:
		s.finish(part)
		s.plan.gone(s.peer, part.name)
		return nil
	case part.issued > part.size:
		part.issued = uint32(len(part.data)) // the first piece asked for more than there is
		fallthrough
	default:
		if uint32(len(part.data)) < part.size {
			return nil
		}
	}
	if sha256.Sum256(part.data) != part.name {
		return errWrongBytes
	}
	s.finish(part)
	if !s.plan.wanted(part.name) {
		return nil // another holder was faster
	}
	s.plan.forget([]BlobName{part.name})
	s.counts.blobChunksIn.Add(1)
	if err := s.store.TakeBlob(s.peer, part.name, part.data); err != nil {
		s.log.Warn("a chunk of an attachment could not be kept", "error", err)
	}
	return nil
}

// finish gives the claim on a chunk back.
func (s *blobSession) finish(part *blobPart) {
	for i, a := range s.active {
		if a == part {
			s.active = append(s.active[:i], s.active[i+1:]...)
			break
		}
	}
	s.plan.release(s.peer, part, false)
}

// syncBytes is how much synchronisation has moved so far.
func (b *blobs) syncBytes() uint64 { return b.counts.syncIn.Load() + b.counts.syncOut.Load() }

// tell sends p the notice that something it asked for is here.
func (b *blobs) tell(ctx context.Context, p peer.ID) {
	stream, err := b.open(ctx, p)
	if err != nil {
		return // it asks again by itself
	}
	stop := context.AfterFunc(ctx, func() { stream.Reset() })
	defer stop()
	raw, err := (&blobRequest{kind: blobNews}).marshal()
	if err == nil {
		err = stream.SetDeadline(deadline(blobStall))
	}
	if err == nil {
		_, err = stream.Write(raw)
	}
	if err == nil {
		err = stream.CloseWrite()
	}
	if err == nil { // on QUIC closing at once could cancel what is on its way
		if _, err = stream.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
			err = stream.Close()
		}
	}
	if err != nil {
		stream.Reset()
		b.log.Debug("a notice about chunks failed", "error", err)
	}
}
