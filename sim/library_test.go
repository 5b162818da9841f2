//go:build long

package sim

import (
	"fmt"
	"testing"
	"time"
)

// TestLibraryRuns runs every scenario of the library, which must pass, and its control, which
// must not: about half an hour of two quiet cores.
func TestLibraryRuns(t *testing.T) {
	all, err := Library()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.Devices() > MaxFull {
			continue // it runs on the scale model
		}
		t.Run(s.Name, func(t *testing.T) {
			res := rehearse(t, s, options(t))
			t.Log(tableRow(res))
			if res.Verdict != Passed {
				t.Errorf("%s: %s", res.Verdict, res.Why)
			}
			if len(s.Control) == 0 {
				return
			}
			o := options(t)
			o.Without = s.Control
			res = rehearse(t, s, o)
			t.Log(tableRow(res))
			if res.Verdict != Missed && res.Verdict != Broken {
				t.Errorf("without %v it is %s: %s", s.Control, res.Verdict, res.Why)
			}
		})
	}
}

// tableRow is what docs/resilience.md says of a run.
func tableRow(r *Result) string {
	m := r.measured()
	seconds := func(name string) time.Duration {
		return time.Duration(m[name] * float64(time.Second)).Round(time.Millisecond)
	}
	healed := "never equal again"
	if r.Healed != nil {
		healed = r.Healed.Round(time.Second).String()
	}
	return fmt.Sprintf("| `%s` | without %v: %s: %s | %.1f %%, %v, %v, %s, %.0f MiB |", r.Scenario, r.Without, r.Verdict, r.Why,
		100*m["delivery"], seconds("p50"), seconds("p99"), healed, m["memory"])
}
