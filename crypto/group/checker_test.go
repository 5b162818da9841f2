package group

import (
	"os"
	"strconv"
	"testing"
)

// checkerDepth is the number of actions of every interleaving. It can be raised
// with TOCSIN_CHECKER_DEPTH.
const checkerDepth = 6

func checkerDepthOf(t *testing.T) int {
	n, err := strconv.Atoi(os.Getenv("TOCSIN_CHECKER_DEPTH"))
	if err != nil {
		return checkerDepth
	}
	return n
}

// TestCheckerEpochProtocol walks every interleaving: the attacker reads exactly
// what the claims allow, in every state, and each kind of question was put.
func TestCheckerEpochProtocol(t *testing.T) {
	t.Parallel()
	x := &explorer{depth: checkerDepthOf(t), seen: make(map[[16]byte]int8)}
	s := firstState()
	if err := x.walk(&s, x.depth); err != nil {
		t.Fatal(err)
	}
	t.Logf("depth %d: %d states, %d transitions; questions: %+v", x.depth, x.states, x.steps, x.count)
	if c := x.count; c.secrecy == 0 || c.forward == 0 || c.healing == 0 || c.removal == 0 || c.authentication == 0 || c.read == 0 {
		t.Errorf("a question was never put: %+v", c)
	}
}

// TestCheckerFindsPlantedAttacks: with any one protection off, the same walk
// finds an attack.
func TestCheckerFindsPlantedAttacks(t *testing.T) {
	t.Parallel()
	for what, f := range map[string]flaws{
		"epoch secrets are kept":               {keepSecret: true},
		"private prekeys are kept":             {keepPreKeys: true},
		"chain keys do not move":               {noRatchet: true},
		"wraps for removed members":            {sealRemoved: true},
		"sends under an epoch of another list": {anyEpoch: true},
		"authors are not signed":               {noSignature: true},
	} {
		found := false
		for depth := 1; depth <= checkerDepth && !found; depth++ {
			x := &explorer{flaws: f, depth: depth, seen: make(map[[16]byte]int8)}
			s := firstState()
			if err := x.walk(&s, depth); err != nil {
				t.Logf("%s: %v", what, err)
				found = true
			}
		}
		if !found {
			t.Errorf("%s: no attack found in %d steps", what, checkerDepth)
		}
	}
}
