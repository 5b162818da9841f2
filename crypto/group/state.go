package group

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"

	"tocsin/crypto/identity"
)

// The stored records, by key. Names are hexadecimal; a log is author ‖
// incarnation, a number has eight digits, a page two.
//
//	group/clock                      time gone by
//	group/own/published              log and first week published last
//	group/own/prekey/<week>          seed, due
//	group/own/former/<log>/<week>    seed, due; of before a key roll
//	group/own/span                   first week published, last week destroyed
//	group/prekey/<log>               PreKeys as received
//	group/op/<group>/<id>            place, SignedOp
//	group/epoch/<epoch>              the epoch's record
//	group/chain/<epoch>/<log>        next, chain key
//	group/seed/<epoch>/<log>/<gen>   a skipped message seed
//	group/gap/<epoch>/<log>/<from>   to, chain key of from
//	group/demoted/<epoch>/<log>      this member cannot read it
//	group/succession/<log>           the log that it goes on for, and the size at which it closed it
//	group/gone/<tag>                 group, announcer, time of an epoch that was destroyed
//	group/asked/<log>                when another epoch was asked of this announcer
//	group/unreadable/<log>/<log>     when the first asked another epoch of the second
//	group/partial/<log>/<epoch>      an announce some of whose pages are missing
//	group/partial/<log>/<epoch>/<page>  sealed state
const keyPrefix = "group/"

var errRecord = errors.New("damaged: not the encoding that was written")

func hexLog(id identity.LogID) string {
	b := id.Bytes()
	return hex.EncodeToString(b[:])
}

func preKeyKey(device identity.LogID) string { return keyPrefix + "prekey/" + hexLog(device) }

func opKey(group ID, id [32]byte) string {
	return keyPrefix + "op/" + group.String() + "/" + hex.EncodeToString(id[:])
}

func epochKey(id EpochID) string { return keyPrefix + "epoch/" + id.String() }

func chainKey(id EpochID, member identity.LogID) string {
	return keyPrefix + "chain/" + id.String() + "/" + hexLog(member)
}

func seedKey(id EpochID, member identity.LogID, gen uint32) string {
	return fmt.Sprintf("%sseed/%s/%s/%08x", keyPrefix, id, hexLog(member), gen)
}

func gapKey(id EpochID, member identity.LogID, from uint32) string {
	return fmt.Sprintf("%sgap/%s/%s/%08x", keyPrefix, id, hexLog(member), from)
}

// names reads the hexadecimal names of a key, each of a fixed size in bytes
// and separated by slashes.
func names(s string, sizes ...int) ([][]byte, error) {
	out := make([][]byte, len(sizes))
	for i, size := range sizes {
		n := 2 * size
		if i > 0 {
			if s == "" || s[0] != '/' {
				return nil, errKey
			}
			s = s[1:]
		}
		if len(s) < n {
			return nil, errKey
		}
		raw := make([]byte, size)
		if !unhex(raw, s[:n]) {
			return nil, errKey
		}
		out[i], s = raw, s[n:]
	}
	if s != "" {
		return nil, errKey
	}
	return out, nil
}

// logName reads the name of a log, which [names] has cut to its size.
func logName(raw []byte) identity.LogID {
	return identity.LogID{Author: identity.Key(raw[:32]), Incarnation: binary.BigEndian.Uint32(raw[32:])}
}

func marshalChain(next uint32, ck secret) []byte {
	b := make([]byte, 0, 4+secretSize)
	b = binary.BigEndian.AppendUint32(b, next)
	return append(b, ck[:]...)
}

func (g gap) marshal() []byte { return marshalChain(g.to, g.ck) }

// readChain reads what marshalChain wrote.
func readChain(value []byte) (uint32, secret, error) {
	if len(value) != 4+secretSize {
		return 0, secret{}, errRecord
	}
	n := binary.BigEndian.Uint32(value)
	if n > MaxGeneration {
		return 0, secret{}, errRecord
	}
	return n, secret(value[4:]), nil
}

// chain returns member's chain in epoch id. In an epoch that is held, only
// members have one; in one of this batch, commit checks that.
func (b *batch) chain(id EpochID, member identity.LogID) (*chain, error) {
	e := b.epoch(id)
	c, ok := e.chains[member]
	if !ok {
		if _, held := b.k.epochs[id]; held {
			return nil, errRecord
		}
		c = new(chain)
		e.chains[member] = c
	}
	return c, nil
}

// chain returns member's chain in a held epoch, or nil.
func (k *Keyring) chain(id EpochID, member identity.LogID) *chain {
	if e, ok := k.epochs[id]; ok {
		return e.chains[member]
	}
	return nil
}

// chainName reads <epoch>/<log>. It is [names] for the one record that every
// message writes.
func chainName(rest string) (EpochID, identity.LogID, error) {
	const log = 2*len(EpochID{}) + 1
	var id EpochID
	var member [identity.LogIDSize]byte
	if len(rest) != log+2*len(member) || rest[log-1] != '/' || !unhex(id[:], rest[:log-1]) || !unhex(member[:], rest[log:]) {
		return EpochID{}, identity.LogID{}, errKey
	}
	return id, logName(member[:]), nil
}

// unhex reads lower-case hexadecimal without a detour over the heap.
func unhex(dst []byte, s string) bool {
	for i := range dst {
		hi, lo := nibble(s[2*i]), nibble(s[2*i+1])
		if hi > 15 || lo > 15 {
			return false
		}
		dst[i] = hi<<4 | lo
	}
	return true
}

func nibble(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}

// generationName reads <epoch>/<log>/<generation>.
func generationName(rest string) (EpochID, identity.LogID, uint32, error) {
	n, err := names(rest, 32, identity.LogIDSize, 4)
	if err != nil {
		return EpochID{}, identity.LogID{}, 0, err
	}
	return EpochID(n[0]), logName(n[1]), binary.BigEndian.Uint32(n[2]), nil
}

func (b *batch) addChain(rest string, value []byte) error {
	id, member, err := chainName(rest)
	if err != nil {
		return err
	}
	if value == nil { // goes with its epoch
		return nil
	}
	next, ck, err := readChain(value)
	if err != nil {
		return err
	}
	c, err := b.chain(id, member)
	if err != nil {
		return err
	}
	c.stored = true
	b.do(func() { c.next, c.ck = next, ck })
	return nil
}

func (b *batch) addSeed(rest string, value []byte) error {
	id, member, gen, err := generationName(rest)
	if err != nil {
		return err
	}
	if value == nil {
		b.do(func() { b.k.dropSeed(id, member, gen) })
		return nil
	}
	if len(value) != secretSize || gen >= MaxGeneration {
		return errRecord
	}
	c, err := b.chain(id, member)
	if err != nil {
		return err
	}
	seed := secret(value)
	b.do(func() { b.k.keepSeed(c, gen, seed) })
	return nil
}

func (k *Keyring) keepSeed(c *chain, gen uint32, seed secret) {
	if c.seeds == nil {
		c.seeds = make(map[uint32]secret)
	}
	if _, ok := c.seeds[gen]; !ok {
		k.seeds++
	}
	c.seeds[gen] = seed
}

func (k *Keyring) dropSeed(id EpochID, member identity.LogID, gen uint32) {
	c := k.chain(id, member)
	if c == nil {
		return
	}
	if _, ok := c.seeds[gen]; ok {
		delete(c.seeds, gen)
		k.seeds--
	}
}

func (b *batch) addGap(rest string, value []byte) error {
	id, member, from, err := generationName(rest)
	if err != nil {
		return err
	}
	if value == nil {
		b.do(func() {
			if c := b.k.chain(id, member); c != nil {
				c.setGap(gap{from: from, to: from})
			}
		})
		return nil
	}
	to, ck, err := readChain(value)
	if err != nil || to <= from {
		return errRecord
	}
	c, err := b.chain(id, member)
	if err != nil {
		return err
	}
	b.do(func() { c.setGap(gap{from: from, to: to, ck: ck}) })
	return nil
}

// setGap replaces the gap that starts at g.from; an empty g removes it.
func (c *chain) setGap(g gap) {
	at, found := slices.BinarySearchFunc(c.gaps, g.from, func(held gap, from uint32) int { return int(held.from) - int(from) })
	switch {
	case found && g.from == g.to:
		c.gaps = slices.Delete(c.gaps, at, at+1)
	case found:
		c.gaps[at] = g
	case g.from != g.to:
		c.gaps = slices.Insert(c.gaps, at, g)
	}
}

const recordFormat = 1

func (e *epoch) marshal() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(recordFormat)
	b.AddBytes(e.group[:])
	addLogID(&b, e.creator)
	b.AddBytes(e.tag[:])
	b.AddBytes(e.tagKey[:])
	b.AddUint64(uint64(e.learnt))
	b.AddUint64(e.due)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, h := range e.heads {
			b.AddBytes(h[:])
		}
	})
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, m := range e.members {
			addLogID(b, m)
			addBool(b, !slices.Contains(e.unreached, m))
		}
	})
	out, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("group: encode epoch record: %w", err)
	}
	return out, nil
}

func (e *epoch) unmarshal(value []byte) error {
	s := cryptobyte.String(value)
	var format uint8
	var learnt uint64
	var heads, members cryptobyte.String
	ok := s.ReadUint8(&format) && format == recordFormat && s.CopyBytes(e.group[:]) && readLogID(&s, &e.creator) &&
		s.CopyBytes(e.tag[:]) && s.CopyBytes(e.tagKey[:]) && s.ReadUint64(&learnt) && s.ReadUint64(&e.due) &&
		s.ReadUint16LengthPrefixed(&heads) && s.ReadUint16LengthPrefixed(&members) && s.Empty()
	if !ok || len(heads)%32 != 0 || members.Empty() {
		return errRecord
	}
	e.learnt = int64(learnt)
	for !heads.Empty() {
		var h [32]byte
		heads.CopyBytes(h[:])
		e.heads = append(e.heads, h)
	}
	for !members.Empty() {
		var m identity.LogID
		var reached bool
		if !readLogID(&members, &m) || !readBool(&members, &reached) {
			return errRecord
		}
		if e.members = append(e.members, m); !reached {
			e.unreached = append(e.unreached, m)
		}
	}
	return nil
}

func (b *batch) addEpoch(rest string, value []byte) error {
	n, err := names(rest, 32)
	if err != nil {
		return err
	}
	id := EpochID(n[0])
	if value == nil {
		b.do(func() { b.k.dropEpoch(id) })
		if e, ok := b.k.epochs[id]; ok {
			b.touch(e.group)
		}
		return nil
	}
	if _, ok := b.k.epochs[id]; ok {
		return errors.New("this epoch is held already")
	}
	e := b.epoch(id)
	if e.members != nil {
		return errRecord
	}
	if err := e.unmarshal(value); err != nil {
		return err
	}
	b.touch(e.group)
	b.do(func() {
		b.k.epochs[id], b.k.tags[e.tag] = e, e
		b.k.created[e.creator]++
	})
	return nil
}

func (k *Keyring) dropEpoch(id EpochID) {
	e, ok := k.epochs[id]
	if !ok {
		return
	}
	for _, c := range e.chains {
		k.seeds -= len(c.seeds)
	}
	delete(k.epochs, id)
	if k.tags[e.tag] == e {
		delete(k.tags, e.tag)
	}
	if k.created[e.creator]--; k.created[e.creator] == 0 {
		delete(k.created, e.creator)
	}
}
