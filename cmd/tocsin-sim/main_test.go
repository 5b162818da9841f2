package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tocsin/sim"
)

// asProgram makes the test's own binary behave as tocsin-sim.
const asProgram = "TOCSIN_SIM_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// command runs tocsin-sim in a process of its own.
func command(t *testing.T, args ...string) (out, errs string, code int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), self, args...)
	c.Env = append(os.Environ(), asProgram+"=1")
	var o, e bytes.Buffer
	c.Stdout, c.Stderr = &o, &e
	if err := c.Run(); err != nil && c.ProcessState == nil {
		t.Fatal(err)
	}
	return o.String(), e.String(), c.ProcessState.ExitCode()
}

const tiny = `version: 1
name: tiny
title: Three devices
duration: 30s
heal: 1m
mesh: {sites: [{name: a, devices: 3}]}
groups: [{name: incident, members: [all]}]
workload: [{group: incident, rate: 600}]
expect: [{measure: delivery, at_least: 1}]
`

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestRun: a run ends with its verdict as exit code, three files, and its output where it
// belongs.
func TestRun(t *testing.T) {
	file, dir := write(t, "tiny.yaml", tiny), t.TempDir()
	out, errs, code := command(t, "run", file, "-o", dir)
	if code != 0 || !strings.Contains(out, "PASSED: ") || strings.Contains(out, "PASS\n") || !strings.Contains(errs, "3 real devices") {
		t.Fatalf("%d\n%s\n%s", code, out, errs)
	}
	for _, name := range []string{sim.HTMLFile, sim.JSONFile, sim.JUnitFile} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() < 100 {
			t.Errorf("%s: %v", name, err)
		}
	}
	missed := write(t, "missed.yaml", strings.Replace(tiny, "at_least: 1", "within: 1us, at_least: 1", 1))
	out, _, code = command(t, "run", missed, "-o", dir, "--json")
	var said struct{ Verdict, Why string }
	if err := json.Unmarshal([]byte(out), &said); err != nil || code != 1 || said.Verdict != string(sim.Missed) || said.Why == "" {
		t.Errorf("%d, %v: %s", code, err, out)
	}
}

// TestBadInput: everything that cannot be accepted is told in words, with exit code 3, and
// before anything is run.
func TestBadInput(t *testing.T) {
	file := write(t, "tiny.yaml", tiny)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"run", "no-such", "-o", t.TempDir()}, `there is no scenario "no-such"`},
		{[]string{"run", "./no-such.yaml", "-o", t.TempDir()}, "cannot be read"},
		{[]string{"run", file}, "name a folder for the report with -o"},
		{[]string{"run", file, "-o", filepath.Join(file, "below")}, "name another one with -o"},
		{[]string{"run", file, "-o", t.TempDir(), "--control"}, "names no defence to switch off"},
		{[]string{"run", file, "-o", t.TempDir(), "--log", filepath.Join(file, "below")}, "the log cannot be written"},
		{[]string{"run", file, "-o", t.TempDir(), "--seed", "x"}, "invalid argument"},
		{[]string{"run"}, "accepts 1 arg"},
		{[]string{"validate", write(t, "bad.yaml", tiny+"speed: 3\n")}, `unknown field "speed"`},
		{[]string{"explain", write(t, "worse.yaml", strings.Replace(tiny, "30s", "99h", 1))}, "worse.yaml:4:11: a story takes"},
		{[]string{"list", "everything"}, "unknown command"},
		{[]string{"sweep", file}, "name a folder for the reports with -o"},
		{[]string{"sweep", file, "-o", t.TempDir(), "--seeds", "0"}, "--seeds is from 1"},
		{[]string{"sweep", file, "-o", t.TempDir(), "--control"}, "names no defence to switch off"},
		{[]string{"compare", file, file, "-o", t.TempDir(), "--seeds", "9"}, "at least 10 seeds, not 9"},
		{[]string{"compare", file, "-o", t.TempDir()}, "accepts 2 arg"},
		{[]string{"shrink", file}, "name a folder for what is found with -o"},
		{[]string{"shrink", file, "-o", t.TempDir()}, "does not fail with seed 1 (it is passed)"},
		{[]string{"soak"}, "name a folder for the reports with -o"},
		{[]string{"soak", "no-such", "-o", t.TempDir()}, "there is no scenario"},
		{[]string{"soak", "-o", t.TempDir(), "--for", "0s"}, "--for is a length of time"},
		{[]string{"replay", file}, "name a folder for the report with -o"},
		{[]string{"replay", file, "-o", t.TempDir(), "--times", "0"}, "--times is from 1 to 100"},
		{[]string{"replay", file, "-o", t.TempDir(), "--control"}, "names no defence to switch off"},
		{[]string{"replay", file, "-o", t.TempDir(), "--sandbox", "./none"}, "tocsin-replay cannot be used"},
		{[]string{"run", file, "-o", t.TempDir(), "--trace", filepath.Join(file, "below")}, "the trace cannot be written"},
	} {
		out, errs, code := command(t, c.args...)
		if code != 3 || out != "" || !strings.Contains(errs, c.want) {
			t.Errorf("%v: %d\n%s%s", c.args, code, out, errs)
		}
	}
}

// TestSweep: seeds run as processes, each leaves its report, and the worst decides.
func TestSweep(t *testing.T) {
	file, dir := write(t, "tiny.yaml", tiny), t.TempDir()
	out, errs, code := command(t, "sweep", file, "-o", dir, "--seeds", "2", "--first", "5")
	if code != 0 || !strings.Contains(out, "2 runs: 2 passed") || !strings.Contains(errs, "2 of 2, seed") {
		t.Fatalf("%d\n%s\n%s", code, out, errs)
	}
	for _, name := range []string{"seed-5/report.html", "seed-6/report.html", sim.RunsHTML} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	runs, err := sim.ReadRuns(dir)
	if err != nil || len(runs.Runs) != 2 || runs.Runs[0].Seed != 5 || runs.Runs[1].Measures["delivery"] != 1 {
		t.Errorf("%v, %+v", err, runs)
	}
	missed := write(t, "missed.yaml", strings.Replace(tiny, "at_least: 1", "within: 1us, at_least: 1", 1))
	if out, _, code := command(t, "sweep", missed, "-o", t.TempDir(), "--seeds", "1", "--json"); code != 1 || !strings.Contains(out, `"verdict":"missed"`) {
		t.Errorf("%d\n%s", code, out)
	}
	// Two sweeps of the same runs do not differ; too few seeds are not compared.
	if out, errs, code := command(t, "compare", dir, dir, "-o", t.TempDir()); code != 3 || !strings.Contains(errs, "at least 10 seeds, not 2") {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
}

// TestShrinkAndSoak: a scenario that fails is made smaller and still fails; a soak keeps the report
// of what failed alone.
func TestShrinkAndSoak(t *testing.T) {
	missed := strings.Replace(tiny, "at_least: 1", "within: 1us, at_least: 1", 1)
	file, dir := write(t, "missed.yaml", missed), t.TempDir()
	out, errs, code := command(t, "shrink", file, "-o", dir, "--runs", "6")
	if code != 1 || !strings.Contains(out, "it still fails") || !strings.Contains(errs, "fails all the same") {
		t.Fatalf("%d\n%s\n%s", code, out, errs)
	}
	if _, _, code := command(t, "run", filepath.Join(dir, smallestFile), "-o", t.TempDir()); code != 1 {
		t.Errorf("the smallest ends with %d", code)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) != 2 {
		t.Errorf("%v, %v", left, err)
	}
	dir = t.TempDir()
	out, errs, code = command(t, "soak", file, "-o", dir, "--for", "1ms")
	left, err := filepath.Glob(filepath.Join(dir, "tiny-*", sim.HTMLFile))
	if code != 1 || !strings.Contains(out, "1 missed an objective") || err != nil || len(left) != 1 {
		t.Errorf("%d, %v, %v\n%s%s", code, left, err, out, errs)
	}
	dir = t.TempDir()
	out, _, code = command(t, "soak", write(t, "tiny.yaml", tiny), "-o", dir, "--for", "1ms")
	if left, err := filepath.Glob(filepath.Join(dir, "tiny-*")); code != 0 || !strings.Contains(out, "1 passed") || err != nil || len(left) != 0 {
		t.Errorf("%d, %v, %v\n%s", code, left, err, out)
	}
}

// TestInterrupt: a run that is told to end leaves a partial report that says so, and nothing of
// its folder for the devices.
func TestInterrupt(t *testing.T) {
	long := strings.Replace(strings.Replace(tiny, "duration: 30s", "duration: 20h", 1), "rate: 600", "rate: 30", 1)
	file, dir, home := write(t, "long.yaml", long), t.TempDir(), t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), self, "run", file, "-o", dir)
	c.Env = append(os.Environ(), asProgram+"=1", "TOCSIN_SIM_SCRATCH="+home)
	errs, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(errs); lines.Scan(); {
		if strings.Contains(lines.Text(), "the story") && strings.Contains(lines.Text(), " of 20h") {
			if err := c.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := c.Wait(); c.ProcessState.ExitCode() != 4 {
		t.Errorf("it ended with %d: %v", c.ProcessState.ExitCode(), err)
	}
	page, err := os.ReadFile(filepath.Join(dir, sim.HTMLFile))
	if err != nil || !strings.Contains(string(page), "Partial report.") {
		t.Errorf("%v: the report does not say that it is partial", err)
	}
	if left, err := os.ReadDir(home); err != nil || len(left) != 0 {
		t.Errorf("%v, %v", left, err)
	}
}

// TestBreaks: the steps ahead of a broken promise are found in a trace.
func TestBreaks(t *testing.T) {
	var lines []string
	for i := range 20 {
		lines = append(lines, fmt.Sprintf("%d.000000s shows 1 x", i))
	}
	lines = append(lines, "20.000000s broke forged: nothing: something", "21.000000s shows 1 broke")
	steps, n, err := breaks(write(t, "trace.txt", strings.Join(lines, "\n")+"\n"))
	if err != nil || n != 22 || len(steps) != 1 || strings.Count(steps[0], "\n") != before || !strings.HasPrefix(steps[0], "  12.") || !strings.Contains(steps[0], "broke forged") {
		t.Errorf("%v, %d lines\n%v", err, n, steps)
	}
}

// TestScaleRun: above 500 devices the scale model runs, and the program says so before and after.
func TestScaleRun(t *testing.T) {
	file := write(t, "many.yaml", strings.Replace(strings.Replace(tiny, "devices: 3", "devices: 20000", 1), "rate: 600", "rate: 0.05", 1))
	out, errs, code := command(t, "run", file, "-o", t.TempDir())
	if code != 0 || !strings.Contains(errs, "this is the scale model") || !strings.Contains(out, "by the scale model") {
		t.Errorf("%d\n%s\n%s", code, out, errs)
	}
	if out, _, code := command(t, "compare", file, file, "-o", t.TempDir(), "--first", "1"); code != 0 || !strings.Contains(out, "nothing differs") {
		t.Errorf("%d\n%s", code, out)
	}
}

func TestListAndExplain(t *testing.T) {
	out, _, code := command(t, "list")
	if code != 0 || !strings.Contains(out, "wannacry-2017") {
		t.Errorf("%d: %s", code, out)
	}
	all, err := sim.Library()
	if err != nil || strings.Count(out, "\n") != len(all) {
		t.Errorf("%d scenarios, %v:\n%s", len(all), err, out)
	}
	out, _, code = command(t, "explain", "wannacry-2017")
	if code != 0 || !strings.Contains(out, "What must be so") {
		t.Errorf("%d: %s", code, out)
	}
	out, _, code = command(t, "validate", write(t, "tiny.yaml", tiny), "--json")
	if code != 0 || !strings.Contains(out, `"valid":true`) {
		t.Errorf("%d: %s", code, out)
	}
	out, _, code = command(t, "--help")
	if code != 0 || !strings.Contains(out, "inconclusive") {
		t.Errorf("%d: %s", code, out)
	}
}
