package mesh

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"tocsin/crypto/identity"
)

// GossipProtocol is the libp2p protocol of gossip. It is gossipsub 1.2 under
// a name of its own, so that no other gossipsub ever joins, and floodsub
// is not spoken.
const GossipProtocol protocol.ID = "/tocsin/gossip/1"

// Topic returns the name of the one topic of a mesh. There is one only: a
// topic for each group would announce who talks to whom.
func Topic(id identity.MeshID) string {
	return "tocsin/" + hex.EncodeToString(derive("topic", id))
}

// GossipParams returns the gossipsub parameters in force. Against the
// defaults the degree is lower (5 instead of 6, at most 8 instead of 12), for
// duplicates are what gossip costs on a device; synchronisation and the lazy
// gossip to Dlazy neighbours make up for a thin mesh.
func GossipParams() pubsub.GossipSubParams {
	p := pubsub.DefaultGossipSubParams()
	p.D, p.Dlo, p.Dhi, p.Dscore, p.Dout = 5, 4, 8, 3, 1
	// Neighbours leave and come back as people walk through a building.
	p.PruneBackoff = 15 * time.Second
	p.GraftFloodThreshold = 5 * time.Second
	// An IDONTWANT is an RPC of its own to every neighbour in the mesh. With ten
	// nodes and frames of 1.3 kB it doubled the RPCs (10.9 a delivery in place of 5.2) and raised
	// CPU by a third or more, and saved next to no duplicates; it pays for large frames.
	p.IDontWantMessageThreshold = 8 << 10
	return p
}

// GossipOptions returns the options that shape gossip on the wire and its
// cost: protocol, parameters, message id, no author, no signature (the entry
// carries its own), sizes and queues. A bare gossipsub with the same options is
// what a benchmark compares with.
func GossipOptions() []pubsub.Option {
	return []pubsub.Option{
		pubsub.WithGossipSubProtocols([]protocol.ID{GossipProtocol}, gossipFeatures),
		pubsub.WithGossipSubParams(GossipParams()),
		pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign),
		pubsub.WithNoAuthor(),
		pubsub.WithMessageIdFn(messageID),
		// Our own frames go to every neighbour at once: in a small or half-formed mesh
		// that is what reaches all, and in a mesh of ten it costs nothing measurable.
		pubsub.WithFloodPublish(true),
		pubsub.WithPeerExchange(false),
		pubsub.WithPeerOutboundQueueSize(outboundQueue),
		pubsub.WithMaxMessageSize(maxRPC),
		pubsub.WithMaxControlMessageSize(maxControl),
		pubsub.WithValidateQueueSize(validateQueue),
		pubsub.WithValidateThrottle(validateThrottle),
	}
}

// gossipFeatures says what GossipProtocol can do: meshes and IDONTWANT, no peer
// exchange (it would tell a neighbour of addresses it did not meet).
func gossipFeatures(f pubsub.GossipSubFeature, id protocol.ID) bool {
	if id != GossipProtocol {
		return false
	}
	return f == pubsub.GossipSubFeatureMesh || f == pubsub.GossipSubFeatureIdontwant
}

// messageID is SHA-256 of the frame: the same frame is the same message, whoever
// publishes it.
func messageID(m *pb.Message) string {
	sum := sha256.Sum256(m.GetData())
	return string(sum[:])
}

// scoring returns how neighbours are judged. Only what an honest device never
// does counts: invalid frames (P4), and breaking gossipsub's own rules (P7).
// Deliveries (P2, P3, P3b) do not, for on a quiet ward there is nothing to
// deliver; nor does sharing an address (P6), for a hospital is one address.
// The second valid-looking but invalid frame within minutes costs a neighbour gossip, the
// fourth everything.
func scoring(topic string, admitted func(peer.ID) bool) (*pubsub.PeerScoreParams, *pubsub.PeerScoreThresholds) {
	params := &pubsub.PeerScoreParams{
		SkipAtomicValidation: true,
		Topics: map[string]*pubsub.TopicScoreParams{topic: {
			SkipAtomicValidation:           true,
			TopicWeight:                    1,
			TimeInMeshQuantum:              time.Second,
			InvalidMessageDeliveriesWeight: -30,
			InvalidMessageDeliveriesDecay:  pubsub.ScoreParameterDecay(10 * time.Minute),
		}},
		AppSpecificScore: func(p peer.ID) float64 {
			if admitted(p) {
				return 0
			}
			return -1000
		},
		AppSpecificWeight:         1,
		BehaviourPenaltyWeight:    -1,
		BehaviourPenaltyThreshold: 6,
		BehaviourPenaltyDecay:     pubsub.ScoreParameterDecay(10 * time.Minute),
		DecayInterval:             pubsub.DefaultDecayInterval,
		DecayToZero:               pubsub.DefaultDecayToZero,
		RetainScore:               30 * time.Minute,
	}
	return params, &pubsub.PeerScoreThresholds{
		GossipThreshold: -100, PublishThreshold: -200, GraylistThreshold: -400,
		AcceptPXThreshold: 0, OpportunisticGraftThreshold: 0,
	}
}

// gossip runs one topic.
type gossip struct {
	self     peer.ID
	receiver Receiver
	clock    Clock
	counts   *counters
	// owe tells the syncer that p may have missed a frame of gossip. Must not block.
	owe func(p peer.ID)

	topic  *pubsub.Topic
	events *pubsub.TopicEventHandler
	leave  pubsub.RelayCancelFunc
	scores atomic.Pointer[map[peer.ID]float64]

	mu sync.Mutex
	// unsettled holds the connected peers that may not yet hear all that we
	// publish: since when they are connected, and whether they have joined.
	unsettled map[peer.ID]*unsettledPeer
}

type unsettledPeer struct {
	since  time.Time
	joined bool
}

func newGossip(ctx context.Context, h host.Host, cfg *Config, l *links, counts *counters, owe func(peer.ID)) (*gossip, error) {
	g := &gossip{
		self: h.ID(), receiver: cfg.Receiver, clock: cfg.Clock, counts: counts, owe: owe,
		unsettled: make(map[peer.ID]*unsettledPeer),
	}
	name := Topic(cfg.Trust.MeshID())
	params, thresholds := scoring(name, l.admitted)
	options := append(GossipOptions(),
		pubsub.WithSubscriptionFilter(pubsub.WrapLimitSubscriptionFilter(
			pubsub.NewAllowlistSubscriptionFilter(name), maxSubscriptions)),
		pubsub.WithPeerFilter(func(p peer.ID, _ string) bool { return l.admitted(p) }),
		pubsub.WithPeerScore(params, thresholds),
		pubsub.WithPeerScoreInspect(g.inspect, 10*time.Second),
		pubsub.WithRawTracer(&gossipTracer{g: g}),
		pubsub.WithLogger(cfg.Logger),
		// Its lines hold the start of every frame.
		pubsub.WithRPCLogger(slog.New(slog.DiscardHandler)),
	)
	ps, err := pubsub.NewGossipSub(ctx, h, append(options, cfg.GossipOptions...)...)
	if err != nil {
		return nil, fmt.Errorf("mesh: gossip: %w", err)
	}
	if err := ps.RegisterTopicValidator(name, g.validate, pubsub.WithValidatorConcurrency(validateConcurrency)); err != nil {
		return nil, fmt.Errorf("mesh: gossip: %w", err)
	}
	if g.topic, err = ps.Join(name); err != nil {
		return nil, fmt.Errorf("mesh: gossip: %w", err)
	}
	if g.events, err = g.topic.EventHandler(); err != nil {
		return nil, fmt.Errorf("mesh: gossip: %w", err)
	}
	// The validator hands every frame to the Receiver, so there is no
	// subscription to read, and none that could overflow: we only relay.
	if g.leave, err = g.topic.Relay(); err != nil {
		return nil, fmt.Errorf("mesh: gossip: %w", err)
	}
	return g, nil
}

// validate implements pubsub.ValidatorEx: the node's verdict decides.
func (g *gossip) validate(ctx context.Context, from peer.ID, m *pubsub.Message) pubsub.ValidationResult {
	if from == g.self {
		return pubsub.ValidationAccept // our own, from Publish
	}
	if n := len(m.GetData()); n == 0 || n > MaxFrame {
		g.counts.oversized.Add(1)
		return pubsub.ValidationReject
	}
	switch g.receiver.Receive(ctx, from, m.GetData()) {
	case Accept:
		g.counts.accepted.Add(1)
		return pubsub.ValidationAccept
	case Reject:
		g.counts.rejected.Add(1)
		return pubsub.ValidationReject
	default:
		g.counts.ignored.Add(1)
		return pubsub.ValidationIgnore
	}
}

// publish spreads a frame, and notes the neighbours who may not hear it.
func (g *gossip) publish(ctx context.Context, frame []byte) error {
	if len(frame) == 0 || len(frame) > MaxFrame {
		return fmt.Errorf("mesh: a frame of %d bytes cannot be published; 1 to %d are allowed", len(frame), MaxFrame)
	}
	if err := g.topic.Publish(ctx, frame); err != nil {
		return fmt.Errorf("mesh: publish: %w", err)
	}
	g.counts.published.Add(1)
	for _, p := range g.mayMiss() {
		g.owe(p)
	}
	return nil
}

// mayMiss returns the connected peers that may not have been sent what was just
// published. gossipsub loses for ever what is published while the two sides
// still open their streams to each other, and says nothing.
func (g *gossip) mayMiss() []peer.ID {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.unsettled) == 0 {
		return nil
	}
	now := g.clock.Now()
	out := make([]peer.ID, 0, len(g.unsettled))
	for p, u := range g.unsettled {
		// Abs: a clock that was set back must not keep a peer unsettled for ever.
		if u.joined && now.Sub(u.since).Abs() > settleTime {
			delete(g.unsettled, p)
			continue
		}
		out = append(out, p)
	}
	return out
}

// peer is told of connections.
func (g *gossip) peer(p peer.ID, up bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if up {
		g.unsettled[p] = &unsettledPeer{since: g.clock.Now()}
	} else {
		delete(g.unsettled, p)
	}
}

// run follows who has joined the topic, until ctx ends.
func (g *gossip) run(ctx context.Context, connected func(peer.ID) bool) error {
	for {
		e, err := g.events.NextPeerEvent(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("mesh: gossip events: %w", err)
		}
		g.joined(e.Peer, e.Type == pubsub.PeerJoin, connected(e.Peer))
	}
}

func (g *gossip) joined(p peer.ID, in, connected bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if u := g.unsettled[p]; u != nil {
		u.joined = in
		return
	}
	if !in && connected {
		// It left the topic but not us: a stream broke.
		g.unsettled[p] = &unsettledPeer{since: g.clock.Now()}
	}
}

// inspect keeps gossipsub's scores for Peers.
func (g *gossip) inspect(scores map[peer.ID]float64) { g.scores.Store(&scores) }

func (g *gossip) score(p peer.ID) float64 {
	if m := g.scores.Load(); m != nil {
		return (*m)[p]
	}
	return 0
}

// close leaves the topic; the context given to newGossip ends the rest.
func (g *gossip) close() error {
	g.events.Cancel()
	g.leave()
	if err := g.topic.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("mesh: gossip: %w", err)
	}
	return nil
}

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

// UndeliverableMessage implements pubsub.RawTracer.
func (t *gossipTracer) UndeliverableMessage(*pubsub.Message) { t.g.counts.undeliverable.Add(1) }

// RejectMessage implements pubsub.RawTracer.
func (t *gossipTracer) RejectMessage(_ *pubsub.Message, reason string) {
	if reason == pubsub.RejectValidationQueueFull || reason == pubsub.RejectValidationThrottled {
		t.g.counts.throttled.Add(1)
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
