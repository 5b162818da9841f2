package node

import (
	"slices"
	"strings"
	"testing"
	"time"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
	"tocsin/ledger"
)

// handedOver is how many items wait for their entries in a node's vault.
func handedOver(t *testing.T, n *Node) (keys []string) {
	t.Helper()
	check(t, n.cfg.Vault.Scan(prefixHanded, func(key string, _ []byte) error { keys = append(keys, key); return nil }))
	return keys
}

// onlyOnce: texts are shown, each was opened once, and nothing waits.
func onlyOnce(t *testing.T, n *Node, g string, want ...string) {
	t.Helper()
	shows(t, n, g, want...)
	if m := n.Metrics(); m.Opened != uint64(len(want)) {
		t.Errorf("%d messages were opened, and %d are shown", m.Opened, len(want))
	}
	if s := n.Status(); s.Waiting != 0 {
		t.Errorf("%d entries wait", s.Waiting)
	}
	check(t, n.cfg.Vault.Scan(prefixWait, func(key string, _ []byte) error { t.Error("waits: " + key); return nil }))
	for _, key := range handedOver(t, n) {
		t.Error("waits for its entry: " + key)
	}
	check(t, n.Lock())
	check(t, n.Unlock(t.Context(), []byte(passphrase)))
	shows(t, n, g, want...)
}

// handedTo is a device that was added to a group after sayer said something in
// it, which giver then handed over k times. Nobody is connected to it.
func handedTo(t *testing.T, k int, pick func(x, y *Node) (giver, sayer *Node)) (late, giver, sayer *Node, g string) {
	t.Helper()
	w := newWorld(t)
	quiet := func(c *Config) { c.ReceiptDelay = time.Hour } // receipts are not handed over
	late = w.enrol("Chidi", orgHospital).start(t, quiet)
	x := w.enrol("Amal", orgHospital).start(t, quiet)
	y := w.enrol("Ben", orgAmbulance).start(t, quiet, knows(x))
	ready(t, 1, x, y)
	giver, sayer = pick(x, y)
	g = makeGroup(t, giver, sayer)
	inGroup(t, g, sayer)
	say(t, sayer, g, "one")
	say(t, sayer, g, "two")
	shows(t, giver, g, "one", "two")
	feed(t, late, giver, late)
	ready(t, 2, giver)
	check(t, giver.AddMember(t.Context(), g, late.self.String()))
	for range k {
		got, err := giver.HandOver(t.Context(), g, "Chidi", time.Time{})
		check(t, err)
		if got != 2 {
			t.Fatalf("%d messages were handed over", got)
		}
	}
	return late, giver, sayer, g
}

func byLog(lowGives bool) func(x, y *Node) (giver, sayer *Node) {
	return func(x, y *Node) (*Node, *Node) {
		if x.self.Compare(y.self) < 0 == lowGives {
			return x, y
		}
		return y, x
	}
}

// TestHandedOverInOneTurn: a hand-over and what it is about share a turn of the
// drain, in either order, as when a newcomer fetches all that was said.
func TestHandedOverInOneTurn(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]bool{"hand-over first": true, "message first": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			late, giver, sayer, g := handedTo(t, 2, byLog(first))
			late.mu.Lock() // the drain waits
			feed(t, giver, late, giver)
			feed(t, sayer, late, sayer)
			late.mu.Unlock()
			onlyOnce(t, late, g, "one", "two")
		})
	}
}

// TestHandedOverTwiceInOneTurn: the same messages, which wait, are handed over
// twice in one turn of the drain.
func TestHandedOverTwiceInOneTurn(t *testing.T) {
	t.Parallel()
	late, giver, sayer, g := handedTo(t, 2, byLog(true))
	feed(t, sayer, late, sayer)
	eventually(t, "both wait", func() bool { return late.Status().Waiting == 2 })
	late.mu.Lock()
	feed(t, giver, late, giver)
	late.mu.Unlock()
	onlyOnce(t, late, g, "one", "two")
}

// TestHandedOverAndWaiting: a vault in which an item and its entry wait for each
// other is healed by an unlock.
func TestHandedOverAndWaiting(t *testing.T) {
	t.Parallel()
	late, giver, sayer, g := handedTo(t, 1, byLog(true))
	feed(t, giver, late, giver)
	eventually(t, "the items wait", func() bool { return len(handedOver(t, late)) == 2 })
	late.mu.Lock()
	late.open.handed = newHandedSet() // the drain does not know of them
	feed(t, sayer, late, sayer)
	check(t, late.drainAll(t.Context()))
	late.mu.Unlock()
	if s := late.Status(); s.Waiting != 2 {
		t.Fatalf("%d entries wait", s.Waiting)
	}
	check(t, late.Lock())
	check(t, late.Unlock(t.Context(), []byte(passphrase)))
	onlyOnce(t, late, g, "one", "two")
}

// TestFalseItemTakesNoPlace: what one member hands over falsely, before or after
// another does so truly, does not keep the truth from being shown.
func TestFalseItemTakesNoPlace(t *testing.T) {
	t.Parallel()
	late, giver, sayer, g := handedTo(t, 1, byLog(true))
	id, err := parseGroupID(g)
	check(t, err)
	w := sayer // who wrote the messages lies about them
	eventually(t, "they know of the newcomer", func() bool {
		roster, err := w.Roster(g)
		return err == nil && len(roster) == 3
	})
	w.mu.Lock()
	items, err := w.handItems(id, func(*openedRecord) bool { return true })
	check(t, err)
	for i := range items {
		items[i].Payload = slices.Concat(items[i].Payload, []byte{0})
	}
	_, err = w.sendHandover(t.Context(), id, items)
	w.mu.Unlock()
	check(t, err)
	head, _ := w.logs.Head(w.self)
	last, err := w.logs.Entry(t.Context(), w.self, head.Next-1)
	check(t, err)
	feed(t, giver, late, giver)
	eventually(t, "the true items wait", func() bool { return len(handedOver(t, late)) == 2 })
	o := openAs(t, late, last)
	late.mu.Lock()
	b := newBatch()
	check(t, late.drainHandover(b, last, id, o))
	b.entries++
	check(t, late.finish(b))
	late.mu.Unlock()
	if k := len(handedOver(t, late)); k != 4 {
		t.Fatalf("%d items wait", k)
	}
	feed(t, sayer, late, sayer)
	shows(t, late, g, "one", "two")
	if k := handedOver(t, late); len(k) != 0 {
		t.Errorf("items wait: %s", strings.Join(k, ", "))
	}
}

// openAs returns what an entry of a group that n is in says.
func openAs(t *testing.T, n *Node, e *ledger.Entry) []byte {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	h := &e.Header
	o, _, err := n.open.keyring.Open(group.Place{Log: h.Log(), Seq: h.Seq}, h.GroupTag, h.Commit, e.Body, n.cfg.Clock.Now())
	check(t, err)
	return o.Payload
}

// TestHandedOverIsBounded: who hands over more than may wait has the oldest of it
// dropped, in the vault too; what is left is shown when its entry comes.
func TestHandedOverIsBounded(t *testing.T) {
	t.Parallel()
	late, giver, sayer, g := handedTo(t, 1, byLog(true))
	late.mu.Lock()
	late.open.handed.each.items = 1
	late.mu.Unlock()
	feed(t, giver, late, giver)
	eventually(t, "one is left", func() bool { return len(handedOver(t, late)) == 1 })
	feed(t, sayer, late, sayer)
	eventually(t, "it is shown", func() bool { return len(texts(t, late, g)) == 1 })
	if s := late.Status(); s.Waiting != 1 {
		t.Errorf("%d entries wait for their epoch", s.Waiting)
	}
	_, err := giver.HandOver(t.Context(), g, "Chidi", time.Time{})
	check(t, err)
	feed(t, giver, late, giver)
	onlyOnce(t, late, g, "one", "two")
}

func TestHandedSet(t *testing.T) {
	log := func(k byte) identity.LogID { return identity.LogID{Author: identity.Key{k}} }
	id := func(k int) ledger.ID { return ledger.ID{byte(k >> 8), byte(k)} }
	s := newHandedSet()
	s.each, s.all = handedOf{16, 1000}, handedOf{40, 2000}
	for k := range 100 { // one sender alone: the newest stay
		s.add(id(k), log(1), handedItem{tag: group.Tag{byte(k)}, at: int64(k), size: 10})
		if s.sum.over(s.each) {
			t.Fatalf("%+v after %d", s.sum, k)
		}
	}
	if b := s.by[log(1)]; b.items < 14 || s.from(id(99)) == nil || s.from(id(86)) == nil || s.from(id(80)) != nil || len(s.tags) != b.items {
		t.Errorf("%d are left, by tag %d", b.items, len(s.tags))
	}
	if out := s.add(id(200), log(1), handedItem{at: 200, size: 900}); len(out) == 0 || s.sum.bytes > 1000 {
		t.Errorf("%+v, %d gone", s.sum, len(out))
	}
	s.add(id(99), log(2), handedItem{at: 1, size: 10})
	s.add(id(99), log(2), handedItem{at: 1, size: 20}) // replaces
	if got := s.from(id(99)); len(got) != 2 || s.by[log(2)].handedOf != (handedOf{1, 20}) {
		t.Errorf("by %d senders, %+v", len(got), s.by[log(2)])
	}
	for k := range 16 { // many senders: who has the most makes room, and no other
		for from := byte(3); from < 6; from++ {
			for _, gone := range s.add(id(k), log(from), handedItem{at: int64(k), size: 1}) {
				if gone.from == log(2) {
					t.Error("the smallest sender made room")
				}
			}
		}
		if s.sum.over(s.all) {
			t.Fatalf("%+v", s.sum)
		}
	}
	for from := byte(1); from < 6; from++ {
		for k := range 300 {
			s.drop(id(k), log(from))
			s.drop(id(k), log(from)) // is nothing
		}
	}
	if s.sum != (handedOf{}) || len(s.by)+len(s.senders)+len(s.tags) != 0 {
		t.Errorf("empty: %+v", s)
	}
}

// However small the items of one member and however large the next, what leaves
// for one item fits into a record of the vault with room to spare.
func TestHandedLeaveInPortions(t *testing.T) {
	s := newHandedSet()
	var from identity.LogID
	from.Author[0] = 1
	at := int64(0)
	add := func(payload int) int {
		at++
		var id ledger.ID
		id[0], id[1], id[2] = byte(at>>16), byte(at>>8), byte(at)
		return len(s.add(id, from, handedItem{at: at, size: handedFloor + payload}))
	}
	most := 0
	for range maxHandedItems - 300 {
		most = max(most, add(0))
	}
	for range 600 {
		most = max(most, add(60<<10))
	}
	if most == 0 || most > vault.MaxChanges/4 {
		t.Fatalf("%d items leave at once; a record holds %d changes", most, vault.MaxChanges)
	}
}
