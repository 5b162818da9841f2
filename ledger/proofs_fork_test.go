package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/ledger/memstore"
)

// forkOf builds a proof of any two entries, right or wrong.
func forkOf(a, b ledger.Verified) []byte {
	f := ledger.Fork{First: a.Entry(), Second: b.Entry()}
	return f.Marshal()
}

// branches returns n entries at one place, by rising id.
func branches(t testing.TB, d *device, seq uint64, prev ledger.ID, n int) []ledger.Verified {
	t.Helper()
	var all []ledger.Verified
	for i := range n {
		v := d.entry(t, seq, prev, "branch "+string(rune('a'+i)))
		at := 0
		for at < len(all) {
			x, y := all[at].Entry().ID(), v.Entry().ID()
			if bytes.Compare(x[:], y[:]) > 0 {
				break
			}
			at++
		}
		all = append(all[:at], append([]ledger.Verified{v}, all[at:]...)...)
	}
	return all
}

func TestForkProof(t *testing.T) {
	d, other := newDevice("forker"), newDevice("other")
	chain := d.chain(t, 4)
	prev := chain[2].Entry().ID()
	two := branches(t, d, 3, prev, 2)
	good := forkOf(two[0], two[1])
	f, err := ledger.ParseForkProof(good)
	if err != nil || f.Log != d.id || f.Seq != 3 || !bytes.Equal(f.Marshal(), good) {
		t.Fatalf("%+v, %v", f, err)
	}
	spoilt := bytes.Clone(good)
	spoilt[len(spoilt)-1] ^= 1
	for name, raw := range map[string][]byte{
		"in the wrong order":       forkOf(two[1], two[0]),
		"the same entry twice":     forkOf(two[0], two[0]),
		"two places":               forkOf(two[0], chain[2]),
		"two authors":              forkOf(two[0], other.entry(t, 3, prev, "x")),
		"a signature that is none": spoilt,
		"cut short":                good[:len(good)-1],
		"one byte more":            append(bytes.Clone(good), 0),
		"nothing":                  nil,
		"too long":                 make([]byte, ledger.MaxForkProof+1),
	} {
		if _, err := ledger.ParseForkProof(raw); !errors.Is(err, ledger.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTakeFork: a proof from elsewhere closes the log there, for good, and all
// devices end with the same two entries whatever they saw.
func TestTakeFork(t *testing.T) {
	ctx := context.Background()
	d := newDevice("forker")
	chain := d.chain(t, 6)
	prev := chain[2].Entry().ID()
	three := branches(t, d, 3, prev, 3)
	lowest := forkOf(three[0], three[1])
	take := func(l *ledger.Logs, raw []byte, want bool) {
		t.Helper()
		changed, err := l.TakeFork(ctx, raw)
		if err != nil || changed != want {
			t.Fatalf("changed %v, %v; want %v", changed, err, want)
		}
	}
	proofOf := func(l *ledger.Logs) []byte {
		forks := l.Forks()
		if len(forks) != 1 {
			t.Fatalf("%d forks", len(forks))
		}
		return forks[0].Marshal()
	}

	// One holds the log beyond the fork, one is behind, one holds the third.
	store := memstore.New()
	ahead := open(t, store, everyone(), ledger.Limits{})
	addAll(t, ahead, chain, ledger.Appended)
	take(ahead, forkOf(three[0], three[2]), true)
	take(ahead, forkOf(three[0], three[2]), false)
	add(t, ahead, chainNext(t, d, chain), ledger.Forked)
	behind := openMem(t)
	addAll(t, behind, chain[:2], ledger.Appended)
	take(behind, forkOf(three[1], three[2]), true)
	add(t, behind, chain[2], ledger.Appended)
	add(t, behind, three[1], ledger.Forked)
	unheard := openMem(t)
	take(unheard, forkOf(three[1], three[2]), true)
	// They meet.
	for range 2 {
		for _, l := range []*ledger.Logs{ahead, behind, unheard} {
			for _, from := range []*ledger.Logs{ahead, behind, unheard} {
				if _, err := l.TakeFork(ctx, proofOf(from)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	// The held branch of the one that is ahead may be lower than the three.
	want := proofOf(ahead)
	if f, err := ledger.ParseForkProof(want); err != nil || f.Seq != 3 {
		t.Fatal(err)
	}
	for i, l := range []*ledger.Logs{behind, unheard} {
		if !bytes.Equal(proofOf(l), want) {
			t.Errorf("device %d keeps another proof", i+1)
		}
	}
	take(unheard, lowest, false)
	// An earlier fork goes before.
	early := branches(t, d, 1, chain[0].Entry().ID(), 2)
	take(ahead, forkOf(early[0], early[1]), true)
	again := open(t, store.Reopen(), everyone(), ledger.Limits{})
	if forks := again.Forks(); len(forks) != 1 || forks[0].Seq != 1 || !again.Closed(d.id) {
		t.Errorf("after a restart: %+v", forks)
	}
	add(t, again, chainNext(t, d, chain), ledger.Forked)
}

// chainNext is the entry that would follow.
func chainNext(t testing.TB, d *device, chain []ledger.Verified) ledger.Verified {
	t.Helper()
	return d.extend(t, chain, 1, "")[len(chain)]
}

// TestTakeForkUnknown: nobody fills a store with forks of keys that nobody knows.
func TestTakeForkUnknown(t *testing.T) {
	d := newDevice("nobody")
	two := branches(t, d, 0, ledger.ID{}, 2)
	l := open(t, memstore.New(), &authors{}, ledger.Limits{})
	if changed, err := l.TakeFork(context.Background(), forkOf(two[0], two[1])); changed || !errors.Is(err, ledger.ErrNotFound) {
		t.Fatalf("%v, %v", changed, err)
	}
	if len(l.Forks()) != 0 {
		t.Fatal("it was kept")
	}
}

// TestClosing is the table of rules of closings.
func TestClosing(t *testing.T) {
	d, rolled, other := newDevice("old"), newDevice("new"), newDevice("other")
	next := ledger.LogID{Author: d.id.Author, Incarnation: 1}
	first := func(d *device, id ledger.LogID) *ledger.Entry {
		cp := *d
		cp.id = id
		return cp.entry(t, 0, ledger.ID{}, "credential and closing").Entry()
	}
	sign := func(reason ledger.ClosingReason, next ledger.LogID) ledger.Closing {
		t.Helper()
		c, err := ledger.SignClosing(d.key, testMesh, d.id, 7, ledger.Hash{9}, reason, next)
		must(t, err)
		return c
	}
	good := sign(ledger.ClosedRestored, next)
	must(t, good.Verify(testMesh, first(d, next)))
	roll := sign(ledger.ClosedKeyRoll, rolled.id)
	must(t, roll.Verify(testMesh, first(rolled, rolled.id)))
	if again, err := ledger.ParseClosing(good.Marshal()); err != nil || again != good || len(good.Marshal()) != ledger.ClosingSize {
		t.Fatalf("%+v, %v", again, err)
	}

	for name, c := range map[string]struct {
		reason ledger.ClosingReason
		next   ledger.LogID
	}{
		"no reason":                        {0, next},
		"a reason of the future":           {6, next},
		"the same incarnation":             {ledger.ClosedForked, d.id},
		"another author without a new key": {ledger.ClosedReinstalled, rolled.id},
		"a new key that is the old one":    {ledger.ClosedKeyRoll, next},
	} {
		if _, err := ledger.SignClosing(d.key, testMesh, d.id, 7, ledger.Hash{9}, c.reason, c.next); !errors.Is(err, ledger.ErrClosing) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ledger.SignClosing(other.key, testMesh, d.id, 7, ledger.Hash{9}, ledger.ClosedRestored, next); err == nil {
		t.Error("somebody else closed the log")
	}
	later := d.entry(t, 1, ledger.ID{1}, "x").Entry()
	for name, c := range map[string]struct {
		mesh  identity.MeshID
		first *ledger.Entry
		spoil func(*ledger.Closing)
	}{
		"carried by another log":       {testMesh, first(d, ledger.LogID{Author: d.id.Author, Incarnation: 2}), nil},
		"carried by another author":    {testMesh, first(other, other.id), nil},
		"carried by a later entry":     {testMesh, later, nil},
		"of another mesh":              {identity.MeshID{1}, first(d, next), nil},
		"another size":                 {testMesh, first(d, next), func(c *ledger.Closing) { c.Checkpoint.Size++ }},
		"another root":                 {testMesh, first(d, next), func(c *ledger.Closing) { c.Checkpoint.Root[0] ^= 1 }},
		"another reason":               {testMesh, first(d, next), func(c *ledger.Closing) { c.Reason = ledger.ClosedForked }},
		"another log goes on":          {testMesh, first(d, ledger.LogID{Author: d.id.Author, Incarnation: 3}), func(c *ledger.Closing) { c.Next.Incarnation = 3 }},
		"another signature":            {testMesh, first(d, next), func(c *ledger.Closing) { c.Signature[0] ^= 1 }},
		"another checkpoint signature": {testMesh, first(d, next), func(c *ledger.Closing) { c.Checkpoint.Signature[0] ^= 1 }},
	} {
		bad := good
		if c.spoil != nil {
			c.spoil(&bad)
		}
		if err := bad.Verify(c.mesh, c.first); !errors.Is(err, ledger.ErrClosing) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestVerifyRange: what the one signature of a checkpoint proves, and what not.
func TestVerifyRange(t *testing.T) {
	ctx := context.Background()
	d := newDevice("range")
	chain := d.chain(t, 700)
	l := openMem(t)
	_, err := l.AppendBatch(ctx, chain, noon)
	must(t, err)
	trees := ledger.NewTrees(l)
	root, err := trees.Root(ctx, d.id, 700)
	must(t, err)
	cp, err := ledger.SignCheckpoint(d.key, testMesh, d.id, 700, root)
	must(t, err)
	headers := func(from uint64) [][]byte {
		var all [][]byte
		for _, v := range chain[from:] {
			all = append(all, v.Entry().SignedHeader())
		}
		return all
	}
	for _, from := range []uint64{0, 1, 255, 256, 300, 699, 700} {
		edge, err := trees.Edge(ctx, d.id, from)
		must(t, err)
		got, err := ledger.VerifyRange(testMesh, edge, headers(from), cp)
		if err != nil || got.Len() != int(700-from) {
			t.Fatalf("from %d: %d entries, %v", from, got.Len(), err)
		}
		for i, e := range got.Entries() {
			if e.ID() != chain[from+uint64(i)].Entry().ID() || e.CheckSignature() != nil || e.HasBody() {
				t.Fatalf("from %d: entry %d is another", from, i)
			}
		}
	}

	edge, err := trees.Edge(ctx, d.id, 300)
	must(t, err)
	other := d.extend(t, chain[:300], 400, "other")
	for name, spoil := range map[string]func([][]byte) ([][]byte, ledger.Edge, ledger.Checkpoint){
		"one left out": func(h [][]byte) ([][]byte, ledger.Edge, ledger.Checkpoint) { return h[:len(h)-1], edge, cp },
		"two exchanged": func(h [][]byte) ([][]byte, ledger.Edge, ledger.Checkpoint) {
			h[3], h[4] = h[4], h[3]
			return h, edge, cp
		},
		"a changed byte": func(h [][]byte) ([][]byte, ledger.Edge, ledger.Checkpoint) {
			h[9] = bytes.Clone(h[9])
			h[9][80] ^= 1
			return h, edge, cp
		},
		"too long a one": func(h [][]byte) ([][]byte, ledger.Edge, ledger.Checkpoint) {
			h[9] = make([]byte, 4096)
			return h, edge, cp
		},
		"the last changed": func(h [][]byte) ([][]byte, ledger.Edge, ledger.Checkpoint) {
			h[399] = d.entry(t, 699, chain[698].Entry().ID(), "other").Entry().SignedHeader()
			return h, edge, cp
		},
		"another branch": func(h [][]byte) ([][]byte, ledger.Edge, ledger.Checkpoint) {
			for i := range h {
				h[i] = other[300+i].Entry().SignedHeader()
			}
			return h, edge, cp
		},
		"another edge": func(h [][]byte) ([][]byte, ledger.Edge, ledger.Checkpoint) {
			e := edge
			e.Hashes = append([]ledger.Hash{{1}}, e.Hashes[1:]...)
			return h, e, cp
		},
		"an edge with a hash too few": func(h [][]byte) ([][]byte, ledger.Edge, ledger.Checkpoint) {
			e := edge
			e.Hashes = e.Hashes[1:]
			return h, e, cp
		},
		"another root": func(h [][]byte) ([][]byte, ledger.Edge, ledger.Checkpoint) {
			root := cp.Root
			root[0] ^= 1
			c, err := ledger.SignCheckpoint(d.key, testMesh, d.id, 700, root)
			must(t, err)
			return h, edge, c
		},
		"another log": func(h [][]byte) ([][]byte, ledger.Edge, ledger.Checkpoint) {
			next := d.id
			next.Incarnation = 1
			c, err := ledger.SignCheckpoint(d.key, testMesh, next, 700, cp.Root)
			must(t, err)
			return h, edge, c
		},
		"a checkpoint that the author did not sign": func(h [][]byte) ([][]byte, ledger.Edge, ledger.Checkpoint) {
			c := cp
			c.Signature[0] ^= 1
			return h, edge, c
		},
	} {
		h, e, c := spoil(headers(300))
		if got, err := ledger.VerifyRange(testMesh, e, h, c); err == nil || got.Len() > 0 {
			t.Errorf("%s was accepted", name)
		}
	}

	// A carrier that spoils a signature is not found by the range, and named
	// before the entry is used: only that entry is bad, the author is not.
	spoilt := headers(300)
	spoilt[5] = bytes.Clone(spoilt[5])
	spoilt[5][len(spoilt[5])-1] ^= 1
	got, err := ledger.VerifyRange(testMesh, edge, spoilt, cp)
	must(t, err)
	for i, e := range got.Entries() {
		if bad := e.CheckSignature() != nil; bad != (i == 5) {
			t.Errorf("entry %d: bad signature %v", i, bad)
		}
	}
}
