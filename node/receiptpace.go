package node

import (
	"maps"
	"slices"
	"time"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/ledger"
)

// When receipts leave. For something stat they go at once, and take with them what
// else is owed to the same readers; for something urgent after a moment. Routine
// ones share an entry a minute in all groups together, and where a group is so large, or
// the receipts so long, that those of all members together would take more than
// their share of the lines, they come more seldom.

const (
	// receiptShare is how many bytes the receipts of one group take together in one
	// interval, all members counted: about a tenth of what is said at ten messages a
	// second.
	receiptShare = 28_000
	// maxReceiptGap bounds how seldom they come, in intervals.
	maxReceiptGap = 15
	// urgentReceipts is how many entries a device may spend in one interval on receipts of
	// urgent messages to the same readers.
	urgentReceipts = 6
	// receiptsToAll is the number of devices of a group up to which its receipts are
	// for all of them, so that everybody sees what was delivered and read. In a larger
	// one they are for the author alone: the others keep none, and where the group has
	// several parts they are sealed towards the author, in one entry.
	receiptsToAll = 50
)

// payee is whom one entry of receipts is for.
type payee struct {
	group group.ID
	to    identity.LogID // an author in a group of several parts; zero for all of the group
}

// bill is that something is owed to one payee.
type bill struct {
	payee
	members int // devices that owe the like; known once it is paid
	highest ledger.Priority
}

// paces knows when receipts may leave this device.
type paces struct {
	next  time.Time           // of anything routine
	after map[payee]time.Time // of anything routine to a payee
	last  map[payee]time.Time // when it was paid
	since map[payee]time.Time // when something was first seen to be owed to it, after that
}

func newPaces() *paces {
	return &paces{after: make(map[payee]time.Time), last: make(map[payee]time.Time), since: make(map[payee]time.Time)}
}

// choose returns the bills that are due at now, and how long it is until the next
// may be; 0 where none is left. Of routine ones it is the one that could have been
// paid for longest, so that however many there are each has its turn.
func (p *paces) choose(bills []bill, now time.Time, interval time.Duration) (pay []bill, wait time.Duration) {
	p.forget(now, interval)
	p.queue(bills, now)
	later := func(at time.Time) {
		if d := max(at.Sub(now), time.Millisecond); wait == 0 || d < wait {
			wait = d
		}
	}
	var routine []bill
	for _, b := range bills {
		switch last, paid := p.last[b.payee]; {
		case b.highest == ledger.Stat:
			pay = append(pay, b)
		case b.highest == ledger.Urgent && (!paid || !now.Before(last.Add(interval/urgentReceipts))):
			pay = append(pay, b)
		case b.highest == ledger.Urgent:
			later(last.Add(interval / urgentReceipts))
		default:
			routine = append(routine, b)
		}
	}
	turn := func(b bill) time.Time { return latest(p.since[b.payee], p.after[b.payee]) }
	slices.SortStableFunc(routine, func(a, b bill) int { return turn(a).Compare(turn(b)) })
	next := latest(now, p.next)
	for i, b := range routine {
		if i == 0 && !now.Before(next) && !now.Before(p.after[b.payee]) {
			pay = append(pay, b)
			next = now.Add(interval)
			continue
		}
		later(latest(p.after[b.payee], next))
	}
	return pay, wait
}

// queue notes since when each payee is owed something.
func (p *paces) queue(bills []bill, now time.Time) {
	owed := make(map[payee]time.Time, len(bills))
	for _, b := range bills {
		since, known := p.since[b.payee]
		if !known || since.After(now) { // the clock was set back
			since = now
		}
		owed[b.payee] = since
	}
	p.since = owed
}

// paid notes that a bill was paid with an entry of so many bytes.
func (p *paces) paid(b bill, size int, now time.Time, interval time.Duration) {
	gap := min(max(time.Duration(b.members)*time.Duration(size)*interval/receiptShare, interval), maxReceiptGap*interval)
	p.last[b.payee], p.after[b.payee] = now, now.Add(gap)
	delete(p.since, b.payee)
	if b.highest == ledger.Routine {
		p.next = now.Add(interval)
	}
}

// putOff has a bill that could not be paid now looked at again after an interval.
func (p *paces) putOff(b bill, now time.Time, interval time.Duration) {
	p.last[b.payee], p.after[b.payee] = now, now.Add(interval)
}

// forget lets go of what decides nothing any more.
func (p *paces) forget(now time.Time, interval time.Duration) {
	maps.DeleteFunc(p.after, func(_ payee, at time.Time) bool { return at.Before(now) })
	maps.DeleteFunc(p.last, func(_ payee, at time.Time) bool { return at.Add(maxReceiptGap * interval).Before(now) })
	if p.next.Sub(now) > interval {
		p.next = now.Add(interval) // the clock was set back
	}
	for to, at := range p.after {
		if at.Sub(now) > maxReceiptGap*interval {
			p.after[to] = now.Add(interval)
		}
	}
	for to, at := range p.last {
		if at.After(now) {
			p.last[to] = now
		}
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
