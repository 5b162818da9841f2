package group

import (
	"bytes"
	"crypto/hpke"
	"errors"
	"fmt"
	"io"
	"maps"
	mrand "math/rand/v2"
	"slices"
	"time"

	"tocsin/crypto/identity"
)

// Announce is a new epoch on its way out.
type Announce struct {
	Epoch   EpochID
	Pages   [][]byte         // bodies of entries of kind epoch, wraps first
	Changes []Change         // made durable after the pages
	Missing []identity.LogID // members who hold no key to open it (see [Keyring.Announce])
}

// Announce makes an epoch for the group's present audience, or for the first
// part of it that needs one. The caller appends the pages to its log, in order,
// and then makes the changes durable: after a crash in between,
// [Keyring.LearnEpoch] learns the epoch from the log, for one wrap is our own.
//
// Missing lists members who cannot open it: no prekey of theirs is held, or one
// that cannot be sealed to, or only one whose private half is due to be
// destroyed (that one is used all the same). They are on the list of members; once a prekey of theirs is learnt,
// [Keyring.NeedsEpoch] is true and the next announce reaches them.
func (k *Keyring) Announce(id ID, now time.Time) (*Announce, error) {
	g, err := k.announcing(id)
	if err != nil {
		return nil, err
	}
	for i := range g.parts {
		if k.needs(g, i, now) {
			return k.announcePart(g, i, now)
		}
	}
	return k.announcePart(g, 0, now)
}

// AnnounceAll makes an epoch for every part of the group's audience that needs
// one, and for all of them where none does. See [Keyring.Announce].
func (k *Keyring) AnnounceAll(id ID, now time.Time) ([]*Announce, error) {
	g, err := k.announcing(id)
	if err != nil {
		return nil, err
	}
	all := !k.NeedsEpoch(id, now)
	var out []*Announce
	for i := range g.parts {
		if !all && !k.needs(g, i, now) {
			continue
		}
		a, err := k.announcePart(g, i, now)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// announcing returns a group that this device may announce epochs of.
func (k *Keyring) announcing(id ID) (*groupState, error) {
	g, ok := k.groups[id]
	switch {
	case !ok:
		return nil, fmt.Errorf("group: no group %s is known here", id)
	case !k.isMember(g):
		return nil, ErrNotMember
	case k.persons(g) > 2:
		return nil, ErrDirect
	}
	return g, nil
}

// Farewell carries this device's own [Keyring.LeaveOp] to the members who stay,
// in place of [Keyring.LearnOp]: an epoch of theirs, made by one who is no longer
// of them, so that nobody sends under it. The caller appends the pages of every
// announce and then makes the changes durable; after a crash in between he
// begins again with the same operation. Missing lists members whom it does not
// reach: unless others tell them, they hear of it by another farewell, with the
// same operation, once a prekey of theirs is learnt.
func (k *Keyring) Farewell(op SignedOp, now time.Time) ([]*Announce, []Change, error) {
	o, err := k.checkOp(op)
	if err != nil {
		return nil, nil, err
	}
	if o.op.Leave == nil {
		return nil, nil, errors.New("group: only a leave operation is a farewell")
	}
	changes, err := k.LearnOp(op)
	if err != nil {
		return nil, nil, err
	}
	g := &groupState{ops: opSet{o.proof.ID: o}}
	if held, ok := k.groups[o.op.Group]; ok {
		for id, h := range held.ops {
			g.ops[id] = h
		}
	}
	if g.view, err = g.ops.evaluate(k.lineage, o.op.Group); err != nil {
		return nil, nil, err
	}
	g.members = g.view.devices()
	k.divide(g)
	if len(g.audience) == 0 || k.isMember(g) {
		return nil, changes, nil // nobody to tell, or an adding at the same time outlived the leaving
	}
	var out []*Announce
	for i := range g.parts {
		a, err := k.announceTo(g, g.parts[i].devices, now)
		if err != nil {
			return nil, nil, err
		}
		a.Changes = nil
		if len(a.Pages) > 0 {
			out = append(out, a)
		}
	}
	return out, changes, nil
}

func (k *Keyring) announcePart(g *groupState, i int, now time.Time) (*Announce, error) {
	return k.announceTo(g, k.listFor(g, i, k.cfg.Self), now)
}

// announceTo makes an epoch for these devices, a part of the group's members.
func (k *Keyring) announceTo(g *groupState, devices []identity.LogID, now time.Time) (*Announce, error) {
	d := &draft{k: k, devices: devices, st: epochState{group: g.view.ID}}
	if _, err := io.ReadFull(k.cfg.Rand, d.random[:]); err != nil {
		return nil, fmt.Errorf("group: random bytes: %w", err)
	}
	if err := d.address(now); err != nil {
		return nil, err
	}
	for _, m := range g.members {
		if !listed(devices, m) {
			d.st.absent = append(d.st.absent, absentMember{device: m, excluded: k.excluded(g.view.ID, m)})
		}
	}
	ids := slices.SortedFunc(maps.Keys(g.ops), func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	for _, op := range ids {
		d.st.ops = append(d.st.ops, g.ops[op].sealed)
	}
	if d.st.successions = k.lineage.among(g.ops); len(d.st.successions) > maxListed {
		return nil, fmt.Errorf("%w: the members of this group have begun %d further logs; an epoch lists %d: begin a new group", ErrLimit, len(d.st.successions), maxListed)
	}
	return d.finish(g, now)
}

// draft is an announce in the making.
type draft struct {
	k          *Keyring
	devices    []identity.LogID // whom it is for, ascending
	random     [96]byte         // es ‖ salt ‖ seed of the shuffle
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
func (d *draft) address(now time.Time) error {
	for _, m := range d.devices {
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
	for len(d.recipients) > 0 {
		state, err := d.st.marshal()
		if err != nil {
			return nil, err
		}
		if err := d.fillHeader(es, len(state)); err != nil {
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
	return &Announce{Missing: d.missing}, nil // a farewell that nobody can read
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

func (d *draft) fillHeader(es secret, state int) (err error) {
	d.header.salt = [32]byte(d.random[32:64])
	if d.header.members, err = membersMAC(es, d.devices); err != nil {
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
