package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// This file remembers every promise of custody that this device has made and that
// has not ended. The table of testimony keeps the last one of each log only, but
// others rely on those before it as well: nothing is evicted before the longest
// of them ends.

const (
	// maxPromises bounds what is remembered of one log. Beyond it the two that end
	// first are counted as one over both ranges, which keeps more than was promised.
	maxPromises = 32
	promiseSize = 8 + 8 + 8
)

// Promise is what this device promised of the bodies of one log, From up to, not
// including, To.
type Promise struct {
	From, To uint64
	Until    uint64 // seconds since 1970
}

// covers reports whether nothing of q is left where p holds.
func (p Promise) covers(q Promise) bool {
	return p.From <= q.From && p.To >= q.To && p.Until >= q.Until
}

// addPromise returns the list with one more.
func addPromise(list []Promise, p Promise) []Promise {
	if slices.ContainsFunc(list, func(q Promise) bool { return q.covers(p) }) {
		return list
	}
	list = slices.DeleteFunc(slices.Clone(list), p.covers)
	list = append(list, p)
	slices.SortFunc(list, comparePromises)
	for len(list) > maxPromises {
		a, b := list[0], list[1]
		list = append([]Promise{{min(a.From, b.From), max(a.To, b.To), max(a.Until, b.Until)}}, list[2:]...)
	}
	return list
}

// comparePromises orders by what ends first.
func comparePromises(a, b Promise) int {
	for _, c := range [][2]uint64{{a.Until, b.Until}, {a.From, b.From}, {a.To, b.To}} {
		if c[0] < c[1] {
			return -1
		}
		if c[0] > c[1] {
			return 1
		}
	}
	return 0
}

// promisedUntil is when the last of the promises that cover an entry ends, zero
// for none.
func promisedUntil(list []Promise, seq uint64) time.Time {
	var until uint64
	for _, p := range list {
		if p.From <= seq && seq < p.To {
			until = max(until, p.Until)
		}
	}
	if until == 0 {
		return time.Time{}
	}
	return time.Unix(int64(min(until, 1<<40)), 0)
}

// marshalPromises encodes a record of [TableCustody] (FORMAT.md, "Testimony").
func marshalPromises(id LogID, list []Promise) []byte {
	var b cryptobyte.Builder
	for _, p := range list {
		b.AddUint64(p.From)
		b.AddUint64(p.To)
		b.AddUint64(p.Until)
	}
	data := b.BytesOrPanic() // fixed-size fields only: it cannot fail
	return slices.Concat(promisesCheck(id, data), data)
}

func promisesCheck(id LogID, data []byte) []byte {
	h := sha256.New()
	h.Write([]byte("tocsin/1 custody\x00"))
	log := id.Bytes()
	h.Write(log[:])
	h.Write(data)
	return h.Sum(nil)[:checkSize]
}

// parsePromises reads what marshalPromises wrote, all of value.
func parsePromises(id LogID, value []byte) ([]Promise, error) {
	bad := fmt.Errorf("%w: the record of what was promised of log %s cannot be read", ErrDamaged, id)
	if len(value) < checkSize || (len(value)-checkSize)%promiseSize != 0 || len(value) > checkSize+maxPromises*promiseSize ||
		!bytes.Equal(promisesCheck(id, value[checkSize:]), value[:checkSize]) {
		return nil, bad
	}
	s := cryptobyte.String(value[checkSize:])
	var list []Promise
	for !s.Empty() {
		var p Promise
		if !s.ReadUint64(&p.From) || !s.ReadUint64(&p.To) || !s.ReadUint64(&p.Until) || p.From >= p.To || p.To > MaxSeq+1 ||
			len(list) > 0 && comparePromises(list[len(list)-1], p) >= 0 {
			return nil, bad
		}
		list = append(list, p)
	}
	return list, nil
}

// promises returns what was promised of a log, with what the table of testimony
// says of it.
func (w *WitnessTable) promises(ctx context.Context, id LogID) ([]Promise, error) {
	var list []Promise
	value, err := w.logs.store.Get(ctx, TableCustody, id, 0)
	if err == nil {
		list, err = parsePromises(id, value)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	l, err := w.Of(ctx, id)
	if err != nil {
		return nil, err
	}
	for _, c := range l.Custody() {
		if c.Holder == w.witness.Key() {
			list = addPromise(list, Promise{c.From, c.To, c.Until})
		}
	}
	return list, nil
}

// Keeping is who promised to keep the bodies of one log.
type Keeping struct {
	own    []Promise
	others []Custody
}

// Keeping returns what this device and others have promised of a log. Where it
// cannot be read what was promised matches [ErrDamaged]: then nothing of the log is
// evicted.
func (w *WitnessTable) Keeping(ctx context.Context, id LogID) (Keeping, error) {
	own, err := w.promises(ctx, id)
	if err != nil {
		return Keeping{}, err
	}
	l, err := w.Of(ctx, id)
	if err != nil {
		return Keeping{}, err
	}
	k := Keeping{own: own}
	for _, c := range l.Custody() {
		if c.Holder != w.witness.Key() {
			k.others = append(k.others, c)
		}
	}
	return k, nil
}

// Promised returns until when this device has promised to keep a body, zero for
// not at all.
func (k Keeping) Promised(seq uint64) time.Time { return promisedUntil(k.own, seq) }

// Others returns until when others have, one time for each who has at now.
func (k Keeping) Others(seq uint64, now time.Time) []time.Time {
	var out []time.Time
	for _, c := range k.others {
		if c.Holds(seq, now) {
			out = append(out, time.Unix(int64(min(c.Until, 1<<40)), 0))
		}
	}
	return out
}
