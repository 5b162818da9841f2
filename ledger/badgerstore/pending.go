package badgerstore

import (
	"slices"

	"tocsin/ledger"
)

// Own records gather in memory until there are this many batches, or bytes.
const (
	pendingBatches = 256
	pendingBytes   = 256 << 10
)

// pending is the own records that own.wal has and Badger does not.
type pending struct {
	batches []ownBatch // in the order of own.wal
	bytes   int
	at      map[place]pendingValue
}

// ownBatch is one record of own.wal.
type ownBatch struct {
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
	number uint64 // of the batch in own.wal
}

func newPending() *pending { return &pending{at: make(map[place]pendingValue)} }

func (p *pending) add(m mark, records []ledger.Record) {
	p.batches = append(p.batches, ownBatch{m, records})
	p.bytes += batchSize(records)
	for _, r := range records {
		p.at[place{r.Table, r.Log, r.Seq}] = pendingValue{r.Value, m.Number}
	}
}

func (p *pending) full() bool {
	return len(p.batches) >= pendingBatches || p.bytes >= pendingBytes
}

// fitting returns the oldest batches, as many as fit.
func (p *pending) fitting(bytes, records int) []ownBatch {
	n := 0
	for _, b := range p.batches {
		bytes -= batchSize(b.records)
		records -= len(b.records)
		if bytes < 0 || records < 0 {
			break
		}
		n++
	}
	return slices.Clone(p.batches[:n])
}

// indexed removes batches that Badger has now.
func (p *pending) indexed(done []ownBatch) {
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
