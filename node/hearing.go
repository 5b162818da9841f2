package node

import (
	"context"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/mesh"
)

// A device that is refused only because it was ordered to wipe itself may hear
// so: each neighbour lets it in for hearingTime, once in hearingPause.
const (
	hearingTime  = 30 * time.Second
	hearingPause = time.Hour
	maxHearings  = 1024
)

// hears says whether a device under a wipe order may be connected at present.
func (n *Node) hears(id peer.ID) bool {
	now := n.cfg.Clock.Now()
	n.hearMu.Lock()
	defer n.hearMu.Unlock()
	since, known := n.hearings[id]
	if known && now.Sub(since).Abs() <= hearingPause {
		return now.Sub(since).Abs() <= hearingTime
	}
	if !known && len(n.hearings) >= maxHearings {
		return false // more orders than any authority gives: none is let in unnoted
	}
	n.hearings[id] = now
	return true
}

// mayServe says whether a neighbour may be served a log: one that is let in for
// its wipe alone is shown what concerns that, and nothing else.
func (n *Node) mayServe(to peer.ID, log identity.LogID) bool {
	n.hearMu.Lock()
	_, hearing := n.hearings[to]
	n.hearMu.Unlock()
	if !hearing {
		return true
	}
	n.keeper.mu.Lock()
	defer n.keeper.mu.Unlock()
	_, carries := n.keeper.orders[log]
	return carries
}

// hearingGate is the node as its mesh synchronises with it: a neighbour that is let
// in for its wipe alone finds no other log.
type hearingGate struct{ *Node }

// Serve implements [mesh.Syncer].
func (g hearingGate) Serve(ctx context.Context, to peer.ID, s mesh.SyncStream) error {
	return g.Node.Serve(ctx, to, hearingStream{s, g.Node, to})
}

// hearingStream hands on what a neighbour asks for, but for logs that it may not be
// served: in their place it asks for one that nobody has.
type hearingStream struct {
	mesh.SyncStream
	n  *Node
	to peer.ID
}

func (s hearingStream) Receive() (mesh.Frame, error) {
	f, err := s.SyncStream.Receive()
	if err != nil || f.Type != frameWant {
		return f, err
	}
	number, r, perr := ledger.ParseWant(f.Payload)
	if perr != nil || s.n.mayServe(s.to, r.Log) {
		return f, nil // the server judges what does not parse
	}
	r.Log = identity.LogID{}
	f.Payload = ledger.MarshalWant(number, r)
	return f, nil
}
