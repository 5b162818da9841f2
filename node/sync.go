package node

// What flows on a `/tocsin/sync/1` stream. The mesh moves frames and bounds
// them; the ledger says what is missing; this file joins the two. One side
// pulls and the other serves; each side pulls on a stream of its own, so that
// neither can be made to send and receive at once.
//
//	client                          server
//	hash(SHA-256 of frontier)  →
//	                           ←    equal | frontier* done
//	want(log, from, to)        →
//	                           ←    entry* done
//	…                               …
//	behind                     →                     (when the server lacks something)

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/identity"
	"tocsin/ledger"
	"tocsin/mesh"
)

// The types of frame in a pull.
const (
	frameHash     = 1 // client: 32 bytes
	frameEqual    = 2 // server: empty
	frameFrontier = 3 // server: part of its frontier, in order
	frameWant     = 4 // client: a range
	frameEntry    = 5 // server: one entry's frame
	frameDone     = 6 // server: end of a frontier or of a range
	frameBehind   = 7 // client: "you lack entries that I hold: pull from me"
)

// frontierPart is how many heads go into one frame, [ledger.HeadSize] bytes each.
const frontierPart = 512

var errSync = errors.New("node: a neighbour broke the rules of synchronisation")

// Pull implements [mesh.Syncer]: it asks a neighbour for what we lack.
func (n *Node) Pull(ctx context.Context, from peer.ID, s mesh.SyncStream) error {
	n.count(func(m *Metrics) { m.Pulls++ })
	err := n.pull(ctx, s)
	if err != nil {
		n.count(func(m *Metrics) { m.PullFailures++ })
		return err
	}
	n.pulled.Do(func() { close(n.met) })
	return nil
}

func (n *Node) pull(ctx context.Context, s mesh.SyncStream) error {
	mine := n.logs.Frontier()
	hash := mine.Hash()
	if err := s.Send(mesh.Frame{Type: frameHash, Payload: hash[:]}); err != nil {
		return err
	}
	theirs, equal, err := receiveFrontier(s)
	if err != nil || equal {
		return err
	}
	_, behind, forks := ledger.Diff(mine, theirs)
	for _, log := range forks {
		n.log.Warn("a neighbour holds another branch of a log", "log", log)
	}
	for _, w := range n.logs.Missing(theirs, n.cfg.Clock.Now()) {
		if err := n.pullRange(ctx, s, w); err != nil {
			return err
		}
	}
	if len(behind) > 0 {
		return s.Send(mesh.Frame{Type: frameBehind})
	}
	return nil
}

func receiveFrontier(s mesh.SyncStream) (f ledger.Frontier, equal bool, err error) {
	var raw []byte
	for {
		frame, err := s.Receive()
		if err != nil {
			return nil, false, err
		}
		switch frame.Type {
		case frameEqual:
			return nil, true, nil
		case frameFrontier:
			if raw = append(raw, frame.Payload...); len(raw) > ledger.MaxFrontierLogs*ledger.HeadSize {
				return nil, false, fmt.Errorf("%w: a frontier of more than %d logs", errSync, ledger.MaxFrontierLogs)
			}
		case frameDone:
			f, err = ledger.ParseFrontier(raw)
			return f, false, err
		default:
			return nil, false, fmt.Errorf("%w: frame type %d in place of a frontier", errSync, frame.Type)
		}
	}
}

// pullBatch is how many entries of a range share one write.
const pullBatch = 64

// pullRange receives one range. What it gets passes accept like everything
// else; a frame that fails verification ends the session and is held against
// the neighbour who served it.
func (n *Node) pullRange(ctx context.Context, s mesh.SyncStream, w ledger.Want) error {
	payload, err := marshalWant(w)
	if err != nil {
		return err
	}
	if err := s.Send(mesh.Frame{Type: frameWant, Payload: payload}); err != nil {
		return err
	}
	var frames [][]byte
	for left := w.To - w.From; ; left-- {
		frame, err := s.Receive()
		if err != nil {
			// What did come is good: keep it, and resume from there.
			n.accept(context.WithoutCancel(ctx), frames...)
			return err
		}
		if frame.Type != frameDone && (frame.Type != frameEntry || left == 0) {
			return fmt.Errorf("%w: not what was asked for", errSync)
		}
		if frame.Type == frameEntry {
			frames = append(frames, frame.Payload)
		}
		if frame.Type == frameDone || len(frames) == pullBatch {
			if slices.ContainsFunc(n.accept(ctx, frames...), received.rejected) {
				return fmt.Errorf("%w: an entry that does not verify", errSync)
			}
			frames = nil
		}
		if frame.Type == frameDone {
			return nil
		}
	}
}

// Serve implements [mesh.Syncer]: it answers a neighbour that pulls.
func (n *Node) Serve(ctx context.Context, to peer.ID, s mesh.SyncStream) error {
	if err := n.serveFrontier(s); err != nil {
		return err
	}
	for {
		frame, err := s.Receive()
		if errors.Is(err, io.EOF) {
			return nil // the client has all that it wanted
		}
		if err != nil {
			return err
		}
		switch frame.Type {
		case frameWant:
			if err := n.serveRange(ctx, s, frame.Payload); err != nil {
				return err
			}
		case frameBehind:
			select {
			case <-n.joined:
				n.mesh.SyncSoon(to)
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		default:
			return fmt.Errorf("%w: frame type %d in place of a want", errSync, frame.Type)
		}
	}
}

func (n *Node) serveFrontier(s mesh.SyncStream) error {
	frame, err := s.Receive()
	if err != nil {
		return err
	}
	if frame.Type != frameHash || len(frame.Payload) != 32 {
		return fmt.Errorf("%w: a pull begins with the hash of a frontier", errSync)
	}
	mine := n.logs.Frontier()
	if mine.Hash() == [32]byte(frame.Payload) {
		return s.Send(mesh.Frame{Type: frameEqual})
	}
	for len(mine) > 0 {
		part := mine[:min(len(mine), frontierPart)]
		mine = mine[len(part):]
		raw, err := part.Marshal()
		if err != nil {
			return err
		}
		if err := s.Send(mesh.Frame{Type: frameFrontier, Payload: raw}); err != nil {
			return err
		}
	}
	return s.Send(mesh.Frame{Type: frameDone})
}

func (n *Node) serveRange(ctx context.Context, s mesh.SyncStream, payload []byte) error {
	w, err := parseWant(payload)
	if err != nil {
		return err
	}
	head, ok := n.logs.Head(w.Log)
	if ok {
		err = n.logs.Entries(ctx, w.Log, w.From, min(w.To, head.Next), func(e *ledger.Entry) error {
			return s.Send(mesh.Frame{Type: frameEntry, Class: uint8(e.Header.Priority), Payload: e.Frame()})
		})
		if errors.Is(err, ledger.ErrDamaged) {
			// What came before it is good; for the rest the client asks others.
			n.log.Error("a stored entry is damaged and is not served", "log", w.Log, "err", err)
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return s.Send(mesh.Frame{Type: frameDone})
}

// struct { opaque author[32]; uint32 incarnation; uint64 from; uint64 to; } Want;
func marshalWant(w ledger.Want) ([]byte, error) {
	id := w.Log.Bytes()
	var b cryptobyte.Builder
	b.AddBytes(id[:])
	b.AddUint64(w.From)
	b.AddUint64(w.To)
	return b.Bytes()
}

func parseWant(raw []byte) (ledger.Want, error) {
	var w ledger.Want
	var id []byte
	s := cryptobyte.String(raw)
	if !s.ReadBytes(&id, identity.LogIDSize) || !s.ReadUint64(&w.From) || !s.ReadUint64(&w.To) || !s.Empty() || w.From >= w.To {
		return w, fmt.Errorf("%w: malformed range", errSync)
	}
	log, err := identity.LogIDFromBytes(id)
	w.Log = log
	return w, err
}
