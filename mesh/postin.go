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
	begin sync.Once
	due   chan struct{} // there is something to acknowledge
	done  chan struct{} // closed when the stream has ended

	mu     sync.Mutex
	failed bool // the network ended it
	ousted bool // another stream took its place
	blamed bool
	ended  bool // done is closed
	unsaid int  // bytes that were read and not acknowledged
}

// ackSize is the size of an acknowledgement: a uint32, how many further bytes of
// gossip were read.
const ackSize = 4

// in wraps a stream from a neighbour. gossipsub reads lengths byte by byte, so
// it is buffered.
func (o *post) in(s network.Stream) network.Stream {
	r := &reader{
		Stream: s, post: o, peer: s.Conn().RemotePeer(), r: bufio.NewReaderSize(s, readBuffer),
		due: make(chan struct{}, 1), done: make(chan struct{}),
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if old := o.readers[r.peer]; old != nil {
		old.mu.Lock()
		old.ousted = true
		old.mu.Unlock()
	}
	o.readers[r.peer] = r
	return r
}

// Read implements network.Stream.
func (r *reader) Read(b []byte) (int, error) {
	r.begin.Do(func() { r.post.begin(r.acknowledge) })
	n, err := r.r.Read(b)
	r.mu.Lock()
	if r.unsaid += n; r.unsaid >= ackEvery {
		ring(r.due)
	}
	r.mu.Unlock()
	if err != nil {
		r.mu.Lock()
		r.failed = true
		r.mu.Unlock()
		r.gone()
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

// Reset implements network.Stream. gossipsub resets a stream that has not ended
// when what it read is no RPC of its kind.
func (r *reader) Reset() error {
	r.mu.Lock()
	wrong := !r.failed && !r.ousted && !r.blamed
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
	if !r.ended {
		r.ended = true
		close(r.done)
	}
	r.mu.Unlock()
	o := r.post
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.readers[r.peer] == r {
		delete(o.readers, r.peer)
	}
}
