package mesh

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// handler returns the stream handler that serves the sessions of others.
func (b *blobs) handler(ctx context.Context) network.StreamHandler {
	return func(stream network.Stream) {
		p := stream.Conn().RemotePeer()
		if !b.enter(p) {
			b.counts.blobServesRefused.Add(1)
			stream.ResetWithError(network.StreamRateLimited)
			return
		}
		defer b.leave(p)
		ctx, cancel := context.WithTimeout(ctx, blobServeTime)
		defer cancel()
		stop := context.AfterFunc(ctx, func() { stream.Reset() })
		defer stop()
		if err := b.serve(stream, p); err != nil {
			b.counts.refuseSync(err)
			stream.Reset()
			b.log.Debug("serving chunks ended early", "peer", p, "error", err)
			return
		}
		stream.Close()
	}
}

// serve answers requests until the client ends the session.
func (b *blobs) serve(stream network.Stream, p peer.ID) error {
	r, w := bufio.NewReaderSize(stream, maxBlobRequest+blobRequestHeader), bufio.NewWriterSize(stream, 32<<10)
	var last struct { // pieces of one chunk follow one another
		name BlobName
		data []byte
	}
	for first := true; ; first = false {
		if r.Buffered() == 0 {
			if err := w.Flush(); err != nil {
				return err
			}
		}
		if err := stream.SetReadDeadline(deadline(blobIdle)); err != nil {
			return err
		}
		req, err := readBlobRequest(r)
		if b.hearing(p) { // the order may come within a session
			return fmt.Errorf("%w: of a device that is to erase itself", errBlob)
		}
		if errors.Is(err, io.EOF) {
			return w.Flush()
		}
		if err != nil {
			return err
		}
		if err := stream.SetWriteDeadline(deadline(frameTimeout)); err != nil {
			return err
		}
		switch req.kind {
		case blobAsk:
			err = b.answerAsk(w, p, req)
		case blobGet:
			if last.name != req.name || last.data == nil {
				if last.data, err = b.store.ReadBlob(req.name); err != nil {
					return fmt.Errorf("mesh: reading a chunk: %w", err)
				}
				last.name = req.name
			}
			err = b.answerGet(w, last.data, req)
		case blobNews:
			if !first {
				return fmt.Errorf("%w: a notice within a session", errBlob)
			}
			b.mail.put(blobEvent{kind: blobHeard, peer: p})
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (b *blobs) answerAsk(w io.Writer, p peer.ID, req *blobRequest) error {
	held := b.store.HaveBlobs(p, req.names, min(req.hops, maxBlobHops))
	out := make([]byte, len(req.names))
	for i := range out {
		if i < len(held) && held[i] {
			out[i] = 1
		}
	}
	_, err := w.Write(out)
	b.counts.blobOut.Add(uint64(len(out)))
	return err
}

func (b *blobs) answerGet(w io.Writer, data []byte, req *blobRequest) error {
	n := pieceOf(uint32(len(data)), req.offset, req.length)
	var head [blobAnswerHeader]byte
	binary.BigEndian.PutUint32(head[:4], uint32(len(data)))
	binary.BigEndian.PutUint32(head[4:], n)
	if _, err := w.Write(head[:]); err != nil {
		return err
	}
	if n > 0 {
		if _, err := w.Write(data[req.offset : req.offset+n]); err != nil {
			return err
		}
		if req.offset+n == uint32(len(data)) {
			b.counts.blobChunksOut.Add(1)
		}
	}
	b.counts.blobOut.Add(uint64(blobAnswerHeader + n))
	return nil
}

// enter takes a slot for a session to be served.
func (b *blobs) enter(p peer.ID) bool {
	b.serveMu.Lock()
	defer b.serveMu.Unlock()
	if b.closed || b.serves >= maxBlobServes || b.serving[p] >= maxBlobServesPerPeer {
		return false
	}
	b.serves++
	b.serving[p]++
	b.work.Add(1)
	return true
}

func (b *blobs) leave(p peer.ID) {
	b.serveMu.Lock()
	defer b.serveMu.Unlock()
	b.serves--
	if b.serving[p]--; b.serving[p] == 0 {
		delete(b.serving, p)
	}
	b.work.Done()
}

// shut lets no further session be served, so that the wait for them can begin.
func (b *blobs) shut() {
	b.serveMu.Lock()
	defer b.serveMu.Unlock()
	b.closed = true
}
