package node

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"tocsin/mesh"
)

var (
	goodLine = linkReading{latency: 5 * time.Millisecond}
	badLine  = linkReading{latency: 800 * time.Millisecond, loss: 0.1}
	slowLine = linkReading{latency: 50 * time.Millisecond, goodput: 8000}
	middling = linkReading{latency: 400 * time.Millisecond}
)

// looks shows a judge the same lines k times and returns what it says in the end.
func looks(j *thriftJudge, k int, links ...linkReading) bool {
	on := j.on
	for range k {
		on, _ = j.look(links)
	}
	return on
}

func TestThriftJudge(t *testing.T) {
	for name, line := range map[string]linkReading{"bad": badLine, "slow": slowLine, "lossy": {loss: 0.1}} {
		var j thriftJudge
		if looks(&j, thriftEnter-1, line) {
			t.Errorf("%s: it switches on at the first bad moment", name)
		}
		if !looks(&j, 1, line) {
			t.Errorf("%s: it stays off", name)
		}
		if _, why := j.look([]linkReading{line}); why == "" {
			t.Errorf("%s: it does not say why", name)
		}
		if !looks(&j, 1000, middling) {
			t.Errorf("%s: what is neither bad nor good switches it off", name)
		}
		if !looks(&j, thriftLeave-1, goodLine) || looks(&j, 1, goodLine) {
			t.Errorf("%s: it is not left after %d good looks", name, thriftLeave)
		}
	}
	var j thriftJudge
	if looks(&j, 1000, badLine, goodLine) {
		t.Error("one good line is enough, and it is not used")
	}
	if looks(&j, 1000, middling) {
		t.Error("what is neither bad nor good switches it on")
	}
	if looks(&j, 1000) {
		t.Error("without neighbours it switches on")
	}
	looks(&j, thriftEnter, badLine)
	if !looks(&j, 1000) {
		t.Error("without neighbours it switches off")
	}
}

// TestThriftJudgeSettles: a line that looks good only while it is not used does
// not switch the mode to and fro for ever.
func TestThriftJudgeSettles(t *testing.T) {
	var j thriftJudge
	switches, last := 0, false
	for range 6 * 60 { // an hour
		line := slowLine
		if j.on {
			line = goodLine // nothing is sent: nothing is measured
		}
		if on, _ := j.look([]linkReading{line}); on != last {
			switches, last = switches+1, on
		}
	}
	if switches > 12 {
		t.Errorf("it switched %d times in an hour", switches)
	}
}

// TestThriftIsLeft: the mode is left when the line is good again although nothing is
// measured in it, for nothing is sent: what the mesh measured it forgets.
func TestThriftIsLeft(t *testing.T) {
	var j thriftJudge
	if !looks(&j, thriftEnter, slowLine) {
		t.Fatal("it stays off")
	}
	// mesh.Peers says the last it knows for so long, and then that it knows nothing.
	if !looks(&j, int(mesh.PaceMemory/thriftTick), slowLine) {
		t.Error("it is left while the line is known to be slow")
	}
	if !looks(&j, thriftLeave-1, goodLine) || looks(&j, 1, goodLine) {
		t.Errorf("it is not left %v after the last measurement", mesh.PaceMemory+thriftLeave*thriftTick)
	}
}

// TestThriftJudgeIsSteady: whatever the readings, it never switches on with fewer
// bad looks in a row than it says, nor off with fewer good ones.
func TestThriftJudgeIsSteady(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var j thriftJudge
		bad, good, last := 0, 0, false
		for range rapid.IntRange(1, 200).Draw(rt, "looks") {
			line := rapid.SampledFrom([]linkReading{goodLine, badLine, slowLine, middling}).Draw(rt, "line")
			if bad++; line.flaw() == "" {
				bad = 0
			}
			if good++; !line.good() {
				good = 0
			}
			if line.flaw() != "" && line.good() {
				rt.Fatal("a line is bad and good")
			}
			on, _ := j.look([]linkReading{line})
			if on && !last && bad < thriftEnter || !on && last && good < thriftLeave {
				rt.Fatalf("switched after %d bad and %d good looks", bad, good)
			}
			last = on
		}
	})
}
