package group

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"tocsin/crypto/identity"
)

// part is what one epoch of a group is announced to: the whole audience, or
// a part of one that is too large.
type part struct {
	devices []identity.LogID // ascending; a slice of the audience
	usable  []*epoch         // that may be sent under, best first
}

// excluded reports that a device was revoked or wiped, or may not be in the
// group.
func (k *Keyring) excluded(group ID, device identity.LogID) bool {
	return k.cfg.Excluded != nil && k.cfg.Excluded(device) || k.cfg.MayBeIn != nil && !k.cfg.MayBeIn(group, device)
}

// divide works out the audience of a group and its parts: one up to
// [MaxMembers] devices, else as few as there can be of [PartSize] at most, cut
// evenly in ascending order of the devices.
func (k *Keyring) divide(g *groupState) {
	g.audience, g.parts = nil, nil
	for _, m := range g.members {
		if !k.excluded(g.view.ID, m) {
			g.audience = append(g.audience, m)
		}
	}
	n, count, size := len(g.audience), 1, PartSize
	if k.cfg.Devices > 0 {
		size = max(1, k.cfg.Devices-1)
	}
	if n > size+1 {
		count = (n + size - 1) / size
	}
	for i := range count {
		g.parts = append(g.parts, part{devices: g.audience[i*n/count : (i+1)*n/count]})
	}
}

// Reexamine asks Config.Excluded, MayBeIn and Person again, and returns the
// groups whose audience is another now, ascending: this device announces a new
// epoch of those before it next sends to them. Nothing needs to be stored.
func (k *Keyring) Reexamine() []ID {
	var touched []ID
	for id, g := range k.groups {
		held := g.audience
		k.divide(g)
		k.rank(id)
		if !slices.Equal(held, g.audience) {
			touched = append(touched, id)
		}
	}
	slices.SortFunc(touched, func(a, b ID) int { return bytes.Compare(a[:], b[:]) })
	return touched
}

// Audience returns the devices that a message to the group reaches, ascending:
// its members without those revoked or wiped.
func (k *Keyring) Audience(id ID) []identity.LogID {
	g, ok := k.groups[id]
	if !ok {
		return nil
	}
	return slices.Clone(g.audience)
}

// AudienceSize is how many devices [Keyring.Audience] returns, without the list.
func (k *Keyring) AudienceSize(id ID) int {
	g, ok := k.groups[id]
	if !ok {
		return 0
	}
	return len(g.audience)
}

// Parts returns the number of epochs that a message to the group is sealed
// under, each in an entry of its own: 1 up to [MaxMembers] devices, 0 for a group
// that is not known.
func (k *Keyring) Parts(id ID) int {
	g, ok := k.groups[id]
	if !ok {
		return 0
	}
	return len(g.parts)
}

// isMember reports whether this device is in the group's audience.
func (k *Keyring) isMember(g *groupState) bool { return listed(g.audience, k.cfg.Self) }

func listed(ascending []identity.LogID, device identity.LogID) bool {
	_, ok := slices.BinarySearchFunc(ascending, device, identity.LogID.Compare)
	return ok
}

// persons counts the persons known of a direct group's audience and one device
// more. Other groups may have any number, and count as none.
func (k *Keyring) persons(g *groupState, also ...identity.LogID) int {
	if g.view.Kind != KindDirect || k.cfg.Person == nil {
		return 0
	}
	known := make(map[string]bool)
	for _, devices := range [][]identity.LogID{g.audience, also} {
		for _, d := range devices {
			if person, ok := k.cfg.Person(d); ok {
				known[person] = true
			}
		}
	}
	return len(known)
}

// rank works out which epochs of a group may be sent under, best first
// (protocol §4): the creator is in the audience and the list is the part of it,
// or the part and the announcer. What an epoch's operations cover of the heads
// decides, then how many members it did not reach, then the lowest id.
func (k *Keyring) rank(id ID) {
	g, ok := k.groups[id]
	if !ok {
		return
	}
	g.toward = nil
	for i := range g.parts {
		g.parts[i].usable = nil
	}
	for _, e := range k.epochs {
		if e.group != id || !listed(g.audience, e.creator) || e.chains[k.cfg.Self] == nil {
			continue
		}
		if within(e.members, g.audience) {
			g.toward = append(g.toward, e)
		}
		for i := range g.parts {
			if p := &g.parts[i]; slices.Equal(e.members, k.listFor(g, i, e.creator)) {
				p.usable = append(p.usable, e)
			}
		}
	}
	best := func(a, b *epoch) int {
		return cmp.Or(
			cmp.Compare(b.covers(g.view.Heads), a.covers(g.view.Heads)),
			cmp.Compare(a.lacking(), b.lacking()),
			bytes.Compare(a.id[:], b.id[:]))
	}
	slices.SortFunc(g.toward, best)
	for _, p := range g.parts {
		slices.SortFunc(p.usable, best)
	}
}

// within reports whether each of some devices is among others; both are ascending.
func within(some, all []identity.LogID) bool {
	for _, d := range some {
		at, ok := slices.BinarySearchFunc(all, d, identity.LogID.Compare)
		if !ok {
			return false
		}
		all = all[at+1:]
	}
	return true
}

// listFor returns the members of an epoch of part i by this announcer: the part,
// and he himself where there are others.
func (k *Keyring) listFor(g *groupState, i int, announcer identity.LogID) []identity.LogID {
	devices := g.parts[i].devices
	at, in := slices.BinarySearchFunc(devices, announcer, identity.LogID.Compare)
	if in || len(g.parts) == 1 {
		return devices
	}
	return slices.Insert(slices.Clone(devices), at, announcer)
}

// covers counts the heads that the epoch's announce knew. Its operations are a
// part of ours, so that a head of ours among them is a head of theirs.
func (e *epoch) covers(heads [][32]byte) (n int) {
	for _, h := range heads {
		if slices.Contains(e.heads, h) {
			n++
		}
	}
	return n
}

// lacking counts the members who cannot read under e.
func (e *epoch) lacking() int { return len(e.unreached) + len(e.demoted) }

// reaches reports whether a device is on the list of e and can read under it, as
// far as is known.
func (e *epoch) reaches(device identity.LogID) bool {
	return listed(e.members, device) && !listed(e.unreached, device) && !e.demoted[device]
}

// fresh reports whether e may be sent under without a rotation first: it knows
// every operation, is younger than a day, our chain has room, and it leaves out
// nobody who could be reached by now.
func (k *Keyring) fresh(g *groupState, e *epoch, now time.Time) bool {
	age := now.Sub(time.Unix(e.learnt, 0))
	if age >= RotateAge || age < -RotateAge || e.chains[k.cfg.Self].next >= RotateGeneration {
		return false
	}
	if e.covers(g.view.Heads) < len(g.view.Heads) {
		return false
	}
	reachable := func(m identity.LogID) bool { return k.HasPreKey(m, now) }
	if slices.ContainsFunc(e.unreached, reachable) {
		return false
	}
	for m := range e.demoted {
		if reachable(m) {
			return false
		}
	}
	return true
}

// sending returns the epoch to send to a part under, and nil if there is none.
// One that is due for rotation still serves where no other does.
func (k *Keyring) sending(g *groupState, part int, now time.Time) *epoch {
	var fallback *epoch
	for _, e := range g.parts[part].usable {
		if k.fresh(g, e, now) {
			return e
		}
		if fallback == nil && e.chains[k.cfg.Self].next < MaxGeneration {
			fallback = e
		}
	}
	return fallback
}

// needs reports that part wants an epoch before this device sends to it.
func (k *Keyring) needs(g *groupState, part int, now time.Time) bool {
	e := k.sending(g, part, now)
	return e == nil || !k.fresh(g, e, now)
}

// NeedsEpoch reports whether this device, about to send to the group, should
// announce first (protocol §4, rule 1): for a part of the audience no epoch is
// held, or the best does not know every operation, or is a day old, or our chain
// in it is at its end, or it left out a member whose prekey has come since, or a
// member said that he cannot read it. It is false for groups this device is not
// in.
func (k *Keyring) NeedsEpoch(id ID, now time.Time) bool {
	g, ok := k.groups[id]
	if !ok || !k.isMember(g) {
		return false
	}
	for i := range g.parts {
		if k.needs(g, i, now) {
			return true
		}
	}
	return false
}
