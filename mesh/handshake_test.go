package mesh

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509/pkix"
	"io"
	"net"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	tptu "github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	manet "github.com/multiformats/go-multiaddr/net"
	mss "github.com/multiformats/go-multistream"
)

// dialRaw opens a TCP connection to the victim, as far as the test wants.
func dialRaw(t *testing.T, victim *station) net.Conn {
	t.Helper()
	c, err := manet.Dial(infoOf(t, victim.Addrs()).Addrs[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// dialNoise goes on to the encrypted channel, as dev.
func dialNoise(t *testing.T, victim *station, dev *device) sec.SecureConn {
	t.Helper()
	c := dialRaw(t, victim)
	if err := mss.SelectProtoOrFail(securityID, c); err != nil {
		t.Fatal(err)
	}
	key, _, err := hostKey(dev.relay.Transport)
	if err != nil {
		t.Fatal(err)
	}
	n, err := noise.New(securityID, key, []tptu.StreamMuxer{{ID: yamux.ID}})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := n.SecureOutbound(t.Context(), c, victim.ID())
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// awaitClosed reads until the victim hangs up, and returns what came.
func awaitClosed(t *testing.T, r io.Reader) []byte {
	t.Helper()
	got := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(r)
		got <- b
	}()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	select {
	case b := <-got:
		return b
	case <-ctx.Done():
		t.Fatal("never hung up")
		return nil
	}
}

func framed(t *testing.T, body []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := writeMessage(&b, body); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// assertUnharmed shows that the victim still admits and serves a member.
func assertUnharmed(t *testing.T, w *world, victim *station, c carrier) {
	t.Helper()
	if received, serves := victim.store.touched(); received != 0 || serves != 0 {
		t.Errorf("reached the victim: %d frames, %d sessions", received, serves)
	}
	victim.store.put([]byte("still here"))
	friend := w.start(t, c, func(cfg *Config) { cfg.Static = victim.Addrs() })
	friend.store.awaitFrame(t, "still here")
}

func TestMalformedHandshakeTCP(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	victim := w.start(t, tcpCarrier, nil)
	dev := w.member(t)
	good, err := hello{tag: w.homeTag(), chain: dev.chain}.marshal()
	if err != nil {
		t.Fatal(err)
	}
	flip := func(i int) []byte { b := bytes.Clone(good); b[i] ^= 0x10; return framed(t, b) }
	for name, c := range map[string]struct {
		bytes  []byte
		hangUp bool
		reason string
	}{
		"nothing":       {nil, true, reasonHungUp},
		"half a length": {[]byte{1}, true, reasonHungUp},
		"truncated":     {framed(t, good)[:200], true, reasonHungUp},
		"empty":         {[]byte{0, 0}, false, reasonMessage},
		"oversized":     {[]byte{0xff, 0xff}, false, reasonMessage},
		"version":       {flip(0), false, reasonMessage},
		"tag":           {flip(5), false, reasonOtherMesh},
		"chain length":  {flip(18), false, reasonMessage},
		"trailing":      {framed(t, append(bytes.Clone(good), 0)), false, reasonMessage},
		"random":        {framed(t, randomBytes(t, 700)), false, reasonMessage},
		"no chain":      {framed(t, good[:1+tagSize+2]), false, reasonMessage},
	} {
		before := victim.Stats().Refused[c.reason]
		conn := dialNoise(t, victim, dev)
		if _, err := conn.Write(c.bytes); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if c.hangUp {
			conn.Close()
		} else if got := awaitClosed(t, conn); len(got) != 0 {
			t.Errorf("%s: was sent %x", name, got)
		}
		poll(t, name, func() bool { return victim.Stats().Refused[c.reason] == before+1 })
	}
	// The second round: the chain is good, the ticket is not.
	ticket, err := ticketMessage{ticket: dev.ticket(t, time.Now(), time.Hour)}.marshal()
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"empty":     {0, 0},
		"oversized": {0x7f, 0xff},
		"cut":       framed(t, ticket[:len(ticket)-1]),
		"trailing":  framed(t, append(bytes.Clone(ticket), 0)),
		"version":   framed(t, append([]byte{9}, ticket[1:]...)),
	} {
		before := victim.Stats().Refused[reasonMessage]
		conn := dialNoise(t, victim, dev)
		if _, err := conn.Write(append(framed(t, good), b...)); err != nil {
			t.Fatalf("ticket %s: %v", name, err)
		}
		got := awaitClosed(t, conn)
		if want := framed(t, victim.links.desk.hello); !bytes.Equal(got, want) {
			t.Errorf("ticket %s: was sent %d bytes, want the hello of %d", name, len(got), len(want))
		}
		poll(t, "ticket "+name, func() bool { return victim.Stats().Refused[reasonMessage] == before+1 })
	}
	assertUnharmed(t, w, victim, tcpCarrier)
}

// Before Noise there is only the negotiation of libp2p and Noise itself.
func TestMalformedNoise(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	victim := w.start(t, tcpCarrier, nil)
	for _, b := range [][]byte{append([]byte{5}, randomBytes(t, 300)...), []byte("GET / HTTP/1.1\r\nHost: ward.example\r\nUser-Agent: a browser that took a wrong turning\r\n\r\n"), {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}} {
		c := dialRaw(t, victim)
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		awaitClosed(t, c)
	}
	c := dialRaw(t, victim)
	if err := mss.SelectProtoOrFail(securityID, c); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(append([]byte{0, 200}, randomBytes(t, 200)...)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(append([]byte{0, 200}, randomBytes(t, 200)...)); err != nil {
		t.Fatal(err)
	}
	awaitClosed(t, c)
	poll(t, "refusal", func() bool { return victim.Stats().Refused[reasonHandshake] == 1 })
	assertUnharmed(t, w, victim, tcpCarrier)
}

// Whoever is slow is cut off after five seconds, wherever it stops.
func TestSlowHandshake(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dev := w.member(t)
	good, err := hello{tag: w.homeTag(), chain: dev.chain}.marshal()
	if err != nil {
		t.Fatal(err)
	}
	t.Run("tcp", func(t *testing.T) {
		victim := w.start(t, tcpCarrier, nil)
		var open []io.Reader
		for _, n := range []int{0, 1, 500, 2 + len(good)} {
			c := dialNoise(t, victim, dev)
			if _, err := c.Write(framed(t, good)[:n]); err != nil {
				t.Fatal(err)
			}
			open = append(open, c)
		}
		before := dialRaw(t, victim)
		if err := mss.SelectProtoOrFail(securityID, before); err != nil {
			t.Fatal(err)
		}
		for _, c := range append(open, before) {
			awaitClosed(t, c)
		}
		poll(t, "refusals", func() bool { return victim.Stats().Refused[reasonTimeout] == 5 })
		assertUnharmed(t, w, victim, tcpCarrier)
	})
	t.Run("quic", func(t *testing.T) {
		victim := w.start(t, quicCarrier, nil)
		template, err := helloTemplate(good)
		if err != nil {
			t.Fatal(err)
		}
		info := infoOf(t, victim.Addrs())
		conn, err := rawQUIC(t, dev, template).Dial(t.Context(), info.Addrs[0], info.ID)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.AcceptStream(); err == nil {
			t.Error("was given a stream")
		}
		poll(t, "refusal", func() bool { return victim.Stats().Refused[reasonTimeout] == 1 })
		assertUnharmed(t, w, victim, quicCarrier)
	})
}

func TestMalformedHandshakeQUIC(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	victim := w.start(t, quicCarrier, nil)
	info := infoOf(t, victim.Addrs())
	dev := w.member(t)
	good, err := hello{tag: w.homeTag(), chain: dev.chain}.marshal()
	if err != nil {
		t.Fatal(err)
	}
	ticket, err := ticketMessage{ticket: dev.ticket(t, time.Now(), time.Hour)}.marshal()
	if err != nil {
		t.Fatal(err)
	}
	// Certificates.
	for name, hellos := range map[string][][]byte{
		"none":      nil,
		"empty":     {{}},
		"truncated": {good[:300]},
		"trailing":  {append(bytes.Clone(good), 0)},
		"oversized": {bytes.Repeat([]byte{1}, 9000)},
		"two":       {good, good},
	} {
		before := victim.Stats().Refused[reasonMessage]
		template, err := helloTemplate(nil)
		if err != nil {
			t.Fatal(err)
		}
		template.ExtraExtensions = nil
		for _, h := range hellos {
			template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: oidHello(), Value: h})
		}
		conn, err := rawQUIC(t, dev, template).Dial(t.Context(), info.Addrs[0], info.ID)
		if name == "two" {
			// Go's parser refuses a certificate with an extension twice.
			if err == nil {
				conn.AcceptStream()
				conn.Close()
			}
			continue
		}
		if err == nil { // else the refusal came before the end of the dial
			if _, err := conn.AcceptStream(); err == nil {
				t.Errorf("%s: was given a stream", name)
			}
			conn.Close()
		}
		poll(t, name, func() bool { return victim.Stats().Refused[reasonMessage] == before+1 })
	}
	// Tickets.
	full := framed(t, ticket)
	for name, c := range map[string]struct {
		bytes  []byte
		reason string
	}{
		"nothing":   {nil, reasonHungUp},
		"truncated": {full[:len(full)-1], reasonHungUp},
		"empty":     {[]byte{0, 0}, reasonMessage},
		"oversized": {[]byte{0xff, 0xff}, reasonMessage},
		"trailing":  {append(bytes.Clone(full), 0), reasonMessage},
		"random":    {framed(t, randomBytes(t, 150)), reasonMessage},
	} {
		before := victim.Stats().Refused[c.reason]
		template, err := helloTemplate(good)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := rawQUIC(t, dev, template).Dial(t.Context(), info.Addrs[0], info.ID)
		if err != nil {
			t.Fatal(err)
		}
		s, err := conn.OpenStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Write(c.bytes)
		if err == nil {
			err = s.CloseWrite()
		}
		if err != nil && !conn.IsClosed() { // the refusal may come before all was said
			t.Fatal(err)
		}
		if _, err := conn.AcceptStream(); err == nil {
			t.Errorf("%s: was given a stream", name)
		}
		conn.Close()
		poll(t, name, func() bool { return victim.Stats().Refused[c.reason] == before+1 })
	}
	assertUnharmed(t, w, victim, quicCarrier)
}

// No single flipped bit of a hello or a ticket passes.
func TestFlippedBits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dev := w.member(t)
	d := &desk{
		self: w.member(t).relay.PeerID(), tag: w.homeTag(), trust: w.home.store,
		clock: &testClock{}, counts: newCounters(),
	}
	good, err := hello{tag: d.tag, chain: dev.chain}.marshal()
	if err != nil {
		t.Fatal(err)
	}
	id := dev.relay.PeerID()
	proof, err := d.checkHello(good, id)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 * len(good) {
		b := bytes.Clone(good)
		b[i/8] ^= 1 << (i % 8)
		if _, err := d.checkHello(b, id); err == nil {
			t.Errorf("hello with bit %d flipped passes", i)
		}
	}
	ticket, err := ticketMessage{ticket: dev.ticket(t, time.Now(), time.Hour)}.marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.checkTicket(proof, ticket); err != nil {
		t.Fatal(err)
	}
	for i := range 8 * len(ticket) {
		if at := i / 8; at >= 1 && at < 1+runSize {
			continue // any run is as good as another; the channel protects it
		}
		b := bytes.Clone(ticket)
		b[i/8] ^= 1 << (i % 8)
		if err := d.checkTicket(proof, b); err == nil {
			t.Errorf("ticket with bit %d flipped passes", i)
		}
	}
}

// A connection that came by another way than our handshakes is refused by the
// gater, even where the options bring such a way in.
func TestNoProof(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	victim := w.start(t, tcpCarrier, func(cfg *Config) {
		cfg.HostOptions = []libp2p.Option{libp2p.Security(noise.ID, noise.New)}
	})
	a := launch(t, w, intruder{}, tcpCarrier, false)
	for range attempts {
		if err := a.Connect(t.Context(), infoOf(t, victim.Addrs())); err == nil {
			a.strike(t.Context(), t, victim, 1)
		}
	}
	poll(t, "refusal", func() bool { return victim.Stats().Refused[reasonNoProof] > 0 })
	a.assertLost(t, victim)
}

func randomBytes(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}
