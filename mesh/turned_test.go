package mesh

import (
	"slices"
	"testing"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// TestWrongTopicDoesNotPoison: a frame that comes in the wrong topic first is still
// taken in its own, and who brings it there is not blamed for the other.
func TestWrongTopicDoesNotPoison(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	quiet := func(cfg *Config) { classed(cfg); cfg.Unsafe.NoSync = true }
	victim := w.start(t, tcpCarrier, quiet)
	friend := w.start(t, tcpCarrier, func(cfg *Config) { quiet(cfg); cfg.Static = victim.Addrs(); hide(cfg) })
	poll(t, "both topics", func() bool {
		return len(friend.gossip.routine.ListPeers()) == 1 && len(friend.gossip.urgent.ListPeers()) == 1
	})
	d := w.member(t)
	v := attackerHost(t, intruder{card: func(testing.TB, *world) card { return card{} }}, w.card(d, d.ticket(t, time.Now(), time.Hour)), tcpCarrier, false)
	t.Cleanup(func() { v.Close() })
	again(t.Context(), v, victim.prey())
	s, err := v.NewStream(network.WithNoDial(t.Context(), "attack"), victim.ID(), GossipProtocol)
	if err != nil {
		t.Fatal(err)
	}
	frames := map[string]string{"urgent one": victim.gossip.names[0], "routine one": victim.gossip.names[1]}
	rpc := new(pb.RPC)
	for frame, wrong := range frames {
		rpc.Publish = append(rpc.Publish, &pb.Message{Topic: new(wrong), Data: []byte(frame)})
	}
	if _, err := s.Write(mustRPC(rpc)); err != nil {
		t.Fatal(err)
	}
	poll(t, "two rejections", func() bool { return victim.Stats().Blamed[blameTopic] == 2 })
	for frame := range frames {
		friend.say(t, frame)
		victim.store.awaitFrame(t, frame)
	}
	before := victim.gossip.scores.Load()
	poll(t, "the next scores", func() bool { return victim.gossip.scores.Load() != before })
	if got := victim.gossip.score(friend.ID()); got < 0 {
		t.Errorf("who handed them on as they should be has a score of %v", got)
	}
	if s := victim.Stats(); s.Rejected != 2 || s.Accepted != 2 {
		t.Errorf("%d accepted, %d rejected", s.Accepted, s.Rejected)
	}
}

// TestTurnedAway: a frame that was turned away for its sender's budget is pulled from
// the others who send it as well, in either topic.
func TestTurnedAway(t *testing.T) {
	for topic, id := range map[string]func(*pb.Message) string{"routine": messageID, "urgent": urgentID} {
		var lacked []peer.ID
		g := &gossip{
			counts: newCounters(), holders: newHolders("self"), names: [2]string{"routine", "urgent"},
			lack: func(p peer.ID) { lacked = append(lacked, p) },
		}
		tr := &gossipTracer{g: g}
		message := func(from peer.ID, frame string) *pubsub.Message {
			m := &pb.Message{Topic: &topic, Data: []byte(frame)}
			return &pubsub.Message{Message: m, ReceivedFrom: from, ID: id(m)}
		}
		tr.ValidateMessage(message("flood", "turned away"))
		tr.DuplicateMessage(message("early", "turned away"))
		g.turnAway(message("flood", "turned away"))
		tr.ValidateMessage(message("other", "taken"))
		for _, p := range []peer.ID{"b", "c", "d", "e", "f", "g"} {
			tr.DuplicateMessage(message(p, "taken"))
			tr.DuplicateMessage(message(p, "turned away"))
		}
		if want := []peer.ID{"flood", "early", "b", "c", "d"}; !slices.Equal(lacked, want) {
			t.Errorf("%s: pulled from %v, want %v", topic, lacked, want)
		}
	}
	var u turned
	for i := range 5 * turnedKept {
		u.note(frameID{byte(i), byte(i >> 8)})
	}
	if len(u.now)+len(u.old) > 2*turnedKept {
		t.Errorf("%d frames are remembered", len(u.now)+len(u.old))
	}
}

// TestUrgentReserve: a neighbour that hands on a flood of routine frames is still
// heard for urgent ones: neither what waits nor what it may have verified is used up.
func TestUrgentReserve(t *testing.T) {
	c := &stillClock{now: time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)}
	b := newBudgets(c)
	routine, urgent := Label{Class: ClassRoutine}, Label{Class: ClassUrgent}
	for range maxRoutineOfOne {
		if over := b.enter("p", routine); over != "" {
			t.Fatal(over)
		}
	}
	if over := b.enter("p", routine); over != budgetWaiting {
		t.Errorf("too many routine frames wait, and it is over %q", over)
	}
	for range maxVerifying - maxRoutineOfOne {
		if over := b.enter("p", urgent); over != "" {
			t.Fatalf("urgent frames wait for routine ones: %q", over)
		}
	}
	for range maxRoutineOfOne {
		b.leave("p", routine, Ignore)
	}
	for b.enter("p", routine) == "" {
		b.leave("p", routine, Ignore)
	}
	if over := b.enter("p", routine); over != budgetFrames {
		t.Errorf("too many routine frames, and it is over %q", over)
	}
	if over := b.enter("p", urgent); over != "" {
		t.Errorf("an urgent frame is turned away for routine ones: %q", over)
	}
}
