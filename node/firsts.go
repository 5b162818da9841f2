package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"tocsin/crypto/identity"
	"tocsin/ledger"
)

// firsts are logs whose first entry the disk has lost.
type firsts struct {
	mu   sync.Mutex
	logs []identity.LogID // guarded by mu
}

// readFirsts reads the credential at the head of each log of others. One that the disk
// has lost makes its author unknown until it was fetched again, and keeps nobody from
// starting.
func (n *Node) readFirsts(ctx context.Context) error {
	for _, head := range n.logs.Frontier() {
		if head.Log == n.self || head.Next == 0 {
			continue
		}
		err := n.readFirstOf(ctx, head.Log)
		if errors.Is(err, ledger.ErrDamaged) {
			n.log.Error("the first entry of a log cannot be read; its author is not known until it was fetched again", "log", head.Log, "err", err)
			n.firsts.mu.Lock()
			n.firsts.logs = append(n.firsts.logs, head.Log)
			n.firsts.mu.Unlock()
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) readFirstOf(ctx context.Context, log identity.LogID) error {
	first, err := n.logs.Entry(ctx, log, 0)
	if err != nil {
		return fmt.Errorf("node: the first entry of %s: %w", log, err)
	}
	f, err := n.people.readFirst(first) // it was admitted when it came
	if err != nil {
		return fmt.Errorf("node: the first entry of %s: %w", log, err)
	}
	n.people.admitted(log, f)
	return nil
}

// readUnknown tries again what could not be read at the start.
func (n *Node) readUnknown() {
	if !n.firsts.again(func(log identity.LogID) bool { return n.readFirstOf(n.ctx, log) == nil }) {
		return
	}
	n.events.publish(Event{Type: EventPeople})
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		return
	}
	if err := n.retryGroups(); err != nil {
		n.log.Error("announcements that waited for a credential could not be taken; it is tried again within the hour", "err", err)
	}
}

// again takes out the logs that read reads, and reports whether there were any.
func (u *firsts) again(read func(identity.LogID) bool) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	before := len(u.logs)
	u.logs = slices.DeleteFunc(u.logs, read)
	return len(u.logs) < before
}
