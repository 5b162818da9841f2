package sim

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// result is a result as a run might leave it.
func result(t *testing.T) *Result {
	t.Helper()
	s := read(t, small)
	r := newResult(s, Options{}, 1)
	r.Invariants = []Invariant{{Name: "forged", Words: "nothing is shown that nobody said", Held: true}}
	for i := range 100 {
		r.Deliveries = append(r.Deliveries, Delivery{
			ID: "x", Sent: time.Duration(i) * 500 * time.Millisecond, Took: time.Duration(i+1) * 10 * time.Millisecond, Arrived: i < 99, Priority: "routine",
		})
	}
	r.Faults = []FaultResult{{Name: "surge", Words: "<script>alert(1)</script>", From: 10 * time.Second, To: 40 * time.Second, Bit: 3}}
	for i := range 7 {
		r.Samples = append(r.Samples, Sample{At: time.Duration(i) * 10 * time.Second, Running: 4, Neighbours: 12, Bytes: uint64(i) * 1000, HeapBytes: 1 << 20})
	}
	for _, e := range s.Expect {
		r.Objectives = append(r.Objectives, r.judge(e))
	}
	r.Verdict, r.Why = r.verdict()
	return r
}

func TestReport(t *testing.T) {
	r := result(t)
	if r.Verdict != Missed || r.Objectives[0].Found != "99 %" {
		t.Fatalf("%s: %s, %+v", r.Verdict, r.Why, r.Objectives)
	}
	dir := filepath.Join(t.TempDir(), "new")
	if err := Prepare(dir); err != nil {
		t.Fatal(err)
	}
	if err := r.Write(dir, "tocsin-sim run small -o DIR --seed 1"); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, HTMLFile))
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	for _, want := range []string{"Not passed.", "99 %", "&lt;script&gt;", "<svg role=", "tocsin-sim run small", "What this does not show", "give the parts another way"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	for _, never := range []string{"<script", "http://www.w3.org/1999/xlink\" href", "src=\"http", "%!", "NaN"} {
		if strings.Contains(text, never) {
			t.Errorf("the page holds %q", never)
		}
	}
	var suite junitSuite
	raw, err := os.ReadFile(filepath.Join(dir, JUnitFile))
	if err == nil {
		err = xml.Unmarshal(raw, &suite)
	}
	if err != nil || suite.Tests != 2 || suite.Failures != 1 || suite.Cases[1].Failure == nil {
		t.Errorf("JUnit: %v, %+v", err, suite)
	}
	var again Result
	raw, err = os.ReadFile(filepath.Join(dir, JSONFile))
	if err == nil {
		err = json.Unmarshal(raw, &again)
	}
	if err != nil || again.Verdict != Missed || len(again.Deliveries) != 100 {
		t.Errorf("JSON: %v, %s", err, again.Verdict)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 3 {
		t.Errorf("%v, %v", left, err)
	}
}

// TestReportNowhere: what cannot be written is found before the run, and leaves no half
// file.
func TestReportNowhere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var bad *InputError
	if err := Prepare(filepath.Join(file, "report")); !errors.As(err, &bad) {
		t.Errorf("%v", err)
	}
	failure := errors.New("full")
	dir := t.TempDir()
	err := writeWhole(filepath.Join(dir, "x"), func(io.Writer) error { return failure })
	if left, _ := os.ReadDir(dir); !errors.Is(err, failure) || len(left) != 0 {
		t.Errorf("%v, %v", err, left)
	}
}

// TestJUnitInconclusive: what says nothing counts as skipped, not as passed.
func TestJUnitInconclusive(t *testing.T) {
	r := result(t)
	r.Verdict = Inconclusive
	var b bytes.Buffer
	if err := r.WriteJUnit(&b); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), `skipped="1"`) || strings.Contains(b.String(), "<failure") {
		t.Error(b.String())
	}
}

// TestMeasuresFailClosed: where there is nothing to measure, nothing is met.
func TestMeasuresFailClosed(t *testing.T) {
	empty := newResult(read(t, small), Options{}, 1)
	low, high := 0.0, 1e12
	for name, m := range measures {
		if name == "unsaved" || name == "messages" {
			continue // none is a finding
		}
		if o := empty.judge(Expect{Measure: name, AtMost: &high}); o.Met {
			t.Errorf("%s is met by nothing", name)
		}
		if o := empty.judge(Expect{Measure: name, AtLeast: &low}); o.Met {
			t.Errorf("%s is met by nothing", name)
		}
		if m.words == "" {
			t.Errorf("%s has no words", name)
		}
	}
}
