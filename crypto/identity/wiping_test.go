package identity

import (
	"bytes"
	"fmt"
	mrand "math/rand/v2"
	"slices"
	"testing"
	"time"
)

// staff enrols n doctors.
func (w *world) staff(n int) []*member {
	w.t.Helper()
	out := make([]*member, n)
	for i := range out {
		out[i] = w.enrol(w.a, fmt.Sprintf("73%05d", i), w.grant("doctor"))
	}
	return out
}

// orders has the registrar order a wipe of each, a minute after the other from
// the given time on.
func (w *world) orders(by Issuer, from time.Time, members []*member) [][]byte {
	var out [][]byte
	for i, m := range members {
		out = append(out, w.wipe(by, from.Add(time.Duration(i)*time.Minute), m))
	}
	return out
}

// TestWipeBudget: of a registrar's orders of one day the first five by date are
// carried out, in whatever order they come and over restarts; all revoke. More
// need the authority, and on the next day there are five again.
func TestWipeBudget(t *testing.T) {
	w := newWorld(t)
	reg := w.registrar("doctor")
	members := w.staff(9)
	raws := w.orders(reg, noon, members[:8])
	random := mrand.New(mrand.NewPCG(1, 2))
	for range 6 {
		s := w.fresh()
		for n, i := range random.Perm(len(raws)) {
			e := mustTake(t, s, raws[i], noon)
			if e.Wipe == nil || len(e.Revoked) != 1 || e.Revoked[0].Wiped == e.Wipe.RevokesOnly {
				t.Fatalf("effect %+v", e)
			}
			if n == 4 {
				again := w.fresh()
				if err := again.Restore(s.Snapshot()); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(s.Snapshot(), again.Snapshot()) {
					t.Fatal("a snapshot comes back as another")
				}
				s = again
			}
		}
		for i, m := range members[:8] {
			want := map[bool]State{true: StandingWiped, false: StandingRevoked}[i < RegistrarWipesADay]
			if st := s.Standing(m.cred, noon); st.State != want {
				t.Errorf("device %d: %+v", i, st)
			}
			if _, due := s.WipeFor(m.cred, noon); due != (i < RegistrarWipesADay) {
				t.Errorf("device %d is to erase itself: %v", i, due)
			}
		}
		if e := mustTake(t, s, w.wipe(w.a, noon.Add(time.Hour), members[7]), noon); e.Wipe.RevokesOnly {
			t.Error("the authority has a budget")
		}
		if _, due := s.WipeFor(members[7].cred, noon); !due {
			t.Error("the authority's order is not carried out")
		}
		next := noon.Add(24 * time.Hour)
		if e := mustTake(t, s, w.wipe(reg, next, members[8]), next); e.Wipe.RevokesOnly {
			t.Error("the next day has no budget")
		}
	}
}

// TestWipeFallsOut: an earlier order that comes later takes the place of the
// fifth, unless that has its receipt: what is erased stays so.
func TestWipeFallsOut(t *testing.T) {
	w := newWorld(t)
	reg := w.registrar("doctor")
	members := w.staff(7)
	raws := w.orders(reg, noon, members[:5])
	first, second := w.wipe(reg, noon.Add(-30*time.Minute), members[5]), w.wipe(reg, noon.Add(-50*time.Minute), members[6])
	s := w.fresh()
	var orders []*WipeOrder
	for _, raw := range raws {
		orders = append(orders, mustTake(t, s, raw, noon).Wipe)
	}
	fifth, fourth := members[4], members[3]
	mustTake(t, s, get(NewWipeReceipt(fourth.cred, fourth.relay.Witness, orders[3], s.MeshID(), noon))(t), noon)
	mustTake(t, s, first, noon)
	mustTake(t, s, second, noon)
	if st := s.Standing(fifth.cred, noon); st.State != StandingRevoked {
		t.Errorf("the fifth, which has fallen out: %+v", st)
	}
	if st := s.Standing(fourth.cred, noon); st.State != StandingWiped {
		t.Errorf("the fourth, which has its receipt: %+v", st)
	}
	for i, m := range members {
		if _, out := s.RevokedDevice(m.cred); !out {
			t.Errorf("device %d is not out", i)
		}
	}
}

// TestWipeBackdated: a stolen key that dates orders into each day of the past
// erases nobody by them, and neither does an order that came late: they revoke.
func TestWipeBackdated(t *testing.T) {
	w := newWorld(t)
	reg := w.registrar("doctor")
	members := w.staff(12)
	theft := noon.Add(10 * 24 * time.Hour)
	s := w.fresh()
	for i, m := range members[:10] {
		e := mustTake(t, s, w.wipe(reg, noon.Add(time.Duration(i)*24*time.Hour-time.Minute), m), theft)
		if e.Wipe == nil || !e.Wipe.RevokesOnly || e.Wipe.Due(theft) || len(e.Revoked) != 1 {
			t.Errorf("order of day %d: %+v", i, e)
		}
	}
	exact, late := w.wipe(reg, theft.Add(-RegistrarWipeDelay), members[10]), w.wipe(reg, theft.Add(-RegistrarWipeDelay-time.Second), members[11])
	mustTake(t, s, exact, theft.Add(999*time.Millisecond))
	mustTake(t, s, late, theft)
	again := w.fresh()
	if err := again.Restore(s.Snapshot()); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*TrustStore{s, again} {
		for i, m := range members {
			if _, out := s.RevokedDevice(m.cred); !out {
				t.Errorf("device %d is not out", i)
			}
			if _, due := s.WipeFor(m.cred, theft); due != (i == 10) {
				t.Errorf("device %d is to erase itself: %v", i, due)
			}
			if err := m.connect(s, theft); err == nil {
				t.Errorf("device %d is admitted", i)
			}
		}
	}
	// Taken again, it is as late as it was; and the authority may be late.
	if e := mustTake(t, s, late, noon); !e.Known {
		t.Errorf("taken twice: %+v", e)
	}
	if _, due := s.WipeFor(members[11].cred, theft); due {
		t.Error("a second taking makes an order in time")
	}
	if e := mustTake(t, s, w.wipe(w.a, noon, members[11]), theft); e.Wipe.RevokesOnly {
		t.Error("the authority is too late")
	}
	if _, due := s.WipeFor(members[11].cred, theft); !due {
		t.Error("the authority's order is not carried out")
	}
}

// TestRegistrarWipesAreBounded: what is over the bound revokes, and is not kept.
func TestRegistrarWipesAreBounded(t *testing.T) {
	w := newWorld(t)
	reg := w.registrar("doctor")
	m := w.staff(1)[0]
	s := w.store
	for i := range maxKeptOfRegistrar {
		s.state.kept = append(s.state.kept, keptStatement{id: [32]byte{9, byte(i)}, kind: KindWipe, by: reg.KeyHash()})
	}
	raw := w.wipe(reg, noon, m)
	e := mustTake(t, s, raw, noon)
	if !e.Wipe.RevokesOnly || len(e.Revoked) != 1 || e.Revoked[0].Wiped || s.Standing(m.cred, noon).State != StandingRevoked {
		t.Errorf("effect %+v", e)
	}
	if len(s.state.kept) != maxKeptOfRegistrar {
		t.Errorf("%d orders are kept", len(s.state.kept))
	}
	if e := mustTake(t, s, raw, noon); !e.Known || len(e.Revoked) != 0 {
		t.Errorf("the second time: %+v", e)
	}
	other := w.registrar("doctor")
	if e := mustTake(t, s, w.wipe(other, noon, m), noon); e.Wipe.RevokesOnly || slices.ContainsFunc(e.Revoked, func(r Revocation) bool { return !r.Wiped }) {
		t.Errorf("one registrar shuts out another: %+v", e)
	}
}
