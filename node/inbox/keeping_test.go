package inbox

import (
	"errors"
	"slices"
	"testing"
	"time"

	"tocsin/node/message"
)

// verified says something as somebody whose credential counted.
func (b *board) verified(who string, c message.Content, mark ...func(*Item)) Item {
	b.n++
	at := epoch.Add(time.Duration(b.n) * time.Minute)
	it := Item{ID: nid(b.n), Group: b.group, HLC: uint64(b.n), From: person(who), Sent: at, Received: at, Priority: "routine",
		Message: message.Message{Sent: at, Content: c}}
	it.From.Verified = true
	for _, m := range mark {
		m(&it)
	}
	b.in.Apply(it)
	return it
}

func removed(it *Item) { it.Removed = true }
func cloned(it *Item)  { it.Forked = true }

func hold() *message.Hold { return &message.Hold{Basis: message.HoldLegal, Reason: "claim"} }

func TestHolds(t *testing.T) {
	b := newBoard("amal", "ben", "cara")
	h := b.verified("ben", hold())
	end := func(who string, mark ...func(*Item)) Item {
		return b.verified(who, &message.HoldEnd{Hold: id(h), Reason: "settled"}, mark...)
	}
	inForce := func() bool { return b.in.Holds(b.group)[0].End == nil }
	end("cara")
	b.says("amal", &message.HoldEnd{Hold: id(h), Reason: "not verified"})
	end("amal", removed)
	end("amal", cloned)
	b.verified("ben", &message.Retract{Entry: id(h), Reason: "a retraction ends nothing"})
	if !inForce() {
		t.Fatal("somebody ended a hold who may not")
	}
	ended := end("amal")
	if hs := b.in.Holds(b.group); len(hs) != 1 || hs[0].End == nil || hs[0].End.ID != ended.ID {
		t.Errorf("who runs the group cannot end it: %+v", hs)
	}
	b.verified("dan", hold(), removed)
	if hs := b.in.Holds(b.group); len(hs) != 2 || hs[1].End != nil {
		t.Error("a hold of somebody who was removed keeps nothing")
	}
}

func TestKeepingIsChecked(t *testing.T) {
	b := newBoard("amal", "ben", "cara")
	text := b.verified("ben", &message.Text{Body: "x"})
	decided := b.verified("ben", &message.Decision{Decision: "x", Rationale: "x", Decider: "person:nhs.example/gmc/ben", Options: []string{"x"}, At: epoch})
	h := b.verified("ben", hold())
	says := func(who string, c message.Content) error {
		return b.in.Check(Saying{Group: b.group, From: person(who), Admin: who == "amal", Content: c, Priority: "routine", Now: epoch})
	}
	for _, c := range []struct {
		why string
		who string
		say message.Content
		ok  bool
	}{
		{"another's hold", "cara", &message.HoldEnd{Hold: id(h), Reason: "x"}, false},
		{"one's own hold", "ben", &message.HoldEnd{Hold: id(h), Reason: "x"}, true},
		{"a hold, by who runs the group", "amal", &message.HoldEnd{Hold: id(h), Reason: "x"}, true},
		{"a hold that is none", "amal", &message.HoldEnd{Hold: id(text), Reason: "x"}, false},
		{"retracting a hold", "ben", &message.Retract{Entry: id(h), Reason: "x"}, false},
		{"erasing another's message", "cara", &message.Erase{Entries: []message.EntryID{id(text)}, Reason: "x"}, false},
		{"erasing one's own", "ben", &message.Erase{Entries: []message.EntryID{id(text)}, Reason: "x"}, true},
		{"erasing as who runs the group", "amal", &message.Erase{Entries: []message.EntryID{id(text)}, Reason: "x"}, true},
		{"erasing what is not here", "amal", &message.Erase{Entries: []message.EntryID{{9}}, Reason: "x"}, false},
		{"erasing a decision", "amal", &message.Erase{Entries: []message.EntryID{id(decided)}, Reason: "x"}, false},
	} {
		if err := says(c.who, c.say); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", c.why, err)
		}
	}
}

// An order counts on every device only if its author could give it, whatever the author's own device let through.
func TestOrdersCountByRight(t *testing.T) {
	b := newBoard("amal", "ben", "cara")
	text := b.verified("ben", &message.Text{Body: "x"})
	inc := b.verified("amal", &message.Incident{Name: "x", Mode: message.Live, State: message.IncidentDeclared})
	order := func(who string, mark ...func(*Item)) []EntryID {
		it := b.verified(who, &message.Erase{Entries: []message.EntryID{id(text), id(inc)}, Reason: "x"}, mark...)
		for _, o := range b.in.Orders(b.group) {
			if o.Item.ID == it.ID {
				return o.Entries
			}
		}
		return nil
	}
	for why, got := range map[string][]EntryID{"a member": order("cara"), "somebody removed": order("amal", removed), "a clone": order("amal", cloned)} {
		if len(got) > 0 {
			t.Errorf("%s ordered %d messages to be erased", why, len(got))
		}
	}
	for _, who := range []string{"amal", "ben"} {
		if got := order(who); !slices.Equal(got, []EntryID{text.ID}) {
			t.Errorf("%s could order %d messages to be erased", who, len(got))
		}
	}
}

func TestTransfers(t *testing.T) {
	b := newBoard("amal", "ben")
	a, c, d, e := b.verified("ben", &message.Text{Body: "a"}), b.verified("ben", &message.Text{Body: "c"}), b.verified("ben", &message.Text{Body: "d"}), b.verified("ben", &message.Text{Body: "e"})
	said := func(it Item) *message.Transferred {
		return &message.Transferred{Entries: []message.EntryID{id(it)}, Record: "https://record.example", Receipt: "Communication/1"}
	}
	b.verified("amal", said(a))
	b.says("amal", said(c)) // whose credential did not count
	b.verified("amal", said(d), cloned)
	slip := b.verified("amal", said(e))
	b.verified("amal", &message.Retract{Entry: id(slip), Reason: "the record lost it"})
	got := b.in.Transfers(b.group)
	if len(got) != 1 || got[a.ID].By.Name != "amal" || got[a.ID].Record != "https://record.example" {
		t.Errorf("in the record are %v", got)
	}
}

func TestStandings(t *testing.T) {
	b := newBoard("amal", "ben")
	until := epoch.Add(20 * time.Hour)
	text := b.verified("ben", &message.Text{Body: "a"})
	gone := b.verified("ben", &message.Retract{Entry: id(text), Reason: "slip"})
	task := b.verified("amal", &message.Task{What: "x", To: "person:nhs.example/gmc/ben"})
	b.verified("ben", &message.TaskUpdate{Task: id(task), State: message.TaskDone})
	call := b.verified("amal", &message.CallOut{Question: "x", Place: "y"})
	answer := b.verified("ben", &message.CallOutAnswer{CallOut: id(call), Answer: message.AnswerLater})
	b.verified("amal", &message.CallOutClose{CallOut: id(call)})
	first := b.verified("ben", &message.Role{Role: "loggist", Action: message.RoleTake, Until: until})
	handed := b.verified("ben", &message.Role{Role: "loggist", Action: message.RoleHandOver, To: "person:nhs.example/gmc/amal"})
	taken := b.verified("amal", &message.Role{Role: "loggist", Action: message.RoleTake, Until: until})
	given := b.verified("amal", &message.Role{Role: "loggist", Action: message.RoleRelease})
	kept := b.verified("ben", &message.Role{Role: "lead", Action: message.RoleTake, Until: until})
	s := b.in.Standings(b.group)
	if s[text.ID].RetractedBy != gone.ID || s[task.ID].Task != message.TaskDone || !s[call.ID].Ended {
		t.Errorf("standings: %+v", s)
	}
	if !s[first.ID].Until.Equal(taken.Sent) || !s[taken.ID].Until.Equal(given.Sent) || !s[kept.ID].Until.IsZero() {
		t.Errorf("duties ended at %v, %v, %v; handed over at %v", s[first.ID].Until, s[taken.ID].Until, s[kept.ID].Until, handed.Sent)
	}
	var all []EntryID
	b.in.Each(b.group, func(it *Item) { all = append(all, it.ID) })
	if len(all) != b.n || !slices.Contains(all, answer.ID) {
		t.Errorf("%d of %d messages", len(all), b.n)
	}
}
