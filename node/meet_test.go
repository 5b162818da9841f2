package node

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// meetInPerson has two nodes verify each other by scanning.
func meetInPerson(t testing.TB, a, b *Node) {
	t.Helper()
	first, err := a.VerifyPersonStart(t.Context())
	check(t, err)
	reply, err := b.VerifyPersonScan(t.Context(), first.Show)
	check(t, err)
	last, err := a.VerifyPersonScan(t.Context(), reply.Show)
	check(t, err)
	end, err := b.VerifyPersonScan(t.Context(), last.Show)
	check(t, err)
	if !last.Done || !end.Done || first.Done || reply.Done || end.Show != "" {
		t.Fatalf("steps of a meeting: %+v %+v %+v %+v", first, reply, last, end)
	}
}

// TestMeetingInPersonVerifiesBoth: by codes, both ways, and it is remembered.
func TestMeetingInPersonVerifiesBoth(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var clock testClock
	a := w.enrol("Amal", orgHospital).start(t, withClock(&clock))
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a))
	c := w.enrol("Chidi", orgHospital).start(t, knows(a, b))
	ready(t, 2, a, b, c)
	meetInPerson(t, a, b)
	if person(t, a, b).VerifiedAt.IsZero() || person(t, b, a).VerifiedAt.IsZero() || !person(t, a, c).VerifiedAt.IsZero() {
		t.Error("exactly those two have met")
	}
	check(t, a.Lock())
	if !person(t, a, b).VerifiedAt.IsZero() {
		t.Error("a locked device says whom its owner has met")
	}
	check(t, a.Unlock(t.Context(), []byte(passphrase)))
	if person(t, a, b).VerifiedAt.IsZero() {
		t.Error("it was forgotten")
	}

	first, err := a.VerifyPersonStart(t.Context())
	check(t, err)
	reply, err := c.VerifyPersonScan(t.Context(), first.Show)
	check(t, err)
	for _, bad := range []string{"", "HELLO", reply.Show[:len(reply.Show)-1], strings.Replace(reply.Show, reply.Show[20:22], "ZZ", 1)} {
		if _, err := a.VerifyPersonScan(t.Context(), bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("the code %q: %v", bad, err)
		}
	}
	clock.by.Add(int64(meetingLife + time.Second))
	if s, err := a.VerifyPersonScan(t.Context(), reply.Show); err == nil {
		t.Errorf("a code of a meeting that is over: %+v", s)
	}
	if _, err := a.VerifyPersonStart(t.Context()); err != nil || !person(t, a, c).VerifiedAt.IsZero() {
		t.Errorf("after it: %v", err)
	}
}

// TestDigitsVerifyWhereNoCameraWorks: both sides show the same sixty.
func TestDigitsVerifyWhereNoCameraWorks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a))
	ready(t, 1, a, b)
	x, err := a.PersonDigits("Ben")
	check(t, err)
	y, err := b.PersonDigits(a.self.String())
	check(t, err)
	if x.Digits != y.Digits || len(strings.Fields(x.Digits)) != 12 {
		t.Fatalf("%q and %q", x.Digits, y.Digits)
	}
	if _, err := a.VerifyPersonDigits(t.Context(), "Ben", strings.Repeat("00000 ", 12)); !errors.Is(err, ErrInvalid) {
		t.Errorf("other digits: %v", err)
	}
	p, err := a.VerifyPersonDigits(t.Context(), "Ben", y.Digits)
	check(t, err)
	if p.VerifiedAt.IsZero() || p.Name != "Ben" {
		t.Errorf("%+v", p)
	}
	if _, err := a.PersonDigits("Zoe"); !errors.Is(err, ErrInvalid) {
		t.Errorf("nobody: %v", err)
	}
}
