package mesh

import (
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// gossipTracer counts what gossipsub drops in silence. It is called from
// gossipsub's own loop and must not block.
type gossipTracer struct {
	noTrace
	g *gossip
}

// DropRPC implements pubsub.RawTracer.
func (t *gossipTracer) DropRPC(rpc *pubsub.RPC, p peer.ID) {
	t.g.counts.droppedRPCs.Add(1)
	if len(rpc.GetPublish()) > 0 {
		t.g.owe(p)
	}
}

// Graft implements pubsub.RawTracer.
func (t *gossipTracer) Graft(p peer.ID, topic string) { t.g.grafts.set(p, topic, true) }

// Prune implements pubsub.RawTracer.
func (t *gossipTracer) Prune(p peer.ID, topic string) { t.g.grafts.set(p, topic, false) }

// OnClosedOutboundStream implements pubsub.RawTracer.
func (t *gossipTracer) OnClosedOutboundStream(p peer.ID) { t.g.grafts.gone(p) }

// ValidateMessage implements pubsub.RawTracer: a frame came for the first time.
func (t *gossipTracer) ValidateMessage(m *pubsub.Message) { t.holds(m) }

// DuplicateMessage implements pubsub.RawTracer: a frame came again.
func (t *gossipTracer) DuplicateMessage(m *pubsub.Message) {
	t.g.counts.duplicates.Add(1)
	t.holds(m)
	if id, ok := t.g.frameOf(m); ok && t.g.turned.again(id) {
		t.g.lack(m.ReceivedFrom)
	}
}

// holds notes who sent a frame: it need not be sent to them.
func (t *gossipTracer) holds(m *pubsub.Message) {
	if id, ok := t.g.frameOf(m); ok && m.ReceivedFrom != t.g.self {
		t.g.holders.note(id, m.ReceivedFrom)
	}
}

// UndeliverableMessage implements pubsub.RawTracer.
func (t *gossipTracer) UndeliverableMessage(*pubsub.Message) { t.g.counts.undeliverable.Add(1) }

// RejectMessage implements pubsub.RawTracer.
func (t *gossipTracer) RejectMessage(m *pubsub.Message, reason string) {
	if reason == pubsub.RejectValidationQueueFull || reason == pubsub.RejectValidationThrottled {
		t.g.counts.throttled.Add(1)
		t.g.turnAway(m)
	}
}

// noTrace ignores every event.
type noTrace struct{}

func (noTrace) OnNewOutboundStream(peer.ID, protocol.ID) {}
func (noTrace) OnClosedOutboundStream(peer.ID)           {}
func (noTrace) Join(string)                              {}
func (noTrace) Leave(string)                             {}
func (noTrace) Graft(peer.ID, string)                    {}
func (noTrace) Prune(peer.ID, string)                    {}
func (noTrace) ValidateMessage(*pubsub.Message)          {}
func (noTrace) DeliverMessage(*pubsub.Message)           {}
func (noTrace) RejectMessage(*pubsub.Message, string)    {}
func (noTrace) DuplicateMessage(*pubsub.Message)         {}
func (noTrace) ThrottlePeer(peer.ID)                     {}
func (noTrace) RecvRPC(*pubsub.RPC)                      {}
func (noTrace) SendRPC(*pubsub.RPC, peer.ID)             {}
func (noTrace) DropRPC(*pubsub.RPC, peer.ID)             {}
func (noTrace) UndeliverableMessage(*pubsub.Message)     {}
