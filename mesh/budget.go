package mesh

import (
	"errors"
	"sync"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"
)

// allowance is how much of something is allowed: burst at once, refilled at
// rate a second.
type allowance struct{ rate, burst float64 }

// bucket is one account of an allowance. The zero value is full.
type bucket struct {
	spent float64
	at    time.Time
}

// take charges cost and reports whether that was covered; what is not covered
// is not charged. A clock that was stepped back refills nothing, one stepped
// forward everything: neither locks anybody out.
func (b *bucket) take(now time.Time, a allowance, cost float64) bool {
	if d := now.Sub(b.at); d > 0 {
		b.spent = max(b.spent-d.Seconds()*a.rate, 0)
	}
	b.at = now
	if b.spent+cost > a.burst {
		return false
	}
	b.spent += cost
	return true
}

// idle reports whether the account is as good as new.
func (b *bucket) idle(now time.Time, a allowance) bool {
	return b.spent-now.Sub(b.at).Seconds()*a.rate <= 0
}

// The words by which Stats.Budget counts what was dropped for a budget, beside
// those of rpcBudgets.
const (
	budgetFrames  = "frames"  // of one neighbour, before they are verified
	budgetAuthor  = "author"  // frames of one author
	budgetWaiting = "waiting" // too many frames of one neighbour or class are being verified
)

// The parts of an RPC that are charged.
const (
	useRPCs = iota
	useBytes
	useIHave
	useIWant
	useIDontWant
	useMesh
	useSubs
	uses
)

// rpcBudgets bound what one neighbour may say in gossip. The busiest honest
// neighbour measured sends 900 frames a second in as many RPCs.
var rpcBudgets = [uses]struct {
	word string
	allowance
}{
	useRPCs:      {"rpcs", allowance{rate: 3000, burst: 6000}},
	useBytes:     {"bytes", allowance{rate: 16 << 20, burst: 64 << 20}},
	useIHave:     {"ihave", allowance{rate: 5000, burst: 20000}},
	useIWant:     {"iwant", allowance{rate: 2000, burst: 10000}},
	useIDontWant: {"idontwant", allowance{rate: 5000, burst: 20000}},
	useMesh:      {"graft-prune", allowance{rate: 10, burst: 100}},
	useSubs:      {"subscriptions", allowance{rate: 5, burst: 50}},
}

// What verification may cost, in frames. A frame that brings nothing costs
// staleCost, for it was verified for nothing.
var (
	neighbourFrames = allowance{rate: 2000, burst: 20000}
	authorFrames    = allowance{rate: 300, burst: 2000}
)

const staleCost = 4

// visits is how often a neighbour may open a connection to us. A link that breaks every
// second, for as long as it likes, is within it. A connection in the place of another
// counts as insteadCost: two copies of one device come at two a second each.
var visits = allowance{rate: 1, burst: 60}

const insteadCost = 0.2

// urgentReserve is the part of neighbourFrames that routine frames leave to urgent
// ones: a neighbour that hands on a flood of the first is still heard for the second.
const urgentReserve = 4000

// budgets are the accounts of all neighbours and authors.
type budgets struct {
	clock Clock

	mu      sync.Mutex
	rpcs    map[peer.ID]*rpcAccount
	authors map[[32]byte]*bucket
}

// rpcAccount is what one neighbour has used.
type rpcAccount struct {
	rpcs    [uses]bucket
	frames  bucket
	waiting int // frames being verified
	routine int // those of them from routine on
}

func newBudgets(clock Clock) *budgets {
	return &budgets{clock: clock, rpcs: make(map[peer.ID]*rpcAccount), authors: make(map[[32]byte]*bucket)}
}

// account returns p's. b.mu is held.
func (b *budgets) account(p peer.ID) *rpcAccount {
	a := b.rpcs[p]
	if a == nil {
		a = new(rpcAccount)
		b.rpcs[p] = a
	}
	return a
}

// forget drops the account of a neighbour that has gone; who comes back at once
// finds a new one, but dialling costs it more than that gains.
func (b *budgets) forget(p peer.ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.rpcs, p)
}

// rpc charges an RPC of p and returns the word of the budget that it is over,
// or "".
func (b *budgets) rpc(p peer.ID, use [uses]float64) string {
	now := b.clock.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.account(p)
	for i, cost := range use {
		if cost > 0 && !a.rpcs[i].take(now, rpcBudgets[i].allowance, cost) {
			return rpcBudgets[i].word
		}
	}
	return ""
}

// enter admits a frame to verification, or names the budget that forbids it.
// Who was admitted must leave.
func (b *budgets) enter(p peer.ID, l Label) string {
	now := b.clock.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.account(p)
	frames := neighbourFrames
	if !l.urgent() {
		if a.routine >= maxRoutineOfOne {
			return budgetWaiting
		}
		frames.burst -= urgentReserve
	}
	if a.waiting >= maxVerifying {
		return budgetWaiting
	}
	if k := b.authors[l.Author]; k != nil && l.Author != ([32]byte{}) {
		// Only looked at: it is charged for what has proved to be its own.
		probe := *k
		if !probe.take(now, authorFrames, 1) {
			return budgetAuthor
		}
	}
	if !a.frames.take(now, frames, 1) {
		return budgetFrames
	}
	a.waiting++
	if !l.urgent() {
		a.routine++
	}
	return ""
}

// leave charges for the verdict on a frame that was admitted.
func (b *budgets) leave(p peer.ID, l Label, v Verdict) {
	now := b.clock.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	if a := b.rpcs[p]; a != nil {
		a.waiting = max(a.waiting-1, 0)
		frames := neighbourFrames
		if !l.urgent() {
			a.routine = max(a.routine-1, 0)
			frames.burst -= urgentReserve
		}
		if v != Accept {
			a.frames.take(now, frames, staleCost-1)
		}
	}
	if v != Accept || l.Author == ([32]byte{}) {
		return
	}
	k := b.authors[l.Author]
	if k == nil {
		b.makeRoom(now)
		k = new(bucket)
		b.authors[l.Author] = k
	}
	k.take(now, authorFrames, 1)
}

// makeRoom keeps the number of authors within maxAuthors: those who are quiet go,
// and where none is, any. b.mu is held.
func (b *budgets) makeRoom(now time.Time) {
	if len(b.authors) < maxAuthors {
		return
	}
	for author, k := range b.authors {
		if k.idle(now, authorFrames) {
			delete(b.authors, author)
		}
	}
	for author := range b.authors {
		if len(b.authors) < maxAuthors {
			return
		}
		delete(b.authors, author)
	}
}

// Why gossipsub drops an RPC.
var (
	errBudget = errors.New("mesh: a neighbour is over its budget")
	errPadded = errors.New("mesh: a neighbour sends messages with fields that there are not")
)

// padded reports whether a message of the RPC holds anything that we do not know:
// gossipsub would hand it on to everybody, and no budget of frames covers it.
func padded(rpc *pubsub.RPC) bool {
	for _, m := range rpc.GetPublish() {
		if len(m.ProtoReflect().GetUnknown()) > 0 {
			return true
		}
	}
	return false
}

// usage is what an RPC uses.
func usage(rpc *pubsub.RPC) (use [uses]float64) {
	count := func(n, i int) { use[i] += float64(n + 1) }
	c := rpc.GetControl()
	for _, h := range c.GetIhave() {
		count(len(h.GetMessageIDs()), useIHave)
	}
	for _, w := range c.GetIwant() {
		count(len(w.GetMessageIDs()), useIWant)
	}
	for _, w := range c.GetIdontwant() {
		count(len(w.GetMessageIDs()), useIDontWant)
	}
	use[useRPCs], use[useSubs] = 1, float64(len(rpc.GetSubscriptions()))
	use[useMesh] = float64(len(c.GetGraft()) + len(c.GetPrune()))
	use[useBytes] = float64(proto.Size(&rpc.RPC))
	return use
}
