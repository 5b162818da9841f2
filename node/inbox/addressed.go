package inbox

import (
	"slices"
	"strings"
	"time"

	"tocsin/node/message"
)

// A message can be for a role. Everybody in the conversation reads it; it calls whoever holds the role when it is said, and who takes
// the role after that, for as long as none of those whom it has called has read it.

// Addressee is one address of a message.
type Addressee struct {
	// Address is as the message has it, "role:…" or "person:…"; Role the role that it names, empty for a person.
	Address, Role string
	// Words name it for people: the role, or the person's name where a member has it.
	Words string
	// Holders are who gets the message by the address, in the order in which they came to; devices of one person are one.
	Holders []Author
	// Vacant: nobody holds the role at the time that was asked for ([Inbox.Vacancies]); of a person, nobody in the conversation is it.
	Vacant bool
	// Me: this device's reader is among the holders, and has not said it.
	Me bool
}

// SetReader says whose device this is, "org/regulator/number".
func (in *Inbox) SetReader(person string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.reader = person
}

// addressed reports whether a message can name whom it is for.
func addressed(it *Item) bool {
	switch it.Message.Kind() {
	case message.KindTask, message.KindAlert, message.KindEscalation:
		return true
	}
	return len(it.Message.For) > 0
}

// noteReading keeps when somebody has read what is addressed, or has not come yet.
func (in *Inbox) noteReading(c *conversation, key receiptKey, receipt *Item) {
	if at, known := in.seen[key.entry]; known && (!at.shown || at.group != key.group || !addressed(&c.items[c.find(key.entry, at)])) {
		return
	}
	who := receipt.From.who()
	if in.readings[key] == nil {
		in.readings[key] = make(map[string]uint64, 1)
	}
	if was, ok := in.readings[key][who]; !ok || receipt.HLC < was {
		in.readings[key][who] = receipt.HLC
	}
}

// address fills in whom a message is for.
func (in *Inbox) address(c *conversation, it *Item) {
	if !addressed(it) {
		return
	}
	for _, to := range in.addresses(c, it) {
		a := Addressee{Address: to, Words: strings.TrimPrefix(c.wordsFor(to), "the ")}
		if role, ok := message.RoleOf(to); ok {
			a.Role, a.Holders = role, in.heldBy(c, it, role)
		} else if person, ok := message.PersonOf(to); ok {
			i := slices.IndexFunc(c.group.Members, func(m Author) bool { return m.Person == person })
			if i >= 0 {
				a.Holders = c.group.Members[i : i+1 : i+1]
			}
		}
		a.Vacant = len(a.Holders) == 0
		a.Me = in.reader != "" && it.From.Person != in.reader &&
			slices.ContainsFunc(a.Holders, func(h Author) bool { return h.Person == in.reader })
		it.For, it.ForMe = append(it.For, a), it.ForMe || a.Me
	}
}

// addresses are whom a message calls by now.
func (in *Inbox) addresses(c *conversation, it *Item) []string {
	switch m := it.Message.Content.(type) {
	case *message.Task:
		return []string{m.To}
	case *message.Alert:
		return c.alert(*it, m).Called
	case *message.Escalation:
		if raised := in.shown(c, EntryID(m.Alert)); raised != nil {
			if a, ok := raised.Message.Content.(*message.Alert); ok && *m.Step < len(a.To) {
				return a.To[*m.Step : *m.Step+1]
			}
		}
		return nil
	}
	return it.Message.For
}

// heldBy returns who gets a message by a role: its holders when the message was said, and each who takes the role later unless one of
// those before had read the message by then.
func (in *Inbox) heldBy(c *conversation, it *Item, role string) (got []Author) {
	d := Duty{Role: role}
	said := false
	say := func() {
		said = true
		held := Duty{Holders: slices.Clone(d.Holders), offers: slices.Clone(d.offers)}
		held.settle(saidAt(it))
		for _, h := range held.Holders {
			got = append(got, h.From)
		}
	}
	contents(&c.boards, message.KindRole, func(r *Item, m *message.Role) {
		if m.Role != role {
			return
		}
		if !said && before(*it, *r) < 0 {
			say()
		}
		d.apply(r, m)
		same := func(a Author) bool { return a.who() == r.From.who() }
		takes := m.Action == message.RoleTake && slices.ContainsFunc(d.Holders, func(h Holder) bool { return same(h.From) })
		if said && takes && !slices.ContainsFunc(got, same) && !in.readBy(it, got, r.HLC) {
			got = append(got, r.From)
		}
	})
	if !said {
		say()
	}
	return got
}

// readBy reports whether one of some people had read a message before a time of the hybrid clock.
func (in *Inbox) readBy(it *Item, people []Author, hlc uint64) bool {
	readings := in.readings[receiptKey{it.Group, it.ID}]
	return slices.ContainsFunc(people, func(a Author) bool {
		at, read := readings[a.who()]
		return read && at < hlc
	})
}

// Vacancies says of each addressee of messages whether the role is held at now by anybody.
func (in *Inbox) Vacancies(items []Item, now time.Time) {
	in.mu.RLock()
	defer in.mu.RUnlock()
	for i := range items {
		c := in.conversations[items[i].Group]
		for j := range items[i].For {
			if a := &items[i].For[j]; a.Role != "" && c != nil {
				a.Vacant = len(c.duty(a.Role, now, nil).Holders) == 0
			}
		}
	}
}

// Unheld returns those of some addresses that call nobody in a conversation at now: roles that nobody holds, and people who are not in it.
func (in *Inbox) Unheld(id GroupID, addresses []string, now time.Time) (out []string) {
	in.board(id, func(c *conversation) {
		for _, to := range addresses {
			role, isRole := message.RoleOf(to)
			person, _ := message.PersonOf(to)
			held := isRole && len(c.duty(role, now, nil).Holders) > 0 ||
				!isRole && slices.ContainsFunc(c.group.Members, func(m Author) bool { return m.Person == person })
			if !held {
				out = append(out, to)
			}
		}
	})
	return out
}

// settled reports whether a message calls nobody any more, whoever has read it: it was taken back or acknowledged, its alert sounds no
// more, or its task is done. In a large group that is all that other devices are told.
func (in *Inbox) settled(c *conversation, it *Item) bool {
	if it.Retracted != "" || len(it.Acknowledged) > 0 {
		return true
	}
	switch m := it.Message.Content.(type) {
	case *message.Alert:
		return !c.alert(*it, m).Sounds()
	case *message.Escalation:
		if raised := in.shown(c, EntryID(m.Alert)); raised != nil {
			alert := in.fill(c, *raised)
			if a, ok := alert.Message.Content.(*message.Alert); ok {
				return !c.alert(alert, a).Sounds()
			}
		}
	case *message.Task:
		return !c.task(*it, m).Open()
	}
	return false
}

// calls are the unread messages of a conversation that are for the reader by a role.
func (in *Inbox) calls(c *conversation, role string) (out []EntryID) {
	for i := range c.items {
		if !addressed(&c.items[i]) || in.readHere(c.items[i]) {
			continue
		}
		it := in.fill(c, c.items[i])
		if it.ForMe && !in.settled(c, &it) && slices.ContainsFunc(it.For, func(a Addressee) bool { return a.Role == role }) {
			out = append(out, it.ID)
		}
	}
	return out
}

// Calls returns the messages of a conversation that are for this device's reader and unread, in the order of the conversation.
func (in *Inbox) Calls(id GroupID) (out []Item) {
	in.board(id, func(c *conversation) {
		for i := range c.items {
			if !addressed(&c.items[i]) || in.readHere(c.items[i]) {
				continue
			}
			if it := in.fill(c, c.items[i]); it.ForMe && !in.settled(c, &it) {
				out = append(out, it)
			}
		}
	})
	return out
}
