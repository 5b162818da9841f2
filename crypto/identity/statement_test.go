package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"math/big"
	"slices"
	"testing"
	"time"
)

// TestStatementFrames breaks the frame of a good statement in one respect each.
func TestStatementFrames(t *testing.T) {
	w := newWorld(t)
	good := w.crl(w.a, 1, noon)
	flip := func(i int) []byte {
		b := bytes.Clone(good)
		b[i] ^= 1
		return b
	}
	ecdsaCRL := w.crl(w.b, 1, noon)
	for _, tc := range []struct {
		name string
		raw  []byte
		want check
		kind error
	}{
		{"nothing", nil, checkStatementEncoding, nil},
		{"cut short", good[:len(good)-1], checkStatementEncoding, nil},
		{"a byte after the end", append(bytes.Clone(good), 0), checkStatementEncoding, nil},
		{"version 0", flip(0), checkStatementEncoding, nil},
		{"kind 9", w.forge(good, &w.a.issuer, func(st *statement) { st.kind = 9 }), checkStatementEncoding, nil},
		{"over 60 KiB", make([]byte, MaxStatement+1), checkStatementSize, nil},
		{"another mesh's", flip(5), checkStatementMesh, ErrForeign},
		{"signature flipped", flip(len(good) - 1), checkStatementSignature, nil},
		{"number changed after signing", flip(len(good) - 70), checkStatementSignature, nil},
		{"without a signature", unsigned(t, good), checkStatementSignature, nil},
		{"ECDSA with the other s", otherS(t, w, ecdsaCRL), checkStatementSignature, nil},
		{"signed by another authority in this one's name", w.forge(good, &w.b.issuer, func(*statement) {}), checkStatementSignature, nil},
		{"an authority by a short name", w.forge(good, &w.a.issuer, func(st *statement) { st.signer = st.signer[:31] }), checkStatementEncoding, nil},
		{"a body that is none", w.forge(good, &w.a.issuer, func(st *statement) { st.body = st.body[1:] }), checkStatementEncoding, nil},
	} {
		t.Run(tc.name, func(t *testing.T) { takeRefused(t, w.fresh(), tc.raw, noon, tc.want, tc.kind) })
	}
	for _, raw := range [][]byte{good, ecdsaCRL} {
		if e := mustTake(t, w.store, raw, noon); e.Known || e.Kind != KindCRL {
			t.Errorf("effect %+v", e)
		}
		if e := mustTake(t, w.store, raw, noon.Add(-1000*time.Hour)); !e.Known {
			t.Error("taken twice")
		}
	}
	if k, err := StatementKind(good); k != KindCRL || err != nil || k.String() != "crl" || Kind(0).String() != "unknown" {
		t.Errorf("kind %v, %v", k, err)
	}
}

func unsigned(t *testing.T, raw []byte) []byte {
	st := get(parseStatement(raw))(t)
	st.signature = nil
	return get(st.marshal())(t)
}

// otherS makes the twin (r, n−s) of an ECDSA signature, which verifies too.
func otherS(t *testing.T, w *world, raw []byte) []byte {
	st := get(parseStatement(raw))(t)
	r, s, ok := parseECDSA(st.signature)
	if !ok {
		t.Fatal("no ECDSA signature")
	}
	n, _ := new(big.Int).SetString("39402006196394479212279040100143613805079739270465446667946905279627659399113263569398956308152294913554433653942643", 10)
	st.signature = get(marshalECDSA(r, s.Sub(n, s)))(t)
	return get(st.marshal())(t)
}

// TestStatementPowers has each kind of signer state what is not theirs.
func TestStatementPowers(t *testing.T) {
	w := newWorld(t)
	reg := w.registrar("doctor")
	m := w.enrol(w.a, "7000001", w.grant("doctor"))
	crl := w.crl(w.a, 1, noon)
	stranger := get(NewAuthority(orgA, "St Mary's root", noon.Add(-time.Hour), 365*24*time.Hour, w.rand))(t)
	page := get(w.a.SealMeshKey(w.store.MeshID(), 0, w.meshKey, []*Credential{m.cred}, noon, w.rand))(t)[0]
	asRegistrar := func(st *statement) { st.by, st.signer = byRegistrar, reg.Certificate().Raw }
	for _, tc := range []struct {
		name string
		raw  []byte
		want check
		kind error
	}{
		{"a CRL of an authority that no bundle names", w.crl(stranger, 1, noon), checkStatementSigner, ErrForeign},
		{"a mesh key by a registrar", w.forge(page, &reg.issuer, asRegistrar), checkStatementPower, ErrBeyond},
		{"registrars revoked by a registrar", w.forge(crl, &reg.issuer, func(st *statement) {
			asRegistrar(st)
			st.body = get((&CRL{Number: 1, Registrars: [][32]byte{{1}}}).encode())(t)
		}), checkStatementPower, ErrBeyond},
		{"a CRL by a device", get(deviceStatement(KindCRL, w.store.MeshID(), noon, byDevice, m.cred, m.vault.Signing, []byte{0}))(t), checkStatementPower, ErrBeyond},
		{"a wipe by a witness key", get(deviceStatement(KindWipe, w.store.MeshID(), noon, byWitness, m.cred, m.relay.Witness, []byte{0}))(t), checkStatementPower, ErrBeyond},
		{"a signer of kind 9", w.forge(crl, &w.a.issuer, func(st *statement) { st.by = 9 }), checkStatementPower, ErrBeyond},
		{"dated before its authority began", w.forge(crl, &w.a.issuer, func(st *statement) { st.time = 1000 }), checkStatementTime, ErrExpired},
	} {
		t.Run(tc.name, func(t *testing.T) { takeRefused(t, w.fresh(), tc.raw, noon, tc.want, tc.kind) })
	}
	if _, err := reg.CRL(w.store.MeshID(), CRL{Number: 1, Time: noon, Registrars: [][32]byte{{1}}}); err == nil {
		t.Error("a registrar makes a CRL of registrars")
	}
}

// TestRegistrarEnds: what a registrar signed is not taken after its end, with
// or without an incident; nor once it is revoked, nor when its authority goes.
func TestRegistrarEnds(t *testing.T) {
	w := newWorld(t)
	reg := w.registrar("doctor")
	m := w.enrol(w.a, "7000001", w.grant("doctor"))
	raw := w.crl(reg, 1, noon, m)
	after := reg.Certificate().NotAfter.Add(time.Second)
	s := w.fresh()
	mustTake(t, s, w.declare(w.a, 1, after, true), after)
	takeRefused(t, s, raw, after, checkStatementTime, ErrExpired)

	s = w.fresh()
	mustTake(t, s, get(w.a.CRL(w.store.MeshID(), CRL{Number: 1, Time: noon, Registrars: [][32]byte{reg.KeyHash()}}))(t), noon)
	takeRefused(t, s, raw, noon, checkRegistrarRevoked, ErrRevoked)

	s = w.fresh()
	mustTake(t, s, w.next(s, noon, []*Authority{w.a, w.b}, w.b.Certificate()), noon)
	takeRefused(t, s, raw, noon, checkWithdrawn, ErrRevoked)
	takeRefused(t, s, w.crl(w.a, 1, noon), noon, checkWithdrawn, ErrRevoked)
}

// TestCRLNumbersRise: number and date both rise, and a CRL that was played
// back changes nothing.
func TestCRLNumbersRise(t *testing.T) {
	w := newWorld(t)
	m := w.enrol(w.a, "7000001", w.grant("doctor"))
	s := w.store
	empty := w.crl(w.a, 1, noon)
	mustTake(t, s, empty, noon)
	mustTake(t, s, w.crl(w.a, 5, noon.Add(time.Hour), m), noon)
	takeRefused(t, s, empty, noon, checkCRLNumber, ErrRolledBack)
	takeRefused(t, s, w.crl(w.a, 5, noon.Add(2*time.Hour)), noon, checkCRLNumber, ErrRolledBack)
	takeRefused(t, s, w.crl(w.a, 4, noon.Add(2*time.Hour)), noon, checkCRLNumber, ErrRolledBack)
	takeRefused(t, s, w.crl(w.a, 6, noon.Add(time.Hour)), noon, checkCRLTime, ErrRolledBack)
	takeRefused(t, s, w.crl(w.a, 6, noon), noon, checkCRLTime, ErrRolledBack)
	// The other authority counts for itself.
	mustTake(t, s, w.crl(w.b, 1, noon), noon)

	// After a restart the numbers hold.
	again := w.fresh()
	if err := again.Restore(s.Snapshot()); err != nil {
		t.Fatal(err)
	}
	takeRefused(t, again, empty, noon, checkCRLNumber, ErrRolledBack)

	// A later list that leaves a device out gives it nothing back.
	if e := mustTake(t, s, w.crl(w.a, 6, noon.Add(2*time.Hour)), noon); len(e.Revoked) != 0 {
		t.Errorf("revoked %v", e.Revoked)
	}
	if err := m.connect(s, noon); !errors.Is(err, ErrRevoked) {
		t.Errorf("a later CRL without the device admits it: %v", err)
	}
}

// TestCRLDates: up to 24 hours ahead of our clock are taken, and no second more.
func TestCRLDates(t *testing.T) {
	w := newWorld(t)
	at := noon.Add(MaxClockLead)
	takeRefused(t, w.fresh(), w.crl(w.a, 1, at.Add(time.Second)), noon, checkStatementDate, ErrPostDated)
	mustTake(t, w.fresh(), w.crl(w.a, 1, at), noon)
}

func TestCRLEntries(t *testing.T) {
	w := newWorld(t)
	m := w.enrol(w.a, "7000001", w.grant("doctor"))
	good := w.crl(w.a, 1, noon, m)
	body := func(c CRL) []byte {
		return w.forge(good, &w.a.issuer, func(st *statement) { st.body = get(c.encode())(t) })
	}
	one, two := Revoked{Key: [32]byte{1}, Since: noon}, Revoked{Key: [32]byte{2}, Since: noon}
	for name, c := range map[string]CRL{
		"not sorted":              {Number: 1, Revoked: []Revoked{two, one}},
		"twice":                   {Number: 1, Revoked: []Revoked{one, one}},
		"from a later date":       {Number: 1, Revoked: []Revoked{{Key: [32]byte{1}, Since: noon.Add(time.Second)}}},
		"too many":                {Number: 1, Revoked: manyRevoked(MaxRevoked + 1)},
		"registrars not sorted":   {Number: 1, Registrars: [][32]byte{{2}, {1}}},
		"more registrars than 64": {Number: 1, Registrars: make([][32]byte, 65)},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "too many" { // does not fit a statement either
				if _, err := w.a.CRL(w.store.MeshID(), c); err == nil {
					t.Error("made")
				}
				_, err := parseCRL(get(c.encode())(t), false)
				assertRefused(t, err, checkCRLEntries, nil)
				return
			}
			takeRefused(t, w.fresh(), body(c), noon, checkCRLEntries, nil)
		})
	}
	takeRefused(t, w.fresh(), body(CRL{Number: 1, Revoked: []Revoked{{Key: m.cred.KeyHash(), Since: noon, Credential: []byte(m.cred.Raw)}}}), noon, checkEvidence, nil)

	// A full list fits one statement.
	full := get(w.a.CRL(w.store.MeshID(), CRL{Number: 1, Time: noon, Revoked: manyRevoked(MaxRevoked), Registrars: [][32]byte{{1}}}))(t)
	if e := mustTake(t, w.fresh(), full, noon); len(e.Revoked) != MaxRevoked {
		t.Errorf("%d revoked", len(e.Revoked))
	}
	t.Logf("a CRL of %d devices has %d bytes", MaxRevoked, len(full))
}

func manyRevoked(n int) []Revoked {
	out := make([]Revoked, n)
	for i := range out {
		out[i] = Revoked{Key: [32]byte{byte(i >> 8), byte(i), 1}, Since: noon}
	}
	return out
}

// TestStoreIsBounded: an authority cannot fill everybody's memory.
func TestStoreIsBounded(t *testing.T) {
	w := newWorld(t)
	s := w.store
	for i := range maxKeptRevoked {
		s.state.revoked[device{orgA, [32]byte{1, byte(i >> 16), byte(i >> 8), byte(i)}}] = &revocation{since: noon}
	}
	m := w.enrol(w.a, "7000001", w.grant())
	for name, raw := range map[string][]byte{"CRL": w.crl(w.a, 1, noon, m), "wipe": w.wipe(w.a, noon, m)} {
		if _, err := s.Take(raw, noon); Reason(err) != string(checkStatementFull) {
			t.Errorf("%s: %v", name, err)
		}
	}
	other := w.enrol(w.b, "7000002", w.grant())
	mustTake(t, s, w.crl(w.b, 1, noon, other), noon)

	// Wipe orders, pages and named administrators are counted for each signer.
	s = w.fresh()
	mine, theirs := w.a.KeyHash(), w.b.KeyHash()
	for i := range maxKeptStatements {
		id := [32]byte{9, byte(i >> 8), byte(i)}
		s.state.pages[id] = mine
		s.state.kept = append(s.state.kept, keptStatement{id: id, kind: KindWipe, by: mine}, keptStatement{id: id, kind: KindGroupAdmin, by: mine})
	}
	page := func(a *Authority) []byte {
		return get(a.SealMeshKey(s.MeshID(), 0, w.meshKey, []*Credential{m.cred}, noon, w.rand))(t)[0]
	}
	admin := func(a *Authority) []byte {
		return get(a.NameAdmin(s.MeshID(), [32]byte{1}, LogID{Author: m.cred.SigningKey}, noon, w.rand))(t)
	}
	for name, raws := range map[string][2][]byte{
		"wipe": {w.wipe(w.a, noon, m), w.wipe(w.b, noon, other)}, "page": {page(w.a), page(w.b)}, "admin": {admin(w.a), admin(w.b)},
	} {
		if _, err := s.Take(raws[0], noon); Reason(err) != string(checkStatementFull) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.Take(raws[1], noon); err != nil {
			t.Errorf("%s: one signer shuts out another: %v", name, err)
		}
	}
	if s.state.pagesOf(theirs) != 1 {
		t.Errorf("%d pages of the other", s.state.pagesOf(theirs))
	}
	// A newer key forgets the pages of the older, and of no other signer.
	s.state.raiseMeshKey(mine, 1)
	if len(s.state.pages) != 1 {
		t.Errorf("%d pages are remembered after a newer key", len(s.state.pages))
	}
}

// TestPersonTakesBackBounded: one person's withdrawals do not shut out another's.
func TestPersonTakesBackBounded(t *testing.T) {
	w := newWorld(t)
	owner, other := w.enrol(w.a, "7000001", w.grant("doctor")), w.enrol(w.a, "7000002", w.grant("doctor"))
	take := func(m *member) []byte {
		device, err := w.ownDevice(m).admit(m)
		if err != nil {
			t.Fatal(err)
		}
		return get(NewSponsorRevoke(m.cred, m.vault.Signing, device.cred, w.store.MeshID(), noon))(t)
	}
	mine, theirs := take(owner), take(other)
	by := hashOf([]byte(owner.cred.Person.String()))
	for i := range maxKeptOfPerson {
		w.store.state.kept = append(w.store.state.kept, keptStatement{id: [32]byte{byte(i)}, kind: KindSponsorRevoke, by: by, key: [32]byte{1, byte(i)}})
	}
	if _, err := w.store.Take(mine, noon); Reason(err) != string(checkStatementFull) {
		t.Error(err)
	}
	mustTake(t, w.store, theirs, noon)
}

// TestRegistrarRevokesWithinItsGrant: a registrar revokes and wipes devices of
// its own organisation whose person has no role beyond its grant, and shows it
// by the device's credential.
func TestRegistrarRevokesWithinItsGrant(t *testing.T) {
	w := newWorld(t)
	reg := w.registrar("doctor", "nurse")
	junior, senior := w.enrol(w.a, "7000001", w.grant("doctor")), w.enrol(w.a, "7000002", w.grant("doctor", "senior"))
	other := w.enrol(w.b, "7000003", w.grant("doctor"))
	wrongKey := &member{cred: &Credential{SigningKey: senior.cred.SigningKey, Raw: junior.cred.Raw}}
	for _, tc := range []struct {
		name string
		m    *member
		want check
		kind error
	}{
		{"a person with a role beyond", senior, checkEvidenceRoles, ErrBeyond},
		{"another organisation's device", other, checkEvidenceHost, ErrBeyond},
		{"the credential of another device", wrongKey, checkEvidence, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			takeRefused(t, w.fresh(), w.crl(reg, 1, noon, tc.m), noon, tc.want, tc.kind)
			takeRefused(t, w.fresh(), w.wipe(reg, noon, tc.m), noon, tc.want, tc.kind)
		})
	}
	without := CRL{Number: 1, Time: noon, Revoked: []Revoked{{Key: junior.cred.KeyHash(), Since: noon}}}
	_, err := reg.CRL(w.store.MeshID(), without)
	assertRefused(t, err, checkEvidence, nil)
	if _, err := reg.Wipe(w.store.MeshID(), Wipe{Time: noon, Key: junior.cred.KeyHash(), NotAfter: noon.Add(time.Hour)}); err == nil {
		t.Error("a registrar wipes without evidence")
	}
	bare := w.forge(w.wipe(reg, noon, junior), &reg.issuer, func(st *statement) {
		st.body = get((&WipeOrder{Key: junior.cred.KeyHash(), NotAfter: noon.Add(time.Hour)}).encode())(t)
	})
	takeRefused(t, w.fresh(), bare, noon, checkEvidence, nil)

	e := mustTake(t, w.store, w.crl(reg, 1, noon, junior), noon)
	if !e.Registrar || len(e.Revoked) != 1 || e.Revoked[0].Person != junior.cred.Person {
		t.Errorf("effect %+v", e)
	}
	if err := junior.connect(w.store, noon); !errors.Is(err, ErrRevoked) {
		t.Errorf("connects after the registrar's CRL: %v", err)
	}
	next := w.store.NextCRL(reg)
	if next.Number != 2 || len(next.Revoked) != 1 || !bytes.Equal(next.Revoked[0].Credential, []byte(junior.cred.Raw)) {
		t.Errorf("next CRL %d with %d", next.Number, len(next.Revoked))
	}
}

// TestRevocationCuts: after a CRL the device's admission leaf, credential and
// ticket are refused wherever they are shown, and what it signed can still be
// read.
func TestRevocationCuts(t *testing.T) {
	w := newWorld(t)
	m, bystander := w.enrol(w.a, "7000001", w.grant("doctor")), w.enrol(w.a, "7000002", w.grant("doctor"))
	if err := m.connect(w.store, noon); err != nil {
		t.Fatal(err)
	}
	e := mustTake(t, w.store, w.crl(w.a, 1, noon.Add(time.Hour), m), noon)
	if len(e.Revoked) != 1 || e.Revoked[0].Key != m.cred.KeyHash() || e.Org != orgA || e.Issuer != "St Mary's root" {
		t.Errorf("effect %+v", e)
	}
	_, err := w.store.VerifyAdmission(m.enrolment.Admission, m.relay.PeerID(), noon)
	assertRefused(t, err, checkRevoked, ErrRevoked)
	_, err = w.store.VerifyCredential(m.enrolment.Credential, noon)
	assertRefused(t, err, checkRevoked, ErrRevoked)
	if _, err := w.store.ReadCredential(m.enrolment.Credential); err != nil {
		t.Errorf("what it signed before cannot be read: %v", err)
	}
	if st := w.store.Standing(m.cred, noon); st.State != StandingRevoked || !st.Since.Equal(noon) || st.By != orgA {
		t.Errorf("standing %+v", st)
	}
	if r, out := w.store.RevokedDevice(m.cred); !out || r.Wiped || !r.Since.Equal(noon) {
		t.Errorf("revocation %+v", r)
	}
	if err := bystander.connect(w.store, noon); err != nil {
		t.Errorf("the bystander: %v", err)
	}
	if _, out := w.store.RevokedDevice(bystander.cred); out {
		t.Error("the bystander is out")
	}
}

// TestAuthorityRevokesItsOwn: another organisation's authority may list any
// hash, and it means nothing.
func TestAuthorityRevokesItsOwn(t *testing.T) {
	w := newWorld(t)
	m := w.enrol(w.a, "7000001", w.grant("doctor"))
	mustTake(t, w.store, w.crl(w.b, 1, noon, m), noon)
	if err := m.connect(w.store, noon); err != nil {
		t.Errorf("a CRL of another organisation cuts: %v", err)
	}
	raw := get(w.b.Wipe(w.store.MeshID(), Wipe{Time: noon, Key: m.cred.KeyHash(), NotAfter: noon.Add(time.Hour), Rand: w.rand}))(t)
	mustTake(t, w.store, raw, noon)
	if _, ok := w.store.WipeFor(m.cred, noon); ok {
		t.Error("a wipe order of another organisation is for the device")
	}
	if err := m.connect(w.store, noon); err != nil {
		t.Errorf("a wipe order of another organisation cuts: %v", err)
	}
	takeRefused(t, w.store, w.wipe(w.b, noon, m), noon, checkEvidenceHost, ErrBeyond)
}

// TestRevokedRegistrar: with a registrar goes all that it issued.
func TestRevokedRegistrar(t *testing.T) {
	w := newWorld(t)
	reg := w.registrar("doctor")
	g := w.grant("doctor")
	g.Validity = 5 * 24 * time.Hour
	m, direct := w.enrol(reg, "7000001", g), w.enrol(w.a, "7000002", w.grant("doctor"))
	if err := m.connect(w.store, noon); err != nil {
		t.Fatal(err)
	}
	e := mustTake(t, w.store, get(w.a.CRL(w.store.MeshID(), CRL{Number: 1, Time: noon, Registrars: [][32]byte{reg.KeyHash()}}))(t), noon)
	if !slices.Equal(e.Registrars, [][32]byte{reg.KeyHash()}) {
		t.Errorf("effect %+v", e)
	}
	_, err := w.store.VerifyAdmission(m.enrolment.Admission, m.relay.PeerID(), noon)
	assertRefused(t, err, checkRegistrarRevoked, ErrRevoked)
	if st := w.store.Standing(m.cred, noon); st.State != StandingRevoked || st.Why != WhyRegistrarRevoked {
		t.Errorf("standing %+v", st)
	}
	if err := direct.connect(w.store, noon); err != nil {
		t.Errorf("whom the authority issued: %v", err)
	}
	if next := w.store.NextCRL(w.a); next.Number != 2 || len(next.Registrars) != 1 {
		t.Errorf("next CRL %+v", next)
	}
}

// TestRevocationAge: fresh to 24 hours, ageing to 7 days, then stale; an
// authority that has said nothing is stale.
func TestRevocationAge(t *testing.T) {
	w := newWorld(t)
	reg := w.registrar("doctor")
	mustTake(t, w.store, w.crl(w.a, 3, noon), noon)
	mustTake(t, w.store, w.crl(reg, 1, noon), noon)
	for age, want := range map[time.Duration]Freshness{
		-time.Hour: Fresh, 0: Fresh, FreshLife: Fresh, FreshLife + time.Second: Ageing, AgeingLife: Ageing, AgeingLife + time.Second: Stale,
	} {
		list := w.store.RevocationAge(noon.Add(age))
		if len(list) != 3 {
			t.Fatalf("%d issuers", len(list))
		}
		none, root, desk := list[0], list[1], list[2]
		if root.Org != orgA || root.Registrar || root.State != want || root.Number != 3 || root.Revoked != 0 || root.Age != max(0, age) {
			t.Errorf("%v: %+v, want %v", age, root, want)
		}
		if !desk.Registrar || desk.Name != "Ward desk" || desk.State != want {
			t.Errorf("%v: registrar %+v", age, desk)
		}
		if none.Org != orgB || none.State != Stale || !none.ThisUpdate.IsZero() {
			t.Errorf("%v: %+v", age, none)
		}
	}
	if n := len(w.store.RevocationAge(noon.Add(21 * 24 * time.Hour))); n != 2 {
		t.Errorf("%d issuers after the registrar's end", n)
	}
	if Fresh.String() != "fresh" || Ageing.String() != "ageing" || Stale.String() != "stale" {
		t.Error("words")
	}
}

// TestClockFloor: only what an authority has signed, and at most 24 hours
// ahead, raises the floor.
func TestClockFloor(t *testing.T) {
	w := newWorld(t)
	reg := w.registrar("doctor")
	s := w.store
	if !s.Floor().IsZero() {
		t.Error("a floor from nothing")
	}
	mustTake(t, s, w.crl(reg, 1, noon.Add(time.Hour)), noon)
	if !s.Floor().IsZero() {
		t.Error("a registrar raises the floor")
	}
	mustTake(t, s, w.crl(w.a, 1, noon.Add(time.Hour)), noon)
	if !s.Floor().Equal(noon.Add(time.Hour)) {
		t.Errorf("floor %v", s.Floor())
	}
	if _, err := s.Take(w.crl(w.a, 2, noon.Add(25*time.Hour)), noon); !errors.Is(err, ErrPostDated) {
		t.Error(err)
	}
	mustTake(t, s, w.crl(w.b, 1, noon), noon)
	if !s.Floor().Equal(noon.Add(time.Hour)) {
		t.Errorf("floor %v", s.Floor())
	}
	again := w.fresh()
	if err := again.Restore(s.Snapshot()); err != nil || !again.Floor().Equal(s.Floor()) {
		t.Errorf("floor after a restart %v, %v", again.Floor(), err)
	}
}

// TestSignatureKinds: the key of a module that signs with the higher s is
// normalised, and a key that makes no DER is an error.
func TestSignatureKinds(t *testing.T) {
	w := newWorld(t)
	for range 8 {
		sig := get(signAs(w.b.key, domainStatement, []byte("x"), rand.Reader))(t)
		if verifyAs(w.b.Certificate(), domainStatement, []byte("x"), sig) != nil || verifyAs(w.b.Certificate(), domainBundle, []byte("x"), sig) == nil {
			t.Fatal("P-384 signature")
		}
	}
	sig := get(signAs(w.a.key, domainStatement, []byte("x"), rand.Reader))(t)
	if len(sig) != ed25519.SignatureSize || verifyAs(w.a.Certificate(), domainStatement, []byte("x"), sig) != nil {
		t.Fatal("Ed25519 signature")
	}
}
