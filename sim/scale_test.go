package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"strings"
	"testing"
	"time"
)

// trust is a scenario that is too large for real nodes.
const trust = `version: 1
name: trust
title: A trust of 7,200 devices is cut in two
duration: 2m
heal: 5m
mesh: {sites: [{name: general, devices: 4200}, {name: royal, devices: 3000}]}
groups:
  - {name: incident, members: [all]}
  - {name: ward, members: [royal/1-40]}
workload:
  - {group: incident, rate: 0.1}
  - {group: incident, rate: 0.01, priority: stat, bytes: 80}
  - {group: ward, rate: 10}
timeline:
  - {at: 30s, until: 90s, partition: {shape: whole, parts: [[general], [royal]]}}
  - {at: 10s, until: 30s, ransomware: {devices: [general], every: 100ms, share: 0.1}}
  - {at: 20s, until: 40s, surge: {times: 3}}
expect:
  - {measure: delivery, at_least: 1}
  - {measure: p50, scope: site, at_most: 1}
  - {measure: heal, at_most: 60}
  - {measure: running, at_least: 0.9}
sometimes:
  - {measure: late, at_least: 0.05}
`

func scaleRun(t *testing.T, s *Scenario, o Options) *Result {
	t.Helper()
	r, err := s.RunModel(t.Context(), o)
	if err != nil && !errors.Is(err, ErrStopped) {
		t.Fatal(err)
	}
	return r
}

// TestScale: what is too large for real nodes runs on the model, is judged by the same
// objectives, and every form of the report says what it is.
func TestScale(t *testing.T) {
	s := read(t, trust)
	if !s.Scaled() {
		t.Fatal("it would run as real nodes")
	}
	r := scaleRun(t, s, Options{})
	if r.Verdict != Passed || strings.Contains(r.Why, "every promise held") || len(r.Invariants) > 0 {
		t.Errorf("%s: %s", r.Verdict, r.Why)
	}
	for _, f := range r.Faults {
		if f.Bit == 0 {
			t.Errorf("%s had no effect", f.Words)
		}
	}
	var page, raw bytes.Buffer
	if err := errors.Join(r.WriteHTML(&page, "x"), r.WriteJSON(&raw)); err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(page.String(), "<main>")
	if first := strings.SplitN(strings.TrimSpace(body), "\n", 2)[0]; !strings.Contains(first, "scale model, not on real nodes") {
		t.Errorf("the first line of the report is %s", first)
	}
	for _, want := range []string{"The model beside real nodes", "Left out: ", "holds no entries to look at"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the report does not say %q", want)
		}
	}
	for _, never := range []string{"as real nodes", "NaN", "%!", "The program is the real one"} {
		if strings.Contains(page.String(), never) {
			t.Errorf("the report says %q", never)
		}
	}
	var back Result
	if err := json.Unmarshal(raw.Bytes(), &back); err != nil || back.Scale == nil || back.Scale.All.N == 0 {
		t.Errorf("%v: %+v", err, back.Scale)
	}
}

// TestScaleMeasures: objectives may be narrowed on the model as on real nodes.
func TestScaleMeasures(t *testing.T) {
	r := scaleRun(t, read(t, trust), Options{})
	at := func(e Expect) float64 {
		v, ok := r.measure(e.Measure, e)
		if !ok {
			t.Fatalf("%+v: nothing to measure", e)
		}
		return v
	}
	all, stat := at(Expect{Measure: "messages"}), at(Expect{Measure: "messages", Priority: "stat"})
	if stat == 0 || stat > all/2 {
		t.Errorf("%v messages, %v of them stat", all, stat)
	}
	if before, after := at(Expect{Measure: "messages", To: time.Minute}), at(Expect{Measure: "messages", From: time.Minute}); before+after != all {
		t.Errorf("%v and %v are not %v", before, after, all)
	}
	if near, every := at(Expect{Measure: "p99", Scope: "site"}), at(Expect{Measure: "p99"}); near >= every {
		t.Errorf("%v within a site, %v everywhere", near, every)
	}
	if soon, late := at(Expect{Measure: "delivery", Within: time.Second}), at(Expect{Measure: "late"}); soon > 0.99 || late < 0.01 {
		t.Errorf("%v within a second, %v late", soon, late)
	}
	if _, ok := r.measure("memory", Expect{}); ok {
		t.Error("the model claims to know the memory of a device")
	}
	again := scaleRun(t, read(t, trust), Options{Seed: 5})
	if v, _ := again.measure("p50", Expect{}); v == at(Expect{Measure: "p50"}) && again.Messages == r.Messages {
		t.Error("another seed gives the same run")
	}
	stopped := scaleRun(t, read(t, trust), Options{Stopped: func() bool { return true }})
	if !stopped.Partial || stopped.Verdict != Inconclusive {
		t.Errorf("a stopped run is %s", stopped.Verdict)
	}
}

// TestScaleBad: what the model cannot do is refused with a place, not left out in silence.
func TestScaleBad(t *testing.T) {
	for from, to := range map[string]string{
		"timeline:":                         "adversaries:\n  - {kind: silent, count: 1}\ntimeline:",
		"shape: whole":                      "shape: one-way",
		"surge: {times: 3}":                 "skew: {devices: [general], by: 1h}",
		"measure: running":                  "measure: memory",
		"rate: 0.1}":                        "rate: 400}",
		"sometimes:":                        "control: [sync]\nsometimes:",
		"{name: general, devices: 4200}":    "{name: general, devices: 1200000}",
		"partition: {shape: whole, parts: ": "degrade: {link: {corrupt: 0.1}}} #",
	} {
		_, err := ReadScenario("x.yaml", strings.NewReader(strings.Replace(trust, from, to, 1)))
		var bad *InputError
		if !errors.As(err, &bad) || !strings.HasPrefix(err.Error(), "x.yaml:") || !strings.Contains(err.Error(), "scale model") && !strings.Contains(err.Error(), "followed") {
			t.Errorf("%s: %v", to, err)
		}
	}
}

// TestModelFits: on its calibration the model lies within 15 % of real nodes, for the middle
// and for the slowest of a hundred messages. With TOCSIN_SIM_FIT=1 the real nodes are run
// again, which takes ten minutes of processor and 3 GB; their figures are held against the table too.
func TestModelFits(t *testing.T) {
	const share = 0.15
	near := func(t *testing.T, what string, got, want time.Duration) {
		t.Helper()
		if off := float64(got-want) / float64(want); math.Abs(off) > share {
			t.Errorf("%s: %s in place of %s, %+.0f %%", what, got, want, 100*off)
		}
	}
	for _, p := range points {
		p50, p99, err := calm(t.Context(), p.devices)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d devices: real %s and %s, model %s and %s", p.devices, p.p50, p.p99, p50, p99)
		near(t, "p50", p50, p.p50)
		near(t, "p99", p99, p.p99)
		if os.Getenv("TOCSIN_SIM_FIT") == "" {
			continue
		}
		took := rehearse(t, Calibration(p.devices), options(t)).latencies(Expect{From: settled})
		t.Logf("%d devices: real again %s and %s", p.devices, quantile(took, 0.5), quantile(took, 0.99))
		near(t, "real p50", quantile(took, 0.5), p.p50)
		near(t, "real p99", quantile(took, 0.99), p.p99)
	}
}
