package inbox

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"tocsin/node/message"
)

// ErrRefused: what is to be said does not fit what stands. The text around it says why, and what to do.
var ErrRefused = errors.New("inbox: it does not fit what was said before")

// Saying is something about to be said.
type Saying struct {
	Group    GroupID
	From     Author
	Admin    bool // From runs the group
	Content  message.Content
	Priority string // routine, urgent or stat
	Now      time.Time
}

// Check reports why something cannot be said now: an answer to a call-out that is closed, a task moved backwards, a role given
// up that is not held. The sender's device asks before it seals; what two partitions said against each other is not refused but
// shown, by the boards. It errs on the side of saying: what this device has not heard of is refused, since it would point
// nowhere.
func (in *Inbox) Check(s Saying) error {
	in.mu.RLock()
	defer in.mu.RUnlock()
	c := in.conversations[s.Group]
	if c == nil {
		c = &conversation{}
	}
	switch m := s.Content.(type) {
	case *message.Receipt:
		return in.checkReceipt(c, m)
	case *message.CallOutAnswer:
		return in.checkOpen(c, EntryID(m.CallOut))
	case *message.CallOutClose:
		return in.checkOpen(c, EntryID(m.CallOut))
	case *message.TaskUpdate:
		return in.checkTask(c, s, m)
	case *message.Alert:
		if s.Priority != "stat" {
			return refuse("an alert is sent stat; send it with priority stat")
		}
	case *message.AlertCancel:
		return in.checkCancel(c, s, m)
	case *message.Escalation:
		return in.checkAlert(c, EntryID(m.Alert))
	case *message.Incident:
		return c.checkIncident(s, m)
	case *message.Role:
		return c.checkRole(s, m)
	case *message.Retract:
		return in.checkRetract(c, s, m)
	case *message.METHANE:
		return pointsAt[*message.METHANE](in, c, EntryID(m.Supersedes), "an earlier M/ETHANE report")
	case *message.Decision:
		return in.checkDecision(c, s, m)
	case *message.HoldEnd:
		return in.checkHoldEnd(c, s, m)
	case *message.Erase:
		return in.checkErase(c, s, m)
	}
	return nil
}

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

// shown returns a message of the conversation by its id, nil if it is not shown there.
func (in *Inbox) shown(c *conversation, id EntryID) *Item {
	at := in.seen[id]
	if !at.shown || at.group != c.group.ID {
		return nil
	}
	return &c.items[c.find(id, at)]
}

// pointsAt checks that a content points at one of its kind, or at nothing.
func pointsAt[C message.Content](in *Inbox, c *conversation, id EntryID, what string) error {
	if id == (EntryID{}) {
		return nil
	}
	if it := in.shown(c, id); it != nil {
		if _, ok := it.Message.Content.(C); ok {
			return nil
		}
	}
	return refuse("it points at a message that is not %s of this conversation; look its id up in the conversation", what)
}

func (in *Inbox) checkReceipt(c *conversation, m *message.Receipt) error {
	if m.State != message.Acknowledged {
		return nil // made by the device, for what it holds
	}
	for _, id := range m.Entries {
		if in.shown(c, EntryID(id)) == nil {
			return refuse("no message %s is in this conversation; look its id up there", short(EntryID(id)))
		}
	}
	return nil
}

func (in *Inbox) checkOpen(c *conversation, id EntryID) error {
	it := in.shown(c, id)
	if it == nil {
		return refuse("no such call-out is in this conversation; wait until it has arrived, or look its id up")
	}
	content, ok := it.Message.Content.(*message.CallOut)
	if !ok {
		return refuse("that message is no call-out")
	}
	if out := c.tally(*it, content); out.Closed != nil {
		return refuse("the call-out was closed by %s: enough are coming, please stand by", out.Closed.From.Name)
	}
	return nil
}

func (in *Inbox) checkTask(c *conversation, s Saying, m *message.TaskUpdate) error {
	it := in.shown(c, EntryID(m.Task))
	if it == nil {
		return refuse("no such task is in this conversation; wait until it has arrived, or look its id up")
	}
	content, ok := it.Message.Content.(*message.Task)
	if !ok {
		return refuse("that message is no task")
	}
	if t := c.task(*it, content); !t.State.May(m.State) {
		return refuse("the task is %s already, and cannot become %s", strings.ToLower(t.State.Words()), strings.ToLower(m.State.Words()))
	}
	if !c.addressed(content.To, s.From, s.Now, nil) && !samePerson(it.From, s.From) {
		return refuse("the task is for %s; only they and who asked can move it on", c.wordsFor(content.To))
	}
	return nil
}

// addressed reports whether an address means somebody: their person, or a role that they hold by what was said before an item.
func (c *conversation) addressed(to string, who Author, now time.Time, by *Item) bool {
	if person, ok := message.PersonOf(to); ok {
		return person == who.Person
	}
	role, _ := message.RoleOf(to)
	for _, h := range c.duty(role, now, by).Holders {
		if samePerson(h.From, who) {
			return true
		}
	}
	return false
}

// wordsFor is an address as people read it: a person by name where a member has it.
func (c *conversation) wordsFor(to string) string {
	if person, ok := message.PersonOf(to); ok {
		for _, m := range c.group.Members {
			if m.Person == person && m.Name != "" {
				return m.Name
			}
		}
		return person
	}
	role, _ := message.RoleOf(to)
	return "the " + message.RoleName(role)
}

func (in *Inbox) checkAlert(c *conversation, id EntryID) error {
	it := in.shown(c, id)
	if it == nil {
		return refuse("no such alert is in this conversation; look its id up")
	}
	content, ok := it.Message.Content.(*message.Alert)
	if !ok {
		return refuse("that message is no alert")
	}
	if a := c.alert(in.fill(c, *it), content); !a.Sounds() {
		return refuse("the alert has ended already")
	}
	return nil
}

func (in *Inbox) checkCancel(c *conversation, s Saying, m *message.AlertCancel) error {
	if err := in.checkAlert(c, EntryID(m.Alert)); err != nil {
		return err
	}
	if !s.Admin && !c.mayCancel(in.shown(c, EntryID(m.Alert)).From, s.From) {
		return refuse("only who raised an alert and who runs the group can cancel it; acknowledge it instead")
	}
	return nil
}

func (c *conversation) checkIncident(s Saying, m *message.Incident) error {
	now, made := c.incident()
	switch {
	case c.group.Kind != "incident":
		return refuse("an incident is declared in a group of kind incident; make one first")
	case !s.Admin:
		return refuse("only who runs the incident's group can move the incident on")
	case len(m.Overrules) > 0:
		return c.checkSettling(s, m)
	case made && m.Mode != now.Mode:
		return refuse("the incident is %s, and that is fixed", map[bool]string{true: "an exercise", false: "live"}[now.Exercise()])
	case !now.State.May(m.State):
		return refuse("an incident goes from standby to declared to stand-down, or is cancelled; it is %s now", incidentWords(now.State))
	}
	return nil
}

func incidentWords(s message.IncidentState) string {
	if s == "" {
		return "not made"
	}
	return string(s)
}

func (c *conversation) checkRole(s Saying, m *message.Role) error {
	d := c.duty(m.Role, s.Now, nil)
	holds := false
	for _, h := range d.Holders {
		holds = holds || samePerson(h.From, s.From)
	}
	switch {
	case m.Action != message.RoleTake && !holds:
		return refuse("you do not hold the role of %s", message.RoleName(m.Role))
	case m.Action == message.RoleTake && len(d.Holders) > 0 && !holds && d.Offered != s.From.Person:
		h := d.Holders[0]
		return refuse("%s is %s until %s; ask for the role to be handed over", h.From.Name, message.RoleName(m.Role), h.Until.UTC().Format("2 Jan 15:04 UTC"))
	case m.Action == message.RoleTake && !m.Until.After(s.Now):
		return refuse("a duty that ends in the past is none; say when yours ends")
	case m.Action == message.RoleTake && m.Until.After(s.Now.Add(message.MaxDuty)):
		return refuse("a role is taken for %d hours at most; take it again then", int(message.MaxDuty.Hours()))
	}
	return nil
}

func (in *Inbox) checkRetract(c *conversation, s Saying, m *message.Retract) error {
	it := in.shown(c, EntryID(m.Entry))
	switch {
	case it == nil:
		return refuse("no such message is in this conversation; look its id up")
	case !samePerson(it.From, s.From):
		return refuse("only its author can retract a message")
	case it.Message.Kind() == message.KindDecision:
		return refuse("an entry of the decision log is not retracted; correct it with a new one that points at it")
	case it.Message.Kind() == message.KindIncident:
		return refuse("an incident is not retracted; stand it down or cancel it")
	case it.Message.Kind() == message.KindHold:
		return refuse("a hold is not retracted; end it")
	}
	return nil
}
