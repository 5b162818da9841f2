package mesh

import (
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
)

// TestGrafts: our own routine frames are spared only to who is not grafted, where
// enough others are.
func TestGrafts(t *testing.T) {
	g := newGrafts("routine")
	check := func(when string, p peer.ID, want bool) {
		t.Helper()
		if g.spare(p) != want {
			t.Errorf("%s: spare is %v", when, !want)
		}
	}
	g.set("a", "routine", true)
	g.set("b", "routine", true)
	g.set("c", "urgent", true)
	check("two are grafted", "new", false)
	g.set("c", "routine", true)
	check("three are grafted", "new", true)
	check("it is grafted", "a", false)
	g.set("d", "routine", true)
	g.set("a", "routine", false)
	check("it was pruned", "a", true)
	g.gone("b")
	check("the others are gone", "new", false)
}
