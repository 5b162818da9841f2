package sim

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
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

// planted is a story in which a bug that is planted on purpose shows: devices never synchronise, so
// what gossip missed over a cut is lost. Half of it has nothing to do with that.
const planted = `version: 1
name: planted
title: Two sites are cut apart, and some more
duration: 50s
heal: 10s
mesh: {sites: [{name: a, devices: 2}, {name: b, devices: 2}]}
groups: [{name: incident, members: [all]}, {name: ward, members: [a]}]
workload:
  - {group: incident, rate: 240}
  - {group: ward, rate: 30}
timeline:
  - {at: 3s, until: 48s, partition: {shape: whole, parts: [[a], [b]]}}
  - {at: 10s, until: 20s, surge: {times: 2}}
expect:
  - {measure: delivery, at_least: 1}
control: [sync]
`

// TestPlantedBug: a planted bug is found by a sweep of seeds, shows the step at which it breaks a promise,
// and shrinks to a story that still shows it. That one seed is the same trace every time is
// TestReplay's, of cmd/tocsin-sim.
func TestPlantedBug(t *testing.T) {
	run := func(s *Scenario, seed uint64, trace io.Writer) Summary {
		o := options(t)
		o.Seed, o.Without, o.Trace = seed, []Defence{DefenceSync}, trace
		return rehearse(t, s, o).Summary()
	}
	s := read(t, planted)
	var found Summary
	for seed := uint64(1); seed <= 5 && found.Verdict != Broken; seed++ {
		found = run(s, seed, nil)
	}
	if found.Verdict != Broken {
		t.Fatalf("no seed found it: %+v", found)
	}
	least, err := Shrink(s, 12, func(c *Scenario, words string) (bool, error) {
		bad := run(c, found.Seed, nil).Fails(found)
		t.Logf("%s: fails %v", words, bad)
		return bad, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if least.Devices() >= s.Devices() || len(least.Timeline) != 1 || least.Timeline[0].Partition == nil {
		t.Errorf("what is left: %d devices, %+v", least.Devices(), least.Timeline)
	}
	var trace bytes.Buffer
	if again := run(least, found.Seed, &trace); !again.Fails(found) || !strings.Contains(trace.String(), "s broke ") {
		t.Errorf("the smaller one does not show it again: %+v\n%s", again, trace.String())
	}
}
