package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"tocsin/sim"
)

// replayFlags are the flags of `replay`.
type replayFlags struct {
	out     string
	seed    uint64
	times   int
	control bool
	sandbox string
	program string
}

// The two programs that a replay needs, and how they are built in the source tree.
const (
	sandboxName = "tocsin-replay"
	programName = "tocsin-sim.wasm"
	buildHint   = "build both in the source tree and put them beside tocsin-sim:\n" +
		"  go -C sim/replay build -o ../../" + sandboxName + " .\n" +
		"  GOOS=wasip1 GOARCH=wasm go build -o " + programName + " ./cmd/tocsin-sim"
)

func (a *app) replayCommand() *cobra.Command {
	var f replayFlags
	c := &cobra.Command{
		Use: "replay SCENARIO", Short: "Run one seed again, step for step the same", Args: cobra.ExactArgs(1),
		Long: "Runs a scenario with one seed in a sandbox in which nothing is left to chance, more than once, and holds\n" +
			"the traces against each other: every packet, everything said and shown. They must be identical. Where a promise\n" +
			"breaks, it shows the steps before. A run as `run` does it has the same story and other chances: what a sweep\n" +
			"found is looked for here with the seeds around it.\n\nIt needs two more programs: " + buildHint + "\n\n" + exitHelp +
			"\nTraces that differ are a failure (1).",
		Example: "  tocsin-sim replay partition-heal -o replay --seed 7\n  tocsin-sim replay partition-heal -o replay --seed 7 --control --times 3",
		RunE:    func(_ *cobra.Command, args []string) error { return a.replay(args[0], f) },
	}
	c.Flags().StringVarP(&f.out, "output", "o", "", "folder for the report and the trace (required)")
	c.Flags().Uint64Var(&f.seed, "seed", 0, "the seed, in place of the scenario's")
	c.Flags().IntVar(&f.times, "times", 2, "how often")
	c.Flags().BoolVar(&f.control, "control", false, "switch off the defence that the scenario names")
	c.Flags().StringVar(&f.sandbox, "sandbox", "", "path of "+sandboxName)
	c.Flags().StringVar(&f.program, "program", "", "path of "+programName)
	return c
}

func (a *app) replay(name string, f replayFlags) error {
	s, err := scenario(name)
	if err != nil {
		return err
	}
	switch {
	case f.out == "":
		return &usageError{errors.New("name a folder for the report with -o")}
	case f.times < 1 || f.times > 100:
		return &usageError{fmt.Errorf("--times is from 1 to 100, not %d", f.times)}
	case f.control && len(s.Control) == 0:
		return &usageError{fmt.Errorf("%s names no defence to switch off (control)", s.Name)}
	case s.Scaled():
		return &usageError{errors.New("the scale model is the same every time as it is: `run` repeats it")}
	}
	if f.sandbox, err = find(f.sandbox, sandboxName); err == nil {
		f.program, err = find(f.program, programName)
	}
	if err != nil {
		return err
	}
	if err := sim.Prepare(f.out); err != nil {
		return err
	}
	if f.seed == 0 {
		f.seed = s.Seed
	}
	text, err := s.Marshal()
	if err != nil {
		return err
	}
	var traces [][sha256.Size]byte
	for i := range f.times {
		if !a.json {
			fmt.Fprintf(a.err, "run %d of %d in the sandbox, about seven times as slow as a run: %s\n", i+1, f.times, costWords(s))
		}
		sum, code, err := a.once(text, f)
		if err != nil {
			return err
		}
		a.code = code
		traces = append(traces, sum)
	}
	return a.replayed(traces, f)
}

// find looks for a program: where it was said to be, beside this one, or where programs are.
func find(path, name string) (string, error) {
	if path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", &usageError{fmt.Errorf("%s cannot be used: %w", name, err)}
		}
		return path, nil
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), name)
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	if found, err := exec.LookPath(name); err == nil {
		return found, nil
	}
	return "", &usageError{fmt.Errorf("%s is not there; %s", name, buildHint)}
}

// once runs the scenario in a fresh folder, which is all that the sandbox sees: even the names in
// it are the same every time.
func (a *app) once(text []byte, f replayFlags) (sum [sha256.Size]byte, code int, err error) {
	box, err := os.MkdirTemp("", "tocsin-replay-")
	if err != nil {
		return sum, 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(box)) }()
	if err := os.WriteFile(filepath.Join(box, "scenario.yaml"), text, 0o600); err != nil {
		return sum, 0, err
	}
	args := []string{f.program, box, "run", "/scenario.yaml", "-o", "/report", "--trace", "/trace.txt", "--json", "--anyway", "--seed", strconv.FormatUint(f.seed, 10)}
	if f.control {
		args = append(args, "--control")
	}
	c := exec.CommandContext(a.ctx, f.sandbox, args...)
	var said bytes.Buffer
	c.Stderr = &said
	err = c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return sum, 0, fmt.Errorf("the sandbox could not be started: %w", err)
	}
	for from, to := range map[string]string{
		"trace.txt": "trace.txt", "report/" + sim.JSONFile: sim.JSONFile, "report/" + sim.JUnitFile: sim.JUnitFile, "report/" + sim.HTMLFile: sim.HTMLFile,
	} {
		if err := copyFile(filepath.Join(box, filepath.FromSlash(from)), filepath.Join(f.out, to)); err != nil {
			return sum, 0, fmt.Errorf("the run in the sandbox left no whole report (%w): %s", err, strings.TrimSpace(said.String()))
		}
	}
	raw, err := os.ReadFile(filepath.Join(f.out, "trace.txt"))
	return sha256.Sum256(raw), c.ProcessState.ExitCode(), err
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close() // it was only read
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// replayed says whether the traces are one, and shows where a promise broke.
func (a *app) replayed(traces [][sha256.Size]byte, f replayFlags) error {
	same := true
	for _, t := range traces {
		same = same && t == traces[0]
	}
	steps, lines, err := breaks(filepath.Join(f.out, "trace.txt"))
	if err != nil {
		return err
	}
	s, err := sim.ReadSummary(f.out)
	if err != nil {
		return err
	}
	if !same {
		a.code = exitFailed
	}
	if a.json {
		return a.emit(map[string]any{"identical": same, "times": len(traces), "trace": fmt.Sprintf("%x", traces[0]), "lines": lines,
			"verdict": s.Verdict, "why": s.Why, "broke": steps, "report": f.out})
	}
	if !same {
		return a.say("The traces differ: this run does not repeat. Keep the folder and tell the makers.")
	}
	if err := a.say("%d runs, one trace: %d lines, SHA-256 %x.", len(traces), lines, traces[0][:8]); err != nil {
		return err
	}
	for _, step := range steps {
		if err := a.say("\nA promise broke. The steps before, and then that one:\n%s", step); err != nil {
			return err
		}
	}
	return a.say("%s: %s\nThe trace is %s.", strings.ToUpper(string(s.Verdict)), s.Why, filepath.Join(f.out, "trace.txt"))
}

// before is how many steps are shown ahead of one that broke something.
const before = 8

// breaks finds in a trace the steps at which a promise broke, each with those before it.
func breaks(name string) (out []string, lines int, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close() // it was only read
	var last []string
	scan := bufio.NewScanner(f)
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		lines++
		last = append(last, "  "+scan.Text())
		last = last[max(0, len(last)-before-1):]
		if _, what, _ := strings.Cut(scan.Text(), " "); strings.HasPrefix(what, "broke ") {
			out = append(out, strings.Join(last, "\n"))
			last = nil
		}
	}
	return out, lines, scan.Err()
}
