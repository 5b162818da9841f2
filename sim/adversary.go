package sim

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	mathrand "math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"go.uber.org/fx"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/mesh"
	"tocsin/node"
)

// A hostile device stands on the real mesh, with a receiver and a syncer of its own in
// the place of a node: what it does is what a device could do whose owner rewrote
// the program.

// adversaryKind says what a kind of hostile device is, and which settings it takes.
type adversaryKind struct {
	words              string // what it does, for people
	outsider           bool   // no authority of the mesh has admitted it
	rate, share, delay bool
	turn, victims      bool
	partner            bool // the authority of the partner organisation has admitted it
}

var adversaryKinds = map[string]adversaryKind{
	"sybil":     {words: "devices without a valid credential that keep dialling everybody and inject what they can", outsider: true},
	"silent":    {words: "admitted devices that take everything, hand nothing on and answer nobody who synchronises"},
	"selective": {words: "admitted devices that hand on only a share of what they get, and answer nobody who synchronises", share: true},
	"delaying":  {words: "admitted devices that hand everything on late, and answer nobody who synchronises", delay: true},
	"forger":    {words: "admitted devices that flood the mesh with entries whose signatures are wrong", rate: true},
	"covert":    {words: "admitted devices that hand everything on, until all of them fall silent at one moment; they answer nobody who synchronises", turn: true},
	"eclipse":   {words: "admitted devices that stand round a few and name nobody else to them, hand nothing on and answer nobody who synchronises", victims: true},
	"intruder":  {words: "devices admitted with the stolen key of the partner organisation's authority, which hand nothing on and answer nobody", partner: true},
	"spammer":   {words: "admitted devices that flood others with gossip's control messages", rate: true, victims: true},
	"replayer":  {words: "admitted devices that send others, past gossip's own memory, entries that everybody has had", rate: true, victims: true},
}

func adversaryNames() []string { return slices.Sorted(maps.Keys(adversaryKinds)) }

// hostile is one hostile device at work.
type hostile struct {
	spec     Adversary
	line     int // of the scenario's adversaries, from 0
	outsider bool
	peer     peer.ID
	host     host.Host // under mesh, for what no mesh would do
	address  string    // where others dial it
	mesh     *mesh.Mesh
	clock    node.Clock
	turn     time.Time // when it falls silent; zero is never
	cancel   context.CancelFunc
	work     sync.WaitGroup
	stopped  sync.Once
	ended    atomic.Bool // it was told to stop
	err      error

	mu     sync.Mutex
	rng    *mathrand.Rand // guarded by mu
	frames [][]byte       // guarded by mu: what it has seen, the last heldFrames of them
	bit    atomic.Uint64  // how often it did what it is for
}

// heldFrames is how many entries a hostile device keeps to make others from.
const heldFrames = 256

// hostiles starts the adversaries of one line of the scenario.
func (r *runner) hostiles(ctx context.Context, line int) error {
	a := r.s.Adversaries[line]
	var band []*hostile
	for range a.Count {
		h, err := r.startHostile(line)
		if err != nil {
			return fmt.Errorf("sim: starting a %s adversary: %w", a.Kind, err)
		}
		r.enemies = append(r.enemies, h)
		band = append(band, h)
		r.due(a.Until, func(context.Context) error { return h.stop() })
	}
	if a.Kind == "eclipse" {
		return r.surround(ctx, a, band)
	}
	return nil
}

// startHostile puts one hostile device of a line of the scenario on the mesh.
func (r *runner) startHostile(line int) (*hostile, error) {
	w, a := r.world, r.s.Adversaries[line]
	kind := adversaryKinds[a.Kind]
	site := a.Site
	if site == "" {
		site = r.s.Mesh.Sites[0].Name
	}
	by, bundle := w.authority, w.bundle
	switch {
	case kind.partner:
		by = w.partner
	case kind.outsider:
		var err error
		if by, bundle, err = w.impostor(); err != nil {
			return nil, err
		}
	}
	index := w.place()
	name := fmt.Sprintf("%s %d", a.Kind, index)
	e, err := w.enrol(by, bundle, index, name)
	if err != nil {
		return nil, err
	}
	var known []string
	for _, i := range r.s.pick(a.Victims) {
		known = append(known, w.devices[i].addr())
	}
	h, err := r.putHostile(a, e, address(index), name, site, known)
	if err == nil {
		h.line = line
	}
	return h, err
}

// putHostile puts a hostile device with somebody's papers at an address. It knows
// whom it is told of.
func (r *runner) putHostile(a Adversary, e enrolled, ip netip.Addr, name, site string, known []string) (*hostile, error) {
	w, kind := r.world, adversaryKinds[a.Kind]
	trust, err := identity.NewTrustStore(w.bundle) // a bundle is no secret
	if err != nil {
		return nil, err
	}
	now := w.clock.Now()
	ticket, err := identity.NewTicketWith(e.keys.Signing, e.relay.PeerID(), now, now.Add(24*time.Hour), e.credential)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	h := &hostile{
		spec: a, line: -1, outsider: kind.outsider, peer: e.relay.PeerID(), clock: w.clock, cancel: cancel,
		address: listenOn(ip) + "/p2p/" + e.relay.PeerID().String(),
		rng:     mathrand.New(mathrand.NewPCG(r.rng.Uint64(), 3)),
	}
	if a.Turn > 0 {
		h.turn = r.begun.Add(a.Turn)
	}
	h.mesh, err = mesh.New(ctx, mesh.Config{
		Transport: e.relay.Transport, Trust: trust, Chain: e.admission, Ticket: func() []byte { return ticket },
		Clock: w.clock, Logger: w.logger, Receiver: h, Syncer: h,
		Listen: []string{listenOn(ip)}, Static: known,
		HostOptions: []libp2p.Option{w.socket(name, site), libp2p.WithFxOption(fx.Populate(&h.host))},
		// An outsider lets everybody in: it is the others who must refuse.
		Unsafe: mesh.Unsafe{NoAdmission: kind.outsider, NoSync: true},
	})
	if err != nil {
		cancel()
		return nil, err
	}
	switch {
	case a.Kind == "spammer":
		topic := mesh.UrgentTopic(w.bundle.MeshID())
		for _, i := range r.s.pick(a.Victims) {
			victim := w.devices[i].cfg.Relay.PeerID()
			h.work.Go(func() { h.spam(ctx, victim, topic) })
		}
	case a.Kind == "replayer":
		for _, i := range r.s.pick(a.Victims) {
			victim := w.devices[i].cfg.Relay.PeerID()
			h.work.Go(func() { h.resend(ctx, victim, w.bundle.MeshID()) })
		}
	case a.Kind == "eclipse":
		h.host.RemoveStreamHandler(mesh.PeersProtocol) // whom it meets hears of nobody
	case kind.rate:
		h.work.Go(func() { h.flood(ctx) })
	}
	if kind.outsider {
		h.work.Go(func() { h.inject(ctx) })
	}
	return h, nil
}

// impostor makes an authority that nobody trusts, with a bundle of its own.
func (w *World) impostor() (*identity.Authority, *identity.Bundle, error) {
	issued := w.clock.Now().Add(-2 * settle)
	a, err := identity.NewAuthority(organisation, "Rehearsal authority", issued, 90*24*time.Hour, rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	b, err := identity.NewBundle("Rehearsal", issued, a.Certificate())
	return a, b, err
}

// stop ends the device. Further calls return the same.
func (h *hostile) stop() error {
	h.stopped.Do(func() {
		h.ended.Store(true)
		h.cancel()
		h.work.Wait()
		h.err = h.mesh.Close()
	})
	return h.err
}

// Receive implements mesh.Receiver. What is ignored is not handed on.
func (h *hostile) Receive(ctx context.Context, _ peer.ID, frame []byte) mesh.Verdict {
	h.mu.Lock()
	if h.frames = append(h.frames, frame); len(h.frames) > heldFrames {
		h.frames = h.frames[1:]
	}
	luck := h.rng.Float64()
	h.mu.Unlock()
	switch h.spec.Kind {
	case "silent", "eclipse", "intruder":
		h.bit.Add(1)
		return mesh.Ignore
	case "covert":
		if !h.clock.Now().Before(h.turn) {
			h.bit.Add(1)
			return mesh.Ignore
		}
	case "selective":
		if luck >= h.spec.Share {
			h.bit.Add(1)
			return mesh.Ignore
		}
	case "delaying":
		h.bit.Add(1)
		if sleep(ctx, h.clock, h.spec.Delay) != nil {
			return mesh.Ignore
		}
	case "sybil":
		h.bit.Add(1) // it was let in
	}
	return mesh.Accept
}

// Pull implements mesh.Syncer: it asks for nothing.
func (h *hostile) Pull(context.Context, peer.ID, mesh.SyncStream) error { return nil }

// Serve implements mesh.Syncer: it takes questions and never answers.
func (h *hostile) Serve(_ context.Context, _ peer.ID, s mesh.SyncStream) error {
	for {
		if _, err := s.Receive(); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// flood publishes what this kind publishes, Rate times a second.
func (h *hostile) flood(ctx context.Context) {
	pause := time.Duration(float64(time.Second) / h.spec.Rate)
	for sleep(ctx, h.clock, pause) == nil {
		frame := h.frame()
		if frame == nil {
			continue
		}
		if h.mesh.Publish(ctx, frame) == nil {
			h.bit.Add(1)
		}
	}
}

// inject publishes garbage, as long as the device runs, to whoever listens.
func (h *hostile) inject(ctx context.Context) {
	for sleep(ctx, h.clock, time.Second) == nil {
		garbage := make([]byte, 300)
		h.mu.Lock()
		for i := range garbage {
			garbage[i] = byte(h.rng.Uint32())
		}
		h.mu.Unlock()
		if h.mesh.Publish(ctx, garbage) == nil {
			h.bit.Add(1)
		}
	}
}

// frame is what to publish next: something seen before, forged. It is nil while nothing was
// seen.
func (h *hostile) frame() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.frames) == 0 {
		return nil
	}
	return h.forge(h.frames[h.rng.IntN(len(h.frames))])
}

// forge changes something that is signed, such that the entry still reads well and is
// one that nobody has seen. h.mu is held.
func (h *hostile) forge(frame []byte) []byte {
	e, err := ledger.ParseFrame(frame)
	if err != nil {
		return nil // no entry: a receipt of a wiped device
	}
	at := bytes.Index(frame, e.SignedHeader())
	if at < 0 {
		return nil
	}
	for range 64 {
		forged := bytes.Clone(frame)
		forged[at+h.rng.IntN(len(e.SignedHeader()))] ^= 1 << h.rng.IntN(8)
		if f, err := ledger.ParseFrame(forged); err == nil && f.Header.Author == e.Header.Author {
			return forged
		}
	}
	return nil
}
