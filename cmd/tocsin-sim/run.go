package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tocsin/sim"
)

// runFlags are the flags of `run`.
type runFlags struct {
	out     string
	seed    uint64
	control bool
	log     string
	trace   string
	anyway  bool
}

func (a *app) runCommand() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use: "run SCENARIO", Short: "Run a scenario and write a report", Args: cobra.ExactArgs(1),
		Long: "Runs a scenario of the library, or of a file, and writes report.html, junit.xml and result.json.\n" +
			"An interrupt ends the run early; what was found so far is then written as a partial report.\n\n" +
			"Memory is kept to what the first line says by collecting garbage more often in a large world. GOGC and\n" +
			"GOMEMLIMIT, if set, decide instead (https://pkg.go.dev/runtime#hdr-Environment_Variables).\n\n" + exitHelp,
		Example: "  tocsin-sim run wannacry-2017 -o report\n  tocsin-sim run ./mine.yaml -o report --seed 7\n" +
			"  tocsin-sim run silent-insiders -o control --control   # must fail: a defence is off",
		RunE: func(_ *cobra.Command, args []string) error { return a.run(args[0], f) },
	}
	c.Flags().StringVarP(&f.out, "output", "o", "", "folder for the report (required)")
	c.Flags().Uint64Var(&f.seed, "seed", 0, "the seed, in place of the scenario's")
	c.Flags().BoolVar(&f.control, "control", false, "switch off the defence that the scenario names; the run must then fail")
	c.Flags().StringVar(&f.trace, "trace", "", "file for every step of the run; slower")
	c.Flags().BoolVar(&f.anyway, "anyway", false, "run although there seems to be too little memory")
	c.Flags().StringVar(&f.log, "log", "", "file for what the devices log")
	return c
}

func (a *app) run(name string, f runFlags) (err error) {
	s, err := scenario(name)
	if err != nil {
		return err
	}
	if f.out == "" {
		return &usageError{errors.New("name a folder for the report with -o")}
	}
	if f.control && len(s.Control) == 0 {
		return &usageError{fmt.Errorf("%s names no defence to switch off (control)", s.Name)}
	}
	if err := sim.Prepare(f.out); err != nil {
		return err
	}
	logger, closeLog, err := openLog(f.log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeLog()) }()
	if err := affordable(s, f.anyway); err != nil {
		return err
	}
	boundMemory(s)
	o := sim.Options{Seed: f.seed, Logger: logger, Stopped: a.stopped.Load, Progress: a.progress(s)}
	if f.control {
		o.Without = s.Control
	}
	if f.trace != "" {
		file, err := os.Create(f.trace)
		if err != nil {
			return &usageError{fmt.Errorf("the file for the trace cannot be written: %w", err)}
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		o.Trace = file
	}
	began := time.Now()
	res, err := rehearse(s, o)
	if err != nil {
		return err
	}
	if err := res.Write(f.out, f.command(name, res.Seed)); err != nil {
		return err
	}
	a.code = res.Verdict.ExitCode()
	return a.conclude(res, f.out, time.Since(began))
}

// rehearse runs a scenario, with real nodes in a folder of their own or on the scale model. A run
// that was stopped is no error: its result is partial.
func rehearse(s *sim.Scenario, o sim.Options) (res *sim.Result, err error) {
	if s.Scaled() {
		res, err = s.RunModel(context.Background(), o)
	} else {
		if o.Dir, err = scratch(); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(o.Dir)) }()
		err = sim.Bubble(func(ctx context.Context) error {
			var err error
			res, err = s.Run(ctx, o)
			return err
		})
	}
	if errors.Is(err, sim.ErrStopped) && res != nil {
		err = nil
	}
	return res, err
}

// command is how the run is repeated.
func (f runFlags) command(name string, seed uint64) string {
	words := fmt.Sprintf("tocsin-sim run %s -o DIR --seed %d", name, seed)
	if f.control {
		words += " --control"
	}
	return words
}

func (a *app) conclude(res *sim.Result, dir string, took time.Duration) error {
	if a.json {
		return a.emit(map[string]any{
			"scenario": res.Scenario, "verdict": res.Verdict, "why": res.Why, "seed": res.Seed, "report": dir,
			"seconds": took.Seconds(), "partial": res.Partial,
		})
	}
	for _, o := range res.Objectives {
		mark := "missed"
		if o.Met {
			mark = "met   "
		}
		if err := a.say("  %s  %s; found: %s", mark, o.Words, o.Found); err != nil {
			return err
		}
	}
	return a.say("%s: %s\nThe report is %s/%s.", strings.ToUpper(string(res.Verdict)), res.Why, strings.TrimRight(dir, "/"), sim.HTMLFile)
}

// progress tells on standard error how far the run is, with the time left by the pace so
// far.
func (a *app) progress(s *sim.Scenario) func(done, total time.Duration, doing string) {
	if a.json {
		return nil
	}
	fmt.Fprintln(a.err, costWords(s))
	var before time.Duration // of the processor, before the story began
	last, what := time.Duration(-1), ""
	return func(done, total time.Duration, doing string) {
		if done == 0 {
			before = processorTime()
		}
		if doing == what && done-last < 30*time.Second {
			return
		}
		last, what = done, doing
		left := ""
		if spent := processorTime() - before; done >= 30*time.Second && spent > 0 {
			left = fmt.Sprintf(", about %s left", (time.Duration(float64(spent) * float64(total-done) / float64(done))).Round(time.Second))
		}
		fmt.Fprintf(a.err, "%s of %s: %s%s\n", done.Round(time.Second), total, doing, left)
	}
}

// scratch makes a folder for the devices' vaults: in memory where the machine has such
// a place, for they are written all the time and kept no longer than the run.
func scratch() (string, error) {
	places := []string{"/dev/shm", ""}
	if own := os.Getenv("TOCSIN_SIM_SCRATCH"); own != "" {
		places = []string{own}
	}
	for _, place := range places {
		if place != "" {
			if info, err := os.Stat(place); err != nil || !info.IsDir() {
				continue
			}
		}
		dir, err := os.MkdirTemp(place, "tocsin-sim-")
		if err == nil || place == "" {
			return dir, err
		}
	}
	return "", errors.New("there is no place for temporary files: name a folder in TOCSIN_SIM_SCRATCH")
}

// openLog opens the file for what the devices log, if there is to be one.
func openLog(name string) (*slog.Logger, func() error, error) {
	if name == "" {
		return slog.New(slog.DiscardHandler), func() error { return nil }, nil
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, nil, &usageError{fmt.Errorf("the file for the log cannot be written: %w", err)}
	}
	return slog.New(slog.NewTextHandler(io.Writer(f), nil)), f.Close, nil
}
