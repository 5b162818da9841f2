package node

import (
	"slices"
	"testing"
	"time"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/ledger"
)

var paceStart = time.Date(2026, 1, 1, 8, 0, 0, 0, time.UTC)

// paceWorld is one device that owes receipts, in virtual time.
type paceWorld struct {
	p     *paces
	now   time.Time
	owed  map[payee]*bill
	sent  map[payee][]time.Time
	kinds map[time.Time]ledger.Priority
	size  int
}

func newPaceWorld(size int) *paceWorld {
	return &paceWorld{p: newPaces(), now: paceStart, owed: map[payee]*bill{}, sent: map[payee][]time.Time{}, kinds: map[time.Time]ledger.Priority{}, size: size}
}

func (w *paceWorld) owe(to payee, members int, p ledger.Priority) {
	if w.owed[to] == nil {
		w.owed[to] = &bill{payee: to, members: members}
	}
	w.owed[to].highest = max(w.owed[to].highest, p)
}

// run lets time pass as the loop would, and returns how many entries left.
func (w *paceWorld) run(t *testing.T, d time.Duration) (entries int) {
	t.Helper()
	for end := w.now.Add(d); ; {
		var bills []bill
		for _, b := range w.owed {
			bills = append(bills, *b)
		}
		slices.SortFunc(bills, func(a, b bill) int { return slices.Compare(a.group[:], b.group[:]) })
		pay, wait := w.p.choose(bills, w.now, time.Minute)
		for _, b := range pay {
			w.p.paid(b, w.size, w.now, time.Minute)
			w.sent[b.payee] = append(w.sent[b.payee], w.now)
			w.kinds[w.now] = max(w.kinds[w.now], b.highest)
			delete(w.owed, b.payee)
			entries++
		}
		if wait < 0 || len(w.owed) > 0 && len(pay) == 0 && wait == 0 {
			t.Fatalf("something is owed and nobody looks again: %v", wait)
		}
		if wait == 0 || w.now.Add(wait).After(end) {
			w.now = end
			return entries
		}
		w.now = w.now.Add(wait)
	}
}

// Routine receipts share one entry a minute, in all groups together; those of stat messages go at once.
func TestReceiptsKeepTheirPace(t *testing.T) {
	w := newPaceWorld(700)
	groups := []payee{{group: group.ID{1}}, {group: group.ID{2}}, {group: group.ID{3}}}
	routine := 0
	for second := range 600 {
		for _, g := range groups {
			w.owe(g, 10, ledger.Routine)
		}
		routine += w.run(t, time.Second)
		if second == 0 && routine != 1 {
			t.Errorf("%d entries at once after a quiet time", routine)
		}
	}
	if routine < 10 || routine > 11 {
		t.Errorf("%d entries of routine receipts in ten minutes", routine)
	}
	for _, g := range groups {
		if k := len(w.sent[g]); k < 3 {
			t.Errorf("a group of three got %d of them", k)
		}
	}
	w.owe(groups[1], 10, ledger.Stat)
	if w.run(t, 0) != 1 {
		t.Error("a receipt of a stat message waits")
	}
	w.owe(groups[1], 10, ledger.Stat)
	if w.run(t, 0) != 1 {
		t.Error("a receipt of a second stat message waits")
	}
	urgent := 0
	for range 60 {
		w.owe(groups[2], 10, ledger.Urgent)
		urgent += w.run(t, time.Second)
	}
	if urgent < 6 || urgent > 8 {
		t.Errorf("%d entries of receipts of urgent messages in a minute", urgent)
	}
}

// The larger a group, and the longer its receipts, the more seldom they come; but they come.
func TestReceiptsOfLargeGroups(t *testing.T) {
	for _, c := range []struct {
		members, size   int
		least, greatest time.Duration
	}{
		{10, 700, time.Minute, time.Minute},
		{50, 700, 75 * time.Second, 75 * time.Second},
		{200, 700, 5 * time.Minute, 5 * time.Minute},
		{200, 7000, maxReceiptGap * time.Minute, maxReceiptGap * time.Minute},
		{4000, 700, maxReceiptGap * time.Minute, maxReceiptGap * time.Minute},
	} {
		w := newPaceWorld(c.size)
		to := payee{group: group.ID{1}}
		for range 3 * maxReceiptGap * 60 {
			w.owe(to, c.members, ledger.Routine)
			w.run(t, time.Second)
		}
		for i, at := range w.sent[to][1:] {
			if gap := at.Sub(w.sent[to][i]); gap < c.least || gap > c.greatest+2*time.Second {
				t.Errorf("%d members, %d bytes: a gap of %v", c.members, c.size, gap)
			}
		}
	}
}

// A clock that was set back holds nothing up for longer than the longest gap.
func TestReceiptsAfterTheClockWasSetBack(t *testing.T) {
	w := newPaceWorld(700)
	to := payee{group: group.ID{1}, to: identity.LogID{Incarnation: 1}}
	for _, p := range []ledger.Priority{ledger.Routine, ledger.Urgent} {
		w.owe(to, 4000, p)
		w.run(t, 0)
		w.now = w.now.Add(-24 * time.Hour)
		w.owe(to, 4000, p)
		if w.run(t, maxReceiptGap*time.Minute) == 0 {
			t.Errorf("%v receipts wait for a day", p)
		}
	}
}

// Everybody who is owed something has a turn: of many payees none waits for much longer than the others, whether all are owed all the
// time, only now and then, or some cannot be paid.
func TestReceiptsStarveNobody(t *testing.T) {
	const payees = 40
	for _, c := range []struct {
		name  string
		often func(i, minute int) bool
	}{
		{"all the time", func(int, int) bool { return true }},
		{"most of them now and then", func(i, minute int) bool { return i == 0 || minute%20 == i%20 }},
	} {
		w := newPaceWorld(700)
		for minute := range 6 * 60 {
			for i := range payees {
				if c.often(i, minute) {
					w.owe(payee{group: group.ID{byte(i)}}, 10, ledger.Routine)
				}
			}
			w.run(t, time.Minute)
		}
		for i := range payees {
			if k := len(w.sent[payee{group: group.ID{byte(i)}}]); k < 6*60/payees-1 {
				t.Errorf("%s: payee %d was paid %d times in six hours", c.name, i, k)
			}
		}
	}
}
