package group

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tocsin/crypto/identity"
)

// history is one random run.
type history struct {
	now      time.Time
	devices  []*device
	groups   []ID
	creators map[ID][]*device // admins
	epochs   []*modelEpoch
	byID     map[EpochID]*modelEpoch
	holds    map[*device]map[EpochID]time.Time // when it was learnt
	pages    map[*device]map[EpochID]map[int]bool
	used     map[*device]map[usedKey]bool
	messages []sent
	knows    map[*device]map[identity.LogID]bool // whose prekeys
}

type usedKey struct {
	epoch  EpochID
	author identity.LogID
	gen    uint32
}

func newHistory(t *rapid.T) *history {
	h := &history{now: start, creators: make(map[ID][]*device), byID: make(map[EpochID]*modelEpoch), holds: make(map[*device]map[EpochID]time.Time),
		pages: make(map[*device]map[EpochID]map[int]bool), used: make(map[*device]map[usedKey]bool), knows: make(map[*device]map[identity.LogID]bool)}
	for i := range rapid.IntRange(2, 4).Draw(t, "devices") {
		d := newDevice(t, uint64(i+1))
		d.publish(h.now)
		d.k.maxSeeds = rapid.SampledFrom([]int{0, 3, MaxSeeds}).Draw(t, "seeds")
		h.devices = append(h.devices, d)
		h.holds[d], h.pages[d] = make(map[EpochID]time.Time), make(map[EpochID]map[int]bool)
		h.used[d], h.knows[d] = make(map[usedKey]bool), map[identity.LogID]bool{d.log: true}
	}
	if rapid.Bool().Draw(t, "warm") {
		h.warm(t)
	}
	return h
}

// warm starts a history in the middle: a group of all, who know each other.
func (h *history) warm(t *rapid.T) {
	for _, to := range h.devices {
		for _, from := range h.devices {
			h.introduce(t, from, to)
		}
	}
	id := h.devices[0].create(KindTeam, "Theatre")
	h.devices[0].add(id, RoleMember, h.devices[1:]...)
	h.groups, h.creators[id] = append(h.groups, id), []*device{h.devices[0]}
	e := announceTaped(h.devices[0], id, h.now)
	h.epochs, h.byID[e.id] = append(h.epochs, e), e
	h.holds[h.devices[0]][e.id] = h.now
	for _, d := range h.devices[1:] {
		for i := range e.pages {
			h.deliver(t, e, d, i)
		}
	}
}

func pick[T any](t *rapid.T, what string, from []T) T {
	if len(from) == 0 {
		t.Skip("none: ", what)
	}
	return from[rapid.IntRange(0, len(from)-1).Draw(t, what)]
}

func (h *history) device(t *rapid.T) *device { return pick(t, "device", h.devices) }

func (h *history) create(t *rapid.T) {
	if len(h.groups) == 3 {
		t.Skip("enough groups")
	}
	d := h.device(t)
	id := d.create(KindIncident, "Ward 7")
	h.groups, h.creators[id] = append(h.groups, id), []*device{d}
}

func (h *history) add(t *rapid.T) {
	id := pick(t, "group", h.groups)
	by, who := pick(t, "admin", h.creators[id]), h.device(t)
	v, ok := by.k.Group(id)
	if !ok {
		t.Skip("has not heard of the group")
	}
	if role, ok := v.Role(by.log); !ok || role != RoleAdmin {
		t.Skip("does not know yet that it is an admin")
	}
	if _, ok := v.Role(who.log); ok {
		t.Skip("member already")
	}
	role := rapid.SampledFrom([]Role{RoleMember, RoleAdmin}).Draw(t, "role")
	by.add(id, role, who)
	if role == RoleAdmin && !slices.Contains(h.creators[id], who) {
		h.creators[id] = append(h.creators[id], who)
	}
}

// meet lets one device learn another's prekeys.
func (h *history) meet(t *rapid.T) {
	h.introduce(t, h.device(t), h.device(t))
}

func (h *history) introduce(t *rapid.T, from, to *device) {
	set := &PreKeys{FirstWeek: from.k.published.week}
	for i := range set.Public {
		copy(set.Public[i][:], from.k.own[set.FirstWeek+uint32(i)].private.PublicKey().Bytes())
	}
	changes, err := to.k.LearnPreKeys(from.log, set.Marshal(), h.now)
	if err != nil {
		t.Fatal(err)
	}
	to.apply(changes)
	h.knows[to][from.log] = true
}

func (h *history) announce(t *rapid.T) {
	d, id := h.device(t), pick(t, "group", h.groups)
	v, ok := d.k.Group(id)
	if _, member := v.Role(d.log); !ok || !member {
		if _, err := d.k.Announce(id, h.now); err == nil {
			t.Fatal("announced without being a member")
		}
		return
	}
	e := announceTaped(d, id, h.now)
	for _, m := range e.members {
		if h.knows[d][m] == slices.Contains(e.unreached, m) {
			t.Fatalf("missing %v", e.unreached)
		}
	}
	h.epochs, h.byID[e.id] = append(h.epochs, e), e
	h.holds[d][e.id] = h.now
}

// page delivers one page of some announce to some device: any order, more
// than once, or never.
func (h *history) page(t *rapid.T) {
	e, d := pick(t, "epoch", h.epochs), h.device(t)
	incomplete := 0
	for id, pages := range h.pages[d] {
		if _, held := h.holds[d][id]; !held && len(pages) > 0 && id != EpochID(e.id) && h.byID[id].creator == e.creator {
			incomplete++
		}
	}
	if incomplete >= MaxPartialsPerLog {
		t.Skip("one more would crowd out another; TestPartialsCrowdOut has that")
	}
	h.deliver(t, e, d, rapid.IntRange(0, len(e.pages)-1).Draw(t, "page"))
}

func (h *history) deliver(t *rapid.T, e *modelEpoch, d *device, i int) {
	l, changes, err := d.k.LearnEpoch(Place{Log: e.creator, Seq: uint64(i)}, [32]byte{}, e.pages[i], h.now)
	if err != nil {
		t.Fatal(err)
	}
	d.apply(changes)
	reached := slices.Contains(e.members, d.log) && !slices.Contains(e.unreached, d.log)
	if h.pages[d][e.id] == nil {
		h.pages[d][e.id] = make(map[int]bool)
	}
	h.pages[d][e.id][i] = true
	if _, held := h.holds[d][e.id]; !held && reached && len(h.pages[d][e.id]) == len(e.pages) {
		h.holds[d][e.id] = h.now
	}
	if _, held := h.holds[d][e.id]; l.Complete != held || held && (l.Epoch != e.id || l.Group != e.group || string(l.Tag[:]) != string(e.tag())) {
		t.Fatalf("learnt %+v; held by the model: %v", l, held)
	}
	if !reached && len(h.pages[d][e.id]) == len(e.pages) {
		h.pages[d][e.id] = nil // a stranger forgets, and may be told again
	}
}

// choice is the model's rule of which epoch to send under.
func (h *history) choice(d *device, id ID) (best *modelEpoch, fresh bool) {
	v, _ := d.k.Group(id)
	for _, isFresh := range []bool{true, false} {
		for _, e := range h.epochs {
			learnt, held := h.holds[d][e.id]
			if !held || e.group != id || !slices.Equal(e.members, v.devices()) || !slices.Contains(e.members, e.creator) {
				continue
			}
			reachable := slices.ContainsFunc(e.unreached, func(m identity.LogID) bool { return h.knows[d][m] })
			if isFresh == (reachable || h.now.Sub(learnt) >= 24*time.Hour || modelCovers(e, v.Heads) < len(v.Heads)) {
				continue
			}
			if best == nil || modelBetter(e, best, v.Heads) {
				best, fresh = e, isFresh
			}
		}
		if best != nil {
			return best, fresh
		}
	}
	return nil, false
}

func modelCovers(e *modelEpoch, heads [][32]byte) (n int) {
	for _, x := range heads {
		for _, y := range e.heads {
			if x == y {
				n++
			}
		}
	}
	return n
}

func modelBetter(a, b *modelEpoch, heads [][32]byte) bool {
	if x, y := modelCovers(a, heads), modelCovers(b, heads); x != y {
		return x > y
	}
	if len(a.unreached) != len(b.unreached) {
		return len(a.unreached) < len(b.unreached)
	}
	return string(a.id[:]) < string(b.id[:])
}

func (h *history) seal(t *rapid.T) {
	d, id := h.device(t), pick(t, "group", h.groups)
	v, known := d.k.Group(id)
	_, member := v.Role(d.log)
	_, fresh := h.choice(d, id)
	if got := d.k.NeedsEpoch(id, h.now); got != (known && member && !fresh) {
		t.Fatalf("NeedsEpoch is %v; the model has fresh %v", got, fresh)
	}
	for range rapid.IntRange(1, 8).Draw(t, "burst") {
		h.sealOne(t, d, id, known, member)
	}
}

func (h *history) sealOne(t *rapid.T, d *device, id ID, known, member bool) {
	want, _ := h.choice(d, id)
	payload := bytes.Repeat([]byte{'x'}, rapid.IntRange(0, 3000).Draw(t, "length"))
	at := d.place()
	s, err := d.k.Seal(id, at, payload, h.now)
	switch {
	case !known:
		if err == nil {
			t.Fatal("sealed for an unknown group")
		}
		return
	case !member:
		if !errors.Is(err, ErrNotMember) {
			t.Fatalf("sealed without being a member: %v", err)
		}
		return
	case want == nil:
		if !errors.Is(err, ErrNoEpoch) {
			t.Fatalf("sealed without an epoch: %v", err)
		}
		return
	case err != nil:
		t.Fatal(err)
	}
	d.apply(s.Changes)
	if s.Epoch != EpochID(want.id) {
		t.Fatalf("sealed under %s, the model under %x", s.Epoch, want.id)
	}
	body, commit := want.seal(at, s.Generation, s.Body[1:17], s.Opening[:], payload, len(s.Body)-53-16)
	if !bytes.Equal(body, s.Body) || commit != s.Commit || string(want.tag()) != string(s.Tag[:]) {
		t.Fatal("the model seals to other bytes")
	}
	h.used[d][usedKey{s.Epoch, d.log, s.Generation}] = true
	h.messages = append(h.messages, sent{at: at, tag: s.Tag, commit: s.Commit, body: s.Body, payload: payload, s: s})
}

// open delivers one message to one device: any order, more than once, or never.
func (h *history) open(t *rapid.T) {
	d := h.device(t)
	from := h.messages
	if rapid.IntRange(0, 5).Draw(t, "again") != 0 {
		from = h.unread(d)
	}
	h.openOne(t, d, pick(t, "message", from))
	for range rapid.IntRange(0, 6).Draw(t, "burst") {
		if from = h.unread(d); len(from) > 0 {
			h.openOne(t, d, pick(t, "message", from))
		}
	}
}

func (h *history) openOne(t *rapid.T, d *device, m sent) {
	if rapid.IntRange(0, 4).Draw(t, "tamper") == 0 {
		h.tampered(t, m, d)
	}
	o, err := d.open(m, h.now)
	key := usedKey{m.s.Epoch, m.at.Log, m.s.Generation}
	_, held := h.holds[d][m.s.Epoch]
	switch {
	case !held:
		if !errors.Is(err, ErrUnknownTag) {
			t.Fatalf("opened without the epoch: %v", err)
		}
	case h.used[d][key]:
		if !errors.Is(err, ErrReplayed) {
			t.Fatalf("opened twice: %v", err)
		}
	case err != nil:
		t.Fatalf("%s cannot open generation %d: %v", name(d), m.s.Generation, err)
	default:
		opening, payload, err := h.byID[m.s.Epoch].open(m.at, m.body)
		if err != nil || !bytes.Equal(payload, o.Payload) || !bytes.Equal(payload, m.payload) || string(opening) != string(o.Opening[:]) || !o.Provable {
			t.Fatalf("opened %x; the model %x, %v", o.Payload, payload, err)
		}
		h.used[d][key] = true
	}
}

// unread returns the messages that d should be able to open.
func (h *history) unread(d *device) (out []sent) {
	for _, m := range h.messages {
		if _, held := h.holds[d][m.s.Epoch]; held && !h.used[d][usedKey{m.s.Epoch, m.at.Log, m.s.Generation}] {
			out = append(out, m)
		}
	}
	return out
}

// tampered hands in a body with one bit turned; nothing may come of it.
func (h *history) tampered(t *rapid.T, m sent, d *device) {
	bad := m
	bad.body = bytes.Clone(m.body)
	bad.body[rapid.IntRange(0, len(m.body)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
	if _, changes, err := d.k.Open(bad.at, bad.tag, bad.commit, bad.body, h.now); err == nil || changes != nil {
		t.Fatalf("opened a damaged body: %d changes, %v", len(changes), err)
	}
}

func (h *history) restart(t *rapid.T) { h.device(t).reload() }

func (h *history) wait(t *rapid.T) {
	h.now = h.now.Add(time.Duration(rapid.IntRange(1, 20).Draw(t, "hours")) * time.Hour)
	for _, d := range h.devices {
		d.apply(d.k.Expire(h.now, 0))
	}
}

func TestHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newHistory(t)
		actions := map[string]func(*rapid.T){
			"create": h.create, "add": h.add, "meet": h.meet, "announce": h.announce, "restart": h.restart, "wait": h.wait,
		}
		// The common ones are tried more often.
		for _, n := range []string{"1", "2", "3", "4"} {
			actions["page"+n], actions["seal"+n], actions["open"+n] = h.page, h.seal, h.open
		}
		for range 4 { // rapid takes about 30 steps in each
			t.Repeat(actions)
			for _, d := range h.devices {
				d.checkDisk()
			}
		}
	})
}
