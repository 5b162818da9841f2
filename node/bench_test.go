//go:build unix

package node

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
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

	"tocsin/ledger"
	"tocsin/mesh"
	"tocsin/node/inbox"
	"tocsin/node/message"
)

// benchNodes is the size of the mesh in the benchmarks, each of which sends at
// once, and benchWindow how many messages may be on their way.
const (
	benchNodes  = 10
	benchWindow = 128
)

// tally follows messages from their sender to every other node.
type tally struct {
	mu        sync.Mutex
	sent      map[string]time.Time
	arrived   map[string]int
	latencies []time.Duration
	done      chan struct{} // one value for each message that is everywhere
}

func newTally() *tally {
	return &tally{sent: make(map[string]time.Time), arrived: make(map[string]int), done: make(chan struct{}, 1<<20)}
}

func (t *tally) send(id string, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent[id] = at
	t.settle(id)
}

func (t *tally) arrive(id string, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.arrived[id]++
	if s, ok := t.sent[id]; ok {
		t.latencies = append(t.latencies, at.Sub(s))
	}
	t.settle(id)
}

func (t *tally) settle(id string) {
	if _, ok := t.sent[id]; ok && t.arrived[id] == benchNodes-1 {
		t.done <- struct{}{}
	}
}

func cpu(b *testing.B) time.Duration {
	var ru syscall.Rusage
	check(b, syscall.Getrusage(syscall.RUSAGE_SELF, &ru))
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// drive sends b.N messages from all nodes at once, benchWindow on their way at
// a time, and reports what it cost.
func drive(b *testing.B, t *tally, send func(from, i int)) {
	before := cpu(b)
	b.ResetTimer()
	window := make(chan struct{}, benchWindow)
	var wg sync.WaitGroup
	var next atomic.Int64
	for from := range benchNodes {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(b.N); i = next.Add(1) - 1 {
				window <- struct{}{}
				send(from, int(i))
			}
		})
	}
	for range b.N {
		<-t.done
		<-window
	}
	wg.Wait()
	b.StopTimer()
	deliveries := float64(b.N * (benchNodes - 1))
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/deliveries, "µs-cpu/delivery")
	slices.Sort(t.latencies)
	if n := len(t.latencies); n > 0 {
		b.ReportMetric(float64(t.latencies[n/2].Microseconds())/1000, "p50-ms")
		b.ReportMetric(float64(t.latencies[n*99/100].Microseconds())/1000, "p99-ms")
	}
}

// BenchmarkMesh10 sends 1 KiB messages through ten nodes over TCP on loopback,
// in one process: bare gossipsub with the parameters of our mesh, and Tocsin
// with everything on (seal, sign, durable append, gossip, verify, durable
// append, open), without and with the receipts that every member returns. Run
// it with -count to alternate them; docs/performance.md has figures.
func BenchmarkMesh10(b *testing.B) {
	b.Run("bare", benchBare)
	b.Run("tocsin", func(b *testing.B) { benchTocsin(b, 24*time.Hour) })
	b.Run("tocsin-with-receipts", func(b *testing.B) { benchTocsin(b, defaultReceiptDelay) })
}

func benchBare(b *testing.B) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	t := newTally()
	var hosts []host.Host
	var topics []*pubsub.Topic
	for range benchNodes {
		h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableRelay(), libp2p.Security(noise.ID, noise.New))
		check(b, err)
		defer h.Close()
		for _, other := range hosts {
			check(b, h.Connect(ctx, peer.AddrInfo{ID: other.ID(), Addrs: other.Addrs()}))
		}
		ps, err := pubsub.NewGossipSub(ctx, h, mesh.GossipOptions()...)
		check(b, err)
		topic, err := ps.Join("bench")
		check(b, err)
		sub, err := topic.Subscribe(pubsub.WithBufferSize(1 << 16))
		check(b, err)
		go func() {
			for {
				m, err := sub.Next(ctx)
				if err != nil {
					return
				}
				if m.ReceivedFrom != h.ID() {
					t.arrive(string(m.Data[:16]), time.Now())
				}
			}
		}()
		hosts, topics = append(hosts, h), append(topics, topic)
	}
	for _, topic := range topics {
		eventually(b, "the gossip mesh is formed", func() bool { return len(topic.ListPeers()) == benchNodes-1 })
	}
	payload := make([]byte, 1024)
	drive(b, t, func(from, i int) {
		id := fmt.Sprintf("%016d", i)
		message := slices.Clone(payload)
		copy(message, id)
		t.send(id, time.Now())
		if err := topics[from].Publish(ctx, message); err != nil {
			b.Error(err)
		}
	})
}

func benchTocsin(b *testing.B, receipts time.Duration) {
	w := newWorld(b)
	t := newTally()
	var nodes []*Node
	for i := range benchNodes {
		m := w.enrol(fmt.Sprintf("Clinician %c", 'A'+i), orgHospital)
		n := m.start(b, m.onDisk(b), knows(nodes...), func(cfg *Config) {
			cfg.Listen = cfg.Listen[:1]
			cfg.ReceiptDelay, cfg.SyncInterval, cfg.WitnessPause, cfg.TestimonyPause = receipts, 0, 0, 0
			cfg.Limits = ledger.Limits{DayHeaders: 1 << 30, DayBytes: 1 << 40}
		})
		nodes = append(nodes, n)
	}
	ready(b, benchNodes-1, nodes...)
	g := makeGroup(b, nodes...)
	for _, n := range nodes {
		events := n.Subscribe(b.Context())
		eventually(b, "the group is known", func() bool { c, err := n.Conversations(); return err == nil && len(c) == 1 })
		go func() {
			for e := range events {
				if e.Type == EventGap {
					b.Error("a subscriber fell behind: the figures are void")
				}
				if e.Type == EventMessage && !own(n, e.ID) {
					t.arrive(e.ID, time.Now())
				}
			}
		}()
	}
	text := strings.Repeat("x", 1000)
	drive(b, t, func(from, _ int) {
		at := time.Now()
		s, err := nodes[from].Send(b.Context(), g, message.NewText(text, time.Time{}), "routine")
		if err != nil {
			b.Error(err)
			return
		}
		t.send(s.ID, at)
	})
}

// own tells whether n wrote the message itself.
func own(n *Node, id string) bool {
	raw, err := ledger.ParseID(id)
	if err != nil {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	it, ok := n.open.inbox.Message(inbox.EntryID(raw))
	return ok && it.Own
}

// BenchmarkIdleNode reports what one unlocked node with its logs on disk costs
// when nothing happens.
func BenchmarkIdleNode(b *testing.B) {
	before := runtime.NumGoroutine()
	m := newWorld(b).enrol("Amal", orgHospital)
	m.start(b, m.onDisk(b))
	for b.Loop() {
		runtime.GC()
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	b.ReportMetric(float64(runtime.NumGoroutine()-before), "goroutines")
	b.ReportMetric(float64(mem.HeapInuse+mem.StackInuse)/(1<<20), "heap+stack-MiB")
	b.ReportMetric(residentMiB(), "resident-MiB")
}

// residentMiB is the resident memory of this process where the system tells,
// else 0.
func residentMiB() float64 {
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, resident float64
	if _, err := fmt.Sscan(string(raw), &size, &resident); err != nil {
		return 0
	}
	return resident * float64(os.Getpagesize()) / (1 << 20)
}

// BenchmarkHeal cuts one of two nodes off, has the other say 1,000 messages, and
// measures from the moment they may meet again until every one is shown.
func BenchmarkHeal(b *testing.B) {
	const missed = 1000
	w := newWorld(b)
	usual := func(cfg *Config) { cfg.SyncInterval, cfg.WitnessPause, cfg.TestimonyPause = 0, 0, 0 }
	x := w.enrol("Amal", orgHospital)
	a := x.start(b, x.onDisk(b), usual)
	y := w.enrol("Ben", orgAmbulance)
	c := y.start(b, y.onDisk(b), usual, knows(a))
	ready(b, 1, a, c)
	g := makeGroup(b, a, c)
	inGroup(b, g, a, c)
	said := 0
	for b.Loop() {
		b.StopTimer()
		check(b, c.SetOnline(false))
		for range missed {
			said++
			_, err := a.Send(b.Context(), g, message.NewText(fmt.Sprintf("message %d", said), time.Time{}), "routine")
			check(b, err)
		}
		b.StartTimer()
		check(b, c.SetOnline(true))
		eventually(b, "everything is shown", func() bool {
			conversation, err := c.Conversations()
			return err == nil && len(conversation) == 1 && conversation[0].Count == said
		})
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/heal")
}

// BenchmarkNeighbours reports what ten neighbours cost a node that has nothing to
// do: eleven nodes in this process, which all know each other, weighed without
// and with their connections.
func BenchmarkNeighbours(b *testing.B) {
	const others = 10
	w := newWorld(b)
	var nodes []*Node
	for i := range others + 1 {
		nodes = append(nodes, w.enrol(fmt.Sprintf("Clinician %c", 'A'+i), orgHospital).start(b, knows(nodes...)))
	}
	ready(b, others, nodes...)
	weigh := func(online bool, neighbours int) float64 {
		for _, n := range nodes {
			check(b, n.SetOnline(online))
		}
		for _, n := range nodes {
			eventually(b, "all are connected, or none", func() bool { return len(n.Peers()) == neighbours })
		}
		runtime.GC()
		var mem runtime.MemStats
		runtime.ReadMemStats(&mem)
		return float64(mem.HeapInuse+mem.StackInuse) / (1 << 20)
	}
	var cost float64
	for b.Loop() {
		apart := weigh(false, 0)
		cost += (weigh(true, others) - apart) / (others + 1)
	}
	b.ReportMetric(cost/float64(b.N), "MiB/10-neighbours")
}
