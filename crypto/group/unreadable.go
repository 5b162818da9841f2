package group

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/identity"
)

// Unreadable is the payload of a control entry by which a member says that he
// cannot read an epoch, and asks for another and for the messages he missed.
// The entry's signature is his.
type Unreadable struct {
	Creator identity.LogID // who announced the epoch
	Epoch   EpochID        // zeros: not known which
	Entries [][32]byte     // ids of data entries he could not open, ascending, at most MaxHanded
}

// Marshal returns the one encoding of u.
func (u *Unreadable) Marshal() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(suite)
	addLogID(&b, u.Creator)
	b.AddBytes(u.Epoch[:])
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, id := range u.Entries {
			b.AddBytes(id[:])
		}
	})
	out, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("group: encode request: %w", err)
	}
	if _, err := ParseUnreadable(out); err != nil {
		return nil, err
	}
	return out, nil
}

// ParseUnreadable reads what [Unreadable.Marshal] writes.
func ParseUnreadable(payload []byte) (*Unreadable, error) {
	s := cryptobyte.String(payload)
	u := new(Unreadable)
	var version uint8
	var entries cryptobyte.String
	if !s.ReadUint8(&version) || !readLogID(&s, &u.Creator) || !s.CopyBytes(u.Epoch[:]) || !s.ReadUint16LengthPrefixed(&entries) || !s.Empty() {
		return nil, invalid("request for another epoch cut short or too long")
	}
	if version != suite {
		return nil, invalid("request of suite %d; this version knows suite %d", version, suite)
	}
	if len(entries)%32 != 0 || len(entries)/32 > MaxHanded {
		return nil, invalid("request for entries of %d bytes; at most %d ids of 32", len(entries), MaxHanded)
	}
	for !entries.Empty() {
		var id [32]byte
		entries.CopyBytes(id[:])
		if n := len(u.Entries); n > 0 && bytes.Compare(u.Entries[n-1][:], id[:]) >= 0 {
			return nil, invalid("entries asked for are not ascending")
		}
		u.Entries = append(u.Entries, id)
	}
	return u, nil
}

// AskAgain returns the payload of the control entry that asks for another epoch
// by creator, and for entries that could not be opened, in any order; of more than
// [MaxHanded] the lowest ids are asked for. The payload is nil if this creator
// was asked within a day. The changes are made durable before the payload
// leaves.
func (k *Keyring) AskAgain(creator identity.LogID, epoch EpochID, entries [][32]byte, _ time.Time) ([]byte, []Change, error) {
	if at, ok := k.asked[creator]; ok && k.clock.elapsed-at < uint64(AskAge/time.Second) {
		return nil, nil, nil
	}
	if _, ok := k.asked[creator]; !ok && len(k.asked) >= MaxAsked {
		return nil, nil, fmt.Errorf("%w: %d devices were asked for another epoch within a day", ErrLimit, MaxAsked)
	}
	u := &Unreadable{Creator: creator, Epoch: epoch, Entries: slices.Clone(entries)}
	slices.SortFunc(u.Entries, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	u.Entries = slices.Compact(u.Entries)
	u.Entries = u.Entries[:min(len(u.Entries), MaxHanded)]
	payload, err := u.Marshal()
	if err != nil {
		return nil, nil, err
	}
	return payload, []Change{{Key: askedKeyOf(creator), Value: binary.BigEndian.AppendUint64(nil, k.clock.elapsed)}}, nil
}

// Asked is what a member's request led to.
type Asked struct {
	From identity.LogID
	Unreadable
	// Groups are those with us, From and the announcer in: in them From may be
	// handed the entries it asks for. None: nothing is done.
	Groups []ID
	// Demoted are the epochs that From cannot read: others are sent under, and
	// where there is none, [Keyring.NeedsEpoch] is true.
	Demoted []EpochID
}

// LearnUnreadable takes the request of a member for another epoch. A second one
// about the same announcer within a day leads to nothing, and so does one about an
// announcer who is in no group with both of us. It fails with [ErrLimit] where
// From has asked about [MaxAsked] announcers within a day; nobody else's requests
// suffer from that.
func (k *Keyring) LearnUnreadable(from identity.LogID, payload []byte, _ time.Time) (Asked, []Change, error) {
	u, err := ParseUnreadable(payload)
	if err != nil {
		return Asked{}, nil, err
	}
	a := Asked{From: from, Unreadable: *u}
	at, before := k.askedUs[from][u.Creator]
	if k.IsOwn(from) || before && k.clock.elapsed-at < uint64(AskAge/time.Second) {
		return a, nil, nil
	}
	// Places go to requests about members alone: names can be made up without end.
	a.Groups = slices.DeleteFunc(k.shared(from), func(id ID) bool { return !listed(k.groups[id].members, k.Newest(u.Creator)) })
	switch {
	case len(a.Groups) == 0:
		return a, nil, nil
	case !before && len(k.askedUs[from]) >= MaxAsked:
		return Asked{}, nil, fmt.Errorf("%w: %s has asked for other epochs of %d devices within a day", ErrLimit, from, MaxAsked)
	case !before && k.heeded >= maxHeeded:
		return Asked{}, nil, fmt.Errorf("%w: %d requests for other epochs within a day", ErrLimit, maxHeeded)
	}
	changes := []Change{{Key: unreadableKey(from, u.Creator), Value: binary.BigEndian.AppendUint64(nil, k.clock.elapsed)}}
	for id, e := range k.epochs {
		if e.creator != u.Creator || !listed(e.members, from) || u.Epoch != (EpochID{}) && u.Epoch != id || !slices.Contains(a.Groups, e.group) {
			continue
		}
		if a.Demoted = append(a.Demoted, id); !e.demoted[from] {
			changes = append(changes, Change{Key: demotedKey(id, from), Value: []byte{recordFormat}})
		}
	}
	slices.SortFunc(a.Demoted, func(a, b EpochID) int { return bytes.Compare(a[:], b[:]) })
	return a, changes, nil
}

// requests are one device's, by announcer: elapsed seconds.
type requests map[identity.LogID]uint64

// unreadableKey names a request of one device about another's epochs.
func unreadableKey(from, creator identity.LogID) string {
	return keyPrefix + "unreadable/" + hexLog(from) + "/" + hexLog(creator)
}

// heed remembers or, with a nil time, forgets a request.
func (k *Keyring) heed(from, creator identity.LogID, at *uint64) {
	held := k.askedUs[from]
	k.heeded -= len(held)
	switch {
	case at == nil:
		delete(held, creator)
	case held == nil:
		held = requests{creator: *at}
		k.askedUs[from] = held
	default:
		held[creator] = *at
	}
	if k.heeded += len(held); len(held) == 0 {
		delete(k.askedUs, from)
	}
}

func askedKeyOf(creator identity.LogID) string { return keyPrefix + "asked/" + hexLog(creator) }

func demotedKey(id EpochID, member identity.LogID) string {
	return keyPrefix + "demoted/" + id.String() + "/" + hexLog(member)
}

// forgetAsked drops requests of more than a day ago.
func (k *Keyring) forgetAsked(elapsed uint64) (out []Change) {
	old := func(at uint64) bool { return elapsed-at >= uint64(AskAge/time.Second) }
	for _, creator := range slices.SortedFunc(maps.Keys(k.asked), identity.LogID.Compare) {
		if old(k.asked[creator]) {
			out = append(out, Change{Key: askedKeyOf(creator)})
		}
	}
	for from, held := range k.askedUs {
		for creator, at := range held {
			if old(at) {
				out = append(out, Change{Key: unreadableKey(from, creator)})
			}
		}
	}
	return out
}

func (b *batch) addAsked(rest string, value []byte) error {
	n, err := names(rest, identity.LogIDSize)
	if err != nil {
		return err
	}
	creator := logName(n[0])
	if value == nil {
		b.do(func() { delete(b.k.asked, creator) })
		return nil
	}
	if len(value) != 8 {
		return errRecord
	}
	at := binary.BigEndian.Uint64(value)
	b.do(func() { b.k.asked[creator] = at })
	return nil
}

func (b *batch) addUnreadable(rest string, value []byte) error {
	n, err := names(rest, identity.LogIDSize, identity.LogIDSize)
	if err != nil {
		return err
	}
	from, creator := logName(n[0]), logName(n[1])
	if value == nil {
		b.do(func() { b.k.heed(from, creator, nil) })
		return nil
	}
	if len(value) != 8 {
		return errRecord
	}
	at := binary.BigEndian.Uint64(value)
	b.do(func() { b.k.heed(from, creator, &at) })
	return nil
}

func (b *batch) addDemoted(rest string, value []byte) error {
	id, member, err := chainName(rest)
	if err != nil {
		return err
	}
	if value == nil { // goes with its epoch
		return nil
	}
	if len(value) != 1 || value[0] != recordFormat {
		return errRecord
	}
	e := b.epoch(id)
	if e.demoted == nil {
		e.demoted = make(map[identity.LogID]bool)
	}
	b.touch(e.group)
	b.do(func() { e.demoted[member] = true })
	return nil
}
