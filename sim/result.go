package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Verdict is what a run says.
type Verdict string

// The verdicts. An invariant that broke outweighs everything; a fault that never had an
// effect makes a run say nothing.
const (
	Passed       Verdict = "passed"
	Missed       Verdict = "missed"       // an objective
	Broken       Verdict = "broken"       // an invariant
	Inconclusive Verdict = "inconclusive" // a fault never bit, or the run was stopped
)

// ExitCode is how `tocsin-sim run` ends. It is part of the interface: 3 is bad input.
func (v Verdict) ExitCode() int {
	switch v {
	case Passed:
		return 0
	case Missed:
		return 1
	case Broken:
		return 2
	}
	return 4
}

// Result is all that a run found.
type Result struct {
	Scenario string
	Title    string
	Seed     uint64
	Without  []Defence
	Devices  int
	Groups   int
	Start    time.Time // virtual
	Duration time.Duration

	Messages  int            // that the workload asked for
	Unsaved   []string       // that a device could not save
	HealBegan time.Duration  // when all faults were over
	Healed    *time.Duration // how long after that all agreed; nil for not at all
	Unformed  string         // what the mesh did not get to before the story began
	Partial   bool           // the run was stopped

	Invariants []Invariant
	Objectives []Objective
	Sometimes  []Objective
	Faults     []FaultResult
	Deliveries []Delivery
	Samples    []Sample
	Network    traffic
	Verdict    Verdict
	Why        string // one sentence

	// Taken is what only the run itself could measure, by the measure's name.
	Taken map[string]float64

	// Scale is set where the scale model ran in place of real nodes: then there are no
	// Deliveries, and no invariant was checked.
	Scale *Scale

	scenario *Scenario
}

// Invariant is one of the promises that hold in every run.
type Invariant struct {
	Name  string
	Words string
	Broke []string // how, at most some
	Held  bool
}

// Objective is one expectation with what was found.
type Objective struct {
	Words string
	Found string
	Value float64
	Met   bool
}

// FaultResult is one line of the timeline, or one adversary, as it went.
type FaultResult struct {
	Name     string
	Words    string
	From, To time.Duration
	Bit      uint64 // how often it had an effect
}

// Delivery is one message to one reader.
type Delivery struct {
	ID       string
	From, To int
	Sent     time.Duration // since the story began
	Took     time.Duration
	Arrived  bool
	Priority string
	SameSite bool
}

// Sample is the state of the mesh at one moment.
type Sample struct {
	At         time.Duration
	Running    int // honest devices
	Neighbours int // of all of them together
	Outsiders  int
	Queued     int    // the longest queue to a neighbour, bytes
	HeapBytes  uint64 // that live, and stacks
	Bytes      uint64 // sent by all so far
	Sent       uint64 // of these by the devices of the mesh, without hostile ones
	Packets    uint64
	Hostile    int // hostile devices and copies that ran
	Intruders  int // devices without a credential any more that somebody had as a neighbour
}

// memory is what one device holds of heap and stacks, in bytes, without garbage: hostile ones are counted as devices.
// It says nothing while less than half of the honest ones run, for what the others held is not
// collected at once.
func (s Sample) memory(devices int) (float64, bool) {
	if s.Running == 0 || 2*s.Running < devices {
		return 0, false
	}
	return float64(s.HeapBytes) / float64(s.Running+s.Hostile), true
}

func newResult(s *Scenario, o Options, seed uint64) *Result {
	return &Result{
		Scenario: s.Name, Title: s.Title, Seed: seed, Without: o.Without, Devices: s.Devices(), Groups: len(s.Groups),
		Duration: s.Duration, scenario: s,
	}
}

func (r *Result) begin(run *runner) { r.Start = run.begun }

// pairs are the deliveries that an objective is about.
func (r *Result) pairs(e Expect) (out []Delivery) {
	for _, d := range r.Deliveries {
		switch {
		case e.Priority != "" && d.Priority != e.Priority, e.Scope == "site" && !d.SameSite,
			d.Sent < e.From, e.To > 0 && d.Sent >= e.To:
		default:
			out = append(out, d)
		}
	}
	return out
}

// latencies are how long those took that arrived, sorted.
func (r *Result) latencies(e Expect) (out []time.Duration) {
	for _, d := range r.pairs(e) {
		if d.Arrived {
			out = append(out, d.Took)
		}
	}
	slices.Sort(out)
	return out
}

// finish measures and judges.
func (r *runner) finish() {
	res := r.res
	res.Partial = r.stopped()
	res.Network = r.world.net.traffic()
	if res.Unformed == "" {
		r.lookAll()
		r.deliveries()
		r.checkInvariants()
	}
	for _, e := range r.events {
		f := FaultResult{Name: e.name, Words: e.spec.Words(), From: e.seen.from, To: e.seen.to, Bit: e.bit()}
		if !e.ended {
			f.To = r.elapsed()
		}
		res.Faults = append(res.Faults, f)
	}
	for line, a := range r.s.Adversaries {
		f := FaultResult{Name: a.Kind, Words: a.Words(), From: a.At, To: a.Until}
		for _, h := range r.enemies {
			if h.line == line {
				f.Bit += h.bit.Load()
			}
		}
		res.Faults = append(res.Faults, f)
	}
	r.take()
	for _, e := range r.s.Expect {
		res.Objectives = append(res.Objectives, res.judge(e))
	}
	for _, e := range r.s.Sometimes {
		res.Sometimes = append(res.Sometimes, res.judge(e))
	}
	res.Verdict, res.Why = res.verdict()
}

// verdict weighs everything. A control run, in which a defence is off, is judged
// likewise: whoever starts it expects it to fail.
func (r *Result) verdict() (Verdict, string) {
	var broke, missed, never []string
	for _, i := range r.Invariants {
		if !i.Held {
			broke = append(broke, i.Words)
		}
	}
	for _, o := range r.Objectives {
		if !o.Met {
			missed = append(missed, fmt.Sprintf("%s (found: %s)", o.Words, o.Found))
		}
	}
	for _, f := range r.Faults {
		if f.Bit == 0 {
			never = append(never, f.Words)
		}
	}
	for _, o := range r.Sometimes {
		if !o.Met {
			never = append(never, fmt.Sprintf("%s (found: %s)", o.Words, o.Found))
		}
	}
	switch {
	case len(broke) > 0:
		return Broken, "A promise was broken: " + strings.Join(broke, "; ") + "."
	case r.Partial:
		return Inconclusive, "The run was stopped before its end, so it says nothing about the whole story."
	case r.Unformed != "":
		return Missed, fmt.Sprintf("The mesh did not form within %s: waiting until %s was in vain.", gatherFor, r.Unformed)
	case len(missed) > 0:
		return Missed, "Not all that was asked for was reached: " + strings.Join(missed, "; ") + "."
	case len(never) > 0:
		return Inconclusive, "The run says nothing, because this had no effect: " + strings.Join(never, "; ") + "."
	}
	return Passed, fmt.Sprintf("All %d objectives were met, and every promise held.", len(r.Objectives))
}

// deliveries works out who got what, of those who were to: the members of the group
// whose devices were not lost or revoked.
func (r *runner) deliveries() {
	r.lookAfresh()
	r.watch.mu.Lock()
	defer r.watch.mu.Unlock()
	r.res.Unsaved = slices.Clone(r.watch.failed)
	for _, s := range r.watch.order {
		from := r.world.devices[s.from]
		if !from.counts() {
			continue // what it said just before may have left it or not: nobody can be held to it
		}
		for _, m := range r.groups[s.group].members {
			to := r.world.devices[m]
			if m == s.from || !to.counts() || !to.hears(s.at) {
				continue
			}
			d := Delivery{ID: s.id, From: s.from, To: m, Sent: s.at.Sub(r.begun), Priority: s.priority, SameSite: from.Site == to.Site}
			if at, ok := r.watch.arrived[s.id][m]; ok {
				d.Arrived, d.Took = true, max(0, at.Sub(s.at))
			}
			r.res.Deliveries = append(r.res.Deliveries, d)
		}
	}
}

// everythingShown reports whether each honest device shows what was said to it. Devices that
// seem to lack something are looked at themselves the next time: an event may have gone
// by another name, as where a whole group appeared at once.
func (r *runner) everythingShown() bool {
	r.lookAfresh()
	r.watch.mu.Lock()
	defer r.watch.mu.Unlock()
	all := true
	for _, s := range r.watch.order {
		from := r.world.devices[s.from]
		if !from.counts() {
			continue
		}
		for _, m := range r.groups[s.group].members {
			to := r.world.devices[m]
			if m == s.from || !to.counts() || !to.hears(s.at) {
				continue
			}
			if _, ok := r.watch.arrived[s.id][m]; !ok {
				r.watch.gaps[m] = true
				all = false
			}
		}
	}
	return all
}

// lookAll has every honest device looked at itself.
func (r *runner) lookAll() {
	r.watch.mu.Lock()
	defer r.watch.mu.Unlock()
	for _, d := range r.honest() {
		r.watch.gaps[d.index] = true
	}
}

// lookAfresh reads what devices show of which events were missed.
func (r *runner) lookAfresh() {
	for _, i := range r.watch.missed() {
		d := r.world.devices[i]
		if d.node == nil {
			continue
		}
		for _, g := range r.groups {
			items, err := shows(d.node, g.id)
			if err != nil {
				continue // no member of it
			}
			for _, it := range items {
				if !it.own {
					r.watch.arrive(i, it.id)
				}
			}
		}
	}
}
