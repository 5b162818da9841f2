package inbox

import (
	"slices"
	"testing"
	"time"

	"tocsin/node/message"
)

const registrar = "medical-registrar"

// tells has somebody say a text to addresses.
func (b *board) tells(who, text string, to ...string) Item {
	b.n++
	at := epoch.Add(time.Duration(b.n) * time.Minute)
	it := Item{ID: nid(b.n), Group: b.group, HLC: uint64(b.n), From: person(who), Sent: at, Received: at, Priority: "routine",
		Message: message.Message{Sent: at, Content: &message.Text{Body: text}, For: to}}
	b.in.Apply(it)
	return it
}

func (b *board) takes(who string) {
	b.says(who, &message.Role{Role: registrar, Action: message.RoleTake, Until: epoch.Add(10 * time.Hour)})
}

func (b *board) hands(who, to string) {
	b.says(who, &message.Role{Role: registrar, Action: message.RoleHandOver, To: message.PersonAddress("nhs.example/gmc/" + to)})
}

func (b *board) reads(who string, it Item) {
	b.says(who, &message.Receipt{State: message.Read, Entries: []message.EntryID{id(it)}})
}

// getters are who gets a message by its first address.
func (b *board) getters(t *testing.T, it Item) (out []string) {
	t.Helper()
	got, ok := b.in.Message(it.ID)
	if !ok || len(got.For) == 0 {
		t.Fatalf("the message is for nobody: %v", got.For)
	}
	for _, h := range got.For[0].Holders {
		out = append(out, h.Name)
	}
	if got.For[0].Vacant != (len(out) == 0) {
		t.Errorf("vacant %v, got by %v", got.For[0].Vacant, out)
	}
	return out
}

// Who holds the role gets the message; who takes it before it was read gets it as well; who takes it after that does not.
func TestMessageForARole(t *testing.T) {
	b := newBoard("amal", "ben", "chidi", "dora")
	to := message.RoleAddress(registrar)
	early := b.tells("amal", "nobody is on call yet", to)
	if got := b.getters(t, early); len(got) != 0 {
		t.Errorf("a role that nobody holds is held by %v", got)
	}
	b.takes("ben")
	said := b.tells("amal", "please see bed 4", to)
	for _, it := range []Item{early, said} {
		if got := b.getters(t, it); !slices.Equal(got, []string{"ben"}) {
			t.Errorf("got by %v", got)
		}
	}
	b.reads("ben", early)
	b.hands("ben", "chidi")
	b.takes("chidi")
	if got := b.getters(t, early); !slices.Equal(got, []string{"ben"}) {
		t.Errorf("what ben had read is got by %v", got)
	}
	if got := b.getters(t, said); !slices.Equal(got, []string{"ben", "chidi"}) {
		t.Errorf("what ben had not read is got by %v", got)
	}
	b.reads("ben", said) // too late: chidi keeps it
	if got := b.getters(t, said); !slices.Equal(got, []string{"ben", "chidi"}) {
		t.Errorf("what ben read after he handed over is got by %v", got)
	}
	b.reads("chidi", said)
	b.hands("chidi", "dora")
	b.takes("dora")
	if got := b.getters(t, said); !slices.Equal(got, []string{"ben", "chidi"}) {
		t.Errorf("what was read is got by %v", got)
	}
}

// The order in which a reading and its message arrive changes nothing, nor does a receipt from outside the people called.
func TestReadingBeforeMessage(t *testing.T) {
	b := newBoard("amal", "ben", "chidi")
	b.takes("ben")
	b.n++
	at := epoch.Add(time.Duration(b.n) * time.Minute)
	it := Item{ID: nid(b.n), Group: b.group, HLC: uint64(b.n), From: person("amal"), Sent: at, Received: at,
		Message: message.Message{Sent: at, Content: &message.Text{Body: "x"}, For: []string{message.RoleAddress(registrar)}}}
	b.says("ben", &message.Receipt{State: message.Acknowledged, Entries: []message.EntryID{id(it)}})
	b.says("mallory", &message.Receipt{State: message.Read, Entries: []message.EntryID{id(it)}})
	b.hands("ben", "chidi")
	b.takes("chidi")
	b.in.Apply(it)
	if got := b.getters(t, it); !slices.Equal(got, []string{"ben"}) {
		t.Errorf("got by %v", got)
	}
	plain := b.tells("amal", "for all")
	b.reads("ben", plain)
	if n := len(b.in.readings); n != 1 {
		t.Errorf("readings of %d messages are kept, one is addressed", n)
	}
}

// Two who took a role in two partitions both get what is sent to it.
func TestContestedRoleGetsItTwice(t *testing.T) {
	b := newBoard("amal", "ben", "chidi")
	b.takes("ben")
	b.takes("chidi")
	said := b.tells("amal", "x", message.RoleAddress(registrar))
	if got := b.getters(t, said); !slices.Equal(got, []string{"ben", "chidi"}) {
		t.Errorf("got by %v", got)
	}
	if d := b.in.Duties(b.group, epoch.Add(time.Hour)); !d[0].Contested() {
		t.Error("the role is not shown as contested")
	}
}

// A duty that has ended calls nobody: it is said that the role is vacant, and the next holder gets what was not read.
func TestRoleThatRanOut(t *testing.T) {
	b := newBoard("amal", "ben", "chidi")
	b.says("ben", &message.Role{Role: registrar, Action: message.RoleTake, Until: epoch.Add(3 * time.Minute)})
	first := b.tells("amal", "in time", message.RoleAddress(registrar))
	for range 3 {
		b.says("amal", &message.Text{Body: "time passes"})
	}
	late := b.tells("amal", "nobody is there", message.RoleAddress(registrar))
	if got := b.getters(t, late); len(got) != 0 {
		t.Errorf("after its end the role is held by %v", got)
	}
	items := []Item{}
	for _, it := range []Item{first, late} {
		m, _ := b.in.Message(it.ID)
		items = append(items, m)
	}
	b.in.Vacancies(items, epoch.Add(time.Hour))
	if !items[0].For[0].Vacant || !items[1].For[0].Vacant {
		t.Error("a role whose duty ran out is not said to be vacant")
	}
	if got := b.in.Unheld(b.group, []string{message.RoleAddress(registrar), message.PersonAddress("nhs.example/gmc/ben"), message.PersonAddress("nhs.example/gmc/zoe")}, epoch.Add(time.Hour)); len(got) != 2 {
		t.Errorf("unheld %v", got)
	}
	b.takes("chidi")
	for _, it := range []Item{first, late} {
		if got := b.getters(t, it); !slices.Contains(got, "chidi") {
			t.Errorf("the next holder does not get it: %v", got)
		}
	}
}

// Tasks, alerts and their escalations call by the same rule, and the reader's own calls are found.
func TestCallsOfTheReader(t *testing.T) {
	b := newBoard("amal", "ben", "chidi")
	b.in.SetReader("nhs.example/gmc/ben")
	b.takes("ben")
	task := b.says("amal", &message.Task{What: "w", To: message.RoleAddress(registrar)})
	alert := b.says("amal", &message.Alert{What: "w", Where: "w", To: []string{message.RoleAddress("consultant"), message.RoleAddress(registrar)}, After: num(2)})
	own := b.tells("ben", "to my own role", message.RoleAddress(registrar))
	person := b.tells("amal", "to ben", message.PersonAddress("nhs.example/gmc/ben"))
	other := b.tells("amal", "to chidi", message.PersonAddress("nhs.example/gmc/chidi"))
	all := b.tells("amal", "to all")
	calls := func() (out []EntryID) {
		for _, it := range b.in.Calls(b.group) {
			out = append(out, it.ID)
		}
		return out
	}
	if got := calls(); !slices.Equal(got, []EntryID{task.ID, person.ID}) {
		t.Errorf("called by %v", got)
	}
	step := b.says("chidi", &message.Escalation{Alert: id(alert), Step: num(1)})
	if got := calls(); !slices.Equal(got, []EntryID{task.ID, alert.ID, person.ID, step.ID}) {
		t.Errorf("after the escalation called by %v", got)
	}
	for _, it := range []Item{own, other, all} {
		if m, _ := b.in.Message(it.ID); m.ForMe {
			t.Errorf("%v is for the reader", it)
		}
	}
	if m, _ := b.in.Message(person.ID); m.For[0].Words != "ben" {
		t.Errorf("a person is called %q", m.For[0].Words)
	}
	if m, _ := b.in.Message(task.ID); m.For[0].Words != "medical registrar" {
		t.Errorf("a role is called %q", m.For[0].Words)
	}
}

// Whoever takes a role is not called for what was dealt with, also where nobody is told who has read it, as in a large group.
func TestTakingARoleCallsForWhatIsOpen(t *testing.T) {
	b := newBoard("amal", "ben", "chidi")
	b.in.SetReader("nhs.example/gmc/ben")
	to := message.RoleAddress(registrar)
	open := b.tells("amal", "please see bed 4", to)
	acknowledged := b.tells("amal", "please see bed 5", to)
	retracted := b.tells("amal", "please see bed 6", to)
	cancelled := b.says("amal", &message.Alert{What: "w", Where: "w", To: []string{to}})
	sounds := b.says("amal", &message.Alert{What: "w", Where: "x", To: []string{to}})
	b.says("chidi", &message.Receipt{State: message.Acknowledged, Entries: []message.EntryID{id(acknowledged)}})
	b.says("amal", &message.Retract{Entry: id(retracted), Reason: "wrong bed"})
	b.says("amal", &message.AlertCancel{Alert: id(cancelled), Reason: "false alarm"})
	b.takes("ben")
	var calls []EntryID
	for _, it := range b.in.Calls(b.group) {
		calls = append(calls, it.ID)
	}
	if !slices.Equal(calls, []EntryID{open.ID, sounds.ID}) {
		t.Errorf("called for %v", calls)
	}
}
