package node

// Forks on a stick: a bundle carries, behind everything else, what is known of the
// branches of forked logs.

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"tocsin/ledger"
	"tocsin/ledger/bundle"
)

// maxBundleEvidence bounds the evidence of forks in one bundle.
const maxBundleEvidence = 8 << 20

// bundleEvidence adds the branches of forked logs to a plan.
func (n *Node) bundleEvidence(ctx context.Context, plan *bundle.Plan) error {
	size := 0
	for _, f := range n.logs.Forks() {
		err := n.logs.EachEvidence(ctx, f.Log, f.Seq, f.Seq+ledger.MaxBranch, func(e *ledger.Entry) error {
			raw := ledger.MarshalEvidence(e)
			if size += len(raw); size > maxBundleEvidence {
				return errEnough
			}
			plan.AddEvidence(raw)
			return nil
		})
		if errors.Is(err, errEnough) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("node: the evidence of a fork for a bundle: %w", err)
		}
	}
	return nil
}

// takeEvidence takes an entry of a branch as any other: it finds by itself that it
// has no place in the log.
func (im *importer) takeEvidence(ctx context.Context, raw []byte) error {
	if err := im.flush(ctx); err != nil || len(raw) == 0 {
		return err
	}
	if raw[0] == 1 {
		im.frames = append(im.frames, raw[1:])
	} else {
		im.headers = append(im.headers, raw[1:])
	}
	return im.flush(ctx)
}

// hasBody reports whether a body is an entry's, held or not.
func hasBody(e *ledger.Entry, body []byte) bool {
	return e.Header.BodyHash == sha256.Sum256(body)
}

// headerOf returns the entry of a place that a body belongs to: that of the log,
// or of a branch of its fork. Where it belongs to none it is that of the log.
func (n *Node) headerOf(ctx context.Context, id ledger.LogID, seq uint64, body []byte) (*ledger.Entry, error) {
	held, err := n.logs.Entry(ctx, id, seq)
	if err == nil && hasBody(held, body) {
		return held, nil
	}
	if _, forked := n.logs.Fork(id); !forked {
		return held, err
	}
	found := held
	ferr := n.logs.EachEvidence(ctx, id, seq, seq+1, func(e *ledger.Entry) error {
		if hasBody(e, body) {
			found = e
		}
		return nil
	})
	if found == held {
		return held, errors.Join(err, ferr)
	}
	return found, nil
}
