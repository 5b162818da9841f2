package node

// Confirm spends a token of [Node.Reauth] for something that asks who is there and has no token of its own. Errors: [ErrLocked], [ErrReauth].
func (n *Node) Confirm(token string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.spend(token)
}
