package identity

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/crypto/cryptobyte"
)

// The domains of this package's signatures and hashes.
const (
	domainRequest   Domain = "tocsin/enrolment-request/v1\x00"
	domainTicket    Domain = "tocsin/ticket/v1\x00"
	domainTicketKey Domain = "tocsin/ticket-key/v1\x00"
	domainDevice    Domain = "tocsin/device/v1\x00"
)

// ticket is the lease of a device on its place in the mesh:
//
//	struct { uint8 version = 1; opaque signing_key[32]; opaque peer<1..2^8-1>; uint64 not_after; } Ticket;
//	struct { Ticket ticket; opaque signature[64]; } SignedTicket;   /* over "tocsin/ticket/v1\0" ‖ ticket */
//
// peer is the binary peer id and not_after is in seconds since 1970.
type ticket struct {
	signing   Key
	peer      peer.ID
	notAfter  uint64
	signature [ed25519.SignatureSize]byte
}

func (t *ticket) body() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(1)
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
	return append(body, t.signature[:]...), nil
}

func parseTicket(raw []byte) (*ticket, error) {
	bad := refuse(checkTicketEncoding, "the ticket is cut short, has bytes after its end or is of another version")
	if len(raw) > MaxTicket {
		return nil, bad
	}
	s := cryptobyte.String(raw)
	var version uint8
	var id cryptobyte.String
	var t ticket
	if !s.ReadUint8(&version) || version != 1 || !s.CopyBytes(t.signing[:]) || !s.ReadUint8LengthPrefixed(&id) ||
		!s.ReadUint64(&t.notAfter) || !s.CopyBytes(t.signature[:]) || !s.Empty() || t.notAfter > maxUnix {
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
	body, err := t.body()
	if err != nil {
		return nil, fmt.Errorf("identity: the ticket cannot be encoded: %w", err)
	}
	return append(body, Sign(signing, domainTicket, body)...), nil
}

// VerifyTicket checks that ticket was signed by the device that adm admits and
// has not ended at the given time. A ticket that ends more than 8 days from
// then (7 of lease, 1 of clock error) is refused, so that a device whose clock
// was set forward gains no longer lease. The error wraps [ErrRefused] or
// [ErrExpired].
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
	end := time.Unix(int64(t.notAfter), 0)
	if at.After(end) {
		return refuseAs(ErrExpired, checkTicketEnded, "the ticket ended on %s: the device must be unlocked", end.UTC().Format(time.RFC3339))
	}
	if end.Sub(at) > MaxTicketLife+MaxClockLead {
		return refuse(checkTicketLease, "the ticket ends on %s, later than any lease: look at the clock of the device", end.UTC().Format(time.RFC3339))
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
