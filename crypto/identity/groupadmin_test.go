package identity

import (
	"crypto/ed25519"
	"errors"
	"slices"
	"testing"
	"time"
)

// TestReadGroupAdmin: an appointment that is valid once is so on every device,
// whatever it has heard since; and one that cannot be judged yet says so.
func TestReadGroupAdmin(t *testing.T) {
	w := newWorld(t)
	m := w.enrol(w.a, "7000001", w.grant("doctor"))
	mesh, group, admin := w.store.MeshID(), [32]byte{5}, LogID{Author: m.cred.SigningKey, Incarnation: 2}
	name := func(a *Authority, at time.Time) []byte { return get(a.NameAdmin(mesh, group, admin, at, w.rand))(t) }
	raw := name(w.a, noon)
	reads := func(what string, s *TrustStore, raw []byte, org string) {
		t.Helper()
		g, err := s.ReadGroupAdmin(raw)
		if err != nil {
			t.Errorf("%s: %v", what, err)
		} else if g.Group != group || g.Admin != admin || g.Org != org || !slices.Equal(g.Raw, raw) {
			t.Errorf("%s: %+v", what, g)
		}
	}
	reads("at once", w.store, raw, orgA)
	mustTake(t, w.store, name(w.a, noon.Add(time.Hour)), noon)
	takeRefused(t, w.store, raw, noon, checkAdminTime, ErrRolledBack)
	reads("with a later one known", w.store, raw, orgA)
	reads("dated a year ahead of any clock", w.store, name(w.a, noon.Add(365*24*time.Hour)), orgA)

	// Its authority is left out of the next bundle, and another comes.
	c := get(NewAuthority("city.nhs.example", "City root", noon.Add(-time.Hour), 365*24*time.Hour, w.rand))(t)
	byNew := name(c, noon)
	_, err := w.store.ReadGroupAdmin(byNew)
	assertRefused(t, err, checkStatementSigner, ErrEarly)
	bundle := w.next(w.store, noon, []*Authority{w.a, w.b}, w.b.Certificate(), c.Certificate())
	for _, s := range []*TrustStore{w.store, w.fresh()} {
		mustTake(t, s, bundle, noon)
		takeRefused(t, s, name(w.a, noon.Add(2*time.Hour)), noon, checkWithdrawn, ErrRevoked)
		reads("of a withdrawn authority", s, raw, orgA)
		reads("of a new one", s, byNew, "city.nhs.example")
		again := w.fresh()
		if err := again.Restore(s.Snapshot()); err != nil {
			t.Fatal(err)
		}
		reads("of a withdrawn authority after a restart", again, raw, orgA)
	}
}

// TestReadGroupAdminRenewed: of several certificates of one key the earliest
// bundle's that held at the date decides, so that a renewal changes no answer.
func TestReadGroupAdminRenewed(t *testing.T) {
	w := newWorld(t)
	m := w.enrol(w.a, "7000001", w.grant("doctor"))
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	before := get(NewAuthorityWithKey("old.nhs.example", "Old root", noon.Add(-time.Hour), 24*time.Hour, w.rand, key))(t)
	after := get(NewAuthorityWithKey("new.nhs.example", "New root", noon.Add(-time.Hour), 365*24*time.Hour, w.rand, key))(t)
	both := []*Authority{w.a, w.b}
	mustTake(t, w.store, w.next(w.store, noon, both, w.a.Certificate(), w.b.Certificate(), before.Certificate()), noon)
	name := func(at time.Time) []byte {
		return get(after.NameAdmin(w.store.MeshID(), [32]byte{5}, LogID{Author: m.cred.SigningKey}, at, w.rand))(t)
	}
	in, beyond := name(noon), name(noon.Add(48*time.Hour))
	_, err := w.store.ReadGroupAdmin(beyond)
	assertRefused(t, err, checkStatementTime, ErrEarly)
	for range 2 {
		if g, err := w.store.ReadGroupAdmin(in); err != nil || g.Org != "old.nhs.example" {
			t.Errorf("%+v, %v", g, err)
		}
		mustTake(t, w.store, w.next(w.store, w.store.Bundle().Created().Add(time.Second), both, w.a.Certificate(), w.b.Certificate(), after.Certificate()), noon)
	}
	if g, err := w.store.ReadGroupAdmin(beyond); err != nil || g.Org != "new.nhs.example" {
		t.Errorf("%+v, %v", g, err)
	}
}

// TestReadGroupAdminRefuses: what is wrong for ever never says that it is early.
func TestReadGroupAdminRefuses(t *testing.T) {
	w := newWorld(t)
	m := w.enrol(w.a, "7000001", w.grant("doctor"))
	reg := w.registrar("doctor")
	good := get(w.a.NameAdmin(w.store.MeshID(), [32]byte{5}, LogID{Author: m.cred.SigningKey}, noon, w.rand))(t)
	flipped := slices.Clone(good)
	flipped[len(flipped)-1] ^= 1
	forge := func(change func(*statement)) []byte { return w.forge(good, &w.a.issuer, change) }
	for name, tc := range map[string]struct {
		raw  []byte
		want check
		kind error
	}{
		"cut short":          {good[:len(good)-1], checkStatementEncoding, nil},
		"another kind":       {w.crl(w.a, 1, noon), checkStatementEncoding, nil},
		"another mesh":       {forge(func(st *statement) { st.mesh[0] ^= 1 }), checkStatementMesh, ErrForeign},
		"a flipped bit":      {flipped, checkStatementSignature, nil},
		"another's key":      {w.forge(good, &w.b.issuer, func(*statement) {}), checkStatementSignature, nil},
		"a registrar":        {w.forge(good, &reg.issuer, func(st *statement) { st.by, st.signer = byRegistrar, reg.Certificate().Raw }), checkStatementPower, ErrBeyond},
		"half a name":        {forge(func(st *statement) { st.signer = st.signer[:31] }), checkStatementEncoding, nil},
		"half a body":        {forge(func(st *statement) { st.body = st.body[1:] }), checkStatementEncoding, nil},
		"a key of low order": {forge(func(st *statement) { clear(st.body[32:64]) }), checkStatementEncoding, nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.store.ReadGroupAdmin(tc.raw)
			assertRefused(t, err, tc.want, tc.kind)
			if errors.Is(err, ErrEarly) {
				t.Error("it is called early")
			}
		})
	}
}

// TestEverRootsAreBounded: a bundle that would make more authorities known than
// can be is refused.
func TestEverRootsAreBounded(t *testing.T) {
	w := newWorld(t)
	c := get(NewAuthority("city.nhs.example", "City root", noon.Add(-time.Hour), 365*24*time.Hour, w.rand))(t)
	both := []*Authority{w.a, w.b}
	same := w.next(w.store, noon, both, w.a.Certificate(), w.b.Certificate())
	more := w.next(w.store, noon, both, w.a.Certificate(), w.b.Certificate(), c.Certificate())
	for len(w.store.state.everRoots) < maxEverRoots {
		w.store.state.everRoots = append(w.store.state.everRoots, w.store.state.everRoots[0])
	}
	takeRefused(t, w.store, more, noon, checkStatementFull, nil)
	mustTake(t, w.store, same, noon)
}
