package ledger

import (
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// Limits of one comparison.
const (
	// maxAskBytes and maxAnswerBytes bound one message each way. A list, a part's
	// prints or one row of marks go beyond it by themselves at most.
	maxAskBytes    = 16 << 10
	maxAnswerBytes = 32 << 10
	// marksAtOnce is up to how many marks a range is answered with outright: they
	// are worth a round trip.
	marksAtOnce = 4
	// rowMarks is how many marks share one answer.
	rowMarks = 256
)

// Comparison is the asking side of one scope: it finds the marks of the other
// side that differ from ours. It holds no socket and no clock: [Comparison.Ask]
// gives the next message to send and [Comparison.Take] reads one that came. The
// tree may change meanwhile.
type Comparison struct {
	tree *Tree
	salt [SaltSize]byte

	queue   []question // to ask
	pending []question // asked; answers come in their order
	row     []Mark     // of the first of pending, so far
	theirs  []Mark
	behind  bool
}

// Compare begins a comparison after the roots were found to differ. theirs is
// the number of marks that the other side says it has.
func Compare(t *Tree, salt [SaltSize]byte, theirs int) *Comparison {
	c := &Comparison{tree: t, salt: salt}
	if theirs == 0 {
		c.behind = t.Len() > 0
		return c
	}
	c.enqueue(Range{})
	return c
}

// enqueue plans the question about a range: with a list where that is shorter
// than the prints of its parts would be, or the range small.
func (c *Comparison) enqueue(r Range) {
	limit := bucketSize
	if r.Depth == 0 {
		limit = MaxList
	}
	q := question{Range: r}
	if c.tree.count(r) <= limit || r.Depth == maxDepth {
		marks := c.tree.marksOf(r)
		q.listed = true
		for i := range marks[:min(len(marks), MaxList)] {
			q.list = append(q.list, printOf(c.salt, marks[i].mark.digest(c.tree.scope)))
		}
		slices.SortFunc(q.list, comparePrints)
		q.list = slices.Compact(q.list)
	}
	c.queue = append(c.queue, q)
}

// Ask returns the next message, and false while answers are outstanding or
// when the comparison is over ([Comparison.Done]).
func (c *Comparison) Ask() ([]byte, bool) {
	if len(c.pending) > 0 || len(c.queue) == 0 {
		return nil, false
	}
	n, size := 0, 0
	for n < len(c.queue) && n < maxQuestions && size < maxAskBytes {
		if n > 0 && c.queue[n-1].last() >= c.queue[n].Bits {
			break // a deeper level begins
		}
		size += 10 + printSize*len(c.queue[n].list)
		n++
	}
	c.pending = c.queue[:n:n]
	c.queue = c.queue[n:]
	return ask{scope: c.tree.scope, salt: c.salt, questions: c.pending}.marshal(), true
}

// Done reports whether everything was asked and answered.
func (c *Comparison) Done() bool { return len(c.pending) == 0 && len(c.queue) == 0 }

// Take reads one message of answers. Errors match [ErrProtocol].
func (c *Comparison) Take(payload []byte) error {
	s := cryptobyte.String(payload)
	if s.Empty() {
		return broken(BrokenEncoding, "an empty answer")
	}
	for !s.Empty() {
		a, err := readAnswer(&s)
		if err != nil {
			return err
		}
		if len(c.pending) == 0 {
			return broken(BrokenRange, "an answer to nothing")
		}
		if err := c.take(a); err != nil {
			return err
		}
	}
	return nil
}

func (c *Comparison) take(a answer) error {
	q := c.pending[0]
	if a.form == formParts {
		if q.listed || len(c.row) > 0 {
			return broken(BrokenRange, "fingerprints where marks were asked for")
		}
		c.takeParts(q.Range, a.parts)
		c.pending = c.pending[1:]
		return nil
	}
	if err := c.takeRow(q, a.marks); err != nil {
		return err
	}
	if a.form == formMore {
		if len(a.marks) == 0 {
			return broken(BrokenEncoding, "an answer that goes on for ever")
		}
		return nil
	}
	if int(a.found) > len(q.list) {
		return broken(BrokenEncoding, "it found %d of a list of %d", a.found, len(q.list))
	}
	c.settle(q, len(q.list)-int(a.found))
	c.pending = c.pending[1:]
	return nil
}

// takeParts goes on in the parts that differ.
func (c *Comparison) takeParts(r Range, theirs [fanOut]fingerprint) {
	sums, counts := c.tree.partsOf(r)
	none := printOf(c.salt, [32]byte{})
	for i := range fanOut {
		switch {
		case theirs[i] == printOf(c.salt, sums[i]):
		case theirs[i] == none:
			c.behind = c.behind || counts[i] > 0
		default:
			c.enqueue(r.part(i))
		}
	}
}

// takeRow adds marks to the answer to q: they lie in its range, rise, and are
// not more than anyone may claim.
func (c *Comparison) takeRow(q question, marks []Mark) error {
	for i := range marks {
		p := placed{placeOf(marks[i].Log), marks[i]}
		if !q.holds(p.place) {
			return broken(BrokenRange, "a mark outside the range that was asked about")
		}
		if n := len(c.row); n > 0 && (placed{placeOf(c.row[n-1].Log), c.row[n-1]}).compare(p) >= 0 {
			return broken(BrokenEncoding, "marks must rise")
		}
		c.row = append(c.row, marks[i])
	}
	if len(c.theirs)+len(c.row) > MaxFrontierLogs {
		return broken(BrokenFrontier, "it shows more than %d logs", MaxFrontierLogs)
	}
	return nil
}

// settle keeps what differs of the complete answer to q. They do not hold
// lacking marks of its list as they are: either the answer shows what they hold
// instead, or they are behind.
func (c *Comparison) settle(q question, lacking int) {
	held := make(map[LogID]Mark)
	if !q.listed {
		for _, p := range c.tree.marksOf(q.Range) {
			held[p.mark.Log] = p.mark
		}
	}
	for _, m := range c.row {
		mine, ok := held[m.Log]
		if !ok && q.listed {
			mine, ok = c.tree.Get(m.Log)
		}
		delete(held, m.Log)
		if ok && mine == m {
			continue
		}
		if ok {
			lacking--
		}
		c.theirs = append(c.theirs, m)
		c.behind = c.behind || ok && (m.Next < mine.Next || moreOf(mine.Fork, m.Fork))
	}
	c.behind = c.behind || len(held) > 0 || q.listed && lacking > 0
	c.row = c.row[:0]
}

// Result returns the marks of theirs that differ from ours, by log, and whether
// they lack something that we hold.
func (c *Comparison) Result() (theirs []Mark, behind bool) {
	slices.SortFunc(c.theirs, func(a, b Mark) int { return a.Log.Compare(b.Log) })
	return c.theirs, c.behind
}

// Answerer is the answering side of one scope in one session. All it remembers
// is how much it has answered.
type Answerer struct {
	tree      *Tree
	questions int
	marks     int
}

// NewAnswerer returns the answering side for a tree.
func NewAnswerer(t *Tree) *Answerer { return &Answerer{tree: t} }

// AskScope returns the scope that a message of questions is about.
func AskScope(payload []byte) (Scope, bool) {
	if len(payload) == 0 || Scope(payload[0]) < ScopeControl || Scope(payload[0]) > ScopeBodies {
		return 0, false
	}
	return Scope(payload[0]), true
}

// Answer answers one message of questions; send is called with each message of
// the answer. Errors match [ErrProtocol] or are those of send. One comparison
// needs each mark at most once and at most some questions a mark; who asks for
// more is refused.
func (a *Answerer) Answer(payload []byte, send func([]byte) error) error {
	m, err := parseAsk(payload)
	if err != nil {
		return err
	}
	out := make([]byte, 0, maxAnswerBytes)
	for _, q := range m.questions {
		a.questions++
		if a.questions > 2*MaxFrontierLogs {
			return broken(BrokenGreedy, "%d questions in one session", a.questions)
		}
		for _, part := range a.answer(m.salt, q) {
			a.marks += len(part.marks)
			if a.marks > 2*a.tree.Len()+bucketSize {
				return broken(BrokenGreedy, "it asks for the same logs again and again")
			}
			out = part.append(out)
			if len(out) >= maxAnswerBytes {
				if err := send(out); err != nil {
					return err
				}
				out = out[:0]
			}
		}
	}
	if len(out) == 0 {
		return nil
	}
	return send(out)
}

// answer answers one question, in one or more rows.
func (a *Answerer) answer(salt [SaltSize]byte, q question) []answer {
	if !q.listed && q.Depth < maxDepth && a.tree.count(q.Range) > marksAtOnce {
		sums, _ := a.tree.partsOf(q.Range)
		var out answer
		for i := range sums {
			out.parts[i] = printOf(salt, sums[i])
		}
		return []answer{out}
	}
	marks, found := a.unlisted(salt, q)
	var rows []answer
	for len(marks) > rowMarks {
		rows = append(rows, answer{form: formMore, marks: marks[:rowMarks]})
		marks = marks[rowMarks:]
	}
	return append(rows, answer{form: formMarks, found: uint8(found), marks: marks})
}

// unlisted returns the marks of a range that are not in the list of q, and how
// many are.
func (a *Answerer) unlisted(salt [SaltSize]byte, q question) (marks []Mark, found int) {
	for _, p := range a.tree.marksOf(q.Range) {
		if q.listed {
			fp := printOf(salt, p.mark.digest(a.tree.scope))
			if _, ok := slices.BinarySearchFunc(q.list, fp, comparePrints); ok {
				found++
				continue
			}
		}
		marks = append(marks, p.mark)
	}
	return marks, min(found, len(q.list))
}
