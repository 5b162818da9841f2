package mesh

import (
	"fmt"
	"math"
	"net/netip"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/x/rate"
)

// agent is the user agent and protocol version that identify tells to admitted
// neighbours: no version, no system.
const agent = "tocsin"

// newHost builds a libp2p host that listens nowhere yet: protocols must be in
// place before the first connection comes.
func newHost(cfg *Config, key crypto.PrivKey, d *desk, l *links, r *reach) (host.Host, error) {
	resources, err := newResources(cfg.Relay)
	if err != nil {
		return nil, fmt.Errorf("mesh: resource manager: %w", err)
	}
	low, high := connsLow, connsHigh
	if cfg.Relay {
		low, high = relayConnsLow, relayConnsHigh
	}
	manager, err := connmgr.NewConnManager(low, high)
	if err != nil {
		return nil, fmt.Errorf("mesh: connection manager: %w", err)
	}
	options := []libp2p.Option{
		libp2p.Identity(key),
		libp2p.NoListenAddrs,
		libp2p.ConnectionGater(l),
		libp2p.ConnectionManager(manager),
		libp2p.ResourceManager(resources),
		libp2p.UserAgent(agent),
		libp2p.ProtocolVersion(agent + "/1"),
		libp2p.Ping(false),
		libp2p.ForceReachabilityPrivate(), // no autonat probing
		// Over a bad link a handshake takes longer than the 5 s that libp2p gives
		// local addresses.
		libp2p.SwarmOpts(swarm.WithDialTimeoutLocal(dialTimeout)),
		libp2p.DisableIdentifyAddressDiscovery(),
		libp2p.DisableMetrics(), // they would go to a global registry
		// A black hole detector gives up on UDP or IPv6 after failures; after an
		// outage all there was are failures.
		libp2p.UDPBlackHoleSuccessCounter(nil),
		libp2p.IPv6BlackHoleSuccessCounter(nil),
		libp2p.Security(string(securityID), newSecurity(d, l)),
	}
	options = append(options, streamTransports()...)
	if cfg.Unsafe.NoAdmission {
		options = append(options,
			libp2p.Security(noise.ID, noise.New),
			libp2p.Transport(libp2pquic.NewTransport))
	} else {
		options = append(options, libp2p.Transport(newQUIC(d, l)))
	}
	options = append(options, cfg.HostOptions...)
	h, err := libp2p.New(append(options, func(c *libp2p.Config) error {
		if c.AddrsFactory != nil { // of HostOptions: it says what others may know
			r.shown = c.AddrsFactory
		} else {
			c.AddrsFactory = r.factory
		}
		return nil
	})...)
	if err != nil {
		return nil, fmt.Errorf("mesh: libp2p host: %w", err)
	}
	return h, nil
}

// newResources returns libp2p's resource manager with its limits raised where
// a hospital trips them: many devices behind one address, all at once. A relay
// holds more.
func newResources(relay bool) (network.ResourceManager, error) {
	scaling := rcmgr.DefaultLimits
	libp2p.SetDefaultServiceLimits(&scaling)
	conns, perAddress := rcmgr.LimitVal(maxConns), connsPerIPv4
	if relay {
		conns, perAddress = relayMaxConns, relayMaxConns
	}
	partial := rcmgr.PartialLimitConfig{
		System: rcmgr.ResourceLimits{
			Conns: conns, ConnsInbound: conns, ConnsOutbound: conns, FD: conns,
			Streams: 16 * conns, StreamsInbound: 16 * conns, StreamsOutbound: 16 * conns,
		},
		Transient: rcmgr.ResourceLimits{
			Conns: maxTransient, ConnsInbound: maxTransient, ConnsOutbound: maxTransient, FD: maxTransient,
		},
	}
	carrierLimits(&partial)
	limits := partial.Build(scaling.AutoScale())
	return rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(limits),
		rcmgr.WithMetricsDisabled(), // nobody reads them, and each event would be written down with its time under one lock
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: perAddress}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: perAddress}}),
		rcmgr.WithNetworkPrefixLimit(
			[]rcmgr.NetworkPrefixLimit{{Network: loopbackV4(), ConnCount: math.MaxInt}},
			[]rcmgr.NetworkPrefixLimit{{Network: loopbackV6(), ConnCount: math.MaxInt}}),
		rcmgr.WithConnRateLimiters(&rate.Limiter{
			NetworkPrefixLimits: []rate.PrefixLimit{{Prefix: loopbackV4()}, {Prefix: loopbackV6()}},
			SubnetRateLimiter: rate.SubnetLimiter{
				IPv4SubnetLimits: []rate.SubnetLimit{{PrefixLength: 32, Limit: rate.Limit{RPS: connRate, Burst: connBurst}}},
				IPv6SubnetLimits: []rate.SubnetLimit{{PrefixLength: 56, Limit: rate.Limit{RPS: connRate, Burst: connBurst}}},
				GracePeriod:      rateMemory,
			},
		}))
}

func loopbackV4() netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8) }
func loopbackV6() netip.Prefix { return netip.PrefixFrom(netip.IPv6Loopback(), 128) }
