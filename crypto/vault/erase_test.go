package vault

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"tocsin/crypto/slots"
)

func erasable(key, value string) Change {
	return Change{Key: key, Value: []byte(value), Erasable: true}
}

func mustCommit(t testing.TB, v *Vault, changes ...Change) {
	t.Helper()
	if err := v.Commit(changes...); err != nil {
		t.Fatal(err)
	}
}

// TestErasable: an erasable value is a value like any other, through locks and
// compactions, until it is deleted or replaced.
func TestErasable(t *testing.T) {
	v, _ := newVault(t)
	mustCommit(t, v, erasable("own", "1"), erasable("empty", ""), Change{Key: "plain", Value: []byte("2")})
	mustCommit(t, v, erasable("own", "3"), erasable("twice", "a"), erasable("twice", "b"))
	want := map[string]string{"own": "3", "empty": "", "plain": "2", "twice": "b"}
	count := func(erasable, used int) {
		t.Helper()
		equal(t, contents(t, v), want)
		st, err := v.Stats()
		if err != nil || st.Erasable != erasable || st.Keys != len(want) {
			t.Fatalf("%+v, %v", st, err)
		}
		if s := v.session.slots.Stats(); s.Used != used {
			t.Fatalf("%d slots in use, want %d", s.Used, used)
		}
	}
	count(3, 3)
	if err := v.Compact(); err != nil {
		t.Fatal(err)
	}
	count(3, 3)
	v.Lock()
	if err := v.Unlock(testPass); err != nil {
		t.Fatal(err)
	}
	count(3, 3)
	// What was stored decides about erasing, not what comes.
	mustCommit(t, v, Change{Key: "own", Value: []byte("now plain")}, Change{Key: "empty"}, erasable("plain", "now own"))
	want = map[string]string{"own": "now plain", "plain": "now own", "twice": "b"}
	count(2, 2)
	mustCommit(t, v, erasable("gone at once", "x"), Change{Key: "gone at once"}, Change{Key: "never there"})
	count(2, 2)
}

// TestErasedKeyIsOverwritten: when Commit returns, the key of what it deletes
// or replaces is not in the slot file, and one sync was all it took.
func TestErasedKeyIsOverwritten(t *testing.T) {
	d := newMemDisk()
	v := createOn(t, d)
	var many []Change
	for i := range 100 {
		many = append(many, erasable(fmt.Sprint("k", i), "v"))
	}
	syncs := 0
	d.before = func(op string) error {
		if op == "sync" {
			syncs++
		}
		return nil
	}
	mustCommit(t, v, many...)
	if syncs != 1 {
		t.Errorf("to store 100 erasable values took %d syncs, want 1", syncs)
	}
	old := ownKeys(t, v)
	if len(old) != 100 {
		t.Fatalf("%d keys", len(old))
	}
	for i := range many {
		if i%2 == 0 {
			many[i].Value = nil
		}
	}
	syncs = 0
	mustCommit(t, v, many...)
	if syncs != 2 {
		t.Errorf("to erase 100 values took %d syncs, want 2", syncs)
	}
	noKeys(t, d, old, nil, "after the commit")
	if live := ownKeys(t, v); len(live) != 50 {
		t.Fatalf("%d keys", len(live))
	}
}

// TestPassphraseDoesNotOpenErased: with every key that a passphrase leads to,
// the sealed bytes of an erased value do not open; before, they did.
func TestPassphraseDoesNotOpenErased(t *testing.T) {
	d := newMemDisk()
	v := createOn(t, d)
	mustCommit(t, v, erasable("k", "secret"))
	at, _ := v.session.index.get("k")
	if value, err := v.session.read("k", at); err != nil || string(value) != "secret" {
		t.Fatal(err)
	}
	mustCommit(t, v, Change{Key: "k"})
	if _, err := v.session.read("k", at); !errors.Is(err, ErrDamaged) {
		t.Fatalf("read of an erased value where it lay: %v", err)
	}
	sealed := make([]byte, at.size)
	if err := readAt(v.session.journal, sealed, at.offset); err != nil {
		t.Fatal(err)
	}
	if _, err := v.session.keys.value.Open(nil, nil, sealed, valueAAD("k", at.version)); err == nil {
		t.Fatal("an erasable value lies under the passphrase alone")
	}
}

// TestSlotIsNotEnough: the slot file alone opens nothing.
func TestSlotIsNotEnough(t *testing.T) {
	v, _ := newVault(t)
	mustCommit(t, v, erasable("k", "secret"))
	at, _ := v.session.index.get("k")
	sealed := make([]byte, at.size)
	if err := readAt(v.session.journal, sealed, at.offset); err != nil {
		t.Fatal(err)
	}
	key, err := v.session.slots.Key(uint64(at.slot))
	if err != nil {
		t.Fatal(err)
	}
	aead, err := newAEAD(key[:])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := aead.Open(nil, nil, sealed, valueAAD("k", at.version)); err == nil {
		t.Fatal("a slot's key opens a value without the passphrase")
	}
	other, err := deriveKeys(make([]byte, keySize))
	if err != nil {
		t.Fatal(err)
	}
	defer other.destroy()
	if aead, err = other.own(&key); err != nil {
		t.Fatal(err)
	}
	if _, err := aead.Open(nil, nil, sealed, valueAAD("k", at.version)); err == nil {
		t.Fatal("a slot's key opens a value with another vault's passphrase")
	}
}

// TestSlotDamage: a slot that rots is the loss of its value, told as damage,
// and of nothing else: not of others, not of commits, not of compaction.
func TestSlotDamage(t *testing.T) {
	d := newMemDisk()
	v := createOn(t, d)
	mustCommit(t, v, erasable("bad", "1"), erasable("good", "2"), Change{Key: "plain", Value: []byte("3")})
	at, _ := v.session.index.get("bad")
	d.names[slotsName].data[4096+64*int64(at.slot)+5] ^= 1
	check := func(when string) {
		t.Helper()
		if _, _, err := v.Get("bad"); !errors.Is(err, ErrDamaged) || !errors.Is(err, slots.ErrDamaged) || !strings.Contains(err.Error(), `"bad"`) {
			t.Fatalf("%s: %v", when, err)
		}
		for key, want := range map[string]string{"good": "2", "plain": "3"} {
			if got, ok, err := v.Get(key); err != nil || !ok || string(got) != want {
				t.Fatalf("%s: %s: %q, %v", when, key, got, err)
			}
		}
	}
	check("damaged")
	mustCommit(t, v, erasable("more", "4"))
	if err := v.Compact(); err != nil {
		t.Fatal(err)
	}
	check("compacted")
	v.Lock()
	if err := v.Unlock(testPass); err != nil {
		t.Fatal(err)
	}
	check("unlocked again")
	mustCommit(t, v, Change{Key: "bad"})
	equal(t, contents(t, v), map[string]string{"good": "2", "plain": "3", "more": "4"})
	// The whole file, on the other hand, is the vault's.
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := unlockOn(with(d, slotsName, func(b []byte) []byte { clear(b[:4096]); return b })); !errors.Is(err, ErrDamaged) {
		t.Fatalf("a slot file that begins with nothing: %v", err)
	}
}

// TestUnconfirmedErasure: a commit whose erasure the disk does not confirm is
// visible and says so; the next unlock destroys what it deleted.
func TestUnconfirmedErasure(t *testing.T) {
	d := newMemDisk()
	v := createOn(t, d)
	mustCommit(t, v, erasable("k", "old"), erasable("other", "stays"))
	old := ownKeys(t, v)
	syncs := 0
	d.before = func(op string) error {
		if op == "sync" {
			if syncs++; syncs > 1 { // the journal's is well
				return syscall.EIO
			}
		}
		return nil
	}
	err := v.Commit(erasable("k", "new"))
	if !errors.Is(err, ErrBroken) || !errors.Is(err, syscall.EIO) || !errors.Is(err, errUndestroyed) {
		t.Fatalf("%v", err)
	}
	d.before = nil
	want := map[string]string{"k": "new", "other": "stays"}
	equal(t, contents(t, v), want)
	if err := v.Commit(erasable("x", "y")); !errors.Is(err, ErrBroken) || errors.Is(err, errUndestroyed) {
		t.Fatalf("the next commit: %v", err)
	}
	v.Lock()
	if err := v.Unlock(testPass); err != nil {
		t.Fatal(err)
	}
	equal(t, contents(t, v), want)
	noKeys(t, d, old, ownKeys(t, v), "after the unlock")
	mustCommit(t, v, erasable("x", "y"))
}

// TestRefusedErasable: the keys of a commit that a full disk refused are
// destroyed, and used by nothing else.
func TestRefusedErasable(t *testing.T) {
	d := newMemDisk()
	v := createOn(t, d)
	mustCommit(t, v, erasable("k", "old"))
	next, key, err := v.session.slots.Take()
	if err != nil {
		t.Fatal(err)
	}
	v.session.slots.Release(next) // the one that the commit takes
	d.short = 1 << 20             // all of it reaches the disk all the same
	writes := 0
	d.before = func(op string) error {
		if op == "write" {
			if writes++; writes == 1 {
				return syscall.ENOSPC
			}
		}
		return nil
	}
	if err := v.Commit(erasable("k", "new")); !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrBroken) {
		t.Fatalf("%v", err)
	}
	d.before = nil
	equal(t, contents(t, v), map[string]string{"k": "old"})
	noKeys(t, d, map[[slots.KeySize]byte]bool{key: true}, nil, "after the refusal")
	if s := v.session.slots.Stats(); s.Used != 1 {
		t.Fatalf("%+v", s)
	}
}

// TestMoreThanABlock: slots grow, and a disk that is full for them refuses
// the commit whole.
func TestMoreThanABlock(t *testing.T) {
	d := newMemDisk()
	v := createOn(t, d)
	var many []Change
	for i := range 1500 {
		many = append(many, erasable(fmt.Sprint("k", i), "v"))
	}
	d.before = func(op string) error {
		if op == "write" {
			return syscall.ENOSPC
		}
		return nil
	}
	if err := v.Commit(many...); !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrBroken) {
		t.Fatalf("%v", err)
	}
	if s := v.session.slots.Stats(); s.Used != 0 {
		t.Fatalf("%d slots are lost", s.Used)
	}
	d.before = nil
	mustCommit(t, v, many...)
	v.Lock()
	if err := v.Unlock(testPass); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, v); len(got) != 1500 {
		t.Fatalf("%d values", len(got))
	}
}
