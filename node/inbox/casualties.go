package inbox

import (
	"cmp"
	"slices"

	"tocsin/node/message"
)

// Casualty is one tag and what was last said of it.
type Casualty struct {
	Tag string
	// Now is the newest message about it, History all of them, the oldest first.
	Now     Item
	Content *message.Casualty
	History []Item
}

// CasualtyBoard is all tags of a conversation.
type CasualtyBoard struct {
	// Casualties stand by urgency, then by tag.
	Casualties []Casualty
	// Count is how many there are of each category.
	Count map[message.Triage]int
}

// Casualties returns the casualty board of a conversation. Retracted messages do not count.
func (in *Inbox) Casualties(id GroupID) CasualtyBoard {
	board := CasualtyBoard{Count: make(map[message.Triage]int)}
	byTag := make(map[string]*Casualty)
	in.board(id, func(c *conversation) {
		contents(&c.boards, message.KindCasualty, func(said *Item, content *message.Casualty) {
			it := in.fill(c, *said)
			if it.Retracted != "" {
				return
			}
			k := byTag[content.Tag]
			if k == nil {
				k = &Casualty{Tag: content.Tag}
				byTag[content.Tag] = k
			}
			k.Now, k.Content, k.History = it, content, append(k.History, it)
		})
	})
	for _, k := range byTag {
		board.Casualties = append(board.Casualties, *k)
		board.Count[k.Content.Triage]++
	}
	slices.SortFunc(board.Casualties, func(a, b Casualty) int {
		return cmp.Or(cmp.Compare(urgency(a.Content.Triage), urgency(b.Content.Triage)), cmp.Compare(a.Tag, b.Tag))
	})
	return board
}

func urgency(t message.Triage) int {
	return slices.Index([]message.Triage{message.P1, message.P2, message.P3, message.Deceased}, t)
}
