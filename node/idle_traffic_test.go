package node

import (
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tocsin/ledger"
)

// meter is a TCP line between two devices that counts what passes, in both
// directions, of the payload of TCP.
type meter struct {
	addr    string
	bytes   atomic.Int64
	packets atomic.Int64 // reads, which is about segments
}

func newMeter(t testing.TB, to string) *meter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	m := &meter{addr: l.Addr().String()}
	var work sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	work.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			mu.Lock()
			conns = append(conns, in, out)
			mu.Unlock()
			work.Go(func() { m.pump(in, out) })
			work.Go(func() { m.pump(out, in) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		work.Wait()
	})
	return m
}

func (m *meter) pump(from, to net.Conn) {
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		m.bytes.Add(int64(n))
		if n > 0 {
			m.packets.Add(1)
		}
		if err != nil {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// overhead is what a segment and its acknowledgement cost below TCP's payload, with
// time stamps: two IPv4 and TCP headers.
const overhead = 2 * 52

// idleHour is what an idle neighbour may cost in an hour, both directions.
const idleHour = 200_000

// idleWait is between two pulls from a neighbour who has had nothing to say for a
// while (mesh, quietRounds).
const idleWait = 90 * time.Second

// metered starts two devices that have all of each other, with a meter between
// them. interval is between pulls.
func metered(t testing.TB, interval time.Duration) (a, b *Node, m *meter) {
	t.Helper()
	w := newWorld(t)
	usual := func(cfg *Config) {
		cfg.Listen = []string{"/ip4/127.0.0.1/tcp/0"}
		cfg.SyncInterval, cfg.ReceiptDelay, cfg.WitnessPause = interval, 0, 0
	}
	a = w.enrol("Amal", orgHospital).start(t, usual)
	addr := a.mesh.Addrs()[0]
	f := strings.Split(addr, "/") // "", ip4, 127.0.0.1, tcp, port, p2p, id
	m = newMeter(t, net.JoinHostPort(f[2], f[4]))
	_, port, err := net.SplitHostPort(m.addr)
	check(t, err)
	b = w.enrol("Ben", orgAmbulance).start(t, usual, func(cfg *Config) {
		cfg.Static = []string{"/ip4/127.0.0.1/tcp/" + port + "/p2p/" + f[6]}
	})
	ready(t, 1, a, b)
	g := makeGroup(t, a, b)
	inGroup(t, g, a, b)
	say(t, a, g, "anything")
	shows(t, b, g, "anything")
	return a, b, m
}

// quiet reports whether two devices say the same of everything.
func quiet(a, b *Node) bool {
	for _, s := range []ledger.Scope{ledger.ScopeControl, ledger.ScopeHeaders} {
		if a.tree(s).Root() != b.tree(s).Root() {
			return false
		}
	}
	return true
}

// TestIdleRounds holds what two devices that have the same say to each other in one
// round: at the usual interval it stays well within an hour's [idleHour].
func TestIdleRounds(t *testing.T) {
	a, b, m := metered(t, 50*time.Millisecond)
	pulls := func() int64 { return int64(a.Metrics().Mesh.Pulls + b.Metrics().Mesh.Pulls) }
	const rounds = 40
	var best int64
	for range 5 { // testimony may still come: the quietest stretch counts
		eventually(t, "they have the same", func() bool { return quiet(a, b) })
		from, bytes, packets := pulls(), m.bytes.Load(), m.packets.Load()
		eventually(t, "some rounds have passed", func() bool { return pulls() >= from+rounds })
		cost := (m.bytes.Load() - bytes + (m.packets.Load()-packets)*overhead) / (pulls() - from)
		if best == 0 || cost < best {
			best = cost
		}
	}
	perHour := best * 2 * int64(time.Hour/idleWait)
	t.Logf("%d bytes a round with all headers, %d an hour at one round each way in %s", best, perHour, idleWait)
	if perHour > idleHour {
		t.Errorf("%d bytes an hour, at most %d", perHour, idleHour)
	}
}

// TestIdleHour measures what an idle neighbour costs, with every interval as it is
// for users, for as long as TOCSIN_IDLE says (10m, 1h).
func TestIdleHour(t *testing.T) {
	text := os.Getenv("TOCSIN_IDLE")
	if text == "" {
		text = "0s"
	}
	span, err := time.ParseDuration(text)
	check(t, err)
	if span == 0 {
		t.Log("TOCSIN_IDLE=10m measures with the intervals of users; TestIdleRounds holds the cost of a round")
		return
	}
	a, b, m := metered(t, 0)
	settle := time.NewTimer(6 * time.Minute)
	defer settle.Stop()
	<-settle.C // testimony of what was said, receipts, and as many rounds as make a neighbour quiet
	if !quiet(a, b) {
		t.Error("they do not have the same after six minutes")
	}
	bytes, packets := m.bytes.Load(), m.packets.Load()
	over := time.NewTimer(span)
	defer over.Stop()
	<-over.C
	payload, segments := m.bytes.Load()-bytes, m.packets.Load()-packets
	hour := func(n int64) int64 { return int64(float64(n) * float64(time.Hour) / float64(span)) }
	t.Logf("in %s: %d bytes in %d segments; an hour: %d bytes of TCP payload, %d with all headers",
		span, payload, segments, hour(payload), hour(payload+segments*overhead))
	if total := hour(payload + segments*overhead); total > idleHour {
		t.Errorf("%d bytes an hour, at most %d", total, idleHour)
	}
}
