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
	// Dir is where the node keeps its ticket, what it knows of statements, and the
	// addresses it remembers.
	Dir string
	// Clock is required; cmd passes [SystemClock].
	Clock Clock
	// Store holds all logs.
	Store ledger.Store
	// Vault is open, locked or unlocked. It may be nil where [WipeMark] says that
	// the device has begun to wipe itself; the node then hands over its receipt.
	Vault *vault.Vault
	// VaultWiped says that there is no Vault because vault.Open says that it was
	// wiped, whether or not [WipeMark] knows: the node finishes the wipe.
	VaultWiped bool
	// Relay holds the keys that work while the device is locked.
	Relay *identity.RelayKeys
	// Bundle is the genesis trust bundle of the mesh; later ones come as statements.
	Bundle *identity.Bundle
	// Admission is the chain shown to neighbours, in wire form.
	Admission []byte
	// Credential is this device's credential, in wire form.
	Credential []byte
	// Listen are multiaddrs; empty means every interface, TCP and QUIC.
	Listen []string
	// Static are multiaddrs with /p2p/ of neighbours to keep dialling.
	Static []string
	// Via are multiaddrs with /p2p/ of relays to be reached through.
	Via []string
	// Announce are multiaddrs without /p2p/ at which this device is reached beside
	// those of its interfaces.
	Announce []string
	// Relaying carries the connections of other admitted devices, sealed as they are.
	Relaying bool
	// DHT says when the directory of devices is used: auto (or empty), on or off.
	DHT string
	// MDNS finds neighbours on the local network.
	MDNS bool
	// Neighbours is how many neighbours are looked for; 0 is the mesh's default.
	Neighbours int
	// SyncInterval is the pause between pulls from a neighbour; 0 is the
	// mesh's default.
	SyncInterval time.Duration
	// Thrift is low-bandwidth mode: [ThriftAuto] (or empty), [ThriftOn] or
	// [ThriftOff].
	Thrift string
	// ReceiptDelay is how long receipts wait for others to go with them; 0 is one
	// second. Those of stat messages do not wait.
	ReceiptDelay time.Duration
	// ReceiptInterval is how often receipts of routine messages leave this device at
	// most, in one entry; 0 is one minute. The first after a quiet time goes after
	// ReceiptDelay.
	ReceiptInterval time.Duration
	// EpochDevices is the most devices to which one epoch of a group is announced; 0
	// is [group.MaxMembers]. All devices of a mesh must have the same: rehearsals of
	// large groups with few devices make it small.
	EpochDevices int
	// IdleLock is how long nobody may touch an unlocked device ([Node.Touch])
	// before it locks itself; 0 is five minutes, negative is never. Relays,
	// which show nothing, never do.
	IdleLock time.Duration
	// WitnessPause gathers what logs grow by, so that a burst of entries costs one
	// checkpoint and one cosignature; 0 is five seconds.
	WitnessPause time.Duration
	// TestimonyPause is how seldom neighbours are told at most that there is new
	// testimony; they ask by themselves at every synchronisation. 0 is five seconds.
	TestimonyPause time.Duration
	// Attachments bound what attachments take on this device's disk.
	Attachments AttachmentLimits
	// Limits bound what others may add to the logs; zero fields are the
	// design's.
	Limits ledger.Limits
	// Carry bounds the bodies that are kept for others, in bytes; zero fields are
	// those of [ledger.DefaultQuota].
	Carry ledger.Quota
	// Record is where messages are handed over to; nil where no record is set.
	Record *RecordEndpoint
	// Custodian is the organisation that keeps the record, a host name as credentials have it, and CustodianODS its code; empty is this person's.
	Custodian, CustodianODS string
	// Retention is how long the organisation keeps messages, where a group says nothing else.
	Retention RetentionPolicy
	// HostOptions are passed to libp2p after our own; a simulator passes its
	// transports here.
	HostOptions []libp2p.Option
	// DestroyRelayKeys overwrites and removes the relay keys on disk. It is called
	// once a wipe is done and its receipt stands in another device's log, and again
	// after an error.
	DestroyRelayKeys func() error
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
	NoAdmission  bool // neighbours are not checked
	NoSync       bool // nothing is pulled
	NoSeal       bool // payloads leave in the clear
	NoRules      bool // what does not fit what stands is sent all the same
	NoEscalation bool // this device raises no step of an alert
	NoConduct    bool // no neighbour is cut off for what it sends
	NoRelay      bool // what others say by gossip is not handed on
	NoHybrid     bool // messages are placed by the clocks of their authors
}

const (
	defaultReceiptDelay    = time.Second
	defaultReceiptInterval = time.Minute
	defaultWitnessPause    = 5 * time.Second

	defaultTestimonyPause = 5 * time.Second
)

func (c *Config) validate() error {
	switch {
	case c.Clock == nil, c.Store == nil, c.Relay == nil, c.Bundle == nil, c.Logger == nil:
		return errors.New("node: Clock, Store, Relay, Bundle and Logger are all required")
	case c.Dir == "":
		return errors.New("node: Dir is required: the ticket is kept there")
	case len(c.Admission) == 0 || len(c.Credential) == 0:
		return errors.New("node: this device is not enrolled: pass its admission chain and credential")
	}
	if c.Vault == nil && !c.VaultWiped {
		if wiped, err := WipeMark(c.Dir); err != nil || !wiped {
			return errors.Join(errors.New("node: Vault is required, but on a device that was wiped"), err)
		}
	}
	var err error
	if c.Thrift, err = thriftMode(c.Thrift); err != nil {
		return err
	}
	if c.ReceiptDelay == 0 {
		c.ReceiptDelay = defaultReceiptDelay
	}
	if c.ReceiptInterval == 0 {
		c.ReceiptInterval = defaultReceiptInterval
	}
	c.Carry = c.Carry.OrDefault()
	if c.IdleLock == 0 {
		c.IdleLock = defaultIdleLock
	}
	if c.TestimonyPause == 0 {
		c.TestimonyPause = defaultTestimonyPause
	}
	if c.WitnessPause == 0 {
		c.WitnessPause = defaultWitnessPause
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
