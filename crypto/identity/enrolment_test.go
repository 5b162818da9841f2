package identity

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
	"time"
)

// noon is the moment at which the tests of this package play.
var noon = time.Date(2031, time.March, 4, 12, 0, 0, 0, time.UTC)

// house is a mesh of one authority and one enrolled device.
type house struct {
	rand      *rand.ChaCha8
	authority *Authority
	bundle    *Bundle
	store     *TrustStore
	relay     *RelayKeys
	vault     *VaultKeys
	request   *Request
	meshKey   [32]byte
	enrolment *Enrolment
}

func newHouse(t testing.TB) *house {
	t.Helper()
	h := &house{rand: rand.NewChaCha8([32]byte{1})}
	var err error
	must := func() {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	h.authority, err = NewAuthority("stmarys.nhs.example", "St Mary's root", noon, 5*365*24*time.Hour, h.rand)
	must()
	h.bundle, err = NewBundle("North West", noon, h.authority.Certificate())
	must()
	h.store, err = NewTrustStore(h.bundle)
	must()
	h.relay, err = NewRelayKeys(h.rand)
	must()
	h.vault, err = NewVaultKeys(h.rand)
	must()
	h.meshKey, err = NewMeshKey(h.rand)
	must()
	h.request, err = NewRequest(h.wish(), h.relay, h.vault)
	must()
	h.enrolment, err = h.authority.Issue(h.request, h.grant())
	must()
	return h
}

func (h *house) wish() Wish {
	return Wish{
		Person: Person{Org: "stmarys.nhs.example", Regulator: "gmc", Number: "7654321"},
		Claims: Claims{Name: "Dr Amara Okafor", Roles: []string{"registrar", "doctor"}, Grade: "ST5", ODS: "RYJ01"},
	}
}

func (h *house) grant() Grant {
	return Grant{
		Now: noon, Validity: 365 * 24 * time.Hour, Roles: []string{"senior", "doctor"},
		Bundle: h.bundle, MeshKey: h.meshKey, Rand: h.rand,
	}
}

func TestEnrolment(t *testing.T) {
	h := newHouse(t)
	raw, err := h.enrolment.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	e, err := ParseEnrolment(raw)
	if err != nil {
		t.Fatal(err)
	}
	store, c, err := e.Accept(h.relay, h.vault, noon)
	if err != nil {
		t.Fatal(err)
	}
	if store.MeshID() != h.bundle.MeshID() || h.vault.MeshKey != h.meshKey {
		t.Error("the mesh or its key did not arrive")
	}
	if c.Person != h.wish().Person || c.Peer != h.relay.PeerID() || c.SigningKey != KeyOf(h.vault.Signing) || c.Device != DeviceID(c.SigningKey) {
		t.Errorf("credential of %v", c.Person)
	}
	if !c.Claims.HasRole("senior") || c.Claims.HasRole("registrar") || c.Issuer != "St Mary's root" || c.Registrar {
		t.Error("the roles are not those granted, or the issuer is wrong")
	}
	if !bytes.Equal([]byte(c.Raw), e.Credential) {
		t.Error("the raw form is not what was read")
	}
	a, err := store.VerifyAdmission(e.Admission, h.relay.PeerID(), noon)
	if err != nil {
		t.Fatal(err)
	}
	ticket, err := NewTicket(h.vault.Signing, h.relay.PeerID(), noon, noon.Add(MaxTicketLife))
	if err != nil {
		t.Fatal(err)
	}
	if err := store.VerifyTicket(ticket, a, noon); err != nil {
		t.Fatal(err)
	}
	t.Logf("admission chain %d bytes, credential %d, request %d, enrolment %d, ticket %d",
		len(e.Admission), len(e.Credential), len(h.request.Marshal()), len(raw), len(ticket))
	if len(e.Admission) > 1536 {
		t.Errorf("the admission chain has %d bytes; the aim is 1.5 KiB", len(e.Admission))
	}
}

func TestForeignAuthority(t *testing.T) {
	h := newHouse(t)
	// The namesake has the same organisation and name, and another key.
	other, err := NewAuthority("stmarys.nhs.example", "St Mary's root", noon, 5*365*24*time.Hour, h.rand)
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := NewBundle("North West", noon, other.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	store, err := NewTrustStore(bundle)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.VerifyCredential(h.enrolment.Credential, noon); !errors.Is(err, ErrForeign) {
		t.Errorf("got %v, want ErrForeign", err)
	}
	if _, err := store.VerifyAdmission(h.enrolment.Admission, h.relay.PeerID(), noon); !errors.Is(err, ErrForeign) {
		t.Errorf("got %v, want ErrForeign", err)
	}
	if bundle.MeshID() == h.bundle.MeshID() {
		t.Error("two meshes have one id")
	}
}
