package group

import (
	"crypto/hpke"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"tocsin/crypto/identity"
)

// Config is what a keyring needs from its device.
type Config struct {
	// Self is the log this device writes. A later incarnation, or the log of
	// another key, goes on as the same member once its [Succession] is learnt.
	Self identity.LogID
	// Rand gives every random byte but those of HPKE encapsulation, which the
	// standard library draws itself. Nil means crypto/rand.
	Rand io.Reader
	// VerifyOp checks the encoding and the signature of a signed header, that
	// its entry is of kind epoch, and says what it proves.
	VerifyOp func(signedHeader []byte) (OpProof, error)
	// VerifyAppointment checks the authority's statement that names an admin
	// for a group without one. Its verdict is for ever and the same on every
	// device: an operation counts or does not, whatever is known where. So an error
	// says that the statement can never be right, unless it wraps [ErrNotYet] or
	// [identity.ErrEarly]: then it cannot be judged before more is known here (the
	// admin's credential, the authority's bundle), and what rests on it waits for
	// [Keyring.Retry]. Nil: appointments are refused.
	VerifyAppointment func(statement []byte) (Appointment, error)
	// Excluded reports that a device was revoked or wiped: it is subtracted from
	// the audience beside the operations. Nil: nobody is. When its answers may
	// have changed, call [Keyring.Reexamine].
	Excluded func(identity.LogID) bool
	// MayBeIn reports that a device may be in this group at all: false subtracts it
	// from the audience of this group alone, in the way of Excluded. Nil: every
	// device may be in every group.
	MayBeIn func(group ID, device identity.LogID) bool
	// Person names the person of a device, and false where it is not known. With
	// it direct groups are held to two persons. Nil: they are not.
	Person func(identity.LogID) (string, bool)
	// Settled reports that what a log says it goes on for is known here, or never
	// will be: its first entry is held, or refused. An announce that lists something
	// else of it is then not waited for. Nil: everything is waited for.
	Settled func(identity.LogID) bool
	// Devices is the most devices that one epoch is announced to, at least 2; 0 is
	// [MaxMembers]. All devices of a mesh must have the same. Rehearsals of large
	// groups with few devices make it small.
	Devices int
}

// Appointment is what a checked statement of the authority says: the device
// with this signing key, a member, is admin of the group.
type Appointment struct {
	Group  ID
	Device identity.Key
}

// Keyring is the group state of one device. Its methods leave it unchanged
// and return changes; [Keyring.Apply] folds them in.
type Keyring struct {
	cfg       Config
	clock     clock
	published *published
	own       map[uint32]*ownPreKey   // by week
	former    map[formerID]*ownPreKey // of before a key roll: opened with, not published
	prekeys   map[identity.LogID]heldPreKeys
	sound     heldPreKeys // the set that LearnPreKeys has checked last: it comes back as a record
	groups    map[ID]*groupState
	epochs    map[EpochID]*epoch
	tags      map[Tag]*epoch
	created   map[identity.LogID]int // live epochs by announcing device
	partials  map[partialID]*partial
	seeds     int                         // skipped seeds over all chains
	maxSeeds  int                         // MaxSeeds, less in tests
	maxLooks  int                         // MaxMergeLooks, less in tests
	parsed    map[[32]byte]hpke.PublicKey // by prekey id: what the records hold, ready to use
	span      span
	gone      map[Tag]*gone
	asked     map[identity.LogID]uint64   // elapsed seconds at which another epoch was asked of this announcer
	askedUs   map[identity.LogID]requests // the same of others' requests, by who asked
	heeded    int                         // requests in askedUs
	lineage   *lineage                    // of the successions learnt
}

// groupState is a group and what follows from its operations and epochs.
type groupState struct {
	ops      opSet
	digests  map[[32]byte]*knownOp // by SHA-256 of the encoded SignedOp
	view     *View
	members  []identity.LogID // of view, ascending
	audience []identity.LogID // members who are not excluded, ascending
	parts    []part           // of the audience
	toward   []*epoch         // all members are in the audience, best first ([Keyring.SealToward])
}

// New returns an empty keyring.
func New(cfg Config) *Keyring {
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.VerifyOp == nil {
		cfg.VerifyOp = func([]byte) (OpProof, error) {
			return OpProof{}, errors.New("group: Config.VerifyOp is not set")
		}
	}
	if cfg.VerifyAppointment == nil {
		cfg.VerifyAppointment = func([]byte) (Appointment, error) {
			return Appointment{}, errors.New("group: Config.VerifyAppointment is not set")
		}
	}
	return &Keyring{
		cfg:      cfg,
		parsed:   make(map[[32]byte]hpke.PublicKey),
		gone:     make(map[Tag]*gone),
		asked:    make(map[identity.LogID]uint64),
		askedUs:  make(map[identity.LogID]requests),
		own:      make(map[uint32]*ownPreKey),
		former:   make(map[formerID]*ownPreKey),
		prekeys:  make(map[identity.LogID]heldPreKeys),
		groups:   make(map[ID]*groupState),
		epochs:   make(map[EpochID]*epoch),
		lineage:  NewLineage(nil).l,
		tags:     make(map[Tag]*epoch),
		created:  make(map[identity.LogID]int),
		partials: make(map[partialID]*partial),
		maxSeeds: MaxSeeds,
		maxLooks: MaxMergeLooks,
	}
}

// Load rebuilds a keyring from every change that was applied to it. scan calls
// fn with each stored key of a prefix and its value, in any order.
func Load(cfg Config, scan func(prefix string, fn func(key string, value []byte) error) error) (*Keyring, error) {
	k := New(cfg)
	b := k.newBatch()
	err := scan(keyPrefix, func(key string, value []byte) error {
		if value == nil {
			value = []byte{}
		}
		return b.add(Change{Key: key, Value: value})
	})
	if err != nil {
		return nil, fmt.Errorf("group: load: %w", err)
	}
	b.endDropped()
	if err := b.commit(); err != nil {
		return nil, fmt.Errorf("group: load: %w", err)
	}
	for id, p := range k.partials {
		if p.header.wrapPages == 0 {
			return nil, fmt.Errorf("group: load: pages of the announce %s are stored, but not their record", id.epoch)
		}
	}
	return k, nil
}

// Apply folds changes in that a method of this keyring returned, after they
// were made durable. On an error nothing was folded in.
func (k *Keyring) Apply(changes ...Change) error {
	b := k.newBatch()
	for _, c := range changes {
		if err := b.add(c); err != nil {
			return err
		}
	}
	return b.commit()
}

// batch reads changes first and alters the keyring only when all were read.
type batch struct {
	k       *Keyring
	apply   []func()
	epochs  map[EpochID]*epoch // new ones of this batch
	dirty   map[ID]*groupState // operations to be, where they change
	recheck map[ID]bool        // groups whose usable epochs change
	elapsed uint64             // of the clock in this batch

	successions map[identity.LogID]Succession // those of this batch, by New
	inline      [4]func()
}

func (k *Keyring) newBatch() *batch {
	b := &batch{k: k}
	b.apply = b.inline[:0]
	return b
}

func (b *batch) do(f func()) { b.apply = append(b.apply, f) }

// group returns the state of a group as it will be, to be altered.
func (b *batch) group(id ID) *groupState {
	if g, ok := b.dirty[id]; ok {
		return g
	}
	g := &groupState{ops: make(opSet), digests: make(map[[32]byte]*knownOp)}
	if held, ok := b.k.groups[id]; ok {
		g.ops, g.digests = maps.Clone(held.ops), maps.Clone(held.digests)
	}
	if b.dirty == nil {
		b.dirty = make(map[ID]*groupState)
	}
	b.dirty[id] = g
	return g
}

func (b *batch) touch(id ID) {
	if b.recheck == nil {
		b.recheck = make(map[ID]bool)
	}
	b.recheck[id] = true
}

// epoch returns the epoch a chain belongs to, whose record may stand later in
// the batch; commit checks that it was found.
func (b *batch) epoch(id EpochID) *epoch {
	if e, ok := b.k.epochs[id]; ok {
		return e
	}
	if e, ok := b.epochs[id]; ok {
		return e
	}
	if b.epochs == nil {
		b.epochs = make(map[EpochID]*epoch)
	}
	e := &epoch{id: id, chains: make(map[identity.LogID]*chain)}
	b.epochs[id] = e
	return e
}

// endDropped completes the epochs that [Keyring.Expire] was destroying when the
// process ended. The clock is stored before anything goes, so that a chain may
// be missing only from an epoch that is due; it counts as at its end.
func (b *batch) endDropped() {
	for _, e := range b.epochs {
		if e.due > b.elapsed {
			continue
		}
		for _, m := range e.members {
			if e.chains[m] == nil {
				e.chains[m] = new(chain)
			}
			if c := e.chains[m]; !c.stored {
				c.stored, c.next = true, MaxGeneration
			}
		}
	}
}

func (b *batch) commit() error {
	lineage := b.succeed()
	for id, g := range b.dirty {
		view, err := g.ops.evaluate(lineage, id)
		if err != nil {
			return fmt.Errorf("group: stored operations of group %s: %w", id, err)
		}
		g.view, g.members = view, view.devices()
		b.k.divide(g)
	}
	for id, e := range b.epochs {
		if e.members == nil {
			return fmt.Errorf("group: chains of epoch %s are stored, but not the epoch", id)
		}
		for _, m := range e.members {
			if c := e.chains[m]; c == nil || !c.stored || len(e.chains) != len(e.members) {
				return fmt.Errorf("group: the chains stored for epoch %s are not those of its members", id)
			}
		}
	}
	for _, f := range b.apply {
		f()
	}
	for id, g := range b.dirty {
		b.k.groups[id] = g
		b.touch(id)
	}
	for id := range b.recheck {
		b.k.rank(id)
	}
	return nil
}

// add reads one change.
func (b *batch) add(c Change) error {
	name, rest, _ := strings.Cut(strings.TrimPrefix(c.Key, keyPrefix), "/")
	var err error
	switch {
	case !strings.HasPrefix(c.Key, keyPrefix):
		err = errKey
	case name == "chain":
		err = b.addChain(rest, c.Value)
	case name == "seed":
		err = b.addSeed(rest, c.Value)
	case name == "gap":
		err = b.addGap(rest, c.Value)
	case name == "epoch":
		err = b.addEpoch(rest, c.Value)
	case name == "op":
		err = b.addOp(rest, c.Value)
	case name == "own":
		err = b.addOwn(rest, c.Value)
	case name == "prekey":
		err = b.addPreKeys(rest, c.Value)
	case name == "partial":
		err = b.addPartial(rest, c.Value)
	case name == "gone":
		err = b.addGone(rest, c.Value)
	case name == "asked":
		err = b.addAsked(rest, c.Value)
	case name == "unreadable":
		err = b.addUnreadable(rest, c.Value)
	case name == "demoted":
		err = b.addDemoted(rest, c.Value)
	case name == "succession":
		err = b.addSuccession(rest, c.Value)
	case name == "clock":
		err = b.addClock(rest, c.Value)
	default:
		err = errKey
	}
	if err != nil {
		return fmt.Errorf("group: stored record %q: %w", c.Key, err)
	}
	return nil
}

// Knows reports whether an epoch with this tag is held, so that a message under
// it can be tried.
func (k *Keyring) Knows(tag Tag) bool {
	_, ok := k.tags[tag]
	return ok
}

// Groups returns the view of every group, in order of id.
func (k *Keyring) Groups() []View {
	ids := slices.SortedFunc(maps.Keys(k.groups), func(a, b ID) int { return strings.Compare(string(a[:]), string(b[:])) })
	out := make([]View, 0, len(ids))
	for _, id := range ids {
		out = append(out, k.groups[id].view.clone())
	}
	return out
}

// Group returns the view of one group, and false if nothing is known of it.
func (k *Keyring) Group(id ID) (View, bool) {
	g, ok := k.groups[id]
	if !ok {
		return View{}, false
	}
	return g.view.clone(), true
}

var errKey = errors.New("not a key of this package")
