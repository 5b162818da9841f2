package mesh

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/identity"
)

// This file holds what both transports share: the two messages, their checks
// and the order in which they go. admission_tcp.go puts all of it inside Noise;
// admission_quic.go puts the hello into the TLS certificate and the ticket on the
// connection's first stream. Both follow the same order:
//
//	dialler  hello    organisation and peer id, nothing else
//	listener hello    only to a dialler whose hello has passed
//	dialler  ticket   only to a listener whose hello has passed
//	listener ticket   only to a dialler whose ticket has passed
//
// (On QUIC, TLS 1.3 itself makes the listener show its certificate first.)

const admissionVersion = 1

// tagSize is the length of the mesh tag in a hello.
const tagSize = 16

// runSize is the length of a run in a ticket message.
const runSize = 8

// maxHello and maxTicketMessage bound the two messages, framing excluded.
const (
	maxHello         = 1 + tagSize + 2 + MaxChain
	maxTicketMessage = 1 + runSize + 2 + MaxTicket
)

// hello is the first message:
//
//	struct { uint8 version = 1; opaque mesh_tag[16]; opaque chain<1..MaxChain>; } Hello;
type hello struct {
	tag   [tagSize]byte
	chain []byte
}

func (h hello) marshal() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(admissionVersion)
	b.AddBytes(h.tag[:])
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(h.chain) })
	return b.Bytes()
}

// parseHello is the inverse of marshal; the chain is not looked into. The
// result shares memory with b.
func parseHello(b []byte) (hello, error) {
	var h hello
	s := cryptobyte.String(b)
	var version uint8
	var chain cryptobyte.String
	if !s.ReadUint8(&version) || version != admissionVersion {
		return h, refused(reasonMessage, errors.New("the hello is of another version"))
	}
	if !s.CopyBytes(h.tag[:]) || !s.ReadUint16LengthPrefixed(&chain) || !s.Empty() {
		return h, refused(reasonMessage, errors.New("the hello is cut short or has bytes after its end"))
	}
	if len(chain) == 0 || len(chain) > MaxChain {
		return h, refused(reasonMessage, fmt.Errorf("a chain of %d bytes, where 1 to %d are allowed", len(chain), MaxChain))
	}
	h.chain = chain
	return h, nil
}

// ticketMessage is the second message:
//
//	struct { uint8 version = 1; opaque run[8]; opaque ticket<0..MaxTicket>; } Ticket;
//
// run is drawn anew by every start of a device. A device that was killed leaves
// connections behind that look open for half a minute; when it is back under
// another run, they are known to be dead. An empty ticket means: this
// device was never unlocked. It is refused by the ticket's verifier, not by this
// parser.
type ticketMessage struct {
	run    [runSize]byte
	ticket []byte
}

func (m ticketMessage) marshal() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(admissionVersion)
	b.AddBytes(m.run[:])
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(m.ticket) })
	return b.Bytes()
}

func parseTicketMessage(b []byte) (ticketMessage, error) {
	var m ticketMessage
	s := cryptobyte.String(b)
	var version uint8
	var ticket cryptobyte.String
	if !s.ReadUint8(&version) || version != admissionVersion {
		return m, refused(reasonMessage, errors.New("the ticket message is of another version"))
	}
	if !s.CopyBytes(m.run[:]) || !s.ReadUint16LengthPrefixed(&ticket) || !s.Empty() {
		return m, refused(reasonMessage, errors.New("the ticket message is cut short or has bytes after its end"))
	}
	if len(ticket) > MaxTicket {
		return m, refused(reasonMessage, fmt.Errorf("a ticket of %d bytes is over the limit of %d", len(ticket), MaxTicket))
	}
	m.ticket = ticket
	return m, nil
}

// writeMessage writes a 16-bit length and body in one Write, so that Noise makes
// one record of it.
func writeMessage(w io.Writer, body []byte) error {
	var b cryptobyte.Builder
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(body) })
	out, err := b.Bytes()
	if err != nil {
		return err
	}
	_, err = w.Write(out)
	return err
}

// readMessage reads one message of at most limit bytes, and not one byte more:
// what follows belongs to the muxer.
func readMessage(r io.Reader, limit int) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, readFailure(err)
	}
	n := int(size[0])<<8 | int(size[1])
	if n == 0 || n > limit {
		return nil, refused(reasonMessage, fmt.Errorf("a message of %d bytes, where 1 to %d are allowed", n, limit))
	}
	// The version comes first: whoever speaks something else is not waited for.
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body[:1]); err != nil {
		return nil, readFailure(err)
	}
	if body[0] != admissionVersion {
		return nil, refused(reasonMessage, errors.New("the message is of another version"))
	}
	if _, err := io.ReadFull(r, body[1:]); err != nil {
		return nil, readFailure(err)
	}
	return body, nil
}

// readEnd expects the end of a stream.
func readEnd(r io.Reader) error {
	var more [1]byte
	switch _, err := io.ReadFull(r, more[:]); {
	case err == nil:
		return refused(reasonMessage, errors.New("bytes after the ticket"))
	case errors.Is(err, io.EOF):
		return nil
	default:
		return readFailure(err)
	}
}

// Reasons for a refusal beside those of the identity package. They are counted and
// logged, so they say nothing of who was refused.
const (
	reasonMessage   = "message"        // no hello or ticket, or a damaged one
	reasonOtherMesh = "other-mesh"     // a hello for another mesh
	reasonSelf      = "self"           // our own peer id
	reasonHandshake = "handshake"      // Noise failed
	reasonTimeout   = "timeout"        // not finished in time
	reasonHungUp    = "closed-by-peer" // the other side ended it: it refused us, or went away
	reasonBusy      = "busy"           // too many handshakes at once
	reasonOffline   = "offline"        // we were told to be offline
	reasonNoProof   = "no-proof"       // a connection that came round admission
	reasonRevoked   = "revoked"        // what identity says of a device that is out for good
	reasonLimited   = "limited"        // through a relay that carries for a while only
	reasonLapsed    = "lapsed"         // an open connection whose chain or ticket ended
	reasonOther     = "other"
	// reasonCancelled is no refusal and is not counted: our own side gave the
	// handshake up, because another address was faster or because we are closing.
	reasonCancelled = "cancelled"
)

// refusal is why a connection was not admitted.
type refusal struct {
	reason string
	err    error
}

func (r *refusal) Error() string { return "mesh: not admitted (" + r.reason + "): " + r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func refused(reason string, err error) error { return &refusal{reason: reason, err: err} }

// reasonOf returns the word to count err under.
func reasonOf(err error) string {
	var r *refusal
	if errors.As(err, &r) {
		return r.reason
	}
	if word := identity.Reason(err); word != "other" {
		return word
	}
	return reasonOther
}

// readFailure says whether the other side was slow or has gone.
func readFailure(err error) error {
	if isTimeout(err) {
		return refused(reasonTimeout, err)
	}
	return refused(reasonHungUp, err)
}

func isTimeout(err error) bool {
	var slow interface{ Timeout() bool }
	return errors.As(err, &slow) && slow.Timeout()
}

// interrupted says why a handshake's context ended.
func interrupted(ctx context.Context) error {
	err := context.Cause(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return refused(reasonTimeout, err)
	}
	return refused(reasonCancelled, err)
}

// proof is what one connection was admitted on.
type proof struct {
	peer          peer.ID
	chain, ticket []byte
	run           [runSize]byte       // of the process at the other end
	adm           *identity.Admission // nil only under Unsafe.NoAdmission
	checked       uint64              // desk.checks when its check began
}

// desk checks others and speaks for us. It is safe for concurrent use; all but the
// counts is immutable.
type desk struct {
	self   peer.ID
	tag    [tagSize]byte
	hello  []byte // our own, encoded
	run    [runSize]byte
	trust  *identity.TrustStore
	ticket func() []byte
	clock  Clock
	open   bool // Unsafe.NoAdmission
	counts *counters
	log    *slog.Logger
	checks atomic.Uint64 // rechecks that were begun
}

func newDesk(cfg *Config, self peer.ID, counts *counters) (*desk, error) {
	d := &desk{
		self: self, trust: cfg.Trust, ticket: cfg.Ticket, clock: cfg.Clock,
		open: cfg.Unsafe.NoAdmission, counts: counts, log: cfg.Logger,
	}
	d.tag = [tagSize]byte(derive("mesh tag", cfg.Trust.MeshID()))
	rand.Read(d.run[:]) // never fails (crypto/rand)
	var err error
	d.hello, err = hello{tag: d.tag, chain: cfg.Chain}.marshal()
	if err != nil {
		return nil, fmt.Errorf("mesh: our own hello: %w", err)
	}
	// Others would refuse us one by one and nobody would say why: ask now. A
	// chain that has ended or was revoked, or a clock that is off, is no reason not
	// to start: what is on the device can still be read, and a device that wiped
	// itself has its receipt to hand over.
	_, err = cfg.Trust.VerifyAdmission(cfg.Chain, self, cfg.Clock.Now())
	switch {
	case err == nil || d.open:
	case errors.Is(err, identity.ErrExpired):
		d.log.Warn("other devices will refuse this one: renew its credential, or set its clock", "reason", reasonOf(err))
	case errors.Is(err, identity.ErrRevoked):
		d.log.Warn("other devices will refuse this one: it was revoked; ask its authority", "reason", reasonOf(err))
	default:
		return nil, fmt.Errorf("mesh: other devices would refuse our own admission chain: %w", err)
	}
	return d, nil
}

// derive returns a value that stands for the mesh but does not give its id
// away: SHA-256("tocsin/1 " ‖ label ‖ mesh id)[:16]. The id has a fixed length,
// so no two labels meet.
func derive(label string, id identity.MeshID) []byte {
	h := sha256.New()
	h.Write([]byte("tocsin/1 " + label))
	h.Write(id[:])
	return h.Sum(nil)[:tagSize]
}

// checkHello verifies the other side's hello for the peer id that the
// handshake has proved.
func (d *desk) checkHello(raw []byte, remote peer.ID) (*proof, error) {
	h, err := parseHello(raw)
	if err != nil {
		return nil, err
	}
	p := &proof{peer: remote, chain: h.chain, checked: d.checks.Load()}
	if d.open {
		return p, nil
	}
	if h.tag != d.tag {
		return nil, refused(reasonOtherMesh, errors.New("the hello is for another mesh"))
	}
	if remote == d.self {
		return nil, refused(reasonSelf, errors.New("our own peer id at the other end"))
	}
	p.adm, err = d.trust.VerifyAdmission(h.chain, remote, d.clock.Now())
	if err != nil {
		return nil, refused(reasonOf(err), err)
	}
	return p, nil
}

// checkTicket verifies the other side's ticket and completes p.
func (d *desk) checkTicket(p *proof, raw []byte) error {
	m, err := parseTicketMessage(raw)
	if err != nil {
		return err
	}
	p.run, p.ticket = m.run, m.ticket
	if d.open {
		return nil
	}
	if err := d.trust.VerifyTicket(m.ticket, p.adm, d.clock.Now()); err != nil {
		return refused(reasonOf(err), err)
	}
	return nil
}

// recheck verifies again, now, what p was admitted on, and says whether it may only
// hear of its wipe order.
func (d *desk) recheck(p *proof) (hearing bool, err error) {
	if d.open {
		return false, nil
	}
	now := d.clock.Now()
	adm, err := d.trust.VerifyAdmission(p.chain, p.peer, now)
	if err == nil {
		err = d.trust.VerifyTicket(p.ticket, adm, now)
	}
	return err == nil && adm.Hearing, err
}

// exchangeHellos runs the first round on an encrypted stream.
func (d *desk) exchangeHellos(rw io.ReadWriter, remote peer.ID, dialler bool) (*proof, error) {
	if dialler {
		if err := writeMessage(rw, d.hello); err != nil {
			return nil, readFailure(err)
		}
	}
	raw, err := readMessage(rw, maxHello)
	if err != nil {
		return nil, err
	}
	p, err := d.checkHello(raw, remote)
	if err != nil {
		return nil, err
	}
	if !dialler {
		if err := writeMessage(rw, d.hello); err != nil {
			return nil, readFailure(err)
		}
	}
	return p, nil
}

// exchangeTickets runs the second round. With alone the stream holds nothing but
// the tickets and must end after the other side's.
func (d *desk) exchangeTickets(rw io.ReadWriter, p *proof, dialler, alone bool) error {
	ours, err := ticketMessage{run: d.run, ticket: d.ticket()}.marshal()
	if err != nil {
		return err
	}
	if dialler {
		if err := writeMessage(rw, ours); err != nil {
			return readFailure(err)
		}
	}
	raw, err := readMessage(rw, maxTicketMessage)
	if err == nil && alone {
		err = readEnd(rw)
	}
	if err != nil {
		return err
	}
	if err := d.checkTicket(p, raw); err != nil {
		return err
	}
	if !dialler {
		if err := writeMessage(rw, ours); err != nil {
			return readFailure(err)
		}
	}
	return nil
}

// refuse counts a refusal and logs it, without saying whom. A stranger can knock
// as often as it likes, so only the 1st, 2nd, 4th, 8th … of each reason is logged.
func (d *desk) refuse(err error, transport string, dialler bool) {
	reason := reasonOf(err)
	if reason == reasonCancelled {
		return
	}
	n := d.counts.refuse(reason)
	if n&(n-1) == 0 {
		d.log.Info("connection refused", "reason", reason, "transport", transport, "dialled", dialler, "count", n)
	}
}
