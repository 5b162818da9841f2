package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"tocsin/sim"
)

// shrinkFlags are the flags of `shrink`.
type shrinkFlags struct {
	out     string
	seed    uint64
	control bool
	runs    int
	tries   int
}

// smallestFile is the scenario that is left.
const smallestFile = "smallest.yaml"

func (a *app) shrinkCommand() *cobra.Command {
	var f shrinkFlags
	c := &cobra.Command{
		Use: "shrink SCENARIO", Short: "Find a smaller scenario that fails all the same", Args: cobra.ExactArgs(1),
		Long: "Runs a scenario that fails again and again, each time with less: without an event, with half of the devices,\n" +
			"shorter. What still fails for the same reason is kept. It writes " + smallestFile + " and the report of its run.\n" +
			"Seeds do not fix how a machine schedules work, so a candidate may fail only sometimes: --tries runs each more often.\n\n" + exitHelp,
		Example: "  tocsin-sim shrink ./mine.yaml -o smaller --seed 7\n  tocsin-sim shrink partition-heal -o smaller --control",
		RunE:    func(_ *cobra.Command, args []string) error { return a.shrink(args[0], f) },
	}
	c.Flags().StringVarP(&f.out, "output", "o", "", "folder for what is found (required)")
	c.Flags().Uint64Var(&f.seed, "seed", 0, "the seed with which it fails, in place of the scenario's")
	c.Flags().BoolVar(&f.control, "control", false, "switch off the defence that the scenario names")
	c.Flags().IntVar(&f.runs, "runs", 60, "how many candidates to run at most")
	c.Flags().IntVar(&f.tries, "tries", 1, "how often to run a candidate before it counts as passed")
	return c
}

func (a *app) shrink(name string, f shrinkFlags) error {
	s, err := scenario(name)
	switch {
	case err != nil:
		return err
	case f.out == "":
		return &usageError{errors.New("name a folder for what is found with -o")}
	case f.runs < 1 || f.tries < 1:
		return &usageError{errors.New("--runs and --tries are at least 1")}
	case f.control && len(s.Control) == 0:
		return &usageError{fmt.Errorf("%s names no defence to switch off (control)", s.Name)}
	}
	if err := sim.Prepare(f.out); err != nil {
		return err
	}
	if f.seed == 0 {
		f.seed = s.Seed
	}
	like, err := a.candidate(s, f)
	if err != nil {
		return err
	}
	if like.Verdict != sim.Missed && like.Verdict != sim.Broken {
		return &usageError{fmt.Errorf("%s does not fail with seed %d (it is %s), so there is nothing to shrink: `sweep` looks for a seed with which it does",
			s.Name, f.seed, like.Verdict)}
	}
	a.tell("It fails: %s", like.Why)
	smallest, err := sim.Shrink(s, f.runs, func(c *sim.Scenario, words string) (bool, error) {
		return a.failsToo(c, words, like, f)
	})
	if err != nil && !a.stopped.Load() {
		return err
	}
	return a.shrunk(s, smallest, like, f)
}

// tell says on standard error what goes on.
func (a *app) tell(format string, args ...any) {
	if !a.json {
		fmt.Fprintf(a.err, format+"\n", args...)
	}
}

var errInterrupted = errors.New("interrupted")

// failsToo runs a candidate.
func (a *app) failsToo(c *sim.Scenario, words string, like sim.Summary, f shrinkFlags) (bool, error) {
	for range f.tries {
		if a.stopped.Load() {
			return false, errInterrupted
		}
		found, err := a.candidate(c, f)
		if err != nil {
			return false, err
		}
		if found.Fails(like) {
			a.tell("%s: fails all the same (%d devices, %s)", words, c.Devices(), c.Duration)
			return true, os.Rename(filepath.Join(f.out, "tried"), f.next())
		}
	}
	a.tell("%s: does not fail any more", words)
	return false, nil
}

// next makes room for the report of the smallest so far.
func (f shrinkFlags) next() string {
	dir := filepath.Join(f.out, "smallest")
	// What was there is of a larger one; if it cannot go, the rename says so.
	_ = os.RemoveAll(dir)
	return dir
}

// candidate runs a scenario in a process of its own and leaves its report in "tried".
func (a *app) candidate(s *sim.Scenario, f shrinkFlags) (sim.Summary, error) {
	dir := filepath.Join(f.out, "tried")
	if err := os.RemoveAll(dir); err != nil {
		return sim.Summary{}, err
	}
	text, err := s.Marshal()
	if err != nil {
		return sim.Summary{}, err
	}
	file := filepath.Join(f.out, "tried.yaml")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return sim.Summary{}, err
	}
	if file, err = filepath.Abs(file); err != nil {
		return sim.Summary{}, err
	}
	fleet, err := newFleet(a.ctx, s, 1, []job{{file, f.seed, f.control, dir}})
	if err != nil {
		return sim.Summary{}, err
	}
	var out sim.Summary
	err = fleet.run(func(r sim.Summary) error { out = r; return nil })
	return out, err
}

// shrunk writes what is left.
func (a *app) shrunk(s, smallest *sim.Scenario, like sim.Summary, f shrinkFlags) error {
	text, err := smallest.Marshal()
	if err != nil {
		return err
	}
	file := filepath.Join(f.out, smallestFile)
	err = errors.Join(os.WriteFile(file, text, 0o644), os.RemoveAll(filepath.Join(f.out, "tried")), os.RemoveAll(filepath.Join(f.out, "tried.yaml")))
	if err != nil {
		return err
	}
	a.code = like.Verdict.ExitCode()
	if a.json {
		return a.emit(map[string]any{"scenario": s.Name, "seed": f.seed, "why": like.Why, "devices": smallest.Devices(), "events": len(smallest.Timeline),
			"seconds": smallest.Duration.Seconds(), "file": file, "partial": a.stopped.Load()})
	}
	again := fmt.Sprintf("tocsin-sim run ./%s -o DIR --seed %d", smallestFile, f.seed)
	if f.control {
		again += " --control"
	}
	return a.say("From %d devices, %d events and %s to %d, %d and %s, and it still fails: %s\nThe scenario is %s. Run it: %s",
		s.Devices(), len(s.Timeline), s.Duration, smallest.Devices(), len(smallest.Timeline), smallest.Duration, strings.TrimSpace(like.Why), file, again)
}
