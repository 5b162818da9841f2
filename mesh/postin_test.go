package mesh

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// inbound is gossipsub, its streams from neighbours given to it by the test.
type inbound struct {
	post  *post
	serve network.StreamHandler // as the host calls it
	// before is called with each stream when gossipsub is about to take it.
	before func(network.Stream)
	end    func()

	mu     sync.Mutex
	blamed []string
}

// keeper is a host that keeps the handler of gossip streams for the test.
type keeper struct {
	host.Host
	in *inbound
}

func (k keeper) SetStreamHandler(id protocol.ID, handle network.StreamHandler) {
	if id == GossipProtocol {
		k.in.serve = handle
	}
}

// behind is the host that gossipsub sees.
type behind struct {
	gossipHost
	in *inbound
}

func (b behind) SetStreamHandler(id protocol.ID, handle network.StreamHandler) {
	b.gossipHost.SetStreamHandler(id, func(s network.Stream) {
		b.in.before(s)
		handle(s)
	})
}

func newInbound(t *testing.T) *inbound {
	t.Helper()
	in := &inbound{post: newTestPost(&testClock{}, func(peer.ID) {}), before: func(network.Stream) {}}
	in.post.blame = func(_ peer.ID, word string) {
		in.mu.Lock()
		defer in.mu.Unlock()
		in.blamed = append(in.blamed, word)
	}
	h, err := libp2p.New(libp2p.NoListenAddrs, libp2p.DisableMetrics())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	in.end, in.post.ended = cancel, ctx.Err
	if _, err := pubsub.NewGossipSub(ctx, behind{gossipHost{Host: keeper{h, in}, post: in.post}, in}, GossipOptions()...); err != nil {
		t.Fatal(err)
	}
	return in
}

// blames returns how often the neighbour was blamed.
func (in *inbound) blames(t *testing.T) int {
	t.Helper()
	in.mu.Lock()
	defer in.mu.Unlock()
	if n := in.post.counts.stats().Malformed; n != uint64(len(in.blamed)) {
		t.Errorf("%d streams are counted, %v blamed", n, in.blamed)
	}
	return len(in.blamed)
}

// cutStream brings some bytes and then an error, with the last of them or after it.
type cutStream struct {
	*slowStream
	bytes []byte
	with  bool
	err   error
}

func (s *cutStream) Protocol() protocol.ID { return GossipProtocol }
func (s *cutStream) Read(b []byte) (n int, err error) {
	n = copy(b, s.bytes)
	s.bytes = s.bytes[n:]
	if len(s.bytes) == 0 && (n == 0 || s.with) {
		err = s.err
	}
	return n, err
}

// noRPCs are complete, and not what gossipsub's RPC is.
func noRPCs() map[string][]byte {
	return map[string][]byte{
		"bytes":     {5, 0xff, 0xff, 0xff, 0xff, 0xff},
		"short":     {3, 0x12, 5, 'x'}, // a field that is longer than the RPC
		"long":      append(binary.AppendUvarint(nil, 3*readBuffer), bytes.Repeat([]byte{0xff}, 3*readBuffer)...),
		"too large": binary.AppendUvarint(nil, maxRPC+1),
		"no length": {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	}
}

// TestCutStreams: a stream that ends at any byte of an RPC, in whatever way, is no
// reason to blame anybody; one that brought all of what is no RPC is, also where the
// end came with its last byte.
func TestCutStreams(t *testing.T) {
	in := newInbound(t)
	ends := []error{io.EOF, io.ErrUnexpectedEOF, network.ErrReset, os.ErrDeadlineExceeded}
	cut := func(b []byte, with bool, err error) int {
		before := in.blames(t)
		s := &cutStream{slowStream: newSlowStream("p"), bytes: slices.Clone(b), with: with, err: err}
		in.serve(s)
		close(s.closing)
		return in.blames(t) - before
	}
	// The RPC has a length of two bytes, and one of a single byte comes first.
	whole := append(rpcBytes(t, publishing("routine")), rpcBytes(t, publishing("urgent", string(make([]byte, 200))))...)
	for _, end := range ends {
		for _, with := range []bool{false, true} {
			for n := range len(whole) + 1 {
				if cut(whole[:n], with, end) != 0 {
					t.Fatalf("blamed for a stream that ended after %d bytes of %d with %v", n, len(whole), end)
				}
			}
			for name, b := range noRPCs() {
				if got := cut(b, with, end); got != 1 {
					t.Errorf("blamed %d times for %s that ended with %v", got, name, end)
				}
			}
			// A byte less is not complete.
			if b := noRPCs()["bytes"]; cut(b[:len(b)-1], with, end) != 0 {
				t.Errorf("blamed for what was not received in full")
			}
		}
	}
	in.post.wait()
	if len(in.post.readers) != 0 {
		t.Error("streams that have ended are kept")
	}
}

// pipeStream is a stream that the test feeds.
type pipeStream struct {
	*slowStream
	r       *io.PipeReader
	w       *io.PipeWriter
	reading chan struct{} // closed when it is read first
	reset   chan struct{} // closed when it is reset
	read    sync.Once
	cut     sync.Once
}

func newPipeStream(p peer.ID) *pipeStream {
	s := &pipeStream{slowStream: newSlowStream(p), reading: make(chan struct{}), reset: make(chan struct{})}
	s.r, s.w = io.Pipe()
	return s
}

func (s *pipeStream) Protocol() protocol.ID { return GossipProtocol }
func (s *pipeStream) Read(b []byte) (int, error) {
	s.read.Do(func() { close(s.reading) })
	return s.r.Read(b)
}

func (s *pipeStream) Reset() error {
	s.cut.Do(func() {
		close(s.reset)
		close(s.closing)
	})
	return s.r.CloseWithError(network.ErrReset)
}

// TestCrossingStreams: of two streams of one neighbour that reach gossipsub in the
// other order than they came, the newer stays, and nobody is blamed for the older, also
// where that was in the middle of an RPC.
func TestCrossingStreams(t *testing.T) {
	in := newInbound(t)
	a, b, c := newPipeStream("p"), newPipeStream("p"), newPipeStream("p")
	atGate, gate := make(chan struct{}), make(chan struct{})
	in.before = func(s network.Stream) {
		if s.(*reader).Stream == network.Stream(a) {
			close(atGate)
			<-gate
		}
	}
	var served sync.WaitGroup
	served.Go(func() { in.serve(a) })
	<-atGate
	served.Go(func() { in.serve(b) })
	select {
	case <-a.reset: // b waits for it
	case <-b.reading:
		t.Error("gossipsub has two streams of one neighbour")
	}
	close(gate)
	<-b.reading
	rpc := rpcBytes(t, publishing("routine"))
	if _, err := b.w.Write(append(slices.Clone(rpc), rpc[:len(rpc)/2]...)); err != nil {
		t.Fatalf("the newer stream does not stay: %v", err)
	}
	// The third comes while the second is in the middle of an RPC.
	served.Go(func() { in.serve(c) })
	<-b.reset
	<-c.reading
	if _, err := c.w.Write(rpc); err != nil {
		t.Fatal(err)
	}
	if n := in.blames(t); n != 0 {
		t.Errorf("blamed %d times for streams that took each other's place", n)
	}
	if _, err := c.w.Write(noRPCs()["bytes"]); err != nil && !errors.Is(err, network.ErrReset) {
		t.Fatal(err)
	}
	served.Wait()
	if n := in.blames(t); n != 1 {
		t.Errorf("blamed %d times for what is no RPC", n)
	}
	// One on a connection that has ended takes nobody's place.
	d, late := newPipeStream("p"), newPipeStream("p")
	late.conn = namedConn{peer: "p", closed: make(chan struct{})}
	close(late.conn.(namedConn).closed)
	late.w.Close()
	served.Go(func() { in.serve(d) })
	<-d.reading
	in.serve(late)
	if _, err := d.w.Write(rpc); err != nil {
		t.Errorf("a stream gave way to one that had ended: %v", err)
	}
	d.w.Close()
	served.Wait()
	in.post.wait()
}

// TestStreamsAtTheEnd: gossipsub resets streams when it ends; nobody is to blame.
func TestStreamsAtTheEnd(t *testing.T) {
	in := newInbound(t)
	in.end()
	rpc := rpcBytes(t, publishing("routine"))
	for range 100 {
		s := &cutStream{slowStream: newSlowStream("p"), bytes: slices.Clone(rpc), err: io.EOF}
		in.serve(s)
		close(s.closing)
	}
	if n := in.blames(t); n != 0 {
		t.Errorf("blamed %d times", n)
	}
	in.post.wait()
}

// ackStream brings the bytes of acknowledgements and then ends.
type ackStream struct {
	*slowStream
	bytes io.Reader
}

func (s ackStream) Read(b []byte) (int, error) {
	n, err := s.bytes.Read(b)
	if err != nil {
		err = network.ErrReset
	}
	return n, err
}

// TestCutAcknowledgement: an acknowledgement that is cut is none, and no wrong one.
func TestCutAcknowledgement(t *testing.T) {
	for n := range ackSize {
		o := newTestPost(&testClock{}, func(peer.ID) {})
		o.blame = func(_ peer.ID, word string) { t.Errorf("blamed for %s after %d bytes", word, n) }
		// As a whole it would acknowledge what was not sent.
		r, w := io.Pipe()
		out := o.out(ackStream{newSlowStream("p"), r})
		end := listen(out)
		if _, err := w.Write([]byte{0xff, 0xff, 0xff, 0xff}[:n]); err != nil {
			t.Fatal(err)
		}
		w.Close()
		if err := <-end; err == nil {
			t.Error("a stream that has ended is read on")
		}
		out.Reset()
		o.wait()
	}
}
