package sim

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// measure is something that an objective may bound.
type measure struct {
	words    string // what it says, for people; what follows is the bound
	unit     string
	messages bool // it is of messages, and may be narrowed to some of them
	of       func(r *Result, e Expect) (value float64, ok bool)
}

// A measure without anything to measure is not met: expectations fail closed.
var measures = map[string]measure{
	"delivery":   {"share of messages that reached their readers", "share", true, measureDelivery},
	"p50":        {"half of the messages arrived within", "s", true, measureQuantile(0.50)},
	"p90":        {"nine tenths of the messages arrived within", "s", true, measureQuantile(0.90)},
	"p99":        {"ninety-nine of a hundred messages arrived within", "s", true, measureQuantile(0.99)},
	"messages":   {"messages that were sent", "", true, measureMessages},
	"late":       {"share of messages that took longer than five seconds", "share", true, measureLate},
	"heal":       {"after the last fault all devices agreed within", "s", false, measureHeal},
	"outsiders":  {"devices without a credential that somebody had as a neighbour", "", false, measureOutsiders},
	"memory":     {"memory that one device holds at most", "MiB", false, measureMemory},
	"traffic":    {"traffic that one device sent an hour", "MB", false, measureTraffic},
	"unsaved":    {"messages that a device could not save", "", false, measureUnsaved},
	"running":    {"share of devices that still ran at the end", "share", false, measureRunning},
	"intruders":  {"devices whose credential was taken back that somebody had as a neighbour half a minute later", "", false, measureIntruders},
	"lingering":  {"devices whose credential was taken back that somebody had as a neighbour at the end", "", false, measureLingering},
	"leaked":     {"messages that a revoked device shows though they were sent a minute after that", "", false, measureTaken("leaked")},
	"forks":      {"share of devices that know of every log with two entries at one place", "share", false, measureTaken("forks")},
	"misplaced":  {"messages that a device shows before one that their author had seen when writing them", "", false, measureTaken("misplaced")},
	"spoilt":     {"entries on spoilt disks that do not verify at the end", "", false, measureTaken("spoilt")},
	"newcomers":  {"share of newcomers that were somebody's neighbour at the end", "share", false, measureTaken("newcomers")},
	"cut-off":    {"share of hostile devices that somebody cut off", "share", false, measureTaken("cut-off")},
	"neighbours": {"neighbours of a device at the end, in the mean", "", false, measureNeighbours},
}

func measureNames() []string { return slices.Sorted(maps.Keys(measures)) }

// late is from when on a message is late.
const late = 5 * time.Second

func measureDelivery(r *Result, e Expect) (float64, bool) {
	arrived, all := 0, 0
	for _, d := range r.pairs(e) {
		all++
		if d.Arrived && (e.Within == 0 || d.Took <= e.Within) {
			arrived++
		}
	}
	if all == 0 {
		return 0, false
	}
	return float64(arrived) / float64(all), true
}

func measureQuantile(q float64) func(*Result, Expect) (float64, bool) {
	return func(r *Result, e Expect) (float64, bool) {
		took := r.latencies(e)
		if len(took) == 0 {
			return 0, false
		}
		return quantile(took, q).Seconds(), true
	}
}

// quantile of sorted times, by the nearest rank.
func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func measureLate(r *Result, e Expect) (float64, bool) {
	took := r.latencies(e)
	if len(took) == 0 {
		return 0, false
	}
	n, _ := slices.BinarySearch(took, late+1)
	return float64(len(took)-n) / float64(len(took)), true
}

func measureMessages(r *Result, e Expect) (float64, bool) {
	ids := make(map[string]bool)
	for _, d := range r.pairs(e) {
		ids[d.ID] = true
	}
	return float64(len(ids)), true
}

func measureHeal(r *Result, _ Expect) (float64, bool) {
	if r.Healed == nil {
		return 0, false
	}
	return r.Healed.Seconds(), true
}

func measureOutsiders(r *Result, _ Expect) (float64, bool) {
	n := 0
	for _, s := range r.Samples {
		n = max(n, s.Outsiders)
	}
	return float64(n), len(r.Samples) > 0
}

func measureMemory(r *Result, _ Expect) (float64, bool) {
	worst := 0.0
	for _, s := range r.Samples {
		if m, ok := s.memory(r.Devices); ok {
			worst = max(worst, m/(1<<20))
		}
	}
	return worst, worst > 0
}

func measureTraffic(r *Result, _ Expect) (float64, bool) {
	if len(r.Samples) < 2 || r.Devices == 0 {
		return 0, false
	}
	first, last := r.Samples[0], r.Samples[len(r.Samples)-1]
	hours := (last.At - first.At).Hours()
	if hours <= 0 {
		return 0, false
	}
	return float64(last.Sent-first.Sent) / 1e6 / hours / float64(r.Devices), true
}

func measureUnsaved(r *Result, _ Expect) (float64, bool) { return float64(len(r.Unsaved)), true }

func measureRunning(r *Result, _ Expect) (float64, bool) {
	if len(r.Samples) == 0 || r.Devices == 0 {
		return 0, false
	}
	return float64(r.Samples[len(r.Samples)-1].Running) / float64(r.Devices), true
}

func measureNeighbours(r *Result, _ Expect) (float64, bool) {
	if len(r.Samples) == 0 {
		return 0, false
	}
	last := r.Samples[len(r.Samples)-1]
	if last.Running == 0 {
		return 0, false
	}
	return float64(last.Neighbours) / float64(last.Running), true
}

// judge holds an objective against a result.
func (r *Result) judge(e Expect) Objective {
	o := Objective{Words: e.Words()}
	m := measures[e.Measure]
	v, ok := r.measure(e.Measure, e)
	if !ok {
		o.Found = "there was nothing to measure"
		return o
	}
	o.Value = v
	o.Found = inUnit(v, m.unit)
	o.Met = e.AtLeast != nil && v >= *e.AtLeast || e.AtMost != nil && v <= *e.AtMost
	return o
}

func inUnit(v float64, unit string) string {
	switch unit {
	case "share":
		return percent(v)
	case "s":
		return time.Duration(v * float64(time.Second)).Round(time.Millisecond).String()
	case "":
		return fmt.Sprintf("%.4g", v)
	}
	return fmt.Sprintf("%.3g %s", v, unit)
}

// percent never rounds up to all.
func percent(v float64) string {
	if v < 1 && v > 0.9999 {
		return "just under 100 %"
	}
	return fmt.Sprintf("%.4g %%", v*100)
}

// Words says in one sentence what is expected.
func (e Expect) Words() string {
	m := measures[e.Measure]
	words := m.words
	if e.Within > 0 {
		words += fmt.Sprintf(" within %s", e.Within)
	}
	if e.Priority != "" {
		words += ", of " + e.Priority + " ones"
	}
	if e.Scope == "site" {
		words += ", within one site"
	}
	if e.From > 0 || e.To > 0 {
		words += fmt.Sprintf(", of those sent from minute %.1f", e.From.Minutes())
		if e.To > 0 {
			words += fmt.Sprintf(" to %.1f", e.To.Minutes())
		}
	}
	if e.AtLeast != nil {
		return words + ": at least " + inUnit(*e.AtLeast, m.unit)
	}
	if e.AtMost != nil {
		return words + ": at most " + inUnit(*e.AtMost, m.unit)
	}
	return words
}
