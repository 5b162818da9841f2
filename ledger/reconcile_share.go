package ledger

// Window is the credit of one class: how many bytes of it may be on their way
// in one session and direction before the receiver has worked off what came.
const Window = 256 << 10

// weights are the shares of the classes while all of them have something to
// send (protocol §6).
var weights = [Classes]int{8, 4, 2, 1}

// Share decides what a sender sends next: of the classes that have something
// and credit for it, the one that has had least for its weight. A class that
// was idle saves nothing up, so that none can shut out the others, and what is
// urgent gets its part at once however much bulk is under way.
type Share struct {
	credit [Classes]int
	had    [Classes]int // bytes sent × 8 ÷ weight
	now    int          // had of the class that was served last
}

// NewShare returns a Share with full credit in each class.
func NewShare() *Share {
	var s Share
	for i := range s.credit {
		s.credit[i] = Window
	}
	return &s
}

// Grant adds credit. More than a window is a breach of protocol.
func (s *Share) Grant(c Class, n int) error {
	if c >= Classes || n <= 0 || s.credit[c]+n > Window {
		return broken(BrokenCredit, "a credit beyond the window")
	}
	s.credit[c] += n
	return nil
}

// Next chooses among the classes, given the size of what each would send next,
// 0 for nothing. It returns false if none may send.
func (s *Share) Next(sizes [Classes]int) (Class, bool) {
	best, found := Class(0), false
	for c := range Class(Classes) {
		if sizes[c] == 0 || s.credit[c] < sizes[c] {
			continue
		}
		if !found || max(s.had[c], s.now) < max(s.had[best], s.now) {
			best, found = c, true
		}
	}
	return best, found
}

// Spend counts n bytes that were sent in a class.
func (s *Share) Spend(c Class, n int) {
	s.now = max(s.had[c], s.now)
	s.had[c] = s.now + n*weights[0]/weights[c]
	s.credit[c] -= n
}

// Inflow is the receiver's side of the credit.
type Inflow struct {
	open [Classes]int // credit that the sender has left
	done [Classes]int // worked off and not granted again yet
}

// NewInflow returns the receiver's side of a [NewShare].
func NewInflow() *Inflow {
	var f Inflow
	for i := range f.open {
		f.open[i] = Window
	}
	return &f
}

// Arrive counts n bytes that came in a class, which is not to be more than was
// granted.
func (f *Inflow) Arrive(c Class, n int) error {
	if c >= Classes || n > f.open[c] {
		return broken(BrokenCredit, "more in flight than was granted")
	}
	f.open[c] -= n
	return nil
}

// Done counts n bytes as worked off, and returns what to grant now, 0 until it
// is worth a message.
func (f *Inflow) Done(c Class, n int) int {
	f.done[c] += n
	if f.done[c] < Window/4 {
		return 0
	}
	grant := f.done[c]
	f.open[c] += grant
	f.done[c] = 0
	return grant
}

// Expected checks that what comes for a request is what was asked for.
type Expected struct {
	Request
	// next is the lowest place that a header or entry may have, or, for bodies,
	// one more than the highest.
	next uint64
	got  int
}

// Expect returns the check of one request.
func Expect(r Request) *Expected {
	e := &Expected{Request: r, next: r.From}
	if r.Piece == PieceBody {
		e.next = r.To
	}
	return e
}

// Got returns the number of items that came.
func (e *Expected) Got() int { return e.got }

// Take checks the place of one item. An entry may come as its header alone,
// where its body is not held. Errors match [ErrProtocol].
func (e *Expected) Take(p Piece, id LogID, seq uint64) error {
	e.got++
	if id != e.Log || p != e.Piece && (p != PieceHeader || e.Piece != PieceEntry) {
		return broken(BrokenRange, "something else than what was asked for")
	}
	switch e.Piece {
	case PieceFork, PieceRecords:
		if e.got > 1 {
			return broken(BrokenRange, "more than was asked for")
		}
	case PieceEvidence:
		if seq < e.next || seq >= e.To || uint64(e.got) > 2*(e.To-e.From) {
			return broken(BrokenRange, "evidence at %d, where %d to %d were due, rising", seq, e.next, e.To)
		}
		e.next = seq
	case PieceBody:
		if seq < e.From || seq >= e.next {
			return broken(BrokenRange, "body %d, where %d to %d were due, falling", seq, e.From, e.next)
		}
		e.next = seq
	default:
		if seq < e.next || seq >= e.To {
			return broken(BrokenRange, "entry %d, where %d to %d were due, rising", seq, e.next, e.To)
		}
		e.next = seq + 1
	}
	return nil
}
