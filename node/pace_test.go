package node

import (
	"testing"
	"time"

	"tocsin/ledger"
)

// TestTurnOf: a round takes no more turns than it should, also while entries come, and a turn no more than it may.
func TestTurnOf(t *testing.T) {
	t.Parallel()
	for _, entries := range []uint64{0, 1, 15, 16, 17, 959, 961, 5000, 122_880} {
		for _, grows := range []uint64{0, 7} {
			turns, done, now := uint64(0), uint64(0), entries
			for ; done < entries; turns++ {
				done += turnOf(now, scrubTurns, scrubBudget)
				now += grows
			}
			if turns > scrubTurns {
				t.Errorf("%d entries take %d turns", entries, turns)
			}
		}
	}
	for _, entries := range []uint64{122_881, 10_000_000} {
		if k := turnOf(entries, scrubTurns, scrubBudget); k != scrubBudget {
			t.Errorf("of %d entries a turn reads %d", entries, k)
		}
	}
}

// still lets no wait of a node end, so that its loops rest and the test does what they do.
func still(cfg *Config) {
	clock := &testClock{gate: make(chan time.Time)}
	withClock(clock)(cfg)
	clock.stopped.Store(true)
}

// resting is a node whose loops rest, with another that it knows and a stranger of that one's log.
func resting(t *testing.T) (a, d *Node, s *stranger) {
	t.Helper()
	w := newWorld(t)
	a = w.enrol("Amal", orgHospital).start(t, alone, still)
	d = w.enrol("Dee", orgAmbulance).start(t, alone)
	synced(t, a, d)
	return a, d, newStranger(t, d)
}

// TestScrubFindsDamageWithinTheHour: once everything was checked, a turn reads a sixtieth of a small store, and what the disk loses is found
// within a round.
func TestScrubFindsDamageWithinTheHour(t *testing.T) {
	t.Parallel()
	a, d, s := resting(t)
	a.accept(t.Context(), s.write(t, 1500, ledger.Routine)...)
	a.scrub()
	a.scrub() // after a start everything is checked at once
	_, entries := a.logs.Heads()
	if h := a.logs.Health(); h.ScrubRounds == 0 || h.Scrubbed < entries || entries < 1500 {
		t.Fatalf("after two turns %d of %d entries are checked", h.Scrubbed, entries)
	}
	for _, seq := range []uint64{2, 700, s.next - 1} {
		bad := ledger.Record{Table: ledger.TableEntries, Log: d.self, Seq: seq, Value: []byte("what a bad sector left")}
		check(t, a.cfg.Store.Commit(t.Context(), []ledger.Record{bad}))
		lost := len(a.logs.Lost())
		turns := 0
		for ; len(a.logs.Lost()) == lost; turns++ {
			before := a.logs.Health().Scrubbed
			a.scrub()
			if k := a.logs.Health().Scrubbed - before; k > turnOf(entries, scrubTurns, scrubBudget) {
				t.Fatalf("a turn reads %d of %d entries", k, entries)
			}
			if turns > scrubTurns+1 {
				t.Fatalf("entry %d is spoilt, and was not found in %d turns", seq, turns)
			}
		}
	}
}

// TestCarriedIsCountedAgain: what is carried is counted in the end whatever it was thought to be: slowly while there is much room, and
// at once when something was left out.
func TestCarriedIsCountedAgain(t *testing.T) {
	t.Parallel()
	a, d, s := resting(t)
	a.accept(t.Context(), s.write(t, 600, ledger.Routine)...)
	const carried = 600 << 10
	for !a.carry.done() {
		check(t, a.countCarried(t.Context()))
	}
	wrong := ledger.Held{Log: d.self, Group: [16]byte{7}, Bytes: 5000}
	round := func(most int) (turns int) {
		t.Helper()
		a.carry.add(wrong)
		if a.carry.bytes() != carried+wrong.Bytes {
			t.Fatalf("%d bytes are carried", a.carry.bytes())
		}
		for ; a.carry.bytes() != carried; turns++ {
			if turns > most {
				t.Fatalf("after %d turns %d bytes are counted, and %d are carried", turns, a.carry.bytes(), carried)
			}
			check(t, a.countCarried(t.Context()))
		}
		return turns
	}
	wrong.Seq = s.next // beyond where the walk is
	if k := round(2*carryTurns + 2); k < carryTurns/2 {
		t.Errorf("with much room everything is counted in %d turns", k)
	}
	a.carry.lacksRoom()
	round(2)
	for a.carry.turn(1000) == carryBudget {
		check(t, a.countCarried(t.Context()))
	}
	a.carry.mu.Lock()
	a.carry.quota.Author = carried // nothing more has room
	a.carry.mu.Unlock()
	if k := a.carry.turn(1000); k != carryBudget {
		t.Errorf("near the quota a turn counts %d", k)
	}
}
