package node

import (
	"context"

	"github.com/libp2p/go-libp2p/core/peer"

	"tocsin/mesh"
)

// What a rehearsal does without, to show that it would notice: see [Unsafe].

// selfish is a node that hands on nothing that others said.
type selfish struct{ *Node }

// Receive implements mesh.Receiver.
func (k selfish) Receive(ctx context.Context, from peer.ID, frame []byte) mesh.Verdict {
	v := k.Node.Receive(ctx, from, frame)
	if v == mesh.Accept {
		return mesh.Ignore
	}
	return v
}

// receiver is who takes what comes by gossip.
func (n *Node) receiver() mesh.Receiver {
	if n.cfg.Unsafe.NoRelay {
		return selfish{n}
	}
	return n
}

// placedBy is the clock that gives an opened message its place in the conversation: the
// hybrid one of its entry (protocol §3).
func (n *Node) placedBy(o opened) uint64 {
	if n.cfg.Unsafe.NoHybrid {
		return uint64(max(o.msg.Sent.UnixMilli(), 0)) << 16
	}
	return o.rec.hlc
}
