package mesh

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"tocsin/crypto/identity"
)

// Clock is the device's clock. Now may be wrong or be stepped; After measures
// elapsed time.
type Clock interface {
	Now() time.Time
	After(d time.Duration) <-chan time.Time
}

// Verdict is what the node says of a frame. It judges the frame alone, for the
// neighbour that handed it on is scored by it.
type Verdict uint8

const (
	// Accept: valid and new; it is kept and handed on.
	Accept Verdict = iota
	// Ignore: not to be handed on, and nobody's fault: known, early, over budget,
	// or our own disk is full.
	Ignore
	// Reject: invalid for everybody (encoding, hash, signature).
	Reject
)

// Receiver takes the frames that arrive by gossip. Receive is called from many
// goroutines at once and must return when ctx ends. frame must not be modified,
// and may be kept. When it returns Accept the frame is durable here, and only
// then is it handed on.
type Receiver interface {
	Receive(ctx context.Context, from peer.ID, frame []byte) Verdict
}

// Frame is one message of a synchronisation session.
type Frame struct {
	// Type is the node's, from 1 to 255; 0 is the mesh's own.
	Type uint8
	// Class is a traffic class; the node shares a session out by it, the mesh
	// carries it.
	Class uint8
	// Payload is at most MaxPayload bytes.
	Payload []byte
}

// SyncStream is one synchronisation session. Deadlines and limits are the
// mesh's: any error ends the session. Send may buffer; what was sent leaves at
// the latest when Receive or Flush is called or the session ends. Several
// goroutines may send and flush while one receives.
type SyncStream interface {
	Send(Frame) error
	// Flush sends what Send has buffered.
	Flush() error
	// Receive returns the next frame; its payload belongs to the caller. io.EOF
	// means that the other side ended the session in good order.
	Receive() (Frame, error)
}

// Syncer runs the two ends of a session. The session pulls: the client asks for
// what it lacks, and speaks first; the server answers. Both must return
// when ctx ends or the stream fails. A Pull that ends early loses nothing: the
// next one starts where it ended. What the other side did wrong is returned as
// [Refused].
type Syncer interface {
	Pull(ctx context.Context, from peer.ID, s SyncStream) error
	Serve(ctx context.Context, to peer.ID, s SyncStream) error
}

// Unsafe holds test hooks, which switch protections off to show that the tests
// that guard them can fail. The zero value is safe.
type Unsafe struct {
	// NoAdmission admits everyone: chains and tickets are not verified, plain
	// Noise and plain QUIC are spoken too.
	NoAdmission bool
	// NoSync starts no pull and sends no nudge. Others are still served.
	NoSync bool
	// NoConduct holds nothing against anybody: no neighbour is blamed, scored down or
	// cut off for what it sends.
	NoConduct bool
}

// Remembered is where a device was in an earlier run.
type Remembered struct {
	Peer peer.AddrInfo
	// Met says that it was connected once. Others were only named by somebody, and are
	// forgotten when they do not answer.
	Met bool
}

// Config is what a Mesh is made of. Transport, Trust, Chain, Ticket, Clock,
// Logger, Receiver and Syncer are required.
type Config struct {
	// Transport is the device's transport key; it gives the peer id.
	Transport ed25519.PrivateKey
	// Trust judges the chains and tickets of others.
	Trust *identity.TrustStore
	// Chain is our own admission chain in wire form. It is baked into the QUIC
	// certificate: a new chain needs a new Mesh.
	Chain []byte
	// Ticket returns our current ticket, or nil while there is none; then others
	// refuse us. It is called at every handshake, from many goroutines.
	Ticket func() []byte

	Clock    Clock
	Logger   *slog.Logger
	Receiver Receiver
	Syncer   Syncer
	// Known reports whether anything is held here that a peer wrote itself; who was met just now and is not
	// known is pulled from first. It must not block. Nil says so of everybody.
	Known func(peer.ID) bool
	// Blobs keeps chunks of attachments; nil means that none are fetched or served.
	Blobs BlobStore

	// Listen holds the multiaddrs to listen on, each of which must succeed. Empty
	// means any free TCP and UDP port on all IPv4 and, where there is IPv6, on all
	// IPv6 addresses.
	Listen []string
	// Static holds peers to keep dialling for ever: multiaddrs that end in /p2p/<peer id>.
	Static []string
	// Via holds relays to be reached through, as Static is written: they are dialled
	// for ever and asked for a reservation before other relays that we meet.
	Via []string
	// Announce holds addresses to tell others beside those of the interfaces, without
	// /p2p/: where a router forwards a port to this device.
	Announce []string
	// Relay carries the connections of other admitted devices, which stay sealed from
	// end to end, and raises the limits for that.
	Relay bool
	// DHT says when the directory of all devices (a private Kademlia table) is used:
	// [DHTAuto] or "", [DHTOn] or [DHTOff].
	DHT string
	// Remembered holds the devices of earlier runs, as Remember got them.
	Remembered []Remembered
	// Remember, if set, is handed the devices worth keeping whenever they change: at
	// most 256 of at most 16 addresses. It is called from one goroutine.
	Remember func([]Remembered)
	// Classify says what is to be known of a frame, from the frame alone and without
	// checking it: it must be cheap, and the same on every device. nil means that
	// everything is routine. It is called from many goroutines.
	Classify func(frame []byte) Label
	// Score, if set, is what the node holds against a neighbour: 0 or less, on
	// gossipsub's scale. It is called from gossipsub's loop and must not block.
	Score func(p peer.ID) float64
	// PeerChange, if set, is told when a first connection to a peer was admitted and
	// when the last one has ended. It must return at once.
	PeerChange func(p peer.ID, connected bool)
	// MDNS looks for devices of the same mesh on the local network by multicast.
	MDNS bool
	// Neighbours is how many neighbours are looked for, at most [MaxNeighbours]; half as many
	// more are kept. 0 means 32.
	Neighbours int
	// SyncInterval is the wait between pulls from one neighbour, with jitter;
	// 0 means 30 s.
	SyncInterval time.Duration

	// HostOptions are added to libp2p's options; a simulator passes its network
	// here (libp2p.QUICReuse).
	HostOptions []libp2p.Option
	// GossipOptions are added to gossipsub's options.
	GossipOptions []pubsub.Option
	// Unsafe is for tests.
	Unsafe Unsafe
}

func (c *Config) validate() error {
	switch {
	case len(c.Transport) != ed25519.PrivateKeySize:
		return errors.New("mesh: the transport key must be an Ed25519 private key of 64 bytes")
	case c.Trust == nil:
		return errors.New("mesh: a trust store is needed to admit others")
	case len(c.Chain) == 0:
		return errors.New("mesh: an admission chain is needed; enrol the device first")
	case len(c.Chain) > MaxChain:
		return fmt.Errorf("mesh: the admission chain has %d bytes, at most %d fit; ask the authority for a shorter one", len(c.Chain), MaxChain)
	case c.Ticket == nil:
		return errors.New("mesh: Config.Ticket must be set; it may return nil while the device was never unlocked")
	case c.Clock == nil:
		return errors.New("mesh: Config.Clock must be set")
	case c.Logger == nil:
		return errors.New("mesh: Config.Logger must be set")
	case c.Receiver == nil || c.Syncer == nil:
		return errors.New("mesh: Config.Receiver and Config.Syncer must be set")
	case c.SyncInterval < 0:
		return fmt.Errorf("mesh: a sync interval of %v makes no sense; give a positive one, or 0 for %v", c.SyncInterval, defaultSyncInterval)
	case c.Neighbours < 0 || c.Neighbours > MaxNeighbours:
		return fmt.Errorf("mesh: %d neighbours cannot be looked for; give a number from 1 to %d, or 0 for %d", c.Neighbours, MaxNeighbours, wantPeers)
	case c.DHT != "" && c.DHT != DHTAuto && c.DHT != DHTOn && c.DHT != DHTOff:
		return fmt.Errorf("mesh: %q does not say when to use the directory; write %s, %s or %s", c.DHT, DHTAuto, DHTOn, DHTOff)
	}
	return nil
}

// known returns Known, or a function that says so of everybody.
func (c *Config) known() func(peer.ID) bool {
	if c.Known == nil {
		return func(peer.ID) bool { return true }
	}
	return c.Known
}

// syncInterval returns the interval in force.
func (c *Config) syncInterval() time.Duration {
	if c.SyncInterval == 0 {
		return defaultSyncInterval
	}
	return c.SyncInterval
}

// neighbours returns how many neighbours are looked for, and how many more are kept.
func (c *Config) neighbours() (want, spare int) {
	if c.Neighbours == 0 {
		return wantPeers, sparePeers
	}
	return c.Neighbours, c.Neighbours / 2
}

// listenAddr is one address to listen on.
type listenAddr struct {
	addr     ma.Multiaddr
	optional bool // its failure is only logged
}

// listenAddrs parses Listen or returns the default.
func (c *Config) listenAddrs() ([]listenAddr, error) {
	texts, def := c.Listen, len(c.Listen) == 0
	if def {
		texts = []string{
			"/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1",
			"/ip6/::/tcp/0", "/ip6/::/udp/0/quic-v1",
		}
	}
	out := make([]listenAddr, 0, len(texts))
	for i, text := range texts {
		a, err := ma.NewMultiaddr(text)
		if err != nil {
			return nil, fmt.Errorf("mesh: %q is no address to listen on (%w); write for example /ip4/0.0.0.0/tcp/4750 or /ip4/0.0.0.0/udp/4750/quic-v1", text, err)
		}
		// Many machines have no IPv6; that is no reason not to start.
		out = append(out, listenAddr{addr: a, optional: def && i >= 2})
	}
	return out, nil
}

// peersToDial parses Static or Via, merging the addresses of one peer.
func peersToDial(texts []string) ([]peer.AddrInfo, error) {
	addrs := make([]ma.Multiaddr, 0, len(texts))
	for _, text := range texts {
		a, err := ma.NewMultiaddr(text)
		if err == nil {
			_, err = peer.AddrInfoFromP2pAddr(a)
		}
		if err != nil {
			return nil, fmt.Errorf("mesh: %q is no peer to dial (%w); write for example /ip4/10.0.0.7/tcp/4750/p2p/12D3Koo…", text, err)
		}
		addrs = append(addrs, a)
	}
	infos, err := peer.AddrInfosFromP2pAddrs(addrs...)
	if err != nil {
		return nil, fmt.Errorf("mesh: peers to dial: %w", err)
	}
	return infos, nil
}

// announced parses Announce.
func (c *Config) announced() ([]ma.Multiaddr, error) {
	out := make([]ma.Multiaddr, 0, len(c.Announce))
	for _, text := range c.Announce {
		a, err := ma.NewMultiaddr(text)
		if err == nil {
			if _, id := peer.SplitAddr(a); id != "" {
				err = errors.New("it names a peer")
			} else if !usable(a, "") {
				err = errors.New("it is neither an IP address with a port nor one of a transport that devices speak")
			}
		}
		if err != nil {
			return nil, fmt.Errorf("mesh: %q is no address to announce (%w); write for example /ip4/192.0.2.7/tcp/4750", text, err)
		}
		out = append(out, a)
	}
	return out, nil
}
