package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// Credentials that people vouch for (protocol §1): a self-signed leaf with the
// signatures of one person, for a further device of their own, or of three, who
// let somebody in while no issuer can be reached: break-glass. The rules stand
// in the order in which a credential meets them.

// RoleSenior is the role of which break-glass needs at least one holder among
// the three who vouch. Break-glass itself never grants it.
const RoleSenior = "senior"

// The numbers of people who vouch.
const (
	ownDeviceSponsors  = 1
	breakGlassSponsors = maxSponsors
)

// sponsored is the second form of a credential, and of an admission leaf:
//
//	struct { Chain sponsor<1..2^16-1>; opaque signature[64]; } Sponsorship;
//	struct { opaque leaf<1..2^16-1>; Sponsorship sponsorships<1..2^16-1>; } Sponsored;
//
// In a credential the chain is that of the sponsor's credential and the
// signature is by the sponsor's signing key, over "tocsin/sponsor/v1\0" ‖
// SHA-256(leaf). In an admission leaf, which strangers see, the chain is that
// of the sponsor's admission leaf and the signature is by the transport key,
// over "tocsin/sponsor-admission/v1\0" ‖ SHA-256(leaf). Sponsorships stand in
// ascending order of the sponsors' ticket keys, which both leaves make known.
type sponsored struct {
	leaf  []byte
	votes []sponsorship
}

type sponsorship struct {
	chain     []byte
	signature [ed25519.SignatureSize]byte
}

// sponsoredAdmission begins an admission chain of the sponsored form. A Chain
// never begins with it: its length is at most 8190.
const sponsoredAdmission = 0xffff

// encode returns the wire form of a credential.
func (sp *sponsored) encode() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(byte(FormSponsored))
	sp.build(&b)
	return b.Bytes()
}

// encodeAdmission returns the wire form of an admission leaf.
func (sp *sponsored) encodeAdmission() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint16(sponsoredAdmission)
	sp.build(&b)
	return b.Bytes()
}

func (sp *sponsored) build(b *cryptobyte.Builder) {
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(sp.leaf) })
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, v := range sp.votes {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(v.chain) })
			b.AddBytes(v.signature[:])
		}
	})
}

func decodeSponsored(b []byte) (*sponsored, error) {
	bad := refuse(checkForm, "what people vouch for is cut short or has bytes after its end")
	s := cryptobyte.String(b)
	var leaf, votes cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&leaf) || !s.ReadUint16LengthPrefixed(&votes) || !s.Empty() {
		return nil, bad
	}
	if leaf.Empty() || len(leaf) > MaxCertificate || votes.Empty() {
		return nil, bad
	}
	sp := &sponsored{leaf: leaf}
	for !votes.Empty() {
		var chain cryptobyte.String
		var v sponsorship
		if len(sp.votes) == maxSponsors || !votes.ReadUint16LengthPrefixed(&chain) || !votes.CopyBytes(v.signature[:]) {
			return nil, bad
		}
		if _, err := DecodeChain(chain); err != nil {
			return nil, err
		}
		v.chain = chain
		sp.votes = append(sp.votes, v)
	}
	return sp, nil
}

// decodeSponsoredAdmission reports with ok whether raw is of the sponsored
// form at all.
func decodeSponsoredAdmission(raw []byte) (sp *sponsored, ok bool, err error) {
	s := cryptobyte.String(raw)
	var mark uint16
	if !s.ReadUint16(&mark) || mark != sponsoredAdmission {
		return nil, false, nil
	}
	sp, err = decodeSponsored(s)
	return sp, true, err
}

// readSponsored holds every rule of a credential that people vouch for, but
// for those that change with time.
func (s roots) readSponsored(sp *sponsored) (*Credential, error) {
	c, err := readSelfSignedCredential(sp.leaf)
	if err != nil {
		return nil, err
	}
	if err := checkVoteCount(len(sp.votes)); err != nil {
		return nil, err
	}
	by := make([]*Credential, 0, len(sp.votes))
	for _, v := range sp.votes {
		one, err := s.readSponsor(sp, v, c)
		if err != nil {
			return nil, err
		}
		by = append(by, one)
	}
	if err := checkVoteOrder(by, (*Credential).KeyHash); err != nil {
		return nil, err
	}
	c.BreakGlass = len(by) == breakGlassSponsors
	c.Sponsors, c.Issuer = sponsorsOf(by)
	if c.BreakGlass {
		err = checkBreakGlass(c, by)
	} else {
		err = checkOwnDevice(c, by[0])
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// readSelfSignedCredential reads the leaf that a newcomer has signed alone.
func readSelfSignedCredential(leaf []byte) (*Credential, error) {
	p, err := selfSigned(leaf, oidCredentialUsage())
	if err != nil {
		return nil, err
	}
	c, err := p.credential()
	if err != nil {
		return nil, err
	}
	if c.Groups, err = parseGroups(p); err != nil {
		return nil, err
	}
	if c.Claims.Relay {
		return nil, refuse(checkSponsorRelay, "a relay is enrolled by an authority, and nobody vouches for it")
	}
	c.Form = FormSponsored
	return c, nil
}

// selfSigned checks a leaf under itself, with its own O as the host.
func selfSigned(der []byte, usage asn1.ObjectIdentifier) (*path, error) {
	leaf, err := parseCertificate(der)
	if err != nil {
		return nil, err
	}
	orgs := leaf.Subject.Organization
	if len(orgs) != 1 || CheckOrg(orgs[0]) != nil {
		return nil, refuse(checkSubject, "a leaf's subject is O = the host of an organisation, and nothing else")
	}
	self := &issuerCert{cert: leaf, host: orgs[0]}
	key, err := checkLeaf(leaf, self, usage)
	if err != nil {
		return nil, err
	}
	if checkSignedBy(leaf, leaf) != nil {
		return nil, refuse(checkSelfSigned, "a leaf that people vouch for is signed by its own key")
	}
	return &path{leaf: leaf, key: key, issuer: self}, nil
}

// readSponsor checks one sponsorship: who vouches, whether they may, and the
// signature.
func (s roots) readSponsor(sp *sponsored, v sponsorship, c *Credential) (*Credential, error) {
	by, err := s.readChain(v.chain)
	if errors.Is(err, ErrForeign) {
		return nil, refuseAs(ErrForeign, checkSponsorIssued, "who vouches has no credential of an authority of this mesh")
	}
	if err != nil {
		return nil, err
	}
	if err := maySponsor(by); err != nil {
		return nil, err
	}
	digest := sha256.Sum256(sp.leaf)
	if VerifySignature(by.SigningKey, domainSponsor, digest[:], v.signature[:]) != nil {
		return nil, refuse(checkSponsorSignature, "the signature of one who vouches does not verify")
	}
	if err := checkVoteNesting(c.NotBefore, c.NotAfter, by.NotBefore, by.NotAfter); err != nil {
		return nil, err
	}
	return by, nil
}

// maySponsor says whether the holder of a credential may vouch for others.
func maySponsor(by *Credential) error {
	switch {
	case by.Form != FormChain || by.Registrar:
		return refuse(checkSponsorIssued, "who vouches holds a credential that an authority has issued itself: no registrar's, and nobody vouches in turn")
	case by.Claims.Provisional:
		return refuse(checkSponsorFlag, "who vouches is provisional")
	case by.Claims.Relay:
		return refuse(checkSponsorRelay, "a relay vouches for nobody")
	}
	return nil
}

func checkVoteCount(n int) error {
	if n != ownDeviceSponsors && n != breakGlassSponsors {
		return refuse(checkSponsorCount, "%d people vouch: one for an own device, or three", n)
	}
	return nil
}

// checkVoteOrder demands ascending ticket keys: one encoding, and no device
// twice.
func checkVoteOrder[T any](by []T, key func(T) [32]byte) error {
	for i := 1; i < len(by); i++ {
		a, b := key(by[i-1]), key(by[i])
		if bytes.Compare(a[:], b[:]) >= 0 {
			return refuse(checkSponsorOrder, "those who vouch are sorted by their ticket keys, and each stands once")
		}
	}
	return nil
}

// checkVoteNesting demands that nobody vouches for a time in which their own
// credential does not hold.
func checkVoteNesting(from, to, byFrom, byTo time.Time) error {
	if from.Before(byFrom) || to.After(byTo) {
		return refuse(checkSponsorNesting, "the leaf outlives the credential of one who vouches")
	}
	return nil
}

func checkVoteLife(from, to time.Time, votes int) error {
	if votes == breakGlassSponsors && to.Sub(from) > MaxBreakGlass {
		return refuse(checkSponsorLife, "break-glass lasts 72 hours at most")
	}
	if to.Sub(from) > MaxOwnDevice {
		return refuse(checkSponsorLife, "what a person vouches for as their own device lasts 7 days at most")
	}
	return nil
}

func sponsorsOf(by []*Credential) (list []Sponsor, names string) {
	all := make([]string, 0, len(by))
	for _, b := range by {
		list = append(list, Sponsor{Person: b.Person, Name: b.Claims.Name, Device: b.Device, KeyHash: b.KeyHash(), root: b.above.root})
		all = append(all, b.Claims.Name)
	}
	return list, strings.Join(all, ", ")
}

// checkOwnDevice holds the rules of a person's further device.
func checkOwnDevice(c, by *Credential) error {
	if c.Person != by.Person {
		return refuse(checkSponsorPerson, "one person alone vouches only for a further device of their own")
	}
	if c.Groups != nil {
		return refuse(checkSponsorGroups, "the credential of an own device names no groups")
	}
	for _, r := range c.Claims.Roles {
		if !by.Claims.HasRole(r) {
			return refuse(checkSponsorRoles, "an own device has no role that the person has not")
		}
	}
	return checkVoteLife(c.NotBefore, c.NotAfter, ownDeviceSponsors)
}

// checkBreakGlass holds the rules of the admission by three persons.
func checkBreakGlass(c *Credential, by []*Credential) error {
	people := []string{humanOf(c.Person)}
	for _, b := range by {
		h := humanOf(b.Person)
		if slices.Contains(people, h) {
			return refuse(checkSponsorPerson, "break-glass needs three persons beside the newcomer: devices of one person count once")
		}
		people = append(people, h)
	}
	if !slices.ContainsFunc(by, func(b *Credential) bool { return b.Claims.HasRole(RoleSenior) }) {
		return refuse(checkSponsorSenior, "one of the three who vouch has the role %q", RoleSenior)
	}
	if !slices.ContainsFunc(by, func(b *Credential) bool { return b.Person.Org == c.Person.Org }) {
		return refuse(checkSponsorHost, "a newcomer joins the organisation of one of the three who vouch")
	}
	for _, r := range c.Claims.Roles {
		if r == RoleSenior || !slices.ContainsFunc(by, func(b *Credential) bool { return b.Claims.HasRole(r) }) {
			return refuse(checkSponsorRoles, "break-glass gives roles that one of the three has, and never %q", RoleSenior)
		}
	}
	if len(c.Groups) == 0 {
		return refuse(checkSponsorGroups, "a break-glass credential names the groups that the newcomer may join")
	}
	return checkVoteLife(c.NotBefore, c.NotAfter, breakGlassSponsors)
}

// humanOf names the human being: the four national registers number people once
// for the whole country, so that two organisations' entries are one person.
func humanOf(p Person) string {
	for _, n := range numberShapes {
		if n.regulator == p.Regulator {
			return p.Regulator + "/" + p.Number
		}
	}
	return p.String()
}

// parseGroups reads the groups extension: an octet string of group ids,
// ascending, at most 16. nil if there is none.
func parseGroups(p *path) ([][32]byte, error) {
	if _, _, there := extension(p.leaf, oidGroups()); !there {
		return nil, nil
	}
	raw, ok := octets(p.leaf, oidGroups())
	if !ok || len(raw) == 0 || len(raw)%32 != 0 || len(raw) > 32*maxGroups {
		return nil, refuse(checkSponsorGroups, "the groups of a credential are 1 to %d ids of 32 bytes", maxGroups)
	}
	var out [][32]byte
	for id := range slices.Chunk(raw, 32) {
		if n := len(out); n > 0 && bytes.Compare(out[n-1][:], id) >= 0 {
			return nil, refuse(checkSponsorGroups, "the groups of a credential are sorted, and each stands once")
		}
		out = append(out, [32]byte(id))
	}
	return out, nil
}

// readSponsoredAdmission holds the rules that can be checked without knowing
// names: those on persons and roles are checked with the credential, which
// such a device shows with its ticket ([TrustStore.VerifyTicket]).
func (s roots) readSponsoredAdmission(sp *sponsored) (*Admission, error) {
	p, err := selfSigned(sp.leaf, oidAdmissionUsage())
	if err != nil {
		return nil, err
	}
	a, err := p.admission()
	if err != nil {
		return nil, err
	}
	a.Form = FormSponsored
	if err := checkVoteCount(len(sp.votes)); err != nil {
		return nil, err
	}
	by := make([]*Admission, 0, len(sp.votes))
	for _, v := range sp.votes {
		one, err := s.readVoucher(sp, v, a)
		if err != nil {
			return nil, err
		}
		by = append(by, one)
		a.Sponsors = append(a.Sponsors, one.TicketKey)
		a.vouchers = append(a.vouchers, voucher{device{one.Org, one.TicketKey}, one.above.root})
	}
	if err := checkVoteOrder(by, func(b *Admission) [32]byte { return b.TicketKey }); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(by, func(b *Admission) bool { return b.Org == a.Org }) {
		return nil, refuse(checkSponsorHost, "a newcomer joins the organisation of one of those who vouch")
	}
	if err := checkVoteLife(a.NotBefore, a.NotAfter, len(by)); err != nil {
		return nil, err
	}
	return a, nil
}

func (s roots) readVoucher(sp *sponsored, v sponsorship, a *Admission) (*Admission, error) {
	ders, err := DecodeChain(v.chain)
	if err != nil {
		return nil, err
	}
	p, err := s.verifyPath(ders, oidAdmissionUsage())
	if errors.Is(err, ErrForeign) {
		return nil, refuseAs(ErrForeign, checkSponsorIssued, "who vouches has no admission leaf of an authority of this mesh")
	}
	if err != nil {
		return nil, err
	}
	if p.issuer.registrar {
		return nil, refuse(checkSponsorIssued, "who vouches holds leaves that an authority has issued itself")
	}
	by, err := p.admission()
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(sp.leaf)
	if VerifySignature(p.key, domainSponsorAdmission, digest[:], v.signature[:]) != nil {
		return nil, refuse(checkSponsorSignature, "the signature of one who vouches does not verify")
	}
	if err := checkVoteNesting(a.NotBefore, a.NotAfter, by.NotBefore, by.NotAfter); err != nil {
		return nil, err
	}
	return by, nil
}
