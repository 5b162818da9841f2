// Package mesh carries opaque frames between the devices of one mesh: it finds
// them, admits them, gossips and synchronises. It knows nothing of entries,
// groups or people; the node implements its [Receiver] and [Syncer].
//
// # Admission comes first
//
// gossipsub and identify talk before any protocol of ours could run, so
// admission is part of the handshake (design, protocol §2). On TCP a security
// transport wraps Noise and exchanges admission chain and ticket inside the
// encrypted channel; on QUIC the chain is an extension of the TLS certificate
// and the ticket travels on the connection's first stream. Until both sides
// have passed, libp2p's swarm has not been told of the connection, so no
// identify, gossip or synchronisation stream can exist on it, in either
// direction. A connection gater refuses, as a second line, every connection
// that carries no proof of admission, whatever transport it came by. The bytes
// are in PROTOCOL.md.
//
// # Gossip is a hint
//
// One topic per mesh spreads frames fast; whatever it loses, synchronisation
// finds. Publishing while a neighbour is not yet listening, or while its queue
// overflows, is remembered, and the neighbour is nudged to pull (see gossip.go).
//
// # Logging
//
// The package logs through [Config.Logger] and leaves alone the global handler of
// libp2p (gologshim). A program that wants libp2p's own messages in its log
// calls gologshim.SetDefaultHandler once, before the first mesh is made;
// libp2p offers no other way, and a library must not decide it.
//
// # Time
//
// Certificates and tickets are judged by the injected [Clock]. Deadlines of
// network reads and writes run on the process's own monotonic time (a context's
// timeout), so that a device whose wall clock is wrong or is stepped keeps
// talking.
package mesh
