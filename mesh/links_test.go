package mesh

import (
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// gateConn is as much of a connection as the gate and the notices look at. Its
// Close tells at once, as a notifier may.
type gateConn struct {
	network.Conn
	id     string
	peer   peer.ID
	at     ma.Multiaddr
	stat   network.ConnStats
	closed func()
}

func (c *gateConn) ID() string                                 { return c.id }
func (c *gateConn) RemotePeer() peer.ID                        { return c.peer }
func (c *gateConn) Stat() network.ConnStats                    { return c.stat }
func (c *gateConn) LocalMultiaddr() ma.Multiaddr               { return c.at }
func (c *gateConn) RemoteMultiaddr() ma.Multiaddr              { return c.at }
func (c *gateConn) Close() error                               { c.closed(); return nil }
func (c *gateConn) IsClosed() bool                             { return false }
func (c *gateConn) CloseWithError(network.ConnErrorCode) error { return c.Close() }

// gate is links without a host, and the notices they gave.
type gate struct {
	*links
	t       *testing.T
	at      ma.Multiaddr
	notices []bool
}

func newGate(t *testing.T) *gate {
	g := &gate{t: t, at: addr(t, "/ip4/127.0.0.1/udp/4001/quic-v1")}
	g.links = newLinks(&desk{clock: &testClock{}, counts: newCounters()})
	g.watch = func(_ peer.ID, up bool) { g.notices = append(g.notices, up) }
	return g
}

func (g *gate) conn(id string) *gateConn {
	c := &gateConn{id: id, peer: "peer", at: g.at}
	c.closed = func() { g.Disconnected(nil, c) }
	return c
}

// admit takes a connection through the gate, up to Connected.
func (g *gate) admit(id string, run byte) *gateConn {
	g.t.Helper()
	c := g.conn(id)
	g.mustExpect(c, &proof{peer: "peer", run: [runSize]byte{run}})
	if ok, _ := g.InterceptUpgraded(c); !ok {
		g.t.Fatalf("%s was refused", id)
	}
	return c
}

// The last notice of a peer tells what is so, whoever is quicker: a connection
// that opens while the end of another is being told is told of after it.
func TestNoticesInOrder(t *testing.T) {
	g := newGate(t)
	c1, c2 := g.admit("1", 1), g.admit("2", 1)
	g.Connected(nil, c1)
	done := make(chan struct{})
	notices := make(chan bool, 8)
	g.watch = func(_ peer.ID, up bool) {
		if !up {
			go func() {
				defer close(done)
				g.Connected(nil, c2)
			}()
			for range 10_000 { // time enough for the other, if nothing holds it back
				runtime.Gosched()
			}
		}
		notices <- up
	}
	g.Disconnected(nil, c1)
	<-done
	if first, second := <-notices, <-notices; first || !second {
		t.Errorf("told up=%v, then up=%v", first, second)
	}
}

// Another run of a peer: down, the dead connections closed, up. Going offline
// between the gate and Connected closes the connection. Neither locks itself out.
func TestNoticesOfAnotherRun(t *testing.T) {
	g := newGate(t)
	for i := range 3 {
		g.Connected(nil, g.admit(fmt.Sprint(i), 1))
	}
	g.Connected(nil, g.admit("new", 2))
	if want := []bool{true, false, true}; !slices.Equal(g.notices, want) {
		t.Errorf("notices %v, want %v", g.notices, want)
	}
	if len(g.open) != 1 || g.peers["peer"] != 1 {
		t.Errorf("%d connections are open, %d counted", len(g.open), g.peers["peer"])
	}
	late := g.admit("late", 2)
	g.mu.Lock()
	g.online = false
	g.mu.Unlock()
	g.Connected(nil, late)
	if g.open["late"] != nil || len(g.notices) != 3 {
		t.Error("a connection that came too late is kept or told of")
	}
}

// Two connections may have one place. Each is admitted on a proof, and
// forgetting one leaves the other's.
func TestTwoConnectionsOfOnePlace(t *testing.T) {
	g := newGate(t)
	a, b, c := g.conn("a"), g.conn("b"), g.conn("c")
	at := placeOf(a, "peer")
	p, q, r := &proof{peer: "peer"}, &proof{peer: "peer"}, &proof{peer: "peer"}
	for _, held := range []*proof{p, q, r} {
		g.mustExpect(a, held)
	}
	g.forget(at, q)
	for _, conn := range []*gateConn{a, b} {
		if ok, _ := g.InterceptUpgraded(conn); !ok {
			t.Errorf("%s was refused", conn.id)
		}
	}
	if ok, _ := g.InterceptUpgraded(c); ok {
		t.Error("three connections on two proofs")
	}
	if g.open["a"].proof != p || g.open["b"].proof != r || len(g.pending) != 0 {
		t.Error("the wrong proofs, or one left behind")
	}
}
