package node

// Forks as people are shown them: both branches of the log of a device that signed
// two entries at one place, a badge on the person and on what was said from there
// on. What stands on a branch that is kept out of the log is opened where its keys
// are at hand, kept as evidence, and never shown as part of a conversation.

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
	"tocsin/ledger"
	"tocsin/node/message"
)

// Fork is a log whose author signed two entries at one place: its device was
// copied, or it lies.
type Fork struct {
	Log      string        `json:"log"`
	Author   string        `json:"author,omitempty"` // display name, when the credential is held
	Own      bool          `json:"own,omitempty"`    // it is this device's
	Seq      uint64        `json:"seq"`              // the forked place; the log takes nothing from there on
	Words    string        `json:"words"`
	Branches [2]ForkBranch `json:"branches"` // begin with the two entries of the proof, the lower id first
}

// ForkBranch is what is known of one branch, from the forked place on.
type ForkBranch struct {
	// InLog is how many of its entries, from the first on, stand in the log here:
	// they came before the fork was known. The others are kept out of it.
	InLog   int         `json:"in_log"`
	Entries []ForkEntry `json:"entries"`
}

// ForkEntry is one entry of a branch.
type ForkEntry struct {
	EntryInfo
	InLog bool `json:"in_log"`
	// Group and Summary are of a message that could be opened.
	Group   string `json:"group,omitempty"`
	Summary string `json:"summary,omitempty"`
	// Why it could not be opened, where there is one.
	Why string `json:"why,omitempty"`
}

// ForkState is the badge of a device whose log is forked and which was not issued
// anew since.
type ForkState struct {
	Log   string `json:"log"`
	Seq   uint64 `json:"seq"`
	Words string `json:"words"`
}

// Why a message on a branch is not shown.
const (
	whyLocked = "unlock this device to read it"
	whyAbsent = "what it says has not come to this device"
	whySealed = "it is sealed to a group that this device is not in, or its key was used up by the other branch"
	whyErased = "it was erased"
)

// prefixEvidence begins the keys of messages that stand on a branch which is kept
// out of the log: evidence/<entry id>, an opened message.
const prefixEvidence = "evidence/"

func evidenceKey(id ledger.ID) string { return prefixEvidence + id.String() }

// Forks returns every forked log with both branches, as far as they are known
// here. It works while locked; messages are shown only while unlocked.
func (n *Node) Forks(ctx context.Context) ([]Fork, error) {
	out := []Fork{}
	for _, f := range n.logs.Forks() {
		both, err := n.logs.Branches(ctx, f.Log)
		if err != nil {
			return nil, fmt.Errorf("node: the branches of log %s: %w", f.Log, err)
		}
		n.mu.Lock()
		shown := Fork{
			Log: f.Log.String(), Author: n.authorOf(f.Log, n.cfg.Clock.Now()).Name, Own: f.Log.Author == n.cred.SigningKey, Seq: f.Seq,
		}
		for b, branch := range both {
			shown.Branches[b] = n.showBranch(branch, shown.Author)
		}
		n.mu.Unlock()
		shown.Words = forkWords(shown)
		out = append(out, shown)
	}
	return out, nil
}

// forkWords is what to make of a fork.
func forkWords(f Fork) string {
	who := f.Author
	switch {
	case f.Own:
		return fmt.Sprintf("This device signed two different entries at place %d of its log: it was copied, or restored from a copy while the other went on. "+
			"If you know of no copy, somebody else has its keys: tell your security staff.", f.Seq)
	case who == "":
		who = "A device that is not known by name"
	default:
		who = "A device of " + who
	}
	return fmt.Sprintf("%s signed two different entries at place %d of its log: it was copied, or it lies. Ask its owner which is theirs, in person or by telephone.", who, f.Seq)
}

// showBranch describes a branch. n.mu is held.
func (n *Node) showBranch(b ledger.Branch, author string) ForkBranch {
	out := ForkBranch{InLog: b.InLog, Entries: []ForkEntry{}}
	for i, e := range b.Entries {
		shown := ForkEntry{EntryInfo: entryInfo(e, author), InLog: i < b.InLog}
		if e.Header.Kind == ledger.KindData || e.Header.Kind == ledger.KindBroadcast {
			n.showEvidence(&shown, e)
		}
		out.Entries = append(out.Entries, shown)
	}
	return out
}

// showEvidence says what a message on a branch says, or why it is not known.
// n.mu is held.
func (n *Node) showEvidence(f *ForkEntry, e *ledger.Entry) {
	if n.open == nil {
		f.Why = whyLocked
		return
	}
	rec, err := n.openedOnBranch(e, f.InLog)
	if err != nil {
		n.log.Error("an opened message on a branch of a fork cannot be read", "log", e.Header.Log(), "seq", e.Header.Seq, "err", err)
	}
	switch {
	case rec != nil:
		f.Group = rec.group.String()
		if msg, _, err := rec.message(); err == nil {
			f.Summary = msg.Summary()
		} else {
			f.Summary = message.NewerKind
		}
	case e.Erased:
		f.Why = whyErased
	case e.Absent:
		f.Why = whyAbsent
	default:
		f.Why = whySealed
	}
}

// openedOnBranch returns the opened message of an entry of a branch; nil if there
// is none.
func (n *Node) openedOnBranch(e *ledger.Entry, inLog bool) (*openedRecord, error) {
	key := evidenceKey(e.ID())
	if inLog {
		key = messageKey(e.Header.Log(), e.Header.Seq)
	}
	value, ok, err := n.cfg.Vault.Get(key)
	if err != nil || !ok {
		return nil, err
	}
	rec, err := parseOpenedRecord(value)
	if err != nil || rec.id != e.ID() {
		return nil, err
	}
	return rec, nil
}

// evidenceSoon has the drain look at the branches of forks again.
func (n *Node) evidenceSoon() {
	n.forks.todo.Store(true)
	n.due.ring()
}

// drainForks marks what was said at or beyond a fork, and opens what it can of
// messages that have no place in their log. n.mu is held.
func (n *Node) drainForks(ctx context.Context) {
	if n.open == nil || !n.forks.todo.Swap(false) && n.open.forksDrained {
		return
	}
	n.open.forksDrained = true
	if n.forks.fresh.Swap(false) {
		n.refreshInbox()
	}
	for _, f := range n.logs.Forks() {
		if err := n.openBranches(ctx, f.Log); err != nil && ctx.Err() == nil {
			n.log.Error("the evidence of a fork cannot be opened; it is tried again when more of it comes", "log", f.Log, "err", err)
		}
	}
}

// openBranches opens messages on the branches of one fork. It works on a copy of
// the keyring, which it throws away: a branch that is kept out of the log teaches
// this device no epochs and moves no chains.
func (n *Node) openBranches(ctx context.Context, id ledger.LogID) error {
	both, err := n.logs.Branches(ctx, id)
	if err != nil {
		return err
	}
	var sealed []*ledger.Entry // epochs and messages, in order
	messages := 0
	for _, b := range both {
		for _, e := range b.Entries[b.InLog:] {
			kind := e.Header.Kind
			if !e.HasBody() || kind != ledger.KindEpoch && kind != ledger.KindData && kind != ledger.KindBroadcast {
				continue
			}
			if _, known, err := n.cfg.Vault.Get(evidenceKey(e.ID())); err != nil || known {
				if err != nil {
					return err
				}
				continue
			}
			sealed = append(sealed, e)
			if kind != ledger.KindEpoch {
				messages++
			}
		}
	}
	if messages == 0 {
		return nil
	}
	keyring, err := group.Load(n.groupConfig(), n.cfg.Vault.Scan)
	if err != nil {
		return err
	}
	var changes []vault.Change
	for _, e := range sealed {
		rec := n.openEvidence(keyring, e)
		if rec == nil {
			continue
		}
		raw, err := rec.marshal()
		if err != nil {
			return err
		}
		changes = append(changes, secretChange(evidenceKey(e.ID()), raw))
	}
	if len(changes) == 0 {
		return nil
	}
	if err := n.cfg.Vault.Commit(changes...); err != nil {
		return fmt.Errorf("%w: the vault's journal: %w", ErrReadOnly, err)
	}
	n.events.publish(Event{Type: EventFork})
	return nil
}

// openEvidence opens one entry with the keys of a copy of the keyring; nil where
// that is not possible.
func (n *Node) openEvidence(k *group.Keyring, e *ledger.Entry) *openedRecord {
	h, now := &e.Header, n.cfg.Clock.Now()
	place := group.Place{Log: h.Log(), Seq: h.Seq}
	rec := &openedRecord{id: e.ID(), as: e.ID(), first: h.Seq, hlc: h.HLC, received: now.UnixMilli(), priority: h.Priority}
	switch h.Kind {
	case ledger.KindEpoch:
		if _, changes, err := k.LearnEpoch(place, e.ID(), e.Body, now); err == nil {
			n.applyAside(k, changes)
		}
		return nil
	case ledger.KindBroadcast:
		return n.openBroadcastEvidence(rec, place, e)
	}
	o, changes, err := k.Open(place, h.GroupTag, h.Commit, e.Body, now)
	if err != nil {
		return nil
	}
	n.applyAside(k, changes)
	rec.group, rec.opening, rec.tagKey, rec.payload = o.Group, o.Opening, o.TagKey, o.Payload
	if o.Provable {
		rec.flags |= flagProvable
	}
	if o.Removed {
		rec.flags |= flagRemoved
	}
	return rec
}

func (n *Node) openBroadcastEvidence(rec *openedRecord, place group.Place, e *ledger.Entry) *openedRecord {
	number, err := group.BroadcastNumber(e.Body)
	if err != nil {
		return nil
	}
	key, ok, err := n.meshKey(number)
	if err != nil || !ok {
		return nil
	}
	o, err := group.OpenBroadcast(key, place, e.Header.Commit, e.Body)
	if err != nil {
		return nil
	}
	rec.flags, rec.opening, rec.payload = flagBroadcast, o.Opening, o.Payload
	if o.Provable {
		rec.flags |= flagProvable
	}
	return rec
}

// applyAside moves a copy of the keyring, of which nothing is saved.
func (n *Node) applyAside(k *group.Keyring, changes []group.Change) {
	if err := k.Apply(changes...); err != nil {
		n.log.Debug("what a branch of a fork teaches does not fit", "err", err)
	}
}

// beyondFork reports whether a place lies at or beyond the fork of its log.
func (n *Node) beyondFork(log identity.LogID, seq uint64) bool {
	f, forked := n.logs.Fork(log)
	return forked && seq >= f.Seq
}

// forkOf returns the badge of a device: one of its logs is forked, and it goes on
// with the credential that it had there. A device that was issued anew since is
// answerable for what it does from then on.
func (n *Node) forkOf(author identity.Key) *ForkState {
	var found *ForkState
	for _, f := range n.logs.Forks() {
		if f.Log.Author != author || n.reissued(f.Log) {
			continue
		}
		found = &ForkState{
			Log: f.Log.String(), Seq: f.Seq,
			Words: fmt.Sprintf("This device signed two different entries at one place (%d of its log): it was copied, or it lies. It keeps this mark until it is issued anew.", f.Seq),
		}
	}
	return found
}

// reissued reports whether the author of a log goes on with another credential
// than the one at the head of it.
func (n *Node) reissued(log identity.LogID) bool {
	c := n.people.credential(log.Author)
	first, err := n.logs.Entry(n.ctx, log, 0)
	if c == nil || err != nil {
		return false
	}
	// It ends the body of the first entry, whatever stands before it.
	return len(first.Body) > 0 && !bytes.HasSuffix(first.Body, []byte(c.Raw))
}

// entryInfo describes an entry for people.
func entryInfo(e *ledger.Entry, author string) EntryInfo {
	h := &e.Header
	return EntryInfo{
		ID: e.ID().String(), Log: h.Log().String(), Seq: h.Seq, Prev: h.Prev.String(), Time: time.UnixMilli(int64(h.HLC >> 16)).UTC(),
		Kind: h.Kind.String(), Priority: h.Priority.String(), Bytes: int(h.BodyLen), Author: author,
	}
}
