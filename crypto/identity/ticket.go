package identity

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/crypto/cryptobyte"
)

// ticket is the lease of a device on its place in the mesh:
//
//	struct { uint8 version; opaque signing_key[32]; opaque peer<1..2^8-1>; uint64 not_after; } Ticket;
//	struct {
//	    Ticket ticket; opaque signature[64];            /* over "tocsin/ticket/v1\0" ‖ ticket */
//	    select (ticket.version) { case 1: ; case 2: opaque credential<1..2^16-1>; };
//	} SignedTicket;
//
// peer is the binary peer id and not_after is in seconds since 1970. Version 2
// is that of a device that people vouch for: it brings its credential along,
// because its admission leaf, which strangers see, names nobody.
type ticket struct {
	signing    Key
	peer       peer.ID
	notAfter   uint64
	signature  [ed25519.SignatureSize]byte
	credential []byte // of the sponsored form, or nil
}

func (t *ticket) body() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(uint8(1 + b2i(t.credential != nil)))
	b.AddBytes(t.signing[:])
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(t.peer)) })
	b.AddUint64(t.notAfter)
	return b.Bytes()
}

func (t *ticket) marshal() ([]byte, error) {
	body, err := t.body()
	if err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddBytes(body)
	b.AddBytes(t.signature[:])
	if t.credential != nil {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(t.credential) })
	}
	return b.Bytes()
}

func parseTicket(raw []byte) (*ticket, error) {
	bad := refuse(checkTicketEncoding, "the ticket is cut short, has bytes after its end or is of another version")
	if len(raw) > MaxTicket {
		return nil, bad
	}
	s := cryptobyte.String(raw)
	var version uint8
	var id, credential cryptobyte.String
	var t ticket
	if !s.ReadUint8(&version) || version < 1 || version > 2 || !s.CopyBytes(t.signing[:]) || !s.ReadUint8LengthPrefixed(&id) ||
		!s.ReadUint64(&t.notAfter) || !s.CopyBytes(t.signature[:]) || t.notAfter > maxUnix {
		return nil, bad
	}
	if version == 2 {
		if !s.ReadUint16LengthPrefixed(&credential) || credential.Empty() {
			return nil, bad
		}
		t.credential = credential
	}
	if !s.Empty() {
		return nil, bad
	}
	t.peer = peer.ID(id)
	return &t, nil
}

// NewTicket signs the lease of the device with peer id id until notAfter, at
// most 7 days from now. A device makes one at each unlock, and admission asks
// for it: a stolen device that nobody can unlock leaves the mesh by itself,
// because its peers enforce the lease.
//
// The ticket is signed with the signing key, which only an unlocked device
// has, but the admission leaf that goes with it is about the transport key and
// must not name the person. The leaf therefore carries [TicketKey], a hash of
// the signing key: with it a stranger can check that the issuer meant this
// ticket key for this transport key, and learns neither name, number nor role.
// Whoever already holds the credential can link the two; that is every
// admitted device, which sees the credential anyway.
func NewTicket(signing ed25519.PrivateKey, id peer.ID, now, notAfter time.Time) ([]byte, error) {
	return NewTicketWith(signing, id, now, notAfter, nil)
}

// NewTicketWith is [NewTicket] of a device with the given credential (wire
// form). A device that people vouch for shows it with the ticket, so that who
// admits it can check persons and roles; any other device's stays apart.
func NewTicketWith(signing ed25519.PrivateKey, id peer.ID, now, notAfter time.Time, credential []byte) ([]byte, error) {
	if !notAfter.After(now) || notAfter.Sub(now) > MaxTicketLife {
		return nil, fmt.Errorf("identity: a ticket ends within %d days from now, not on %s", MaxTicketLife/(24*time.Hour), notAfter.UTC().Format(time.RFC3339))
	}
	if _, err := PeerKey(id); err != nil {
		return nil, err
	}
	if now.Unix() < 0 {
		return nil, fmt.Errorf("identity: the clock says %s: set it before unlocking", now.UTC().Format(time.RFC3339))
	}
	t := &ticket{signing: KeyOf(signing), peer: id, notAfter: uint64(notAfter.Unix())}
	if len(credential) > 0 && Form(credential[0]) == FormSponsored {
		t.credential = credential
	}
	body, err := t.body()
	if err != nil {
		return nil, fmt.Errorf("identity: the ticket cannot be encoded: %w", err)
	}
	copy(t.signature[:], Sign(signing, domainTicket, body))
	raw, err := t.marshal()
	if err != nil {
		return nil, fmt.Errorf("identity: the ticket cannot be encoded: %w", err)
	}
	if len(raw) > MaxTicket {
		return nil, fmt.Errorf("identity: a ticket of %d bytes is over the limit of %d", len(raw), MaxTicket)
	}
	return raw, nil
}

// VerifyTicket checks that ticket was signed by the device that adm admits and
// has not ended at the given time. A ticket that ends more than 8 days from
// then (7 of lease, 1 of clock error) is refused, so that a device whose clock
// was set forward gains no longer lease. Of a device that people vouch for it
// checks the credential too, with every rule on who may vouch. The error wraps
// [ErrRefused], [ErrForeign], [ErrExpired] or [ErrRevoked].
func (s *TrustStore) VerifyTicket(ticket []byte, adm *Admission, at time.Time) error {
	t, err := parseTicket(ticket)
	if err != nil {
		return err
	}
	if want := TicketKey(t.signing); !bytes.Equal(want[:], adm.TicketKey[:]) {
		return refuse(checkTicketHolder, "the ticket is signed by another key than the admission leaf names")
	}
	if t.peer != adm.Peer {
		return refuse(checkTicketPeer, "the ticket is for another peer")
	}
	body, err := t.body()
	if err != nil {
		return refuse(checkTicketEncoding, "%v", err)
	}
	if VerifySignature(t.signing, domainTicket, body, t.signature[:]) != nil {
		return refuse(checkTicketSignature, "the signature of the ticket does not verify")
	}
	if err := s.checkTicketCredential(t, adm, at); err != nil {
		return err
	}
	end := time.Unix(int64(t.notAfter), 0)
	if at.After(end) {
		return refuseAs(ErrExpired, checkTicketEnded, "the ticket ended on %s: the device must be unlocked", end.UTC().Format(time.RFC3339))
	}
	if end.Sub(at) > MaxTicketLife+MaxClockLead {
		return refuse(checkTicketLease, "the ticket ends on %s, later than any lease: look at the clock of the device", end.UTC().Format(time.RFC3339))
	}
	return nil
}

// checkTicketCredential demands that a device which people vouch for shows
// the credential that belongs to its admission leaf: for the same keys, and
// from the same people. No other device shows one.
func (s *TrustStore) checkTicketCredential(t *ticket, adm *Admission, at time.Time) error {
	if adm.Form != FormSponsored {
		if t.credential != nil {
			return refuse(checkTicketSponsored, "the ticket brings a credential that the admission leaf does not ask for")
		}
		return nil
	}
	if t.credential == nil {
		return refuse(checkTicketSponsored, "the ticket of a device that people vouch for brings its credential")
	}
	c, err := s.VerifyCredential(t.credential, at)
	if adm.Hearing && Reason(err) == string(checkWiped) {
		c, err = s.ReadCredential(t.credential)
	}
	if err != nil {
		return err
	}
	same := c.SigningKey == t.signing && c.Peer == adm.Peer && c.Person.Org == adm.Org &&
		slices.EqualFunc(c.Sponsors, adm.Sponsors, func(by Sponsor, key [32]byte) bool { return by.KeyHash == key })
	if !same {
		return refuse(checkTicketSponsored, "the credential of the ticket does not belong to the admission leaf")
	}
	return nil
}

// TicketNotAfter returns when a ticket of this device's own runs out, so that
// it is renewed in time. It checks the encoding and nothing else.
func TicketNotAfter(raw []byte) (time.Time, error) {
	t, err := parseTicket(raw)
	if err != nil {
		return time.Time{}, err
	}
	return time.Unix(int64(t.notAfter), 0), nil
}
