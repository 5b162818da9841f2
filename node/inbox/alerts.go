package inbox

import (
	"cmp"
	"slices"
	"time"

	"tocsin/node/message"
)

// Alert is an alert and what has come of it.
type Alert struct {
	Item    Item
	Content *message.Alert
	// Called are the addresses of Content.To that it has called so far.
	Called []string
	// Acknowledged are the devices whose readers have acknowledged it.
	Acknowledged []string
	// Cancelled is the message that ended it, nil for none.
	Cancelled *Item
	// Escalates is when the next of the list is called if nobody acknowledges, by this device's clock; zero where nobody is left
	// to call or nothing is to be done.
	Escalates time.Time
}

// Sounds reports whether the alert still calls: nobody has acknowledged it, and it was neither cancelled nor retracted.
func (a Alert) Sounds() bool {
	return len(a.Acknowledged) == 0 && a.Cancelled == nil && a.Item.Retracted == ""
}

// Alerts returns the alerts of a conversation: those that sound first, the newest first among each.
func (in *Inbox) Alerts(id GroupID) (out []Alert) {
	in.board(id, func(c *conversation) {
		contents(&c.boards, message.KindAlert, func(it *Item, content *message.Alert) {
			out = append(out, c.alert(in.fill(c, *it), content))
		})
	})
	slices.Reverse(out)
	slices.SortStableFunc(out, func(a, b Alert) int { return cmp.Compare(silence(a), silence(b)) })
	return out
}

func silence(a Alert) int {
	if a.Sounds() {
		return 0
	}
	return 1
}

// mayCancel reports whether somebody may cancel an alert: who raised it, and who runs the group.
func (c *conversation) mayCancel(raised, cancels Author) bool {
	return samePerson(raised, cancels) || c.runs(cancels)
}

// runs reports whether a device runs the group, as its operations say now.
func (c *conversation) runs(a Author) bool {
	return slices.ContainsFunc(c.group.Members, func(m Author) bool { return m.Admin && m.device() == a.device() })
}

// alert works one alert out. Escalations that several devices raised at once say the same step and count once; a step is
// counted from when this device got the one before, so that no clock but its own decides when the next is due.
func (c *conversation) alert(it Item, content *message.Alert) Alert {
	a := Alert{Item: it, Content: content, Acknowledged: it.Acknowledged}
	contents(&c.boards, message.KindAlertCancel, func(end *Item, said *message.AlertCancel) {
		if EntryID(said.Alert) == it.ID && a.Cancelled == nil && before(it, *end) < 0 && c.mayCancel(it.From, end.From) {
			last := *end
			a.Cancelled = &last
		}
	})
	step, since := 0, it.Received
	contents(&c.boards, message.KindEscalation, func(e *Item, said *message.Escalation) {
		if EntryID(said.Alert) == it.ID && *said.Step > step && *said.Step < len(content.To) {
			step, since = *said.Step, e.Received
		}
	})
	a.Called = content.To[:step+1]
	if a.Sounds() && step+1 < len(content.To) {
		a.Escalates = since.Add(time.Duration(content.Minutes()) * time.Minute)
	}
	return a
}

// Escalation is the next step of an alert that nobody has acknowledged.
type Escalation struct {
	Group GroupID
	// Members are the logs of the group's devices, any of which may raise it.
	Members []string
	Content message.Escalation
	At      time.Time // from when on, by this device's clock
}

// Escalations returns the next step of every alert that sounds and has somebody left to call, the earliest first.
func (in *Inbox) Escalations() (out []Escalation) {
	in.mu.RLock()
	defer in.mu.RUnlock()
	for id, c := range in.conversations {
		contents(&c.boards, message.KindAlert, func(it *Item, content *message.Alert) {
			a := c.alert(in.fill(c, *it), content)
			if a.Escalates.IsZero() {
				return
			}
			step := len(a.Called)
			e := Escalation{Group: id, At: a.Escalates, Content: message.Escalation{Alert: message.EntryID(it.ID), Step: &step}}
			for _, m := range c.group.Members {
				e.Members = append(e.Members, m.device())
			}
			out = append(out, e)
		})
	}
	slices.SortFunc(out, func(a, b Escalation) int {
		return cmp.Or(a.At.Compare(b.At), slices.Compare(a.Content.Alert[:], b.Content.Alert[:]))
	})
	return out
}
