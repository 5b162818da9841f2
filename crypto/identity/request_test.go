package identity

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestRequestProvesPossession forges each of the three signatures in turn, and
// replaces each key: the request of somebody else's key is refused.
func TestRequestProvesPossession(t *testing.T) {
	h := newHouse(t)
	raw := h.request.Marshal()
	for i, key := range []string{"transport", "witness", "signing"} {
		forged := bytes.Clone(raw)
		forged[len(forged)-64*(3-i)] ^= 1
		if _, err := ParseRequest(forged); !errors.Is(err, ErrSignature) || !strings.Contains(err.Error(), key) {
			t.Errorf("%s signature forged: %v", key, err)
		}
	}
	changed := bytes.Replace(raw, []byte("7654321"), []byte("7654322"), 1)
	if _, err := ParseRequest(changed); !errors.Is(err, ErrSignature) {
		t.Errorf("number changed after signing: %v", err)
	}
	again, err := ParseRequest(raw)
	if err != nil {
		t.Fatal(err)
	}
	if again.Wish().Person != h.wish().Person || again.Transport() != KeyOf(h.relay.Transport) || again.Signing() != KeyOf(h.vault.Signing) {
		t.Error("the request reads back as another")
	}
	if again.Fingerprint() != h.request.Fingerprint() || len(again.Fingerprint()) != 39 {
		t.Errorf("fingerprint %q", again.Fingerprint())
	}
}

func TestParseRequestErrors(t *testing.T) {
	h := newHouse(t)
	raw := h.request.Marshal()
	version := bytes.Clone(raw)
	version[0] = 2
	for name, tc := range map[string]struct {
		raw  []byte
		says string
	}{
		"nothing":                        {nil, "cut short"},
		"cut in the body":                {raw[:40], "cut short"},
		"cut in the signatures":          {raw[:len(raw)-1], "cut short"},
		"a byte after the end":           {append(bytes.Clone(raw), 0), "cut short"},
		"version 2":                      {version, "newer than this program"},
		"over 4 KiB":                     {make([]byte, MaxRequest+1), "over the limit"},
		"broken claims":                  {bytes.Replace(raw, []byte("Amara"), []byte("A\nara"), 1), "display name"},
		"a transport key of small order": {slices.Replace(bytes.Clone(raw), 33, 65, badKeys(t)["identity"]...), "transport key"},
	} {
		if r, err := ParseRequest(tc.raw); err == nil || r != nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v, want a word about %q", name, err, tc.says)
		}
	}
}

func TestNewRequestErrors(t *testing.T) {
	h := newHouse(t)
	relayTwins, vaultTwin, vaultWitness := *h.relay, *h.vault, *h.vault
	vaultWitness.Signing = h.relay.Witness
	relayTwins.Witness = relayTwins.Transport
	vaultTwin.Signing = h.relay.Transport
	for name, tc := range map[string]struct {
		change func(*Wish)
		relay  *RelayKeys
		vault  *VaultKeys
	}{
		"no organisation":      {func(w *Wish) { w.Person.Org = "" }, h.relay, h.vault},
		"number of no shape":   {func(w *Wish) { w.Person.Number = "12" }, h.relay, h.vault},
		"asks for provisional": {func(w *Wish) { w.Claims.Provisional = true }, h.relay, h.vault},
		"no name":              {func(w *Wish) { w.Claims.Name = "" }, h.relay, h.vault},
		"one key twice":        {func(*Wish) {}, &relayTwins, h.vault},
		"signing is transport": {func(*Wish) {}, h.relay, &vaultTwin},
		"signing is witness":   {func(*Wish) {}, h.relay, &vaultWitness},
	} {
		w := h.wish()
		tc.change(&w)
		if r, err := NewRequest(w, tc.relay, tc.vault); err == nil || r != nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestIssueErrors(t *testing.T) {
	h := newHouse(t)
	other, err := NewAuthority("other.nhs.example", "Other root", noon, 365*24*time.Hour, h.rand)
	if err != nil {
		t.Fatal(err)
	}
	otherBundle, err := NewBundle("Other", noon, other.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		change func(*Grant)
		by     *Authority
		says   string
	}{
		"another organisation":   {func(g *Grant) { g.Bundle = otherBundle }, other, "send it to theirs"},
		"not in the bundle":      {func(g *Grant) { g.Bundle = otherBundle }, h.authority, "does not name this authority"},
		"no bundle":              {func(g *Grant) { g.Bundle = nil }, h.authority, "does not name this authority"},
		"no validity":            {func(g *Grant) { g.Validity = 0 }, h.authority, "choose a validity"},
		"longer than the root":   {func(g *Grant) { g.Validity = 6 * 365 * 24 * time.Hour }, h.authority, "choose a validity"},
		"longer than the limit":  {func(g *Grant) { g.Validity = MaxLeafValidity }, h.authority, "400 days"},
		"no mesh key":            {func(g *Grant) { g.MeshKey = [32]byte{} }, h.authority, "mesh key is needed"},
		"role in capitals":       {func(g *Grant) { g.Roles = []string{"Doctor"} }, h.authority, "a role is"},
		"before the authority":   {func(g *Grant) { g.Now = noon.Add(-Backdate * 2) }, h.authority, "begins on"},
		"randomness has run dry": {func(g *Grant) { g.Rand = bytes.NewReader(nil) }, h.authority, "no randomness"},
	} {
		g := h.grant()
		tc.change(&g)
		e, err := tc.by.Issue(h.request, g)
		if err == nil || e != nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v, want a word about %q", name, err, tc.says)
		}
	}
}

// TestIssueGrantsNoMoreThanDecided asks for everything and is given the
// grant's roles and flags.
func TestIssueGrantsNoMoreThanDecided(t *testing.T) {
	h := newHouse(t)
	w := h.wish()
	w.Claims.Roles, w.Claims.Relay = []string{"admin", "senior"}, true
	req, err := NewRequest(w, h.relay, h.vault)
	if err != nil {
		t.Fatal(err)
	}
	g := h.grant()
	g.Roles, g.Provisional = nil, true
	e, err := h.authority.Issue(req, g)
	if err != nil {
		t.Fatal(err)
	}
	c, err := h.store.VerifyCredential(e.Credential, noon)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Claims.Roles) != 0 || c.Claims.Relay || !c.Claims.Provisional {
		t.Errorf("granted %v, relay %v, provisional %v", c.Claims.Roles, c.Claims.Relay, c.Claims.Provisional)
	}
}

func TestRelayGetsNoMeshKey(t *testing.T) {
	h := newHouse(t)
	g := h.grant()
	g.Relay = true
	e, err := h.authority.Issue(h.request, g)
	if err != nil {
		t.Fatal(err)
	}
	if len(e.SealedMeshKey) != 0 {
		t.Error("a relay was given a mesh key")
	}
	if _, err := e.OpenMeshKey(h.vault); err == nil {
		t.Error("a relay opened a mesh key")
	}
	_, c, err := e.Accept(h.relay, h.vault, noon)
	if err != nil {
		t.Fatal(err)
	}
	if !c.Claims.Relay || h.vault.MeshKey != ([32]byte{}) {
		t.Error("the relay is none, or has a mesh key")
	}
}

// TestMeshKeyNeedsTheApplicant seals to one device and tries to open with
// another's keys, with the right bundle key under another signing key, and
// under another mesh.
func TestMeshKeyNeedsTheApplicant(t *testing.T) {
	h := newHouse(t)
	stranger, err := NewVaultKeys(h.rand)
	if err != nil {
		t.Fatal(err)
	}
	mixed := &VaultKeys{Signing: stranger.Signing, Bundle: h.vault.Bundle}
	if key, err := h.enrolment.OpenMeshKey(h.vault); err != nil || key != h.meshKey {
		t.Errorf("the applicant cannot open the mesh key: %v", err)
	}
	for _, k := range []*VaultKeys{stranger, mixed} {
		if _, err := h.enrolment.OpenMeshKey(k); err == nil {
			t.Error("a stranger opens the mesh key")
		}
	}
	elsewhere := *h.enrolment
	bundle, err := NewBundle("Another mesh", noon, h.authority.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	elsewhere.Bundle = bundle.Marshal()
	if _, err := elsewhere.OpenMeshKey(h.vault); err == nil {
		t.Error("the mesh key opens under another mesh's id")
	}
	elsewhere.SealedMeshKey = elsewhere.SealedMeshKey[:40]
	if _, err := elsewhere.OpenMeshKey(h.vault); err == nil {
		t.Error("half a mesh key opens")
	}
}

func TestAcceptErrors(t *testing.T) {
	h := newHouse(t)
	otherRelay, err := NewRelayKeys(h.rand)
	if err != nil {
		t.Fatal(err)
	}
	otherVault, err := NewVaultKeys(h.rand)
	if err != nil {
		t.Fatal(err)
	}
	second, err := NewRequest(h.wish(), otherRelay, otherVault)
	if err != nil {
		t.Fatal(err)
	}
	e2, err := h.authority.Issue(second, h.grant())
	if err != nil {
		t.Fatal(err)
	}
	crossed := *h.enrolment
	crossed.Admission = e2.Admission
	unsealed := *h.enrolment
	unsealed.SealedMeshKey = nil
	for name, tc := range map[string]struct {
		e     *Enrolment
		relay *RelayKeys
		vault *VaultKeys
		at    time.Time
	}{
		"another device's transport":  {h.enrolment, otherRelay, h.vault, noon},
		"another device's signing":    {h.enrolment, h.relay, otherVault, noon},
		"leaves of two devices":       {&crossed, h.relay, h.vault, noon},
		"a year too late":             {h.enrolment, h.relay, h.vault, noon.Add(366 * 24 * time.Hour)},
		"no mesh key for a clinician": {&unsealed, h.relay, h.vault, noon},
		"no bundle":                   {&Enrolment{Admission: e2.Admission, Credential: e2.Credential}, h.relay, h.vault, noon},
	} {
		if store, c, err := tc.e.Accept(tc.relay, tc.vault, tc.at); err == nil || store != nil || c != nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if h.vault.MeshKey != ([32]byte{}) {
		t.Error("a refused enrolment changed the vault's keys")
	}
}

// TestAssembleRefusesOthersLeaves: leaves that are good, but for other keys or
// another person than the request's, make no enrolment.
func TestAssembleRefusesOthersLeaves(t *testing.T) {
	h := newHouse(t)
	w := h.wish()
	w.Person.Number = "1234567"
	req, err := NewRequest(w, h.relay, h.vault)
	if err != nil {
		t.Fatal(err)
	}
	adm, err := DecodeChain(h.enrolment.Admission)
	if err != nil {
		t.Fatal(err)
	}
	cred, err := DecodeChain(h.enrolment.Credential[1:])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := AssembleEnrolment(h.request, h.bundle, h.meshKey, adm, cred); err != nil {
		t.Errorf("the request's own leaves: %v", err)
	}
	if _, err := AssembleEnrolment(req, h.bundle, h.meshKey, adm, cred); err == nil {
		t.Error("another person's leaves make an enrolment")
	}
	// The same device in name, with another witness key or another bundle key.
	other, err := newHouseKeys(h)
	if err != nil {
		t.Fatal(err)
	}
	relay, vault := *h.relay, *h.vault
	relay.Witness, vault.Bundle = other.relay.Witness, other.vault.Bundle
	for name, keys := range map[string]keySet{"witness": {relay: &relay, vault: h.vault}, "bundle": {relay: h.relay, vault: &vault}} {
		req, err := NewRequest(h.wish(), keys.relay, keys.vault)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := AssembleEnrolment(req, h.bundle, h.meshKey, adm, cred); err == nil {
			t.Errorf("leaves with another %s key make an enrolment", name)
		}
	}
	if _, err := AssembleEnrolment(h.request, h.bundle, h.meshKey, cred, adm); err == nil {
		t.Error("leaves the wrong way round make an enrolment")
	}
}

func newHouseKeys(h *house) (k keySet, err error) {
	if k.relay, err = NewRelayKeys(h.rand); err != nil {
		return k, err
	}
	k.vault, err = NewVaultKeys(h.rand)
	return k, err
}

// TestAdmissionNamesNobody looks for the person in what a stranger sees.
func TestAdmissionNamesNobody(t *testing.T) {
	h := newHouse(t)
	ticket, err := NewTicket(h.vault.Signing, h.relay.PeerID(), noon, noon.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	seen := append(bytes.Clone(h.enrolment.Admission), ticket...)
	for _, secret := range []string{"7654321", "gmc", "Amara", "Okafor", "doctor", "senior", "ST5", "RYJ01", DeviceID(h.request.Signing())} {
		if bytes.Contains(seen, []byte(secret)) {
			t.Errorf("the admission chain and ticket contain %q", secret)
		}
		if !bytes.Contains(h.enrolment.Credential, []byte(secret)) {
			t.Errorf("the credential does not contain %q: this test proves nothing", secret)
		}
	}
	// The chain alone does not even hold the signing key.
	signing := h.request.Signing()
	if bytes.Contains(h.enrolment.Admission, signing[:]) {
		t.Error("the admission chain contains the signing key")
	}
}

func TestKeysRoundTripAndStaySecret(t *testing.T) {
	h := newHouse(t)
	relay, err := ParseRelayKeysPEM(h.relay.MarshalPEM())
	if err != nil {
		t.Fatal(err)
	}
	if !relay.Transport.Equal(h.relay.Transport) || !relay.Witness.Equal(h.relay.Witness) || relay.Store != h.relay.Store || relay.PeerID() != h.relay.PeerID() {
		t.Error("relay keys read back as others")
	}
	h.vault.MeshKey = h.meshKey
	raw, err := h.vault.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	vault, err := ParseVaultKeys(raw)
	if err != nil {
		t.Fatal(err)
	}
	if !vault.Signing.Equal(h.vault.Signing) || vault.MeshKey != h.meshKey || !bytes.Equal(vault.Bundle.PublicKey().Bytes(), h.vault.Bundle.PublicKey().Bytes()) {
		t.Error("vault keys read back as others")
	}
	var log bytes.Buffer
	l := slog.New(slog.NewJSONHandler(&log, nil))
	l.Info("x", "relay", h.relay, "vault", h.vault)
	said := log.String() + fmt.Sprintf("%v %+v %#v %s %v %+v %#v %s", h.relay, h.relay, h.relay, h.relay, h.vault, h.vault, h.vault, h.vault)
	if strings.Count(said, "(secret)") != 10 || len(said) > 600 {
		t.Errorf("keys are printed: %s", said)
	}
	version := bytes.Clone(raw)
	version[0] = 2
	for _, b := range [][]byte{nil, raw[:len(raw)-1], append(bytes.Clone(raw), 0), version} {
		if _, err := ParseVaultKeys(b); err == nil {
			t.Error("damaged vault keys are read")
		}
	}
	twins := bytes.NewReader(bytes.Repeat([]byte{7}, 96))
	if _, err := NewRelayKeys(twins); err == nil {
		t.Error("randomness that repeats makes keys")
	}
	if _, err := NewRelayKeys(bytes.NewReader(make([]byte, 95))); err == nil {
		t.Error("too little randomness makes relay keys")
	}
	if _, err := NewVaultKeys(bytes.NewReader(make([]byte, 63))); err == nil {
		t.Error("too little randomness makes vault keys")
	}
	if _, err := NewMeshKey(bytes.NewReader(make([]byte, 31))); err == nil {
		t.Error("too little randomness makes a mesh key")
	}
}
