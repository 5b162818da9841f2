package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// Erase destroys the bodies of entries of one log, for good: when it returns
// nil, nothing on this disk gives them back, whatever keys someone has
// ([Store]). Header and signature stay, so the log still verifies, and the
// entry is never taken back from others. A body that is absent counts as erased
// too. The first entry of a log is refused: without its author's credential
// nothing of the log can be judged. It returns how many entries were not erased
// before.
//
// After an error some may be erased and others not; calling it again is right.
func (l *Logs) Erase(ctx context.Context, id LogID, seqs ...uint64) (int, error) {
	seqs = slices.Clone(seqs)
	slices.Sort(seqs)
	seqs = slices.Compact(seqs)
	if len(seqs) > 0 && seqs[0] == 0 {
		return 0, fmt.Errorf("ledger: the first entry of log %s holds its author's credential and is not erased", id)
	}
	n := 0
	for piece := range slices.Chunk(seqs, maxBatchEntries) {
		did, err := l.edit(ctx, id, func(ctx context.Context) ([]Record, error) { return l.eraseRecords(ctx, id, piece) })
		n += did
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// eraseRecords makes the records that stand for erased entries.
func (l *Logs) eraseRecords(ctx context.Context, id LogID, seqs []uint64) ([]Record, error) {
	var records []Record
	for _, seq := range seqs {
		e, err := l.headerAt(ctx, id, seq)
		if err != nil {
			return nil, err
		}
		if e.Erased {
			continue
		}
		records = append(records, storedEntry(e.erased()))
	}
	return records, nil
}

// headerAt returns an entry, or only its header if the body is damaged: what
// cannot be read can be erased all the same.
func (l *Logs) headerAt(ctx context.Context, id LogID, seq uint64) (*Entry, error) {
	e, err := l.entry(ctx, id, seq)
	if !errors.Is(err, ErrDamaged) {
		return e, err
	}
	value, getErr := l.store.Get(ctx, TableEntries, id, seq)
	if getErr != nil {
		return nil, err
	}
	if header, bad := storedHeader(id, seq, value); bad == nil {
		return header, nil
	}
	return nil, err
}

// Fill adds the body of an entry of which only the header is held. The outcome
// is [Filled], or [Known] if the body is held or was erased here. A body that is
// not the one of the header matches [ErrInvalid]. Budgets do not hold it up: the
// caller asked for this body.
func (l *Logs) Fill(ctx context.Context, id LogID, seq uint64, body []byte) (Outcome, error) {
	n, err := l.edit(ctx, id, func(ctx context.Context) ([]Record, error) {
		e, err := l.Entry(ctx, id, seq)
		if err != nil {
			return nil, err
		}
		whole, err := e.withBody(body)
		if err != nil || !e.Absent || l.keepErased(e).Erased {
			return nil, err
		}
		return []Record{storedEntry(whole.since(e.received))}, nil
	})
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return Known, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count.filled++
	return Filled, nil
}

// withBody returns the entry with its body, which is copied.
func (e *Entry) withBody(body []byte) (*Entry, error) {
	if len(body) != int(e.Header.BodyLen) {
		return nil, invalid("body has %d bytes and the header says %d", len(body), e.Header.BodyLen)
	}
	if sha256.Sum256(body) != e.Header.BodyHash {
		return nil, invalid("body does not match the header's hash")
	}
	b := cryptobyte.NewFixedBuilder(make([]byte, 0, 2+len(e.signed)+3+len(body)))
	b.AddUint16LengthPrefixed(func(c *cryptobyte.Builder) { c.AddBytes(e.signed) })
	b.AddUint24LengthPrefixed(func(c *cryptobyte.Builder) { c.AddBytes(body) })
	frame, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("ledger: cannot encode the entry: %w", err)
	}
	return parseFrame(frame)
}

// edit replaces records of entries below the head, as the leader does it, so
// that it cannot meet a restoring or filling of the same entries. It returns
// how many records there were.
func (l *Logs) edit(ctx context.Context, id LogID, records func(context.Context) ([]Record, error)) (int, error) {
	r := &request{edit: records, log: id}
	err := l.submit(ctx, r)
	return r.edited, err
}

// decideEdit decides a request to replace records, with a commit of its own.
func (l *Logs) decideEdit(ctx context.Context, r *request) {
	batch, err := r.edit(ctx)
	if err == nil && len(batch) > 0 {
		commit := l.store.Commit
		if l.ofOwnAuthor(r.log) {
			commit = l.store.CommitOwn
		}
		err = commit(ctx, batch)
	}
	if err != nil {
		r.err = err
		return
	}
	r.edited = len(batch)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, rec := range batch {
		if rec.Table == TableEntries {
			l.found(rec.Log, rec.Seq)
		}
	}
	if r.after != nil && len(batch) > 0 {
		r.after()
	}
}
