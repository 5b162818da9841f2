//go:build unix

package mesh

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"google.golang.org/protobuf/proto"
)

// Raw adversaries against a real Mesh. Each holds a good credential, which is the
// worst case: strangers get no further than the handshake (attack_test.go). While
// it does its worst, a neighbour sends frames to the victim, all of which arrive; the
// adversary is cut off or ignored, and the counters tell. In the short form all last about
// ten seconds together, in one process. TOCSIN_ADVERSARY=10s makes each attack last that
// long, from a process of its own, and holds delivery and memory against calm times
// (siege_linux_test.go); from a minute on that is strict, and a spell without an adversary
// shows what time alone does.

// prey is the victim as its adversary knows it.
type prey struct {
	id    peer.ID
	addrs []ma.Multiaddr
	topic string
	ids   func() []string // of frames that it may hold
}

func (s *station) prey() prey {
	return prey{
		id: s.ID(), topic: s.gossip.names[0],
		// The listener of circuits is among them too, in any order.
		addrs: slices.DeleteFunc(s.host.Network().ListenAddresses(), isCircuit),
		ids: func() (ids []string) {
			for id := range s.store.all() {
				ids = append(ids, string(id[:]))
			}
			return ids
		},
	}
}

// villainy is one adversary.
type villainy struct {
	name string
	// attack does its worst until ctx ends. v is a host with a good credential,
	// connected to the victim as often as it is let in.
	attack func(ctx context.Context, v host.Host, victim prey)
	// told reports whether the counters tell of it; nil where there is nothing to
	// tell, because nobody is asked.
	told func(s Stats) bool
}

func villainies() []villainy {
	flood := func(make func(victim prey, n int) []byte) func(context.Context, host.Host, prey) {
		return func(ctx context.Context, v host.Host, victim prey) {
			rawGossip(ctx, v, victim, func(s network.Stream) error {
				for n := 0; ctx.Err() == nil; n++ {
					if _, err := s.Write(make(victim, n)); err != nil {
						return err
					}
				}
				return ctx.Err()
			})
		}
	}
	rpcs := func(make func(victim prey, n int) *pb.RPC) func(context.Context, host.Host, prey) {
		return flood(func(victim prey, n int) []byte {
			return mustRPC(make(victim, n))
		})
	}
	control := func(c *pb.ControlMessage) *pb.RPC { return &pb.RPC{Control: c} }
	return []villainy{
		{"malformed", flood(func(prey, int) []byte { return []byte{5, 0xff, 0xff, 0xff, 0xff, 0xff} }),
			func(s Stats) bool { return s.Malformed > 0 && s.Cut[blameMalformed] > 0 }},
		{"recursive", flood(func(prey, int) []byte {
			// Groups within groups, as deep as an RPC may be long.
			return append(binary.AppendUvarint(nil, 100_000), bytes.Repeat([]byte{0x1b}, 100_000)...)
		}), func(s Stats) bool { return s.Malformed > 0 && s.Cut[blameMalformed] > 0 }},
		{"oversized control", rpcs(func(v prey, n int) *pb.RPC {
			return control(&pb.ControlMessage{Ihave: []*pb.ControlIHave{{TopicID: new(v.topic), MessageIDs: manyIDs(n, 7000)}}})
		}), func(s Stats) bool { return s.Malformed > 0 && s.Cut[blameMalformed] > 0 }},
		{"oversized RPC", flood(func(prey, int) []byte {
			return append(binary.AppendUvarint(nil, 1<<30), make([]byte, 64<<10)...)
		}), func(s Stats) bool { return s.Malformed > 0 && s.Cut[blameMalformed] > 0 }},
		{"subscriptions", rpcs(func(v prey, n int) *pb.RPC {
			rpc := new(pb.RPC)
			for i := range 100 {
				rpc.Subscriptions = append(rpc.Subscriptions, &pb.RPC_SubOpts{Subscribe: new(true), Topicid: new(fmt.Sprint(n, i))})
			}
			return rpc
		}), func(s Stats) bool { return s.Budget["subscriptions"] > 0 && s.Cut[blameFlood] > 0 }},
		{"graft and prune", rpcs(func(v prey, n int) *pb.RPC {
			c := new(pb.ControlMessage)
			for range 20 {
				c.Graft = append(c.Graft, &pb.ControlGraft{TopicID: new(v.topic)})
				c.Prune = append(c.Prune, &pb.ControlPrune{TopicID: new(v.topic), Backoff: new(uint64(1 << 60))})
			}
			return control(c)
		}), func(s Stats) bool { return s.Budget["graft-prune"] > 0 && s.Cut[blameFlood] > 0 }},
		{"ihave", rpcs(func(v prey, n int) *pb.RPC {
			return control(&pb.ControlMessage{Ihave: []*pb.ControlIHave{{TopicID: new(v.topic), MessageIDs: manyIDs(n, 4000)}}})
		}), func(s Stats) bool { return s.Budget["ihave"] > 0 && s.Cut[blameFlood] > 0 }},
		{"iwant", rpcs(func(v prey, n int) *pb.RPC {
			ids := append(manyIDs(n, 3000), v.ids()...)
			return control(&pb.ControlMessage{Iwant: []*pb.ControlIWant{{MessageIDs: ids[:min(len(ids), 5000)]}}})
		}), func(s Stats) bool { return s.Budget["iwant"] > 0 && s.Cut[blameFlood] > 0 }},
		{"idontwant", rpcs(func(v prey, n int) *pb.RPC {
			return control(&pb.ControlMessage{Idontwant: []*pb.ControlIDontWant{{MessageIDs: manyIDs(n, 4000)}}})
		}), func(s Stats) bool { return s.Budget["idontwant"] > 0 && s.Cut[blameFlood] > 0 }},
		{"empty RPCs", rpcs(func(prey, int) *pb.RPC { return control(new(pb.ControlMessage)) }),
			func(s Stats) bool { return s.Budget["rpcs"] > 0 && s.Cut[blameFlood] > 0 }},
		{"invalid frames", rpcs(func(v prey, n int) *pb.RPC {
			return &pb.RPC{Publish: []*pb.Message{{Topic: new(v.topic), Data: fmt.Appendf(nil, "bad %d", n)}}}
		}), func(s Stats) bool { return s.Rejected >= 4 && s.Blamed[blameRejected] > 0 }},
		{"valid frames of its own", rpcs(func(v prey, n int) *pb.RPC {
			return &pb.RPC{Publish: []*pb.Message{{Topic: new(v.topic), Data: fmt.Appendf(nil, "flood %d", n)}}}
		}), func(s Stats) bool { return s.Budget[budgetAuthor] > 0 && s.Budget["rpcs"] > 0 }},
		{"sync noise", func(ctx context.Context, v host.Host, victim prey) {
			for n := 0; ctx.Err() == nil; n++ {
				s, err := v.NewStream(ctx, victim.id, SyncProtocol)
				if err != nil {
					again(ctx, v, victim)
					continue
				}
				s.Write([]byte{9, 9, 0xff, 0xff, 0xff, 0xff})
				io.Copy(io.Discard, s)
				s.Reset()
			}
		}, func(s Stats) bool { return s.SyncRefused["frame"] > 0 && s.Cut[blameSync] > 0 }},
		{"slow reader", func(ctx context.Context, v host.Host, victim prey) {
			// It subscribes and never reads; nor does it ever close.
			v.SetStreamHandler(GossipProtocol, func(network.Stream) { <-ctx.Done() })
			again(ctx, v, victim)
			rawGossip(ctx, v, victim, func(s network.Stream) error {
				_, err := s.Write(mustRPC(&pb.RPC{Subscriptions: []*pb.RPC_SubOpts{{Subscribe: new(true), Topicid: new(victim.topic)}}}))
				if err == nil {
					<-ctx.Done()
				}
				return err
			})
		}, nil}, // TestSlowReader: what it is owed is bounded, dropped and counted
		{"wrong protocols", func(ctx context.Context, v host.Host, victim prey) {
			for n := 0; ctx.Err() == nil; n++ {
				if s, err := v.NewStream(ctx, victim.id, protocol.ID(fmt.Sprintf("/meshsub/%d", n))); err == nil {
					s.Reset()
				}
				again(ctx, v, victim)
			}
		}, nil},
		{"comes and goes", func(ctx context.Context, v host.Host, victim prey) {
			for ctx.Err() == nil {
				again(ctx, v, victim)
				if s, err := v.NewStream(network.WithNoDial(ctx, "adversary"), victim.id, SyncProtocol); err == nil {
					s.Reset() // the connection stands on both sides
				}
				v.Network().ClosePeer(victim.id)
			}
			// One that leaves before it stands is refused while many of it wait.
		}, func(s Stats) bool { return s.Cut[blameRestless] > 0 || s.Refused[reasonBusy] > 100 }},
		{"half-open dials", func(ctx context.Context, v host.Host, victim prey) {
			var open []net.Conn
			defer func() {
				for _, c := range open {
					c.Close()
				}
			}()
			_, at, err := manet.DialArgs(victim.addrs[0])
			if err != nil {
				panic(err) // the victim of this test listens on TCP
			}
			for ctx.Err() == nil {
				c, err := new(net.Dialer).DialContext(ctx, "tcp4", at)
				if err != nil {
					pause(ctx, time.Millisecond)
					continue
				}
				if open = append(open, c); len(open) > 2000 {
					open[0].Close()
					open = open[1:]
				}
				pause(ctx, time.Millisecond)
			}
		}, func(s Stats) bool { return s.Knocks > 100 }},
	}
}

// mustRPC is an RPC as it is written to a stream.
func mustRPC(rpc *pb.RPC) []byte {
	raw, err := proto.Marshal(rpc)
	if err != nil {
		panic(err) // it was made here
	}
	return append(binary.AppendUvarint(nil, uint64(len(raw))), raw...)
}

func manyIDs(n, count int) []string {
	ids := make([]string, count)
	for i := range ids {
		ids[i] = string(fmt.Appendf(nil, "%016d%016d", n, i))
	}
	return ids
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// again connects if it is not connected.
func again(ctx context.Context, v host.Host, victim prey) {
	if v.Network().Connectedness(victim.id) == network.Connected {
		return
	}
	v.Network().(*swarm.Swarm).Backoff().Clear(victim.id)
	v.Peerstore().AddAddrs(victim.id, victim.addrs, time.Hour)
	if _, err := v.Network().DialPeer(ctx, victim.id); err != nil {
		pause(ctx, 20*time.Millisecond)
	}
}

// rawGossip opens gossip streams by hand, one after the other, as fast as it may.
func rawGossip(ctx context.Context, v host.Host, victim prey, talk func(network.Stream) error) {
	for ctx.Err() == nil {
		again(ctx, v, victim)
		s, err := v.NewStream(network.WithNoDial(ctx, "adversary"), victim.id, GossipProtocol)
		if err != nil {
			pause(ctx, 5*time.Millisecond)
			continue
		}
		stop := context.AfterFunc(ctx, func() { s.Reset() })
		talk(s)
		stop()
		s.Reset()
	}
}

// honest sends from one neighbour to another for d, waits for each frame, and returns
// the most memory in use meanwhile.
func honest(t *testing.T, from, to *station, name string, d time.Duration) (heap uint64, goroutines int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ctx.Err() == nil; n++ {
		<-tick.C
		frame := fmt.Sprintf("honest %s %d", name, n)
		from.say(t, frame)
		to.store.awaitFrame(t, frame)
		if n%20 == 0 {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			heap, goroutines = max(heap, m.HeapAlloc+m.StackInuse), max(goroutines, runtime.NumGoroutine())
		}
	}
	return heap, goroutines
}

// slowClock is a clock on which time passes a tenth as fast as the process's: so little refills the budgets of a neighbour.
type slowClock struct{ start time.Time }

const sloth = 10

func (c slowClock) Now() time.Time                         { return c.start.Add(time.Since(c.start) / sloth) }
func (c slowClock) After(d time.Duration) <-chan time.Time { return time.After(d * sloth) }

// authored takes the beginning of a frame for its author.
func authored(cfg *Config) {
	cfg.Classify = func(frame []byte) Label {
		l := Label{Class: ClassRoutine}
		copy(l.Author[:], frame[:min(len(frame), 5)])
		return l
	}
}

func TestAdversaries(t *testing.T) {
	if env := os.Getenv("TOCSIN_ADVERSARY"); env != "" {
		last, err := time.ParseDuration(env)
		if err != nil {
			t.Fatalf("TOCSIN_ADVERSARY: %v; write for example 2m", err)
		}
		besiege(t, last)
		return
	}
	// Nothing here rests on the speed of the machine: an adversary that gets a tenth of what it would need floods this victim all the same.
	const last = 400 * time.Millisecond
	for _, a := range villainies() {
		t.Run(a.name, func(t *testing.T) {
			if testing.Short() && strings.HasPrefix(a.name, "valid frames") {
				t.Skip("signing a flood takes minutes under the race detector")
			}
			w := newWorld(t)
			victim, friend := friendsOf(t, w, func(cfg *Config) { authored(cfg); cfg.Clock = slowClock{time.Now()} }, authored)
			runtime.GC()
			heap, _ := honest(t, friend, victim, "calm", last/2)
			v := villainHost(t, w.villain(t))
			ctx, cancel := context.WithCancel(t.Context())
			var raid sync.WaitGroup
			raid.Go(func() { a.attack(ctx, v, victim.prey()) })
			peak, goroutines := honest(t, friend, victim, "attacked", last)
			told := a.told == nil || a.told(victim.Stats())
			for wait := 0; !told && wait < 400; wait++ {
				honest(t, friend, victim, strconv.Itoa(wait), 20*time.Millisecond)
				told = a.told(victim.Stats())
			}
			cancel()
			raid.Wait()
			v.Close()
			t.Logf("memory %d KiB calm, %d KiB attacked; %d goroutines", heap>>10, peak>>10, goroutines)
			if !told {
				t.Errorf("the counters do not tell: %s", tale(victim.Stats()))
			}
			// The adversary's own memory is in it too.
			if limit := max(2*heap, heap+24<<20); peak > limit {
				t.Errorf("memory: %d bytes, at most %d are allowed", peak, limit)
			}
			if goroutines > 2000 {
				t.Errorf("%d goroutines", goroutines)
			}
			if len(victim.Stats().Cut) > 0 {
				c := victim.Cuts()[0]
				if c.Peer != v.ID() || c.Reason == "" || !slices.Contains(slices.Collect(maps.Keys(victim.Stats().Cut)), c.Reason) {
					t.Errorf("cut: %+v", c)
				}
			}
		})
	}
}

// friends starts two honest stations that hear each other's gossip.
func friends(t testing.TB, w *world, change func(*Config)) (victim, friend *station) {
	t.Helper()
	return friendsOf(t, w, change, change)
}

// friendsOf is friends where the victim is another device than its friend.
func friendsOf(t testing.TB, w *world, special, change func(*Config)) (victim, friend *station) {
	t.Helper()
	victim = w.start(t, tcpCarrier, special)
	friend = w.start(t, tcpCarrier, func(cfg *Config) { change(cfg); cfg.Static = victim.Addrs() })
	friend.awaitPeer(t, victim)
	poll(t, "the topic", func() bool {
		return len(friend.gossip.routine.ListPeers()) == 1 && len(victim.gossip.routine.ListPeers()) == 1
	})
	return victim, friend
}

// villain is what an adversary shows: a good credential.
func (w *world) villain(t testing.TB) card {
	d := w.member(t)
	return w.card(d, d.ticket(t, time.Now(), 24*time.Hour))
}

// villainHost is a host that keeps itself to no limit.
func villainHost(t testing.TB, c card) host.Host {
	return attackerHost(t, intruder{card: func(testing.TB, *world) card { return card{} }}, c, tcpCarrier, false,
		libp2p.ResourceManager(&network.NullResourceManager{}))
}

// tale is what the counters tell of an adversary.
func tale(s Stats) string {
	return fmt.Sprintf("malformed %d, rejected %d, throttled %d, knocks %d, budget %v, blamed %v, cut %v, refused %v, sync %v",
		s.Malformed, s.Rejected, s.Throttled, s.Knocks, s.Budget, s.Blamed, s.Cut, s.Refused, s.SyncRefused)
}
