package ledger

import (
	"slices"
	"testing"
	"time"
)

// TestShareWeights: while every class has something, they share 8:4:2:1.
func TestShareWeights(t *testing.T) {
	s := NewShare()
	var got [Classes]int
	for range 15_000 {
		c, ok := s.Next([Classes]int{1000, 1000, 1000, 1000})
		if !ok {
			t.Fatal("nothing may be sent")
		}
		s.Spend(c, 1000)
		got[c]++
		if err := s.Grant(c, 1000); err != nil {
			t.Fatal(err)
		}
	}
	for c, want := range []int{8000, 4000, 2000, 1000} {
		if got[c] < want-2 || got[c] > want+2 {
			t.Errorf("class %d had %d of 15,000 turns, want %d", c, got[c], want)
		}
	}
}

// TestShareUrgentAtOnce: however long bulk had the line alone, what is urgent
// gets its part from its first frame on, and does not shut bulk out for what it
// missed.
func TestShareUrgentAtOnce(t *testing.T) {
	s := NewShare()
	bulk := [Classes]int{ClassBulk: 1000}
	for range 1000 {
		c, _ := s.Next(bulk)
		s.Spend(c, 1000)
		if err := s.Grant(c, 1000); err != nil {
			t.Fatal(err)
		}
	}
	var got [Classes]int
	for range 18 {
		c, _ := s.Next([Classes]int{ClassControl: 1000, ClassBulk: 1000})
		s.Spend(c, 1000)
		got[c]++
	}
	if got[ClassControl] < 15 || got[ClassBulk] < 1 {
		t.Errorf("of 18 frames urgent had %d and bulk %d", got[ClassControl], got[ClassBulk])
	}
}

// TestCredit: nothing is sent beyond the credit, and more than the window is
// never granted or taken.
func TestCredit(t *testing.T) {
	s, f := NewShare(), NewInflow()
	sent := 0
	for {
		c, ok := s.Next([Classes]int{0, 10_000, 0, 0})
		if !ok {
			break
		}
		s.Spend(c, 10_000)
		sent += 10_000
		if err := f.Arrive(c, 10_000); err != nil {
			t.Fatal(err)
		}
	}
	if sent > Window || sent < Window-10_000 {
		t.Errorf("%d bytes were sent on a window of %d", sent, Window)
	}
	if err := f.Arrive(ClassUrgent, 10_000); Broken(err) != BrokenCredit {
		t.Errorf("more than was granted: %v", err)
	}
	if err := f.Arrive(Classes, 1); Broken(err) != BrokenCredit {
		t.Errorf("a class that does not exist: %v", err)
	}
	granted := 0
	for range sent / 10_000 {
		granted += f.Done(ClassUrgent, 10_000)
	}
	if granted < sent-Window/4 {
		t.Errorf("%d bytes worked off gave a credit of %d", sent, granted)
	}
	if err := s.Grant(ClassUrgent, granted); err != nil {
		t.Error(err)
	}
	for _, n := range []int{0, -1, Window} {
		if err := s.Grant(ClassUrgent, n); Broken(err) != BrokenCredit {
			t.Errorf("a grant of %d: %v", n, err)
		}
	}
}

// TestExpected: whatever lies outside the range that was asked for is refused.
func TestExpected(t *testing.T) {
	a, b := testMark(1, 1, 0).Log, testMark(2, 1, 0).Log
	rising := Request{Want: Want{Log: a, From: 5, To: 9}, Piece: PieceEntry}
	bodies := Request{Want: Want{Log: a, From: 5, To: 9}, Piece: PieceBody}
	whole := Request{Want: Want{Log: a, To: 1}, Piece: PieceFork}
	type got struct {
		p   Piece
		id  LogID
		seq uint64
	}
	for name, c := range map[string]struct {
		r    Request
		come []got
		bad  bool // the last of them
	}{
		"all of it":                {rising, []got{{PieceEntry, a, 5}, {PieceHeader, a, 6}, {PieceEntry, a, 7}, {PieceEntry, a, 8}}, false},
		"with a hole":              {rising, []got{{PieceEntry, a, 5}, {PieceEntry, a, 8}}, false},
		"another log":              {rising, []got{{PieceEntry, b, 5}}, true},
		"before it":                {rising, []got{{PieceEntry, a, 4}}, true},
		"beyond it":                {rising, []got{{PieceEntry, a, 5}, {PieceEntry, a, 9}}, true},
		"twice":                    {rising, []got{{PieceEntry, a, 5}, {PieceEntry, a, 5}}, true},
		"falling":                  {rising, []got{{PieceEntry, a, 6}, {PieceEntry, a, 5}}, true},
		"a body for an entry":      {rising, []got{{PieceBody, a, 5}}, true},
		"bodies falling":           {bodies, []got{{PieceBody, a, 8}, {PieceBody, a, 6}, {PieceBody, a, 5}}, false},
		"bodies rising":            {bodies, []got{{PieceBody, a, 6}, {PieceBody, a, 7}}, true},
		"a body beyond":            {bodies, []got{{PieceBody, a, 9}}, true},
		"a body before":            {bodies, []got{{PieceBody, a, 4}}, true},
		"a header for a body":      {bodies, []got{{PieceHeader, a, 8}}, true},
		"a proof":                  {whole, []got{{PieceFork, a, 0}}, false},
		"two proofs":               {whole, []got{{PieceFork, a, 0}, {PieceFork, a, 0}}, true},
		"an entry for a proof":     {whole, []got{{PieceEntry, a, 0}}, true},
		"the proof of another log": {whole, []got{{PieceFork, b, 0}}, true},
	} {
		e := Expect(c.r)
		for i, g := range c.come {
			err := e.Take(g.p, g.id, g.seq)
			if bad := c.bad && i == len(c.come)-1; (Broken(err) == BrokenRange) != bad {
				t.Errorf("%s: item %d: %v", name, i, err)
			}
		}
		if e.Got() != len(c.come) {
			t.Errorf("%s: %d items counted", name, e.Got())
		}
	}
}

// TestRation: a neighbour gets everything once, and again, and then no more
// until time has passed; what it never had it gets all the while.
func TestRation(t *testing.T) {
	at := time.Unix(1e9, 0)
	r := NewRation(at)
	id := testMark(1, 1, 0).Log
	for i := range 100 {
		if !r.Spend(id, PieceEntry, 100, 1<<20, at) {
			t.Fatalf("entry %d was refused the first time", i)
		}
	}
	again := 0
	for r.Spend(id, PieceEntry, 100, 1<<20, at) {
		again++
	}
	if again != rationBytes>>20 {
		t.Errorf("%d MiB were sent again", again)
	}
	if !r.Spend(id, PieceHeader, 100, 300, at) || !r.Spend(testMark(2, 1, 0).Log, PieceEntry, 1, 1<<20, at) {
		t.Error("what it never had was refused")
	}
	if r.Spend(id, PieceEntry, 100, 1, at.Add(-time.Hour)) {
		t.Error("a clock that was set back gives a ration")
	}
	if r.Again(1, at.Add(-time.Hour)) || !r.Again(1, at.Add(-time.Hour+time.Minute)) {
		t.Error("time that passes gives a ration back")
	}
}

// TestEvict: what goes and in which order, and what never does.
func TestEvict(t *testing.T) {
	now := time.Unix(1e9, 0)
	in := func(d time.Duration) time.Time { return now.Add(d) }
	held := func(n int, f func(*Held)) Held {
		h := Held{Log: testMark(n, 1, 0).Log, Seq: uint64(n), Bytes: 100, Expires: in(time.Hour)}
		f(&h)
		return h
	}
	twice := func(d time.Duration) []time.Time { return []time.Time{in(d), in(d)} }
	all := []Held{
		held(0, func(h *Held) { h.Expires = in(-time.Hour); h.Wanted = true }),
		held(1, func(h *Held) { h.Expires = in(-time.Hour); h.Promised = in(time.Hour) }),
		held(2, func(h *Held) { h.Expires = in(-time.Hour); h.Priority = Stat }),
		held(3, func(h *Held) { h.Others = twice(2 * time.Hour) }),
		held(4, func(h *Held) { h.Expires = in(-time.Hour) }),
		held(5, func(h *Held) { h.Expires = in(-2 * time.Hour) }),
		held(6, func(h *Held) { h.Others = twice(time.Minute) }), // not beyond its lifetime
		held(7, func(h *Held) { h.Others = []time.Time{in(2 * time.Hour)} }),
		held(8, func(h *Held) { h.Others = twice(2 * time.Hour); h.Priority = Urgent }),
		held(9, func(h *Held) { h.Others = twice(2 * time.Hour); h.Bytes = 200 }),
		held(10, func(h *Held) { h.Expires = time.Time{}; h.Others = twice(2 * time.Hour) }),
		held(11, func(h *Held) { h.Promised = in(-time.Hour); h.Expires = in(-time.Minute) }),
	}
	seqs := func(hs []Held) (out []uint64) {
		for _, h := range hs {
			out = append(out, h.Seq)
		}
		return out
	}
	tight := Quota{Author: 1 << 30, Group: 1 << 30}
	if got := seqs(tight.Evict(all, now)); !slices.Equal(got, []uint64{5, 4, 11, 9, 3, 8}) {
		t.Errorf("gone: %v", got)
	}
	enough := Quota{Total: 1000, Author: 1 << 30, Group: 1 << 30} // 1200 are held for others
	if got := seqs(enough.Evict(all, now)); !slices.Equal(got, []uint64{5, 4}) {
		t.Errorf("more goes than must: %v", got)
	}
	if got := (Quota{Total: 1 << 30, Author: 1 << 30, Group: 1 << 30}).Evict(all, now); len(got) != 0 {
		t.Errorf("within the quota goes %v", seqs(got))
	}
	// One author, and one group, above its own part only.
	var loud []Held
	for i := range 6 {
		loud = append(loud, held(i, func(h *Held) {
			h.Expires = in(-time.Hour)
			h.Log = testMark(i%2, 1, 0).Log
			h.Group = [16]byte{byte(1 + i%3)}
		}))
	}
	if got := seqs((Quota{Total: 1 << 30, Author: 200, Group: 1 << 30}).Evict(loud, now)); !slices.Equal(got, []uint64{0, 1}) {
		t.Errorf("over an author's part: %v", got)
	}
	if got := seqs((Quota{Total: 1 << 30, Author: 1 << 30, Group: 100}).Evict(loud, now)); !slices.Equal(got, []uint64{0, 1, 2}) {
		t.Errorf("over a group's part: %v", got)
	}
	load := NewLoad(loud)
	q := Quota{Total: 700, Author: 400, Group: 300}
	more := held(0, func(h *Held) { h.Group = [16]byte{1} })
	if !q.Admits(load, &more) {
		t.Error("a body that fits was refused")
	}
	load.Add(&more)
	if next := held(0, func(h *Held) { h.Group = [16]byte{9} }); q.Admits(load, &next) {
		t.Error("a body beyond the quota was admitted")
	}
	if own := held(0, func(h *Held) { h.Wanted = true }); !q.Admits(load, &own) {
		t.Error("a body that the device reads itself was refused")
	}
}
