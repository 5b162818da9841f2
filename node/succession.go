package node

// How a device goes on after it was restored, set up again, cloned, or given new
// keys (protocol §3), top to bottom, one writer (n.mu):
//
//	goOn        is this log still ours to write? at an unlock, after every turn of
//	            the drain and before every message
//	restart     another log: a higher incarnation, never used before
//	begin       its first entry: credential and closing of the log before (on disk)
//	takeUp      the keyring is rebuilt for it; groups follow; prekeys are published
//
// All of it follows from what is durable: a crash anywhere begins again at the next
// unlock, and a log whose first entry is on disk is the one that goes on.

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
	"tocsin/ledger"
)

// going is a log that this device is about to go on for. It holds no key: those
// are the session's, and the device may be locked before it is done.
type going struct {
	old     identity.LogID
	reason  ledger.ClosingReason
	since   time.Time
	waits   bool // for what this device wrote before: somebody looks again every second
	writing bool // the first entry is being written
}

// catchUp is how long a device that must go on waits at most for what its vault, or a
// neighbour, shows that it wrote before: what comes later counts as after the end.
const catchUp = time.Minute

var errCatchUp = errors.New("node: this device is fetching what it wrote before it was restored, and goes on in a minute at most: try again then")

// mustGoOn reports that nothing but the first entry of another log may be written
// by this device. n.mu is held and the device is unlocked.
func (n *Node) mustGoOn() bool {
	if n.cred.Claims.Relay {
		return false
	}
	if n.goes != nil {
		return !n.goes.writing
	}
	return n.whyRestart() != 0
}

// selfLog is the log that this device writes, for callers that do not hold n.mu.
func (n *Node) selfLog() identity.LogID {
	n.selfMu.RLock()
	defer n.selfMu.RUnlock()
	return n.self
}

// setSelf makes another log this device's. n.mu is held.
func (n *Node) setSelf(id identity.LogID) {
	n.selfMu.Lock()
	defer n.selfMu.Unlock()
	n.self = id
}

// mine reports whether this device wrote a log, under this key or one before, as
// far as it knows. n.mu is held.
func (n *Node) mine(log identity.LogID) bool {
	return log.Author == n.cred.SigningKey || n.open != nil && n.open.keyring.IsOwn(log)
}

// newestOwn returns the newest log of a key that is held here, the first one if
// there is none.
func (n *Node) newestOwn(author identity.Key) identity.LogID {
	newest := identity.LogID{Author: author}
	n.logs.EachHead(newest, func(h ledger.Head) bool {
		if h.Log.Author != author {
			return false
		}
		newest = h.Log
		return true
	})
	return newest
}

// goOn has this device go on in another log where it may not write to its own any
// more. Where it cannot, [Node.writable] says why. n.mu is held.
func (n *Node) goOn(ctx context.Context) {
	if n.open == nil || n.wipe != nil || n.cred.Claims.Relay || n.clockProblem() != nil || n.ctx.Err() != nil {
		return
	}
	var err error
	if n.goes == nil {
		err = n.restart(ctx)
	}
	if err == nil && n.goes != nil {
		err = n.begin(ctx)
	}
	if err != nil && !sameText(err, n.stalled) {
		n.log.Error("this device cannot go on in a new log", "err", err)
	}
	n.stalled = err
}

func sameText(a, b error) bool { return a != nil && b != nil && a.Error() == b.Error() }

// whyRestart says why the own log may not be written to any more, 0 if it may.
func (n *Node) whyRestart() ledger.ClosingReason {
	head, _ := n.logs.Head(n.self)
	stopped := n.own.Stopped()
	switch {
	case errors.Is(stopped, ledger.ErrForked), n.logs.Closed(n.self):
		return ledger.ClosedForked
	case errors.Is(stopped, ledger.ErrRollback), n.open.restored:
		return ledger.ClosedRestored
	case n.open.cursors[n.self] > 0 && head.Next == 0:
		return ledger.ClosedReinstalled // the vault is here, the store is not
	case n.open.cursors[n.self] > head.Next:
		return ledger.ClosedRestored // the store is older than the vault
	case head.Next > 0 && n.issued != sha256.Sum256(n.cfg.Credential):
		return ledger.ClosedReissued
	}
	return 0
}

// restart chooses the log to go on in, where there is need of one.
func (n *Node) restart(ctx context.Context) error {
	if head, _ := n.logs.Head(n.self); head.Next == 0 && n.self.Incarnation == 0 {
		before, err := n.rolledFrom()
		if err != nil {
			return err
		}
		if before != nil {
			return n.rollOn(before)
		}
	}
	if first, _ := n.people.held(identity.LogID{Author: n.self.Author}); first != nil && first.reason == ledger.ClosedKeyRoll {
		// It said so. A crash right after left the key, which a further roll trips over.
		if err := n.forgetRolled(); err != nil {
			return err
		}
	}
	reason := n.whyRestart()
	if reason == 0 {
		return nil
	}
	now := n.cfg.Clock.Now()
	next, err := n.nextLog(now)
	if err != nil {
		return err
	}
	if err := n.people.mayRestart(next, n.cfg.Credential, now); err != nil {
		return err
	}
	own, err := n.logs.Own(ctx, next)
	if err != nil {
		return fmt.Errorf("node: a new log of this device: %w", err)
	}
	// What was signed in the log before may be fetched again from now on, and
	// nothing is written to it any more.
	n.goes = &going{old: n.self, reason: reason, since: now}
	n.own = own
	n.setSelf(next)
	if n.mesh != nil {
		n.mesh.SyncSoon("")
	}
	return nil
}

// nextLog names a log that was never used: two devices that were restored from
// one copy must not choose the same, nor one device twice, though neither knows of the other
// time. So the number has the minute and eight random bits in it; it is above every one that was seen.
func (n *Node) nextLog(now time.Time) (identity.LogID, error) {
	var random [1]byte
	if _, err := io.ReadFull(n.rand, random[:]); err != nil {
		return identity.LogID{}, fmt.Errorf("node: randomness: %w", err)
	}
	above := max(n.self.Incarnation, n.seenOwn.Load())
	if above == math.MaxUint32 {
		return identity.LogID{}, errors.New("node: the numbers of this key's logs are used up: give this device a new key with `tocsin keyroll`")
	}
	minutes := min(max(now.Sub(incarnationsBegin)/time.Minute, 0), math.MaxUint32>>8)
	number := uint32(minutes)<<8 | uint32(random[0])
	return identity.LogID{Author: n.self.Author, Incarnation: max(above+1, number)}, nil
}

// incarnationsBegin is where the minutes in the number of an incarnation are
// counted from; they last for 31 years.
var incarnationsBegin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// seen notes that a log of this device's author exists that is not held here.
func (n *Node) seen(log identity.LogID) {
	for {
		have := n.seenOwn.Load()
		if log.Author != n.cred.SigningKey || log.Incarnation <= have || n.seenOwn.CompareAndSwap(have, log.Incarnation) {
			return
		}
	}
}

// keyRolledFrom is where the vault keeps the keys of before a key roll
// (identity.VaultKeys), until the first entry of the new log stands.
const keyRolledFrom = "identity/rolled-from"

// rolledFrom returns the signing key of before a key roll, if this device was given
// another and has not said so yet. The caller clears it.
func (n *Node) rolledFrom() (ed25519.PrivateKey, error) {
	raw, ok, err := n.cfg.Vault.Get(keyRolledFrom)
	if err != nil || !ok {
		return nil, err
	}
	keys, err := identity.ParseVaultKeys(raw)
	if err != nil {
		return nil, fmt.Errorf("node: the keys of before the key roll: %w", err)
	}
	return keys.Signing, nil
}

// rollOn goes on for the log of the key before.
func (n *Node) rollOn(before ed25519.PrivateKey) error {
	defer clear(before)
	old := n.newestOwn(identity.KeyOf(before))
	if head, _ := n.logs.Head(old); head.Next == 0 && n.open.cursors[old] == 0 {
		return n.forgetRolled() // it never wrote anything that could be closed
	}
	n.goes = &going{old: old, reason: ledger.ClosedKeyRoll, since: n.cfg.Clock.Now()}
	return nil
}

// closingKey returns the key that closes the log before, and what follows the
// closing in the first entry of the next: the credential or a key roll.
func (n *Node) closingKey(reason ledger.ClosingReason) (key ed25519.PrivateKey, rest []byte, err error) {
	if reason != ledger.ClosedKeyRoll {
		return slices.Clone(n.open.keys.Signing), n.cfg.Credential, nil
	}
	if key, err = n.rolledFrom(); err != nil {
		return nil, nil, err
	}
	if key == nil {
		return nil, nil, errors.New("node: the key of before the key roll is no longer in the vault: enrol this device again with `tocsin init` in an empty directory")
	}
	rest, err = identity.NewKeyRoll(key, n.open.keys.Signing, n.cfg.Credential)
	return key, rest, err
}

// forgetRolled destroys the keys of before a key roll.
func (n *Node) forgetRolled() error {
	if _, ok, err := n.cfg.Vault.Get(keyRolledFrom); err != nil || !ok {
		return err
	}
	if err := n.cfg.Vault.Commit(vault.Change{Key: keyRolledFrom}); err != nil {
		return fmt.Errorf("%w: the vault's journal: %w", ErrReadOnly, err)
	}
	return nil
}

// lookAgain brings what is to be closed up to date, while nothing of the next log is
// written: logs of this device may have come since it was chosen.
func (n *Node) lookAgain(ctx context.Context) error {
	g := n.goes
	newest := n.newestOwn(g.old.Author)
	if newest == g.old || newest == n.self {
		return nil
	}
	if newest.Author == n.self.Author && newest.Incarnation > n.self.Incarnation {
		n.seen(newest)
		next, err := n.nextLog(n.cfg.Clock.Now())
		if err != nil {
			return err
		}
		own, err := n.logs.Own(ctx, next)
		if err != nil {
			return fmt.Errorf("node: a new log of this device: %w", err)
		}
		n.own = own
		n.setSelf(next)
	}
	g.old = newest
	return nil
}

// catchingUp reports that more is likely to come of the log before. It is looked
// again every second until none is.
func (n *Node) catchingUp(head ledger.Head) bool {
	g := n.goes
	if n.cfg.Clock.Now().Sub(g.since).Abs() >= catchUp {
		return false
	}
	behind := head.Next < n.open.cursors[g.old]
	if !behind && !n.cfg.Unsafe.NoSync && n.mesh != nil && len(n.mesh.Peers()) > 0 {
		select {
		case <-n.met:
		default:
			behind = true
		}
	}
	if behind && !g.waits {
		g.waits = true
		n.wg.Go(func() {
			for n.wait(time.Second) {
				n.mu.Lock()
				n.goOn(n.ctx)
				done := n.goes != g || n.open == nil
				if done {
					g.waits = false
				}
				n.mu.Unlock()
				if done {
					return
				}
			}
		})
	}
	return behind
}

// begin writes the first entry of the log to go on in.
func (n *Node) begin(ctx context.Context) error {
	g := n.goes
	if err := n.lookAgain(ctx); err != nil {
		return err
	}
	head, ok := n.logs.Head(g.old)
	if !ok || head.Next == 0 {
		return errors.New("node: this device has its keys and has lost its logs, so it must fetch its own log from a neighbour before it can go on: connect it to the mesh, or import a bundle; if nobody has anything of it, enrol it again with `tocsin init` in an empty directory")
	}
	if n.catchingUp(head) {
		return errCatchUp
	}
	root, err := n.testimony.trees.Root(ctx, g.old, head.Next)
	if err != nil {
		return fmt.Errorf("node: the log to go on for: %w", err)
	}
	key, rest, err := n.closingKey(g.reason)
	if err != nil {
		return err
	}
	defer clear(key)
	closing, err := ledger.SignClosing(key, n.trust.MeshID(), g.old, head.Next, root, g.reason, n.self)
	if err != nil {
		return fmt.Errorf("node: closing the log before: %w", err)
	}
	t := controlRestart
	if g.reason == ledger.ClosedKeyRoll {
		t = controlRoll
	}
	g.writing = true
	err = n.commitControl(ctx, t, slices.Concat(closing.Marshal(), rest))
	if g.writing = false; err != nil {
		return err
	}
	n.cfg.Step("succession:begun")
	n.goes = nil
	n.log.Warn("this device goes on in a new log", "log", n.self, "before", g.old, "why", g.reason)
	if err := n.readOwn(ctx); err != nil {
		return err
	}
	return n.takeUp(ctx)
}

// readOwn reads how this device's log began.
func (n *Node) readOwn(ctx context.Context) error {
	head, ok := n.logs.Head(n.self)
	if !ok || head.Next == 0 {
		return nil
	}
	n.issued = sha256.Sum256(n.cfg.Credential) // unless it can be read
	first, err := n.logs.Entry(ctx, n.self, 0)
	if err != nil {
		return fmt.Errorf("node: the first entry of %s: %w", n.self, err)
	}
	if !first.HasBody() {
		return nil // fetched again after it was lost: its body is on the way
	}
	f, err := n.people.readFirst(first)
	if err != nil {
		return fmt.Errorf("node: the first entry of %s: %w", n.self, err)
	}
	n.people.admitted(n.self, f)
	n.issued = sha256.Sum256(f.raw)
	return nil
}

// takeUp takes up the work of this device in its new log.
func (n *Node) takeUp(ctx context.Context) error {
	if err := n.reload(); err != nil {
		return n.fallBack(err)
	}
	if err := n.followSuccessions(); err != nil {
		return err
	}
	if err := n.forgetRolled(); err != nil {
		return err
	}
	if err := n.publishPreKeys(ctx); err != nil {
		return err
	}
	n.due.addEverything()
	n.events.publish(Event{Type: EventPeople})
	n.events.publish(Event{Type: EventTrust})
	return nil
}

// followSuccessions has groups follow every device that goes on in another log.
// n.mu is held and the device is unlocked.
func (n *Node) followSuccessions() error {
	k := n.open.keyring
	all := slices.DeleteFunc(n.people.successions(), func(s group.Succession) bool { return k.Succeeds(s.New) })
	if len(all) == 0 {
		return nil
	}
	changes, err := k.LearnSuccessions(all...)
	if err != nil {
		return fmt.Errorf("node: devices that go on in other logs: %w", err)
	}
	for part := range slices.Chunk(changes, vault.MaxChanges) {
		if err := n.saveGroup(part); err != nil {
			return err
		}
	}
	n.refreshInbox()
	for _, v := range k.Groups() {
		n.events.publish(Event{Type: EventGroup, Group: v.ID.String()})
	}
	n.open.trialEnd = n.people.nextEnd(n.cfg.Clock.Now())
	return n.retryGroups()
}

// afterClosing reports whether an entry lies after the end that its device named
// when it went on in another log: it was lost in a restore, or a copy of the device
// wrote it. n.mu is held.
func (n *Node) afterClosing(log identity.LogID, seq uint64) bool { return n.people.beyond(log, seq) }

// restoredValue names the log beside which the vault proved too old, so that the
// mark says nothing of the log that goes on.
func restoredValue(log identity.LogID) []byte {
	b := log.Bytes()
	return b[:]
}

// wasRestored reports whether the vault is marked as older than the present log.
func (n *Node) wasRestored() (bool, error) {
	raw, ok, err := n.cfg.Vault.Get(keyRestored)
	if err != nil || !ok {
		return false, err
	}
	if len(raw) != identity.LogIDSize {
		return false, fmt.Errorf("%w: %s", errRecord, keyRestored)
	}
	return identity.LogID{Author: identity.Key(raw[:32]), Incarnation: binary.BigEndian.Uint32(raw[32:])} == n.self, nil
}
