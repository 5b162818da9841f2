package node

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
	"tocsin/ledger"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

// itemOf is a message as a node shows it; false while it does not.
func itemOf(t *testing.T, n *Node, s Sent) (inbox.Item, bool) {
	t.Helper()
	id, err := ledger.ParseID(s.ID)
	check(t, err)
	var it inbox.Item
	var ok bool
	check(t, n.reads(func(in *inbox.Inbox) error { it, ok = in.Message(inbox.EntryID(id)); return nil }))
	return it, ok
}

func deliveredTo(t *testing.T, n *Node, s Sent, devices int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s sees it delivered to %d", n.cred.Claims.Name, devices), func() bool {
		it, ok := itemOf(t, n, s)
		return ok && len(it.Delivered) == devices
	})
}

// owes is how many receipts a node has not sent yet.
func owes(t *testing.T, n *Node) (k int) {
	t.Helper()
	check(t, n.cfg.Vault.Scan(prefixReceipt, func(string, []byte) error { k++; return nil }))
	return k
}

// TestReceiptsLeaveWhenTheyAreDue: routine ones share an entry, once in an interval; those of a stat message wait for nothing, and take
// with them what else is owed.
func TestReceiptsLeaveWhenTheyAreDue(t *testing.T) {
	t.Parallel()
	var clock testClock
	w := newWorld(t)
	paced := func(cfg *Config) { cfg.ReceiptInterval = time.Hour }
	a := w.enrol("Amal", orgHospital).start(t, withClock(&clock), paced)
	b := w.enrol("Ben", orgAmbulance).start(t, withClock(&clock), paced, knows(a))
	ready(t, 1, a, b)
	g := makeGroup(t, a, b)
	inGroup(t, g, a, b)
	first := say(t, a, g, "the first, after a quiet time")
	deliveredTo(t, a, first, 1)
	eventually(t, "the first is paid for", func() bool { return owes(t, b) == 0 })
	var later []Sent
	for i := range 5 {
		later = append(later, say(t, a, g, fmt.Sprint("more ", i)))
	}
	eventually(t, "what came since is owed", func() bool { return owes(t, b) == len(later) })
	from, _ := b.logs.Head(b.self)
	clock.step(30 * time.Minute)
	stat := tell(t, a, g, &message.Text{Body: "Cardiac arrest, bed 4"}, "stat")
	deliveredTo(t, a, stat, 1)
	for _, s := range later {
		deliveredTo(t, a, s, 1)
	}
	eventually(t, "all is paid for", func() bool { return owes(t, b) == 0 })
	if to, _ := b.logs.Head(b.self); to.Next != from.Next+1 {
		t.Errorf("%d entries of receipts", to.Next-from.Next)
	}
	// The interval goes by, and what waited for it leaves.
	last := say(t, a, g, "one more")
	eventually(t, "it is owed", func() bool { return owes(t, b) == 1 })
	clock.pass(t, "it is delivered", 10*time.Minute, func() bool { it, ok := itemOf(t, a, last); return ok && len(it.Delivered) == 1 })
}

// TestPaidAsUrgentlyAsWhatIsOwed: what has come that is stat while a routine receipt waited for its turn leaves in an entry
// that is urgent.
func TestPaidAsUrgentlyAsWhatIsOwed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	slow := func(cfg *Config) { cfg.ReceiptDelay = time.Hour }
	a := w.enrol("Amal", orgHospital).start(t, slow)
	b := w.enrol("Ben", orgAmbulance).start(t, slow, knows(a))
	ready(t, 1, a, b)
	g := makeGroup(t, a, b)
	inGroup(t, g, a, b)
	pays := func(want ledger.Priority) {
		t.Helper()
		b.mu.Lock()
		defer b.mu.Unlock()
		bills, err := b.bills()
		check(t, err)
		if len(bills) != 1 {
			t.Fatalf("%d bills", len(bills))
		}
		bills[0].highest = ledger.Routine // as it was before it began to wait
		_, err = b.pay(t.Context(), bills[0], time.Minute)
		check(t, err)
		head, _ := b.logs.Head(b.self)
		e, err := b.logs.Entry(t.Context(), b.self, head.Next-1)
		check(t, err)
		if e.Header.Priority != want {
			t.Errorf("the receipt leaves as %v, not as %v", e.Header.Priority, want)
		}
	}
	say(t, a, g, "how are you")
	eventually(t, "it is owed", func() bool { return owes(t, b) == 1 })
	pays(ledger.Routine)
	say(t, a, g, "and the others?")
	eventually(t, "it is owed", func() bool { return owes(t, b) == 1 })
	b.mu.Lock()
	o, err := b.owes()
	check(t, err)
	bills, err := b.bills()
	check(t, err)
	stat := o.debtsTo(bills[0].payee)[0]
	stat.priority = ledger.Stat
	check(t, b.commitOwed([]vault.Change{{Key: receiptKey(bills[0].group, stat.id), Value: stat.marshal()}}))
	b.mu.Unlock()
	pays(ledger.Urgent)
}

// TestReadingIsKnownHereAtOnce: what this device has read is read, before its receipt leaves and after a restart.
func TestReadingIsKnownHereAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a), func(cfg *Config) { cfg.ReceiptDelay = time.Hour })
	ready(t, 1, a, b)
	g := makeGroup(t, a, b)
	inGroup(t, g, a, b)
	s := say(t, a, g, "Read me")
	unread := func() int {
		id, err := parseGroupID(g)
		check(t, err)
		var c inbox.Conversation
		check(t, b.reads(func(in *inbox.Inbox) error { c, _ = in.Conversation(inbox.GroupID(id)); return nil }))
		return c.Unread
	}
	eventually(t, "it is unread", func() bool { return unread() == 1 })
	check(t, b.MarkRead(g))
	for range 2 {
		if it, _ := itemOf(t, b, s); unread() != 0 || it.Unread {
			t.Error("what was read is unread")
		}
		if owes(t, b) != 1 {
			t.Error("its receipt is not owed")
		}
		check(t, b.Lock())
		check(t, b.Unlock(t.Context(), []byte(passphrase)))
	}
	if it, _ := itemOf(t, a, s); it.State != inbox.StateSaved {
		t.Errorf("the author sees %q without a receipt", it.State)
	}
	b.receiptsNow()
	eventually(t, "the author sees that it was read", func() bool { it, _ := itemOf(t, a, s); return it.State == inbox.StateRead })
	eventually(t, "nothing is owed", func() bool { return owes(t, b) == 0 })
	check(t, b.Lock())
	check(t, b.Unlock(t.Context(), []byte(passphrase)))
	if it, _ := itemOf(t, b, s); unread() != 0 || it.Unread {
		t.Error("once the receipt has left, what was read is unread")
	}
}

// TestReceiptsInALargeGroupAreForTheAuthor: others hold none, and see no state that they have no receipt for. Whoever acknowledges
// tells everybody.
func TestReceiptsInALargeGroupAreForTheAuthor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var nodes []*Node
	for _, name := range []string{"Amal", "Ben", "Chidi"} {
		nodes = append(nodes, w.enrol(name, orgHospital).start(t, knows(nodes...)))
	}
	a, b, c := nodes[0], nodes[1], nodes[2]
	ready(t, 2, nodes...)
	g := makeGroup(t, nodes...)
	id, err := parseGroupID(g)
	check(t, err)
	a.mu.Lock()
	for range receiptsToAll {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		check(t, err)
		payload, err := a.open.keyring.AddOp(id, identity.LogID{Author: identity.KeyOf(key)}, group.RoleMember)
		check(t, err)
		check(t, a.commitOp(t.Context(), payload))
	}
	a.mu.Unlock()
	s := tell(t, a, g, &message.Text{Body: "to all of you"}, "stat")
	deliveredTo(t, a, s, 2)
	kept := func(n *Node) (k int) {
		check(t, n.cfg.Vault.Scan(prefixMessage, func(_ string, value []byte) error {
			if rec, err := parseOpenedRecord(value); err == nil && isReceipts(rec.payload) {
				k++
			}
			return nil
		}))
		return k
	}
	for _, n := range []*Node{b, c} {
		eventually(t, "its log is drained", func() bool {
			n.mu.Lock()
			defer n.mu.Unlock()
			for _, o := range nodes {
				if head, _ := o.logs.Head(o.self); n.open.cursors[o.self] < head.Next {
					return false
				}
			}
			return true
		})
		if k := kept(n); k != 1 {
			t.Errorf("%s keeps receipts of %d devices, not of itself alone", n.cred.Claims.Name, k)
		}
		if it, _ := itemOf(t, n, s); len(it.Delivered) != 1 || it.Delivered[0] != n.self.String() {
			t.Errorf("%s sees it delivered to %v", n.cred.Claims.Name, it.Delivered)
		}
	}
	_, err = b.Acknowledge(t.Context(), s.ID)
	check(t, err)
	for _, n := range nodes {
		eventually(t, "everybody knows that it was acknowledged", func() bool {
			it, _ := itemOf(t, n, s)
			return len(it.Acknowledged) == 1 && it.Acknowledged[0] == b.self.String()
		})
	}
}

// TestReceiptsThatDoNotCount: of somebody who is no member, about another branch of the log, and about what is not here yet. The last
// count as soon as it is.
func TestReceiptsThatDoNotCount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	quiet := func(cfg *Config) { cfg.ReceiptDelay = time.Hour }
	a := w.enrol("Amal", orgHospital).start(t, quiet)
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a), quiet)
	c := w.enrol("Chidi", orgHospital).start(t, knows(a, b), quiet)
	ready(t, 2, a, b, c)
	g := makeGroup(t, a, b)
	inGroup(t, g, a, b)
	id, err := parseGroupID(g)
	check(t, err)
	s := say(t, a, g, "one")
	eventually(t, "it is shown", func() bool { _, ok := itemOf(t, a, s); return ok })
	told := func(by *Node, seq uint64, entry ledger.ID, owed byte) {
		runs, _, _ := runsOf([]debt{{owed: owed, log: a.self, seq: seq, id: entry}})
		raw, err := marshalReceipts(runs)
		check(t, err)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.applyReceipts(opened{log: by.self, seq: 99, rec: &openedRecord{id: ledger.ID{byte(seq), owed}, group: id, received: time.Now().UnixMilli(), payload: raw}})
	}
	entry, err := ledger.ParseID(s.ID)
	check(t, err)
	state := func(s Sent) string { it, _ := itemOf(t, a, s); return it.State }
	told(c, s.Seq, entry, oweRead)
	told(a, s.Seq, entry, oweRead)
	told(b, s.Seq, ledger.ID{1, 2, 3}, oweRead)
	if state(s) != inbox.StateSaved {
		t.Errorf("it is %s", state(s))
	}
	told(b, s.Seq, entry, oweDelivered)
	if state(s) != inbox.StateDelivered {
		t.Errorf("with a receipt of the other member it is %s", state(s))
	}
	told(b, s.Seq, entry, oweRead)
	told(b, s.Seq, entry, oweDelivered) // late, and says less
	if state(s) != inbox.StateRead {
		t.Errorf("with a receipt that it was read it is %s", state(s))
	}
	// Ahead of what they are about.
	next := say(t, a, g, "two")
	second, err := ledger.ParseID(next.ID)
	check(t, err)
	a.mu.Lock()
	p := a.open.places
	at := p.logs[a.self.Short()]
	i := len(at.seqs) - 1
	seq := at.seqs[i]
	at.seqs, at.ids = at.seqs[:i], at.ids[:i] // as if it had not come
	a.mu.Unlock()
	told(b, seq+1000, second, oweRead) // never comes
	a.mu.Lock()
	early := mustReceipts(t, b, a, id, seq, second)
	runs, err := parseReceipts(early.rec.payload)
	check(t, err)
	p.wait(a.self.Short(), seq, late{&early, &runs[0], true})
	held := p.held
	a.applyLate(opened{log: a.self, seq: seq, rec: &openedRecord{group: id, first: seq, as: second}})
	left := p.held
	a.mu.Unlock()
	if state(next) != inbox.StateRead || held != 2 || left != 1 {
		t.Errorf("a receipt that came first: %s, %d waited, %d wait", state(next), held, left)
	}
}

// mustReceipts is an entry by which one node says that it has read a message.
func mustReceipts(t *testing.T, by, author *Node, g group.ID, seq uint64, entry ledger.ID) opened {
	t.Helper()
	runs, _, _ := runsOf([]debt{{owed: oweRead, log: author.self, seq: seq, id: entry}})
	raw, err := marshalReceipts(runs)
	check(t, err)
	return opened{log: by.self, seq: 98, rec: &openedRecord{id: ledger.ID{7}, group: g, received: time.Now().UnixMilli(), payload: raw}}
}

// TestRebuildGivesTheSame: conversations, states and boards after the inbox was thrown away and built again from the vault.
func TestRebuildGivesTheSame(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amal", orgHospital).start(t)
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a))
	c := w.enrol("Chidi", orgHospital).start(t, knows(a, b))
	nodes := []*Node{a, b, c}
	ready(t, 2, nodes...)
	g := makeGroup(t, nodes...)
	inGroup(t, g, nodes...)
	eta := 12
	tell(t, a, g, &message.Incident{Name: "Bus crash", Mode: message.Live, State: message.IncidentStandby}, "urgent")
	call := tell(t, a, g, &message.CallOut{Question: "Can you come?", Place: "ED"}, "urgent")
	alert := tell(t, a, g, &message.Alert{What: "Fire", Where: "Ward 3", To: []string{message.RoleAddress("registrar"), message.RoleAddress("chief")}}, "stat")
	task := tell(t, a, g, &message.Task{What: "Fetch blood", To: message.PersonAddress(b.cred.Person.String())}, "urgent")
	tell(t, a, g, &message.Casualty{Tag: "A001", Triage: message.P1}, "urgent")
	wrong := say(t, a, g, "wrong bed")
	tell(t, a, g, &message.Retract{Entry: entryOf(t, wrong), Reason: "another patient"}, "routine")
	eventually(t, "it is all there", func() bool { return len(mustMessages(t, b, g)) == 7 && len(mustMessages(t, c, g)) == 7 })
	tell(t, b, g, &message.CallOutAnswer{CallOut: entryOf(t, call), Answer: message.AnswerComing, ETA: &eta}, "urgent")
	tell(t, b, g, &message.TaskUpdate{Task: entryOf(t, task), State: message.TaskAccepted}, "urgent")
	tell(t, c, g, &message.Role{Role: "loggist", Action: message.RoleTake, Until: time.Now().Add(time.Hour)}, "urgent")
	_, err := c.Acknowledge(t.Context(), alert.ID)
	check(t, err)
	check(t, b.MarkRead(g))
	eventually(t, "everybody has everything", func() bool {
		for _, n := range nodes {
			board := boardOf(t, n, g)
			if len(board.Alerts) != 1 || board.Alerts[0].Sounds() || len(board.CallOuts) != 1 || len(board.CallOuts[0].Coming) != 1 ||
				len(board.Tasks) != 1 || board.Tasks[0].State != message.TaskAccepted || len(board.Duties) != 1 || owes(t, n) != 0 {
				return false
			}
			for _, it := range mustMessages(t, n, g) {
				if len(it.Delivered) != 2 {
					return false
				}
			}
			if it, _ := itemOf(t, n, wrong); len(it.Read) == 0 || it.Retracted == "" {
				return false
			}
		}
		return true
	})
	for _, n := range nodes {
		type all struct {
			Conversations []inbox.Conversation
			Messages      []inbox.Item
			Board         Board
		}
		look := func() (s all) {
			var err error
			s.Conversations, err = n.Conversations()
			check(t, err)
			s.Messages, s.Board = mustMessages(t, n, g), boardOf(t, n, g)
			return s
		}
		before := look()
		n.mu.Lock()
		check(t, n.reload())
		n.mu.Unlock()
		if after := look(); !reflect.DeepEqual(before, after) {
			t.Errorf("%s shows something else after the inbox was built again:\n%+v\n%+v", n.cred.Claims.Name, before.Board, after.Board)
		}
	}
}

// TestManyEarlyReceipts: receipts that come before what they are about are each looked at once more, whoever sent more than there is room
// for takes none from others, and what found no room counts in the end.
func TestManyEarlyReceipts(t *testing.T) {
	t.Parallel()
	const messages, members = 500, 40
	author := identity.LogID{Author: identity.Key{1}}
	g := inbox.Group{ID: inbox.GroupID{1}, Kind: "team", Members: []inbox.Author{{Log: author.String(), Person: "author"}}}
	who := func(i int) identity.LogID { return identity.LogID{Author: identity.Key{2, byte(i)}} }
	as := func(i int) inbox.Author { return inbox.Author{Log: who(i).String(), Person: fmt.Sprint("person ", i)} }
	for i := range members {
		g.Members = append(g.Members, as(i))
	}
	in, p := inbox.New(), newPlaces()
	in.SetGroup(g)
	idOf := func(seq uint64) ledger.ID { return ledger.ID{9, byte(seq), byte(seq >> 8)} }
	there, looked := uint64(0), 0
	at := func([8]byte, uint64) (ledger.ID, bool) { looked++; return ledger.ID{}, false }
	held := func(_ [8]byte, seq uint64) (ledger.ID, bool) { looked++; return idOf(seq), true }
	entry := func(i int, from uint64) opened {
		var debts []debt
		for seq := from; seq < from+messages; seq++ {
			debts = append(debts, debt{owed: oweRead, log: author, seq: seq, id: idOf(seq)})
		}
		runs, _, _ := runsOf(debts)
		raw, err := marshalReceipts(runs)
		check(t, err)
		return opened{log: who(i), seq: from, rec: &openedRecord{id: ledger.ID{8, byte(i), byte(from), byte(from >> 8)}, payload: raw}}
	}
	item := func(o *opened) inbox.Item {
		i := slices.IndexFunc(g.Members, func(a inbox.Author) bool { return a.Log == o.log.String() })
		return inbox.Item{Group: g.ID, From: g.Members[i], Received: time.UnixMilli(1)}
	}
	for i := range members {
		o := entry(i, 0)
		for range 2 { // twice says nothing more
			p.tell(in, item(&o), o, map[bool]func([8]byte, uint64) (ledger.ID, bool){true: at, false: held}[i%2 == 0])
		}
	}
	// One of them names what will never come.
	for from := uint64(1000); from < 1000+2*maxEarlyOf; from += messages {
		o := entry(0, from)
		p.tell(in, item(&o), o, held)
	}
	if p.by[who(0)] != maxEarlyOf || !p.cut[who(0)] || len(p.cut) != 1 || len(p.room()) != 0 {
		t.Errorf("%d places wait for one who names what never comes, and %d found no room", p.by[who(0)], len(p.cut))
	}
	before := looked
	for ; there < messages; there++ {
		in.Apply(inbox.Item{ID: inbox.EntryID(idOf(there)), Group: g.ID, HLC: there + 1, Seq: there, First: there, From: g.Members[0],
			Priority: "routine", Received: time.UnixMilli(1), Message: message.Message{Content: &message.Text{Body: "x"}}})
		for _, l := range p.put(author, there, idOf(there)) {
			p.tellLate(in, item(l.from), l, idOf(there), at)
		}
	}
	if more := looked - before; more > members {
		t.Errorf("entries were looked up %d times for %d messages", more, messages)
	}
	for _, it := range in.Messages(g.ID, 0, 0) {
		if len(it.Read) != members {
			t.Fatalf("message %d is read by %d of %d", it.Seq, len(it.Read), members)
		}
	}
}

// TestReceiptsComeAfterTheirMessages: of a turn of the drain, whatever the order of the logs.
func TestReceiptsComeAfterTheirMessages(t *testing.T) {
	t.Parallel()
	a := newWorld(t).enrol("Amal", orgHospital).start(t)
	g := makeGroup(t, a)
	id, err := parseGroupID(g)
	check(t, err)
	a.mu.Lock()
	defer a.mu.Unlock()
	o := mustReceipts(t, a, a, id, 1<<20, ledger.ID{1})
	a.open.gathered.on = true
	a.takeReceipts([]opened{o})
	if a.open.places.held != 0 || len(a.open.gathered.these) != 1 {
		t.Error("receipts were applied in the middle of a turn")
	}
	a.open.gathered.on = false
	a.applyGathered()
	if a.open.places.held != 1 || len(a.open.gathered.these) != 0 {
		t.Error("receipts were not applied at its end")
	}
}

// TestDebtsThatNobodyWaitsFor: what is owed in a group that was left goes, what was read stays read, and a debt that cannot be read
// keeps nobody from unlocking.
func TestDebtsThatNobodyWaitsFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	quiet := func(cfg *Config) { cfg.ReceiptDelay = time.Hour }
	a := w.enrol("Amal", orgHospital).start(t, quiet)
	b := w.enrol("Ben", orgAmbulance).start(t, knows(a), quiet)
	ready(t, 1, a, b)
	sent, err := a.Broadcast(t.Context(), message.Message{Content: &message.Text{Body: "to everybody"}}, "urgent", "a test")
	check(t, err)
	eventually(t, "it is there", func() bool { _, ok := itemOf(t, b, sent); return ok })
	check(t, b.MarkRead(BroadcastGroup))
	id := ledger.ID(mustMessages(t, b, BroadcastGroup)[0].ID)
	gone := debt{owed: oweRead, priority: ledger.Routine, log: a.self, seq: 1, id: id}
	check(t, b.cfg.Vault.Commit(
		vault.Change{Key: receiptKey(group.ID{5}, ledger.ID{1}), Value: []byte{oweRead}}, // as before debts said what they are for
		vault.Change{Key: receiptKey(group.ID{}, id), Value: gone.marshal()}))
	for range 2 {
		check(t, b.Lock())
		check(t, b.Unlock(t.Context(), []byte(passphrase)))
		if it := mustMessages(t, b, BroadcastGroup)[0]; it.Unread {
			t.Error("what was read is unread")
		}
		b.mu.Lock()
		_, err = b.payReceipts(t.Context())
		b.mu.Unlock()
		check(t, err)
		if k := owes(t, b); k != 0 {
			t.Errorf("%d receipts are owed that nobody waits for", k)
		}
	}
}
