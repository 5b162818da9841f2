package sim

import (
	"bytes"
	mathrand "math/rand/v2"
	"strings"
	"testing"
)

// with puts more into the small scenario.
func with(more string) string { return strings.Replace(small, "expect:", more, 1) }

// TestAttacks: what a device that went astray, or an authority, can do has an effect that the
// run notices where the defence is off, and none where it is on.
func TestAttacks(t *testing.T) {
	for _, c := range []struct{ name, text string }{
		{"cloned", with(`timeline:
  - {at: 5s, until: 50s, partition: {shape: whole, parts: [[a], [b]]}}
  - {at: 5s, until: 48s, clone: {devices: [a/2], site: b}}
control: [sync]
expect:
  - {measure: forks, at_least: 1}`)},
		{"forked", with(`timeline:
  - {at: 5s, until: 50s, partition: {shape: whole, parts: [[a], [b]]}}
  - {at: 5s, until: 48s, betray: {devices: [a/2], into: fork, site: b}}
control: [sync]
expect:
  - {measure: forks, at_least: 1}`)},
		{"stolen", strings.Replace(with(`timeline:
  - {at: 5s, steal: {devices: [b/2], noticed: 10s}}
control: [revocation]
expect:
  - {measure: intruders, at_most: 0}
  - {measure: leaked, at_most: 0}`), "duration: 1m", "duration: 2m", 1)},
		{"authority stolen", strings.Replace(with(`timeline:
  - {at: 15s, expel: {authority: partner}}
adversaries:
  - {kind: intruder, count: 1, at: 2s}
control: [revocation]
expect:
  - {measure: intruders, at_most: 0}`), "duration: 1m", "duration: 70s", 1)},
		{"registrar", with(`timeline:
  - {at: 5s, enlist: {by: registrar, count: 1, site: b}}
control: [registrar]
expect:
  - {measure: newcomers, at_least: 1}`)},
		{"sticks", with(`timeline:
  - {at: 2s, partition: {shape: whole, parts: [[a], [b]]}}
  - {at: 2s, carry: {from: a/1, to: b/1, every: 10s, walk: 5s}}
control: [sticks]
expect:
  - {measure: delivery, to: 20s, within: 40s, at_least: 1}`)},
		{"clocks", with(`timeline:
  - {at: 5s, until: 55s, skew: {devices: [a], by: -10m}}
  - {at: 5s, until: 55s, skew: {devices: [b/1], by: 10m}}
control: [hybrid]
expect:
  - {measure: misplaced, at_most: 0}`)},
		{"ring", with(`timeline:
  - {at: 2s, until: 55s, partition: {shape: ring, parts: [[all]]}}
control: [sync, relay]
expect:
  - {measure: delivery, to: 50s, at_least: 1}`)},
		{"tampered", with(`timeline:
  - {at: 30s, until: 35s, tamper: {devices: [a/1], entries: 20}}
control: [sync]
expect:
  - {measure: spoilt, at_most: 0}`)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := read(t, c.text)
			if res := rehearse(t, s, options(t)); res.Verdict != Passed {
				t.Errorf("%s: %s", res.Verdict, res.Why)
			}
			o := options(t)
			o.Without = s.Control
			if res := rehearse(t, s, o); res.Objectives[0].Met || res.Verdict == Passed || res.Verdict == Inconclusive {
				t.Errorf("without %v it is %s: %s", s.Control, res.Verdict, res.Why)
			}
		})
	}
}

// TestNoReceiptBeforeShowing: beside a copied device nothing is called delivered, at any second of
// the story, that its reader's device does not show by then.
func TestNoReceiptBeforeShowing(t *testing.T) {
	t.Parallel()
	s := read(t, with(`timeline:
  - {at: 5s, until: 35s, partition: {shape: whole, parts: [[a], [b]]}}
  - {at: 5s, until: 50s, clone: {devices: [a/2], site: b}}
expect:`))
	var trace bytes.Buffer
	o := options(t)
	o.Trace = &trace
	res := rehearse(t, s, o)
	if res.Verdict != Passed || !strings.Contains(trace.String(), "s packets ") {
		t.Errorf("%s: %s", res.Verdict, res.Why)
	}
	if i := strings.Index(trace.String(), "s broke "); i >= 0 {
		t.Errorf("a promise broke on the way: …%.300s", trace.String()[max(0, i-12):])
	}
}

// TestCrossed: what a traitor says of others' words as its own, in another group, and what is
// sent again after a restart, is shown by nobody.
func TestCrossed(t *testing.T) {
	t.Parallel()
	s := read(t, strings.Replace(with(`timeline:
  - {at: 20s, until: 25s, crash: {devices: [a/1]}}
  - {at: 5s, until: 55s, betray: {devices: [b/2], into: cross}}
adversaries:
  - {kind: replayer, count: 1, rate: 5}
  - {kind: spammer, count: 1, rate: 5}
expect:`), "members: [all]}", "members: [all]}\n  - {name: theatre, members: [a, b/2]}", 1))
	// Whether the replayer has heard anything by the end that it could repeat is chance.
	if res := rehearse(t, s, options(t)); res.Verdict != Passed && res.Verdict != Inconclusive || !res.Objectives[0].Met {
		t.Errorf("%s: %s", res.Verdict, res.Why)
	}
}

// TestMoves: devices that come and go, run out of power or meet others only now and then get
// all that was said.
func TestMoves(t *testing.T) {
	for name, text := range map[string]string{
		"churn":     "churn: {devices: [a/1, b/1], up: 10s, down: 5s}",
		"battery":   "battery: {devices: [a/1, b/1], lasts: 20s, megabytes: 5, charge: 10s}",
		"contacts":  "contacts: {devices: [b], repeat: 20s, plan: [{with: [a], at: 0s, until: 5s}]}",
		"cold boot": "crash: {devices: [all], forget: true}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := read(t, with("timeline:\n  - {at: 2s, until: 50s, "+text+"}\nexpect:"))
			if res := rehearse(t, s, options(t)); res.Verdict != Passed || res.Faults[0].Bit == 0 {
				t.Errorf("%s: %s", res.Verdict, res.Why)
			}
		})
	}
}

// TestBadAttacks: what cannot be is refused, in words, with the place.
func TestBadAttacks(t *testing.T) {
	event := func(text string) string { return with("timeline:\n  - {at: 10s, until: 50s, " + text + "}\nexpect:") }
	for _, c := range []struct{ text, want string }{
		{event("clone: {devices: [c]}"), `no site "c"`},
		{event("clone: {devices: [a], site: c}"), `no site "c"`},
		{event("betray: {devices: [a/1], into: anger}"), `test.yaml:`},
		{event("betray: {devices: [a/1], into: anger}"), `"anger" is no way to lie`},
		{event("betray: {devices: [a/1], into: cross, site: b}"), "two sites"},
		{event("steal: {devices: [a/1], noticed: 40s}"), "must be noticed"},
		{event("rollback: {by: a/1}"), "after two events"},
		{event("rollback: {by: a}"), `"a" is not one device`},
		{event("expel: {authority: all}"), "write partner"},
		{event("churn: {devices: [a], up: 1s}"), "more than 0"},
		{event("battery: {devices: [a], lasts: 1m, charge: 1s, megabytes: -1}"), "0 to 1000000 MB"},
		{event("contacts: {devices: [a]}"), "whom they meet"},
		{event("contacts: {devices: [a], repeat: 10s, plan: [{with: [b], at: 5s, until: 20s}]}"), "lies not within 10s"},
		{event("carry: {from: a/1, to: a/1, every: 10s}"), "another device"},
		{event("carry: {from: a/1, to: b, every: 10s}"), "is not one device"},
		{event("tamper: {devices: [a]}"), "1 to 10000"},
		{event("enlist: {by: nobody, count: 1, site: a}"), `"nobody" admits nobody`},
		{event("enlist: {by: registrar, count: 0, site: a}"), "at least one newcomer"},
		{with("adversaries:\n  - {kind: covert, count: 1}\nexpect:"), "needs the time at which it turns"},
		{with("adversaries:\n  - {kind: silent, count: 1, victims: [a]}\nexpect:"), "after nobody in particular"},
		{with("adversaries:\n  - {kind: eclipse, count: 1, victims: [c]}\nexpect:"), `no site "c"`},
		{strings.Replace(small, "mesh:", "mesh:\n  validation: 1s", 1), "between 0 and 100ms"},
	} {
		if _, err := ReadScenario("test.yaml", strings.NewReader(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\n%v\nwant %q", c.text, err, c.want)
		}
	}
}

// TestControl: all kinds of control messages are sent, and bounded.
func TestControl(t *testing.T) {
	h := &hostile{rng: mathrand.New(mathrand.NewPCG(1, 1))}
	kinds := make(map[string]bool)
	for range 100 {
		c := h.control("topic")
		for name, n := range map[string]int{
			"ihave": len(c.GetIhave()), "iwant": len(c.GetIwant()), "idontwant": len(c.GetIdontwant()), "graft": len(c.GetGraft()),
		} {
			if n > 0 {
				kinds[name] = true
			}
		}
	}
	if len(kinds) != 4 {
		t.Errorf("only %v", kinds)
	}
}
