package node

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

// States of messages against a simple model. Devices say things, read and acknowledge them and pay their receipts by the code that the
// node runs; entries reach each of them in the order of their logs and otherwise in any order, twice, late, opened long after they
// came, or never while a partition lasts. At every step nobody sees a state without a receipt, and everybody sees what the receipts say
// that reached them; once all has reached all, everybody sees the same and nothing is owed.

// said is one entry of a device.
type said struct {
	id      ledger.ID
	at      earlyPlace
	by      int
	content message.Content // a text or an acknowledgement
	raw     []byte          // receipts
	states  map[ledger.ID]byte
	last    map[ledger.ID]ledger.ID // of receipts: the last message of the run that names one
}

// modelDevice is a device: what it holds, and what its node would keep in memory.
type modelDevice struct {
	log    identity.LogID
	member bool

	entries  []*said
	have     map[int]int // entries of each log that came
	unopened []*said     // came, and are sealed to an epoch that has not
	kept     []*said     // opened: what the vault holds
	locked   bool        // nothing is opened
	debts    map[ledger.ID]debt
	in       *inbox.Inbox
	places   *places

	// The model: what this device has really done, and the receipts that it has opened.
	done map[ledger.ID]byte
	told map[ledger.ID][]*said
	seen map[ledger.ID]*said
}

const ackDone = 3

type modelMesh struct {
	devices []*modelDevice
	ids     byte
	clock   uint64
}

func (m *modelMesh) author(i int) inbox.Author {
	d := m.devices[i]
	return inbox.Author{Log: d.log.String(), Name: fmt.Sprint("device ", i), Person: fmt.Sprint("person ", i), Verified: true}
}

func newModelMesh(members int) *modelMesh {
	m := &modelMesh{}
	for i := range members + 1 { // the last is an outsider, whose receipts got in all the same
		m.devices = append(m.devices, &modelDevice{
			log: identity.LogID{Author: identity.Key{byte(i + 1)}}, member: i < members, have: map[int]int{}, debts: map[ledger.ID]debt{},
			done: map[ledger.ID]byte{}, told: map[ledger.ID][]*said{}, seen: map[ledger.ID]*said{},
		})
	}
	for i := range m.devices {
		m.restart(i)
	}
	return m
}

var modelGroup = inbox.GroupID{1}

// restart builds what is in memory again from what is kept.
func (m *modelMesh) restart(i int) {
	d := m.devices[i]
	d.in, d.places = inbox.New(), newPlaces()
	var members []inbox.Author
	for j := range m.devices {
		if m.devices[j].member {
			members = append(members, m.author(j))
		}
	}
	d.in.SetGroup(inbox.Group{ID: modelGroup, Kind: "team", Members: members})
	for _, receipts := range []bool{false, true} {
		for _, e := range d.kept {
			if (e.raw != nil) == receipts {
				m.show(i, e)
			}
		}
	}
	for id, owed := range d.debts {
		if owed.owed == oweRead {
			d.in.MarkRead(modelGroup, inbox.EntryID(id))
		}
	}
}

func (e *said) opened(d *modelDevice) opened {
	return opened{log: d.log, seq: e.at.seq, rec: &openedRecord{id: e.id, group: group.ID(modelGroup), payload: e.raw}}
}

// show gives the inbox what an entry says.
func (m *modelMesh) show(i int, e *said) {
	d, by := m.devices[i], m.devices[e.by]
	it := inbox.Item{
		Group: modelGroup, HLC: e.at.seq<<8 | uint64(e.by), Seq: e.at.seq, First: e.at.seq, From: m.author(e.by), Own: e.by == i,
		Priority: "routine", Received: time.UnixMilli(1), Sent: time.UnixMilli(1),
	}
	if e.raw != nil {
		d.places.tell(d.in, it, e.opened(by), d.entryAt(m))
		return
	}
	it.ID, it.Message = inbox.EntryID(e.id), message.Message{Sent: it.Sent, Content: e.content}
	d.in.Apply(it)
	if !it.Message.Shown() {
		return
	}
	for _, l := range d.places.put(by.log, e.at.seq, e.id) {
		j := slices.IndexFunc(m.devices, func(x *modelDevice) bool { return x.log == l.from.log })
		late := inbox.Item{Group: modelGroup, From: m.author(j), Own: j == i, Received: time.UnixMilli(1)}
		d.places.tellLate(d.in, late, l, e.id, d.entryAt(m))
	}
}

// entryAt finds what has come, opened or not.
func (d *modelDevice) entryAt(m *modelMesh) func([8]byte, uint64) (ledger.ID, bool) {
	return func(short [8]byte, seq uint64) (ledger.ID, bool) {
		for j, by := range m.devices {
			if by.log.Short() == short && seq < uint64(d.have[j]) && d.places.logs[short] != nil {
				return by.entries[seq].id, true
			}
		}
		return ledger.ID{}, false
	}
}

// write adds an entry to a device's own log, which it opens at once.
func (m *modelMesh) write(i int, e *said) {
	d := m.devices[i]
	m.ids++
	e.id, e.by = ledger.ID{m.ids, 0xaa, byte(i)}, i
	e.at = earlyPlace{d.log.Short(), uint64(len(d.entries))}
	d.entries = append(d.entries, e)
	d.have[i]++
	m.open(i, e)
}

// open does what the drain does with an entry.
func (m *modelMesh) open(i int, e *said) {
	d := m.devices[i]
	d.kept = append(d.kept, e)
	d.seen[e.id] = e
	if _, text := e.content.(*message.Text); text && e.by != i {
		d.debts[e.id] = debt{owed: oweDelivered, log: m.devices[e.by].log, seq: e.at.seq, id: e.id}
		d.done[e.id] = max(d.done[e.id], oweDelivered)
	}
	for id := range e.states {
		d.told[id] = append(d.told[id], e)
	}
	m.show(i, e)
}

// arrive brings the next entry of a log that one device has to another.
func (m *modelMesh) arrive(from, to, log int, sealed bool) {
	a, b := m.devices[from], m.devices[to]
	if b.have[log] >= a.have[log] || to == log {
		return
	}
	e := m.devices[log].entries[b.have[log]]
	b.have[log]++
	if sealed || b.locked {
		b.unopened = append(b.unopened, e)
		return
	}
	m.open(to, e)
}

// texts are the messages that a device shows and did not say itself.
func (m *modelMesh) texts(i int, own bool) (out []*said) {
	for _, e := range m.devices[i].kept {
		if _, ok := e.content.(*message.Text); ok && (own || e.by != i) {
			out = append(out, e)
		}
	}
	return out
}

func (m *modelMesh) pay(i int) {
	d := m.devices[i]
	if len(d.debts) == 0 || d.locked {
		return
	}
	runs, paid, _ := runsOf(slices.Collect(maps.Values(d.debts)))
	raw, err := marshalReceipts(runs)
	if err != nil {
		panic(err)
	}
	e := &said{raw: raw, states: map[ledger.ID]byte{}, last: map[ledger.ID]ledger.ID{}}
	for _, p := range paid {
		e.states[p.id] = p.owed
		for _, r := range runs {
			if r.log == p.log.Short() && slices.Contains(r.seqs, p.seq) && r.owed == p.owed {
				by := slices.IndexFunc(m.devices, func(x *modelDevice) bool { return x.log == p.log })
				e.last[p.id] = m.devices[by].entries[r.lastSeq()].id
			}
		}
		delete(d.debts, p.id)
	}
	m.write(i, e)
}

func (m *modelMesh) read(i int) {
	d := m.devices[i]
	if d.locked {
		return
	}
	for _, e := range m.texts(i, false) {
		if it, _ := d.in.Message(inbox.EntryID(e.id)); it.Unread {
			d.debts[e.id] = debt{owed: oweRead, log: m.devices[e.by].log, seq: e.at.seq, id: e.id}
			d.done[e.id] = max(d.done[e.id], oweRead)
			d.in.MarkRead(modelGroup, it.ID)
		}
	}
}

// agrees holds what a device shows against the model.
func (m *modelMesh) agrees(t *rapid.T, i int) {
	d := m.devices[i]
	unread := 0
	for _, e := range m.texts(i, true) {
		it, ok := d.in.Message(inbox.EntryID(e.id))
		if !ok {
			t.Fatalf("device %d does not show a message that it has opened", i)
		}
		// What must be shown, and what may be: a run counts once its last message is here, and may as soon as that has come.
		must, may := make([][]string, ackDone+1), make([][]string, ackDone+1)
		for _, r := range d.told[e.id] {
			state := r.states[e.id]
			if !m.devices[r.by].member || r.by == e.by {
				continue
			}
			if m.devices[r.by].done[e.id] < state {
				t.Fatalf("device %d signed a receipt for what it has not done", r.by)
			}
			last, run := r.last[e.id]
			for s := range state {
				may[s+1] = append(may[s+1], m.devices[r.by].log.String())
				if !run || d.seen[last] != nil {
					must[s+1] = append(must[s+1], m.devices[r.by].log.String())
				}
			}
		}
		for s, got := range [][]string{nil, it.Delivered, it.Read, it.Acknowledged} {
			for _, log := range got {
				if !slices.Contains(may[s], log) {
					t.Fatalf("device %d shows message %x with state %d of a device that has not said so to it", i, e.id[:3], s)
				}
			}
			for _, log := range must[s] {
				if !slices.Contains(got, log) {
					t.Fatalf("device %d shows message %x without state %d of a device that has said so to it", i, e.id[:3], s)
				}
			}
			if len(got) != len(slices.Compact(slices.Sorted(slices.Values(got)))) {
				t.Fatalf("device %d counts a device twice", i)
			}
		}
		state := inbox.StateSaved
		switch {
		case len(it.Acknowledged) > 0:
			state = inbox.StateAcknowledged
		case len(it.Read) > 0 && len(it.Read) == it.Recipients:
			state = inbox.StateRead
		case len(it.Delivered) > 0:
			state = inbox.StateDelivered
		}
		if it.State != state {
			t.Fatalf("device %d shows message %x as %s, not %s", i, e.id[:3], it.State, state)
		}
		if it.Unread != (e.by != i && d.done[e.id] < oweRead) {
			t.Fatalf("device %d: message %x unread %v", i, e.id[:3], it.Unread)
		}
		if it.Unread {
			unread++
		}
	}
	if c, ok := d.in.Conversation(modelGroup); ok && c.Unread != unread {
		t.Fatalf("device %d counts %d unread, not %d", i, c.Unread, unread)
	}
}

func TestStatesAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModelMesh(rapid.IntRange(2, 4).Draw(t, "members"))
		device := rapid.IntRange(0, len(m.devices)-1)
		some := func(name string) int { return device.Draw(t, name) }
		t.Repeat(map[string]func(*rapid.T){
			"say": func(*rapid.T) {
				if i := some("who"); m.devices[i].member && !m.devices[i].locked && m.ids < 200 {
					m.write(i, &said{content: &message.Text{Body: "x"}})
				}
			},
			"arrive": func(t *rapid.T) {
				from, to := some("from"), some("to")
				sealed := rapid.IntRange(0, 3).Draw(t, "sealed") == 0
				for log := range m.devices {
					for range rapid.IntRange(0, 3).Draw(t, "how many") {
						m.arrive(from, to, log, sealed)
					}
				}
			},
			"open": func(t *rapid.T) { // an epoch came
				d := m.devices[some("who")]
				if n := len(d.unopened); n > 0 && !d.locked {
					k := rapid.IntRange(0, n-1).Draw(t, "which")
					e := d.unopened[k]
					d.unopened = slices.Delete(d.unopened, k, k+1)
					m.open(slices.Index(m.devices, d), e)
				}
			},
			"twice": func(t *rapid.T) { // a stick, another neighbour, a crash between the record and the receipt
				i := some("who")
				if d := m.devices[i]; len(d.kept) > 0 {
					m.show(i, d.kept[rapid.IntRange(0, len(d.kept)-1).Draw(t, "what")])
				}
			},
			"pay":  func(*rapid.T) { m.pay(some("who")) },
			"read": func(*rapid.T) { m.read(some("who")) },
			"acknowledge": func(t *rapid.T) {
				i := some("who")
				d := m.devices[i]
				all := m.texts(i, false)
				if len(all) == 0 || d.locked {
					return
				}
				e := all[rapid.IntRange(0, len(all)-1).Draw(t, "what")]
				d.done[e.id] = ackDone
				m.write(i, &said{content: &message.Receipt{State: message.Acknowledged, Entries: []message.EntryID{message.EntryID(e.id)}},
					states: map[ledger.ID]byte{e.id: ackDone}})
			},
			"lock":    func(*rapid.T) { d := m.devices[some("who")]; d.locked = !d.locked },
			"restart": func(*rapid.T) { m.restart(some("who")) },
			"": func(t *rapid.T) {
				for i := range m.devices {
					m.agrees(t, i)
				}
			},
		})
		for range 3 { // the heal: all that there is, its receipts, and those of the receipts' readers
			for i, d := range m.devices {
				d.locked = false
				for _, e := range d.unopened {
					m.open(i, e)
				}
				d.unopened = nil
				m.read(i)
				m.pay(i)
			}
			for to := range m.devices {
				for log := range m.devices {
					for range m.devices[log].entries {
						m.arrive(log, to, log, false)
					}
				}
			}
		}
		for i := range m.devices {
			m.agrees(t, i)
			for _, e := range m.texts(i, true) {
				it, _ := m.devices[i].in.Message(inbox.EntryID(e.id))
				if it.Recipients > 0 && len(it.Read) != it.Recipients || it.Unread {
					t.Fatalf("after the heal device %d shows message %x read by %d of %d", i, e.id[:3], len(it.Read), it.Recipients)
				}
			}
			if m.devices[i].places.held != 0 || len(m.devices[i].debts) != 0 {
				t.Fatalf("after the heal %d receipts wait and %d are owed", m.devices[i].places.held, len(m.devices[i].debts))
			}
		}
	})
}
