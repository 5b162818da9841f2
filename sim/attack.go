package sim

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	libp2pnetwork "github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/mesh"
)

// surround makes the victims of an eclipse start anew, with nothing to go by but
// the addresses of those who stand round them.
func (r *runner) surround(ctx context.Context, a Adversary, band []*hostile) error {
	var addresses []string
	for _, h := range band {
		addresses = append(addresses, h.address)
	}
	for _, i := range r.s.pick(a.Victims) {
		d := r.world.devices[i]
		if d.node == nil {
			continue
		}
		if err := d.crash(); err != nil {
			return err
		}
		d.cfg.Static = addresses
		if err := d.forget(); err != nil {
			return err
		}
		if err := r.start(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// rememberedFile is where a node keeps the addresses of those it met.
const rememberedFile = "peers.json"

// forget takes from a device that is off what it remembers of others' addresses.
func (d *Device) forget() error {
	err := os.Remove(filepath.Join(d.dir, rememberedFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("sim: making %s forget: %w", d.Name, err)
	}
	return nil
}

// spam sends one victim control messages of gossip, Rate a second: announcements of what there
// is not, questions for what there is not, and joining and leaving. It writes to a
// stream of its own, for no mesh would send this.
func (h *hostile) spam(ctx context.Context, victim peer.ID, topic string) {
	h.write(ctx, victim, func() *pb.RPC { return &pb.RPC{Control: h.control(topic)} })
}

// resend sends one victim entries that it has had, Rate a second. Publishing them would do
// nothing: gossip's own memory at the sender stops what it has seen.
func (h *hostile) resend(ctx context.Context, victim peer.ID, id identity.MeshID) {
	// A stream of its own ends that of gossip, by which it hears: it listens first.
	for !h.hasHeard() {
		if sleep(ctx, h.clock, time.Second) != nil {
			return
		}
	}
	h.write(ctx, victim, func() *pb.RPC {
		h.mu.Lock()
		defer h.mu.Unlock()
		frame := h.frames[h.rng.IntN(len(h.frames))]
		topic := mesh.UrgentTopic(id)
		if g, ok := ledger.Peek(frame); ok && g.Class() == ledger.ClassRoutine {
			topic = mesh.Topic(id)
		}
		return &pb.RPC{Publish: []*pb.Message{{Data: frame, Topic: &topic}}}
	})
}

// hasHeard reports whether there is something to replay.
func (h *hostile) hasHeard() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.frames) > 0
}

// write sends one victim what next makes, Rate a second.
func (h *hostile) write(ctx context.Context, victim peer.ID, next func() *pb.RPC) {
	pause := time.Duration(float64(time.Second) / h.spec.Rate)
	for sleep(ctx, h.clock, pause) == nil {
		s, err := h.host.NewStream(ctx, victim, mesh.GossipProtocol)
		if err != nil {
			continue // it was cut off, and may be let in later
		}
		h.writeOn(ctx, s, pause, next)
	}
}

// writeOn writes to one stream until it fails.
func (h *hostile) writeOn(ctx context.Context, s libp2pnetwork.Stream, pause time.Duration, next func() *pb.RPC) {
	unhook := context.AfterFunc(ctx, func() { s.Reset() }) // the victim's end fails, which is the aim
	defer unhook()
	defer s.Reset()
	for sleep(ctx, h.clock, pause) == nil {
		raw, err := proto.Marshal(next())
		if err != nil {
			return
		}
		if _, err := s.Write(append(binary.AppendUvarint(nil, uint64(len(raw))), raw...)); err != nil {
			return
		}
		h.bit.Add(1)
	}
}

// spamIDs is how many messages one control message names.
const spamIDs = 30

// control makes one control message of a kind drawn at random.
func (h *hostile) control(topic string) *pb.ControlMessage {
	h.mu.Lock()
	defer h.mu.Unlock()
	ids := make([]string, spamIDs)
	for i := range ids {
		var id [32]byte
		for k := range id {
			id[k] = byte(h.rng.Uint32())
		}
		ids[i] = string(id[:])
	}
	switch h.rng.IntN(4) {
	case 0:
		return &pb.ControlMessage{Ihave: []*pb.ControlIHave{{TopicID: &topic, MessageIDs: ids}}}
	case 1:
		return &pb.ControlMessage{Iwant: []*pb.ControlIWant{{MessageIDs: ids}}}
	case 2:
		return &pb.ControlMessage{Idontwant: []*pb.ControlIDontWant{{MessageIDs: ids}}}
	}
	c := new(pb.ControlMessage)
	for range spamIDs {
		c.Graft = append(c.Graft, &pb.ControlGraft{TopicID: &topic})
		c.Prune = append(c.Prune, &pb.ControlPrune{TopicID: &topic})
	}
	return c
}
