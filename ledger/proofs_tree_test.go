package ledger_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"tocsin/ledger"
	"tocsin/ledger/memstore"
)

// rootOf is RFC 6962 §2.1 as it is written, over leaf hashes.
func rootOf(leaves []ledger.Hash) ledger.Hash {
	if len(leaves) == 1 {
		return leaves[0]
	}
	k := 1
	for k*2 < len(leaves) {
		k *= 2
	}
	left, right := rootOf(leaves[:k]), rootOf(leaves[k:])
	return sha256.Sum256(append(append([]byte{1}, left[:]...), right[:]...))
}

func leavesOf(chain []ledger.Verified) []ledger.Hash {
	leaves := make([]ledger.Hash, len(chain))
	for i, v := range chain {
		leaves[i] = ledger.Hash(v.Entry().ID())
	}
	return leaves
}

func proofBytes(p []ledger.Hash) [][]byte {
	b := make([][]byte, len(p))
	for i := range p {
		b[i] = p[i][:]
	}
	return b
}

// counting counts the entries that are read.
type counting struct {
	*memstore.Store
	entries int
}

func (c *counting) Range(ctx context.Context, id ledger.LogID, from, to uint64, fn func(uint64, []byte) error) error {
	return c.Store.Range(ctx, id, from, to, func(seq uint64, v []byte) error {
		c.entries++
		return fn(seq, v)
	})
}

// TestTrees holds roots and proofs of every size against RFC 6962 as written
// and another implementation's verifier, around the borders of tiles.
func TestTrees(t *testing.T) {
	ctx := context.Background()
	d := newDevice("tree")
	chain := d.chain(t, 600)
	leaves := leavesOf(chain)
	store := &counting{Store: memstore.New()}
	l := open(t, store, everyone(), ledger.Limits{})
	if _, err := l.AppendBatch(ctx, chain, noon); err != nil {
		t.Fatal(err)
	}
	trees := ledger.NewTrees(l)
	for _, size := range []uint64{1, 2, 3, 7, 255, 256, 257, 511, 512, 513, 599, 600} {
		root, err := trees.Root(ctx, d.id, size)
		if err != nil || root != rootOf(leaves[:size]) {
			t.Fatalf("size %d: root %s, %v; want %s", size, root, err, rootOf(leaves[:size]))
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		size := 1 + r.Uint64N(600)
		seq, from := r.Uint64N(size), 1+r.Uint64N(size)
		root, old := rootOf(leaves[:size]), rootOf(leaves[:from])
		p, err := trees.Inclusion(ctx, d.id, seq, size)
		must(t, err)
		if err := proof.VerifyInclusion(rfc6962.DefaultHasher, seq, size, leaves[seq][:], proofBytes(p), root[:]); err != nil {
			t.Fatalf("inclusion of %d in %d: %v", seq, size, err)
		}
		p, err = trees.Consistency(ctx, d.id, from, size)
		must(t, err)
		if err := proof.VerifyConsistency(rfc6962.DefaultHasher, from, size, proofBytes(p), old[:], root[:]); err != nil {
			t.Fatalf("consistency of %d with %d: %v", from, size, err)
		}
	}
	for _, size := range []uint64{0, 601} {
		if _, err := trees.Root(ctx, d.id, size); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("a tree over %d of 600 entries: %v", size, err)
		}
	}
	if _, err := trees.Inclusion(ctx, d.id, 5, 5); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("an entry beyond the tree: %v", err)
	}

	// A program that starts again reads what is behind the last whole tile.
	store.entries = 0
	again := ledger.NewTrees(l)
	if root, err := again.Root(ctx, d.id, 600); err != nil || root != rootOf(leaves) {
		t.Fatalf("after a restart: %s, %v", root, err)
	}
	if store.entries != 600-512 {
		t.Errorf("%d entries were read, want only the %d behind the last tile", store.entries, 600-512)
	}
	if _, err := again.Inclusion(ctx, d.id, 3, 600); err != nil || store.entries != 600-512 {
		t.Errorf("a proof read %d entries more, %v", store.entries-(600-512), err)
	}
}

// TestTreesDamaged: stored hashes that were changed or lost are made again.
func TestTreesDamaged(t *testing.T) {
	ctx := context.Background()
	d := newDevice("tree")
	chain := d.chain(t, 520)
	want := rootOf(leavesOf(chain))
	for _, place := range []uint64{0, 1 << 48, 1<<48 | 1, 2 << 48} {
		for _, value := range [][]byte{nil, make([]byte, 100), make([]byte, 8+256*32)} {
			store := memstore.New()
			l := open(t, store, everyone(), ledger.Limits{})
			_, err := l.AppendBatch(ctx, chain, noon)
			must(t, err)
			_, err = ledger.NewTrees(l).Root(ctx, d.id, 520)
			must(t, err)
			must(t, store.Commit(ctx, []ledger.Record{{Table: ledger.TableTree, Log: d.id, Seq: place, Value: value}}))
			trees := ledger.NewTrees(l)
			if root, err := trees.Root(ctx, d.id, 520); err != nil || root != want {
				t.Errorf("place %x: root %s, %v", place, root, err)
			}
			p, err := trees.Inclusion(ctx, d.id, 300, 520)
			if err != nil {
				t.Errorf("place %x: %v", place, err)
				continue
			}
			leaf := chain[300].Entry().ID()
			if err := proof.VerifyInclusion(rfc6962.DefaultHasher, 300, 520, leaf[:], proofBytes(p), want[:]); err != nil {
				t.Errorf("place %x: %v", place, err)
			}
		}
	}
}

// TestTreesDeep goes over the border of the second level of tiles.
func TestTreesDeep(t *testing.T) {
	ids := make([]ledger.Hash, 256*256+300)
	for i := range ids {
		ids[i] = sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
	}
	trees := ledger.NewTrees(openMem(t))
	root, err := ledger.FeedTree(context.Background(), trees, newDevice("deep").id, ids)
	if err != nil || root != rootOf(ids) {
		t.Fatalf("root %s, %v; want %s", root, err, rootOf(ids))
	}
}
