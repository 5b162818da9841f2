package inbox

import (
	"testing"
	"time"

	"tocsin/node/message"
)

// An exercise marks everything that is said in its conversation, also what was said before it was made, and nothing takes the mark away: not a later
// message, not a retraction, not that who made it runs the group no more.
func TestExerciseMarksEverything(t *testing.T) {
	b := newBoard("amal", "ben")
	early := b.says("ben", &message.Text{Body: "x"})
	if it, _ := b.in.Message(early.ID); it.Exercise {
		t.Error("a conversation without an incident is an exercise")
	}
	made := b.says("amal", &message.Incident{Name: "i", Mode: message.Exercise, State: message.IncidentStandby})
	b.says("amal", &message.Incident{Name: "i", Mode: message.Live, State: message.IncidentDeclared})
	b.says("amal", &message.Retract{Entry: id(made), Reason: "make it live"})
	marked := func(when string) {
		t.Helper()
		for _, it := range b.in.Messages(b.group, 0, 0) {
			if !it.Exercise {
				t.Errorf("%s: a message of kind %s does not say that it is an exercise", when, it.Message.Kind())
			}
		}
		c, _ := b.in.Conversation(b.group)
		if !c.Exercise || !c.Last.Exercise || !b.in.Search(Query{Kind: message.KindText})[0].Exercise {
			t.Errorf("%s: the conversation does not say that it is an exercise", when)
		}
	}
	marked("after a retraction")
	demoted := Group{ID: b.group, Kind: "incident", Members: []Author{person("amal"), person("ben")}, Ran: []string{"amal/0"}}
	demoted.Members[1].Admin = true
	b.in.SetGroup(demoted)
	marked("after amal handed the group over")
	b.says("ben", &message.Incident{Name: "i", Mode: message.Exercise, State: message.IncidentDeclared})
	b.says("ben", &message.Incident{Name: "i", Mode: message.Exercise, State: message.IncidentStoodDown})
	if c, _ := b.in.Conversation(b.group); !c.Over {
		t.Error("an incident that was stood down is not over")
	}
	marked("after it was over")
	live := newBoard("amal")
	live.says("amal", &message.Incident{Name: "i", Mode: message.Live, State: message.IncidentDeclared})
	if c, _ := live.in.Conversation(live.group); c.Exercise || c.Over {
		t.Error("a live incident is an exercise, or over")
	}
}

func TestTimeline(t *testing.T) {
	b := newBoard("amal", "ben")
	incident := b.says("amal", &message.Incident{Name: "i", Mode: message.Live, State: message.IncidentDeclared})
	report := b.says("ben", &message.METHANE{Location: "Platform 2"})
	newer := b.says("ben", &message.METHANE{Location: "Platforms 2 and 3", Supersedes: id(report)})
	other := b.says("ben", &message.METHANE{Location: "Car park"})
	b.says("ben", &message.Text{Body: "chat"})
	b.n += 60
	decision := b.says("amal", &message.Decision{Decision: "d", Decider: message.PersonAddress("nhs.example/gmc/amal"), At: report.Sent})
	wrong := b.says("amal", &message.Incident{Name: "i", Mode: message.Exercise, State: message.IncidentStoodDown})
	got := b.in.Timeline(b.group, false)
	want := []Item{incident, report, decision, newer, other, wrong}
	if len(got) != len(want) {
		t.Fatalf("%d events", len(got))
	}
	for i, e := range got {
		if e.Item.ID != want[i].ID {
			t.Errorf("event %d is of kind %s", i, e.Item.Message.Kind())
		}
	}
	if e := got[2]; e.At != report.Sent || e.Entered != decision.Sent || !e.Late {
		t.Errorf("the decision happened %v, was entered %v, late %v", e.At, e.Entered, e.Late)
	}
	if got[5].Refused == "" || got[0].Refused != "" || got[1].Item.ReplacedBy != newer.ID {
		t.Error("the timeline does not say what was refused and what was replaced")
	}
	if all := b.in.Timeline(b.group, true); len(all) != 7 {
		t.Errorf("%d events in all", len(all))
	}
	reports := b.in.Reports(b.group)
	if len(reports) != 3 || reports[0].ID != other.ID || reports[1].ID != newer.ID || reports[2].ReplacedBy != newer.ID {
		t.Errorf("reports %v", reports)
	}
}

// What leaves the log, or is written against its rules, shows.
func TestDecisionLogShowsItsGaps(t *testing.T) {
	b := newBoard("amal", "ben", "chidi")
	amal, ben := message.PersonAddress("nhs.example/gmc/amal"), message.PersonAddress("nhs.example/gmc/ben")
	var last message.EntryID
	decide := func(who string, change func(*message.Decision)) Item {
		d := &message.Decision{Decision: "d", Rationale: "r", Decider: amal, Options: []string{"x"}, At: epoch.Add(time.Duration(b.n+1) * time.Minute), After: last}
		change(d)
		it := b.says(who, d)
		last = id(it)
		return it
	}
	first := decide("amal", func(*message.Decision) {})
	decide("ben", func(d *message.Decision) { d.Loggist = ben })
	decide("amal", func(d *message.Decision) { d.After = message.EntryID{9} })
	decide("chidi", func(d *message.Decision) { d.Loggist = ben })
	decide("amal", func(d *message.Decision) { d.At = epoch.Add(-time.Hour) })
	decide("amal", func(d *message.Decision) { d.At = epoch.Add(time.Hour); d.After = id(first); d.Corrects = id(first) })
	got := b.in.Decisions(b.group)
	type view struct {
		after, corrected int
		gap, late        bool
		problems         int
	}
	want := []view{{0, 6, false, false, 0}, {1, 0, false, false, 0}, {0, 0, true, false, 1}, {3, 0, false, false, 1}, {4, 0, false, true, 0}, {1, 0, false, false, 2}}
	for i, d := range got {
		if v := (view{d.After, d.CorrectedBy, d.Gap, d.Late, len(d.Problems)}); v != want[i] {
			t.Errorf("entry %d is %+v, want %+v: %q", i+1, v, want[i], d.Problems)
		}
	}
	if b.in.LastDecision(b.group) != EntryID(last) {
		t.Error("the last entry is not the last")
	}
	b.in.Erase(first.ID)
	if got := b.in.Decisions(b.group); !got[0].Gap || len(got) != 5 || len(got[4].Problems) != 3 {
		t.Errorf("an entry that is gone leaves no gap: %+v", got[0].Problems)
	}
}
