package node

import (
	"math/rand"
	"testing"
	"time"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
	"tocsin/ledger"
)

// owedLoop is receiptLoop and what it calls, in virtual time, for one device that owes receipts in two groups, of which one has
// several parts.
type owedLoop struct {
	o     *owed
	p     *paces
	now   time.Time
	timer time.Time // zero for none
	turns int
	since map[string]time.Time // by key: when it came to be owed
	worst map[ledger.Priority]time.Duration
}

func (l *owedLoop) until(d time.Duration) {
	if at := l.now.Add(d); l.timer.IsZero() || at.Before(l.timer) {
		l.timer = at
	}
}

// turn is payReceipts: during is what comes while it pays.
func (l *owedLoop) turn(during func()) {
	l.turns++
	l.timer = time.Time{}
	bills, _ := l.o.bills(func(g group.ID) int { return int(g[0]) })
	l.o.plan(nil, nil)
	due, wait := l.p.choose(bills, l.now, time.Minute)
	for _, b := range due {
		debts := l.o.debtsTo(b.payee)
		during()
		l.p.paid(b, 700, l.now, time.Minute)
		for _, d := range debts {
			key := receiptKey(b.group, d.id)
			l.o.note([]vault.Change{{Key: key}})
			l.worst[d.priority] = max(l.worst[d.priority], l.now.Sub(l.since[key]))
			delete(l.since, key)
		}
	}
	if wait > 0 {
		l.o.plan(bills, due)
		l.until(wait)
	}
}

// TestNothingOwedIsForgottenByThePlan: who waits for a receipt gets it in time although the loop that sends them is told of few messages,
// and all of them are sent when nothing comes any more.
func TestNothingOwedIsForgottenByThePlan(t *testing.T) {
	t.Parallel()
	for seed := range int64(30) {
		rng := rand.New(rand.NewSource(seed))
		l := &owedLoop{o: newOwed(), p: newPaces(), now: paceStart, since: make(map[string]time.Time), worst: make(map[ledger.Priority]time.Duration)}
		came := 0
		comes := func() {
			g, id := group.ID{byte(1 + rng.Intn(2))}, ledger.ID{byte(came), byte(came >> 8)}
			d := debt{owed: oweDelivered, log: identity.LogID{Author: identity.Key{byte(1 + rng.Intn(3))}}, seq: uint64(came), id: id}
			if rng.Intn(20) == 0 {
				d.priority = ledger.Urgent
			}
			came++
			l.o.note([]vault.Change{{Key: receiptKey(g, id), Value: d.marshal()}})
			l.since[receiptKey(g, id)] = l.now
			if l.o.tell() {
				l.until(time.Second)
			}
		}
		pass := func(end time.Time) {
			for !l.timer.IsZero() && !l.timer.After(end) {
				l.now = l.timer
				l.turn(func() {
					if rng.Intn(3) == 0 {
						comes()
					}
				})
			}
			l.now = end
		}
		for range 600 {
			pass(l.now.Add(time.Duration(rng.Intn(2000)) * time.Millisecond))
			comes()
			if rng.Intn(60) == 0 {
				pass(l.now.Add(time.Duration(rng.Intn(20)) * time.Minute)) // a quiet time
			}
		}
		if l.turns > came/2 {
			t.Errorf("seed %d: %d turns for %d messages", seed, l.turns, came)
		}
		for range 3 { // what comes while one is paid comes less and less
			pass(l.now.Add(time.Hour))
		}
		if len(l.since) != 0 && l.timer.IsZero() {
			t.Fatalf("seed %d: %d receipts are owed, and nobody looks again", seed, len(l.since))
		}
		// The urgent ones a sixth of a minute after the last, and the routine ones each payee in its turn.
		if l.worst[ledger.Urgent] > 11*time.Second || l.worst[ledger.Routine] > 8*time.Minute {
			t.Errorf("seed %d: %v", seed, l.worst)
		}
	}
}
