package badgerstore

import (
	"slices"

	"tocsin/ledger"
)

// Records gather in memory until there are this many batches, or bytes.
const (
	pendingBatches = 256
	pendingBytes   = 384 << 10
)

// pending is the records that a wal has and Badger does not.
type pending struct {
	batches []walBatch // in the order of the file
	bytes   int
	at      map[place]pendingValue
}

// walBatch is one record of a wal.
type walBatch struct {
	mark    mark
	records []ledger.Record
}

type place struct {
	table ledger.Table
	log   ledger.LogID
	seq   uint64
}

type pendingValue struct {
	value  []byte
	number uint64 // of the batch in the file
}

func newPending() *pending { return &pending{at: make(map[place]pendingValue)} }

func (p *pending) add(m mark, records []ledger.Record) {
	p.batches = append(p.batches, walBatch{m, records})
	p.bytes += batchSize(records)
	for _, r := range records {
		p.at[place{r.Table, r.Log, r.Seq}] = pendingValue{r.Value, m.Number}
	}
}

func (p *pending) full() bool {
	return len(p.batches) >= pendingBatches || p.bytes >= pendingBytes
}

// fitting returns the oldest batches, as many as there is room for, which it
// takes from the room.
func (p *pending) fitting(bytes, records *int) []walBatch {
	n := 0
	for _, b := range p.batches {
		size := batchSize(b.records)
		if size > *bytes || len(b.records) > *records {
			break
		}
		*bytes, *records = *bytes-size, *records-len(b.records)
		n++
	}
	return slices.Clone(p.batches[:n])
}

// indexed removes batches that Badger has now.
func (p *pending) indexed(done []walBatch) {
	p.batches = slices.Delete(p.batches, 0, len(done))
	for _, b := range done {
		p.bytes -= batchSize(b.records)
		for _, r := range b.records {
			at := place{r.Table, r.Log, r.Seq}
			if p.at[at].number == b.mark.Number {
				delete(p.at, at)
			}
		}
	}
}
