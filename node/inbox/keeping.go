package inbox

import (
	"slices"
	"time"

	"tocsin/node/message"
)

// Each calls f with everything that was said in a conversation, answers to call-outs too, in order and without what [Inbox.Messages] fills
// in. f keeps nothing of an item that it changes, and calls nothing of the inbox.
func (in *Inbox) Each(id GroupID, f func(it *Item)) {
	in.board(id, func(c *conversation) {
		for i := range c.items {
			f(&c.items[i])
		}
		for i := range c.boards.said[message.KindCallOutAnswer] {
			f(&c.boards.said[message.KindCallOutAnswer][i])
		}
	})
}

// Standing is what later messages made of one.
type Standing struct {
	RetractedBy EntryID           // its author's retraction; zero for none
	Task        message.TaskState // of a task
	Ended       bool              // of a call-out: closed. Of an alert: acknowledged
	Cancelled   bool              // of an alert
	Until       time.Time         // of a role that was taken: when its holder gave it up, handed it over or took it anew; zero for as announced
}

// Standings returns what later messages made of those of a conversation, without those of which nothing was made.
func (in *Inbox) Standings(id GroupID) map[EntryID]Standing {
	out := make(map[EntryID]Standing)
	in.board(id, func(c *conversation) {
		for i := range c.items {
			it := &c.items[i]
			var s Standing
			if r := c.boards.retraction(it); r != nil {
				s.RetractedBy = r.ID
			}
			switch said := it.Message.Content.(type) {
			case *message.Task:
				s.Task = c.task(*it, said).State
			case *message.CallOut:
				s.Ended = c.tally(*it, said).Closed != nil
			case *message.Alert:
				a := c.alert(in.fill(c, *it), said)
				s.Ended, s.Cancelled = len(a.Acknowledged) > 0, a.Cancelled != nil
			}
			if s != (Standing{}) {
				out[it.ID] = s
			}
		}
		for entry, until := range c.dutyEnds() {
			s := out[entry]
			s.Until = until
			out[entry] = s
		}
	})
	return out
}

// dutyEnds is when the duties that were begun by taking a role ended before their time, by the message that took it.
func (c *conversation) dutyEnds() map[EntryID]time.Time {
	ends := make(map[EntryID]time.Time)
	duties := make(map[string]*Duty)
	held := make(map[string]map[string]EntryID) // role → who → the message that took it
	contents(&c.boards, message.KindRole, func(it *Item, said *message.Role) {
		d := duties[said.Role]
		if d == nil {
			d = &Duty{Role: said.Role}
			duties[said.Role], held[said.Role] = d, make(map[string]EntryID)
		}
		at := saidAt(it)
		before := slices.Clone(d.Holders)
		d.apply(it, said)
		for _, h := range before {
			who := h.From.who()
			still := slices.ContainsFunc(d.Holders, func(now Holder) bool { return now.From.who() == who && now.Until.Equal(h.Until) })
			if entry, ok := held[said.Role][who]; ok && !still && h.Until.After(at) {
				ends[entry] = at
				delete(held[said.Role], who)
			}
		}
		if said.Action == message.RoleTake && slices.ContainsFunc(d.Holders, func(h Holder) bool { return h.From.who() == it.From.who() }) {
			held[said.Role][it.From.who()] = it.ID
		}
	})
	return ends
}

// Transfer says where a message stands in the record, by a message of a member.
type Transfer struct {
	By     Author
	At     time.Time // when that came here
	Record string
}

// Transfers returns what verified members said stands in the record, by message. What was said by a device that was cloned, or after its author
// was removed, releases nothing.
func (in *Inbox) Transfers(id GroupID) map[EntryID]Transfer {
	out := make(map[EntryID]Transfer)
	in.board(id, func(c *conversation) {
		contents(&c.boards, message.KindTransferred, func(it *Item, said *message.Transferred) {
			if !it.From.Verified {
				return
			}
			for _, entry := range said.Entries {
				if _, known := out[EntryID(entry)]; !known {
					out[EntryID(entry)] = Transfer{By: it.From, At: it.Received, Record: said.Record}
				}
			}
		})
	})
	return out
}

// Hold keeps everything of a conversation from being erased.
type Hold struct {
	Item    Item
	Content *message.Hold
	// End is the message that ended it, nil while it is in force.
	End *Item
}

// Holds returns the holds of a conversation, in order. Any member may place one; who placed it and who runs the group can end it. A hold is
// in force although its author was removed or withdrew it: it errs on the side of keeping.
func (in *Inbox) Holds(id GroupID) (out []Hold) {
	in.board(id, func(c *conversation) {
		for _, it := range c.boards.said[message.KindHold] {
			said, ok := it.Message.Content.(*message.Hold)
			if !ok {
				continue
			}
			out = append(out, c.hold(it, said))
		}
	})
	return out
}

func (c *conversation) hold(it Item, said *message.Hold) Hold {
	h := Hold{Item: it, Content: said}
	contents(&c.boards, message.KindHoldEnd, func(end *Item, said *message.HoldEnd) {
		if EntryID(said.Hold) == it.ID && h.End == nil && end.From.Verified && c.mayEnd(&it, end.From) {
			last := *end
			h.End = &last
		}
	})
	return h
}

// mayEnd reports whether somebody may end a hold: who placed it, and who runs the group or ever did.
func (c *conversation) mayEnd(hold *Item, who Author) bool {
	return samePerson(hold.From, who) || c.ran(who)
}

// Order is an order to erase messages, with those of them that it may name.
type Order struct {
	Item    Item
	Content *message.Erase
	Entries []EntryID
}

// Orders returns the orders to erase that count, in order: of verified members who run the group or ever did, and of authors for their own
// messages. What nobody erases by hand, decisions and the incident itself, no order names.
func (in *Inbox) Orders(id GroupID) (out []Order) {
	in.board(id, func(c *conversation) {
		contents(&c.boards, message.KindErase, func(it *Item, said *message.Erase) {
			o := Order{Item: *it, Content: said}
			for _, entry := range said.Entries {
				if to := in.said(c, EntryID(entry)); to != nil && it.From.Verified && c.mayOrder(to, it.From) {
					o.Entries = append(o.Entries, EntryID(entry))
				}
			}
			out = append(out, o)
		})
	})
	return out
}

// said is shown, of answers to call-outs too.
func (in *Inbox) said(c *conversation, id EntryID) *Item {
	if it := in.shown(c, id); it != nil {
		return it
	}
	answers := c.boards.said[message.KindCallOutAnswer]
	if i := slices.IndexFunc(answers, func(it Item) bool { return it.ID == id }); i >= 0 {
		return &answers[i]
	}
	return nil
}

// mayOrder reports whether somebody may order a message to be erased.
func (c *conversation) mayOrder(to *Item, who Author) bool {
	switch to.Message.Kind() {
	case message.KindDecision, message.KindIncident:
		return false
	}
	return samePerson(to.From, who) || c.ran(who)
}

func (in *Inbox) checkHoldEnd(c *conversation, s Saying, m *message.HoldEnd) error {
	it := in.shown(c, EntryID(m.Hold))
	if it == nil {
		return refuse("no such hold is in this conversation; look its id up")
	}
	content, ok := it.Message.Content.(*message.Hold)
	switch {
	case !ok:
		return refuse("that message is no hold")
	case c.hold(*it, content).End != nil:
		return refuse("the hold was ended already")
	case !s.Admin && !c.mayEnd(it, s.From):
		return refuse("only who placed a hold and who runs the group can end it")
	}
	return nil
}

func (in *Inbox) checkErase(c *conversation, s Saying, m *message.Erase) error {
	for _, entry := range m.Entries {
		it := in.said(c, EntryID(entry))
		switch {
		case it == nil:
			return refuse("no message %s is in this conversation; look its id up there", short(EntryID(entry)))
		case it.Message.Kind() == message.KindDecision:
			return refuse("message %s is an entry of the decision log, which goes with the whole incident only", short(it.ID))
		case it.Message.Kind() == message.KindIncident:
			return refuse("message %s says whether the incident is live or an exercise, and goes with the whole incident only", short(it.ID))
		case !s.Admin && !c.mayOrder(it, s.From):
			return refuse("message %s is somebody else's: only its author and who runs the group can order it to be erased", short(it.ID))
		}
	}
	return nil
}
