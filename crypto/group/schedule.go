package group

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"hash"

	"tocsin/crypto/identity"
)

// suite is the one suite of this version (protocol, "Suite 1").
const suite = 1

// The labels of every derivation, each used for one purpose.
const (
	labelGroup      = "tocsin/1 group"
	labelPreKey     = "tocsin/1 prekey"
	labelWrap       = "tocsin/1 wrap"
	labelMembers    = "tocsin/1 members"
	labelCommitment = "tocsin/1 commitment"
	labelState      = "tocsin/1 state"
	labelTag        = "tocsin/1 tag"
	labelChain      = "tocsin/1 chain"
	labelSeed       = "tocsin/1 seed"
	labelNext       = "tocsin/1 next"
	labelMessage    = "tocsin/1 message"
	labelBroadcast  = "tocsin/1 broadcast"
	labelCommit     = "tocsin/commit/v1\x00"
)

const secretSize = 32

// secret is key material of 32 bytes: an epoch secret, a chain key or a
// message seed.
type secret [secretSize]byte

// extract is Extract(salt, secret) of RFC 5869 with SHA-256, in the order of
// arguments of the design.
func extract(salt, ikm []byte) ([]byte, error) {
	return hkdf.Extract(sha256.New, ikm, salt)
}

func expandSecret(key []byte, info string) (secret, error) {
	b, err := hkdf.Expand(sha256.New, key, info, secretSize)
	if err != nil {
		return secret{}, err
	}
	return secret(b), nil
}

func mac(key []byte, parts ...[]byte) [sha256.Size]byte {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		h.Write(p)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// membersMAC is HMAC(Extract("tocsin/1 members", es), sorted members): it
// shows every recipient the same list.
func membersMAC(es secret, sorted []identity.LogID) ([32]byte, error) {
	key, err := extract([]byte(labelMembers), es[:])
	if err != nil {
		return [32]byte{}, err
	}
	list := make([]byte, 0, len(sorted)*identity.LogIDSize)
	for _, m := range sorted {
		b := m.Bytes()
		list = append(list, b[:]...)
	}
	return mac(key, list), nil
}

// commitment commits a header to es and to the announcing device, so that
// nobody else can pass the announce off as his own in another log.
func commitment(es secret, salt [32]byte, announcer identity.LogID) ([32]byte, error) {
	key, err := extract([]byte(labelCommitment), es[:])
	if err != nil {
		return [32]byte{}, err
	}
	who := announcer.Bytes()
	return mac(key, salt[:], who[:]), nil
}

// epochKeys is what an epoch secret yields before it is destroyed.
type epochKeys struct {
	state secret
	prk   []byte
}

func deriveEpoch(id EpochID, es secret) (*epochKeys, error) {
	prk, err := extract(id[:], es[:])
	if err != nil {
		return nil, err
	}
	state, err := expandSecret(prk, labelState)
	if err != nil {
		return nil, err
	}
	return &epochKeys{prk: prk, state: state}, nil
}

// tagOf is HMAC(Expand(prk,"tag"), group id)[:16]. Its key opens nothing, so
// that it may be shown to prove which group an entry belongs to.
func tagOf(tagKey secret, group ID) Tag {
	m := mac(tagKey[:], group[:])
	return Tag(m[:16])
}

// chainKey is ck_0 of one member: Expand(prk, "chain" ‖ author ‖ incarnation).
func (e *epochKeys) chainKey(member identity.LogID) (secret, error) {
	b := member.Bytes()
	return expandSecret(e.prk, labelChain+string(b[:]))
}

// destroy overwrites what the chains were derived from.
func (e *epochKeys) destroy() {
	clear(e.prk)
	e.state = secret{}
}

// ratchet yields the two children of a chain key. Expand to 32 bytes is one
// block of RFC 5869, HMAC(key, info ‖ 1), so that one keyed hash serves both: it
// is on the way of every message, and of every generation skipped.
type ratchet struct {
	h    hash.Hash
	used bool
	buf  secret // of one allocation with h, for labels and sums
}

func newRatchet(ck secret) *ratchet { return &ratchet{h: hmac.New(sha256.New, ck[:])} }

func (r *ratchet) expand(label string) secret {
	if r.used {
		r.h.Reset()
	}
	r.used = true
	r.h.Write(append(append(r.buf[:0], label...), 1))
	r.h.Sum(r.buf[:0])
	return r.buf
}

// seed is ms = Expand(ck,"seed").
func (r *ratchet) seed() secret { return r.expand(labelSeed) }

// next is ck' = Expand(ck,"next").
func (r *ratchet) next() secret { return r.expand(labelNext) }

const (
	saltSize    = 16
	gcmNonce    = 12
	gcmTag      = 16
	messageKeys = 32 + gcmNonce + 32
)

// messageKey is key ‖ nonce ‖ kc = Expand(ms, "message" ‖ salt).
func messageKey(ms secret, salt []byte) (key, nonce, kc []byte, err error) {
	b, err := hkdf.Expand(sha256.New, ms[:], labelMessage+string(salt), messageKeys)
	if err != nil {
		return nil, nil, nil, err
	}
	return b[:32], b[32 : 32+gcmNonce], b[32+gcmNonce:], nil
}

// Commit returns SHA-256("tocsin/commit/v1\0" ‖ opening ‖ payload), the commit
// of an entry's header (protocol §3).
func Commit(opening [32]byte, payload []byte) [32]byte {
	h := sha256.New()
	h.Write([]byte(labelCommit))
	h.Write(opening[:])
	h.Write(payload)
	return [32]byte(h.Sum(nil))
}
