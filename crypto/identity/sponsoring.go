package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// How a credential that people vouch for comes about: the newcomer makes a
// SponsorRequest, each sponsor answers it after a meeting in person, and the
// newcomer assembles the answers. The rules themselves stand in sponsored.go.

// SponsorTerms is what a newcomer asks people to vouch for.
type SponsorTerms struct {
	Now        time.Time
	Validity   time.Duration // from Now; with [Backdate] at most 72 hours, 7 days for an own device
	BreakGlass bool          // else a further device of the person's own
	Groups     [][32]byte    // that a break-glass device may join, 1 to 16; none for an own device
	Rand       io.Reader     // of serial numbers; nil means crypto/rand
}

// SponsorRequest is a newcomer's application to people:
//
//	struct {
//	    uint8  version = 1;
//	    opaque request<1..2^16-1>;       /* Request: proves possession of the keys */
//	    opaque admission<1..4096>;       /* self-signed admission leaf, DER */
//	    opaque credential<1..4096>;      /* self-signed credential leaf, DER */
//	} SponsorRequest;
type SponsorRequest struct {
	request    *Request
	admission  []byte
	credential []byte
	read       *Credential // credential, without anybody who vouches
	raw        []byte
}

// NewSponsorRequest makes the two leaves of a newcomer and signs them with the
// newcomer's own keys. For an own device the person is that of the sponsor.
func NewSponsorRequest(w Wish, t SponsorTerms, relay *RelayKeys, vault *VaultKeys) (*SponsorRequest, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	req, err := NewRequest(w, relay, vault)
	if err != nil {
		return nil, err
	}
	if t.Rand == nil {
		t.Rand = rand.Reader
	}
	claims, err := req.wish.Claims.marshal()
	if err != nil {
		return nil, err
	}
	forAdmission, forCredential := req.names()
	ticket := TicketKey(req.signing)
	admission, err := selfSign(leafExtensions(oidAdmissionUsage(), forAdmission, oidTicketKey(), ticket[:]), relay.Transport, w.Person.Org, t)
	if err != nil {
		return nil, err
	}
	extensions := leafExtensions(oidCredentialUsage(), forCredential, oidClaims(), claims)
	if t.BreakGlass {
		groups := slices.SortedFunc(slices.Values(t.Groups), func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
		var list []byte
		for _, g := range slices.Compact(groups) {
			list = append(list, g[:]...)
		}
		extensions = append(extensions, pkix.Extension{Id: oidGroups(), Value: derOctets(list)})
	}
	credential, err := selfSign(extensions, vault.Signing, w.Person.Org, t)
	if err != nil {
		return nil, err
	}
	raw, err := encodeSponsorRequest(req.raw, admission, credential)
	if err != nil {
		return nil, err
	}
	return ParseSponsorRequest(raw)
}

func (t SponsorTerms) check() error {
	limit := MaxOwnDevice - Backdate
	if t.BreakGlass {
		limit = MaxBreakGlass - Backdate
	}
	switch {
	case t.Validity <= 0 || t.Validity > limit:
		return fmt.Errorf("identity: people vouch for above zero and at most %v", limit)
	case t.BreakGlass && (len(t.Groups) == 0 || len(t.Groups) > maxGroups):
		return fmt.Errorf("identity: name the 1 to %d groups that the newcomer is to join", maxGroups)
	case !t.BreakGlass && len(t.Groups) != 0:
		return errors.New("identity: an own device joins groups like any other: name none")
	}
	return nil
}

func selfSign(extensions []pkix.Extension, key ed25519.PrivateKey, org string, t SponsorTerms) ([]byte, error) {
	serial, err := newSerial(t.Rand)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{org}},
		NotBefore:    t.Now.Add(-Backdate), NotAfter: t.Now.Add(t.Validity),
		KeyUsage:        x509.KeyUsageDigitalSignature,
		ExtraExtensions: extensions,
	}
	der, err := x509.CreateCertificate(t.Rand, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("identity: the leaf cannot be signed: %w", err)
	}
	return der, nil
}

func encodeSponsorRequest(request, admission, credential []byte) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(1)
	for _, part := range [][]byte{request, admission, credential} {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(part) })
	}
	raw, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("identity: the sponsor request cannot be encoded: %w", err)
	}
	return raw, nil
}

// ParseSponsorRequest reads the form that [SponsorRequest.Marshal] writes
// (≤16 KiB), verifies its signatures, and demands that both leaves are for the
// person and keys of the request inside.
func ParseSponsorRequest(raw []byte) (*SponsorRequest, error) {
	if len(raw) > maxSponsorRequest {
		return nil, fmt.Errorf("identity: a sponsor request of %d bytes is over the limit of %d", len(raw), maxSponsorRequest)
	}
	r := &SponsorRequest{raw: slices.Clone(raw)}
	s := cryptobyte.String(r.raw)
	var version uint8
	var request, admission, credential cryptobyte.String
	if !s.ReadUint8(&version) || !s.ReadUint16LengthPrefixed(&request) || !s.ReadUint16LengthPrefixed(&admission) ||
		!s.ReadUint16LengthPrefixed(&credential) || !s.Empty() {
		return nil, fmt.Errorf("identity: sponsor request: %w", errTruncated)
	}
	if version != 1 {
		return nil, fmt.Errorf("identity: a sponsor request of version %d is newer than this program", version)
	}
	r.admission, r.credential = admission, credential
	var err error
	if r.request, err = ParseRequest(request); err != nil {
		return nil, err
	}
	if r.read, err = readSelfSignedCredential(credential); err != nil {
		return nil, err
	}
	if err := r.checkLeaves(); err != nil {
		return nil, err
	}
	return r, nil
}

// checkLeaves demands that both leaves say what the request says.
func (r *SponsorRequest) checkLeaves() error {
	p, err := selfSigned(r.admission, oidAdmissionUsage())
	if err != nil {
		return err
	}
	a, err := p.admission()
	if err != nil {
		return err
	}
	asked, err := r.request.wish.Claims.marshal()
	if err != nil {
		return err
	}
	got, err := r.read.Claims.marshal()
	if err != nil {
		return err
	}
	c := r.read
	same := c.Person == r.request.wish.Person && c.SigningKey == r.request.signing && bytes.Equal(asked, got) &&
		p.key == r.request.transport && a.Peer == c.Peer && a.TicketKey == c.KeyHash() && a.Org == c.Person.Org &&
		a.NotBefore.Equal(c.NotBefore) && a.NotAfter.Equal(c.NotAfter)
	if !same {
		return errors.New("identity: the leaves of the sponsor request are not those of the request inside")
	}
	return nil
}

// Marshal returns the one encoding of r.
func (r *SponsorRequest) Marshal() []byte { return slices.Clone(r.raw) }

// MarshalPEM returns r as "TOCSIN SPONSOR REQUEST". It holds no secret.
func (r *SponsorRequest) MarshalPEM() []byte { return encodePEM(pemSponsorRequest, r.raw) }

// ParseSponsorRequestPEM reads what [SponsorRequest.MarshalPEM] wrote.
func ParseSponsorRequestPEM(text []byte) (*SponsorRequest, error) {
	raw, err := decodePEM(pemSponsorRequest, text)
	if err != nil {
		return nil, err
	}
	return ParseSponsorRequest(raw)
}

// Fingerprint is that of the request inside: see [Request.Fingerprint].
func (r *SponsorRequest) Fingerprint() string { return r.request.Fingerprint() }

// Wish returns who asks, and for which claims.
func (r *SponsorRequest) Wish() Wish { return r.request.wish }

// Signing returns the newcomer's signing key, which a meeting in person proves.
func (r *SponsorRequest) Signing() Key { return r.request.signing }

// BreakGlass reports whether three persons are to vouch.
func (r *SponsorRequest) BreakGlass() bool { return r.read.Groups != nil }

// Groups returns the groups that the newcomer is to join; nil for an own device.
func (r *SponsorRequest) Groups() [][32]byte { return slices.Clone(r.read.Groups) }

// NotAfter returns when the credential ends.
func (r *SponsorRequest) NotAfter() time.Time { return r.read.NotAfter }

// SponsorWith is what a sponsor vouches with.
type SponsorWith struct {
	Credential []byte // own, wire form
	Admission  []byte // own admission chain
	Relay      *RelayKeys
	Vault      *VaultKeys   // its mesh key goes along to an own device
	Met        Verification // of the newcomer's signing key, within the last hour
	Now        time.Time
}

// Sponsor vouches for a newcomer and returns the sponsorship for
// [AssembleSponsored]:
//
//	struct {
//	    uint8  version = 1;
//	    opaque credential<1..2^16-1>;    /* Chain of the sponsor's credential */
//	    opaque by_signing[64];           /* tocsin/sponsor/v1\0 ‖ SHA-256(credential leaf) */
//	    opaque admission<1..2^16-1>;     /* Chain of the sponsor's admission leaf */
//	    opaque by_transport[64];         /* tocsin/sponsor-admission/v1\0 ‖ SHA-256(admission leaf) */
//	    opaque sealed_mesh_key<0..2048>; /* for an own device */
//	} SponsorAnswer;
//
// It refuses when this sponsor may not vouch, now or for this newcomer; what
// depends on the other two is checked when the answers are assembled. That a
// sponsorship was given counts at once, and is part of [TrustStore.Snapshot],
// which is to be on disk before the answer is handed out.
func (s *TrustStore) Sponsor(req *SponsorRequest, with SponsorWith) ([]byte, error) {
	by, err := s.VerifyCredential(with.Credential, with.Now)
	if err != nil {
		return nil, fmt.Errorf("identity: the sponsor's own credential: %w", err)
	}
	if err := s.maySponsorNow(req, by, with); err != nil {
		return nil, err
	}
	if _, err := s.VerifyAdmission(with.Admission, by.Peer, with.Now); err != nil {
		return nil, fmt.Errorf("identity: the sponsor's own admission leaf: %w", err)
	}
	if KeyOf(with.Vault.Signing) != by.SigningKey || with.Relay.PeerID() != by.Peer {
		return nil, errors.New("identity: the keys are not those of the sponsor's credential")
	}
	answer := &sponsorAnswer{credential: with.Credential[1:], admission: with.Admission}
	leaf, admission := sha256.Sum256(req.credential), sha256.Sum256(req.admission)
	copy(answer.bySigning[:], Sign(with.Vault.Signing, domainSponsor, leaf[:]))
	copy(answer.byTransport[:], Sign(with.Relay.Transport, domainSponsorAdmission, admission[:]))
	if !req.BreakGlass() {
		if answer.sealed, err = sealMeshKey(with.Vault.MeshKey, s.MeshID(), req.read); err != nil {
			return nil, err
		}
	}
	raw, err := answer.encode()
	if err == nil && req.BreakGlass() {
		s.noteSponsoring(req, by, with.Now)
	}
	return raw, err
}

// maySponsorNow holds the rules that one sponsor's device can check alone.
func (s *TrustStore) maySponsorNow(req *SponsorRequest, by *Credential, with SponsorWith) error {
	if err := maySponsor(by); err != nil {
		return err
	}
	if with.Met.Key != req.Signing() {
		return refuse(checkSponsorMet, "vouch only for whom you have met in person: let each device scan the other's code first")
	}
	if age := with.Now.Sub(with.Met.At); age < -MaxClockLead || age > MaxMeetingAge {
		return refuse(checkSponsorMet, "the meeting in person was more than an hour ago: scan again")
	}
	if err := req.read.ValidAt(with.Now); err != nil {
		return err
	}
	if err := checkVoteNesting(req.read.NotBefore, req.read.NotAfter, by.NotBefore, by.NotAfter); err != nil {
		return err
	}
	if !req.BreakGlass() {
		return checkOwnDevice(req.read, by)
	}
	if err := checkVoteLife(req.read.NotBefore, req.read.NotAfter, breakGlassSponsors); err != nil {
		return err
	}
	if humanOf(by.Person) == humanOf(req.read.Person) {
		return refuse(checkSponsorPerson, "nobody vouches for themselves in break-glass: make it a further device of your own")
	}
	if live := s.vouchesFor(humanOf(by.Person), req.read); live >= MaxSponsoring {
		return refuseAs(ErrBeyond, checkSponsorLive, "you vouch for %d others already: wait until an hour after one has ended, or take one back", live)
	}
	return nil
}

// vouchesFor counts the other devices that the person vouches for, the finished
// ones and those that are not, and that had not ended when c begins.
func (s *TrustStore) vouchesFor(person string, c *Credential) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	found := map[[32]byte]*seenCredential{}
	for _, m := range []sponsoredSeen{s.sponsored, s.vouched} {
		m.others(found, person, c.KeyHash(), c.NotBefore, s.isOut)
	}
	return len(found)
}

// noteSponsoring counts a sponsorship from the moment at which it was given,
// before the finished credential is seen. The note is this device's own and part
// of the snapshot: a restart in between gives nobody a sixth. What has ended or
// is out needs no note.
func (s *TrustStore) noteSponsoring(req *SponsorRequest, by *Credential, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.vouched, func(_ [32]byte, v *seenCredential) bool { return v.to.Before(now.Add(-Backdate)) || s.isOut(v) })
	s.vouched.add(sha256.Sum256(req.credential), &seenCredential{
		key: req.read.KeyHash(), org: req.read.Person.Org, from: req.read.NotBefore, to: req.read.NotAfter,
		people: []string{humanOf(by.Person)},
	}, maxVouched)
}
