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
	// Mode is fixed by the message that made it, or settled where people said both.
	Mode  message.Mode
	State message.IncidentState
	// Contested: people who may make the incident say both that it is live and that it is an exercise, as two partitions can, or a clock that was set
	// back, and nobody has settled which it is. Whatever must not be mistaken, such as the record, takes it for neither.
	Contested bool
	// Settled is the message that settled which it is, nil for none.
	Settled *Item
	By      Author
	Since   time.Time
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

// Over reports whether the incident has come to its end.
func (i Incident) Over() bool {
	return i.State == message.IncidentStoodDown || i.State == message.IncidentCancelled
}

// Begun reports whether there is something to do for whoever has an action card.
func (i Incident) Begun() bool {
	return i.State == message.IncidentStandby || i.State == message.IncidentDeclared
}

// settle works out what the incident says of the whole conversation.
func (c *conversation) settle() {
	i, made := c.incident()
	c.exercise, c.over = made && i.Exercise(), made && i.Over()
}

// Exercises is how many conversations are of an exercise that is not over.
func (in *Inbox) Exercises() (count int) {
	in.mu.RLock()
	defer in.mu.RUnlock()
	for _, c := range in.conversations {
		if c.exercise && !c.over {
			count++
		}
	}
	return count
}

// ran reports whether a device runs the group or ever did.
func (c *conversation) ran(a Author) bool {
	return c.runs(a) || slices.Contains(c.group.Ran, a.device()) || slices.Contains(c.group.Ran, a.Log)
}

// Incident returns the incident of a conversation; false if none was made there.
func (in *Inbox) Incident(id GroupID) (out Incident, ok bool) {
	in.board(id, func(c *conversation) {
		out, ok = c.incident()
		for i := range out.Steps {
			out.Steps[i].Item = in.fill(c, out.Steps[i].Item)
		}
		if out.Settled != nil {
			*out.Settled = in.fill(c, *out.Settled)
		}
	})
	return out, ok
}

// Duty is an on-duty role and who holds it.
type Duty struct {
	Role string
	// Holders are usually one. Two who took the role without its being handed over, as in two partitions, both hold it, both get
	// what is sent to it, and the role is shown as contested until one gives it up.
	Holders []Holder
	// Offered is the person to whom it was handed over and who has not taken it yet.
	Offered string

	offers []offer
}

// Holder is who holds a role.
type Holder struct {
	From         Author
	Since, Until time.Time
}

// offer is a hand-over that was not taken yet.
type offer struct {
	by string // who holds the role until then
	to string
}

// Contested reports whether more than one person holds the role.
func (d Duty) Contested() bool { return len(d.Holders) > 1 }

// Duties returns the roles that are held at now in a conversation, by name.
func (in *Inbox) Duties(id GroupID, now time.Time) (out []Duty) {
	in.board(id, func(c *conversation) {
		for _, d := range c.duties(now, nil) {
			if len(d.Holders) > 0 {
				out = append(out, *d)
			}
		}
	})
	slices.SortFunc(out, func(a, b Duty) int { return cmp.Compare(a.Role, b.Role) })
	return out
}

// duties works out all roles that were ever taken, by what was said before an item; nil is by everything.
func (c *conversation) duties(now time.Time, by *Item) map[string]*Duty {
	duties := make(map[string]*Duty)
	contents(&c.boards, message.KindRole, func(it *Item, said *message.Role) {
		if by != nil && before(*it, *by) > 0 {
			return
		}
		d := duties[said.Role]
		if d == nil {
			d = &Duty{Role: said.Role}
			duties[said.Role] = d
		}
		d.apply(it, said)
	})
	for _, d := range duties {
		d.settle(now)
	}
	return duties
}

// duty is one of duties, held by nobody if it was never taken.
func (c *conversation) duty(role string, now time.Time, by *Item) Duty {
	if d := c.duties(now, by)[role]; d != nil {
		return *d
	}
	return Duty{Role: role}
}

// saidAt is when a message was said: by its sender's clock, which may be ahead, but not after it came here.
func saidAt(it *Item) time.Time {
	if it.Sent.After(it.Received) {
		return it.Received
	}
	return it.Sent
}

// apply takes one message about the role. What its author could not do changes nothing: giving up or handing over a role that
// is somebody else's. Nobody's clock ends another's duty.
func (d *Duty) apply(it *Item, said *message.Role) {
	who, at := it.From.who(), saidAt(it)
	held := slices.IndexFunc(d.Holders, func(h Holder) bool { return h.From.who() == who && h.Until.After(at) })
	switch {
	case said.Action == message.RoleTake:
		d.take(it.From, at, said.Until)
	case held < 0:
	case said.Action == message.RoleHandOver:
		to, _ := message.PersonOf(said.To)
		d.withdraw(who)
		d.offers = append(d.offers, offer{who, to})
	default:
		d.leave(who)
	}
}

// take makes somebody a holder, in the place of those who handed the role over to them.
func (d *Duty) take(from Author, at, until time.Time) {
	who := from.who()
	if longest := at.Add(message.MaxDuty); until.After(longest) {
		until = longest
	}
	if !until.After(at) {
		return
	}
	for _, o := range slices.Clone(d.offers) {
		if o.to == who && o.by != who {
			d.leave(o.by)
		}
	}
	since := at
	for _, h := range d.Holders {
		if h.From.who() == who && h.Until.After(at) {
			since = h.Since
		}
	}
	d.leave(who)
	d.Holders = append(d.Holders, Holder{from, since, until})
}

// leave takes a holder out, and what he had offered back.
func (d *Duty) leave(who string) {
	d.Holders = slices.DeleteFunc(d.Holders, func(h Holder) bool { return h.From.who() == who })
	d.withdraw(who)
}

func (d *Duty) withdraw(who string) {
	d.offers = slices.DeleteFunc(d.offers, func(o offer) bool { return o.by == who })
}

// settle leaves out whose duty has ended at a time, and says to whom the role is offered.
func (d *Duty) settle(now time.Time) {
	for _, h := range slices.Clone(d.Holders) {
		if !h.Until.After(now) {
			d.leave(h.From.who())
		}
	}
	if n := len(d.offers); n > 0 {
		d.Offered = d.offers[n-1].to
	}
}
