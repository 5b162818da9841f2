package node

// What this device carries for others: bodies of messages that it does not read.
// They are bounded by [ledger.Quota]: of one author, under one group's tag, and in
// all.
//
//	bounded        an entry comes: with its body, or, beyond the quota, without
//	worthFetching  whether an absent body is asked for
//	carryLoop      counts what is held, a part of the store at a time, and finds
//	               absent bodies that are worth fetching now
//	relieve        (carry_relieve.go) gives bodies up where the quota is exceeded
//
// What the device reads itself it keeps, and so what all devices need: control and
// epoch entries, broadcasts, and the first entry of each log.

import (
	"context"
	"slices"
	"sync"
	"time"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/ledger"
)

const (
	// carryBudget is how many entries of the store are counted in one turn at most, and
	// carryPause the rest after it: as for the scrub, ten million in about four
	// days. Until everything was counted once since the start it is carryHurry.
	carryBudget = 2048
	carryPause  = time.Minute
	carryHurry  = 250 * time.Millisecond
	// carryTurns is how many turns a round through the store takes, where there is so
	// much room that it decides nothing what exactly is carried.
	carryTurns = 15
)

// messageLifetime is how long, in seconds, others are asked to carry a message of
// ours: delivery is promised for 28 days (protocol §4).
const messageLifetime = 28 * 24 * 60 * 60

// cargo is what a node counts of the bodies that it carries.
type cargo struct {
	quota ledger.Quota
	wake  chan struct{} // one pending wake-up of carryLoop

	// keep is held from looking at what is promised to giving a body up, and from
	// looking at what is held to promising it.
	keep sync.Mutex

	mu     sync.Mutex
	load   *ledger.Load             // guarded by mu: the sum of shares
	shares map[identity.LogID]share // guarded by mu
	walk   walk                     // guarded by mu; advanced by carryLoop
	tried  time.Time                // guarded by mu: when something was to be given up last
	left   bool                     // guarded by mu: see leftOut
	short  bool                     // guarded by mu: a body was not kept since then for want of room
	eager  int                      // guarded by mu: for how many rounds more nothing is saved at counting
}

// share is how many bytes of one log are carried, by group tag.
type share map[group.Tag]uint64

// walk is how far carryLoop is.
type walk struct {
	log  identity.LogID
	seq  uint64
	part share // of log below seq
	once bool  // everything was counted since the start
}

func newCargo(q ledger.Quota) *cargo {
	return &cargo{
		quota: q, wake: make(chan struct{}, 1), load: ledger.NewLoad(nil),
		shares: make(map[identity.LogID]share), walk: walk{part: make(share)},
	}
}

func (c *cargo) ring() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// heldOf is what the quota sees of an entry.
func heldOf(h *ledger.Header) ledger.Held {
	return ledger.Held{Log: h.Log(), Seq: h.Seq, Group: h.GroupTag, Bytes: uint64(h.BodyLen), Priority: h.Priority}
}

// expiry is when the lifetime of an entry ends, counted from when it first came
// here; zero for never.
func expiry(e *ledger.Entry) time.Time {
	if e.Header.LifetimeS == 0 || e.Received().IsZero() {
		return time.Time{}
	}
	return e.Received().Add(time.Duration(e.Header.LifetimeS) * time.Second)
}

func expired(e *ledger.Entry, now time.Time) bool {
	at := expiry(e)
	return !at.IsZero() && !at.After(now)
}

// admits reports whether a body fits the quota as things are.
func (c *cargo) admits(h *ledger.Held) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.quota.Admits(c.load, h)
}

// pressed reports whether what is carried is near the quota, so that nothing more
// is promised and nothing fetched that others keep.
func (c *cargo) pressed(h *ledger.Held) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.quota.Low().Admits(c.load, h)
}

// lacksRoom has carryLoop make room.
func (c *cargo) lacksRoom() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.short, c.left, c.eager = true, true, 2 // the round under way may have passed what was left out
	c.ring()
}

// leftOut reports whether a body was left out since it was asked last.
func (c *cargo) leftOut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	left := c.left
	c.left = false
	return left
}

// bytes is what is carried in all.
func (c *cargo) bytes() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.load.Total()
}

// add counts a body that came.
func (c *cargo) add(h ledger.Held) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shares[h.Log] == nil {
		c.shares[h.Log] = make(share)
	}
	c.shares[h.Log][h.Group] += h.Bytes
	c.load.Add(&h)
	if c.walk.log == h.Log && h.Seq < c.walk.seq {
		c.walk.part[h.Group] += h.Bytes
	}
	if c.load.Touches(c.quota, &h) {
		c.ring()
	}
}

// remove takes off a body that was given up.
func (c *cargo) remove(h ledger.Held) {
	c.mu.Lock()
	defer c.mu.Unlock()
	take := func(s share) {
		if s[h.Group] -= min(s[h.Group], h.Bytes); s[h.Group] == 0 {
			delete(s, h.Group)
		}
	}
	if s := c.shares[h.Log]; s != nil {
		if take(s); len(s) == 0 {
			delete(c.shares, h.Log)
		}
	}
	c.load.Remove(&h)
	if c.walk.log == h.Log && h.Seq < c.walk.seq {
		take(c.walk.part)
	}
}

// counted replaces what is known of a log by what was counted, and goes on with
// the next one. mu is held.
func (c *cargo) counted(id identity.LogID) {
	for tag, n := range c.shares[id] {
		c.load.Remove(&ledger.Held{Log: id, Group: tag, Bytes: n})
	}
	delete(c.shares, id)
	if len(c.walk.part) > 0 {
		c.shares[id] = c.walk.part
		for tag, n := range c.walk.part {
			c.load.Add(&ledger.Held{Log: id, Group: tag, Bytes: n})
		}
	}
	c.walk.log, c.walk.seq, c.walk.part = after(id), 0, make(share)
}

// interest is whether this device reads an entry.
type interest uint8

const (
	passes  interest = iota // it carries it for others
	unknown                 // it cannot tell: it is locked, or has not come to it yet
	reads
)

// interestIn tells whether this device reads an entry. n.mu is held.
func (n *Node) interestIn(h *ledger.Header) interest {
	switch {
	case h.Kind != ledger.KindData || h.Seq == 0 || h.Author == n.cred.SigningKey:
		return reads
	case n.cred.Claims.Relay:
		return passes
	case n.open == nil:
		return unknown
	case n.opens(h.GroupTag):
		return reads
	case h.Seq >= n.open.cursors[h.Log()]:
		return unknown // the epoch under which it is sealed may not be learnt yet
	}
	return passes
}

// interestOf is interestIn for who does not hold n.mu. It must not be called from
// within a read of the store, for which whoever holds n.mu may wait.
func (n *Node) interestOf(h *ledger.Header) interest {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.interestIn(h)
}

// bounded returns an entry as it is stored: without its body where that would be
// one too many of those that are carried for others.
// coming is what else of each author comes with it.
// unsure says that it was left out before it could be told whether this device
// reads it: once it is stored, that is to be found out. What came on a stick is
// not left out then, because nobody may be there to ask for it.
func (n *Node) bounded(v ledger.Verified, by way, coming map[identity.Key]uint64) (kept ledger.Verified, unsure bool) {
	e := v.Entry()
	if e.Header.Kind != ledger.KindData || !e.HasBody() {
		return v, false
	}
	held := heldOf(&e.Header)
	held.Bytes += coming[e.Header.Author]
	if n.carry.admits(&held) {
		coming[e.Header.Author] = held.Bytes
		return v, false
	}
	in, told := n.tellInterest(&e.Header, by)
	if in == reads || in == unknown && by == brought {
		return v, false
	}
	if held.Priority = max(held.Priority, ledger.Urgent); !told && n.carry.admits(&held) {
		// Somebody at work in the session must not hold up what comes: rather a few
		// bodies too many, as where they are urgent.
		coming[e.Header.Author] = held.Bytes
		return v, false
	}
	n.carry.lacksRoom()
	n.count(func(m *Metrics) { m.NotCarried++ })
	return v.WithoutBody(), in == unknown
}

// tellInterest is interestOf for an entry that comes. told is false if that was
// not looked at, because somebody is at work in the session who must not hold up
// what is pushed at this device.
func (n *Node) tellInterest(h *ledger.Header, by way) (in interest, told bool) {
	if by != pushed {
		return n.interestOf(h), true
	}
	if !n.mu.TryLock() {
		return unknown, false
	}
	defer n.mu.Unlock()
	return n.interestIn(h), true
}

// carried counts a body that was stored. Which ones this device reads itself the
// next count finds out.
func (n *Node) carried(e *ledger.Entry) {
	if e.Header.Kind == ledger.KindData && e.HasBody() {
		n.carry.add(heldOf(&e.Header))
	}
}

// misses asks for a body that this device reads and that was left out, as one of
// others', before it could tell; again says that it may have been asked for before
// that, and came. n.mu is held.
func (n *Node) misses(e *ledger.Entry, again bool) {
	if e.Header.Kind != ledger.KindData || e.Header.BodyLen == 0 || n.interestIn(&e.Header) != reads {
		return
	}
	fresh := false
	n.sync.bodies(func(a *ledger.Absence) {
		fresh = !a.Has(e.Header.Log(), e.Header.Seq)
		a.Add(e.Header.Log(), e.Header.Seq)
	})
	if !fresh && !again {
		return
	}
	select {
	case <-n.joined:
		n.mesh.SyncSoon("")
	default: // the first synchronisation asks for it
	}
}

// worthFetching reports whether an absent body is asked for: what this device
// reads, always; what it carries only within the quota, within its lifetime, and
// while there is much room or others do not keep it.
func (n *Node) worthFetching(ctx context.Context, e *ledger.Entry) bool {
	if e.Header.Kind != ledger.KindData {
		return true
	}
	now := n.cfg.Clock.Now()
	held := heldOf(&e.Header)
	if n.carry.admits(&held) && !n.carry.pressed(&held) && !expired(e, now) {
		return true
	}
	switch {
	case n.interestOf(&e.Header) == reads:
		return true
	case expired(e, now):
		return false
	case !n.carry.admits(&held):
		n.carry.lacksRoom()
		return false
	}
	keeping, err := n.testimony.table.Keeping(ctx, held.Log)
	if err != nil {
		return true
	}
	held.Expires, held.Others = expiry(e), keeping.Others(held.Seq, now)
	return !held.Evictable(now)
}

// carryLoop is the one goroutine that counts what is carried and gives it up.
func (n *Node) carryLoop() {
	defer n.wg.Done()
	pause := carryHurry
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.carry.wake:
		case <-n.cfg.Clock.After(pause):
			pause = carryHurry
			if err := n.countCarried(n.ctx); err != nil && n.ctx.Err() == nil {
				n.log.Error("what is carried for others cannot be counted", "err", err)
			}
		}
		if err := n.relieve(n.ctx); err != nil && n.ctx.Err() == nil {
			n.log.Error("what is carried for others is beyond the quota and cannot be given up", "err", err)
		}
		if n.carry.done() {
			pause = carryPause
		}
	}
}

// done reports whether everything was counted once.
func (c *cargo) done() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.walk.once
}

// turn is how many of so many entries are counted now: as many as may be where it matters
// what is carried, because there is little room, or something was left out for want of it.
func (c *cargo) turn(entries uint64) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.walk.once || c.eager > 0 || c.load.Over(c.quota.Low()) {
		return carryBudget
	}
	return turnOf(entries, carryTurns, carryBudget)
}

// countCarried counts the next part of the store.
func (n *Node) countCarried(ctx context.Context) error {
	_, entries := n.logs.Heads()
	for left := n.carry.turn(entries); left > 0; {
		c := n.carry
		c.mu.Lock()
		at := c.walk
		c.mu.Unlock()
		head, found := ledger.Head{}, false
		n.logs.EachHead(at.log, func(h ledger.Head) bool { head, found = h, true; return false })
		c.mu.Lock()
		if !found {
			c.walk, c.eager = walk{part: make(share), once: true}, max(c.eager-1, 0)
			c.mu.Unlock()
			return nil
		}
		if head.Log != at.log {
			c.walk.log, c.walk.seq, c.walk.part = head.Log, 0, make(share)
		}
		from := c.walk.seq
		to := min(head.Next, from+left)
		c.walk.seq = to // what is filled below it meanwhile is rather counted twice, until the next round
		c.mu.Unlock()
		err := n.countRange(ctx, head.Log, from, to)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		left -= min(left, max(to-from, 1))
		now, _ := n.logs.Head(head.Log)
		c.mu.Lock()
		if to >= now.Next {
			c.counted(head.Log)
		}
		c.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// countRange adds a part of a log to the walk, and notes what of it is worth
// fetching. Places that are lost are left out.
func (n *Node) countRange(ctx context.Context, id identity.LogID, from, to uint64) error {
	var held []ledger.Header // judged once the store is let go of
	var absent []*ledger.Entry
	err := n.logs.EntriesHeld(ctx, id, from, to, func(e *ledger.Entry) error {
		switch {
		case e.Header.Kind == ledger.KindData && e.HasBody():
			held = append(held, e.Header)
		case e.Absent && e.Header.BodyLen > 0:
			absent = append(absent, e)
		}
		return nil
	})
	n.countHeld(held)
	var missing []uint64
	for _, e := range absent {
		if n.worthFetching(ctx, e) {
			missing = append(missing, e.Header.Seq)
		}
	}
	n.sawAbsent(ctx, id, missing)
	return err
}

// countHeld adds to the walk those of some bodies that are held which this device does not read.
func (n *Node) countHeld(held []ledger.Header) {
	n.mu.Lock()
	carried := slices.DeleteFunc(held, func(h ledger.Header) bool { return n.interestIn(&h) == reads })
	n.mu.Unlock()
	n.carry.mu.Lock()
	defer n.carry.mu.Unlock()
	for i := range carried {
		n.carry.walk.part[carried[i].GroupTag] += uint64(carried[i].BodyLen)
	}
}
