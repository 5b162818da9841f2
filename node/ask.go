package node

// Asking again for what was sealed to a key that is destroyed here (protocol §4):
//
//	lose       what cannot be opened any more is noted under "lost/", by who sealed it
//	askLoop    woken by that, by an unlock and every hour
//	askAll     asks whom may be asked, once what is still on its way is here
//
// A device may ask another once a day only, and is handed what it named. So it waits
// with its question until the messages that it asks for are here, which the headers of
// a long absence are before them; and what did not fit one question is asked for a day
// later, as is what no answer came for.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
	"tocsin/ledger"
)

const (
	// prefixLost begins lost/<log>: what that log's device sealed cannot be opened here.
	prefixLost = "lost/"
	// askRest is how long after a loss, and then how often, it is looked whether all is
	// here that is to be asked for; askTries is how often at most, about 20 minutes.
	askRest  = 2 * time.Second
	askTries = 600
	// askRounds is how often the same is asked for.
	askRounds = 3
)

// lost is an announcement, or a message, that is sealed to a key destroyed here.
type lost struct {
	creator identity.LogID
	epoch   group.EpochID // zero where it is not known, or where there are several
	since   uint64        // clock of the first such entry
	from    uint64        // clock of what is to be asked for next
	round   uint8         // how often everything was asked for
}

func lostKey(creator identity.LogID) string { return prefixLost + creator.String() }

// marshal writes a value of "lost/": the epoch, the two clocks, the round.
func (l *lost) marshal() []byte {
	b := cryptobyte.NewBuilder(l.epoch[:])
	b.AddUint64(l.since)
	b.AddUint64(l.from)
	b.AddUint8(l.round)
	return b.BytesOrPanic()
}

func parseLost(key string, value []byte) (lost, error) {
	var l lost
	creator, err := identity.ParseLogID(strings.TrimPrefix(key, prefixLost))
	s := cryptobyte.String(value)
	if err != nil || !s.CopyBytes(l.epoch[:]) || !s.ReadUint64(&l.since) || !s.ReadUint64(&l.from) || !s.ReadUint8(&l.round) || !s.Empty() {
		return l, fmt.Errorf("%w: %s", errRecord, key)
	}
	l.creator = creator
	return l, nil
}

// lose notes what cannot be opened, beside what is known of its creator. n.mu is held.
func (n *Node) lose(all []lost) error {
	noted := make(map[identity.LogID]lost)
	for _, l := range all {
		old, ok := noted[l.creator]
		if !ok {
			raw, held, err := n.cfg.Vault.Get(lostKey(l.creator))
			if err != nil {
				return err
			}
			if held {
				if old, err = parseLost(lostKey(l.creator), raw); err != nil {
					return err
				}
			}
			ok = held
		}
		if ok {
			if l.since = min(l.since, old.since); l.epoch != old.epoch {
				l.epoch = group.EpochID{}
			}
		}
		l.from = l.since // also where it was asked for: the answer may be what cannot be opened
		noted[l.creator] = l
	}
	var changes []vault.Change
	for id, l := range noted {
		changes = append(changes, vault.Change{Key: lostKey(id), Value: l.marshal()})
	}
	if err := n.commitChunks(changes); err != nil {
		return err
	}
	n.asksSoon()
	return nil
}

// asksSoon has askLoop look at what is lost; it never blocks.
func (n *Node) asksSoon() { ring(n.asks) }

// askLoop is the one goroutine that asks again.
func (n *Node) askLoop() {
	defer n.wg.Done()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.asks:
		}
		for tries := 1; ; tries++ {
			if !n.wait(askRest) {
				return
			}
			n.mu.Lock()
			later, err := n.askAll(n.ctx, tries < askTries)
			n.mu.Unlock()
			if err != nil && n.ctx.Err() == nil {
				n.log.Warn("what cannot be opened could not be asked for; it is tried again within the hour", "err", err)
			}
			if !later {
				break
			}
		}
	}
}

// askAll asks for all that is lost. Where patient, it leaves for later what more is on
// its way of, and says so. n.mu is held.
func (n *Node) askAll(ctx context.Context, patient bool) (later bool, err error) {
	if n.open == nil || n.writable() != nil {
		return false, nil // an unlock looks again
	}
	var all []lost
	err = n.cfg.Vault.Scan(prefixLost, func(key string, value []byte) error {
		l, err := parseLost(key, value)
		all = append(all, l)
		return err
	})
	if err != nil {
		return false, err
	}
	var errs []error
	for _, l := range all {
		with := n.sharesWith(l.creator)
		if patient {
			coming, err := n.coming(ctx, with, l.since)
			if errs = append(errs, err); coming {
				later = true
				continue
			}
		}
		errs = append(errs, n.askAgain(ctx, l, with))
		if n.open == nil {
			break
		}
	}
	return later, errors.Join(errs...)
}

// askAgain asks who sealed it to seal anew, and to hand over what waits here since, at
// most once a day and oldest first.
func (n *Node) askAgain(ctx context.Context, l lost, with map[identity.LogID]bool) error {
	waiting, err := n.waitingSince(ctx, with, l.since)
	if err != nil {
		return err
	}
	next := slices.IndexFunc(waiting, func(w waiter) bool { return w.hlc >= l.from })
	if next < 0 && l.from > l.since { // it was asked for to the end
		if l.round++; len(waiting) == 0 || l.round >= askRounds {
			return n.commitChunks([]vault.Change{{Key: lostKey(l.creator)}})
		}
		next, l.from = 0, l.since
	}
	var part []waiter
	if next >= 0 {
		part = waiting[next:min(next+maxHandItems, len(waiting))]
	}
	ids := make([][32]byte, len(part))
	for i, w := range part {
		ids[i] = w.id
	}
	payload, changes, err := n.open.keyring.AskAgain(l.creator, l.epoch, ids, n.cfg.Clock.Now())
	if err != nil {
		return fmt.Errorf("node: asking %s to seal again: %w", l.creator, err)
	}
	if payload == nil {
		return nil // asked today
	}
	l.from = max(l.from, l.since) + 1
	if len(part) > 0 {
		l.from = part[len(part)-1].hlc + 1
	}
	// A crash before the entry is written loses this question; the next round asks it.
	if err := n.saveGroup(changes, vault.Change{Key: lostKey(l.creator), Value: l.marshal()}); err != nil {
		return err
	}
	n.count(func(m *Metrics) { m.Unreadable++ })
	return n.commitControl(ctx, controlUnreadable, payload)
}

// sharesWith is who is in a group with a device, and that device itself: what it sealed
// they may have used.
func (n *Node) sharesWith(creator identity.LogID) map[identity.LogID]bool {
	with := map[identity.LogID]bool{creator: true}
	for _, v := range n.open.keyring.Groups() {
		if _, ok := v.Role(creator); !ok {
			continue
		}
		for _, m := range v.Members {
			with[m.Device] = true
		}
	}
	return with
}

// waiter is an entry that waits for an epoch, and its clock.
type waiter struct {
	hlc uint64
	id  ledger.ID
}

// waitingSince returns the entries of some logs that wait here and are no older than
// since, oldest first: what cannot be opened is among them.
func (n *Node) waitingSince(ctx context.Context, with map[identity.LogID]bool, since uint64) ([]waiter, error) {
	var out []waiter
	err := n.cfg.Vault.Scan(prefixWait, func(key string, _ []byte) error {
		_, log, seq, err := parseWaitKey(key)
		if err != nil || !with[log] {
			return err
		}
		e, err := n.logs.Entry(ctx, log, seq)
		if err != nil {
			n.log.Error("an entry that waited cannot be read", "log", log, "seq", seq, "err", err)
			return nil
		}
		if e.Header.HLC >= since {
			out = append(out, waiter{e.Header.HLC, e.ID()})
		}
		return nil
	})
	slices.SortFunc(out, func(a, b waiter) int {
		return cmp.Or(cmp.Compare(a.hlc, b.hlc), slices.Compare(a.id[:], b.id[:]))
	})
	return out, err
}

// fetched reports whether a session fetches entries of a log at this moment.
func (s *syncing) fetched(id ledger.LogID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.claims[id]
	return ok
}

// errFound ends a scan early.
var errFound = errors.New("node: found")

// coming reports whether anything of some logs that is no older than since is still to
// come, or is here and was not looked at yet. n.mu is held.
func (n *Node) coming(ctx context.Context, with map[identity.LogID]bool, since uint64) (bool, error) {
	for id := range with {
		if head, ok := n.logs.Head(id); ok && n.open.cursors[id] < head.Next || n.sync.fetched(id) {
			return true, nil
		}
	}
	err := n.cfg.Vault.Scan(prefixAbsent, func(key string, _ []byte) error {
		log, seq, err := parseMessageKey(prefixMessage + strings.TrimPrefix(key, prefixAbsent))
		if err != nil || !with[log] {
			return err
		}
		e, err := n.logs.Entry(ctx, log, seq)
		if err != nil || e.Header.HLC < since {
			return nil // one that is damaged is fetched again as a whole
		}
		wanted := !e.Absent // then it is about to be opened
		n.sync.bodies(func(a *ledger.Absence) { wanted = wanted || a.Has(log, seq) })
		if wanted {
			return errFound
		}
		return nil // nobody is asked for it, as for what is carried for others beyond the quota
	})
	if errors.Is(err, errFound) {
		return true, nil
	}
	return false, err
}
