package ledger

import (
	"context"

	"golang.org/x/mod/sumdb/tlog"

	"tocsin/crypto/identity"
)

// FeedTree stores ids as the leaves of a log, as if it held such entries, and
// returns the root over all of them as read back through the stored tiles.
func FeedTree(ctx context.Context, t *Trees, id LogID, ids []Hash) (Hash, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tl := &tail{}
	for i, h := range ids {
		tl.ids = append(tl.ids, h)
		if len(tl.ids) == tileWidth*tilesABatch || i == len(ids)-1 && len(tl.ids) >= tileWidth {
			if err := t.flush(ctx, id, tl); err != nil {
				return Hash{}, err
			}
		}
	}
	r := &treeReader{ctx: ctx, t: t, log: id, tail: tl, tiles: make(map[uint64][]byte)}
	return tlog.TreeHash(int64(len(ids)), r)
}

// AddTestimony merges without checking signatures.
func AddTestimony(l *LogTestimony, t Testimony, org string, self identity.Key) bool {
	return l.add(t, org, self)
}

// The stored form of a log's testimony.
var (
	MarshalLogTestimony = (*LogTestimony).marshal
	ParseLogTestimony   = parseLogTestimony
)

// KnownNotes is how many notes a checker remembers.
func KnownNotes(c *ProofChecker) int { return len(c.parts.notes) }
