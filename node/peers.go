package node

import "tocsin/mesh"

// Cut is a neighbour that was cut off, and why.
type Cut = mesh.Cut

// Cuts returns the last neighbours that were cut off, at most 64, newest first.
func (n *Node) Cuts() []Cut { return n.mesh.Cuts() }

// PeersWarning says in one sentence what all neighbours have in common, where
// that lets one party decide what this device gets to hear; else "".
func (n *Node) PeersWarning() string {
	switch mesh.Eclipse(n.mesh.Peers()) {
	case mesh.EclipseIntroducer:
		return "All neighbours were named by one device. If it lies, you may be cut off without seeing it: add an address that you know (mesh.peers), or meet a device of another ward."
	case mesh.EclipseRelay:
		return "All connections go through one relay. If it stops, so does everything: add another relay or a direct address."
	case mesh.EclipseSite:
		return "All neighbours are on one network. Messages for other sites wait until one of them has a way there."
	}
	return ""
}
