package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// breakGlass is a newcomer before anybody has vouched, and how it is asked for.
type breakGlass struct {
	w     *world
	wish  Wish
	terms SponsorTerms
}

var incident = [32]byte{0xaa}

func (w *world) newcomer() *breakGlass {
	return &breakGlass{w: w, wish: wishOf(orgA, "7999999", "doctor"), terms: SponsorTerms{
		Now: noon, Validity: 71 * time.Hour, BreakGlass: true, Groups: [][32]byte{incident}, Rand: w.rand,
	}}
}

func (w *world) ownDevice(of *member) *breakGlass {
	return &breakGlass{w: w, wish: Wish{Person: of.cred.Person, Claims: Claims{Name: of.cred.Claims.Name, Roles: of.cred.Claims.Roles}},
		terms: SponsorTerms{Now: noon, Validity: 6 * 24 * time.Hour, Rand: w.rand}}
}

// three enrols three persons, the first of them senior.
func (w *world) three() []*member {
	return []*member{
		w.enrol(w.a, "7100001", w.grant("doctor", "senior")),
		w.enrol(w.a, "7100002", w.grant("doctor")),
		w.enrol(w.b, "7100003", w.grant("nurse")),
	}
}

// with is what a member vouches with, having met the newcomer.
func (m *member) with(req *SponsorRequest) SponsorWith {
	return SponsorWith{
		Credential: m.enrolment.Credential, Admission: m.enrolment.Admission, Relay: m.relay, Vault: m.vault,
		Met: Verification{Key: req.Signing(), At: noon}, Now: noon,
	}
}

// ask makes the request with new keys.
func (b *breakGlass) ask() (*SponsorRequest, *member) {
	b.w.t.Helper()
	m := &member{}
	m.relay, m.vault = b.w.keys()
	return get(NewSponsorRequest(b.wish, b.terms, m.relay, m.vault))(b.w.t), m
}

// admit runs the whole flow with the sponsors' own checks.
func (b *breakGlass) admit(sponsors ...*member) (*member, error) {
	b.w.t.Helper()
	req, m := b.ask()
	var answers [][]byte
	for _, s := range sponsors {
		answer, err := b.w.store.Sponsor(req, s.with(req))
		if err != nil {
			return nil, err
		}
		answers = append(answers, answer)
	}
	e, err := AssembleSponsored(req, b.w.bundle, answers, b.w.store.Statements())
	if err != nil {
		return nil, err
	}
	m.enrolment = e
	m.cred = get(b.w.store.ReadCredential(e.Credential))(b.w.t)
	return m, nil
}

// sealed builds both wire forms with the signatures of members who check
// nothing: what a liar's program would do.
func (b *breakGlass) sealed(sponsors ...*member) (credential, admission []byte, newcomer *member) {
	b.w.t.Helper()
	req, m := b.ask()
	return sealedFor(b.w.t, req.credential, req.admission, sponsors...), sealedAdmission(b.w.t, req.admission, sponsors...), m
}

func sortedSponsors(sponsors []*member) []*member {
	out := slices.Clone(sponsors)
	slices.SortFunc(out, func(a, b *member) int {
		x, y := TicketKey(KeyOf(a.vault.Signing)), TicketKey(KeyOf(b.vault.Signing))
		return bytes.Compare(x[:], y[:])
	})
	return out
}

func sealedFor(t testing.TB, leaf, _ []byte, sponsors ...*member) []byte {
	sp := &sponsored{leaf: leaf}
	digest := sha256.Sum256(leaf)
	for _, s := range sortedSponsors(sponsors) {
		sp.votes = append(sp.votes, sponsorship{s.enrolment.Credential[1:], [64]byte(Sign(s.vault.Signing, domainSponsor, digest[:]))})
	}
	return get(sp.encode())(t)
}

func sealedAdmission(t testing.TB, leaf []byte, sponsors ...*member) []byte {
	sp := &sponsored{leaf: leaf}
	digest := sha256.Sum256(leaf)
	for _, s := range sortedSponsors(sponsors) {
		sp.votes = append(sp.votes, sponsorship{s.enrolment.Admission, [64]byte(Sign(s.relay.Transport, domainSponsorAdmission, digest[:]))})
	}
	return get(sp.encodeAdmission())(t)
}

// TestBreakGlassAdmits: three persons, one of them senior, let a newcomer into
// named groups, with a badge, without a mesh key.
func TestBreakGlassAdmits(t *testing.T) {
	w := newWorld(t)
	m, err := w.newcomer().admit(w.three()...)
	if err != nil {
		t.Fatal(err)
	}
	raw := get(m.enrolment.Marshal())(t)
	e := get(ParseEnrolment(raw))(t)
	store, c, err := e.Accept(m.relay, m.vault, noon)
	if err != nil {
		t.Fatal(err)
	}
	if m.vault.MeshKey != ([32]byte{}) || len(e.SealedMeshKey) != 0 {
		t.Error("break-glass has a mesh key")
	}
	if !c.BreakGlass || !c.Provisional() || c.Form != FormSponsored || len(c.Sponsors) != 3 || !c.MayJoin(incident) || c.MayJoin([32]byte{1}) {
		t.Errorf("credential %+v", c)
	}
	for _, s := range []*TrustStore{store, w.store, w.fresh()} {
		if err := m.connect(s, noon); err != nil {
			t.Error(err)
		}
		if st := s.Standing(c, noon); st.State != StandingProvisional || st.Why != WhyBreakGlass || !st.Until.Equal(c.NotAfter) {
			t.Errorf("standing %+v", st)
		}
	}
	ticket := get(NewTicketWith(m.vault.Signing, m.relay.PeerID(), noon, noon.Add(time.Hour), e.Credential))(t)
	t.Logf("break-glass: admission %d bytes, credential %d, ticket %d, enrolment %d", len(e.Admission), len(e.Credential), len(ticket), len(raw))
	for _, name := range []string{"7999999", "7100001", "Dr "} {
		if bytes.Contains(e.Admission, []byte(name)) {
			t.Errorf("the admission leaf shows strangers %q", name)
		}
	}
}

// TestBreakGlassEnds: after 72 hours it is over, incident or not, and longer
// ones are not accepted at all.
func TestBreakGlassEnds(t *testing.T) {
	w := newWorld(t)
	m, err := w.newcomer().admit(w.three()...)
	if err != nil {
		t.Fatal(err)
	}
	end := m.cred.NotAfter
	if life := end.Sub(m.cred.NotBefore); life != MaxBreakGlass {
		t.Errorf("lasts %v", life)
	}
	mustTake(t, w.store, w.declare(w.a, 1, noon, true), noon)
	if err := m.connect(w.store, end); err != nil {
		t.Errorf("at its end: %v", err)
	}
	if err := m.connect(w.store, end.Add(time.Second)); !errors.Is(err, ErrExpired) {
		t.Errorf("after its end, in a declared incident: %v", err)
	}
	_, err = w.store.VerifyCredential(m.enrolment.Credential, end.Add(time.Second))
	assertRefused(t, err, checkTime, ErrExpired)
}

// TestBreakGlassRules has liars sign what they like: whoever reads it refuses.
func TestBreakGlassRules(t *testing.T) {
	w := newWorld(t)
	three := w.three()
	reg := w.registrar("doctor", "senior")
	short := w.grant("doctor", "senior")
	short.Validity = 6 * 24 * time.Hour
	flagged := w.grant("doctor")
	flagged.Provisional = true
	relay := w.grant()
	relay.Relay = true
	brief := w.grant("doctor")
	brief.Validity = 10 * time.Hour
	second := w.enrol(w.a, "7100002", w.grant("doctor")) // another device of the second person
	sameAtB := w.enrol(w.b, "7100002", w.grant("doctor"))
	stranger := newWorldOf(t, 8).three()[0]
	inTurn, err := w.newcomer().admit(three...)
	if err != nil {
		t.Fatal(err)
	}
	inTurn.enrolment = &Enrolment{ // a sponsored device vouches with its self-signed leaves
		Credential: encodeCredential(get(EncodeChain([][]byte{leafBytes(t, inTurn.enrolment.Credential)}))(t)),
		Admission:  inTurn.enrolment.Admission,
	}
	for _, tc := range []struct {
		name   string
		change func(b *breakGlass)
		by     []*member
		want   check
		kind   error
	}{
		{"two", nil, three[:2], checkSponsorCount, nil},
		{"two devices of one person", nil, []*member{three[0], three[1], second}, checkSponsorPerson, nil},
		{"one person in two organisations", nil, []*member{three[0], three[1], sameAtB}, checkSponsorPerson, nil},
		{"the newcomer's own device", func(b *breakGlass) { b.wish.Person.Number = "7100002" }, three, checkSponsorPerson, nil},
		{"one device twice", nil, []*member{three[0], three[1], three[1]}, checkSponsorOrder, nil},
		{"a sponsor whom a registrar issued", nil, []*member{three[0], three[1], w.enrol(reg, "7100004", short)}, checkSponsorIssued, nil},
		{"a provisional sponsor", nil, []*member{three[0], three[1], w.enrol(w.a, "7100005", flagged)}, checkSponsorFlag, nil},
		{"a break-glass sponsor", nil, []*member{three[0], three[1], inTurn}, checkSponsorIssued, ErrForeign},
		{"a stranger", nil, []*member{stranger, three[1], three[2]}, checkSponsorIssued, ErrForeign},
		{"a relay vouches", nil, []*member{three[0], three[1], w.enrol(w.a, "7100006", relay)}, checkSponsorRelay, nil},
		{"a relay asks", func(b *breakGlass) { b.wish.Claims.Relay = true }, three, checkSponsorRelay, nil},
		{"nobody senior", nil, []*member{second, three[2], w.enrol(w.a, "7100007", w.grant("doctor"))}, checkSponsorSenior, nil},
		{"an organisation of none of the three", func(b *breakGlass) { b.wish.Person.Org = "city.nhs.example" }, three, checkSponsorHost, nil},
		{"a role that none of the three has", func(b *breakGlass) { b.wish.Claims.Roles = []string{"pharmacist"} }, three, checkSponsorRoles, nil},
		{"the senior role", func(b *breakGlass) { b.wish.Claims.Roles = []string{"senior"} }, three, checkSponsorRoles, nil},
		{"more than 72 hours", func(b *breakGlass) { b.terms.Validity = 71*time.Hour + time.Second }, three, checkSponsorLife, nil},
		{"longer than a sponsor's own", nil, []*member{three[0], three[1], w.enrol(w.a, "7100008", brief)}, checkSponsorNesting, nil},
		{"no groups", func(b *breakGlass) { b.terms.BreakGlass, b.terms.Groups = false, nil }, three, checkSponsorGroups, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := w.newcomer()
			if tc.change != nil {
				tc.change(b)
			}
			_, leaf := b.force(t)
			_, err := w.fresh().ReadCredential(sealedFor(t, leaf, nil, tc.by...))
			assertRefused(t, err, tc.want, tc.kind)
		})
	}
}

// force makes the leaves without the checks of NewSponsorRequest.
func (b *breakGlass) force(t *testing.T) (admission, credential []byte) {
	t.Helper()
	relay, vault := b.w.keys()
	req := get(NewRequest(b.wish, relay, vault))(t)
	forAdmission, forCredential := req.names()
	ticket := TicketKey(req.signing)
	claims := get(req.wish.Claims.marshal())(t)
	extensions := leafExtensions(oidCredentialUsage(), forCredential, oidClaims(), claims)
	if b.terms.Groups != nil {
		var list []byte
		for _, g := range b.terms.Groups {
			list = append(list, g[:]...)
		}
		extensions = append(extensions, pkix.Extension{Id: oidGroups(), Value: derOctets(list)})
	}
	admission = get(selfSign(leafExtensions(oidAdmissionUsage(), forAdmission, oidTicketKey(), ticket[:]), relay.Transport, b.wish.Person.Org, b.terms))(t)
	return admission, get(selfSign(extensions, vault.Signing, b.wish.Person.Org, b.terms))(t)
}

func leafBytes(t *testing.T, credential []byte) []byte {
	_, sp, err := decodeCredential(credential)
	if err != nil || sp == nil {
		t.Fatal("not of the sponsored form")
	}
	return sp.leaf
}

// TestSponsoredEncodings: forms, signatures and orders that are not exact.
func TestSponsoredEncodings(t *testing.T) {
	w := newWorld(t)
	three := w.three()
	m, err := w.newcomer().admit(three...)
	if err != nil {
		t.Fatal(err)
	}
	_, sp, err := decodeCredential(m.enrolment.Credential)
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(sp *sponsored)) []byte {
		c := &sponsored{leaf: bytes.Clone(sp.leaf), votes: slices.Clone(sp.votes)}
		f(c)
		return get(c.encode())(t)
	}
	groups := func(list ...[32]byte) []byte {
		b := w.newcomer()
		b.terms.Groups = list
		_, leaf := b.force(t)
		return sealedFor(t, leaf, nil, three...)
	}
	issued := w.enrol(w.a, "7100009", w.grant("doctor"))
	ders := get(DecodeChain(issued.enrolment.Credential[1:]))(t)
	for _, tc := range []struct {
		name string
		raw  []byte
		want check
	}{
		{"a signature flipped", change(func(sp *sponsored) { sp.votes[1].signature[0] ^= 1 }), checkSponsorSignature},
		{"signatures exchanged", change(func(sp *sponsored) {
			sp.votes[0].signature, sp.votes[1].signature = sp.votes[1].signature, sp.votes[0].signature
		}), checkSponsorSignature},
		{"another order", change(func(sp *sponsored) { sp.votes[0], sp.votes[1] = sp.votes[1], sp.votes[0] }), checkSponsorOrder},
		{"a leaf that its own key did not sign", sealedFor(t, ders[0], nil, three...), checkSelfSigned},
		{"groups not sorted", groups([32]byte{2}, [32]byte{1}), checkSponsorGroups},
		{"a group twice", groups([32]byte{2}, [32]byte{2}), checkSponsorGroups},
		{"more groups than 16", groups(make([][32]byte, 17)...), checkSponsorGroups},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := w.store.ReadCredential(tc.raw)
			assertRefused(t, err, tc.want, nil)
		})
	}
}

// TestSponsoredAdmission: strangers see no name, and the rules that need none
// hold before the ticket comes.
func TestSponsoredAdmission(t *testing.T) {
	w := newWorld(t)
	three := w.three()
	reg := w.registrar("doctor")
	short := w.grant("doctor")
	short.Validity = 6 * 24 * time.Hour
	brief := w.grant("doctor")
	brief.Validity = 10 * time.Hour
	stranger := newWorldOf(t, 8).three()[0]
	b := w.newcomer()
	for _, tc := range []struct {
		name   string
		change func(b *breakGlass)
		by     []*member
		want   check
		kind   error
	}{
		{"two", nil, three[:2], checkSponsorCount, nil},
		{"one device twice", nil, []*member{three[0], three[1], three[1]}, checkSponsorOrder, nil},
		{"whom a registrar issued", nil, []*member{three[0], three[1], w.enrol(reg, "7100004", short)}, checkSponsorIssued, nil},
		{"a stranger", nil, []*member{stranger, three[1], three[2]}, checkSponsorIssued, ErrForeign},
		{"longer than a sponsor's own", nil, []*member{three[0], three[1], w.enrol(w.a, "7100008", brief)}, checkSponsorNesting, nil},
		{"more than 72 hours", func(b *breakGlass) { b.terms.Validity = 71*time.Hour + time.Second }, three, checkSponsorLife, nil},
		{"another organisation", func(b *breakGlass) { b.wish.Person.Org = "city.nhs.example" }, three, checkSponsorHost, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := w.newcomer()
			if tc.change != nil {
				tc.change(b)
			}
			leaf, _ := b.force(t)
			_, err := w.store.roots().readAdmission(sealedAdmission(t, leaf, tc.by...))
			assertRefused(t, err, tc.want, tc.kind)
		})
	}
	_, admission, m := b.sealed(three...)
	if _, err := w.store.VerifyAdmission(admission, m.relay.PeerID(), noon); err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(admission)
	flipped[len(flipped)-1] ^= 1
	_, err := w.store.VerifyAdmission(flipped, m.relay.PeerID(), noon)
	assertRefused(t, err, checkSponsorSignature, nil)
	_, err = w.store.VerifyAdmission(admission[:len(admission)-1], m.relay.PeerID(), noon)
	assertRefused(t, err, checkForm, nil)
	_, err = w.store.VerifyAdmission(admission, three[0].relay.PeerID(), noon)
	assertRefused(t, err, checkStolen, nil)
}

// TestSponsoredTicket: the ticket of a sponsored device brings the credential
// that belongs to its admission leaf; nobody else's brings one.
func TestSponsoredTicket(t *testing.T) {
	w := newWorld(t)
	three := w.three()
	one, err := w.newcomer().admit(three...)
	if err != nil {
		t.Fatal(err)
	}
	two, err := w.newcomer().admit(three...)
	if err != nil {
		t.Fatal(err)
	}
	plain := three[0]
	ticket := func(m *member, credential []byte) []byte {
		return get(NewTicketWith(m.vault.Signing, m.relay.PeerID(), noon, noon.Add(time.Hour), credential))(t)
	}
	check1 := func(m *member, raw []byte) error {
		adm := get(w.store.VerifyAdmission(m.enrolment.Admission, m.relay.PeerID(), noon))(t)
		return w.store.VerifyTicket(raw, adm, noon)
	}
	if err := check1(one, ticket(one, one.enrolment.Credential)); err != nil {
		t.Fatal(err)
	}
	assertRefused(t, check1(one, ticket(one, nil)), checkTicketSponsored, nil)
	assertRefused(t, check1(one, ticket(one, two.enrolment.Credential)), checkTicketSponsored, nil)
	assertRefused(t, check1(plain, ticket(plain, one.enrolment.Credential)), checkTicketSponsored, nil)
	if raw := ticket(plain, plain.enrolment.Credential); len(raw) > 200 || check1(plain, raw) != nil {
		t.Errorf("an ordinary ticket of %d bytes", len(raw))
	}
	cut := ticket(one, one.enrolment.Credential)
	assertRefused(t, check1(one, cut[:len(cut)-1]), checkTicketEncoding, nil)
	// Two sponsors' transport keys and one person's two devices pass admission,
	// which knows no names; the ticket's credential does not.
	pair := w.enrol(w.a, "7100002", w.grant("doctor"))
	req, liar := w.newcomer().ask()
	by := []*member{three[0], three[1], pair}
	liar.enrolment = &Enrolment{Credential: sealedFor(t, req.credential, nil, by...), Admission: sealedAdmission(t, req.admission, by...)}
	assertRefused(t, liar.connect(w.store, noon), checkSponsorPerson, nil)
}

// TestOwnDevice: one sponsor, the same person, at most 7 days, no role more.
func TestOwnDevice(t *testing.T) {
	w := newWorld(t)
	owner := w.enrol(w.a, "7100002", w.grant("doctor"))
	m, err := w.ownDevice(owner).admit(owner)
	if err != nil {
		t.Fatal(err)
	}
	_, c, err := m.enrolment.Accept(m.relay, m.vault, noon)
	if err != nil || m.vault.MeshKey != w.meshKey {
		t.Fatalf("accepted: %v", err)
	}
	if c.BreakGlass || !c.Provisional() || !c.MayJoin(incident) || c.Person != owner.cred.Person || c.Device == owner.cred.Device {
		t.Errorf("credential %+v", c)
	}
	if err := m.connect(w.store, noon); err != nil {
		t.Error(err)
	}
	if st := w.store.Standing(c, noon); st.State != StandingProvisional || st.Why != WhyOwnDevice {
		t.Errorf("standing %+v", st)
	}
	for _, tc := range []struct {
		name   string
		change func(b *breakGlass)
		want   check
	}{
		{"another person's", func(b *breakGlass) { b.wish.Person.Number = "7100003" }, checkSponsorPerson},
		{"a role more", func(b *breakGlass) { b.wish.Claims.Roles = []string{"doctor", "senior"} }, checkSponsorRoles},
		{"more than 7 days", func(b *breakGlass) { b.terms.Validity = 7 * 24 * time.Hour }, checkSponsorLife},
		{"with groups", func(b *breakGlass) { b.terms.Groups = [][32]byte{incident} }, checkSponsorGroups},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := w.ownDevice(owner)
			tc.change(b)
			admission, leaf := b.force(t)
			_, err := w.store.ReadCredential(sealedFor(t, leaf, nil, owner))
			assertRefused(t, err, tc.want, nil)
			if tc.want == checkSponsorLife {
				_, err := w.store.roots().readAdmission(sealedAdmission(t, admission, owner))
				assertRefused(t, err, tc.want, nil)
			}
		})
	}
	if _, err := w.ownDevice(m).admit(m); Reason(err) != string(checkSponsorIssued) {
		t.Errorf("a sponsored device sponsors in turn: %v", err)
	}
}

// TestSponsorChecks is what a sponsor's own program refuses to sign.
func TestSponsorChecks(t *testing.T) {
	w := newWorld(t)
	three := w.three()
	req, _ := w.newcomer().ask()
	flagged := w.grant("doctor")
	flagged.Provisional = true
	provisional := w.enrol(w.a, "7100005", flagged)
	for name, tc := range map[string]struct {
		m      *member
		change func(with *SponsorWith)
		want   check
	}{
		"whom nobody has met":       {three[0], func(s *SponsorWith) { s.Met = Verification{} }, checkSponsorMet},
		"met more than an hour ago": {three[0], func(s *SponsorWith) { s.Met.At = noon.Add(-MaxMeetingAge - time.Second) }, checkSponsorMet},
		"another's meeting":         {three[0], func(s *SponsorWith) { s.Met.Key = three[1].cred.SigningKey }, checkSponsorMet},
		"as a provisional":          {provisional, func(*SponsorWith) {}, checkSponsorFlag},
		"what has ended":            {three[0], func(s *SponsorWith) { s.Now, s.Met.At = noon.Add(72*time.Hour), noon.Add(72*time.Hour) }, checkTime},
	} {
		t.Run(name, func(t *testing.T) {
			with := tc.m.with(req)
			tc.change(&with)
			_, err := w.store.Sponsor(req, with)
			if Reason(err) != string(tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
	with := three[0].with(req)
	with.Vault = three[1].vault
	if _, err := w.store.Sponsor(req, with); err == nil {
		t.Error("another's keys vouch")
	}
	mustTake(t, w.store, w.crl(w.a, 1, noon, three[1]), noon)
	if _, err := w.store.Sponsor(req, three[1].with(req)); !errors.Is(err, ErrRevoked) {
		t.Errorf("a revoked sponsor: %v", err)
	}
	for name, terms := range map[string]SponsorTerms{
		"72 hours from now": {Now: noon, Validity: 72 * time.Hour, BreakGlass: true, Groups: [][32]byte{incident}},
		"no groups":         {Now: noon, Validity: time.Hour, BreakGlass: true},
		"groups of an own":  {Now: noon, Validity: time.Hour, Groups: [][32]byte{incident}},
		"no time":           {Now: noon},
	} {
		relay, vault := w.keys()
		if _, err := NewSponsorRequest(wishOf(orgA, "7999999"), terms, relay, vault); err == nil {
			t.Errorf("%s: made", name)
		}
	}
}

// TestFiveLiveSponsorships: the sixth newcomer of one person is refused by the
// person's own program and by everyone who reads it, in whatever order; when
// one ends or is taken back there is room again.
func TestFiveLiveSponsorships(t *testing.T) {
	w := newWorld(t)
	three := w.three()
	busy, senior := three[1], three[0]
	var admitted []*member
	for i := range MaxSponsoring + 1 {
		b := w.newcomer()
		b.wish.Person.Number = fmt.Sprintf("799990%d", i)
		b.terms.Now = noon.Add(time.Duration(i) * time.Second)
		b.terms.Validity = 70 * time.Hour
		req, m := b.ask()
		if _, err := w.store.Sponsor(req, busy.with(req)); (err != nil) != (i == MaxSponsoring) {
			t.Fatalf("sponsorship %d: %v", i+1, err)
		} else if err != nil {
			assertRefused(t, err, checkSponsorLive, ErrBeyond)
		}
		by := []*member{busy, senior, three[2]}
		if i >= 3 { // others, so that only one person is over five
			by = []*member{busy, w.enrol(w.a, fmt.Sprintf("720000%d", i), w.grant("senior", "doctor")), w.enrol(w.a, fmt.Sprintf("721000%d", i), w.grant("doctor"))}
		}
		m.enrolment = &Enrolment{Credential: sealedFor(t, req.credential, nil, by...), Admission: sealedAdmission(t, req.admission, by...)}
		m.cred = get(w.fresh().ReadCredential(m.enrolment.Credential))(t)
		admitted = append(admitted, m)
	}
	last, at := admitted[MaxSponsoring], noon.Add(time.Minute)
	for _, order := range [][]*member{admitted, {last, admitted[4], admitted[3], admitted[2], admitted[1], admitted[0]}} {
		s := w.fresh()
		for _, m := range order {
			if _, err := s.ReadCredential(m.enrolment.Credential); err != nil {
				t.Fatal(err)
			}
		}
		_, err := s.VerifyCredential(last.enrolment.Credential, at)
		assertRefused(t, err, checkSponsorLive, ErrRevoked)
		if st := s.Standing(last.cred, at); st.Why != WhyOverFive {
			t.Errorf("standing %+v", st)
		}
		if err := last.connect(s, at); !errors.Is(err, ErrRevoked) {
			t.Errorf("the sixth connects: %v", err)
		}
		for i, m := range admitted {
			if r, out := s.RevokedDevice(m.cred); out != (i == MaxSponsoring) || out && r.Key != m.cred.KeyHash() {
				t.Errorf("device %d of six is out: %v, %+v", i+1, out, r)
			}
		}
		for _, m := range admitted[:MaxSponsoring] {
			if err := m.connect(s, at); err != nil {
				t.Errorf("one of the first five: %v", err)
			}
		}
		raw := get(NewSponsorRevoke(busy.cred, busy.vault.Signing, admitted[0].cred, s.MeshID(), at))(t)
		mustTake(t, s, raw, at)
		if err := last.connect(s, at); err != nil {
			t.Errorf("after one was taken back: %v", err)
		}
		if _, out := s.RevokedDevice(last.cred); out {
			t.Error("the sixth is out after one of the five was taken back")
		}
	}
}

// vouchedBy builds the credential of a newcomer with a number of its own, whom
// the given members vouch for without a check.
func (b *breakGlass) vouchedBy(number int, by ...*member) *Credential {
	b.wish.Person.Number = fmt.Sprintf("7%06d", number)
	raw, _, _ := b.sealed(by...)
	return get(b.w.fresh().ReadCredential(raw))(b.w.t)
}

// TestOverFiveKnowsNoClock: whether a device is the sixth is settled when it
// begins, so that a group leaves out the same one as the badge says, at any
// time: the end of one of the five changes nothing.
func TestOverFiveKnowsNoClock(t *testing.T) {
	w := newWorld(t)
	three := w.three()
	var all []*Credential
	for i := range MaxSponsoring + 1 {
		b := w.newcomer()
		b.terms.Now, b.terms.Validity = noon.Add(time.Duration(i)*time.Second), 70*time.Hour
		if i == 0 {
			b.terms.Validity = 2 * time.Hour
		}
		all = append(all, b.vouchedBy(800000+i, three...))
	}
	s := w.store
	for _, c := range all {
		if _, err := s.ReadCredential([]byte(c.Raw)); err != nil {
			t.Fatal(err)
		}
	}
	sixth := all[MaxSponsoring]
	for _, at := range []time.Time{sixth.NotBefore, noon.Add(time.Hour), noon.Add(3 * time.Hour), sixth.NotAfter.Add(time.Hour)} {
		if st := s.Standing(sixth, at); st.State != StandingRevoked || st.Why != WhyOverFive {
			t.Errorf("the sixth at %v: %+v", at, st)
		}
	}
	for i, c := range all {
		if _, out := s.RevokedDevice(c); out != (i == MaxSponsoring) {
			t.Errorf("device %d of six is out: %v", i+1, out)
		}
	}
	// Who begins after one of the first five has ended is counted without it.
	b := w.newcomer()
	b.terms.Now, b.terms.Validity = noon.Add(5*time.Hour), time.Hour
	mustTake(t, s, get(NewSponsorRevoke(three[0].cred, three[0].vault.Signing, sixth, s.MeshID(), noon))(t), noon)
	if _, out := s.RevokedDevice(b.vouchedBy(800010, three...)); out {
		t.Error("a newcomer is out for one who had ended before")
	}
}

// TestVouchedOutlastsARestart: what a device has vouched for counts before the
// finished credential is seen, also after a restart, and for others not at all.
func TestVouchedOutlastsARestart(t *testing.T) {
	w := newWorld(t)
	busy := w.three()[0]
	next := func(number int) (*SponsorRequest, *member) {
		b := w.newcomer()
		b.wish.Person.Number = fmt.Sprintf("7%06d", number)
		return b.ask()
	}
	s := w.fresh()
	for i := range MaxSponsoring {
		req, _ := next(i)
		if _, err := s.Sponsor(req, busy.with(req)); err != nil {
			t.Fatal(err)
		}
		again := w.fresh()
		if err := again.Restore(s.Snapshot()); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again.Snapshot(), s.Snapshot()) {
			t.Fatal("a snapshot comes back as another")
		}
		s = again
	}
	req, m := next(MaxSponsoring)
	_, err := s.Sponsor(req, busy.with(req))
	assertRefused(t, err, checkSponsorLive, ErrBeyond)
	// Others judge by what they see, and so does this device's badge.
	raw := sealedFor(t, req.credential, nil, busy, w.enrol(w.a, "7200001", w.grant("doctor")), w.enrol(w.a, "7200002", w.grant("doctor")))
	m.cred = get(s.ReadCredential(raw))(t)
	if st := s.Standing(m.cred, noon); st.State != StandingProvisional {
		t.Errorf("standing by what was never finished: %+v", st)
	}
	// The notes are bounded, and go when they have ended.
	for i := range 2 * maxVouched {
		req, _ := next(1000 + i)
		s.noteSponsoring(req, busy.cred, noon)
	}
	if len(s.vouched) != maxVouched {
		t.Errorf("%d notes", len(s.vouched))
	}
	s.noteSponsoring(req, busy.cred, req.NotAfter().Add(Backdate+time.Second))
	if len(s.vouched) != 1 {
		t.Errorf("%d notes after all have ended", len(s.vouched))
	}
}

// TestSponsorTakesBack: any of the three, with any of their devices; nobody
// else. And with a revoked sponsor, or a withdrawn authority of one, it ends.
func TestSponsorTakesBack(t *testing.T) {
	w := newWorld(t)
	mesh := w.store.MeshID()
	three := w.three()
	m, err := w.newcomer().admit(three...)
	if err != nil {
		t.Fatal(err)
	}
	outsider := w.enrol(w.a, "7100008", w.grant("doctor"))
	if _, err := NewSponsorRevoke(outsider.cred, outsider.vault.Signing, m.cred, mesh, noon); err == nil {
		t.Error("an outsider's is made")
	}
	if _, err := NewSponsorRevoke(three[0].cred, outsider.vault.Signing, m.cred, mesh, noon); err == nil {
		t.Error("one with another's key is made")
	}
	forged := func(by *member, key ed25519.PrivateKey) []byte {
		return get(deviceStatement(KindSponsorRevoke, mesh, noon, byDevice, by.cred, key, []byte(m.cred.Raw)))(t)
	}
	takeRefused(t, w.store, forged(outsider, outsider.vault.Signing), noon, checkSponsorVoice, ErrBeyond)
	takeRefused(t, w.store, forged(three[0], outsider.vault.Signing), noon, checkStatementSignature, nil)
	second := w.enrol(w.a, "7100002", w.grant("doctor"))
	for _, by := range append(three, second) {
		s := w.fresh()
		if err := m.connect(s, noon); err != nil {
			t.Fatal(err)
		}
		e := mustTake(t, s, get(NewSponsorRevoke(by.cred, by.vault.Signing, m.cred, mesh, noon))(t), noon)
		if len(e.Revoked) != 1 || e.Revoked[0].Key != m.cred.KeyHash() || e.Revoked[0].Org != orgA {
			t.Errorf("effect %+v", e)
		}
		_, err := s.VerifyAdmission(m.enrolment.Admission, m.relay.PeerID(), noon)
		assertRefused(t, err, checkSponsorRevoked, ErrRevoked)
		if st := s.Standing(m.cred, noon); st.State != StandingRevoked || st.Why != WhySponsor {
			t.Errorf("standing %+v", st)
		}
	}
	s := w.fresh()
	mustTake(t, s, w.crl(w.b, 1, noon, three[2]), noon)
	_, err = s.VerifyAdmission(m.enrolment.Admission, m.relay.PeerID(), noon)
	assertRefused(t, err, checkSponsorRevoked, ErrRevoked)
	if st := s.Standing(m.cred, noon); st.Why != WhySponsorRevoked {
		t.Errorf("standing %+v", st)
	}
	s = w.fresh()
	mustTake(t, s, w.next(s, noon, []*Authority{w.a, w.b}, w.a.Certificate()), noon)
	_, err = s.VerifyAdmission(m.enrolment.Admission, m.relay.PeerID(), noon)
	assertRefused(t, err, checkWithdrawn, ErrRevoked)
}

// TestSponsorRequestErrors: the leaves and the request inside must agree.
func TestSponsorRequestErrors(t *testing.T) {
	w := newWorld(t)
	one, _ := w.newcomer().ask()
	two, _ := w.newcomer().ask()
	good := one.Marshal()
	again := get(ParseSponsorRequestPEM(one.MarshalPEM()))(t)
	if !bytes.Equal(again.Marshal(), good) || again.Fingerprint() != one.Fingerprint() || !again.BreakGlass() || len(again.Groups()) != 1 || again.Wish().Person.Number != "7999999" {
		t.Error("a request reads back as another")
	}
	for name, raw := range map[string][]byte{
		"nothing":              nil,
		"cut short":            good[:len(good)-1],
		"a byte after":         append(bytes.Clone(good), 0),
		"version 2":            append([]byte{2}, good[1:]...),
		"over 16 KiB":          make([]byte, maxSponsorRequest+1),
		"another's credential": get(encodeSponsorRequest(one.request.raw, one.admission, two.credential))(t),
		"another's admission":  get(encodeSponsorRequest(one.request.raw, two.admission, one.credential))(t),
		"another's request":    get(encodeSponsorRequest(two.request.raw, one.admission, one.credential))(t),
	} {
		if r, err := ParseSponsorRequest(raw); err == nil || r != nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, answers := range map[string][][]byte{"no answers": nil, "a broken answer": {{1}}} {
		if _, err := AssembleSponsored(one, w.bundle, answers, nil); err == nil {
			t.Errorf("%s: assembled", name)
		}
	}
}
