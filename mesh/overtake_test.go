package mesh

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/peer"
)

// byAuthorAndPlace labels frames like "routine A 12": the class by the first letter,
// then who wrote it and its place.
func byAuthorAndPlace(frame []byte) Label {
	l := byFirstLetter(frame)
	var word, author string
	fmt.Sscan(string(frame), &word, &author, &l.Seq)
	copy(l.Author[:], author)
	return l
}

// overtaking is a post to p, with what it owes counted.
type overtaking struct {
	*post
	w    *writer
	s    *slowStream
	end  <-chan error
	mu   sync.Mutex
	owed int
}

func newOvertaking(t *testing.T, clock Clock) *overtaking {
	x := &overtaking{}
	x.post = newTestPost(clock, func(peer.ID) { x.mu.Lock(); x.owed++; x.mu.Unlock() })
	x.label = byAuthorAndPlace
	x.s = newSlowStream("p")
	x.w = x.out(x.s).(*writer)
	x.end = listen(x.w)
	t.Cleanup(func() {
		close(x.s.closing)
		<-x.end
		x.w.Close()
		x.wait()
	})
	return x
}

func (x *overtaking) said(frame string) {
	x.overtake("another", "urgent topic", []byte(frame), x.label([]byte(frame)))
}

// TestOvertake: an urgent frame that gossipsub sends to others goes to a neighbour as
// well for which routine frames wait, before them, once; and to nobody else.
func TestOvertake(t *testing.T) {
	x := newOvertaking(t, &testClock{})
	x.said("urgent A 1")
	if n := x.queued("p"); n != 0 || x.s.written() != 0 {
		t.Errorf("%d bytes wait and %d were written for a neighbour for which nothing waited", n, x.s.written())
	}
	say(t, x.w, "routine B 100")
	poll(t, "the first", func() bool { return x.s.written() > 0 })
	x.said("urgent A 1") // behind next to nothing
	long := strings.Repeat("x", 1000)
	bytes := 0
	for i := range 30 {
		bytes += say(t, x.w, fmt.Sprintf("routine B %d %s", i, long))
	}
	poll(t, "a full window", func() bool { return x.s.written() >= windowMin })
	x.said("urgent A 2")
	bytes += say(t, x.w, "urgent A 3")
	x.said("urgent A 3")
	poll(t, "the second", func() bool { return slices.Contains(x.s.frames(t), "urgent A 3") })
	x.said("urgent A 2")
	say(t, x.w, "urgent A 2") // gossipsub's own copy
	x.holds = func(id frameID, p peer.ID) bool { return id == sha256.Sum256([]byte("urgent A 4")) && p == "p" }
	x.said("urgent A 4")
	x.overtake("p", "urgent topic", []byte("urgent A 5"), x.label([]byte("urgent A 5")))
	x.s.drain(t, x.s.written()+x.queued("p"))
	frames := x.s.frames(t)
	urgent := slices.DeleteFunc(slices.Clone(frames), func(f string) bool { return f[0] != 'u' })
	if !slices.Equal(urgent, []string{"urgent A 2", "urgent A 3"}) {
		t.Errorf("urgent frames written: %q", urgent)
	}
	if at := slices.Index(frames, "urgent A 2"); at > windowMin/1000+2 {
		t.Errorf("the urgent frame came as number %d", at)
	}
	if len(frames) != 33 || x.counts.stats().Dropped != [classes]uint64{} {
		t.Errorf("%d frames, dropped %v", len(frames), x.counts.stats().Dropped)
	}
}

// TestBacklogIsLeft: once an urgent frame of an author is known, little of what the
// author had said before it is written to a neighbour, whether it waits or is handed
// on; the neighbour is nudged. What was said later, or by others, goes.
func TestBacklogIsLeft(t *testing.T) {
	clock := &testClock{}
	x := newOvertaking(t, clock)
	long := strings.Repeat("x", 1000)
	x.said("urgent A 100")
	for i := range 50 {
		say(t, x.w, fmt.Sprintf("routine A %d %s", i, long), fmt.Sprintf("routine B %d %s", i, long))
	}
	for i := range 20 {
		say(t, x.w, fmt.Sprintf("routine A %d later", 101+i))
	}
	left := x.counts.stats().Dropped[ClassRoutine]
	if most := uint64(50 - passedOver/1000); left < most || left > most+2 {
		t.Errorf("%d frames were left to synchronisation", left)
	}
	clock.offset.Store(int64(2 * passingTime))
	for i := range 20 {
		say(t, x.w, fmt.Sprintf("routine A %d %s", i, long)) // long after
	}
	x.s.drain(t, x.s.written()+x.queued("p"))
	n := map[string]int{}
	for _, f := range x.s.frames(t) {
		var class, author string
		var seq int
		fmt.Sscan(f, &class, &author, &seq)
		if author == "A" && seq > 100 {
			author = "A later"
		}
		n[author]++
	}
	if n["B"] != 50 || n["A later"] != 20 || n["A"] != 50-int(left)+20 {
		t.Errorf("written: %v; left to synchronisation: %d", n, left)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if uint64(x.owed) != left {
		t.Errorf("owed %d times, left %d", x.owed, left)
	}
}

// TestPromisesAreKept: what a neighbour asked for goes to it whatever passes over, when it
// waits and when it comes; for gossipsub there counts each answer that does not come.
func TestPromisesAreKept(t *testing.T) {
	x := newOvertaking(t, &testClock{})
	long := strings.Repeat("x", 1000)
	answer := func(from int) {
		rpc := publishing()
		for i := range 20 {
			rpc.Publish = append(rpc.Publish, publishing(fmt.Sprintf("routine A %d %s", from+i, long)).Publish...)
		}
		rpc.Control = &pb.ControlMessage{}
		if _, err := x.w.Write(rpcBytes(t, rpc)); err != nil {
			t.Fatal(err)
		}
	}
	answer(1)
	poll(t, "a full window", func() bool { return x.s.written() >= windowMin })
	x.said("urgent A 100")
	answer(21)
	x.s.drain(t, x.s.written()+x.queued("p"))
	frames := x.s.frames(t)
	routine := slices.DeleteFunc(slices.Clone(frames), func(f string) bool { return f[0] != 'r' })
	if len(routine) != 40 || len(frames) != 41 {
		t.Errorf("%d of 40 frames that were asked for were written", len(routine))
	}
}

// TestPassings: the newest urgent frame of an author counts, for a while, and the memory
// is bounded.
func TestPassings(t *testing.T) {
	var s passings
	at := time.Unix(1000, 0)
	author := func(i int) (a [32]byte) { a[0], a[1], a[2] = 1, byte(i>>8), byte(i); return a }
	s.note(Label{Author: author(1), Seq: 10}, at)
	s.note(Label{Author: author(1), Seq: 7}, at)
	for seq, want := range map[uint64]bool{9: true, 10: false, 11: false} {
		if _, ok := s.over(Label{Author: author(1), Seq: seq}, at); ok != want {
			t.Errorf("place %d: %v", seq, ok)
		}
	}
	if _, ok := s.over(Label{Author: author(1), Seq: 1, Life: 1}, at); ok {
		t.Error("what an author says in a new life counts as said before what it said in the last")
	}
	s.note(Label{Author: author(1), Seq: 2, Life: 1}, at)
	if seq, ok := s.over(Label{Author: author(1), Seq: 1, Life: 1}, at); !ok || seq != 2 {
		t.Errorf("an urgent frame of a new life: %d %v", seq, ok)
	}
	for _, d := range []time.Duration{passingTime, -passingTime} {
		if _, ok := s.over(Label{Author: author(1), Seq: 1}, at.Add(d)); ok {
			t.Errorf("it is still remembered %v later", d)
		}
	}
	s.note(Label{Seq: 10}, at)
	if _, ok := s.over(Label{Seq: 1}, at); ok {
		t.Error("nobody's frames are passed over")
	}
	for i := range 5 * maxPassings {
		s.note(Label{Author: author(2 + i), Seq: 10}, at)
	}
	if n := len(s.now) + len(s.old); n > 2*maxPassings {
		t.Errorf("%d authors are remembered", n)
	}
}
