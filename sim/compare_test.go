package sim

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// twenty are runs with a p50 that lies about its middle, and a heal that all have alike.
func twenty(p50 float64) (out []Summary) {
	for seed := range uint64(20) {
		out = append(out, Summary{Scenario: "x", Seed: seed, Verdict: Passed, Measures: map[string]float64{
			"p50": p50 + 0.1*math.Sin(float64(seed)) + 0.001*math.Cos(float64(seed)*p50), "heal": 2, "delivery": 1,
		}})
	}
	return out
}

// TestCompare: a difference is found where it is more than chance, pair by pair, and not where it
// is none.
func TestCompare(t *testing.T) {
	c, err := Compare("before", "after", twenty(1), twenty(1.02))
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string]Compared)
	for _, r := range c.Rows {
		rows[r.Measure] = r
	}
	if r := rows["p50"]; !r.Differ || r.Low > 0.02 || r.High < 0.02 || r.Pairs != 20 {
		t.Errorf("%+v", r)
	}
	if r := rows["delivery"]; r.MeanA != 1 || r.Differ {
		t.Errorf("the mean of ones is %v", r.MeanA)
	}
	if r := rows["heal"]; r.Differ || r.Diff != 0 {
		t.Errorf("%+v", r)
	}
	if !strings.Contains(c.Sentence(), "p50 (more by 20ms)") || strings.Contains(c.Sentence(), "heal") {
		t.Error(c.Sentence())
	}
	dir := t.TempDir()
	if err := c.Write(dir, "tocsin-sim compare"); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, CompareHTML))
	if err != nil || !strings.Contains(string(page), "&#43;20ms ◆") || !strings.Contains(string(page), "<svg role=") || strings.Contains(string(page), "NaN") {
		t.Errorf("%v\n%s", err, page)
	}
	same, err := Compare("a", "b", twenty(1), twenty(1))
	if err != nil || !strings.Contains(same.Sentence(), "nothing differs") {
		t.Errorf("%v: %s", err, same.Sentence())
	}
}

// TestCompareBad: too few seeds and others on each side are refused.
func TestCompareBad(t *testing.T) {
	var bad *InputError
	if _, err := Compare("a", "b", twenty(1)[:9], twenty(1)[:9]); !errors.As(err, &bad) || !strings.Contains(err.Error(), "at least 10 seeds, not 9") {
		t.Errorf("%v", err)
	}
	if _, err := Compare("a", "b", twenty(1)[1:], twenty(1)); !errors.As(err, &bad) || !strings.Contains(err.Error(), "seed 0 was run for b") {
		t.Errorf("%v", err)
	}
	if _, err := Compare("a", "b", twenty(1), twenty(1)[1:]); !errors.As(err, &bad) || !strings.Contains(err.Error(), "seed 0 was run for a") {
		t.Errorf("%v", err)
	}
}

// TestStudent: the bounds of the interval, against a printed table of Student's t.
func TestStudent(t *testing.T) {
	for freedom, want := range map[int]float64{1: 12.706, 2: 4.303, 5: 2.571, 8: 2.306, 9: 2.262, 10: 2.228, 19: 2.093, 30: 2.042, 120: 1.980} {
		if got := student95(freedom); math.Abs(got-want) > 0.001 {
			t.Errorf("%d: %.4f in place of %.3f", freedom, got, want)
		}
	}
}

// TestRuns: several runs are told of together; the worst decides.
func TestRuns(t *testing.T) {
	runs := &Runs{Title: "<b>", Command: "tocsin-sim sweep", Runs: twenty(1)}
	if runs.Verdict() != Passed {
		t.Error(runs.Verdict())
	}
	for _, v := range []Verdict{Inconclusive, Missed, Broken} {
		runs.Runs[7].Verdict = v
		if runs.Verdict() != v {
			t.Errorf("one %s among others is %s together", v, runs.Verdict())
		}
	}
	if Worst(nil) != Inconclusive {
		t.Error("no run says something")
	}
	dir := t.TempDir()
	if err := runs.Write(dir); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, RunsHTML))
	if err != nil || !strings.Contains(string(page), "&lt;b&gt;") || !strings.Contains(string(page), "19 passed, 0 missed an objective, 1 broke a promise") {
		t.Errorf("%v\n%s", err, page)
	}
	back, err := ReadRuns(dir)
	if err != nil || fmt.Sprint(back) != fmt.Sprint(runs) {
		t.Errorf("%v: %v", err, back)
	}
}

// TestSummary: a report's folder gives the summary of its run back.
func TestSummary(t *testing.T) {
	r, dir := result(t), t.TempDir()
	if err := r.Write(dir, "x"); err != nil {
		t.Fatal(err)
	}
	s, err := ReadSummary(dir)
	want := r.Summary()
	want.Report = dir
	if err != nil || fmt.Sprint(s) != fmt.Sprint(want) || s.Measures["delivery"] != 0.99 || len(s.Missed) != 1 {
		t.Errorf("%v\n%v\n%v", err, s, want)
	}
	var bad *InputError
	if _, err := ReadSummary(t.TempDir()); !errors.As(err, &bad) {
		t.Errorf("%v", err)
	}
}

// TestFails: a failure is like another one if the same promise broke, or the same objective was
// missed.
func TestFails(t *testing.T) {
	broke := func(words ...string) Summary { return Summary{Verdict: Broken, Broke: words} }
	if !broke("a", "b").Fails(broke("b")) || broke("a").Fails(broke("b")) || (Summary{Verdict: Passed}).Fails(broke("a")) {
		t.Error("broken promises")
	}
	missed := Summary{Verdict: Missed, Missed: []string{"p50"}}
	if !missed.Fails(missed) || missed.Fails(Summary{Verdict: Missed, Missed: []string{"p99"}}) || missed.Fails(broke("p50")) {
		t.Error("missed objectives")
	}
}
