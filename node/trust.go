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
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"

	"tocsin/crypto/identity"
	"tocsin/ledger"
)

// Bounds of what a node keeps beside the trust store.
const (
	maxPending = 256  // statements that no log carries yet
	maxLater   = 256  // statements that are dated ahead
	laterEach  = 4    // of them, those that one device carries: they are not verified yet
	maxCarried = 8192 // hashes of statements that stand in a log
	maxMine    = 64   // statements that wait for this device to be unlocked
)

// keeper is what a node knows of statements beside the trust store.
type keeper struct {
	wake chan struct{} // one pending wake-up of trustLoop

	mu      sync.Mutex
	cursors map[identity.LogID]uint64   // guarded by mu: the next entry to read
	behind  map[identity.LogID]struct{} // guarded by mu: logs to be read from their cursor on
	stuck   map[identity.LogID]uint64   // guarded by mu: control entries whose body has not come
	carried map[[32]byte]struct{}       // guarded by mu: SHA-256 of statements that stand in a log held here
	pending [][]byte                    // guarded by mu: statements that stand in none
	later   []deferred                  // guarded by mu: statements that are dated ahead
	mine    [][]byte                    // guarded by mu: mesh keys and appointments for this device
	orders  map[identity.LogID]struct{} // guarded by mu: logs that carry a wipe order or receipt; not kept
	effects []identity.Effect           // guarded by mu: owed to trustLoop
	dirty   bool                        // guarded by mu: cursors moved since the file was written
}

// deferred is a statement that is dated more than a day ahead, and who carries
// it; zero for one that came in a file.
type deferred struct {
	by  identity.Key
	raw []byte
}

func newKeeper() *keeper {
	return &keeper{
		wake: make(chan struct{}, 1), cursors: make(map[identity.LogID]uint64),
		behind: make(map[identity.LogID]struct{}), stuck: make(map[identity.LogID]uint64),
		carried: make(map[[32]byte]struct{}), orders: make(map[identity.LogID]struct{}),
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
	control := e.Header.Kind == ledger.KindControl
	if control && e.HasBody() {
		n.heedControl(e)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if control && e.Absent {
		if k.cursors[id] == seq {
			k.stuck[id] = seq // its body comes later, through heed
		}
		return
	}
	if k.pass(id, seq, length) {
		k.behind[id] = struct{}{}
		k.ring()
	}
}

func (n *Node) heedControl(e *ledger.Entry) {
	t, content, err := parseControl(e.Body)
	if err != nil || t != controlStatement {
		return
	}
	if kind, err := identity.StatementKind(content); err == nil && (kind == identity.KindWipe || kind == identity.KindReceipt) {
		n.keeper.mu.Lock()
		n.keeper.orders[e.Header.Log()] = struct{}{}
		n.keeper.mu.Unlock()
	}
	_, err = n.take(content, true)
	if errors.Is(err, identity.ErrPostDated) {
		n.keepLater(deferred{e.Header.Author, content})
	}
	if err != nil {
		n.count(func(m *Metrics) { m.StatementsRefused++ })
		n.log.Debug("a statement was not taken", "log", e.Header.Log(), "seq", e.Header.Seq, "err", err)
	}
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
	changed := k.note(raw, inLog, err)
	if err == nil && !eff.Known {
		changed = true
		k.effects = append(append(k.effects, eff), eff.Also...)
		k.remember(eff, raw, n.cred)
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
func (k *keeper) note(raw []byte, inLog bool, err error) (changed bool) {
	if err != nil && !errors.Is(err, identity.ErrEarly) {
		return false // an early one waits in the store
	}
	hash := sha256.Sum256(raw)
	_, known := k.carried[hash]
	if inLog && !known && len(k.carried) < maxCarried {
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

// keepLater keeps a statement that is dated ahead, to be tried again.
func (n *Node) keepLater(d deferred) {
	k := n.keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	each := 0
	for _, other := range k.later {
		if bytes.Equal(other.raw, d.raw) {
			return
		}
		if other.by == d.by {
			each++
		}
	}
	if each >= laterEach || len(k.later) >= maxLater {
		return
	}
	k.later = append(k.later, deferred{d.by, bytes.Clone(d.raw)})
	if err := n.saveTrust(); err != nil {
		n.log.Error("a statement that is dated ahead could not be saved", "err", err)
	}
}

// retryLater takes the statements whose time has come. It runs every hour,
// locked or not.
func (n *Node) retryLater() {
	n.keeper.mu.Lock()
	later := n.keeper.later
	n.keeper.later = nil
	n.keeper.mu.Unlock()
	for _, d := range later {
		_, err := n.take(d.raw, d.by != identity.Key{})
		if errors.Is(err, identity.ErrPostDated) {
			n.keepLater(d)
		}
	}
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

// PublishStatement takes a statement that came in a file: it is checked, kept
// and acted on at once, also while locked, and carried in this device's log from
// the next unlock on unless another device carries it by then. Errors:
// [ErrInvalid] with the reason; a statement that is known already is none.
func (n *Node) PublishStatement(ctx context.Context, raw []byte) (StatementInfo, error) {
	eff, err := n.take(raw, false)
	switch {
	case errors.Is(err, identity.ErrPostDated):
		n.keepLater(deferred{raw: raw})
		return StatementInfo{}, invalid("%v; it is tried again every hour", err)
	case errors.Is(err, identity.ErrEarly):
		return StatementInfo{}, invalid("this statement waits for a trust bundle that has not come: publish that too: %v", err)
	case err != nil:
		return StatementInfo{}, invalid("%v", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.writable() == nil {
		if err := n.publishPending(ctx); err != nil {
			return StatementInfo{}, err
		}
	}
	known := eff.Known
	if known {
		if eff, err = n.reread(raw); err != nil {
			return StatementInfo{}, invalid("%v", err)
		}
	}
	info := n.statementInfo(raw, eff)
	info.New = !known
	return info, nil
}

// publishPending carries the statements that no log carries yet. n.mu is held
// and the device is unlocked.
func (n *Node) publishPending(ctx context.Context) error {
	n.keeper.mu.Lock()
	pending := slices.Clone(n.keeper.pending)
	n.keeper.mu.Unlock()
	for _, raw := range pending {
		if _, err := n.take(raw, false); err != nil {
			n.keeper.drop(raw, err)
			continue
		}
		if err := n.commitControl(ctx, controlStatement, raw); err != nil {
			return err
		}
	}
	return nil
}

// publishUncarried carries what is in force and stands in no log, such as what
// an enrolment brought. n.mu is held and the device is unlocked.
func (n *Node) publishUncarried(ctx context.Context) error {
	for _, raw := range n.trust.Statements() {
		n.keeper.mu.Lock()
		_, carried := n.keeper.carried[sha256.Sum256(raw)]
		n.keeper.mu.Unlock()
		if carried {
			continue
		}
		if err := n.commitControl(ctx, controlStatement, raw); err != nil {
			return err
		}
	}
	return nil
}

// Statements returns the statements in force. It works while locked.
func (n *Node) Statements() []StatementInfo {
	var out []StatementInfo
	fresh, err := identity.NewTrustStore(n.trust.Genesis())
	if err != nil {
		n.log.Error("the genesis bundle cannot be read again", "err", err)
		return nil
	}
	for _, raw := range n.trust.Statements() {
		eff, err := fresh.Take(raw, n.cfg.Clock.Now())
		if err != nil {
			n.log.Error("a statement in force is refused now", "err", err)
			continue
		}
		out = append(out, n.statementInfo(raw, eff))
	}
	return out
}

// reread reads a statement that was taken before, of which the store says no
// more than that it is known: with the bundles in force and nothing else.
func (n *Node) reread(raw []byte) (identity.Effect, error) {
	fresh, err := identity.NewTrustStore(n.trust.Genesis())
	if err != nil {
		return identity.Effect{}, err
	}
	for _, st := range n.trust.Statements() {
		if kind, err := identity.StatementKind(st); err != nil || kind != identity.KindBundle {
			continue
		}
		if _, err := fresh.Take(st, n.cfg.Clock.Now()); err != nil {
			return identity.Effect{}, err
		}
	}
	return fresh.Take(raw, n.cfg.Clock.Now())
}

// RawStatements returns the statements in force as they were signed.
func (n *Node) RawStatements() [][]byte { return n.trust.Statements() }

func (n *Node) statementInfo(raw []byte, e identity.Effect) StatementInfo {
	hash := sha256.Sum256(raw)
	n.keeper.mu.Lock()
	_, carried := n.keeper.carried[hash]
	n.keeper.mu.Unlock()
	return StatementInfo{
		Hash: hex.EncodeToString(hash[:]), Kind: e.Kind.String(), Issuer: e.Org, Time: e.Time,
		Words: statementWords(e), Carried: carried,
	}
}

// statementWords is a statement in one sentence.
func statementWords(e identity.Effect) string {
	by := e.Org
	if e.Registrar {
		by = "a registrar of " + e.Org
	}
	when := e.Time.UTC().Format("2 January 2006 15:04 MST")
	switch {
	case e.Wipe != nil:
		return fmt.Sprintf("%s ordered a device to destroy its keys on %s.", by, when)
	case e.Receipt != nil:
		return fmt.Sprintf("The device %s says that it destroyed its keys on %s.", e.Receipt.Device, when)
	case e.Incident != nil && e.Incident.Declared:
		return fmt.Sprintf("%s declared the incident “%s” on %s.", by, e.Incident.Name, when)
	case e.Incident != nil:
		return fmt.Sprintf("%s stood the incident “%s” down on %s.", by, e.Incident.Name, when)
	case e.Bundle != nil:
		return fmt.Sprintf("Trust bundle %d came into force, dated %s.", e.Bundle.Number(), when)
	case e.MeshKey != nil:
		return fmt.Sprintf("%s sealed broadcast key %d to its devices on %s.", by, e.MeshKey.Number, when)
	case e.Admin != nil:
		return fmt.Sprintf("%s named an admin for a group that had none on %s.", by, when)
	case len(e.Revoked) > 0:
		return fmt.Sprintf("%s revoked %d devices on %s.", by, len(e.Revoked), when)
	}
	return fmt.Sprintf("%s signed a statement (%s) on %s.", by, e.Kind, when)
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
		}
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
		if slices.ContainsFunc(effects, changesAdmission) {
			n.reexamine()
			n.refreshInbox()
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
