package node

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"

	"tocsin/crypto/group"
	"tocsin/crypto/identity"
	"tocsin/ledger"
)

// prefixHanded begins the keys of what was handed over and whose entry has not
// come: handed/<entry id>/<log of who handed it over>. Each sender has a place of
// its own, so that a false item of one does not take that of another.
const prefixHanded = "handed/"

// handedKey is where an item of a hand-over waits for its entry.
func handedKey(id ledger.ID, from identity.LogID) string {
	return prefixHanded + id.String() + "/" + from.String()
}

// parseHandedKey is the inverse of handedKey.
func parseHandedKey(key string) (id ledger.ID, from identity.LogID, err error) {
	a, b, _ := strings.Cut(strings.TrimPrefix(key, prefixHanded), "/")
	if id, err = ledger.ParseID(a); err == nil {
		from, err = identity.ParseLogID(b)
	}
	if err != nil {
		return id, from, fmt.Errorf("%w: %s", errRecord, key)
	}
	return id, from, nil
}

// handedOf is an amount of items, and of the bytes of their payloads.
type handedOf struct{ items, bytes int }

func (a handedOf) over(b handedOf) bool { return a.items > b.items || a.bytes > b.bytes }

// What may wait of one sender, and of all together. Where it is more the oldest
// of whoever has the most goes; it can be handed over again once the entries are
// here.
const (
	maxHandedItems = 8192
	maxHandedBytes = 16 << 20
	maxHandedRatio = 4 // senders with all they may have

	// handedFloor is what an item counts for beside its payload.
	handedFloor = maxHandedBytes / maxHandedItems
)

// handedSet knows the items that wait for their entries; the items themselves are
// in the vault.
type handedSet struct {
	each, all handedOf // limits
	sum       handedOf
	by        map[identity.LogID]*handedBy
	senders   map[ledger.ID]map[identity.LogID]struct{}
	tags      map[group.Tag]int // items by the tag of their entry
}

// handedBy is what one sender handed over.
type handedBy struct {
	handedOf
	held map[ledger.ID]handedItem
}

type handedItem struct {
	tag  group.Tag
	at   int64 // when it came, milliseconds since the Unix epoch
	size int   // of the payload
}

// handedRef names one item.
type handedRef struct {
	id   ledger.ID
	from identity.LogID
}

func newHandedSet() *handedSet {
	each := handedOf{maxHandedItems, maxHandedBytes}
	return &handedSet{
		each: each, all: handedOf{maxHandedRatio * each.items, maxHandedRatio * each.bytes},
		by: make(map[identity.LogID]*handedBy), senders: make(map[ledger.ID]map[identity.LogID]struct{}), tags: make(map[group.Tag]int),
	}
}

// from returns who handed an entry over, in order.
func (s *handedSet) from(id ledger.ID) []identity.LogID {
	return slices.SortedFunc(maps.Keys(s.senders[id]), identity.LogID.Compare)
}

// add notes an item and returns those that have to go for it.
func (s *handedSet) add(id ledger.ID, from identity.LogID, it handedItem) (out []handedRef) {
	s.drop(id, from)
	b := s.by[from]
	if b == nil {
		b = &handedBy{held: make(map[ledger.ID]handedItem)}
		s.by[from] = b
	}
	b.held[id] = it
	if s.senders[id] == nil {
		s.senders[id] = make(map[identity.LogID]struct{})
	}
	s.senders[id][from] = struct{}{}
	s.tags[it.tag]++
	b.items, b.bytes = b.items+1, b.bytes+it.size
	s.sum.items, s.sum.bytes = s.sum.items+1, s.sum.bytes+it.size
	if b.over(s.each) {
		out = s.shrink(from)
	}
	for s.sum.over(s.all) {
		out = append(out, s.shrink(s.largest())...)
	}
	return out
}

// drop forgets an item.
func (s *handedSet) drop(id ledger.ID, from identity.LogID) {
	b := s.by[from]
	if b == nil {
		return
	}
	it, ok := b.held[id]
	if !ok {
		return
	}
	delete(b.held, id)
	b.items, b.bytes = b.items-1, b.bytes-it.size
	s.sum.items, s.sum.bytes = s.sum.items-1, s.sum.bytes-it.size
	if len(b.held) == 0 {
		delete(s.by, from)
	}
	if delete(s.senders[id], from); len(s.senders[id]) == 0 {
		delete(s.senders, id)
	}
	if s.tags[it.tag]--; s.tags[it.tag] == 0 {
		delete(s.tags, it.tag)
	}
}

// shrink drops the oldest sixteenth of what a sender handed over, so that it is
// seldom done. What one message leads to must fit into one record of the vault
// with whatever else is in it: every item counts with a floor (handedFloor), so
// that small ones cannot leave by the thousand.
func (s *handedSet) shrink(from identity.LogID) (out []handedRef) {
	b := s.by[from]
	ids := slices.SortedFunc(maps.Keys(b.held), func(x, y ledger.ID) int {
		return cmp.Or(cmp.Compare(b.held[x].at, b.held[y].at), bytes.Compare(x[:], y[:]))
	})
	want := handedOf{b.items - b.items/16, b.bytes - b.bytes/16}
	for _, id := range ids {
		if len(out) > 0 && !b.over(want) {
			break
		}
		s.drop(id, from)
		out = append(out, handedRef{id, from})
	}
	return out
}

// largest is the sender with the most of what there is too much of.
func (s *handedSet) largest() (most identity.LogID) {
	size := func(o handedOf) int {
		if s.sum.items > s.all.items {
			return o.items
		}
		return o.bytes
	}
	best := -1
	for from, b := range s.by {
		if k := size(b.handedOf); k > best || k == best && from.Compare(most) < 0 {
			most, best = from, k
		}
	}
	return most
}

// tagOf is the tag that a tag key gives a group (protocol §4).
func tagOf(tagKey [32]byte, id group.ID) group.Tag {
	mac := hmac.New(sha256.New, tagKey[:])
	mac.Write(id[:])
	return group.Tag(mac.Sum(nil)[:len(group.Tag{})])
}

// loadHanded notes an item that was handed over before its entry came.
func (n *Node) loadHanded(key string, value []byte) error {
	id, from, err := parseHandedKey(key)
	if err != nil {
		return err
	}
	rec, err := parseOpenedRecord(value)
	if err != nil {
		return fmt.Errorf("%w: %s", err, key)
	}
	n.open.handed.add(id, from, handedItemOf(rec)) // within the limits, as it was when it was kept
	return nil
}

func handedItemOf(rec *openedRecord) handedItem {
	return handedItem{tag: tagOf(rec.tagKey, rec.group), at: rec.received, size: handedFloor + len(rec.payload)}
}
