package mesh

import (
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// TestQuietPulls: pulls from a neighbour that has nothing to say come further apart,
// and as usual again as soon as there was something.
func TestQuietPulls(t *testing.T) {
	const usual = 30 * time.Second
	s := &syncer{interval: usual, pulls: newAgenda[peer.ID](), neighbours: make(map[peer.ID]*neighbour)}
	n := &neighbour{}
	wait := func(quiet bool) time.Duration {
		s.pulls = newAgenda[peer.ID]()
		s.ended(n, syncEvent{kind: syncEnded, peer: "p", of: n, moved: true, quiet: quiet})
		d, ok := s.pulls.next()
		if !ok {
			t.Fatal("no further pull is planned")
		}
		return d
	}
	usually := func(d time.Duration) bool { return d <= usual*5/4 }
	for i := range quietPulls {
		if d := wait(true); !usually(d) {
			t.Fatalf("after %d quiet pulls it waits %v", i+1, d)
		}
	}
	for range 3 {
		if d := wait(true); usually(d) || d > quietRounds*usual*5/4 {
			t.Fatalf("after many quiet pulls it waits %v", d)
		}
	}
	if d := wait(false); !usually(d) {
		t.Fatalf("after there was something it waits %v", d)
	}
	if d := wait(true); !usually(d) {
		t.Fatalf("one quiet pull is enough to wait %v", d)
	}
}

// TestRounds: among many neighbours each is pulled from more seldom, all together no less often
// than each of few.
func TestRounds(t *testing.T) {
	const usual = 30 * time.Second
	s := &syncer{interval: usual, neighbours: make(map[peer.ID]*neighbour)}
	before := usual
	for n := 1; n <= 2*wantPeers; n++ {
		s.neighbours[peer.ID(rune(n))] = &neighbour{}
		d := s.round()
		switch {
		case d < before:
			t.Errorf("among %d neighbours the wait is %v, shorter than among fewer", n, d)
		case n < 2*pullsARound && d != usual:
			t.Errorf("among %d neighbours the wait is %v", n, d)
		case d > maxRounds*usual || d > usual && d > usual*time.Duration(n)/pullsARound:
			t.Errorf("%d neighbours, each every %v, are pulled from less often in all than %d every %v", n, d, pullsARound, usual)
		}
		before = d
	}
	if before != maxRounds*usual {
		t.Errorf("among many the wait is %v", before)
	}
	// Who is left when the others go is not left waiting as one of many.
	s.pulls, s.nudges, s.settling = newAgenda[peer.ID](), newAgenda[peer.ID](), newAgenda[peer.ID]()
	for p := range s.neighbours {
		s.pulls.set(p, 2*maxRounds*usual)
	}
	for n := 2; n <= 2*wantPeers; n++ {
		s.gone(peer.ID(rune(n)))
	}
	if d, ok := s.pulls.next(); !ok || len(s.pulls.left) != 1 || d > usual*5/4 {
		t.Errorf("the last neighbour is pulled from in %v (%v)", d, ok)
	}
}
