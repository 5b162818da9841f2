package identity

import (
	"bytes"
	"slices"
	"time"
)

// Taking a statement, in processing order: frame → mesh → date → already known
// → signer and signature → powers of the signer → the kind's own rules → state
// → floor. Nothing changes before the last rule has passed.

// Effect is what followed from a statement, for the node to act on after it
// has persisted [TrustStore.Snapshot].
type Effect struct {
	Kind      Kind
	ID        [32]byte // of the statement
	Known     bool     // taken before: nothing follows
	Org       string   // whose authority, registrar or device has signed; empty for a bundle
	Issuer    string   // the signer's common or display name
	Registrar bool     // signed by a registrar
	Time      time.Time

	Revoked    []Revocation // devices that are out from now on
	Registrars [][32]byte   // [IssuerKeyHash] of registrars that are
	Wipe       *WipeOrder
	Receipt    *WipeReceipt
	Incident   *Incident
	Bundle     *Bundle // now in force
	MeshKey    *MeshKeyPage
	Admin      *GroupAdmin
	Also       []Effect // of statements that had waited for this one
}

// Revocation says that one device of an organisation is out.
type Revocation struct {
	Key    [32]byte // [Credential.KeyHash]
	Org    string
	Since  time.Time
	By     string // organisation of who says so
	Wiped  bool   // by a wipe order
	Person Person // if the statement brought the credential; else zero
}

// Take checks a statement in every respect and applies it. now is this
// device's clock. A statement that was taken before changes nothing and gives
// Effect.Known. Other errors wrap [ErrRefused] (broken), [ErrForeign] (another
// mesh, or a signer that no bundle names), [ErrRolledBack], [ErrPostDated],
// [ErrExpired] (its signer's certificate), [ErrRevoked] (its signer), [ErrBeyond]
// or [ErrEarly]. Statements that are foreign or early may build on a bundle that
// has not come: a bounded number is kept and tried again after each bundle.
func (s *TrustStore) Take(raw []byte, now time.Time) (Effect, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.take(raw, now)
	if mayWait(err) {
		s.waiting.add(raw)
	}
	if err == nil && !e.Known && (e.Kind == KindBundle || e.Kind == KindWipe) {
		e.Also = s.retry(now)
	}
	return e, err
}

func (s *TrustStore) take(raw []byte, now time.Time) (Effect, error) {
	st, err := parseStatement(raw)
	if err != nil {
		return Effect{}, err
	}
	if st.mesh != s.genesis.MeshID() {
		return Effect{}, refuseAs(ErrForeign, checkStatementMesh, "the statement is for another mesh")
	}
	id, err := st.id()
	if err != nil {
		return Effect{}, err
	}
	e := Effect{Kind: st.kind, ID: id, Time: st.at()}
	if s.knows(id) {
		e.Known = true
		return e, nil
	}
	if st.at().After(now.Add(MaxClockLead)) {
		return Effect{}, refuseAs(ErrPostDated, checkStatementDate, "it is dated %s: look at the clock of this device", st.at().Format(time.RFC3339))
	}
	v, err := s.hear(st, now)
	if err != nil {
		return Effect{}, err
	}
	e.Org, e.Issuer, e.Registrar = v.org, v.name, v.kind == byRegistrar
	k := keptStatement{id: id, kind: st.kind, key: v.key, by: v.key, taken: now.Truncate(time.Second), raw: bytes.Clone(raw)}
	if v.credential != nil {
		k.by = hashOf([]byte(v.credential.Person.String()))
	}
	if err := s.apply(st, v, k, &e); err != nil {
		return Effect{}, err
	}
	if v.kind == byAuthority || v.kind == byRoots {
		s.state.raise(st.at())
	}
	return e, nil
}

func (s *TrustStore) knows(id [32]byte) bool {
	if _, ok := s.state.pages[id]; ok {
		return true
	}
	return slices.ContainsFunc(s.state.kept, func(k keptStatement) bool { return k.id == id })
}

func (s *TrustStore) apply(st *statement, v *voice, k keptStatement, e *Effect) error {
	switch st.kind {
	case KindCRL:
		return s.takeCRL(st, v, k, e)
	case KindWipe:
		return s.takeWipe(st, v, k, e)
	case KindReceipt:
		return s.takeReceipt(st, v, k, e)
	case KindDeclaration:
		return s.takeDeclaration(st, v, k, e)
	case KindSponsorRevoke:
		return s.takeSponsorRevoke(st, v, k, e)
	case KindBundle:
		return s.takeBundle(st, k, e)
	case KindMeshKey:
		return s.takeMeshKey(st, v, k, e)
	default:
		return s.takeGroupAdmin(st, v, k, e)
	}
}

// takeCRL demands that number and date both rise, before anything is kept.
func (s *TrustStore) takeCRL(st *statement, v *voice, k keptStatement, e *Effect) error {
	list, err := parseCRL(st.body, v.kind == byRegistrar)
	if err != nil {
		return err
	}
	if old := s.state.crls[v.key]; old != nil {
		if list.Number <= old.number {
			return refuseAs(ErrRolledBack, checkCRLNumber, "CRL %d of this issuer is known, and this is %d", old.number, list.Number)
		}
		if !st.at().After(old.time) {
			return refuseAs(ErrRolledBack, checkCRLTime, "CRL %d has a higher number than the one known and no later date", list.Number)
		}
	}
	people := make([]Person, len(list.Revoked))
	for i, r := range list.Revoked {
		if r.Since.After(st.at()) {
			return refuse(checkCRLEntries, "a device is revoked from a date after that of the CRL")
		}
		if people[i], err = s.checkEvidence(v, r.Key, r.Credential); err != nil {
			return err
		}
	}
	if s.state.count(v.org)+len(list.Revoked) > maxKeptRevoked {
		return refuse(checkStatementFull, "more than %d devices of one organisation are revoked", maxKeptRevoked)
	}
	for i, r := range list.Revoked {
		if s.state.revoke(device{v.org, r.Key}, revocation{since: r.Since, by: v.org}) {
			e.Revoked = append(e.Revoked, Revocation{Key: r.Key, Org: v.org, Since: r.Since, By: v.org, Person: people[i]})
		}
	}
	for _, r := range list.Registrars {
		if _, ok := s.state.registrars[device{v.org, r}]; !ok {
			s.state.registrars[device{v.org, r}] = st.at()
			e.Registrars = append(e.Registrars, r)
		}
	}
	heard := &heardCRL{org: v.org, name: v.name, registrar: v.kind == byRegistrar, number: list.Number, time: st.at(), devices: len(list.Revoked), registrarEnd: v.issuer.cert.NotAfter}
	s.state.crls[v.key] = heard
	s.state.keep(k, true)
	return nil
}

// checkEvidence demands that a credential which a statement brings is of the
// signer's own organisation and of the device that is named; and of a registrar,
// that the person holds no role that the registrar may not grant.
func (s *TrustStore) checkEvidence(v *voice, key [32]byte, raw []byte) (Person, error) {
	if len(raw) == 0 {
		return Person{}, nil
	}
	c, err := s.state.everRoots.readCredential(raw)
	if err != nil {
		return Person{}, err
	}
	if c.KeyHash() != key {
		return Person{}, refuse(checkEvidence, "the credential is that of another device than the one named")
	}
	if c.Person.Org != v.org {
		return Person{}, refuseAs(ErrBeyond, checkEvidenceHost, "the device belongs to another organisation than the signer")
	}
	if v.kind == byRegistrar {
		for _, r := range c.Claims.Roles {
			if !slices.Contains(v.issuer.roles, r) {
				return Person{}, refuseAs(ErrBeyond, checkEvidenceRoles, "the person has a role that the registrar may not grant: the authority must say it")
			}
		}
	}
	return c.Person, nil
}

// takeReceipt takes one receipt an order, from the device that it was for.
func (s *TrustStore) takeReceipt(st *statement, v *voice, k keptStatement, e *Effect) error {
	if len(st.body) != 32 {
		return errBody
	}
	c := v.credential
	r := &WipeReceipt{Order: [32]byte(st.body), Key: c.KeyHash(), Time: st.at(), Person: c.Person, Device: c.Device}
	order := s.state.wipes[r.Order]
	if order == nil {
		return refuseAs(ErrEarly, checkReceiptOrder, "the wipe order of this receipt has not come")
	}
	if order.Key != r.Key || order.Org != c.Person.Org {
		return refuse(checkReceiptKey, "the receipt is that of another device than the one ordered to erase itself")
	}
	if s.state.receipts[r.Order] != nil {
		return refuseAs(ErrRolledBack, checkReceiptOrder, "this order has its receipt")
	}
	s.state.receipts[r.Order] = r
	receipt := *r
	e.Receipt = &receipt
	s.state.keep(k, false)
	return nil
}

func (s *TrustStore) takeDeclaration(st *statement, v *voice, k keptStatement, e *Effect) error {
	i, err := parseDeclaration(st.body, st.at(), v.kind == byRegistrar)
	if err != nil {
		return err
	}
	if old := s.state.incidents[v.key]; old != nil && (i.Number <= old.Number || !i.Since.After(old.Since)) {
		return refuseAs(ErrRolledBack, checkDeclarationNumber, "declaration %d of this signer is known", old.Number)
	}
	i.Org, i.By = v.org, v.name
	s.state.incidents[v.key] = &heardIncident{Incident: *i, registrar: v.kind == byRegistrar, signer: v.key, root: v.root}
	e.Incident = i
	s.state.keep(k, true)
	return nil
}

func (s *TrustStore) takeSponsorRevoke(st *statement, v *voice, k keptStatement, e *Effect) error {
	target, err := s.state.everRoots.readCredential(st.body)
	if err != nil {
		return err
	}
	if !isSponsor(v.credential, target) {
		return refuseAs(ErrBeyond, checkSponsorVoice, "the signer is none of those who vouched")
	}
	d := device{target.Person.Org, target.KeyHash()}
	if _, ok := s.state.revoked[d]; !ok && s.state.full(k, maxKeptOfPerson) {
		return refuse(checkStatementFull, "more withdrawn sponsorships than can be kept")
	}
	if s.state.revoke(d, revocation{since: st.at(), by: v.org, sponsor: true}) {
		e.Revoked = []Revocation{{Key: d.key, Org: d.org, Since: st.at(), By: v.org, Person: target.Person}}
		k.key = d.key
		s.state.keep(k, true)
	}
	return nil
}

func (s *TrustStore) takeBundle(st *statement, k keptStatement, e *Effect) error {
	b, err := ParseBundle(st.body)
	if err != nil {
		return refuse(checkStatementEncoding, "%v", err)
	}
	if b.number == 0 || b.mesh != st.mesh || !b.created.Equal(st.at()) {
		return refuse(checkStatementEncoding, "the frame is not that of its trust bundle")
	}
	if slices.ContainsFunc(s.state.bundles, func(o *Bundle) bool { return o.ID() == b.ID() }) {
		e.Known = true // the same content with another set of signatures
		return nil
	}
	if err := b.checkFollows(s.state.current()); err != nil {
		return err
	}
	if len(s.state.everRootsWith(b)) > maxEverRoots {
		return refuse(checkStatementFull, "with this trust bundle the mesh has had more than %d authorities", maxEverRoots)
	}
	s.state.addBundle(b)
	e.Bundle = b
	s.state.keep(k, false)
	return nil
}

func (s *TrustStore) takeMeshKey(st *statement, v *voice, k keptStatement, e *Effect) error {
	p, err := parseMeshPage(st.body)
	if err != nil {
		return err
	}
	if p.Number > s.state.current().number {
		return refuseAs(ErrEarly, checkMeshKeyEarly, "trust bundle %d must come before the mesh key of its number", p.Number)
	}
	if p.Number < s.state.meshKeys[v.key] {
		return refuseAs(ErrRolledBack, checkMeshKeyNumber, "mesh key %d of this authority is known", s.state.meshKeys[v.key])
	}
	if p.Number == s.state.meshKeys[v.key] && s.state.pagesOf(v.key) >= maxKeptStatements {
		return refuse(checkStatementFull, "more pages of a mesh key than can be remembered")
	}
	s.state.raiseMeshKey(v.key, p.Number)
	s.state.pages[k.id] = v.key
	e.MeshKey = p
	return nil
}

func (s *TrustStore) takeGroupAdmin(st *statement, v *voice, k keptStatement, e *Effect) error {
	g, err := parseGroupAdmin(st)
	if err != nil {
		return err
	}
	g.Org, g.Raw = v.org, k.raw
	key := adminKey{g.Group, v.key}
	if old := s.state.admins[key]; old != nil && !g.Time.After(old.Time) {
		return refuseAs(ErrRolledBack, checkAdminTime, "a later statement of this authority names the group's administrator")
	}
	if s.state.admins[key] == nil && s.state.full(k, maxKeptStatements) {
		return refuse(checkStatementFull, "more named administrators than can be kept")
	}
	s.state.admins[key] = g
	admin := *g
	e.Admin = &admin
	k.key = hashOf(append(g.Group[:], v.key[:]...))
	s.state.keep(k, true)
	return nil
}
