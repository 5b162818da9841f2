package node

// What concerns trust is read from the control entries of every log as they are
// appended, whether this device is locked or not, because a revocation cuts at
// once (protocol §1):
//
//	heed        an entry was appended: a statement in it is taken
//	take        statement → trust store → file on disk → owed to trustLoop
//	trustLoop   connections are checked again; groups and badges follow;
//	            an order to wipe this device begins
//
// The file is written before anything follows from a statement. A crash before
// that reads the entry again, because the cursor of its log lies in the same file.

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"sync"

	"tocsin/crypto/identity"
	"tocsin/ledger"
)

// Bounds of what a node keeps beside the trust store.
const (
	maxPending = 256  // statements that no log carries yet
	maxLater   = 256  // statements that are dated ahead; what is over is read again from its log
	laterEach  = 4    // of them, those that one device carries: they are not verified yet
	maxCarried = 8192 // hashes of statements that stand in a log, before those out of force are dropped
	maxMine    = 64   // statements that wait for this device to be unlocked
)

// keeper is what a node knows of statements beside the trust store.
type keeper struct {
	wake chan struct{} // one pending wake-up of trustLoop

	mu      sync.Mutex
	cursors map[identity.LogID]uint64   // guarded by mu: the next entry to read
	behind  map[identity.LogID]struct{} // guarded by mu: logs to be read from their cursor on
	stuck   map[identity.LogID]uint64   // guarded by mu: control entries that cannot be read yet
	held    map[identity.LogID]struct{} // guarded by mu: logs with a statement dated ahead for which later has no room
	early   map[identity.LogID]uint64   // guarded by mu: the first entry whose statement builds on one that has not come
	carried map[[32]byte]struct{}       // guarded by mu: SHA-256 of statements that stand in a log held here
	pending [][]byte                    // guarded by mu: statements that stand in none
	later   []deferred                  // guarded by mu: statements that are dated ahead
	mine    [][]byte                    // guarded by mu: mesh keys and appointments for this device
	pruneAt int                         // guarded by mu: how many of carried are looked through for what is out of force
	orders  map[identity.LogID]struct{} // guarded by mu: logs that carry a wipe order or receipt
	effects []identity.Effect           // guarded by mu: owed to trustLoop
	dirty   bool                        // guarded by mu: cursors moved since the file was written
}

func newKeeper() *keeper {
	return &keeper{
		wake: make(chan struct{}, 1), cursors: make(map[identity.LogID]uint64),
		behind: make(map[identity.LogID]struct{}), stuck: make(map[identity.LogID]uint64), held: make(map[identity.LogID]struct{}), early: make(map[identity.LogID]uint64),
		carried: make(map[[32]byte]struct{}), pruneAt: maxCarried, orders: make(map[identity.LogID]struct{}),
	}
}

func (k *keeper) ring() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// pass moves the cursor of a log past seq, if that is where it stands, and says
// whether the log holds more that was not read.
func (k *keeper) pass(id identity.LogID, seq, length uint64) (more bool) {
	if k.cursors[id] == seq {
		k.cursors[id] = seq + 1
		k.dirty = true
		if at, ok := k.stuck[id]; ok && at == seq {
			delete(k.stuck, id)
		}
	}
	_, stuck := k.stuck[id]
	return !stuck && k.cursors[id] < length
}

// readAll has every log read that has grown.
func (k *keeper) readAll(f ledger.Frontier) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, head := range f {
		if k.cursors[head.Log] < head.Next {
			k.behind[head.Log] = struct{}{}
		}
	}
	k.ring()
}

// heed reads the statement in an entry that stands in a log of length entries,
// if there is one. It is called for every entry, in any order, and again.
func (n *Node) heed(e *ledger.Entry, length uint64) {
	id, seq, k := e.Header.Log(), e.Header.Seq, n.keeper
	control, hold := e.Header.Kind == ledger.KindControl, false
	if control && e.HasBody() {
		hold = n.heedControl(e)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if hold {
		k.held[id] = struct{}{}
	}
	if control && (e.Absent || hold) {
		if k.cursors[id] == seq {
			k.stuck[id] = seq // its body comes later, through heed; what is held, through retryLater
		}
		return
	}
	if k.pass(id, seq, length) {
		k.behind[id] = struct{}{}
		k.ring()
	}
}

// heedControl says whether the entry must be read again, because its statement is
// dated ahead and there is no room to keep it.
func (n *Node) heedControl(e *ledger.Entry) (hold bool) {
	t, content, err := parseControl(e.Body)
	if err != nil || t != controlStatement {
		return false
	}
	_, err = n.take(content, true)
	if err == nil || errors.Is(err, identity.ErrEarly) {
		n.keeper.noteOrder(e.Header.Log(), content)
	}
	if errors.Is(err, identity.ErrEarly) || errors.Is(err, identity.ErrForeign) {
		n.keeper.noteEarly(e.Header.Log(), e.Header.Seq)
	}
	if errors.Is(err, identity.ErrPostDated) {
		hold = !n.keepLater(deferred{e.Header.Author, content})
	}
	if err != nil {
		n.count(func(m *Metrics) { m.StatementsRefused++ })
		n.log.Debug("a statement was not taken", "log", e.Header.Log(), "seq", e.Header.Seq, "err", err)
	}
	return hold
}

// noteOrder remembers a log that carries a wipe order or a receipt. It is written
// with the cursors: whoever loses it reads the entry again.
func (k *keeper) noteOrder(id identity.LogID, raw []byte) {
	kind, err := identity.StatementKind(raw)
	if err != nil || kind != identity.KindWipe && kind != identity.KindReceipt {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.orders[id] = struct{}{}
}

// take hands a statement to the trust store. What is new is on disk when it
// returns, and its consequences follow at once from trustLoop. Where the disk
// does not take it they follow all the same: the entry that carries it is read
// again after the next start.
func (n *Node) take(raw []byte, inLog bool) (identity.Effect, error) {
	k := n.keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	eff, err := n.trust.Take(raw, n.cfg.Clock.Now())
	changed := k.note(raw, inLog, err, n.trust.Statements)
	if err == nil && !eff.Known {
		changed = true
		k.effects = append(append(k.effects, eff), eff.Also...)
		k.remember(eff, raw, n.cred)
		k.readEarly(eff)
		k.ring()
	}
	if changed {
		if serr := n.saveTrust(); serr != nil {
			n.log.Error("a statement could not be saved; its entry is read again after the next start", "err", serr)
		}
	}
	return eff, err
}

// note keeps account of who carries a statement, and says whether that changed.
func (k *keeper) note(raw []byte, inLog bool, err error, inForce func() [][]byte) (changed bool) {
	if err != nil && !errors.Is(err, identity.ErrEarly) {
		return false // an early one waits in the store
	}
	hash := sha256.Sum256(raw)
	_, known := k.carried[hash]
	if inLog && !known {
		k.prune(inForce)
		k.carried[hash] = struct{}{}
		changed = true
	}
	at := slices.IndexFunc(k.pending, func(p []byte) bool { return bytes.Equal(p, raw) })
	switch {
	case at >= 0 && inLog:
		k.pending = slices.Delete(k.pending, at, at+1)
		return true
	case at < 0 && !inLog && !known && len(k.pending) < maxPending:
		k.pending = append(k.pending, bytes.Clone(raw))
		return true
	}
	return changed
}

// prune makes room in carried: what is out of force is not published again anyway.
// What is in force the trust store bounds.
func (k *keeper) prune(inForce func() [][]byte) {
	if len(k.carried) < k.pruneAt {
		return
	}
	left := make(map[[32]byte]struct{})
	for _, raw := range inForce() {
		hash := sha256.Sum256(raw)
		if _, ok := k.carried[hash]; ok {
			left[hash] = struct{}{}
		}
	}
	k.carried, k.pruneAt = left, max(maxCarried, 2*len(left))
}

// drop forgets a pending statement that was refused for good, such as one that a
// later one has overtaken.
func (k *keeper) drop(raw []byte, err error) {
	if errors.Is(err, identity.ErrEarly) {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pending = slices.DeleteFunc(k.pending, func(p []byte) bool { return bytes.Equal(p, raw) })
}

// stands reports whether a statement stands in a log that is held here.
func (k *keeper) stands(raw []byte) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok := k.carried[sha256.Sum256(raw)]
	return ok
}

// remember keeps what this device will need once it is unlocked.
func (k *keeper) remember(e identity.Effect, raw []byte, own *identity.Credential) {
	mine := e.MeshKey != nil && e.MeshKey.For(own.SigningKey) || e.Admin != nil && e.Admin.Admin.Author == own.SigningKey
	if mine && len(k.mine) < maxMine {
		k.mine = append(k.mine, bytes.Clone(raw))
	}
}

// trustLoop does what follows from statements.
func (n *Node) trustLoop() {
	defer n.wg.Done()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.keeper.wake:
		case <-n.wipeDue():
		case <-n.hearingDue():
		}
		n.endHearings()
		n.readBehind(n.ctx)
		n.keeper.mu.Lock()
		effects := n.keeper.effects
		n.keeper.effects = nil
		n.keeper.mu.Unlock()
		n.follow(effects)
		n.wipeStep(n.ctx)
	}
}

// readBehind reads the logs of which more was appended than heed was shown.
func (n *Node) readBehind(ctx context.Context) {
	n.keeper.mu.Lock()
	logs := n.keeper.behind
	n.keeper.behind = make(map[identity.LogID]struct{})
	n.keeper.mu.Unlock()
	for id := range logs {
		n.readControl(ctx, id)
	}
}

// readControl heeds what of a log was not heeded.
func (n *Node) readControl(ctx context.Context, id identity.LogID) {
	head, _ := n.logs.Head(id)
	n.keeper.mu.Lock()
	from := n.keeper.cursors[id]
	n.keeper.mu.Unlock()
	if from >= head.Next {
		return
	}
	err := n.logs.Entries(ctx, id, from, head.Next, func(e *ledger.Entry) error {
		n.heed(e, e.Header.Seq+1)
		return nil
	})
	if err != nil && ctx.Err() == nil {
		n.log.Error("a log could not be read for statements; it is tried again after the next start", "log", id, "err", err)
	}
}

// follow acts on what statements changed.
func (n *Node) follow(effects []identity.Effect) {
	if len(effects) == 0 {
		return
	}
	if slices.ContainsFunc(effects, changesAdmission) {
		if cut := n.mesh.Recheck(); cut > 0 {
			n.log.Info("connections were cut: trust has changed", "connections", cut)
		}
	}
	n.mu.Lock()
	n.obey()
	if n.open != nil {
		n.heedMine(n.ctx)
	}
	if n.open != nil { // a vault that could not be read has closed it
		if slices.ContainsFunc(effects, changesAdmission) {
			n.reexamine()
			n.refreshInbox()
		}
		if err := n.retryGroups(); err != nil { // some wait for a statement or its bundle
			n.log.Error("announcements that waited could not be taken; it is tried again within the hour", "err", err)
		}
		if n.writable() == nil {
			if err := n.publishPending(n.ctx); err != nil {
				n.log.Warn("statements could not be published; it is tried again within the hour", "err", err)
			}
		}
	}
	n.mu.Unlock()
	if slices.ContainsFunc(effects, func(e identity.Effect) bool { return e.Bundle != nil }) {
		n.mesh.SyncSoon("") // logs of organisations that are new wait at the neighbours
	}
	n.events.publish(Event{Type: EventTrust})
	n.events.publish(Event{Type: EventPeople})
}

// obey begins what trust orders this device to do. n.mu is held.
func (n *Node) obey() {
	if o, ok := n.trust.WipeFor(n.cred, n.cfg.Clock.Now()); ok {
		n.beginWipe(o)
	}
}

// changesAdmission reports whether somebody may be refused since. A receipt is
// not such: who gave it is to hear that it came.
func changesAdmission(e identity.Effect) bool {
	return len(e.Revoked) > 0 || len(e.Registrars) > 0 || e.Incident != nil || e.Bundle != nil
}

// reexamine has groups follow what trust says now of their members. n.mu is held
// and the device is unlocked.
func (n *Node) reexamine() {
	for _, id := range n.open.keyring.Reexamine() {
		n.showGroup(id)
		n.events.publish(Event{Type: EventGroup, Group: id.String()})
	}
	n.open.trialEnd = n.people.nextEnd(n.cfg.Clock.Now())
}
