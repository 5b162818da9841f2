package node

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

// newcomer is a device that no authority can reach.
type newcomer struct {
	w     *world
	relay *identity.RelayKeys
	keys  *identity.VaultKeys
	req   *identity.SponsorRequest
}

// newcomer makes the request of a device for person, for the groups named, or for
// a further device of that person where there are none.
func (w *world) newcomer(name string, p identity.Person, groups ...string) *newcomer {
	w.t.Helper()
	c := &newcomer{w: w}
	var err error
	c.relay, err = identity.NewRelayKeys(rand.Reader)
	check(w.t, err)
	c.keys, err = identity.NewVaultKeys(rand.Reader)
	check(w.t, err)
	terms := identity.SponsorTerms{Now: time.Now(), Validity: 71 * time.Hour, BreakGlass: len(groups) > 0}
	for _, g := range groups {
		id, err := group.ParseID(g)
		check(w.t, err)
		terms.Groups = append(terms.Groups, [32]byte(id))
	}
	c.req, err = identity.NewSponsorRequest(identity.Wish{Person: p, Claims: identity.Claims{Name: name}}, terms, c.relay, c.keys)
	check(w.t, err)
	return c
}

// meets has a sponsor's device look at the request and meet the newcomer, who has
// no node yet.
func (c *newcomer) meets(sponsor *Node) {
	c.w.t.Helper()
	view, err := sponsor.SponsorView(c.w.t.Context(), c.req.Marshal())
	check(c.w.t, err)
	if view.Met || view.Fingerprint != c.req.Fingerprint() {
		c.w.t.Fatalf("a request seen for the first time: %+v", view)
	}
	m, err := identity.NewMeeting(c.w.bundle.MeshID(), c.keys.Signing, rand.Reader)
	check(c.w.t, err)
	first, err := sponsor.VerifyPersonStart(c.w.t.Context())
	check(c.w.t, err)
	reply, err := m.Answer(first.Show, nil)
	check(c.w.t, err)
	last, err := sponsor.VerifyPersonScan(c.w.t.Context(), reply)
	check(c.w.t, err)
	_, err = m.Finish(last.Show, time.Now())
	check(c.w.t, err)
}

func (c *newcomer) asks(sponsor *Node) ([]byte, error) {
	c.w.t.Helper()
	a, err := sponsor.Sponsor(c.w.t.Context(), token(c.w.t, sponsor), c.req.Marshal(), SponsorSpec{Scanned: true})
	return a.Answer, err
}

// enrol joins the answers and makes the machine.
func (c *newcomer) enrol(sponsor *Node, answers ...[]byte) (*machine, error) {
	c.w.t.Helper()
	e, err := identity.AssembleSponsored(c.req, c.w.bundle, answers, sponsor.RawStatements())
	if err != nil {
		return nil, err
	}
	store, _, err := e.Accept(c.relay, c.keys, time.Now())
	if err != nil {
		return nil, err
	}
	dir := c.w.t.TempDir()
	v, err := vault.Create(filepath.Join(dir, "vault"), []byte(passphrase), vault.Options{Params: vault.Params{MemoryKiB: 64, Time: 1, Threads: 1}})
	check(c.w.t, err)
	raw, err := c.keys.Marshal()
	check(c.w.t, err)
	check(c.w.t, v.Commit(vault.Change{Key: keyVaultKeys, Value: raw}))
	check(c.w.t, v.Close())
	check(c.w.t, SaveTrust(dir, store.Snapshot()))
	for file, data := range map[string][]byte{
		"relay.pem": c.relay.MarshalPEM(), "admission": e.Admission, "credential": e.Credential, "bundle": c.w.bundle.Marshal(),
	} {
		check(c.w.t, os.WriteFile(filepath.Join(dir, file), data, 0o600))
	}
	return &machine{name: c.req.Wish().Claims.Name, dir: dir}, nil
}

var locum = identity.Person{Org: orgHospital, Regulator: "gmc", Number: "7654321"}

func (w *world) senior(name, org string) *machine {
	return w.enrolWith(name, org, identity.Grant{Now: w.issued, Validity: 30 * 24 * time.Hour, Roles: []string{identity.RoleSenior}})
}

// TestBreakGlassAdmitsForThreeDays: three people who met the newcomer, for named
// groups, with a badge; it sends and reads, and all of it ends after 72 hours.
func TestBreakGlassAdmitsForThreeDays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var clock testClock
	a := w.senior("Amal", orgHospital).start(t, withClock(&clock))
	b := w.enrol("Ben", orgAmbulance).start(t, withClock(&clock), knows(a))
	d := w.enrol("Chidi", orgHospital).start(t, withClock(&clock), knows(a, b))
	ready(t, 2, a, b, d)
	g, other := makeGroup(t, a, b, d), makeGroup(t, a, b)
	inGroup(t, g, a, b, d)
	c := w.newcomer("Locum", locum, g)
	if _, err := c.asks(a); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "person") {
		t.Fatalf("a sponsor who has not met the newcomer: %v", err)
	}
	var answers [][]byte
	for _, n := range []*Node{a, b, d} {
		c.meets(n)
		answer, err := c.asks(n)
		check(t, err)
		answers = append(answers, answer)
	}
	if _, err := c.enrol(a, answers[:2]...); err == nil {
		t.Fatal("two sponsors were enough")
	}
	m, err := c.enrol(a, answers...)
	check(t, err)
	l := m.start(t, withClock(&clock), knows(a, b, d))
	ready(t, 3, a, b, d, l)
	if err := a.AddMember(t.Context(), other, "Locum"); !errors.Is(err, ErrInvalid) {
		t.Errorf("a group that was not named: %v", err)
	}
	check(t, a.AddMember(t.Context(), g, "Locum"))
	inGroup(t, g, l)
	say(t, l, g, "I am here")
	shows(t, b, g, "I am here")
	items, err := b.Messages(g, 0, 0)
	check(t, err)
	if f := items[0].From; f.Badge != inbox.BadgeSponsored || !f.Verified {
		t.Errorf("the newcomer is shown as %+v", f)
	}
	p := person(t, a, l)
	if p.Sponsored == nil || p.Sponsored.Kind != "break-glass" || len(p.Sponsored.Sponsors) != 3 || p.Sponsored.Ended || p.Standing.State != "provisional" {
		t.Errorf("the newcomer: %+v %+v", p.Sponsored, p.Standing)
	}
	if _, err := l.Broadcast(t.Context(), message.NewText("x", time.Time{}), "routine", "why"); !errors.Is(err, ErrInvalid) {
		t.Errorf("a break-glass device broadcasts: %v", err)
	}

	clock.step(73 * time.Hour)
	eventually(t, "the newcomer is cut off", func() bool { a.mesh.Recheck(); return !linked(a, l) })
	if p := person(t, b, l); p.Valid || p.Sponsored == nil || !p.Sponsored.Ended {
		t.Errorf("after 73 hours: %+v", p)
	}
	say(t, a, g, "without the locum")
	shows(t, b, g, "I am here", "without the locum")
	feed(t, a, l, a)
	eventually(t, "it holds the message", func() bool { return l.Status().Waiting > 0 })
	if got := texts(t, l, g); len(got) != 1 {
		t.Errorf("after its end it reads %q", got)
	}
}

// TestBreakGlassRefusals: two devices of one person, and somebody provisional, are
// no sponsors; anybody else's three are.
func TestBreakGlassRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.senior("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a))
	second := w.enrol("Amal", orgHospital).start(t, knows(a)) // the same number: a second device of Amal's
	g := makeGroup(t, a)
	provisional := w.enrolWith("Dora", orgHospital, identity.Grant{Now: w.issued, Validity: 24 * time.Hour, Roles: []string{"doctor"}, Provisional: true}).start(t, knows(a))
	c := w.newcomer("Locum", locum, g)
	var answers [][]byte
	for _, n := range []*Node{a, b, second} {
		c.meets(n)
		answer, err := c.asks(n)
		check(t, err)
		answers = append(answers, answer)
	}
	if _, err := c.enrol(a, answers...); err == nil {
		t.Error("two devices of one person counted as two sponsors")
	}
	c.meets(provisional)
	if _, err := c.asks(provisional); !errors.Is(err, ErrInvalid) {
		t.Errorf("a provisional sponsor: %v", err)
	}
	for what, spec := range map[string]SponsorSpec{
		"unmet": {}, "another kind": {Scanned: true, Kind: "own-device"}, "other groups": {Scanned: true, Groups: []string{"00"}}, "too long": {Scanned: true, Hours: 1},
	} {
		if _, err := a.Sponsor(t.Context(), token(t, a), c.req.Marshal(), spec); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestSponsorTakesItBack: any sponsor ends it at once, by a statement that the mesh
// carries.
func TestSponsorTakesItBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.senior("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a))
	d := w.enrol("Chidi", orgHospital).start(t, knows(a, b))
	stranger := w.enrol("Dora", orgHospital).start(t, knows(a, b))
	ready(t, 3, a, b, d, stranger)
	g := makeGroup(t, a, b)
	c := w.newcomer("Locum", locum, g)
	var answers [][]byte
	for _, n := range []*Node{a, b, d} {
		c.meets(n)
		answer, err := c.asks(n)
		check(t, err)
		answers = append(answers, answer)
	}
	m, err := c.enrol(a, answers...)
	check(t, err)
	l := m.start(t, knows(a, b))
	ready(t, 4, a, b, d, l, stranger)
	if _, err := stranger.RevokeSponsored(t.Context(), token(t, stranger), l.self.String()); !errors.Is(err, ErrInvalid) {
		t.Errorf("one who did not sponsor takes it back: %v", err)
	}
	_, err = d.RevokeSponsored(t.Context(), token(t, d), l.self.String())
	check(t, err)
	for _, n := range []*Node{a, b} {
		eventually(t, "it is cut", func() bool { return !linked(n, l) && person(t, n, l).Standing.State == "revoked" })
	}
}

// TestOwnSecondDevice: one device of a person vouches for another of theirs, which
// gets the mesh key and joins groups as any device.
func TestOwnSecondDevice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a))
	ready(t, 1, a, b)
	c := w.newcomer("Amal", a.cred.Person)
	c.meets(a)
	answer, err := c.asks(a)
	check(t, err)
	c2 := w.newcomer("Ben", a.cred.Person)
	c2.meets(b)
	if _, err := c2.asks(b); !errors.Is(err, ErrInvalid) {
		t.Errorf("another person's device: %v", err)
	}
	m, err := c.enrol(a, answer)
	check(t, err)
	phone := m.start(t, knows(a, b))
	ready(t, 2, a, b, phone)
	conv, err := b.CreateGroup(t.Context(), GroupSpec{Kind: "direct", Members: []string{a.cred.Person.String()}})
	check(t, err)
	g := group.ID(conv.ID).String()
	inGroup(t, g, a, b, phone)
	say(t, b, g, "to both of your devices")
	shows(t, a, g, "to both of your devices")
	shows(t, phone, g, "to both of your devices")
	if p := person(t, b, phone); p.Sponsored == nil || p.Sponsored.Kind != "own-device" || fmt.Sprint(p.Sponsored.Sponsors) != "[Amal]" {
		t.Errorf("the second device: %+v", p.Sponsored)
	}
	_, err = phone.Broadcast(t.Context(), message.NewText("from the phone", time.Time{}), "routine", "it has the key")
	check(t, err)
	shows(t, b, BroadcastGroup, "from the phone")
}
