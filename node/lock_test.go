package node

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"tocsin/node/message"
)

const testPIN = "274961"

// withPIN sets the PIN of an unlocked node.
func withPIN(t testing.TB, n *Node) {
	t.Helper()
	check(t, n.SetPIN(t.Context(), token(t, n), []byte(testPIN)))
}

// token is a fresh one of n.
func token(t testing.TB, n *Node) string {
	t.Helper()
	r, err := n.Reauth(t.Context(), Secret{Passphrase: []byte(passphrase)})
	check(t, err)
	return r.Token
}

// locked lets time pass until n has locked itself.
func locked(t testing.TB, clock *testClock, n *Node) {
	t.Helper()
	clock.pass(t, "it is locked", 10*time.Second, func() bool { return n.Status().Locked })
}

func TestIdleDeviceLocksItself(t *testing.T) {
	t.Parallel()
	var clock testClock
	a := newWorld(t).enrol("Amal", orgHospital).start(t, withClock(&clock), func(c *Config) { c.IdleLock = 0 })
	withPIN(t, a)
	for range 3 { // touched every four minutes, for twelve
		clock.step(4 * time.Minute)
		if a.Status().Locked {
			t.Fatal("locked although it was touched four minutes ago")
		}
		a.Touch()
	}
	clock.step(defaultIdleLock + time.Second)
	locked(t, &clock, a)
	if s := a.Status(); !s.HasPIN || !s.PINReady || s.PINAttempts != 10 || s.IdleLockSeconds != 300 {
		t.Errorf("status of an idle device: %+v", s)
	}
	check(t, a.UnlockPIN(t.Context(), []byte(testPIN)))
	a.idle.last.Store(clock.Now().Add(24 * time.Hour).UnixNano()) // the clock was set back by a day
	clock.pass(t, "it notices", time.Minute, func() bool { return !time.Unix(0, a.idle.last.Load()).After(clock.Now()) })
	clock.step(defaultIdleLock + time.Second)
	locked(t, &clock, a)
}

func TestIdleLockCanBeOff(t *testing.T) {
	t.Parallel()
	var clock testClock
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t, withClock(&clock))
	clock.step(12 * time.Hour)
	if a.lockDue(); a.Status().Locked {
		t.Error("locked although it never should")
	}
}

// TestLeaseEndLocksAnIsolatedDevice: a stolen device that meets nobody takes its
// PIN for a week and only its passphrase after; nothing is erased.
func TestLeaseEndLocksAnIsolatedDevice(t *testing.T) {
	t.Parallel()
	var clock testClock
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t, withClock(&clock))
	g := makeGroup(t, a)
	say(t, a, g, "kept")
	withPIN(t, a)
	check(t, a.Lock())
	clock.step(6 * 24 * time.Hour)
	check(t, a.UnlockPIN(t.Context(), []byte(testPIN))) // which begins a new lease
	check(t, a.Lock())
	clock.step(6 * 24 * time.Hour)
	if s := a.Status(); !s.PINReady || s.LeaseEnded {
		t.Fatalf("a day before the end of the lease: %+v", s)
	}
	clock.step(25 * time.Hour)
	clock.pass(t, "the lease ends", time.Minute, func() bool { return a.Status().LeaseEnded })
	if s := a.Status(); s.PINReady || s.HasPIN {
		t.Errorf("the PIN can still be tried: %+v", s)
	}
	if err := a.UnlockPIN(t.Context(), []byte(testPIN)); !errors.Is(err, ErrNoPIN) {
		t.Fatalf("the PIN after the lease: %v", err)
	}
	check(t, a.Unlock(t.Context(), []byte(passphrase)))
	shows(t, a, g, "kept")
	if a.Status().LeaseEnded {
		t.Error("the passphrase began no new lease")
	}
}

// TestLeaseIsRenewedWhileUnlocked: a device that is used for longer than a lease
// keeps its PIN when it is locked then.
func TestLeaseIsRenewedWhileUnlocked(t *testing.T) {
	t.Parallel()
	var clock testClock
	a := newWorld(t).enrol("Amal", orgHospital).start(t, withClock(&clock))
	withPIN(t, a)
	for range 8 {
		clock.by.Add(int64(24*time.Hour + time.Minute))
		a.mu.Lock()
		a.lease.run += 24 * time.Hour // as the loop counts it
		check(t, a.upkeep(t.Context(), upkeepInterval))
		a.mu.Unlock()
	}
	check(t, a.Lock())
	if s := a.Status(); !s.PINReady || s.LeaseEnded {
		t.Errorf("locked after eight days of work: %+v", s)
	}
	check(t, a.UnlockPIN(t.Context(), []byte(testPIN)))
}

// TestLeaseCountsTimeBetweenWakes: who wakes the loop again and again, by locking
// and unlocking, stops no time.
func TestLeaseCountsTimeBetweenWakes(t *testing.T) {
	t.Parallel()
	var clock testClock
	a := newWorld(t).enrol("Amal", orgHospital).start(t, withClock(&clock))
	check(t, a.Lock())
	for want := 30 * time.Second; want <= 10*30*time.Second; want += 30 * time.Second {
		clock.by.Add(int64(30 * time.Second)) // less than the loop waits, and no wait ends
		a.lockSoon()
		eventually(t, "the time is counted", func() bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.lease.run >= want
		})
	}
}

// TestLeaseCountsRunningTime: setting the clock back does not lengthen it.
func TestLeaseCountsRunningTime(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	l := lease{until: start.Add(ticketLife)}
	l.run = 6 * 24 * time.Hour
	if left := l.left(start.Add(-365 * 24 * time.Hour)); left != 24*time.Hour {
		t.Errorf("a clock set back by a year leaves %v", left)
	}
	if left := l.left(start.Add(6*24*time.Hour + 23*time.Hour)); left != time.Hour {
		t.Errorf("an hour before the end: %v", left)
	}
}

// TestTenWrongPINsCostNoMessage: the PIN is gone, and all else is there.
func TestTenWrongPINsCostNoMessage(t *testing.T) {
	t.Parallel()
	var clock testClock
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t, withClock(&clock))
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a))
	ready(t, 1, a, b)
	g := makeGroup(t, a, b)
	inGroup(t, g, b)
	withPIN(t, a)
	check(t, a.Lock())
	say(t, b, g, "while it is fumbled with")
	wrong, early := 0, 0
	for wrong < 10 {
		var pin *PINError
		err := a.UnlockPIN(t.Context(), []byte("111222"))
		switch {
		case errors.As(err, &pin):
			if wrong++; pin.Left != 10-wrong {
				t.Fatalf("after %d wrong PINs %d are left", wrong, pin.Left)
			}
		case errors.Is(err, ErrBackoff):
			if early++; early > 50 {
				t.Fatal("the wait never ends")
			}
			clock.step(time.Hour)
		default:
			t.Fatalf("a wrong PIN: %v", err)
		}
	}
	if early == 0 {
		t.Error("ten wrong PINs without a wait")
	}
	if err := a.UnlockPIN(t.Context(), []byte(testPIN)); !errors.Is(err, ErrNoPIN) {
		t.Fatalf("the right PIN after ten wrong ones: %v", err)
	}
	check(t, a.Unlock(t.Context(), []byte(passphrase)))
	shows(t, a, g, "while it is fumbled with")
}

// TestReauthIsNeeded: every call that changes who somebody is, or destroys, asks
// for a token, which is used up and does not last.
func TestReauthIsNeeded(t *testing.T) {
	t.Parallel()
	var clock testClock
	a := newWorld(t).enrol("Amal", orgHospital).start(t, withClock(&clock))
	g := makeGroup(t, a)
	m := say(t, a, g, "x")
	ctx := t.Context()
	calls := map[string]func(string) error{
		"set PIN":   func(tok string) error { return a.SetPIN(ctx, tok, []byte(testPIN)) },
		"clear PIN": func(tok string) error { return a.ClearPIN(ctx, tok) },
		"erase":     func(tok string) error { _, err := a.EraseMessages(ctx, tok, g, m.ID); return err },
		"sponsor revoke": func(tok string) error {
			_, err := a.RevokeSponsored(ctx, tok, a.self.String())
			return err
		},
		"wipe": func(tok string) error { return a.WipeSelf(ctx, tok) },
	}
	used := token(t, a)
	check(t, calls["set PIN"](used))
	old := token(t, a)
	clock.by.Add(int64(reauthLife + time.Second))
	beforeLock := token(t, a)
	check(t, a.Lock())
	check(t, a.Unlock(ctx, []byte(passphrase)))
	for name, call := range calls {
		for what, tok := range map[string]string{"none": "", "wrong": "00", "used": used, "old": old, "from before a lock": beforeLock} {
			if err := call(tok); !errors.Is(err, ErrReauth) {
				t.Errorf("%s with a token that is %s: %v", name, what, err)
			}
		}
	}
	if _, err := a.Reauth(ctx, Secret{Passphrase: []byte("wrong wrong wrong")}); !errors.Is(err, ErrPassphrase) {
		t.Errorf("a wrong passphrase: %v", err)
	}
	if _, err := a.Reauth(ctx, Secret{PIN: []byte("111222")}); !errors.Is(err, ErrPIN) {
		t.Errorf("a wrong PIN: %v", err)
	}
	if _, err := a.Reauth(ctx, Secret{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("nothing: %v", err)
	}
	byPIN, err := a.Reauth(ctx, Secret{PIN: []byte(testPIN)})
	check(t, err)
	check(t, calls["clear PIN"](byPIN.Token))
	check(t, a.Lock())
	if _, err := a.Reauth(ctx, Secret{Passphrase: []byte(passphrase)}); !errors.Is(err, ErrLocked) {
		t.Errorf("a locked device: %v", err)
	}
	if err := a.UnlockPIN(ctx, []byte(testPIN)); !errors.Is(err, ErrNoPIN) {
		t.Errorf("a PIN that was cleared: %v", err)
	}
}

func TestPassphraseChange(t *testing.T) {
	t.Parallel()
	m := newWorld(t).enrol("Amal", orgHospital)
	const next = "garden harbour island jacket kettle ladder"
	t.Run("change", func(t *testing.T) {
		a := m.start(t)
		if err := a.ChangePassphrase(t.Context(), []byte(next), []byte(next)); !errors.Is(err, ErrPassphrase) {
			t.Fatalf("with a wrong old passphrase: %v", err)
		}
		if err := a.ChangePassphrase(t.Context(), []byte(passphrase), []byte("short")); !errors.Is(err, ErrInvalid) {
			t.Fatalf("to a short one: %v", err)
		}
		check(t, a.ChangePassphrase(t.Context(), []byte(passphrase), []byte(next)))
		check(t, a.Lock())
		if err := a.Unlock(t.Context(), []byte(passphrase)); !errors.Is(err, ErrPassphrase) {
			t.Fatalf("the old passphrase: %v", err)
		}
		check(t, a.Unlock(t.Context(), []byte(next)))
	})
}

// restingClock stands still, so that the drain rests before every turn but its first; once it is held, for ever.
type restingClock struct {
	Clock
	at    time.Time
	held  atomic.Bool
	rests atomic.Int64 // of the drain, begun since then
}

func (c *restingClock) Now() time.Time { return c.at }

func (c *restingClock) After(d time.Duration) <-chan time.Time {
	if d == drainPause && c.held.Load() {
		c.rests.Add(1)
		return nil
	}
	return c.Clock.After(d)
}

// TestOwnMessageIsShownWhenSendReturns: a sender need not wait for the drain.
func TestOwnMessageIsShownWhenSendReturns(t *testing.T) {
	t.Parallel()
	clock := restingClock{at: time.Now()}
	a := newWorld(t).enrol("Amal", orgHospital).start(t, alone, func(cfg *Config) {
		clock.Clock, cfg.Clock = cfg.Clock, &clock
		cfg.ReceiptDelay, cfg.ReceiptInterval = time.Hour, time.Hour // no other wait is as long as the drain's
	})
	g := makeGroup(t, a)
	say(t, a, g, "one")
	undrained := func() (k int) {
		check(t, a.cfg.Vault.Scan(prefixOut, func(string, []byte) error { k++; return nil }))
		return k
	}
	eventually(t, "the drain has had its turn", func() bool { return undrained() == 0 })
	clock.held.Store(true)
	eventually(t, "it rests", func() bool { a.due.ring(); return clock.rests.Load() > 0 })
	s, err := a.Send(t.Context(), g, message.NewText("two", time.Time{}), "routine")
	check(t, err)
	if got := texts(t, a, g); len(got) != 2 || got[1] != "two" {
		t.Fatalf("shown: %q", got)
	}
	if undrained() != 1 {
		t.Error("the drain has run: the test shows nothing")
	}
	a.mu.Lock()
	check(t, a.drainAll(t.Context()))
	a.mu.Unlock()
	items, err := a.Messages(g, 0, 0)
	check(t, err)
	if len(items) != 2 || ledgerID(items[1]) != s.ID {
		t.Errorf("after the drain %d messages are shown", len(items))
	}
}
