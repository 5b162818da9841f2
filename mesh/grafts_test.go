package mesh

import (
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// TestGrafts: our own routine frames are spared only to who is not grafted and has
// had the time to find others, where enough are.
func TestGrafts(t *testing.T) {
	clock := new(testClock)
	later := func(d time.Duration) { clock.offset.Add(int64(d)) }
	g := newGrafts("routine", clock)
	check := func(when string, p peer.ID, want bool) {
		t.Helper()
		if g.spare(p) != want {
			t.Errorf("%s: spare is %v", when, !want)
		}
	}
	for _, p := range []peer.ID{"a", "b", "c", "new"} {
		g.came(p)
	}
	later(2 * pruneBackoff)
	g.set("a", "routine", true)
	g.set("b", "routine", true)
	g.set("c", "urgent", true)
	check("two are grafted", "new", false)
	g.set("c", "routine", true)
	check("three are grafted", "new", true)
	check("it is grafted", "a", false)
	g.came("new")
	check("it came again", "new", false)
	later(pruneBackoff - time.Second)
	check("it is still new", "new", false)
	later(2 * time.Second)
	check("it had time", "new", true)
	g.set("d", "routine", true)
	g.set("a", "routine", false)
	check("it was pruned", "a", false)
	later(pruneBackoff + time.Second)
	check("it was pruned long ago", "a", true)
	g.set("a", "routine", false)
	later(-24 * time.Hour)
	check("the clock was set back", "a", true)
	g.gone("b")
	g.gone("c")
	check("the others are gone", "new", false)
}
