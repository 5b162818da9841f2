package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"slices"
	"testing"
	"time"
)

// TestRegistrarIssues: a registrar admits staff with the roles that it may
// grant, for at most 7 days, with a badge; its file reads back.
func TestRegistrarIssues(t *testing.T) {
	w := newWorld(t)
	key := get(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))(t)
	made := get(w.a.NewRegistrar(RegistrarGrant{Name: "Ward desk", Roles: []string{"nurse", "doctor"}, Now: noon, Validity: 20 * 24 * time.Hour, Key: key, Rand: w.rand}))(t)
	for _, made := range []*Registrar{made, w.registrar("doctor", "nurse")} {
		chain, secret, err := made.MarshalPEM()
		if err != nil {
			t.Fatal(err)
		}
		reg := get(ParseRegistrarPEM(chain, secret))(t)
		if !reg.IsRegistrar() || reg.Org() != orgA || reg.Name() != "Ward desk" || !slices.Equal(reg.Roles(), []string{"doctor", "nurse"}) ||
			reg.KeyHash() != made.KeyHash() || !reg.Authority().Equal(w.a.Certificate()) {
			t.Errorf("reads back as %q with %v", reg.Name(), reg.Roles())
		}
		g := w.grant("nurse")
		g.Validity = MaxRegistrarLeafValidity - Backdate
		m := w.enrol(reg, "7000001", g)
		if err := m.connect(w.store, noon); err != nil {
			t.Error(err)
		}
		if !m.cred.Registrar || !m.cred.Provisional() || m.cred.Issuer != "Ward desk" {
			t.Errorf("credential by %q", m.cred.Issuer)
		}
		if st := w.store.Standing(m.cred, noon); st.State != StandingProvisional || st.Why != WhyRegistrar || !st.Until.Equal(m.cred.NotAfter) {
			t.Errorf("standing %+v", st)
		}
		if err := m.connect(w.store, m.cred.NotAfter.Add(time.Second)); !errors.Is(err, ErrExpired) {
			t.Errorf("after 7 days: %v", err)
		}
		for name, change := range map[string]func(g *Grant){
			"a role beyond":      func(g *Grant) { g.Roles = []string{"senior"} },
			"more than 7 days":   func(g *Grant) { g.Validity = MaxRegistrarLeafValidity },
			"beyond its own end": func(g *Grant) { g.Now = noon.Add(15 * 24 * time.Hour) },
			"another mesh":       func(g *Grant) { g.Bundle = newWorldOf(t, 8).bundle },
		} {
			g := w.grant("nurse")
			g.Validity = 6 * 24 * time.Hour
			change(&g)
			relay, vault := w.keys()
			if _, err := reg.Issue(get(NewRequest(wishOf(orgA, "7000002"), relay, vault))(t), g); err == nil {
				t.Errorf("%s: issued", name)
			}
		}
		relay, vault := w.keys()
		g.Roles = []string{"nurse"}
		if _, err := reg.Issue(get(NewRequest(wishOf(orgB, "7000002"), relay, vault))(t), g); err == nil {
			t.Error("issued for another organisation")
		}
	}
}

func TestNewRegistrarErrors(t *testing.T) {
	w := newWorld(t)
	good := RegistrarGrant{Name: "Ward desk", Roles: []string{"doctor"}, Now: noon, Validity: time.Hour, Rand: w.rand}
	for name, change := range map[string]func(g *RegistrarGrant){
		"no name":           func(g *RegistrarGrant) { g.Name = "" },
		"more than 30 days": func(g *RegistrarGrant) { g.Validity = MaxRegistrarValidity },
		"no time":           func(g *RegistrarGrant) { g.Validity = 0 },
		"beyond the authority": func(g *RegistrarGrant) {
			g.Now = noon.Add(1795*24*time.Hour + time.Hour)
			g.Validity = 20 * 24 * time.Hour
		},
		"a role in capitals":    func(g *RegistrarGrant) { g.Roles = []string{"Doctor"} },
		"a role twice":          func(g *RegistrarGrant) { g.Roles = []string{"doctor", "doctor"} },
		"a P-256 key":           func(g *RegistrarGrant) { g.Key = newKeySet(t).p256 },
		"more than sixteen":     func(g *RegistrarGrant) { g.Roles = make([]string, 17) },
		"no randomness to sign": func(g *RegistrarGrant) { g.Rand = new(emptyReader) },
	} {
		g := good
		change(&g)
		if _, err := w.a.NewRegistrar(g); err == nil {
			t.Errorf("%s: made", name)
		}
	}
	chain, key, err := get(w.a.NewRegistrar(good))(t).MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	_, other, err := w.registrar("doctor").MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseRegistrarPEM(chain, other); err == nil {
		t.Error("another's key")
	}
	if _, err := ParseRegistrarPEM(CertificatePEM(w.a.Certificate().Raw), key); err == nil {
		t.Error("an authority's file")
	}
	swapped := append(CertificatePEM(w.b.Certificate().Raw), CertificatePEM(w.a.Certificate().Raw)...)
	if _, err := ParseRegistrarPEM(swapped, key); err == nil {
		t.Error("an authority for a registrar")
	}
}

type emptyReader struct{}

func (*emptyReader) Read([]byte) (int, error) { return 0, errors.New("empty") }

// TestIssuerMarkedProvisional: an authority may mark what it issues.
func TestIssuerMarkedProvisional(t *testing.T) {
	w := newWorld(t)
	g := w.grant("doctor")
	g.Provisional = true
	m := w.enrol(w.a, "7000001", g)
	if st := w.store.Standing(m.cred, noon); st.State != StandingProvisional || st.Why != WhyIssuer || st.State.String() != "provisional" {
		t.Errorf("standing %+v", st)
	}
	plain := w.enrol(w.a, "7000002", w.grant("doctor"))
	if st := w.store.Standing(plain.cred, noon); st.State != StandingValid || !st.Until.Equal(plain.cred.NotAfter) {
		t.Errorf("standing %+v", st)
	}
}

// TestSeveralDevices: devices of one person are one person and have keys of
// their own.
func TestSeveralDevices(t *testing.T) {
	w := newWorld(t)
	one, two := w.enrol(w.a, "7000001", w.grant("doctor")), w.enrol(w.a, "7000001", w.grant("doctor"))
	if one.cred.Person != two.cred.Person || one.cred.Device == two.cred.Device || one.cred.KeyHash() == two.cred.KeyHash() || one.cred.Peer == two.cred.Peer {
		t.Error("two devices of a person are not told apart, or not brought together")
	}
	mustTake(t, w.store, w.crl(w.a, 1, noon, one), noon)
	if one.connect(w.store, noon) == nil || two.connect(w.store, noon) != nil {
		t.Error("the revocation of one device is that of the person, or of none")
	}
}
