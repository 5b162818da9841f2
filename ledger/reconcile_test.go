package ledger_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"tocsin/ledger"
)

const transcriptFile = "testdata/reconcile.txt"

// TestDiffTranscript replays the cases of a transcript, one for each line
// "mine | theirs": logs are letters, a=3 means three entries, and a=3' means
// three entries that end otherwise.
func TestDiffTranscript(t *testing.T) {
	want, err := os.ReadFile(transcriptFile)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	for line := range strings.Lines(string(want)) {
		switch {
		case strings.HasPrefix(line, "  "):
			continue // an answer
		case strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "":
			got.WriteString(line)
			continue
		}
		got.WriteString(line)
		mine, theirs, ok := strings.Cut(strings.TrimSpace(line), "|")
		if !ok {
			t.Fatalf("%q is not mine | theirs", line)
		}
		m, th := letters(t, mine), letters(t, theirs)
		lack, behind, forks := ledger.Diff(m, th)
		fmt.Fprintf(&got, "  want   %s\n  behind %s\n  forks  %s\n", ranges(lack), ranges(behind), names(forks))
		back, ahead, forks2 := ledger.Diff(th, m)
		if !slices.Equal(back, behind) || !slices.Equal(ahead, lack) || !slices.Equal(forks, forks2) {
			t.Errorf("%sthe other side sees it differently: %v %v %v", line, back, ahead, forks2)
		}
	}
	if *update {
		if err := os.WriteFile(transcriptFile, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got.String() != string(want) {
		t.Errorf("the transcript changed:\n%s", got.String())
	}
}

// letters reads "a=3 b=2'".
func letters(t *testing.T, s string) ledger.Frontier {
	t.Helper()
	var f ledger.Frontier
	for _, w := range strings.Fields(s) {
		var h ledger.Head
		var name byte
		if _, err := fmt.Sscanf(strings.TrimSuffix(w, "'"), "%c=%d", &name, &h.Next); err != nil {
			t.Fatalf("%q: %v", w, err)
		}
		h.Log.Author[0], h.ID[0] = name, byte(h.Next)
		if strings.HasSuffix(w, "'") {
			h.ID[1] = 1
		}
		f = append(f, h)
	}
	return f
}

func ranges(ws []ledger.Want) string {
	var b strings.Builder
	for _, w := range ws {
		fmt.Fprintf(&b, "%c[%d,%d) ", w.Log.Author[0], w.From, w.To)
	}
	return orNone(b.String())
}

func names(ids []ledger.LogID) string {
	var b strings.Builder
	for _, id := range ids {
		fmt.Fprintf(&b, "%c ", id.Author[0])
	}
	return orNone(b.String())
}

func orNone(s string) string {
	if s == "" {
		return "-"
	}
	return strings.TrimSpace(s)
}

// TestConverge: however entries are spread over nodes, and in whatever order the
// nodes meet, all of them end with the same frontier, which holds everything.
func TestConverge(t *testing.T) {
	ctx := context.Background()
	chains := make([][]ledger.Verified, 5)
	for i := range chains {
		chains[i] = newDevice(fmt.Sprint("converge ", i)).chain(t, 12)
	}
	rapid.Check(t, func(rt *rapid.T) {
		nodes := make([]*ledger.Logs, rapid.IntRange(2, 5).Draw(rt, "nodes"))
		longest := make(map[ledger.LogID]uint64)
		for i := range nodes {
			nodes[i] = openMem(t)
			for c, chain := range chains {
				n := rapid.IntRange(0, len(chain)).Draw(rt, fmt.Sprintf("node %d has of log %d", i, c))
				id := chain[0].Entry().Header.Log()
				longest[id] = max(longest[id], uint64(n))
				if _, err := nodes[i].AppendBatch(ctx, chain[:n], noon); err != nil {
					rt.Fatal(err)
				}
			}
		}
		// Some random meetings, each perhaps cut short, then a round in which every
		// node meets its neighbours, both ways.
		for range rapid.IntRange(0, 10).Draw(rt, "meetings") {
			a := rapid.IntRange(0, len(nodes)-1).Draw(rt, "puller")
			b := rapid.IntRange(0, len(nodes)-1).Draw(rt, "server")
			pull(rt, nodes[a], nodes[b], rapid.IntRange(0, 20).Draw(rt, "cut after"))
		}
		order := rapid.Permutation(indices(len(nodes))).Draw(rt, "order")
		for range 2 {
			for i := range order {
				pull(rt, nodes[order[i]], nodes[order[(i+1)%len(order)]], 1<<20)
				pull(rt, nodes[order[(i+1)%len(order)]], nodes[order[i]], 1<<20)
			}
		}
		first := nodes[0].Frontier()
		for i, n := range nodes {
			if f := n.Frontier(); !slices.Equal(f, first) || f.Hash() != first.Hash() {
				rt.Fatalf("node %d has another frontier than node 0", i)
			}
		}
		for id, want := range longest {
			if got := next(nodes[0], id); got != want {
				rt.Fatalf("%d entries of %s, want %d", got, id, want)
			}
		}
	})
}

func indices(n int) []int {
	is := make([]int, n)
	for i := range is {
		is[i] = i
	}
	return is
}

// pull brings entries from one node to another as bytes, at most limit of them.
func pull(t *rapid.T, to, from *ledger.Logs, limit int) {
	ctx := context.Background()
	encoded, err := from.Frontier().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := ledger.ParseFrontier(encoded)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range to.Missing(theirs, noon) {
		err := from.Entries(ctx, w.Log, w.From, w.To, func(e *ledger.Entry) error {
			if limit--; limit < 0 {
				return nil
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
}

func TestFrontierRefuses(t *testing.T) {
	good := testFrontier()
	for name, f := range map[string]ledger.Frontier{
		"order":     {good[1], good[0]},
		"twice":     {good[0], good[0]},
		"empty log": {{Log: good[0].Log}},
		"too high":  {{Log: good[0].Log, Next: ledger.MaxSeq + 2}},
		"too many":  make(ledger.Frontier, ledger.MaxFrontierLogs+1),
	} {
		if _, err := f.Marshal(); err == nil {
			t.Errorf("%s: marshalled", name)
		}
		if len(f) < 3 {
			b := []byte{0, 0, byte(len(f) * ledger.HeadSize)}
			for _, h := range f {
				id := h.Log.Bytes()
				b = append(b, id[:]...)
				for i := range 8 {
					b = append(b, byte(h.Next>>(56-8*i)))
				}
				b = append(b, h.ID[:]...)
			}
			if got, err := ledger.ParseFrontier(b); err == nil || got != nil {
				t.Errorf("%s: parsed", name)
			}
		}
	}
	if _, err := ledger.ParseFrontier(append([]byte{0, 0, 0}, 0)); err == nil {
		t.Error("a trailing byte was taken")
	}
	if good.Hash() == (ledger.Frontier{}).Hash() || good.Hash() == good[:2].Hash() {
		t.Error("different frontiers have one hash")
	}
}
