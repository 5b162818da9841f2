package sim

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// rehearse runs a scenario in a bubble of its own.
func rehearse(t *testing.T, s *Scenario, without ...Defence) *Result {
	t.Helper()
	dir := t.TempDir()
	var res *Result
	synctest.Test(t, func(t *testing.T) {
		var err error
		res, err = s.Run(t.Context(), Options{Dir: dir, Without: without, Logger: slog.New(slog.DiscardHandler),
			Progress: func(done, total time.Duration, doing string) {
				if os.Getenv("TOCSIN_SIM_PROGRESS") != "" {
					fmt.Fprintln(os.Stderr, done.Round(time.Second), total, doing)
				}
			}})
		if err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("%s %v: %s: %s", s.Name, without, res.Verdict, res.Why)
	for _, o := range res.Objectives {
		t.Logf("  %v %s: %s", o.Met, o.Words, o.Found)
	}
	for _, f := range res.Faults {
		t.Logf("  fault %s, %d times", f.Words, f.Bit)
	}
	for _, i := range res.Invariants {
		if !i.Held {
			t.Logf("  BROKEN %s: %v", i.Words, i.Broke)
		}
	}
	return res
}

func read(t *testing.T, text string) *Scenario {
	t.Helper()
	s, err := ReadScenario("test.yaml", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLibrary(t *testing.T) {
	all, err := Library()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if text := s.Explain(); !strings.Contains(text, s.Title) || strings.Contains(text, "%!") {
			t.Errorf("%s explains itself as %q", s.Name, text)
		}
	}
	var bad *InputError
	if _, err := LibraryScenario("no-such"); !errors.As(err, &bad) {
		t.Error(err)
	}
}

func TestWannacry(t *testing.T) {
	s, err := LibraryScenario("wannacry-2017")
	if err != nil {
		t.Fatal(err)
	}
	rehearse(t, s)
}
