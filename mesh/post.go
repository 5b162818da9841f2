package mesh

import (
	"context"
	"sync"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// gossipsub's queue to a neighbour is first in, first out, whatever is in it. So
// gossipsub is given a host whose gossip streams take every RPC at once: what it
// writes goes into an outbox of ours, from which a writer sends by class. Its own
// queue stays empty, and what waits for a slow link can be overtaken, counted and
// dropped by class.

// gossipHost is the host that gossipsub sees.
type gossipHost struct {
	host.Host
	post *post
}

// NewStream implements host.Host: gossipsub opens one stream to each neighbour.
func (h gossipHost) NewStream(ctx context.Context, p peer.ID, ids ...protocol.ID) (network.Stream, error) {
	s, err := h.Host.NewStream(ctx, p, ids...)
	if err != nil {
		return nil, err
	}
	return h.post.out(s), nil
}

// SetStreamHandler implements host.Host.
func (h gossipHost) SetStreamHandler(id protocol.ID, handle network.StreamHandler) {
	h.Host.SetStreamHandler(id, func(s network.Stream) { h.post.serve(s, handle) })
}

// post is what all gossip streams share.
type post struct {
	clock  Clock
	counts *counters
	label  func(frame []byte) Label
	// holds reports whether a neighbour is known to have a frame; own whether we
	// wrote it.
	holds func(id frameID, p peer.ID) bool
	own   func(id frameID) bool
	// spare reports whether a frame need not go to p at all (thrift).
	spare func(p peer.ID, l Label, own bool) bool
	owe   func(p peer.ID)                // may have missed a frame
	blame func(p peer.ID, reason string) // did wrong
	pace  func(p peer.ID) *pace
	// ended is not nil once gossipsub is ending, which resets streams too.
	ended func() error

	passed passings // urgent frames of late

	work sync.WaitGroup // writers, and who acknowledges
	free sync.Pool      // *[pooledRPC]byte
	full sync.Pool      // *[]byte, of writeBatch and a little

	mu      sync.Mutex
	closed  bool
	waiting int // bytes in all outboxes
	writers map[peer.ID]*writer
	readers map[peer.ID]*reader
}

func newPost(clock Clock, counts *counters) *post {
	return &post{
		clock: clock, counts: counts, ended: func() error { return nil },
		writers: make(map[peer.ID]*writer), readers: make(map[peer.ID]*reader),
	}
}

// begin runs f beside the rest, unless everything is ending.
func (o *post) begin(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.work.Go(f)
	}
}

// wait waits for all that was begun, after the streams have ended.
func (o *post) wait() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.work.Wait()
}

// limit is how many bytes may wait for one neighbour now: where much waits for
// others too, less.
func (o *post) limit() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.waiting > maxOutboxes {
		return minOutbox
	}
	return maxOutbox
}

// queued returns how many bytes wait for p.
func (o *post) queued(p peer.ID) int {
	o.mu.Lock()
	w := o.writers[p]
	o.mu.Unlock()
	if w == nil {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.box.bytes + w.heldBytes
}

// copyOf copies an RPC; recycle takes the copy back.
func (o *post) copyOf(b []byte) []byte {
	if len(b) <= pooledRPC {
		if free, ok := o.free.Get().(*[pooledRPC]byte); ok {
			return free[:copy(free[:], b)]
		}
		return append(make([]byte, 0, pooledRPC), b...)
	}
	return append([]byte(nil), b...)
}

func (o *post) recycle(p *parcel) {
	if cap(p.data) == pooledRPC {
		o.free.Put((*[pooledRPC]byte)(p.data[:pooledRPC]))
	}
	p.data = nil
}

// batch returns room for what is written at once; batched takes it back.
func (o *post) batch() []byte {
	if b, ok := o.full.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, writeBatch+pooledRPC)
}

func (o *post) batched(b []byte) {
	if cap(b) > 0 && cap(b) <= 2*writeBatch { // not after a long frame
		o.full.Put(&b)
	}
}

// weigh counts bytes that came to wait or have left.
func (o *post) weigh(n int) {
	o.mu.Lock()
	o.waiting += n
	o.mu.Unlock()
}
