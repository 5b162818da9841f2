package badgerstore

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/identity"
	"tocsin/ledger"
)

// Keys in Badger. Author and incarnation come before the sequence number, all
// big-endian, so that Badger's order is the order of logs and entries.
const (
	prefixEntries = 'e'
	prefixStates  = 's'
	prefixForks   = 'f'
	prefixWitness = 'w'
	prefixTree    = 't'
	prefixMeta    = 'm'
)

var (
	keyFormat    = []byte{prefixMeta, 'f', 'o', 'r', 'm', 'a', 't'}
	keyWatermark = []byte{prefixMeta, 'w', 'a', 'l'}
	keyHeads     = []byte{prefixMeta, 'h', 'e', 'a', 'd', 's'}
	keyGone      = []byte{prefixMeta, 'g', 'o', 'n', 'e'}
)

// formatVersion is the version of the layout of the database.
const formatVersion = 3

func prefixOf(t ledger.Table) (byte, error) {
	switch t {
	case ledger.TableEntries:
		return prefixEntries, nil
	case ledger.TableStates:
		return prefixStates, nil
	case ledger.TableForks:
		return prefixForks, nil
	case ledger.TableWitness:
		return prefixWitness, nil
	case ledger.TableTree:
		return prefixTree, nil
	}
	if t > ledger.TableTree && t <= ledger.TableLast { // later ones: below all letters
		return byte(t), nil
	}
	return 0, fmt.Errorf("badgerstore: there is no table %d", t)
}

// key returns the database key of a place.
func key(t ledger.Table, id ledger.LogID, seq uint64) ([]byte, error) {
	p, err := prefixOf(t)
	if err != nil {
		return nil, err
	}
	log := id.Bytes()
	k := make([]byte, 0, 1+len(log)+8)
	k = append(append(k, p), log[:]...)
	if !t.Single() {
		k = binary.BigEndian.AppendUint64(k, seq)
	}
	return k, nil
}

// marshalBatch encodes a batch as own.wal holds it: for each record
// uint8 table, log[36], uint64 seq, opaque value<0..2^24-1>.
func marshalBatch(batch []ledger.Record) ([]byte, error) {
	size := 0
	for i := range batch {
		size += recordOverhead + len(batch[i].Value)
	}
	b := cryptobyte.NewBuilder(make([]byte, 0, size))
	for i := range batch {
		r := &batch[i]
		if _, err := prefixOf(r.Table); err != nil {
			return nil, err
		}
		log := r.Log.Bytes()
		b.AddUint8(uint8(r.Table))
		b.AddBytes(log[:])
		b.AddUint64(r.Seq)
		b.AddUint24LengthPrefixed(func(c *cryptobyte.Builder) { c.AddBytes(r.Value) })
	}
	return b.Bytes()
}

// recordOverhead is what marshalBatch adds to each value.
const recordOverhead = 1 + identity.LogIDSize + 8 + 3

// parseBatch is the inverse of marshalBatch.
func parseBatch(b []byte) ([]ledger.Record, error) {
	var batch []ledger.Record
	s := cryptobyte.String(b)
	for !s.Empty() {
		var r ledger.Record
		var table uint8
		var log []byte
		var value cryptobyte.String
		if !s.ReadUint8(&table) || !s.ReadBytes(&log, identity.LogIDSize) ||
			!s.ReadUint64(&r.Seq) || !s.ReadUint24LengthPrefixed(&value) {
			return nil, fmt.Errorf("badgerstore: record %d of a batch is cut short", len(batch))
		}
		id, err := identity.LogIDFromBytes(log)
		if err != nil {
			return nil, err
		}
		r.Table, r.Log, r.Value = ledger.Table(table), id, value
		if _, err := prefixOf(r.Table); err != nil {
			return nil, err
		}
		if r.Table.Single() && r.Seq != 0 {
			return nil, fmt.Errorf("badgerstore: a record of table %d is at sequence number %d, not 0", table, r.Seq)
		}
		batch = append(batch, r)
	}
	return batch, nil
}
