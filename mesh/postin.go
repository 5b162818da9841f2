package mesh

import (
	"bufio"
	"sync"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// reader is a gossip stream from one neighbour.
type reader struct {
	network.Stream
	post *post
	peer peer.ID
	r    *bufio.Reader

	mu     sync.Mutex
	failed bool // the network ended it
	ousted bool // another stream took its place
	blamed bool
}

// in wraps a stream from a neighbour. gossipsub reads lengths byte by byte, so
// it is buffered.
func (o *post) in(s network.Stream) network.Stream {
	r := &reader{Stream: s, post: o, peer: s.Conn().RemotePeer(), r: bufio.NewReaderSize(s, readBuffer)}
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
	n, err := r.r.Read(b)
	if err != nil {
		r.mu.Lock()
		r.failed = true
		r.mu.Unlock()
		r.gone()
	}
	return n, err
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
	o := r.post
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.readers[r.peer] == r {
		delete(o.readers, r.peer)
	}
}
