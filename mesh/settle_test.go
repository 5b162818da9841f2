package mesh

import (
	"slices"
	"testing"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/peer"
)

// announcing is an RPC that announces two frames in each topic.
func announcing(topics ...string) *pubsub.RPC {
	var have []*pb.ControlIHave
	for _, topic := range topics {
		have = append(have, &pb.ControlIHave{TopicID: &topic, MessageIDs: []string{"one", "two"}})
	}
	return &pubsub.RPC{RPC: pb.RPC{Control: &pb.ControlMessage{Ihave: have}}}
}

// momentClock shows the moment that a test sets.
type momentClock struct {
	Clock
	at time.Time
}

func (c *momentClock) Now() time.Time { return c.at }

// TestAnnouncedAtMeeting: what a neighbour announces of routine frames just after it was met
// is left to synchronisation, which is told; what is urgent is not, nor what others announce.
func TestAnnouncedAtMeeting(t *testing.T) {
	clock := &momentClock{at: time.Unix(1_700_000_000, 0)}
	var lacked []peer.ID
	g := &gossip{
		counts: newCounters(), budgets: newBudgets(clock), clock: clock, names: [2]string{"routine", "urgent"},
		met: make(map[peer.ID]time.Time), members: make(map[peer.ID]bool), unsettled: make(map[peer.ID]*unsettledPeer),
		holders: newHolders("self"),
		lack:    func(p peer.ID) { lacked = append(lacked, p) },
	}
	topics := func(from peer.ID) (left []string) {
		rpc := announcing("routine", "urgent", "routine")
		if err := g.inspectRPC(from, rpc); err != nil {
			t.Fatal(err)
		}
		for _, h := range rpc.GetControl().GetIhave() {
			left = append(left, h.GetTopicID())
		}
		return left
	}
	all := []string{"routine", "urgent", "routine"}
	g.peer("old", true)
	clock.at = clock.at.Add(announceWait)
	g.peer("new", true)
	if left := topics("new"); !slices.Equal(left, []string{"urgent"}) || !slices.Equal(lacked, []peer.ID{"new"}) {
		t.Errorf("just after meeting %v is asked for, and %v are pulled from", left, lacked)
	}
	lacked = nil
	if left := topics("old"); !slices.Equal(left, all) || len(lacked) > 0 {
		t.Errorf("of an old neighbour %v is asked for, and %v are pulled from", left, lacked)
	}
	clock.at = clock.at.Add(announceWait)
	if left := topics("new"); !slices.Equal(left, all) || len(lacked) > 0 {
		t.Errorf("later %v is asked for, and %v are pulled from", left, lacked)
	}
	// What has come otherwise is not missed; "one" and "two" are no ids, and so never have.
	g.peer("new", false)
	g.peer("new", true)
	seen, fresh := frameID{1}, frameID{2}
	g.holders.note(seen, "old")
	routine := "routine"
	for id, missed := range map[frameID]bool{seen: false, fresh: true} {
		lacked = nil
		rpc := &pubsub.RPC{RPC: pb.RPC{Control: &pb.ControlMessage{Ihave: []*pb.ControlIHave{{TopicID: &routine, MessageIDs: []string{string(seen[:]), string(id[:])}}}}}}
		if err := g.inspectRPC("new", rpc); err != nil || len(rpc.GetControl().GetIhave()) > 0 || (len(lacked) > 0) != missed {
			t.Errorf("%v: %v is asked for, %v pulled from", err, rpc.GetControl().GetIhave(), lacked)
		}
	}
	lacked = nil
	g.turned.note(seen) // it came, and was turned away
	again := &pubsub.RPC{RPC: pb.RPC{Control: &pb.ControlMessage{Ihave: []*pb.ControlIHave{{TopicID: &routine, MessageIDs: []string{string(seen[:])}}}}}}
	if err := g.inspectRPC("new", again); err != nil || len(lacked) == 0 {
		t.Errorf("%v: what was turned away is not pulled for", err)
	}
	lacked = nil
	g.peer("new", false)
	g.peer("new", true)
	if left := topics("new"); !slices.Equal(left, []string{"urgent"}) {
		t.Errorf("of one who came back %v is asked for", left)
	}
	if err := g.inspectRPC("new", announcing("urgent")); err != nil || len(lacked) != 1 {
		t.Errorf("announcing urgent frames alone has %v pulled from (%v)", lacked, err)
	}
}
