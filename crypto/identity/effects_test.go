package identity

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// TestWipeOrder: the order revokes at once and for ever, and asks its target
// to erase itself until it lapses.
func TestWipeOrder(t *testing.T) {
	w := newWorld(t)
	m, other := w.enrol(w.a, "7000001", w.grant("doctor")), w.enrol(w.a, "7000002", w.grant("doctor"))
	raw := w.wipe(w.a, noon, m)
	e := mustTake(t, w.store, raw, noon)
	if e.Wipe == nil || e.Wipe.Key != m.cred.KeyHash() || e.Wipe.Org != orgA || len(e.Revoked) != 1 || !e.Revoked[0].Wiped {
		t.Errorf("effect %+v", e)
	}
	order, ok := w.store.WipeFor(m.cred, noon)
	if !ok || order.ID != e.ID {
		t.Fatal("the order is not for its target")
	}
	if _, ok := w.store.WipeFor(other.cred, noon); ok {
		t.Error("the order is for another")
	}
	if _, ok := w.store.WipeFor(m.cred, order.NotAfter.Add(time.Second)); ok {
		t.Error("the order outlives its end")
	}
	_, err := w.store.VerifyAdmission(m.enrolment.Admission, m.relay.PeerID(), noon)
	assertRefused(t, err, checkWiped, ErrRevoked)
	if st := w.store.Standing(m.cred, noon); st.State != StandingWiped || st.By != orgA {
		t.Errorf("standing %+v", st)
	}
	// A CRL that follows says no less, and one that arrives late revokes still.
	mustTake(t, w.store, w.crl(w.a, 1, noon, m), noon)
	if st := w.store.Standing(m.cred, noon); st.State != StandingWiped {
		t.Errorf("standing after a CRL %+v", st)
	}
	late := w.fresh()
	if e := mustTake(t, late, raw, order.NotAfter.Add(time.Hour)); len(e.Revoked) != 1 || e.Wipe.Due(order.NotAfter.Add(time.Hour)) {
		t.Errorf("late effect %+v", e)
	}
}

func TestWipeValidity(t *testing.T) {
	w := newWorld(t)
	m := w.enrol(w.a, "7000001", w.grant("doctor"))
	good := w.wipe(w.a, noon, m)
	for name, end := range map[string]time.Time{
		"ends as it begins": noon, "more than 90 days": noon.Add(MaxWipeLife + time.Second), "never": {},
	} {
		raw := w.forge(good, &w.a.issuer, func(st *statement) {
			st.body = get((&WipeOrder{Key: m.cred.KeyHash(), NotAfter: end}).encode())(t)
		})
		t.Run(name, func(t *testing.T) { takeRefused(t, w.fresh(), raw, noon, checkWipeLife, nil) })
		if _, err := w.a.Wipe(w.store.MeshID(), Wipe{Time: noon, NotAfter: end}); err == nil {
			t.Errorf("%s: made", name)
		}
	}
	takeRefused(t, w.fresh(), w.wipe(w.a, noon.Add(MaxClockLead+time.Second), m), noon, checkStatementDate, ErrPostDated)
}

// TestWipeReceipt: by the witness key of the target, for an order that is
// known; a receipt that comes first waits for its order.
func TestWipeReceipt(t *testing.T) {
	w := newWorld(t)
	mesh := w.store.MeshID()
	m, other := w.enrol(w.a, "7000001", w.grant("doctor")), w.enrol(w.a, "7000002", w.grant("doctor"))
	raw := w.wipe(w.a, noon, m)
	order := mustTake(t, w.store, raw, noon).Wipe
	receipt := get(NewWipeReceipt(m.cred, m.relay.Witness, order, mesh, noon))(t)
	if _, err := NewWipeReceipt(m.cred, m.vault.Signing, order, mesh, noon); err == nil {
		t.Error("a receipt by the signing key is made")
	}
	if _, err := NewWipeReceipt(other.cred, other.relay.Witness, order, mesh, noon); err == nil {
		t.Error("a receipt of another device is made")
	}
	forged := func(c *member, key *member, body []byte) []byte {
		return get(deviceStatement(KindReceipt, mesh, noon, byWitness, c.cred, key.relay.Witness, body))(t)
	}
	takeRefused(t, w.store, forged(m, other, order.ID[:]), noon, checkStatementSignature, nil)
	takeRefused(t, w.store, forged(other, other, order.ID[:]), noon, checkReceiptKey, nil)
	takeRefused(t, w.store, forged(m, m, make([]byte, 32)), noon, checkReceiptOrder, ErrEarly)
	takeRefused(t, w.store, forged(m, m, order.ID[:31]), noon, checkStatementEncoding, nil)

	early := w.fresh()
	if _, err := early.Take(receipt, noon); !errors.Is(err, ErrEarly) {
		t.Errorf("a receipt before its order: %v", err)
	}
	if e := mustTake(t, early, raw, noon); len(e.Also) != 1 || e.Also[0].Receipt == nil {
		t.Errorf("the receipt did not wait: %+v", e)
	}
	e := mustTake(t, w.store, receipt, noon)
	if e.Receipt == nil || e.Receipt.Order != order.ID || e.Receipt.Person != m.cred.Person {
		t.Errorf("effect %+v", e)
	}
	if r, ok := w.store.ReceiptFor(order.ID); !ok || r.Key != m.cred.KeyHash() {
		t.Error("the receipt is not kept")
	}
	if _, ok := w.store.ReceiptFor([32]byte{}); ok {
		t.Error("a receipt for no order")
	}
	takeRefused(t, w.store, get(NewWipeReceipt(m.cred, m.relay.Witness, order, mesh, noon.Add(time.Hour)))(t), noon, checkReceiptOrder, ErrRolledBack)
}

// TestHearing: a device that was ordered to erase itself can be let in to hear
// so, until its receipt is there, and no other revoked device.
func TestHearing(t *testing.T) {
	w := newWorld(t)
	m, listed := w.enrol(w.a, "7000001", w.grant("doctor")), w.enrol(w.a, "7000002", w.grant("doctor"))
	order := mustTake(t, w.store, w.wipe(w.a, noon, m), noon).Wipe
	mustTake(t, w.store, w.crl(w.a, 1, noon, m, listed), noon)
	if err := m.connect(w.store, noon); !errors.Is(err, ErrRevoked) {
		t.Errorf("let in unasked: %v", err)
	}
	asked := 0
	w.store.SetHearing(func(id peer.ID) bool { asked++; return id == m.relay.PeerID() })
	a, err := w.store.VerifyAdmission(m.enrolment.Admission, m.relay.PeerID(), noon)
	if err != nil || !a.Hearing || asked != 1 {
		t.Fatalf("not heard: %v", err)
	}
	if err := listed.connect(w.store, noon); !errors.Is(err, ErrRevoked) || asked != 1 {
		t.Errorf("a device on the CRL alone: %v", err)
	}
	if err := m.connect(w.store, order.NotAfter.Add(time.Second)); !errors.Is(err, ErrRevoked) {
		t.Errorf("after the order's end: %v", err)
	}
	mustTake(t, w.store, get(NewWipeReceipt(m.cred, m.relay.Witness, order, w.store.MeshID(), noon))(t), noon)
	if err := m.connect(w.store, noon); !errors.Is(err, ErrRevoked) {
		t.Errorf("after the receipt: %v", err)
	}
}

func TestDeclaration(t *testing.T) {
	w := newWorld(t)
	reg := w.registrar("doctor")
	s := w.store
	e := mustTake(t, s, w.declare(w.a, 1, noon, true), noon)
	if e.Incident == nil || !e.Incident.Declared || e.Incident.Name != "Flood" || e.Incident.Org != orgA {
		t.Errorf("effect %+v", e)
	}
	if in := s.Declared(noon); len(in) != 1 || in[0].By != "St Mary's root" {
		t.Errorf("declared %+v", in)
	}
	takeRefused(t, s, w.declare(w.a, 1, noon.Add(time.Hour), false), noon, checkDeclarationNumber, ErrRolledBack)
	takeRefused(t, s, w.declare(w.a, 2, noon, false), noon, checkDeclarationNumber, ErrRolledBack)
	takeRefused(t, s, w.declare(w.a, 2, noon.Add(MaxClockLead+time.Second), false), noon, checkStatementDate, ErrPostDated)
	if len(s.Declared(noon.Add(6*24*time.Hour+time.Second))) != 0 {
		t.Error("a declaration does not lapse")
	}
	mustTake(t, s, w.declare(reg, 1, noon.Add(time.Minute), true), noon)
	if len(s.Declared(noon)) != 2 {
		t.Error("a registrar's declaration does not count beside an earlier one of the authority")
	}
	mustTake(t, s, w.declare(w.a, 2, noon.Add(time.Hour), false), noon)
	if in := s.Declared(noon); len(in) != 0 {
		t.Errorf("after the authority stood down: %+v", in)
	}
	takeRefused(t, s, w.declare(w.a, 1, noon, true), noon, checkDeclarationNumber, ErrRolledBack)
}

// TestDeclarationEndsWithItsSigner: what a registrar declared counts no more
// once the registrar is revoked, and what anybody did once a bundle leaves out
// the authority; neither gives grace.
func TestDeclarationEndsWithItsSigner(t *testing.T) {
	w := newWorld(t)
	reg := w.registrar("doctor")
	g := w.grant("doctor")
	g.Validity = time.Hour
	m := w.enrol(w.a, "7000001", g)
	at := noon.Add(2 * time.Hour)
	graced := func(s *TrustStore) bool { return s.Standing(m.cred, at).State == StandingGrace }
	byReg, byRoot := w.declare(reg, 1, noon, true), w.declare(w.a, 1, noon.Add(-time.Hour), true)

	s := w.fresh()
	mustTake(t, s, byReg, noon)
	if !graced(s) {
		t.Fatal("no grace")
	}
	mustTake(t, s, get(w.a.CRL(s.MeshID(), CRL{Number: 1, Time: noon, Registrars: [][32]byte{reg.KeyHash()}}))(t), noon)
	if in := s.Declared(at); len(in) != 0 || graced(s) {
		t.Errorf("of a revoked registrar: %+v", in)
	}
	mustTake(t, s, byRoot, noon)
	if in := s.Declared(at); len(in) != 1 || !graced(s) {
		t.Errorf("beside the authority's own: %+v", in)
	}
	for name, raw := range map[string][]byte{"registrar": byReg, "authority": byRoot} {
		t.Run(name, func(t *testing.T) {
			s := w.fresh()
			mustTake(t, s, raw, noon)
			one := w.next(s, noon, []*Authority{w.a, w.b}, w.b.Certificate())
			if len(s.Declared(at)) != 1 {
				t.Fatal("not declared")
			}
			mustTake(t, s, one, noon)
			again := w.fresh()
			if err := again.Restore(s.Snapshot()); err != nil {
				t.Fatal(err)
			}
			for _, s := range []*TrustStore{s, again} {
				if in := s.Declared(at); len(in) != 0 {
					t.Errorf("under a withdrawn authority: %+v", in)
				}
			}
		})
	}
}

func TestDeclarationValidity(t *testing.T) {
	w := newWorld(t)
	reg := w.registrar("doctor")
	mesh := w.store.MeshID()
	for name, tc := range map[string]struct {
		by Issuer
		d  Declaration
	}{
		"more than 30 days":               {w.a, Declaration{Declared: true, Until: noon.Add(MaxDeclaration + time.Second)}},
		"by a registrar more than 7 days": {reg, Declaration{Declared: true, Until: noon.Add(MaxRegistrarDeclaration + time.Second)}},
		"no end":                          {w.a, Declaration{Declared: true}},
		"an end before the beginning":     {w.a, Declaration{Declared: true, Until: noon.Add(-time.Hour)}},
	} {
		tc.d.Number, tc.d.Time, tc.d.Name = 1, noon, "Flood"
		_, err := tc.by.Declare(mesh, tc.d)
		t.Run(name, func(t *testing.T) { assertRefused(t, err, checkDeclarationLife, nil) })
	}
	for _, name := range []string{"", "Fl\nood", string(make([]byte, 129))} {
		if _, err := w.a.Declare(mesh, Declaration{Number: 1, Time: noon, Declared: true, Name: name, Until: noon.Add(time.Hour)}); err == nil {
			t.Errorf("incident %q", name)
		}
	}
	stood := w.forge(w.declare(w.a, 1, noon, false), &w.a.issuer, func(st *statement) { st.body[len(st.body)-1] = 1 })
	takeRefused(t, w.fresh(), stood, noon, checkDeclarationLife, nil)
}

// TestGrace: in a declared incident of its organisation an expired credential
// admits for 14 days, amber; a registrar's certificate has none, and neither
// has what people vouch for (TestBreakGlassEnds).
func TestGrace(t *testing.T) {
	w := newWorld(t)
	reg := w.registrar("doctor")
	g := w.grant("doctor")
	g.Validity = 5 * 24 * time.Hour
	m, byReg := w.enrol(w.a, "7000001", g), w.enrol(reg, "7000002", g)
	g.Now = noon.Add(20*24*time.Hour - 5*24*time.Hour) // ends with the registrar itself
	lastByReg := w.enrol(reg, "7000003", g)
	foreign := w.enrol(w.b, "7000004", w.grant("doctor"))
	end := m.cred.NotAfter
	after := end.Add(time.Hour)
	if err := m.connect(w.store, after); !errors.Is(err, ErrExpired) {
		t.Errorf("expired without an incident: %v", err)
	}
	declare := func(number uint64, at time.Time) { mustTake(t, w.store, w.declare(w.a, number, at, true), at) }
	declare(1, after)
	a, err := w.store.VerifyAdmission(m.enrolment.Admission, m.relay.PeerID(), after)
	if err != nil || !a.Grace || m.connect(w.store, after) != nil {
		t.Errorf("no grace: %v", err)
	}
	if st := w.store.Standing(m.cred, after); st.State != StandingGrace || !st.Until.Equal(end.Add(GraceLife)) {
		t.Errorf("standing %+v", st)
	}
	if err := byReg.connect(w.store, after); err != nil {
		t.Errorf("a registrar's leaf while the registrar holds: %v", err)
	}
	if st := w.store.Standing(foreign.cred, foreign.cred.NotAfter.Add(time.Hour)); st.State != StandingExpired {
		t.Errorf("another organisation's incident gives grace: %+v", st)
	}
	declare(2, end.Add(GraceLife-time.Hour))
	if err := m.connect(w.store, end.Add(GraceLife)); err != nil {
		t.Errorf("on the 14th day: %v", err)
	}
	if err := m.connect(w.store, end.Add(GraceLife+time.Second)); !errors.Is(err, ErrExpired) {
		t.Errorf("after 14 days: %v", err)
	}
	regEnd := reg.Certificate().NotAfter
	declare(3, regEnd)
	if err := lastByReg.connect(w.store, regEnd.Add(time.Second)); !errors.Is(err, ErrExpired) {
		t.Errorf("grace past the end of the registrar: %v", err)
	}
	// What has not begun has no grace, and a revoked one neither.
	if err := m.connect(w.store, m.cred.NotBefore.Add(-time.Second)); !errors.Is(err, ErrExpired) {
		t.Errorf("before it begins: %v", err)
	}
	mustTake(t, w.store, w.crl(w.a, 1, end.Add(GraceLife-time.Hour), m), end.Add(GraceLife))
	if err := m.connect(w.store, end.Add(GraceLife-time.Minute)); !errors.Is(err, ErrRevoked) {
		t.Errorf("revoked in grace: %v", err)
	}
}

// TestBundleByMajority: a later bundle needs more than half of the roots in
// force, its number, its predecessor and its date.
func TestBundleByMajority(t *testing.T) {
	w := newWorld(t)
	c := get(NewAuthority("city.nhs.example", "City root", noon.Add(-time.Hour), 365*24*time.Hour, w.rand))(t)
	all := []*Authority{w.a, w.b, c}
	both := all[:2]
	s := w.store
	ca, cb, cc := w.a.Certificate(), w.b.Certificate(), c.Certificate()
	takeRefused(t, s, w.next(s, noon, nil, ca, cb, cc), noon, checkBundleMajority, nil)
	takeRefused(t, s, w.next(s, noon, all[:1], ca, cb, cc), noon, checkBundleMajority, nil)
	takeRefused(t, s, w.next(s, noon, []*Authority{w.a, c}, ca, cb, cc), noon, checkBundleSignature, nil)
	takeRefused(t, s, w.next(s, noon.Add(MaxClockLead+time.Hour), both, ca, cb, cc), noon, checkStatementDate, ErrPostDated)
	stranger := get(NewBundle("Elsewhere", noon.Add(-time.Hour), ca, cb))(t)
	takeRefused(t, s, w.next(get(NewTrustStore(stranger))(t), noon, both, ca, cb, cc), noon, checkStatementMesh, ErrForeign)
	signed := get(w.b.SignBundle(get(w.a.SignBundle(get(NextBundle(s.Bundle(), noon, ca, cb, cc))(t)))(t)))(t)
	moved := *signed
	moved.created = moved.created.Add(time.Second)
	takeRefused(t, s, get(BundleStatement(get(ParseBundle(get(moved.encode(dersOf(signed)))(t)))(t)))(t), noon, checkBundleSignature, nil)
	unlinked := *signed
	unlinked.previous[0] ^= 1
	takeRefused(t, s, get(BundleStatement(get(ParseBundle(get(unlinked.encode(dersOf(signed)))(t)))(t)))(t), noon, checkBundlePrevious, nil)
	frame := get(parseStatement(get(BundleStatement(signed))(t)))(t)
	frame.time++
	takeRefused(t, s, get(frame.marshal())(t), noon, checkStatementEncoding, nil)

	if signed.Needed(s.Bundle()) != 2 || signed.Signatures() != 2 {
		t.Errorf("%d of %d signatures", signed.Signatures(), signed.Needed(s.Bundle()))
	}
	first := get(BundleStatement(signed))(t)
	e := mustTake(t, s, first, noon)
	if e.Bundle == nil || e.Bundle.Number() != 1 || s.Bundle().Number() != 1 || s.MeshID() != w.bundle.MeshID() || s.Bundle().MeshID() != w.bundle.MeshID() {
		t.Errorf("effect %+v", e)
	}
	if e := mustTake(t, s, w.next(w.fresh(), noon, both, ca, cb, cc), noon); !e.Known {
		t.Error("the same bundle with another signature of the P-384 root is news")
	}
	takeRefused(t, s, w.next(w.fresh(), noon.Add(time.Hour), both, ca, cb), noon, checkBundleNumber, ErrRolledBack)

	// The new organisation's people are admitted, and the old ones still.
	g := w.grant("doctor")
	g.Statements = s.Statements()
	newcomer := w.enrol(c, "7000001", g)
	old := w.enrol(w.a, "7000002", w.grant("doctor"))
	for _, m := range []*member{newcomer, old} {
		if err := m.connect(s, noon); err != nil {
			t.Error(err)
		}
	}
	store, cred, err := newcomer.enrolment.Accept(newcomer.relay, newcomer.vault, noon)
	if err != nil || store.Bundle().Number() != 1 || cred.Person.Org != "city.nhs.example" {
		t.Errorf("the newcomer's enrolment: %v", err)
	}
	if _, err := c.Issue(get(NewRequest(wishOf(c.Org(), "7000005"), old.relay, old.vault))(t), w.grant()); err == nil {
		t.Error("issued under a bundle that does not name the authority")
	}

	// A bundle that leaves St Mary's out withdraws all of theirs.
	if err := func() error { _, err := NextBundle(s.Bundle(), noon, cb, cc); return err }(); err == nil {
		t.Error("a bundle of the same date follows")
	}
	mustTake(t, s, w.next(s, noon.Add(time.Hour), []*Authority{w.b, c}, cb, cc), noon)
	_, err = s.VerifyAdmission(old.enrolment.Admission, old.relay.PeerID(), noon)
	assertRefused(t, err, checkWithdrawn, ErrRevoked)
	if st := s.Standing(old.cred, noon); st.State != StandingRevoked || st.Why != WhyWithdrawn {
		t.Errorf("standing %+v", st)
	}
	if _, err := s.ReadCredential(old.enrolment.Credential); err != nil {
		t.Errorf("what they signed before cannot be read: %v", err)
	}
	again := w.fresh()
	if err := again.Restore(s.Snapshot()); err != nil || again.Bundle().ID() != s.Bundle().ID() {
		t.Errorf("restored: %v", err)
	}
}

func dersOf(b *Bundle) (out [][]byte) {
	for _, r := range b.roots {
		out = append(out, r.cert.Raw)
	}
	return out
}

// TestWaiting: statements that come before the bundle they build on are kept,
// and taken when it comes, in whatever order.
func TestWaiting(t *testing.T) {
	w := newWorld(t)
	c := get(NewAuthority("city.nhs.example", "City root", noon.Add(-time.Hour), 365*24*time.Hour, w.rand))(t)
	both := []*Authority{w.a, w.b}
	ca, cb, cc := w.a.Certificate(), w.b.Certificate(), c.Certificate()
	guide := w.fresh()
	one := w.next(guide, noon, both, ca, cb, cc)
	mustTake(t, guide, one, noon)
	two := w.next(guide, noon.Add(time.Hour), both, ca, cb, cc)
	m := w.enrol(w.a, "7000001", w.grant("doctor"))
	page := get(w.a.SealMeshKey(w.store.MeshID(), 2, w.meshKey, []*Credential{m.cred}, noon, w.rand))(t)[0]
	crl := w.crl(c, 1, noon)

	s := w.store
	for _, tc := range []struct {
		raw  []byte
		want check
		kind error
	}{{two, checkBundleGap, ErrEarly}, {page, checkMeshKeyEarly, ErrEarly}, {crl, checkStatementSigner, ErrForeign}} {
		_, err := s.Take(tc.raw, noon)
		assertRefused(t, err, tc.want, tc.kind)
	}
	again := w.fresh() // also after a restart in between
	if err := again.Restore(s.Snapshot()); err != nil {
		t.Fatal(err)
	}
	e := mustTake(t, again, one, noon)
	kinds := map[Kind]int{}
	for _, also := range e.Also {
		kinds[also.Kind]++
	}
	if len(e.Also) != 3 || kinds[KindBundle] != 1 || kinds[KindMeshKey] != 1 || kinds[KindCRL] != 1 || again.Bundle().Number() != 2 {
		t.Errorf("of what waited came %v", kinds)
	}
	// Others' noise pushes out the oldest and no more.
	for i := range 3 * maxWaiting {
		if _, err := s.Take(w.forge(crl, &c.issuer, func(st *statement) { st.time += uint64(i) }), noon); !errors.Is(err, ErrForeign) {
			t.Fatal(err)
		}
	}
	if len(s.waiting) != maxWaiting {
		t.Errorf("%d statements wait", len(s.waiting))
	}
}

// TestMeshKeyPages: 100 devices take three pages; each opens its wrap and no
// other's; a key of a lower number is refused once a higher is known.
func TestMeshKeyPages(t *testing.T) {
	w := newWorld(t)
	mesh := w.store.MeshID()
	var members []*member
	var creds []*Credential
	for i := range 3 {
		members = append(members, w.enrol(w.a, fmt.Sprintf("700000%d", i), w.grant("doctor")))
		creds = append(creds, members[i].cred)
	}
	outsider := w.enrol(w.b, "7000009", w.grant("doctor"))
	relay := w.grant()
	relay.Relay = true
	for len(creds) < 2*MaxMeshWraps+4 {
		creds = append(creds, members[0].cred)
	}
	key := [32]byte{9}
	pages := get(w.a.SealMeshKey(mesh, 0, key, append(creds, w.enrol(w.a, "7000008", relay).cred), noon, w.rand))(t)
	if len(pages) != 3 {
		t.Fatalf("%d pages", len(pages))
	}
	t.Logf("a page of %d wraps has %d bytes", MaxMeshWraps, len(pages[0]))
	p := mustTake(t, w.store, pages[0], noon).MeshKey
	for _, m := range members {
		if got, ok := p.Open(mesh, m.vault); !ok || got != key || !p.For(m.cred.SigningKey) {
			t.Error("a member's wrap does not open")
		}
	}
	if _, ok := p.Open(mesh, outsider.vault); ok || p.For(outsider.cred.SigningKey) {
		t.Error("an outsider has a wrap")
	}
	if _, ok := p.Open(MeshID{1}, members[0].vault); ok {
		t.Error("a wrap opens in another mesh")
	}
	thief := *members[1].vault
	thief.Signing = members[0].vault.Signing
	if _, ok := p.Open(mesh, &thief); ok {
		t.Error("another bundle key opens")
	}
	if e := mustTake(t, w.store, pages[0], noon); !e.Known {
		t.Error("a page is taken twice")
	}
	last := mustTake(t, w.store, pages[2], noon).MeshKey
	if len(last.wraps) != 4 || last.For(members[1].cred.SigningKey) {
		t.Errorf("%d wraps on the last page", len(last.wraps))
	}
	// Bundle 1 and its key; then the old page, new to this device, is too old.
	mustTake(t, w.store, w.next(w.store, noon, []*Authority{w.a, w.b}, w.a.Certificate(), w.b.Certificate()), noon)
	mustTake(t, w.store, get(w.a.SealMeshKey(mesh, 1, [32]byte{8}, creds[:1], noon, w.rand))(t)[0], noon)
	takeRefused(t, w.store, pages[1], noon, checkMeshKeyNumber, ErrRolledBack)
	again := w.fresh()
	if err := again.Restore(w.store.Snapshot()); err != nil {
		t.Fatal(err)
	}
	takeRefused(t, again, pages[1], noon, checkMeshKeyNumber, ErrRolledBack)
	if _, err := w.a.SealMeshKey(mesh, 1, [32]byte{}, creds[:1], noon, w.rand); err == nil {
		t.Error("a key of zeros is sealed")
	}
	short := w.forge(pages[1], &w.a.issuer, func(st *statement) { st.body = st.body[:len(st.body)-1] })
	takeRefused(t, w.fresh(), short, noon, checkStatementEncoding, nil)
}

func TestGroupAdmin(t *testing.T) {
	w := newWorld(t)
	m := w.enrol(w.a, "7000001", w.grant("doctor"))
	group, admin := [32]byte{5}, LogID{Author: m.cred.SigningKey, Incarnation: 2}
	name := func(at time.Time) []byte { return get(w.a.NameAdmin(w.store.MeshID(), group, admin, at, w.rand))(t) }
	raw := name(noon)
	e := mustTake(t, w.store, raw, noon)
	if e.Admin == nil || e.Admin.Group != group || e.Admin.Admin != admin || e.Admin.Org != orgA || !bytes.Equal(e.Admin.Raw, raw) {
		t.Errorf("effect %+v", e)
	}
	mustTake(t, w.store, name(noon.Add(time.Hour)), noon)
	takeRefused(t, w.store, raw, noon, checkAdminTime, ErrRolledBack)
	if _, err := w.a.NameAdmin(w.store.MeshID(), group, LogID{}, noon, w.rand); err == nil {
		t.Error("a key of zeros administers")
	}
	short := w.forge(raw, &w.a.issuer, func(st *statement) { st.body = st.body[1:] })
	takeRefused(t, w.fresh(), short, noon, checkStatementEncoding, nil)
}

// TestSnapshot: what was taken is the same after a restart; a damaged snapshot
// and that of another mesh change nothing; a merge lowers nothing.
func TestSnapshot(t *testing.T) {
	w := newWorld(t)
	reg := w.registrar("doctor")
	m, n := w.enrol(w.a, "7000001", w.grant("doctor")), w.enrol(w.a, "7000002", w.grant("doctor"))
	s := w.store
	for _, raw := range [][]byte{
		w.crl(w.a, 1, noon, m), w.crl(w.a, 2, noon.Add(time.Hour)), w.crl(w.b, 9, noon), w.crl(reg, 1, noon), w.wipe(reg, noon, n),
		w.declare(w.a, 1, noon, true), w.next(s, noon, []*Authority{w.a, w.b}, w.a.Certificate(), w.b.Certificate()),
	} {
		mustTake(t, s, raw, noon)
	}
	snapshot := s.Snapshot()
	again := w.fresh()
	if err := again.Restore(snapshot); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again.Snapshot(), snapshot) {
		t.Error("a snapshot does not come back as it was")
	}
	for _, d := range []*member{m, n} {
		if a, b := s.Standing(d.cred, noon), again.Standing(d.cred, noon); a != b || a.State < StandingRevoked {
			t.Errorf("standing %+v, restored %+v", a, b)
		}
	}
	if len(again.Declared(noon)) != 1 || again.Bundle().Number() != 1 || len(again.Statements()) != len(s.Statements()) {
		t.Error("declarations, bundles or statements are lost")
	}
	if k, _ := StatementKind(again.Statements()[0]); k != KindBundle {
		t.Errorf("the first statement to hand over is a %v", k)
	}
	for i := 0; i < len(snapshot); i += 1 + len(snapshot)/97 {
		b := bytes.Clone(snapshot)
		b[i] ^= 4
		fresh := w.fresh()
		if err := fresh.Restore(b); err == nil || len(fresh.Statements()) != 0 {
			t.Fatalf("byte %d flipped: %v", i, err)
		}
	}
	for _, b := range [][]byte{nil, {1}, snapshot[:len(snapshot)-1], append(bytes.Clone(snapshot), 0)} {
		if w.fresh().Restore(b) == nil {
			t.Error("a snapshot of another length is restored")
		}
	}
	if err := newWorldOf(t, 8).store.Restore(snapshot); !errors.Is(err, ErrForeign) {
		t.Errorf("another mesh's: %v", err)
	}
	// Merged into a store that knows more, it lowers nothing.
	more := w.fresh()
	mustTake(t, more, w.crl(w.a, 7, noon.Add(3*time.Hour), n), noon)
	if err := more.Restore(snapshot); err != nil {
		t.Fatal(err)
	}
	takeRefused(t, more, w.crl(w.a, 7, noon.Add(4*time.Hour)), noon, checkCRLNumber, ErrRolledBack)
	if more.Standing(m.cred, noon).State != StandingRevoked || more.Standing(n.cred, noon).State != StandingWiped {
		t.Error("a merge loses a revocation")
	}
}

// TestEnrolmentCarriesStatements: who joins after a revocation knows of it.
func TestEnrolmentCarriesStatements(t *testing.T) {
	w := newWorld(t)
	m := w.enrol(w.a, "7000001", w.grant("doctor"))
	mustTake(t, w.store, w.crl(w.a, 1, noon, m), noon)
	g := w.grant("doctor")
	g.Statements = w.store.Statements()
	newcomer := w.enrol(w.a, "7000002", g)
	raw := get(newcomer.enrolment.Marshal())(t)
	e := get(ParseEnrolment(raw))(t)
	store, _, err := e.Accept(newcomer.relay, newcomer.vault, noon)
	if err != nil || store.Standing(m.cred, noon).State != StandingRevoked {
		t.Errorf("the newcomer does not know of the revocation: %v", err)
	}
	g.Statements = [][]byte{{1}}
	if _, err := w.a.Issue(get(NewRequest(wishOf(orgA, "7000003"), m.relay, m.vault))(t), g); err == nil {
		t.Error("a broken statement goes along")
	}
}

// TestTrustStoreIsSafe takes and asks at once; the race detector watches.
func TestTrustStoreIsSafe(t *testing.T) {
	w := newWorld(t)
	m := w.enrol(w.a, "7000001", w.grant("doctor"))
	var raws [][]byte
	for i := range 8 {
		raws = append(raws, w.crl(w.a, uint64(i+1), noon.Add(time.Duration(i)*time.Minute), m))
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for _, raw := range raws {
			if _, err := w.store.Take(raw, noon); err != nil {
				t.Error(err)
			}
		}
	})
	for range 3 {
		wg.Go(func() {
			for range 8 {
				w.store.Standing(m.cred, noon)
				w.store.RevocationAge(noon)
				w.store.Declared(noon)
				w.store.Snapshot()
				if _, err := w.store.VerifyAdmission(m.enrolment.Admission, m.relay.PeerID(), noon); err != nil && !errors.Is(err, ErrRevoked) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
