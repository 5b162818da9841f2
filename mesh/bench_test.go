//go:build unix

package mesh

import (
	"crypto/sha256"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
)

// The benchmarks compare gossip as the mesh runs it, with everything on
// (admission, budgets, outboxes, synchronisation), with bare gossipsub in the
// same run: "default" with gossipsub's own parameters, "tuned" with ours.
// Frames have 1 KiB, connections are TCP on loopback, all nodes in one process.

// drive is how a benchmark loads a mesh of n.
type drive struct {
	n      int
	window int           // messages on their way at once
	gap    time.Duration // between two messages of one node; 0 to saturate
}

// rig is a mesh under load.
type rig struct {
	publish    []func(frame []byte) error
	duplicates func() uint64
}

// watch follows frames from their publisher to every other node.
type watch struct {
	n int

	mu      sync.Mutex
	sent    map[string]time.Time
	arrived map[string]int
	took    []time.Duration
	done    chan struct{}
}

func newWatch(n int) *watch {
	return &watch{n: n, sent: make(map[string]time.Time), arrived: make(map[string]int), done: make(chan struct{}, 1<<20)}
}

func (w *watch) send(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent[id] = time.Now()
}

func (w *watch) arrive(frame []byte) {
	at, id := time.Now(), string(frame[:16])
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.sent[id]; !ok {
		return // of the warm-up
	}
	w.took = append(w.took, at.Sub(w.sent[id]))
	if w.arrived[id]++; w.arrived[id] == w.n-1 {
		w.done <- struct{}{}
	}
}

func cpuTime(b *testing.B) time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// frameOf makes a frame of 1 KiB that no other is.
func frameOf(id string) []byte { return append([]byte(id), make([]byte, 1024-len(id))...) }

func (d drive) run(b *testing.B, r *rig, w *watch) {
	before, dups := cpuTime(b), r.duplicates()
	b.ResetTimer()
	window := make(chan struct{}, d.window)
	var next atomic.Int64
	var wg sync.WaitGroup
	for _, publish := range r.publish {
		wg.Go(func() {
			tick := time.NewTicker(max(d.gap, 1))
			defer tick.Stop()
			for i := next.Add(1) - 1; i < int64(b.N); i = next.Add(1) - 1 {
				if d.gap > 0 {
					<-tick.C
				}
				window <- struct{}{}
				id := fmt.Sprintf("%016d", i)
				w.send(id)
				if err := publish(frameOf(id)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for range b.N {
		<-w.done
		<-window
	}
	wg.Wait()
	b.StopTimer()
	deliveries := float64(b.N * (d.n - 1))
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/deliveries, "µs-cpu/delivery")
	b.ReportMetric(float64(r.duplicates()-dups)/deliveries, "dup/delivery")
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.Sort(w.took)
	if n := len(w.took); n > 0 {
		b.ReportMetric(float64(w.took[n/2].Microseconds())/1000, "p50-ms")
		b.ReportMetric(float64(w.took[n*99/100].Microseconds())/1000, "p99-ms")
	}
}

// dupTracer counts duplicates of bare gossipsub.
type dupTracer struct {
	noTrace
	n *atomic.Uint64
}

func (t dupTracer) DuplicateMessage(*pubsub.Message) { t.n.Add(1) }

// bare builds a mesh of bare gossipsub.
func bare(b *testing.B, n int, w *watch, options []pubsub.Option) *rig {
	ctx := b.Context()
	var dups atomic.Uint64
	r := &rig{duplicates: dups.Load}
	var hosts []host.Host
	var topics []*pubsub.Topic
	for range n {
		h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableRelay(), libp2p.Security(noise.ID, noise.New), libp2p.DisableMetrics())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { h.Close() })
		for _, i := range neighboursOf(len(hosts)) {
			if err := h.Connect(ctx, peer.AddrInfo{ID: hosts[i].ID(), Addrs: hosts[i].Addrs()}); err != nil {
				b.Fatal(err)
			}
		}
		ps, err := pubsub.NewGossipSub(ctx, h, append(options, pubsub.WithRawTracer(dupTracer{n: &dups}))...)
		if err != nil {
			b.Fatal(err)
		}
		topic, err := ps.Join("bench")
		if err != nil {
			b.Fatal(err)
		}
		sub, err := topic.Subscribe(pubsub.WithBufferSize(1 << 16))
		if err != nil {
			b.Fatal(err)
		}
		go func() {
			for {
				m, err := sub.Next(ctx)
				if err != nil {
					return
				}
				if m.ReceivedFrom != h.ID() {
					w.arrive(m.Data)
				}
			}
		}()
		r.publish = append(r.publish, func(frame []byte) error { return topic.Publish(ctx, frame) })
		hosts, topics = append(hosts, h), append(topics, topic)
	}
	for i, topic := range topics {
		poll(b, "the mesh", func() bool { return len(topic.ListPeers()) >= max(len(neighboursOf(i)), 1) })
	}
	return r
}

// neighboursOf says whom the i-th node dials: ten of those before it, spread
// out, or all where there are no more.
func neighboursOf(i int) []int {
	var out []int
	for j := range min(i, 10) {
		out = append(out, (i*7+j*i/min(i, 10))%i)
	}
	return out
}

// bareDefault is gossipsub as it comes, with the message ids, the signature policy
// and the queues that ours has: the fields that must agree for the same work.
func bareDefault() []pubsub.Option {
	return []pubsub.Option{
		pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign), pubsub.WithNoAuthor(),
		pubsub.WithMessageIdFn(messageID), pubsub.WithPeerOutboundQueueSize(outboundQueue),
		pubsub.WithValidateQueueSize(validateQueue),
	}
}

// ours builds a mesh of Meshes.
func ours(b *testing.B, n int, w *watch) *rig {
	world := newWorld(b)
	var stations []*station
	// A device has its entries on disk. Fifty copies of each in one heap would be collected
	// again and again, and by nobody in the bare mesh.
	var shared sync.Map
	for i := range n {
		s := world.start(b, tcpCarrier, func(cfg *Config) {
			for _, j := range neighboursOf(i) {
				cfg.Static = append(cfg.Static, fullAddrs(b, stations[j].host)...)
			}
			store := cfg.Receiver.(*frameStore)
			store.fresh, store.shared = w.arrive, &shared
		})
		stations = append(stations, s)
	}
	for i, s := range stations {
		poll(b, "the mesh", func() bool { return s.Stats().Peers >= max(len(neighboursOf(i)), 1) })
	}
	for i, s := range stations {
		poll(b, "the topic", func() bool { return len(s.gossip.routine.ListPeers()) >= max(len(neighboursOf(i)), 1) })
	}
	// Who was met just now is told to pull and its announcements lead to pulls. That is what
	// meeting costs, and not what a message costs.
	poll(b, "nobody is new to anybody", func() bool {
		return !slices.ContainsFunc(stations, func(s *station) bool {
			return slices.ContainsFunc(s.Peers(), func(p Peer) bool { return s.gossip.justMet(p.ID) })
		})
	})
	r := &rig{duplicates: func() (sum uint64) {
		for _, s := range stations {
			sum += s.Stats().Duplicates
		}
		return sum
	}}
	for _, s := range stations {
		r.publish = append(r.publish, func(frame []byte) error {
			// What it publishes it has: a pull must not bring it back as if it had come.
			id := sha256.Sum256(frame)
			shared.Store(id, frame)
			s.store.mu.Lock()
			s.store.frames[id] = frame
			s.store.mu.Unlock()
			return s.Publish(b.Context(), frame)
		})
	}
	if os.Getenv("TOCSIN_BENCH_STATS") != "" {
		b.Cleanup(func() { b.Logf("%+v", stations[0].Stats()) })
	}
	return r
}

func (d drive) compare(b *testing.B) {
	for _, c := range []struct {
		name  string
		build func(b *testing.B, w *watch) *rig
	}{
		{"default", func(b *testing.B, w *watch) *rig { return bare(b, d.n, w, bareDefault()) }},
		{"tuned", func(b *testing.B, w *watch) *rig { return bare(b, d.n, w, GossipOptions()) }},
		{"tocsin", func(b *testing.B, w *watch) *rig { return ours(b, d.n, w) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := newWatch(d.n)
			r := c.build(b, w)
			d.warm(b, r)
			d.run(b, r, w)
		})
	}
}

// warm lets gossipsub's heartbeats graft before anything is measured.
func (d drive) warm(b *testing.B, r *rig) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for i := range 150 {
		<-tick.C
		if err := r.publish[i%len(r.publish)](frameOf("warm" + strconv.Itoa(i) + strconv.FormatInt(int64(b.N), 36) + "------------")); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGossip10 saturates ten nodes.
func BenchmarkGossip10(b *testing.B) { drive{n: 10, window: 128}.compare(b) }

// BenchmarkGossip10Calm sends 100 messages a second through ten nodes.
func BenchmarkGossip10Calm(b *testing.B) {
	drive{n: 10, window: 128, gap: 100 * time.Millisecond}.compare(b)
}

// BenchmarkGossip50 sends 100 messages a second through fifty nodes, each of
// which knows ten or more.
func BenchmarkGossip50(b *testing.B) {
	drive{n: 50, window: 128, gap: 500 * time.Millisecond}.compare(b)
}
