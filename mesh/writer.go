package mesh

import (
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// writer is a gossip stream to one neighbour. gossipsub writes one RPC a call.
type writer struct {
	network.Stream
	post *post
	peer peer.ID

	mu        sync.Mutex
	box       outbox
	held      []*parcel // wait a moment before they join the box
	heldBytes int
	window    window // what is under way
	said      recent // urgent frames that were put into the box
	passed    map[speaker]passedBytes
	err       error // the stream is broken or closed
	urgent    chan struct{}
	lazy      chan struct{}

	// Owned by run.
	batch   []byte
	cool    <-chan time.Time // until then what is held gathers
	lagging bool             // something is held
	stuck   <-chan time.Time // set while frames wait for the window
	stuckAt int64            // what was acknowledged then
}

// out wraps a stream to a neighbour and starts its writer, which ends with the
// stream.
func (o *post) out(s network.Stream) network.Stream {
	w := &writer{
		Stream: s, post: o, peer: s.Conn().RemotePeer(),
		urgent: make(chan struct{}, 1), lazy: make(chan struct{}, 1), window: newWindow(),
	}
	o.mu.Lock()
	o.writers[w.peer] = w
	o.mu.Unlock()
	o.begin(w.run)
	return w
}

// errStreamClosed ends a writer in good order.
var errStreamClosed = errors.New("mesh: the gossip stream is closed")

// Write implements network.Stream. It never blocks.
func (w *writer) Write(b []byte) (int, error) {
	parts := splitRPC(b)
	for _, part := range parts {
		if err := w.accept(part, true); err != nil {
			return 0, err
		}
	}
	if parts == nil {
		if err := w.accept(b, false); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// accept queues one RPC; asked says that the neighbour wants it, and that data is nobody
// else's. Otherwise gossipsub takes it back.
func (w *writer) accept(data []byte, asked bool) error {
	p := scanRPC(data, w.post.label)
	p.asked = p.asked || asked
	own := len(p.ids) > 0 && w.post.own(p.ids[0])
	if !p.control && !p.asked && w.post.spare(w.peer, p.Label, own) {
		w.post.counts.spared.Add(1)
		return nil
	}
	if !asked {
		p.data = w.post.copyOf(data)
	}
	// Better classes, our own frames and what was asked for never wait.
	p.held = !p.control && !own && !p.asked && p.Class >= ClassRoutine
	return w.enqueue(p)
}

func (w *writer) enqueue(p *parcel) error {
	limit := w.post.limit()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	w.post.weigh(len(p.data))
	if w.left(p) {
		w.lose([]*parcel{p})
		return nil
	}
	if p.held {
		w.held, w.heldBytes = append(w.held, p), w.heldBytes+len(p.data)
		if w.heldBytes+w.box.bytes > limit {
			w.unhold()
		}
		ring(w.lazy)
		return w.err
	}
	if p.Class == ClassUrgent && !p.control {
		if !p.asked && w.said.has(p.ids[0]) {
			w.post.weigh(-len(p.data))
			return nil // it overtook what waited
		}
		w.said.add(p.ids[0])
		w.passOver(p.Author)
	}
	if err := w.stow(p, limit); err != nil {
		return err
	}
	ring(w.urgent)
	return nil
}

// passOver leaves the worse frames of an author to synchronisation, where many
// wait. w.mu is held.
func (w *writer) passOver(author [32]byte) {
	if w.heldBytes > passedOver {
		w.unhold()
	}
	w.lose(w.box.yield(author, passedOver))
}

// lose counts what is not written after all, and has the neighbour told to pull.
func (w *writer) lose(dropped []*parcel) {
	for _, d := range dropped {
		w.post.weigh(-len(d.data))
		w.post.counts.dropped[d.Class].Add(1)
		w.post.owe(w.peer)
	}
}

// stow puts p into the box. w.mu is held.
func (w *writer) stow(p *parcel, limit int) error {
	dropped, ok := w.box.put(p, limit)
	w.lose(dropped)
	if !ok {
		return w.fail(errors.New("mesh: a neighbour does not read even what keeps gossip going"))
	}
	return nil
}

// fail ends the writer. w.mu is held.
func (w *writer) fail(err error) error {
	if w.err == nil {
		w.err = err
		ring(w.urgent)
	}
	return w.err
}

func ring(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Close implements network.Stream: what waits is still written.
func (w *writer) Close() error { return w.end(errStreamClosed) }

// Reset implements network.Stream.
func (w *writer) Reset() error {
	err := w.Stream.Reset()
	return errors.Join(err, w.end(network.ErrReset))
}

// ResetWithError implements network.Stream.
func (w *writer) ResetWithError(code network.StreamErrorCode) error {
	err := w.Stream.ResetWithError(code)
	return errors.Join(err, w.end(network.ErrReset))
}

func (w *writer) end(why error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail(why)
	return nil
}

// SetWriteDeadline implements network.Stream: the deadline is the writer's.
func (w *writer) SetWriteDeadline(time.Time) error { return nil }

// run writes until the stream ends.
func (w *writer) run() {
	defer w.leave()
	for {
		w.ripen()
		n, err := w.gather()
		if n > 0 && (err == nil || errors.Is(err, errStreamClosed)) {
			if werr := w.send(w.batch); werr != nil {
				w.mu.Lock()
				w.fail(werr)
				w.mu.Unlock()
				w.abandon()
				return
			}
			continue
		}
		if err != nil {
			if errors.Is(err, errStreamClosed) {
				w.Stream.Close()
			} else {
				w.abandon()
			}
			return
		}
		w.wait()
	}
}

// abandon ends the connection with the stream. gossipsub forgets what a neighbour
// subscribed to when its own stream to it breaks, hears of it again only on a new
// stream from there, and after a few breaks opens none: on a new connection both
// begin anew.
func (w *writer) abandon() {
	w.Stream.Reset()
	w.Stream.Conn().Close()
}

// ripen puts what was held long enough into the box, also while there is always
// something to write.
func (w *writer) ripen() {
	select {
	case <-w.cool:
		w.cool = nil
	default:
	}
	select {
	case <-w.lazy:
		w.lagging = true
	default:
	}
	w.mature()
}

// mature promotes what is held unless it is still to gather, and reports that.
func (w *writer) mature() bool {
	if !w.lagging || w.cool != nil {
		return false
	}
	w.lagging, w.cool = false, w.post.clock.After(holdTime)
	w.promote()
	return true
}

// wait blocks until something waits to be written. The first of what is held joins
// the box at once; what comes within holdTime after it gathers.
func (w *writer) wait() {
	for {
		w.watch()
		select {
		case <-w.urgent:
			return
		case <-w.stuck:
			w.stuck = nil
			w.unstick()
		case <-w.lazy:
			w.lagging = true
		case <-w.cool:
			w.cool = nil
		}
		if w.mature() {
			return
		}
	}
}

// watch starts the time that a neighbour has to acknowledge something, where frames
// wait for that.
func (w *writer) watch() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stuck == nil && w.box.count > 0 {
		w.stuck, w.stuckAt = w.post.clock.After(ackTimeout), w.window.acked
	}
}

// unstick fails the writer where nothing was acknowledged since watch.
func (w *writer) unstick() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.box.count > 0 && w.window.acked == w.stuckAt {
		w.fail(errors.New("mesh: a neighbour acknowledges no gossip any more"))
	}
}

// Read implements network.Stream: the neighbour sends nothing but acknowledgements.
// gossipsub reads to learn when the stream ends, and gets no byte.
func (w *writer) Read([]byte) (int, error) {
	var b [ackSize]byte
	for {
		if _, err := io.ReadFull(w.Stream, b[:]); err != nil {
			return 0, err
		}
		w.mu.Lock()
		ok := w.window.ack(int(binary.BigEndian.Uint32(b[:])), w.post.clock.Now())
		w.mu.Unlock()
		if !ok {
			w.post.counts.malformed.Add(1)
			w.post.blame(w.peer, blameMalformed)
			return 0, errors.New("mesh: a neighbour acknowledges gossip that was not sent to it")
		}
		ring(w.urgent)
	}
}

// promote puts what is held into the box.
func (w *writer) promote() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unhold()
}

// unhold does that. w.mu is held.
func (w *writer) unhold() {
	held, limit := w.held, w.post.limit()
	w.held, w.heldBytes = nil, 0
	for _, p := range held {
		w.stow(p, limit) // where it fails, leave gives up all
	}
}

// gather puts what is to be written next into w.batch, at most about writeBatch
// bytes, and says how many RPCs that are and whether the stream has ended. What the
// neighbour has got meanwhile is left out.
func (w *writer) gather() (n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.batch = w.batch[:0]; w.box.count > 0 && w.batch == nil {
		w.batch = w.post.batch()
	}
	now := w.post.clock.Now()
	open := func(class uint8) bool {
		return w.err != nil || w.window.open(class, now) // after an error these are the last
	}
	for len(w.batch) < writeBatch {
		p := w.box.next(open)
		if p == nil {
			if w.box.count > 0 {
				w.window.refused(now)
			}
			break
		}
		w.post.weigh(-len(p.data))
		if w.known(p) {
			w.post.counts.suppressed.Add(1)
		} else {
			n++
			w.window.wrote(p.Class, len(p.data), now)
			w.batch = append(w.batch, p.data...)
		}
		w.post.recycle(p)
	}
	if n == 0 {
		// Hundreds of streams wait, each would keep what its busiest moment took.
		w.post.batched(w.batch)
		w.batch = nil
	}
	return n, w.err
}

// known reports whether the neighbour is known to have all of p.
func (w *writer) known(p *parcel) bool {
	if p.control {
		return false
	}
	for _, id := range p.ids {
		if !w.post.holds(id, w.peer) {
			return false
		}
	}
	return true
}

func (w *writer) send(data []byte) error {
	if err := w.Stream.SetWriteDeadline(deadline(frameTimeout)); err != nil {
		return err
	}
	pace := w.post.pace(w.peer)
	begun := w.post.clock.Now()
	_, err := w.Stream.Write(data)
	pace.moved(len(data), w.post.clock.Now().Sub(begun), w.queuedNow() > 0)
	return err
}

func (w *writer) queuedNow() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.box.bytes
}

// leave gives up what is left.
func (w *writer) leave() {
	w.mu.Lock()
	left := w.box.bytes + w.heldBytes
	lost := w.box.count+len(w.held) > 0 || w.window.underWay() > 0
	w.box, w.held, w.heldBytes = outbox{}, nil, 0
	w.mu.Unlock()
	w.post.weigh(-left)
	o := w.post
	o.mu.Lock()
	if o.writers[w.peer] == w {
		delete(o.writers, w.peer)
	}
	o.mu.Unlock()
	if lost {
		o.owe(w.peer)
	}
}
