package node

import (
	"bytes"

	"github.com/libp2p/go-libp2p/core/peer"

	"tocsin/ledger"
	"tocsin/mesh"
)

// classify tells the mesh how urgent a frame is and who says that it wrote it,
// from the frame alone ([mesh.Config].Classify). Nothing is checked: the mesh
// orders by it and charges an author only for what has verified.
func classify(frame []byte) mesh.Label {
	if bytes.HasPrefix(frame, frameReceipt) {
		return mesh.Label{Class: mesh.ClassControl}
	}
	g, ok := ledger.Peek(frame)
	if !ok {
		return mesh.Label{Class: mesh.ClassBulk} // it will be refused
	}
	return mesh.Label{Class: uint8(g.Class()), First: g.Priority == ledger.Stat, Author: g.Author, Seq: g.Seq, Life: g.Log.Incarnation}
}

// hurry asks for a pull at once when an urgent entry came ahead of its
// predecessors: on a busy link it overtakes what its author wrote before, and
// cannot be opened without those headers.
func (n *Node) hurry(from peer.ID, e *ledger.Entry) {
	if e.Header.Priority < ledger.Urgent {
		return
	}
	select {
	case <-n.joined:
		n.mesh.SyncSoon(from)
	default: // the first pull is still to come
	}
}
