package vault

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	testPIN  = []byte("271828")
	wrongPIN = []byte("314159")
	noon     = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
)

// pinned returns an unlocked vault with a PIN and one value.
func pinned(t testing.TB) (*memDisk, *Vault) {
	t.Helper()
	d := newMemDisk()
	v := createOn(t, d)
	commit(t, v, "k", "v")
	if err := v.SetPIN(testPIN); err != nil {
		t.Fatal(err)
	}
	return d, v
}

// fail tries a wrong PIN and returns what it says.
func fail(t testing.TB, v *Vault, now time.Time) *PINError {
	t.Helper()
	err := v.UnlockPIN(wrongPIN, now)
	var wrong *PINError
	if !errors.As(err, &wrong) || !errors.Is(err, ErrPIN) {
		t.Fatalf("a wrong PIN: %v", err)
	}
	return wrong
}

func TestPINUnlocks(t *testing.T) {
	d, v := pinned(t)
	for range 3 { // the warm slot serves more than one lock
		v.Lock()
		if _, _, err := v.Get("k"); !errors.Is(err, ErrLocked) {
			t.Fatalf("locked: %v", err)
		}
		if st := v.PIN(noon); !st.Set || !st.Usable || st.Left != MaxTries || st.Err != nil || !v.HasPIN() {
			t.Fatalf("%+v", st)
		}
		if err := v.UnlockPIN(testPIN, noon); err != nil {
			t.Fatal(err)
		}
		equal(t, contents(t, v), map[string]string{"k": "v"})
	}
	if err := v.UnlockPIN(testPIN, noon); err != nil {
		t.Fatalf("a right PIN on an unlocked vault: %v", err)
	}
	commit(t, v, "k", "still writable")

	// The PIN is no value of callers'.
	if _, ok, err := v.Get(pinKey); ok || err != nil {
		t.Fatalf("Get of the PIN: %v, %v", ok, err)
	}
	if err := v.Commit(Change{Key: pinKey, Value: wrongPIN}); err == nil {
		t.Fatal("a commit of the PIN")
	}
	if st, err := v.Stats(); err != nil || st.Keys != 1 || st.Erasable != 0 {
		t.Fatalf("%+v, %v", st, err)
	}

	// A new start, and a new passphrase, leave it to the passphrase first.
	w, err := open(d)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.UnlockPIN(testPIN, noon); !errors.Is(err, ErrNoPIN) || w.HasPIN() {
		t.Fatalf("cold start: %v", err)
	}
	if err := w.Unlock(testPass); err != nil {
		t.Fatal(err)
	}
	if err := w.CheckPIN(testPIN, noon); err != nil {
		t.Fatal(err)
	}
	if err := w.ClearPIN(); err != nil {
		t.Fatal(err)
	}
	w.Lock()
	if err := w.UnlockPIN(testPIN, noon); !errors.Is(err, ErrNoPIN) {
		t.Fatalf("a PIN that was cleared: %v", err)
	}
}

// TestPINAttempts is protocol §9 in order: five tries, then back-off, and the
// tenth failure leaves the passphrase, which finds every message.
func TestPINAttempts(t *testing.T) {
	_, v := pinned(t)
	v.Lock()
	now := noon
	waits := []time.Duration{0, 0, 0, 0, 30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 0}
	for i, want := range waits {
		wrong := fail(t, v, now)
		if wrong.Left != MaxTries-1-i || wrong.Wait != want {
			t.Fatalf("failure %d: %+v, want %v to wait", i+1, wrong, want)
		}
		if want == 0 {
			continue
		}
		for _, early := range []time.Duration{0, want - 1} {
			var soon *BackoffError
			err := v.UnlockPIN(testPIN, now.Add(early))
			if !errors.As(err, &soon) || !errors.Is(err, ErrBackoff) || soon.Wait != want-early || !v.Locked() {
				t.Fatalf("the right PIN %v after failure %d: %v", early, i+1, err)
			}
		}
		if st := v.PIN(now); st.Failures != i+1 || st.Wait != want {
			t.Fatalf("%+v", st)
		}
		now = now.Add(want)
	}
	if v.warm != nil {
		t.Fatal("the warm slot is there after ten failures")
	}
	if err := v.UnlockPIN(testPIN, now.Add(time.Hour)); !errors.Is(err, ErrNoPIN) {
		t.Fatalf("the right PIN after ten failures: %v", err)
	}
	if err := v.Unlock(testPass); err != nil {
		t.Fatal(err)
	}
	equal(t, contents(t, v), map[string]string{"k": "v"}) // it cost no message
	v.Lock()
	if err := v.UnlockPIN(testPIN, now); err != nil {
		t.Fatalf("the PIN after the passphrase was right: %v", err)
	}
}

// TestPINSuccessForgives: failures count in a row only.
func TestPINSuccessForgives(t *testing.T) {
	d, v := pinned(t)
	for range 4 {
		v.Lock()
		for range freeTries - 1 {
			fail(t, v, noon)
		}
		if err := v.UnlockPIN(testPIN, noon); err != nil {
			t.Fatal(err)
		}
		if again, err := readTries(d); err != nil || again.failures != 0 {
			t.Fatalf("on the disk: %+v, %v", again, err)
		}
	}
	v.Lock()
	fail(t, v, noon)
	if err := v.CheckPassphrase(testPass); err != nil {
		t.Fatal(err)
	}
	if st := v.PIN(noon); st.Failures != 0 || !v.Locked() {
		t.Fatalf("%+v", st)
	}
}

// TestClockSetBack: a wait begins anew, and is never longer than it is.
func TestClockSetBack(t *testing.T) {
	_, v := pinned(t)
	v.Lock()
	for range freeTries {
		fail(t, v, noon)
	}
	past := noon.Add(-24 * time.Hour)
	if err := v.UnlockPIN(testPIN, past); !errors.Is(err, ErrBackoff) {
		t.Fatalf("with the clock set back: %v", err)
	}
	if err := v.UnlockPIN(testPIN, past.Add(firstWait)); err != nil {
		t.Fatalf("after the whole wait by the new clock: %v", err)
	}
}

// TestTryIsCountedBeforeItIsMade: when a machine stops at any point of a try,
// the disk has counted it unless nothing was tried, and a try that cannot be
// counted is not made.
func TestTryIsCountedBeforeItIsMade(t *testing.T) {
	d, v := pinned(t)
	v.Lock()
	r := rand.New(rand.NewPCG(3, 4))
	made := false
	d.crash = func() {
		for range 20 {
			got, err := readTries(d.cutPower(r))
			if err != nil || got.failures > MaxTries || made && got.failures == 0 {
				t.Fatalf("%d failures on the disk, made: %v, %v", got.failures, made, err)
			}
		}
	}
	for i := range 3 {
		fail(t, v, noon)
		made = true
		if got, err := readTries(d.cutPower(r)); err != nil || got.failures != i+1 {
			t.Fatalf("after %d failures the disk says %d, %v", i+1, got.failures, err)
		}
	}
	d.crash = nil
	for _, op := range []string{"write", "sync"} {
		d.before = func(o string) error {
			if o == op {
				return syscall.EIO
			}
			return nil
		}
		for range 2 * MaxTries { // a bad disk uses no tries up
			if err := v.UnlockPIN(testPIN, noon); !errors.Is(err, syscall.EIO) || !v.Locked() {
				t.Fatalf("a try that could not be counted (%s): %v", op, err)
			}
			if err := v.CheckPIN(testPIN, noon); !errors.Is(err, syscall.EIO) {
				t.Fatalf("a try that could not be counted (%s) was made: %v", op, err)
			}
		}
		if st := v.PIN(noon); st.Failures != 3 {
			t.Fatalf("%+v", st)
		}
	}
	d.before = nil
	if err := v.UnlockPIN(testPIN, noon); err != nil {
		t.Fatal(err)
	}
}

// TestTriesDamaged: a counter that is lost or torn costs the PIN until the
// passphrase was right, and no more.
func TestTriesDamaged(t *testing.T) {
	sampled, v := pinned(t)
	v.Lock()
	fail(t, v, noon)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	flip := func(at ...int) func([]byte) []byte {
		return func(b []byte) []byte {
			for _, i := range at {
				b[i] ^= 1
			}
			return b
		}
	}
	for name, in := range map[string]struct {
		change   func([]byte) []byte
		failures int
	}{
		"newest place torn": {flip(triesSpacing), 0},
		"older place torn":  {flip(0), 1},
		"both torn":         {flip(0, triesSpacing), MaxTries},
		"empty":             {func([]byte) []byte { return nil }, MaxTries},
	} {
		d := with(sampled, triesName, in.change)
		w, err := open(d)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if st := w.PIN(noon); st.Failures != in.failures {
			t.Errorf("%s: %+v", name, st)
		}
		checkPINAfter(t, w, name)
	}
	d := sampled.clone()
	delete(d.names, triesName)
	w, err := open(d)
	if err != nil || !w.tries.spent() {
		t.Fatalf("without the file: %v, %+v", err, w.tries)
	}
	checkPINAfter(t, w, "without the file")
	if got, err := readTries(d); err != nil || got.failures != 0 {
		t.Fatalf("the counter was not made anew: %+v, %v", got, err)
	}
}

func checkPINAfter(t *testing.T, w *Vault, name string) {
	t.Helper()
	if err := w.Unlock(testPass); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	equal(t, contents(t, w), map[string]string{"k": "v"})
	w.Lock()
	if err := w.UnlockPIN(testPIN, noon); err != nil {
		t.Errorf("%s: the PIN after the passphrase: %v", name, err)
	}
}

// TestLockHard is the end of a lease: no PIN opens what it locked.
func TestLockHard(t *testing.T) {
	for _, lockedBefore := range []bool{false, true} {
		_, v := pinned(t)
		if lockedBefore {
			v.Lock()
		}
		v.LockHard()
		if err := v.UnlockPIN(testPIN, noon); !errors.Is(err, ErrNoPIN) || !v.Locked() || v.HasPIN() {
			t.Fatalf("a PIN after a hard lock: %v", err)
		}
		if err := v.Unlock(testPass); err != nil {
			t.Fatal(err)
		}
		v.Lock()
		if err := v.UnlockPIN(testPIN, noon); err != nil {
			t.Fatalf("after the passphrase the PIN works again: %v", err)
		}
	}
}

// TestCheckPIN: re-authentication counts as a try, on an unlocked vault too,
// and changes nothing else.
func TestCheckPIN(t *testing.T) {
	for _, locked := range []bool{false, true} {
		t.Run(fmt.Sprintf("locked %v", locked), func(t *testing.T) {
			_, v := pinned(t)
			if locked {
				v.Lock()
			}
			if err := v.CheckPIN(testPIN, noon); err != nil || v.Locked() != locked {
				t.Fatalf("right: %v", err)
			}
			now := noon
			for i := range MaxTries {
				var wrong *PINError
				if err := v.CheckPIN(wrongPIN, now); !errors.As(err, &wrong) || wrong.Left != MaxTries-1-i {
					t.Fatalf("failure %d: %v", i+1, err)
				}
				now = now.Add(wrong.Wait)
			}
			if err := v.CheckPIN(testPIN, now); !errors.Is(err, ErrNoPIN) || v.Locked() != locked {
				t.Fatalf("after ten failures: %v", err)
			}
			if !locked {
				equal(t, contents(t, v), map[string]string{"k": "v"})
				v.Lock()
				if err := v.UnlockPIN(testPIN, now); !errors.Is(err, ErrNoPIN) {
					t.Fatalf("a lock after ten failures made a warm slot: %v", err)
				}
			}
			if err := v.CheckPassphrase([]byte("not the passphrase")); !errors.Is(err, ErrPassphrase) {
				t.Fatal(err)
			}
			if v.HasPIN() {
				t.Fatal("a wrong passphrase brought the PIN back")
			}
		})
	}
}

// TestPINNeedsTheSecret: the files and the PIN open nothing, and of the slot
// only its ciphertext is not enough either.
func TestPINNeedsTheSecret(t *testing.T) {
	_, v := pinned(t)
	v.Lock()
	clear(v.warm.page.b)
	if err := v.UnlockPIN(testPIN, noon); !errors.Is(err, ErrPIN) {
		t.Fatalf("the right PIN without the secret: %v", err)
	}
}

// TestReplacedPINIsDestroyed: an old PIN neither opens nor stays.
func TestReplacedPINIsDestroyed(t *testing.T) {
	d, v := pinned(t)
	v.Lock() // there is a warm slot for the old one
	if err := v.UnlockPIN(testPIN, noon); err != nil {
		t.Fatal(err)
	}
	old := ownKeys(t, v)
	if err := v.SetPIN([]byte("161803")); err != nil {
		t.Fatal(err)
	}
	noKeys(t, d, old, nil, "after SetPIN")
	v.Lock()
	fail(t, v, noon)
	if err := v.UnlockPIN(testPIN, noon); !errors.Is(err, ErrPIN) {
		t.Fatalf("the old PIN: %v", err)
	}
	if err := v.UnlockPIN([]byte("161803"), noon); err != nil {
		t.Fatal(err)
	}
}

func TestPINRefused(t *testing.T) {
	_, v := pinned(t)
	for _, pin := range []string{"", "12345", "111111", "123456", "98765432", strings.Repeat("19", 33)} {
		if err := v.SetPIN([]byte(pin)); err == nil {
			t.Errorf("PIN %q was taken", pin)
		}
	}
	v.Lock()
	if err := v.SetPIN(testPIN); !errors.Is(err, ErrLocked) {
		t.Errorf("SetPIN while locked: %v", err)
	}
	if err := v.ClearPIN(); !errors.Is(err, ErrLocked) {
		t.Errorf("ClearPIN while locked: %v", err)
	}
	if err := v.UnlockPIN(bytes.Repeat(testPIN, 1000), noon); !errors.Is(err, ErrPIN) {
		t.Errorf("a long PIN: %v", err)
	}
	for _, e := range []error{&PINError{0, 0}, &PINError{3, time.Minute}, &PINError{7, 0}, &BackoffError{time.Minute}} {
		if !strings.HasPrefix(e.Error(), "vault: ") {
			t.Errorf("%q", e)
		}
	}
}

func FuzzTries(f *testing.F) {
	f.Add((&tries{7, 3, noon}).marshal())
	f.Add(new(tries).marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == triesSize { // past the checksum
			sum := sha256.Sum256(b[:triesSize-sha256.Size])
			copy(b[triesSize-sha256.Size:], sum[:])
		}
		got, ok := parseTries(b)
		if !ok {
			return
		}
		if !bytes.Equal(got.marshal(), b) || got.failures > MaxTries {
			t.Fatalf("%+v", got)
		}
	})
}
