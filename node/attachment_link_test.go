package node

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	ma "github.com/multiformats/go-multiaddr"

	"tocsin/node/inbox"
)

// badLink is a TCP proxy in front of one node: it cuts every connection after so many bytes towards the
// dialler, or every so often, and passes no more than a rate.
type badLink struct {
	net.Listener
	to    string
	after atomic.Int64 // bytes; 0 for no cut
	rate  atomic.Int64 // bytes a second; 0 for no limit
	cuts  atomic.Int64

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	work  sync.WaitGroup
}

func newBadLink(t *testing.T, n *Node) *badLink {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	b := &badLink{Listener: l, to: tcpOf(t, n), conns: make(map[net.Conn]struct{})}
	b.work.Go(b.accept)
	t.Cleanup(func() {
		check(t, l.Close())
		b.cut()
		b.work.Wait()
	})
	return b
}

// tcpOf is where a node listens.
func tcpOf(t *testing.T, n *Node) string {
	t.Helper()
	for _, text := range n.mesh.Addrs() {
		a, err := ma.NewMultiaddr(text)
		check(t, err)
		if port, err := a.ValueForProtocol(ma.P_TCP); err == nil {
			return "127.0.0.1:" + port
		}
	}
	t.Fatal("no TCP address")
	return ""
}

func (b *badLink) through(n *Node) string {
	_, port, err := net.SplitHostPort(b.Addr().String())
	if err != nil {
		panic(err) // a listener's address has a port
	}
	return "/ip4/127.0.0.1/tcp/" + port + "/p2p/" + n.mesh.ID().String()
}

func (b *badLink) accept() {
	for {
		in, err := b.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", b.to)
		if err != nil {
			in.Close()
			continue
		}
		b.mu.Lock()
		b.conns[in], b.conns[out] = struct{}{}, struct{}{}
		b.mu.Unlock()
		b.work.Go(func() { io.Copy(out, in); out.Close() })
		b.work.Go(func() { b.pass(in, out); b.end(in, out) })
	}
}

func (b *badLink) end(conns ...net.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range conns {
		c.Close()
		delete(b.conns, c)
	}
}

// pass copies towards the dialler until the link is cut.
func (b *badLink) pass(in, out net.Conn) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	buffer := make([]byte, 16<<10)
	for passed, allowed := int64(0), int64(0); ; {
		if b.rate.Load() > 0 && allowed <= 0 {
			<-tick.C
			allowed += b.rate.Load() / 100
			continue
		}
		n, err := out.Read(buffer)
		if n > 0 {
			if _, err := in.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
		passed, allowed = passed+int64(n), allowed-int64(n)
		if after := b.after.Load(); after > 0 && passed >= after {
			b.cuts.Add(1)
			return
		}
	}
}

// cut ends every connection.
func (b *badLink) cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.conns {
		c.Close()
	}
	b.cuts.Add(1)
}

// hidden has a node tell nobody where it is, so that a proxy is the only way to it.
func hidden(cfg *Config) {
	cfg.Listen = []string{"/ip4/127.0.0.1/tcp/0"}
	cfg.HostOptions = append(cfg.HostOptions, libp2p.AddrsFactory(func([]ma.Multiaddr) []ma.Multiaddr { return nil }))
}

// TestAttachmentOverABrokenLink: 20 MB from two holders, over links that break all the while, with a restart of the receiver half way. Here
// they break after so many bytes; with TOCSIN_ATTACH=5s they pass 500 kB a second each and break every five seconds.
func TestAttachmentOverABrokenLink(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.enrol("Amara Okafor", orgHospital).start(t, hidden)
	b := w.enrol("Ben Carter", orgAmbulance).start(t, hidden, knows(a))
	first, second := newBadLink(t, a), newBadLink(t, b)
	carla := w.enrol("Carla Diaz", orgHospital)
	options := []func(*Config){hidden, func(cfg *Config) {
		cfg.Static = []string{first.through(a), second.through(b)}
	}}
	c := carla.run(t, options...)
	ready(t, 2, a, b, c)
	g := makeGroup(t, a, b, c)
	inGroup(t, g, a, b, c)
	check(t, c.Close())

	data := fileOf(20_000_000)
	s := attach(t, a, g, "floor plans.pdf", data)
	arrives(t, b, s.ID, data)
	served := a.Metrics().Mesh.BlobOut + b.Metrics().Mesh.BlobOut
	links := []*badLink{first, second}
	for _, l := range links {
		l.after.Store(2 << 20)
	}
	if text := os.Getenv("TOCSIN_ATTACH"); text != "" {
		every, err := time.ParseDuration(text)
		check(t, err)
		breakEvery(t, every, links)
	}
	chunksA, chunksB := a.Metrics().Mesh.BlobChunksOut, b.Metrics().Mesh.BlobChunksOut
	c = carla.run(t, options...)
	eventually(t, "half of it is here", func() bool {
		info, ok := attachment(t, c, s.ID)
		return ok && 2*info.Have >= info.Chunks
	})
	before, _ := attachment(t, c, s.ID)
	check(t, c.Close())
	c = carla.run(t, options...)
	defer func() { check(t, c.Close()) }()
	eventually(t, "it is listed after the restart", func() bool { _, ok := attachment(t, c, s.ID); return ok })
	if after, _ := attachment(t, c, s.ID); after.Have < before.Have {
		t.Errorf("%d parts were here before the restart, %d after it", before.Have, after.Have)
	}
	arrives(t, c, s.ID, data)
	chunksA, chunksB = a.Metrics().Mesh.BlobChunksOut-chunksA, b.Metrics().Mesh.BlobChunksOut-chunksB
	served = a.Metrics().Mesh.BlobOut + b.Metrics().Mesh.BlobOut - served
	t.Logf("%d cuts; %d chunks from one holder and %d from the other; %.2f times its size was served",
		first.cuts.Load()+second.cuts.Load(), chunksA, chunksB, float64(served)/20e6)
	if first.cuts.Load() < 3 || second.cuts.Load() < 3 {
		t.Errorf("%d and %d cuts: the links were too good", first.cuts.Load(), second.cuts.Load())
	}
	if chunksA < 30 || chunksB < 30 {
		t.Errorf("%d chunks from one holder and %d from the other", chunksA, chunksB)
	}
	if served > 30e6 {
		t.Errorf("%d bytes were served for 20 MB", served)
	}
	if m := c.Metrics().Mesh; m.BlobsBad != 0 {
		t.Errorf("%d bad chunks", m.BlobsBad)
	}
	if info, _ := attachment(t, c, s.ID); info.State != inbox.HeldHere {
		t.Errorf("state %s", info.State)
	}
}

// breakEvery cuts links by time until the test ends.
func breakEvery(t *testing.T, every time.Duration, links []*badLink) {
	tick, done := time.NewTicker(every), make(chan struct{})
	var work sync.WaitGroup
	for _, l := range links {
		l.after.Store(0)
		l.rate.Store(500_000)
	}
	work.Go(func() {
		for {
			select {
			case <-tick.C:
				for _, l := range links {
					l.cut()
				}
			case <-done:
				return
			}
		}
	})
	t.Cleanup(func() {
		close(done)
		work.Wait()
		tick.Stop()
	})
}
