package inbox

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tocsin/node/message"
)

// person is the author of a device of somebody.
func person(name string) Author {
	return Author{Log: name + "/0", Person: "nhs.example/gmc/" + name, Name: name}
}

func num(n int) *int { return &n }

// board is an inbox with one conversation of people, in which things are said one after another.
type board struct {
	in    *Inbox
	group GroupID
	n     int
}

func newBoard(people ...string) *board {
	b := &board{in: New(), group: gid(1)}
	g := Group{ID: b.group, Name: "Mill Lane", Kind: "incident"}
	for i, p := range people {
		m := person(p)
		m.Admin = i == 0 // the first runs the group
		g.Members = append(g.Members, m)
	}
	b.in.SetGroup(g)
	return b
}

// says applies what somebody says a minute after what was said before.
func (b *board) says(who string, c message.Content) Item {
	b.n++
	at := epoch.Add(time.Duration(b.n) * time.Minute)
	it := Item{ID: nid(b.n), Group: b.group, HLC: uint64(b.n), From: person(who), Sent: at, Received: at, Priority: "routine",
		Message: message.Message{Sent: at, Content: c}}
	b.in.Apply(it)
	return it
}

func id(it Item) message.EntryID { return message.EntryID(it.ID) }

func names(answers []Answered) (out []string) {
	for _, a := range answers {
		out = append(out, a.From.Name)
	}
	return out
}

func TestCallOutTally(t *testing.T) {
	b := newBoard("amal", "ben", "chidi", "dora", "ella", "fred")
	call := b.says("amal", &message.CallOut{Question: "Can you come?", Place: "ED", Skills: []string{"nurse", "surgeon"}})
	other := b.says("amal", &message.CallOut{Question: "And tomorrow?", Place: "ED"})
	b.says("ben", &message.CallOutAnswer{CallOut: id(call), Answer: message.AnswerComing, ETA: num(40), Skill: "nurse"})
	b.says("chidi", &message.CallOutAnswer{CallOut: id(call), Answer: message.AnswerComing, ETA: num(10), Skill: "porter"})
	b.says("dora", &message.CallOutAnswer{CallOut: id(call), Answer: message.AnswerComing, ETA: num(5)})
	b.says("dora", &message.CallOutAnswer{CallOut: id(call), Answer: message.AnswerCannot}) // the newest counts
	b.says("ella", &message.CallOutAnswer{CallOut: id(other), Answer: message.AnswerLater})
	b.says("ben", &message.CallOutAnswer{CallOut: message.EntryID{7}, Answer: message.AnswerCannot}) // of no call-out

	got, ok := b.in.CallOut(call.ID)
	if !ok || !slices.Equal(names(got.Coming), []string{"chidi", "ben"}) || !slices.Equal(names(got.Cannot), []string{"dora"}) || len(got.Later) != 0 {
		t.Fatalf("tally %v, %v, %v", names(got.Coming), names(got.Later), names(got.Cannot))
	}
	if want := []SkillCount{{"nurse", 1}, {"surgeon", 0}, {"", 1}}; !slices.Equal(got.Skills, want) {
		t.Errorf("skills %v, want %v", got.Skills, want)
	}
	if got.Silent != 2 || got.Closed != nil { // ella and fred
		t.Errorf("%d are silent", got.Silent)
	}
	if got.Coming[0].There != epoch.Add(14*time.Minute) {
		t.Errorf("there at %v", got.Coming[0].There)
	}
	b.says("amal", &message.CallOutClose{CallOut: id(call)})
	b.says("fred", &message.CallOutAnswer{CallOut: id(call), Answer: message.AnswerComing, ETA: num(1)})
	b.says("ben", &message.CallOutAnswer{CallOut: id(call), Answer: message.AnswerCannot})
	if got, _ = b.in.CallOut(call.ID); got.Closed == nil || len(got.Coming) != 2 || got.After != 1 {
		t.Errorf("after it was closed: closed %v, %v, %d late", got.Closed, names(got.Coming), got.After)
	}
	if c, _ := b.in.Conversation(b.group); c.Count != 3 || c.Unread != 3 { // two call-outs and a closing: answers are no chat
		t.Errorf("%d messages, %d unread", c.Count, c.Unread)
	}
}

// Two devices of one person are one answer.
func TestOnePersonAnswersOnce(t *testing.T) {
	b := newBoard("amal", "ben")
	call := b.says("amal", &message.CallOut{Question: "Can you come?", Place: "ED"})
	for i, a := range []message.Answer{message.AnswerLater, message.AnswerCannot} {
		it := b.says("ben", &message.CallOutAnswer{CallOut: id(call), Answer: a})
		it.ID, it.HLC, it.From.Log = nid(90+i), uint64(90+i), "phone/0"
		it.Message.Content = &message.CallOutAnswer{CallOut: id(call), Answer: message.AnswerComing, ETA: num(3)}
		b.in.Apply(it)
	}
	got, _ := b.in.CallOut(call.ID)
	if len(got.Coming) != 1 || len(got.Later)+len(got.Cannot) != 0 || got.Silent != 0 {
		t.Errorf("%d coming, %d later, %d cannot, %d silent", len(got.Coming), len(got.Later), len(got.Cannot), got.Silent)
	}
}

func TestCasualtyBoard(t *testing.T) {
	b := newBoard("amal", "ben")
	b.says("amal", &message.Casualty{Tag: "A-2", Triage: message.P3})
	b.says("ben", &message.Casualty{Tag: "A-1", Triage: message.P2})
	b.says("amal", &message.Casualty{Tag: "A-2", Triage: message.P1, Location: "Bay 3"})
	wrong := b.says("ben", &message.Casualty{Tag: "A-1", Triage: message.Deceased})
	b.says("ben", &message.Retract{Entry: id(wrong), Reason: "Wrong tag"})
	got := b.in.Casualties(b.group)
	if len(got.Casualties) != 2 || got.Casualties[0].Tag != "A-2" || got.Casualties[0].Content.Location != "Bay 3" || len(got.Casualties[0].History) != 2 {
		t.Fatalf("board %+v", got.Casualties)
	}
	if got.Casualties[1].Content.Triage != message.P2 || got.Count[message.P1] != 1 || got.Count[message.P2] != 1 || got.Count[message.Deceased] != 0 {
		t.Errorf("what was retracted counts: %v", got.Count)
	}
	if it, _ := b.in.Message(wrong.ID); it.Retracted != "Wrong tag" {
		t.Errorf("the retracted message says %q", it.Retracted)
	}
}

// Nobody retracts what somebody else has said.
func TestRetractOnlyOnesOwn(t *testing.T) {
	b := newBoard("amal", "ben")
	said := b.says("amal", &message.Text{Body: "Theatre 2 is free"})
	b.says("ben", &message.Retract{Entry: id(said), Reason: "no it is not"})
	if it, _ := b.in.Message(said.ID); it.Retracted != "" {
		t.Error("a stranger retracted a message")
	}
}

func TestTaskBoard(t *testing.T) {
	b := newBoard("amal", "ben", "chidi")
	b.says("ben", &message.Role{Role: "theatre-lead", Action: message.RoleTake, Until: epoch.Add(time.Hour)})
	done := b.says("amal", &message.Task{What: "Open theatre 4", To: message.RoleAddress("theatre-lead")})
	open := b.says("amal", &message.Task{What: "Ring the blood bank", To: message.RoleAddress("registrar")})
	b.says("ben", &message.TaskUpdate{Task: id(done), State: message.TaskAccepted})
	b.says("ben", &message.TaskUpdate{Task: id(done), State: message.TaskDone})
	b.says("amal", &message.TaskUpdate{Task: id(done), State: message.TaskDeclined, Note: "no staff"})
	b.says("chidi", &message.TaskUpdate{Task: id(open), State: message.TaskDone}) // not his
	b.says("ben", &message.Role{Role: "theatre-lead", Action: message.RoleRelease})
	got := b.in.Tasks(b.group)
	if len(got) != 2 || got[0].Item.ID != open.ID || got[0].State != message.TaskAssigned || !got[0].Open() {
		t.Fatalf("tasks %+v", got)
	}
	if d := got[1]; d.State != message.TaskDone || d.By.Name != "ben" || len(d.Steps) != 3 || d.Steps[2].Refused == "" || d.Steps[1].Refused != "" {
		t.Errorf("the done task: %s by %s, %d steps", d.State, d.By.Name, len(d.Steps))
	}
}

func TestDecisionLog(t *testing.T) {
	b := newBoard("amal")
	decide := func(what string, corrects message.EntryID) Item {
		return b.says("amal", &message.Decision{Decision: what, Rationale: "why", Decider: message.PersonAddress("nhs.example/gmc/1"),
			Options: []string{"x"}, At: epoch, Corrects: corrects})
	}
	first := decide("Divert", message.EntryID{})
	decide("Open the hall", message.EntryID{})
	correction := decide("Divert all but stroke", id(first))
	got := b.in.Decisions(b.group)
	if len(got) != 3 || got[2].Corrects != 1 || got[0].Item.ReplacedBy != correction.ID || got[1].Item.ReplacedBy != (EntryID{}) || got[1].Number != 2 {
		t.Errorf("decisions %+v", got)
	}
}

func TestMETHANEIsBroughtUpToDate(t *testing.T) {
	b := newBoard("amal")
	first := b.says("amal", &message.METHANE{Location: "Platform 2"})
	second := b.says("amal", &message.METHANE{Location: "Platforms 2 and 3", Supersedes: id(first)})
	if it, _ := b.in.Message(first.ID); it.ReplacedBy != second.ID {
		t.Error("the first report does not say that there is a newer one")
	}
}

func TestAlertEscalates(t *testing.T) {
	b := newBoard("amal", "ben", "chidi")
	to := []string{message.RoleAddress("registrar"), message.RoleAddress("consultant")}
	alert := b.says("amal", &message.Alert{What: "Cardiac arrest", Where: "Bed 4", To: to, After: num(2)})
	get := func() Alert { return b.in.Alerts(b.group)[0] }
	if a := get(); !a.Sounds() || len(a.Called) != 1 || a.Escalates != alert.Received.Add(2*time.Minute) {
		t.Fatalf("alert %+v", a)
	}
	due := b.in.Escalations()
	if len(due) != 1 || *due[0].Content.Step != 1 || due[0].Content.Alert != id(alert) || due[0].At != alert.Received.Add(2*time.Minute) || len(due[0].Members) != 3 {
		t.Fatalf("due %+v", due)
	}
	for range 3 { // several devices raise it at once
		b.says("ben", &message.Escalation{Alert: id(alert), Step: num(1)})
	}
	b.says("ben", &message.Escalation{Alert: id(alert), Step: num(9)}) // nobody is ninth
	if a := get(); !slices.Equal(a.Called, to) || !a.Escalates.IsZero() || !a.Sounds() {
		t.Errorf("after the escalation: called %v, escalates %v", a.Called, a.Escalates)
	}
	if due := b.in.Escalations(); len(due) != 0 {
		t.Error("there is nobody left to call, and somebody is")
	}
	b.says("chidi", &message.Receipt{State: message.Acknowledged, Entries: []message.EntryID{id(alert)}})
	if a := get(); a.Sounds() || !slices.Equal(a.Acknowledged, []string{"chidi/0"}) || a.Item.State != StateAcknowledged {
		t.Errorf("acknowledged by %v, %s", a.Acknowledged, a.Item.State)
	}
}

// A cancelled alert calls nobody; a receipt from outside the group ends nothing.
func TestAlertEndsOnlyByRight(t *testing.T) {
	b := newBoard("amal", "ben")
	to := []string{message.RoleAddress("registrar"), message.RoleAddress("consultant")}
	alert := b.says("amal", &message.Alert{What: "Fire", Where: "Ward 3", To: to})
	b.says("mallory", &message.Receipt{State: message.Acknowledged, Entries: []message.EntryID{id(alert)}})
	if a := b.in.Alerts(b.group)[0]; !a.Sounds() {
		t.Error("somebody who is no member acknowledged an alert")
	}
	b.says("amal", &message.AlertCancel{Alert: id(alert), Reason: "False alarm"})
	if a := b.in.Alerts(b.group)[0]; a.Sounds() || a.Cancelled == nil || !a.Escalates.IsZero() {
		t.Errorf("a cancelled alert: %+v", a)
	}
}

func TestIncidentGoesForwardOnly(t *testing.T) {
	b := newBoard("amal", "ben")
	if _, ok := b.in.Incident(b.group); ok {
		t.Error("there is an incident that nobody made")
	}
	say := func(mode message.Mode, state message.IncidentState) {
		b.says("amal", &message.Incident{Name: "Mill Lane", Mode: mode, State: state, Reason: "r"})
	}
	say(message.Exercise, message.IncidentStoodDown)
	say(message.Exercise, message.IncidentStandby)
	say(message.Live, message.IncidentDeclared)
	say(message.Exercise, message.IncidentDeclared)
	say(message.Exercise, message.IncidentStandby)
	say(message.Exercise, message.IncidentStoodDown)
	i, ok := b.in.Incident(b.group)
	if !ok || !i.Exercise() || i.State != message.IncidentStoodDown || len(i.Steps) != 6 {
		t.Fatalf("incident %+v", i)
	}
	for n, refused := range []bool{true, false, true, false, true, false} {
		if (i.Steps[n].Refused != "") != refused {
			t.Errorf("step %d: refused %q", n, i.Steps[n].Refused)
		}
	}
}

func TestDuties(t *testing.T) {
	b := newBoard("amal", "ben", "chidi")
	role := func(who string, r *message.Role) {
		r.Role = "registrar"
		b.says(who, r)
	}
	until := epoch.Add(8 * time.Hour)
	now := func() time.Time { return epoch.Add(time.Duration(b.n) * time.Minute) }
	holders := func() (out []string) {
		for _, d := range b.in.Duties(b.group, now()) {
			for _, h := range d.Holders {
				out = append(out, h.From.Name)
			}
		}
		return out
	}
	role("amal", &message.Role{Action: message.RoleTake, Until: until})
	role("chidi", &message.Role{Action: message.RoleRelease}) // not his to give up
	role("chidi", &message.Role{Action: message.RoleHandOver, To: message.PersonAddress("nhs.example/gmc/chidi")})
	if !slices.Equal(holders(), []string{"amal"}) {
		t.Fatalf("held by %v", holders())
	}
	role("amal", &message.Role{Action: message.RoleHandOver, To: message.PersonAddress("nhs.example/gmc/ben")})
	if d := b.in.Duties(b.group, now()); !slices.Equal(holders(), []string{"amal"}) || d[0].Offered != "nhs.example/gmc/ben" {
		t.Errorf("until it is taken it is held by %v", holders())
	}
	role("ben", &message.Role{Action: message.RoleTake, Until: until})
	if !slices.Equal(holders(), []string{"ben"}) {
		t.Errorf("after the hand-over held by %v", holders())
	}
	role("chidi", &message.Role{Action: message.RoleTake, Until: epoch.Add(1000 * time.Hour)}) // in another partition
	d := b.in.Duties(b.group, now())
	if !d[0].Contested() || !slices.Equal(holdersOf(b, "registrar", now()), []string{"nhs.example/gmc/ben", "nhs.example/gmc/chidi"}) {
		t.Errorf("two who took it: %+v", d)
	}
	if got := d[0].Holders[1]; got.Until.Sub(got.Since) != message.MaxDuty {
		t.Errorf("a role was taken for %v", got.Until.Sub(got.Since))
	}
	role("ben", &message.Role{Action: message.RoleRelease})
	if !slices.Equal(holders(), []string{"chidi"}) {
		t.Errorf("after one gave it up held by %v", holders())
	}
	if left := b.in.Duties(b.group, epoch.Add(100*time.Hour)); len(left) != 0 {
		t.Errorf("held for ever: %+v", left)
	}
}

func TestSearch(t *testing.T) {
	b := newBoard("amal", "ben")
	b.says("amal", &message.Text{Body: "Potassium 6.8 in Bed 4"})
	b.says("ben", &message.Text{Body: "Bed 7 is free"})
	tagged := b.says("ben", &message.Casualty{Tag: "A-17", Triage: message.P1, Location: "Bed 4"})
	count := func(q Query) int { return len(b.in.Search(q)) }
	other := gid(2)
	for name, c := range map[string]struct {
		q    Query
		want int
	}{
		"all words":          {Query{Words: "BED 4"}, 2},
		"of a kind":          {Query{Words: "bed", Kind: message.KindCasualty}, 1},
		"of a person":        {Query{Words: "bed", Person: "nhs.example/gmc/ben"}, 2},
		"by the writer":      {Query{Words: "amal potassium"}, 1},
		"a tag":              {Query{Tag: "a-17"}, 1},
		"words of a form":    {Query{Words: "p1 immediate"}, 1},
		"nothing":            {Query{Words: "sodium"}, 0},
		"everything":         {Query{}, 3},
		"two at most":        {Query{Limit: 2}, 2},
		"in another group":   {Query{Group: &other}, 0},
		"in the right group": {Query{Group: &b.group}, 3},
	} {
		if got := count(c.q); got != c.want {
			t.Errorf("%s: %d found, want %d", name, got, c.want)
		}
	}
	if got := b.in.Search(Query{Words: "bed"}); got[0].ID != tagged.ID {
		t.Error("the newest does not come first")
	}
	b.in.Erase(tagged.ID)
	if count(Query{Tag: "A-17"}) != 0 || len(b.in.Casualties(b.group).Casualties) != 0 {
		t.Error("what was erased is found")
	}
}

// Whatever the order in which messages arrive, and however often, every board says the same.
func TestBoardsDoNotDependOnArrival(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		items := drawStory(t)
		want := views(items)
		seed := rapid.Uint64().Draw(t, "order")
		shuffled := slices.Concat(items, items[:len(items)/2])
		rand.New(rand.NewPCG(seed, 1)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if got := views(shuffled); !reflect.DeepEqual(got, want) {
			t.Fatalf("another order gives another board:\n%+v\n%+v", got, want)
		}
	})
}

// drawStory draws messages of all kinds that point at each other, with clocks that meet.
func drawStory(t *rapid.T) (items []Item) {
	people := []string{"amal", "ben", "chidi"}
	target := func() message.EntryID { return message.EntryID(nid(rapid.IntRange(1, 8).Draw(t, "target"))) }
	for n := 1; n <= 30; n++ {
		contents := []message.Content{
			&message.CallOut{Question: "q", Place: "p"}, &message.CallOutAnswer{CallOut: target(), Answer: message.AnswerLater},
			&message.CallOutClose{CallOut: target()}, &message.Casualty{Tag: "A", Triage: rapid.SampledFrom([]message.Triage{message.P1, message.P3}).Draw(t, "triage")},
			&message.Task{What: "w", To: message.RoleAddress("r")},
			&message.TaskUpdate{Task: target(), State: rapid.SampledFrom([]message.TaskState{message.TaskAccepted, message.TaskDone}).Draw(t, "state")},
			&message.Alert{What: "w", Where: "w", To: []string{"role:a", "role:b", "role:c"}}, &message.AlertCancel{Alert: target()},
			&message.Escalation{Alert: target(), Step: num(rapid.IntRange(1, 3).Draw(t, "step"))},
			&message.Incident{Name: "i", Mode: rapid.SampledFrom([]message.Mode{message.Live, message.Exercise}).Draw(t, "mode"), State: message.IncidentDeclared},
			&message.Role{Role: "r", Action: message.RoleTake, Until: epoch.Add(3 * time.Hour)}, &message.Role{Role: "r", Action: message.RoleRelease},
			&message.Retract{Entry: target(), Reason: "r"}, &message.Receipt{State: message.Acknowledged, Entries: []message.EntryID{target()}},
			&message.Decision{Decision: "d", Corrects: target(), After: target(), Decider: message.PersonAddress("nhs.example/gmc/amal")}, &message.METHANE{Supersedes: target()},
			&message.Text{Body: "for a role"}, &message.Receipt{State: message.Read, Entries: []message.EntryID{target()}},
			&message.Role{Role: "r", Action: message.RoleHandOver, To: message.PersonAddress("nhs.example/gmc/ben")},
		}
		at := epoch.Add(time.Duration(n) * time.Minute)
		items = append(items, Item{ID: nid(n), Group: gid(1), HLC: uint64(rapid.IntRange(1, 12).Draw(t, "hlc")), Sent: at, Received: at,
			From: person(rapid.SampledFrom(people).Draw(t, "who")), Message: message.Message{Sent: at, Content: rapid.SampledFrom(contents).Draw(t, "content")}})
		if last := &items[n-1].Message; last.Kind() == message.KindText {
			last.For = []string{message.RoleAddress("r"), message.PersonAddress("nhs.example/gmc/chidi")}
		}
	}
	return items
}

// views is everything that an inbox says once the items are applied.
func views(items []Item) []any {
	b := newBoard("amal", "ben", "chidi")
	b.in.SetReader("nhs.example/gmc/ben")
	for _, it := range items {
		b.in.Apply(it)
	}
	incident, _ := b.in.Incident(b.group)
	conversation, _ := b.in.Conversation(b.group)
	return []any{b.in.Messages(b.group, 0, 0), b.in.CallOuts(b.group), b.in.Casualties(b.group), b.in.Tasks(b.group), b.in.Decisions(b.group),
		b.in.Alerts(b.group), incident, b.in.Duties(b.group, epoch.Add(time.Hour)), conversation, b.in.Escalations(), b.in.Search(Query{Words: "w"}),
		b.in.Timeline(b.group, true), b.in.Reports(b.group), b.in.Calls(b.group)}
}

// filled is an inbox of n texts in one conversation of ten.
func filled(n int) *board {
	people := make([]string, 10)
	for i := range people {
		people[i] = fmt.Sprintf("person%d", i)
	}
	b := newBoard(people...)
	for i := range n {
		b.says(people[i%10], &message.Text{Body: fmt.Sprintf("Bed %d: blood pressure %d over %d, please come and see", i%90, 90+i%60, 50+i%40)})
	}
	return b
}

func BenchmarkApply(b *testing.B) {
	for b.Loop() {
		filled(100_000)
	}
	b.ReportMetric(float64(b.N)*100_000/b.Elapsed().Seconds(), "messages/s")
}

func BenchmarkOpen50000(b *testing.B) {
	in := filled(50_000)
	for b.Loop() {
		if len(in.in.Messages(in.group, 0, 0)) != 50_000 {
			b.Fatal("messages are missing")
		}
	}
}

func BenchmarkSearch100000(b *testing.B) {
	in := filled(100_000)
	for b.Loop() {
		if len(in.in.Search(Query{Words: "bed 89 pressure", Limit: 50})) != 50 {
			b.Fatal("not found")
		}
		if len(in.in.Search(Query{Words: "sodium"})) != 0 {
			b.Fatal("found")
		}
	}
}

func BenchmarkTally2000(b *testing.B) {
	people := make([]string, 2001)
	for i := range people {
		people[i] = fmt.Sprintf("person%d", i)
	}
	in := newBoard(people...)
	call := in.says(people[0], &message.CallOut{Question: "Can you come?", Place: "ED"})
	for _, p := range people[1:] {
		in.says(p, &message.CallOutAnswer{CallOut: id(call), Answer: message.AnswerComing, ETA: num(30)})
	}
	for b.Loop() {
		if c, _ := in.in.CallOut(call.ID); len(c.Coming) != 2000 {
			b.Fatal("answers are missing")
		}
	}
}

// nid is an entry id that orders like its number.
func nid(n int) (id EntryID) {
	binary.BigEndian.PutUint32(id[28:], uint32(n))
	return id
}

// What the rules refuse at the sender changes nothing either when a device sends it all the same.
func TestBoardsHoldTheRulesThemselves(t *testing.T) {
	b := newBoard("amal", "ben", "chidi")
	to := []string{message.RoleAddress("registrar")}
	alert := b.says("ben", &message.Alert{What: "w", Where: "w", To: to})
	b.says("chidi", &message.AlertCancel{Alert: id(alert), Reason: "quiet"})
	if a := b.in.Alerts(b.group)[0]; !a.Sounds() {
		t.Error("a member silenced somebody else's alert")
	}
	b.says("amal", &message.AlertCancel{Alert: id(alert), Reason: "who runs the group may"})
	if a := b.in.Alerts(b.group)[0]; a.Sounds() {
		t.Error("who runs the group cannot cancel an alert")
	}
	b.says("chidi", &message.Incident{Name: "x", Mode: message.Live, State: message.IncidentDeclared})
	if _, made := b.in.Incident(b.group); made {
		t.Error("a member who does not run the group declared an incident")
	}
}

// A message of somebody who was removed, or that is not certainly its device's, moves nothing.
func TestFlaggedMessagesMoveNothing(t *testing.T) {
	for name, flag := range map[string]func(*Item){
		"removed":       func(it *Item) { it.Removed = true },
		"forked":        func(it *Item) { it.Forked = true },
		"after closing": func(it *Item) { it.AfterClosing = true },
	} {
		b := newBoard("amal", "ben")
		alert := b.says("amal", &message.Alert{What: "w", Where: "w", To: []string{message.RoleAddress("r")}})
		b.n++
		it := Item{ID: nid(b.n), Group: b.group, HLC: uint64(b.n), From: person("amal"), Sent: epoch, Received: epoch,
			Message: message.Message{Sent: epoch, Content: &message.AlertCancel{Alert: id(alert), Reason: "r"}}}
		flag(&it)
		b.in.Apply(it)
		if !b.in.Alerts(b.group)[0].Sounds() {
			t.Errorf("%s: the alert was cancelled", name)
		}
	}
}

// What was retracted acts no more.
func TestRetractedMessagesActNoMore(t *testing.T) {
	b := newBoard("amal", "ben")
	alert := b.says("amal", &message.Alert{What: "w", Where: "w", To: []string{message.RoleAddress("r"), message.RoleAddress("s")}})
	cancel := b.says("amal", &message.AlertCancel{Alert: id(alert), Reason: "r"})
	b.says("amal", &message.Retract{Entry: id(cancel), Reason: "it burns after all"})
	if !b.in.Alerts(b.group)[0].Sounds() {
		t.Error("a retracted cancellation silences an alert")
	}
	b.says("amal", &message.Retract{Entry: id(alert), Reason: "wrong ward"})
	if b.in.Alerts(b.group)[0].Sounds() || len(b.in.Escalations()) != 0 {
		t.Error("a retracted alert sounds")
	}
	first := b.says("amal", &message.METHANE{Location: "a"})
	second := b.says("amal", &message.METHANE{Location: "b", Supersedes: id(first)})
	b.says("amal", &message.Retract{Entry: id(second), Reason: "wrong place"})
	if it, _ := b.in.Message(first.ID); it.ReplacedBy != (EntryID{}) {
		t.Error("a retracted report replaces another")
	}
}

// Nobody's clock, and nobody's message, ends what somebody else holds.
func TestDutiesAreNobodyElses(t *testing.T) {
	b := newBoard("amal", "ben", "chidi", "dora")
	until := epoch.Add(8 * time.Hour)
	role := func(who string, sent time.Time, r *message.Role) {
		b.n++
		r.Role = "registrar"
		received := epoch.Add(time.Duration(b.n) * time.Minute)
		if sent.IsZero() {
			sent = received
		}
		b.in.Apply(Item{ID: nid(b.n), Group: b.group, HLC: uint64(b.n), From: person(who), Sent: sent, Received: received, Message: message.Message{Sent: sent, Content: r}})
	}
	now := epoch.Add(time.Hour)
	holders := func() []string { return holdersOf(b, "registrar", now) }
	person := func(name string) string { return "nhs.example/gmc/" + name }
	role("amal", time.Time{}, &message.Role{Action: message.RoleTake, Until: until})
	role("ben", epoch.AddDate(50, 0, 0), &message.Role{Action: message.RoleRelease}) // a clock fifty years ahead
	if !slices.Equal(holders(), []string{person("amal")}) {
		t.Fatalf("after a stranger's release held by %v", holders())
	}
	role("chidi", epoch.AddDate(1, 0, 0), &message.Role{Action: message.RoleTake, Until: epoch.AddDate(1, 0, 1)})
	for _, d := range b.in.Duties(b.group, now) {
		for _, h := range d.Holders {
			if h.Until.After(now.Add(message.MaxDuty)) {
				t.Errorf("%s holds the role until %v", h.From.Name, h.Until)
			}
		}
	}
	// chidi, who took it in another partition, hands it over: what amal holds stays.
	role("chidi", time.Time{}, &message.Role{Action: message.RoleHandOver, To: message.PersonAddress(person("dora"))})
	role("dora", time.Time{}, &message.Role{Action: message.RoleTake, Until: until})
	if got := holders(); !slices.Equal(got, []string{person("amal"), person("dora")}) {
		t.Errorf("after a hand-over by one of two held by %v", got)
	}
	// An offer ends with the duty of who made it.
	role("dora", time.Time{}, &message.Role{Action: message.RoleHandOver, To: message.PersonAddress(person("ben"))})
	role("dora", time.Time{}, &message.Role{Action: message.RoleRelease})
	if d := b.in.Duties(b.group, now); d[0].Offered != "" {
		t.Errorf("still offered to %s", d[0].Offered)
	}
}

// A role's task stays done when its holder has gone off duty since.
func TestTaskOfARoleThatWasHandedOn(t *testing.T) {
	b := newBoard("amal", "ben", "chidi")
	task := b.says("amal", &message.Task{What: "w", To: message.RoleAddress("registrar")})
	b.says("chidi", &message.TaskUpdate{Task: id(task), State: message.TaskDone}) // before he held it
	b.says("ben", &message.Role{Role: "registrar", Action: message.RoleTake, Until: epoch.Add(time.Hour)})
	b.says("ben", &message.TaskUpdate{Task: id(task), State: message.TaskAccepted})
	b.says("ben", &message.Role{Role: "registrar", Action: message.RoleRelease})
	b.says("chidi", &message.Role{Role: "registrar", Action: message.RoleTake, Until: epoch.Add(time.Hour)})
	if got := b.in.Tasks(b.group)[0]; got.State != message.TaskAccepted || got.By.Name != "ben" || got.Steps[0].Refused == "" {
		t.Errorf("the task is %s by %s", got.State, got.By.Name)
	}
}

// holdersOf lists the people who hold a role.
func holdersOf(b *board, role string, now time.Time) (people []string) {
	for _, d := range b.in.Duties(b.group, now) {
		if d.Role == role {
			for _, h := range d.Holders {
				people = append(people, h.From.who())
			}
		}
	}
	return people
}

// BenchmarkMemory100000 is the heap that an inbox of 100,000 messages takes, in a group of ten of which all have read everything.
func BenchmarkMemory100000(b *testing.B) {
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		in := filled(100_000)
		for p := range 10 {
			for i := 1; i <= 100_000; i += message.MaxReceiptEntries {
				var read []message.EntryID
				for n := i; n < min(i+message.MaxReceiptEntries, 100_001); n++ {
					read = append(read, message.EntryID(nid(n)))
				}
				in.in.ApplyReceipt(Item{Group: in.group, From: person(fmt.Sprintf("person%d", p)), Message: message.NewReceipt(message.Read, read, epoch)})
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MB")
		if it := in.in.Messages(in.group, 0, 1)[0]; len(it.Read) != 9 {
			b.Fatalf("read by %d", len(it.Read))
		}
		runtime.KeepAlive(in)
	}
}
