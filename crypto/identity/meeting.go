package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// Two people who stand face to face prove their devices to each other with three
// codes, each shown on one screen and scanned by the other device:
//
//	1  host  → guest   host's signing key ‖ nonce[16]
//	2  guest → host    first 4 bytes of the guest's key hash ‖ nonce[8] ‖ guest's signature
//	3  host  → guest   host's signature
//
// Both signatures cover the mesh, both keys and both nonces, so that no code
// can be shown again, to another or to the same. The guest's full key is in no
// code: the host finds it among the devices that it knows (or in the request of
// the newcomer), and the signature proves it. A code is a digit and base 36:
// upper-case letters and digits alone, below 120 characters, which is a small QR
// code (ISO/IEC 18004, alphanumeric mode).

// MaxCode is the longest code, in characters.
const MaxCode = 119

const (
	codeHost   = '1'
	codeGuest  = '2'
	codeFinish = '3'

	hostNonce  = 16
	guestNonce = 8
	guestHint  = 4
)

// Verification is the proof, kept by the node, that a device was met in person.
type Verification struct {
	Key    Key // signing key of the other device
	At     time.Time
	Digits bool // compared by digits, not by scanning
}

// Marshal returns the form in which a node stores v:
//
//	struct { uint8 version = 1; opaque key[32]; uint64 at; uint8 digits; }
func (v Verification) Marshal() []byte {
	out := append([]byte{1}, v.Key[:]...)
	out = binary.BigEndian.AppendUint64(out, uint64(max(0, v.At.Unix())))
	return append(out, byte(b2i(v.Digits)))
}

// ParseVerification reads what [Verification.Marshal] wrote.
func ParseVerification(raw []byte) (Verification, error) {
	s := cryptobyte.String(raw)
	var version, digits uint8
	var v Verification
	if !s.ReadUint8(&version) || version != 1 || !s.CopyBytes(v.Key[:]) || !readTime(&s, &v.At) || !s.ReadUint8(&digits) || digits > 1 || !s.Empty() {
		return Verification{}, fmt.Errorf("identity: verification: %w", errTruncated)
	}
	v.Digits = digits == 1
	return v, nil
}

// VerifiedByDigits is the verification of a person who has compared [Digits]
// with the other and says that they agree.
func VerifiedByDigits(key Key, now time.Time) Verification {
	return Verification{Key: key, At: now.UTC(), Digits: true}
}

// Digits returns sixty digits in twelve groups of five, the same on both
// devices, for two people whose cameras do not work. Each half is a key's:
// SHA-256("tocsin/in-person-digits/v1\0" ‖ mesh ‖ key), every five bytes of the
// first thirty taken modulo 100,000; the lower half comes first.
func Digits(mesh MeshID, a, b Key) string {
	x, y := halfDigits(mesh, a), halfDigits(mesh, b)
	if x > y {
		x, y = y, x
	}
	return x + " " + y
}

func halfDigits(mesh MeshID, k Key) string {
	sum := sha256.Sum256(join(domainDigits, append(mesh[:], k[:]...)))
	groups := make([]string, 0, 6)
	for i := 0; i < 30; i += 5 {
		n := uint64(sum[i])<<32 | uint64(binary.BigEndian.Uint32(sum[i+1:i+5]))
		groups = append(groups, fmt.Sprintf("%05d", n%100_000))
	}
	return strings.Join(groups, " ")
}

// Meeting is one device's side of a meeting in person. It is good for one, and
// belongs to one goroutine.
type Meeting struct {
	mesh  MeshID
	own   ed25519.PrivateKey
	nonce [hostNonce]byte
	other Key
	bound []byte // what the host's last code must sign, on the guest's side
}

// NewMeeting begins a meeting. own is the device's signing key, so that it must
// be unlocked.
func NewMeeting(mesh MeshID, own ed25519.PrivateKey, rand io.Reader) (*Meeting, error) {
	m := &Meeting{mesh: mesh, own: own}
	if _, err := io.ReadFull(rand, m.nonce[:]); err != nil {
		return nil, fmt.Errorf("identity: no randomness for a meeting: %w", err)
	}
	return m, nil
}

// Show returns the host's first code.
func (m *Meeting) Show() string {
	key := KeyOf(m.own)
	return encodeCode(codeHost, append(key[:], m.nonce[:]...))
}

// Answer takes the host's first code and returns the guest's, signed. known are
// the signing keys of devices that the guest knows, among which the host must
// be; nil is for a newcomer, who knows nobody yet.
func (m *Meeting) Answer(code string, known []Key) (reply string, err error) {
	payload, err := decodeCode(codeHost, code, 32+hostNonce)
	if err != nil {
		return "", err
	}
	host := Key(payload[:32])
	if err := m.meets(host, known); err != nil {
		return "", err
	}
	m.other = host
	own := KeyOf(m.own)
	nonce := m.nonce[:guestNonce]
	m.bound = meetingBound(m.mesh, host, own, payload[32:], nonce)
	hint := guestHintOf(own)
	out := append(hint[:], nonce...)
	return encodeCode(codeGuest, append(out, Sign(m.own, domainMeeting, append([]byte{codeGuest}, m.bound...))...)), nil
}

// Confirm takes the guest's code on the host's side, and returns the host's
// last code and the verification of the guest. known are the signing keys of
// the devices that the guest could be.
func (m *Meeting) Confirm(code string, known []Key, now time.Time) (reply string, v Verification, err error) {
	payload, err := decodeCode(codeGuest, code, guestHint+guestNonce+ed25519.SignatureSize)
	if err != nil {
		return "", Verification{}, err
	}
	nonce, signature := payload[guestHint:guestHint+guestNonce], payload[guestHint+guestNonce:]
	own := KeyOf(m.own)
	for _, k := range known {
		hint := guestHintOf(k)
		if k == own || !bytes.Equal(hint[:], payload[:guestHint]) {
			continue
		}
		bound := meetingBound(m.mesh, own, k, m.nonce[:], nonce)
		if VerifySignature(k, domainMeeting, append([]byte{codeGuest}, bound...), signature) == nil {
			reply = encodeCode(codeFinish, Sign(m.own, domainMeeting, append([]byte{codeFinish}, bound...)))
			return reply, Verification{Key: k, At: now.UTC()}, nil
		}
	}
	return "", Verification{}, errStranger
}

// Finish takes the host's last code on the guest's side and returns the
// verification of the host.
func (m *Meeting) Finish(code string, now time.Time) (Verification, error) {
	if m.bound == nil {
		return Verification{}, errors.New("identity: scan the other device's first code before its last")
	}
	signature, err := decodeCode(codeFinish, code, ed25519.SignatureSize)
	if err != nil {
		return Verification{}, err
	}
	if VerifySignature(m.other, domainMeeting, append([]byte{codeFinish}, m.bound...), signature) != nil {
		return Verification{}, errStranger
	}
	return Verification{Key: m.other, At: now.UTC()}, nil
}

var errStranger = errors.New("identity: the code is not that of a device known here, or of another meeting: begin again, and if it fails again, do not trust that device")

// meets refuses the own device, and keys that are not known.
func (m *Meeting) meets(host Key, known []Key) error {
	if host == KeyOf(m.own) {
		return errors.New("identity: this is the code of this device itself: scan the other's")
	}
	if CheckKey(host) != nil || known != nil && !slices.Contains(known, host) {
		return errStranger
	}
	return nil
}

func guestHintOf(k Key) [guestHint]byte {
	hash := TicketKey(k)
	return [guestHint]byte(hash[:])
}

// meetingBound is what both sides sign after the number of their code.
func meetingBound(mesh MeshID, host, guest Key, hostNonce, guestNonce []byte) []byte {
	out := append(mesh[:], host[:]...)
	out = append(out, guest[:]...)
	return append(append(out, hostNonce...), guestNonce...)
}

// encodeCode writes a code: its number, then the payload in base 36, as many
// digits as the longest payload of that length needs.
func encodeCode(number byte, payload []byte) string {
	text := strings.ToUpper(new(big.Int).SetBytes(payload).Text(36))
	return string(number) + strings.Repeat("0", codeDigits(len(payload))-len(text)) + text
}

// decodeCode reads one encoding only.
func decodeCode(number byte, code string, size int) ([]byte, error) {
	bad := fmt.Errorf("identity: this is not the code that is expected now (number %c): scan the one on the other screen", number)
	if len(code) > MaxCode || len(code) != 1+codeDigits(size) || code[0] != number || !isCode(code, MaxCode) {
		return nil, bad
	}
	n, ok := new(big.Int).SetString(code[1:], 36)
	if !ok || n.BitLen() > 8*size {
		return nil, bad
	}
	return n.FillBytes(make([]byte, size)), nil
}

// codeDigits returns how many digits of base 36 size bytes take.
func codeDigits(size int) int {
	limit := new(big.Int).Lsh(big.NewInt(1), uint(8*size))
	return len(limit.Sub(limit, big.NewInt(1)).Text(36))
}
