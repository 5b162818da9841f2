// Package inbox is the read model of a node: which conversations there are, what was said in them and in what order, and
// what became of each message.
//
// It is pure and rebuilt from the vault's opened messages whenever the node unlocks: nothing in it is the only copy of
// anything. Opened entries go in one by one through [Inbox.Apply], receipts among them. The same set of entries and groups gives the same
// state in whatever order it is applied, so a receipt may come before the message it is about, and an entry that
// is applied again changes nothing: a message is shown exactly once.
package inbox

import (
	"cmp"
	"slices"
	"sync"

	"tocsin/node/message"
)

// conversation is the state of one group.
type conversation struct {
	group  Group
	known  bool // SetGroup was called
	items  []Item
	unread int
	boards boards
	// numbers are given to devices whose receipts have come, from 1: a message keeps a byte for each.
	numbers map[string]int
	// exercise and over are what the incident says ([conversation.settle]).
	exercise, over bool
	// settled is where the incident stood when its own messages were erased ([Inbox.Settle]); zero for most.
	settled Incident
}

// receiptKey: a receipt counts only for a message of the group it was sealed to, so a member of one group cannot report
// on another's messages.
type receiptKey struct {
	group GroupID
	entry EntryID
}

// place is where an applied entry stands.
type place struct {
	group GroupID
	hlc   uint64
	shown bool
}

// marks are the receipts for one message: the furthest of each log.
type marks struct {
	by  []reached // by the conversation's number of a device
	own bool      // this device has marked it as read
}

// reached is how far a message has come with one recipient; each step includes those before it.
type reached uint8

const (
	reachedDevice reached = 1 + iota
	reachedReader
	reachedAnswer
)

func reachedBy(s message.State) reached {
	switch s {
	case message.Acknowledged:
		return reachedAnswer
	case message.Read:
		return reachedReader
	}
	return reachedDevice
}

// Inbox holds all conversations. It is safe for concurrent use.
type Inbox struct {
	mu            sync.RWMutex
	seen          map[EntryID]place // every entry ever applied
	erased        map[EntryID]bool  // messages that are shown no more, applied or not
	conversations map[GroupID]*conversation
	receipts      map[receiptKey]*marks
	// readings are when addressed messages, and those that have not come yet, were read: the clock of the first receipt of each person.
	readings map[receiptKey]map[string]uint64
	reader   string // the person whose device this is; empty where nobody is told
}

// New returns an empty inbox.
func New() *Inbox {
	return &Inbox{
		seen:          map[EntryID]place{},
		erased:        map[EntryID]bool{},
		conversations: map[GroupID]*conversation{},
		receipts:      map[receiptKey]*marks{},
		readings:      map[receiptKey]map[string]uint64{},
	}
}

// SetGroup records what the operations of a group say now, and replaces what was recorded before.
func (in *Inbox) SetGroup(g Group) {
	in.mu.Lock()
	defer in.mu.Unlock()
	g.Members = slices.Clone(g.Members)
	slices.SortFunc(g.Members, func(a, b Author) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Log, b.Log))
	})
	c := in.conversation(g.ID)
	c.group, c.known = g, true
	c.settle()
}

func (in *Inbox) conversation(id GroupID) *conversation {
	c := in.conversations[id]
	if c == nil {
		c = &conversation{group: Group{ID: id}}
		in.conversations[id] = c
	}
	return c
}

// Apply takes in one opened entry, once: an id that was applied before changes nothing.
func (in *Inbox) Apply(it Item) Change {
	in.mu.Lock()
	defer in.mu.Unlock()
	if _, known := in.seen[it.ID]; known {
		return Change{}
	}
	shown := it.Message.Shown() && !in.erased[it.ID]
	in.seen[it.ID] = place{group: it.Group, hlc: it.HLC, shown: shown}
	c := in.conversation(it.Group)
	if it.Message.Kind() == message.KindReceipt {
		return Change{New: true, Delivery: in.applyReceipt(c, it), Exercise: c.exercise}
	}
	if in.erased[it.ID] {
		return Change{New: true}
	}
	c.boards.add(it)
	if it.Message.Kind() == message.KindIncident {
		c.settle()
	}
	if !addressed(&it) {
		delete(in.readings, receiptKey{it.Group, it.ID})
	}
	if !shown {
		return Change{New: true, Board: true, Exercise: c.exercise}
	}
	// The second part of an item is ours to fill.
	it.Delivered, it.Read, it.Acknowledged, it.Recipients, it.State, it.Unread = nil, nil, nil, 0, "", false
	it.Retracted, it.ReplacedBy, it.words = "", EntryID{}, searchText(it)
	it.Exercise, it.For, it.ForMe = false, nil, false
	at, _ := slices.BinarySearchFunc(c.items, it, before)
	c.items = slices.Insert(c.items, at, it)
	if !it.Own && !in.readHere(it) {
		c.unread++
	}
	change := Change{New: true, Shown: true, Board: boarded(it.Message.Kind()), Exercise: c.exercise}
	if addressed(&it) {
		change.ForMe = in.fill(c, it).ForMe
	}
	if r, ok := it.Message.Content.(*message.Role); ok && r.Action == message.RoleTake && it.From.Person == in.reader && in.reader != "" {
		change.Calls = in.calls(c, r.Role)
	}
	return change
}

// Knows reports whether an entry was applied.
func (in *Inbox) Knows(id EntryID) bool {
	in.mu.RLock()
	defer in.mu.RUnlock()
	_, ok := in.seen[id]
	return ok
}

// Erase takes messages out, for good: they are shown no more, and applying one of them later shows nothing. Receipts are not taken
// back, because they hold nothing that was said.
func (in *Inbox) Erase(ids ...EntryID) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, id := range ids {
		in.erased[id] = true
		at, known := in.seen[id]
		if !known {
			continue
		}
		c := in.conversations[at.group]
		c.boards.remove(id)
		c.settle()
		if !at.shown {
			continue
		}
		i := c.find(id, at)
		if it := c.items[i]; !it.Own && !in.readHere(it) {
			c.unread--
		}
		c.items = slices.Delete(c.items, i, i+1) // which clears the place it leaves at the end
		at.shown = false
		in.seen[id] = at
	}
}

// before orders items as they are shown.
func before(a, b Item) int {
	return cmp.Or(cmp.Compare(a.HLC, b.HLC), slices.Compare(a.ID[:], b.ID[:]))
}

// find returns the index of an item that is shown at the place.
func (c *conversation) find(id EntryID, at place) int {
	i, _ := slices.BinarySearchFunc(c.items, Item{ID: id, HLC: at.hlc}, before)
	return i
}

// readHere reports whether this device has marked the item as read.
func (in *Inbox) readHere(it Item) bool {
	m := in.receipts[receiptKey{it.Group, it.ID}]
	return m != nil && m.own
}

// applyReceipt records a receipt, and returns the messages already shown whose state it changed.
func (in *Inbox) applyReceipt(c *conversation, it Item) (changed []EntryID) {
	receipt, ok := it.Message.Content.(*message.Receipt)
	if !ok {
		return nil
	}
	far := reachedBy(receipt.State)
	for _, entry := range receipt.Entries {
		key := receiptKey{it.Group, entry}
		if far >= reachedReader {
			in.noteReading(c, key, &it)
		}
		m := in.marks(key)
		if !m.reach(c.number(it.From.device()), far) {
			continue // says nothing new
		}
		newlyRead := it.Own && far >= reachedReader && !m.own
		m.own = m.own || newlyRead
		at := in.seen[entry]
		if !at.shown || at.group != it.Group {
			continue // still on its way, or no message of this conversation
		}
		if newlyRead && !c.items[c.find(entry, at)].Own {
			c.unread--
		}
		changed = append(changed, entry)
	}
	return changed
}

// Conversations returns all conversations, the most recent first.
func (in *Inbox) Conversations() []Conversation {
	in.mu.RLock()
	defer in.mu.RUnlock()
	out := make([]Conversation, 0, len(in.conversations))
	for _, c := range in.conversations {
		if c.known || len(c.items) > 0 {
			out = append(out, in.view(c))
		}
	}
	slices.SortFunc(out, func(a, b Conversation) int {
		return cmp.Or(cmp.Compare(b.HLC, a.HLC), cmp.Compare(a.Name, b.Name), slices.Compare(a.ID[:], b.ID[:]))
	})
	return out
}

// Conversation returns one conversation; false when there is none.
func (in *Inbox) Conversation(id GroupID) (Conversation, bool) {
	in.mu.RLock()
	defer in.mu.RUnlock()
	c := in.conversations[id]
	if c == nil || (!c.known && len(c.items) == 0) {
		return Conversation{}, false
	}
	return in.view(c), true
}

func (in *Inbox) view(c *conversation) Conversation {
	v := Conversation{
		ID: c.group.ID, Name: c.group.Name, Kind: c.group.Kind, Members: slices.Clone(c.group.Members),
		Count: len(c.items), Unread: c.unread, HLC: c.group.HLC, Exercise: c.exercise, Over: c.over,
	}
	if n := len(c.items); n > 0 {
		last := in.fill(c, c.items[n-1])
		v.Last, v.HLC = &last, last.HLC
	}
	return v
}

// Messages returns at most limit messages of a conversation in the order they are shown, starting at position after; a
// negative after counts from the end, so that -50 starts with the 50th last. A limit of 0 or less means no limit.
func (in *Inbox) Messages(id GroupID, after, limit int) []Item {
	in.mu.RLock()
	defer in.mu.RUnlock()
	c := in.conversations[id]
	if c == nil {
		return nil
	}
	if after < 0 {
		after = max(0, len(c.items)+after)
	}
	items := c.items[min(after, len(c.items)):]
	if limit > 0 && limit < len(items) {
		items = items[:limit]
	}
	out := make([]Item, len(items))
	for i, it := range items {
		out[i] = in.fill(c, it)
	}
	return out
}

// Message returns one message by its entry id; false when no such message is shown.
func (in *Inbox) Message(id EntryID) (Item, bool) {
	in.mu.RLock()
	defer in.mu.RUnlock()
	at := in.seen[id]
	if !at.shown {
		return Item{}, false
	}
	c := in.conversations[at.group]
	return in.fill(c, c.items[c.find(id, at)]), true
}

// fill works out the second part of an item. A receipt counts only when it comes from a member other than the author.
func (in *Inbox) fill(c *conversation, it Item) Item {
	m := in.receipts[receiptKey{it.Group, it.ID}]
	for _, member := range c.group.Members {
		if member.device() == it.From.device() {
			continue
		}
		var far reached
		if m != nil {
			far = m.far(c.numbers[member.device()])
		}
		if far == 0 && member.out() {
			continue // nobody waits for a device that gets no keys any more
		}
		it.Recipients++
		if far >= reachedDevice {
			it.Delivered = append(it.Delivered, member.Log)
		}
		if far >= reachedReader {
			it.Read = append(it.Read, member.Log)
		}
		if far >= reachedAnswer {
			it.Acknowledged = append(it.Acknowledged, member.Log)
		}
	}
	slices.Sort(it.Delivered)
	slices.Sort(it.Read)
	slices.Sort(it.Acknowledged)
	it.Unread = !it.Own && (m == nil || !m.own)
	c.boards.mark(&it)
	it.Exercise = c.exercise
	in.address(c, &it)
	switch {
	case len(it.Acknowledged) > 0:
		it.State = StateAcknowledged
	case len(it.Read) > 0 && len(it.Read) == it.Recipients:
		it.State = StateRead
	case len(it.Delivered) > 0:
		it.State = StateDelivered
	default:
		it.State = StateSaved
	}
	return it
}
