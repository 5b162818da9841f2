//go:build long

package sim

import "testing"

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
			if res := rehearse(t, s, options(t)); res.Verdict != Passed {
				t.Errorf("%s: %s", res.Verdict, res.Why)
			}
			if len(s.Control) == 0 {
				return
			}
			o := options(t)
			o.Without = s.Control
			if res := rehearse(t, s, o); res.Verdict != Missed && res.Verdict != Broken {
				t.Errorf("without %v it is %s: %s", s.Control, res.Verdict, res.Why)
			}
		})
	}
}
