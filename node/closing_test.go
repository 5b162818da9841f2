package node

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	mathrand "math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/ledger"
)

// emptyDirectory is the directory of a device of its own in the world.
func (w *world) emptyDirectory(t *testing.T) *directory {
	t.Helper()
	_, own := w.enrol("Zoe", orgHospital).firstEntry(t, 0)
	trust, err := identity.NewTrustStore(w.bundle)
	check(t, err)
	return newDirectory(trust, own)
}

// TestLaterLogNeedsItsClosing: a later incarnation begins with a closing of the one
// before that its author signed for it, and with nothing else.
func TestLaterLogNeedsItsClosing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m, other := w.enrol("Ben", orgAmbulance), w.enrol("Dee", orgAmbulance)
	keys, cfg := m.secrets(t)
	key := identity.KeyOf(keys.Signing)
	now := time.Now()
	old, next := identity.LogID{Author: key}, identity.LogID{Author: key, Incarnation: 4}
	closing := func(by ed25519.PrivateKey, old, next identity.LogID, mesh identity.MeshID) []byte {
		c, err := ledger.SignClosing(by, mesh, old, 7, ledger.Hash{1}, ledger.ClosedRestored, next)
		check(t, err)
		return c.Marshal()
	}
	mesh := cfg.Bundle.MeshID()
	good := closing(keys.Signing, old, next, mesh)
	spoilt := slices.Clone(good)
	spoilt[len(spoilt)-1] ^= 1
	thief, tcfg := other.secrets(t)
	theirs := identity.LogID{Author: identity.KeyOf(thief.Signing)}
	for name, c := range map[string]struct {
		key     ed25519.PrivateKey
		at      uint32
		typ     controlType
		content []byte
		good    bool
	}{
		"as it should be":             {keys.Signing, 4, controlRestart, slices.Concat(good, cfg.Credential), true},
		"a credential alone":          {keys.Signing, 4, controlCredential, cfg.Credential, false},
		"a closing for another log":   {keys.Signing, 5, controlRestart, slices.Concat(good, cfg.Credential), false},
		"a spoilt signature":          {keys.Signing, 4, controlRestart, slices.Concat(spoilt, cfg.Credential), false},
		"of another mesh":             {keys.Signing, 4, controlRestart, slices.Concat(closing(keys.Signing, old, next, identity.MeshID{1}), cfg.Credential), false},
		"another's credential":        {keys.Signing, 4, controlRestart, slices.Concat(good, tcfg.Credential), false},
		"another's closing":           {thief.Signing, 4, controlRestart, slices.Concat(closing(thief.Signing, theirs, identity.LogID{Author: theirs.Author, Incarnation: 4}, mesh), cfg.Credential), false},
		"a restart as the first log":  {keys.Signing, 0, controlRestart, slices.Concat(good, cfg.Credential), false},
		"a roll as a later log":       {keys.Signing, 4, controlRoll, slices.Concat(good, cfg.Credential), false},
		"a closing cut short":         {keys.Signing, 4, controlRestart, good[:len(good)-1], false},
		"a closing without more":      {keys.Signing, 4, controlRestart, good, false},
		"bytes between":               {keys.Signing, 4, controlRestart, slices.Concat(good, []byte{0}, cfg.Credential), false},
		"something else at the start": {keys.Signing, 4, controlPreKeys, []byte{1}, false},
	} {
		d := w.emptyDirectory(t)
		if err := d.Admit(seqZero(t, c.key, c.at, now, c.typ, c.content)); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
		if got := len(d.successions()); got != 0 != c.good {
			t.Errorf("%s: %d successions", name, got)
		}
	}
}

// TestRestartsOfOthersAreBounded: one log too many under one credential is not taken,
// whatever number and time it has and in whatever order they come; one under a new
// credential is.
func TestRestartsOfOthersAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.enrol("Ben", orgAmbulance)
	d := w.emptyDirectory(t)
	now := time.Now()
	first, _ := m.firstEntry(t, 0)
	check(t, d.Admit(first))
	for i := range uint32(maxTaken) {
		check(t, d.Admit(m.later(t, i+1, i, ledger.ClosedRestored, now)))
	}
	const over = maxTaken + 1
	if err := d.Admit(m.later(t, over, over-1, ledger.ClosedRestored, now.Add(restartSpan-time.Hour))); !errors.Is(err, errRestarts) {
		t.Fatalf("one too many in 30 days: %v", err)
	}
	third := m.later(t, 3, 2, ledger.ClosedRestored, now)
	check(t, d.Admit(third)) // shown again
	// Neither the number nor a time that the credential does not cover makes room.
	for number, at := range map[uint32]time.Time{over: now, over + 1: now.Add(restartSpan + time.Hour), over + 2: now.Add(-400 * 24 * time.Hour)} {
		if err := d.Admit(m.later(t, number, 3, ledger.ClosedRestored, at)); !errors.Is(err, errRestarts) {
			t.Fatalf("one too many, number %d at %s: %v", number, at, err)
		}
	}
	late := w.emptyDirectory(t)
	check(t, late.Admit(first))
	for i := range uint32(over) {
		if err := late.Admit(m.later(t, 60-i, 0, ledger.ClosedRestored, now)); errors.Is(err, errRestarts) != (i == maxTaken) {
			t.Fatalf("descending, restart %d: %v", i+1, err)
		}
	}
	if known := (identity.LogID{Author: first.Header.Author, Incarnation: 60 - maxTaken}); !late.settled(known) {
		t.Fatal("a log that will not be taken is waited for")
	}
	w.reissue(m)
	check(t, d.Admit(m.later(t, over, 3, ledger.ClosedRestored, now)))
}

// TestRestartsOfCopiesAreTaken: what a device and two copies begin, each as often as it
// may and without a word from the others, is taken by everybody, in whatever order it
// comes. Otherwise two devices would hold different logs for good.
func TestRestartsOfCopiesAreTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.enrolWith("Ben", orgAmbulance, w.grant(200*24*time.Hour))
	first, _ := m.firstEntry(t, 0)
	_, cfg := m.secrets(t)
	author, start := first.Header.Author, time.Now()
	var begun []*ledger.Entry
	for copied := range uint32(3) {
		own := w.emptyDirectory(t) // what this one knows of
		check(t, own.Admit(first))
		number := copied + 1
		for at := start; at.Before(start.Add(5 * restartSpan)); at = at.Add(10 * time.Hour) {
			next := identity.LogID{Author: author, Incarnation: number}
			if own.mayRestart(next, cfg.Credential, at) != nil {
				continue
			}
			e := m.later(t, number, 0, ledger.ClosedForked, at)
			check(t, own.Admit(e))
			begun = append(begun, e)
			number += 3
		}
	}
	if want := 3 * 5 * maxRestarts; len(begun) != want {
		t.Fatalf("three devices began %d logs in five spans, not %d", len(begun), want)
	}
	for range 50 {
		mathrand.Shuffle(len(begun), func(i, j int) { begun[i], begun[j] = begun[j], begun[i] })
		d := w.emptyDirectory(t)
		check(t, d.Admit(first))
		for i, e := range begun {
			if err := d.Admit(e); err != nil {
				t.Fatalf("the %dth that came, number %d: %v", i+1, e.Header.Incarnation, err)
			}
		}
	}
}

// rolledEntry is the first entry of m's log under new keys, and the keys. spoil may
// change the roll.
func (w *world) rolledEntry(t *testing.T, m *machine, spoil func(old, next ed25519.PrivateKey, credential []byte) []byte) (*ledger.Entry, identity.LogID) {
	t.Helper()
	old, cfg := m.secrets(t)
	keys, err := identity.NewVaultKeys(rand.Reader)
	check(t, err)
	w.issue(m, cfg, keys)
	cfg, err = m.publicConfig()
	check(t, err)
	roll, err := identity.NewKeyRoll(old.Signing, keys.Signing, cfg.Credential)
	check(t, err)
	if spoil != nil {
		roll = spoil(old.Signing, keys.Signing, cfg.Credential)
	}
	log := identity.LogID{Author: identity.KeyOf(old.Signing)}
	next := identity.LogID{Author: identity.KeyOf(keys.Signing)}
	c, err := ledger.SignClosing(old.Signing, w.bundle.MeshID(), log, 7, ledger.Hash{1}, ledger.ClosedKeyRoll, next)
	check(t, err)
	return seqZero(t, keys.Signing, 0, time.Now(), controlRoll, slices.Concat(c.Marshal(), roll)), next
}

// TestRollIsCheckedAgainstTheOldKey: a roll counts once the old credential is known,
// whichever comes first; one that the new key has not signed back, or for another
// person, is no succession, though the log is that of a device like any other.
func TestRollIsCheckedAgainstTheOldKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, c := range map[string]struct {
		spoil func(old, next ed25519.PrivateKey, credential []byte) []byte
		good  bool
	}{
		"right": {nil, true},
		"not signed back": {func(old, next ed25519.PrivateKey, credential []byte) []byte {
			roll, err := identity.NewKeyRoll(old, next, credential)
			check(t, err)
			roll[len(roll)-1] ^= 1
			return roll
		}, false},
		"not signed by the old key": {func(old, next ed25519.PrivateKey, credential []byte) []byte {
			roll, err := identity.NewKeyRoll(old, next, credential)
			check(t, err)
			roll[len(roll)-ed25519.SignatureSize-1] ^= 1
			return roll
		}, false},
	} {
		m := w.enrol("Ben", orgAmbulance)
		first, _ := m.firstEntry(t, 0)
		rolled, next := w.rolledEntry(t, m, c.spoil)
		for _, order := range [][]*ledger.Entry{{first, rolled}, {rolled, first}} {
			d := w.emptyDirectory(t)
			for _, e := range order {
				check(t, d.Admit(e))
			}
			want := []group.Succession(nil)
			devices := 3 // with this one
			if c.good {
				want, devices = []group.Succession{{Old: first.Header.Log(), New: next, Size: 7}}, 2
			}
			if got := d.successions(); !slices.Equal(got, want) {
				t.Errorf("%s: successions %v, want %v", name, got, want)
			}
			if got := len(d.devices()); got != devices {
				t.Errorf("%s: %d devices are listed, want %d", name, got, devices)
			}
		}
	}
	// The same number at the same regulator, and another person.
	m, other := w.enrol("Ben", orgAmbulance), w.enrol("Dee", orgAmbulance)
	keys, _ := m.secrets(t)
	first, _ := m.firstEntry(t, 0)
	next, cfg := other.secrets(t)
	roll, err := identity.NewKeyRoll(keys.Signing, next.Signing, cfg.Credential)
	check(t, err)
	c, err := ledger.SignClosing(keys.Signing, w.bundle.MeshID(), first.Header.Log(), 7, ledger.Hash{1}, ledger.ClosedKeyRoll, identity.LogID{Author: identity.KeyOf(next.Signing)})
	check(t, err)
	d := w.emptyDirectory(t)
	check(t, d.Admit(first))
	check(t, d.Admit(seqZero(t, next.Signing, 0, time.Now(), controlRoll, slices.Concat(c.Marshal(), roll))))
	if got := d.successions(); len(got) != 0 {
		t.Errorf("a roll to another person is a succession: %v", got)
	}
}

// FuzzRolledCredential: whatever stands in place of a key roll, only what is framed
// as its credential is taken for it.
func FuzzRolledCredential(f *testing.F) {
	f.Add(append(make([]byte, 33), 0, 2, 'a', 'b', 'c'))
	f.Add(append(make([]byte, 33), 0xff, 0xff, 'a'))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := rolledCredential(raw)
		if err != nil {
			return
		}
		if len(c) > len(raw)-35 || !bytes.Equal(raw[35:35+len(c)], c) || int(raw[33])<<8|int(raw[34]) != len(c) {
			t.Fatalf("%x is taken for the credential of %x", c, raw)
		}
	})
}

// TestDirectoryInAnyOrder: what is known of how logs follow each other does not
// depend on the order in which their first entries come.
func TestDirectoryInAnyOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.enrol("Ben", orgAmbulance)
	first, _ := m.firstEntry(t, 0)
	all := []*ledger.Entry{first, m.later(t, 3, 0, ledger.ClosedRestored, time.Now()), m.later(t, 7, 3, ledger.ClosedForked, time.Now())}
	a, _ := m.secrets(t)
	key, cred := w.newKey(t, m)
	next := identity.LogID{Author: identity.KeyOf(key)}
	all = append(all, w.rollTo(t, a.Signing, key, cred, identity.LogID{Author: first.Header.Author, Incarnation: 7}))
	var want []group.Succession
	for i := range 24 {
		d := w.emptyDirectory(t)
		for _, at := range mathrand.New(mathrand.NewPCG(uint64(i), 1)).Perm(len(all)) {
			check(t, d.Admit(all[at]))
		}
		got := d.successions()
		if want == nil {
			want = got
		}
		if len(got) != 3 || !reflect.DeepEqual(got, want) {
			t.Fatalf("order %d: %v, want %v", i, got, want)
		}
		if devices := d.devices(); len(devices) != 2 || !slices.ContainsFunc(devices, func(v device) bool { return v.log == next }) {
			t.Fatalf("order %d: devices %v", i, devices)
		}
		if c := d.closingsOf(identity.LogID{Author: first.Header.Author, Incarnation: 7}); !c.forked || c.before == nil || c.before.old.Incarnation != 3 {
			t.Fatalf("order %d: %+v", i, c)
		}
	}
}

// rollTo is the first entry of next's log, which closes a log of old's at 7 entries.
func (w *world) rollTo(t *testing.T, old, next ed25519.PrivateKey, credential []byte, from identity.LogID) *ledger.Entry {
	t.Helper()
	roll, err := identity.NewKeyRoll(old, next, credential)
	check(t, err)
	c, err := ledger.SignClosing(old, w.bundle.MeshID(), from, 7, ledger.Hash{1}, ledger.ClosedKeyRoll, identity.LogID{Author: identity.KeyOf(next)})
	check(t, err)
	return seqZero(t, next, 0, time.Now(), controlRoll, slices.Concat(c.Marshal(), roll))
}

// newKey gives m another key and returns it with the credential for it.
func (w *world) newKey(t *testing.T, m *machine) (ed25519.PrivateKey, []byte) {
	t.Helper()
	_, cfg := m.secrets(t)
	keys, err := identity.NewVaultKeys(rand.Reader)
	check(t, err)
	w.issue(m, cfg, keys)
	cfg, err = m.publicConfig()
	check(t, err)
	return keys.Signing, cfg.Credential
}

// TestRollCycleHidesNobody: two keys of one person that each say to go on for the
// other are listed as one device, which can be named.
func TestRollCycleHidesNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.enrol("Ben", orgAmbulance)
	a, acfg := m.secrets(t)
	b, bcred := w.newKey(t, m)
	ab := w.rollTo(t, a.Signing, b, bcred, identity.LogID{Author: identity.KeyOf(a.Signing)})
	ba := w.rollTo(t, b, a.Signing, acfg.Credential, identity.LogID{Author: identity.KeyOf(b)})
	for _, order := range [][]*ledger.Entry{{ab, ba}, {ba, ab}} {
		d := w.emptyDirectory(t)
		for _, e := range order {
			check(t, d.Admit(e))
		}
		logs, err := d.resolve("Ben")
		if check(t, err); len(d.successions()) != 2 || len(logs) != 1 {
			t.Fatalf("%d successions, devices %v", len(d.successions()), logs)
		}
	}
}

// TestRollVerdictInAnyOrder: a roll is judged by the credentials in the first
// entries of the two logs that it joins, whatever else is known of their keys.
func TestRollVerdictInAnyOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.enrol("Ben", orgAmbulance)
	first, _ := m.firstEntry(t, 0)
	later := m.later(t, 3, 0, ledger.ClosedRestored, time.Now())
	rolled, next := w.rolledEntry(t, m, nil)
	for _, order := range [][]*ledger.Entry{{later, rolled, first}, {rolled, later, first}} {
		d := w.emptyDirectory(t)
		for i, e := range order {
			if got := len(d.successions()); got > 1 {
				t.Fatalf("%d successions before entry %d: judged by another log's credential", got, i)
			}
			check(t, d.Admit(e))
		}
		if !slices.ContainsFunc(d.successions(), func(s group.Succession) bool { return s.New == next }) {
			t.Fatalf("successions %v", d.successions())
		}
	}
}

// TestClosingsAfterARollCountNot: the thief of a key that was rolled closes an early
// log of it at its beginning. What the owner said there is not flagged by that, what
// the thief says is, and the log is still seen to lead to the new key.
func TestClosingsAfterARollCountNot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.enrol("Ben", orgAmbulance)
	first, _ := m.firstEntry(t, 0)
	a, cfg := m.secrets(t)
	old, by := first.Header.Log(), identity.LogID{Author: first.Header.Author, Incarnation: 9}
	short, err := ledger.SignClosing(a.Signing, w.bundle.MeshID(), old, 1, ledger.Hash{1}, ledger.ClosedForked, by)
	check(t, err)
	theft := seqZero(t, a.Signing, 9, time.Now(), controlRestart, slices.Concat(short.Marshal(), cfg.Credential))
	rolled, next := w.rolledEntry(t, m, nil) // closes old at 7
	all := []*ledger.Entry{first, theft, rolled}
	for i := range 6 {
		d := w.emptyDirectory(t)
		for _, at := range mathrand.New(mathrand.NewPCG(uint64(i), 1)).Perm(len(all)) {
			check(t, d.Admit(all[at]))
		}
		for seq, want := range map[uint64]bool{0: false, 1: false, 6: false, 7: true} {
			if got := d.beyond(old, seq); got != want {
				t.Errorf("entry %d of the log before is beyond its end: %v", seq, got)
			}
		}
		if !d.beyond(theft.Header.Log(), 0) {
			t.Error("the thief's log is not beyond the end")
		}
		if c := d.closingsOf(old); c.after == nil || c.after.next != next {
			t.Errorf("the log before goes on as %+v", c.after)
		}
		if devices := d.devices(); len(devices) != 2 {
			t.Errorf("devices %v", devices)
		}
	}
}

// TestTwiceRolledKeyIsOneDevice: of two keys that one was rolled to the same counts
// for the list of devices, for what a log leads to, and for groups.
func TestTwiceRolledKeyIsOneDevice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.enrol("Ben", orgAmbulance)
	first, _ := m.firstEntry(t, 0)
	a, _ := m.secrets(t)
	old := first.Header.Log()
	d := w.emptyDirectory(t)
	check(t, d.Admit(first))
	for range 2 {
		key, cred := w.newKey(t, m)
		check(t, d.Admit(w.rollTo(t, a.Signing, key, cred, old)))
	}
	want := group.NewLineage(d.successions()).Newest(old)
	logs, err := d.resolve("Ben")
	if check(t, err); !slices.Equal(logs, []identity.LogID{want}) {
		t.Fatalf("devices %v, groups follow %s", logs, want)
	}
	if c := d.closingsOf(old); c.after == nil || c.after.next != want {
		t.Fatalf("the log before goes on as %+v, want %s", c.after, want)
	}
}
