package mesh

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
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
}

type namedConn struct {
	network.Conn
	peer peer.ID
}

func (c namedConn) RemotePeer() peer.ID { return c.peer }

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

// TestStatPassesBacklog: on a link that takes nothing for a while, a stat frame
// goes before all routine ones that waited, but for the batch under way.
func TestStatPassesBacklog(t *testing.T) {
	o := newTestPost(&testClock{}, func(peer.ID) {})
	s := &slowStream{conn: namedConn{peer: "p"}, writes: make(chan struct{}, 1000), closing: make(chan struct{})}
	w := o.out(s)
	say := func(frame string) {
		if _, err := w.Write(rpcBytes(t, publishing(frame))); err != nil {
			t.Fatal(err)
		}
	}
	const n = 200
	long := strings.Repeat("x", 1000)
	for i := range n {
		say(fmt.Sprintf("routine %3d %s", i, long))
	}
	say("stat")
	for range n + 1 {
		s.writes <- struct{}{}
	}
	poll(t, "all that was said", func() bool { return len(s.frames(t)) == n+1 })
	got := s.frames(t)
	at := slices.Index(got, "stat")
	if at < 0 || at > 2*writeBatch/1000 {
		t.Errorf("the stat frame came as number %d of %d", at, len(got))
	}
	if o.counts.stats().Dropped != [classes]uint64{} || o.queued("p") != 0 {
		t.Errorf("something was lost: %+v", o.counts.stats())
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	o.work.Wait()
}

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
	o.work.Wait()
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
	o.work.Wait()
	if got := s.frames(t); !slices.Equal(got, []string{"routine with a graft"}) {
		t.Errorf("%q was written", got)
	}
}
