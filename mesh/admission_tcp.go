package mesh

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/sec"
	tptu "github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	manet "github.com/multiformats/go-multiaddr/net"
)

// securityID names the security transport in the clear negotiation that TCP
// connections open with.
const securityID protocol.ID = "/tocsin/noise/1"

// security is Noise followed by admission. The upgrader gets a connection
// from it only when both are done, so no muxer runs before.
type security struct {
	id    protocol.ID
	noise *noise.Transport
	desk  *desk
	links *links
}

var _ sec.SecureTransport = (*security)(nil)

// newSecurity returns the constructor that libp2p.Security wants; libp2p
// fills in its arguments by their types.
func newSecurity(d *desk, l *links) func(protocol.ID, crypto.PrivKey, []tptu.StreamMuxer) (*security, error) {
	return func(id protocol.ID, key crypto.PrivKey, muxers []tptu.StreamMuxer) (*security, error) {
		n, err := noise.New(id, key, muxers)
		if err != nil {
			return nil, err
		}
		return &security{id: id, noise: n, desk: d, links: l}, nil
	}
}

// ID implements sec.SecureTransport.
func (s *security) ID() protocol.ID { return s.id }

// SecureInbound implements sec.SecureTransport.
func (s *security) SecureInbound(ctx context.Context, insecure net.Conn, p peer.ID) (sec.SecureConn, error) {
	return s.secure(ctx, insecure, p, false)
}

// SecureOutbound implements sec.SecureTransport.
func (s *security) SecureOutbound(ctx context.Context, insecure net.Conn, p peer.ID) (sec.SecureConn, error) {
	return s.secure(ctx, insecure, p, true)
}

func (s *security) secure(ctx context.Context, insecure net.Conn, p peer.ID, dialler bool) (sec.SecureConn, error) {
	ctx, cancel := context.WithTimeout(ctx, admissionTimeout)
	defer cancel()
	conn, err := s.handshake(ctx, insecure, p, dialler)
	if err != nil {
		word := carriedByTCP
		if at, known := placeOfNet(insecure, p); known == nil {
			word = transportOfPlace(at)
		}
		s.desk.refuse(err, word, dialler)
		insecure.Close()
		return nil, err
	}
	return conn, nil
}

func (s *security) handshake(ctx context.Context, insecure net.Conn, p peer.ID, dialler bool) (sec.SecureConn, error) {
	run := s.noise.SecureInbound
	if dialler {
		run = s.noise.SecureOutbound
	}
	conn, err := run(ctx, insecure, p)
	if err != nil {
		if ctx.Err() != nil {
			return nil, interrupted(ctx)
		}
		if isTimeout(err) {
			return nil, refused(reasonTimeout, err)
		}
		return nil, refused(reasonHandshake, err)
	}
	// Closing is what interrupts a read or a write when the time is up or the
	// caller gives up.
	stop := context.AfterFunc(ctx, func() { insecure.Close() })
	proof, err := s.exchange(conn, dialler)
	if !stop() {
		return nil, interrupted(ctx)
	}
	if err != nil {
		return nil, err
	}
	if err := insecure.SetDeadline(time.Time{}); err != nil {
		return nil, refused(reasonOther, err)
	}
	place, err := placeOfNet(insecure, conn.RemotePeer())
	if err != nil {
		return nil, refused(reasonOther, err)
	}
	if err := s.links.expect(place, proof); err != nil {
		return nil, err
	}
	return &admittedConn{SecureConn: conn, forget: func() { s.links.forget(place, proof) }}, nil
}

func (s *security) exchange(conn sec.SecureConn, dialler bool) (*proof, error) {
	if err := s.links.unbarred(conn.RemotePeer()); err != nil {
		return nil, err
	}
	p, err := s.desk.exchangeHellos(conn, conn.RemotePeer(), dialler)
	if err != nil {
		return nil, err
	}
	if err := s.desk.exchangeTickets(conn, p, dialler, false); err != nil {
		return nil, err
	}
	return p, nil
}

// admittedConn forgets the proof of a connection that is closed before libp2p
// took it over.
type admittedConn struct {
	sec.SecureConn
	forget func()
}

func (c *admittedConn) Close() error {
	c.forget()
	return c.SecureConn.Close()
}

// placeOfNet names the connection as the swarm will name it.
func placeOfNet(c net.Conn, p peer.ID) (place, error) {
	if named, ok := c.(network.ConnMultiaddrs); ok {
		return placeOf(named, p), nil
	}
	local, err := manet.FromNetAddr(c.LocalAddr())
	if err != nil {
		return place{}, err
	}
	remote, err := manet.FromNetAddr(c.RemoteAddr())
	if err != nil {
		return place{}, err
	}
	if local == nil || remote == nil {
		return place{}, errors.New("a connection without addresses")
	}
	return place{peer: p, local: local.String(), remote: remote.String()}, nil
}
