package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"tocsin/crypto/identity"
	"tocsin/ledger"
)

// wholeFrontier is up to where this device holds every log with its bodies: a
// bundle that comes back is made from it, and a frontier that counted headers
// would leave out the bodies that are missing below.
func (n *Node) wholeFrontier(ctx context.Context) (ledger.Frontier, error) {
	for !n.scannedAbsent() {
		if err := n.scanAbsent(ctx); err != nil {
			return nil, err
		}
	}
	lost := make(map[identity.LogID]uint64)
	for _, w := range n.logs.Lost() {
		if first, ok := lost[w.Log]; !ok || w.From < first {
			lost[w.Log] = w.From
		}
	}
	var whole ledger.Frontier
	for _, head := range n.logs.Frontier() {
		lowest := head.Next
		if first, ok := lost[head.Log]; ok {
			lowest = min(lowest, first)
		}
		n.sync.bodies(func(a *ledger.Absence) {
			for _, w := range a.Of(head.Log) {
				lowest = min(lowest, w.From)
			}
		})
		if lowest == 0 {
			continue
		}
		if lowest < head.Next {
			e, err := n.logs.Entry(ctx, head.Log, lowest-1)
			if errors.Is(err, ledger.ErrDamaged) || errors.Is(err, ledger.ErrNotFound) {
				continue // nothing of it is claimed
			}
			if err != nil {
				return nil, fmt.Errorf("node: up to where a log is whole: %w", err)
			}
			head.Next, head.ID = lowest, e.ID()
		}
		whole = append(whole, head)
	}
	return whole, nil
}

// scannedAbsent reports whether every log was looked through for absent bodies.
func (n *Node) scannedAbsent() bool {
	n.sync.scanMu.Lock()
	defer n.sync.scanMu.Unlock()
	return n.sync.scanned
}

// frontierDir holds the frontiers that bundles have told us, by creator.
const frontierDir = "frontiers"

func (n *Node) frontierFile(author identity.Key) string {
	return filepath.Join(n.cfg.Dir, frontierDir, author.String()+".bin")
}

// rememberFrontier keeps what the creator of a bundle held when it made it.
func (n *Node) rememberFrontier(author identity.Key, f ledger.Frontier) error {
	raw, err := f.Marshal()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(n.cfg.Dir, frontierDir), 0o700); err != nil {
		return err
	}
	return writeFile(n.frontierFile(author), raw)
}

// knownFrontier is what every reader is known to hold: for each log the least of
// what their bundles said. A reader of whom nothing is known makes it empty.
func (n *Node) knownFrontier(readers []*identity.Credential) (ledger.Frontier, error) {
	var common ledger.Frontier
	for i, c := range readers {
		raw, err := os.ReadFile(n.frontierFile(c.SigningKey))
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		f, err := ledger.ParseFrontier(raw)
		if err != nil {
			n.log.Warn("what a bundle said of its creator's logs cannot be read; the next one goes out whole", "err", err)
			return nil, nil
		}
		if i == 0 {
			common = f
			continue
		}
		common = leastOf(common, f)
	}
	return common, nil
}

// leastOf keeps the logs that are in both, at the lower place.
func leastOf(a, b ledger.Frontier) ledger.Frontier {
	held := make(map[identity.LogID]ledger.Head, len(b))
	for _, h := range b {
		held[h.Log] = h
	}
	out := a[:0]
	for _, h := range a {
		other, ok := held[h.Log]
		if !ok {
			continue
		}
		if other.Next < h.Next {
			h = other
		}
		out = append(out, h)
	}
	return out
}
