package group

import (
	"crypto/hmac"
	"fmt"
	"time"
)

// Opened is a message that is what its author sealed.
type Opened struct {
	Group      ID
	Epoch      EpochID
	Generation uint32
	Payload    []byte
	Opening    [32]byte
	// TagKey shows that the entry's tag is the group's. It is kept with the
	// opening, to hand the message over later ([HandoverItem]).
	TagKey [32]byte
	// Removed reports that by the operations known here the author is no member
	// any more: the message is kept, and shown with that flag.
	Removed bool
	// Provable reports that opening and payload match the commit in the signed
	// header: the message can be shown to others as its author's. If it is
	// false the message is shown as unprovable.
	Provable bool
}

// Open opens the body of the verified data entry at a place, with the tag and
// the commit of its header: find the epoch by its tag, the author's chain, the
// generation's seed, then check the key commitment, open, read the plaintext
// and check the commit.
//
// The changes move the chain, and are stored with the message in one durable
// record. There are none on an error, nor for a message that does not match its
// commit: the chain moves only when everything fits. Errors: [ErrUnknownTag],
// [ErrDestroyed], [ErrNotMember], [ErrReplayed], and [ErrOpen] for everything
// else that is wrong with a body.
//
// An author's entries with one commit are one message: what is sent to a group
// of several parts is sealed for each, and shown once.
//
// The time plays no part: what is old is gone when [Keyring.Expire] says so.
func (k *Keyring) Open(at Place, tag Tag, commit [32]byte, body []byte, _ time.Time) (*Opened, []Change, error) {
	env, err := parseEnvelope(body)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrOpen, err)
	}
	e, ok := k.tags[tag]
	if _, was := k.gone[tag]; !ok && was {
		return nil, nil, ErrDestroyed
	} else if !ok {
		return nil, nil, ErrUnknownTag
	}
	c, ok := e.chains[at.Log]
	if !ok {
		return nil, nil, ErrNotMember
	}
	ms, moved, err := c.take(env.generation, k.maxSeeds-k.seeds)
	if err != nil {
		return nil, nil, err
	}
	plain, err := env.open(ms, at, tag)
	if err != nil {
		return nil, nil, err
	}
	o := &Opened{Group: e.group, Epoch: e.id, Generation: env.generation, TagKey: e.tagKey}
	if g, ok := k.groups[e.group]; ok {
		o.Removed = !listed(g.members, k.Newest(at.Log))
	}
	if o.Opening, o.Payload, err = readPlain(plain); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrOpen, err)
	}
	want := Commit(o.Opening, o.Payload)
	o.Provable = hmac.Equal(want[:], commit[:])
	if !o.Provable {
		return o, nil, nil
	}
	return o, moved.changes(c, e.id, at.Log), nil
}

// open decrypts the body. kc is checked first: AES-GCM alone does not commit
// to its key, and one body could open to two texts under two keys.
func (e *envelope) open(ms secret, at Place, tag Tag) ([]byte, error) {
	key, nonce, kc, err := messageKey(ms, e.salt)
	if err != nil {
		return nil, err
	}
	if !hmac.Equal(kc, e.kc) {
		return nil, ErrOpen
	}
	aead, err := messageAEAD(key)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nonce, e.sealed, nail(make([]byte, 0, nailSize), e.prefix, at, tag))
	if err != nil {
		return nil, ErrOpen
	}
	return plain, nil
}
