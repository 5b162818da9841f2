package sim

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Summary is what one run came to, in few words: what sweeps and comparisons are made of.
type Summary struct {
	Scenario string
	Seed     uint64
	Verdict  Verdict
	Why      string
	// Broke are the invariants that broke, Missed the objectives, by their words.
	Broke  []string `json:",omitempty"`
	Missed []string `json:",omitempty"`
	// Measures are all measures of all messages, by name; what could not be measured is
	// left out.
	Measures map[string]float64
	Report   string  `json:",omitempty"` // its folder
	Seconds  float64 // that the run took, in real time
}

// reported is a Result as it is written: with every measure beside what was expected.
type reported struct {
	*Result
	Measured map[string]float64
}

// measured are all measures of all messages.
func (r *Result) measured() map[string]float64 {
	out := make(map[string]float64)
	for name := range measures {
		if v, ok := r.measure(name, Expect{Measure: name}); ok {
			out[name] = v
		}
	}
	return out
}

// Summary is the result in few words.
func (r *Result) Summary() Summary { return r.summary(r.measured()) }

func (r *Result) summary(measured map[string]float64) Summary {
	s := Summary{Scenario: r.Scenario, Seed: r.Seed, Verdict: r.Verdict, Why: r.Why, Measures: measured}
	for _, i := range r.Invariants {
		if !i.Held {
			s.Broke = append(s.Broke, i.Words)
		}
	}
	for _, o := range r.Objectives {
		if !o.Met {
			s.Missed = append(s.Missed, o.Words)
		}
	}
	return s
}

// ReadSummary reads the summary of a run from the folder of its report. The error matches
// [InputError] where there is no whole report.
func ReadSummary(dir string) (Summary, error) {
	raw, err := os.ReadFile(filepath.Join(dir, JSONFile))
	if err != nil {
		return Summary{}, badInput("there is no whole report in %s: %v", dir, err)
	}
	r := reported{Result: new(Result)}
	if err := json.Unmarshal(raw, &r); err != nil {
		return Summary{}, badInput("%s of %s cannot be read: %v", JSONFile, dir, err)
	}
	s := r.summary(r.Measured)
	s.Report = dir
	return s, nil
}

// Fails reports whether a run ended like another one that failed: with the same verdict, and for
// one of the same reasons.
func (s Summary) Fails(like Summary) bool {
	if s.Verdict != like.Verdict {
		return false
	}
	same := func(a, b []string) bool {
		return slices.ContainsFunc(a, func(w string) bool { return slices.Contains(b, w) })
	}
	switch s.Verdict {
	case Broken:
		return same(s.Broke, like.Broke)
	case Missed:
		return same(s.Missed, like.Missed) || len(s.Missed)+len(like.Missed) == 0
	}
	return false
}

// Worst is the verdict of several runs together: a broken promise outweighs a missed objective,
// and that a run that says nothing. No run at all says nothing.
func Worst(runs []Summary) Verdict {
	worst := Inconclusive
	for i, s := range runs {
		if i == 0 || weight(s.Verdict) > weight(worst) {
			worst = s.Verdict
		}
	}
	return worst
}

func weight(v Verdict) int { return slices.Index([]Verdict{Passed, Inconclusive, Missed, Broken}, v) }

// tally says how many runs ended how.
func tally(runs []Summary) string {
	n := make(map[Verdict]int)
	for _, s := range runs {
		n[s.Verdict]++
	}
	return fmt.Sprintf("%d passed, %d missed an objective, %d broke a promise, %d say nothing", n[Passed], n[Missed], n[Broken], n[Inconclusive])
}
