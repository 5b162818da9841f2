package node

import (
	"context"
	"errors"
	"testing"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/ledger"
)

// lateMember is a device that holds nothing of what low and high have said in a
// group that it is a member of: high made the group, and low's log is drained
// first. The two of them know its prekeys.
func lateMember(t *testing.T, options ...func(*Config)) (late, low, high *Node, g string) {
	t.Helper()
	w := newWorld(t)
	late = w.enrol("Chidi", orgHospital).start(t, options...)
	low = w.enrol("Amal", orgHospital).start(t)
	high = w.enrol("Ben", orgAmbulance).start(t, knows(low))
	if low.self.Compare(high.self) > 0 {
		low, high = high, low
	}
	ready(t, 1, low, high)
	feed(t, late, low, late)
	feed(t, late, high, late)
	ready(t, 2, low, high)
	g = makeGroup(t, high, low, late)
	inGroup(t, g, low)
	return late, low, high, g
}

// TestNothingDueIsForgotten: what a turn of the drain could not do, because whoever
// asked for it went away, is done by the next.
func TestNothingDueIsForgotten(t *testing.T) {
	t.Parallel()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	t.Run("logs", func(t *testing.T) {
		t.Parallel()
		late, low, high, g := lateMember(t)
		say(t, low, g, "still shown")
		late.mu.Lock() // the drain waits
		feed(t, high, late, high)
		feed(t, low, late, low)
		if err := late.drainAll(gone); err == nil {
			t.Error("a turn that was broken off says nothing")
		}
		late.mu.Unlock()
		shows(t, late, g, "still shown")
	})
	t.Run("waiting", func(t *testing.T) {
		t.Parallel()
		ctx, stop := context.WithCancel(t.Context())
		armed := false
		late, low, high, g := lateMember(t, func(c *Config) {
			c.Step = func(step string) {
				if armed && step == "inbound:shown" { // the logs are drained, and what waited is still to come
					armed = false
					stop()
				}
			}
		})
		say(t, low, g, "waits for its epoch")
		late.mu.Lock()
		feed(t, low, late, low) // drained first
		feed(t, high, late, high)
		armed = true
		if err := late.drainAll(ctx); err == nil {
			t.Error("a turn that was broken off says nothing")
		}
		late.mu.Unlock()
		shows(t, late, g, "waits for its epoch")
	})
	t.Run("bodies", func(t *testing.T) {
		t.Parallel()
		late, low, high, g := lateMember(t)
		s := say(t, low, g, "its body comes later")
		feed(t, high, late, high)
		inGroup(t, g, late)
		e, err := low.logs.Entry(t.Context(), low.self, s.Seq)
		check(t, err)
		feedBefore(t, low, late, s.Seq)
		late.acceptHeaders(t.Context(), e.HeaderFrame())
		eventually(t, "it is passed", func() bool {
			late.mu.Lock()
			defer late.mu.Unlock()
			return late.open.cursors[low.self] > s.Seq
		})
		late.mu.Lock()
		late.accept(t.Context(), e.Frame())
		if err := late.drainAll(gone); err == nil {
			t.Error("a turn that was broken off says nothing")
		}
		late.mu.Unlock()
		shows(t, late, g, "its body comes later")
	})
}

// feedBefore feeds the entries of from's own log before seq.
func feedBefore(t *testing.T, from, to *Node, seq uint64) {
	t.Helper()
	check(t, from.logs.Entries(t.Context(), from.self, 0, seq, func(e *ledger.Entry) error {
		to.accept(t.Context(), e.Frame())
		return nil
	}))
}

// TestBodyThatOvertakesTheDrain: the drain is told of a body before it has come to
// the header that it was told of first, and does not take the header for all.
func TestBodyThatOvertakesTheDrain(t *testing.T) {
	t.Parallel()
	late, low, high, g := lateMember(t)
	s := say(t, low, g, "header first")
	feed(t, high, late, high)
	inGroup(t, g, late)
	feedBefore(t, low, late, s.Seq)
	e, err := low.logs.Entry(t.Context(), low.self, s.Seq)
	check(t, err)
	late.mu.Lock()
	check(t, late.drainAll(t.Context()))
	late.acceptHeaders(t.Context(), e.HeaderFrame())
	late.accept(t.Context(), e.Frame())
	w := late.due.take()
	clear(w.filled) // a turn that began before the header came took it
	late.due.putBack(w)
	late.mu.Unlock()
	shows(t, late, g, "header first")
}

// TestTurnLooksOnlyAtWhatItLearnt: what waits for epochs of others is not looked
// through with every message.
func TestTurnLooksOnlyAtWhatItLearnt(t *testing.T) {
	t.Parallel()
	late, low, high, g := lateMember(t)
	feed(t, high, late, high)
	inGroup(t, g, late)
	say(t, low, g, "hello")
	late.mu.Lock()
	err := late.drainAll(t.Context())
	late.put(t, prefixWait+"not to be read") // reading it is an error
	feed(t, low, late, low)
	err = errors.Join(err, late.drainAll(t.Context()))
	late.mu.Unlock()
	check(t, err)
	shows(t, late, g, "hello")
}

// put writes a value into the vault.
func (n *Node) put(t *testing.T, key string) {
	t.Helper()
	b := newBatch()
	b.put(key, []byte{1})
	check(t, n.cfg.Vault.Commit(b.changes...))
}

// TestDueIsBounded: whatever comes while nobody drains.
func TestDueIsBounded(t *testing.T) {
	t.Parallel()
	d := newDue()
	entry := func(seq uint64, size int) *ledger.Entry {
		return &ledger.Entry{Header: ledger.Header{Seq: seq}, Body: make([]byte, size), Absent: size == 0}
	}
	id := (&ledger.Header{}).Log()
	seq := uint64(0)
	for ; seq < 3*maxRecentBytes/recentCost; seq++ { // small bodies, and headers alone
		d.add(entry(seq, int(seq%2)), seq+1)
		d.fill(entry(seq+1<<32, 1))
	}
	if len(d.recent) > maxRecentBytes/recentCost || d.bytes > maxRecentBytes {
		t.Errorf("%d entries of %d bytes are held", len(d.recent), d.bytes)
	}
	w := d.take()
	if len(w.filled) > maxFilled || !w.allFilled {
		t.Errorf("%d bodies are noted, all %v", len(w.filled), w.allFilled)
	}
	d.passed(map[ledger.LogID]uint64{id: seq})
	if len(d.recent) != 0 || d.bytes != 0 {
		t.Errorf("%d entries of %d bytes are held after the drain has passed them", len(d.recent), d.bytes)
	}
	d.add(entry(seq, 100), seq+1)
	d.fill(entry(seq, 100))
	if len(d.recent) != 0 || d.bytes != 0 {
		t.Error("an entry that is read from the store is held")
	}
	if w := d.take(); len(w.filled) != 1 || len(w.logs) != 1 {
		t.Errorf("after %d entries one more gives %+v", seq, w)
	}
	d.learn([]group.Tag{{1}})
	d.learn(nil)
	if w := d.take(); len(w.learnt) != 1 || !w.allWaiting {
		t.Errorf("%+v", w)
	}
	if w := d.take(); !w.none() {
		t.Errorf("taken twice: %+v", w)
	}
}

// An urgent entry that gossip gave up waiting for is handed on once what came
// before it is here, once.
func TestOvertakenEntryIsHandedOn(t *testing.T) {
	d := newDue()
	told := 0
	d.handOn = func() { told++ }
	id := identity.LogID{Incarnation: 1}
	entry := func(seq uint64) *ledger.Entry {
		return &ledger.Entry{Header: ledger.Header{Incarnation: 1, Seq: seq}}
	}
	d.overtook(id, 7)
	d.add(entry(5), 6)
	d.add(entry(6), 7)
	if told != 0 {
		t.Fatal("neighbours were told before the entry itself was here")
	}
	d.add(entry(7), 8)
	d.add(entry(8), 9)
	if told != 1 {
		t.Errorf("neighbours were told %d times", told)
	}
	for i := range maxLate + 10 {
		d.overtook(identity.LogID{Incarnation: uint32(i)}, 1)
	}
	if len(d.late) > maxLate {
		t.Errorf("%d logs are remembered", len(d.late))
	}
}
