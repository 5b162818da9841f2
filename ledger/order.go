package ledger

import (
	"iter"
	"slices"
)

// orderChunk is the length at which a piece of [logOrder] is split: short enough
// to insert into, long enough that there are few.
const orderChunk = 512

// logOrder is a set of logs in the order of [identity.LogID.Compare]. Adding to
// it and finding a place in it take no time in proportion to the number of logs.
type logOrder struct {
	chunks [][]LogID // none is empty, each ends before the next begins
	n      int
}

// chunk returns the number of the first chunk that ends at or after id.
func (o *logOrder) chunk(id LogID) int {
	i, _ := slices.BinarySearchFunc(o.chunks, id, func(c []LogID, id LogID) int { return c[len(c)-1].Compare(id) })
	return i
}

// add puts in a log that is not there.
func (o *logOrder) add(id LogID) {
	o.n++
	if len(o.chunks) == 0 {
		o.chunks = [][]LogID{append(make([]LogID, 0, orderChunk), id)}
		return
	}
	i := min(o.chunk(id), len(o.chunks)-1)
	c := o.chunks[i]
	at, _ := slices.BinarySearchFunc(c, id, LogID.Compare)
	if len(c) == orderChunk {
		if at == len(c) && i == len(o.chunks)-1 { // rising order, as at opening: leave it full
			o.chunks = append(o.chunks, append(make([]LogID, 0, orderChunk), id))
			return
		}
		half := append(make([]LogID, 0, orderChunk), c[orderChunk/2:]...)
		o.chunks[i] = c[:orderChunk/2]
		o.chunks = slices.Insert(o.chunks, i+1, half)
		if at > orderChunk/2 {
			i, at = i+1, at-orderChunk/2
		}
	}
	o.chunks[i] = slices.Insert(o.chunks[i], at, id)
}

// from gives the logs from id on, in order. The set must not change meanwhile.
func (o *logOrder) from(id LogID) iter.Seq[LogID] {
	return func(yield func(LogID) bool) {
		i := o.chunk(id)
		if i == len(o.chunks) {
			return
		}
		at, _ := slices.BinarySearchFunc(o.chunks[i], id, LogID.Compare)
		for ; i < len(o.chunks); i, at = i+1, 0 {
			for _, id := range o.chunks[i][at:] {
				if !yield(id) {
					return
				}
			}
		}
	}
}

// all gives every log, in order.
func (o *logOrder) all() iter.Seq[LogID] { return o.from(LogID{}) }
