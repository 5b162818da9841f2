package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Evict gives up the bodies of entries that this device carries for others: the
// headers stay, and the bodies count as absent, so that they may come again. The
// first entry of a log, and what this device's own author wrote, is refused. It
// returns how many bodies went. After an error some may be gone and others not.
func (l *Logs) Evict(ctx context.Context, id LogID, seqs ...uint64) (int, error) {
	seqs = slices.Compact(slices.Sorted(slices.Values(seqs)))
	switch {
	case len(seqs) > 0 && seqs[0] == 0:
		return 0, fmt.Errorf("ledger: the first entry of log %s holds its author's credential and is not evicted", id)
	case l.ofOwnAuthor(id):
		return 0, fmt.Errorf("ledger: log %s is of this device's author: nothing of it is evicted", id)
	}
	n := 0
	for piece := range slices.Chunk(seqs, maxBatchEntries) {
		did, err := l.edit(ctx, id, func(ctx context.Context) ([]Record, error) { return l.evictRecords(ctx, id, piece) })
		n += did
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// evictRecords makes the records that stand for entries without their bodies.
func (l *Logs) evictRecords(ctx context.Context, id LogID, seqs []uint64) ([]Record, error) {
	var records []Record
	for _, seq := range seqs {
		e, err := l.headerAt(ctx, id, seq)
		if err != nil {
			return nil, err
		}
		if e.HasBody() {
			records = append(records, storedEntry(e.headerOnly()))
		}
	}
	return records, nil
}

// Bare returns the entry without its body, so that a list of many takes little
// memory.
func (e *Entry) Bare() *Entry { return e.headerOnly() }

// EntriesHeld is [Logs.Entries] for a look at what is held: entries whose
// signatures are not checked yet, and places that are lost, are left out.
func (l *Logs) EntriesHeld(ctx context.Context, id LogID, from, to uint64, fn func(*Entry) error) error {
	h, _ := l.Head(id)
	to = min(to, h.Next)
	doubted := l.doubtsIn(id, from, to)
	for from < to {
		err := l.entries(ctx, id, from, to, func(e *Entry) error {
			from = e.Header.Seq + 1
			if doubted != nil && doubted(e.Header.Seq) {
				return nil
			}
			return fn(e)
		})
		if !errors.Is(err, ErrDamaged) || ctx.Err() != nil {
			return err
		}
		from++
	}
	return nil
}
