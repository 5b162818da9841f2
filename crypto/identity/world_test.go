package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	mrand "math/rand/v2"
	"slices"
	"testing"
	"time"
)

// world is a mesh of two organisations, Ed25519 and P-384, with staff.
type world struct {
	t       testing.TB
	rand    *mrand.ChaCha8
	a, b    *Authority
	bundle  *Bundle
	store   *TrustStore
	meshKey [32]byte
}

// member is one enrolled device with its keys.
type member struct {
	relay     *RelayKeys
	vault     *VaultKeys
	enrolment *Enrolment
	cred      *Credential
}

const (
	orgA = "stmarys.nhs.example"
	orgB = "royal.nhs.example"
)

func newWorld(t testing.TB) *world { return newWorldOf(t, 7) }

// newWorldOf makes another mesh for each seed.
func newWorldOf(t testing.TB, seed byte) *world {
	t.Helper()
	return newWorldWith(t, seed, get(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))(t))
}

// newWorldWith makes a mesh whose second authority has the given key.
func newWorldWith(t testing.TB, seed byte, key crypto.Signer) *world {
	t.Helper()
	w := &world{t: t, rand: mrand.NewChaCha8([32]byte{seed})}
	w.a = get(NewAuthority(orgA, "St Mary's root", noon.Add(-30*24*time.Hour), 5*365*24*time.Hour, w.rand))(t)
	w.b = get(NewAuthorityWithKey(orgB, "Royal root", noon.Add(-30*24*time.Hour), 5*365*24*time.Hour, w.rand, key))(t)
	w.bundle = get(NewBundle("North West", noon.Add(-20*24*time.Hour), w.a.Certificate(), w.b.Certificate()))(t)
	w.meshKey = get(NewMeshKey(w.rand))(t)
	w.store = w.fresh()
	return w
}

// get returns the value of a call and ends the test on its error.
func get[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// fresh is a store that has heard nothing.
func (w *world) fresh() *TrustStore {
	s, err := NewTrustStore(w.bundle)
	if err != nil {
		panic(err) // not w.t: fuzz targets call this
	}
	return s
}

func (w *world) grant(roles ...string) Grant {
	return Grant{Now: noon, Validity: 300 * 24 * time.Hour, Roles: roles, Bundle: w.bundle, MeshKey: w.meshKey, Rand: w.rand}
}

// keys makes the keys of a new device.
func (w *world) keys() (*RelayKeys, *VaultKeys) {
	w.t.Helper()
	return get(NewRelayKeys(w.rand))(w.t), get(NewVaultKeys(w.rand))(w.t)
}

func wishOf(org, number string, roles ...string) Wish {
	return Wish{Person: Person{Org: org, Regulator: "gmc", Number: number}, Claims: Claims{Name: "Dr " + number, Roles: roles}}
}

// enrol has an issuer enrol a device of the person with the given number.
func (w *world) enrol(by Issuer, number string, g Grant) *member {
	w.t.Helper()
	m := &member{}
	m.relay, m.vault = w.keys()
	req := get(NewRequest(wishOf(by.Org(), number), m.relay, m.vault))(w.t)
	m.enrolment = get(by.Issue(req, g))(w.t)
	m.cred = get(w.store.ReadCredential(m.enrolment.Credential))(w.t)
	m.vault.MeshKey = w.meshKey
	return m
}

func (w *world) registrar(roles ...string) *Registrar {
	w.t.Helper()
	return get(w.a.NewRegistrar(RegistrarGrant{Name: "Ward desk", Roles: roles, Now: noon, Validity: 20 * 24 * time.Hour, Rand: w.rand}))(w.t)
}

// ticketed connects m to a store: admission chain and ticket.
func (m *member) connect(s *TrustStore, at time.Time) error {
	adm, err := s.VerifyAdmission(m.enrolment.Admission, m.relay.PeerID(), at)
	if err != nil {
		return err
	}
	ticket, err := NewTicketWith(m.vault.Signing, m.relay.PeerID(), at, at.Add(MaxTicketLife), m.enrolment.Credential)
	if err != nil {
		return err
	}
	return s.VerifyTicket(ticket, adm, at)
}

// crl signs a CRL of by that revokes members since noon.
func (w *world) crl(by Issuer, number uint64, at time.Time, members ...*member) []byte {
	w.t.Helper()
	c := CRL{Number: number, Time: at, Rand: w.rand}
	for _, m := range members {
		c.Revoked = append(c.Revoked, Revoked{Key: m.cred.KeyHash(), Since: noon, Credential: []byte(m.cred.Raw)})
	}
	return get(by.CRL(w.store.MeshID(), c))(w.t)
}

func (w *world) wipe(by Issuer, at time.Time, m *member) []byte {
	w.t.Helper()
	return get(by.Wipe(w.store.MeshID(), Wipe{Time: at, Key: m.cred.KeyHash(), Credential: []byte(m.cred.Raw), NotAfter: at.Add(30 * 24 * time.Hour), Rand: w.rand}))(w.t)
}

func (w *world) declare(by Issuer, number uint64, at time.Time, on bool) []byte {
	w.t.Helper()
	d := Declaration{Number: number, Time: at, Declared: on, Name: "Flood", Until: at.Add(6 * 24 * time.Hour), Rand: w.rand}
	return get(by.Declare(w.store.MeshID(), d))(w.t)
}

// next makes the bundle after the one in force of the store, signed.
func (w *world) next(s *TrustStore, at time.Time, signers []*Authority, roots ...*x509.Certificate) []byte {
	w.t.Helper()
	b := get(NextBundle(s.Bundle(), at, roots...))(w.t)
	for _, a := range signers {
		b = get(a.SignBundle(b))(w.t)
	}
	return get(BundleStatement(b))(w.t)
}

// forge changes a statement's frame and signs it again with the same key.
func (w *world) forge(raw []byte, by *issuer, change func(*statement)) []byte {
	w.t.Helper()
	st := get(parseStatement(raw))(w.t)
	change(st)
	signed := get(st.signed())(w.t)
	st.signature = get(signAs(by.key, domainStatement, signed, w.rand))(w.t)
	return get(st.marshal())(w.t)
}

// mustTake takes a statement and ends the test if it is refused.
func mustTake(t testing.TB, s *TrustStore, raw []byte, now time.Time) Effect {
	t.Helper()
	e, err := s.Take(raw, now)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// takeRefused demands that the rule refuses the statement, and that the store
// is as it was.
func takeRefused(t *testing.T, s *TrustStore, raw []byte, now time.Time, want check, kind error) {
	t.Helper()
	before := s.Snapshot()
	_, err := s.Take(raw, now)
	assertRefused(t, err, want, kind)
	s.waiting = nil
	if !slices.Equal(before, s.Snapshot()) {
		t.Error("a statement that was refused has changed the store")
	}
}
