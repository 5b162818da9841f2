package mesh

import (
	"fmt"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// classed makes a station label frames by their first letters.
func classed(cfg *Config) { cfg.Classify = byFirstLetter }

// TestThrift: on a thin link routine gossip stays out and urgent gossip comes in;
// what the device itself says still reaches everybody. Off again, all comes in.
func TestThrift(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.start(t, tcpCarrier, func(cfg *Config) { classed(cfg); cfg.Unsafe.NoSync = true })
	join := func(cfg *Config) { classed(cfg); cfg.Static = a.Addrs(); cfg.Unsafe.NoSync = true }
	b, c := w.start(t, tcpCarrier, join), w.start(t, tcpCarrier, join)
	topics := func(s *station, n int) func() bool {
		return func() bool { return len(s.gossip.routine.ListPeers()) == n && len(s.gossip.urgent.ListPeers()) == 2 }
	}
	poll(t, "both topics", topics(a, 2))
	b.SetThrift(true)
	b.SetThrift(true)
	if !b.Thrift() {
		t.Error("it does not say so")
	}
	poll(t, "b has left the routine topic", topics(a, 1))
	a.say(t, "routine one")
	c.store.awaitFrame(t, "routine one")
	a.say(t, "urgent one")
	b.store.awaitFrame(t, "urgent one")
	if b.store.has("routine one") {
		t.Error("routine gossip came over a thin link")
	}
	b.say(t, "routine of b")
	a.store.awaitFrame(t, "routine of b")
	poll(t, "a graft between a and c", func() bool { return a.gossip.grafts.has(c.ID()) })
	b.say(t, "routine of b again")
	c.store.awaitFrame(t, "routine of b again")
	b.SetThrift(false)
	poll(t, "b is back", topics(a, 2))
	poll(t, "routine gossip", func() bool {
		a.say(t, "routine two")
		return b.store.has("routine two")
	})
	if got := b.syncer.round(); got != b.syncer.interval {
		t.Errorf("the round is %v", got)
	}
}

// TestWrongTopic: routine frames do not travel as urgent ones.
func TestWrongTopic(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.start(t, tcpCarrier, classed)
	liar := w.start(t, tcpCarrier, func(cfg *Config) {
		cfg.Static = a.Addrs()
		cfg.Classify = func([]byte) Label { return Label{Class: ClassUrgent} }
	})
	a.awaitPeer(t, liar)
	poll(t, "a rejection", func() bool {
		liar.say(t, "routine "+time.Now().String())
		return a.Stats().Blamed[blameTopic] > 0
	})
	if a.Stats().Accepted != 0 {
		t.Error("a frame in the wrong topic was accepted")
	}
}

func TestFavour(t *testing.T) {
	at := time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)
	got := favour([]Peer{
		{ID: "bad", Score: -50, Goodput: 1e6, Since: at},
		{ID: "near", Latency: time.Millisecond, Since: at},
		{ID: "unknown", Since: at.Add(-time.Hour)},
		{ID: "fast", Goodput: 1e5, Latency: time.Second, Since: at},
	}, thriftPeers)
	if len(got) != thriftPeers || !got["fast"] || !got["near"] {
		t.Errorf("favoured: %v", got)
	}
	if got := favour(nil, thriftPeers); len(got) != 0 {
		t.Errorf("favoured of none: %v", got)
	}
	g := &gossip{grafts: newGrafts("t"), label: byFirstLetter}
	routine, urgent := Label{Class: ClassRoutine}, Label{Class: ClassUrgent}
	if g.spare("p", routine, true) {
		t.Error("without grafts our own frames go nowhere")
	}
	for _, p := range []peer.ID{"a", "b", "c"} {
		g.grafts.set(p, "t", true)
		g.grafts.set("x"+p, "another topic", true)
	}
	if !g.spare("p", routine, true) || g.spare("a", routine, true) || g.spare("p", urgent, true) || g.spare("p", routine, false) {
		t.Error("the wrong frames are spared")
	}
	g.thrift.Store(true)
	g.favoured.Store(&favoured{sent: map[peer.ID]bool{"a": true}})
	if !g.spare("b", routine, true) || g.spare("a", routine, true) || g.spare("b", urgent, true) || !g.spare("a", routine, false) {
		t.Error("in thrift the wrong frames are spared")
	}
}

// TestThriftFavoursListeners: our own routine frames go to neighbours that are in the
// topic of them, whoever else there is and whoever comes and goes.
func TestThriftFavoursListeners(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	quiet := func(cfg *Config) { classed(cfg); cfg.Unsafe.NoSync = true; hide(cfg) }
	a := w.start(t, tcpCarrier, func(cfg *Config) { classed(cfg); cfg.Unsafe.NoSync = true })
	join := func(cfg *Config) { quiet(cfg); cfg.Static = a.Addrs() }
	var others []*station
	for range thriftPeers + 1 {
		others = append(others, w.start(t, tcpCarrier, join))
	}
	last := others[thriftPeers]
	a.SetThrift(true)
	for _, s := range others[:thriftPeers] {
		s.SetThrift(true)
	}
	poll(t, "the choice of the only one that listens", func() bool {
		f := a.gossip.favoured.Load()
		return len(f.sent) == 1 && f.sent[last.ID()]
	})
	n := 0
	poll(t, "a routine frame", func() bool { // the streams may only just be opening
		n++
		a.say(t, fmt.Sprint("routine ", n))
		got, _ := last.store.touched()
		return got > 0
	})
	last.SetThrift(true)
	others[0].SetThrift(false)
	poll(t, "the choice of another", func() bool {
		f := a.gossip.favoured.Load()
		return len(f.sent) == 1 && f.sent[others[0].ID()]
	})
	a.SetThrift(false)
	if a.gossip.favoured.Load() != nil {
		t.Error("somebody is favoured where all are sent everything")
	}
}

// TestThriftAmongThemselves: where all are on thin links, our own routine frames come
// by a nudge.
func TestThriftAmongThemselves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hasty := func(cfg *Config) {
		classed(cfg)
		cfg.Clock = hastyClock{time.Now()}
		cfg.SyncInterval = 10_000 * time.Hour // not by the timer
	}
	a := w.start(t, tcpCarrier, hasty)
	b := w.start(t, tcpCarrier, func(cfg *Config) { hasty(cfg); cfg.Static = a.Addrs() })
	for _, s := range []*station{a, b} {
		s.SetThrift(true)
	}
	poll(t, "that nobody listens", func() bool {
		f := a.gossip.favoured.Load()
		return len(f.sent) == 0 && f.told == b.ID() && len(a.gossip.mayMiss("")) == 0 && b.Stats().Pulls > 0
	})
	a.say(t, "routine one")
	b.store.awaitFrame(t, "routine one")
}
