package mesh

import (
	"log/slog"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
)

// TestStrangersArePulledFromFirst: where more neighbours are due than there are slots, those of whom nothing is held
// go before the rest, in half of the slots and once each time that they are met.
func TestStrangersArePulledFromFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	busy := w.start(t, tcpCarrier, func(*Config) {})
	cfg := Config{Syncer: busy.store, Clock: busy.clock, Logger: slog.New(slog.DiscardHandler), Known: func(p peer.ID) bool { return p < "s" }}
	s := newSyncer(busy.host, &cfg, new(counters))
	all := []peer.ID{"a", "b", "c", "s1", "s2", "s3"}
	for _, p := range all {
		s.handle(syncEvent{kind: syncUp, peer: p})
		s.due(p)
	}
	s.running = 2 // others, so that two slots are left
	s.start(t.Context())
	for p, want := range map[peer.ID]bool{"a": false, "b": false, "c": false, "s1": true, "s2": true, "s3": false} {
		if n := s.neighbours[p]; n.pulling != want {
			t.Errorf("%s is pulled from: %v", p, n.pulling)
		}
	}
	s.running = 2 // two more slots, while both strangers still have theirs
	s.start(t.Context())
	for p, want := range map[peer.ID]bool{"a": true, "b": true, "c": false, "s3": false} {
		if n := s.neighbours[p]; n.pulling != want {
			t.Errorf("while strangers have half of the slots %s is pulled from: %v", p, n.pulling)
		}
	}
	first := s.neighbours["s1"]
	s.handle(syncEvent{kind: syncEnded, peer: "s1", of: first})
	if s.strangers != 1 || s.candidate("s1").stranger {
		t.Errorf("%d strangers, and who was asked is one: %v", s.strangers, s.candidate("s1").stranger)
	}
	if !s.candidate("s3").stranger {
		t.Error("who was not asked yet is no stranger")
	}
	s.handle(syncEvent{kind: syncDown, peer: "s2"})
	s.handle(syncEvent{kind: syncUp, peer: "s2"})
	s.handle(syncEvent{kind: syncEnded, peer: "s2", of: &neighbour{}})
	if !s.candidate("s2").stranger {
		t.Error("who comes back and is not known is no stranger")
	}
	s.work.Wait()
}
