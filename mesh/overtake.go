package mesh

import (
	"sync"
	"time"

	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"
)

// An urgent frame overtakes. gossipsub hands it on to the neighbours that are grafted in
// the urgent topic, and a neighbour that is grafted in the routine topic only would hear
// of it behind all that waits for it. So where routine frames wait for a neighbour, or
// a window of them is under way to it, it is sent the urgent one too. And what its author had said before
// is left to synchronisation, but for a little: entries can be read in their order only,
// so that in gossip the urgent one would be read last, while a pull brings headers first,
// then what is urgent.

// passing is the newest urgent frame of one author.
type passing struct {
	seq uint64
	at  time.Time
}

// passings remembers urgent frames of late. It holds the last two generations of at
// most maxPassings authors each. The zero value is empty.
type passings struct {
	mu       sync.Mutex
	now, old map[speaker]passing
}

// note remembers an urgent frame.
func (s *passings) note(l Label, at time.Time) {
	if l.Author == ([32]byte{}) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if before, ok := s.get(l.speaker(), at); ok && before.seq >= l.Seq {
		return
	}
	if len(s.now) >= maxPassings {
		s.old, s.now = s.now, nil
	}
	if s.now == nil {
		s.now = make(map[speaker]passing)
	}
	s.now[l.speaker()] = passing{l.Seq, at}
}

// over returns the place of the newest urgent frame of the author of l, where l was
// said before that.
func (s *passings) over(l Label, now time.Time) (seq uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.get(l.speaker(), now)
	return p.seq, ok && l.Seq < p.seq
}

// get returns what is remembered of an author. s.mu is held.
func (s *passings) get(by speaker, now time.Time) (passing, bool) {
	p, ok := s.now[by]
	if !ok {
		p, ok = s.old[by]
	}
	// Abs: a clock that was set back must not keep it for ever.
	return p, ok && now.Sub(p.at).Abs() < passingTime
}

// overtake is told of an urgent frame that we published or took from a neighbour.
func (o *post) overtake(from peer.ID, topic string, frame []byte, l Label) {
	if l.Class != ClassUrgent {
		return
	}
	o.passed.note(l, o.clock.Now())
	raw, err := proto.Marshal(&pb.RPC{Publish: []*pb.Message{{Topic: &topic, Data: frame}}})
	if err != nil {
		return // gossipsub met the same
	}
	p := scanRPC(prefixed(raw), o.label)
	o.mu.Lock()
	writers := make([]*writer, 0, len(o.writers))
	for _, w := range o.writers {
		writers = append(writers, w)
	}
	o.mu.Unlock()
	for _, w := range writers {
		if w.peer != from && !o.holds(p.ids[0], w.peer) {
			w.overtake(p)
		} else {
			w.overtake(&parcel{Label: l})
		}
	}
}

// overtake lets p pass over what waits for the neighbour: a parcel without data only
// makes way.
func (w *writer) overtake(p *parcel) {
	limit := w.post.limit()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return
	}
	w.passOver(p.Author)
	if len(p.data) == 0 || !w.late() || w.said.has(p.ids[0]) {
		return
	}
	w.said.add(p.ids[0])
	sent := *p
	sent.data = w.post.copyOf(p.data)
	w.post.weigh(len(sent.data))
	if w.stow(&sent, limit) == nil {
		ring(w.urgent)
	}
}

// late reports whether a frame would come late to the neighbour behind routine ones: more
// than a little waits, or a window of them is under way. Less is under way to nearly every
// neighbour of a busy mesh, and would have each urgent frame sent to all by everybody.
// w.mu is held.
func (w *writer) late() bool {
	waits := w.heldBytes
	if w.box.waits(ClassRoutine) {
		waits += w.box.bytes
	}
	return waits > passedOver || !w.window.open(ClassRoutine, w.post.clock.Now())
}

// left reports whether p is left to synchronisation, because an urgent frame that its
// author said later has passed over it, and counts what is written all the same. w.mu is
// held.
func (w *writer) left(p *parcel) bool {
	// What was asked for is a promise of ours, which gossipsub holds against us where we break it.
	if p.control || p.asked || p.Class <= ClassUrgent || p.Author == ([32]byte{}) {
		return false
	}
	seq, ok := w.post.passed.over(p.Label, w.post.clock.Now())
	if !ok {
		return false
	}
	k := w.passed[p.speaker()]
	if k.seq != seq {
		if len(w.passed) >= maxPassings || w.passed == nil {
			w.passed = make(map[speaker]passedBytes)
		}
		k = passedBytes{seq: seq}
	}
	if k.bytes+len(p.data) > passedOver {
		return true
	}
	k.bytes += len(p.data)
	w.passed[p.speaker()] = k
	return false
}

// passedBytes is how much was queued of what an author had said before an urgent frame,
// by its place.
type passedBytes struct {
	seq   uint64
	bytes int
}

// recent holds the last frames that were put into something.
type recent struct {
	ids  [recentKept]frameID
	next int
}

func (r *recent) add(id frameID) {
	r.ids[r.next] = id
	r.next = (r.next + 1) % len(r.ids)
}

func (r *recent) has(id frameID) bool {
	for i := range r.ids {
		if r.ids[i] == id {
			return true
		}
	}
	return false
}
