package group

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/hpke"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"time"

	"tocsin/crypto/identity"
)

// Learned is what a page of an announce led to.
type Learned struct {
	Complete bool // the epoch is held: bodies with Tag can be opened
	Group    ID
	Epoch    EpochID
	Tag      Tag
	Ours     bool // this device announced it
	// NotOurs: every wrap was tried and none is for a key that is held here. The
	// epoch is for others, or for a prekey that this device has destroyed; see
	// [Keyring.MayBeDestroyed]. Epoch is set.
	NotOurs bool
	// Waiting: the epoch opens, but there is no room for it at present, or an
	// appointment among its operations cannot be judged yet ([ErrNotYet]). It is
	// kept, and [Keyring.Retry] takes it when it can.
	Waiting bool
	// Refused is what turned out to be wrong with an announce that waited: it is
	// given up. Only [Keyring.Retry] sets it.
	Refused error
}

// LearnEpoch takes the body of an entry of kind epoch, which stands at from in
// its author's log under the id entryID. Pages come in any order. The epoch is
// complete with the page that makes it so; a device that is given no wrap never
// gets there and keeps next to nothing of it. The placeholder of an operation
// is accepted and leads to nothing. Errors that wrap [ErrInvalid] judge the
// announce, and the entry is not handed in again.
func (k *Keyring) LearnEpoch(from Place, entryID [32]byte, body []byte, now time.Time) (Learned, []Change, error) {
	if bytes.Equal(body, OpBody()) {
		return Learned{}, nil, nil
	}
	l, changes, err := k.learnPage(from, body, now)
	if err != nil {
		return Learned{}, nil, fmt.Errorf("epoch entry %x of %s: %w", entryID[:8], from.Log, err)
	}
	return l, changes, nil
}

func (k *Keyring) learnPage(from Place, body []byte, now time.Time) (Learned, []Change, error) {
	p, err := parsePage(body)
	if err != nil {
		return Learned{}, nil, err
	}
	id := partialID{log: from.Log, epoch: p.header.id()}
	if e, ok := k.epochs[id.epoch]; ok {
		if e.creator != from.Log {
			return Learned{}, nil, invalid("announce copied from the log of %s", e.creator)
		}
		return k.learned(e), nil, nil
	}
	w := k.openPartial(id, p, from.Seq)
	if w.seen(p) {
		return w.state(), nil, nil
	}
	if err := w.add(p, now); err != nil {
		return Learned{}, nil, err
	}
	if w.next.ready() {
		l, changes, err := w.complete(now)
		if !waits(err) {
			return l, changes, err
		}
	}
	changes, err := w.changes()
	return w.state(), changes, err
}

// waits reports that an announce is kept for another moment.
func waits(err error) bool { return errors.Is(err, ErrLimit) || errors.Is(err, ErrNotYet) }

// state says how far an announce got that is not complete.
func (w *work) state() Learned {
	l := Learned{NotOurs: w.next.foreign(), Waiting: w.next.ready()}
	if l.NotOurs || l.Waiting {
		l.Epoch = w.id.epoch
	}
	return l
}

// Retry takes the announces that waited ([Learned.Waiting]), as far as there is
// room now and their appointments can be judged. The caller calls it after
// [Keyring.Expire] and when Config.VerifyAppointment may know more, and again,
// after Apply, as long as something was learnt.
func (k *Keyring) Retry(now time.Time) ([]Learned, []Change, error) {
	ids := slices.SortedFunc(maps.Keys(k.partials), func(a, b partialID) int {
		return cmp.Or(a.log.Compare(b.log), bytes.Compare(a.epoch[:], b.epoch[:]))
	})
	for _, id := range ids {
		w := &work{k: k, id: id, held: k.partials[id], next: *k.partials[id]}
		if !w.next.ready() {
			continue
		}
		l, changes, err := w.complete(now)
		if waits(err) {
			continue
		}
		if errors.Is(err, ErrInvalid) {
			return []Learned{{Epoch: id.epoch, Refused: err}}, w.forget(), nil
		}
		if err != nil {
			return nil, nil, fmt.Errorf("epoch %s of %s: %w", id.epoch, id.log, err)
		}
		return []Learned{l}, changes, nil
	}
	return nil, nil, nil
}

func (k *Keyring) learned(e *epoch) Learned {
	return Learned{Complete: true, Group: e.group, Epoch: e.id, Tag: e.tag, Ours: e.creator == k.cfg.Self}
}

// work is an incomplete announce with one page more.
type work struct {
	k     *Keyring
	id    partialID
	held  *partial // as stored, nil if new
	next  partial
	store *page // a page of state to keep
}

func (k *Keyring) openPartial(id partialID, p *page, seq uint64) *work {
	w := &work{k: k, id: id, held: k.partials[id]}
	if w.held != nil {
		w.next = *w.held
		w.next.pages = maps.Clone(w.held.pages)
		w.next.seq = min(w.next.seq, seq)
		return w
	}
	w.next = partial{header: p.header, seq: seq, due: k.clock.elapsed + uint64(SecretLife/time.Second), pages: make(map[uint8][]byte)}
	return w
}

func (w *work) seen(p *page) bool {
	if p.kind == bodyWraps {
		return w.next.wraps&(1<<p.index) != 0
	}
	return w.next.states.has(p.index)
}

func (w *work) add(p *page, now time.Time) error {
	if p.kind == bodyState {
		w.next.states.set(p.index)
		if !w.next.foreign() {
			w.store = p
			w.next.pages[p.index] = p.data
		}
		return nil
	}
	w.next.wraps |= 1 << p.index
	if w.next.es != nil {
		return nil
	}
	es, err := w.k.findWrap(w.id, p, now)
	w.next.es = es
	return err
}

// foreign reports that every wrap was tried and none is ours.
func (p *partial) foreign() bool {
	return p.es == nil && bits.OnesCount8(p.wraps) == int(p.header.wrapPages)
}

// ready reports that the secret is found and the state is whole.
func (p *partial) ready() bool {
	return p.es != nil && p.states.count() == int(p.header.statePages)
}

// finished reports that a foreign announce has no page to come.
func (p *partial) finished() bool {
	return p.foreign() && p.states.count() == int(p.header.statePages)
}

// findWrap tries each of our prekeys on each wrap of a page. It returns nil if
// none is ours.
func (k *Keyring) findWrap(id partialID, p *page, now time.Time) (*secret, error) {
	for _, own := range k.ownPreKeys(now) {
		for wrap := range slices.Chunk(p.data, wrapSize) {
			raw, err := hpke.Open(own.private, hpke.HKDFSHA256(), hpke.AES256GCM(), wrapInfo(id.epoch, own.log, own.id), wrap)
			if err != nil {
				continue // someone else's
			}
			if len(raw) != secretSize {
				return nil, invalid("a wrap of %d bytes", len(raw))
			}
			es := secret(raw)
			want, err := commitment(es, p.header.salt, id.log)
			if err != nil {
				return nil, err
			}
			if !hmac.Equal(want[:], p.header.commitment[:]) {
				return nil, invalid("the secret in our wrap is not the one the header commits to")
			}
			return &es, nil
		}
	}
	return nil, nil
}

// changes stores what is left to remember of an incomplete announce.
func (w *work) changes() ([]Change, error) {
	if w.next.finished() {
		return w.forget(), nil
	}
	var out []Change
	if w.next.foreign() { // its state can be of no use
		for index := range w.next.pages {
			out = append(out, Change{Key: w.id.pageKey(index)})
		}
		w.store = nil
	}
	gone := make(map[partialID]bool)
	if w.held == nil {
		out = append(out, w.k.crowdOut(w.id, false, MaxPartialsPerLog, gone)...)
	}
	if w.next.ready() {
		out = append(out, w.k.crowdOut(w.id, true, MaxWaitingPerLog, gone)...)
	}
	if w.store != nil {
		room, ok := w.k.makeRoom(w.id, len(w.store.data), gone)
		if out = append(out, room...); !ok { // this announce alone is too much
			return append(out, w.forget()...), nil
		}
		out = append(out, Change{Key: w.id.pageKey(w.store.index), Value: bytes.Clone(w.store.data)})
	}
	record, err := w.next.change(w.id)
	if err != nil {
		return nil, err
	}
	return append(out, record), nil
}

// forget removes what was stored of the announce.
func (w *work) forget() []Change {
	if w.held == nil {
		return nil
	}
	return w.held.drop(w.id)
}

func (p *partial) drop(id partialID) []Change {
	var out []Change
	for _, index := range slices.Sorted(maps.Keys(p.pages)) {
		out = append(out, Change{Key: id.pageKey(index)})
	}
	return append(out, Change{Key: id.key()}) // last, as in epoch.drop
}

// complete checks the whole announce and turns it into an epoch.
func (w *work) complete(now time.Time) (Learned, []Change, error) {
	// First, for what waits is tried again and again.
	if w.k.created[w.id.log] >= MaxEpochsPerCreator {
		return Learned{}, nil, fmt.Errorf("%w: %s has announced %d epochs that are still held", ErrLimit, w.id.log, MaxEpochsPerCreator)
	}
	keys, err := deriveEpoch(w.id.epoch, *w.next.es)
	if err != nil {
		return Learned{}, nil, err
	}
	st, err := w.openState(keys.state)
	if err != nil {
		return Learned{}, nil, err
	}
	theirs, fresh, err := w.k.checkState(st, &w.next, w.id.log)
	if err != nil {
		return Learned{}, nil, err
	}
	if _, known := w.k.groups[st.group]; known && (w.k.excluded(st.group, w.id.log) || w.k.lineage.disowned(Place{Log: w.id.log, Seq: w.next.seq})) {
		// Its epoch is read, but what it says of the group counts no more. What it
		// said before its revocation, or before its key was rolled, comes with others'
		// announces.
		fresh = nil
	}
	e, err := w.k.newEpoch(w.id.epoch, keys, st, w.id.log, theirs.Heads, now)
	if err != nil {
		return Learned{}, nil, err
	}
	if _, ok := w.k.tags[e.tag]; ok {
		return Learned{}, nil, invalid("another epoch has the same tag")
	}
	if _, ok := w.k.gone[e.tag]; ok {
		// Its chains would begin anew, and open what was opened before.
		return Learned{}, nil, invalid("an epoch that was destroyed here")
	}
	changes, err := e.changes()
	if err != nil {
		return Learned{}, nil, err
	}
	for _, o := range fresh {
		c, err := o.change()
		if err != nil {
			return Learned{}, nil, err
		}
		changes = append(changes, c)
	}
	return w.k.learned(e), append(changes, w.forget()...), nil
}

func (w *work) openState(key secret) (*epochState, error) {
	aead, err := stateAEAD(key)
	if err != nil {
		return nil, err
	}
	var raw []byte
	for i := range w.next.header.statePages {
		p := page{header: w.next.header, kind: bodyState, index: i, data: w.next.pages[i]}
		raw, err = aead.Open(raw, stateNonce(i), p.data, p.prefix())
		if err != nil {
			return nil, invalid("page %d of the epoch's state does not open", i)
		}
	}
	return parseEpochState(raw)
}

// checkState holds an announce to what its operations say: every one is
// genuine and lawful, they amount to exactly the members listed, the list is
// the one authenticated to everybody, and announcer and we are on it. It
// returns the announce's view and the operations that are new to us.
func (k *Keyring) checkState(st *epochState, p *partial, announcer identity.LogID) (*View, []*knownOp, error) {
	theirs, fresh, err := k.checkOps(st)
	if err != nil {
		return nil, nil, err
	}
	l, disputed, err := k.lineageOf(st.successions)
	if err != nil {
		return nil, nil, err
	}
	if !slices.Equal(l.among(theirs), st.successions) {
		return nil, nil, invalid("successions listed that the operations do not rest on")
	}
	view, err := k.judge(st.group, theirs, fresh, l, disputed)
	if err == nil && disputed && len(fresh) > 0 {
		// What is new in it must be lawful by what is known here, too.
		if err := k.lawful(st.group, theirs, fresh); err != nil {
			return nil, nil, fmt.Errorf("%w: successions that its author signed differently: %w", ErrNotYet, err)
		}
	}
	if err != nil {
		return nil, nil, err
	}
	list, _ := st.devices()
	if !slices.Equal(view.devices(), st.everybody()) {
		return nil, nil, invalid("the members listed are not those that the operations make")
	}
	want, err := membersMAC(*p.es, list)
	if err != nil {
		return nil, nil, err
	}
	if !hmac.Equal(want[:], p.header.members[:]) {
		return nil, nil, invalid("the members listed are not those the header names")
	}
	if !slices.ContainsFunc(k.selves(), func(self identity.LogID) bool { return listed(list, self) }) {
		return nil, nil, invalid("this device: %w", ErrNotMember)
	}
	if !listed(list, announcer) && !theirs.left(l, view, announcer) {
		return nil, nil, invalid("announcer %s: %w", announcer, ErrNotMember)
	}
	return view, fresh, nil
}

// judge returns the view of an announce's operations. There must be room for
// those that are fresh, and they must merge with ours at a bearable cost: where
// they do not, none that is added later makes it less. The view is theirs, by the
// successions that the announcer knew.
func (k *Keyring) judge(group ID, theirs opSet, fresh []*knownOp, l *lineage, disputed bool) (*View, error) {
	g, ours := k.groups[group]
	if ours && len(fresh) > 0 {
		if err := g.room(fresh); err != nil {
			return nil, err
		}
	}
	view, err := theirs.evaluateWithin(l, group, k.maxLooks)
	if errors.Is(err, errTangled) {
		return nil, invalid("%w", err)
	}
	if err != nil || !ours || len(fresh) == 0 || len(g.ops)+len(fresh) == len(theirs) {
		return view, err
	}
	union := maps.Clone(g.ops)
	for _, o := range fresh {
		union[o.proof.ID] = o
	}
	if _, err := union.evaluateWithin(k.lineage, group, k.maxLooks); errors.Is(err, errTangled) {
		return nil, invalid("%w", err)
	} else if err != nil && !disputed {
		return nil, err
	}
	return view, nil
}

// lawful reports why operations cannot be added to ours by the successions known
// here.
func (k *Keyring) lawful(group ID, theirs opSet, fresh []*knownOp) error {
	union := theirs
	if g, ours := k.groups[group]; ours {
		union = maps.Clone(g.ops)
		for _, o := range fresh {
			union[o.proof.ID] = o
		}
	}
	_, err := union.evaluateWithin(k.lineage, group, k.maxLooks)
	return err
}

// left reports that device took its leave by one of these operations, so that
// the announce that brings it is a farewell.
func (set opSet) left(l *lineage, view *View, device identity.LogID) bool {
	if _, member := view.Role(l.follow(device)); member {
		return false
	}
	for _, o := range set {
		if o.op.Leave != nil && l.device(o.author()) == l.device(device) {
			return true
		}
	}
	return false
}

// everybody returns the members listed and the absent ones, ascending.
func (e *epochState) everybody() []identity.LogID {
	all, _ := e.devices()
	for _, m := range e.absent {
		all = append(all, m.device)
	}
	slices.SortFunc(all, identity.LogID.Compare)
	return all
}

// checkOps verifies the operations of an announce. One that is held already,
// byte for byte, was verified when it was learnt.
func (k *Keyring) checkOps(st *epochState) (opSet, []*knownOp, error) {
	set := make(opSet, len(st.ops))
	var fresh []*knownOp
	var last [32]byte
	g := k.groups[st.group]
	for i := range st.ops {
		var o *knownOp
		if g != nil {
			o = g.digests[st.ops[i].digest()]
		}
		if o == nil {
			var err error
			if o, err = k.checkOp(st.ops[i]); err != nil {
				return nil, nil, err
			}
			fresh = append(fresh, o)
		}
		if i > 0 && bytes.Compare(last[:], o.proof.ID[:]) >= 0 {
			return nil, nil, invalid("operations are not ascending")
		}
		last = o.proof.ID
		set[o.proof.ID] = o
	}
	return set, fresh, nil
}

// checkOp verifies one operation by its signed header and commit.
func (k *Keyring) checkOp(sealed SignedOp) (*knownOp, error) {
	if n := len(sealed.SignedHeader); n == 0 || n > MaxSignedHeader {
		return nil, invalid("signed header of %d bytes", n)
	}
	op, err := ParseOp(sealed.Payload)
	if err != nil {
		return nil, err
	}
	proof, err := k.cfg.VerifyOp(sealed.SignedHeader)
	if err != nil {
		return nil, invalid("operation: %w", err)
	}
	want := Commit(sealed.Opening, sealed.Payload)
	if !hmac.Equal(want[:], proof.Commit[:]) {
		return nil, invalid("operation %x is not what its author committed to", proof.ID[:8])
	}
	if op.Appoint != nil {
		if err := k.checkAppointment(op.Group, proof.Place.Log, op.Appoint.Statement); err != nil {
			return nil, err
		}
	}
	return &knownOp{sealed: sealed, proof: proof, op: op}, nil
}
