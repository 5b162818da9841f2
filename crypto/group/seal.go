package group

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// Sealed is a message on its way out.
type Sealed struct {
	Body       []byte   // of the data entry
	Tag        Tag      // its group_tag
	Commit     [32]byte // its commit
	Opening    [32]byte // kept with the message: opens the commit
	TagKey     [32]byte // kept with the message: needed to hand it over
	Epoch      EpochID
	Generation uint32
	Changes    []Change // durable before Body leaves the device
}

// Seal seals payload for the members of a group at a place in this device's
// log: choose the epoch, step the chain, draw opening and salt, pad, encrypt,
// commit. The payload has at most [MaxPayload] bytes. It fails with [ErrNoEpoch]
// where one has to be announced first, with [ErrParts] where the group needs
// several ([Keyring.SealPart]), with [ErrNotMember] and [ErrDirect].
//
// The salt is fresh, so that a chain that was rolled back by a restored disk
// repeats a generation but never a key and nonce.
func (k *Keyring) Seal(id ID, at Place, payload []byte, now time.Time) (*Sealed, error) {
	if k.Parts(id) > 1 {
		return nil, ErrParts
	}
	return k.SealPart(id, 0, nil, at, payload, now)
}

// SealPart seals payload for one part of the audience of a group, counted from
// 0 to [Keyring.Parts]. The opening is nil for the first; the others are given
// that of the first, so that all the entries have one commit and are one message.
// See [Keyring.Seal].
func (k *Keyring) SealPart(id ID, part int, opening *[32]byte, at Place, payload []byte, now time.Time) (*Sealed, error) {
	g, err := k.saying(id, at, payload)
	if err != nil {
		return nil, err
	}
	if part < 0 || part >= len(g.parts) {
		return nil, fmt.Errorf("group: the group has %d parts; there is no part %d", len(g.parts), part)
	}
	e := k.sending(g, part, now)
	if e == nil {
		return nil, ErrNoEpoch
	}
	return k.sealUnder(e, opening, at, payload)
}

// saying returns a group to which this device may say payload at a place of its
// log.
func (k *Keyring) saying(id ID, at Place, payload []byte) (*groupState, error) {
	switch {
	case at.Log != k.cfg.Self:
		return nil, fmt.Errorf("group: this device writes %s, not %s", k.cfg.Self, at.Log)
	case len(payload) > MaxPayload:
		return nil, fmt.Errorf("group: a message has at most %d bytes, not %d", MaxPayload, len(payload))
	}
	return k.announcing(id)
}

// sealUnder seals payload under one epoch.
func (k *Keyring) sealUnder(e *epoch, opening *[32]byte, at Place, payload []byte) (*Sealed, error) {
	c := e.chains[k.cfg.Self]
	r := newRatchet(c.ck)
	s := &Sealed{Tag: e.tag, Epoch: e.id, Generation: c.next, TagKey: e.tagKey}
	if err := s.seal(r.seed(), at, opening, payload, k.cfg.Rand); err != nil {
		return nil, err
	}
	s.Changes = []Change{{Key: c.stateKey(e.id, k.cfg.Self), Value: marshalChain(c.next+1, r.next())}}
	return s, nil
}

// seal encrypts payload under the message seed.
func (s *Sealed) seal(ms secret, at Place, opening *[32]byte, payload []byte, random io.Reader) error {
	var drawn [32 + saltSize]byte
	if _, err := io.ReadFull(random, drawn[:]); err != nil {
		return fmt.Errorf("group: random bytes: %w", err)
	}
	if s.Opening = [32]byte(drawn[:32]); opening != nil {
		s.Opening = *opening
	}
	s.Commit = Commit(s.Opening, payload)
	salt := drawn[32:]
	key, nonce, kc, err := messageKey(ms, salt)
	if err != nil {
		return err
	}
	aead, err := messageAEAD(key)
	if err != nil {
		return err
	}
	size := padded(plainPrefix + len(payload))
	b := make([]byte, bodyPrefix, bodyPrefix+size+gcmTag)
	b[0] = suite
	copy(b[1:], salt)
	binary.BigEndian.PutUint32(b[1+saltSize:], s.Generation)
	copy(b[1+saltSize+4:], kc)
	plain := b[bodyPrefix : bodyPrefix+size]
	copy(plain, s.Opening[:])
	binary.BigEndian.PutUint32(plain[32:], uint32(len(payload)))
	copy(plain[plainPrefix:], payload)
	s.Body = aead.Seal(b, nonce, plain, nail(make([]byte, 0, nailSize), b, at, s.Tag))
	return nil
}

func messageAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
