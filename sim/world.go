package sim

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"github.com/quic-go/quic-go"
	"go.uber.org/fx"

	"tocsin/crypto/identity"
	"tocsin/crypto/vault"
	"tocsin/ledger"
	"tocsin/ledger/memstore"
	"tocsin/node"
)

// organisation is the one that all devices of a world belong to.
const organisation = "rehearsal.nhs.example"

// partner and third are organisations of the same mesh without devices of their own.
const (
	partner = "partner.nhs.example"
	third   = "third.nhs.example"
)

// roles are those of everybody.
func roles() []string { return []string{"doctor"} }

// passphrase unlocks every device of a world, none of which outlives it.
const passphrase = "rehearsal only, nobody's secret"

// vaultKeys is where a vault holds identity.VaultKeys; the node reads it there.
const vaultKeys = "identity/vault-keys"

// settle is how old credentials are when a world begins: some skew of clocks is no
// reason to refuse them.
const settle = time.Hour

// World is a mesh of real devices over a simulated network. It lives in a bubble
// of virtual time. Its methods are called from one goroutine.
type World struct {
	clock  node.Clock
	start  time.Time
	dir    string // of vaults; the caller's
	logger *slog.Logger
	net    *network

	authority *identity.Authority // of organisation, whose all devices are
	partner   *identity.Authority // of another organisation, whose key may be stolen
	third     *identity.Authority // with authority, most of the three
	registrar *identity.Registrar // of authority, for when that cannot be reached
	bundle    *identity.Bundle
	// neighbours is how many each device looks for; 0 is the program's own number.
	neighbours int
	directory  string // as [node.Config.DHT]
	meshKey    [32]byte
	crl        identity.CRL // the last that was signed
	lists      [][]byte     // all lists of revoked devices, as they were signed

	shares  memstore.Shares // what the devices' stores hold together
	devices []*Device
	places  int // that were taken beyond those of devices: see place
}

// place is a number, and so an address, that nobody has yet. All devices must have been
// added before the first call.
func (w *World) place() int {
	w.places++
	return len(w.devices) + w.places - 1
}

// worldSpec is what a world is made of.
type worldSpec struct {
	Start  time.Time
	Dir    string
	Seed   uint64
	Logger *slog.Logger
	Near   Link
	Far    Link
	CPU    time.Duration // that one packet takes of its receiver
	// Neighbours is how many neighbours a device looks for; 0 is the program's own number.
	Neighbours int
	Directory  string // as [node.Config.DHT]
}

// newWorld waits, in virtual time, until start and makes an authority.
func newWorld(ctx context.Context, s worldSpec) (*World, error) {
	clock := node.SystemClock()
	if err := sleep(ctx, clock, s.Start.Sub(clock.Now())); err != nil {
		return nil, err
	}
	w := &World{clock: clock, start: s.Start, dir: s.Dir, logger: s.Logger, neighbours: s.Neighbours, directory: s.Directory}
	issued := s.Start.Add(-settle)
	var errs [4]error
	for i, a := range []**identity.Authority{&w.authority, &w.partner, &w.third} {
		*a, errs[i] = identity.NewAuthority([]string{organisation, partner, third}[i], "Rehearsal authority", issued, 90*24*time.Hour, rand.Reader)
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("sim: making authorities: %w", err)
	}
	var err error
	w.registrar, err = w.authority.NewRegistrar(identity.RegistrarGrant{Name: "Rehearsal registrar", Roles: roles(), Now: issued, Validity: 7 * 24 * time.Hour})
	if err != nil {
		return nil, fmt.Errorf("sim: making a registrar: %w", err)
	}
	w.bundle, err = identity.NewBundle("Rehearsal", issued, w.authority.Certificate(), w.partner.Certificate(), w.third.Certificate())
	if err != nil {
		return nil, fmt.Errorf("sim: making a trust bundle: %w", err)
	}
	if _, err := rand.Read(w.meshKey[:]); err != nil {
		return nil, err
	}
	w.net = newNetwork(clock, s.Seed, s.Near, s.Far, s.CPU)
	return w, nil
}

// close ends every device and the network.
func (w *World) close() error {
	var errs []error
	for _, d := range w.devices {
		errs = append(errs, d.stop())
	}
	w.net.close()
	return errors.Join(errs...)
}

// sleep waits in virtual time.
func sleep(ctx context.Context, clock node.Clock, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-clock.After(d):
		return nil
	}
}

// Device is one device of a world: its directory, and its node while it runs.
type Device struct {
	Name string
	Site string

	world *World
	index int
	dir   string
	ip    netip.Addr
	cfg   node.Config // but for what every start opens anew
	store *memstore.Store
	disk  *diskState // under store
	clock *skewed

	// turn is held by whoever has the device send: a node keeps messages in their order with a
	// mutex, and to wait for a mutex stops virtual time, to wait for a channel does not.
	turn chan struct{}

	node    *node.Node // nil while it is off
	log     string     // its log, once it ran
	key     [32]byte   // hash of its signing key, by which it is revoked
	lost    bool       // it will not come back
	revoked time.Time  // when its credential was taken back; zero for never
	astray  bool       // its log is not its owner's alone any more: it was copied, stolen or turned
	papers  enrolled   // what the authority gave it

	judged   uint64    // frames of gossip since its node started, as last seen
	tampered bool      // somebody spoilt its disk
	forgot   bool      // its disk lost what it had called saved
	joined   time.Time // when it came, in the middle of the story; zero for from the start
}

// hears reports whether a member is owed what is said at that time.
func (d *Device) hears(at time.Time) bool {
	return d.joined.IsZero() || at.After(d.joined.Add(joinGrace))
}

// joinGrace is how long after it came nobody owes a newcomer anything.
const joinGrace = time.Minute

// counts reports whether anybody may be held to what the device says, shows and gets.
func (d *Device) counts() bool { return !d.lost && !d.astray && d.revoked.IsZero() }

// enrolled is what the authority gave a device.
type enrolled struct {
	relay                 *identity.RelayKeys
	keys                  *identity.VaultKeys
	admission, credential []byte
}

// enrol has an authority admit a new device of a new person into the mesh of a
// bundle that names it.
func (w *World) enrol(by identity.Issuer, bundle *identity.Bundle, index int, name string) (enrolled, error) {
	var e enrolled
	relay, err1 := identity.NewRelayKeys(rand.Reader)
	keys, err2 := identity.NewVaultKeys(rand.Reader)
	if err := errors.Join(err1, err2); err != nil {
		return e, err
	}
	validity := 30 * 24 * time.Hour
	if by.IsRegistrar() {
		validity = 6 * 24 * time.Hour
	}
	req, err := identity.NewRequest(identity.Wish{
		Person: identity.Person{Org: by.Org(), Regulator: "gmc", Number: fmt.Sprintf("%07d", 1_000_000+index)},
		Claims: identity.Claims{Name: name, Roles: roles()},
	}, relay, keys)
	if err != nil {
		return e, err
	}
	answer, err := by.Issue(req, identity.Grant{
		Now: w.clock.Now().Add(-settle), Validity: validity, Roles: roles(), Bundle: bundle, MeshKey: w.meshKey,
	})
	if err != nil {
		return e, err
	}
	if keys.MeshKey, err = answer.OpenMeshKey(keys); err != nil {
		return e, err
	}
	return enrolled{relay, keys, answer.Admission, answer.Credential}, nil
}

// add makes a device and enrols it; it is off.
func (w *World) add(name, site string) (*Device, error) {
	return w.addAt(w.authority, w.bundle, len(w.devices), name, site)
}

// newcomer makes a device in the middle of the story, admitted by whoever it is; it is off.
func (w *World) newcomer(by identity.Issuer, bundle *identity.Bundle, site string) (*Device, error) {
	at := w.place()
	return w.addAt(by, bundle, at, fmt.Sprintf("newcomer/%d", at), site)
}

// addAt makes a device at a place of its own, which gives its address and its person.
func (w *World) addAt(by identity.Issuer, bundle *identity.Bundle, place int, name, site string) (*Device, error) {
	d := &Device{
		Name: name, Site: site, world: w, index: len(w.devices), ip: address(place), store: w.shares.New(), disk: new(diskState), clock: &skewed{clock: w.clock},
		turn: make(chan struct{}, 1),
		dir:  filepath.Join(w.dir, fmt.Sprintf("%04d", place)),
	}
	e, err := w.enrol(by, bundle, place, name)
	if err != nil {
		return nil, fmt.Errorf("sim: enrolling %s: %w", name, err)
	}
	if err := d.makeVault(e.keys); err != nil {
		return nil, fmt.Errorf("sim: the vault of %s: %w", name, err)
	}
	d.papers, d.key = e, identity.TicketKey(identity.KeyOf(e.keys.Signing))
	d.cfg = node.Config{
		Version: "sim", Dir: d.dir, Clock: d.clock, Relay: e.relay, Bundle: bundle, Admission: e.admission, Credential: e.credential,
		Listen: []string{listenOn(d.ip)}, IdleLock: -1, Logger: w.logger, Neighbours: w.neighbours, DHT: w.directory,
		HostOptions: w.hostOptions(d.Name, d.Site),
	}
	w.devices = append(w.devices, d)
	return d, nil
}

func listenOn(ip netip.Addr) string { return fmt.Sprintf("/ip4/%s/udp/%d/quic-v1", ip, devicePort) }

func (d *Device) makeVault(keys *identity.VaultKeys) error {
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	// Nobody guesses at these: what argon2id costs would only be waited for.
	v, err := vault.Create(filepath.Join(d.dir, "vault"), []byte(passphrase),
		vault.Options{Params: vault.Params{MemoryKiB: 64, Time: 1, Threads: 1}})
	if err != nil {
		return err
	}
	raw, err := keys.Marshal()
	if err == nil {
		err = v.Commit(vault.Change{Key: vaultKeys, Value: raw})
	}
	return errors.Join(err, v.Close())
}

// addr is where others dial the device.
func (d *Device) addr() string { return listenOn(d.ip) + "/p2p/" + d.cfg.Relay.PeerID().String() }

// run starts the device's node, as after a restart, unlocked.
func (d *Device) run(ctx context.Context) error {
	if d.node != nil {
		return nil
	}
	v, err := vault.Open(filepath.Join(d.dir, "vault"))
	if err != nil {
		return fmt.Errorf("sim: the vault of %s: %w", d.Name, err)
	}
	cfg := d.cfg
	cfg.Vault, cfg.Store = v, faultyStore{d.store, d.disk}
	n, err := node.Open(ctx, cfg)
	if err != nil {
		return fmt.Errorf("sim: starting %s: %w", d.Name, err)
	}
	d.node = n
	if err := n.Unlock(ctx, []byte(passphrase)); err != nil {
		return fmt.Errorf("sim: unlocking %s: %w", d.Name, err)
	}
	d.log = n.Status().Log
	return nil
}

// crash ends the device's node with nothing said to anybody: its socket is dead
// before it closes.
func (d *Device) crash() error {
	d.world.net.power(d.ip, false)
	err := d.stop()
	var lost bool
	if d.store, lost = d.disk.restarted(d.store); lost {
		d.forgot = true
	}
	return err
}

// stop ends the device's node in good order and keeps what it had on disk.
func (d *Device) stop() error {
	if d.node == nil {
		return nil
	}
	n := d.node
	d.node = nil
	err := n.Close()
	d.store = d.store.Reopen()
	if err != nil && !(d.disk.ill() && errors.Is(err, ledger.ErrReadOnly)) {
		return fmt.Errorf("sim: closing %s: %w", d.Name, err)
	}
	return nil
}

// hostOptions are those of a device's libp2p host.
func (w *World) hostOptions(name, site string) []libp2p.Option {
	return []libp2p.Option{w.socket(name, site)}
}

// socket makes libp2p use the simulated network.
func (w *World) socket(name, site string) libp2p.Option {
	var source sourceIP
	return libp2p.QUICReuse(func(l fx.Lifecycle, reset quic.StatelessResetKey, token quic.TokenGeneratorKey, opts ...quicreuse.Option) (*quicreuse.ConnManager, error) {
		m, err := quicreuse.NewConnManager(reset, token, opts...)
		if err != nil {
			return nil, err
		}
		// libp2p closes only a manager that it made itself.
		l.Append(fx.StopHook(m.Close))
		return m, nil
	}, quicreuse.OverrideSourceIPSelector(func() (quicreuse.SourceIPSelector, error) {
		return &source, nil
	}), quicreuse.OverrideListenUDP(func(_ string, addr *net.UDPAddr) (net.PacketConn, error) {
		source.set(addr.IP)
		return w.net.listen(name, site, addr)
	}))
}

// sourceIP is the one address that a device has.
type sourceIP struct {
	mu sync.Mutex
	ip net.IP // guarded by mu
}

func (s *sourceIP) set(ip net.IP) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ip = ip
}

// PreferredSourceIPForDestination implements quicreuse.SourceIPSelector.
func (s *sourceIP) PreferredSourceIPForDestination(*net.UDPAddr) (net.IP, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ip, nil
}

// skewed is a device's own clock, which may be wrong.
type skewed struct {
	clock node.Clock
	mu    sync.Mutex
	by    time.Duration // guarded by mu
}

// Now implements node.Clock.
func (s *skewed) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock.Now().Add(s.by)
}

// After implements node.Clock: what is elapsed is so on every clock.
func (s *skewed) After(d time.Duration) <-chan time.Time { return s.clock.After(d) }

func (s *skewed) set(by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.by = by
}
