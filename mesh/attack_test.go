package mesh

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/libp2p/go-libp2p/p2p/transport/websocket"
	ma "github.com/multiformats/go-multiaddr"
)

// An intruder knows the mesh id, the topic, every protocol and all of our code; it lacks
// what an authority gives.
type intruder struct {
	name string
	// card makes what the intruder shows. nil means a plain libp2p host.
	card func(t testing.TB, w *world) card
	// wrongly shown, and refused for, when it dials: a word of Stats.Refused.
	reason string
	// skipTicket makes a QUIC intruder talk gossip and sync straight after TLS,
	// without the ticket's stream.
	skipTicket bool
	quicOnly   bool
}

// card is a key and what is shown with it.
type card struct {
	key    ed25519.PrivateKey
	chain  []byte
	ticket []byte
	tag    [tagSize]byte
}

func (w *world) homeTag() [tagSize]byte {
	return [tagSize]byte(derive("mesh tag", w.home.store.MeshID()))
}

func (w *world) card(d *device, ticket []byte) card {
	return card{key: d.relay.Transport, chain: d.chain, ticket: ticket, tag: w.homeTag()}
}

func intruders() []intruder {
	return []intruder{
		{name: "plain host", reason: reasonMessage},
		{name: "another authority's device", reason: "issuer", card: func(t testing.TB, w *world) card {
			d := w.enrol(t, w.foreign, time.Now(), 100*24*time.Hour)
			return w.card(d, d.ticket(t, time.Now(), time.Hour))
		}},
		{name: "expired credential", reason: "time", card: func(t testing.TB, w *world) card {
			d := w.enrol(t, w.home, time.Now().Add(-200*24*time.Hour), 100*24*time.Hour)
			return w.card(d, d.ticket(t, time.Now(), time.Hour))
		}},
		{name: "stolen chain on another key", reason: "peer-proof", card: func(t testing.TB, w *world) card {
			victim, thief := w.member(t), w.member(t)
			c := w.card(victim, victim.ticket(t, time.Now(), time.Hour))
			c.key = thief.relay.Transport
			return c
		}},
		{name: "no ticket", reason: "ticket-encoding", card: func(t testing.TB, w *world) card {
			return w.card(w.member(t), nil)
		}},
		{name: "expired ticket", reason: "ticket-ended", card: func(t testing.TB, w *world) card {
			d := w.member(t)
			return w.card(d, d.ticket(t, time.Now().Add(-48*time.Hour), 24*time.Hour))
		}},
		{name: "ticket by another key", reason: "ticket-holder", card: func(t testing.TB, w *world) card {
			d, other := w.member(t), w.member(t)
			return w.card(d, (&device{relay: d.relay, vault: other.vault}).ticket(t, time.Now(), time.Hour))
		}},
		{name: "ticket of another peer", reason: "ticket-holder", card: func(t testing.TB, w *world) card {
			return w.card(w.member(t), w.member(t).ticket(t, time.Now(), time.Hour))
		}},
		{name: "device of another mesh of the same authority", reason: reasonOtherMesh, card: func(t testing.TB, w *world) card {
			d := w.member(t)
			c := w.card(d, d.ticket(t, time.Now(), time.Hour))
			c.tag[0] ^= 1
			return c
		}},
		{name: "chain but no ticket stream", reason: reasonMessage, skipTicket: true, quicOnly: true, card: func(t testing.TB, w *world) card {
			return w.card(w.member(t), nil)
		}},
	}
}

// attacker is a running intruder.
type attacker struct {
	host.Host
	topic *pubsub.Topic
	// What it got.
	subscriptions, messages, synced, asked atomic.Int64
}

// attackerHost returns a libp2p host that shows c and checks nobody.
func attackerHost(t testing.TB, i intruder, c card, on carrier, straight bool, extra ...libp2p.Option) host.Host {
	t.Helper()
	key, id, err := hostKey(c.key)
	if err != nil {
		t.Fatal(err)
	}
	options := []libp2p.Option{
		libp2p.Identity(key), libp2p.ListenAddrStrings(on.listen()),
		libp2p.EnableRelay(), libp2p.DisableMetrics(), libp2p.ForceReachabilityPrivate(),
		libp2p.Transport(tcp.NewTCPTransport), libp2p.Transport(websocket.New),
	}
	if i.card == nil {
		options = append(options, libp2p.Security(noise.ID, noise.New), libp2p.Transport(libp2pquic.NewTransport))
	} else {
		d := &desk{
			self: id, tag: c.tag, ticket: func() []byte { return c.ticket }, clock: &testClock{},
			open: true, counts: newCounters(), log: slog.New(slog.DiscardHandler),
		}
		if d.hello, err = (hello{tag: c.tag, chain: c.chain}).marshal(); err != nil {
			t.Fatal(err)
		}
		l := newLinks(d)
		options = append(options, libp2p.Security(string(securityID), newSecurity(d, l)))
		if straight {
			template, err := helloTemplate(d.hello)
			if err != nil {
				t.Fatal(err)
			}
			options = append(options, libp2p.Transport(libp2pquic.NewTransport,
				libp2pquic.WithTLSIdentityOption(libp2ptls.WithCertTemplate(template))))
		} else {
			options = append(options, libp2p.Transport(newQUIC(d, l)))
		}
	}
	h, err := libp2p.New(append(options, extra...)...)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// heedless is a host whose gossip does not hear acknowledgements: bare gossipsub
// takes the first for a fault and resets the stream under what it is sending.
type heedless struct{ host.Host }

func (h heedless) NewStream(ctx context.Context, p peer.ID, ids ...protocol.ID) (network.Stream, error) {
	s, err := h.Host.NewStream(ctx, p, ids...)
	if err != nil {
		return nil, err
	}
	return heedlessStream{s}, nil
}

type heedlessStream struct{ network.Stream }

// Read waits for the end of the stream, whatever comes before it.
func (s heedlessStream) Read([]byte) (int, error) {
	if _, err := io.Copy(io.Discard, s.Stream); err != nil {
		return 0, err
	}
	return 0, io.EOF
}

// launch starts i: gossipsub with our options on our topic, subscribed, and a
// synchronisation server.
func launch(t testing.TB, w *world, i intruder, on carrier, straight bool) *attacker {
	t.Helper()
	var c card
	if i.card != nil {
		c = i.card(t, w)
	} else {
		c.key = w.member(t).relay.Transport
	}
	a := &attacker{Host: attackerHost(t, i, c, on, straight)}
	ctx, cancel := context.WithCancel(context.Background())
	ps, err := pubsub.NewGossipSub(ctx, heedless{a.Host}, GossipOptions()...)
	if err == nil {
		a.topic, err = ps.Join(Topic(w.home.store.MeshID()))
	}
	if err != nil {
		t.Fatal(err)
	}
	sub, err := a.topic.Subscribe()
	if err != nil {
		t.Fatal(err)
	}
	events, err := a.topic.EventHandler()
	if err != nil {
		t.Fatal(err)
	}
	a.SetStreamHandler(SyncProtocol, func(s network.Stream) {
		if _, err := readFrame(s); err == nil {
			a.asked.Add(1) // a frontier, for example
		}
		s.Reset()
	})
	done := make(chan struct{}, 2)
	go func() {
		defer func() { done <- struct{}{} }()
		for {
			e, err := events.NextPeerEvent(ctx)
			if err != nil {
				return
			}
			if e.Type == pubsub.PeerJoin {
				a.subscriptions.Add(1)
			}
		}
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		for {
			m, err := sub.Next(ctx)
			if err != nil {
				return
			}
			if m.ReceivedFrom != a.ID() {
				a.messages.Add(1)
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		a.Close()
		<-done
		<-done
	})
	return a
}

// pullFrom tries to synchronise from the victim.
func (a *attacker) pullFrom(ctx context.Context, victim peer.ID) {
	s, err := a.NewStream(network.WithNoDial(ctx, "attack"), victim, SyncProtocol)
	if err != nil {
		return
	}
	defer s.Reset()
	ses := newSession(s, newCounters())
	if ses.Send(Frame{Type: frameHave}) != nil {
		return
	}
	if _, err := ses.Receive(); err == nil {
		a.synced.Add(1)
	}
}

// strike publishes and pulls once.
func (a *attacker) strike(ctx context.Context, t testing.TB, victim *station, n int) {
	t.Helper()
	if err := a.topic.Publish(ctx, fmt.Appendf(nil, "injected %d", n)); err != nil {
		t.Fatal(err)
	}
	a.pullFrom(ctx, victim.ID())
	secret := fmt.Appendf(nil, "meant for members %d", n)
	victim.store.put(secret)
	if err := victim.Publish(ctx, secret); err != nil {
		t.Fatal(err)
	}
}

// won reports whether the attacker achieved everything.
func (a *attacker) won(victim *station) bool {
	received, serves := victim.store.touched()
	return received > 0 && serves > 0 && a.subscriptions.Load() > 0 && a.messages.Load() > 0 && a.synced.Load() > 0 && a.asked.Load() > 0
}

// assertLost fails if the attacker achieved anything.
func (a *attacker) assertLost(t *testing.T, victim *station) {
	t.Helper()
	// The victim's side.
	if received, serves := victim.store.touched(); received != 0 || serves != 0 {
		t.Errorf("reached the victim: %d frames, %d sessions", received, serves)
	}
	for _, p := range victim.Peers() {
		if p.Found != foundVia {
			t.Errorf("counted as a neighbour: %+v", p)
		}
	}
	// The attacker's side.
	if n := a.subscriptions.Load(); n != 0 {
		t.Errorf("learned %d subscriptions", n)
	}
	if n := a.messages.Load(); n != 0 {
		t.Errorf("read %d messages", n)
	}
	if n := a.synced.Load(); n != 0 {
		t.Errorf("read %d sync frames", n)
	}
	if n := a.asked.Load(); n != 0 {
		t.Errorf("was asked for %d sync frames", n)
	}
	if protocols, err := a.Peerstore().GetProtocols(victim.ID()); err != nil || len(protocols) != 0 {
		t.Errorf("identify told it of %v (%v)", protocols, err)
	}
}

func infoOf(t testing.TB, addrs []string) peer.AddrInfo {
	t.Helper()
	var all []ma.Multiaddr
	for _, s := range addrs {
		a, err := ma.NewMultiaddr(s)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
	}
	infos, err := peer.AddrInfosFromP2pAddrs(all...)
	if err != nil || len(infos) != 1 {
		t.Fatalf("addresses %v: %v", addrs, err)
	}
	return infos[0]
}

func fullAddrs(t testing.TB, h host.Host) []string {
	t.Helper()
	own := slices.DeleteFunc(h.Network().ListenAddresses(), isCircuit)
	all, err := peer.AddrInfoToP2pAddrs(&peer.AddrInfo{ID: h.ID(), Addrs: own})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, a := range all {
		out = append(out, a.String())
	}
	return out
}

// attempts is how often each intruder tries.
const attempts = 2

// eachAttack runs every intruder on TCP and QUIC, and on the others too; without
// all of them there those that stand for a handshake that fails at its first, second and
// third step, for the same code runs there as on TCP.
func eachAttack(t *testing.T, all bool, f func(t *testing.T, i intruder, c carrier)) {
	short := []string{"plain host", "another authority's device", "no ticket"}
	for _, i := range intruders() {
		t.Run(i.name, func(t *testing.T) {
			for _, c := range []carrier{tcpCarrier, quicCarrier, wsCarrier, relayCarrier} {
				if i.quicOnly && c != quicCarrier {
					continue // there is no such attack elsewhere
				}
				if (c == wsCarrier || c == relayCarrier) && !all && !slices.Contains(short, i.name) {
					continue
				}
				t.Run(string(c), func(t *testing.T) {
					t.Parallel()
					f(t, i, c)
				})
			}
		})
	}
}

// rogueRelay is a device of the mesh that carries for everybody and checks nobody.
func rogueRelay(t testing.TB, w *world) host.Host {
	t.Helper()
	d := w.member(t)
	c := w.card(d, d.ticket(t, time.Now(), time.Hour))
	h := attackerHost(t, intruder{card: func(testing.TB, *world) card { return c }}, c, tcpCarrier, false,
		libp2p.Security(noise.ID, noise.New))
	t.Cleanup(func() { h.Close() })
	r, err := relay.New(h, relay.WithInfiniteLimits(), relay.WithReservationAddressFilter(func(ma.Multiaddr) bool { return true }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return h
}

// target starts a victim of an attack, which on relayCarrier goes by way of a rogue
// relay, and returns where the victim is reached.
func target(t testing.TB, w *world, c carrier, change func(*Config)) (*station, peer.AddrInfo) {
	t.Helper()
	if c != relayCarrier {
		victim := w.start(t, c, change)
		return victim, infoOf(t, victim.Addrs())
	}
	via := fullAddrs(t, rogueRelay(t, w))
	victim := w.start(t, c, func(cfg *Config) {
		cfg.Via = via
		if change != nil {
			change(cfg)
		}
	})
	var info peer.AddrInfo
	poll(t, "a reservation", func() bool {
		info = infoOf(t, victim.Addrs())
		info.Addrs = slices.DeleteFunc(info.Addrs, func(a ma.Multiaddr) bool { return !isCircuit(a) })
		return len(info.Addrs) > 0
	})
	return victim, info
}

// reachable returns where a victim is to dial the attacker.
func (a *attacker) reachable(t testing.TB, w *world, c carrier) []string {
	t.Helper()
	if c != relayCarrier {
		return fullAddrs(t, a.Host)
	}
	at := fullAddrs(t, rogueRelay(t, w))
	if _, err := client.Reserve(t.Context(), a.Host, infoOf(t, at)); err != nil {
		t.Fatal(err)
	}
	return []string{at[0] + "/p2p-circuit/p2p/" + a.ID().String()}
}

func TestIntruderDials(t *testing.T) {
	eachAttack(t, true, func(t *testing.T, i intruder, c carrier) {
		w := newWorld(t)
		victim, at := target(t, w, c, nil)
		a := launch(t, w, i, c, i.skipTicket)
		for n := range attempts {
			a.Network().(*swarm.Swarm).Backoff().Clear(victim.ID())
			// A QUIC dialler may be told of a connection before it is refused.
			if err := a.Connect(t.Context(), at); err == nil {
				a.strike(t.Context(), t, victim, n)
			}
			poll(t, "refusal", func() bool { return a.Network().Connectedness(victim.ID()) != network.Connected })
		}
		a.assertLost(t, victim)
		// A plain host on a stream transport does not even find a security protocol in common.
		if i.card == nil && c != quicCarrier {
			if refused := victim.Stats().Refused; len(refused) != 0 {
				t.Errorf("refused %v", refused)
			}
			return
		}
		// The intruder may see the end before the victim has counted it.
		poll(t, "refusals are counted", func() bool { return victim.Stats().Refused[i.reason] >= attempts })
		if refused := victim.Stats().Refused; refused[i.reason] != attempts || len(refused) != 1 {
			t.Errorf("refused for %v, want %d times %q", refused, attempts, i.reason)
		}
	})
}

func TestIntruderIsDialled(t *testing.T) {
	eachAttack(t, false, func(t *testing.T, i intruder, c carrier) {
		w := newWorld(t)
		a := launch(t, w, i, c, i.skipTicket)
		at := a.reachable(t, w, c)
		victim := w.start(t, c, func(cfg *Config) { cfg.Static = at })
		n := 0
		poll(t, "refusals", func() bool {
			if a.Network().Connectedness(victim.ID()) == network.Connected {
				n++
				a.strike(t.Context(), t, victim, n)
			}
			return victim.Stats().DialsFailed >= attempts
		})
		if err := victim.SetOnline(false); err != nil {
			t.Fatal(err)
		}
		poll(t, "the end", func() bool { return a.Network().Connectedness(victim.ID()) != network.Connected })
		a.assertLost(t, victim)
	})
}

// The hook that switches admission off must make every attack succeed, or the
// tests above prove nothing.
func TestIntruderWinsWithoutAdmission(t *testing.T) {
	unsafe := func(cfg *Config) { cfg.Unsafe.NoAdmission = true }
	eachAttack(t, false, func(t *testing.T, i intruder, c carrier) {
		win := func(t *testing.T, w *world, a *attacker, victim *station) {
			n := 0
			poll(t, "success of the attack", func() bool {
				if a.Network().Connectedness(victim.ID()) == network.Connected {
					n++
					a.strike(t.Context(), t, victim, n)
				}
				return a.won(victim)
			})
		}
		// Without admission there is no ticket's stream on QUIC.
		t.Run("dials", func(t *testing.T) {
			w := newWorld(t)
			victim, at := target(t, w, c, unsafe)
			a := launch(t, w, i, c, true)
			if err := a.Connect(t.Context(), at); err != nil {
				t.Fatal(err)
			}
			win(t, w, a, victim)
		})
		t.Run("is dialled", func(t *testing.T) {
			w := newWorld(t)
			a := launch(t, w, i, c, true)
			at := a.reachable(t, w, c)
			victim := w.start(t, c, func(cfg *Config) { unsafe(cfg); cfg.Static = at })
			win(t, w, a, victim)
		})
	})
}
