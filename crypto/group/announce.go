package group

import (
	"bytes"
	"cmp"
	"crypto/hpke"
	"fmt"
	"io"
	"maps"
	mrand "math/rand/v2"
	"slices"
	"time"

	"tocsin/crypto/identity"
)

// rank works out which epochs of a group may be sent under, best first
// (protocol §4): the creator is a member and the list is the view. What an
// epoch's operations cover of the heads decides, then how many members it
// reached, then the lowest id.
func (k *Keyring) rank(id ID) {
	g, ok := k.groups[id]
	if !ok {
		return
	}
	g.usable = nil
	for _, e := range k.epochs {
		if e.group != id || !slices.Equal(e.members, g.members) {
			continue
		}
		if _, ok := slices.BinarySearchFunc(g.members, e.creator, identity.LogID.Compare); ok {
			g.usable = append(g.usable, e)
		}
	}
	slices.SortFunc(g.usable, func(a, b *epoch) int {
		return cmp.Or(
			cmp.Compare(b.covers(g.view.Heads), a.covers(g.view.Heads)),
			cmp.Compare(len(a.unreached), len(b.unreached)),
			bytes.Compare(a.id[:], b.id[:]))
	})
}

// covers counts the heads that the epoch's announce knew. Its operations are a
// part of ours, so that a head of ours among them is a head of theirs.
func (e *epoch) covers(heads [][32]byte) (n int) {
	for _, h := range heads {
		if slices.Contains(e.heads, h) {
			n++
		}
	}
	return n
}

// fresh reports whether e may be sent under without a rotation first: it is
// younger than a day, our chain has room, and it leaves out nobody who could
// be reached by now.
func (k *Keyring) fresh(e *epoch, now time.Time) bool {
	age := now.Sub(time.Unix(e.learnt, 0))
	if age >= RotateAge || age < -RotateAge || e.chains[k.cfg.Self].next >= RotateGeneration {
		return false
	}
	return !slices.ContainsFunc(e.unreached, func(m identity.LogID) bool { return k.HasPreKey(m, now) })
}

// sending returns the epoch to send under, and nil if there is none. An epoch
// that is due for rotation still serves where no other does.
func (k *Keyring) sending(g *groupState, now time.Time) *epoch {
	var fallback *epoch
	for _, e := range g.usable {
		if k.fresh(e, now) {
			return e
		}
		if fallback == nil && e.chains[k.cfg.Self].next < MaxGeneration {
			fallback = e
		}
	}
	return fallback
}

// isMember reports whether this device is in the group's view.
func (k *Keyring) isMember(g *groupState) bool {
	_, ok := slices.BinarySearchFunc(g.members, k.cfg.Self, identity.LogID.Compare)
	return ok
}

// NeedsEpoch reports whether this device, about to send to the group, should
// announce an epoch first: none is held for the present members, or the best
// is a day old, or our chain in it is at its end, or it left out a member whose
// prekey has come since. It is false for groups this device is not in.
func (k *Keyring) NeedsEpoch(id ID, now time.Time) bool {
	g, ok := k.groups[id]
	if !ok || !k.isMember(g) {
		return false
	}
	e := k.sending(g, now)
	return e == nil || !k.fresh(e, now)
}

// Announce is a new epoch on its way out.
type Announce struct {
	Epoch   EpochID
	Pages   [][]byte         // bodies of entries of kind epoch, wraps first
	Changes []Change         // made durable after the pages
	Missing []identity.LogID // members who hold no key to open it (see [Keyring.Announce])
}

// Announce makes an epoch for the group's present members. The caller appends
// the pages to its log, in order, and then makes the changes durable: after a
// crash in between, [Keyring.LearnEpoch] learns the epoch from the log, for one
// wrap is our own.
//
// Missing lists members who cannot open it: no prekey of theirs is held, or one
// that cannot be sealed to, or only one whose private half is due to be
// destroyed (that one is used all the same). They are on the list of members; once a prekey of theirs is learnt,
// [Keyring.NeedsEpoch] is true and the next announce reaches them.
func (k *Keyring) Announce(id ID, now time.Time) (*Announce, error) {
	g, ok := k.groups[id]
	if !ok {
		return nil, fmt.Errorf("group: no group %s is known here", id)
	}
	if !k.isMember(g) {
		return nil, ErrNotMember
	}
	if len(g.members) > MaxMembers {
		return nil, fmt.Errorf("%w: group %q has %d devices; an epoch reaches %d", ErrLimit, g.view.Name, len(g.members), MaxMembers)
	}
	d := &draft{k: k, st: epochState{group: id}}
	if _, err := io.ReadFull(k.cfg.Rand, d.random[:]); err != nil {
		return nil, fmt.Errorf("group: random bytes: %w", err)
	}
	if err := d.address(g, now); err != nil {
		return nil, err
	}
	ids := slices.SortedFunc(maps.Keys(g.ops), func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	for _, op := range ids {
		d.st.ops = append(d.st.ops, g.ops[op].sealed)
	}
	return d.finish(g, now)
}

// draft is an announce in the making.
type draft struct {
	k          *Keyring
	random     [96]byte // es ‖ salt ‖ seed of the shuffle
	st         epochState
	recipients []recipient
	header     epochHeader
	missing    []identity.LogID
}

type recipient struct {
	device identity.LogID
	public hpke.PublicKey
	key    [32]byte // prekey id
}

// address finds everyone's key and shuffles the order, so that a wrap's place
// tells nothing.
func (d *draft) address(g *groupState, now time.Time) error {
	for _, m := range g.members {
		public, key, err := d.k.recipientKey(m, now)
		if err != nil {
			return err
		}
		reached := d.k.HasPreKey(m, now)
		d.st.members = append(d.st.members, epochMember{device: m, reached: reached})
		if !reached {
			d.missing = append(d.missing, m)
		}
		if public != nil {
			d.recipients = append(d.recipients, recipient{device: m, public: public, key: key})
		}
	}
	r := mrand.New(mrand.NewChaCha8([32]byte(d.random[64:])))
	r.Shuffle(len(d.recipients), func(i, j int) { d.recipients[i], d.recipients[j] = d.recipients[j], d.recipients[i] })
	return nil
}

func (d *draft) finish(g *groupState, now time.Time) (*Announce, error) {
	es := secret(d.random[:32])
	defer clear(d.random[:])
	for {
		state, err := d.st.marshal()
		if err != nil {
			return nil, err
		}
		if err := d.fillHeader(es, g.members, len(state)); err != nil {
			return nil, err
		}
		id := d.header.id()
		a := &Announce{Epoch: id, Missing: d.missing}
		failed, err := d.wrapPages(a, es)
		if err != nil {
			return nil, err
		}
		if len(failed) > 0 {
			// Who is reached stands in the state and the header: begin again.
			d.leaveOut(failed)
			continue
		}
		keys, err := deriveEpoch(id, es)
		if err != nil {
			return nil, err
		}
		if err := d.statePages(a, keys.state, state); err != nil {
			return nil, err
		}
		e, err := d.k.newEpoch(id, keys, &d.st, d.k.cfg.Self, g.view.Heads, now)
		if err != nil {
			return nil, err
		}
		a.Changes, err = e.changes()
		return a, err
	}
}

// leaveOut makes members missing who cannot be sealed to: one bad key must not
// keep the others from their epoch.
func (d *draft) leaveOut(failed []identity.LogID) {
	d.recipients = slices.DeleteFunc(d.recipients, func(r recipient) bool { return slices.Contains(failed, r.device) })
	d.missing = nil
	for i := range d.st.members {
		m := &d.st.members[i]
		m.reached = m.reached && !slices.Contains(failed, m.device)
		if !m.reached {
			d.missing = append(d.missing, m.device)
		}
	}
}

func (d *draft) fillHeader(es secret, members []identity.LogID, state int) (err error) {
	d.header.salt = [32]byte(d.random[32:64])
	if d.header.members, err = membersMAC(es, members); err != nil {
		return err
	}
	if d.header.commitment, err = commitment(es, d.header.salt, d.k.cfg.Self); err != nil {
		return err
	}
	statePages := (state + StateChunk - 1) / StateChunk
	if statePages > MaxStatePages {
		return fmt.Errorf("%w: the operations of this group fill %d pages; an epoch carries %d", ErrLimit, statePages, MaxStatePages)
	}
	d.header.wrapPages = uint8((len(d.recipients) + WrapsPerPage - 1) / WrapsPerPage)
	d.header.statePages = uint8(statePages)
	return nil
}

// wrapInfo binds a wrap to the epoch, the recipient and his prekey.
func wrapInfo(id EpochID, device identity.LogID, key [32]byte) []byte {
	who := device.Bytes()
	return slices.Concat([]byte(labelWrap), id[:], who[:], key[:])
}

// wrapPages adds the pages of wraps, and returns whom it could not seal to.
func (d *draft) wrapPages(a *Announce, es secret) (failed []identity.LogID, err error) {
	for i := 0; i*WrapsPerPage < len(d.recipients); i++ {
		p := page{header: d.header, kind: bodyWraps, index: uint8(i)}
		for _, r := range d.recipients[i*WrapsPerPage : min((i+1)*WrapsPerPage, len(d.recipients))] {
			wrap, err := hpke.Seal(r.public, hpke.HKDFSHA256(), hpke.AES256GCM(), wrapInfo(a.Epoch, r.device, r.key), es[:])
			switch {
			case err != nil && r.device == d.k.cfg.Self:
				return nil, fmt.Errorf("group: wrap the epoch for this device: %w", err)
			case err != nil:
				failed = append(failed, r.device)
				continue
			}
			p.data = append(p.data, wrap...)
		}
		if len(failed) > 0 {
			continue // these pages will not leave
		}
		if err := a.add(&p); err != nil {
			return nil, err
		}
	}
	return failed, nil
}

func (d *draft) statePages(a *Announce, key secret, state []byte) error {
	aead, err := stateAEAD(key)
	if err != nil {
		return err
	}
	for i := 0; i*StateChunk < len(state); i++ {
		p := page{header: d.header, kind: bodyState, index: uint8(i)}
		chunk := state[i*StateChunk : min((i+1)*StateChunk, len(state))]
		p.data = aead.Seal(nil, stateNonce(p.index), chunk, p.prefix())
		if err := a.add(&p); err != nil {
			return err
		}
	}
	return nil
}

func (a *Announce) add(p *page) error {
	body, err := p.marshal()
	if err != nil {
		return err
	}
	// A page that receivers would refuse must not leave.
	if _, err := parsePage(body); err != nil {
		return err
	}
	a.Pages = append(a.Pages, body)
	return nil
}
