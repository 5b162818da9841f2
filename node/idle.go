package node

import (
	"sync/atomic"
	"time"
)

// defaultIdleLock is how long nobody may touch an unlocked device before it
// locks itself.
const defaultIdleLock = 5 * time.Minute

// lockCheck is how often what locks a device looks at the clock at least, so
// that a machine that slept notices.
const lockCheck = time.Minute

// idle is when a person last did something with this device.
type idle struct {
	last atomic.Int64  // nanoseconds since the Unix epoch, by the wall clock
	wake chan struct{} // one pending wake-up of lockLoop
}

// Touch says that a person did something with this device, which keeps it
// unlocked. Pages that refresh themselves do not touch it.
func (n *Node) Touch() { n.idle.last.Store(n.cfg.Clock.Now().UnixNano()) }

// idleLeft is how long an unlocked device may stay so without being touched. A
// wall clock that was set back does not lengthen it beyond the whole.
func (n *Node) idleLeft(now time.Time) time.Duration {
	gone := now.Sub(time.Unix(0, n.idle.last.Load()))
	if gone < 0 {
		n.idle.last.Store(now.UnixNano())
		gone = 0
	}
	return n.cfg.IdleLock - gone
}

// lockSoon has lockLoop look again: the device was locked or unlocked.
func (n *Node) lockSoon() {
	select {
	case n.idle.wake <- struct{}{}:
	default:
	}
}

// lockLoop locks a device that nobody touches, and takes away its PIN when its
// lease has ended.
func (n *Node) lockLoop() {
	defer n.wg.Done()
	last := n.cfg.Clock.Now() // up to when time was counted: no gap is left between two turns
	for {
		wait := n.lockDue()
		passed := wait
		select {
		case <-n.ctx.Done():
			return
		case <-n.idle.wake:
			now := n.cfg.Clock.Now()
			passed, last = min(max(now.Sub(last), 0), wait), now
		case <-n.cfg.Clock.After(wait):
			last = n.cfg.Clock.Now()
		}
		n.mu.Lock()
		n.lease.run += passed
		n.spent += passed
		n.mu.Unlock()
	}
}

// lockDue locks what is due to be locked, and says when to look again.
func (n *Node) lockDue() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.cfg.Clock.Now()
	if n.open == nil {
		left := n.lease.left(now)
		if left <= 0 {
			n.endLease()
			return lockCheck
		}
		return min(left, lockCheck)
	}
	if n.cfg.IdleLock < 0 || n.cred.Claims.Relay {
		return lockCheck // its lease is renewed by upkeep
	}
	if left := n.idleLeft(now); left > 0 {
		return min(left, lockCheck)
	}
	n.log.Info("locked: nobody used this device for a while", "idle", n.cfg.IdleLock)
	n.closeSession()
	n.events.publish(Event{Type: EventLock})
	return lockCheck
}
