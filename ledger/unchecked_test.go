package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"tocsin/ledger"
)

// carried returns the headers of a chain from one on, with some signatures
// spoilt.
func carried(chain []ledger.Verified, from uint64, spoilt ...uint64) [][]byte {
	var out [][]byte
	for _, v := range chain[from:] {
		h := bytes.Clone(v.Entry().SignedHeader())
		if slices.Contains(spoilt, v.Entry().Header.Seq) {
			h[len(h)-1] ^= 1
		}
		out = append(out, h)
	}
	return out
}

// carry has n take headers that continue what it holds as a proved range.
func (n *node) carry(headers [][]byte, cp ledger.Checkpoint, carrier string) []ledger.Outcome {
	n.m.t.Helper()
	ctx := context.Background()
	edge, err := n.trees.Edge(ctx, cp.Log, next(n.logs, cp.Log))
	must(n.m.t, err)
	p, err := ledger.VerifyRange(n.m.trust.MeshID(), edge, headers, cp)
	must(n.m.t, err)
	out, err := n.logs.AppendProved(ctx, p, []byte(carrier), noon)
	must(n.m.t, err)
	return out
}

// checkAll works through what is unchecked, in steps, and returns what was
// spoilt.
func (n *node) checkAll(budget int) (spoilt []ledger.Spoilt) {
	n.m.t.Helper()
	for {
		r, err := n.logs.Check(context.Background(), budget)
		must(n.m.t, err)
		if r.Checked > uint64(budget) {
			n.m.t.Fatalf("a step checked %d, more than %d", r.Checked, budget)
		}
		spoilt = append(spoilt, r.Spoilt...)
		if !r.More {
			return spoilt
		}
	}
}

// provedLog is an author's log of n entries with its checkpoint, and another
// device that holds its first entry.
func provedLog(t testing.TB, size int) (author, n *node, chain []ledger.Verified, cp ledger.Checkpoint) {
	t.Helper()
	m := newMesh(t)
	author, n = m.enrol("author", hospital), m.enrol("reader", ambulance)
	chain = author.chain(t, size)
	author.take(chain)
	n.take(chain[:1])
	return author, n, chain, author.checkpoint(uint64(size))
}

// TestUnchecked: an entry of a proved range whose signature was spoilt by who
// carried it is handed to nobody, in no way and across restarts; its carrier is
// named, once; and the entry is taken back from another.
func TestUnchecked(t *testing.T) {
	ctx := context.Background()
	author, n, chain, cp := provedLog(t, 700)
	log := author.id
	if out := n.carry(carried(chain, 1, 5, 300), cp, "mallory"); len(out) != 699 || slices.ContainsFunc(out, func(o ledger.Outcome) bool { return o != ledger.Appended }) {
		t.Fatalf("outcomes %v", out)
	}
	mark := func() uint64 { m, _ := n.logs.Tree().Get(log); return m.Next }
	for range 2 { // the second time after a restart
		if next(n.logs, log) != 700 || n.logs.Checked(log) != 1 || mark() != 1 || n.logs.Stats().Unchecked != 699 {
			t.Fatalf("held %d, checked %d, claimed %d", next(n.logs, log), n.logs.Checked(log), mark())
		}
		n.open()
	}
	if r, err := n.table.Cosign(ctx, noon, cp); err != nil || !errors.Is(r[0].Err, ledger.ErrNotFound) {
		t.Fatalf("cosigned what is unchecked: %v, %v", r, err)
	}
	if _, err := n.table.Promise(ctx, log, 0, 2, noon.Add(time.Hour)); !errors.Is(err, ledger.ErrNotFound) {
		t.Fatalf("custody of what is unchecked: %v", err)
	}
	if need := n.logs.Need([]ledger.Mark{{Log: log, Next: 700, ID: chain[699].Entry().ID()}}, noon); len(need.Wants)+len(need.Branches) > 0 {
		t.Fatalf("what is unchecked is asked for again, or taken for a branch: %+v", need)
	}

	// Whoever reads it first finds it out, and the report comes once.
	if _, err := n.logs.Entry(ctx, log, 5); !errors.Is(err, ledger.ErrDamaged) {
		t.Fatalf("a spoilt entry was handed out: %v", err)
	}
	read := 0
	err := n.logs.Entries(ctx, log, 0, 700, func(e *ledger.Entry) error { read++; return e.CheckSignature() })
	if !errors.Is(err, ledger.ErrDamaged) || read != 5 {
		t.Fatalf("%d entries were read, %v", read, err)
	}
	spoilt := n.checkAll(100)
	slices.SortFunc(spoilt, func(a, b ledger.Spoilt) int { return int(a.Seq) - int(b.Seq) })
	if len(spoilt) != 2 || spoilt[0].Seq != 5 || spoilt[1].Seq != 300 || string(spoilt[0].Carrier) != "mallory" || string(spoilt[1].Carrier) != "mallory" {
		t.Fatalf("named: %v", spoilt)
	}
	for range 2 { // the second time after a restart
		if lost := n.logs.Lost(); len(lost) != 2 || n.logs.Checked(log) != 5 || mark() != 5 || n.logs.Stats().Spoilt != 2 || n.logs.Stats().Unchecked != 0 {
			t.Fatalf("lost %v, checked %d, claimed %d, %+v", lost, n.logs.Checked(log), mark(), n.logs.Stats())
		}
		if by, ok := n.logs.SpoiltBy(log, 300); !ok || string(by) != "mallory" {
			t.Fatalf("spoilt by %q", by)
		}
		if again := n.checkAll(1000); len(again) != 0 {
			t.Fatalf("named again: %v", again)
		}
		rep, err := n.logs.VerifyAll(ctx, nil)
		must(t, err)
		if rep.Entries != 698 || rep.Failures != 2 {
			t.Fatalf("%d entries verified, %d failures", rep.Entries, rep.Failures)
		}
		n.open()
	}

	// An honest one brings them, whole or not.
	bare, err := ledger.VerifySigned(chain[300].Entry().SignedHeader())
	must(t, err)
	add(t, n.logs, bare, ledger.Restored)
	add(t, n.logs, chain[5], ledger.Restored)
	for range 2 {
		if len(n.logs.Lost()) != 0 || n.logs.Checked(log) != 700 || n.logs.Tree().Root() != author.logs.Tree().Root() {
			t.Fatalf("lost %v, checked %d", n.logs.Lost(), n.logs.Checked(log))
		}
		rep, err := n.logs.VerifyAll(ctx, nil)
		must(t, err)
		if !rep.OK() || rep.Entries != 700 {
			t.Fatalf("%+v", rep)
		}
		n.open()
	}
	r, err := n.table.Cosign(ctx, noon, cp)
	must(t, err)
	must(t, r[0].Err)
}

// TestUncheckedFork: no proof of a fork is made of a signature that was spoilt.
func TestUncheckedFork(t *testing.T) {
	author, n, chain, cp := provedLog(t, 20)
	n.carry(carried(chain, 1, 7), cp, "mallory")
	other := author.extend(t, chain[:7], 3, "other")
	add(t, n.logs, other[7], ledger.Forked)
	if f, forked := n.logs.Fork(author.id); forked {
		if _, err := ledger.ParseForkProof(f.Marshal()); err != nil {
			t.Fatalf("a fork proof that proves nothing: %v", err)
		}
	}
	n.checkAll(100)
	add(t, n.logs, chain[7], ledger.Restored)
	add(t, n.logs, other[7], ledger.Forked)
	f, forked := n.logs.Fork(author.id)
	if !forked || f.Seq != 7 {
		t.Fatal("the fork was not found once the entry was back")
	}
	_, err := ledger.ParseForkProof(f.Marshal())
	must(t, err)
}

// TestProvedRefused: what is no continuation of a log that is held is not taken
// as a proved range, and nor is what came in the meantime.
func TestProvedRefused(t *testing.T) {
	ctx := context.Background()
	author, n, chain, cp := provedLog(t, 40)
	p, err := ledger.VerifyRange(n.m.trust.MeshID(), ledger.Edge{Log: author.id}, carried(chain, 0), cp)
	must(t, err)
	fresh := n.m.enrol("fresh", ambulance)
	if out, err := fresh.logs.AppendProved(ctx, p, nil, noon); err != nil || !slices.Equal(out, []ledger.Outcome{ledger.Penned}) || next(fresh.logs, author.id) != 0 {
		t.Fatalf("a log began with an unchecked credential: %v, %v", out, err)
	}
	if _, err := n.logs.AppendProved(ctx, p, make([]byte, 65), noon); err == nil {
		t.Fatal("a carrier's name of 65 bytes")
	}
	n.take(chain[:10]) // gossip was faster
	out, err := n.logs.AppendProved(ctx, p, []byte("x"), noon)
	if err != nil || len(out) != 40 || out[9] != ledger.Known || out[10] != ledger.Appended || n.logs.Checked(author.id) != 10 {
		t.Fatalf("%v, %v, checked %d", out, err, n.logs.Checked(author.id))
	}
	own := n.m.enrol("own", hospital)
	if _, err := own.logs.Own(ctx, own.id); err != nil {
		t.Fatal(err)
	}
	mine := own.extend(t, []ledger.Verified{write(t, mustOwn(t, own), own.device, "")}, 9, "")
	other := n.m.enrol("other", hospital)
	other.take(mine)
	root, err := other.trees.Root(ctx, own.id, 10)
	must(t, err)
	ownCP, err := ledger.SignCheckpoint(own.key, n.m.trust.MeshID(), own.id, 10, root)
	must(t, err)
	if out := own.carry(carried(mine, 1), ownCP, "x"); !slices.Equal(out, []ledger.Outcome{ledger.Penned}) {
		t.Fatalf("entries of this device's own, which it did not write: %v", out)
	}

	// The budget of the day holds here too.
	tight := open(t, n.store, everyone(), ledger.Limits{DayHeaders: 45, DayBytes: 1 << 40})
	longer := author.extend(t, chain, 60, "")
	author.take(longer)
	edge, err := ledger.NewTrees(tight).Edge(ctx, author.id, 40)
	must(t, err)
	p, err = ledger.VerifyRange(n.m.trust.MeshID(), edge, carried(longer, 40), author.checkpoint(100))
	must(t, err)
	if out, err = tight.AppendProved(ctx, p, nil, noon); err != nil || len(out) != 6 || out[5] != ledger.OverBudget || next(tight, author.id) != 45 {
		t.Fatalf("%v, %v", out, err)
	}
}

func mustOwn(t testing.TB, n *node) *ledger.Log {
	t.Helper()
	g, err := n.logs.Own(context.Background(), n.id)
	must(t, err)
	return g
}

// TestUncheckedProperty: whatever is spoilt, however often the device is
// restarted and in whatever order things come, nothing with a wrong signature is
// handed out, and in the end everything is held.
func TestUncheckedProperty(t *testing.T) {
	for seed := range uint64(20) {
		t.Run("", func(t *testing.T) { uncheckedProperty(t, rand.New(rand.NewPCG(seed, 4))) })
	}
}

func uncheckedProperty(t *testing.T, rnd *rand.Rand) {
	ctx := context.Background()
	author, n, chain, _ := provedLog(t, 120)
	blamed := make(map[uint64]bool)
	var bad []uint64
	for range 60 {
		held := next(n.logs, author.id)
		switch rnd.IntN(6) {
		case 0, 1: // a carrier, honest or not
			if held == 120 {
				continue
			}
			to := held + 1 + rnd.Uint64N(120-held)
			var spoilt []uint64
			for seq := held; seq < to; seq++ {
				if rnd.IntN(4) == 0 {
					spoilt = append(spoilt, seq)
				}
			}
			bad = append(bad, spoilt...)
			n.carry(carried(chain[:to], held, spoilt...), author.checkpoint(to), "mallory")
		case 2: // gossip, also ahead of gaps
			at := rnd.IntN(120)
			_, err := n.logs.Append(ctx, chain[at], noon)
			must(t, err)
		case 3:
			r, err := n.logs.Check(ctx, 1+rnd.IntN(40))
			must(t, err)
			for _, s := range r.Spoilt {
				if blamed[s.Seq] || !slices.Contains(bad, s.Seq) {
					t.Fatalf("entry %d was named twice, or without reason", s.Seq)
				}
				blamed[s.Seq] = true
			}
		case 4:
			seq := rnd.Uint64N(held)
			if e, err := n.logs.Entry(ctx, author.id, seq); err == nil && e.CheckSignature() != nil {
				t.Fatalf("entry %d was handed out with a wrong signature", seq)
			}
		case 5:
			n.checkAll(1000)
			n.open() // what was found and not yet reported may be found again
			clear(blamed)
		}
	}
	n.checkAll(50)
	for i := range chain { // others bring everything, the last first
		_, err := n.logs.Append(ctx, chain[len(chain)-1-i], noon)
		must(t, err)
	}
	n.checkAll(50)
	rep, err := n.logs.VerifyAll(ctx, nil)
	must(t, err)
	if !rep.OK() || rep.Entries != 120 || n.logs.Checked(author.id) != 120 || n.logs.Tree().Root() != author.logs.Tree().Root() {
		t.Fatalf("%+v, checked %d, lost %v", rep, n.logs.Checked(author.id), n.logs.Lost())
	}
}

// FuzzUnchecked: a record of what is unchecked has one encoding.
func FuzzUnchecked(f *testing.F) {
	id := newDevice("fuzz").id
	run := func(from, to uint64, state, carrier byte) []byte {
		return []byte{0, 0, 0, 0, 0, 0, 0, byte(from), 0, 0, 0, 0, 0, 0, 0, byte(to), state, 0, carrier}
	}
	f.Add([]byte{0, 0, 0, 0, 0})
	f.Add(slices.Concat([]byte{0, 2, 1, 'x', 0, 0, 19}, run(1, 9, 0, 0)))
	f.Add(slices.Concat([]byte{0, 4, 1, 'x', 1, 'y', 0, 0, 38}, run(1, 9, 1, 0), run(9, 10, 0, 1)))
	f.Add(slices.Concat([]byte{0, 2, 1, 'x', 0, 0, 38}, run(1, 9, 1, 0), run(8, 10, 0, 0)))
	f.Fuzz(func(t *testing.T, data []byte) {
		value := ledger.SealRuns(id, data)
		again, err := ledger.RunsRecord(id, value)
		if err == nil && !bytes.Equal(again, value) {
			t.Fatalf("%x became %x", value, again)
		}
		if err != nil && !errors.Is(err, ledger.ErrDamaged) {
			t.Fatal(err)
		}
	})
}

// TestUncheckedRecordLost: where it cannot be read what was checked, nothing was.
func TestUncheckedRecordLost(t *testing.T) {
	ctx := context.Background()
	author, n, chain, cp := provedLog(t, 30)
	n.carry(carried(chain, 1, 20), cp, "mallory")
	must(t, n.store.Commit(ctx, []ledger.Record{{Table: ledger.TableUnchecked, Log: author.id, Value: []byte("torn")}}))
	n.open()
	if n.logs.Checked(author.id) != 1 {
		t.Fatalf("%d entries count as checked", n.logs.Checked(author.id))
	}
	if spoilt := n.checkAll(1000); len(spoilt) != 1 || spoilt[0].Seq != 20 || len(spoilt[0].Carrier) != 0 {
		t.Fatalf("named: %v", spoilt)
	}
}

// TestPromiseSurvives: a later promise about less of a log does not end the one
// before it.
func TestPromiseSurvives(t *testing.T) {
	ctx := context.Background()
	author, n, chain, _ := provedLog(t, 20)
	n.take(chain)
	first, second := noon.Add(time.Hour), noon.Add(2*time.Hour)
	_, err := n.table.Promise(ctx, author.id, 1, 10, first)
	must(t, err)
	_, err = n.table.Promise(ctx, author.id, 5, 20, second)
	must(t, err)
	n.open()
	k, err := n.table.Keeping(ctx, author.id)
	must(t, err)
	for seq, want := range map[uint64]time.Time{0: {}, 1: first, 4: first, 5: second, 19: second} {
		if got := k.Promised(seq); !got.Equal(want) {
			t.Errorf("entry %d is promised until %s, not %s", seq, got, want)
		}
	}
	if len(k.Others(5, noon)) != 0 {
		t.Error("our own promise counts as another's")
	}
}
