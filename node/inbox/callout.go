package inbox

import (
	"cmp"
	"slices"
	"time"

	"tocsin/node/message"
)

// CallOut is a call-out and what has come of it. The numbers are of people: of a person who answered from two devices or twice, the
// newest answer counts.
type CallOut struct {
	Item    Item
	Content *message.CallOut
	// Closed is the message that said "enough", nil while the call-out is open. Answers after it are kept, and counted apart.
	Closed *Item
	// Coming are ordered by when they will be there, Later and Cannot by name.
	Coming, Later, Cannot []Answered
	// After is how many answered after it was closed; they are in none of the lists.
	After int
	// Silent is how many of the people who were asked have not answered.
	Silent int
	// Skills is who is coming by the skill they named, in the order of the call-out, "" for those who named none of them.
	Skills []SkillCount
}

// Answered is one person's answer.
type Answered struct {
	From  Author
	At    time.Time // sent
	There time.Time // when they will be there; zero for none said
	Skill string
}

// SkillCount is how many are coming with a skill.
type SkillCount struct {
	Skill  string
	Coming int
}

// CallOuts returns the call-outs of a conversation, the newest first.
func (in *Inbox) CallOuts(id GroupID) (out []CallOut) {
	in.board(id, func(c *conversation) {
		contents(&c.boards, message.KindCallOut, func(it *Item, content *message.CallOut) {
			out = append(out, c.tally(in.fill(c, *it), content))
		})
	})
	slices.Reverse(out)
	return out
}

// CallOut returns one call-out; false if the entry is none.
func (in *Inbox) CallOut(id EntryID) (out CallOut, ok bool) {
	in.mu.RLock()
	defer in.mu.RUnlock()
	at := in.seen[id]
	if !at.shown {
		return CallOut{}, false
	}
	c := in.conversations[at.group]
	it := c.items[c.find(id, at)]
	content, ok := it.Message.Content.(*message.CallOut)
	if !ok {
		return CallOut{}, false
	}
	return c.tally(in.fill(c, it), content), true
}

// tally counts the answers to one call-out.
func (c *conversation) tally(it Item, content *message.CallOut) CallOut {
	out := CallOut{Item: it, Content: content}
	contents(&c.boards, message.KindCallOutClose, func(closing *Item, said *message.CallOutClose) {
		if EntryID(said.CallOut) == it.ID && out.Closed == nil && before(it, *closing) < 0 {
			end := *closing
			out.Closed = &end
		}
	})
	newest, late := c.answers(it.ID, out.Closed)
	out.After = late
	for _, a := range newest {
		one := answered(a)
		switch a.Message.Content.(*message.CallOutAnswer).Answer {
		case message.AnswerComing:
			out.Coming = append(out.Coming, one)
		case message.AnswerLater:
			out.Later = append(out.Later, one)
		default:
			out.Cannot = append(out.Cannot, one)
		}
	}
	out.sort()
	out.Skills = skillsOf(content.Skills, out.Coming)
	out.Silent = c.silent(it.From, newest)
	return out
}

// answers returns the newest answer of each person before the closing, and how many people answered only after it.
func (c *conversation) answers(callOut EntryID, closed *Item) (map[string]*Item, int) {
	newest, late := make(map[string]*Item), make(map[string]bool)
	contents(&c.boards, message.KindCallOutAnswer, func(a *Item, said *message.CallOutAnswer) {
		switch who := a.From.who(); {
		case EntryID(said.CallOut) != callOut:
		case closed != nil && before(*a, *closed) > 0:
			late[who] = true
		default:
			newest[who] = a
		}
	})
	for who := range newest {
		delete(late, who)
	}
	return newest, len(late)
}

func answered(a *Item) Answered {
	said := a.Message.Content.(*message.CallOutAnswer)
	one := Answered{From: a.From, At: a.Sent, Skill: said.Skill}
	if said.ETA != nil {
		one.There = a.Sent.Add(time.Duration(*said.ETA) * time.Minute)
	}
	return one
}

func (out *CallOut) sort() {
	byName := func(a, b Answered) int {
		return cmp.Or(cmp.Compare(a.From.Name, b.From.Name), cmp.Compare(a.From.who(), b.From.who()))
	}
	slices.SortFunc(out.Coming, func(a, b Answered) int { return cmp.Or(a.There.Compare(b.There), byName(a, b)) })
	slices.SortFunc(out.Later, byName)
	slices.SortFunc(out.Cannot, byName)
}

func skillsOf(asked []string, coming []Answered) []SkillCount {
	count := make(map[string]int)
	for _, a := range coming {
		if slices.Contains(asked, a.Skill) {
			count[a.Skill]++
		} else {
			count[""]++
		}
	}
	var out []SkillCount
	for _, s := range asked {
		out = append(out, SkillCount{s, count[s]})
	}
	if count[""] > 0 {
		out = append(out, SkillCount{"", count[""]})
	}
	return out
}

// silent counts the people of the conversation, but who asked, who have not answered.
func (c *conversation) silent(asker Author, answered map[string]*Item) int {
	people := make(map[string]bool)
	for _, m := range c.group.Members {
		if who := m.who(); !samePerson(m, asker) && !m.out() {
			if _, ok := answered[who]; !ok {
				people[who] = true
			}
		}
	}
	return len(people)
}
