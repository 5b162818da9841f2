package group

import (
	"crypto/sha256"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// mirror plays a trace of the symbolic model on keyrings, so that the model is
// known to be of this code: who holds which epoch, how far every chain is, which
// epoch is sent under, and at the end what a thief really opens.
type mirror struct {
	t       *testing.T
	now     time.Time
	id      ID
	ds      []*device
	ops     []*knownOp // the admin's, in order; the first make the group
	founded int
	epochs  []mirrorEpoch
	msgs    []sent
	logs    [symDevices][]mirrorItem
	cur     [symDevices][symDevices]int
	waiting [symDevices][]sent
	thieves []*device
}

type mirrorEpoch struct {
	id    EpochID
	by    *device
	pages [][]byte
}

type mirrorItem struct {
	epoch int // -1: a message
	msg   int
}

func newMirror(t *testing.T) *mirror {
	m := &mirror{t: t, now: start}
	m.ds, m.id = meet(t, symDevices, start)
	m.note()
	m.founded = len(m.ops)
	var first EpochID
	for id := range m.ds[0].k.epochs {
		first = id
	}
	// The pages of meet are not kept: the same group announces once more.
	for _, d := range m.ds {
		d.apply(d.k.epochs[first].drop())
	}
	a := m.ds[0].announce(m.id, start)
	m.announced(0, a.Epoch, m.ds[0], a.Pages)
	for i := 1; i < symDevices; i++ {
		m.deliver(0, i)
	}
	return m
}

// note keeps the admin's operations in their order.
func (m *mirror) note() {
	m.ops = nil
	g := m.ds[0].k.groups[m.id]
	for _, o := range g.ops {
		m.ops = append(m.ops, o)
	}
	slices.SortFunc(m.ops, func(a, b *knownOp) int { return int(a.proof.Place.Seq) - int(b.proof.Place.Seq) })
}

func (m *mirror) announced(by int, id EpochID, from *device, pages [][]byte) {
	m.logs[by] = append(m.logs[by], mirrorItem{epoch: len(m.epochs)})
	m.cur[by][by] = len(m.logs[by])
	m.epochs = append(m.epochs, mirrorEpoch{id: id, by: from, pages: pages})
}

func (m *mirror) deliver(from, to int) {
	d := m.ds[to]
	for ; m.cur[to][from] < len(m.logs[from]); m.cur[to][from]++ {
		item := m.logs[from][m.cur[to][from]]
		if item.epoch < 0 {
			m.waiting[to] = append(m.waiting[to], m.msgs[item.msg])
		} else {
			m.learn(d, item.epoch)
		}
	}
	var left []sent
	for _, x := range m.waiting[to] {
		if _, err := d.open(x, m.now); errors.Is(err, ErrUnknownTag) {
			left = append(left, x)
		} else if err != nil && !errors.Is(err, ErrDestroyed) {
			m.t.Fatal(err)
		}
	}
	m.waiting[to] = left
}

// learn hands in an announce; what is wrong with it is the keyring's to say.
func (m *mirror) learn(d *device, epoch int) {
	e := m.epochs[epoch]
	for _, p := range e.pages {
		_, changes, err := d.k.LearnEpoch(Place{Log: e.by.log, Seq: uint64(1000 + epoch)}, sha256.Sum256(p), p, m.now)
		if err != nil {
			return
		}
		d.apply(changes)
	}
}

// play does one action, and returns which epoch was sent under.
func (m *mirror) play(a action) (under EpochID) {
	switch d := m.ds[a.a%symDevices]; a.kind {
	case 's':
		if d.k.NeedsEpoch(m.id, m.now) {
			m.play(action{'n', a.a, 0})
		}
		x := d.seal(m.id, "a message", m.now)
		m.logs[a.a] = append(m.logs[a.a], mirrorItem{epoch: -1, msg: len(m.msgs)})
		m.cur[a.a][a.a] = len(m.logs[a.a])
		m.msgs = append(m.msgs, x)
		return x.s.Epoch
	case 'n':
		an := d.announce(m.id, m.now)
		m.announced(a.a, an.Epoch, d, an.Pages)
	case 'o':
		admin := m.ds[0]
		if who := m.ds[a.a&3]; a.a > 4 {
			admin.learnOp(must(admin.k.AddOp(m.id, who.log, RoleMember)))
		} else {
			admin.learnOp(must(admin.k.RemoveOp(m.id, who.log)))
		}
		m.note()
	case 'd':
		m.deliver(a.a, a.b)
	case 'w':
		for range 36 {
			m.now = m.now.Add(24 * time.Hour)
			for _, d := range m.ds {
				d.apply(d.k.Expire(m.now, 24*time.Hour))
			}
		}
		for _, d := range m.ds {
			d.publish(m.now, m.ds...)
		}
	case 't', 'r':
		m.steal(d, a.kind == 't')
	case 'x':
		m.forge(d, a.a, a.b)
	}
	return EpochID{}
}

// steal copies a device: as it is, and as its prekeys alone, which derive again
// what its chains have passed.
func (m *mirror) steal(d *device, all bool) {
	copies := map[string]func(key string) bool{"as it is": func(key string) bool { return all || !strings.HasPrefix(key, keyPrefix+"own/prekey") }}
	if all {
		copies["prekeys"] = func(key string) bool { return strings.HasPrefix(key, keyPrefix+"own/") }
	}
	for _, keep := range copies {
		thief := &device{t: m.t, priv: d.priv, log: d.log, disk: maps.Clone(d.disk)}
		maps.DeleteFunc(thief.disk, func(key string, _ []byte) bool { return !keep(key) })
		k, err := Load(d.config(77), scanner(thief.disk))
		if err != nil {
			m.t.Fatal(err)
		}
		thief.k = k
		m.thieves = append(m.thieves, thief)
	}
}

// forge announces in a stolen device's name, with as many of the operations as
// the attacker likes.
func (m *mirror) forge(d *device, by, prefix int) {
	var thief *device
	for _, x := range m.thieves {
		if len(x.k.own) > 0 && thief == nil {
			thief = x
		}
	}
	g := &groupState{ops: make(opSet)}
	for _, o := range m.ops[:m.founded+prefix] {
		g.ops[o.proof.ID] = o
	}
	g.view = must(g.ops.evaluate(nil, m.id))
	g.members = g.view.devices()
	thief.k.prekeys = m.ds[(by+1)%symDevices].k.prekeys // everyone's are public
	for _, other := range m.ds {
		thief.k.prekeys = maps.Clone(thief.k.prekeys)
		maps.Copy(thief.k.prekeys, other.k.prekeys)
	}
	delete(thief.k.prekeys, d.log)
	an, err := thief.k.announceTo(g, g.members, m.now)
	if err != nil {
		m.t.Fatal(err)
	}
	m.announced(by, an.Epoch, d, an.Pages)
	thief.apply(an.Changes)
}

func (m *mirror) compare(s *sym, trace []action) {
	m.t.Helper()
	for i, d := range m.ds {
		var view uint8
		for j, o := range m.ds {
			if v, _ := d.k.Group(m.id); listed(v.devices(), o.log) {
				view |= bit(j)
			}
		}
		if want := s.view(s.dev[i].ops); view != want {
			m.t.Fatalf("device %d sees %03b, in the model %03b, after %s", i, view, want, traceString(trace))
		}
		for e, x := range m.epochs {
			held := d.k.epochs[x.id]
			if (held != nil) != (s.dev[i].held&bit(e) != 0) {
				m.t.Fatalf("device %d holds epoch %d: %v, after %s", i, e, held != nil, traceString(trace))
			}
			for j, o := range m.ds {
				if held != nil && held.chains[o.log] != nil && held.chains[o.log].next != uint32(s.dev[i].pos[e][j]) {
					m.t.Fatalf("device %d, epoch %d, chain of %d: at %d, in the model at %d, after %s", i, e, j, held.chains[o.log].next, s.dev[i].pos[e][j], traceString(trace))
				}
			}
		}
	}
}

// rob lets the thieves try everything that was ever on the network.
func (m *mirror) rob(s *sym, trace []action) (opened int) {
	read := make([]bool, len(m.msgs))
	for _, thief := range m.thieves {
		for e := range m.epochs {
			m.learn(thief, e)
		}
		for i, x := range m.msgs {
			if o, changes, err := thief.k.Open(x.at, x.tag, x.commit, x.body, m.now); err == nil && string(o.Payload) == "a message" {
				read[i] = true
				thief.apply(changes)
			}
		}
	}
	for i, got := range read {
		if want := s.known(s.msg[i], flaws{}); got != want {
			m.t.Fatalf("the thief reads message %d: %v, in the model %v, after %s", i, got, want, traceString(trace))
		}
		if got {
			opened++
		}
	}
	return opened
}

// TestCheckerModelIsTheKeyring plays random traces on both.
func TestCheckerModelIsTheKeyring(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	opened, sends := 0, 0
	for range 60 {
		m, s := newMirror(t), firstState()
		var trace []action
		for len(trace) < 14 {
			a := pickAction(r, s.actions())
			trace = append(trace, a)
			under := m.play(a)
			next := s.step(a, flaws{})
			s = next[0]
			if a.kind == 's' {
				at := slices.IndexFunc(next, func(n sym) bool { return m.epochs[n.msg[n.nm-1].epoch].id == under })
				if at < 0 {
					t.Fatalf("sent under an epoch that the model would not use, after %s", traceString(trace))
				}
				s = next[at]
				sends++
			}
			m.compare(&s, trace)
		}
		opened += m.rob(&s, trace)
	}
	if opened == 0 || opened == sends {
		t.Errorf("the thieves read %d of %d messages: nothing was shown", opened, sends)
	}
	t.Logf("%d messages sent, %d read by thieves", sends, opened)
}

// pickAction prefers what moves the story on.
func pickAction(r *rand.Rand, from []action) action {
	for {
		a := from[r.IntN(len(from))]
		if strings.ContainsRune("lwtrx", rune(a.kind)) && r.IntN(4) != 0 {
			continue
		}
		return a
	}
}
