package mesh

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/core/transport"
	tptu "github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/security/noise/pb"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/quic-go/quic-go"

	"tocsin/crypto/identity"
)

// recorder keeps every byte that an outsider was sent, decrypted.
type recorder struct {
	mu    sync.Mutex
	bytes bytes.Buffer
	early []*pb.NoiseExtensions
	runs  int
}

func (r *recorder) Bytes() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.bytes.Bytes())
}

func (r *recorder) ended() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.runs
}

// Send and Received make it a noise.EarlyDataHandler, so that it sees what
// comes inside the Noise handshake itself.
func (r *recorder) Send(context.Context, net.Conn, peer.ID) *pb.NoiseExtensions { return nil }

func (r *recorder) Received(_ context.Context, _ net.Conn, e *pb.NoiseExtensions) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.early = append(r.early, e)
	r.bytes.WriteString(e.String())
	return nil
}

// tapped is the outsider's end of our security transport: real Noise, then the
// exchange of a foreign device that believes everything, with the plaintext recorded.
type tapped struct {
	noise sec.SecureTransport
	desk  *desk
	rec   *recorder
}

func (s *tapped) ID() protocol.ID { return securityID }

func (s *tapped) SecureInbound(ctx context.Context, c net.Conn, p peer.ID) (sec.SecureConn, error) {
	conn, err := s.noise.SecureInbound(ctx, c, p)
	return s.tap(conn, err, false)
}

func (s *tapped) SecureOutbound(ctx context.Context, c net.Conn, p peer.ID) (sec.SecureConn, error) {
	conn, err := s.noise.SecureOutbound(ctx, c, p)
	return s.tap(conn, err, true)
}

func (s *tapped) tap(conn sec.SecureConn, err error, dialler bool) (sec.SecureConn, error) {
	defer func() {
		s.rec.mu.Lock()
		s.rec.runs++
		s.rec.mu.Unlock()
	}()
	if err != nil {
		return nil, err
	}
	t := &tappedConn{SecureConn: conn, rec: s.rec}
	if p, err := s.desk.exchangeHellos(t, conn.RemotePeer(), dialler); err == nil {
		err = s.desk.exchangeTickets(t, p, dialler, false)
	}
	// Whatever else the victim sends is recorded too, until it closes.
	buf := make([]byte, 1024)
	for {
		if _, err := t.Read(buf); err != nil {
			conn.Close()
			return nil, err
		}
	}
}

type tappedConn struct {
	sec.SecureConn
	rec *recorder
}

func (c *tappedConn) Read(b []byte) (int, error) {
	n, err := c.SecureConn.Read(b)
	c.rec.mu.Lock()
	c.rec.bytes.Write(b[:n])
	c.rec.mu.Unlock()
	return n, err
}

// outsider is a foreign device and the recorder of what it is told on TCP.
func outsider(t *testing.T, w *world) (card, *recorder, libp2p.Option) {
	t.Helper()
	d := w.enrol(t, w.foreign, time.Now(), 24*time.Hour)
	c := w.card(d, d.ticket(t, time.Now(), time.Hour))
	rec := &recorder{}
	return c, rec, libp2p.Security(string(securityID), func(id protocol.ID, key crypto.PrivKey, m []tptu.StreamMuxer) (*tapped, error) {
		n, err := noise.New(id, key, m)
		if err != nil {
			return nil, err
		}
		st, err := n.WithSessionOptions(noise.EarlyData(rec, rec))
		if err != nil {
			return nil, err
		}
		hello, err := hello{tag: c.tag, chain: c.chain}.marshal()
		if err != nil {
			return nil, err
		}
		return &tapped{noise: st, rec: rec, desk: &desk{
			open: true, hello: hello, ticket: func() []byte { return c.ticket }, clock: &testClock{},
		}}, nil
	})
}

func tappedHost(t *testing.T, c card, security libp2p.Option) *attacker {
	t.Helper()
	key, _, err := hostKey(c.key)
	if err != nil {
		t.Fatal(err)
	}
	h, err := libp2p.New(libp2p.Identity(key), security, libp2p.Transport(tcp.NewTCPTransport),
		libp2p.ListenAddrStrings(tcpCarrier.listen()), libp2p.DisableRelay(), libp2p.DisableMetrics(), libp2p.ForceReachabilityPrivate())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return &attacker{Host: h}
}

// leaks returns the secrets that b contains, in any of several spellings.
func leaks(b []byte) []string {
	var found []string
	low := bytes.ToLower(b)
	for _, s := range secrets {
		wide := utf16.Encode([]rune(s))
		le, be := make([]byte, 0, 2*len(wide)), make([]byte, 0, 2*len(wide))
		for _, u := range wide {
			le = append(le, byte(u), byte(u>>8))
			be = append(be, byte(u>>8), byte(u))
		}
		for _, form := range [][]byte{
			[]byte(strings.ToLower(s)), le, be,
			[]byte(hex.EncodeToString([]byte(s))), []byte(base64.StdEncoding.EncodeToString([]byte(s))),
		} {
			if bytes.Contains(low, form) || bytes.Contains(b, form) {
				found = append(found, s)
				break
			}
		}
	}
	return found
}

// The scan below is worth something only if it finds the secrets where they are.
func TestLeaksAreFound(t *testing.T) {
	w := newWorld(t)
	if got := leaks(w.member(t).credential); len(got) != len(secrets) {
		t.Errorf("found only %v of %v in a credential", got, secrets)
	}
}

// An outsider who dials on TCP is told the peer id (Noise) and the muxers, and then
// nothing: the listener verifies before it sends anything of its own.
func TestOutsiderDialsTCP(t *testing.T) {
	w := newWorld(t)
	victim := w.start(t, tcpCarrier, nil)
	c, rec, security := outsider(t, w)
	a := tappedHost(t, c, security)
	if err := a.Connect(t.Context(), infoOf(t, victim.Addrs())); err == nil {
		t.Fatal("connected")
	}
	for _, e := range rec.early {
		if len(e.GetWebtransportCerthashes()) != 0 || strings.Join(e.GetStreamMuxers(), " ") != "/yamux/1.0.0" {
			t.Errorf("within Noise: %v", e)
		}
	}
	var early int
	for _, e := range rec.early {
		early += len(e.String())
	}
	if got := rec.Bytes(); len(got) != early {
		t.Errorf("sent %d bytes to an outsider: %x", len(got)-early, got[early:])
	}
	if got := leaks(rec.Bytes()); got != nil {
		t.Errorf("leaked %v", got)
	}
	if rec.ended() == 0 {
		t.Error("the handshake was never recorded")
	}
}

// An outsider who is dialled on TCP sees the admission chain, and neither ticket nor
// anything else.
func TestOutsiderIsDialledTCP(t *testing.T) {
	w := newWorld(t)
	c, rec, security := outsider(t, w)
	a := tappedHost(t, c, security)
	victim := w.start(t, tcpCarrier, func(cfg *Config) { cfg.Static = fullAddrs(t, a.Host) })
	poll(t, "a recorded handshake", func() bool { return rec.ended() > 0 })
	if err := victim.SetOnline(false); err != nil {
		t.Fatal(err)
	}
	poll(t, "the end of the dials", func() bool { s := victim.Stats(); return s.Dials == s.DialsFailed })
	got := rec.Bytes()
	want, err := hello{tag: w.homeTag(), chain: victim.dev.chain}.marshal()
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(got, want); n != rec.ended() || n == 0 {
		t.Errorf("%d hellos in %d handshakes", n, rec.ended())
	}
	rest := bytes.ReplaceAll(got, want, nil)
	if bytes.Contains(rest, publicOf(victim.dev.vault.Signing)) {
		t.Error("the ticket was sent")
	}
	// What is left: the muxers within Noise, and the lengths of the messages.
	if limit := 64 * rec.ended(); len(rest) > limit {
		t.Errorf("%d bytes beside the hello: %q", len(rest), rest)
	}
	assertNoLeaks(t, got, victim.dev.chain)
}

// assertNoLeaks scans the plaintext and what its chain decodes to.
func assertNoLeaks(t *testing.T, plain, chain []byte) {
	t.Helper()
	if got := leaks(plain); got != nil {
		t.Errorf("leaked %v", got)
	}
	ders, err := identity.DecodeChain(chain)
	if err != nil {
		t.Fatal(err)
	}
	for _, der := range ders {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		text := cert.Subject.String() + cert.Issuer.String()
		for _, u := range cert.URIs {
			text += " " + u.String()
		}
		if got := leaks([]byte(text)); got != nil {
			t.Errorf("the chain names %v: %s", got, text)
		}
	}
}

// On QUIC both sides show a certificate. It holds the hello and says nothing
// more; and no stream follows for somebody who shows no hello.
func TestOutsiderOnQUIC(t *testing.T) {
	check := func(t *testing.T, conn transport.CapableConn, victim *station) {
		t.Helper()
		var q *quic.Conn
		if !conn.As(&q) {
			t.Fatal("not a QUIC connection")
		}
		certs := q.ConnectionState().TLS.PeerCertificates
		if len(certs) != 1 {
			t.Fatalf("%d certificates", len(certs))
		}
		cert := certs[0]
		assertNoLeaks(t, cert.Raw, victim.dev.chain)
		if cert.Subject.String() != "" || cert.NotBefore.Unix() != 0 || cert.NotAfter.Year() != 9999 {
			t.Errorf("the certificate says %q, %v to %v", cert.Subject, cert.NotBefore, cert.NotAfter)
		}
		if !bytes.Contains(cert.Raw, victim.dev.chain) {
			t.Error("the certificate lacks the chain; the test looks in the wrong place")
		}
		if bytes.Contains(cert.Raw, publicOf(victim.dev.vault.Signing)) {
			t.Error("the certificate holds the signing key")
		}
		if s, err := conn.AcceptStream(); err == nil {
			t.Errorf("was given a stream: %v", s)
		}
	}
	t.Run("dials", func(t *testing.T) {
		w := newWorld(t)
		victim := w.start(t, quicCarrier, nil)
		info := infoOf(t, victim.Addrs())
		dialler := rawQUIC(t, w.member(t), nil)
		// The refusal can overtake the end of the dial, which is as good but shows
		// no certificate: knock again.
		for range 50 {
			conn, err := dialler.Dial(t.Context(), info.Addrs[0], info.ID)
			var refusal *quic.ApplicationError
			if errors.As(err, &refusal) && refusal.Remote && refusal.ErrorCode == quic.ApplicationErrorCode(network.ConnGated) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			check(t, conn, victim)
			return
		}
		t.Fatal("no certificate was seen in 50 dials")
	})
	t.Run("is dialled", func(t *testing.T) {
		w := newWorld(t)
		d := w.member(t)
		at, err := ma.NewMultiaddr(quicCarrier.listen())
		if err != nil {
			t.Fatal(err)
		}
		l, err := rawQUIC(t, d, nil).Listen(at)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		victim := w.start(t, quicCarrier, func(cfg *Config) {
			cfg.Static = []string{l.Multiaddr().String() + "/p2p/" + d.relay.PeerID().String()}
		})
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		check(t, conn, victim)
	})
}

// rawQUIC is libp2p's QUIC alone, without a host: the test decides what is
// said when. template may be nil.
func rawQUIC(t testing.TB, d *device, template *x509.Certificate) transport.Transport {
	t.Helper()
	key, _, err := hostKey(d.relay.Transport)
	if err != nil {
		t.Fatal(err)
	}
	cm, err := quicreuse.NewConnManager(quic.StatelessResetKey{1}, quic.TokenGeneratorKey{2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cm.Close() })
	var options []libp2pquic.Option
	if template != nil {
		options = append(options, libp2pquic.WithTLSIdentityOption(libp2ptls.WithCertTemplate(template)))
	}
	tr, err := libp2pquic.NewTransport(key, cm, nil, nil, nil, options...)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}
