package inbox

import (
	"slices"
	"strings"

	"tocsin/node/message"
)

// The boards show what stands, not what was said: which casualties there are now, who is coming, which tasks are open. Each is
// worked out from the messages of its kinds in the order of the conversation whenever it is asked for, so that it cannot
// disagree with them, and the same messages give the same board on every device.

// boards keeps the messages of one conversation that make up its boards, by kind, in the order of the conversation.
type boards struct {
	said map[message.Kind][]Item
	// retracts are the retractions that name a message.
	retracts map[EntryID][]Item
}

// acts reports whether a kind changes what stands of other messages, or of the conversation as a whole.
func acts(k message.Kind) bool {
	switch k {
	case message.KindAlertCancel, message.KindEscalation, message.KindCallOutClose, message.KindTaskUpdate, message.KindIncident,
		message.KindRole, message.KindRetract, message.KindTransferred, message.KindHoldEnd, message.KindErase:
		return true
	}
	return false
}

// Acting returns the message on which one acts, so that what stands would change if the acting one went alone; false for all others.
func Acting(c message.Content) (EntryID, bool) {
	switch c := c.(type) {
	case *message.AlertCancel:
		return EntryID(c.Alert), true
	case *message.Escalation:
		return EntryID(c.Alert), true
	case *message.CallOutClose:
		return EntryID(c.CallOut), true
	case *message.TaskUpdate:
		return EntryID(c.Task), true
	case *message.Retract:
		return EntryID(c.Entry), true
	case *message.HoldEnd:
		return EntryID(c.Hold), true
	}
	return EntryID{}, false
}

// boarded reports whether a kind changes a board.
func boarded(k message.Kind) bool {
	switch k {
	case message.KindText, message.KindReceipt, message.KindAttachment:
		return false
	}
	return true
}

func (b *boards) add(it Item) {
	k := it.Message.Kind()
	if !boarded(k) {
		return
	}
	if b.said == nil {
		b.said = make(map[message.Kind][]Item)
	}
	at, found := slices.BinarySearchFunc(b.said[k], it, before)
	if found {
		return
	}
	b.said[k] = slices.Insert(b.said[k], at, it)
	if r, ok := it.Message.Content.(*message.Retract); ok {
		if b.retracts == nil {
			b.retracts = make(map[EntryID][]Item)
		}
		of := b.retracts[EntryID(r.Entry)]
		at, _ := slices.BinarySearchFunc(of, it, before)
		b.retracts[EntryID(r.Entry)] = slices.Insert(of, at, it)
	}
}

// retracted is why the author of a message has withdrawn it, "" while it stands.
func (b *boards) retracted(it *Item) string {
	if r := b.retraction(it); r != nil {
		return r.Message.Content.(*message.Retract).Reason
	}
	return ""
}

// retraction is the message by which the author of one has withdrawn it, nil while it stands.
func (b *boards) retraction(it *Item) *Item {
	for i := range b.retracts[it.ID] {
		if r := &b.retracts[it.ID][i]; samePerson(r.From, it.From) && !discarded(r) {
			return r
		}
	}
	return nil
}

// discarded reports whether a message counts for nothing on a board, though it stands in the conversation with its flag: its author
// was no member any more, or it acts on others and is not certainly its device's.
func discarded(it *Item) bool {
	return it.Removed || (it.Forked || it.AfterClosing) && acts(it.Message.Kind())
}

func (b *boards) remove(id EntryID) {
	is := func(it Item) bool { return it.ID == id }
	for k, items := range b.said {
		b.said[k] = slices.DeleteFunc(items, is)
	}
	for of, items := range b.retracts {
		b.retracts[of] = slices.DeleteFunc(items, is)
	}
}

// contents calls f for the messages of a kind that count, in order. f changes nothing of them. What acts on others and was retracted
// counts no more, but for incidents: those are ended, and never unsaid, since what is fixed when one is made would be free again.
func contents[C message.Content](b *boards, k message.Kind, f func(it *Item, c C)) {
	for i := range b.said[k] {
		it := &b.said[k][i]
		if c, ok := it.Message.Content.(C); ok && !discarded(it) && !(acts(k) && k != message.KindIncident && b.retracted(it) != "") {
			f(it, c)
		}
	}
}

// mark fills in what later messages say of one.
func (b *boards) mark(it *Item) {
	if b.said == nil {
		return
	}
	it.Retracted = b.retracted(it)
	switch it.Message.Kind() {
	case message.KindMETHANE:
		contents(b, message.KindMETHANE, func(m *Item, c *message.METHANE) {
			if EntryID(c.Supersedes) == it.ID && b.retracted(m) == "" {
				it.ReplacedBy = m.ID
			}
		})
	case message.KindDecision:
		contents(b, message.KindDecision, func(d *Item, c *message.Decision) {
			if EntryID(c.Corrects) == it.ID && b.retracted(d) == "" {
				it.ReplacedBy = d.ID
			}
		})
	}
}

// samePerson reports whether two devices are one person's.
func samePerson(a, b Author) bool {
	return a.device() == b.device() || a.Person != "" && a.Person == b.Person
}

// who is the key by which people are told apart: the person, or the device while its credential is unknown.
func (a Author) who() string {
	if a.Person != "" {
		return a.Person
	}
	return a.device()
}

// board calls f with a conversation under the read lock; false where there is none.
func (in *Inbox) board(id GroupID, f func(c *conversation)) bool {
	in.mu.RLock()
	defer in.mu.RUnlock()
	c := in.conversations[id]
	if c == nil {
		return false
	}
	f(c)
	return true
}

// searchText is what a search looks through: what people read of the message and who wrote it, in small letters.
func searchText(it Item) string {
	return strings.ToLower(it.From.Name + "\n" + message.Words(it.Message.Content))
}

// Query says what to search for. Every part that is set must hold.
type Query struct {
	// Words must all occur, in any order, whole or as parts, small or capital.
	Words string
	// Person is "org/regulator/number"; Kind a kind of message; Tag a casualty's tag.
	Person string
	Kind   message.Kind
	Tag    string
	// Group is where to search; nil is everywhere.
	Group *GroupID
	// Limit is the most that is found; 0 is no limit.
	Limit int
}

// Search returns the messages that are found, the newest first.
func (in *Inbox) Search(q Query) []Item {
	in.mu.RLock()
	defer in.mu.RUnlock()
	words := strings.Fields(strings.ToLower(q.Words))
	var found []Item
	for id, c := range in.conversations {
		if q.Group != nil && *q.Group != id {
			continue
		}
		n := 0
		for i := len(c.items) - 1; i >= 0 && (q.Limit <= 0 || n < q.Limit); i-- {
			if q.finds(&c.items[i], words) {
				found = append(found, c.items[i])
				n++
			}
		}
	}
	slices.SortFunc(found, func(a, b Item) int { return before(b, a) })
	if q.Limit > 0 {
		found = found[:min(len(found), q.Limit)]
	}
	for i, it := range found {
		found[i] = in.fill(in.conversations[it.Group], it)
	}
	return found
}

func (q *Query) finds(it *Item, words []string) bool {
	if q.Kind != "" && it.Message.Kind() != q.Kind || q.Person != "" && it.From.Person != q.Person {
		return false
	}
	if q.Tag != "" && tagOf(it.Message.Content) != strings.ToUpper(q.Tag) {
		return false
	}
	for _, w := range words {
		if !strings.Contains(it.words, w) {
			return false
		}
	}
	return true
}

func tagOf(c message.Content) string {
	switch c := c.(type) {
	case *message.Casualty:
		return c.Tag
	case *message.ATMIST:
		return c.Tag
	}
	return ""
}
