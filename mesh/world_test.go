package mesh

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"

	"tocsin/crypto/identity"
)

// The names of the device under attack: nothing of them may reach a stranger.
var secrets = []string{"Amara", "Okafor", "7654321", "gmc", "registrar", "doctor", "RYJ01", "ST5"}

// world is a mesh of one authority, and a foreign one.
type world struct {
	rand    *rand.ChaCha8
	home    *realm
	foreign *realm
}

// realm is an authority, its bundle and its store.
type realm struct {
	authority *identity.Authority
	bundle    *identity.Bundle
	store     *identity.TrustStore
}

// device is an enrolled device.
type device struct {
	relay *identity.RelayKeys
	vault *identity.VaultKeys
	chain []byte
	store *identity.TrustStore

	credential []byte // names the person; must never be in the mesh's own bytes
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{rand: rand.NewChaCha8([32]byte{7})}
	w.home = w.realm(t, "stmarys.nhs.example")
	w.foreign = w.realm(t, "elsewhere.example")
	return w
}

func (w *world) realm(t testing.TB, org string) *realm {
	t.Helper()
	a, err := identity.NewAuthority(org, "root of "+org, time.Now().Add(-300*24*time.Hour), 5*365*24*time.Hour, w.rand)
	if err != nil {
		t.Fatal(err)
	}
	b, err := identity.NewBundle("test mesh", time.Now(), a.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	s, err := identity.NewTrustStore(b)
	if err != nil {
		t.Fatal(err)
	}
	return &realm{authority: a, bundle: b, store: s}
}

// enrol issues a device of r, at the given time for the given life.
func (w *world) enrol(t testing.TB, r *realm, at time.Time, life time.Duration) *device {
	t.Helper()
	d := &device{store: r.store}
	var err error
	if d.relay, err = identity.NewRelayKeys(w.rand); err != nil {
		t.Fatal(err)
	}
	if d.vault, err = identity.NewVaultKeys(w.rand); err != nil {
		t.Fatal(err)
	}
	req, err := identity.NewRequest(identity.Wish{
		Person: identity.Person{Org: r.authority.Org(), Regulator: "gmc", Number: "7654321"},
		Claims: identity.Claims{Name: "Dr Amara Okafor", Roles: []string{"doctor", "registrar"}, Grade: "ST5", ODS: "RYJ01"},
	}, d.relay, d.vault)
	if err != nil {
		t.Fatal(err)
	}
	key, err := identity.NewMeshKey(w.rand)
	if err != nil {
		t.Fatal(err)
	}
	e, err := r.authority.Issue(req, identity.Grant{
		Now: at, Validity: life, Roles: []string{"doctor", "registrar"}, Bundle: r.bundle, MeshKey: key, Rand: w.rand,
	})
	if err != nil {
		t.Fatal(err)
	}
	d.chain, d.credential = e.Admission, e.Credential
	return d
}

// member is an ordinary device of the home realm.
func (w *world) member(t testing.TB) *device {
	return w.enrol(t, w.home, time.Now(), 100*24*time.Hour)
}

func (d *device) ticket(t testing.TB, now time.Time, life time.Duration) []byte {
	t.Helper()
	raw, err := identity.NewTicket(d.vault.Signing, d.relay.PeerID(), now, now.Add(life))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// testClock is the process's clock with an offset.
type testClock struct{ offset atomic.Int64 }

func (c *testClock) Now() time.Time { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *testClock) After(d time.Duration) <-chan time.Time {
	return time.After(d)
}

// station is a running Mesh with a Receiver and Syncer that keep frames in
// memory: the least node that shows what the mesh does.
type station struct {
	*Mesh
	dev   *device
	clock *testClock
	log   *logBuffer
	store *frameStore
}

// frameStore is a set of frames. Frames that start with "bad" are rejected.
type frameStore struct {
	mu       sync.Mutex
	frames   map[[32]byte][]byte
	received int           // calls of Receive
	pulls    int           // of Pull
	serves   int           // of Serve
	changed  chan struct{} // closed and replaced at each change
	soon     func(peer.ID)
	fresh    func(frame []byte) // if set, told of each new frame
	shared   *sync.Map          // if set, of frames by id: stores that share one keep each frame once
	keep     int                // if set, how many frames are kept
	order    [][32]byte         // of those kept, the oldest first
}

func newFrameStore() *frameStore {
	return &frameStore{frames: make(map[[32]byte][]byte), changed: make(chan struct{})}
}

func (s *frameStore) touch() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *frameStore) put(frame []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := sha256.Sum256(frame)
	if _, ok := s.frames[id]; ok {
		return false
	}
	if s.shared != nil {
		kept, _ := s.shared.LoadOrStore(id, frame)
		frame = kept.([]byte)
	}
	s.frames[id] = frame
	if s.keep > 0 {
		if s.order = append(s.order, id); len(s.order) > s.keep {
			delete(s.frames, s.order[0])
			s.order = s.order[1:]
		}
	}
	s.touch()
	if s.fresh != nil {
		s.fresh(frame)
	}
	return true
}

// bound has the store keep its newest frames only, and tell of each that comes.
func (s *frameStore) bound(keep int, fresh func(frame []byte)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep, s.fresh = keep, fresh
}

func (s *frameStore) Receive(_ context.Context, _ peer.ID, frame []byte) Verdict {
	s.mu.Lock()
	s.received++
	s.touch()
	s.mu.Unlock()
	if strings.HasPrefix(string(frame), "bad") {
		return Reject
	}
	if s.put(frame) {
		return Accept
	}
	return Ignore
}

const (
	frameHave  = 1 // 32-byte hashes
	frameEntry = 2
	frameDone  = 3
)

func (s *frameStore) Pull(_ context.Context, _ peer.ID, st SyncStream) error {
	s.mu.Lock()
	s.pulls++
	s.touch()
	var have []byte
	for id := range s.frames {
		have = append(have, id[:]...)
	}
	s.mu.Unlock()
	// A full frame is followed by another.
	for rest := have; ; rest = rest[MaxPayload:] {
		if err := st.Send(Frame{Type: frameHave, Payload: rest[:min(len(rest), MaxPayload)]}); err != nil {
			return err
		}
		if len(rest) < MaxPayload {
			break
		}
	}
	for {
		f, err := st.Receive()
		if err != nil {
			return err
		}
		switch f.Type {
		case frameEntry:
			s.put(f.Payload)
		case frameDone:
			return nil
		default:
			return fmt.Errorf("frame type %d", f.Type)
		}
	}
}

func (s *frameStore) Serve(_ context.Context, _ peer.ID, st SyncStream) error {
	s.mu.Lock()
	s.serves++
	s.touch()
	s.mu.Unlock()
	f, err := st.Receive()
	if err != nil {
		return err
	}
	if f.Type != frameHave || len(f.Payload)%32 != 0 {
		return errors.New("bad frame")
	}
	has := make(map[[32]byte]bool)
	for {
		for b := f.Payload; len(b) > 0; b = b[32:] {
			has[[32]byte(b)] = true
		}
		if len(f.Payload) < MaxPayload {
			break
		}
		if f, err = st.Receive(); err != nil {
			return err
		}
	}
	for id, frame := range s.all() {
		if has[id] {
			continue
		}
		if err := st.Send(Frame{Type: frameEntry, Payload: frame}); err != nil {
			return err
		}
	}
	if err := st.Send(Frame{Type: frameDone}); err != nil {
		return err
	}
	if _, err := st.Receive(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("after the end: %w", err)
	}
	return nil
}

func (s *frameStore) all() map[[32]byte][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[[32]byte][]byte, len(s.frames))
	for id, f := range s.frames {
		out[id] = f
	}
	return out
}

// touched returns how often anything outside could have reached the store.
func (s *frameStore) touched() (received, serves int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.received, s.serves
}

// await waits until ok holds, which is asked again whenever the store changes.
func (s *frameStore) await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if ok() {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("never came: %s", what)
		}
	}
}

func (s *frameStore) awaitFrame(t testing.TB, frame string) {
	t.Helper()
	id := sha256.Sum256([]byte(frame))
	s.await(t, "frame "+frame, func() bool { _, ok := s.all()[id]; return ok })
}

// patience is how long a test waits for what must happen. It is a bound for
// failures, not a measure of speed.
const patience = 4 * time.Minute

// poll waits until ok holds, asking again and again. It is for what has no event.
func poll(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("never came: %s", what)
		}
	}
}

// logTail is how much of a station's log is shown when its test fails.
const logTail = 4 << 10

// logBuffer keeps the log of a station.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// carrier is the transport of a test.
type carrier string

const (
	tcpCarrier  carrier = "tcp"
	quicCarrier carrier = "quic"
	wsCarrier   carrier = "ws"
	// relayCarrier is TCP by way of a relay.
	relayCarrier carrier = "relay"
)

func (c carrier) listen() string {
	if c == quicCarrier {
		return "/ip4/127.0.0.1/udp/0/quic-v1"
	}
	if c == wsCarrier {
		return "/ip4/127.0.0.1/tcp/0/ws"
	}
	return "/ip4/127.0.0.1/tcp/0"
}

func eachCarrier(t *testing.T, f func(t *testing.T, c carrier)) {
	for _, c := range []carrier{tcpCarrier, quicCarrier} {
		t.Run(string(c), func(t *testing.T) { f(t, c) })
	}
}

// config returns the configuration of a station for dev.
func (w *world) config(t testing.TB, dev *device, c carrier) (Config, *station) {
	s := &station{dev: dev, clock: &testClock{}, log: &logBuffer{}, store: newFrameStore()}
	ticket := dev.ticket(t, time.Now(), 24*time.Hour)
	return Config{
		Transport: dev.relay.Transport, Trust: dev.store, Chain: dev.chain,
		Ticket: func() []byte { return ticket },
		Clock:  s.clock, Logger: slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Receiver: s.store, Syncer: s.store, Listen: []string{c.listen()},
		// Long: what a test sees must come from events, not from the timer.
		SyncInterval: time.Hour,
	}, s
}

// hide keeps a station's addresses to itself: nobody but those who are told by
// the test finds it, so that the test decides who is whose neighbour.
func hide(cfg *Config) {
	cfg.HostOptions = append(cfg.HostOptions, libp2p.AddrsFactory(func([]ma.Multiaddr) []ma.Multiaddr { return nil }))
}

func (w *world) start(t testing.TB, c carrier, change func(*Config)) *station {
	t.Helper()
	return w.startAs(t, w.member(t), c, change)
}

// startAs starts a station with the keys of dev, of which there may be another.
func (w *world) startAs(t testing.TB, dev *device, c carrier, change func(*Config)) *station {
	t.Helper()
	cfg, s := w.config(t, dev, c)
	if change != nil {
		change(&cfg)
	}
	var err error
	if s.Mesh, err = New(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if text := s.log.String(); t.Failed() {
			t.Logf("the log of %s ends:\n%s", s.ID(), text[max(0, len(text)-logTail):])
		}
	})
	return s
}

func (s *station) awaitPeer(t testing.TB, other *station) {
	t.Helper()
	poll(t, "connection", func() bool { return s.links.admitted(other.ID()) })
}

// knows reports whether s was told by identify where other listens.
func (s *station) knows(other *station) bool {
	protocols, err := s.host.Peerstore().GetProtocols(other.ID())
	return err == nil && len(protocols) > 0
}

func publicOf(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

func (s *frameStore) has(frame string) bool {
	_, ok := s.all()[sha256.Sum256([]byte(frame))]
	return ok
}

func protocolID(s string) protocol.ID { return protocol.ID(s) }
