package vault

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
)

// memDisk is a folder in memory that remembers what is on stable storage, so
// that it can be cloned as a crash would leave it, and that fails on demand.
type memDisk struct {
	mu     sync.Mutex
	names  map[string]*memNode
	stable map[string]*memNode // names as of the last syncDir
	moves  []move              // since then

	// before is called ahead of every call that changes something; an error
	// makes the call fail, without effect but for what write says.
	before func(op string) error
	// short is how many bytes of a failing WriteAt are written all the same.
	short int
	// crash is called at every point at which the machine can stop.
	crash func()
}

// move is a change of names: without from it creates node, without to it
// removes, else it renames.
type move struct {
	from, to string
	node     *memNode
}

func (m move) apply(names map[string]*memNode) {
	node := m.node
	if m.from != "" {
		node = names[m.from]
		delete(names, m.from)
	}
	if m.to != "" && node != nil {
		names[m.to] = node
	}
}

type memNode struct {
	data    []byte // as programs see it
	stable  []byte // as a power cut leaves it
	pending []func(r *rand.Rand, b []byte) []byte
}

func newMemDisk() *memDisk {
	return &memDisk{names: make(map[string]*memNode), stable: make(map[string]*memNode)}
}

func (d *memDisk) step(op string) error {
	if d.crash != nil {
		d.crash()
	}
	if d.before != nil {
		return d.before(op)
	}
	return nil
}

func (d *memDisk) move(op string, m move) error {
	if err := d.step(op); err != nil {
		return err
	}
	m.apply(d.names)
	d.moves = append(d.moves, m)
	if d.crash != nil {
		d.crash()
	}
	return nil
}

func (d *memDisk) open(name string) (file, error) {
	n, ok := d.names[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &memFile{d: d, n: n}, nil
}

func (d *memDisk) create(name string) (file, error) {
	n := new(memNode)
	if err := d.move("create", move{to: name, node: n}); err != nil {
		return nil, err
	}
	return &memFile{d: d, n: n}, nil
}

func (d *memDisk) exists(name string) (bool, error) {
	_, ok := d.names[name]
	return ok, nil
}

func (d *memDisk) rename(from, to string) error {
	if _, ok := d.names[from]; !ok {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	return d.move("rename", move{from: from, to: to})
}

func (d *memDisk) remove(name string) error {
	if _, ok := d.names[name]; !ok {
		return nil
	}
	return d.move("remove", move{from: name})
}

func (d *memDisk) syncDir() error {
	if err := d.step("syncDir"); err != nil {
		return err
	}
	d.stable, d.moves = maps.Clone(d.names), nil
	return nil
}

// clone returns the disk as a kill leaves it: all calls took effect, and what
// was not synced still is not. Faults and hooks are left out.
func (d *memDisk) clone() *memDisk {
	nodes := make(map[*memNode]*memNode)
	twin := func(n *memNode) *memNode {
		if n != nil && nodes[n] == nil {
			nodes[n] = &memNode{slices.Clone(n.data), slices.Clone(n.stable), slices.Clone(n.pending)}
		}
		return nodes[n]
	}
	c := newMemDisk()
	for name, n := range d.names {
		c.names[name] = twin(n)
	}
	for name, n := range d.stable {
		c.stable[name] = twin(n)
	}
	for _, m := range d.moves {
		c.moves = append(c.moves, move{m.from, m.to, twin(m.node)})
	}
	return c
}

// cutPower returns the disk after a power cut: what was synced, and a random
// part of what was not, in sectors and out of order.
func (d *memDisk) cutPower(r *rand.Rand) *memDisk {
	names := maps.Clone(d.stable)
	for _, m := range d.moves[:r.IntN(len(d.moves)+1)] {
		m.apply(names)
	}
	c := newMemDisk()
	for name, n := range names {
		b := slices.Clone(n.stable)
		for _, write := range n.pending {
			b = write(r, b)
		}
		c.names[name] = &memNode{data: b, stable: slices.Clone(b)}
	}
	c.stable = maps.Clone(c.names)
	return c
}

type memFile struct {
	d      *memDisk
	n      *memNode
	closed bool
}

func (f *memFile) ReadAt(b []byte, offset int64) (int, error) {
	if f.closed {
		return 0, fs.ErrClosed
	}
	if offset >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.n.data[offset:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

const sector = 512

func (f *memFile) WriteAt(b []byte, offset int64) (int, error) {
	if f.closed {
		return 0, fs.ErrClosed
	}
	if err := f.d.step("write"); err != nil {
		n := min(f.d.short, len(b))
		f.write(b[:n], offset)
		return n, err
	}
	if f.d.crash != nil && len(b) > 1 { // killed within the call
		before := slices.Clone(f.n.data)
		f.n.data = place(f.n.data, b[:len(b)/2], offset)
		f.d.crash()
		f.n.data = before
	}
	f.write(b, offset)
	if f.d.crash != nil {
		f.d.crash()
	}
	return len(b), nil
}

func (f *memFile) write(b []byte, offset int64) {
	b = slices.Clone(b)
	f.n.data = place(f.n.data, b, offset)
	f.n.pending = append(f.n.pending, func(r *rand.Rand, to []byte) []byte {
		odds := r.IntN(3) // no sector, some, all
		for start := int64(0); start < int64(len(b)); {
			end := min((offset+start)/sector*sector+sector-offset, int64(len(b)))
			if odds == 2 || odds == 1 && r.IntN(2) == 0 {
				to = place(to, b[start:end], offset+start)
			}
			start = end
		}
		if odds > 0 && r.IntN(2) == 0 { // the size is written apart from the data
			to = place(to, nil, offset+int64(len(b)))
		}
		return to
	})
}

// place writes b into to at offset, with zeros in a gap.
func place(to, b []byte, offset int64) []byte {
	if end := int(offset) + len(b); end > len(to) {
		to = append(to, make([]byte, end-len(to))...)
	}
	copy(to[offset:], b)
	return to
}

func (f *memFile) truncate(size int64) error {
	if err := f.d.step("truncate"); err != nil {
		return err
	}
	cut := func(b []byte) []byte {
		if size < int64(len(b)) {
			return b[:size:size]
		}
		return place(b, nil, size)
	}
	f.n.data = cut(f.n.data)
	f.n.pending = append(f.n.pending, func(r *rand.Rand, b []byte) []byte {
		if r.IntN(2) == 0 {
			return b
		}
		return cut(b)
	})
	return nil
}

func (f *memFile) size() (int64, error) { return int64(len(f.n.data)), nil }

func (f *memFile) sync() error {
	if err := f.d.step("sync"); err != nil {
		f.n.pending = nil // the kernel drops what it could not write, and forgets
		return err
	}
	f.n.stable, f.n.pending = slices.Clone(f.n.data), nil
	return nil
}

func (f *memFile) Close() error {
	if f.closed {
		return errors.New("closed twice")
	}
	f.closed = true
	return nil
}
