package node

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/peer"

	"tocsin/ledger"
	"tocsin/mesh"
)

const (
	// maxQueued bounds the ranges of one session that wait to be answered.
	maxQueued = 64
	// serveBytes and serveFrames are what one session sends at most; they lie
	// below the mesh's bounds, so that the client is told to come again.
	serveBytes  = 56 << 20
	serveFrames = 120_000
	// aheadRising and aheadFalling are how many entries of a range are read at
	// once, and aheadBytes ends a reading that rises.
	aheadRising  = 16
	aheadFalling = 4
	aheadBytes   = 128 << 10
)

// server is the serving side of one session: serve reads what the client says,
// and send, on a goroutine of its own, sends what it asked for, by class.
type server struct {
	n       *Node
	to      peer.ID
	hearing bool // it was let in to hear of its wipe order, and is served nothing else
	s       mesh.SyncStream
	wake    chan struct{} // one pending wake-up of send
	stats   uint64        // how many stat entries had come when it began

	mu     sync.Mutex
	share  *ledger.Share          // guarded by mu
	queues [ledger.Classes][]*job // guarded by mu
	queued int                    // guarded by mu: their sum
	bytes  atomic.Int64           // sent, of items and marks
	frames atomic.Int64
}

// job is one range being served.
type job struct {
	number uint16
	ledger.Request
	ready []ledger.Item // read ahead, in order; owned by send
	read  bool          // everything was read
	short bool          // not all of it is held
	busy  bool          // it is to be asked for again in a moment
}

func (n *Node) serve(ctx context.Context, to peer.ID, s mesh.SyncStream) error {
	ctx, cancel := context.WithCancel(ctx)
	v := &server{n: n, to: to, hearing: n.hearing(to), s: s, wake: make(chan struct{}, 1), share: ledger.NewShare(), stats: n.sync.statCount()}
	var sending sync.WaitGroup
	var sent error
	sending.Go(func() { sent = v.send(ctx) })
	err := v.listen(ctx)
	cancel()
	sending.Wait()
	if sent != nil && !errors.Is(sent, context.Canceled) {
		return sent
	}
	return err
}

// listen reads the client's frames until the session ends.
func (v *server) listen(ctx context.Context) error {
	answerers := make(map[ledger.Scope]*ledger.Answerer)
	for first := true; ; first = false {
		f, err := v.s.Receive()
		if errors.Is(err, io.EOF) && !first {
			return nil // the client has all that it wanted
		}
		if err == nil && v.n.hearing(v.to) != v.hearing {
			err = errHearing // the order came while this session ran
		}
		if err != nil {
			return err
		}
		switch {
		case f.Type == frameRoots && first:
			err = v.roots(f.Payload)
		case first:
			err = ledger.Breach(ledger.BrokenEncoding, "a session begins with roots, not with frame type %d", f.Type)
		case f.Type == frameAsk:
			err = v.answer(answerers, f.Payload)
		case f.Type == frameWant:
			err = v.want(f)
		case f.Type == frameCredit:
			err = v.credit(f)
		case f.Type == frameBehind:
			err = v.behind(ctx)
		default:
			err = ledger.Breach(ledger.BrokenEncoding, "there is no frame type %d", f.Type)
		}
		if err != nil {
			return err
		}
	}
}

func (v *server) roots(payload []byte) error {
	roots, err := ledger.ParseRoots(payload)
	if err != nil {
		return err
	}
	return v.s.Send(mesh.Frame{Type: frameEqual, Payload: ledger.AnswerRoots(roots, v.tree)})
}

func (v *server) answer(answerers map[ledger.Scope]*ledger.Answerer, payload []byte) error {
	scope, ok := ledger.AskScope(payload)
	if !ok {
		return ledger.Breach(ledger.BrokenEncoding, "a question about no scope")
	}
	a := answerers[scope]
	if a == nil {
		a = ledger.NewAnswerer(v.tree(scope))
		answerers[scope] = a
	}
	return a.Answer(payload, func(part []byte) error {
		again := func(r *ledger.Ration) bool { return r.Again(len(part), v.n.cfg.Clock.Now()) }
		if !v.n.sync.ration(v.to, v.n.cfg.Clock.Now(), again) {
			return ledger.Breach(ledger.BrokenGreedy, "it compares the same logs again and again")
		}
		v.bytes.Add(int64(len(part)))
		return v.s.Send(mesh.Frame{Type: frameMarks, Payload: part})
	})
}

func (v *server) want(f mesh.Frame) error {
	number, r, err := ledger.ParseWant(f.Payload)
	if err != nil {
		return err
	}
	if f.Class >= ledger.Classes {
		return ledger.Breach(ledger.BrokenEncoding, "there is no class %d", f.Class)
	}
	r.Class = ledger.Class(f.Class)
	if v.hearing && !v.n.mayServe(v.to, r.Log) {
		r.Log = ledger.LogID{} // as if the log were not held
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.queued >= maxQueued {
		return ledger.Breach(ledger.BrokenGreedy, "more than %d ranges at once", maxQueued)
	}
	v.queued++
	v.queues[r.Class] = append(v.queues[r.Class], &job{number: number, Request: r})
	v.ring()
	return nil
}

func (v *server) credit(f mesh.Frame) error {
	n, err := ledger.ParseCredit(f.Payload)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ring()
	return v.share.Grant(ledger.Class(f.Class), n)
}

func (v *server) behind(ctx context.Context) error {
	if v.hearing {
		return nil
	}
	select {
	case <-v.n.joined:
		v.n.mesh.SyncBehind(v.to)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (v *server) ring() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// send sends until ctx ends.
func (v *server) send(ctx context.Context) error {
	for {
		more, err := v.step(ctx)
		if err != nil {
			return err
		}
		if more {
			continue
		}
		if err := v.s.Flush(); err != nil {
			return err
		}
		select {
		case <-v.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// step sends one item or one end, and reports false if nothing can be sent
// now.
func (v *server) step(ctx context.Context) (bool, error) {
	var sizes [ledger.Classes]int
	for class := range ledger.Class(ledger.Classes) {
		j := v.head(class)
		if j == nil {
			continue
		}
		if err := v.readAhead(ctx, j); err != nil {
			return false, err
		}
		if len(j.ready) == 0 {
			return true, v.end(j)
		}
		sizes[class] = itemSize(&j.ready[0])
	}
	v.mu.Lock()
	class, ok := v.share.Next(sizes)
	if ok {
		v.share.Spend(class, sizes[class])
	}
	v.mu.Unlock()
	if !ok {
		return false, nil
	}
	j := v.head(class)
	payload := ledger.MarshalItem(j.ready[0])
	if err := v.spend(j, len(payload)); err != nil {
		return false, err
	}
	j.ready = j.ready[1:]
	v.frames.Add(1)
	v.bytes.Add(int64(len(payload)))
	return true, v.s.Send(mesh.Frame{Type: frameItem, Class: uint8(class), Payload: payload})
}

// spend counts an item against what the neighbour may be sent again.
func (v *server) spend(j *job, size int) error {
	head, _ := v.n.logs.Head(j.Log)
	now := v.n.cfg.Clock.Now()
	ok := v.n.sync.ration(v.to, now, func(r *ledger.Ration) bool {
		return r.Spend(j.Log, j.Piece, head.Next, size, now)
	})
	if !ok {
		return ledger.Breach(ledger.BrokenGreedy, "it asks for the same entries again and again")
	}
	return nil
}

func (v *server) head(class ledger.Class) *job {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.queues[class]) == 0 {
		return nil
	}
	return v.queues[class][0]
}

// end says that a range is over.
func (v *server) end(j *job) error {
	v.mu.Lock()
	v.queues[j.Class] = v.queues[j.Class][1:]
	v.queued--
	v.mu.Unlock()
	end := ledger.EndAll
	switch {
	case v.full():
		end = ledger.EndLater
	case j.busy:
		end = ledger.EndBusy
	case j.short:
		end = ledger.EndShort
	}
	return v.s.Send(mesh.Frame{Type: frameDone, Class: uint8(j.Class), Payload: ledger.MarshalDone(j.number, end)})
}

func (v *server) full() bool { return v.bytes.Load() >= serveBytes || v.frames.Load() >= serveFrames }

func itemSize(i *ledger.Item) int {
	return len(ledger.MarshalItem(ledger.Item{Piece: i.Piece})) + len(i.Data)
}

// readAhead reads the next part of a range when the last is used up. What cannot
// be read here makes the range short: the client asks others.
func (v *server) readAhead(ctx context.Context, j *job) error {
	for len(j.ready) == 0 && !j.read && !v.full() {
		var err error
		switch j.Piece {
		case ledger.PieceFork:
			j.read = true
			v.readFork(j)
		case ledger.PieceRecords:
			j.read = true
			err = v.readRecords(ctx, j)
		case ledger.PieceEvidence:
			err = v.readEvidence(ctx, j)
		case ledger.PieceBody:
			err = v.readFalling(ctx, j)
		default:
			err = v.readRising(ctx, j)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if !errors.Is(err, ledger.ErrNotFound) {
				v.n.log.Error("stored entries cannot be read and are not served", "log", j.Log, "err", err)
			}
			j.read, j.short = true, true
		}
	}
	return nil
}

var errEnough = errors.New("node: read far enough")

func (v *server) readRising(ctx context.Context, j *job) error {
	head, ok := v.n.logs.Head(j.Log)
	if !ok || j.From >= head.Next {
		j.read, j.short = true, true
		return nil
	}
	bytes := 0
	err := v.n.logs.Entries(ctx, j.Log, j.From, min(j.To, j.From+aheadRising), func(e *ledger.Entry) error {
		i := ledger.Item{Number: j.number, Piece: ledger.PieceHeader, Data: e.HeaderFrame()}
		if j.Piece == ledger.PieceEntry && e.HasBody() {
			i.Piece, i.Data = ledger.PieceEntry, e.Frame()
		}
		j.ready = append(j.ready, i)
		j.From = e.Header.Seq + 1
		if bytes += len(i.Data); bytes > aheadBytes {
			return errEnough
		}
		return nil
	})
	j.read = j.From >= j.To
	if errors.Is(err, errEnough) {
		err = nil
	}
	return err
}

// readFalling reads bodies from the highest place down; absent ones are left
// out.
func (v *server) readFalling(ctx context.Context, j *job) error {
	if j.Class >= ledger.ClassRoutine && (v.n.sync.fetching(nil, j.Log, v.n.cfg.Clock.Now()) || v.n.sync.statSince(j.Log, v.stats)) {
		// The end of the log is not known here yet, or was not when the client asked: what is
		// urgent may be there.
		j.read, j.busy = true, true
		return nil
	}
	head, _ := v.n.logs.Head(j.Log)
	if j.To > head.Next {
		j.To, j.short = head.Next, true
	}
	if j.From >= j.To {
		j.read = true
		return nil
	}
	from := max(j.From, j.To-min(j.To, aheadFalling))
	var items []ledger.Item
	err := v.n.logs.Entries(ctx, j.Log, from, j.To, func(e *ledger.Entry) error {
		if !e.HasBody() {
			j.short = true
			return nil
		}
		items = append(items, ledger.Item{Number: j.number, Piece: ledger.PieceBody, Seq: e.Header.Seq, Data: e.Body})
		return nil
	})
	for i := len(items) - 1; i >= 0; i-- {
		j.ready = append(j.ready, items[i])
	}
	j.To = from
	j.read = j.From >= j.To
	return err
}

func (v *server) readRecords(ctx context.Context, j *job) error {
	data, err := v.n.records(ctx, j.Log)
	if err != nil {
		return err
	}
	if j.short = len(data) == 0; !j.short {
		j.ready = append(j.ready, ledger.Item{Number: j.number, Piece: ledger.PieceRecords, Data: data})
	}
	return nil
}

func (v *server) readFork(j *job) {
	if f, ok := v.n.logs.Fork(j.Log); ok {
		j.ready = append(j.ready, ledger.Item{Number: j.number, Piece: ledger.PieceFork, Data: f.Marshal()})
		return
	}
	j.short = true
}
