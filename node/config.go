package node

import (
	"errors"
	"log/slog"
	"time"

	libp2p "github.com/libp2p/go-libp2p"

	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
	"tocsin/ledger"
)

// Config is everything that a node is handed. It owns Store and Vault from
// [Open] on and closes both.
type Config struct {
	// Version is shown in the status.
	Version string
	// Dir is where the node keeps its ticket and the addresses it remembers.
	Dir string
	// Clock is required; cmd passes [SystemClock].
	Clock Clock
	// Store holds all logs.
	Store ledger.Store
	// Vault is open, locked or unlocked.
	Vault *vault.Vault
	// Relay holds the keys that work while the device is locked.
	Relay *identity.RelayKeys
	// Bundle is the trust bundle of the mesh.
	Bundle *identity.Bundle
	// Admission is the chain shown to neighbours, in wire form.
	Admission []byte
	// Credential is this device's credential, in wire form.
	Credential []byte
	// Listen are multiaddrs; empty means every interface, TCP and QUIC.
	Listen []string
	// Static are multiaddrs with /p2p/ of neighbours to keep dialling.
	Static []string
	// MDNS finds neighbours on the local network.
	MDNS bool
	// SyncInterval is the pause between pulls from a neighbour; 0 is the
	// mesh's default.
	SyncInterval time.Duration
	// ReceiptDelay is how long delivered-receipts wait to be batched; 0 is
	// one second.
	ReceiptDelay time.Duration
	// Limits bound what others may add to the logs; zero fields are the
	// design's.
	Limits ledger.Limits
	// HostOptions are passed to libp2p after our own; a simulator passes its
	// transports here.
	HostOptions []libp2p.Option
	// Logger never sees content.
	Logger *slog.Logger
	// Step, when set, is called between the steps of both flows with the name
	// of the step just done. Crash tests end the process in it.
	Step func(step string)
	// Unsafe switches protections off, so that a rehearsal can show that it
	// would notice. The zero value is safe.
	Unsafe Unsafe
}

// Unsafe names protections that are off. Only rehearsals and tests set any.
type Unsafe struct {
	NoAdmission bool // neighbours are not checked
	NoSync      bool // nothing is pulled
	NoSeal      bool // payloads leave in the clear
}

const defaultReceiptDelay = time.Second

func (c *Config) validate() error {
	switch {
	case c.Clock == nil, c.Store == nil, c.Vault == nil, c.Relay == nil, c.Bundle == nil, c.Logger == nil:
		return errors.New("node: Clock, Store, Vault, Relay, Bundle and Logger are all required")
	case c.Dir == "":
		return errors.New("node: Dir is required: the ticket is kept there")
	case len(c.Admission) == 0 || len(c.Credential) == 0:
		return errors.New("node: this device is not enrolled: pass its admission chain and credential")
	}
	if c.ReceiptDelay == 0 {
		c.ReceiptDelay = defaultReceiptDelay
	}
	if c.Step == nil {
		c.Step = func(string) {}
	}
	return nil
}

// closeOwned closes what the node was handed to keep.
func (c *Config) closeOwned() error {
	var errs []error
	if c.Store != nil {
		errs = append(errs, c.Store.Close())
	}
	if c.Vault != nil {
		errs = append(errs, c.Vault.Close())
	}
	return errors.Join(errs...)
}
