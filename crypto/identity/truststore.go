package identity

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// TrustStore holds the authorities of one mesh and makes every check of the
// certificate profile (PROFILE.md). It is immutable and safe for concurrent
// use. It asks no network and no clock.
type TrustStore struct {
	bundle *Bundle
	roots  []*issuerCert
}

// NewTrustStore returns the store of the mesh that b founds.
func NewTrustStore(b *Bundle) (*TrustStore, error) {
	again, err := ParseBundle(b.Marshal())
	if err != nil {
		return nil, err
	}
	return &TrustStore{bundle: again, roots: again.roots}, nil
}

// MeshID returns the id of the mesh.
func (s *TrustStore) MeshID() MeshID { return s.bundle.MeshID() }

// Bundle returns the trust bundle.
func (s *TrustStore) Bundle() *Bundle { return s.bundle }

// ReadCredential checks the wire form of a credential in every respect but the
// time: what it accepts is the same on every device and for ever, so that an
// entry is never refused by one and kept by another. The error wraps
// [ErrRefused], [ErrForeign] or [ErrSponsored].
func (s *TrustStore) ReadCredential(raw []byte) (*Credential, error) {
	chain, sp, err := decodeCredential(raw)
	if err != nil {
		return nil, err
	}
	if sp != nil {
		return nil, refuseAs(ErrSponsored, checkSponsored, "ask for a credential of an authority")
	}
	ders, err := DecodeChain(chain)
	if err != nil {
		return nil, err
	}
	p, err := s.verifyPath(ders, oidCredentialUsage())
	if err != nil {
		return nil, err
	}
	c, err := p.credential()
	if err != nil {
		return nil, err
	}
	c.Raw = append([]byte(nil), raw...)
	return c, nil
}

// VerifyCredential is [TrustStore.ReadCredential] and [Credential.ValidAt].
func (s *TrustStore) VerifyCredential(raw []byte, at time.Time) (*Credential, error) {
	c, err := s.ReadCredential(raw)
	if err != nil {
		return nil, err
	}
	if err := c.ValidAt(at); err != nil {
		return nil, err
	}
	return c, nil
}

// VerifyAdmission checks an admission chain (the form of [EncodeChain], ≤3
// KiB) that a connection's other end has shown. id is the peer id that the
// transport has proved: with another one the chain is stolen. The error wraps
// [ErrRefused], [ErrForeign] or [ErrExpired].
func (s *TrustStore) VerifyAdmission(chain []byte, id peer.ID, at time.Time) (*Admission, error) {
	if len(chain) > MaxAdmission {
		return nil, refuse(checkChainSize, "an admission chain of %d bytes is over the limit of %d", len(chain), MaxAdmission)
	}
	ders, err := DecodeChain(chain)
	if err != nil {
		return nil, err
	}
	p, err := s.verifyPath(ders, oidAdmissionUsage())
	if err != nil {
		return nil, err
	}
	a, err := p.admission()
	if err != nil {
		return nil, err
	}
	if a.Peer != id {
		return nil, refuse(checkStolen, "the chain is that of another peer than the one connected")
	}
	if err := a.ValidAt(at); err != nil {
		return nil, err
	}
	return a, nil
}

// Credential says who a device's signing key belongs to. It is the sum of two
// forms; Form tells which.
type Credential struct {
	Form       Form
	Raw        []byte  // the wire form, as received
	Person     Person  // whose device it is
	Device     string  // [DeviceID] of SigningKey
	Peer       peer.ID // of the transport key
	SigningKey Key     // author of the device's log
	Claims     Claims
	NotBefore  time.Time // inclusive
	NotAfter   time.Time // inclusive; no issuer's certificate ends sooner
	Issuer     string    // common name of the issuing certificate, for display
	Registrar  bool      // issued by a registrar: shown with a badge
}

// ValidAt says whether the whole chain is valid at t: no issuer's certificate
// begins later or ends sooner than the leaf. The error wraps [ErrExpired].
func (c *Credential) ValidAt(t time.Time) error {
	return checkWindow("credential", c.NotBefore, c.NotAfter, t)
}

// Admission is what a stranger learns of a device: organisation and peer.
type Admission struct {
	Org       string
	Peer      peer.ID
	TicketKey [32]byte // see [TicketKey]
	NotBefore time.Time
	NotAfter  time.Time
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
