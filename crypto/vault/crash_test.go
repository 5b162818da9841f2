package vault

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"tocsin/crypto/slots"
)

func createOn(t testing.TB, d disk) *Vault {
	t.Helper()
	v, err := create(d, testPass, Options{Params: testParams})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func unlockOn(d disk) (*Vault, error) {
	v, err := open(d)
	if err != nil {
		return nil, err
	}
	if err := v.Unlock(testPass); err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return v, nil
}

// watch is what a test knows about a vault while a script runs on it.
type watch struct {
	acknowledged, inFlight map[string]string
	// Keys of erasable values: all that were ever seen, and those whose
	// erasure was acknowledged.
	seen, gone map[[slots.KeySize]byte]bool
}

// ownKeys returns the keys of all erasable values of an unlocked vault.
func ownKeys(t testing.TB, v *Vault) map[[slots.KeySize]byte]bool {
	t.Helper()
	keys := map[[slots.KeySize]byte]bool{}
	for slot := range v.session.index.slots {
		key, err := v.session.slots.Key(slot)
		if err != nil {
			t.Fatal(err)
		}
		keys[key] = true
	}
	return keys
}

// note takes down the keys of erasable values after a commit was acknowledged.
func (w *watch) note(t testing.TB, v *Vault) {
	live := ownKeys(t, v)
	maps.Copy(w.seen, live)
	for key := range w.seen {
		if !live[key] {
			w.gone[key] = true
		}
	}
}

// script runs every kind of change on a vault. Before each commit it writes
// down what is acknowledged and what will be if it succeeds.
func script(t testing.TB, d disk, w *watch) {
	t.Helper()
	w.inFlight = map[string]string{}
	v := createOn(t, d)
	model := map[string]string{}
	step := func(changes ...Change) {
		next := applyTo(model, changes)
		w.acknowledged, w.inFlight = model, next
		if err := v.Commit(changes...); err != nil {
			t.Fatal(err)
		}
		model = next
		w.acknowledged = model
		w.note(t, v)
	}
	put := func(key string, size int) Change {
		return Change{Key: key, Value: []byte(strings.Repeat(key, size/len(key)+1)[:size])}
	}
	erasable := func(key string, size int) Change {
		c := put(key, size)
		c.Erasable = true
		return c
	}
	step(put("one", 10), erasable("own", 20))
	step(put("two", 700), erasable("three", 0), erasable("own", 30))
	step(Change{Key: "one"}, put("two", 5000), erasable("kept", 40))
	if err := v.Compact(); err != nil {
		t.Fatal(err)
	}
	step(erasable("four", 3), put("own", 7))
	v.Lock()
	if err := v.Unlock(testPass); err != nil {
		t.Fatal(err)
	}
	step(erasable("five", 1500), Change{Key: "three"}, erasable("twice", 1), erasable("twice", 2))
	if err := v.Compact(); err != nil {
		t.Fatal(err)
	}
	step(put("four", 4))
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if len(w.gone) < 4 || len(w.seen) <= len(w.gone) {
		t.Fatalf("%d keys seen, %d erased", len(w.seen), len(w.gone))
	}
}

// TestCrashEverywhere stops the machine at every write, in the middle of it,
// and at every other call, by a kill and by power cuts, and opens what is left:
// it holds what was acknowledged, and the commit in flight whole or not at all.
// No key whose erasure was acknowledged is on the disk at any time, and after
// the next unlock none of a value that is not there.
func TestCrashEverywhere(t *testing.T) {
	const cuts = 6
	d := newMemDisk()
	r := rand.New(rand.NewPCG(1, 2))
	w := &watch{seen: map[[slots.KeySize]byte]bool{}, gone: map[[slots.KeySize]byte]bool{}}
	points := 0
	d.crash = func() {
		points++
		checkCrash(t, r, d.clone(), w)
		for range some(cuts) {
			checkCrash(t, r, d.cutPower(r), w)
		}
	}
	script(t, d, w)
	if points < 150 {
		t.Fatalf("only %d crash points", points)
	}
}

// noKeys fails if one of keys stands in the slot file of d.
func noKeys(t testing.TB, d *memDisk, keys map[[slots.KeySize]byte]bool, but map[[slots.KeySize]byte]bool, when string) {
	t.Helper()
	n := d.names[slotsName]
	if n == nil {
		return
	}
	for _, data := range [][]byte{n.data, n.stable} {
		for at := 0; at+slots.KeySize <= len(data); at += 64 { // as slots lie
			key := [slots.KeySize]byte(data[at:])
			if keys[key] && !but[key] {
				t.Fatalf("%s: the key of an erased value is on the disk", when)
			}
		}
	}
}

func checkCrash(t *testing.T, r *rand.Rand, d *memDisk, watched *watch) {
	t.Helper()
	noKeys(t, d, watched.gone, nil, "after a crash")
	acknowledged := watched.acknowledged
	v, err := unlockOn(d)
	if acknowledged == nil && errors.Is(err, fs.ErrNotExist) {
		v, err = create(d, testPass, Options{Params: testParams}) // it can be begun again
	}
	if err != nil {
		t.Fatalf("after a crash: %v", err)
	}
	got := contents(t, v)
	if !maps.Equal(got, acknowledged) && !maps.Equal(got, watched.inFlight) {
		t.Fatalf("after a crash: %v, want %v or %v", keysOf(got), keysOf(acknowledged), keysOf(watched.inFlight))
	}
	noKeys(t, d, watched.seen, ownKeys(t, v), "after an unlock")
	// What it shows stays, also when the power goes right after a restart.
	cut := d.cutPower(r)
	noKeys(t, cut, watched.seen, ownKeys(t, v), "after an unlock and a power cut")
	after, err := unlockOn(cut)
	if err != nil {
		t.Fatalf("after a crash and a power cut: %v", err)
	}
	if !maps.Equal(contents(t, after), got) {
		t.Fatal("what was shown after a crash is gone after a power cut")
	}
	// It goes on, and what it says then is durable too.
	if err := v.Commit(Change{Key: "after", Value: []byte("the crash"), Erasable: true}); err != nil {
		t.Fatal(err)
	}
	got["after"] = "the crash"
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	w, err := unlockOn(d.cutPower(r))
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(contents(t, w), got) {
		t.Fatalf("a commit after a crash is lost")
	}
}

// TestCrashOfUnlock kills the program everywhere in commits that erase, and
// cuts the power everywhere in the unlock that follows. What that unlock read
// may have been in the cache only: it destroys nothing before it is durable.
func TestCrashOfUnlock(t *testing.T) {
	d := newMemDisk()
	v := createOn(t, d)
	r := rand.New(rand.NewPCG(11, 12))
	model := map[string]string{}
	next, points := model, 0
	d.crash = func() {
		killed := d.clone()
		killed.crash = func() {
			points++
			for range some(3) {
				w, err := unlockOn(killed.cutPower(r))
				if err != nil {
					t.Fatal(err)
				}
				if got := contents(t, w); !maps.Equal(got, model) && !maps.Equal(got, next) {
					t.Fatalf("%v, want %v or %v", keysOf(got), keysOf(model), keysOf(next))
				}
			}
		}
		if _, err := unlockOn(killed); err != nil {
			t.Fatal(err)
		}
	}
	for _, changes := range [][]Change{
		{erasable("a", "1"), erasable("b", "2")},
		{erasable("a", "3")},
		{{Key: "a"}, {Key: "b", Value: []byte("plain")}},
	} {
		next = applyTo(model, changes)
		mustCommit(t, v, changes...)
		model = next
	}
	if points < 100 {
		t.Fatalf("only %d points", points)
	}
}

func keysOf(m map[string]string) string {
	var s strings.Builder
	for k, v := range m {
		fmt.Fprintf(&s, " %s(%d)", k, len(v))
	}
	return s.String()
}

// TestInterruptedCompaction: a crash after the new journal is in place and
// before the old head is gone does not let the old journal come back.
func TestInterruptedCompaction(t *testing.T) {
	d := newMemDisk()
	v := createOn(t, d)
	commit(t, v, "k", "1")
	commit(t, v, "k", "2")
	old := d.clone().names[journalName].data
	renamed := false
	d.before = func(op string) error {
		if op == "write" && renamed {
			return syscall.EIO
		}
		renamed = renamed || op == "rename"
		return nil
	}
	if err := v.Compact(); !errors.Is(err, syscall.EIO) || !renamed {
		t.Fatalf("compact: %v", err)
	}
	d.before = nil
	w, err := unlockOn(d)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, contents(t, w), map[string]string{"k": "2"})
	if _, err := unlockOn(with(d, journalName, func([]byte) []byte { return old })); !errors.Is(err, ErrDamaged) {
		t.Fatalf("the journal from before the compaction: %v", err)
	}
}

// TestFaultEverywhere fails every call of the script in turn, once and from
// then on: nothing that failed is visible, nothing acknowledged is lost, also by a
// power cut afterwards, and the vault works again when the disk does.
func TestFaultEverywhere(t *testing.T) {
	for _, short := range []int{0, 1, 40, 1 << 20}[:some(4)] {
		for _, forever := range []bool{false, true} {
			for n := 0; ; n++ {
				if !faultAt(t, n, short, forever) {
					if n < 28 {
						t.Fatalf("only %d calls", n)
					}
					break
				}
			}
		}
	}
}

// faultAt fails the n-th call; false when the run has fewer.
func faultAt(t *testing.T, n, short int, forever bool) bool {
	d := newMemDisk()
	v := createOn(t, d)
	d.short = short
	calls, failed := 0, ""
	d.before = func(op string) error {
		calls++
		if calls == n+1 || forever && calls > n {
			failed += " " + op
			return syscall.ENOSPC
		}
		return nil
	}
	model, seen := map[string]string{}, map[[slots.KeySize]byte]bool{}
	var doubtful []map[string]string // by a commit that ended in ErrBroken
	for i := range 6 {
		key := fmt.Sprintf("k%d", i%3)
		value := strings.Repeat("x", 100*i)
		next := maps.Clone(model)
		next[key] = value
		err := v.Commit(Change{Key: key, Value: []byte(value), Erasable: i%2 == 0})
		switch {
		case err == nil || errors.Is(err, errUndestroyed):
			model = next
		case errors.Is(err, ErrBroken):
			doubtful = append(doubtful, next)
		case !errors.Is(err, syscall.ENOSPC):
			t.Fatalf("call %d (%s): %v", n, failed, err)
		}
		if i == 3 {
			if err := v.Compact(); err != nil && !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("compact: %v", err)
			}
		}
		if s := v.session; s.journal != nil {
			equal(t, contents(t, v), model)
			maps.Copy(seen, ownKeys(t, v))
		}
	}
	hit := failed != ""
	d.before = nil
	check := func(d *memDisk) {
		t.Helper()
		w, err := unlockOn(d)
		if err != nil {
			t.Fatalf("call %d (%s), short %d: %v", n, failed, short, err)
		}
		got := contents(t, w)
		ok := maps.Equal(got, model)
		for _, m := range doubtful {
			ok = ok || maps.Equal(got, m)
		}
		if !ok {
			t.Fatalf("call %d (%s), short %d: %v, want %v", n, failed, short, keysOf(got), keysOf(model))
		}
		noKeys(t, d, seen, ownKeys(t, w), "after a fault")
		commit(t, w, "again", "works")
	}
	r := rand.New(rand.NewPCG(uint64(n), 5))
	for range some(5) {
		check(d.cutPower(r))
	}
	check(d.clone())
	v.Lock()
	check(d)
	return hit
}

// TestBroken shows the rule of a failed sync: nothing more is taken until
// everything was read afresh, though the disk claims to work again.
func TestBroken(t *testing.T) {
	d := newMemDisk()
	v := createOn(t, d)
	commit(t, v, "k", "before")
	d.before = func(op string) error {
		if op == "sync" {
			return syscall.EIO
		}
		return nil
	}
	if err := v.Commit(Change{Key: "k", Value: []byte("lost")}); !errors.Is(err, ErrBroken) || !errors.Is(err, syscall.EIO) {
		t.Fatalf("failed sync: %v", err)
	}
	d.before = nil
	if err := v.Commit(Change{Key: "k", Value: []byte("later")}); !errors.Is(err, ErrBroken) {
		t.Fatalf("commit after a failed sync: %v", err)
	}
	if err := v.Compact(); !errors.Is(err, ErrBroken) {
		t.Fatalf("compact after a failed sync: %v", err)
	}
	equal(t, contents(t, v), map[string]string{"k": "before"})
	v.Lock()
	if err := v.Unlock(testPass); err != nil {
		t.Fatal(err)
	}
	equal(t, contents(t, v), map[string]string{"k": "before"})
	commit(t, v, "k", "later")
}

// TestFullDisk: a disk that is full for a while costs the commits it
// refused and no others.
func TestFullDisk(t *testing.T) {
	d := newMemDisk()
	d.short = 100
	v := createOn(t, d)
	full := false
	d.before = func(op string) error {
		if full && op == "write" {
			return syscall.ENOSPC
		}
		return nil
	}
	commit(t, v, "k", "1")
	full = true
	for range 3 {
		if err := v.Commit(Change{Key: "k", Value: bytes.Repeat([]byte("2"), 1000)}); !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrBroken) {
			t.Fatalf("full disk: %v", err)
		}
	}
	full = false
	commit(t, v, "k", "3")
	v.Lock()
	if err := v.Unlock(testPass); err != nil {
		t.Fatal(err)
	}
	equal(t, contents(t, v), map[string]string{"k": "3"})
}

// TestForeignWriter: a journal that another program appended to is not
// written over.
func TestForeignWriter(t *testing.T) {
	d := newMemDisk()
	v := createOn(t, d)
	commit(t, v, "k", "1")
	f, err := d.open(journalName)
	if err != nil {
		t.Fatal(err)
	}
	size, err := f.size()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("x"), size); err != nil {
		t.Fatal(err)
	}
	if err := v.Commit(Change{Key: "k", Value: []byte("2")}); !errors.Is(err, ErrBroken) {
		t.Fatalf("journal changed by another: %v", err)
	}
}

// failNth makes the n-th call that changes something fail, counted from 0, and
// tells how many there were.
func failNth(d *memDisk, n int) *int {
	calls := new(int)
	d.before = func(string) error {
		*calls++
		if *calls == n+1 {
			return syscall.EIO
		}
		return nil
	}
	return calls
}

// TestFaultOfCreate: a Create that fails can be tried again, and never leaves
// something that looks like a vault and is none.
func TestFaultOfCreate(t *testing.T) {
	for n := 0; ; n++ {
		d := newMemDisk()
		calls := failNth(d, n)
		_, err := create(d, testPass, Options{Params: testParams})
		if *calls <= n {
			if err != nil || n < 10 {
				t.Fatalf("%d calls, %v", n, err)
			}
			return
		}
		if !errors.Is(err, syscall.EIO) {
			t.Fatalf("call %d failed: %v", n, err)
		}
		d.before = nil
		v, err := unlockOn(d)
		if errors.Is(err, fs.ErrNotExist) {
			v, err = create(d, testPass, Options{Params: testParams})
		}
		if err != nil {
			t.Fatalf("after call %d had failed: %v", n, err)
		}
		commit(t, v, "k", "v")
	}
}

// TestFaultOfUnlock: an Unlock that fails leaves the vault locked and whole.
func TestFaultOfUnlock(t *testing.T) {
	sampled, want := sample(t)
	sampled = with(sampled, journalName, func(b []byte) []byte { return append(b, "torn"...) })
	if err := writeFile(sampled, tempName, []byte("left over")); err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		d := sampled.clone()
		v, err := open(d)
		if err != nil {
			t.Fatal(err)
		}
		calls := failNth(d, n)
		err = v.Unlock(testPass)
		if *calls <= n {
			if err != nil || n < 6 {
				t.Fatalf("%d calls, %v", n, err)
			}
			return
		}
		if !errors.Is(err, syscall.EIO) || !v.Locked() {
			t.Fatalf("call %d failed: %v", n, err)
		}
		d.before = nil
		if err := v.Unlock(testPass); err != nil {
			t.Fatal(err)
		}
		equal(t, contents(t, v), want)
	}
}

func TestNoRandomness(t *testing.T) {
	for n := range idSize + saltSize + keySize {
		d := newMemDisk()
		if _, err := create(d, testPass, Options{Params: testParams, Rand: bytes.NewReader(make([]byte, n))}); err == nil {
			t.Fatalf("a vault from %d random bytes", n)
		}
		if len(d.names) != 0 {
			t.Fatal("files were left")
		}
	}
}
