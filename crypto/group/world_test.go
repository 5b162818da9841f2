package group

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"tocsin/crypto/identity"
)

// start is where the tests' time begins: a Thursday, as weeks do.
var start = time.Unix(2900*weekSeconds, 0)

// device is a keyring with a disk, and a log whose entries are as small as
// they may be: place ‖ commit, signed.
type device struct {
	t    failer
	priv ed25519.PrivateKey
	log  identity.LogID
	k    *Keyring
	disk map[string][]byte
	seq  uint64
}

// deterministic is a reader for everything random but HPKE.
func deterministic(seed uint64) *rand.ChaCha8 {
	var s [32]byte
	binary.LittleEndian.PutUint64(s[:], seed)
	return rand.NewChaCha8(s)
}

const entryDomain identity.Domain = "tocsin/group-test/v1\x00"

// failer is what testing.TB and rapid.T have in common.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func newDevice(t failer, seed uint64) *device {
	var s [32]byte
	binary.LittleEndian.PutUint64(s[:], seed)
	priv := ed25519.NewKeyFromSeed(s[:])
	d := &device{t: t, priv: priv, log: identity.LogID{Author: identity.KeyOf(priv), Incarnation: uint32(seed)}, disk: make(map[string][]byte)}
	d.k = New(d.config(seed))
	return d
}

func (d *device) config(seed uint64) Config {
	return Config{Self: d.log, Rand: deterministic(seed), VerifyOp: verifyTestHeader}
}

func testHeader(at Place, commit [32]byte) []byte {
	b := at.Log.Bytes()
	h := binary.BigEndian.AppendUint64(b[:], at.Seq)
	return append(h, commit[:]...)
}

func (d *device) signHeader(at Place, commit [32]byte) []byte {
	h := testHeader(at, commit)
	return append(h, identity.Sign(d.priv, entryDomain, h)...)
}

func verifyTestHeader(b []byte) (OpProof, error) {
	const size = identity.LogIDSize + 8 + 32
	if len(b) != size+64 {
		return OpProof{}, errors.New("test header of the wrong size")
	}
	at := Place{Log: logName(b[:identity.LogIDSize]), Seq: binary.BigEndian.Uint64(b[identity.LogIDSize:])}
	if err := identity.VerifySignature(at.Log.Author, entryDomain, b[:size], b[size:]); err != nil {
		return OpProof{}, err
	}
	return OpProof{ID: sha256.Sum256(b[:size]), Place: at, Commit: [32]byte(b[size-32 : size])}, nil
}

func (d *device) place() Place {
	d.seq++
	return Place{Log: d.log, Seq: d.seq}
}

// apply does what the caller must: disk first, then memory.
func (d *device) apply(changes []Change) {
	d.t.Helper()
	named := make(map[string]bool)
	for _, c := range changes {
		if named[c.Key] {
			d.t.Fatalf("changes name %s twice: their order would matter", c.Key)
		}
		named[c.Key] = true
	}
	store(d.disk, changes)
	if err := d.k.Apply(changes...); err != nil {
		d.t.Fatal(err)
	}
}

func store(disk map[string][]byte, changes []Change) {
	for _, c := range changes {
		if c.Value == nil {
			delete(disk, c.Key)
		} else {
			disk[c.Key] = slices.Clone(c.Value)
		}
	}
}

func scanner(disk map[string][]byte) func(string, func(string, []byte) error) error {
	return func(prefix string, fn func(string, []byte) error) error {
		for _, key := range slices.Sorted(maps.Keys(disk)) {
			if strings.HasPrefix(key, prefix) {
				if err := fn(key, disk[key]); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

// reload is a restart.
func (d *device) reload() {
	d.t.Helper()
	cfg := d.k.cfg
	cfg.Self = d.log
	k, err := Load(cfg, scanner(d.disk))
	if err != nil {
		d.t.Fatal(err)
	}
	k.maxSeeds = d.k.maxSeeds
	d.k = k
}

func (d *device) publish(now time.Time, to ...*device) {
	d.t.Helper()
	payload, changes, err := d.k.PreKeyUpdate(now)
	if err != nil {
		d.t.Fatal(err)
	}
	d.apply(changes)
	for _, o := range to {
		if payload == nil || o == d {
			continue
		}
		changes, err := o.k.LearnPreKeys(d.log, payload, now)
		if err != nil {
			d.t.Fatal(err)
		}
		o.apply(changes)
	}
}

func (d *device) signOp(payload []byte) SignedOp {
	var opening [32]byte
	d.k.cfg.Rand.Read(opening[:])
	return SignedOp{SignedHeader: d.signHeader(d.place(), Commit(opening, payload)), Opening: opening, Payload: payload}
}

func (d *device) learnOp(payload []byte) {
	d.t.Helper()
	changes, err := d.k.LearnOp(d.signOp(payload))
	if err != nil {
		d.t.Fatal(err)
	}
	d.apply(changes)
}

func (d *device) create(kind Kind, name string) ID {
	d.t.Helper()
	id, payload, err := d.k.CreateOp(kind, name)
	if err != nil {
		d.t.Fatal(err)
	}
	d.learnOp(payload)
	return id
}

func (d *device) add(id ID, role Role, who ...*device) {
	d.t.Helper()
	for _, o := range who {
		payload, err := d.k.AddOp(id, o.log, role)
		if err != nil {
			d.t.Fatal(err)
		}
		d.learnOp(payload)
	}
}

func (d *device) announce(id ID, now time.Time) *Announce {
	d.t.Helper()
	a, err := d.k.Announce(id, now)
	if err != nil {
		d.t.Fatal(err)
	}
	d.apply(a.Changes)
	return a
}

// learn hands the pages of from's announce to d.
func (d *device) learn(from *device, pages [][]byte, now time.Time) (last Learned) {
	d.t.Helper()
	for _, p := range pages {
		l, changes, err := d.k.LearnEpoch(from.place(), sha256.Sum256(p), p, now)
		if err != nil {
			d.t.Fatal(err)
		}
		d.apply(changes)
		last = l
	}
	return last
}

// sent is a data entry on its way.
type sent struct {
	at      Place
	tag     Tag
	commit  [32]byte
	body    []byte
	payload []byte
	s       *Sealed
}

func (d *device) seal(id ID, payload string, now time.Time) sent {
	d.t.Helper()
	at := d.place()
	s, err := d.k.Seal(id, at, []byte(payload), now)
	if err != nil {
		d.t.Fatal(err)
	}
	d.apply(s.Changes)
	return sent{at: at, tag: s.Tag, commit: s.Commit, body: s.Body, payload: []byte(payload), s: s}
}

func (d *device) open(m sent, now time.Time) (*Opened, error) {
	d.t.Helper()
	o, changes, err := d.k.Open(m.at, m.tag, m.commit, m.body, now)
	if err == nil {
		d.apply(changes)
	}
	return o, err
}

func (d *device) mustOpen(m sent, now time.Time) {
	d.t.Helper()
	o, err := d.open(m, now)
	if err != nil {
		d.t.Fatalf("open generation %d: %v", m.s.Generation, err)
	}
	if string(o.Payload) != string(m.payload) || !o.Provable || o.Opening != m.s.Opening || o.Generation != m.s.Generation {
		d.t.Fatalf("opened %q (%d), sealed %q (%d)", o.Payload, o.Generation, m.payload, m.s.Generation)
	}
}

// preKeysOf is a copy of what is held of another device; nil if nothing is.
func (k *Keyring) preKeysOf(log identity.LogID) *PreKeys {
	held, ok := k.prekeys[log]
	if !ok {
		return nil
	}
	set := held.set.Value()
	return &set
}

// meet makes n devices that know each other's prekeys, a group of all of them
// made by the first, and its first epoch.
func meet(t failer, n int, now time.Time) ([]*device, ID) {
	t.Helper()
	ds := make([]*device, n)
	for i := range ds {
		ds[i] = newDevice(t, uint64(i+1))
	}
	for _, d := range ds {
		d.publish(now, ds...)
	}
	id := ds[0].create(KindTeam, "Ward 7")
	ds[0].add(id, RoleMember, ds[1:]...)
	a := ds[0].announce(id, now)
	for _, d := range ds[1:] {
		if l := d.learn(ds[0], a.Pages, now); !l.Complete || l.Group != id || l.Epoch != a.Epoch || l.Ours {
			t.Fatalf("learnt %+v", l)
		}
	}
	return ds, id
}

func name(d *device) string { return fmt.Sprintf("%.8s", d.log) }

// dump returns every record that the keyring in memory amounts to, and checks
// what is derived from them. It must equal the disk at all times.
func dump(t failer, k *Keyring) map[string][]byte {
	t.Helper()
	disk := make(map[string][]byte)
	keep := func(c Change, err error) {
		if err != nil {
			t.Fatal(err)
		}
		store(disk, []Change{c})
	}
	if k.clock.set {
		keep(k.clock.change(), nil)
	}
	if k.published != nil {
		keep(k.published.change(), nil)
	}
	if k.span != (span{}) {
		keep(k.span.change(), nil)
	}
	for tag, g := range k.gone {
		keep(g.change(tag), nil)
	}
	for creator, at := range k.asked {
		keep(Change{Key: askedKeyOf(creator), Value: binary.BigEndian.AppendUint64(nil, at)}, nil)
	}
	heeded := 0
	for from, held := range k.askedUs {
		heeded += len(held)
		for creator, at := range held {
			keep(Change{Key: unreadableKey(from, creator), Value: binary.BigEndian.AppendUint64(nil, at)}, nil)
		}
	}
	if heeded != k.heeded {
		t.Fatalf("%d requests are counted, %d remembered", k.heeded, heeded)
	}
	for _, o := range k.own {
		keep(o.change(), nil)
	}
	for _, o := range k.former {
		keep(o.formerChange(), nil)
	}
	for log := range k.prekeys {
		keep(Change{Key: preKeyKey(log), Value: k.preKeysOf(log).Marshal()}, nil)
	}
	for _, g := range k.groups {
		for _, o := range g.ops {
			keep(o.change())
		}
	}
	for id, p := range k.partials {
		keep(p.change(id))
		if seen := p.states.count(); !p.foreign() && seen != len(p.pages) || p.foreign() && len(p.pages) != 0 {
			t.Fatalf("incomplete announce with %d pages of state seen and %d kept", seen, len(p.pages))
		}
		for i, data := range p.pages {
			keep(Change{Key: id.pageKey(i), Value: data}, nil)
		}
	}
	seeds, created := 0, make(map[identity.LogID]int)
	for _, e := range k.epochs {
		changes, err := e.changes()
		if err != nil {
			t.Fatal(err)
		}
		store(disk, changes)
		for m := range e.demoted {
			keep(Change{Key: demotedKey(e.id, m), Value: []byte{recordFormat}}, nil)
		}
		created[e.creator]++
		if k.tags[e.tag] != e {
			t.Fatalf("epoch %s is not found by its tag", e.id)
		}
		for m, c := range e.chains {
			seeds += len(c.seeds)
			for gen, seed := range c.seeds {
				keep(Change{Key: seedKey(e.id, m, gen), Value: seed[:]}, nil)
			}
			for _, g := range c.gaps {
				keep(Change{Key: gapKey(e.id, m, g.from), Value: g.marshal()}, nil)
			}
		}
	}
	if seeds != k.seeds || !maps.Equal(created, k.created) || len(k.tags) != len(k.epochs) {
		t.Fatalf("counters: %d seeds of %d, %v epochs of %v, %d tags of %d", k.seeds, seeds, k.created, created, len(k.tags), len(k.epochs))
	}
	return disk
}

// checkDisk holds memory to the disk, and a keyring loaded from the disk to
// both.
func (d *device) checkDisk() {
	d.t.Helper()
	same := func(what string, k *Keyring) {
		d.t.Helper()
		got := dump(d.t, k)
		for key := range d.disk {
			if !slices.Equal(got[key], d.disk[key]) {
				d.t.Fatalf("%s: record %s is %x in memory, %x on disk", what, key, got[key], d.disk[key])
			}
		}
		for key := range got {
			if _, ok := d.disk[key]; !ok {
				d.t.Fatalf("%s: record %s is in memory and not on disk", what, key)
			}
		}
	}
	same("live", d.k)
	cfg := d.k.cfg
	cfg.Rand = deterministic(1)
	k, err := Load(cfg, scanner(d.disk))
	if err != nil {
		d.t.Fatal(err)
	}
	same("loaded", k)
	for id, g := range d.k.groups {
		order := func(es []*epoch) (ids []EpochID) {
			for _, e := range es {
				ids = append(ids, e.id)
			}
			return ids
		}
		for i := range g.parts {
			if !slices.Equal(order(g.parts[i].usable), order(k.groups[id].parts[i].usable)) {
				d.t.Fatalf("group %s ranks its epochs otherwise after a restart", id)
			}
		}
	}
}

type secretLog = identity.LogID

func contains(value []byte, s secret) bool { return bytes.Contains(value, s[:]) }
