package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"tocsin/sim"
)

// job is one run in a process of its own.
type job struct {
	scenario string // as it is named on the command line
	seed     uint64
	control  bool
	dir      string // of its report
}

func (j job) args() []string {
	args := []string{"run", j.scenario, "-o", j.dir, "--seed", strconv.FormatUint(j.seed, 10), "--json", "--anyway"}
	if j.control {
		args = append(args, "--control")
	}
	return args
}

// fleet runs jobs in processes, some at a time: a bubble of virtual time is one to a process,
// and whatever one run leaves behind ends with it.
type fleet struct {
	program string
	at      int             // so many at a time
	ctx     context.Context // ends early; what runs then writes its partial report
	jobs    []job
}

// newFleet finds out how many runs of a scenario fit beside each other, unless that is given.
func newFleet(ctx context.Context, s *sim.Scenario, at int, jobs []job) (*fleet, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("this program cannot find itself to start runs: %w", err)
	}
	if at <= 0 {
		at = runtime.NumCPU()
		if !s.Scaled() {
			at = max(1, at/2) // one run keeps two cores busy
		}
		if _, memory := cost(s); memory > 0 {
			if free, known := freeMemory(); known {
				at = max(1, min(at, int(free/memory)))
			}
		}
	}
	return &fleet{program: program, at: at, ctx: ctx, jobs: jobs}, nil
}

// run runs all jobs and hands each summary to done, one at a time, in the order in which they
// end. Those that were not begun when the fleet was stopped are left out.
func (f *fleet) run(done func(sim.Summary) error) error {
	type ended struct {
		summary sim.Summary
		err     error
	}
	todo, results := make(chan job), make(chan ended)
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	var work sync.WaitGroup
	for range min(f.at, len(f.jobs)) {
		work.Go(func() {
			for j := range todo {
				s, err := f.one(ctx, j)
				results <- ended{s, err}
			}
		})
	}
	go func() { // ends with the last job, or the stop
		for _, j := range f.jobs {
			if ctx.Err() != nil {
				break
			}
			todo <- j
		}
		close(todo)
		work.Wait()
		close(results)
	}()
	var failed error
	for r := range results {
		err := r.err
		if err == nil && failed == nil {
			err = done(r.summary)
		}
		if err != nil && failed == nil {
			failed = err
			cancel()
		}
	}
	return failed
}

// patience is how long a run that was told to stop has for its partial report.
const patience = 2 * time.Minute

// one runs one job.
func (f *fleet) one(ctx context.Context, j job) (sim.Summary, error) {
	c := exec.CommandContext(ctx, f.program, j.args()...)
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	c.WaitDelay = patience
	var said bytes.Buffer
	c.Stderr = &said
	began := time.Now()
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && ctx.Err() == nil {
		return sim.Summary{}, fmt.Errorf("the run of seed %d could not be started: %w", j.seed, err)
	}
	s, readErr := sim.ReadSummary(j.dir)
	if readErr != nil {
		return sim.Summary{}, fmt.Errorf("the run of %s with seed %d left no report (%w): %s", j.scenario, j.seed, readErr, strings.TrimSpace(said.String()))
	}
	s.Seconds = time.Since(began).Seconds()
	return s, nil
}

// seeds are n seeds from first on.
func seeds(first uint64, n int) []uint64 {
	out := make([]uint64, n)
	for i := range out {
		out[i] = first + uint64(i)
	}
	return out
}

// jobsOf are the runs of one scenario, each with a folder of its own below dir.
func jobsOf(scenario, dir string, control bool, seeds []uint64) (out []job) {
	for _, seed := range seeds {
		out = append(out, job{scenario, seed, control, filepath.Join(dir, fmt.Sprintf("seed-%d", seed))})
	}
	return out
}
