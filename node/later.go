package node

// Statements that cannot count yet: dated ahead of this device's clock, or built
// on a bundle or an order that has not come. Neither is verified so far, so that
// anybody can carry forged ones. A few are kept; what is over is not lost but read
// again from the log in which it stands.

import (
	"bytes"
	"errors"
	"slices"

	"tocsin/crypto/identity"
)

// deferred is a statement that is dated more than a day ahead, and who carries
// it; zero for one that came in a file.
type deferred struct {
	by  identity.Key
	raw []byte
}

// keepLater keeps a statement that is dated ahead, to be tried again, and says
// whether there was room.
func (n *Node) keepLater(d deferred) bool {
	k := n.keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	each := 0
	for _, other := range k.later {
		if bytes.Equal(other.raw, d.raw) {
			return true
		}
		if other.by == d.by {
			each++
		}
	}
	if each >= laterEach || len(k.later) >= maxLater {
		return false
	}
	k.later = append(k.later, deferred{d.by, bytes.Clone(d.raw)})
	if err := n.saveTrust(); err != nil {
		n.log.Error("a statement that is dated ahead could not be saved", "err", err)
	}
	return true
}

// retryLater takes the statements whose time has come: those that are kept, and
// those for which there was no room, from their logs. It runs at every start and
// unlock, for that is when a clock is put right, and every hour, locked or not.
func (n *Node) retryLater() {
	k := n.keeper
	k.mu.Lock()
	later := slices.Clone(k.later)
	for id := range k.held {
		k.behind[id] = struct{}{}
	}
	clear(k.held)
	k.mu.Unlock()
	for _, d := range later {
		// It is forgotten once what it says is on disk, not before.
		if _, err := n.take(d.raw, d.by != identity.Key{}); !errors.Is(err, identity.ErrPostDated) {
			k.forgetLater(d.raw)
		}
	}
	n.readBehind(n.ctx)
	if err := n.saveCursors(); err != nil {
		n.log.Error("what is known of statements could not be saved", "err", err)
	}
}

func (k *keeper) forgetLater(raw []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.later = slices.DeleteFunc(k.later, func(d deferred) bool { return bytes.Equal(d.raw, raw) })
	k.dirty = true
}

// noteEarly remembers where a log has a statement that a bundle or an order to come
// may make good. The trust store keeps a few of them only, and anybody can carry
// forged ones: what it dropped is read again from its log then.
func (k *keeper) noteEarly(id identity.LogID, seq uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if first, known := k.early[id]; !known || seq < first {
		k.early[id] = seq
		k.dirty = true
	}
}

// readEarly has the logs read again in which something has waited for e. k.mu is
// held, and the file is written with what e says.
func (k *keeper) readEarly(e identity.Effect) {
	if e.Bundle == nil && e.Wipe == nil {
		return
	}
	for id, first := range k.early {
		if first < k.cursors[id] {
			k.cursors[id] = first
		}
		k.behind[id] = struct{}{}
	}
	clear(k.early)
}
