package sim

import (
	"errors"
	"os"
	"slices"
	"testing"
	"time"
)

// TestShrink: what has nothing to do with a failure goes, what it takes stays. The fault is one that needs a
// partition and at least three devices.
func TestShrink(t *testing.T) {
	s, err := LibraryScenario("wannacry-2017")
	if err != nil {
		t.Fatal(err)
	}
	runs := 0
	fails := func(c *Scenario, words string) (bool, error) {
		runs++
		cut := slices.ContainsFunc(c.Timeline, func(e Event) bool { return e.Partition != nil })
		return cut && c.Devices() >= 3, nil
	}
	small, err := Shrink(s, 200, fails)
	if err != nil {
		t.Fatal(err)
	}
	if len(small.Timeline) != 1 || small.Timeline[0].Partition == nil || small.Devices() > 5 || len(small.Groups) != 1 || len(small.Workload) != 1 ||
		small.Duration >= s.Duration || len(small.Expect) != 1 {
		t.Errorf("after %d runs: %+v", runs, small)
	}
	if len(s.Timeline) != 4 || s.Devices() != 22 {
		t.Error("the scenario that was shrunk has changed")
	}
	if _, err := small.Marshal(); err != nil {
		t.Error(err)
	}
}

// TestShrinkEnds: a scenario that fails only as it is stays, and no more is tried than was
// asked for.
func TestShrinkEnds(t *testing.T) {
	s := read(t, small)
	runs := 0
	if got, err := Shrink(s, 5, func(*Scenario, string) (bool, error) { runs++; return false, nil }); err != nil || got != s || runs > 5 {
		t.Errorf("%v, %d runs", err, runs)
	}
	runs = 0
	if _, err := Shrink(s, 3, func(*Scenario, string) (bool, error) { runs++; return true, nil }); err != nil || runs != 3 {
		t.Errorf("%v, %d runs", err, runs)
	}
	failure := errors.New("no more")
	if _, err := Shrink(s, 3, func(*Scenario, string) (bool, error) { return false, failure }); !errors.Is(err, failure) {
		t.Error(err)
	}
}

// TestPlantedBug: a bug that is planted on purpose (devices never synchronise, so what gossip missed is
// lost) is found by a sweep of seeds, and shrinks to a scenario that still shows it.
func TestPlantedBug(t *testing.T) {
	if os.Getenv("TOCSIN_SIM") == "" {
		t.Skip("set TOCSIN_SIM=1 to run whole scenarios")
	}
	s, err := LibraryScenario("partition-heal")
	if err != nil {
		t.Fatal(err)
	}
	s.Heal = 30 * time.Second // the bug is there to stay
	planted := func(s *Scenario, seed uint64) Summary {
		o := options(t)
		o.Seed, o.Without = seed, []Defence{DefenceSync}
		r := rehearse(t, s, o)
		return r.Summary()
	}
	var found Summary
	for seed := uint64(1); seed <= 3 && found.Verdict != Broken; seed++ {
		found = planted(s, seed)
	}
	if found.Verdict != Broken {
		t.Fatalf("no seed found it: %+v", found)
	}
	small, err := Shrink(s, 25, func(c *Scenario, words string) (bool, error) {
		bad := planted(c, found.Seed).Fails(found)
		t.Logf("%s: fails %v", words, bad)
		return bad, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if small.Devices() > s.Devices()/2 || small.Duration > s.Duration {
		t.Errorf("%d devices, %s", small.Devices(), small.Duration)
	}
	if again := planted(small, found.Seed); !again.Fails(found) {
		t.Errorf("the smaller one does not show it again: %+v", again)
	}
}
