package identity

import (
	"strings"
	"sync"
	"time"
	"unique"

	"github.com/libp2p/go-libp2p/core/peer"
)

// TrustStore holds whom a mesh believes and makes every check of the
// certificate profile (PROFILE.md) and of statements (STATEMENTS.md). It
// starts from the genesis bundle and changes by [TrustStore.Take] alone; what
// it has taken survives a restart by [TrustStore.Snapshot]. It is safe for
// concurrent use, and asks no network, no disk and no clock.
type TrustStore struct {
	genesis *Bundle

	mu        sync.RWMutex // guards the rest
	state     state
	waiting   waiting
	sponsored sponsoredSeen      // of everybody, seen
	vouched   sponsoredSeen      // given by this device, finished or not
	hearing   func(peer.ID) bool // called without mu
}

// NewTrustStore returns the store of the mesh that b founds. Later bundles
// come as statements.
func NewTrustStore(b *Bundle) (*TrustStore, error) {
	again, err := ParseBundle(b.Marshal())
	if err != nil {
		return nil, err
	}
	if again.number != 0 {
		return nil, errNotGenesis
	}
	return &TrustStore{genesis: again, state: newState(again), sponsored: sponsoredSeen{}, vouched: sponsoredSeen{}}, nil
}

// MeshID returns the id of the mesh.
func (s *TrustStore) MeshID() MeshID { return s.genesis.MeshID() }

// Genesis returns the bundle that founded the mesh.
func (s *TrustStore) Genesis() *Bundle { return s.genesis }

// Bundle returns the trust bundle in force.
func (s *TrustStore) Bundle() *Bundle {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.state.current()
}

// roots returns the authorities of every bundle there was, those in force last.
func (s *TrustStore) roots() roots {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.state.everRoots
}

// ReadCredential checks the wire form of a credential in every respect but
// time and revocation: what it accepts is the same on every device that knows
// the same trust bundles, and for ever, so that an entry is never refused by
// one and kept by another. Authorities that a later bundle has left out still
// count here; [TrustStore.Standing] says so. The error wraps [ErrRefused] or
// [ErrForeign].
func (s *TrustStore) ReadCredential(raw []byte) (*Credential, error) {
	c, err := s.roots().readCredential(raw)
	if err != nil {
		return nil, err
	}
	if c.BreakGlass {
		s.mu.Lock()
		s.sponsored.note(c)
		s.mu.Unlock()
	}
	return c, nil
}

func (s roots) readCredential(raw []byte) (*Credential, error) {
	chain, sp, err := decodeCredential(raw)
	if err != nil {
		return nil, err
	}
	var c *Credential
	if sp != nil {
		c, err = s.readSponsored(sp)
	} else {
		c, err = s.readChain(chain)
	}
	if err != nil {
		return nil, err
	}
	c.keep(raw)
	return c, nil
}

// readChain reads the first form, which an authority or a registrar issued.
func (s roots) readChain(chain []byte) (*Credential, error) {
	ders, err := DecodeChain(chain)
	if err != nil {
		return nil, err
	}
	p, err := s.verifyPath(ders, oidCredentialUsage())
	if err != nil {
		return nil, err
	}
	return p.credential()
}

// VerifyCredential is [TrustStore.ReadCredential] and then everything that
// changes: time, with the grace of a declared incident, revocation, the bundle
// in force, and at most [MaxSponsoring] live sponsorships a person. The error
// may also wrap [ErrExpired] or [ErrRevoked].
func (s *TrustStore) VerifyCredential(raw []byte, at time.Time) (*Credential, error) {
	c, err := s.ReadCredential(raw)
	if err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.standing(c, at).refusal("credential", c.NotBefore, c.NotAfter); err != nil {
		return nil, err
	}
	return c, nil
}

// VerifyAdmission checks an admission chain (the form of [EncodeChain] or of a
// sponsored device, ≤3 KiB) that a connection's other end has shown. id is the
// peer id that the transport has proved: with another one the chain is stolen.
// The error wraps [ErrRefused], [ErrForeign], [ErrExpired] or [ErrRevoked].
func (s *TrustStore) VerifyAdmission(chain []byte, id peer.ID, at time.Time) (*Admission, error) {
	if len(chain) > MaxAdmission {
		return nil, refuse(checkChainSize, "an admission chain of %d bytes is over the limit of %d", len(chain), MaxAdmission)
	}
	a, err := s.roots().readAdmission(chain)
	if err != nil {
		return nil, err
	}
	if a.Peer != id {
		return nil, refuse(checkStolen, "the chain is that of another peer than the one connected")
	}
	s.mu.RLock()
	u := subjectOfAdmission(a)
	st := s.admissionStanding(u, at)
	hearing, toHear := s.hearing, s.mayHear(u, st, at)
	s.mu.RUnlock()
	if toHear && hearing != nil && hearing(id) {
		a.Hearing = true
		return a, nil
	}
	if err := st.refusal("admission leaf", a.NotBefore, a.NotAfter); err != nil {
		return nil, err
	}
	a.Grace = st.State == StandingGrace
	return a, nil
}

// SetHearing sets who may be let in for no more than to hear of their own wipe
// order: [TrustStore.VerifyAdmission] asks f about a device that is out by an
// order which is still due and has no receipt, and whose leaf is otherwise good.
// With true it is admitted, with [Admission.Hearing]; what it is then served is
// f's owner's to limit. nil, as at first, lets nobody in.
func (s *TrustStore) SetHearing(f func(id peer.ID) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hearing = f
}

func (s roots) readAdmission(raw []byte) (*Admission, error) {
	if sp, ok, err := decodeSponsoredAdmission(raw); ok {
		if err != nil {
			return nil, err
		}
		return s.readSponsoredAdmission(sp)
	}
	ders, err := DecodeChain(raw)
	if err != nil {
		return nil, err
	}
	p, err := s.verifyPath(ders, oidAdmissionUsage())
	if err != nil {
		return nil, err
	}
	return p.admission()
}

// Credential says who a device's signing key belongs to. It is the sum of two
// forms; Form tells which.
type Credential struct {
	Form       Form
	Raw        string  // the wire form, as received
	Person     Person  // whose device it is
	Device     string  // [DeviceID] of SigningKey
	Peer       peer.ID // of the transport key
	SigningKey Key     // author of the device's log
	Claims     Claims
	NotBefore  time.Time  // inclusive
	NotAfter   time.Time  // inclusive; no issuer's certificate ends sooner
	Issuer     string     // common name of the issuing certificate, or the sponsors' names, for display
	Registrar  bool       // issued by a registrar: shown with a badge
	Sponsors   []Sponsor  // of the sponsored form: one for an own device, three for break-glass
	BreakGlass bool       // three people vouch: a permanent badge
	Groups     [][32]byte // the only groups that a break-glass device may join

	above above
	raw   unique.Handle[string] // of Raw: see keep
}

// keep takes the wire form, from which the rest of c was read. It is by far the larger
// part of a credential, and devices that run in one process have those of the same
// others: its bytes exist once, for as long as one of them has them. Bytes are all
// that they share; what each believes of them it has found out itself.
func (c *Credential) keep(raw []byte) {
	c.raw = unique.Make(string(raw))
	c.Raw = c.raw.Value()
	if key := c.Claims.Bundle; key != "" {
		if at := strings.Index(c.Raw, key); at >= 0 {
			c.Claims.Bundle = c.Raw[at : at+len(key)]
		}
	}
}

// Sponsor is a person who vouches for a device.
type Sponsor struct {
	Person  Person
	Name    string   // display name
	Device  string   // with which they vouched
	KeyHash [32]byte // of that device

	root [32]byte // [IssuerKeyHash] of the sponsor's authority
}

// KeyHash names the device in statements: [TicketKey] of the signing key.
func (c *Credential) KeyHash() [32]byte { return TicketKey(c.SigningKey) }

// Provisional reports whether the credential is shown with a badge: issued by
// a registrar, vouched for by people, or marked by its issuer. Such a device
// sponsors nobody.
func (c *Credential) Provisional() bool {
	return c.Form != FormChain || c.Registrar || c.Claims.Provisional
}

// MayJoin reports whether the device may be a member of a group: any, but for
// break-glass, which names its groups.
func (c *Credential) MayJoin(group [32]byte) bool {
	if !c.BreakGlass {
		return true
	}
	for _, g := range c.Groups {
		if g == group {
			return true
		}
	}
	return false
}

// ValidAt says whether the whole chain is valid at t: no issuer's certificate
// begins later or ends sooner than the leaf. It knows no revocation and no
// grace: see [TrustStore.Standing]. The error wraps [ErrExpired].
func (c *Credential) ValidAt(t time.Time) error {
	return checkWindow("credential", c.NotBefore, c.NotAfter, t)
}

// Admission is what a stranger learns of a device: organisation and peer.
type Admission struct {
	Form      Form
	Org       string
	Peer      peer.ID
	TicketKey [32]byte // see [TicketKey]
	NotBefore time.Time
	NotAfter  time.Time
	Grace     bool       // expired, and admitted because of a declared incident
	Hearing   bool       // wiped, and let in to hear so and no more: see SetHearing
	Sponsors  [][32]byte // ticket keys of those who vouch, of the sponsored form

	vouchers []voucher // beside Sponsors
	above    above
}

// ValidAt is like [Credential.ValidAt]. Open connections are asked again.
func (a *Admission) ValidAt(t time.Time) error {
	return checkWindow("admission leaf", a.NotBefore, a.NotAfter, t)
}

func checkWindow(what string, from, to, t time.Time) error {
	if t.Before(from) {
		return refuseAs(ErrExpired, checkTime, "the %s begins on %s: look at the clock of this device", what, from.UTC().Format(time.RFC3339))
	}
	if t.After(to) {
		return refuseAs(ErrExpired, checkTime, "the %s ended on %s: ask the authority for a new one", what, to.UTC().Format(time.RFC3339))
	}
	return nil
}
