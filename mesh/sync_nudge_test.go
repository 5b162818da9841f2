package mesh

import (
	"io"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// TestNudgePassesPulls: who holds every slot for pulls does not keep others from
// hearing that there is something new.
func TestNudgePassesPulls(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.start(t, tcpCarrier, nil)
	b := w.start(t, tcpCarrier, func(cfg *Config) { cfg.Static = a.Addrs(); hide(cfg) })
	poll(t, "both have pulled", func() bool { return a.Stats().Pulls > 0 && b.Stats().Pulls > 0 })
	held := make(chan struct{}, 1000)
	for range maxPulls {
		d := w.member(t)
		v := launch(t, w, intruder{card: func(testing.TB, *world) card { return w.card(d, d.ticket(t, time.Now(), time.Hour)) }}, tcpCarrier, false)
		v.SetStreamHandler(SyncProtocol, func(s network.Stream) {
			if f, err := readFrame(s); err == nil && f.Type == typeNudge {
				s.Close()
				return
			}
			held <- struct{}{}
			io.Copy(io.Discard, s)
		})
		if err := v.Connect(t.Context(), infoOf(t, a.Addrs())); err != nil {
			t.Fatal(err)
		}
	}
	for range maxPulls {
		<-held // every slot is taken
	}
	a.store.put([]byte("not gossiped"))
	a.Nudge()
	b.store.awaitFrame(t, "not gossiped")
	if s := a.Stats(); s.Stalled+s.Yielded+s.PullsFailed > 0 {
		t.Errorf("it came only when a pull had ended: %+v", s)
	}
}

// newNudger is a syncer of which only the scheduling is used, with one neighbour, p.
func newNudger() (*syncer, *neighbour) {
	n := &neighbour{}
	return &syncer{
		interval: time.Minute, pulls: newAgenda[peer.ID](), nudges: newAgenda[peer.ID](), settling: newAgenda[peer.ID](),
		neighbours: map[peer.ID]*neighbour{"p": n},
	}, n
}

// TestNudgeIsTriedAgain: a nudge that fails is sent again, ever later, and not for ever.
func TestNudgeIsTriedAgain(t *testing.T) {
	s, n := newNudger()
	last := time.Duration(0)
	for i := range maxNudgeTries {
		n.nudging, s.nudging = true, 1
		s.handle(syncEvent{kind: syncNudged, peer: "p", of: n, err: io.ErrUnexpectedEOF})
		d, planned := s.nudges.next()
		if n.nudging || s.nudging != 0 {
			t.Fatal("it is still counted as under way")
		}
		if planned != (i < maxNudgeTries-1) || planned && d <= last {
			t.Errorf("after %d failures: again %v, in %v after %v", i+1, planned, d, last)
		}
		last = d
		s.nudges.drop("p")
	}
	s.handle(syncEvent{kind: syncNudged, peer: "p", of: n, err: io.ErrUnexpectedEOF})
	s.handle(syncEvent{kind: syncNudged, peer: "p", of: n})
	if n.nudged != 0 {
		t.Error("a nudge that arrived does not clear what failed before")
	}
	s.nudges.drop("p")
	s.handle(syncEvent{kind: syncNudged, peer: "p", of: &neighbour{}, err: io.ErrUnexpectedEOF})
	if _, planned := s.nudges.next(); planned {
		t.Error("a nudge of an earlier connection is sent again on this one")
	}
	// One at a time for a neighbour, and maxNudges in all.
	n.nudging = true
	s.nudge(t.Context(), "p")
	if d, ok := s.nudges.next(); !ok || d != s.nudgeDelay() {
		t.Error("the second for one neighbour does not wait")
	}
	n.nudging, s.nudging = false, maxNudges
	s.nudge(t.Context(), "p")
	if n.nudging || s.nudging != maxNudges {
		t.Error("there is no bound")
	}
}

// TestNudgeWhenSettled: a neighbour that is to be told when it is settled is told then, also where it
// was told something before, and where that is said before it is known to be up.
func TestNudgeWhenSettled(t *testing.T) {
	s, _ := newNudger()
	s.handle(syncEvent{kind: syncOwed, peer: "p"})
	s.handle(syncEvent{kind: syncOwed, peer: "p", after: settleTime})
	if due := s.nudges.advance(nudgeDelay); len(due) != 1 {
		t.Fatalf("%v are told after %v", due, nudgeDelay)
	}
	s.settling.advance(nudgeDelay)
	if due := s.settling.advance(settleTime - nudgeDelay); len(due) != 1 || due[0] != "p" {
		t.Errorf("%v are told when they are settled", due)
	}
	s.handle(syncEvent{kind: syncOwed, peer: "early", after: settleTime})
	s.handle(syncEvent{kind: syncUp, peer: "early"})
	if _, planned := s.settling.next(); !planned {
		t.Error("who was not known to be up is not told")
	}
	s.handle(syncEvent{kind: syncDown, peer: "early"})
	if _, planned := s.settling.next(); planned {
		t.Error("who is gone is told")
	}
}

// TestLackWhilePulling: what was turned away while a pull ran is pulled for soon after
// it, for the pull may have compared before.
func TestLackWhilePulling(t *testing.T) {
	s, n := newNudger()
	n.pulling = true
	s.handle(syncEvent{kind: syncLack, peer: "p"})
	if _, planned := s.pulls.next(); planned {
		t.Error("a pull is planned beside the one that runs")
	}
	s.running = 1
	s.handle(syncEvent{kind: syncEnded, peer: "p", of: n})
	if d, _ := s.pulls.next(); d > throttledPull {
		t.Errorf("the next pull is in %v", d)
	}
	s.running, n.pulling = 1, true
	s.handle(syncEvent{kind: syncEnded, peer: "p", of: n})
	if d, _ := s.pulls.next(); d <= throttledPull {
		t.Errorf("it is pulled from for ever: in %v", d)
	}
}
