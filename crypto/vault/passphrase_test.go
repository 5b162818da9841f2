package vault

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"
)

var nextPass = []byte("another six words for the same vault")

// opensWith reports whether a passphrase opens the vault on d, for which it
// leaves d alone.
func opensWith(t testing.TB, d *memDisk, passphrase []byte) bool {
	t.Helper()
	v, err := open(d.clone())
	if err != nil {
		t.Fatal(err)
	}
	err = v.Unlock(passphrase)
	if err != nil && !errors.Is(err, ErrPassphrase) {
		t.Fatal(err)
	}
	if err == nil {
		equal(t, contents(t, v), map[string]string{"k": "v"})
	}
	return err == nil
}

func TestChangePassphrase(t *testing.T) {
	d := newMemDisk()
	v := createOn(t, d)
	commit(t, v, "k", "v")
	earlier := d.clone()
	if err := v.ChangePassphrase(nextPass, testPass); !errors.Is(err, ErrPassphrase) {
		t.Fatalf("by a wrong passphrase: %v", err)
	}
	if err := v.ChangePassphrase(testPass, []byte("short")); err == nil {
		t.Fatal("a short passphrase was taken")
	}
	if err := v.ChangePassphrase(testPass, nextPass); err != nil {
		t.Fatal(err)
	}
	if err := v.CheckPassphrase(testPass); !errors.Is(err, ErrPassphrase) {
		t.Fatalf("the old passphrase: %v", err)
	}
	if opensWith(t, d, testPass) || !opensWith(t, d, nextPass) {
		t.Fatal("on the disk the old passphrase opens, or the new one does not")
	}
	old := earlier.names[headerName].data
	if bytes.Contains(d.names[headerName].data, old[headerSize-100:headerSize]) {
		t.Fatal("the old header is on the disk")
	}
	// What the documentation states: an earlier copy of the header and the old
	// passphrase open what is there now.
	if !opensWith(t, with(d, headerName, func([]byte) []byte { return old }), testPass) {
		t.Fatal("the master key has changed: say so in ChangePassphrase")
	}
	// Locked, and again.
	v.Lock()
	if err := v.ChangePassphrase(nextPass, testPass); err != nil || !v.Locked() {
		t.Fatalf("on a locked vault: %v", err)
	}
	if err := v.Unlock(testPass); err != nil {
		t.Fatal(err)
	}
	if a, b := v.headers.current.salt, [saltSize]byte{}; a == b || v.headers.current.generation != 2 {
		t.Fatalf("generation %d", v.headers.current.generation)
	}
}

// TestCrashOfChange stops the machine everywhere in a change of passphrase:
// one of the two always opens everything, and whichever was used is the only
// one from then on, whatever happens next.
func TestCrashOfChange(t *testing.T) {
	t.Parallel()
	d := newMemDisk()
	v := createOn(t, d)
	commit(t, v, "k", "v")
	r := rand.New(rand.NewPCG(5, 6))
	outcomes := map[[2]bool]int{}
	d.crash = func() {
		disks := []*memDisk{d.clone()}
		for range some(10) {
			disks = append(disks, d.cutPower(r))
		}
		for _, c := range disks {
			old, new := opensWith(t, c, testPass), opensWith(t, c, nextPass)
			outcomes[[2]bool{old, new}]++
			for _, in := range []struct {
				opens       bool
				used, other []byte
			}{{old, testPass, nextPass}, {new, nextPass, testPass}} {
				if in.opens {
					settleBy(t, r, c.clone(), in.used, in.other)
				}
			}
		}
	}
	if err := v.ChangePassphrase(testPass, nextPass); err != nil {
		t.Fatal(err)
	}
	d.crash = nil
	if outcomes[[2]bool{false, false}] > 0 {
		t.Fatalf("nothing opened after a crash: %v", outcomes)
	}
	if outcomes[[2]bool{true, false}] == 0 || outcomes[[2]bool{true, true}] == 0 || outcomes[[2]bool{false, true}] == 0 {
		t.Fatalf("the crashes are too few to show anything: %v", outcomes)
	}
}

// settleBy unlocks a half-changed vault, with the power cut at every point of
// it, and checks that the other passphrase is dead after.
func settleBy(t *testing.T, r *rand.Rand, d *memDisk, used, other []byte) {
	t.Helper()
	v, err := open(d)
	if err != nil {
		t.Fatal(err)
	}
	d.crash = func() {
		c := d.cutPower(r)
		if !opensWith(t, c, used) && !opensWith(t, c, other) {
			t.Fatal("nothing opens after a crash of the unlock that follows a crash")
		}
	}
	if err := v.Unlock(used); err != nil {
		t.Fatal(err)
	}
	d.crash = nil
	for range some(3) {
		c := d.cutPower(r)
		if !opensWith(t, c, used) || opensWith(t, c, other) {
			t.Fatal("after an unlock the other passphrase opens, or the one that was used does not")
		}
	}
}

// TestFaultOfChange fails every call of a change: what the error says is true,
// at once and after a restart.
func TestFaultOfChange(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for n := 0; ; n++ {
		for _, short := range []int{0, 100, 1 << 20} {
			d := newMemDisk()
			v := createOn(t, d)
			commit(t, v, "k", "v")
			d.short = short
			calls := failNth(d, n)
			err := v.ChangePassphrase(testPass, nextPass)
			d.before = nil
			if *calls <= n {
				if err != nil || n < 4 {
					t.Fatalf("%d calls, %v", n, err)
				}
				return
			}
			if !errors.Is(err, syscall.EIO) {
				t.Fatalf("call %d failed: %v", n, err)
			}
			for range 5 {
				c := d.cutPower(r)
				if !opensWith(t, c, testPass) && !opensWith(t, c, nextPass) {
					t.Fatalf("call %d failed: nothing opens after a power cut", n)
				}
			}
			used, other := testPass, nextPass
			if err := v.CheckPassphrase(used); errors.Is(err, ErrPassphrase) {
				used, other = other, used
				err = v.CheckPassphrase(used)
				if err != nil {
					t.Fatalf("call %d failed: %v", n, err)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			if c := d.cutPower(r); !opensWith(t, c, used) || opensWith(t, c, other) {
				t.Fatalf("call %d failed: it is not settled", n)
			}
			if err := v.ChangePassphrase(used, []byte("a third one, for good measure")); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestRaise: an unlock lifts the recorded costs, once, and never lowers them.
func TestRaise(t *testing.T) {
	d := newMemDisk()
	v := createOn(t, d)
	commit(t, v, "k", "v")
	higher := Params{MemoryKiB: 64, Time: 2, Threads: 7}
	if err := v.Raise(Params{}); err == nil {
		t.Fatal("impossible costs were taken")
	}
	if err := v.Raise(higher); err != nil {
		t.Fatal(err)
	}
	v.Lock()
	if err := v.Unlock(nextPass); !errors.Is(err, ErrPassphrase) || v.Params() != testParams {
		t.Fatalf("a wrong passphrase raised the costs: %v, %+v", err, v.Params())
	}
	want := Params{MemoryKiB: 64, Time: 2, Threads: testParams.Threads}
	for range 2 {
		if err := v.Unlock(testPass); err != nil {
			t.Fatal(err)
		}
		if v.Params() != want || v.headers.current.generation != 1 {
			t.Fatalf("%+v, generation %d", v.Params(), v.headers.current.generation)
		}
	}
	if err := v.Raise(testParams); err != nil {
		t.Fatal(err)
	}
	if err := v.Unlock(testPass); err != nil || v.Params() != want {
		t.Fatalf("lowered: %+v, %v", v.Params(), err)
	}
	w, err := unlockOn(d)
	if err != nil || w.Params() != want {
		t.Fatalf("recorded: %v", err)
	}
	equal(t, contents(t, w), map[string]string{"k": "v"})
	// A disk that fails costs the raise, not the unlock.
	if err := w.Raise(Params{MemoryKiB: 64, Time: 3, Threads: 1}); err != nil {
		t.Fatal(err)
	}
	d.before = func(op string) error {
		if op == "sync" {
			return syscall.EIO
		}
		return nil
	}
	if err := w.Unlock(testPass); err != nil {
		t.Fatalf("an unlock whose raise fails: %v", err)
	}
	if st, err := w.Stats(); err != nil || !errors.Is(st.Raise, syscall.EIO) {
		t.Fatalf("%+v, %v", st, err)
	}
	d.before = nil
	if err := w.Unlock(testPass); err != nil || w.Params().Time != 3 {
		t.Fatalf("the next unlock raises: %+v, %v", w.Params(), err)
	}
	if st, err := w.Stats(); err != nil || st.Raise != nil {
		t.Fatalf("%+v, %v", st, err)
	}
}

// TestRaiseToTheFloor: a weak vault that is raised is no weak one any more.
func TestRaiseToTheFloor(t *testing.T) {
	d := newMemDisk()
	v := createOn(t, d)
	if err := v.Raise(DefaultParams()); err != nil {
		t.Fatal(err)
	}
	if err := v.Unlock(testPass); err != nil {
		t.Fatal(err)
	}
	if v.Params().Weak() {
		t.Fatalf("%+v", v.Params())
	}
	if hs, err := readHeaders(d); err != nil || !hs.alike || hs.current.flags != 0 {
		t.Fatalf("%+v, %v", hs, err)
	}
}

func TestCalibrate(t *testing.T) {
	for _, in := range []struct {
		took, target time.Duration
		passes       uint32
	}{
		{100 * time.Millisecond, time.Second, 30},
		{100 * time.Millisecond, 10 * time.Millisecond, 3}, // never below the default
		{time.Second, time.Hour, maxTime},
	} {
		now := noon
		clock := func() time.Time {
			now = now.Add(in.took)
			return now
		}
		want := DefaultParams()
		want.Time = in.passes
		if got := Calibrate(in.target, clock); got != want || got.check() != nil {
			t.Errorf("%+v: %+v", in, got)
		}
	}
}

// TestHeaderCopies: every combination of whole and torn copies opens or says
// that it is damaged.
func TestHeaderCopies(t *testing.T) {
	d, want := sample(t)
	torn := func(at ...int) *memDisk {
		return with(d, headerName, func(b []byte) []byte {
			for _, i := range at {
				b[i+50] ^= 1
			}
			return b
		})
	}
	for _, at := range []int{0, headerSpacing} {
		c := torn(at)
		v, err := unlockOn(c)
		if err != nil {
			t.Fatalf("copy at %d torn: %v", at, err)
		}
		equal(t, contents(t, v), want)
		if !bytes.Equal(c.names[headerName].stable, d.names[headerName].data) {
			t.Fatalf("copy at %d was not repaired", at)
		}
	}
	if _, err := unlockOn(torn(0, headerSpacing)); !errors.Is(err, ErrDamaged) {
		t.Fatalf("both copies torn: %v", err)
	}
	other, _ := sample(t)
	if _, err := unlockOn(with(d, headerName, func(b []byte) []byte {
		return append(b[:headerSpacing], other.names[headerName].data[headerSpacing:]...)
	})); !errors.Is(err, ErrDamaged) {
		t.Fatalf("copies of two vaults: %v", err)
	}
}

func FuzzHeaders(f *testing.F) {
	d, _ := sample(f)
	f.Add(d.names[headerName].data)
	f.Add(d.names[headerName].data[:headerSize])
	f.Fuzz(func(t *testing.T, b []byte) {
		hs, err := parseHeaders(b)
		if err != nil {
			return
		}
		at := b[hs.place*headerSpacing:]
		if !bytes.Equal(hs.current.marshal(), at[:headerSize]) {
			t.Fatal("the current header is not where it is said to be")
		}
		if hs.alike && !bytes.Equal(b[:headerSize], b[headerSpacing:]) {
			t.Fatal("alike, and the copies differ")
		}
	})
}
