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
	"time"

	"tocsin/node/message"
)

// EntryID is the id of the ledger entry that carried a message.
type EntryID [32]byte

// GroupID is the id of a group.
type GroupID [32]byte

// Author is who wrote a message, as their credential says.
type Author struct {
	// Log is the author's log id, in the text form that the node uses everywhere. Devices are told apart by it, and by Now.
	Log string
	// Now is the log in which the device goes on, where that is another one; empty otherwise. What is said in either is of one device.
	Now string
	// Person is who it is, "org/regulator/number", the same on all devices of a person; empty while the credential is unknown.
	Person string
	// Name, Org and Role come from the credential, never from the message.
	Name, Org, Role string
	// Verified: the credential was valid when the message was witnessed.
	Verified bool
	// Admin, of members of a group: they run it, as its operations say now.
	Admin bool
	// Badge is what there is to say of the credential now, one of the Badge constants; empty for nothing.
	Badge string
}

// The badges. They say how somebody came to be trusted, or that they no longer are; they void nothing that was said before.
const (
	BadgeProvisional = "provisional" // the issuer marked the credential so
	BadgeSponsored   = "sponsored"   // vouched for by colleagues; kept for ever
	BadgeRegistrar   = "registrar"   // issued by a registrar, not by the authority itself
	BadgeGrace       = "grace"       // ran out in a declared incident, and counts a little longer
	BadgeExpired     = "expired"     // ran out
	BadgeRevoked     = "revoked"     // taken back by its issuer
	BadgeWiped       = "wiped"       // ordered to destroy its keys
)

// device is what a device is told apart by.
func (a Author) device() string {
	if a.Now != "" {
		return a.Now
	}
	return a.Log
}

// out reports whether a device gets no keys any more.
func (a Author) out() bool { return a.Badge == BadgeRevoked || a.Badge == BadgeWiped }

// Group is a conversation's frame: what the group's operations say. Members are devices.
type Group struct {
	ID      GroupID
	Name    string
	Kind    string // direct, team, incident or broadcast
	Members []Author
	// HLC is the clock of the operation that made the group, 0 when unknown; it places a conversation without messages.
	HLC uint64
	// Ran are the devices that run the group or ever did. What they said of its incident counts for good: who hands a group over does
	// not take its incident along, nor its being an exercise.
	Ran []string
}

// Item is one opened message. A caller of Apply fills the first part; the second part is filled in by Messages.
type Item struct {
	ID    EntryID
	Group GroupID
	// HLC and Seq are the entry's hybrid clock and place in its author's log. Items are shown by HLC, then ID:
	// an answer always comes after what its author had seen.
	HLC, Seq uint64
	// First is the place of the first of the entries by which the message left: Seq, but in a group of more devices than one epoch holds.
	First          uint64
	From           Author
	Message        message.Message
	Sent, Received time.Time // the sender's clock and ours
	Priority       string    // routine, urgent or stat
	Own            bool      // written by this device
	Provable       bool      // the payload matches the commitment in the signed header
	Removed        bool      // said after its author was removed from the group: kept, and flagged
	Broadcast      bool      // sent to everybody admitted, past all groups; marked for ever
	Reason         string    // of a broadcast: why its author sent it so
	AfterClosing   bool      // stands in a log at a place after the end that its device named when it went on in another: lost in a restore, or not the device's
	Forked         bool      // stands at or beyond a place of its log at which its device signed two entries
	HandedOver     string    // display name of the member who handed it over later; empty when it came by itself

	// Delivered and Read are the logs of the member devices whose signed receipts say so, sorted. Read devices are in both.
	// Acknowledged devices, whose reader has said so by a press of their own, are in all three.
	Delivered, Read, Acknowledged []string
	// Recipients is how many member devices the message is for: all but its author's, and but those that were revoked or wiped before
	// they got it.
	Recipients int
	// Carried is how many other devices promise to keep an own message that is only saved, filled in by the node.
	Carried int
	// Held says what of an attachment is on this device, filled in by the node; nil for other messages.
	Held *Held
	// State is StateSaved, StateDelivered, StateRead or StateAcknowledged.
	State string
	// Unread: somebody else's message that this device has not marked as read.
	Unread bool
	// Retracted is why its author has withdrawn the message, which stays; empty while it stands.
	Retracted string
	// ReplacedBy is the message that brings this one up to date or corrects it; zero for none.
	ReplacedBy EntryID
	// Exercise: the incident of the conversation is one, and so is everything said there.
	Exercise bool
	// For says who gets the message by each of its addresses; nil where it is for all. ForMe: this device's reader is among them.
	For   []Addressee
	ForMe bool

	words string // what a search looks through
}

// The states of a message, in order. (Custody, "carried by n devices", has its place between the first two.)
const (
	// StateSaved: durable on its author's device; no receipt has come back.
	StateSaved = "saved"
	// StateDelivered: at least one recipient's device has given a signed receipt. Item.Delivered says which.
	StateDelivered = "delivered"
	// StateRead: every recipient has read it.
	StateRead = "read"
	// StateAcknowledged: at least one recipient has acknowledged it; one is enough for a message that asks for it.
	StateAcknowledged = "acknowledged"
)

// Conversation is one group as a list shows it.
type Conversation struct {
	ID      GroupID
	Name    string
	Kind    string // direct, team, incident or broadcast; empty while the group's operations are not known yet
	Members []Author
	Count   int   // messages shown
	Unread  int   // of them, others' messages not yet marked as read
	Last    *Item // the last one, nil for none; a copy
	// HLC places the conversation in the list: that of its last message, else of its making.
	HLC uint64
	// Exercise: its incident is one; Over: its incident was stood down or cancelled.
	Exercise, Over bool
}

// Change says what an Apply changed, so that the node can tell its listeners.
type Change struct {
	// New: the entry was not known before. All the rest is empty when it is false.
	New bool
	// Shown: it is a message that stands in the conversation, not a receipt.
	Shown bool
	// Delivery lists the messages already shown whose state the entry changed.
	Delivery []EntryID
	// Board: what one of the boards shows has changed.
	Board bool
	// Exercise: the conversation is one. ForMe: the message is for this device's reader.
	Exercise, ForMe bool
	// Calls are earlier messages that are for the reader from now on and unread, by a role that was taken.
	Calls []EntryID
}

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
		i := c.find(entry, at)
		if newlyRead && !c.items[i].Own {
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
