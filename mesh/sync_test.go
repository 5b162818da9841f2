package mesh

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// villain is an admitted host without any of our manners.
func villain(t *testing.T, w *world, victim *station, c carrier) *attacker {
	t.Helper()
	d := w.member(t)
	v := launch(t, w, intruder{card: func(testing.TB, *world) card { return w.card(d, d.ticket(t, time.Now(), time.Hour)) }}, c, false)
	if err := v.Connect(t.Context(), infoOf(t, victim.Addrs())); err != nil {
		t.Fatal(err)
	}
	return v
}

func frameBytes(t *testing.T, f Frame) []byte {
	t.Helper()
	b, err := appendFrame(nil, f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// served is how many sessions of others a station is in.
func (s *station) served() int {
	s.syncer.serveMu.Lock()
	defer s.syncer.serveMu.Unlock()
	return len(s.syncer.serves)
}

func TestMalformedSync(t *testing.T) {
	eachCarrier(t, func(t *testing.T, c carrier) {
		t.Parallel()
		w := newWorld(t)
		victim := w.start(t, c, nil)
		victim.store.put([]byte("here"))
		v := villain(t, w, victim, c)
		have := frameBytes(t, Frame{Type: frameHave})
		for name, b := range map[string][]byte{
			"nothing":              nil,
			"half a header":        {1, 0, 0},
			"header only":          binary.BigEndian.AppendUint32([]byte{1, 0}, 10),
			"oversized":            binary.BigEndian.AppendUint32([]byte{1, 0}, MaxPayload+1),
			"huge":                 binary.BigEndian.AppendUint32([]byte{1, 0}, 1<<32-1),
			"random":               append([]byte{9}, randomBytes(t, 5000)...),
			"unknown type":         frameBytes(t, Frame{Type: 99}),
			"nudge with a payload": frameBytes(t, Frame{Type: typeNudge, Payload: []byte{1}}),
			"nudge in the middle":  append(bytes.Clone(have), frameBytes(t, Frame{Type: typeNudge})...),
			"more after the end":   append(bytes.Clone(have), have...),
			"more after a nudge":   append(frameBytes(t, Frame{Type: typeNudge}), have...),
		} {
			before := victim.Stats().ServesFailed
			s, err := v.NewStream(t.Context(), victim.ID(), SyncProtocol)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if _, err := answerTo(s, b); err != nil && !errors.Is(err, network.ErrReset) {
				t.Fatalf("%s: %v", name, err)
			}
			// A session is counted just before its place is free.
			poll(t, name, func() bool { return victim.Stats().ServesFailed == before+1 && victim.served() == 0 })
			s.Reset()
		}
		// Unharmed, and the neighbour still is one.
		v.pullFrom(t.Context(), victim.ID())
		if v.synced.Load() == 0 {
			t.Error("a good session fails after the bad ones")
		}
		if victim.Stats().Peers != 1 {
			t.Error("the neighbour is gone")
		}
	})
}

// A neighbour has two sessions at most, and others are served meanwhile.
func TestServeLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	victim := w.start(t, tcpCarrier, nil)
	v, other := villain(t, w, victim, tcpCarrier), villain(t, w, victim, tcpCarrier)
	var held []network.Stream
	for range maxServesPerPeer {
		s, err := v.NewStream(t.Context(), victim.ID(), SyncProtocol)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write([]byte{frameHave}); err != nil { // a frame that never ends
			t.Fatal(err)
		}
		held = append(held, s)
	}
	poll(t, "held sessions", func() bool { return victim.served() == maxServesPerPeer })
	v.pullFrom(t.Context(), victim.ID())
	if victim.Stats().ServesRefused != 1 || v.synced.Load() != 0 {
		t.Errorf("a third session: %+v", victim.Stats())
	}
	other.pullFrom(t.Context(), victim.ID())
	if other.synced.Load() != 1 {
		t.Error("another neighbour is not served meanwhile")
	}
	for _, s := range held {
		s.Reset()
	}
	poll(t, "freed sessions", func() bool { return victim.served() == 0 })
	v.pullFrom(t.Context(), victim.ID())
	if v.synced.Load() != 1 {
		t.Error("refused after the sessions were freed")
	}
}

// More than one session may move takes more sessions, and arrives whole.
func TestSessionLimit(t *testing.T) {
	eachCarrier(t, func(t *testing.T, c carrier) {
		w := newWorld(t)
		a := w.start(t, c, nil)
		const size, count = 60 << 10, maxSessionBytes/(60<<10) + 50
		for i := range count {
			a.store.put(binary.BigEndian.AppendUint64(make([]byte, size-8), uint64(i)))
		}
		b := w.start(t, c, func(cfg *Config) { cfg.Static = a.Addrs() })
		b.store.await(t, "everything", func() bool { return len(b.store.all()) == count })
		if s := b.Stats(); s.PullsFailed == 0 {
			t.Errorf("one session moved %d bytes: %+v", s.SyncIn, s)
		}
	})
}

// What a Syncer does wrong ends its session, not the connection.
type wrongSyncer struct {
	pull  func(SyncStream) error
	serve func(SyncStream) error
}

func (s wrongSyncer) Pull(_ context.Context, _ peer.ID, st SyncStream) error  { return s.pull(st) }
func (s wrongSyncer) Serve(_ context.Context, _ peer.ID, st SyncStream) error { return s.serve(st) }

func TestSyncerErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	errs := make(chan error, 100)
	a := w.start(t, tcpCarrier, func(cfg *Config) {
		cfg.Syncer = wrongSyncer{
			pull: func(st SyncStream) error { return errors.New("on purpose") },
			serve: func(st SyncStream) error {
				if _, err := st.Receive(); err != nil {
					return err
				}
				return errors.New("on purpose")
			},
		}
	})
	b := w.start(t, tcpCarrier, func(cfg *Config) {
		cfg.Static = a.Addrs()
		cfg.Syncer = wrongSyncer{
			pull: func(st SyncStream) error {
				errs <- st.Send(Frame{Type: typeNudge})
				errs <- st.Send(Frame{Type: 1, Payload: make([]byte, MaxPayload+1)})
				errs <- st.Send(Frame{Type: 1})
				_, err := st.Receive()
				return err
			},
			serve: func(st SyncStream) error { _, err := st.Receive(); return err },
		}
	})
	a.awaitPeer(t, b)
	for i, bad := range []bool{true, true, false} {
		if err := <-errs; (err != nil) != bad {
			t.Errorf("send %d: %v", i, err)
		}
	}
	poll(t, "failed sessions", func() bool {
		return a.Stats().PullsFailed > 0 && b.Stats().PullsFailed > 0 && a.Stats().ServesFailed > 0
	})
	if a.Stats().Peers != 1 || b.Stats().Peers != 1 {
		t.Error("the connection was closed")
	}
}

// Many requests make few pulls.
func TestSyncSoonCoalesces(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.start(t, tcpCarrier, nil)
	b := w.start(t, tcpCarrier, func(cfg *Config) { cfg.Static = a.Addrs() })
	a.awaitPeer(t, b)
	poll(t, "the first pull", func() bool { return b.Stats().Pulls > 0 })
	for range 10000 {
		b.SyncSoon("")
		b.SyncSoon(a.ID())
		b.SyncSoon("nobody")
	}
	before := b.Stats().Pulls
	poll(t, "a pull", func() bool { return b.Stats().Pulls > before })
	if n := b.Stats().Pulls; n > 100 {
		t.Errorf("30,000 requests made %d pulls", n)
	}
}

// The timer pulls without being asked.
func TestSyncInterval(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.start(t, tcpCarrier, nil)
	b := w.start(t, tcpCarrier, func(cfg *Config) {
		cfg.Static, cfg.SyncInterval = a.Addrs(), 20*time.Millisecond
	})
	a.awaitPeer(t, b)
	poll(t, "pulls", func() bool { return b.Stats().Pulls > 5 })
	a.store.put([]byte("by the timer"))
	b.store.awaitFrame(t, "by the timer")
}

// A failing neighbour is asked less and less often.
func TestSyncRetries(t *testing.T) {
	s := &syncer{interval: time.Minute, pulls: newAgenda[peer.ID]()}
	n := &neighbour{pulling: true}
	last := time.Duration(0)
	for range 10 {
		s.ended(n, syncEvent{peer: "p", err: io.ErrUnexpectedEOF})
		if n.retry < last || n.retry > time.Minute {
			t.Errorf("retry %v after %v", n.retry, last)
		}
		last = n.retry
	}
	if last != time.Minute {
		t.Errorf("ends at %v", last)
	}
	s.ended(n, syncEvent{peer: "p", err: ErrSessionLimit, moved: true})
	if d, _ := s.pulls.next(); n.retry != 0 || d > syncRetryMin {
		t.Errorf("after progress: retry %v, next in %v", n.retry, d)
	}
	for want := syncRetryMin; want <= 16*syncRetryMin; want *= 2 {
		s.ended(n, syncEvent{peer: "p", err: fmt.Errorf("node: %w", ErrNothingYet), moved: true})
		if d, _ := s.pulls.next(); n.retry != want || n.fails != 0 || d < want*3/4 || d > want*5/4 {
			t.Errorf("nothing to be had yet: retry %v, next in %v, not %v", n.retry, d, want)
		}
	}
	n.again = true
	s.ended(n, syncEvent{peer: "p"})
	if d, _ := s.pulls.next(); d > syncCoalesce || n.again {
		t.Errorf("asked for while pulling: next in %v", d)
	}
	s.ended(n, syncEvent{peer: "p"})
	if d, _ := s.pulls.next(); d < 45*time.Second || d > 75*time.Second {
		t.Errorf("after success: next in %v", d)
	}
}

// TestVainPulls: whom pulling from brings nothing of what it holds is not pulled from ever
// again because it says that we are behind; once a pull brings something, or something changed here, it is heard at once.
func TestVainPulls(t *testing.T) {
	s := &syncer{interval: 30 * time.Second, pulls: newAgenda[peer.ID](), neighbours: make(map[peer.ID]*neighbour)}
	n := &neighbour{}
	s.neighbours["p"] = n
	ask := func(pulling bool, err error) time.Duration {
		t.Helper()
		s.pulls, n.pulling = newAgenda[peer.ID](), pulling
		s.handle(syncEvent{kind: syncBehind, peer: "p"})
		if pulling {
			s.ended(n, syncEvent{peer: "p", moved: true, err: err})
		}
		d, ok := s.pulls.next()
		if !ok || s.pulls.left["p"] != d {
			t.Fatal("no pull is planned")
		}
		return d
	}
	vain := fmt.Errorf("node: %w", ErrNothingNew)
	for i := range vainPulls - 1 {
		if d := ask(true, vain); d > syncCoalesce {
			t.Fatalf("after %d in vain it waits %v", i+1, d)
		}
	}
	for _, want := range []time.Duration{1, 2, 4, 8, 16} {
		want *= time.Second
		if d := ask(true, vain); d != want || n.retry != 0 || n.fails != 0 {
			t.Fatalf("waits %v, not %v", d, want)
		}
		if d := ask(false, nil); d != want {
			t.Fatalf("asked for between pulls it waits %v, not %v", d, want)
		}
	}
	for range 100 {
		if d := ask(true, vain); d > s.interval {
			t.Fatalf("waits %v, longer than without being asked", d)
		}
	}
	// What gossip may have lost, and our own wishes, wait for nothing.
	s.soon("p")
	if d, _ := s.pulls.next(); d > syncCoalesce {
		t.Fatalf("a nudge waits %v", d)
	}
	s.soon("")
	if d := ask(false, nil); d > syncCoalesce {
		t.Fatalf("after a change here it waits %v", d)
	}
	for range 100 {
		ask(true, vain)
	}
	if d := ask(true, nil); d > syncCoalesce || n.vain != 0 {
		t.Fatalf("after something came it waits %v", d)
	}
}
