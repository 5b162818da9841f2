package group

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"tocsin/crypto/identity"
)

// start is where the tests' time begins: a Thursday, as weeks do.
var start = time.Unix(2900*weekSeconds, 0)

// device is a keyring with a disk, and a log whose entries are as small as
// they may be: place ‖ commit, signed.
type device struct {
	t    testing.TB
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

func newDevice(t testing.TB, seed uint64) *device {
	var s [32]byte
	binary.LittleEndian.PutUint64(s[:], seed)
	priv := ed25519.NewKeyFromSeed(s[:])
	d := &device{t: t, priv: priv, log: identity.LogID{Author: identity.KeyOf(priv)}, disk: make(map[string][]byte)}
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
	k, err := Load(Config{Self: d.log, Rand: d.k.cfg.Rand, VerifyOp: verifyTestHeader}, scanner(d.disk))
	if err != nil {
		d.t.Fatal(err)
	}
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

// meet makes n devices that know each other's prekeys, a group of all of them
// made by the first, and its first epoch.
func meet(t testing.TB, n int, now time.Time) ([]*device, ID) {
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
