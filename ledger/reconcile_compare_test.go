package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	"pgregory.net/rapid"
)

var rewrite = flag.Bool("rewrite-transcripts", false, "write the golden transcripts of reconciliation anew")

// testMark is a mark that numbers stand for.
func testMark(log, next, branch int) Mark {
	var m Mark
	binary.BigEndian.PutUint32(m.Log.Author[:], uint32(log))
	m.Log.Author[31] = 1
	m.Next = uint64(next)
	binary.BigEndian.PutUint32(m.ID[:], uint32(next))
	m.ID[31] = byte(branch)
	return m
}

func testTree(marks ...Mark) *Tree {
	t := NewTree(ScopeHeaders)
	for _, m := range marks {
		t.Set(m)
	}
	return t
}

// meeting is one comparison played to its end, with what it cost.
type meeting struct {
	theirs   []Mark
	behind   bool
	up, down int // bytes of payload, with 6 for each frame
	trips    int
	lines    []string
}

// frameOverhead is what the mesh adds to each message.
const frameOverhead = 6

func meet(t testing.TB, mine, theirs *Tree) meeting {
	t.Helper()
	var m meeting
	roots := MarshalRoots([]ScopeRoot{{ScopeHeaders, mine.Root()}})
	parsed, err := ParseRoots(roots)
	if err != nil {
		t.Fatal(err)
	}
	reply := AnswerRoots(parsed, func(Scope) *Tree { return theirs })
	answers, err := ParseAnswers(reply, 1)
	if err != nil {
		t.Fatal(err)
	}
	m.up, m.down, m.trips = len(roots)+frameOverhead, len(reply)+frameOverhead, 1
	if answers[0].Equal {
		m.lines = append(m.lines, "equal")
		return m
	}
	c := Compare(mine, [SaltSize]byte{1, 2, 3}, answers[0].Count)
	server := NewAnswerer(theirs)
	for !c.Done() {
		q, ok := c.Ask()
		if !ok {
			t.Fatal("a comparison neither asks nor ends")
		}
		m.up += len(q) + frameOverhead
		m.trips++
		m.lines = append(m.lines, describeAsk(t, q))
		err := server.Answer(q, func(part []byte) error {
			m.down += len(part) + frameOverhead
			m.lines = append(m.lines, describeAnswer(t, part))
			return c.Take(part)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	m.theirs, m.behind = c.Result()
	return m
}

func describeAsk(t testing.TB, b []byte) string {
	a, err := parseAsk(b)
	if err != nil {
		t.Fatal(err)
	}
	var s strings.Builder
	s.WriteString("→")
	for _, q := range a.questions {
		fmt.Fprintf(&s, " %0*x", q.Depth, q.Bits>>(64-4*max(int(q.Depth), 1)))
		if q.listed {
			fmt.Fprintf(&s, "[%d]", len(q.list))
		}
	}
	return s.String()
}

func describeAnswer(t testing.TB, b []byte) string {
	var s strings.Builder
	s.WriteString("←")
	for r := (reader{b}); len(r.b) > 0; {
		a := r.answer(t)
		switch a.form {
		case formParts:
			s.WriteString(" parts")
		default:
			fmt.Fprintf(&s, " %d marks", len(a.marks))
			s.WriteString(map[uint8]string{formMarks: fmt.Sprintf(", %d found", a.found), formMore: ", more"}[a.form])
		}
	}
	return s.String()
}

// expect is what a comparison must find: the marks of theirs that are not mine.
func expectedDifference(mine, theirs []Mark) []Mark {
	held := make(map[LogID]Mark)
	for _, m := range mine {
		held[m.Log] = m
	}
	var out []Mark
	for _, m := range theirs {
		if held[m.Log] != m {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b Mark) int { return a.Log.Compare(b.Log) })
	return out
}

// row returns n logs of some entries each.
func row(n int) []Mark {
	var out []Mark
	for i := range n {
		out = append(out, testMark(i, 5+i%7, 0))
	}
	return out
}

// vary returns marks in which k, spread evenly, have one entry more.
func vary(marks []Mark, k int) []Mark {
	out := slices.Clone(marks)
	for i := range k {
		j := i * len(out) / k
		out[j] = testMark(j, int(out[j].Next)+1, 0)
	}
	return out
}

const compareTranscript = "testdata/compare.txt"

// TestCompareTranscript: what is said, message by message, in typical meetings.
func TestCompareTranscript(t *testing.T) {
	var got bytes.Buffer
	for _, c := range []struct {
		name         string
		mine, theirs []Mark
	}{
		{"both empty", nil, nil},
		{"a new device", nil, row(3)},
		{"they have nothing", row(3), nil},
		{"the same", row(100), row(100)},
		{"one behind of five", row(5), vary(row(5), 1)},
		{"one ahead of five", vary(row(5), 1), row(5)},
		{"another branch", row(5), append(row(4), testMark(4, 9, 1))},
		{"another at the limit of a list", row(MaxList), vary(row(MaxList), 1)},
		{"one more than a list", row(MaxList + 1), vary(row(MaxList+1), 1)},
		{"10 of 1,000", row(1000), vary(row(1000), 10)},
		{"they have few of many", row(1000), row(5)},
		{"we have few of many", row(5), row(1000)},
	} {
		m := meet(t, testTree(c.mine...), testTree(c.theirs...))
		if want := expectedDifference(c.mine, c.theirs); !slices.Equal(m.theirs, want) {
			t.Errorf("%s: %d differences, want %d", c.name, len(m.theirs), len(want))
		}
		fmt.Fprintf(&got, "# %s: %d and %d logs\n", c.name, len(c.mine), len(c.theirs))
		for _, line := range m.lines {
			fmt.Fprintf(&got, "%s\n", line)
		}
		fmt.Fprintf(&got, "= %d differ, behind %v, %d bytes up, %d down, %d round trips\n\n", len(m.theirs), m.behind, m.up, m.down, m.trips)
	}
	if *rewrite {
		if err := os.WriteFile(compareTranscript, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(compareTranscript)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("the transcript changed; -rewrite-transcripts writes it anew:\n%s", got.String())
	}
}

// TestCompareBytes holds the speed lines of the issue: bytes both ways, frames
// and step 1 included.
func TestCompareBytes(t *testing.T) {
	for _, c := range []struct{ logs, differ, limit int }{
		{1000, 0, 64}, {100_000, 0, 64}, {1000, 10, 4 << 10}, {100_000, 10, 10 << 10},
	} {
		marks := row(c.logs)
		mine := testTree(marks...)
		theirs := testTree(vary(marks, max(c.differ, 1))...)
		if c.differ == 0 {
			theirs = testTree(marks...)
		}
		m := meet(t, mine, theirs)
		t.Logf("%d of %d logs differ: %d bytes both ways, %d round trips", c.differ, c.logs, m.up+m.down, m.trips)
		if m.up+m.down > c.limit {
			t.Errorf("%d of %d logs differ: %d bytes, at most %d", c.differ, c.logs, m.up+m.down, c.limit)
		}
		if len(m.theirs) != c.differ || m.behind {
			t.Errorf("%d of %d logs differ: found %d, behind %v", c.differ, c.logs, len(m.theirs), m.behind)
		}
	}
}

// TestCompareProperty: whatever two nodes hold, each learns exactly what the
// other holds differently, and whether the other lacks something.
func TestCompareProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		draw := func(name string) []Mark {
			var out []Mark
			n := rapid.IntRange(0, 300).Draw(rt, name+" logs")
			skip := rapid.IntRange(1, 4).Draw(rt, name+" skip")
			for i := range n {
				if i%skip == 0 {
					out = append(out, testMark(i, rapid.IntRange(1, 3).Draw(rt, "next"), rapid.IntRange(0, 1).Draw(rt, "branch")))
				}
			}
			return out
		}
		a, b := draw("a"), draw("b")
		ta, tb := testTree(a...), testTree(b...)
		ab, ba := meet(t, ta, tb), meet(t, tb, ta)
		if !slices.Equal(ab.theirs, expectedDifference(a, b)) || !slices.Equal(ba.theirs, expectedDifference(b, a)) {
			rt.Fatal("a difference was missed or invented")
		}
		lacks := func(mine, theirs []Mark) bool {
			held := make(map[LogID]Mark)
			for _, m := range theirs {
				held[m.Log] = m
			}
			return slices.ContainsFunc(mine, func(m Mark) bool { return held[m.Log].Next < m.Next })
		}
		if lacks(a, b) != ab.behind {
			rt.Fatalf("they lack something: %v; noticed: %v", lacks(a, b), ab.behind)
		}
	})
}

// TestTreeShape: the fingerprint follows from the marks alone, whatever the
// order in which they came and went.
func TestTreeShape(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(0, 200).Draw(rt, "logs")
		tree, want := NewTree(ScopeHeaders), make(map[LogID]Mark)
		for range rapid.IntRange(0, 400).Draw(rt, "steps") {
			m := testMark(rapid.IntRange(0, n).Draw(rt, "log"), rapid.IntRange(1, 3).Draw(rt, "next"), 0)
			if rapid.IntRange(0, 3).Draw(rt, "remove") == 0 {
				tree.Remove(m.Log)
				delete(want, m.Log)
			} else {
				tree.Set(m)
				want[m.Log] = m
			}
			if rapid.Bool().Draw(rt, "look") {
				tree.Root()
			}
		}
		fresh := NewTree(ScopeHeaders)
		for _, m := range want {
			fresh.Set(m)
			if got, ok := tree.Get(m.Log); !ok || got != m {
				rt.Fatalf("log %v: %v, want %v", m.Log, got, m)
			}
		}
		if tree.Root() != fresh.Root() || tree.Len() != len(want) {
			rt.Fatal("two trees of the same marks differ")
		}
		for id, m := range want {
			m.Next++
			fresh.Set(m)
			if tree.Root() == fresh.Root() {
				rt.Fatalf("a change of %v does not show", id)
			}
			break
		}
	})
}

// TestCompareLies: every lie ends in a refusal with its reason, and costs no
// more than the honest answer.
func TestCompareLies(t *testing.T) {
	mine := testTree(row(1000)...)
	start := func() *Comparison {
		c := Compare(mine, [SaltSize]byte{}, 1000)
		if _, ok := c.Ask(); !ok {
			t.Fatal("no question")
		}
		return c
	}
	small := func() *Comparison { // asks one list
		c := Compare(testTree(row(3)...), [SaltSize]byte{}, 1000)
		c.Ask()
		return c
	}
	over := answer{form: formMore}
	for i := range rowMarks {
		over.marks = append(over.marks, testMark(i+10, 1, 0))
	}
	slices.SortFunc(over.marks, func(a, b Mark) int { return placed{placeOf(a.Log), a}.compare(placed{placeOf(b.Log), b}) })
	for name, c := range map[string]struct {
		c      *Comparison
		say    []byte
		reason string
	}{
		"nothing":               {start(), nil, BrokenEncoding},
		"an unknown form":       {start(), []byte{9}, BrokenEncoding},
		"cut short":             {start(), []byte{formParts, 1, 2}, BrokenEncoding},
		"two answers":           {start(), append(answer{}.append(nil), answer{}.append(nil)...), ""},
		"too many answers":      {small(), append(answer{form: formMarks}.append(nil), answer{form: formMarks}.append(nil)...), BrokenRange},
		"parts for a list":      {small(), answer{form: formParts}.append(nil), BrokenRange},
		"found of no list":      {start(), answer{form: formMarks, found: 1}.append(nil), BrokenEncoding},
		"found too many":        {small(), answer{form: formMarks, found: 4}.append(nil), BrokenEncoding},
		"rows without end":      {start(), answer{form: formMore}.append(nil), BrokenEncoding},
		"rows that repeat":      {start(), append(over.append(nil), over.append(nil)...), BrokenEncoding},
		"a log of no entries":   {start(), answer{form: formMarks, marks: []Mark{testMark(1, 0, 0)}}.append(nil), BrokenFrontier},
		"a log without measure": {start(), answer{form: formMarks, marks: []Mark{{Next: MaxSeq + 2}}}.append(nil), BrokenFrontier},
	} {
		err := c.c.Take(c.say)
		if name == "two answers" {
			if Broken(err) != BrokenRange {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.Is(err, ErrProtocol) || Broken(err) != c.reason {
			t.Errorf("%s: %v, want %q", name, err, c.reason)
		}
	}
	// A mark outside the range that was asked about.
	c := start()
	if err := c.Take(answer{form: formParts, parts: [fanOut]fingerprint{{1}}}.append(nil)); err != nil {
		t.Fatal(err)
	}
	c.Ask()
	q := c.pending[0]
	outside := testMark(1, 5, 0)
	for i := 0; q.holds(placeOf(outside.Log)); i++ {
		outside = testMark(i, 5, 0)
	}
	if err := c.Take(answer{form: formMarks, marks: []Mark{outside}}.append(nil)); Broken(err) != BrokenRange {
		t.Errorf("a mark outside the range: %v", err)
	}
}

// TestCompareEndlessLiar: a neighbour that answers every question with random
// fingerprints ends the comparison all the same, at a cost that our own logs
// bound.
func TestCompareEndlessLiar(t *testing.T) {
	mine := testTree(row(5000)...)
	c := Compare(mine, [SaltSize]byte{}, 5000)
	up, n := 0, 0
	for !c.Done() {
		q, ok := c.Ask()
		if !ok {
			t.Fatal("it neither asks nor ends")
		}
		up += len(q)
		a, err := parseAsk(q)
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range a.questions {
			n++
			lie := answer{form: formMarks}
			if !q.listed {
				lie.form = formParts
				for i := range lie.parts {
					binary.BigEndian.PutUint64(lie.parts[i][:], uint64(n*100+i))
				}
			}
			if err := c.Take(lie.append(nil)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if up > 5000*40 {
		t.Errorf("lies about 5,000 logs cost %d bytes", up)
	}
}

// TestAnswererGreedy: who asks for the same marks again and again is refused;
// one honest comparison never is.
func TestAnswererGreedy(t *testing.T) {
	server := NewAnswerer(testTree(row(500)...))
	all := ask{scope: ScopeHeaders, questions: []question{{listed: true}}}.marshal()
	sent := 0
	var err error
	for n := 0; err == nil; n++ {
		if n > 100 {
			t.Fatal("it answers for ever")
		}
		err = server.Answer(all, func(b []byte) error { sent += len(b); return nil })
	}
	if Broken(err) != BrokenGreedy || sent > 3*500*markSize {
		t.Errorf("%v after %d bytes", err, sent)
	}
	for name, b := range map[string][]byte{
		"overlapping": ask{questions: []question{{}, {Range: Range{Depth: 1}}}}.marshal(),
		"twice":       ask{questions: []question{{Range: Range{Depth: 1}}, {Range: Range{Depth: 1}}}}.marshal(),
		"falling":     ask{questions: []question{{Range: Range{Depth: 1, Bits: 1 << 60}}, {Range: Range{Depth: 1}}}}.marshal(),
	} {
		if _, err := parseAsk(b); Broken(err) != BrokenGreedy {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPrintsAreSalted: prints of one session say nothing about another's.
func TestPrintsAreSalted(t *testing.T) {
	sum := testTree(row(10)...).Root()
	if printOf([SaltSize]byte{1}, sum) == printOf([SaltSize]byte{2}, sum) {
		t.Error("the salt changes nothing")
	}
}

// reader reads answers one after another.
type reader struct{ b []byte }

func (r *reader) answer(t testing.TB) answer {
	t.Helper()
	s := cryptobyte.String(r.b)
	a, err := readAnswer(&s)
	if err != nil {
		t.Fatal(err)
	}
	r.b = s
	return a
}

func BenchmarkTreeRoot(b *testing.B) {
	tree := testTree(row(100_000)...)
	tree.Root()
	for i := 0; b.Loop(); i++ {
		tree.Set(testMark(i%100_000, i+100, 0))
		tree.Root()
	}
}

// BenchmarkFrontierHash is what BenchmarkTreeRoot is compared with: a hash of
// the whole frontier at each comparison.
func BenchmarkFrontierHash(b *testing.B) {
	f := make(Frontier, 0, 100_000)
	for _, m := range row(100_000) {
		f = append(f, Head{Log: m.Log, Next: m.Next, ID: m.ID})
	}
	for b.Loop() {
		f.Hash()
	}
}

func BenchmarkCompare100k(b *testing.B) {
	marks := row(100_000)
	mine, theirs := testTree(marks...), testTree(vary(marks, 10)...)
	for b.Loop() {
		m := meet(b, mine, theirs)
		b.ReportMetric(float64(m.up+m.down), "bytes/meeting")
	}
}
