package group

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"

	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/identity"
)

// The stored records of this device's own secrets, of others' prekeys and of
// the time gone by. Keys are listed in state.go.

// published is what the last set of prekeys published was.
type published struct {
	log  identity.LogID
	week uint32
}

func (p published) change() Change {
	b := p.log.Bytes()
	return Change{Key: keyPrefix + "own/published", Value: binary.BigEndian.AppendUint32(b[:], p.week)}
}

func ownKey(week uint32) string { return fmt.Sprintf("%sown/prekey/%08x", keyPrefix, week) }

func (o *ownPreKey) change() Change {
	b := make([]byte, 0, preKeySeed+8)
	b = append(b, o.seed[:]...)
	return Change{Key: ownKey(o.week), Value: binary.BigEndian.AppendUint64(b, o.due)}
}

// formerID names a prekey of before a key roll.
type formerID struct {
	log  identity.LogID // under which it was published last
	week uint32
}

func (i formerID) key() string {
	return fmt.Sprintf("%sown/former/%s/%08x", keyPrefix, hexLog(i.log), i.week)
}

func (o *ownPreKey) formerChange() Change {
	c := o.change()
	c.Key = formerID{o.log, o.week}.key()
	return c
}

func (b *batch) addFormer(rest string, value []byte) error {
	n, err := names(rest, identity.LogIDSize, 4)
	if err != nil {
		return err
	}
	id := formerID{logName(n[0]), binary.BigEndian.Uint32(n[1])}
	if value == nil {
		b.do(func() { delete(b.k.former, id) })
		return nil
	}
	if len(value) != preKeySeed+8 {
		return errRecord
	}
	own, err := newOwnPreKey(id.log, id.week, secret(value[:preKeySeed]), binary.BigEndian.Uint64(value[preKeySeed:]))
	if err != nil {
		return err
	}
	b.do(func() { b.k.former[id] = own })
	return nil
}

func (b *batch) addOwn(rest string, value []byte) error {
	if rest == "published" {
		if len(value) != identity.LogIDSize+4 {
			return errRecord
		}
		p := &published{log: logName(value[:identity.LogIDSize]), week: binary.BigEndian.Uint32(value[identity.LogIDSize:])}
		b.do(func() { b.k.published = p })
		return nil
	}
	if rest == "span" {
		return b.addSpan(value)
	}
	if former, ok := strings.CutPrefix(rest, "former/"); ok {
		return b.addFormer(former, value)
	}
	rest, ok := strings.CutPrefix(rest, "prekey/")
	if !ok {
		return errKey
	}
	n, err := names(rest, 4)
	if err != nil {
		return err
	}
	week := binary.BigEndian.Uint32(n[0])
	if value == nil {
		b.do(func() { delete(b.k.own, week) })
		return nil
	}
	if len(value) != preKeySeed+8 {
		return errRecord
	}
	own, err := newOwnPreKey(b.k.cfg.Self, week, secret(value[:preKeySeed]), binary.BigEndian.Uint64(value[preKeySeed:]))
	if err != nil {
		return err
	}
	b.do(func() { b.k.own[week] = own })
	return nil
}

func (b *batch) addPreKeys(rest string, value []byte) error {
	n, err := names(rest, identity.LogIDSize)
	if err != nil {
		return err
	}
	device := logName(n[0])
	set, err := readPreKeys(value)
	if err != nil {
		return err
	}
	held := set.held()
	if held != b.k.sound && set.check() != nil {
		// Stored before such keys were refused: as good as none. The next set
		// of this device replaces the record.
		b.do(func() { delete(b.k.prekeys, device) })
		return nil
	}
	b.do(func() { b.k.prekeys[device] = held })
	return nil
}

// clock is the time gone by as far as this device can know it.
type clock struct {
	set     bool
	wall    int64  // Unix seconds at the last [Keyring.Expire]
	elapsed uint64 // seconds that count
}

const clockKey = keyPrefix + "clock"

func (c clock) change() Change {
	b := binary.BigEndian.AppendUint64(nil, uint64(c.wall))
	return Change{Key: clockKey, Value: binary.BigEndian.AppendUint64(b, c.elapsed)}
}

func (b *batch) addClock(rest string, value []byte) error {
	if rest != "" || len(value) != 16 {
		return errRecord
	}
	c := clock{set: true, wall: int64(binary.BigEndian.Uint64(value)), elapsed: binary.BigEndian.Uint64(value[8:])}
	b.elapsed = c.elapsed
	b.do(func() { b.k.clock = c })
	return nil
}

// partialID names an incomplete announce. The log is part of it, so that a
// copy of someone else's pages never mixes with his.
type partialID struct {
	log   identity.LogID
	epoch EpochID
}

// partial is an announce some of whose pages are missing.
type partial struct {
	header epochHeader
	seq    uint64  // of the first page seen, for its age
	due    uint64  // elapsed seconds at which it is given up
	wraps  uint8   // bit i: page i of wraps was seen
	states pageSet // of the state, that were seen
	es     *secret // nil until a wrap of ours was found
	pages  map[uint8][]byte
}

// pageSet has bit i set for page i.
type pageSet [MaxStatePages / 64]uint64

func (s *pageSet) has(i uint8) bool { return s[i/64]&(1<<(i%64)) != 0 }
func (s *pageSet) set(i uint8)      { s[i/64] |= 1 << (i % 64) }

func (s *pageSet) count() (n int) {
	for _, word := range s {
		n += bits.OnesCount64(word)
	}
	return n
}

func (s *pageSet) read(from *cryptobyte.String) bool {
	for i := range s {
		if !from.ReadUint64(&s[i]) {
			return false
		}
	}
	return true
}

func (id partialID) key() string {
	return keyPrefix + "partial/" + hexLog(id.log) + "/" + id.epoch.String()
}

func (id partialID) pageKey(index uint8) string { return fmt.Sprintf("%s/%02x", id.key(), index) }

func (p *partial) change(id partialID) (Change, error) {
	var b cryptobyte.Builder
	b.AddUint8(recordFormat)
	b.AddBytes(p.header.marshal())
	b.AddUint64(p.seq)
	b.AddUint64(p.due)
	b.AddUint8(p.wraps)
	for _, word := range p.states {
		b.AddUint64(word)
	}
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) {
		if p.es != nil {
			b.AddBytes(p.es[:])
		}
	})
	value, err := b.Bytes()
	if err != nil {
		return Change{}, fmt.Errorf("group: encode partial announce: %w", err)
	}
	return Change{Key: id.key(), Value: value}, nil
}

func (p *partial) unmarshal(value []byte) error {
	s := cryptobyte.String(value)
	var format uint8
	var es cryptobyte.String
	if !s.ReadUint8(&format) || format != recordFormat || readEpochHeader(&s, &p.header) != nil ||
		!s.ReadUint64(&p.seq) || !s.ReadUint64(&p.due) || !s.ReadUint8(&p.wraps) || !p.states.read(&s) ||
		!s.ReadUint8LengthPrefixed(&es) || !s.Empty() || len(es) != 0 && len(es) != secretSize {
		return errRecord
	}
	p.es = nil
	if len(es) != 0 {
		found := secret(es)
		p.es = &found
	}
	return nil
}

func (b *batch) addPartial(rest string, value []byte) error {
	if len(rest) > 2*(identity.LogIDSize+32)+1 {
		return b.addPartialPage(rest, value)
	}
	n, err := names(rest, identity.LogIDSize, 32)
	if err != nil {
		return err
	}
	id := partialID{log: logName(n[0]), epoch: EpochID(n[1])}
	if value == nil { // its pages go with it
		b.do(func() { delete(b.k.partials, id) })
		return nil
	}
	var fresh partial
	if err := fresh.unmarshal(value); err != nil {
		return err
	}
	if fresh.header.id() != id.epoch {
		return errRecord
	}
	b.do(func() {
		fresh.pages = b.k.partial(id).pages
		*b.k.partials[id] = fresh
	})
	return nil
}

func (b *batch) addPartialPage(rest string, value []byte) error {
	n, err := names(rest, identity.LogIDSize, 32, 1)
	if err != nil {
		return err
	}
	id, index := partialID{log: logName(n[0]), epoch: EpochID(n[1])}, n[2][0]
	if index >= MaxStatePages || len(value) > StateChunk+gcmTag {
		return errRecord
	}
	held := bytes.Clone(value)
	b.do(func() {
		if held == nil {
			if p, ok := b.k.partials[id]; ok {
				delete(p.pages, index)
			}
			return
		}
		b.k.partial(id).pages[index] = held
	})
	return nil
}

// partial returns the incomplete announce, new if there is none yet.
func (k *Keyring) partial(id partialID) *partial {
	p, ok := k.partials[id]
	if !ok {
		p = &partial{pages: make(map[uint8][]byte)}
		k.partials[id] = p
	}
	return p
}
