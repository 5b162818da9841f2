package group

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/identity"
)

// epoch is what stays of an epoch once its secret is destroyed.
type epoch struct {
	id        EpochID
	group     ID
	creator   identity.LogID
	tag       Tag
	learnt    int64  // wall clock at which it was learnt, Unix seconds: for the daily rotation
	due       uint64 // elapsed seconds at which it is destroyed
	heads     [][32]byte
	members   []identity.LogID        // ascending
	unreached []identity.LogID        // members that were given no wrap, or one to a dead prekey; ascending
	tagKey    secret                  // shows that the tag is this group's
	demoted   map[identity.LogID]bool // members who said that they cannot read it
	chains    map[identity.LogID]*chain
}

// epochState is the part of an announce that is sealed under the epoch.
type epochState struct {
	group   ID
	members []epochMember  // ascending
	absent  []absentMember // the group's other members, ascending
	// successions are those that the members follow from, beside the operations;
	// ascending by New.
	successions []Succession
	ops         []SignedOp // ascending by id
}

// absentMember is a member of the group that an epoch is not for: he was
// revoked or wiped, or stands in another part of a large audience.
type absentMember struct {
	device   identity.LogID
	excluded bool
}

type epochMember struct {
	device  identity.LogID
	reached bool
}

func (e *epochState) devices() (all, unreached []identity.LogID) {
	for _, m := range e.members {
		all = append(all, m.device)
		if !m.reached {
			unreached = append(unreached, m.device)
		}
	}
	return all, unreached
}

func (e *epochState) marshal() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddBytes(e.group[:])
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, m := range e.members {
			addLogID(b, m.device)
			addBool(b, m.reached)
		}
	})
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, m := range e.absent {
			addLogID(b, m.device)
			addBool(b, m.excluded)
		}
	})
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, s := range e.successions {
			addLogID(b, s.New)
			addLogID(b, s.Old)
			b.AddUint64(s.Size)
		}
	})
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
		for i := range e.ops {
			addSignedOp(b, &e.ops[i])
		}
	})
	out, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("group: encode epoch state: %w", err)
	}
	return out, nil
}

func parseEpochState(raw []byte) (*epochState, error) {
	s := cryptobyte.String(raw)
	e := new(epochState)
	var members, absent, successions, ops cryptobyte.String
	if !s.CopyBytes(e.group[:]) || !s.ReadUint16LengthPrefixed(&members) || !s.ReadUint24LengthPrefixed(&absent) ||
		!s.ReadUint24LengthPrefixed(&successions) || !s.ReadUint24LengthPrefixed(&ops) || !s.Empty() {
		return nil, invalid("epoch state cut short or too long")
	}
	for !members.Empty() {
		var m epochMember
		if !readLogID(&members, &m.device) || !readBool(&members, &m.reached) {
			return nil, invalid("member list cut short")
		}
		if n := len(e.members); n > 0 && e.members[n-1].device.Compare(m.device) >= 0 {
			return nil, invalid("member list is not ascending")
		}
		if e.members = append(e.members, m); len(e.members) > MaxMembers {
			return nil, invalid("more than %d members", MaxMembers)
		}
	}
	for !absent.Empty() {
		var m absentMember
		if !readLogID(&absent, &m.device) || !readBool(&absent, &m.excluded) {
			return nil, invalid("list of absent members cut short")
		}
		if n := len(e.absent); n > 0 && e.absent[n-1].device.Compare(m.device) >= 0 {
			return nil, invalid("list of absent members is not ascending")
		}
		if e.absent = append(e.absent, m); len(e.absent) > maxAbsent {
			return nil, invalid("more than %d absent members", maxAbsent)
		}
	}
	if err := e.readSuccessions(successions); err != nil {
		return nil, err
	}
	for !ops.Empty() {
		op, err := readSignedOp(&ops)
		if err != nil {
			return nil, err
		}
		if e.ops = append(e.ops, *op); len(e.ops) > MaxMergedOps {
			return nil, invalid("more than %d operations", MaxMergedOps)
		}
	}
	return e, nil
}

func (e *epochState) readSuccessions(s cryptobyte.String) error {
	for !s.Empty() {
		var v Succession
		if !readLogID(&s, &v.New) || !readLogID(&s, &v.Old) || !s.ReadUint64(&v.Size) || v.New == v.Old {
			return invalid("list of successions cut short, or a log that goes on for itself")
		}
		if n := len(e.successions); n > 0 && e.successions[n-1].New.Compare(v.New) >= 0 {
			return invalid("list of successions is not ascending")
		}
		if e.successions = append(e.successions, v); len(e.successions) > maxListed {
			return invalid("more than %d successions", maxListed)
		}
	}
	return nil
}

func addSignedOp(b *cryptobyte.Builder, o *SignedOp) {
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(o.SignedHeader) })
	b.AddBytes(o.Opening[:])
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(o.Payload) })
}

func readSignedOp(s *cryptobyte.String) (*SignedOp, error) {
	var header, payload cryptobyte.String
	o := new(SignedOp)
	if !s.ReadUint16LengthPrefixed(&header) || !s.CopyBytes(o.Opening[:]) || !s.ReadUint16LengthPrefixed(&payload) {
		return nil, invalid("signed operation cut short")
	}
	if len(header) == 0 || len(header) > MaxSignedHeader || len(payload) == 0 || len(payload) > MaxOpPayload {
		return nil, invalid("signed operation with a header of %d bytes and a payload of %d", len(header), len(payload))
	}
	// Copies, so that one operation does not keep a whole announce in memory.
	o.SignedHeader, o.Payload = slices.Clone(header), slices.Clone(payload)
	return o, nil
}

func addBool(b *cryptobyte.Builder, v bool) {
	if v {
		b.AddUint8(1)
	} else {
		b.AddUint8(0)
	}
}

func readBool(s *cryptobyte.String, v *bool) bool {
	var n uint8
	if !s.ReadUint8(&n) || n > 1 {
		return false
	}
	*v = n == 1
	return true
}

// stateAEAD is AES-256-GCM under Expand(prk,"state"). The key belongs to one
// epoch, so that the page number is nonce enough.
func stateAEAD(key secret) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func stateNonce(index uint8) []byte {
	nonce := make([]byte, gcmNonce)
	nonce[gcmNonce-1] = index
	return nonce
}

// newEpoch derives what is kept of an epoch and destroys the rest.
func (k *Keyring) newEpoch(id EpochID, keys *epochKeys, st *epochState, creator identity.LogID, heads [][32]byte, now time.Time) (*epoch, error) {
	defer keys.destroy()
	tagKey, err := expandSecret(keys.prk, labelTag)
	if err != nil {
		return nil, err
	}
	e := &epoch{id: id, group: st.group, creator: creator, tag: tagOf(tagKey, st.group), tagKey: tagKey, learnt: now.Unix(), heads: heads,
		due: k.clock.elapsed + uint64(SecretLife/time.Second), chains: make(map[identity.LogID]*chain)}
	e.members, e.unreached = st.devices()
	for _, m := range e.members {
		ck, err := keys.chainKey(m)
		if err != nil {
			return nil, err
		}
		e.chains[m] = &chain{ck: ck}
	}
	return e, nil
}

// changes stores a new epoch: its record and the start of every chain.
func (e *epoch) changes() ([]Change, error) {
	record, err := e.marshal()
	if err != nil {
		return nil, err
	}
	out := []Change{{Key: epochKey(e.id), Value: record}}
	for _, m := range e.members {
		out = append(out, e.chains[m].change(e.id, m))
	}
	return out, nil
}
