package node

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/ledger"
)

// A device goes on in another log when it was restored, set up again, cloned or
// given a new credential or signing key (protocol §3). The first entry of that
// log says so in one of two controls:
//
//	struct { Closing closing; opaque credential[…]; } Restart;   // a later incarnation
//	struct { Closing closing; opaque key_roll[…]; } Roll;        // another signing key
//
// The closing is ledger's; the rest, to the end, is a credential or a key roll in
// identity's wire form.

// How many logs there may be under one credential within restartSpan (protocol §3).
// A new credential of the issuer starts the count again.
const (
	// maxRestarts is how many a device begins.
	maxRestarts = 3
	// maxTaken is how many are taken of one author, which bounds what a thief of its key
	// can cost everybody. Which are too many depends on the order in which they came, so
	// that devices which refuse any differ for good. Therefore all has room that a device
	// and two copies begin that hear nothing of one another, in the spans before and after
	// any of them and the edge of a third, for hybrid times run up to a day ahead.
	maxTaken    = 3 * 3 * maxRestarts
	restartSpan = 30 * 24 * time.Hour
)

var (
	errNoClosing = errors.New("node: the first entry of a later log closes the one before it")
	errRestarts  = errors.New("node: too many new logs")
)

// closed is how a log took over from another, as its first entry says.
type closed struct {
	old, next identity.LogID
	size      uint64 // of old, in entries, when it was closed
	reason    ledger.ClosingReason
	cred      [32]byte // SHA-256 of the credential that next began with
	hlc       uint64   // of the first entry of next

	roll    []byte // of a key roll: the identity.KeyRoll
	checked bool   // the roll was held to the credential of the old key
	good    bool   // it goes on: always for a later incarnation, else if the roll is right
}

func (c *closed) at() time.Time { return time.UnixMilli(int64(c.hlc >> 16)).UTC() }

// firstEntry is what seq 0 of a log says.
type firstEntry struct {
	raw    []byte // the credential, in wire form
	cred   *identity.Credential
	closed *closed // nil for the first log of a device
}

// readFirst reads the entry at seq 0 of a log: its author's credential, and the
// closing of the log before where there is one. It must be there for every later
// incarnation.
func (d *directory) readFirst(first *ledger.Entry) (*firstEntry, error) {
	t, content, err := parseControl(first.Body)
	if err != nil {
		return nil, err
	}
	f := &firstEntry{raw: content}
	log := first.Header.Log()
	switch {
	case t == controlCredential && log.Incarnation == 0:
	case t == controlCredential:
		return nil, errNoClosing
	case t == controlRestart && log.Incarnation > 0, t == controlRoll && log.Incarnation == 0:
		if f.closed, f.raw, err = readClosed(d.trust.MeshID(), t, content, first); err != nil {
			return nil, err
		}
	default:
		return nil, errNoCredential
	}
	if f.cred, err = d.trust.ReadCredential(f.raw); err != nil {
		return nil, err
	}
	if f.cred.SigningKey != log.Author {
		return nil, errNoCredential
	}
	if f.closed != nil {
		f.closed.cred = sha256.Sum256(f.raw)
	}
	return f, nil
}

// readClosed reads a restart or roll and returns the credential in it.
func readClosed(mesh identity.MeshID, t controlType, content []byte, first *ledger.Entry) (*closed, []byte, error) {
	if len(content) <= ledger.ClosingSize {
		return nil, nil, errControl
	}
	c, err := ledger.ParseClosing(content[:ledger.ClosingSize])
	if err != nil {
		return nil, nil, err
	}
	if err := c.Verify(mesh, first); err != nil {
		return nil, nil, err
	}
	out := &closed{
		old: c.Checkpoint.Log, next: c.Next, size: c.Checkpoint.Size, reason: c.Reason, hlc: first.Header.HLC,
	}
	rest := bytes.Clone(content[ledger.ClosingSize:])
	if (t == controlRoll) != (c.Reason == ledger.ClosedKeyRoll) {
		return nil, nil, fmt.Errorf("%w: closed because %s", errControl, c.Reason)
	}
	if t == controlRestart {
		out.checked, out.good = true, true
		return out, rest, nil
	}
	out.roll = rest
	credential, err := rolledCredential(rest)
	return out, credential, err
}

// rolledCredential finds the new credential in an identity.KeyRoll, which is
// checked once the old one is known.
func rolledCredential(roll []byte) ([]byte, error) {
	s := cryptobyte.String(roll)
	var credential cryptobyte.String
	if !s.Skip(1+len(identity.Key{})) || !s.ReadUint16LengthPrefixed(&credential) {
		return nil, errControl
	}
	return credential, nil
}

// restarts counts the later incarnations beside log that its author began under one
// credential within [restartSpan] of at, and says when the first of them was. Their
// numbers do not matter, nor do times that the credential does not cover: both are
// the author's word. d.mu is held.
func (d *directory) restarts(log identity.LogID, held *identity.Credential, cred [32]byte, at time.Time) (n int, first time.Time) {
	covered := func(t time.Time) bool { return held != nil && !t.Before(held.NotBefore) && !t.After(held.NotAfter) }
	for _, c := range d.ends[log.Author] {
		if c.next.Author != log.Author || c.next == log || c.cred != cred {
			continue
		}
		if at.Sub(c.at()).Abs() > restartSpan && covered(at) && covered(c.at()) {
			continue
		}
		if n++; first.IsZero() || c.at().Before(first) {
			first = c.at()
		}
	}
	return n, first
}

// mayRestart says when a device may not begin another log yet under this
// credential.
func (d *directory) mayRestart(log identity.LogID, credential []byte, at time.Time) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	n, first := d.restarts(log, d.creds[log.Author], sha256.Sum256(credential), at)
	if n < maxRestarts {
		return nil
	}
	return fmt.Errorf("%w: this device has been restored or cloned %d times in 30 days, and may begin no further log before %s: read what is here; to go on sooner, ask your authority for a new answer to `tocsin enrol --request` and import it with `tocsin enrol`",
		errRestarts, n, first.Add(restartSpan).Format("2 January 2006 15:04 MST"))
}

// note keeps how a log began. d.mu is held.
func (d *directory) note(f *firstEntry) {
	if f.closed == nil || d.closings[f.closed.next] != nil {
		return
	}
	d.kinship.Store(nil)
	d.closings[f.closed.next] = f.closed
	old := f.closed.old.Author
	d.ends[old] = append(d.ends[old], f.closed)
	if !f.closed.checked {
		d.unchecked[f.closed] = struct{}{}
	}
}

// rollVerdicts holds key rolls to the credential of the old key, as far as the first
// entry of a log makes that possible: its own, or those that waited for it. What
// counts is what the two logs began with, whatever their keys were given since.
func (d *directory) rollVerdicts(log identity.LogID, f *firstEntry) map[*closed]bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	out := make(map[*closed]bool)
	for c := range d.unchecked {
		if c.old == log {
			out[c] = d.goodRoll(c, f.cred, d.first[c.next])
		}
	}
	if c := f.closed; c != nil && !c.checked {
		if old := d.first[c.old]; old != nil {
			out[c] = d.goodRoll(c, old, f.cred)
		}
	}
	return out
}

// settle takes the verdicts on key rolls. d.mu is held.
func (d *directory) settle(verdicts map[*closed]bool) {
	for c, good := range verdicts {
		if _, waits := d.unchecked[c]; !waits {
			continue
		}
		delete(d.unchecked, c)
		c.checked, c.good = true, good
		d.kinship.Store(nil)
	}
}

// settled reports that it is known for good here what a log goes on for: its first
// entry was judged, or its author began so many logs that it is not taken.
func (d *directory) settled(log identity.LogID) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if _, held := d.logs[log]; held {
		c := d.closings[log]
		return c == nil || c.checked
	}
	n := 0
	for _, c := range d.ends[log.Author] {
		if c.next.Author == log.Author {
			n++
		}
	}
	return n >= maxTaken
}

// kinship is what the closings amount to that are good.
type kinship struct {
	logs group.Lineage
	keys group.Lineage // of key rolls alone: every key stands for its log 0
}

// kin returns the present kinship. d.mu is held, for reading at least.
func (d *directory) kin() *kinship {
	if k := d.kinship.Load(); k != nil {
		return k
	}
	var logs, keys []group.Succession
	for next, c := range d.closings {
		if !c.good {
			continue
		}
		logs = append(logs, group.Succession{Old: c.old, New: next, Size: c.size})
		if c.old.Author != next.Author {
			keys = append(keys, group.Succession{Old: identity.LogID{Author: c.old.Author}, New: identity.LogID{Author: next.Author}})
		}
	}
	k := &kinship{logs: group.NewLineage(logs), keys: group.NewLineage(keys)}
	d.kinship.Store(k)
	return k
}

// successions returns every succession that is proved by what is held here, in
// order.
func (d *directory) successions() []group.Succession {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var out []group.Succession
	for next, c := range d.closings {
		if c.good {
			out = append(out, group.Succession{Old: c.old, New: next, Size: c.size})
		}
	}
	slices.SortFunc(out, func(a, b group.Succession) int { return a.New.Compare(b.New) })
	return out
}

// goodRoll reports that a key roll is right: signed by both keys, for the same
// person, to a credential of an issuer. The verdict must be the same everywhere and
// for ever, so that a revocation of the old key has no part in it: the issuer that
// certified the new key, for the same person, has said that it counts. A credential
// that colleagues vouch for does not carry a membership over.
func (d *directory) goodRoll(c *closed, old, next *identity.Credential) bool {
	_, err := d.trust.VerifyKeyRoll(c.roll, old)
	if err != nil && !errors.Is(err, identity.ErrRevoked) {
		return false
	}
	return next != nil && len(next.Sponsors) == 0
}

// closings is how the log of a device came about and how it ended.
type closings struct {
	before *closed // it goes on from there
	after  *closed // another goes on for it: if there are several, the one that leads to the present log
	// forked: the device was cloned, goes on under the credential that it had then,
	// and has not been given another since.
	forked bool
}

// closingsOf returns what is known of one log.
func (d *directory) closingsOf(log identity.LogID) closings {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var out closings
	now := d.closings[log]
	if now != nil && now.good {
		out.before = now
	}
	toward, ok := d.kin().logs.Toward(log)
	for _, c := range d.ends[log.Author] {
		if !d.counts(c) {
			continue
		}
		if c.old == log && (out.after == nil || ok && c.next == toward || !(ok && out.after.next == toward) && c.next.Compare(out.after.next) > 0) {
			out.after = c
		}
		if now != nil && c.reason == ledger.ClosedForked && c.cred == now.cred {
			out.forked = true
		}
	}
	return out
}

// counts reports that a closing is good, and not by a thief of a key that its owner
// has rolled to another. d.mu is held.
func (d *directory) counts(c *closed) bool {
	return c.good && (c.next.Author != c.old.Author || !d.kin().logs.Disowned(group.Place{Log: c.next}))
}

// describe says in p how its log came about.
func (c closings) describe(p *Person) {
	if b := c.before; b != nil {
		p.Replaces, p.ReplacedWhy, p.ReplacedAt = b.old.String(), b.reason.String(), b.at()
	}
	if c.after != nil {
		p.ReplacedBy = c.after.next.String()
	}
	p.Cloned = c.forked
}

// beyond reports whether a place of a log lies after the end that its device named
// when it went on in another.
func (d *directory) beyond(log identity.LogID, seq uint64) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, c := range d.ends[log.Author] {
		if c.old == log && seq >= c.size && d.counts(c) {
			return true
		}
	}
	return d.kin().logs.Disowned(group.Place{Log: log, Seq: seq})
}
