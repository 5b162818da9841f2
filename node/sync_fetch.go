package node

// What the client of a session asks for and takes: fetch sends requests and
// reads what comes, check holds it against what was asked for, store takes it
// into the ledger and gives credit.

import (
	"context"
	"errors"

	"tocsin/ledger"
	"tocsin/mesh"
)

func (p *puller) ask(r ledger.Request) error {
	if p.came != nil && r.Piece&ledger.PieceHeader != 0 {
		p.came[r.Log] = p.came[r.Log]
	}
	p.wants[p.number] = ledger.Expect(r)
	err := p.s.Send(mesh.Frame{Type: frameWant, Class: uint8(r.Class), Payload: ledger.MarshalWant(p.number, r)})
	p.number++
	return err
}

// fetch asks for ranges, several at a time, and stores what comes.
func (p *puller) fetch(ctx context.Context, requests []ledger.Request) error {
	for len(requests) > 0 || len(p.wants) > 0 {
		for len(requests) > 0 && len(p.wants) < maxWants && !p.later {
			r := requests[0]
			requests = requests[1:]
			if r.Piece == ledger.PieceBody && r.Class >= ledger.ClassRoutine && p.busy[r.Log] {
				continue // it would be put off like the range before
			}
			if err := p.ask(r); err != nil {
				return err
			}
		}
		if len(p.wants) == 0 {
			break
		}
		f, err := p.s.Receive()
		if err != nil {
			return err
		}
		if err := p.take(ctx, f); err != nil {
			return err
		}
	}
	return p.store(ctx)
}

func (p *puller) take(ctx context.Context, f mesh.Frame) error {
	switch f.Type {
	case frameItem:
		it, err := p.item(f)
		if err != nil {
			return err
		}
		if err := it.check(); err != nil {
			return err
		}
		if p.items++; p.came != nil && it.want.Piece&ledger.PieceHeader != 0 {
			p.came[it.want.Log] = true
			p.n.sync.progress(p, it.want.Log, p.n.cfg.Clock.Now())
		}
		p.batch, p.bytes = append(p.batch, it), p.bytes+it.size
		if len(p.batch) >= pullBatch || p.bytes >= pullBatchBytes {
			return p.store(ctx)
		}
		return nil
	case frameDone:
		if err := p.done(f.Payload); err != nil {
			return err
		}
		return p.store(ctx)
	}
	return ledger.Breach(ledger.BrokenRange, "frame type %d among items", f.Type)
}

// item reads one item: it belongs to a range that was asked for, in its class
// and within the credit.
func (p *puller) item(f mesh.Frame) (item, error) {
	i, err := ledger.ParseItem(f.Payload)
	if err != nil {
		return item{}, err
	}
	w := p.wants[i.Number]
	if w == nil || ledger.Class(f.Class) != w.Class {
		return item{}, ledger.Breach(ledger.BrokenRange, "an item of a range that was not asked for")
	}
	it := item{Item: i, class: w.Class, size: len(f.Payload), want: w}
	return it, p.inflow.Arrive(it.class, it.size)
}

// check holds an item against what was asked for, before anything of it is
// verified or stored.
func (i *item) check() error {
	switch i.Piece {
	case ledger.PieceEvidence:
		return checkEvidence(i)
	case ledger.PieceBody:
		return i.want.Take(i.Piece, i.want.Log, i.Seq)
	case ledger.PieceEntry:
		e, err := ledger.ParseFrame(i.Data)
		if err != nil {
			return ledger.Breach(ledger.BrokenEntry, "an entry that cannot be read: %v", err)
		}
		return i.want.Take(i.Piece, e.Header.Log(), e.Header.Seq)
	case ledger.PieceHeader:
		h, err := ledger.ParseHeaderFrame(i.Data)
		if err != nil {
			return ledger.Breach(ledger.BrokenEntry, "a header that cannot be read: %v", err)
		}
		return i.want.Take(i.Piece, h.Log(), h.Seq)
	}
	return i.want.Take(i.Piece, i.want.Log, 0)
}

// done ends a range. A range of which nothing came although it was claimed is
// remembered; one or two may have been lost there, many are lies. A session that is full has
// brought something.
func (p *puller) done(payload []byte) error {
	number, end, err := ledger.ParseDone(payload)
	if err != nil {
		return err
	}
	w := p.wants[number]
	if w == nil {
		return ledger.Breach(ledger.BrokenRange, "the end of a range that was not asked for")
	}
	delete(p.wants, number)
	switch end {
	case ledger.EndLater:
		p.later = true
	case ledger.EndBusy:
		p.busy[w.Log], p.skipped = true, true
	}
	if w.Got() == 0 && w.Piece&ledger.PieceHeader != 0 && (end != ledger.EndLater || p.items == 0) {
		if p.empty++; p.empty > maxEmpty {
			return ledger.Breach(ledger.BrokenFrontier, "%d claims of it were empty", p.empty)
		}
	}
	return nil
}

// store takes what came into the ledger, in order and in runs of one kind, and
// gives credit for it.
func (p *puller) store(ctx context.Context) error {
	batch := p.batch
	p.batch, p.bytes = nil, 0
	for len(batch) > 0 {
		run := 1
		for run < len(batch) && batch[run].Piece == batch[0].Piece {
			run++
		}
		if err := p.accept(ctx, batch[:run]); err != nil {
			return err
		}
		for _, it := range batch[:run] {
			if err := p.credit(it); err != nil {
				return err
			}
		}
		batch = batch[run:]
	}
	return nil
}

func (p *puller) credit(it item) error {
	grant := p.inflow.Done(it.class, it.size)
	if grant == 0 {
		return nil
	}
	return p.s.Send(mesh.Frame{Type: frameCredit, Class: uint8(it.class), Payload: ledger.MarshalCredit(grant)})
}

// accept takes a run of items of one kind. Whatever does not verify ends the
// session and is held against the neighbour who served it.
func (p *puller) accept(ctx context.Context, run []item) error {
	switch run[0].Piece {
	case ledger.PieceFork:
		return p.forks(ctx, run)
	case ledger.PieceEvidence:
		return p.takeEvidence(ctx, run)
	case ledger.PieceRecords:
		return p.testimony(ctx, run)
	case ledger.PieceBody:
		bodies := make([]body, len(run))
		for i, it := range run {
			bodies[i] = body{it.want.Log, it.Seq, it.Data}
		}
		if err := p.n.acceptBodies(ctx, bodies...); err != nil {
			return err
		}
		p.filled += len(bodies)
		return nil
	}
	frames := make([][]byte, len(run))
	for i, it := range run {
		frames[i] = it.Data
	}
	if run[0].Piece == ledger.PieceHeader && p.gap != nil {
		p.gap.frames = append(p.gap.frames, frames...)
		return nil
	}
	return p.acceptFrames(ctx, run[0].Piece, frames)
}

// acceptFrames takes whole entries, or headers.
func (p *puller) acceptFrames(ctx context.Context, piece ledger.Piece, frames [][]byte) error {
	var results []received
	if piece == ledger.PieceEntry {
		results = p.n.acceptBy(ctx, fetched, frames...)
	} else {
		results, _ = p.n.acceptHeaders(ctx, frames...)
	}
	for _, r := range results {
		if r.rejected() {
			return ledger.Breach(ledger.BrokenEntry, "an entry that does not verify")
		}
		if r.outcome == ledger.Appended {
			p.appended++
			p.herald(ctx, r.entry)
		}
	}
	return nil
}

func (p *puller) forks(ctx context.Context, run []item) error {
	for _, it := range run {
		changed, err := p.n.logs.TakeFork(ctx, it.Data)
		switch {
		case errors.Is(err, ledger.ErrInvalid):
			return ledger.Breach(ledger.BrokenEntry, "a fork proof that proves nothing")
		case errors.Is(err, ledger.ErrNotFound):
			// Of an author who is not known here yet: it comes with the log.
		case err != nil:
			p.n.log.Error("a fork proof could not be saved", "log", it.want.Log, "err", err)
		case changed:
			p.n.count(func(m *Metrics) { m.Forked++ })
			p.n.forkSeen(it.want.Log)
		}
	}
	return nil
}

func (p *puller) testimony(ctx context.Context, run []item) error {
	tables := make([][]byte, len(run))
	for i, it := range run {
		tables[i] = it.Data
	}
	err := p.n.acceptRecords(ctx, tables...)
	switch {
	case errors.Is(err, ledger.ErrTestimony):
		return ledger.Breach(ledger.BrokenEntry, "testimony that is not what it says: %v", err)
	case err != nil:
		p.n.log.Error("testimony could not be saved", "logs", len(run), "err", err)
	}
	return nil
}
