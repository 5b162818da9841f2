package mesh

import (
	"bufio"
	"encoding/binary"
	"sync"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// reader is a gossip stream from one neighbour.
type reader struct {
	network.Stream
	post  *post
	peer  peer.ID
	r     *bufio.Reader
	err   error // what the stream ended with, not yet told; of who reads
	begin sync.Once
	due   chan struct{} // there is something to acknowledge
	done  chan struct{} // closed when the stream has ended
	left  chan struct{} // closed when gossipsub has done with it

	mu     sync.Mutex
	failed bool // gossipsub was told that the stream has ended
	ousted bool // a newer stream takes its place
	blamed bool
	ended  bool // done is closed
	unsaid int  // bytes that were read and not acknowledged
}

// ackSize is the size of an acknowledgement: a uint32, how many further bytes of
// gossip were read.
const ackSize = 4

// serve hands a stream from a neighbour to gossipsub, as soon as gossipsub has done
// with the one before it. gossipsub would let the newer of two reset the older too,
// but it takes for newer what reaches it later, and of two that come at once that may
// be either. One after the other, only who reads a stream resets it.
func (o *post) serve(s network.Stream, handle network.StreamHandler) {
	if s.Conn().IsClosed() {
		s.Reset() // it must not take the place of one on the next connection
		return
	}
	r, before := o.in(s)
	defer o.leave(r)
	if before != nil {
		before.oust()
		<-before.left
	}
	if r.isOusted() {
		s.Reset()
		return
	}
	handle(r)
}

// in wraps a stream from a neighbour, and returns the one whose place it takes, if
// any. gossipsub reads lengths byte by byte, so it is buffered.
func (o *post) in(s network.Stream) (r, before *reader) {
	r = &reader{
		Stream: s, post: o, peer: s.Conn().RemotePeer(), r: bufio.NewReaderSize(s, readBuffer),
		due: make(chan struct{}, 1), done: make(chan struct{}), left: make(chan struct{}),
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	before = o.readers[r.peer]
	o.readers[r.peer] = r
	return r, before
}

// leave ends a stream with which gossipsub has done.
func (o *post) leave(r *reader) {
	r.gone()
	o.mu.Lock()
	if o.readers[r.peer] == r {
		delete(o.readers, r.peer)
	}
	o.mu.Unlock()
	close(r.left)
}

// oust ends r for a newer stream.
func (r *reader) oust() {
	r.mu.Lock()
	r.ousted = true
	r.mu.Unlock()
	r.Stream.Reset()
}

func (r *reader) isOusted() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ousted
}

// Read implements network.Stream.
func (r *reader) Read(b []byte) (int, error) {
	r.begin.Do(func() { r.post.begin(r.acknowledge) })
	n, err := r.next(b)
	r.mu.Lock()
	if r.unsaid += n; r.unsaid >= ackEvery {
		ring(r.due)
	}
	r.failed = r.failed || err != nil
	r.mu.Unlock()
	if err != nil {
		r.gone()
	}
	return n, err
}

// next reads bytes or an error, never both: an error that came with the last bytes of
// a message would be lost on who wanted no more of it, and the message counted as cut.
func (r *reader) next(b []byte) (int, error) {
	if r.isOusted() {
		return 0, network.ErrReset
	}
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.r.Read(b)
	if n > 0 {
		r.err, err = err, nil
	}
	return n, err
}

// acknowledge tells the neighbour how much was read, every ackEvery bytes or more,
// until the stream ends. Reading does not wait for it: the way back may be full.
func (r *reader) acknowledge() {
	for {
		select {
		case <-r.done:
			return
		case <-r.due:
		}
		r.mu.Lock()
		n := r.unsaid
		r.unsaid = 0
		r.mu.Unlock()
		if n == 0 {
			continue
		}
		if _, err := r.Stream.Write(binary.BigEndian.AppendUint32(nil, uint32(n))); err != nil {
			return // the reader meets the same
		}
	}
}

// Reset implements network.Stream. gossipsub resets a stream of whose end it was not
// told when what it read, to the last byte, is no RPC of its kind, or when all ends.
func (r *reader) Reset() error {
	ending := r.post.ended() != nil
	r.mu.Lock()
	wrong := !r.failed && !r.blamed && !ending
	r.blamed = r.blamed || wrong
	r.mu.Unlock()
	r.gone()
	if wrong {
		r.post.counts.malformed.Add(1)
		r.post.blame(r.peer, blameMalformed)
	}
	return r.Stream.Reset()
}

func (r *reader) gone() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ended {
		r.ended = true
		close(r.done)
	}
}
