package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"tocsin/sim"
)

// sweepFlags are the flags of `sweep` and `compare`.
type sweepFlags struct {
	out     string
	seeds   int
	first   uint64
	at      int
	control bool
	anyway  bool
}

func (f *sweepFlags) register(c *cobra.Command, n int) {
	c.Flags().StringVarP(&f.out, "output", "o", "", "folder for the reports (required)")
	c.Flags().IntVar(&f.seeds, "seeds", n, "how many seeds")
	c.Flags().Uint64Var(&f.first, "first", 0, "the first seed; the others follow. At random if left out")
	c.Flags().IntVar(&f.at, "jobs", 0, "how many run at a time; as many as fit if left out")
	c.Flags().BoolVar(&f.anyway, "anyway", false, "run although there seems to be too little memory")
}

const maxSeeds = 10_000

// check refuses what cannot be begun, and draws the first seed.
func (f *sweepFlags) check() error {
	if f.out == "" {
		return &usageError{errors.New("name a folder for the reports with -o")}
	}
	if f.seeds < 1 || f.seeds > maxSeeds {
		return &usageError{fmt.Errorf("--seeds is from 1 to %d", maxSeeds)}
	}
	if f.first == 0 {
		f.first = 1 + rand.Uint64N(1_000_000_000)
	}
	return sim.Prepare(f.out)
}

func (a *app) sweepCommand() *cobra.Command {
	var f sweepFlags
	c := &cobra.Command{
		Use: "sweep SCENARIO", Short: "Run a scenario with many seeds", Args: cobra.ExactArgs(1),
		Long: "Runs a scenario with many seeds, as processes beside each other, and writes what all came to (runs.html,\n" +
			"runs.json) beside the report of each. The exit code is that of the worst run.\n\n" + exitHelp,
		Example: "  tocsin-sim sweep partition-heal -o sweep --seeds 20\n  tocsin-sim sweep ./mine.yaml -o sweep --seeds 5 --first 100",
		RunE:    func(_ *cobra.Command, args []string) error { return a.sweep(args[0], f) },
	}
	f.register(c, 10)
	c.Flags().BoolVar(&f.control, "control", false, "switch off the defence that the scenario names; all runs must then fail")
	return c
}

func (a *app) sweep(name string, f sweepFlags) error {
	s, err := scenario(name)
	if err != nil {
		return err
	}
	if f.control && len(s.Control) == 0 {
		return &usageError{fmt.Errorf("%s names no defence to switch off (control)", s.Name)}
	}
	if err := f.check(); err != nil {
		return err
	}
	if err := affordable(s, f.anyway); err != nil {
		return err
	}
	runs := &sim.Runs{
		Title:   fmt.Sprintf("%s, with %d seeds", s.Title, f.seeds),
		Command: fmt.Sprintf("tocsin-sim sweep %s -o DIR --seeds %d --first %d%s", name, f.seeds, f.first, map[bool]string{true: " --control"}[f.control]),
	}
	if runs.Runs, runs.Partial, err = a.many(s, name, f.out, f.control, f); err != nil {
		return err
	}
	if err := runs.Write(f.out); err != nil {
		return err
	}
	a.code = runs.Verdict().ExitCode()
	if runs.Partial && a.code == 0 {
		a.code = sim.Inconclusive.ExitCode()
	}
	if a.json {
		return a.emit(map[string]any{"verdict": runs.Verdict(), "sentence": runs.Sentence(), "runs": runs.Runs, "partial": runs.Partial, "report": f.out})
	}
	return a.say("%s: %s\nThe report is %s.", strings.ToUpper(string(runs.Verdict())), runs.Sentence(), filepath.Join(f.out, sim.RunsHTML))
}

// many runs a scenario with the seeds of f and tells of each as it ends; partial is true
// if it was stopped before all were begun or had ended.
func (a *app) many(s *sim.Scenario, name, dir string, control bool, f sweepFlags) (out []sim.Summary, partial bool, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, false, err
	}
	if strings.ContainsAny(name, "./\\") {
		if name, err = filepath.Abs(name); err != nil {
			return nil, false, err
		}
	}
	fleet, err := newFleet(a.ctx, s, f.at, jobsOf(name, dir, control, seeds(f.first, f.seeds)))
	if err != nil {
		return nil, false, err
	}
	if !a.json {
		fmt.Fprintf(a.err, "%d runs, %d at a time, each: %s\n", f.seeds, fleet.at, costWords(s))
	}
	err = fleet.run(func(r sim.Summary) error {
		out = append(out, r)
		if !a.json {
			fmt.Fprintf(a.err, "%d of %d, seed %d, %.0f s: %s: %s\n", len(out), f.seeds, r.Seed, r.Seconds, r.Verdict, r.Why)
		}
		return nil
	})
	slices.SortFunc(out, func(a, b sim.Summary) int { return int(min(1, max(-1, int64(a.Seed-b.Seed)))) })
	return out, a.stopped.Load() || len(out) < f.seeds, err
}

func (a *app) compareCommand() *cobra.Command {
	var f sweepFlags
	c := &cobra.Command{
		Use: "compare A B", Short: "Hold two scenarios, or two sweeps, against each other", Args: cobra.ExactArgs(2),
		Long: "Runs two scenarios with the same seeds, at least " + fmt.Sprint(sim.MinCompared) + ", and says in which measures they differ by more than chance: the\n" +
			"mean difference, seed by seed, with its interval of 95 %. Each of A and B is a scenario, or the folder of a sweep\n" +
			"that was run before.",
		Example: "  tocsin-sim compare partition-heal ./mine.yaml -o compared\n  tocsin-sim compare sweep-before sweep-after -o compared",
		RunE:    func(_ *cobra.Command, args []string) error { return a.compare(args[0], args[1], f) },
	}
	f.register(c, sim.MinCompared)
	return c
}

func (a *app) compare(one, other string, f sweepFlags) error {
	if f.seeds < sim.MinCompared {
		return &usageError{fmt.Errorf("a comparison takes at least %d seeds, not %d: what differs in fewer may be chance", sim.MinCompared, f.seeds)}
	}
	if err := f.check(); err != nil {
		return err
	}
	var sides [2][]sim.Summary
	for i, name := range []string{one, other} {
		runs, partial, err := a.side(name, filepath.Join(f.out, string(rune('a'+i))), f)
		if err != nil {
			return err
		}
		if partial {
			a.code = sim.Inconclusive.ExitCode()
			return a.say("Stopped: the runs of %s are not all there, so nothing is compared.", name)
		}
		sides[i] = runs
	}
	c, err := sim.Compare(one, other, sides[0], sides[1])
	if err != nil {
		return err
	}
	if err := c.Write(f.out, fmt.Sprintf("tocsin-sim compare %s %s -o DIR --seeds %d --first %d", one, other, f.seeds, f.first)); err != nil {
		return err
	}
	if a.json {
		return a.emit(c)
	}
	return a.say("%s\n%s: %s.\n%s: %s.\nThe report is %s.", c.Sentence(), one, c.VerdictsA, other, c.VerdictsB, filepath.Join(f.out, sim.CompareHTML))
}

// side are the runs of one side of a comparison: of a sweep's folder, or run now.
func (a *app) side(name, dir string, f sweepFlags) ([]sim.Summary, bool, error) {
	if _, err := os.Stat(filepath.Join(name, sim.RunsJSON)); err == nil {
		runs, err := sim.ReadRuns(name)
		if err != nil {
			return nil, false, err
		}
		return runs.Runs, runs.Partial, nil
	}
	s, err := scenario(name)
	if err != nil {
		return nil, false, err
	}
	if err := affordable(s, f.anyway); err != nil {
		return nil, false, err
	}
	return a.many(s, name, dir, false, f)
}
