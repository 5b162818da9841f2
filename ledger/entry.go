package ledger

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"math"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/identity"
)

// Domain is what an entry's signature is over: Domain ‖ header.
const Domain identity.Domain = "tocsin/entry/v1\x00"

// Entry is one record of a log. It is made by this package only and is not
// changed afterwards; its received bytes are kept, stored and forwarded as
// they came. Callers must not write to its slices.
//
// Header and signature are always there. The body may not be: then exactly one
// of Absent and Erased says why, and the entry still proves its place, its
// author and what its body hashes to.
type Entry struct {
	Header    Header
	Signature [SignatureSize]byte
	Body      []byte // nil where the body is not held
	Absent    bool   // the body is not held; it may come later
	Erased    bool   // the body was erased on this device and is never taken back

	id       ID
	received uint32 // seconds since 1970: see Received; 0 where it is not known
	signed   []byte // header ‖ signature
	frame    []byte // nil where the body is not held
}

// HasBody reports whether the body is held; a body may be 0 bytes long.
func (e *Entry) HasBody() bool { return !e.Absent && !e.Erased }

// Received returns when the entry first came to this device, with its body or
// without, by this device's clock to the second: from then on a carrier counts
// its lifetime. It is zero for entries that were not read from [Logs], and for
// those that this device wrote.
func (e *Entry) Received() time.Time {
	if e.received == 0 {
		return time.Time{}
	}
	return time.Unix(int64(e.received), 0)
}

// since returns e as received at a time.
func (e *Entry) since(seconds uint32) *Entry {
	cp := *e
	cp.received = seconds
	return &cp
}

// secondsOf is a time as [Entry.Received] keeps it.
func secondsOf(at time.Time) uint32 { return uint32(min(max(at.Unix(), 0), math.MaxUint32)) }

// ID returns the entry's name.
func (e *Entry) ID() ID { return e.id }

// SignedHeader returns header ‖ signature, which [VerifyHeader] reads.
func (e *Entry) SignedHeader() []byte { return e.signed }

// Frame returns opaque signed_header<0..2^16-1> ‖ opaque body<0..2^24-1>, the
// form in which entries travel; nil where the body is not held: then there is
// [Entry.HeaderFrame].
func (e *Entry) Frame() []byte { return e.frame }

// size is what an entry counts for in budgets and batches: the bytes of the
// form in which it travels.
func (e *Entry) size() int {
	if e.HasBody() {
		return len(e.frame)
	}
	return 2 + len(e.signed) + 1
}

// ParseFrame reads a frame, all of b: strict encoding, every rule of the
// header, and the body's length and hash. It does not check the signature;
// [Verify] does. Errors match [ErrInvalid]. b is copied.
func ParseFrame(b []byte) (*Entry, error) {
	if len(b) > MaxFrame {
		return nil, invalid("frame of %d bytes is longer than %d", len(b), MaxFrame)
	}
	return parseFrame(bytes.Clone(b))
}

// parseFrame is [ParseFrame] of bytes that it keeps.
func parseFrame(b []byte) (*Entry, error) {
	s := cryptobyte.String(b)
	var signed, body cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&signed) || !s.ReadUint24LengthPrefixed(&body) {
		return nil, invalid("frame is cut short")
	}
	if !s.Empty() {
		return nil, invalid("%d bytes follow the frame", len(s))
	}
	e, err := parseSigned(signed)
	if err != nil {
		return nil, err
	}
	if len(body) != int(e.Header.BodyLen) {
		return nil, invalid("body has %d bytes and the header says %d", len(body), e.Header.BodyLen)
	}
	if sha256.Sum256(body) != e.Header.BodyHash {
		return nil, invalid("body does not match the header's hash")
	}
	e.Body, e.frame = body, b
	return e, nil
}

// parseSigned reads header ‖ signature, all of b, which it keeps.
func parseSigned(b []byte) (*Entry, error) {
	s := cryptobyte.String(b)
	e := &Entry{signed: b}
	if err := e.Header.read(&s); err != nil {
		return nil, err
	}
	if !s.CopyBytes(e.Signature[:]) {
		return nil, invalid("signature is cut short")
	}
	if !s.Empty() {
		return nil, invalid("%d bytes follow the signature", len(s))
	}
	e.id = headerID(e.headerBytes())
	return e, nil
}

func (e *Entry) headerBytes() []byte { return e.signed[:len(e.signed)-SignatureSize] }

// headerID is the id of an encoded header, RFC 6962 §2.1's leaf hash.
func headerID(header []byte) ID {
	buf := make([]byte, 1, 1+MaxHeader)
	return sha256.Sum256(append(buf, header...))
}

// VerifyHeader checks a header and its signature without a body: the entry it
// returns is Absent. It can be shown to others as evidence; [VerifySigned] makes
// one that can be appended. signedHeader is copied.
func VerifyHeader(signedHeader []byte) (*Entry, error) {
	if len(signedHeader) > MaxSignedHeader {
		return nil, invalid("signed header of %d bytes is longer than %d", len(signedHeader), MaxSignedHeader)
	}
	e, err := parseSigned(bytes.Clone(signedHeader))
	if err != nil {
		return nil, err
	}
	e.Absent = true
	if err := e.verifySignature(); err != nil {
		return nil, err
	}
	return e, nil
}

func (e *Entry) verifySignature() error {
	err := identity.VerifySignature(e.Header.Author, Domain, e.headerBytes(), e.Signature[:])
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

// Verified is an entry that passed every check that is the same on every
// device, with its body or without one. Only [Verify], [VerifySigned],
// [VerifyHeaderFrame] and [Sign] make one.
type Verified struct{ e *Entry }

// Entry returns the entry, nil for the zero Verified.
func (v Verified) Entry() *Entry { return v.e }

// WithoutBody returns v without its body, which may come later. The first entry of
// a log, which holds its author's credential, keeps it.
func (v Verified) WithoutBody() Verified {
	if v.e == nil || v.e.Header.Seq == 0 || !v.e.HasBody() {
		return v
	}
	return Verified{v.e.headerOnly()}
}

// IsZero reports whether v holds no entry.
func (v Verified) IsZero() bool { return v.e == nil }

// Verify reads a frame and checks encoding, body hash and signature. It knows
// nothing of the rest of the log: [Logs.Append] checks the place. Errors match
// [ErrInvalid]. b is copied.
func Verify(frame []byte) (Verified, error) {
	e, err := ParseFrame(frame)
	if err != nil {
		return Verified{}, err
	}
	if err := e.verifySignature(); err != nil {
		return Verified{}, err
	}
	return Verified{e}, nil
}

// Sign makes an entry from h and body, at most [MaxBody] bytes. It fills
// Author, BodyLen and BodyHash; the place comes from [Place.Header].
func Sign(key ed25519.PrivateKey, h Header, body []byte) (Verified, error) {
	if len(key) != ed25519.PrivateKeySize {
		return Verified{}, fmt.Errorf("ledger: a signing key has %d bytes, not %d", ed25519.PrivateKeySize, len(key))
	}
	if len(body) > MaxBody {
		return Verified{}, invalid("body of %d bytes is longer than %d", len(body), MaxBody)
	}
	h.Author = identity.KeyOf(key)
	h.BodyLen = uint32(len(body))
	h.BodyHash = sha256.Sum256(body)
	header, err := h.Marshal()
	if err != nil {
		return Verified{}, err
	}
	b := cryptobyte.NewFixedBuilder(make([]byte, 0, 2+len(header)+SignatureSize+3+len(body)))
	b.AddUint16LengthPrefixed(func(c *cryptobyte.Builder) {
		c.AddBytes(header)
		c.AddBytes(identity.Sign(key, Domain, header))
	})
	b.AddUint24LengthPrefixed(func(c *cryptobyte.Builder) { c.AddBytes(body) })
	frame, err := b.Bytes()
	if err != nil {
		return Verified{}, fmt.Errorf("ledger: cannot encode the entry: %w", err)
	}
	e, err := ParseFrame(frame)
	if err != nil {
		return Verified{}, err
	}
	return Verified{e}, nil
}
