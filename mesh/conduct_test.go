package mesh

import (
	"fmt"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

func TestConduct(t *testing.T) {
	now := time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)
	c := newConduct()
	times := func(p peer.ID, word string, n int) (cut bool) {
		for range n {
			cut = c.blame(p, "org", word, now) || cut
		}
		return cut
	}
	if times("p", blameFlood, 99) {
		t.Fatal("99 points cut")
	}
	if s := c.score("p", now); s != -99 {
		t.Errorf("the score is %v", s)
	}
	if now = now.Add(10 * time.Minute); c.score("p", now) != 0 {
		t.Error("nothing is forgiven")
	}
	times("p", blameFlood, 30)
	if !times("p", blameMalformed, 4) || !c.barred("p", now) || c.barred("q", now) {
		t.Fatal("110 points do not cut p, or cut another")
	}
	cut := c.list()[0]
	if cut.Peer != "p" || cut.Reason != blameMalformed || cut.Org != "org" || cut.Until != now.Add(banMin) {
		t.Errorf("%+v", cut)
	}
	// While it is cut off, what still comes in from before changes nothing.
	if times("p", blameMalformed, 10) || len(c.list()) != 1 {
		t.Error("it was cut twice")
	}
	if now = now.Add(banMin); c.barred("p", now) {
		t.Error("it is cut off for ever")
	}
	for n, want := range []time.Duration{banMin * 2, banMin * 4, banMin * 8, banMin * 16, banMax, banMax} {
		if !times("p", "x", 20) {
			t.Fatal("not cut")
		}
		if got := c.list()[0].Until.Sub(now); got != want {
			t.Errorf("time %d lasts %v, want %v", n+2, got, want)
		}
		now = now.Add(want)
	}
	// A clock that was stepped back keeps nobody out.
	times("r", "x", 10)
	if c.barred("r", now.AddDate(-1, 0, 0)) {
		t.Error("barred by a clock that was stepped back")
	}
	for i := range 2 * maxMarked {
		p := peer.ID(fmt.Sprint(i))
		c.blame(p, "", blameFlood, now)
		times(peer.ID(fmt.Sprint("cut ", i)), "x", 10)
	}
	if len(c.marks) > maxMarked || len(c.bans) > maxMarked || len(c.list()) != maxCuts {
		t.Errorf("%d marks, %d bans, %d cuts", len(c.marks), len(c.bans), len(c.list()))
	}
}

// TestVisits: who comes and goes without end is cut off; who is on a link that breaks every
// second, or was copied, is not, and the memory of it is bounded.
func TestVisits(t *testing.T) {
	clock := &stillClock{now: time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)}
	cfg := &Config{Clock: clock}
	l := &links{}
	d := newDefence(cfg, l, newCounters())
	for range 1800 {
		l.visited("broken link", false)
		clock.now = clock.now.Add(time.Second)
	}
	for range 7200 {
		l.visited("two copies", true)
		clock.now = clock.now.Add(250 * time.Millisecond)
	}
	before := clock.now
	clock.now = clock.now.Add(-time.Hour) // a clock that was stepped back blames nobody
	l.visited("broken link", false)
	clock.now = before
	if cuts := d.conduct.list(); len(cuts) != 0 || d.conduct.score("broken link", clock.now) != 0 || d.conduct.score("two copies", clock.now) != 0 {
		t.Fatalf("a link that breaks, or a copy, is blamed: %+v", cuts)
	}
	came := 0
	for ; !l.isBarred("restless") && came < 1000; came++ {
		l.visited("restless", false)
		clock.now = clock.now.Add(200 * time.Millisecond)
	}
	if cuts := d.conduct.list(); came > 100 || len(cuts) != 1 || cuts[0].Reason != blameRestless {
		t.Fatalf("after %d visits: %+v", came, cuts)
	}
	for n := range 3 * maxMarked {
		l.visited(peer.ID(fmt.Sprint(n)), false)
	}
	if len(d.visits) > maxMarked {
		t.Errorf("%d are remembered", len(d.visits))
	}
}

// TestPace: goodput is measured while a link is busy, and an idle one says nothing.
func TestPace(t *testing.T) {
	p := newPace(&stillClock{now: time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)})
	for range 100 {
		p.moved(100, time.Microsecond, false)
	}
	if p.goodput() != 0 {
		t.Errorf("an idle link makes %v bytes a second", p.goodput())
	}
	for range 100 {
		p.moved(800, 100*time.Millisecond, true)
	}
	if g := p.goodput(); g < 7900 || g > 8100 {
		t.Errorf("64 kb/s are measured as %v bytes a second", g)
	}
	p.moved(1<<20, -time.Hour, true)
	p.moved(1<<20, 24*time.Hour, true)
	p.session(1<<20, -time.Second)
	if g := p.goodput(); g < 7900 || g > 8100 {
		t.Errorf("a stepped clock makes it %v", g)
	}
	p.session(1<<20, time.Second)
	if g := p.goodput(); g < 100_000 {
		t.Errorf("a fast session leaves it at %v", g)
	}
}

func TestHolders(t *testing.T) {
	h := newHolders("self")
	id := func(i int) frameID { return frameID{byte(i), byte(i >> 8), 1} }
	h.note(id(0), "p")
	h.note(id(0), "q")
	h.note(id(1), "self")
	if !h.has(id(0), "p") || !h.has(id(0), "q") || h.has(id(0), "r") || h.own(id(0)) || !h.own(id(1)) {
		t.Error("who has what is mixed up")
	}
	for i := range holdersKept {
		h.note(id(i+2), "p")
	}
	if !h.has(id(0), "q") {
		t.Error("the last generation is forgotten")
	}
	h.note(id(0), "r")
	if !h.has(id(0), "q") || !h.has(id(0), "r") {
		t.Error("what is noted again is forgotten")
	}
	for i := range 3 * holdersKept {
		h.note(id(i+5000), "p")
	}
	if h.has(id(0), "q") || len(h.now)+len(h.old) > 2*holdersKept {
		t.Errorf("%d frames are remembered", len(h.now)+len(h.old))
	}
}
