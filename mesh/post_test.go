package mesh

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// slowStream is a gossip stream whose writes wait for the test.
type slowStream struct {
	network.Stream
	conn    network.Conn
	writes  chan struct{} // one value lets one write through
	closing chan struct{}

	mu    sync.Mutex
	wrote []byte
	acks  chan uint32 // what the neighbour acknowledges; nil = nothing ever
}

type namedConn struct {
	network.Conn
	peer   peer.ID
	closed chan struct{} // nil, or closed with it
}

func (c namedConn) RemotePeer() peer.ID { return c.peer }
func (c namedConn) Close() error        { return nil }
func (c namedConn) IsClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

func (s *slowStream) Conn() network.Conn               { return s.conn }
func (s *slowStream) SetWriteDeadline(time.Time) error { return nil }
func (s *slowStream) Close() error                     { return nil }
func (s *slowStream) Reset() error                     { return nil }
func (s *slowStream) Write(b []byte) (int, error) {
	select {
	case <-s.writes:
	case <-s.closing:
		return 0, network.ErrReset
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrote = append(s.wrote, b...)
	return len(b), nil
}

// Read implements network.Stream: the next acknowledgement.
func (s *slowStream) Read(b []byte) (int, error) {
	select {
	case n := <-s.acks:
		return copy(b, binary.BigEndian.AppendUint32(nil, n)), nil
	case <-s.closing:
		return 0, network.ErrReset
	}
}

func (s *slowStream) written() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.wrote)
}

// newSlowStream is one to a neighbour that takes everything and acknowledges what
// the test says.
func newSlowStream(p peer.ID) *slowStream {
	s := &slowStream{
		conn: namedConn{peer: p}, writes: make(chan struct{}, 10_000), closing: make(chan struct{}),
		acks: make(chan uint32),
	}
	for range cap(s.writes) {
		s.writes <- struct{}{}
	}
	return s
}

// drain acknowledges all that is written until n bytes were.
func (s *slowStream) drain(t *testing.T, n int) {
	t.Helper()
	for acked := 0; acked < n; {
		poll(t, "more is written", func() bool { return s.written() > acked })
		w := s.written()
		s.acks <- uint32(w - acked)
		acked = w
	}
}

// say writes frames to w, each an RPC, and returns how many bytes that are.
func say(t *testing.T, w network.Stream, frames ...string) (n int) {
	t.Helper()
	for _, f := range frames {
		k, err := w.Write(rpcBytes(t, publishing(f)))
		if err != nil {
			t.Fatal(err)
		}
		n += k
	}
	return n
}

// listen reads acknowledgements as gossipsub does, and returns how that ended.
func listen(w network.Stream) <-chan error {
	end := make(chan error, 1)
	go func() {
		_, err := w.Read(make([]byte, 1))
		end <- err
	}()
	return end
}

// frames returns the frames that were written, in order.
func (s *slowStream) frames(t *testing.T) (out []string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for b := s.wrote; len(b) > 0; {
		n, used := binary.Uvarint(b)
		var rpc pb.RPC
		if err := proto.Unmarshal(b[used:used+int(n)], &rpc); err != nil {
			t.Fatal(err)
		}
		for _, m := range rpc.Publish {
			out = append(out, string(m.Data))
		}
		b = b[used+int(n):]
	}
	return out
}

// newTestPost is a post with nothing around it; owed gets who may have missed
// something.
func newTestPost(clock Clock, owed func(peer.ID)) *post {
	o := newPost(clock, newCounters())
	o.label = byFirstLetter
	o.holds = func(frameID, peer.ID) bool { return false }
	o.own = func(frameID) bool { return true }
	o.spare = func(peer.ID, Label, bool) bool { return false }
	o.owe = owed
	o.pace = func(peer.ID) *pace { return new(pace) }
	return o
}

// TestStatPassesBacklog: on a link that takes everything into its buffers and
// carries nothing for a while, a stat frame goes before all routine ones that waited,
// but for one window.
func TestStatPassesBacklog(t *testing.T) {
	o := newTestPost(&testClock{}, func(peer.ID) {})
	s := newSlowStream("p")
	w := o.out(s)
	end := listen(w)
	const n = 300
	long, bytes := strings.Repeat("x", 1000), 0
	for i := range n {
		bytes += say(t, w, fmt.Sprintf("routine %3d %s", i, long))
	}
	poll(t, "a full window", func() bool { return s.written() >= windowMin })
	bytes += say(t, w, "stat")
	poll(t, "the stat frame", func() bool { return slices.Contains(s.frames(t), "stat") })
	if got := len(s.frames(t)); got > windowMin/1000+2 {
		t.Errorf("the stat frame came as number %d", got)
	}
	s.drain(t, bytes)
	if len(s.frames(t)) != n+1 || o.counts.stats().Dropped != [classes]uint64{} || o.queued("p") != 0 {
		t.Errorf("something was lost: %+v", o.counts.stats())
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	close(s.closing)
	<-end
	o.wait()
}

// TestAuthorPassesOver: an urgent frame of an author takes the place of the
// backlog of the same author, which synchronisation brings, and of nobody else's.
func TestAuthorPassesOver(t *testing.T) {
	var mu sync.Mutex
	owed := 0
	o := newTestPost(&testClock{}, func(peer.ID) { mu.Lock(); owed++; mu.Unlock() })
	o.label = func(frame []byte) Label {
		l := byFirstLetter(frame)
		l.Author[0] = frame[len(frame)-1]
		return l
	}
	s := newSlowStream("p")
	w := o.out(s)
	end := listen(w)
	long := strings.Repeat("x", 1000)
	for range 50 {
		say(t, w, "routine "+long+"A", "routine "+long+"B")
	}
	say(t, w, "routine C")
	poll(t, "a full window", func() bool { return s.written() >= windowMin })
	before := o.queued("p")
	say(t, w, "urgent C")
	if st := o.counts.stats(); st.Dropped != [classes]uint64{} {
		t.Errorf("a short backlog was dropped: %v", st.Dropped)
	}
	poll(t, "the urgent frame", func() bool { return slices.Contains(s.frames(t), "urgent C") })
	say(t, w, "urgent A")
	poll(t, "the urgent frame", func() bool { return slices.Contains(s.frames(t), "urgent A") })
	st := o.counts.stats()
	mu.Lock()
	if d := st.Dropped[ClassRoutine]; d < 30 || d > 50 || uint64(owed) != d {
		t.Errorf("dropped %v, owed %d", st.Dropped, owed)
	}
	mu.Unlock()
	left := o.queued("p")
	if left > before*6/10 || left < before*4/10 {
		t.Errorf("%d bytes of %d are left", left, before)
	}
	s.drain(t, s.written()+left)
	n := [3]int{}
	for _, f := range s.frames(t) {
		n[f[len(f)-1]-'A']++
	}
	if n[1] != 50 || n[2] != 2 || uint64(n[0])+st.Dropped[ClassRoutine] != 51 {
		t.Errorf("%v were written, %v dropped", n, st.Dropped)
	}
	close(s.closing)
	<-end
	w.Close()
	o.wait()
}

// TestAcknowledgements: who acknowledges what it was not sent is blamed and its
// stream given up; what was under way then is owed.
func TestAcknowledgements(t *testing.T) {
	for _, n := range []uint32{0, 1 << 20, 1<<32 - 1} {
		owed, blamed := make(chan peer.ID, 1), make(chan string, 1)
		o := newTestPost(&testClock{}, func(p peer.ID) { owed <- p })
		o.blame = func(_ peer.ID, word string) { blamed <- word }
		s := newSlowStream("p")
		w := o.out(s)
		end := listen(w)
		say(t, w, "routine")
		poll(t, "the frame", func() bool { return len(s.frames(t)) == 1 })
		s.acks <- n
		if err := <-end; err == nil {
			t.Errorf("%d bytes were acknowledged", n)
		}
		if word := <-blamed; word != blameMalformed {
			t.Errorf("blamed for %q", word)
		}
		if err := w.Reset(); err != nil && !errors.Is(err, network.ErrReset) {
			t.Error(err)
		}
		o.wait()
		if len(owed) != 1 {
			t.Error("what was under way is not owed")
		}
	}
}

// TestNoAcknowledgement: a neighbour that acknowledges nothing for ackTimeout
// while frames wait has its stream given up; one for which nothing waits has not.
func TestNoAcknowledgement(t *testing.T) {
	clock := &pulledClock{timers: make(chan chan time.Time, 10)}
	o := newTestPost(clock, func(peer.ID) {})
	s := newSlowStream("p")
	closed := make(chan struct{})
	s.conn = namedConn{peer: "p", closed: closed}
	w := o.out(s)
	say(t, w, "urgent")
	poll(t, "the frame", func() bool { return len(s.frames(t)) == 1 })
	if len(clock.timers) > 0 {
		t.Error("nothing waits, and a timer runs")
	}
	long := strings.Repeat("x", 1000)
	for range 20 {
		say(t, w, "routine "+long)
	}
	timer := <-clock.timers
	timer <- time.Now()
	o.wait()
	if _, err := w.Write(rpcBytes(t, publishing("more"))); err == nil {
		t.Error("a stream that was given up takes more")
	}
	close(s.closing)
}

// pulledClock gives its timers to the test.
type pulledClock struct {
	testClock
	timers chan chan time.Time
}

func (c *pulledClock) After(time.Duration) <-chan time.Time {
	t := make(chan time.Time, 1)
	c.timers <- t
	return t
}

// TestReaderAcknowledges: what was read is acknowledged in all, but for less than
// ackEvery bytes, and a way back that takes nothing does not hold up reading.
func TestReaderAcknowledges(t *testing.T) {
	const total = 10*ackEvery + 100
	o := newTestPost(&testClock{}, func(peer.ID) {})
	s := newSlowStream("p")
	for len(s.writes) > 0 {
		<-s.writes
	}
	r, _ := o.in(readStream{s, strings.NewReader(strings.Repeat("x", total))})
	got, err := io.ReadAll(r)
	if err != nil || len(got) != total {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	close(s.closing)
	o.wait()

	s = newSlowStream("p")
	pipe, feed := io.Pipe()
	r, _ = newTestPost(&testClock{}, func(peer.ID) {}).in(readStream{s, pipe})
	go io.Copy(io.Discard, r)
	if _, err := feed.Write(make([]byte, total)); err != nil {
		t.Fatal(err)
	}
	poll(t, "the acknowledgements", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		sum := 0
		for b := s.wrote; len(b) > 0; b = b[ackSize:] {
			sum += int(binary.BigEndian.Uint32(b))
		}
		return sum > total-ackEvery && sum <= total
	})
	feed.Close()
	r.post.wait()
}

// readStream is a slowStream that brings something.
type readStream struct {
	*slowStream
	r io.Reader
}

func (s readStream) Read(b []byte) (int, error) { return s.r.Read(b) }

// TestSlowReader: who does not read costs a bounded amount, loses routine frames
// first, and is owed a pull; frames for others are not held up.
func TestSlowReader(t *testing.T) {
	var mu sync.Mutex
	owed := 0
	o := newTestPost(&testClock{}, func(peer.ID) { mu.Lock(); owed++; mu.Unlock() })
	s := &slowStream{conn: namedConn{peer: "slow"}, writes: make(chan struct{}), closing: make(chan struct{})}
	w := o.out(s)
	long := strings.Repeat("x", 10_000)
	for i := range 500 {
		for _, kind := range []string{"routine", "urgent"} {
			if i >= 50 && kind == "urgent" {
				continue
			}
			if _, err := w.Write(rpcBytes(t, publishing(fmt.Sprint(kind, i, long)))); err != nil {
				t.Fatal(err)
			}
		}
	}
	st := o.counts.stats()
	if q := o.queued("slow"); q > maxOutbox || q < maxOutbox/2 {
		t.Errorf("%d bytes wait", q)
	}
	mu.Lock()
	if st.Dropped[ClassRoutine] == 0 || st.Dropped[ClassUrgent] != 0 || uint64(owed) != st.Dropped[ClassRoutine] {
		t.Errorf("dropped %v, owed %d", st.Dropped, owed)
	}
	mu.Unlock()
	close(s.closing)
	o.wait()
	if _, err := w.Write(rpcBytes(t, publishing("more"))); err == nil {
		t.Error("a broken stream takes more")
	}
	if o.waiting != 0 {
		t.Errorf("%d bytes are still counted", o.waiting)
	}
}

// TestHeldIsSuppressed: a routine frame that is handed on is not written to who
// turns out to have it; our own frames and urgent ones are.
func TestHeldIsSuppressed(t *testing.T) {
	o := newTestPost(&testClock{}, func(peer.ID) {})
	o.own = func(frameID) bool { return false }
	o.holds = func(frameID, peer.ID) bool { return true }
	s := &slowStream{conn: namedConn{peer: "p"}, writes: make(chan struct{}, 100), closing: make(chan struct{})}
	for range 100 {
		s.writes <- struct{}{}
	}
	w := o.out(s)
	grafting := publishing("routine with a graft")
	grafting.Control = &pb.ControlMessage{Graft: []*pb.ControlGraft{{}}}
	for _, raw := range [][]byte{rpcBytes(t, publishing("routine")), rpcBytes(t, publishing("urgent")), rpcBytes(t, grafting)} {
		if _, err := w.Write(raw); err != nil {
			t.Fatal(err)
		}
	}
	poll(t, "the graft", func() bool { return len(s.frames(t)) == 1 })
	poll(t, "suppression", func() bool { return o.counts.stats().Suppressed == 2 })
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	o.wait()
	if got := s.frames(t); !slices.Equal(got, []string{"routine with a graft"}) {
		t.Errorf("%q was written", got)
	}
}

// TestHeldIsBounded: routine frames that are handed on gather within the bound of the
// outbox, and go in their turn while there is always something else to write.
func TestHeldIsBounded(t *testing.T) {
	o := newTestPost(&testClock{}, func(peer.ID) {})
	o.own = func(frameID) bool { return false }
	s := newSlowStream("p")
	for len(s.writes) > 0 {
		<-s.writes
	}
	w := o.out(s)
	end := listen(w)
	long := strings.Repeat("x", 10_000)
	for i := range 300 {
		say(t, w, fmt.Sprint("routine", i, long))
	}
	if q := o.queued("p"); q > maxOutbox || q < maxOutbox/2 {
		t.Errorf("%d bytes wait", q)
	}
	if o.counts.stats().Dropped[ClassRoutine] == 0 {
		t.Error("nothing was dropped")
	}
	close(s.closing)
	<-end
	w.Reset()
	o.wait()
	if o.waiting != 0 {
		t.Errorf("%d bytes are still counted", o.waiting)
	}

	// A writer that is never idle: what is held ripens all the same.
	clock := &pulledClock{timers: make(chan chan time.Time, 10)}
	v := &writer{
		post: newTestPost(clock, func(peer.ID) {}), peer: "p", window: newWindow(),
		urgent: make(chan struct{}, 1), lazy: make(chan struct{}, 1),
	}
	v.post.own = o.own
	for _, frame := range []string{"routine 1", "routine 2"} {
		say(t, v, frame)
		if v.ripen(); frame == "routine 2" {
			if v.box.len() != 1 {
				t.Errorf("%d parcels joined before their time", v.box.len())
			}
			timer := <-clock.timers
			timer <- time.Now()
			v.ripen()
		}
	}
	if v.box.len() != 2 {
		t.Errorf("%d parcels joined", v.box.len())
	}
}

// TestAnswersAreTakenApart: the answer to an IWANT goes frame by frame, each in its
// class, and none of it is spared or held.
func TestAnswersAreTakenApart(t *testing.T) {
	answer := publishing("routine 1", "stat", "routine 2")
	answer.Control = &pb.ControlMessage{}
	single := publishing("routine 3")
	single.Control = &pb.ControlMessage{}
	mixed := publishing("routine 4", "routine 5")
	mixed.Control = &pb.ControlMessage{Prune: []*pb.ControlPrune{{}}}
	if n := len(splitRPC(rpcBytes(t, answer))); n != 3 {
		t.Errorf("%d parts", n)
	}
	if splitRPC(rpcBytes(t, single)) != nil || splitRPC([]byte{3, 0xff, 0xff, 0xff}) != nil || splitRPC(nil) != nil {
		t.Error("what is one thing is taken apart")
	}
	o := newTestPost(&testClock{}, func(peer.ID) {})
	o.spare = func(peer.ID, Label, bool) bool { return true }
	w := &writer{post: o, peer: "p", window: newWindow(), urgent: make(chan struct{}, 1), lazy: make(chan struct{}, 1)}
	for _, rpc := range [][]byte{rpcBytes(t, answer), rpcBytes(t, single), rpcBytes(t, mixed)} {
		if n, err := w.Write(rpc); n != len(rpc) || err != nil {
			t.Fatal(n, err)
		}
	}
	var got []uint8
	control := 0
	for p := w.box.next(anyClass); p != nil; p = w.box.next(anyClass) {
		got = append(got, p.Class)
		if p.control {
			control++
		}
	}
	slices.Sort(got)
	want := []uint8{ClassControl, ClassUrgent, ClassRoutine, ClassRoutine, ClassRoutine, ClassRoutine, ClassRoutine}
	if !slices.Equal(got, want) || control != 1 || len(w.held) != 0 || o.counts.stats().Spared != 0 {
		t.Errorf("classes %v, %d of control, %d held, %d spared", got, control, len(w.held), o.counts.stats().Spared)
	}
}

// TestPadding: a message with fields that there are not is not handed on, and its
// bytes are charged.
func TestPadding(t *testing.T) {
	plain, stuffed := publishing("routine"), publishing("routine")
	pad := protowire.AppendBytes(protowire.AppendTag(nil, 99, protowire.BytesType), make([]byte, 1000))
	stuffed.Publish[0].ProtoReflect().SetUnknown(pad)
	if padded(plain) || !padded(stuffed) {
		t.Error("padding is not seen")
	}
	if a, b := usage(plain)[useBytes], usage(stuffed)[useBytes]; b < a+1000 {
		t.Errorf("%v bytes are charged, %v without padding", b, a)
	}
	g := &gossip{counts: newCounters(), budgets: newBudgets(&testClock{})}
	var blamed []string
	g.blame = func(_ peer.ID, word string) { blamed = append(blamed, word) }
	if err := g.inspectRPC("p", plain); err != nil {
		t.Error(err)
	}
	if err := g.inspectRPC("p", stuffed); !errors.Is(err, errPadded) || !slices.Equal(blamed, []string{blameMalformed}) {
		t.Errorf("%v, blamed for %v", err, blamed)
	}
}
