package inbox

import (
	"cmp"
	"slices"
	"time"

	"tocsin/node/message"
)

// Incident is the incident of a conversation.
type Incident struct {
	Name string
	// Mode is fixed by the message that made it.
	Mode  message.Mode
	State message.IncidentState
	By    Author
	Since time.Time
	// Steps are all messages that would move it, in order, also those that could not count.
	Steps []IncidentStep
}

// IncidentStep is one message that would move an incident on.
type IncidentStep struct {
	Item    Item
	Content *message.Incident
	Refused string // why it changed nothing, for people; empty if it counted
}

// Exercise reports whether everything said in the conversation belongs to an exercise.
func (i Incident) Exercise() bool { return i.Mode == message.Exercise }

// Incident returns the incident of a conversation; false if none was made there.
func (in *Inbox) Incident(id GroupID) (out Incident, ok bool) {
	in.board(id, func(c *conversation) { out, ok = c.incident() })
	return out, ok
}

func (c *conversation) incident() (out Incident, ok bool) {
	contents(&c.boards, message.KindIncident, func(it *Item, said *message.Incident) {
		step := IncidentStep{Item: *it, Content: said}
		switch {
		case out.State != "" && said.Mode != out.Mode:
			step.Refused = "live or exercise is fixed when an incident is made"
		case !out.State.May(said.State):
			step.Refused = "the incident cannot go there from where it stood"
		default:
			if out.State == "" {
				out.Name, out.Mode = said.Name, said.Mode
			}
			out.State, out.By, out.Since = said.State, it.From, it.Sent
		}
		out.Steps = append(out.Steps, step)
	})
	return out, out.State != ""
}

// Timeline returns everything that was said in a conversation but receipts and answers, in order.
func (in *Inbox) Timeline(id GroupID) []Item { return in.Messages(id, 0, 0) }

// Duty is an on-duty role and who holds it.
type Duty struct {
	Role string
	// Holders are usually one. Two who took the role without its being handed over, as in two partitions, both hold it, both get
	// what is sent to it, and the role is shown as contested until one gives it up.
	Holders []Holder
	// Offered is the person to whom it was handed over and who has not taken it yet.
	Offered string
}

// Holder is who holds a role.
type Holder struct {
	From         Author
	Since, Until time.Time
}

// Contested reports whether more than one person holds the role.
func (d Duty) Contested() bool { return len(d.Holders) > 1 }

// Duties returns the roles that are held at now in a conversation, by name.
func (in *Inbox) Duties(id GroupID, now time.Time) (out []Duty) {
	in.board(id, func(c *conversation) {
		for _, d := range c.duties(now) {
			if len(d.Holders) > 0 {
				out = append(out, *d)
			}
		}
	})
	slices.SortFunc(out, func(a, b Duty) int { return cmp.Compare(a.Role, b.Role) })
	return out
}

// duties works out all roles that were ever taken.
func (c *conversation) duties(now time.Time) map[string]*Duty {
	duties := make(map[string]*Duty)
	contents(&c.boards, message.KindRole, func(it *Item, said *message.Role) {
		d := duties[said.Role]
		if d == nil {
			d = &Duty{Role: said.Role}
			duties[said.Role] = d
		}
		d.expire(it.Sent)
		d.apply(*it, said)
	})
	for _, d := range duties {
		d.expire(now)
	}
	return duties
}

// duty is one role, held by nobody if it was never taken.
func (c *conversation) duty(role string, now time.Time) Duty {
	if d := c.duties(now)[role]; d != nil {
		return *d
	}
	return Duty{Role: role}
}

// apply takes one message about the role. What its author could not do changes nothing: giving up or handing over a role that
// is somebody else's.
func (d *Duty) apply(it Item, said *message.Role) {
	who := it.From.who()
	held := slices.IndexFunc(d.Holders, func(h Holder) bool { return h.From.who() == who })
	switch said.Action {
	case message.RoleTake:
		until := said.Until
		if longest := it.Sent.Add(message.MaxDuty); until.After(longest) {
			until = longest
		}
		if !until.After(it.Sent) {
			return
		}
		if d.Offered == who {
			d.Holders, d.Offered, held = nil, "", -1
		}
		if held >= 0 {
			d.Holders[held].Until = until
			return
		}
		d.Holders = append(d.Holders, Holder{it.From, it.Sent, until})
	case message.RoleHandOver:
		if held >= 0 {
			d.Offered, _ = message.PersonOf(said.To)
		}
	case message.RoleRelease:
		if held >= 0 {
			d.Holders = slices.Delete(d.Holders, held, held+1)
		}
	}
}

// expire ends what has run out at a time.
func (d *Duty) expire(now time.Time) {
	d.Holders = slices.DeleteFunc(d.Holders, func(h Holder) bool { return !h.Until.After(now) })
	if len(d.Holders) == 0 {
		d.Offered = ""
	}
}

// HolderOf returns the people who hold a role in a conversation at now.
func (in *Inbox) HolderOf(id GroupID, role string, now time.Time) (people []string) {
	for _, d := range in.Duties(id, now) {
		if d.Role == role {
			for _, h := range d.Holders {
				people = append(people, h.From.who())
			}
		}
	}
	return people
}
