package mesh

import (
	"math"
	"strings"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/libp2p/go-libp2p/p2p/transport/websocket"
	ma "github.com/multiformats/go-multiaddr"
)

// streamTransports returns the transports that carry our security transport:
// TCP, and WebSocket for sites whose way out is an HTTP proxy (it honours
// HTTP_PROXY). A relayed connection (EnableRelay) takes the same way, so that
// admission cannot differ between the three. WebSocket's own TLS is not offered:
// what runs within is encrypted and proved by Noise.
func streamTransports() []libp2p.Option {
	return []libp2p.Option{
		// Without SO_REUSEPORT a busy port is an error, and not shared in silence.
		libp2p.Transport(tcp.NewTCPTransport, tcp.DisableReuseport()),
		libp2p.Transport(websocket.New, websocket.WithHandshakeTimeout(admissionTimeout)),
		libp2p.Muxer(yamux.ID, muxer()),
		libp2p.EnableRelay(),
	}
}

// muxer returns libp2p's yamux with our keep-alive: a connection over a way that
// has gone is known to be dead after keepAlive and keepAliveAnswer.
func muxer() *yamux.Transport {
	c := *yamux.DefaultTransport.Config()
	c.MaxIncomingStreams = math.MaxUint32 // the resource manager's to bound
	c.KeepAliveInterval = keepAlive
	c.ConnectionWriteTimeout = keepAliveAnswer
	return (*yamux.Transport)(&c)
}

// The words for transports, in Peers and in the log.
const (
	carriedByTCP   = "tcp"
	carriedByQUIC  = "quic"
	carriedByWS    = "ws"
	carriedByRelay = "relay"
)

// transportOf returns one of the words above for an open connection. It goes by the
// addresses: a relayed connection does not say what it is on every side.
func transportOf(c network.ConnMultiaddrs) string { return transportOfAddr(c.RemoteMultiaddr()) }

func transportOfAddr(a ma.Multiaddr) string {
	word := "other"
	for _, c := range a {
		switch c.Protocol().Code {
		case ma.P_CIRCUIT:
			return carriedByRelay
		case ma.P_WS, ma.P_WSS:
			word = carriedByWS
		case ma.P_QUIC_V1:
			word = carriedByQUIC
		case ma.P_TCP:
			word = carriedByTCP
		}
	}
	return word
}

// transportOfPlace is the same for a connection in its handshake.
func transportOfPlace(at place) string {
	switch {
	case strings.Contains(at.remote, "/p2p-circuit"):
		return carriedByRelay
	case strings.Contains(at.remote, "/ws"):
		return carriedByWS
	default:
		return carriedByTCP
	}
}
