package mesh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"pgregory.net/rapid"
)

// hastyClock is a clock on which time passes 500 times as fast as the process's.
type hastyClock struct{ start time.Time }

const haste = 500

func (c hastyClock) Now() time.Time                         { return c.start.Add(haste * time.Since(c.start)) }
func (c hastyClock) After(d time.Duration) <-chan time.Time { return time.After(d / haste) }

// TestSlowNeighbours: as many slow neighbours as there are slots delay a good
// one by a tick, whether they say nothing at all or drip for ever.
func TestSlowNeighbours(t *testing.T) {
	for name, behave := range map[string]func(network.Stream){
		"silent": func(s network.Stream) { io.Copy(io.Discard, s) },
		"dripping": func(s network.Stream) {
			for n := 0; ; n++ {
				b, err := appendFrame(nil, Frame{Type: frameEntry, Payload: fmt.Appendf(nil, "drip %d", n%10)})
				if err != nil {
					panic(err) // it is small
				}
				if _, err := s.Write(b); err != nil {
					return
				}
				<-time.After(time.Millisecond)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			victim := w.start(t, tcpCarrier, func(cfg *Config) { cfg.Clock = hastyClock{time.Now()} })
			held := make(chan struct{}, 1000)
			for range maxPulls {
				d := w.member(t)
				v := launch(t, w, intruder{card: func(testing.TB, *world) card { return w.card(d, d.ticket(t, time.Now(), 24*time.Hour)) }}, tcpCarrier, false)
				v.SetStreamHandler(SyncProtocol, func(s network.Stream) {
					held <- struct{}{}
					behave(s)
				})
				if err := v.Connect(t.Context(), infoOf(t, victim.Addrs())); err != nil {
					t.Fatal(err)
				}
			}
			for range maxPulls {
				<-held // every slot is taken
			}
			good := w.start(t, tcpCarrier, func(cfg *Config) { cfg.Static = victim.Addrs() })
			good.store.put([]byte("from the good one"))
			victim.store.awaitFrame(t, "from the good one")
			s := victim.Stats()
			if s.Stalled+s.Yielded == 0 {
				t.Errorf("no slow session was ended: %+v", s)
			}
		})
	}
}

// TestServeMakesRoom: where all sessions to be served are taken, the longest
// ends, and not before it has lasted a tick.
func TestServeMakesRoom(t *testing.T) {
	s := &syncer{serving: make(map[peer.ID]int)}
	var ended []error
	for i := range maxServes {
		v := &serve{peer: peer.ID(fmt.Sprint(i / 2)), yield: func(err error) { ended = append(ended, err) }}
		if !s.enter(v) {
			t.Fatalf("session %d was refused", i)
		}
	}
	late := &serve{peer: "late"}
	if s.enter(late) || len(ended) != 0 {
		t.Fatalf("more than %d sessions, or a young one ended: %v", maxServes, ended)
	}
	s.serves[0].ticks.Store(1)
	first := s.serves[0]
	if s.enter(late) || len(ended) != 1 || !errors.Is(ended[0], errYielded) {
		t.Fatalf("the longest session goes on: %v", ended)
	}
	s.leave(first)
	if !s.enter(late) {
		t.Fatal("there is room and it is not given")
	}
}

// TestRefusedIsCounted: what the other side did wrong is counted by its word.
func TestRefusedIsCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.start(t, tcpCarrier, nil)
	b := w.start(t, tcpCarrier, func(cfg *Config) {
		cfg.Static = a.Addrs()
		cfg.Syncer = wrongSyncer{
			pull: func(SyncStream) error {
				return fmt.Errorf("wrapped: %w", Refused("greedy", errors.New("on purpose")))
			},
			serve: func(SyncStream) error { return errors.New("nobody's fault") },
		}
	})
	poll(t, "a refusal", func() bool { return b.Stats().SyncRefused["greedy"] > 0 })
	poll(t, "a failure", func() bool { return b.Stats().ServesFailed > 0 })
	if n := len(b.Stats().SyncRefused); n != 1 {
		t.Errorf("counted: %v", b.Stats().SyncRefused)
	}
	if Refused("x", nil) != nil {
		t.Error("nothing was refused")
	}
}

// TestWatch: a session that moves is left alone, one that does not ends after
// two looks, and one that is to yield after one.
func TestWatch(t *testing.T) {
	clock := &tickClock{ticks: make(chan time.Time)}
	s := &syncer{clock: clock}
	run := func(ses *session, yield bool) (<-chan error, context.CancelFunc) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go s.watch(ctx, ses, func() bool { return yield }, func(err error) { ended <- err })
		return ended, cancel
	}
	ses := newSession(nil, nil)
	ended, cancel := run(ses, false)
	for range 10 {
		ses.passed.Add(1)
		clock.ticks <- time.Time{}
	}
	clock.ticks <- time.Time{} // it may have seen the last frame already
	select {
	case err := <-ended:
		t.Errorf("a session that moves: %v", err)
	default:
	}
	clock.ticks <- time.Time{}
	if err := <-ended; !errors.Is(err, errStalled) {
		t.Errorf("a session that stands still: %v", err)
	}
	cancel()
	ended, cancel = run(ses, true)
	defer cancel()
	clock.ticks <- time.Time{}
	if err := <-ended; !errors.Is(err, errYielded) {
		t.Errorf("a session that is to yield: %v", err)
	}
}

// tickClock passes time when the test says so.
type tickClock struct{ ticks chan time.Time }

func (c *tickClock) Now() time.Time                       { return time.Time{} }
func (c *tickClock) After(time.Duration) <-chan time.Time { return c.ticks }

// TestChoose: who is asked first.
func TestChoose(t *testing.T) {
	const round = 30 * time.Second
	cs := []candidate{
		{waited: 10 * time.Second},
		{waited: 40 * time.Second},
		{news: true, waited: time.Second},
		{news: true, waited: 20 * time.Second, failures: 1},
		{waited: 70 * time.Second, failures: 2},
		{news: true, stranger: true},
		{news: true, stranger: true, waited: time.Second / 2},
	}
	for _, c := range []struct {
		running, free, strange int
		want                   []int
	}{
		{0, 4, 0, []int{2, 6, 5, 4}},
		{0, 7, 0, []int{2, 6, 5, 4, 1, 0, 3}},
		{0, 7, 1, []int{5, 2, 6, 4, 1, 0, 3}},
		{0, 4, 2, []int{6, 5, 2, 4}},
		{0, 1, 0, []int{2, 6}}, // never one alone
		{1, 0, 0, []int{2}},
		{4, 0, 2, nil},
	} {
		got := choose(cs, round, c.running, c.free, c.strange)
		if !slices.Equal(got, c.want) {
			t.Errorf("%d running, %d free: %v, want %v", c.running, c.free, got, c.want)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		var cs []candidate
		for range rapid.IntRange(0, 12).Draw(rt, "neighbours") {
			cs = append(cs, candidate{
				news:     rapid.Bool().Draw(rt, "news"),
				waited:   time.Duration(rapid.IntRange(0, 600).Draw(rt, "waited")) * time.Second,
				failures: rapid.IntRange(0, 5).Draw(rt, "failures"),
				stranger: rapid.Bool().Draw(rt, "stranger"),
			})
		}
		got := choose(cs, round, 0, rapid.IntRange(0, 6).Draw(rt, "free"), rapid.IntRange(0, 2).Draw(rt, "strange"))
		if len(got) < min(minPeers, len(cs)) {
			rt.Fatalf("%d of %d neighbours are asked", len(got), len(cs))
		}
		bad := func(i int) bool { return time.Duration(cs[i].failures)*round > cs[i].waited }
		for i := 1; i < len(got); i++ {
			if bad(got[i-1]) && !bad(got[i]) {
				rt.Fatal("one that fails goes before one that does not")
			}
		}
	})
}
