package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tocsin/ledger"
)

// compareLogs is steps 1 and 2 of one node towards another.
func compareLogs(t testing.TB, mine, theirs *ledger.Logs) (marks []ledger.Mark, behind, equal bool) {
	t.Helper()
	roots := ledger.MarshalRoots([]ledger.ScopeRoot{{Scope: ledger.ScopeHeaders, Root: mine.Tree().Root()}})
	asked, err := ledger.ParseRoots(roots)
	if err != nil {
		t.Fatal(err)
	}
	answers, err := ledger.ParseAnswers(ledger.AnswerRoots(asked, func(ledger.Scope) *ledger.Tree { return theirs.Tree() }), 1)
	if err != nil {
		t.Fatal(err)
	}
	if answers[0].Equal {
		return nil, false, true
	}
	c := ledger.Compare(mine.Tree(), [ledger.SaltSize]byte{7}, answers[0].Count)
	server := ledger.NewAnswerer(theirs.Tree())
	for !c.Done() {
		q, ok := c.Ask()
		if !ok {
			t.Fatal("it neither asks nor ends")
		}
		if err := server.Answer(q, c.Take); err != nil {
			t.Fatal(err)
		}
	}
	marks, behind = c.Result()
	return marks, behind, false
}

// fetch brings one range as bytes, headers alone where headers is set.
func fetch(t testing.TB, to, from *ledger.Logs, w ledger.Want, headers bool) {
	t.Helper()
	ctx := context.Background()
	head, _ := from.Head(w.Log)
	if w.From >= head.Next {
		return
	}
	err := from.Entries(ctx, w.Log, w.From, w.To, func(e *ledger.Entry) error {
		if headers && e.Header.Seq > 0 || !e.HasBody() {
			v, _, err := ledger.VerifyHeaderFrame(e.HeaderFrame())
			if err != nil {
				return err
			}
			_, err = to.Append(ctx, v, noon)
			return err
		}
		v, err := ledger.Verify(e.Frame())
		if err != nil {
			return err
		}
		_, err = to.Append(ctx, v, noon)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// synchronise is one session of one node with another, as the node does it.
func synchronise(t testing.TB, to, from *ledger.Logs, headers bool) {
	t.Helper()
	ctx := context.Background()
	marks, _, _ := compareLogs(t, to, from)
	need := to.Need(marks, noon)
	for _, id := range need.Proofs {
		f, ok := from.Fork(id)
		if !ok {
			t.Fatal("a proof was shown and is not held")
		}
		if _, err := to.TakeFork(ctx, f.Marshal()); err != nil {
			t.Fatal(err)
		}
	}
	for _, w := range ledger.Cut(need.Wants) {
		fetch(t, to, from, w, headers)
	}
	for _, m := range to.Need(marks, noon).Branches {
		if ours, err := to.Entry(ctx, m.Log, m.Next-1); err != nil || ours.ID() == ledger.ID(m.ID) {
			continue
		}
		b := ledger.NewBisect(m.Next - 1)
		for {
			seq, found := b.Place()
			ours, err := to.Entry(ctx, m.Log, seq)
			if err != nil {
				t.Fatal(err)
			}
			theirs, err := from.Entry(ctx, m.Log, seq)
			if err != nil {
				t.Fatal(err)
			}
			if found {
				fetch(t, to, from, ledger.Want{Log: m.Log, From: seq, To: seq + 1}, headers)
				break
			}
			b.Take(ours.ID() == theirs.ID())
		}
	}
	for _, m := range marks {
		for _, again := range []bool{false, true} {
			if w, ok := to.Evidence(m, again); ok {
				fetchEvidence(t, to, from, w)
			}
		}
	}
}

// fetchEvidence brings what is known of the branches of a fork, as bytes.
func fetchEvidence(t testing.TB, to, from *ledger.Logs, w ledger.Want) {
	t.Helper()
	ctx := context.Background()
	expected := ledger.Expect(ledger.Request{Want: w, Piece: ledger.PieceEvidence})
	err := from.EachEvidence(ctx, w.Log, w.From, w.To, func(e *ledger.Entry) error {
		raw := ledger.MarshalEvidence(e)
		h, err := ledger.ParseEvidence(raw)
		if err != nil {
			return err
		}
		if err := expected.Take(ledger.PieceEvidence, h.Log(), h.Seq); err != nil {
			return err
		}
		v, err := ledger.VerifyEvidence(raw)
		if err != nil {
			return err
		}
		_, err = to.Append(ctx, v, noon)
		return err
	})
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		t.Fatal(err)
	}
}

// TestSynchroniseConverges: however entries and branches of forked logs are
// spread, and in whatever order nodes meet, all end with one root.
func TestSynchroniseConverges(t *testing.T) {
	type history struct{ trunk, a, b []ledger.Verified }
	var logs []history
	for i := range 4 {
		d := newDevice(fmt.Sprint("synchronise ", i))
		trunk := d.chain(t, 6)
		logs = append(logs, history{trunk, d.extend(t, trunk, 6, "a"), d.extend(t, trunk, 5, "b")})
	}
	ctx := context.Background()
	rapid.Check(t, func(rt *rapid.T) {
		nodes := make([]*ledger.Logs, rapid.IntRange(2, 4).Draw(rt, "nodes"))
		for i := range nodes {
			nodes[i] = openMem(t)
			for j, h := range logs {
				chain := h.a
				if rapid.Bool().Draw(rt, "branch") && j%2 == 0 {
					chain = h.b
				}
				n := rapid.IntRange(0, len(chain)).Draw(rt, fmt.Sprintf("node %d has of log %d", i, j))
				if _, err := nodes[i].AppendBatch(ctx, chain[:n], noon); err != nil {
					rt.Fatal(err)
				}
			}
		}
		pick := func(name string) *ledger.Logs {
			return nodes[rapid.IntRange(0, len(nodes)-1).Draw(rt, name)]
		}
		for range rapid.IntRange(0, 6).Draw(rt, "meetings") {
			synchronise(t, pick("to"), pick("from"), rapid.Bool().Draw(rt, "headers"))
		}
		for range 3 {
			for i := range nodes {
				j := (i + 1) % len(nodes)
				synchronise(t, nodes[i], nodes[j], false)
				synchronise(t, nodes[j], nodes[i], false)
			}
		}
		for i, n := range nodes {
			if n.Tree().Root() != nodes[0].Tree().Root() {
				rt.Fatalf("node %d ends with another root than node 0", i)
			}
			for _, f := range n.Forks() {
				if f.Seq != 6 {
					rt.Fatalf("a fork at 6 is proved at %d", f.Seq)
				}
				bothBranches(t, n, f.Log) // can be read
			}
		}
	})
}

// TestTreeFollowsLogs: the fingerprints are those of the heads, also after a
// restart.
func TestTreeFollowsLogs(t *testing.T) {
	l := openMem(t)
	if l.Tree().Len() != 0 {
		t.Error("an empty node has fingerprints")
	}
	var roots [][32]byte
	for i := range 40 {
		d := newDevice(fmt.Sprint("follow ", i))
		addAll(t, l, d.chain(t, 2), ledger.Appended)
		roots = append(roots, l.Tree().Root())
	}
	if slices.ContainsFunc(roots[1:], func(r [32]byte) bool { return r == roots[0] }) || l.Tree().Len() != 40 {
		t.Error("an entry does not show")
	}
	other := openMem(t)
	for i := 39; i >= 0; i-- {
		addAll(t, other, newDevice(fmt.Sprint("follow ", i)).chain(t, 2), ledger.Appended)
	}
	if other.Tree().Root() != l.Tree().Root() {
		t.Error("the order in which entries came shows")
	}
}

// TestIslands: what waits ahead of a gap is not asked for again.
func TestIslands(t *testing.T) {
	l := openMem(t)
	d := newDevice("islands")
	chain := d.chain(t, 20)
	addAll(t, l, chain[:3], ledger.Appended)
	addAll(t, l, chain[5:8], ledger.Penned)
	addAll(t, l, chain[12:13], ledger.Penned)
	if got := ranges(l.Islands(d.id)); got != ranges([]ledger.Want{{Log: d.id, From: 5, To: 8}, {Log: d.id, From: 12, To: 13}}) {
		t.Errorf("islands %s", got)
	}
	need := l.Need([]ledger.Mark{{Log: d.id, Next: 20, ID: [32]byte{1}}}, noon)
	want := []ledger.Want{{Log: d.id, From: 3, To: 5}, {Log: d.id, From: 8, To: 12}, {Log: d.id, From: 13, To: 20}}
	if !slices.Equal(need.Wants, want) {
		t.Errorf("wants %s", ranges(need.Wants))
	}
	addAll(t, l, chain[3:5], ledger.Appended)
	if next(l, d.id) != 8 || len(l.Islands(d.id)) != 1 {
		t.Errorf("after the gap was filled: %d entries, islands %v", next(l, d.id), l.Islands(d.id))
	}
}

// TestBisect finds the place where branches part in few steps.
func TestBisect(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		parted := rapid.Uint64Range(0, 1<<40).Draw(rt, "parted")
		b := ledger.NewBisect(parted + rapid.Uint64Range(0, 1<<40).Draw(rt, "beyond"))
		for step := 0; ; step++ {
			seq, found := b.Place()
			if found {
				if seq != parted {
					rt.Fatalf("found %d, not %d", seq, parted)
				}
				return
			}
			if step > 45 {
				rt.Fatal("too many steps")
			}
			b.Take(seq < parted)
		}
	})
}

// TestPlan: bodies are asked for by class, then the newest first.
func TestPlan(t *testing.T) {
	ctx := context.Background()
	l := openMem(t)
	d := newDevice("plan")
	now := noon
	hlc := func(age time.Duration) uint64 { return uint64(now.Add(-age).UnixMilli()) << 16 }
	var prev ledger.ID
	for seq, h := range []ledger.Header{
		{Kind: ledger.KindControl, HLC: hlc(9 * time.Hour)},
		{Kind: ledger.KindData, HLC: hlc(40 * 24 * time.Hour)},
		{Kind: ledger.KindData, HLC: hlc(8 * time.Hour)},
		{Kind: ledger.KindData, HLC: hlc(7 * time.Hour)},
		{Kind: ledger.KindData, HLC: hlc(6 * time.Hour), Priority: ledger.Urgent},
		{Kind: ledger.KindEpoch, HLC: hlc(5 * time.Hour)},
		{Kind: ledger.KindData, HLC: hlc(4 * time.Hour), Priority: ledger.Stat},
		{Kind: ledger.KindData, HLC: hlc(3 * time.Hour), LifetimeS: 60},
		{Kind: ledger.KindData, HLC: hlc(2 * time.Hour)},
	} {
		h.Seq, h.Prev = uint64(seq), prev
		v := d.sign(t, h, "body")
		prev = v.Entry().ID()
		if seq > 0 {
			var err error
			if v, _, err = ledger.VerifyHeaderFrame(v.Entry().HeaderFrame()); err != nil {
				t.Fatal(err)
			}
		}
		add(t, l, v, ledger.Appended)
	}
	var absent []*ledger.Entry
	if err := l.Bodyless(ctx, d.id, 0, 9, func(e *ledger.Entry) error { absent = append(absent, e); return nil }); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range ledger.Plan(absent, now) {
		got = append(got, fmt.Sprintf("%d:[%d,%d)", r.Class, r.From, r.To))
	}
	want := []string{"0:[5,6)", "1:[6,7)", "1:[4,5)", "2:[8,9)", "2:[2,4)", "3:[7,8)", "3:[1,2)"}
	if !slices.Equal(got, want) {
		t.Errorf("planned %v, want %v", got, want)
	}
}

// TestAbsence: two nodes that lack the same bodies have one root, and one that
// lacks nothing has that of nothing.
func TestAbsence(t *testing.T) {
	a, b := ledger.NewAbsence(), ledger.NewAbsence()
	x, y := newDevice("x").id, newDevice("y").id
	a.Add(x, 1, 2, 3, 7)
	a.Add(y, 5)
	b.Add(y, 5)
	for _, seq := range []uint64{7, 3, 2, 1} {
		b.Add(x, seq)
	}
	if a.Tree().Root() != b.Tree().Root() {
		t.Error("the order of absence shows")
	}
	if got := ranges(a.Of(x)); got != ranges([]ledger.Want{{Log: x, From: 1, To: 4}, {Log: x, From: 7, To: 8}}) {
		t.Errorf("absent %s", got)
	}
	a.Remove(x, 2)
	if a.Tree().Root() == b.Tree().Root() || a.Has(x, 2) || !a.Has(x, 3) {
		t.Error("a body that came does not show")
	}
	a.Remove(x, 1, 2, 3, 7)
	a.Remove(y, 5)
	a.Remove(y, 5)
	if a.Len() != 0 || a.Tree().Root() != ledger.NewTree(ledger.ScopeBodies).Root() {
		t.Error("nothing absent is not nothing")
	}
}
