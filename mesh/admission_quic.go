package mesh

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/pnet"
	"github.com/libp2p/go-libp2p/core/transport"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/quic-go/quic-go"
)

// oidHello is the certificate extension that holds the hello. It stands beside
// those of crypto/identity (oid.go), under the enterprise number for examples.
func oidHello() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 1, 3, 1}
}

// quicTransport is libp2p's QUIC with admission between its handshake and the
// swarm: Dial and Accept return a connection only when both sides have passed.
// Doing it here, below the swarm, closes the race that every check above it
// loses, for the swarm announces a connection to gossipsub at once.
type quicTransport struct {
	transport.Transport
	desk  *desk
	links *links
}

// newQUIC returns the constructor that libp2p.Transport wants; libp2p fills
// in its arguments by their types.
func newQUIC(d *desk, l *links) func(crypto.PrivKey, *quicreuse.ConnManager, pnet.PSK, connmgr.ConnectionGater, network.ResourceManager) (transport.Transport, error) {
	return func(key crypto.PrivKey, cm *quicreuse.ConnManager, psk pnet.PSK, g connmgr.ConnectionGater, rm network.ResourceManager) (transport.Transport, error) {
		template, err := helloTemplate(d.hello)
		if err != nil {
			return nil, err
		}
		inner, err := libp2pquic.NewTransport(key, cm, psk, g, rm,
			libp2pquic.WithTLSIdentityOption(libp2ptls.WithCertTemplate(template)))
		if err != nil {
			return nil, err
		}
		return &quicTransport{Transport: inner, desk: d, links: l}, nil
	}
}

// helloTemplate returns a fresh certificate template that carries the hello.
// libp2p adds its own extension to it, so it must not be used twice. The
// validity says nothing, on purpose: it would tell the wrong clock of a device, and
// expiry is the chain's.
func helloTemplate(hello []byte) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	if err != nil {
		return nil, fmt.Errorf("mesh: serial number of the TLS certificate: %w", err)
	}
	return &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)),
		NotBefore:    time.Unix(0, 0).UTC(),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		ExtraExtensions: []pkix.Extension{
			{Id: oidHello(), Value: hello},
		},
	}, nil
}

// ListenOrder implements swarm.OrderedListener as the transport within does.
func (t *quicTransport) ListenOrder() int { return libp2pquic.ListenOrder }

// Close closes the transport within.
func (t *quicTransport) Close() error {
	if c, ok := t.Transport.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Dial implements transport.Transport. It returns only after the listener has
// accepted our ticket and shown its own, so a refusal is an error here.
func (t *quicTransport) Dial(ctx context.Context, addr ma.Multiaddr, p peer.ID) (transport.CapableConn, error) {
	conn, err := t.Transport.Dial(ctx, addr, p)
	if err != nil {
		return nil, err
	}
	return t.admit(ctx, conn, true)
}

// admit runs the rest of the handshake on conn and closes it if that fails.
func (t *quicTransport) admit(ctx context.Context, conn transport.CapableConn, dialler bool) (transport.CapableConn, error) {
	ctx, cancel := context.WithTimeout(ctx, admissionTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { conn.CloseWithError(network.ConnGated) })
	p, err := t.exchange(ctx, conn, dialler)
	if !stop() {
		err = interrupted(ctx)
	}
	if err != nil {
		t.desk.refuse(err, carriedByQUIC, dialler)
		conn.CloseWithError(network.ConnGated)
		return nil, err
	}
	place := placeOf(conn, conn.RemotePeer())
	if err := t.links.expect(place, p); err != nil {
		t.desk.refuse(err, carriedByQUIC, dialler)
		conn.CloseWithError(network.ConnGated)
		return nil, err
	}
	return &quicConn{CapableConn: conn, forget: func() { t.links.forget(place, p) }}, nil
}

func (t *quicTransport) exchange(ctx context.Context, conn transport.CapableConn, dialler bool) (*proof, error) {
	if err := t.links.unbarred(conn.RemotePeer()); err != nil {
		return nil, err
	}
	raw, err := helloOf(conn)
	if err != nil {
		return nil, err
	}
	p, err := t.desk.checkHello(raw, conn.RemotePeer())
	if err != nil {
		return nil, err
	}
	// The first stream of a connection is the ticket's. QUIC hands streams over
	// in the order of their numbers, and the dialler opens no other before.
	var stream network.MuxedStream
	if dialler {
		stream, err = conn.OpenStream(ctx)
	} else {
		stream, err = conn.AcceptStream()
	}
	if err != nil {
		return nil, readFailure(err)
	}
	// Both sides read to the end, so that neither cancels what the other sends.
	if err := t.desk.exchangeTickets(ticketStream{stream}, p, dialler, true); err != nil {
		stream.Reset()
		return nil, err
	}
	return p, stream.Close()
}

// ticketStream ends its direction after the one message that goes out.
type ticketStream struct{ network.MuxedStream }

func (s ticketStream) Write(b []byte) (int, error) {
	n, err := s.MuxedStream.Write(b)
	if err != nil {
		return n, err
	}
	return n, s.CloseWrite()
}

// helloOf returns the hello in the certificate that TLS has proved.
func helloOf(conn transport.CapableConn) ([]byte, error) {
	var q *quic.Conn
	if !conn.As(&q) {
		return nil, refused(reasonNoProof, errors.New("not a QUIC connection"))
	}
	certs := q.ConnectionState().TLS.PeerCertificates
	if len(certs) == 0 {
		return nil, refused(reasonMessage, errors.New("no certificate"))
	}
	var raw []byte
	for _, ext := range certs[0].Extensions {
		if !ext.Id.Equal(oidHello()) {
			continue
		}
		if raw != nil {
			return nil, refused(reasonMessage, errors.New("two hellos in one certificate"))
		}
		raw = ext.Value
	}
	if raw == nil {
		return nil, refused(reasonMessage, errors.New("no hello in the certificate"))
	}
	return raw, nil
}

// quicConn forgets the proof of a connection that is closed before libp2p took
// it over.
type quicConn struct {
	transport.CapableConn
	forget func()
}

func (c *quicConn) Close() error {
	c.forget()
	return c.CapableConn.Close()
}

func (c *quicConn) CloseWithError(code network.ConnErrorCode) error {
	c.forget()
	return c.CapableConn.CloseWithError(code)
}

// Listen implements transport.Transport.
func (t *quicTransport) Listen(addr ma.Multiaddr) (transport.Listener, error) {
	inner, err := t.Transport.Listen(addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &quicListener{
		Listener: inner, transport: t, ctx: ctx, cancel: cancel,
		ready: make(chan transport.CapableConn),
		slots: make(chan struct{}, maxPendingQUIC),
		ended: make(chan struct{}),
	}
	go l.run()
	return l, nil
}

// quicListener admits several connections at once, so that a slow one does not
// hold up the rest. run owns every goroutine that it starts and waits for them
// before ended is closed.
type quicListener struct {
	transport.Listener
	transport *quicTransport
	ctx       context.Context
	cancel    context.CancelFunc
	ready     chan transport.CapableConn
	slots     chan struct{}
	ended     chan struct{}
	err       error // set before ended is closed
}

func (l *quicListener) run() {
	var wg sync.WaitGroup
	defer close(l.ended)
	defer wg.Wait()
	defer l.cancel()
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			l.err = err
			return
		}
		select {
		case l.slots <- struct{}{}:
		default:
			conn.CloseWithError(network.ConnRateLimited)
			l.transport.desk.refuse(refused(reasonBusy, errors.New("too many handshakes")), carriedByQUIC, false)
			continue
		}
		wg.Go(func() {
			l.admit(conn)
			<-l.slots
		})
	}
}

// admit hands an admitted connection to Accept.
func (l *quicListener) admit(conn transport.CapableConn) {
	admitted, err := l.transport.admit(l.ctx, conn, false)
	if err != nil {
		return // counted and closed
	}
	select {
	case l.ready <- admitted:
	case <-l.ctx.Done():
		admitted.CloseWithError(network.ConnShutdown)
	}
}

// Accept implements transport.Listener.
func (l *quicListener) Accept() (transport.CapableConn, error) {
	select {
	case conn := <-l.ready:
		return conn, nil
	case <-l.ended:
		return nil, l.err
	}
}

// Close implements transport.Listener: no more connections, then an end to the
// handshakes under way, then the wait for them.
func (l *quicListener) Close() error {
	err := l.Listener.Close()
	l.cancel()
	<-l.ended
	return err
}
