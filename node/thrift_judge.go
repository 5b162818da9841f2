package node

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"tocsin/ledger"
)

// linkReading is what the mesh measured of the line to one neighbour; zero where
// it is not known.
type linkReading struct {
	latency time.Duration // of a round trip
	goodput float64       // bytes a second, while it was the bottleneck
	loss    float64       // share of packets
}

// What makes a line bad. What lies between bad and good changes nothing.
const (
	badLatency, goodLatency = 600 * time.Millisecond, 300 * time.Millisecond
	badGoodput, goodGoodput = 16 << 10, 48 << 10 // bytes a second: 128 and 384 kbit/s
	badLoss, goodLoss       = 0.08, 0.03
)

const (
	// thriftEnter is how many looks in a row must find all lines bad.
	thriftEnter = 3
	// thriftLeave is how many in a row must find one good. It doubles each time
	// that the mode was left too early, up to thriftLeaveMost: a line that is not
	// used looks better than it is.
	thriftLeave     = 12
	thriftLeaveMost = 192
	// thriftEarly is within how many looks after it was left it is too early.
	thriftEarly = 60
)

// thriftJudge decides when low-bandwidth mode is on. It is a pure function of the
// readings that it was shown, one look after the other.
type thriftJudge struct {
	on    bool
	bad   int // looks in a row that found all lines bad
	good  int // looks in a row that found one good
	leave int // how many of these it takes now; 0 means thriftLeave
	since int // looks since it was left; 0 if it never was
	why   string
}

// look takes one reading of every line and says whether the mode is on, and why.
// Without any neighbour nothing changes.
func (j *thriftJudge) look(links []linkReading) (on bool, why string) {
	if j.since > 0 {
		j.since++
	}
	if len(links) == 0 {
		j.bad, j.good = 0, 0
		return j.on, j.why
	}
	bad, good, what := assess(links)
	if j.bad++; !bad {
		j.bad = 0
	}
	if j.good++; !good {
		j.good = 0
	}
	switch {
	case !j.on && j.bad >= thriftEnter:
		if j.since > 0 && j.since <= thriftEarly {
			j.leave = min(2*max(j.leave, thriftLeave), thriftLeaveMost)
		} else {
			j.leave = thriftLeave
		}
		j.on = true
	case j.on && j.good >= j.leave:
		j.on, j.since, j.why = false, 1, ""
	}
	if j.on && bad {
		j.why = what
	}
	return j.on, j.why
}

// assess says whether all lines are bad, with words for the best of them, and
// whether one is good: what is to be had goes by that one.
func assess(links []linkReading) (bad, good bool, why string) {
	bad = true
	for _, l := range links {
		w := l.flaw()
		bad = bad && w != ""
		good = good || l.good()
		if why == "" {
			why = w
		}
	}
	return bad, good, why
}

// flaw says in words what makes a line bad, empty if nothing does.
func (l linkReading) flaw() string {
	switch {
	case l.goodput > 0 && l.goodput < badGoodput:
		return fmt.Sprintf("the line carries %.0f kbit/s", l.goodput*8/1000)
	case l.loss >= badLoss:
		return fmt.Sprintf("the line loses %.0f %% of what is sent", l.loss*100)
	case l.latency >= badLatency:
		return fmt.Sprintf("an answer takes %d ms", l.latency.Milliseconds())
	}
	return ""
}

func (l linkReading) good() bool {
	return (l.goodput == 0 || l.goodput >= goodGoodput) && l.loss < goodLoss && l.latency < goodLatency
}

// newestFirst sorts entries by their authors' clocks, falling.
func newestFirst(entries []*ledger.Entry) []*ledger.Entry {
	out := slices.Clone(entries)
	slices.SortStableFunc(out, func(a, b *ledger.Entry) int { return cmp.Compare(b.Header.HLC, a.Header.HLC) })
	return out
}
