package ledger

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync"
)

// Scope is one of the sets that two nodes compare (protocol §6), in the order
// in which they do.
type Scope uint8

// The scopes.
const (
	// ScopeControl: the last-value tables, one mark for each log that has one.
	ScopeControl Scope = 1
	// ScopeHeaders: the frontier, one mark for each log.
	ScopeHeaders Scope = 2
	// ScopeBodies: which bodies are absent, one mark for each log of which some
	// are. Two nodes that lack the same ones cannot help each other.
	ScopeBodies Scope = 3
)

// Mark is what one node says of one log in one scope. It is a claim and is not
// signed: it tells what to ask for, not what is true.
type Mark struct {
	Log LogID
	// Next and ID are, by scope: the number of entries held and the id of the
	// newest; the number of statements and the hash of their record; the number of
	// absent bodies and the hash of their ranges.
	Next uint64
	ID   [32]byte
	// Fork is SHA-256 of the proof that closes the log, zeros if there is none. Of
	// a closed log whose lowest fork is known Next is at most the forked place,
	// and ID is zeros there, so that devices that hold other branches agree.
	Fork [32]byte
}

const (
	fanOut = 16
	// bucketSize is up to how many marks a range is one bucket; above it has 16
	// parts. The shape of a tree follows from its marks alone.
	bucketSize = 32
	// maxDepth is where ranges are not divided any more: 64 bits, four at a time.
	maxDepth = 16
)

// Range is the part of a scope whose places begin with the first Depth×4 bits
// of Bits. The place of a log is SHA-256("tocsin/1 place" ‖ log)[:8], so that
// logs spread evenly whatever their authors' keys are.
type Range struct {
	Depth uint8  // 0 to 16
	Bits  uint64 // zeros beyond Depth×4
}

func (r Range) part(i int) Range {
	return Range{Depth: r.Depth + 1, Bits: r.Bits | uint64(i)<<(60-4*uint(r.Depth))}
}

// last is the highest place in r.
func (r Range) last() uint64 {
	if r.Depth == 0 {
		return ^uint64(0)
	}
	return r.Bits | (1<<(64-4*uint(r.Depth)) - 1)
}

func (r Range) holds(place uint64) bool { return place >= r.Bits && place <= r.last() }

func placeOf(id LogID) uint64 {
	b := id.Bytes()
	h := sha256.Sum256(append([]byte("tocsin/1 place"), b[:]...))
	return binary.BigEndian.Uint64(h[:8])
}

// Tree holds the marks of one scope under fingerprints, so that comparing costs
// by differences and not by logs. A fingerprint is a SHA-256 over the
// fingerprints below it: unlike a sum or XOR of hashes, nobody can choose
// entries so that two different sets have one. Changing a mark costs its path;
// hashes are made when they are next asked for. It is safe for concurrent use.
type Tree struct {
	scope Scope

	mu   sync.Mutex
	root treeNode // guarded by mu
}

// treeNode is a bucket, or has 16 parts when it holds more than a bucket.
type treeNode struct {
	count int
	hash  [32]byte
	fresh bool // hash is that of what is below
	marks []placed
	parts *[fanOut]treeNode
}

type placed struct {
	place uint64
	mark  Mark
}

func (p placed) compare(o placed) int {
	return cmp.Or(cmp.Compare(p.place, o.place), p.mark.Log.Compare(o.mark.Log))
}

// NewTree returns the empty tree of a scope.
func NewTree(s Scope) *Tree { return &Tree{scope: s} }

// Len returns the number of marks.
func (t *Tree) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.root.count
}

// Set puts m in the place of an older mark of its log.
func (t *Tree) Set(m Mark) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.root.set(placed{placeOf(m.Log), m}, 0)
}

// Remove takes away the mark of a log, if there is one.
func (t *Tree) Remove(id LogID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.root.remove(placed{placeOf(id), Mark{Log: id}}, 0)
}

// Get returns the mark of a log.
func (t *Tree) Get(id LogID) (Mark, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	want := placed{placeOf(id), Mark{Log: id}}
	_, marks := t.root.find(Range{Depth: maxDepth, Bits: want.place}, 0)
	i, ok := slices.BinarySearchFunc(marks, want, placed.compare)
	if !ok {
		return Mark{}, false
	}
	return marks[i].mark, true
}

// Root returns the fingerprint of the whole scope: equal means the same marks.
func (t *Tree) Root() [32]byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.root.sum(t.scope)
}

func nibble(place uint64, depth int) int { return int(place>>(60-4*uint(depth))) & (fanOut - 1) }

// set adds or replaces a mark and says how many were added.
func (n *treeNode) set(p placed, depth int) int {
	n.fresh = false
	added := 0
	if n.parts != nil {
		added = n.parts[nibble(p.place, depth)].set(p, depth+1)
	} else if i, ok := slices.BinarySearchFunc(n.marks, p, placed.compare); ok {
		n.marks[i] = p
	} else {
		n.marks = slices.Insert(n.marks, i, p)
		added = 1
	}
	n.count += added
	if n.parts == nil && n.count > bucketSize && depth < maxDepth {
		n.divide(depth)
	}
	return added
}

func (n *treeNode) divide(depth int) {
	n.parts = new([fanOut]treeNode)
	for _, p := range n.marks {
		n.parts[nibble(p.place, depth)].set(p, depth+1)
	}
	n.marks = nil
}

func (n *treeNode) remove(p placed, depth int) int {
	removed := 0
	if n.parts != nil {
		removed = n.parts[nibble(p.place, depth)].remove(p, depth+1)
	} else if i, ok := slices.BinarySearchFunc(n.marks, p, placed.compare); ok {
		n.marks = slices.Delete(n.marks, i, i+1)
		removed = 1
	}
	if removed == 0 {
		return 0
	}
	n.fresh = false
	n.count -= removed
	if n.parts != nil && n.count <= bucketSize {
		n.marks = n.collect(nil)
		n.parts = nil
	}
	return removed
}

// collect appends all marks below n, in order of place.
func (n *treeNode) collect(marks []placed) []placed {
	if n.parts == nil {
		return append(marks, n.marks...)
	}
	for i := range n.parts {
		marks = n.parts[i].collect(marks)
	}
	return marks
}

// find returns the node of r if it has parts, else its marks.
func (n *treeNode) find(r Range, depth uint8) (*treeNode, []placed) {
	for n.parts != nil {
		if depth == r.Depth {
			return n, nil
		}
		n, depth = &n.parts[nibble(r.Bits, int(depth))], depth+1
	}
	return nil, within(n.marks, r)
}

// within returns the marks that lie in r.
func within(marks []placed, r Range) []placed {
	at := func(p placed, place uint64) int { return cmp.Compare(p.place, place) }
	from, _ := slices.BinarySearchFunc(marks, r.Bits, at)
	to := len(marks)
	if last := r.last(); last != ^uint64(0) {
		to, _ = slices.BinarySearchFunc(marks, last+1, at)
	}
	return marks[from:to]
}

func (n *treeNode) sum(s Scope) [32]byte {
	if n.fresh {
		return n.hash
	}
	if n.parts == nil {
		n.hash = sumBucket(s, n.marks)
	} else {
		h := sha256.New()
		h.Write([]byte("tocsin/1 branch"))
		for i := range n.parts {
			part := n.parts[i].sum(s)
			h.Write(part[:])
		}
		n.hash = [32]byte(h.Sum(nil))
	}
	n.fresh = true
	return n.hash
}

// sumBucket is the fingerprint of at most bucketSize marks, zeros of none.
func sumBucket(s Scope, marks []placed) [32]byte {
	if len(marks) == 0 {
		return [32]byte{}
	}
	h := sha256.New()
	h.Write([]byte("tocsin/1 bucket"))
	for i := range marks {
		d := marks[i].mark.digest(s)
		h.Write(d[:])
	}
	return [32]byte(h.Sum(nil))
}

// digest is SHA-256("tocsin/1 mark" ‖ scope ‖ log ‖ next ‖ id ‖ fork).
func (m *Mark) digest(s Scope) [32]byte {
	buf := make([]byte, 0, 128)
	buf = append(buf, "tocsin/1 mark"...)
	buf = append(buf, byte(s))
	id := m.Log.Bytes()
	buf = append(buf, id[:]...)
	buf = binary.BigEndian.AppendUint64(buf, m.Next)
	buf = append(buf, m.ID[:]...)
	buf = append(buf, m.Fork[:]...)
	return sha256.Sum256(buf)
}

// parts returns the fingerprints of the 16 parts of r, and how many marks each
// holds.
func (t *Tree) partsOf(r Range) (sums [fanOut][32]byte, counts [fanOut]int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, marks := t.root.find(r, 0)
	for i := range fanOut {
		if n != nil {
			sums[i], counts[i] = n.parts[i].sum(t.scope), n.parts[i].count
			continue
		}
		part := within(marks, r.part(i))
		sums[i], counts[i] = sumBucket(t.scope, part), len(part)
	}
	return sums, counts
}

// count returns the number of marks in r.
func (t *Tree) count(r Range) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, marks := t.root.find(r, 0)
	if n != nil {
		return n.count
	}
	return len(marks)
}

// marksOf returns a copy of the marks in r, in order of place, then log.
func (t *Tree) marksOf(r Range) []placed {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, marks := t.root.find(r, 0)
	if n != nil {
		return n.collect(make([]placed, 0, n.count))
	}
	return slices.Clone(marks)
}

// printSize is the length of a fingerprint on the wire. It is short because it
// is salted: what is compared is chosen after the entries are, so that nobody
// can prepare entries whose prints collide, and a chance collision (2^-64) is
// gone with the next session's salt.
const printSize = 8

type fingerprint [printSize]byte

// SaltSize is the length of the salt of a comparison, in bytes.
const SaltSize = 8

// printOf is SHA-256("tocsin/1 print" ‖ salt ‖ sum)[:8].
func printOf(salt [SaltSize]byte, sum [32]byte) fingerprint {
	var buf [14 + SaltSize + 32]byte
	copy(buf[:], "tocsin/1 print")
	copy(buf[14:], salt[:])
	copy(buf[14+SaltSize:], sum[:])
	h := sha256.Sum256(buf[:])
	return fingerprint(h[:printSize])
}

// comparePrints orders the prints of a list.
func comparePrints(a, b fingerprint) int { return bytes.Compare(a[:], b[:]) }
