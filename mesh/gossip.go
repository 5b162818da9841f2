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

// Topic returns the name of the topic of a mesh for what is routine or bulk.
// A topic for each group would announce who talks to whom; there are two only,
// by urgency, which every header tells anyway.
func Topic(id identity.MeshID) string {
	return "tocsin/" + hex.EncodeToString(derive("topic", id))
}

// UrgentTopic returns the name of the topic for control and what is urgent.
// Everybody is in it, also who has left the other for a thin link.
func UrgentTopic(id identity.MeshID) string {
	return "tocsin/" + hex.EncodeToString(derive("urgent topic", id))
}

// GossipParams returns the gossipsub parameters in force. Against the
// defaults the degree is lower (4 instead of 6, at most 6 instead of 12), for
// duplicates are what gossip costs on a device; synchronisation and the lazy
// gossip to Dlazy neighbours make up for a thin mesh.
func GossipParams() pubsub.GossipSubParams {
	p := pubsub.DefaultGossipSubParams()
	p.D, p.Dlo, p.Dhi, p.Dscore, p.Dout = 4, 3, 6, 2, 1
	// Dlazy stays at 6: at 3 half of all RPCs of a quiet conversation were saved, but among as many silent
	// neighbours as honest ones nine tenths of the messages took 17 s in place of 3 to 12 s.
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
		// that is what reaches all. The outbox narrows it for routine ones (grafts.go).
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

// urgentID is the message id in the urgent topic: that of the routine topic with its
// first bit flipped. A frame in the wrong topic is so another message than the same
// frame in its own. Otherwise who sends it in the wrong one first would have it
// refused when it comes in the right one, at the cost of those who hand it on.
func urgentID(m *pb.Message) string {
	id := frameID(sha256.Sum256(m.GetData()))
	return string(id.flip())
}

// flip changes a frame id into the message id of the urgent topic, and back.
func (id frameID) flip() []byte {
	id[0] ^= 0x80
	return id[:]
}

// frameOf returns the id of the frame in a message that has been given its id.
func (g *gossip) frameOf(m *pubsub.Message) (frameID, bool) {
	if len(m.ID) != len(frameID{}) {
		return frameID{}, false
	}
	id := frameID([]byte(m.ID))
	if m.GetTopic() == g.names[1] {
		id = frameID(id.flip())
	}
	return id, true
}

// gossip runs the two topics.
type gossip struct {
	self     peer.ID
	receiver Receiver
	clock    Clock
	counts   *counters
	label    func(frame []byte) Label
	holders  *holders
	budgets  *budgets
	post     *post
	// owe tells the syncer that p may have missed a frame of gossip, lack that we
	// may have missed one of p's, blame that p did wrong. Must not block.
	// oweAfter tells the syncer the same of a neighbour that may wait so long at least.
	owe      func(p peer.ID)
	oweAfter func(p peer.ID, d time.Duration)
	lack     func(p peer.ID)
	blame    func(p peer.ID, word string)

	// routine and urgent are the topics; leaveRoutine is nil while we are not in
	// the first.
	names           [2]string
	routine, urgent *pubsub.Topic
	events          *pubsub.TopicEventHandler // of the urgent topic
	routineEvents   *pubsub.TopicEventHandler
	leaveUrgent     pubsub.RelayCancelFunc
	scores          atomic.Pointer[map[peer.ID]float64]
	verifying       atomic.Int64 // routine frames
	grafts          *grafts
	turned          turned

	thriftMu     sync.Mutex
	leaveRoutine pubsub.RelayCancelFunc
	thrift       atomic.Bool
	favoured     atomic.Pointer[favoured]
	favourMu     sync.Mutex // held while that is chosen
	changed      func()     // somebody joined or left the routine topic

	mu sync.Mutex
	// unsettled holds the connected peers that may not yet hear all that we
	// publish: since when they are connected, and whether they have joined.
	unsettled map[peer.ID]*unsettledPeer
	members   map[peer.ID]bool      // who has joined, as gossipsub says; it may say so before the connection is known of here
	met       map[peer.ID]time.Time // the connected peers: since when they are
	listeners map[peer.ID]bool      // who is in the routine topic
}

type unsettledPeer struct {
	since  time.Time
	joined bool
	owed   bool // it will be told to pull when it is settled
}

// gossipLinks is what gossip needs of the rest of the mesh.
type gossipLinks struct {
	admitted  func(peer.ID) bool
	score     func(peer.ID) float64
	owe, lack func(peer.ID)
	oweAfter  func(p peer.ID, d time.Duration)
	blame     func(p peer.ID, word string)
	pace      func(p peer.ID) *pace
	changed   func()
}

func newGossip(ctx context.Context, h host.Host, cfg *Config, l gossipLinks, counts *counters) (*gossip, error) {
	g := &gossip{
		self: h.ID(), receiver: cfg.Receiver, clock: cfg.Clock, counts: counts, label: cfg.labelOf,
		owe: l.owe, oweAfter: l.oweAfter, lack: l.lack, blame: l.blame,
		holders: newHolders(h.ID()), grafts: newGrafts(Topic(cfg.Trust.MeshID())), budgets: newBudgets(cfg.Clock), post: newPost(cfg.Clock, counts),
		names:     [2]string{Topic(cfg.Trust.MeshID()), UrgentTopic(cfg.Trust.MeshID())},
		unsettled: make(map[peer.ID]*unsettledPeer), members: make(map[peer.ID]bool), met: make(map[peer.ID]time.Time), listeners: make(map[peer.ID]bool),
		changed: l.changed,
	}
	o := g.post
	o.label, o.holds, o.own, o.spare = g.label, g.holders.has, g.holders.own, g.spare
	o.owe, o.blame, o.pace, o.ended = l.owe, l.blame, l.pace, ctx.Err
	params, thresholds := scoring(g.names[:], l.score)
	options := append(GossipOptions(),
		pubsub.WithSubscriptionFilter(pubsub.WrapLimitSubscriptionFilter(
			pubsub.NewAllowlistSubscriptionFilter(g.names[:]...), maxSubscriptions)),
		pubsub.WithPeerFilter(func(p peer.ID, _ string) bool { return l.admitted(p) }),
		pubsub.WithPeerScore(params, thresholds),
		pubsub.WithPeerScoreInspect(g.inspect, scoresEvery),
		pubsub.WithAppSpecificRpcInspector(g.inspectRPC),
		pubsub.WithRawTracer(&gossipTracer{g: g}),
		pubsub.WithLogger(cfg.Logger),
		// Its lines hold the start of every frame.
		pubsub.WithRPCLogger(slog.New(slog.DiscardHandler)),
	)
	if cfg.Unsafe.NoConduct {
		options = append(options, pardoned(g.names[:]))
	}
	ps, err := pubsub.NewGossipSub(ctx, gossipHost{Host: h, post: o}, append(options, cfg.GossipOptions...)...)
	if err != nil {
		return nil, fmt.Errorf("mesh: gossip: %w", err)
	}
	if err := g.join(ps); err != nil {
		return nil, fmt.Errorf("mesh: gossip: %w", err)
	}
	return g, nil
}

// join enters both topics. The validator hands every frame to the Receiver, so
// there is no subscription to read, and none that could overflow: we only relay.
func (g *gossip) join(ps *pubsub.PubSub) (err error) {
	for i, name := range g.names {
		urgent := i == 1
		validate := func(ctx context.Context, from peer.ID, m *pubsub.Message) pubsub.ValidationResult {
			return g.validate(ctx, from, m, urgent)
		}
		if err := ps.RegisterTopicValidator(name, validate, pubsub.WithValidatorConcurrency(validateConcurrency)); err != nil {
			return err
		}
	}
	if g.routine, err = ps.Join(g.names[0]); err != nil {
		return err
	}
	if g.urgent, err = ps.Join(g.names[1], pubsub.WithTopicMessageIdFn(urgentID)); err != nil {
		return err
	}
	if g.events, err = g.urgent.EventHandler(); err != nil {
		return err
	}
	if g.routineEvents, err = g.routine.EventHandler(); err != nil {
		return err
	}
	if g.leaveUrgent, err = g.urgent.Relay(); err != nil {
		return err
	}
	g.leaveRoutine, err = g.routine.Relay()
	return err
}

// validate implements pubsub.ValidatorEx: the node's verdict decides, once the
// budgets have let the frame through.
func (g *gossip) validate(ctx context.Context, from peer.ID, m *pubsub.Message, urgent bool) pubsub.ValidationResult {
	if from == g.self {
		return pubsub.ValidationAccept // our own, from Publish
	}
	if n := len(m.GetData()); n == 0 || n > MaxFrame {
		g.counts.oversized.Add(1)
		g.blame(from, blameRejected)
		return pubsub.ValidationReject
	}
	label := g.label(m.GetData())
	if label.urgent() != urgent {
		// Whoever handed it on should have seen it too.
		g.counts.rejected.Add(1)
		g.blame(from, blameTopic)
		return pubsub.ValidationReject
	}
	if over := g.admit(from, label); over != "" {
		g.counts.overBudget(over)
		g.turnAway(m)
		return pubsub.ValidationIgnore
	}
	v := g.receiver.Receive(ctx, from, m.GetData())
	g.discharge(from, label, v)
	if v == Accept {
		g.post.overtake(from, g.names[1], m.GetData(), label)
	}
	switch v {
	case Accept:
		g.counts.accepted.Add(1)
		g.oweUnsettled(from)
		return pubsub.ValidationAccept
	case Reject:
		g.counts.rejected.Add(1)
		g.blame(from, blameRejected)
		return pubsub.ValidationReject
	default:
		g.counts.ignored.Add(1)
		return pubsub.ValidationIgnore
	}
}

// admit lets a frame in to verification, or names the budget that it is over.
func (g *gossip) admit(from peer.ID, l Label) string {
	if !l.urgent() && g.verifying.Add(1) > maxRoutine {
		g.verifying.Add(-1)
		return budgetWaiting
	}
	over := g.budgets.enter(from, l)
	if over != "" && !l.urgent() {
		g.verifying.Add(-1)
	}
	return over
}

func (g *gossip) discharge(from peer.ID, l Label, v Verdict) {
	if !l.urgent() {
		g.verifying.Add(-1)
	}
	g.budgets.leave(from, l, v)
}

// inspectRPC is asked by gossipsub before it looks at an RPC. It is called from
// gossipsub's own loop and must not block.
func (g *gossip) inspectRPC(from peer.ID, rpc *pubsub.RPC) error {
	over := g.budgets.rpc(from, usage(rpc))
	if over == "" && padded(rpc) {
		g.counts.malformed.Add(1)
		g.blame(from, blameMalformed)
		return errPadded
	}
	if over == "" {
		g.leaveAnnounced(from, rpc)
		return nil
	}
	g.counts.overBudget(over)
	g.blame(from, blameFlood)
	if len(rpc.GetPublish()) > 0 {
		g.lack(from)
	}
	return errBudget
}

// publish spreads a frame, and notes the neighbours who may not hear it.
func (g *gossip) publish(ctx context.Context, frame []byte) error {
	if len(frame) == 0 || len(frame) > MaxFrame {
		return fmt.Errorf("mesh: a frame of %d bytes cannot be published; 1 to %d are allowed", len(frame), MaxFrame)
	}
	topic := g.routine
	if g.label(frame).urgent() {
		topic = g.urgent
	}
	g.holders.note(sha256.Sum256(frame), g.self)
	if err := topic.Publish(ctx, frame); err != nil {
		return fmt.Errorf("mesh: publish: %w", err)
	}
	g.post.overtake(g.self, g.names[1], frame, g.label(frame))
	g.counts.published.Add(1)
	g.oweUnsettled(g.self)
	if topic == g.routine {
		g.oweFavoured()
	}
	return nil
}

// oweUnsettled has those told to pull who may not be sent the frame that goes out
// now; from has it.
func (g *gossip) oweUnsettled(from peer.ID) {
	for _, m := range g.mayMiss(from) {
		g.oweAfter(m.peer, m.after)
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
	g.routineEvents.Cancel()
	g.leaveUrgent()
	g.thriftMu.Lock()
	if g.leaveRoutine != nil {
		g.leaveRoutine()
		g.leaveRoutine = nil
	}
	g.thriftMu.Unlock()
	var errs []error
	for _, t := range []*pubsub.Topic{g.routine, g.urgent} {
		if err := t.Close(); err != nil && !errors.Is(err, context.Canceled) {
			errs = append(errs, fmt.Errorf("mesh: gossip: %w", err))
		}
	}
	return errors.Join(errs...)
}
