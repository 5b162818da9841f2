package group

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"tocsin/crypto/identity"
)

// Succession says that a device goes on in another log: New follows Old. It is a
// later incarnation of the same author, begun after a restore, or the first log of
// another signing key (a key roll). Whoever hands it in has checked it: that the
// entry at seq 0 of New closes Old with the signature of Old's author, and, for
// another author, that both keys signed the roll and the person is the same
// (protocol §3). Its verdict is for ever and the same on every device. A log follows
// one log at most, because it has one first entry.
type Succession struct {
	Old, New identity.LogID
	Size     uint64 // of Old in entries, as the closing names it
}

// lineage is what a set of successions amounts to, whatever their order: which logs
// are one device, and which of them goes on. A nil lineage has none.
type lineage struct {
	old    map[identity.LogID]identity.LogID   // by New
	root   map[identity.LogID]identity.LogID   // one name for all logs of a device: the lowest
	newest map[identity.LogID]identity.LogID   // by root
	logs   map[identity.LogID][]identity.LogID // by root: all logs of a device, ascending
	sizes  map[identity.LogID]uint64           // by New: how far Old was closed
	// ends says, for a key that was rolled to another, how far each of its logs
	// counts: those that the roll ends, and those that they go on for.
	ends map[identity.Key]map[identity.LogID]uint64
}

// newLineage takes successions by their New.
func newLineage(old map[identity.LogID]identity.LogID, sizes map[identity.LogID]uint64) *lineage {
	l := &lineage{
		old: old, sizes: sizes, root: make(map[identity.LogID]identity.LogID, 2*len(old)),
		newest: make(map[identity.LogID]identity.LogID), logs: make(map[identity.LogID][]identity.LogID),
	}
	up := make(map[identity.LogID]identity.LogID, 2*len(old))
	var find func(identity.LogID) identity.LogID
	find = func(id identity.LogID) identity.LogID {
		p, ok := up[id]
		if !ok || p == id {
			up[id] = id
			return id
		}
		p = find(p)
		up[id] = p
		return p
	}
	for next, before := range old {
		a, b := find(next), find(before)
		if a.Compare(b) > 0 {
			a, b = b, a
		}
		up[b] = a
	}
	for id := range up {
		root := find(id)
		l.root[id] = root
		l.logs[root] = append(l.logs[root], id)
	}
	for root, logs := range l.logs {
		slices.SortFunc(logs, identity.LogID.Compare)
		l.newest[root] = l.last(logs)
	}
	l.end()
	return l
}

// end works out how far the logs of keys count that were rolled.
func (l *lineage) end() {
	l.ends = make(map[identity.Key]map[identity.LogID]uint64)
	for next, before := range l.old {
		if before.Author == next.Author {
			continue
		}
		ends := l.ends[before.Author]
		if ends == nil {
			ends = make(map[identity.LogID]uint64)
			l.ends[before.Author] = ends
		}
		// Incarnations fall from one step to the next, unless the successions are
		// forged: then no more steps are taken than there are successions.
		for range len(l.old) {
			ends[before] = max(ends[before], l.sizes[next])
			earlier, ok := l.old[before]
			if !ok || earlier.Author != before.Author {
				break
			}
			next, before = before, earlier
		}
	}
}

// disowned reports that what stands at a place was signed with a key that its
// owner had rolled to another by then, so that it may be a thief's: it lies after
// the end that the roll set, or in a log that the roll does not end.
func (l *lineage) disowned(at Place) bool {
	if l == nil {
		return false
	}
	ends, rolled := l.ends[at.Log.Author]
	return rolled && at.Seq >= ends[at.Log]
}

// Lineage is what a set of successions amounts to, for those who hold no keyring.
type Lineage struct{ l *lineage }

// NewLineage takes successions that were checked, at most one of each log that goes
// on.
func NewLineage(successions []Succession) Lineage {
	old := make(map[identity.LogID]identity.LogID, len(successions))
	sizes := make(map[identity.LogID]uint64, len(successions))
	for _, s := range successions {
		old[s.New], sizes[s.New] = s.Old, s.Size
	}
	return Lineage{newLineage(old, sizes)}
}

// Newest returns the log that goes on for log: log itself, if nothing follows it.
func (l Lineage) Newest(log identity.LogID) identity.LogID { return l.l.follow(log) }

// Disowned reports that an entry was signed with a key that its owner had rolled to
// another by then: nothing that stands there has an effect in a group.
func (l Lineage) Disowned(at Place) bool { return l.l.disowned(at) }

// Toward returns the log that goes on for log on the way to the newest, and false
// if none does or the way does not lead there.
func (l Lineage) Toward(log identity.LogID) (identity.LogID, bool) {
	next := l.l.follow(log)
	for range len(l.l.old) {
		before, ok := l.l.old[next]
		if !ok {
			break
		}
		if before == log {
			return next, true
		}
		next = before
	}
	return identity.LogID{}, false
}

// last returns, of the logs of one device, the one that goes on: of an author who
// did not roll to another key, the highest incarnation. Where there are several such
// authors, because the key was rolled twice, the lowest key counts: any rule does
// that is the same everywhere.
func (l *lineage) last(logs []identity.LogID) identity.LogID {
	rolled := make(map[identity.Key]bool)
	for _, id := range logs {
		if before, ok := l.old[id]; ok && before.Author != id.Author {
			rolled[before.Author] = true
		}
	}
	return slices.MinFunc(logs, func(a, b identity.LogID) int {
		if rolled[a.Author] != rolled[b.Author] {
			if rolled[b.Author] {
				return -1
			}
			return 1
		}
		return cmp.Or(slices.Compare(a.Author[:], b.Author[:]), cmp.Compare(b.Incarnation, a.Incarnation))
	})
}

// device returns one name for all the logs of the device that writes log.
func (l *lineage) device(log identity.LogID) identity.LogID {
	if l != nil {
		if root, ok := l.root[log]; ok {
			return root
		}
	}
	return log
}

// follow returns the log that goes on for log: itself, if nothing follows it.
func (l *lineage) follow(log identity.LogID) identity.LogID {
	if l != nil {
		if root, ok := l.root[log]; ok {
			return l.newest[root]
		}
	}
	return log
}

// among returns the successions of the devices that these operations name,
// ascending by New: what their view rests on.
func (l *lineage) among(set opSet) []Succession {
	if l == nil || len(l.old) == 0 {
		return nil
	}
	seen := make(map[identity.LogID]bool)
	var out []Succession
	for _, o := range set {
		for _, who := range [...]identity.LogID{o.author(), o.target()} {
			root, ok := l.root[who]
			if !ok || seen[root] {
				continue
			}
			seen[root] = true
			for _, id := range l.logs[root] {
				if before, ok := l.old[id]; ok {
					out = append(out, Succession{Old: before, New: id, Size: l.sizes[id]})
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b Succession) int { return a.New.Compare(b.New) })
	return out
}

// touches reports whether a view of these operations may rest on this device.
func (set opSet) touches(l *lineage, devices map[identity.LogID]bool) bool {
	for _, o := range set {
		if devices[l.device(o.author())] || devices[l.device(o.target())] {
			return true
		}
	}
	return false
}

// lineageOf is the lineage that an announce rests on. Each of its successions must
// be known here; until then the announce cannot be judged ([ErrNotYet]). Where
// something else is known of a log, because its author signed two first entries, or
// nothing ever will be, the announce is judged by what it lists, for its own view
// only, and disputed is true.
func (k *Keyring) lineageOf(listed []Succession) (l *lineage, disputed bool, err error) {
	if len(listed) == 0 {
		return nil, false, nil
	}
	old := make(map[identity.LogID]identity.LogID, len(listed))
	sizes := make(map[identity.LogID]uint64, len(listed))
	for _, s := range listed {
		before, ok := k.lineage.old[s.New]
		switch {
		case ok && before == s.Old && k.lineage.sizes[s.New] == s.Size:
		case ok, k.cfg.Settled != nil && k.cfg.Settled(s.New):
			disputed = true
		default:
			return nil, false, fmt.Errorf("%w: that log %s goes on for %s", ErrNotYet, s.New, s.Old)
		}
		old[s.New], sizes[s.New] = s.Old, s.Size
	}
	return newLineage(old, sizes), disputed, nil
}

// LearnSuccessions takes successions that were checked. From then on the log that
// goes on is the member in place of the one before, in every group: the view of a
// group is a pure function of its operations and the successions known. The log
// before gets no new epoch. Call [Keyring.Retry] after the changes were applied:
// announces may have waited for one of them. It fails with [ErrInvalid] for a log
// that is known to follow another one, and with [ErrLimit].
func (k *Keyring) LearnSuccessions(successions ...Succession) ([]Change, error) {
	fresh := make(map[identity.LogID]Succession)
	for _, s := range successions {
		was, known := fresh[s.New]
		if before, ok := k.lineage.old[s.New]; ok {
			was, known = Succession{Old: before, New: s.New, Size: k.lineage.sizes[s.New]}, true
		}
		switch {
		case s.Old == s.New:
			return nil, invalid("log %s goes on for itself", s.New)
		case known && was != s:
			return nil, invalid("log %s goes on for %s at %d and for %s at %d", s.New, was.Old, was.Size, s.Old, s.Size)
		case !known:
			fresh[s.New] = s
		}
	}
	if len(k.lineage.old)+len(fresh) > MaxSuccessions {
		return nil, fmt.Errorf("%w: more than %d logs that go on for others", ErrLimit, MaxSuccessions)
	}
	var out []Change
	for _, id := range slices.SortedFunc(maps.Keys(fresh), identity.LogID.Compare) {
		before := fresh[id].Old.Bytes()
		out = append(out, Change{Key: successionKey(id), Value: binary.BigEndian.AppendUint64(before[:], fresh[id].Size)})
	}
	return out, nil
}

func successionKey(next identity.LogID) string { return keyPrefix + "succession/" + hexLog(next) }

func (b *batch) addSuccession(rest string, value []byte) error {
	n, err := names(rest, identity.LogIDSize)
	if err != nil {
		return err
	}
	if len(value) != identity.LogIDSize+8 {
		return errRecord
	}
	if b.successions == nil {
		b.successions = make(map[identity.LogID]Succession)
	}
	next := logName(n[0])
	b.successions[next] = Succession{Old: logName(value[:identity.LogIDSize]), New: next, Size: binary.BigEndian.Uint64(value[identity.LogIDSize:])}
	return nil
}

// succeed works the successions of the batch into the lineage, and marks the groups
// whose view may be another with it.
func (b *batch) succeed() *lineage {
	if len(b.successions) == 0 {
		return b.k.lineage
	}
	old, sizes := maps.Clone(b.k.lineage.old), maps.Clone(b.k.lineage.sizes)
	for next, s := range b.successions {
		old[next], sizes[next] = s.Old, s.Size
	}
	l := newLineage(old, sizes)
	touched := make(map[identity.LogID]bool)
	for next := range b.successions {
		touched[l.device(next)] = true
	}
	for id, g := range b.k.groups {
		if g.ops.touches(l, touched) {
			b.group(id)
		}
	}
	b.do(func() { b.k.lineage = l })
	return l
}

// Newest returns the log that goes on for log, as far as known: log itself, if
// nothing follows it.
func (k *Keyring) Newest(log identity.LogID) identity.LogID { return k.lineage.follow(log) }

// IsOwn reports that this device writes log, or wrote it before it went on in
// another.
func (k *Keyring) IsOwn(log identity.LogID) bool {
	return k.lineage.device(log) == k.lineage.device(k.cfg.Self)
}

// Succeeds reports whether it is known that log goes on for another one.
func (k *Keyring) Succeeds(log identity.LogID) bool {
	_, ok := k.lineage.old[log]
	return ok
}

// selves returns the logs under which others may have sealed to this device: its
// own first, then those it goes on for.
func (k *Keyring) selves() []identity.LogID {
	out := []identity.LogID{k.cfg.Self}
	for _, id := range k.lineage.logs[k.lineage.device(k.cfg.Self)] {
		if id != k.cfg.Self && len(out) < maxSelves {
			out = append(out, id)
		}
	}
	return out
}
