package node

import (
	"tocsin/crypto/group"
	"tocsin/ledger"
	"tocsin/node/inbox"
	"tocsin/node/record"
)

// leftOut says what of a conversation an upload leaves behind, as far as this device knows. n.mu is held and the device is unlocked.
func (n *Node) leftOut(g group.ID, unread int) (record.Left, error) {
	c, err := n.conversation(g)
	if err != nil {
		return record.Left{}, err
	}
	unopened, err := n.unopenedByLog()
	if err != nil {
		return record.Left{}, err
	}
	row := n.transferGroup(&c, unopened)
	left := record.Left{Unsigned: row.Waiting + row.Reviewed, Missing: row.Missing, Unopened: row.Unopened, Erased: row.Erased, Unread: unread}
	t := n.track(&c)
	n.open.inbox.Each(c.ID, func(it *inbox.Item) {
		id := ledger.ID(it.ID)
		if queued(it.Message.Kind()) && t.state(id) == TransferDone && t.receipt(id) == nil {
			left.Elsewhere++
		}
	})
	return left, nil
}
