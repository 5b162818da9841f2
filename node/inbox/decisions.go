package inbox

import (
	"fmt"
	"time"

	"tocsin/node/message"
)

// Contemporaneous is how long after a decision its entry is made at the latest; a later one is kept, and says that it is late.
const Contemporaneous = 30 * time.Minute

// Decision is one entry of the decision log.
type Decision struct {
	// Number counts the entries of the log from 1 in their order. It can change while devices have not all synchronised; the
	// entry's id does not.
	Number  int
	Item    Item
	Content *message.Decision
	// Corrects is the number of the entry that this one corrects, CorrectedBy that of the last that corrects this one; 0 for none.
	Corrects, CorrectedBy int
	// After is the number of the entry that this one's device had as the last before it; 0 for none. Gap: it names one that is not
	// here: it has not come yet, or is gone.
	After int
	Gap   bool
	// Late: entered more than [Contemporaneous] after the decision.
	Late bool
	// Problems are what else the rules of a decision log say against the entry, for people. It is kept all the same.
	Problems []string
}

// Decisions returns the decision log of a conversation in its order. Nothing leaves it: what was corrected or retracted stays
// and says so.
func (in *Inbox) Decisions(id GroupID) (out []Decision) {
	numbers := make(map[EntryID]int)
	in.board(id, func(c *conversation) {
		contents(&c.boards, message.KindDecision, func(it *Item, content *message.Decision) {
			n := len(out) + 1
			d := Decision{Number: n, Item: in.fill(c, *it), Content: content, Corrects: numbers[EntryID(content.Corrects)], After: numbers[EntryID(content.After)]}
			if d.Corrects > 0 {
				out[d.Corrects-1].CorrectedBy = n
			}
			numbers[it.ID] = n
			out = append(out, d)
		})
	})
	for i := range out {
		d := &out[i]
		d.Gap = d.Content.After != (message.EntryID{}) && numbers[EntryID(d.Content.After)] == 0
		d.Late = d.Item.Sent.Sub(d.Content.At) > Contemporaneous
		d.Problems = d.problems()
	}
	return out
}

// problems are the rules that an entry breaks. Its author's device refuses to send one, so that somebody has got round it, or two
// parts of the mesh did not know of each other.
func (d *Decision) problems() (out []string) {
	said := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	switch {
	case d.Gap:
		said("the entry before it is not here: it has not arrived, or is gone")
	case d.After != d.Number-1:
		said("its device did not have the entry before it yet")
	}
	if d.Item.Sent.Before(d.Content.At.Add(-time.Minute)) {
		said("it was entered before the time that it gives for the decision")
	}
	if !d.Content.WrittenBy(d.Item.From.Person) {
		said("it was entered by %s, who is neither the decider nor the loggist", d.Item.From.Name)
	}
	if d.Content.Corrects != (message.EntryID{}) && d.Corrects == 0 {
		said("it corrects an entry that is not here before it")
	}
	if d.Item.Retracted != "" {
		said("its author would take it back (%s): the log keeps it", d.Item.Retracted)
	}
	if d.Item.Forked {
		said("its device signed another entry at the same place of its log")
	}
	if d.Item.AfterClosing {
		said("its device had gone on in another log by then")
	}
	return out
}

// LastDecision is the last entry of the log; zero for none. The next entry names it.
func (in *Inbox) LastDecision(id GroupID) (last EntryID) {
	in.board(id, func(c *conversation) {
		contents(&c.boards, message.KindDecision, func(it *Item, _ *message.Decision) { last = it.ID })
	})
	return last
}

// checkDecision holds the rules of the log before an entry is made: it is about something that has been decided, and is written by
// who decided or by the loggist.
func (in *Inbox) checkDecision(c *conversation, s Saying, m *message.Decision) error {
	if err := pointsAt[*message.Decision](in, c, EntryID(m.Corrects), "an earlier decision"); err != nil {
		return err
	}
	switch {
	case m.At.After(s.Now.Add(time.Minute)):
		return refuse("a decision is entered once it is made; the time of this one is still to come")
	case !m.WrittenBy(s.From.Person):
		return refuse("a decision is entered by who made it, or by the loggist: name yourself as one of them")
	}
	return nil
}
