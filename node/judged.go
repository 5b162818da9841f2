package node

// Judged returns how many frames of gossip this device has judged since it was opened: accepted,
// ignored and rejected. It is part of [Node.Metrics] and costs next to nothing by itself.
func (n *Node) Judged() uint64 { return n.mesh.Judged() }
