package identity

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"maps"
	"slices"
	"time"
)

// state is what a trust store has taken. It only grows: numbers rise, what is
// revoked stays so, and the clock floor never falls.
type state struct {
	bundles   []*Bundle // the genesis first, the one in force last
	everRoots roots     // of all bundles

	floor time.Time

	crls       map[[32]byte]*heardCRL      // by signer
	revoked    map[device]*revocation      // devices, by organisation
	registrars map[device]time.Time        // revoked registrars, since when
	wipes      map[[32]byte]*WipeOrder     // by id
	receipts   map[[32]byte]*WipeReceipt   // by order
	incidents  map[[32]byte]*heardIncident // by signer
	admins     map[adminKey]*GroupAdmin    // by group and signer
	meshKeys   map[[32]byte]uint64         // the highest number, by signer
	pages      map[[32]byte][32]byte       // ids of the mesh key pages of the highest numbers, and their signers

	// Registrars' wipe orders once more: each day's by date and id, and each
	// device's.
	wipeDays       map[wipeDay][]*WipeOrder
	registrarWipes map[device][]*WipeOrder

	kept []keptStatement // in the order of taking: see statements.go
}

// device names one device, or a registrar's key, of one organisation. An
// authority says nothing of other organisations' devices.
type device struct {
	org string
	key [32]byte
}

type heardCRL struct {
	org, name    string
	registrar    bool
	number       uint64
	time         time.Time
	devices      int
	registrarEnd time.Time
}

type heardIncident struct {
	Incident
	registrar    bool
	signer, root [32]byte // [IssuerKeyHash]; the same for an authority
}

type adminKey struct{ group, signer [32]byte }

// revocation is how one device was taken out.
type revocation struct {
	since   time.Time
	by      string // organisation
	sponsor bool
	wiped   bool // by an authority: see state.wiped
}

// keptStatement is a statement as it came, with the clock of that moment: at a
// restore it is checked as it was then.
type keptStatement struct {
	id    [32]byte
	kind  Kind
	key   [32]byte // what newer ones take the place of
	by    [32]byte // the signer: an issuer's key, or the hash of a person
	taken time.Time
	raw   []byte
}

func newState(genesis *Bundle) state {
	return state{
		bundles: []*Bundle{genesis}, everRoots: genesis.roots,
		crls: map[[32]byte]*heardCRL{}, revoked: map[device]*revocation{}, registrars: map[device]time.Time{},
		wipes: map[[32]byte]*WipeOrder{}, wipeDays: map[wipeDay][]*WipeOrder{}, registrarWipes: map[device][]*WipeOrder{}, receipts: map[[32]byte]*WipeReceipt{}, incidents: map[[32]byte]*heardIncident{},
		admins: map[adminKey]*GroupAdmin{}, meshKeys: map[[32]byte]uint64{}, pages: map[[32]byte][32]byte{},
	}
}

func (s *state) current() *Bundle { return s.bundles[len(s.bundles)-1] }

// inForce reports whether the bundle in force names the root.
func (s *state) inForce(root [32]byte) bool { return s.current().root(root) != nil }

func (s *state) registrarRevoked(org string, registrar [32]byte) bool {
	_, ok := s.registrars[device{org, registrar}]
	return ok
}

// addBundle puts b in force and keeps the roots of those before.
func (s *state) addBundle(b *Bundle) {
	s.bundles, s.everRoots = append(s.bundles, b), s.everRootsWith(b)
}

// everRootsWith returns the roots of all bundles and of b, in the order of the
// bundles: what is found first in them is found first for ever.
func (s *state) everRootsWith(b *Bundle) roots {
	ever := slices.Clone(s.everRoots)
	for _, r := range b.roots {
		if !slices.ContainsFunc(ever, func(e *issuerCert) bool { return e.cert.Equal(r.cert) }) {
			ever = append(ever, r)
		}
	}
	return ever
}

// revoke takes a device out and reports whether that is news. In whatever order
// they come, the earliest date counts, a wipe outlives a CRL, and an issuer's
// word the sponsors'.
func (s *state) revoke(d device, r revocation) (news bool) {
	old, ok := s.revoked[d]
	if !ok {
		s.revoked[d] = &r
		return true
	}
	news = r.wiped && !old.wiped
	old.wiped = old.wiped || r.wiped
	if !r.sponsor {
		old.sponsor, old.by = false, r.by
	}
	if r.since.Before(old.since) {
		old.since = r.since
	}
	return news
}

// count returns how many devices of an organisation are revoked.
func (s *state) count(org string) int {
	n := 0
	for d := range s.revoked {
		if d.org == org {
			n++
		}
	}
	return n
}

// raise lifts the clock floor to a time that an authority has signed.
func (s *state) raise(t time.Time) {
	if t.After(s.floor) {
		s.floor = t
	}
}

// keep remembers a statement. One that takes the place of earlier ones gives
// the same key.
func (s *state) keep(k keptStatement, replace bool) {
	if replace {
		s.kept = slices.DeleteFunc(s.kept, func(o keptStatement) bool { return o.kind == k.kind && o.key == k.key })
	}
	s.kept = append(s.kept, k)
}

// full reports whether as many statements of one kind and signer are kept as
// may be. Each signer has its own limit, so that none can shut out another.
func (s *state) full(k keptStatement, limit int) bool {
	n := 0
	for _, o := range s.kept {
		if o.kind == k.kind && o.by == k.by {
			n++
		}
	}
	return n >= limit
}

// raiseMeshKey records the number of a signer's newest mesh key. The pages of
// lower numbers need not be remembered: their number refuses them.
func (s *state) raiseMeshKey(signer [32]byte, number uint64) {
	if number > s.meshKeys[signer] {
		s.meshKeys[signer] = number
		maps.DeleteFunc(s.pages, func(_, by [32]byte) bool { return by == signer })
	}
}

func (s *state) pagesOf(signer [32]byte) int {
	n := 0
	for _, by := range s.pages {
		n += b2i(by == signer)
	}
	return n
}

// Statements returns what is in force, to hand to others: bundles in their
// order, then the rest in the order of taking. Pages of a mesh key are not
// among them: the entries that carried them are.
func (s *TrustStore) Statements() [][]byte {
	s.mu.RLock()
	defer s.mu.RUnlock()
	kept := slices.Clone(s.state.kept)
	slices.SortStableFunc(kept, func(a, b keptStatement) int {
		return cmp.Compare(b2i(a.kind != KindBundle), b2i(b.kind != KindBundle))
	})
	out := make([][]byte, 0, len(kept))
	for _, k := range kept {
		out = append(out, bytes.Clone(k.raw))
	}
	return out
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Floor returns the latest time that an authority has signed: no clock of a
// device is before it. It is zero until an authority has stated something.
// Statements dated more than 24 hours ahead of the clock are refused and
// raise nothing.
func (s *TrustStore) Floor() time.Time {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.state.floor
}

// Freshness says how far revocation data can be relied on.
type Freshness uint8

// The ages of revocation data: up to 24 hours, up to 7 days, older or never.
const (
	Stale Freshness = iota
	Ageing
	Fresh
)

// String returns "fresh", "ageing" or "stale".
func (f Freshness) String() string {
	return [...]string{"stale", "ageing", "fresh"}[min(f, Fresh)]
}

// IssuerAge is how old the newest CRL of one issuer is.
type IssuerAge struct {
	Org, Name  string
	Registrar  bool
	Number     uint64
	Revoked    int           // devices on it
	ThisUpdate time.Time     // zero: none has come
	Age        time.Duration // at least 0; 0 when none has come
	State      Freshness
}

// RevocationAge returns the age of the newest CRL of every authority in force,
// heard of or not, and of every registrar that has issued one and still may,
// by organisation. It is to be shown; it stops no message.
func (s *TrustStore) RevocationAge(now time.Time) []IssuerAge {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []IssuerAge
	for _, r := range s.state.current().roots {
		a := IssuerAge{Org: r.host, Name: r.cert.Subject.CommonName}
		if h := s.state.crls[IssuerKeyHash(r.cert)]; h != nil {
			a = h.age(now)
		}
		out = append(out, a)
	}
	for _, h := range s.state.crls {
		if h.registrar && !now.After(h.registrarEnd) {
			out = append(out, h.age(now))
		}
	}
	slices.SortFunc(out, func(a, b IssuerAge) int {
		return cmp.Or(cmp.Compare(a.Org, b.Org), cmp.Compare(b2i(a.Registrar), b2i(b.Registrar)), cmp.Compare(a.Name, b.Name))
	})
	return out
}

func (h *heardCRL) age(now time.Time) IssuerAge {
	a := IssuerAge{Org: h.org, Name: h.name, Registrar: h.registrar, Number: h.number, Revoked: h.devices, ThisUpdate: h.time, Age: max(0, now.Sub(h.time))}
	switch {
	case a.Age <= FreshLife:
		a.State = Fresh
	case a.Age <= AgeingLife:
		a.State = Ageing
	}
	return a
}

// Declared returns the incidents in force at now, by organisation.
func (s *TrustStore) Declared(now time.Time) []Incident {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.state.declared(now)
}

func (s *state) declared(now time.Time) []Incident {
	var out []Incident
	for _, h := range s.incidents {
		if h.Declared && !now.After(h.Until) && s.maySpeak(h) && !s.overruled(h) {
			out = append(out, h.Incident)
		}
	}
	slices.SortFunc(out, func(a, b Incident) int {
		return cmp.Or(cmp.Compare(a.Org, b.Org), a.Since.Compare(b.Since), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// maySpeak reports whether who declared the incident still might: it is no
// registrar who has been revoked since, and its authority is in force.
func (s *state) maySpeak(h *heardIncident) bool {
	return s.inForce(h.root) && !(h.registrar && s.registrarRevoked(h.Org, h.signer))
}

// overruled reports whether an authority of the same organisation has spoken
// after a registrar. It counts also where the authority is no longer in force:
// to stand an incident down makes nothing laxer.
func (s *state) overruled(h *heardIncident) bool {
	if !h.registrar {
		return false
	}
	for _, o := range s.incidents {
		if !o.registrar && o.Org == h.Org && !o.Since.Before(h.Since) {
			return true
		}
	}
	return false
}

// declares reports whether an incident of the organisation is in force.
func (s *state) declares(org string, now time.Time) bool {
	return slices.ContainsFunc(s.declared(now), func(i Incident) bool { return i.Org == org })
}

// NextCRL returns what the next CRL of an issuer must contain at least: the
// next number, and all that the issuer has revoked before. Its time is for the
// caller to set. From a registrar only what its newest CRL named is known with
// evidence, and that is what comes.
func (s *TrustStore) NextCRL(i Issuer) CRL {
	s.mu.RLock()
	defer s.mu.RUnlock()
	hash := i.KeyHash()
	c := CRL{Number: 1}
	if h := s.state.crls[hash]; h != nil {
		c.Number = h.number + 1
	}
	if i.IsRegistrar() {
		for _, k := range s.state.kept {
			if st, err := parseStatement(k.raw); k.kind == KindCRL && k.key == hash && err == nil {
				if last, err := parseCRL(st.body, true); err == nil {
					c.Revoked = last.Revoked
				}
			}
		}
		return c
	}
	for d, r := range s.state.revoked {
		if d.org == i.Org() {
			c.Revoked = append(c.Revoked, Revoked{Key: d.key, Since: r.since})
		}
	}
	for d := range s.state.registrars {
		if d.org == i.Org() {
			c.Registrars = append(c.Registrars, d.key)
		}
	}
	slices.SortFunc(c.Revoked, func(a, b Revoked) int { return bytes.Compare(a.Key[:], b.Key[:]) })
	slices.SortFunc(c.Registrars, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	return c
}

// hashOf is SHA-256 of raw bytes.
func hashOf(raw []byte) [32]byte { return sha256.Sum256(raw) }
