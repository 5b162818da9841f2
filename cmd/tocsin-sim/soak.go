package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tocsin/sim"
)

// soakFlags are the flags of `soak`.
type soakFlags struct {
	out string
	dur time.Duration
}

func (a *app) soakCommand() *cobra.Command {
	var f soakFlags
	c := &cobra.Command{
		Use: "soak [SCENARIO…]", Short: "Run scenarios with random seeds for hours", Args: cobra.ArbitraryArgs,
		Long: "Runs the scenarios that are named, or the whole library, one after the other with random seeds until the time is\n" +
			"over. After every run it writes anew what all came to (runs.html, runs.json); the reports of runs that passed\n" +
			"are not kept. An interrupt ends it after the run that is under way. The exit code is that of the worst run.\n\n" + exitHelp,
		Example: "  tocsin-sim soak -o soak --for 8h\n  tocsin-sim soak partition-heal ./mine.yaml -o soak --for 30m",
		RunE:    func(_ *cobra.Command, args []string) error { return a.soak(args, f) },
	}
	c.Flags().StringVarP(&f.out, "output", "o", "", "folder for the reports (required)")
	c.Flags().DurationVar(&f.dur, "for", time.Hour, "how long, in real time; the last run is brought to its end")
	return c
}

// keptRuns bounds what a soak keeps in its list: beyond it passed runs are counted in the
// sentence only.
const keptRuns = 10_000

func (a *app) soak(names []string, f soakFlags) error {
	switch {
	case f.out == "":
		return &usageError{errors.New("name a folder for the reports with -o")}
	case f.dur <= 0:
		return &usageError{fmt.Errorf("--for is a length of time above nothing, not %s", f.dur)}
	}
	all, names, err := soaked(names)
	if err != nil {
		return err
	}
	if err := sim.Prepare(f.out); err != nil {
		return err
	}
	runs := &sim.Runs{Title: fmt.Sprintf("Soak of %d scenarios for %s", len(all), f.dur),
		Command: fmt.Sprintf("tocsin-sim soak %s -o DIR --for %s", strings.Join(names, " "), f.dur)}
	a.tell("%d scenarios with random seeds for %s.", len(all), f.dur)
	began := time.Now()
	for i := 0; !a.stopped.Load() && time.Since(began) < f.dur && len(runs.Runs) < keptRuns; i++ {
		s, name := all[i%len(all)], names[i%len(all)]
		seed := 1 + rand.Uint64N(1_000_000_000)
		dir := filepath.Join(f.out, fmt.Sprintf("%s-%d", s.Name, seed))
		fleet, err := newFleet(a.ctx, s, 1, []job{{name, seed, false, dir}})
		if err != nil {
			return err
		}
		err = fleet.run(func(r sim.Summary) error {
			if r.Verdict == sim.Passed {
				r.Report = ""
				if err := os.RemoveAll(dir); err != nil {
					return err
				}
			}
			runs.Runs = append(runs.Runs, r)
			a.tell("%s of %s, %s, seed %d, %.0f s: %s: %s", time.Since(began).Round(time.Second), f.dur, r.Scenario, r.Seed, r.Seconds, r.Verdict, r.Why)
			return runs.Write(f.out)
		})
		if err != nil && !a.stopped.Load() {
			return err
		}
	}
	runs.Partial = a.stopped.Load()
	if err := runs.Write(f.out); err != nil {
		return err
	}
	a.code = runs.Verdict().ExitCode()
	if a.json {
		return a.emit(map[string]any{"verdict": runs.Verdict(), "sentence": runs.Sentence(), "partial": runs.Partial, "report": f.out})
	}
	return a.say("%s: %s\nThe report is %s.", strings.ToUpper(string(runs.Verdict())), runs.Sentence(), filepath.Join(f.out, sim.RunsHTML))
}

// soaked are the scenarios of a soak, and how runs name them.
func soaked(names []string) (all []*sim.Scenario, paths []string, err error) {
	if len(names) == 0 {
		if all, err = sim.Library(); err != nil {
			return nil, nil, err
		}
		for _, s := range all {
			paths = append(paths, s.Name)
		}
		return all, paths, nil
	}
	for _, name := range names {
		s, err := scenario(name)
		if err != nil {
			return nil, nil, err
		}
		if strings.ContainsAny(name, "./\\") {
			if name, err = filepath.Abs(name); err != nil {
				return nil, nil, err
			}
		}
		all, paths = append(all, s), append(paths, name)
	}
	return all, paths, nil
}
