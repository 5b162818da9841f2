package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/mod/sumdb/tlog"
)

// Hash is a node or the root of a log's Merkle tree (RFC 6962 §2.1). The leaf
// hash of an entry is its [ID].
type Hash = tlog.Hash

// errTiles says that the stored hashes of a tree cannot be used. They are
// derived from the entries, and are made again.
var errTiles = errors.New("ledger: the stored hashes of a log cannot be used")

// Trees answers for the Merkle tree of every log: roots, inclusion proofs and
// consistency proofs. It costs [Logs.Append] nothing: the hashes of entries that
// came since the last question are computed and stored at the next one, in
// tiles of 256, so that a question reads a few tiles and at most 255 entries,
// however long the log is (FORMAT.md, "Tree"). It is safe for concurrent use.
type Trees struct {
	logs *Logs

	mu    sync.Mutex
	tails map[LogID]*tail // guarded by mu; at most treeTails
}

// tail is the leaves of a log behind its last whole tile. Entries never change,
// so what is in a tail stays true.
type tail struct {
	tiles uint64 // whole tiles stored
	ids   []Hash // of the entries from tiles*tileWidth on; may be longer than one tile
}

// NewTrees returns the trees of the logs in l, kept in the same store.
func NewTrees(l *Logs) *Trees {
	return &Trees{logs: l, tails: make(map[LogID]*tail)}
}

// Root returns the root of the tree over the first size entries held of a log.
// It matches [ErrNotFound] if fewer are held or size is 0.
func (t *Trees) Root(ctx context.Context, id LogID, size uint64) (Hash, error) {
	var root Hash
	err := t.read(ctx, id, size, func(r tlog.HashReader) (err error) {
		root, err = tlog.TreeHash(int64(size), r)
		return err
	})
	return root, err
}

// Inclusion returns the proof (RFC 6962 §2.1.1) that entry seq is in the tree
// over the first size entries.
func (t *Trees) Inclusion(ctx context.Context, id LogID, seq, size uint64) ([]Hash, error) {
	if seq >= size {
		return nil, fmt.Errorf("%w: entry %d of log %s is not among its first %d", ErrNotFound, seq, id, size)
	}
	var proof []Hash
	err := t.read(ctx, id, size, func(r tlog.HashReader) (err error) {
		proof, err = tlog.ProveRecord(int64(size), int64(seq), r)
		return err
	})
	return proof, err
}

// Consistency returns the proof (RFC 6962 §2.1.2) that the tree over the first
// to entries begins with that over the first from, 0 < from <= to.
func (t *Trees) Consistency(ctx context.Context, id LogID, from, to uint64) ([]Hash, error) {
	if from == 0 || from > to {
		return nil, fmt.Errorf("ledger: there is no consistency proof from size %d to %d", from, to)
	}
	var proof []Hash
	err := t.read(ctx, id, to, func(r tlog.HashReader) (err error) {
		proof, err = tlog.ProveTree(int64(to), int64(from), r)
		return err
	})
	return proof, err
}

// Edge returns the compact range over the first size entries: what a tree of
// any larger size is computed from.
func (t *Trees) Edge(ctx context.Context, id LogID, size uint64) (Edge, error) {
	e := Edge{Log: id, Size: size}
	if size == 0 {
		return e, nil
	}
	last, err := t.logs.entry(ctx, id, size-1)
	if err != nil {
		return Edge{}, err
	}
	e.Head = last.id
	err = t.read(ctx, id, size, func(r tlog.HashReader) (err error) {
		e.Hashes, err = r.ReadHashes(edgeIndexes(size))
		return err
	})
	return e, err
}

// edgeIndexes names the roots of the perfect subtrees that make up a tree,
// left to right.
func edgeIndexes(size uint64) (indexes []int64) {
	n := int64(size)
	for level := 62; level >= 0; level-- {
		if n>>level&1 == 1 {
			indexes = append(indexes, tlog.StoredHashIndex(level, n>>level-1))
		}
	}
	return indexes
}

// read brings the tree of a log up to size and lets fn ask for its hashes. If
// what is stored of it turns out to be damaged, it is made again, once.
func (t *Trees) read(ctx context.Context, id LogID, size uint64, fn func(tlog.HashReader) error) error {
	h, ok := t.logs.Head(id)
	if !ok || size == 0 || size > h.Next {
		return fmt.Errorf("%w: a tree over %d entries of log %s, of which %d are held", ErrNotFound, size, id, h.Next)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for attempt := 0; ; attempt++ {
		tl, err := t.grow(ctx, id, size, attempt > 0)
		if err == nil {
			r := &treeReader{ctx: ctx, t: t, log: id, tail: tl, tiles: make(map[uint64][]byte)}
			err = fn(r)
		}
		if attempt > 0 || !errors.Is(err, errTiles) {
			return err
		}
		delete(t.tails, id)
	}
}

// grow makes sure that every whole tile below size is stored and that the tail
// reaches size. With anew it starts from nothing.
func (t *Trees) grow(ctx context.Context, id LogID, size uint64, anew bool) (*tail, error) {
	tl := t.tails[id]
	if tl == nil {
		tl = &tail{}
		if !anew {
			var err error
			if tl.tiles, err = t.stored(ctx, id); err != nil {
				return nil, err
			}
		}
		if len(t.tails) >= treeTails {
			for other := range t.tails { // any one: it is only a cache
				delete(t.tails, other)
				break
			}
		}
		t.tails[id] = tl
	}
	from := tl.tiles*tileWidth + uint64(len(tl.ids))
	// Leaves are ids, which no signature is part of.
	err := t.logs.entries(ctx, id, from, size, func(e *Entry) error {
		tl.ids = append(tl.ids, Hash(e.id))
		if len(tl.ids) == tileWidth*tilesABatch {
			return t.flush(ctx, id, tl)
		}
		return nil
	})
	if err == nil && len(tl.ids) >= tileWidth {
		err = t.flush(ctx, id, tl)
	}
	if err != nil {
		delete(t.tails, id) // what it holds and what is stored may differ now
		return nil, err
	}
	return tl, nil
}

// flush stores the whole tiles at the beginning of a tail.
func (t *Trees) flush(ctx context.Context, id LogID, tl *tail) error {
	n := uint64(len(tl.ids) / tileWidth)
	var roots []Hash
	var batch []Record
	for i := range n {
		leaves := tl.ids[i*tileWidth : (i+1)*tileWidth]
		batch = append(batch, tileRecord(id, 0, tl.tiles+i, tileBytes(leaves)))
		roots = append(roots, perfectRoot(leaves))
	}
	for level, first := uint64(1), tl.tiles; len(roots) > 0; level++ {
		upper, records, err := t.raise(ctx, id, level, first, roots)
		if err != nil {
			return err
		}
		batch = append(batch, records...)
		roots, first = upper, first/tileWidth
	}
	batch = append(batch, treeStateRecord(id, tl.tiles+n))
	if err := t.logs.store.Commit(ctx, batch); err != nil {
		return fmt.Errorf("ledger: cannot store the hashes of log %s: %w", id, err)
	}
	tl.tiles += n
	tl.ids = slices.Clone(tl.ids[n*tileWidth:])
	return nil
}

// raise adds hashes to the tiles of a level, beginning at the level's hash
// first, and returns the roots of the tiles that are whole now.
func (t *Trees) raise(ctx context.Context, id LogID, level, first uint64, add []Hash) (roots []Hash, records []Record, err error) {
	for len(add) > 0 {
		index, have := first/tileWidth, first%tileWidth
		var data []byte
		if have > 0 {
			if data, err = t.tile(ctx, id, level, index); err != nil {
				return nil, nil, err
			}
			if uint64(len(data)) < have*tlog.HashSize {
				return nil, nil, fmt.Errorf("%w: a tile of log %s is too short", errTiles, id)
			}
		}
		n := min(uint64(len(add)), tileWidth-have)
		data = append(slices.Clip(data[:have*tlog.HashSize]), tileBytes(add[:n])...)
		records = append(records, tileRecord(id, level, index, data))
		if have+n == tileWidth {
			roots = append(roots, perfectRoot(tileHashes(data)))
		}
		add, first = add[n:], first+n
	}
	return roots, records, nil
}

// perfectRoot is the root over a power of two of hashes.
func perfectRoot(hashes []Hash) Hash {
	hashes = slices.Clone(hashes)
	for n := len(hashes); n > 1; n /= 2 {
		for i := range n / 2 {
			hashes[i] = tlog.NodeHash(hashes[2*i], hashes[2*i+1])
		}
	}
	return hashes[0]
}

// treeReader reads the hashes of one tree by their stored index.
type treeReader struct {
	ctx   context.Context
	t     *Trees
	log   LogID
	tail  *tail
	tiles map[uint64][]byte // read already, by place
}

// ReadHashes implements [tlog.HashReader].
func (r *treeReader) ReadHashes(indexes []int64) ([]Hash, error) {
	hashes := make([]Hash, len(indexes))
	for i, index := range indexes {
		tile := tlog.TileForIndex(tileHeight, index)
		data, err := r.data(uint64(tile.L), uint64(tile.N))
		if err != nil {
			return nil, err
		}
		if len(data) < tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%w: a tile of log %s is too short", errTiles, r.log)
		}
		if hashes[i], err = tlog.HashFromTile(tile, data, index); err != nil {
			return nil, err
		}
	}
	return hashes, nil
}

func (r *treeReader) data(level, index uint64) ([]byte, error) {
	place := tilePlace(level, index)
	if data, ok := r.tiles[place]; ok {
		return data, nil
	}
	var data []byte
	var err error
	if level == 0 && index == r.tail.tiles {
		data = tileBytes(r.tail.ids)
	} else if data, err = r.t.tile(r.ctx, r.log, level, index); err != nil {
		return nil, err
	}
	r.tiles[place] = data
	return data, nil
}

// What is stored: FORMAT.md, "Tree".

// tilePlace is the sequence number that a tile is stored at; 0 is the state.
func tilePlace(level, index uint64) uint64 { return (level+1)<<48 | index }

func tileCheck(id LogID, place uint64, data []byte) []byte {
	h := sha256.New()
	h.Write([]byte("tocsin/1 tile\x00"))
	log := id.Bytes()
	h.Write(log[:])
	var b cryptobyte.Builder
	b.AddUint64(place)
	h.Write(b.BytesOrPanic()) // one integer: it cannot fail
	h.Write(data)
	return h.Sum(nil)[:checkSize]
}

func treeRecord(id LogID, place uint64, data []byte) Record {
	return Record{Table: TableTree, Log: id, Seq: place, Value: slices.Concat(tileCheck(id, place, data), data)}
}

func tileRecord(id LogID, level, index uint64, data []byte) Record {
	return treeRecord(id, tilePlace(level, index), data)
}

func treeStateRecord(id LogID, tiles uint64) Record {
	var b cryptobyte.Builder
	b.AddUint64(tiles)
	return treeRecord(id, 0, b.BytesOrPanic()) // one integer: it cannot fail
}

// value reads a record of the tree. What is missing or damaged matches errTiles.
func (t *Trees) value(ctx context.Context, id LogID, place uint64) ([]byte, error) {
	value, err := t.logs.store.Get(ctx, TableTree, id, place)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
		return nil, fmt.Errorf("%w: log %s: %w", errTiles, id, err)
	}
	if err != nil {
		return nil, err
	}
	if len(value) < checkSize || !bytes.Equal(value[:checkSize], tileCheck(id, place, value[checkSize:])) {
		return nil, fmt.Errorf("%w: log %s: a check value does not match", errTiles, id)
	}
	return value[checkSize:], nil
}

// stored returns the number of whole tiles that are stored of a log.
func (t *Trees) stored(ctx context.Context, id LogID) (uint64, error) {
	value, err := t.value(ctx, id, 0)
	if errors.Is(err, errTiles) {
		return 0, nil // none yet, or to be made again
	}
	if err != nil {
		return 0, err
	}
	s := cryptobyte.String(value)
	var tiles uint64
	if !s.ReadUint64(&tiles) || !s.Empty() || tiles > (MaxSeq+1)/tileWidth {
		return 0, nil
	}
	if h, ok := t.logs.Head(id); !ok || tiles > h.Next/tileWidth {
		return 0, nil // of more entries than are held: the store was restored
	}
	return tiles, nil
}

func (t *Trees) tile(ctx context.Context, id LogID, level, index uint64) ([]byte, error) {
	data, err := t.value(ctx, id, tilePlace(level, index))
	if err != nil {
		return nil, err
	}
	if len(data)%tlog.HashSize != 0 || len(data) > tileWidth*tlog.HashSize {
		return nil, fmt.Errorf("%w: a tile of log %s has %d bytes", errTiles, id, len(data))
	}
	return data, nil
}

func tileBytes(hashes []Hash) []byte {
	b := make([]byte, 0, len(hashes)*tlog.HashSize)
	for i := range hashes {
		b = append(b, hashes[i][:]...)
	}
	return b
}

func tileHashes(data []byte) []Hash {
	hashes := make([]Hash, len(data)/tlog.HashSize)
	for i := range hashes {
		hashes[i] = Hash(data[i*tlog.HashSize:])
	}
	return hashes
}
