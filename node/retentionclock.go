package node

// How retention counts time (protocol §1: timers that destroy count elapsed running time).
//
// What has had its time is destroyed for good, so that a clock that is set wrong must not make it old. Each message is noted, when this device
// first looks at it, with the time that had elapsed here until then, and is as old as what elapsed since. Time elapses while the process runs,
// locked or not; between two readings the wall clock is believed where it agrees with that to within 24 hours, as by crypto/group for its keys, so that a
// device that is used every day counts every hour. A larger leap counts nothing by itself: the device cannot tell whether its
// clock was set or whether it was switched off. Where leap follows upon leap, with no step back between them, it is evidently a device that is switched off
// most of the time, and each counts one day when the next comes. So what is on a device that is used once a week ends after 30 weeks in
// place of 30 days, what is on one that is used every day after 30 days, and one leap, however far, ends nothing.
//
// The journal keeps of it
//
//	retention/clock       struct { uint8 version = 1; uint64 wall; uint64 elapsed; uint8 away; } RetentionClock;
//	kept/<entry id>       struct { uint8 version = 1; uint64 elapsed; } Kept;                goes with the message
//	settled/<group>       struct { uint8 version = 1; uint8 mode; uint8 state; uint64 at; uint64 elapsed; } Settled;       stays
//
// in milliseconds: wall and at since the Unix epoch, elapsed of running time. mode is 1 for live and 2 for an exercise, state 1 for stood down
// and 2 for cancelled. Settled is what an incident was whose own messages were erased, so that what comes after them is still of it.

import (
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/group"
	"tocsin/crypto/vault"
	"tocsin/ledger"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

const (
	keyRetentionClock = "retention/clock"
	prefixKept        = "kept/"
	prefixSettled     = "settled/"
)

func keptKey(id ledger.ID) string     { return prefixKept + id.String() }
func settledKey(g group.ID) string    { return prefixSettled + g.String() }
func millis(d time.Duration) uint64   { return uint64(d / time.Millisecond) }
func ofMillis(v uint64) time.Duration { return time.Duration(min(v, maxMillis)) * time.Millisecond }

// maxMillis keeps what a journal says within what a duration can hold.
const maxMillis = uint64(1<<63-1) / uint64(time.Millisecond)

const retentionVersion = 1

// awayDay is what a leap of the clock counts once another follows.
const awayDay = 24 * time.Hour

// clockGrain is how much time goes by before a reading is worth a record, and how far a clock goes back before it was set.
const clockGrain = time.Minute

// retentionClock is the time that retention counts.
type retentionClock struct {
	set     bool
	wall    time.Time     // at the last reading
	elapsed time.Duration // that counts
	away    bool          // the wall clock leapt, and this has not counted
}

// advance is the next reading: now is the wall clock, running the time that this process measured since the last.
func (c retentionClock) advance(now time.Time, running time.Duration) retentionClock {
	running = max(running, 0)
	next := retentionClock{set: true, wall: now, elapsed: c.elapsed + running, away: c.away}
	if !c.set {
		return next
	}
	gap := now.Sub(c.wall)
	switch leap := gap - running; {
	case gap < -clockGrain || leap < -group.MaxClockStep:
		next.away = false // the clock was set back: what it said before was wrong
	case leap > group.MaxClockStep:
		if c.away {
			next.elapsed += awayDay
		}
		next.away = true
	case gap > 0:
		next.elapsed = c.elapsed + gap
	}
	return next
}

func (c retentionClock) marshal() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(retentionVersion)
	b.AddUint64(uint64(c.wall.UnixMilli()))
	b.AddUint64(millis(c.elapsed))
	addBool(&b, c.away)
	return b.Bytes()
}

func parseRetentionClock(raw []byte) (retentionClock, error) {
	c := retentionClock{set: true}
	var version uint8
	var wall, elapsed uint64
	s := cryptobyte.String(raw)
	if !s.ReadUint8(&version) || version != retentionVersion || !s.ReadUint64(&wall) || !s.ReadUint64(&elapsed) || elapsed > maxMillis || !readBool(&s, &c.away) || !s.Empty() {
		return c, errRecord
	}
	c.wall, c.elapsed = time.UnixMilli(int64(wall)), ofMillis(elapsed)
	return c, nil
}

// settled is an incident that was over when its own messages were erased.
type settled struct {
	mode    message.Mode
	state   message.IncidentState
	at      time.Time     // when its time began, by this device's clock
	elapsed time.Duration // the same, as retention counts
}

var (
	settledModes  = []message.Mode{message.Live, message.Exercise}
	settledStates = []message.IncidentState{message.IncidentStoodDown, message.IncidentCancelled}
)

// place is where a word stands among those that can be written, from 1; 0 is for none of them.
func place[T comparable](all []T, one T) uint8 {
	for i, w := range all {
		if w == one {
			return uint8(i + 1)
		}
	}
	return 0
}

func (s *settled) marshal() ([]byte, error) {
	mode, state := place(settledModes, s.mode), place(settledStates, s.state)
	if mode == 0 || state == 0 {
		return nil, fmt.Errorf("node: an incident %q, %q is not over", s.mode, s.state)
	}
	var b cryptobyte.Builder
	b.AddUint8(retentionVersion)
	b.AddUint8(mode)
	b.AddUint8(state)
	addMillis(&b, s.at)
	b.AddUint64(millis(s.elapsed))
	return b.Bytes()
}

func parseSettled(raw []byte) (*settled, error) {
	var out settled
	var version, mode, state uint8
	var elapsed uint64
	s := cryptobyte.String(raw)
	if !s.ReadUint8(&version) || version != retentionVersion || !s.ReadUint8(&mode) || !s.ReadUint8(&state) || !readMillis(&s, &out.at) || !s.ReadUint64(&elapsed) ||
		elapsed > maxMillis || !s.Empty() || mode == 0 || int(mode) > len(settledModes) || state == 0 || int(state) > len(settledStates) {
		return nil, errRecord
	}
	out.mode, out.state, out.elapsed = settledModes[mode-1], settledStates[state-1], ofMillis(elapsed)
	return &out, nil
}

func marshalKept(since time.Duration) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(retentionVersion)
	b.AddUint64(millis(since))
	return b.Bytes()
}

func parseKept(raw []byte) (*time.Duration, error) {
	var version uint8
	var elapsed uint64
	s := cryptobyte.String(raw)
	if !s.ReadUint8(&version) || version != retentionVersion || !s.ReadUint64(&elapsed) || elapsed > maxMillis || !s.Empty() {
		return nil, errRecord
	}
	out := ofMillis(elapsed)
	return &out, nil
}

// keeping is what a session knows of how long messages are here. Node.mu guards it.
type keeping struct {
	clock   retentionClock
	since   map[ledger.ID]*time.Duration // when each message was first looked at, in elapsed time
	settled map[group.ID]*settled
}

// loadKeeping reads it from the journal, and has the inbox know what erased incidents were.
func (n *Node) loadKeeping() (*keeping, error) {
	k := &keeping{since: make(map[ledger.ID]*time.Duration), settled: make(map[group.ID]*settled)}
	raw, ok, err := n.cfg.Vault.Get(keyRetentionClock)
	if err == nil && ok {
		k.clock, err = parseRetentionClock(raw)
	}
	if err == nil {
		err = scanTransfer(n, prefixKept, ledger.ParseID, parseKept, k.since)
	}
	if err == nil {
		err = scanTransfer(n, prefixSettled, parseGroupID, parseSettled, k.settled)
	}
	if err != nil {
		return nil, err
	}
	for g, s := range k.settled {
		n.open.inbox.Settle(inbox.GroupID(g), s.mode, s.state)
	}
	return k, nil
}

// elapsed is the time that counts by now. n.mu is held and the device is unlocked.
func (n *Node) elapsed() retentionClock {
	return n.open.keeping.clock.advance(n.cfg.Clock.Now(), n.spent)
}

// readRetentionClock takes a reading, and notes the messages that it has not seen before. n.mu is held and the device is unlocked.
func (n *Node) readRetentionClock() error {
	k, next := n.open.keeping, n.elapsed()
	fresh := make(map[ledger.ID]*time.Duration)
	for _, c := range n.open.inbox.Conversations() {
		n.open.inbox.Each(c.ID, func(it *inbox.Item) {
			if id := ledger.ID(it.ID); k.since[id] == nil {
				fresh[id] = &next.elapsed
			}
		})
	}
	if len(fresh) == 0 && k.clock.set && next.away == k.clock.away && next.elapsed-k.clock.elapsed < clockGrain && next.wall.Sub(k.clock.wall).Abs() < clockGrain {
		return nil
	}
	raw, err := next.marshal()
	if err != nil {
		return fmt.Errorf("node: the clock of retention: %w", err)
	}
	kept, err := marshalKept(next.elapsed)
	if err != nil {
		return fmt.Errorf("node: the age of a message: %w", err)
	}
	changes := []vault.Change{{Key: keyRetentionClock, Value: raw}}
	for id := range fresh {
		changes = append(changes, vault.Change{Key: keptKey(id), Value: kept})
	}
	for len(changes) > 0 {
		part := changes[:min(len(changes), vault.MaxChanges)]
		changes = changes[len(part):]
		if err := n.cfg.Vault.Commit(part...); err != nil {
			return fmt.Errorf("%w: the vault's journal: %w", ErrReadOnly, err)
		}
	}
	k.clock, n.spent = next, 0
	for id, since := range fresh {
		k.since[id] = since
	}
	return nil
}

// settleIncident notes what an incident was, before its own messages go. n.mu is held and the device is unlocked.
func (n *Node) settleIncident(g group.ID, s *settled) error {
	if n.open.keeping.settled[g] != nil {
		return nil
	}
	raw, err := s.marshal()
	if err != nil {
		return err
	}
	if err := n.cfg.Vault.Commit(vault.Change{Key: settledKey(g), Value: raw}); err != nil {
		return fmt.Errorf("%w: the vault's journal: %w", ErrReadOnly, err)
	}
	n.cfg.Step("retention:settled")
	n.open.keeping.settled[g] = s
	n.open.inbox.Settle(inbox.GroupID(g), s.mode, s.state)
	return nil
}
