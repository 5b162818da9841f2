package inbox

import (
	"cmp"
	"slices"
	"time"

	"tocsin/node/message"
)

// TimelineEvent is one thing that happened in an incident.
type TimelineEvent struct {
	// At is when it happened: of a decision the time that its entry gives, of everything else when it was said. Entered is when it was
	// written into a log, by its author's clock.
	At, Entered time.Time
	Late        bool // entered more than [Contemporaneous] after it happened
	Item        Item
	// Refused is why it changed nothing of what stands, for people; empty if it counted.
	Refused string
}

// Timeline returns what happened in a conversation, the earliest first, by when it happened. Texts and files are left out unless all
// are asked for. What was retracted, replaced or refused stays and says so.
func (in *Inbox) Timeline(id GroupID, all bool) (out []TimelineEvent) {
	in.board(id, func(c *conversation) {
		refused := c.refused(in)
		for _, it := range c.items {
			if k := it.Message.Kind(); !all && (k == message.KindText || k == message.KindAttachment) {
				continue
			}
			e := TimelineEvent{At: it.Sent, Entered: it.Sent, Item: in.fill(c, it), Refused: refused[it.ID]}
			if d, ok := it.Message.Content.(*message.Decision); ok {
				e.At = d.At
			}
			e.Late = e.Entered.Sub(e.At) > Contemporaneous
			out = append(out, e)
		}
	})
	slices.SortStableFunc(out, func(a, b TimelineEvent) int { return cmp.Or(a.At.Compare(b.At), before(a.Item, b.Item)) })
	return out
}

// refused says of the messages that changed nothing why they did not.
func (c *conversation) refused(in *Inbox) map[EntryID]string {
	why := make(map[EntryID]string)
	incident, _ := c.incident()
	for _, s := range incident.Steps {
		if s.Refused != "" {
			why[s.Item.ID] = s.Refused
		}
	}
	contents(&c.boards, message.KindTask, func(it *Item, content *message.Task) {
		for _, s := range c.task(in.fill(c, *it), content).Steps {
			if s.Refused != "" {
				why[s.Item.ID] = s.Refused
			}
		}
	})
	return why
}

// Reports returns the M/ETHANE reports of a conversation: those that stand first, the newest first among each.
func (in *Inbox) Reports(id GroupID) (out []Item) {
	in.board(id, func(c *conversation) {
		contents(&c.boards, message.KindMETHANE, func(it *Item, _ *message.METHANE) { out = append(out, in.fill(c, *it)) })
	})
	slices.Reverse(out)
	rank := func(it Item) int {
		if it.ReplacedBy == (EntryID{}) && it.Retracted == "" {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(out, func(a, b Item) int { return cmp.Compare(rank(a), rank(b)) })
	return out
}
