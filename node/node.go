package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/mesh"
)

// Node is one device at work. All methods may be called concurrently.
type Node struct {
	cfg    Config
	log    *slog.Logger
	trust  *identity.TrustStore
	keeper *keeper
	people *directory
	firsts firsts // logs whose authors are not known, because the disk has lost how they began
	logs   *ledger.Logs
	mesh   *mesh.Mesh
	events *hub
	rand   io.Reader
	cred   *identity.Credential
	self   identity.LogID // guarded by selfMu; changed under mu too, so that whoever holds mu reads it
	selfMu sync.RWMutex   // taken last
	ticket atomic.Pointer[[]byte]
	start  time.Time
	online atomic.Bool
	// switching spans a call of SetOnline.
	switching sync.Mutex

	// mu is the one writer of both flows: it guards open and own, and is held
	// while entries are sealed, opened and shown.
	mu   sync.Mutex
	open *session    // nil while locked
	own  *ledger.Log // this device's log; nothing can be signed while locked

	goes    *going        // guarded by mu: the log that this device is about to go on for
	stalled error         // guarded by mu: why it cannot
	issued  [32]byte      // guarded by mu: SHA-256 of the credential that its log began with
	seenOwn atomic.Uint32 // the highest incarnation of its author that others were seen to hold

	// sendMu keeps the messages of this device in the order in which they were
	// given, also where one waits for an epoch. It is taken before mu.
	sendMu sync.Mutex

	met    chan struct{} // closed by pulled once a neighbour's logs were compared with ours
	pulled sync.Once
	joined chan struct{} // closed once mesh is set: neighbours may call before New returns

	transfers *transfers // uploads to the record

	idle   idle
	knocks knocks        // what came stat while locked
	lease  lease         // guarded by mu
	spent  time.Duration // guarded by mu: by this process since retention last read the clock
	wipe   *wipeMark     // guarded by mu; nil on a device that was not ordered to wipe itself
	wiped  chan struct{} // closed once that is done

	enrolKey uint32 // the number of the mesh key that this device's enrolment brought

	hearMu   sync.Mutex
	hearings map[peer.ID]hearing // guarded by hearMu: devices under a wipe order that were let in
	offers   offers              // of receipts of wiped devices

	attached *attachments // chunks of attachments

	testimony *testimony // what this device and others say as witnesses

	due      *due        // work for drainLoop
	checks   *checking   // of proved ranges
	carry    *cargo      // bodies held for others
	scrubbed atomic.Bool // everything was checked once since the start
	sync     *syncing    // what sessions of synchronisation share
	forks    *forkWatch
	thrift   *thrift       // low-bandwidth mode
	owed     chan struct{} // one pending wake-up of receiptLoop
	owedNow  chan struct{} // one that does not wait for more
	asks     chan struct{} // one pending wake-up of askLoop
	paces    *paces        // guarded by mu: when receipts may leave
	alerts   chan struct{} // one pending wake-up of escalateLoop
	addrs    metAddrs

	countMu  sync.Mutex
	counters Metrics // guarded by countMu

	ctx    context.Context // ends when the node closes
	cancel context.CancelFunc
	wg     sync.WaitGroup // of the loops that Open starts
}

// Open starts a node: it opens the logs, joins the mesh and, where the vault is
// unlocked already, catches up with what arrived. A locked node relays. Store
// and Vault are closed where Open fails, too.
func Open(ctx context.Context, cfg Config) (*Node, error) {
	n, err := join(ctx, &cfg)
	if err != nil {
		return nil, errors.Join(err, cfg.closeOwned())
	}
	n.keeper.ring()
	for _, loop := range []func(){
		n.witnessLoop, n.checkLoop, n.carryLoop, n.scrubLoop, n.thriftLoop, n.trustLoop, n.drainLoop, n.receiptLoop,
		n.escalateLoop, n.upkeepLoop, n.lockLoop, n.askLoop, n.transferLoop, n.addrsLoop,
	} {
		n.wg.Add(1)
		go loop()
	}
	if cfg.Vault != nil && !cfg.Vault.Locked() {
		if err := n.Unlock(ctx, nil); err != nil {
			return nil, errors.Join(err, n.Close())
		}
	}
	return n, nil
}

// join does what can fail before any goroutine of the node runs.
func join(ctx context.Context, cfg *Config) (*Node, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	n, err := prepare(*cfg)
	if err != nil {
		return nil, err
	}
	err = n.openLogs(ctx)
	if err == nil {
		n.openChecking()
		n.startForks()
		n.resumeWipe()
		err = n.startMesh()
	}
	if err != nil {
		n.cancel()
		return nil, err
	}
	return n, nil
}

// prepare checks what the node was handed and starts nothing.
func prepare(cfg Config) (*Node, error) {
	trust, err := identity.NewTrustStore(cfg.Bundle)
	if err != nil {
		return nil, fmt.Errorf("node: trust bundle: %w", err)
	}
	n := &Node{
		cfg: cfg, log: cfg.Logger, trust: trust, keeper: newKeeper(), events: newHub(), rand: secureRand(),
		start: cfg.Clock.Now(), joined: make(chan struct{}), met: make(chan struct{}), due: newDue(), sync: newSyncing(), checks: newChecking(),
		carry: newCargo(cfg.Carry), forks: newForkWatch(), thrift: newThrift(cfg.Thrift), owed: make(chan struct{}, 1), owedNow: make(chan struct{}, 1), asks: make(chan struct{}, 1), paces: newPaces(), alerts: make(chan struct{}, 1), addrs: metAddrs{wake: make(chan struct{}, 1)},
		idle: idle{wake: make(chan struct{}, 1)}, wiped: make(chan struct{}), hearings: make(map[peer.ID]hearing), transfers: newTransfers(),
	}
	n.due.handOn = n.handOn
	if err := n.loadTrust(); err != nil {
		return nil, err
	}
	if n.cred, err = trust.ReadCredential(cfg.Credential); err != nil {
		return nil, fmt.Errorf("node: this device's credential: %w", err)
	}
	if n.cred.Peer != cfg.Relay.PeerID() {
		return nil, errors.New("node: the credential names another transport key: import the answer to this device's own request with `tocsin enrol`")
	}
	n.self, n.people = identity.LogID{Author: n.cred.SigningKey}, newDirectory(trust, n.cred)
	trust.SetHearing(n.hears)
	if err := errors.Join(n.loadTicket(), n.loadWipe()); err != nil {
		return nil, err
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	return n, nil
}

// openLogs opens every log and reads the credential at the head of each.
func (n *Node) openLogs(ctx context.Context) error {
	logs, err := ledger.Open(ctx, ledger.Config{Store: n.cfg.Store, Authors: n.people, Limits: n.cfg.Limits})
	if err != nil {
		return fmt.Errorf("node: opening the logs: %w", err)
	}
	n.logs = logs
	if err := n.openAttachments(); err != nil {
		return err
	}
	n.setSelf(n.newestOwn(n.cred.SigningKey))
	if n.own, err = logs.Own(ctx, n.self); err != nil {
		return fmt.Errorf("node: this device's log: %w", err)
	}
	if err := n.readOwn(ctx); err != nil {
		n.log.Error("how this device's log began cannot be read", "err", err)
	}
	if err := n.readFirsts(ctx); err != nil {
		return err
	}
	n.retryLater()
	for _, head := range logs.Frontier() {
		n.readControl(ctx, head.Log)
	}
	return n.openTestimony(ctx)
}

func (n *Node) startMesh() error {
	m, err := mesh.New(n.ctx, mesh.Config{
		Transport: n.cfg.Relay.Transport, Trust: n.trust, Chain: n.cfg.Admission, Ticket: n.currentTicket,
		Clock: n.cfg.Clock, Logger: n.log, Receiver: n.receiver(), Syncer: n, Known: n.people.knowsPeer, Blobs: n.attached, Classify: classify,
		Listen: n.cfg.Listen, Static: n.cfg.Static, MDNS: n.cfg.MDNS,
		Via: n.cfg.Via, Announce: n.cfg.Announce, Relay: n.cfg.Relaying, DHT: n.cfg.DHT, Neighbours: n.cfg.Neighbours,
		Remembered: n.rememberedAddrs(), Remember: n.rememberAddrs,
		PeerChange:  func(peer.ID, bool) { n.events.publish(Event{Type: EventPeers}) },
		HostOptions: n.cfg.HostOptions, SyncInterval: n.cfg.SyncInterval,
		Unsafe: mesh.Unsafe{NoAdmission: n.cfg.Unsafe.NoAdmission, NoSync: n.cfg.Unsafe.NoSync, NoConduct: n.cfg.Unsafe.NoConduct},
	})
	if err != nil {
		return fmt.Errorf("node: joining the mesh: %w", err)
	}
	n.mesh = m
	n.online.Store(true)
	close(n.joined)
	return nil
}

func (n *Node) currentTicket() []byte {
	if t := n.ticket.Load(); t != nil {
		return *t
	}
	return nil
}

// Close ends the node. The order matters: first the mesh, so that nothing more
// comes in; then the loops, so that nobody is at work; then the session, which
// zeroes keys; last the store and the vault, which by then nobody uses.
func (n *Node) Close() error {
	err := n.mesh.Close()
	n.cancel()
	n.wg.Wait()
	n.mu.Lock()
	n.closeSession()
	n.mu.Unlock()
	n.events.close()
	return errors.Join(err, n.saveCursors(), n.closeAttachments(), n.cfg.closeOwned())
}

// SetOnline switches the mesh on or off on this device. Off, nothing is sent
// or received, and messages are saved for later.
func (n *Node) SetOnline(online bool) error {
	n.switching.Lock() // as one step, as in the mesh
	defer n.switching.Unlock()
	if err := n.mesh.SetOnline(online); err != nil {
		return err
	}
	n.online.Store(online)
	n.events.publish(Event{Type: EventPeers})
	return nil
}

// Subscribe returns events until ctx ends. A reader who falls behind misses
// some and gets one [EventGap].
func (n *Node) Subscribe(ctx context.Context) <-chan Event { return n.events.subscribe(ctx) }

// Peers returns the direct neighbours.
func (n *Node) Peers() []Peer { return n.mesh.Peers() }

// VerifyLogs checks every encoding, hash, link and signature that this device
// holds. It needs no passphrase.
func (n *Node) VerifyLogs(ctx context.Context, progress func(done, total uint64)) (VerifyReport, error) {
	return n.logs.VerifyAll(ctx, progress)
}
