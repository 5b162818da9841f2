package node

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"tocsin/crypto/group"
	"tocsin/ledger"
	"tocsin/ledger/blob"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

// named is an attachment of so many full chunks that a message could name, and the chunks.
func named(n byte, chunks int) (ledger.ID, *message.Attachment, [][]byte) {
	m := &message.Attachment{Size: int64(chunks) * message.ChunkSize}
	var out [][]byte
	for i := range chunks {
		data := bytes.Repeat([]byte{n, byte(i)}, blob.MaxChunk/2)
		out, m.Chunks = append(out, data), append(m.Chunks, sha256.Sum256(data))
	}
	return ledger.ID{n}, m, out
}

func state(t *testing.T, a *attachments, id ledger.ID) string {
	t.Helper()
	h := a.held(id)
	if h == nil {
		t.Fatal("it is not known")
	}
	return h.State
}

func take(t *testing.T, a *attachments, m *message.Attachment, data [][]byte) (last error) {
	t.Helper()
	for i, d := range data {
		last = a.TakeBlob("neighbour", m.Chunks[i], d)
	}
	return last
}

// TestAttachmentsShareTheRoom: what is begun becomes whole; files for which there would be no room beside it are not begun; and
// where the room ends all the same, parts make way.
func TestAttachmentsShareTheRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.enrol("Amara Okafor", orgHospital).start(t, func(cfg *Config) { cfg.Attachments.Keep = 16 * blob.MaxChunk })
	a := n.attached
	one, m1, d1 := named(1, 6)
	two, m2, d2 := named(2, 6)
	three, m3, d3 := named(3, 6)
	a.learn(one, group.ID{}, m1)
	a.learn(two, group.ID{}, m2)
	a.learn(three, group.ID{}, m3)
	if s := []string{state(t, a, one), state(t, a, two), state(t, a, three)}; s[0] != inbox.HeldFetching || s[1] != inbox.HeldFetching || s[2] != inbox.HeldNoRoom {
		t.Fatalf("of three of 6 chunks in room for 16: %v", s)
	}
	check(t, take(t, a, m1, d1))
	if a.promised != 6*blob.MaxChunk || state(t, a, one) != inbox.HeldHere {
		t.Errorf("%d bytes are promised", a.promised)
	}
	a.wantAll()
	if state(t, a, three) != inbox.HeldNoRoom {
		t.Error("begun without room")
	}
	check(t, a.forget(one))
	a.wantAll()
	if state(t, a, three) != inbox.HeldFetching || a.promised != 12*blob.MaxChunk {
		t.Errorf("there is room: %s, %d bytes are promised", state(t, a, three), a.promised)
	}
	// Each has two chunks left to come when a large file of this device takes the room.
	check(t, take(t, a, m2, d2[:4]))
	check(t, take(t, a, m3, d3[:4]))
	g := makeGroup(t, n)
	attach(t, n, g, "own.bin", fileOf(7*message.ChunkSize))
	check(t, a.TakeBlob("neighbour", m2.Chunks[4], d2[4]))
	if err := a.TakeBlob("neighbour", m3.Chunks[4], d3[4]); err == nil {
		t.Fatal("the quota is not full")
	}
	if h := a.held(three); h.State != inbox.HeldNoRoom || h.Have != 0 || a.store.Has(m3.Chunks[0]) {
		t.Errorf("what is never to be whole stays: %+v", h)
	}
	check(t, a.TakeBlob("neighbour", m2.Chunks[5], d2[5]))
	if state(t, a, two) != inbox.HeldHere || a.promised != 0 {
		t.Errorf("the other did not become whole: %s, %d bytes are promised", state(t, a, two), a.promised)
	}
}

// TestAttachmentAskedForKeepsItsParts: somebody waits for it, so that it goes on when there is room; and it may use all of the quota.
func TestAttachmentAskedForKeepsItsParts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.enrol("Amara Okafor", orgHospital).start(t, func(cfg *Config) { cfg.Attachments.Keep = 8 * blob.MaxChunk })
	a := n.attached
	id, m, d := named(1, 8)
	a.learn(id, group.ID{}, m)
	if state(t, a, id) != inbox.HeldNoRoom {
		t.Fatal("the share of own files is used up by itself")
	}
	a.mu.Lock()
	a.items[id].asked = true
	a.want(a.items[id])
	a.mu.Unlock()
	if state(t, a, id) != inbox.HeldFetching {
		t.Fatalf("asked for, and %s", state(t, a, id))
	}
	check(t, take(t, a, m, d[:5]))
	g := makeGroup(t, n)
	attach(t, n, g, "own.bin", fileOf(3*message.ChunkSize))
	if err := a.TakeBlob("neighbour", m.Chunks[5], d[5]); err == nil {
		t.Fatal("the quota is not full")
	}
	if h := a.held(id); h.State != inbox.HeldNoRoom || h.Have != 5 || !a.store.Has(m.Chunks[0]) {
		t.Errorf("%+v", h)
	}
}

// TestBlobTakenWhileMessagesChange: between the decision to store a chunk and its place on the disk a message
// may be erased, or come to name it.
func TestBlobTakenWhileMessagesChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amara Okafor", orgHospital).start(t).attached
	id, m, d := named(1, 1)
	a.learn(id, group.ID{}, m)
	keep, _ := a.awaits(m.Chunks[0])
	check(t, a.forget(id))
	check(t, a.store.Put(m.Chunks[0], d[0], keep))
	if _, err := a.took(m.Chunks[0], keep, nil); err != nil || a.store.Has(m.Chunks[0]) {
		t.Errorf("a chunk of an erased message stays, %v", err)
	}
	a.HaveBlobs("neighbour", m.Chunks, 2)
	keep, carry := a.awaits(m.Chunks[0])
	if keep || !carry {
		t.Fatal("it is not fetched for the neighbour")
	}
	a.learn(id, group.ID{}, m)
	check(t, a.store.Put(m.Chunks[0], d[0], keep))
	if whole, err := a.took(m.Chunks[0], keep, nil); err != nil || !whole || state(t, a, id) != inbox.HeldHere || len(a.store.Kept()) != 1 {
		t.Errorf("a chunk that a message names now is %s, %v", state(t, a, id), err)
	}
}

// TestDamageThatANeighbourFinds: a kept chunk that cannot be served is missing from then on and fetched again; asking for what was never here
// changes nothing.
func TestDamageThatANeighbourFinds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mb := w.enrol("Amara Okafor", orgHospital)
	a := mb.start(t).attached
	id, m, d := named(1, 3)
	a.learn(id, group.ID{}, m)
	check(t, take(t, a, m, d[:2]))
	if got, err := a.ReadBlob(m.Chunks[2]); got != nil || err != nil || a.held(id).Have != 2 || a.items[id].asked {
		t.Errorf("a chunk that is still to come: %d bytes, %v", len(got), err)
	}
	check(t, take(t, a, m, d))
	h := hex.EncodeToString(m.Chunks[1][:])
	check(t, os.WriteFile(filepath.Join(mb.dir, "blobs", "kept", h[:2], h), []byte("spoilt"), 0o600))
	if got, err := a.ReadBlob(m.Chunks[1]); got != nil || err != nil {
		t.Errorf("%d spoilt bytes are served, %v", len(got), err)
	}
	if h := a.held(id); h.State != inbox.HeldFetching || h.Have != 2 || a.items[id].asked {
		t.Errorf("%+v", h)
	}
	check(t, a.TakeBlob("neighbour", m.Chunks[1], d[1]))
	if state(t, a, id) != inbox.HeldHere {
		t.Error("it does not become whole again")
	}
}

// TestCarriedChunksWithoutRoom: a chunk that is here for others only, because the quota is full, counts as missing: it may go at any time.
func TestCarriedChunksWithoutRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amara Okafor", orgHospital).start(t, func(cfg *Config) { cfg.Attachments.Keep = 3 * blob.MaxChunk }).attached
	full, mf, df := named(1, 2)
	a.learn(full, group.ID{}, mf)
	check(t, take(t, a, mf, df))
	id, m, d := named(2, 2)
	for i := range d {
		check(t, a.store.Put(m.Chunks[i], d[i], false))
	}
	a.learn(id, group.ID{}, m)
	if h := a.held(id); h.State != inbox.HeldNoRoom || h.Have != 1 {
		t.Errorf("%+v", h)
	}
	check(t, a.forget(full))
	a.wantAll()
	if h := a.held(id); h.State != inbox.HeldHere || len(a.store.Kept()) != 2 {
		t.Errorf("there is room: %+v", h)
	}
}
